//! Recipes, rooflines, manual pages and doctor's board, through the real binary.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const CONFIGS: &str = "tests/fixtures/configs";

fn perihelion(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perihelion")).args(arguments).output().expect("the binary runs")
}

fn succeed(arguments: &[&str]) -> String {
    let output = perihelion(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(arguments)).unwrap()
}

/// The run must end with this code and say all of `words` on stderr.
fn fail(code: i32, arguments: &[&str], words: &[&str]) {
    let output = perihelion(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{arguments:?}: {stderr:?} lacks {word:?}");
    }
}

/// A folder with the small model and a recipe for it.
struct Kitchen(TempDir);

const RECIPE: &str = "[source]\nmodel = \"small.model\"\ncheckpoint = \"the small one\"\n\
    [engine]\nbackend = \"cpu\"\ndevice = \"orin-nano\"\nmemory_gib_max = 1.0\n\
    [precision]\nlanguage = \"bf16\"\n[limits]\ncontext = 256\nimage_tokens = 64\n";

impl Kitchen {
    fn open() -> Self {
        let kitchen = Self(tempfile::tempdir().unwrap());
        succeed(&["export", "engines/small-reason", "-o", &kitchen.path("small.model")]);
        kitchen
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn recipe(&self, text: &str) -> String {
        fs::write(self.path("r.toml"), text).unwrap();
        self.path("r.toml")
    }
}

#[test]
fn a_recipe_is_built_as_it_says() {
    let kitchen = Kitchen::open();
    let engine = kitchen.path("small.engine");
    let recipe = kitchen.recipe(RECIPE);
    json(&["build", &recipe, "-o", &engine, "--json"]);
    let built = json(&["inspect", &engine, "--json"]);
    assert_eq!(built["backend"], "cpu");
    assert_eq!((&built["limits"]["context"], &built["limits"]["image_tokens"]), (&256.into(), &64.into()));
    let formats = built["formats"].as_array().unwrap();
    let format =
        |part: &str| formats.iter().find(|f| f["part"] == part).map(|f| f["format"].clone()).unwrap();
    assert_eq!((format("language"), format("vision")), ("bf16".into(), "f32".into()));
    // What is typed counts before what is written.
    json(&["build", &recipe, "-o", &engine, "--precision", "f32", "--max-context", "128", "--json"]);
    let built = json(&["inspect", &engine, "--json"]);
    assert_eq!((&built["precision"], &built["limits"]["context"]), (&"f32".into(), &128.into()));
    // An output is no recipe and no model of one.
    fail(2, &["build", &recipe, "-o", &recipe], &["is a file that is read"]);
    fail(2, &["build", &recipe, "-o", &kitchen.path("small.model")], &["is a file that is read"]);
}

#[test]
fn what_a_recipe_cannot_have_is_said_and_nothing_is_left() {
    let kitchen = Kitchen::open();
    let engine = kitchen.path("small.engine");
    let build = |text: &str, code: i32, words: &[&str]| {
        fail(code, &["build", &kitchen.recipe(text), "-o", &engine], words);
        assert!(!Path::new(&engine).exists(), "{text}");
    };
    let with = |from: &str, to: &str| RECIPE.replacen(from, to, 1);
    build(&with("backend", "backnd"), 2, &["r.toml", "line 5", "unknown field `backnd`"]);
    build(&with("cpu", "tensorrt"), 1, &["tensorrt", "not compiled in"]);
    build(&with("cpu", "abacus"), 1, &["abacus"]);
    build(
        &with("small.model", "big.model"),
        1,
        &["big.model", "is not there", "perihelion export", "the small one"],
    );
    build(&with("bf16", "f16"), 2, &["the recipe's precision language=f16", "backend cpu", "f16"]);
    build(&with("1.0", "0.001"), 1, &["GiB", "the recipe allows 0.00", "Orin Nano"]);
    build(&with("language", "vae"), 2, &["no part is named `vae`"]);
    let clip = "[clip]\nwidth = 64\nheight = 64\nframes = 9\ngiven = 1\n[limits]\nlatents_per_call = 1\n";
    let forecasts = RECIPE.split("[limits]").next().unwrap().to_owned() + clip;
    build(
        &forecasts,
        1,
        &["small.model", "the recipe is for 64×64, 9 frames", "a model that forecasts nothing"],
    );
    fail(1, &["build", &kitchen.path("none.toml"), "-o", &engine], &["none.toml"]);
}

#[test]
fn rooflines_are_of_the_device_that_is_asked_for_and_called_estimates() {
    let configs = |name: &str| format!("{CONFIGS}/{name}");
    let line = json(&["inspect", &configs("reason2-2b"), "--roofline", "orin-nano", "--json"]);
    assert!(line["note"].as_str().unwrap().contains("an estimate"), "{}", line["note"]);
    assert_eq!(line["device"]["bandwidth_bytes_per_second"]["value"], 102e9);
    let graphs = line["graphs"].as_array().unwrap();
    let decode: Vec<&Value> = graphs.iter().filter(|graph| graph["graph"] == "decode").collect();
    assert_eq!(decode.len(), 2, "with no past and with the longest");
    // One token reads each weight of the language part once: 1.72 × 10⁹ with the tied head, known from the shapes alone.
    let weights = decode[0]["weight_elements"].as_f64().unwrap();
    assert!((1.7e9..1.75e9).contains(&weights), "{weights}");
    let operations = decode[0]["matrix_operations"].as_f64().unwrap();
    assert!((1.99..2.02).contains(&(operations / weights)), "two operations for each weight: {operations}");
    let bound = |format: &str| decode[0]["bounds"].as_array().unwrap().iter().find(|b| b["format"] == format);
    let f16 = bound("f16").unwrap()["ms_min"].as_f64().unwrap();
    assert!((f16 - weights * 2.0 / 102e9 * 1e3).abs() < 0.02 * f16, "{f16} ms");
    assert!(bound("nvfp4").is_none(), "an Orin does not multiply in NVFP4");
    let text = succeed(&["inspect", &configs("predict2.5-2b"), "--roofline", "thor"]);
    assert!(text.contains("nvfp4") && text.contains("denoise") && text.contains("data sheet"), "{text}");
    fail(
        2,
        &["inspect", &configs("reason2-2b"), "--roofline", "orin"],
        &["no device is named `orin`", "agx-orin"],
    );
}

#[test]
fn the_manual_has_every_verb_that_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("pages");
    succeed(&["manual", out.to_str().unwrap()]);
    let names = |folder: PathBuf| -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let pages = names(out.join("man1"));
    for verb in ["ask", "build", "doctor", "run"] {
        assert!(pages.contains(&format!("perihelion-{verb}.1")), "{pages:?}");
    }
    assert!(!pages.iter().any(|page| page.starts_with("perihelion-help")), "{pages:?}");
    assert!(
        pages.contains(&"perihelion.1".to_owned()) && !pages.contains(&"perihelion-transport.1".to_owned())
    );
    assert_eq!(names(out.join("completions")), ["_perihelion", "perihelion.bash", "perihelion.fish"]);
    let page = fs::read_to_string(out.join("man1/perihelion-run.1")).unwrap();
    assert!(page.starts_with(".ie") && page.contains("ros\\-args"), "{}", &page[..200.min(page.len())]);
    fail(2, &["manual", out.to_str().unwrap()], &["is not empty"]);
}

#[test]
fn doctor_says_what_board_this_is() {
    let report = json(&["doctor", "--json"]);
    let is_jetson = report["board"]["is_jetson"].as_bool().unwrap();
    assert_eq!(is_jetson, report["board"]["module"].is_object());
    assert_eq!(is_jetson, report["board"]["lines"].as_array().is_some_and(|lines| !lines.is_empty()));
    assert_eq!(is_jetson, !succeed(&["doctor"]).contains("not a Jetson"));
}
