//! The real binary with a Predict engine: short and long forecasts, the files it writes, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use image::{Rgb, RgbImage};
use serde_json::Value;

const FIXTURES: &str = "tests/fixtures/predict";
/// Five frames given of thirteen, two actions a frame.
const FIXTURE: &str = "predict25_actions_of_each_latent";
/// Width and height.
const SIZE: (u32, u32) = (16, 32);
const N_GIVEN: usize = 5;
const HORIZON: usize = 8;

fn perihelion(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perihelion")).args(arguments).output().expect("the binary runs")
}

fn json(arguments: &[&str]) -> Value {
    let output = perihelion(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The run must end with this code, say `words` on stderr, and nothing on stdout.
fn fail(code: i32, arguments: &[&str], words: &str) {
    let output = perihelion(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.contains(words), "{arguments:?}: {stderr:?} lacks {words:?}");
    assert!(!stderr.contains("panicked") && output.stdout.is_empty(), "{arguments:?}: {stderr}");
}

struct World {
    dir: PathBuf,
    engine: String,
    frames: String,
}

/// One for all tests of this process.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("predict_cli");
        fs::create_dir_all(&dir).expect("made");
        let frames = dir.join("frames");
        // Of another size than the engine's.
        write_frames(&frames, N_GIVEN + 2, |_| (40, 24));
        let frames = frames.to_str().expect("UTF-8").to_owned();
        World { engine: engine(&dir, FIXTURE), dir, frames }
    })
}

/// A fixture's checkpoint, exported and built.
fn engine(dir: &Path, fixture: &str) -> String {
    let name = |kind: &str| dir.join(format!("{fixture}.{kind}")).to_str().expect("UTF-8").to_owned();
    let (model, engine) = (name("model"), name("engine"));
    let checkpoint = format!("{FIXTURES}/{fixture}/checkpoint");
    for arguments in [
        &["export", &checkpoint, "-o", &model][..],
        &["build", &model, "-o", &engine, "--backend", "cpu", "--precision", "f32"],
    ] {
        let output = perihelion(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    engine
}

impl World {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// A plan of so many rows.
    fn plan(&self, n_rows: usize) -> String {
        let rows = (0..n_rows).map(|i| format!("0.5,{}\n", i as f32 / 8.0));
        self.text(&format!("plan-{n_rows}.csv"), &format!("linear,angular\n{}", rows.collect::<String>()))
    }

    fn text(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn imagine(&self, more: &[&str]) -> Vec<String> {
        let first = ["imagine", &self.engine, "--frames", &self.frames, "--json"];
        first.iter().chain(more).map(|a| (*a).to_owned()).collect()
    }

    fn forecast(&self, more: &[&str]) -> Value {
        let arguments = self.imagine(more);
        json(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn refuses(&self, code: i32, more: &[&str], words: &str) {
        let arguments = self.imagine(more);
        fail(code, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), words);
    }
}

fn write_frames(dir: &Path, n: usize, size: fn(usize) -> (u32, u32)) {
    fs::create_dir_all(dir).expect("made");
    for t in 0..n {
        let (width, height) = size(t);
        let pixel = |x: u32, y: u32| Rgb([(x * 7 + t as u32 * 9) as u8, (y * 13) as u8, ((x + y) * 5) as u8]);
        let frame = RgbImage::from_fn(width, height, pixel);
        frame.save(dir.join(format!("{t:04}.png"))).expect("written");
    }
}

fn count(report: &Value, key: &str) -> usize {
    report[key].as_u64().unwrap_or_else(|| panic!("{key}: {report}")) as usize
}

fn pictures(dir: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).expect("there").map(|e| e.expect("readable").path()).collect();
    paths.sort();
    paths.iter().map(|p| image::open(p).expect("a picture").into_rgb8().into_raw()).collect()
}

#[test]
fn a_long_forecast_begins_as_a_short_one_and_goes_on_from_it() {
    let world = world();
    let (short_out, long_out, hand_out) = (world.path("short"), world.path("long"), world.path("by-hand"));
    let gif = world.path("long.gif");
    for dir in [&short_out, &long_out, &hand_out] {
        fs::remove_dir_all(dir).ok();
    }
    let short =
        world.forecast(&["--actions", &world.plan(HORIZON), "--seed", "3", "--frames-out", &short_out]);
    assert_eq!(
        ["given_frames", "horizon_frames", "forecast_frames", "chunks"].map(|k| count(&short, k)),
        [5, 8, 8, 1]
    );
    let n = 2 * HORIZON;
    let horizon = n.to_string();
    let long = world.forecast(&[
        "--actions",
        &world.plan(n),
        "--seed",
        "3",
        "--horizon",
        &horizon,
        "--frames-out",
        &long_out,
        "--gif",
        &gif,
    ]);
    assert_eq!(["horizon_frames", "forecast_frames", "chunks"].map(|k| count(&long, k)), [n, n, 2]);
    assert_eq!(long["truncated"], false);
    assert_eq!(long["step_ms"].as_array().map(Vec::len), Some(2 * count(&long, "steps")));
    assert_eq!(long["files"].as_array().map(Vec::len), Some(n));
    assert!(fs::read(&gif).expect("written").starts_with(b"GIF89a"));
    let (short, long) = (pictures(&short_out), pictures(&long_out));
    assert!(short.len() == HORIZON && long.len() == n && long[..HORIZON] == short[..]);

    // The second clip by hand: its frames are the last ones of the first, its noise has the next seed: four on, since each of
    // the four steps draws one.
    let context = Path::new(&world.dir).join("context");
    fs::create_dir_all(&context).expect("made");
    for (i, frame) in short[HORIZON - N_GIVEN..].iter().enumerate() {
        let frame = RgbImage::from_raw(SIZE.0, SIZE.1, frame.clone()).expect("of that size");
        frame.save(context.join(format!("{i}.png"))).expect("written");
    }
    let rows = fs::read_to_string(world.plan(n)).expect("written");
    let rows: Vec<&str> = rows.lines().collect();
    let later = [&rows[..1], &rows[1 + HORIZON + 1 - N_GIVEN..]].concat().join("\n");
    let later = world.text("later.csv", &later);
    let context = context.to_str().expect("UTF-8");
    json(&[
        "imagine",
        &world.engine,
        "--frames",
        context,
        "--actions",
        &later,
        "--seed",
        "7",
        "--frames-out",
        &hand_out,
        "--json",
    ]);
    assert!(pictures(&hand_out) == long[HORIZON..]);

    let part = world.forecast(&["--actions", &world.plan(3), "--horizon", "3"]);
    assert_eq!(["horizon_frames", "forecast_frames", "chunks"].map(|k| count(&part, k)), [3, 3, 1]);
}

#[test]
fn a_budget_cuts_a_long_forecast_off() {
    let world = world();
    let engine = engine(&world.dir, "predict25_two_given");
    // The first clip must be denoised within the budget; a busy machine may need several tries to come so far.
    for budget in ["300", "3000", "30000"] {
        let output = perihelion(&[
            "imagine",
            &engine,
            "--frames",
            &world.frames,
            "--steps",
            "1",
            "--guidance",
            "0",
            "--horizon",
            "1000000000",
            "--budget-ms",
            budget,
            "--json",
        ]);
        let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else { continue };
        assert_eq!(report["truncated"], true, "{report}");
        assert_eq!(count(&report, "horizon_frames"), 1_000_000_000);
        let n = count(&report, "forecast_frames");
        assert!(count(&report, "chunks") == n.div_ceil(4) && n.is_multiple_of(4), "{report}");
        return;
    }
    panic!("not one clip was denoised in 30 s");
}

#[test]
fn bad_input_is_refused_with_its_place() {
    let world = world();
    let plan = |name: &str, text: &str| world.text(name, text);
    let wide = plan("wide.csv", "linear,angular\n1,2\n1,2,3\n");
    let narrow = plan("narrow.csv", "linear\n1\n");
    let not_a_number = plan("nan.csv", "linear,angular\n0,0\n0,NaN\n");
    let endless = plan("inf.csv", "linear,angular\ninf,0\n");
    let word = plan("word.csv", "linear,angular\n0,left\n");
    refuses_plans(
        world,
        &[
            (&wide, "wide.csv:3: expected 2 values, found 3"),
            (&narrow, "expected the header `linear,angular`, found `linear`"),
            (&not_a_number, "nan.csv:3: `angular`: expected a finite number, found `NaN`"),
            (&endless, "inf.csv:2: `linear`: expected a finite number, found `inf`"),
            (&word, "found `left`"),
            (&world.plan(HORIZON + 1), "a plan of 9 rows: expected 12 (every frame after the first) or 8"),
            (&world.plan(13), "a plan of 13 rows"),
            (&world.path("nothing.csv"), "nothing.csv"),
        ],
    );
    world.refuses(2, &[], "the engine takes actions (linear, angular)");
    let plan = world.plan(HORIZON);
    world.refuses(2, &["--actions", &plan, "--horizon", "0"], "a horizon of 0 frames: expected at least 1");
    world.refuses(1, &["--actions", &plan, "--horizon", "16"], "a plan of 8 rows: expected 20");
    let long_plan = world.plan(16);
    for (option, value) in [
        ("--noise", Some("noise.safetensors")),
        ("--latents", Some("l.safetensors")),
        ("--latent-only", None),
    ] {
        let mut more = vec!["--actions", &long_plan, "--horizon", "16", option];
        more.extend(value);
        world.refuses(2, &more, &format!("{option} is of one clip: take a --horizon of at most 8 frames"));
    }
    world.refuses(2, &["--actions", &plan, "--text", "another"], "--text another: the engine has default");
    world.refuses(1, &["--actions", &plan, "--steps", "9"], "9 steps: expected 1 to 4");

    let few = world.path("few");
    write_frames(Path::new(&few), N_GIVEN - 1, |_| SIZE);
    let changing = world.path("changing");
    write_frames(Path::new(&changing), N_GIVEN + 1, |t| if t == 3 { (16, 16) } else { SIZE });
    let imagine =
        |frames: &str| ["imagine", &world.engine, "--actions", &plan, "--frames", frames].map(str::to_owned);
    for (code, frames, words) in [
        (2, &few, "4 frames; the engine forecasts from 5"),
        (1, &changing, "0003.png"),
        (1, &world.path("no-such-directory"), "no-such-directory"),
    ] {
        let arguments = imagine(frames);
        fail(code, &arguments.each_ref().map(String::as_str), words);
    }

    // The text embedding of another checkpoint has other channels.
    let other = format!("{FIXTURES}/predict25_one_given/checkpoint/text_embedding.safetensors");
    let (checkpoint, out) = (format!("{FIXTURES}/{FIXTURE}/checkpoint"), world.path("refused.model"));
    fail(1, &["export", &checkpoint, "-o", &out, "--text-embedding", &other], "another checkpoint");
    assert!(!Path::new(&out).exists());
}

fn refuses_plans(world: &World, plans: &[(&String, &str)]) {
    for (plan, words) in plans {
        world.refuses(1, &["--actions", plan], words);
    }
}
