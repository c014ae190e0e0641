//! `plan` as the real binary: what it ranks, writes and refuses.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

fn perihelion(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perihelion")).args(arguments).output().expect("the binary runs")
}

/// Stdout of a run that must succeed.
fn succeed(arguments: &[&str]) -> String {
    let output = perihelion(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(arguments)).unwrap()
}

/// The run must end with this code, say `words` on stderr, and nothing on stdout.
fn fail(code: i32, arguments: &[&str], words: &str) {
    let output = perihelion(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.contains(words), "{arguments:?}: {stderr:?} lacks {words:?}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
}

struct Built {
    dir: PathBuf,
    engine: String,
    reason: String,
    without_actions: String,
    frames: String,
}

impl Built {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.dir.join(name), text).unwrap();
        self.path(name)
    }
}

/// Engines and inputs, made once for all tests of this process.
fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plan");
        fs::create_dir_all(dir.join("frames")).unwrap();
        let path = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
        let engine = |checkpoint: &str, name: &str| {
            let (model, engine) = (path(&format!("{name}.model")), path(&format!("{name}.engine")));
            succeed(&["export", checkpoint, "-o", &model]);
            succeed(&["build", &model, "-o", &engine, "--backend", "cpu", "--precision", "f32"]);
            engine
        };
        let fixture = |name: &str| format!("tests/fixtures/predict/{name}/checkpoint");
        for t in 0..6u32 {
            // Larger than the engine's and of another shape: they are scaled.
            let pixel = |x: u32, y: u32| image::Rgb([(x * 9 + t * 20) as u8, (y * 7) as u8, (t * 40) as u8]);
            image::RgbImage::from_fn(40, 60, pixel).save(dir.join(format!("frames/{t}.png"))).unwrap();
        }
        image::RgbImage::from_pixel(50, 20, image::Rgb([200, 40, 90])).save(dir.join("goal.png")).unwrap();
        let zeros = "linear,angular\n".to_owned() + &"0,0\n".repeat(8);
        fs::write(dir.join("zeros.csv"), zeros).unwrap();
        Built {
            engine: engine(&fixture("predict25_actions_of_each_latent"), "actions"),
            without_actions: engine(&fixture("predict25_two_given"), "none"),
            reason: engine("engines/small-reason", "reason"),
            frames: path("frames"),
            dir,
        }
    })
}

/// `plan` around zeros with these words more.
fn around<'a>(built: &'a Built, zeros: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words =
        vec!["plan", &built.engine, "--frames", &built.frames, "--around", zeros, "--spread", "1,2"];
    words.extend_from_slice(more);
    words
}

#[test]
fn what_imagine_made_of_a_plan_is_found_again() {
    let built = built();
    let (zeros, best, clip) =
        (built.path("zeros.csv"), built.path("best.csv"), built.path("clip.safetensors"));
    let goal = built.path("goal.png");
    let rank = |goal: &str, samples: &str| {
        json(&around(built, &zeros, &["--samples", samples, "--goal", goal, "--seed", "3", "--json"]))
    };
    let plans = rank(&goal, "5");
    assert_eq!((plans["n_evaluated"].as_u64(), plans["truncated"].as_bool()), (Some(6), Some(false)));
    assert_eq!(plans["score"]["name"], "goal");
    let scores: Vec<f64> =
        plans["candidates"].as_array().unwrap().iter().map(|c| c["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted() && scores[0] < scores[5], "{scores:?}");
    let of_sample = |ranking: &Value, name: &str| {
        let found = ranking["candidates"].as_array().unwrap().iter().find(|c| c["source"] == name);
        found.unwrap()["score"].clone()
    };
    assert_eq!(
        of_sample(&rank(&goal, "2"), "sample 2"),
        of_sample(&plans, "sample 2"),
        "their number counts"
    );

    // It says by what the goal was blurred, if it was.
    assert_eq!(plans["score"].get("blur"), None);
    let blurred = ["--samples", "5", "--goal", &goal, "--goal-blur", "0.25", "--json"];
    assert_eq!(json(&around(built, &zeros, &blurred))["score"]["blur"], 0.25);
    let write = ["--samples", "5", "--goal", &goal, "--seed", "3", "--actions-out", &best];
    succeed(&around(built, &zeros, &write));
    let imagine = ["imagine", &built.engine, "--frames", &built.frames, "--actions", &best, "--seed", "3"];
    succeed(&[&imagine[..], &["--latents", &clip, "--latent-only"]].concat());
    let found = rank(&clip, "5");
    assert_eq!(found["candidates"][0]["source"], plans["candidates"][0]["source"]);
    assert_eq!(found["candidates"][0]["score"], 0.0);
    assert!(0.0 < found["candidates"][1]["score"].as_f64().unwrap());
    let of_json: Vec<f32> =
        serde_json::from_value::<Vec<Vec<f32>>>(found["best"]["actions"].clone()).unwrap().concat();
    let text = fs::read_to_string(&best).unwrap();
    let of_file: Vec<f32> =
        text.lines().skip(1).flat_map(|line| line.split(',').map(|cell| cell.parse().unwrap())).collect();
    assert_eq!(of_file, of_json);
}

#[test]
fn threads_and_files_do_not_change_the_ranking() {
    let built = built();
    let plan = |v: f32| format!("{v},{}\n", -v).repeat(8);
    let header = "linear,angular\n";
    fs::create_dir_all(built.dir.join("plans")).unwrap();
    let mut one_file = format!("candidate,{header}");
    for (name, v) in [("a", 0.5), ("b", -2.0), ("c", 3.0)] {
        built.write(&format!("plans/{name}.csv"), &format!("{header}{}", plan(v)));
        one_file += &plan(v).lines().map(|l| format!("{name}.csv,{l}\n")).collect::<String>();
    }
    let (file, dir) = (built.write("plans.csv", &one_file), built.path("plans"));
    let rank = |plans: &str, threads: &str| {
        let words = ["plan", &built.engine, "--frames", &built.frames, "--candidates", plans, "--surprise"];
        json(&[&words[..], &["--noises", "3", "--threads", threads, "--json"]].concat())["candidates"].clone()
    };
    let first = rank(&dir, "1");
    assert_eq!(first.as_array().unwrap().len(), 3);
    assert!(first[0]["score"].as_f64().unwrap() < first[2]["score"].as_f64().unwrap());
    assert_eq!((&rank(&dir, "3"), &rank(&file, "2")), (&first, &first));
}

#[test]
fn the_critic_ranks_by_what_reason_says_of_the_same_frames() {
    let built = built();
    let (zeros, out, sheet) = (built.path("zeros.csv"), built.path("best"), built.path("sheet.png"));
    let question = "Is the path of the red ball clear?";
    for (n_frames, expect) in [("1", "yes"), ("4", "no")] {
        let critic = ["--critic", &built.reason, "--question", question, "--expect", expect];
        let more = ["--critic-frames", n_frames, "--samples", "3", "--top", "4", "--json"];
        let files = ["--frames-out", &out, "--overwrite", "--contact-sheet", &sheet];
        let found = json(&around(built, &zeros, &[&critic[..], &more, &files].concat()));
        assert_eq!(
            (&found["score"]["name"], &found["score"]["higher_is_better"]),
            (&"critic".into(), &true.into())
        );
        for (place, candidate) in found["candidates"].as_array().unwrap().iter().enumerate() {
            let dir = Path::new(&out).join(format!("{:02}", place + 1));
            let last = dir.join("0007.png");
            let clip = built.dir.join(format!("clip-{n_frames}"));
            fs::create_dir_all(&clip).unwrap();
            for i in 4..8 {
                fs::copy(dir.join(format!("{i:04}.png")), clip.join(format!("{i}.png"))).unwrap();
            }
            let shown = match n_frames {
                "1" => vec!["--image", last.to_str().unwrap()],
                _ => vec!["--video", clip.to_str().unwrap(), "--fps", "4"],
            };
            let ask = ["ask", &built.reason, "--prompt", question, "--choices", "yes,no", "--json"];
            let answer = json(&[&ask[..], &shown].concat());
            let choices = answer["choices"].as_array().unwrap();
            let share = &choices.iter().find(|c| c["text"] == expect).unwrap()["share"];
            assert_eq!(&candidate["score"], share, "rank {}", place + 1);
        }
        let scores: Vec<f64> =
            found["candidates"].as_array().unwrap().iter().map(|c| c["score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    }
    // Given, eight forecast ones; 16 pixels wide, six times as large.
    let (width, height) = image::image_dimensions(&sheet).unwrap();
    assert_eq!((width, height), (9 * (96 + 4) + 4, 4 * (192 + 4) + 4));
}

#[test]
fn drawn_plans_keep_the_limits_that_the_checkpoint_names() {
    let built = built();
    let from = Path::new("tests/fixtures/predict/predict25_actions_of_each_latent/checkpoint");
    let to = built.dir.join("limited");
    for part in ["transformer", "vae", "scheduler"] {
        fs::create_dir_all(to.join(part)).unwrap();
        for entry in fs::read_dir(from.join(part)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(part).join(entry.file_name())).unwrap();
        }
    }
    fs::copy(from.join("text_embedding.safetensors"), to.join("text_embedding.safetensors")).unwrap();
    let mut index: Value =
        serde_json::from_str(&fs::read_to_string(from.join("model_index.json")).unwrap()).unwrap();
    index["perihelion"]["actions"]["low"] = serde_json::json!([-0.5, 0.0]);
    index["perihelion"]["actions"]["high"] = serde_json::json!([0.5, 0.25]);
    fs::write(to.join("model_index.json"), index.to_string()).unwrap();
    let (model, engine) = (built.path("limited.model"), built.path("limited.engine"));
    succeed(&["export", to.to_str().unwrap(), "-o", &model]);
    succeed(&["build", &model, "-o", &engine, "--backend", "cpu", "--precision", "f32"]);
    assert!(succeed(&["inspect", &engine]).contains("linear (-0.5…0.5), angular (0…0.25)"));
    let (zeros, goal) = (built.path("zeros.csv"), built.path("goal.png"));
    let plan =
        ["plan", &engine, "--frames", &built.frames, "--around", &zeros, "--spread", "3", "--goal", &goal];
    let mut n_at_limits = 0;
    for seed in ["1", "2", "3"] {
        let found = json(&[&plan[..], &["--seed", seed, "--samples", "4", "--json"]].concat());
        for row in found["best"]["actions"].as_array().unwrap() {
            let (linear, angular) = (row[0].as_f64().unwrap(), row[1].as_f64().unwrap());
            assert!((-0.5..=0.5).contains(&linear) && (0.0..=0.25).contains(&angular), "{row}");
            n_at_limits += usize::from(linear.abs() == 0.5);
        }
    }
    assert!(0 < n_at_limits, "a spread of six times the limits never reaches them");
}

#[test]
fn what_means_nothing_is_refused() {
    let built = built();
    let zeros = built.path("zeros.csv");
    let goal = built.path("goal.png");
    let by_goal = ["--goal", &goal[..]];
    let plan = |engine: &str, plans: &str, more: &[&str], code: i32, words: &str| {
        let first = ["plan", engine, "--frames", &built.frames, "--candidates", plans];
        fail(code, &[&first[..], more].concat(), words);
    };
    plan(&built.without_actions, &zeros, &by_goal, 2, "takes no actions");
    plan(&built.reason, &zeros, &by_goal, 1, "answers questions");
    plan(&built.engine, &zeros, &[], 2, "--goal");
    plan(&built.engine, &zeros, &["--surprise", "--goal", &goal], 2, "cannot be used with");
    plan(&built.engine, &zeros, &["--surprise"], 2, "at least 2 noises");
    plan(&built.engine, &zeros, &["--goal", &goal, "--noises", "0"], 2, "0 noises");
    plan(&built.engine, &zeros, &["--goal", &goal, "--samples", "3"], 2, "--around");
    plan(&built.engine, &zeros, &["--critic", &built.reason], 2, "--question");
    let critic = ["--critic", &built.reason, "--question", "Is it?"];
    plan(
        &built.engine,
        &zeros,
        &[&critic[..], &["--expect", "maybe"]].concat(),
        2,
        "none of the choices: yes, no",
    );
    plan(&built.engine, &zeros, &[&critic[..], &["--critic-frames", "9"]].concat(), 2, "1 to 8");
    plan(&built.engine, &zeros, &["--goal", &goal, "--budget-ms", "0"], 1, "deadline");
    plan(&built.engine, &zeros, &["--goal", &built.path("nothing.png")], 1, "nothing.png");
    plan(&built.engine, &zeros, &["--goal", &zeros], 1, "zeros.csv");
    let spread = |s: &str, words: &str| {
        fail(
            2,
            &[
                "plan",
                &built.engine,
                "--frames",
                &built.frames,
                "--around",
                &zeros,
                "--spread",
                s,
                "--goal",
                &goal,
            ],
            words,
        );
    };
    spread("1,2,3", "one for each of the 2");
    spread("nan", "expected one number");

    fs::create_dir_all(built.dir.join("empty")).unwrap();
    plan(
        &built.engine,
        &built.path("empty"),
        &by_goal,
        1,
        "no plan; expected CSV with the header `linear,angular`",
    );
    for (name, text, words) in [
        ("empty.csv", "", "expected the header `linear,angular`"),
        ("header.csv", "linear,angular\n", "no plan"),
        ("wide.csv", "linear,angular,up\n0,0,0\n", "expected the header"),
        ("narrow.csv", "linear,angular\n0\n", "narrow.csv:2: expected 2 values, found 1"),
        ("nan.csv", "linear,angular\n0,nan\n", "`angular`: expected a finite number, found `nan`"),
        ("again.csv", "candidate,linear,angular\na,0,0\nb,0,0\na,0,0\n", "candidate `a` begins again"),
        ("short.csv", "linear,angular\n0,0\n", "a plan of 1 rows: expected 12"),
    ] {
        plan(&built.engine, &built.write(name, text), &by_goal, 1, words);
    }
    let long = built.write("long.csv", &("linear,angular\n".to_owned() + &"0,0\n".repeat(13)));
    plan(&built.engine, &long, &by_goal, 1, "candidate 0 (long.csv): a plan of 13 rows");
}
