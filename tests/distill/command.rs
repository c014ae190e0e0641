//! The verb as a real process: killed, interrupted, beside another, on a full disk, and refused.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use perihelion::checkpoint::Tensors;
use serde_json::Value;

const RECIPE: &str = "output = \"run\"\nseed = 5\n[scenes]\nsize = 16\nobjects = 2\nclips = 50\nframes = [5]\n\
    [train]\nsteps = 40\nbatch = 1\nlearning_rate = 0.002\nsave_every_s = 0\n\
    [vae]\nbase_dim = 1\ndim_mult = [1, 2, 2]\nnum_res_blocks = 1\nz_dim = 2\nhalve_time = [true, true]\n\
    noise = 0.5\nobject_weight = 4.0\n";

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    command.current_dir(folder).args(["distill", "a.toml"]).args(arguments);
    if !arguments.contains(&"--threads") {
        command.args(["--threads", "1"]);
    }
    command
}

fn ended(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn succeed(folder: &Path, arguments: &[&str]) -> Value {
    let output = ended(folder, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn fail(code: i32, folder: &Path, arguments: &[&str], words: &str) {
    let output = ended(folder, arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words) && output.stdout.is_empty(), "expected `{words}`: {said}");
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn folder_with(recipe: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.toml"), recipe).unwrap();
    folder
}

/// A run that has saved at least once and has far to go.
fn begun(folder: &Path) -> Child {
    let mut child = command(folder, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !folder.join("run/checkpoint").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it had saved");
        std::thread::yield_now();
    }
    child
}

fn signal(child: &Child, name: &str) {
    Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
}

/// The folder of a run that got SIGTERM between two of its steps, before it had saved.
fn stopped() -> tempfile::TempDir {
    for _ in 0..50 {
        let folder = folder_with(&RECIPE.replace("save_every_s = 0", "save_every_s = 3000"));
        let mut child =
            command(folder.path(), &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may be at its end before it is looked at, or have failed, which is seen below.
        while !folder.path().join("run/log.jsonl").exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        // Of one that has ended the number may be another's.
        if child.try_wait().unwrap().is_none() {
            signal(&child, "TERM");
        }
        let output = child.wait_with_output().unwrap();
        // It may have been at its end.
        if output.status.code() != Some(0) {
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("of 40 steps; go on with --resume"), "{said}");
            return folder;
        }
    }
    panic!("none could be caught at work");
}

fn saved_steps(folder: &Path) -> u64 {
    let state = Tensors::open(&folder.join("run/state.safetensors")).unwrap();
    u64::from_le_bytes(state.tensor("step").unwrap().bytes.try_into().unwrap())
}

/// Everything that a run leaves but the times in its log.
fn left(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let run = folder.join("run");
    let mut names: Vec<String> =
        fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected = [
        "checkpoint",
        "inputs.sha256",
        "log.jsonl",
        "loss.csv",
        "loss.svg",
        "measured-psnr_db.svg",
        "measured-psnr_objects_db.svg",
        "recipe.toml",
        "state.safetensors",
    ];
    assert_eq!(names, expected);
    let of_checkpoint = ["checkpoint/vae/config.json", "checkpoint/vae/diffusion_pytorch_model.safetensors"];
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let losses = log.lines().map(|line| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row["seconds"] = Value::Null;
        format!("{row}\n")
    });
    let mut all = vec![("losses".to_owned(), losses.collect::<String>().into_bytes())];
    for name in ["state.safetensors"].iter().chain(&of_checkpoint) {
        all.push(((*name).to_owned(), fs::read(run.join(name)).unwrap()));
    }
    all
}

#[test]
fn killed_or_stopped_runs_end_as_the_one_that_was_not() {
    let whole = folder_with(RECIPE);
    let report = succeed(whole.path(), &[]);
    assert_eq!((&report["steps"], &report["finished"]), (&40.into(), &true.into()));
    let expected = left(whole.path());

    let killed = folder_with(RECIPE);
    let mut child = begun(killed.path());
    signal(&child, "STOP");
    // Nobody else may train there meanwhile.
    fail(1, killed.path(), &["--resume"], "another process trains there");
    fail(1, killed.path(), &[], "another process trains there");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it was not killed but ended");
    assert!(saved_steps(killed.path()) < 40);
    fail(1, killed.path(), &[], "go on with it by --resume");
    succeed(killed.path(), &["--resume"]);

    let stopped = stopped();
    assert!((1..40).contains(&saved_steps(stopped.path())));
    succeed(stopped.path(), &["--resume"]);

    for folder in [&killed, &stopped] {
        for ((name, expected), (_, found)) in expected.iter().zip(left(folder.path())) {
            assert!(*expected == found, "{name} differs");
        }
    }
}

#[test]
fn parts_at_the_same_time_are_the_same_with_any_number_of_threads() {
    let recipe = RECIPE.replace("steps = 40", "steps = 3\nparts = 5\nat_once = 3");
    let [one, two, four] = ["1", "2", "4"].map(|threads| {
        let folder = folder_with(&recipe);
        succeed(folder.path(), &["--threads", threads]);
        fs::read(folder.path().join("run/state.safetensors")).unwrap()
    });
    assert!(one == two && one == four);
}

#[test]
fn a_run_that_was_killed_before_it_was_saved_begins_again() {
    let folder = folder_with(&RECIPE.replace("steps = 40", "steps = 2"));
    succeed(folder.path(), &[]);
    let expected = left(folder.path());
    // What such a one leaves: a log, and no state.
    fs::remove_file(folder.path().join("run/state.safetensors")).unwrap();
    fs::remove_dir_all(folder.path().join("run/checkpoint")).unwrap();
    fail(1, folder.path(), &[], "go on with it by --resume");
    succeed(folder.path(), &["--resume"]);
    assert!(left(folder.path()) == expected);
    // Before its first step: neither.
    for entry in fs::read_dir(folder.path().join("run")).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap();
        if !["checkpoint", "recipe.toml", "inputs.sha256"].contains(&name) {
            fs::remove_file(entry).unwrap();
        }
    }
    fs::remove_dir_all(folder.path().join("run/checkpoint")).unwrap();
    succeed(folder.path(), &[]);
    assert!(left(folder.path()) == expected);
}

#[test]
fn a_full_disk_leaves_what_was_saved() {
    let folder = folder_with(&RECIPE.replace("steps = 40", "steps = 2"));
    succeed(folder.path(), &[]);
    let more = RECIPE.replace("steps = 40", "steps = 4");
    fs::write(folder.path().join("a.toml"), more).unwrap();
    let before = fs::read(folder.path().join("run/state.safetensors")).unwrap();
    // No file may become longer than 4 KiB, which the state is not and the log is.
    let script = "trap '' XFSZ; ulimit -f 4; exec \"$@\"";
    let resume = command(folder.path(), &["--resume"]);
    let mut limited = Command::new("bash");
    limited.current_dir(folder.path()).args(["-c", script, "bash"]);
    limited.arg(resume.get_program()).args(resume.get_args());
    let output = limited.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("run/state.safetensors"), "{}", stderr(&output));
    assert!(before == fs::read(folder.path().join("run/state.safetensors")).unwrap());
    // By what it was gone on with.
    fs::remove_file(folder.path().join("run/recipe-2.toml")).unwrap();
    left(folder.path());
    succeed(folder.path(), &["--resume"]);
    assert_eq!(saved_steps(folder.path()), 4);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let folder = folder_with(&RECIPE.replace("steps", "stepps"));
    fail(2, folder.path(), &[], "unknown field `stepps`");
    fs::write(folder.path().join("a.toml"), RECIPE.replace("size = 16", "size = 18")).unwrap();
    fail(2, folder.path(), &[], "`scenes.size` is 18; expected a multiple of 4");
    let huge = RECIPE.replace("base_dim = 1", "base_dim = 1024").replace("[1, 2, 2]", "[1, 64, 64]");
    fs::write(folder.path().join("a.toml"), huge).unwrap();
    fail(2, folder.path(), &[], "weights; expected 2147483648 at most");
    assert!(!folder.path().join("run").exists());
    // Into a folder that has other things in it, as a checkpoint is.
    fs::write(folder.path().join("a.toml"), RECIPE.replace("steps = 40", "steps = 1")).unwrap();
    succeed(folder.path(), &[]);
    let checkpoint = folder.path().join("run/checkpoint");
    let before: Vec<_> = fs::read_dir(&checkpoint).unwrap().map(|e| e.unwrap().file_name()).collect();
    fail(1, folder.path(), &["-o", "run/checkpoint"], "`vae` lies there already");
    let after: Vec<_> = fs::read_dir(&checkpoint).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(before, after);
    fail(1, folder.path(), &["-o", "."], "`run` lies there already");
}
