//! An engine or a checkpoint that is cut while the real binary uses it ends the process in order: no answer that is wrong, a message
//! that names the file, an exit code of its own, no core.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use perihelion::export::{ReasonOptions, export_reason};
use perihelion::mapped::{EXIT_CODE, FileMap};
use serde_json::Value;

const CHANGED: &str = "the file was changed while in use";

fn perihelion(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn engine(dir: &Path) -> PathBuf {
    let (model, engine) = (dir.join("a.model"), dir.join("a.engine"));
    for arguments in [
        ["export", "tests/fixtures/reason/text_only/checkpoint", "-o", model.to_str().unwrap()],
        ["build", model.to_str().unwrap(), "-o", engine.to_str().unwrap()],
    ] {
        let done = perihelion(&arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    engine
}

/// Cuts the file itself, as whoever writes over it in place does first.
fn cut(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// Reads a child's answers, all of which must be the same, and its end.
fn rest(mut child: Child, mut answers: impl BufRead, first: &Value) -> (usize, i32, String) {
    let (mut n, mut line) = (1, String::new());
    while answers.read_line(&mut line).unwrap() != 0 {
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["tokens"], first["tokens"], "answer {n} is another");
        (n, line) = (n + 1, String::new());
    }
    let status = child.wait().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (n, status.code().unwrap_or_else(|| panic!("{status}: {stderr}")), stderr)
}

/// Asks one question again and again, and does something after the first answer.
fn ask(engine: &Path, n_questions: usize, then: impl FnOnce()) -> (usize, i32, String) {
    let questions = engine.with_extension("jsonl");
    fs::write(&questions, "{\"prompt\": \"What comes next?\"}\n".repeat(n_questions)).unwrap();
    let (engine, questions) = (engine.to_str().unwrap(), questions.to_str().unwrap());
    let mut child =
        perihelion(&["ask", engine, "--batch", questions, "--greedy", "--max-tokens", "8", "--threads", "2"])
            .spawn()
            .unwrap();
    let mut answers = BufReader::with_capacity(64, child.stdout.take().unwrap());
    let mut first = String::new();
    answers.read_line(&mut first).unwrap();
    then();
    rest(child, answers, &serde_json::from_str(&first).unwrap())
}

/// More answers than fit into a pipe: the process has not come to its end when only the first was read.
const MANY: usize = 2000;

#[test]
fn an_engine_that_is_cut_ends_the_process_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let (n, code, stderr) = ask(&engine, MANY, || cut(&engine, 4096));
    assert!((1..MANY).contains(&n), "{n} answers: {stderr}");
    assert_eq!(code, EXIT_CODE, "{stderr}");
    assert!(stderr.contains(CHANGED) && stderr.contains(engine.to_str().unwrap()), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn an_engine_that_is_replaced_by_a_rename_is_served_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let (n, code, stderr) = ask(&engine, 200, || {
        let other = dir.path().join("other");
        fs::write(&other, b"another file").unwrap();
        fs::rename(&other, &engine).unwrap();
    });
    assert_eq!((n, code), (200, 0), "{stderr}");
}

/// Set for this test's own child: what it is to do, and where.
const CHILD: &str = "PERIHELION_MAPPED_FILES_CHILD";

/// Runs one test of this file again, as a process of its own, in a directory.
fn as_child(test: &str, dir: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, dir);
    let done = command.output().unwrap();
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn a_checkpoint_that_is_cut_ends_its_export_in_order() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let dir = PathBuf::from(dir);
        let mut once = Some(dir.join("checkpoint/model.safetensors"));
        let mut progress = |_: perihelion::export::Progress| {
            once.take().into_iter().for_each(|weights| cut(&weights, 4096));
        };
        let _ = export_reason(
            &dir.join("checkpoint"),
            &ReasonOptions::default(),
            &dir.join("a.model"),
            &mut progress,
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("checkpoint");
    fs::create_dir(&checkpoint).unwrap();
    for entry in fs::read_dir("tests/fixtures/reason/text_only/checkpoint").unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, checkpoint.join(path.file_name().unwrap())).unwrap();
    }
    let (code, stderr) = as_child("a_checkpoint_that_is_cut_ends_its_export_in_order", dir.path());
    assert_eq!(code, Some(EXIT_CODE), "{stderr}");
    assert!(stderr.contains(CHANGED) && stderr.contains("checkpoint/model.safetensors"), "{stderr}");
    assert!(!dir.path().join("a.model").exists());
}

#[test]
fn the_file_that_was_cut_is_named_among_several() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let dir = PathBuf::from(dir);
        let maps = ["a", "b", "c"].map(|name| FileMap::open(&dir.join(name)).unwrap());
        cut(&dir.join("b"), 0);
        let sum = |map: &FileMap| map.iter().map(|b| u64::from(*b)).sum::<u64>();
        assert_eq!((sum(&maps[0]), sum(&maps[2])), (10_000, 10_000));
        std::hint::black_box(sum(&maps[1]));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), [1; 10_000]).unwrap();
    }
    let (code, stderr) = as_child("the_file_that_was_cut_is_named_among_several", dir.path());
    assert_eq!(code, Some(EXIT_CODE), "{stderr}");
    let named = dir.path().join("b");
    assert!(stderr.contains(&format!("{}: {CHANGED}", named.display())), "{stderr}");
}

#[test]
fn a_signal_that_is_no_fault_of_a_map_does_what_it_did() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let map = FileMap::open(&PathBuf::from(dir).join("a")).unwrap();
        assert_eq!(map.len(), 1);
        // Rust's own handler, which was there before, lets the first pass; nobody answers the others.
        for _ in 0..10 {
            let _ = Command::new("kill").args(["-BUS", &std::process::id().to_string()]).status();
        }
        panic!("still here");
    }
    use std::os::unix::process::ExitStatusExt;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), b"x").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "a_signal_that_is_no_fault_of_a_map_does_what_it_did", "--nocapture"])
        .env(CHILD, dir.path());
    let done = command.output().unwrap();
    assert_eq!(done.status.signal(), Some(7), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!String::from_utf8_lossy(&done.stderr).contains(CHANGED));
}
