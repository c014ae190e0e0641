//! `build --backend tensorrt` by the command itself: what it refuses needs no library; what it writes without a GPU needs TensorRT-RTX.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use perihelion::export::{ReasonOptions, export_reason};

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("small.model");
        export_reason(Path::new("engines/small-reason"), &ReasonOptions::default(), &model, &mut |_| {})
            .unwrap();
        Bench { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
        command.args(arguments).current_dir(self.folder.path()).env("PERIHELION_CACHE", self.path("cache"));
        command
    }

    /// `build small.model -o OUT --backend tensorrt …`
    fn build(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["build", "small.model", "-o", out, "--backend", "tensorrt"]);
        command.args(more);
        command
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refused(mut command: Command, code: i32, words: &[&str]) {
    let output = command.output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{said:?} lacks {word:?}");
    }
}

fn written(mut command: Command) -> (serde_json::Value, String) {
    let output = command.arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    (serde_json::from_slice(&output.stdout).unwrap(), said(&output))
}

#[test]
fn what_cannot_be_built_for_is_said_before_anything_is_made() {
    let bench = Bench::new();
    refused(bench.build("a.engine", &["--target", "toaster"]), 2, &["`toaster`", "orin-nano", "sm86"]);
    let of_cpu = ["build", "small.model", "-o", "a.engine", "--backend", "cpu", "--target", "thor"];
    refused(bench.command(&of_cpu), 2, &["`cpu`", "`thor`"]);
    let mut nowhere = bench.build("a.engine", &["--target", "sm86"]);
    nowhere.env("PERIHELION_TENSORRT", "/nowhere");
    refused(nowhere, 1, &["`tensorrt` cannot be used"]);
    assert_eq!(bench.files(), ["small.model"]);
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn an_engine_for_a_gpu_that_is_not_here_is_written_untried_and_only_if_asked() {
    if Path::new("/dev/nvidiactl").exists() {
        println!("NOT RUN: there is a GPU here");
        return;
    }
    let bench = Bench::new();
    refused(bench.build("a.engine", &[]), 1, &["--target"]);
    let words = ["a.engine", "--untried", "golden cases"];
    refused(bench.build("a.engine", &["--target", "sm86", "--precision", "f16"]), 1, &words);
    for (target, precision, words) in [
        ("sm86", "language=fp8,vision=f16", ["`language`", "fp8", "8.6"]),
        ("sm89", "language=f16,vision=nvfp4", ["`vision`", "nvfp4", "8.9"]),
        ("rtx", "language=int4,vision=f16", ["`language`", "several GPUs at once", "sm86, sm89, sm120"]),
    ] {
        let asked = ["--target", target, "--untried", "--precision", precision];
        refused(bench.build("a.engine", &asked), 1, &words);
    }
    std::fs::write(bench.path("scales.json"), r#"{"format": 1, "model": "another", "tensors": []}"#).unwrap();
    let scales = ["--target", "sm86", "--untried", "--precision", "int8", "--scales", "scales.json"];
    refused(bench.build("a.engine", &scales), 1, &["model another"]);
    std::fs::remove_file(bench.path("scales.json")).unwrap();
    let kv = ["--target", "sm86", "--untried", "--precision", "f16,kv=f32"];
    refused(bench.build("a.engine", &kv), 2, &["`kv`", "kept in f16"]);
    assert_eq!(bench.files(), ["small.model"], "nothing is begun");
    let asked = ["--target", "sm86", "--untried", "--precision", "f16"];
    let (first, said) = written(bench.build("a.engine", &asked));
    println!("{first:#}\n{said}");
    assert!(first["golden_runs"].is_null() && first["memory"].is_null());
    let kept = |report: &serde_json::Value| -> Vec<bool> {
        report["plans"].as_array().unwrap().iter().map(|p| p["is_kept"].as_bool().unwrap()).collect()
    };
    assert!(!kept(&first).is_empty() && kept(&first).iter().all(|kept| !kept));
    assert!(first["plans"][0]["peak_bytes"].as_u64().unwrap() > 1 << 20);
    // The same again is read, not made; another precision is another plan.
    let (second, _) = written(bench.build("b.engine", &asked));
    assert!(kept(&second).iter().all(|kept| *kept), "{second}");
    let (other, _) =
        written(bench.build("b.engine", &["--target", "sm86", "--untried", "--precision", "bf16"]));
    assert!(kept(&other).iter().all(|kept| !kept), "{other}");
    // It can be looked at; what runs it is said, and what is lacking.
    let inspected = bench.command(&["inspect", "a.engine", "--json"]).output().unwrap();
    let inspected: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!((&inspected["backend"], &inspected["precision"]), (&"tensorrt".into(), &"f16,kv=f16".into()));
    assert_eq!((&inspected["bound_to"]["gpu"], &inspected["is_tried"]), (&"sm_86".into(), &false.into()));
    let kv = inspected["formats"].as_array().unwrap().iter().find(|part| part["part"] == "kv").unwrap();
    assert_eq!(kv["format"], "f16", "caches are kept in what their plans compute in");
    assert!(inspected["bound_to"]["library"].as_str().unwrap().starts_with("TensorRT-RTX 1."));
    refused(bench.command(&["ask", "a.engine", "--prompt", "?"]), 1, &["a.engine", "no NVIDIA driver"]);
    assert_eq!(bench.files(), ["a.engine", "b.engine", "cache", "small.model"]);
}

/// Weights of 4 bits stand in the engine, and so does what its activations of 8 are scaled by.
#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn an_engine_of_fewer_bits_has_its_weights_and_scales() {
    let bench = Bench::new();
    let model = perihelion::model::Model::open(&bench.path("small.model")).unwrap();
    let of_vision = model.network().weights.iter().filter(|w| w.part == "vision" && w.shape.len() == 2);
    let tensors = of_vision.map(|w| serde_json::json!({"weight": w.name, "amax": 8.0, "method": "given"}));
    let digest = perihelion::container::hex(&model.digest());
    let tensors = tensors.collect::<Vec<_>>();
    let scales = serde_json::json!({"format": 1, "model": digest, "tensors": tensors});
    std::fs::write(bench.path("scales.json"), scales.to_string()).unwrap();
    let precision = ["--precision", "language=int4,vision=int8", "--scales", "scales.json"];
    written(bench.build("a.engine", &[&["--target", "sm86", "--untried"], &precision[..]].concat()));
    let inspected = bench.command(&["inspect", "a.engine", "--json"]).output().unwrap();
    let inspected: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    let formats = inspected["formats"].as_array().unwrap();
    let of = |name: &str| formats.iter().find(|part| part["part"] == name).unwrap();
    assert_eq!((&of("language")["format"], &of("language")["scales"]), (&"int4".into(), &"apart".into()));
    assert_eq!((&of("vision")["format"], &of("kv")["format"]), (&"int8".into(), &"f16".into()));
    let section = |name: &str| {
        let all = inspected["sections"].as_array().unwrap();
        all.iter().find(|section| section["name"] == name).unwrap()["bytes"].as_u64().unwrap()
    };
    let [weights, constants] = ["weights", "constants"].map(section);
    println!("{weights} bytes of weights as inputs, {constants} of constants");
    assert!(0 < constants && section("scales") < 100_000);
    let engine = perihelion::engine::Engine::open(&bench.path("a.engine")).unwrap();
    assert_eq!(engine.manifest().scales_sha256.as_ref().map(String::len), Some(64));
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn two_builds_at_once_make_each_plan_once_and_write_the_same_engine() {
    let bench = Bench::new();
    let begin = |out: &str| -> Child {
        let mut build = bench.build(out, &["--target", "sm89", "--untried", "--json"]);
        build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [begin("a.engine"), begin("b.engine")].map(|child| child.wait_with_output().unwrap());
    let mut n_made = 0;
    for output in &both {
        assert!(output.status.success(), "{}", said(output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        n_made += report["plans"].as_array().unwrap().iter().filter(|p| p["is_kept"] == false).count();
    }
    let plans = std::fs::read_dir(bench.path("cache/plans")).unwrap().count();
    assert_eq!(n_made, plans, "each was made once, and no lock is left");
    let read = |name: &str| std::fs::read(bench.path(name)).unwrap();
    assert!(read("a.engine") == read("b.engine"), "made of the same plans");
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn a_build_that_is_interrupted_leaves_nothing_and_nobody_behind() {
    let bench = Bench::new();
    let mut build = bench.build("a.engine", &["--target", "sm86", "--untried"]);
    let mut build = build.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Until it has a child that makes a plan.
    let children = format!("/proc/{0}/task/{0}/children", build.id());
    let child = loop {
        let listed = std::fs::read_to_string(&children).unwrap();
        if let Some(child) = listed.split_whitespace().next() {
            break child.to_owned();
        }
        assert!(build.try_wait().unwrap().is_none(), "it ended before it made a plan");
        std::thread::yield_now();
    };
    assert!(Command::new("kill").args(["-INT", &build.id().to_string()]).status().unwrap().success());
    let ended = build.wait().unwrap();
    assert!(!ended.success());
    // The child is killed with it, at once if not at the same moment.
    let gone = (0..1_000_000).any(|_| {
        std::thread::yield_now();
        !Path::new("/proc").join(&child).join("exe").exists()
    });
    assert!(gone, "process {child} goes on");
    assert!(
        bench.files().iter().all(|name| ["small.model", "cache"].contains(&name.as_str())),
        "{:?}",
        bench.files()
    );
    let left = std::fs::read_dir(bench.path("cache/plans")).unwrap();
    let halves =
        left.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "partial")).count();
    assert_eq!(halves, 0);
    // What was left is no obstacle.
    written(bench.build("a.engine", &["--target", "sm86", "--untried"]));
}
