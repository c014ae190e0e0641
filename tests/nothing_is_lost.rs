//! What was there stays, and what was begun and not finished goes: inputs that would be outputs, interrupted and killed work, full
//! disks, old frames among new ones.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGKILL, SIGTERM};

const CHECKPOINT: &str = "engines/small-reason";
const PREDICT: &str = "engines/small-predict";
/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

fn perihelion(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    command.args(arguments);
    command
}

fn succeed(arguments: &[&str]) {
    let Output { status, stderr, .. } = perihelion(arguments).output().unwrap();
    assert_eq!(status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
}

/// A wrong command line, whose message has these words.
fn refused(arguments: &[&str], words: &[&str]) {
    let Output { status, stderr, .. } = perihelion(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(2), "{arguments:?}: {stderr}");
    assert!(words.iter().all(|word| stderr.contains(word)), "{stderr} lacks one of {words:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Every file and folder below, with its content.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        all.push((text(&path).to_owned(), fs::read(&path).unwrap_or_default()));
        if path.is_dir() {
            all.extend(content(&path));
        }
    }
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).unwrap();
        }
    }
}

struct Made {
    model: String,
    engine: String,
}

/// The small Predict model, exported and built once.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nothing_is_lost");
        fs::create_dir_all(&dir).unwrap();
        let name = |name: &str| text(&dir.join(name)).to_owned();
        let made = Made { model: name("predict.model"), engine: name("predict.engine") };
        succeed(&["export", PREDICT, "-o", &made.model]);
        succeed(&["build", &made.model, "-o", &made.engine]);
        made
    })
}

/// Frames to forecast from.
fn seen(dir: &Path) -> String {
    let seen = dir.join("seen");
    fs::create_dir(&seen).unwrap();
    for i in 0..9 {
        let frame =
            image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * 4) as u8, (y * 3) as u8, i * 9]));
        frame.save(seen.join(format!("{i}.png"))).unwrap();
    }
    text(&seen).to_owned()
}

#[test]
fn no_output_is_an_input() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&dir.path().join(name)).to_owned();
    copy(Path::new(CHECKPOINT), &dir.path().join("checkpoint"));
    fs::copy(&made().model, at("predict.model")).unwrap();
    fs::copy(&made().engine, at("predict.engine")).unwrap();
    fs::hard_link(at("predict.model"), at("linked.model")).unwrap();
    std::os::unix::fs::symlink(at("checkpoint"), at("link")).unwrap();
    fs::write(at("drive.mcap"), b"\x89MCAP0\r\n").unwrap();
    fs::write(at("drive.partial.mcap"), b"\x89MCAP0\r\n").unwrap();
    fs::create_dir(at("bag")).unwrap();
    fs::write(at("bag/drive_0.mcap"), b"\x89MCAP0\r\n").unwrap();
    fs::write(
        at("bag/metadata.yaml"),
        "rosbag2_bagfile_information:\n  relative_file_paths: [drive_0.mcap]\n",
    )
    .unwrap();
    let seen = seen(dir.path());
    let before = content(dir.path());

    let words = &["is read", "would be lost"];
    refused(&["export", &at("checkpoint"), "-o", &at("checkpoint/model.safetensors")], words);
    refused(&["export", &at("checkpoint"), "-o", &at("link/config.json")], words);
    refused(&["build", &at("predict.model"), "-o", &at("predict.model")], words);
    refused(&["build", &at("predict.model"), "-o", &at("linked.model")], words);
    refused(
        &["run", &at("predict.engine"), "--bag", &at("drive.mcap"), "--record", &at("drive.mcap")],
        words,
    );
    // A bag is all of its files, whichever names it.
    for bag in ["bag", "bag/metadata.yaml"] {
        refused(
            &["run", &at("predict.engine"), "--bag", &at(bag), "--record", &at("bag/drive_0.mcap")],
            words,
        );
    }
    // What a killed recorder left would be recorded over.
    refused(
        &["run", &at("predict.engine"), "--bag", &at("drive.partial.mcap"), "--record", &at("drive.mcap")],
        words,
    );
    let imagine = ["imagine", &at("predict.engine"), "--frames", &seen];
    refused(&[&imagine[..], &["--frames-out", &seen]].concat(), words);
    refused(&[&imagine[..], &["--frames-out", &seen, "--overwrite"]].concat(), words);
    refused(&[&imagine[..], &["--gif", &format!("{seen}/3.png")]].concat(), words);
    refused(&[&imagine[..], &["--latents", &at("predict.engine")]].concat(), words);
    assert_eq!(content(dir.path()), before);
}

#[test]
fn new_frames_do_not_lie_among_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let seen = seen(dir.path());
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    for name in ["0000.png", "0999.png", "mine.txt"] {
        fs::write(out.join(name), b"old").unwrap();
    }
    let imagine = ["imagine", &made().engine, "--frames", &seen, "--frames-out", text(&out)];
    refused(&imagine, &["not empty", "--overwrite"]);
    assert_eq!(content(&out).len(), 3);
    succeed(&[&imagine[..], &["--overwrite"]].concat());
    assert!(image::open(out.join("0000.png")).is_ok());
    assert!(!out.join("0999.png").exists() && out.join("mine.txt").exists());
}

/// Waits until `is_there`, and says whether the process was still at work then.
fn at_work_until(child: &mut Child, is_there: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if is_there() {
            return true;
        }
        assert!(started.elapsed() < PATIENCE, "nothing happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Signals a process; returns by which signal it ended.
fn signal(child: &mut Child, signal: i32) -> Option<i32> {
    // It may have ended meanwhile.
    Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).output().unwrap();
    child.wait().unwrap().signal()
}

/// Signals an export while its file is unfinished, and returns the folder that it wrote into.
fn interrupted_export(with: i32) -> tempfile::TempDir {
    interrupted(with, |out| ["export", CHECKPOINT, "-o", out].map(str::to_owned).into())
}

/// Signals a command while what it writes is unfinished, and returns the folder that it wrote into.
fn interrupted(with: i32, arguments: impl Fn(&str) -> Vec<String>) -> tempfile::TempDir {
    for _ in 0..50 {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("small.model");
        let arguments = arguments(text(&out));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut export = perihelion(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = || fs::read_dir(dir.path()).unwrap().next().is_some();
        if at_work_until(&mut export, || begun() && !out.exists())
            && signal(&mut export, with) == Some(with)
            && !out.exists()
        {
            return dir;
        }
    }
    panic!("none could be caught at work");
}

#[test]
fn interrupted_work_leaves_nothing() {
    for with in [SIGINT, SIGTERM] {
        let dir = interrupted_export(with);
        assert_eq!(content(dir.path()), [], "after signal {with}");
        let dir =
            interrupted(with, |out| ["inspect", &made().model, "--onnx", out].map(str::to_owned).into());
        assert_eq!(content(dir.path()), [], "after signal {with}");
        let inputs = tempfile::tempdir().unwrap();
        let [base, adapter] = adapted(inputs.path(), 4096);
        let dir = interrupted(with, |out| ["merge", &base, &adapter, "-o", out].map(str::to_owned).into());
        assert_eq!(content(dir.path()), [], "after signal {with}");
    }
}

/// A checkpoint of one square weight of zeros, and an adapter of it.
fn adapted(dir: &Path, n: usize) -> [String; 2] {
    const RANK: usize = 32;
    let file = |path: &Path, shapes: &[(&str, [usize; 2])]| {
        let mut at = 0;
        let tensors = shapes.iter().map(|(name, shape)| {
            let begin = at;
            at += 4 * shape[0] * shape[1];
            (
                name.to_string(),
                serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, at]}),
            )
        });
        let header = serde_json::Value::Object(tensors.collect()).to_string();
        fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()).unwrap();
        // Zeros that take no room.
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len((8 + header.len() + at) as u64).unwrap();
    };
    let [base, adapter] = ["base", "adapter"].map(|name| dir.join(name));
    for folder in [&base, &adapter] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(base.join("config.json"), "{}").unwrap();
    file(&base.join("model.safetensors"), &[("model.q_proj.weight", [n, n])]);
    fs::write(adapter.join("adapter_config.json"), format!(r#"{{"r": {RANK}, "lora_alpha": 1}}"#)).unwrap();
    let halves = [
        ("base_model.model.model.q_proj.lora_A.weight", [RANK, n]),
        ("base_model.model.model.q_proj.lora_B.weight", [n, RANK]),
    ];
    file(&adapter.join("adapter_model.safetensors"), &halves);
    [base, adapter].map(|path| text(&path).to_owned())
}

#[test]
fn what_a_killed_process_left_is_swept_by_the_next() {
    let dir = interrupted_export(SIGKILL);
    assert_eq!(content(dir.path()).len(), 1, "a killed process cannot clean up");
    let out = dir.path().join("small.model");
    succeed(&["export", CHECKPOINT, "-o", text(&out)]);
    let names: Vec<String> = content(dir.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [text(&out)]);
}

#[test]
fn an_interrupted_forecast_keeps_the_frames_that_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let seen = seen(dir.path());
    let out = dir.path().join("out");
    let arguments =
        ["imagine", &made().engine, "--frames", &seen, "--horizon", "2000", "--frames-out", text(&out)];
    let mut imagine = perihelion(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(at_work_until(&mut imagine, || out.join("0002.png").exists()), "it ended of itself");
    assert_eq!(signal(&mut imagine, SIGINT), Some(SIGINT));
    let frames = content(&out);
    assert!(3 <= frames.len());
    for (name, _) in frames {
        assert!(image::open(&name).is_ok(), "{name} is not whole");
    }
}

#[test]
fn a_full_disk_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&dir.path().join(name)).to_owned();
    let seen = seen(dir.path());
    let (latents, gif, out, model) = (at("latents.safetensors"), at("a.gif"), at("out"), at("a.model"));
    let (onnx, merged) = (at("onnx"), at("merged"));
    let inputs = tempfile::tempdir().unwrap();
    let [base, adapter] = adapted(inputs.path(), 64);
    let imagine = ["imagine", &made().engine, "--frames", &seen];
    let before = content(dir.path());
    for arguments in [
        [&imagine[..], &["--latents", &latents, "--latent-only"]].concat(),
        [&imagine[..], &["--gif", &gif]].concat(),
        [&imagine[..], &["--frames-out", &out]].concat(),
        vec!["export", CHECKPOINT, "-o", &model],
        vec!["inspect", &made().model, "--onnx", &onnx],
        vec!["merge", &base, &adapter, "-o", &merged],
    ] {
        // No file may be longer than one block of 512 bytes (1024 in some shells), which fails as a full disk does.
        let limited = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_perihelion")])
            .args(&arguments)
            .output()
            .unwrap();
        assert_eq!(
            limited.status.code(),
            Some(1),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&limited.stderr)
        );
        let left: Vec<_> = content(dir.path()).into_iter().filter(|entry| entry.0 != out).collect();
        assert_eq!(left, before, "{arguments:?}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let out = text(&dir.path().join("none/a.model")).to_owned();
    // The checkpoint is not even looked for.
    let Output { status, stderr, .. } =
        perihelion(&["export", text(dir.path()), "-o", &out]).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("there is no folder"), "{stderr}");
}

#[test]
fn what_is_passed_in_the_wrong_place_names_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&dir.path().join(name)).to_owned();
    let out = at("out");
    refused(
        &["build", CHECKPOINT, "-o", &out],
        &["is a checkpoint", "perihelion export engines/small-reason"],
    );
    refused(
        &["ask", CHECKPOINT, "--prompt", "?"],
        &["is a checkpoint", "perihelion export", "perihelion build"],
    );
    refused(&["run", CHECKPOINT], &["is a checkpoint", "perihelion build"]);
    refused(&["export", &made().model, "-o", &out], &["a model already", "perihelion build"]);
    let weights = format!("{CHECKPOINT}/model.safetensors");
    refused(&["export", &weights, "-o", &out], &["name the folder that it lies in: engines/small-reason"]);
    for (name, bytes, word) in [
        ("a.db3", &b"SQLite format 3\0"[..], "mcap convert"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "ask --image"),
        ("a.bag", b"#ROSBAG V2.0\n", "mcap convert"),
        ("a.mcap.zstd", b"\x28\xb5\x2f\xfd....", "zstd -d"),
        ("empty.mcap", b"", "no MCAP file"),
    ] {
        fs::write(at(name), bytes).unwrap();
        let Output { stderr, .. } =
            perihelion(&["run", &made().engine, "--bag", &at(name)]).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(stderr.contains(word) && stderr.contains(name), "{stderr}");
    }
    let Output { stderr, .. } = perihelion(&["build", &at("none.model"), "-o", &out]).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(stderr.matches("No such file").count(), 1, "{stderr}");
}
