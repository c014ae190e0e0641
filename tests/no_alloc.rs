//! A session neither allocates nor frees while it runs, on any thread, also when it refuses to.
//!
//! Why not an ordinary `#[test]`: the counter is process-wide, and libtest allocates from its own threads.
#![expect(unsafe_code, reason = "`GlobalAlloc` is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use perihelion::backend::{Elements, OpenOptions, Run, RunError, Session};
use perihelion::engine::{BuildOptions, Engine, build, self_test};
use perihelion::export::{ReasonOptions, export_reason};
use perihelion::graph::{BufferId, GraphId};
use perihelion::model::Model;
use perihelion::runtime::{Sampler, Sampling};

#[path = "no_alloc/predict.rs"]
mod predict;
#[path = "no_alloc/tensorrt.rs"]
mod tensorrt;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static HEAP_CALLS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes unchanged to `System`. The default `realloc` and `alloc_zeroed` come through here too.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP_CALLS.fetch_add(1, Relaxed);
        // SAFETY: our caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HEAP_CALLS.fetch_add(1, Relaxed);
        // SAFETY: our caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

fn heap_calls(f: impl FnOnce()) -> usize {
    let before = HEAP_CALLS.load(Relaxed);
    f();
    HEAP_CALLS.load(Relaxed) - before
}

const DECODE_STEPS: usize = 1000;
const VISION_ENCODES: usize = 100;
const VISION_PATCHES: usize = 64;

/// A count, or its part where a machine that is emulated says which: `PERIHELION_NO_ALLOC_PART=20` does a twentieth.
fn times(n: usize) -> usize {
    let part = std::env::var("PERIHELION_NO_ALLOC_PART");
    let part = part.map_or(NonZeroUsize::MIN, |part| part.parse().expect("a number above 0"));
    n.div_ceil(part.get())
}

fn main() {
    let counted = heap_calls(|| drop(std::hint::black_box(Box::new(0u8))));
    assert_eq!(counted, 2, "the counter must count, or the tests below prove nothing");
    let on_another_thread = std::thread::spawn(|| {
        let before = HEAP_CALLS.load(Relaxed);
        drop(std::hint::black_box(Box::new(0u8)));
        HEAP_CALLS.load(Relaxed) - before
    });
    assert!(2 <= on_another_thread.join().expect("it only counts"), "the counter must count on every thread");

    let dir = tempfile::tempdir().expect("a temporary directory");
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/small-reason");
    let model_path = dir.path().join("small.model");
    export_reason(&checkpoint, &ReasonOptions::default(), &model_path, &mut |_| ())
        .expect("it is a checkpoint");
    let model = Model::open(&model_path).expect("it was written just now");
    for (format, threads) in [("f32", 1), ("bf16", 2), ("int8,kv=bf16", 1), ("int4", 2)] {
        let path = dir.path().join("small.engine");
        let open = OpenOptions { threads: Some(threads) };
        let options = BuildOptions {
            backend: "cpu".into(),
            formats: format.parse().expect("formats"),
            limits: Vec::new(),
            open,
        };
        build(&model, &options, &path, &mut |_| ()).expect("it answers its golden case");
        let engine = Engine::open(&path).expect("it was built just now");
        let mut session = engine.session(&open).expect("it is for this machine");
        if ["f32", "bf16"].contains(&format) {
            opening_has_read_no_weights(&engine);
        }
        self_test(&engine, session.as_mut()).expect("the warm-up");
        steady_state(session.as_mut());
        refusals(session.as_mut());
        println!(
            "{format}, {threads} threads: 0 heap calls in {} decode steps, {} vision encodes, and all refusals",
            times(DECODE_STEPS),
            times(VISION_ENCODES)
        );
        if format == "f32" {
            tensorrt::check(&engine, &model);
        }
    }
    predict::check(dir.path());
}

/// The engine is mapped, and of its pages only those of header, manifest and golden case were touched, with the neighbours
/// that the system maps along with a page: some tens of kilobytes each time, with large folios up to a megabyte. Of a file as small as
/// that of int8 or int4 nothing would be shown.
fn opening_has_read_no_weights(engine: &Engine) {
    let section = |name: &str| engine.container().sections().iter().find(|s| s.name == name).map(|s| s.bytes);
    let weights_bytes = section("weights").expect("an engine has them") as u64;
    let resident = resident_bytes(engine.path()).expect("the engine is mapped");
    assert!(
        resident < weights_bytes / 4,
        "{resident} bytes of {weights_bytes} of weights are resident after opening"
    );
}

/// Bytes of a mapped file that this process has touched.
fn resident_bytes(path: &Path) -> Option<u64> {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("this is Linux");
    let name = path.to_str().expect("our paths are UTF-8");
    let of_file = maps.split_once(name)?.1;
    let line = of_file.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

struct Names {
    decode: GraphId,
    vision: GraphId,
    tokens: BufferId,
    positions: BufferId,
    patches: BufferId,
    logits: BufferId,
}

fn names(session: &dyn Session) -> Names {
    let network = session.network();
    let graph = |name: &str| network.graph(name).expect("Reason has it");
    let buffer = |name: &str| network.buffer(name).expect("Reason has it");
    Names {
        decode: graph("decode"),
        vision: graph("vision"),
        tokens: buffer("tokens"),
        positions: buffer("positions"),
        patches: buffer("patches"),
        logits: buffer("logits"),
    }
}

fn steady_state(session: &mut dyn Session) {
    let n = names(session);
    let row_len = |id: BufferId| session.network().buffers[id.index()].row_len();
    let context = session.network().limit("context").expect("Reason has it");
    let mut logits = vec![0.0; row_len(n.logits)];
    let patches = vec![0.25; VISION_PATCHES * row_len(n.patches)];
    let mut samplers = samplers(logits.len());
    let (n_steps, n_encodes) = (times(DECODE_STEPS), times(VISION_ENCODES));
    let counted = heap_calls(|| {
        for step in 0..n_steps {
            let past = step % context;
            session.input_i32(n.tokens, 0, 1).expect("a token")[0] = step as i32 % 500;
            session.write(n.positions, 0, Elements::I32(&[past as i32; 3])).expect("its position");
            session.run(n.decode, &Run { extents: &[past], ..Run::default() }).expect("steady state");
            let logits = session.view(n.logits, 0, 1).expect("logits");
            for sampler in &mut samplers {
                std::hint::black_box(sampler.pick(logits).expect("finite logits"));
            }
        }
    });
    assert_eq!(counted, 0, "decoding touched the heap");
    let counted = heap_calls(|| {
        for encode in 0..n_encodes {
            session.write(n.patches, 0, Elements::F32(&patches)).expect("an image's patches");
            let n_patches = if encode % 2 == 0 { VISION_PATCHES } else { VISION_PATCHES / 2 };
            session.run(n.vision, &Run { extents: &[n_patches], ..Run::default() }).expect("steady state");
        }
    });
    assert_eq!(counted, 0, "encoding touched the heap");
    session.read(n.logits, 0, &mut logits).expect("logits");
    assert!(
        logits.iter().all(|l| l.is_finite()) && logits.iter().any(|l| *l != 0.0),
        "it computed something"
    );
}

/// One for each way through the sampler, begun.
fn samplers(vocab_size: usize) -> [Sampler; 3] {
    let drawn = Sampling { greedy: false, temperature: 0.7, top_k: 0, seed: 1, ..Sampling::default() };
    let few = Sampling { top_k: 20, top_p: 0.8, repetition_penalty: 1.1, presence_penalty: 1.5, ..drawn };
    [Sampling::default(), few, Sampling { top_p: 0.95, ..drawn }].map(|sampling| {
        let mut sampler = Sampler::new(vocab_size);
        sampler.begin(sampling, &[1, 2, 3]).expect("in range");
        sampler
    })
}

fn refusals(session: &mut dyn Session) {
    let n = names(session);
    let stop = AtomicBool::new(true);
    let now = Instant::now();
    let counted = heap_calls(|| {
        for _ in 0..100 {
            let short = session.write(n.positions, 0, Elements::I32(&[1, 2]));
            assert!(matches!(short, Err(RunError::Type(_))));
            assert!(matches!(session.input(n.patches, 0, usize::MAX), Err(RunError::Bounds { .. })));
            assert!(matches!(session.input_i32(n.patches, 0, 1), Err(RunError::Type(_))));
            assert!(matches!(session.view(n.patches, 0, 1), Err(RunError::Purpose(_))));
            let far = session.write(n.tokens, usize::MAX - 1, Elements::I32(&[1]));
            assert!(matches!(far, Err(RunError::Bounds { .. })));
            let none = session.run(n.decode, &Run::default());
            assert!(matches!(none, Err(RunError::Extent { .. })));
            let wide = session.run(n.vision, &Run { extents: &[3], ..Run::default() });
            assert!(matches!(wide, Err(RunError::Extent { .. })));
            let beyond = [(n.logits, 1 << 40)];
            let window = session.run(n.decode, &Run { extents: &[1], windows: &beyond, ..Run::default() });
            assert!(matches!(window, Err(RunError::Bounds { .. })));
            let late = session.run(n.decode, &Run { extents: &[1], deadline: Some(now), ..Run::default() });
            assert_eq!(late, Err(RunError::Deadline));
            let stopped = session.run(n.decode, &Run { extents: &[1], stop: Some(&stop), ..Run::default() });
            assert_eq!(stopped, Err(RunError::Stopped));
            session.write(n.tokens, 0, Elements::I32(&[1 << 20])).expect("any number can be written");
            let unknown = session.run(n.decode, &Run { extents: &[1], ..Run::default() });
            assert_eq!(unknown, Err(RunError::Index(n.decode)));
        }
    });
    assert_eq!(counted, 0, "refusing touched the heap");
    session.write(n.tokens, 0, Elements::I32(&[1])).expect("a token");
    session.run(n.decode, &Run { extents: &[1], ..Run::default() }).expect("it runs on after refusals");
}
