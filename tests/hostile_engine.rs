//! Engine files that are cut, flipped or lying are refused: by an error, not by a panic, and before much is allocated.
#![expect(unsafe_code, reason = "`GlobalAlloc` is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{File, OpenOptions as FileOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use perihelion::backend::{OpenOptions, WeightFormat};
use perihelion::engine::{BuildOptions, Engine, EngineError, build};
use perihelion::export::{ReasonOptions, export_reason};
use perihelion::model::Model;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[global_allocator]
static ALLOCATOR: Largest = Largest;
static LARGEST_BYTES: AtomicUsize = AtomicUsize::new(0);
/// The largest allocation is the process's: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Remembers the largest allocation.
struct Largest;

// SAFETY: every call goes unchanged to `System`. The default `realloc` and `alloc_zeroed` come through here too.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST_BYTES.fetch_max(layout.size(), Relaxed);
        // SAFETY: our caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: our caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Where the header has what, for forging.
const HEADER_BYTES: usize = 4096;
const LENGTH_AT: usize = 16;
const MANIFEST_AT: usize = 24;
const DIGEST_AT: usize = 40;

/// A small engine, and a directory that goes away.
struct Fixture {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let checkpoint = root.join("tests/fixtures/reason/text_only/checkpoint");
        let model = dir.path().join("m");
        export_reason(&checkpoint, &ReasonOptions::default(), &model, &mut |_| ()).expect("a checkpoint");
        let engine = dir.path().join("e");
        let options = BuildOptions {
            backend: "cpu".into(),
            formats: WeightFormat::Bf16.into(),
            limits: vec![("context".into(), 64), ("image_tokens".into(), 16)],
            open: OpenOptions { threads: Some(1) },
        };
        build(&Model::open(&model).expect("a model"), &options, &engine, &mut |_| ()).expect("an engine");
        Fixture { bytes: std::fs::read(engine).expect("it was built just now"), dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("hostile")
    }

    fn manifest_start(&self) -> usize {
        u64::from_le_bytes(self.bytes[MANIFEST_AT..MANIFEST_AT + 8].try_into().expect("eight bytes")) as usize
    }

    /// The engine with its manifest changed, and everything that vouches for the manifest made to fit.
    fn forged(&self, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let start = self.manifest_start();
        let mut manifest: Value = serde_json::from_slice(&self.bytes[start..]).expect("it is JSON");
        change(&mut manifest);
        let text = serde_json::to_vec(&manifest).expect("it is JSON still");
        let mut bytes = self.bytes[..start].to_vec();
        bytes[LENGTH_AT..LENGTH_AT + 8].copy_from_slice(&((start + text.len()) as u64).to_le_bytes());
        bytes[MANIFEST_AT + 8..MANIFEST_AT + 16].copy_from_slice(&(text.len() as u64).to_le_bytes());
        bytes[DIGEST_AT..DIGEST_AT + 32].copy_from_slice(&Sha256::digest(&text));
        bytes.extend(text);
        bytes
    }
}

/// Opens and, if that is let pass, claims a session.
fn open(path: &Path) -> Result<(), EngineError> {
    Engine::open(path)?.session(&OpenOptions { threads: Some(1) }).map(drop)
}

#[test]
fn the_engine_itself_opens() {
    let _alone = ONE_AT_A_TIME.lock();
    let fixture = Fixture::new();
    std::fs::write(fixture.path(), &fixture.bytes).expect("a disk");
    open(&fixture.path()).expect("it is whole");
    // Forging changes nothing by itself: what the tests below refuse, they refuse for their reason.
    std::fs::write(fixture.path(), fixture.forged(|_| ())).expect("a disk");
    open(&fixture.path()).expect("it is whole");
    LARGEST_BYTES.store(0, Relaxed);
    drop(std::hint::black_box(vec![0u8; 12_345]));
    assert!(12_345 <= LARGEST_BYTES.load(Relaxed), "the largest allocation must be seen");
}

#[test]
fn every_truncation_is_refused() {
    let _alone = ONE_AT_A_TIME.lock();
    let fixture = Fixture::new();
    std::fs::write(fixture.path(), &fixture.bytes).expect("a disk");
    let file = FileOptions::new().write(true).open(fixture.path()).expect("it is ours");
    LARGEST_BYTES.store(0, Relaxed);
    // Longest first: a file is only ever cut.
    for len in (0..fixture.bytes.len()).rev() {
        file.set_len(len as u64).expect("a file can be cut");
        assert!(Engine::open(&fixture.path()).is_err(), "{len} of {} bytes were taken", fixture.bytes.len());
    }
    assert!(LARGEST_BYTES.load(Relaxed) <= fixture.bytes.len(), "an allocation beyond the file's size");
}

#[test]
fn every_flipped_bit_of_header_and_manifest_is_refused() {
    let _alone = ONE_AT_A_TIME.lock();
    let fixture = Fixture::new();
    std::fs::write(fixture.path(), &fixture.bytes).expect("a disk");
    let places: Vec<usize> = (0..HEADER_BYTES).chain(fixture.manifest_start()..fixture.bytes.len()).collect();
    println!("{} bits of header and manifest", places.len() * 8);
    LARGEST_BYTES.store(0, Relaxed);
    // Two files, so that two cores share the work.
    let halves = places.split_at(places.len() / 2);
    std::thread::scope(|scope| {
        for (i, places) in [halves.0, halves.1].into_iter().enumerate() {
            let (path, fixture) = (fixture.dir.path().join(format!("flipped{i}")), &fixture);
            scope.spawn(move || {
                std::fs::write(&path, &fixture.bytes).expect("a disk");
                let file = FileOptions::new().write(true).open(&path).expect("it is ours");
                for &at in places {
                    flip_each_bit(&file, &path, at, fixture.bytes[at]);
                }
            });
        }
    });
    assert!(LARGEST_BYTES.load(Relaxed) <= fixture.bytes.len(), "an allocation beyond the file's size");
}

fn flip_each_bit(file: &File, path: &Path, at: usize, byte: u8) {
    for bit in 0..8 {
        file.write_all_at(&[byte ^ 1 << bit], at as u64).expect("a disk");
        assert!(Engine::open(path).is_err(), "bit {bit} of byte {at} was flipped and taken");
    }
    file.write_all_at(&[byte], at as u64).expect("a disk");
}

#[test]
fn lying_manifests_are_refused() {
    let _alone = ONE_AT_A_TIME.lock();
    let fixture = Fixture::new();
    type Lie = (&'static str, fn(&mut Value));
    let lies: &[Lie] = &[
        ("unknown", |m| m["content"]["surprise"] = json!(1)),
        ("missing", |m| drop(m["content"].as_object_mut().map(|c| c.remove("formats")))),
        ("aarch64", |m| {
            let other = if cfg!(target_arch = "aarch64") { "x86_64" } else { "aarch64" };
            m["content"]["bound_to"]["architecture"] = json!(other);
        }),
        ("layout", |m| m["content"]["bound_to"]["layout"] = json!("99")),
        ("backend", |m| m["content"]["backend"] = json!("abacus")),
        ("weights", |m| m["content"]["formats"][0]["format"] = json!("f32")),
        ("a format that nothing reads", |m| {
            m["content"]["formats"][0] = json!({"part": "vision", "format": "int8", "scales": "in_blocks"});
        }),
        ("scales", |m| m["content"]["formats"][0]["scales"] = json!("in_blocks")),
        ("parts", |m| drop(m["content"]["formats"].as_array_mut().map(|f| f.remove(0)))),
        ("windows", |m| m["content"]["network"]["buffers"][0]["window_rows"] = json!(0)),
        ("later value", |m| m["content"]["network"]["graphs"][0]["nodes"][9]["inputs"] = json!([999_999])),
        ("elements", |m| m["content"]["network"]["weights"][0]["shape"] = json!([1u64 << 50, 1u64 << 50])),
        ("a smaller weight", |m| m["content"]["network"]["weights"][3]["shape"][0] = json!(1)),
        ("a huge cache", |m| {
            for buffer in m["content"]["network"]["buffers"].as_array_mut().expect("buffers") {
                if buffer["purpose"] == "cache" {
                    buffer["shape"][0] = json!(1u64 << 33);
                }
            }
        }),
        ("section", |m| drop(m["sections"].as_array_mut().map(|s| s.remove(0)))),
        ("beyond", |m| m["sections"][0]["bytes"] = json!(1u64 << 62)),
        ("overlap", |m| m["sections"][1]["offset"] = m["sections"][0]["offset"].clone()),
        ("unaligned", |m| m["sections"][1]["offset"] = json!(4097)),
        ("golden", |m| m["content"]["golden"][0]["steps"][0]["outputs"][0]["offset"] = json!(u64::MAX - 3)),
        ("golden rows", |m| m["content"]["golden"][0]["steps"][0]["inputs"][0]["rows"] = json!(1u64 << 60)),
        ("golden graph", |m| m["content"]["golden"][0]["steps"][0]["graph"] = json!("cellar")),
        ("version", |m| m["content"]["network"]["limits"][0]["value"] = json!(-1)),
    ];
    for (name, lie) in lies {
        let bytes = fixture.forged(lie);
        std::fs::write(fixture.path(), &bytes).expect("a disk");
        LARGEST_BYTES.store(0, Relaxed);
        let refused = open(&fixture.path()).expect_err(name).to_string();
        let file = fixture.path().display().to_string();
        assert!(refused.contains(&file), "{name}: {refused:?} does not name the file");
        let largest = LARGEST_BYTES.load(Relaxed);
        assert!(largest <= bytes.len().max(1 << 20), "{name}: allocated {largest} bytes at once");
        println!("{name}: {refused}");
    }
}

#[test]
fn an_engine_for_something_else_says_what_it_is_for() {
    let _alone = ONE_AT_A_TIME.lock();
    let fixture = Fixture::new();
    type Change = fn(&mut Value);
    let cases: &[(Change, &[&str])] = &[
        (
            |m| m["content"]["bound_to"]["layout"] = json!("99"),
            &["`cpu`", "layout 1", "99", "again from its model"],
        ),
        (|m| m["content"]["bound_to"]["architecture"] = json!("riscv64"), &["architecture", "riscv64"]),
        (|m| m["content"]["bound_to"]["driver"] = json!("580.95"), &["driver none", "580.95"]),
        (
            |m| drop(m["content"]["bound_to"].as_object_mut().map(|b| b.remove("layout"))),
            &["layout 1", "none"],
        ),
        (|m| m["content"]["backend"] = json!("abacus"), &["`abacus`", "again from its model", "doctor"]),
        (
            |m| m["content"]["backend"] = json!("tensorrt"),
            &[
                "`tensorrt`",
                if cfg!(feature = "tensorrt") { "cannot use" } else { "not compiled in" },
                "doctor",
            ],
        ),
    ];
    for (change, words) in cases {
        std::fs::write(fixture.path(), fixture.forged(change)).expect("a disk");
        // It can be looked at wherever it is, and run only where it belongs.
        let engine = Engine::open(&fixture.path()).expect("it is sound");
        let refused = engine.session(&OpenOptions { threads: Some(1) }).err().expect("another's").to_string();
        for word in words.iter().copied().chain([fixture.path().to_str().expect("UTF-8")]) {
            assert!(refused.contains(word), "{refused:?} lacks {word:?}");
        }
    }
}

/// The fixture's model with another last element of its golden cases, given those before it, and digests that fit.
fn wrong_model(fixture: &Fixture, change: impl FnOnce(&[f32]) -> f32) -> Model {
    let model_path = fixture.dir.path().join("m");
    let mut bytes = std::fs::read(&model_path).expect("exported before");
    let start =
        u64::from_le_bytes(bytes[MANIFEST_AT..MANIFEST_AT + 8].try_into().expect("eight bytes")) as usize;
    let mut manifest: Value = serde_json::from_slice(&bytes[start..]).expect("it is JSON");
    let sections = manifest["sections"].as_array_mut().expect("sections");
    let golden = sections.iter_mut().find(|s| s["name"] == "golden").expect("a model has it");
    let number = |v: &Value| v.as_u64().expect("a number") as usize;
    let (offset, n_bytes) = (number(&golden["offset"]), number(&golden["bytes"]));
    let elements = bytes[offset..offset + n_bytes].as_chunks::<4>().0;
    let elements: Vec<f32> = elements.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let last = offset + n_bytes - 4;
    bytes[last..last + 4].copy_from_slice(&change(&elements).to_le_bytes());
    let digest = Sha256::digest(&bytes[offset..offset + n_bytes]);
    golden["sha256"] = json!(digest.iter().map(|b| format!("{b:02x}")).collect::<String>());
    let text = serde_json::to_vec(&manifest).expect("it is JSON still");
    bytes.truncate(start);
    bytes[LENGTH_AT..LENGTH_AT + 8].copy_from_slice(&((start + text.len()) as u64).to_le_bytes());
    bytes[MANIFEST_AT + 8..MANIFEST_AT + 16].copy_from_slice(&(text.len() as u64).to_le_bytes());
    bytes[DIGEST_AT..DIGEST_AT + 32].copy_from_slice(&Sha256::digest(&text));
    bytes.extend(text);
    std::fs::write(&model_path, &bytes).expect("a disk");
    Model::open(&model_path).expect("it is sound, only wrong")
}

fn built(model: &Model, formats: &str, out: &Path) -> Result<(), String> {
    let options = BuildOptions {
        backend: "cpu".into(),
        formats: formats.parse().expect("formats"),
        limits: Vec::new(),
        open: OpenOptions { threads: Some(1) },
    };
    build(model, &options, out, &mut |_| ()).map(drop).map_err(|why| why.to_string())
}

#[test]
fn an_engine_that_answers_wrongly_is_not_installed() {
    let _alone = ONE_AT_A_TIME.lock();
    let fixture = Fixture::new();
    let model = wrong_model(&fixture, |_| 1e3);
    let refused = built(&model, "f32", &fixture.dir.path().join("wrong")).expect_err("wrong answers");
    assert!(refused.contains("wrong answer"), "{refused}");
    let left: Vec<_> =
        std::fs::read_dir(fixture.dir.path()).expect("ours").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 2, "only the model and the first engine are left, found {left:?}");
}

#[test]
fn what_is_allowed_to_an_answer_follows_the_coarsest_format_of_any_part() {
    let _alone = ONE_AT_A_TIME.lock();
    let fixture = Fixture::new();
    let out = fixture.dir.path().join("built");
    // An element that is off by some hundredths of the largest beside it.
    let model = wrong_model(&fixture, |elements| {
        let (last, before) = elements.split_last().expect("a case has outputs");
        let largest = before.iter().rev().take(32).fold(last.abs(), |m, v| m.max(v.abs()));
        last + 0.02 * largest
    });
    for exact in ["f32", "vision=f32"] {
        let refused = built(&model, exact, &out).expect_err("f32 does not explain it");
        assert!(refused.contains("wrong answer"), "{exact}: {refused}");
    }
    for rounded in ["bf16", "language=bf16", "vision=bf16"] {
        built(&model, rounded, &out).expect("bf16 explains it");
    }
}
