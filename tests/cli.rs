//! The real binary, from the checkpoint of the small model to its answers: what is printed where, and the exit codes.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

const THINK_SUFFIX: &str = "\nThink first, in <think> </think>.";
const SCENES: &str = "tests/fixtures/scenes";

fn perihelion(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    command.args(arguments).output().expect("the binary runs")
}

/// Stdout of a run that must succeed.
fn succeed(arguments: &[&str]) -> String {
    let output = perihelion(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(arguments: &[&str]) -> Value {
    let stdout = succeed(arguments);
    serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {stdout}"))
}

/// The run must end with this code, say all of `words` on stderr, and nothing on stdout.
fn fail(code: i32, arguments: &[&str], words: &[&str]) {
    let output = perihelion(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{arguments:?}: {stderr:?} lacks {word:?}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?} wrote to stdout");
}

struct Built {
    model: String,
    engine: String,
    bf16: String,
    dir: PathBuf,
}

/// The small model, exported and built once for all tests of this process.
fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
        fs::create_dir_all(&dir).unwrap();
        let name = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
        let (model, engine, bf16) = (name("small.model"), name("small.engine"), name("small-bf16.engine"));
        succeed(&["export", "engines/small-reason", "-o", &model, "--think-suffix", THINK_SUFFIX]);
        succeed(&["build", &model, "-o", &engine, "--backend", "cpu", "--precision", "f32"]);
        succeed(&[
            "build",
            &model,
            "-o",
            &bf16,
            "--backend",
            "cpu",
            "--precision",
            "bf16",
            "--max-context",
            "512",
        ]);
        Built { model, engine, bf16, dir }
    })
}

fn scene(name: &str) -> String {
    format!("{SCENES}/{name}")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(value: &Value) -> Vec<u64> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id")).collect()
}

/// Writes a batch; its paths are those of scenes.
fn batch(name: &str, questions: &[Value]) -> String {
    let scenes = std::env::current_dir().unwrap().join(SCENES);
    let absolute = |path: &mut Value| *path = scenes.join(path.as_str().unwrap()).to_str().unwrap().into();
    let mut text = String::new();
    for question in questions {
        let mut question = question.clone();
        for key in ["images", "video"] {
            match question.get_mut(key) {
                Some(Value::Array(paths)) => paths.iter_mut().for_each(absolute),
                Some(path) => absolute(path),
                None => {}
            }
        }
        text.push_str(&format!("{question}\n"));
    }
    let file = built().dir.join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn answers_are_the_references() {
    let expected: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(scene("expected.json")).unwrap()).unwrap();
    let questions = scene("questions.jsonl");
    let stdout = succeed(&["ask", &built().engine, "--batch", &questions, "--greedy", "--max-tokens", "64"]);
    let answers = lines(&stdout);
    assert_eq!(answers.len(), expected.len());
    for (number, (answer, expected)) in answers.iter().zip(&expected).enumerate() {
        assert_eq!(answer["id"], number, "{answer}");
        assert_eq!(ids(&answer["prompt"]), ids(&expected["prompt"]));
        let (ours, theirs) = (ids(&answer["tokens"]), ids(&expected["tokens"]));
        if let Some(at) = (0..theirs.len()).find(|i| ours.get(*i) != theirs.get(*i)) {
            // Only where the reference's own first two lie closer than the tolerance of two f32 networks.
            let gap = expected["top_two_gaps"][at].as_f64().unwrap();
            assert!(gap < 4e-3, "question {number}: {answer}, expected {expected}");
            continue;
        }
        let text = match answer["thought"].as_str() {
            Some(thought) => format!("<think>\n{thought}\n</think>\n\n{}", answer["text"].as_str().unwrap()),
            None => answer["text"].as_str().unwrap().to_owned(),
        };
        assert_eq!(text, expected["text"].as_str().unwrap());
        assert_eq!((&answer["finish_reason"], &answer["truncated"]), (&"stop".into(), &false.into()));
    }
    let thoughts = answers.iter().filter(|answer| answer["thought"].is_string());
    assert_eq!(thoughts.count(), 1, "one question asks for a thought");
}

#[test]
fn one_json_object_has_the_settled_fields() {
    let image = scene("scene-1.png");
    let prompt = "Where is the red ball?";
    let engine = &built().engine;
    let answer = json(&["ask", engine, "--image", &image, "--prompt", prompt, "--greedy", "--json"]);
    assert_eq!(answer["text"], "[760, 310, 970, 520]");
    assert_eq!(answer["thought"], Value::Null);
    assert_eq!(answer["image_tokens"], 16);
    assert_eq!(answer["prompt_tokens"], ids(&answer["prompt"]).len());
    assert!(!ids(&answer["tokens"]).contains(&504), "the stop token is left out");
    for key in ["ttft_ms", "tpot_ms", "total_ms"] {
        assert!(answer[key].as_f64().is_some_and(|ms| 0.0 < ms), "{key}: {answer}");
    }
    // The image has 64×64 pixels.
    let place = &answer["boxes"][0];
    assert_eq!(place["units"], serde_json::json!([760.0, 310.0, 970.0, 520.0]));
    assert_eq!(place["pixels"], serde_json::json!([48.64, 19.84, 62.08, 33.28]));

    let text = succeed(&["ask", engine, "--image", &image, "--prompt", prompt, "--greedy"]);
    assert_eq!(text, "[760, 310, 970, 520]\n", "without --json the answer is all that stdout has");
}

#[test]
fn choices_have_the_references_probabilities() {
    let expected: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(scene("expected.json")).unwrap()).unwrap();
    let image = scene("scene-1.png");
    let arguments = ["--image", &image, "--prompt", "How many balls are there?", "--choices", "1,2,none"];
    let mut all = vec!["ask", built().engine.as_str(), "--json"];
    all.extend(arguments);
    let answer = json(&all);
    assert_eq!((answer["text"].as_str(), answer["finish_reason"].as_str()), (Some("2"), Some("stop")));
    let choices = answer["choices"].as_array().unwrap();
    let shares: f64 = choices.iter().map(|choice| choice["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{answer}");
    let theirs = expected[0]["first_probabilities"].as_object().unwrap();
    let compared = choices.iter().filter(|choice| {
        let Some(theirs) = theirs.get(&choice["token"].to_string()) else { return false };
        let (ours, theirs) = (choice["probability"].as_f64().unwrap(), theirs.as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-3, "{choice}, expected {theirs}");
        true
    });
    assert!(1 <= compared.count(), "at least the right answer is among the reference's first");

    // After a thought the choice is read where the answer begins.
    let mut thinking = all.clone();
    thinking.push("--think");
    let answer = json(&thinking);
    assert_eq!(answer["text"], "2");
    assert!(answer["thought"].as_str().is_some_and(|thought| thought.contains("ball")), "{answer}");
}

#[test]
fn limits_cut_an_answer_and_say_so() {
    let image = scene("scene-1.png");
    let ask = |more: &[&str]| {
        let mut all = vec!["ask", built().engine.as_str(), "--image", &image, "--prompt", "What do you see?"];
        all.extend(["--greedy", "--json"]);
        all.extend(more);
        json(&all)
    };
    let whole = ask(&[]);
    let cut = ask(&["--max-tokens", "3"]);
    assert_eq!((&cut["finish_reason"], &cut["truncated"]), (&"length".into(), &true.into()));
    assert_eq!(ids(&cut["tokens"]), ids(&whole["tokens"])[..3]);
    let late = ask(&["--budget-ms", "0"]);
    assert_eq!((&late["finish_reason"], &late["truncated"]), (&"deadline".into(), &true.into()));
    assert_eq!((&late["text"], &late["ttft_ms"]), (&"".into(), &Value::Null));
    // The thought is cut at its own limit, closed, and an answer follows.
    let hasty = ask(&["--think", "--think-tokens", "4"]);
    assert_eq!((&hasty["thought_truncated"], &hasty["finish_reason"]), (&true.into(), &"stop".into()));
    assert!(!hasty["text"].as_str().unwrap().is_empty(), "{hasty}");
    let thoughtful = ask(&["--think"]);
    assert!(hasty["thought"].as_str().unwrap().len() < thoughtful["thought"].as_str().unwrap().len());
    // What the model thinks is as far as the limit what it would have thought, then comes what closes a thought.
    let (all, cut) = (ids(&thoughtful["tokens"]), ids(&hasty["tokens"]));
    let closing = &cut[4..8];
    assert_eq!((&cut[..4], closing[0], closing[2..] == [closing[0]; 2]), (&all[..4], all[1], true));
    for n in [2, 3, 6] {
        let cut = ids(&ask(&["--think", "--think-tokens", &n.to_string()])["tokens"]);
        assert_eq!((&cut[..n], &cut[n..n + 4]), (&all[..n], closing), "after {n}");
    }
    // What was said to close it counts as said: with such penalties no token comes twice.
    let penalties = ["--presence-penalty", "1000", "--repetition-penalty", "3"];
    let once = ids(&ask(&[&["--think", "--think-tokens", "1"][..], &penalties].concat())["tokens"]);
    assert!(5 < once.len() && once[5..].iter().all(|id| !closing.contains(id)), "{once:?}");
}

#[test]
fn a_seed_and_the_number_of_threads_decide_nothing_else() {
    let image = scene("scene-1.png");
    let ask = |more: &[&str]| {
        let mut all = vec!["ask", built().engine.as_str(), "--image", &image, "--prompt", "What do you see?"];
        all.extend(["--json", "--temperature", "3", "--top-k", "0", "--top-p", "1"]);
        all.extend(more);
        ids(&json(&all)["tokens"])
    };
    let first = ask(&["--seed", "1", "--threads", "1"]);
    assert_eq!(first, ask(&["--seed", "1", "--threads", "2"]));
    assert!((2..6).any(|seed| ask(&["--seed", &seed.to_string()]) != first), "hot draws differ");
}

#[test]
fn tensors_are_written_as_they_were_computed() {
    let (logits, tensors) = (built().dir.join("logits.safetensors"), built().dir.join("tensors.safetensors"));
    let (clip, question) = (scene("clip"), "Which way is the green ball moving?");
    let answer = json(&[
        "ask",
        &built().engine,
        "--video",
        &clip,
        "--fps",
        "8",
        "--prompt",
        question,
        "--greedy",
        "--json",
        "--logits",
        logits.to_str().unwrap(),
        "--tensors",
        tensors.to_str().unwrap(),
    ]);
    let bytes = fs::read(logits).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor("logits").unwrap();
    let tokens = ids(&answer["tokens"]);
    // One row more than tokens: the stop token was generated too.
    assert_eq!(view.shape(), [tokens.len() + 1, 512]);
    let rows: Vec<f32> = view.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    for (row, token) in rows.chunks(512).zip(&tokens) {
        let likeliest = (0..512).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        assert_eq!(likeliest as u64, *token);
    }
    let bytes = fs::read(tensors).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape("position_ids"), [3, answer["prompt_tokens"].as_u64().unwrap() as usize]);
    assert_eq!(shape("pixel_values_videos"), [4 * 64, 3 * 2 * 8 * 8]);
    assert_eq!(shape("video.features"), [4 * 16, 160]);
    assert_eq!(shape("video.deepstack.1"), [4 * 16, 160]);
}

#[test]
fn what_was_seen_or_read_before_is_not_computed_again() {
    let image =
        |prompt: &str| serde_json::json!({"images": ["scene-1.png"], "prompt": prompt, "system": "Look."});
    let clip = |from: usize| {
        let frames: Vec<String> = (from..from + 6).map(|t| format!("clip/{t:03}.png")).collect();
        serde_json::json!({"video": frames, "fps": 8, "prompt": "What do you see?"})
    };
    let questions = [
        image("What do you see?"),
        image("How many balls are there?"),
        image("How many balls are there?"),
        clip(0),
        clip(2),
    ];
    let path = batch("reuse.jsonl", &questions);
    let answers = lines(&succeed(&["ask", &built().engine, "--batch", &path, "--greedy"]));
    let encoded: Vec<u64> = answers.iter().map(|a| a["encoded_pictures"].as_u64().unwrap()).collect();
    assert_eq!(encoded, [1, 0, 0, 3, 1], "a clip that moves on by a pair encodes one pair");
    let reused: Vec<u64> = answers.iter().map(|a| a["reused_tokens"].as_u64().unwrap()).collect();
    let prompt = |i: usize| answers[i]["prompt_tokens"].as_u64().unwrap();
    assert!(reused[0] == 0 && 16 < reused[1] && reused[2] == prompt(2) - 1 && reused[3] < 16, "{reused:?}");
    // Each alone, with nothing to reuse, is answered the same.
    for (i, question) in questions.iter().enumerate() {
        let path = batch(&format!("alone-{i}.jsonl"), std::slice::from_ref(question));
        let alone = lines(&succeed(&["ask", &built().engine, "--batch", &path, "--greedy"]));
        assert_eq!(ids(&alone[0]["tokens"]), ids(&answers[i]["tokens"]), "{question}");
    }
}

#[test]
fn a_bad_line_of_a_batch_is_answered_with_its_error() {
    let questions = [
        serde_json::json!({"id": "a", "images": ["nothing.png"], "prompt": "What?"}),
        serde_json::json!({"id": "b", "prompt": "What do you see?", "colour": 1}),
        serde_json::json!({"id": "c", "prompt": "What do you see?"}),
    ];
    let path = batch("bad.jsonl", &questions);
    let output = perihelion(&["ask", &built().engine, "--batch", &path]);
    assert_eq!(output.status.code(), Some(1));
    let answers = lines(&String::from_utf8(output.stdout).unwrap());
    assert!(answers[0]["error"].as_str().unwrap().contains("nothing.png") && answers[0]["id"] == "a");
    assert!(answers[1]["error"].as_str().unwrap().contains("colour"));
    assert!(answers[2]["text"].is_string() && answers[2]["id"] == "c");
}

#[test]
fn a_wrong_command_line_is_code_2() {
    let Built { engine, model, .. } = built();
    let image = scene("scene-1.png");
    let long = "a ".repeat(1 << 15);
    fail(2, &["frobnicate"], &["frobnicate"]);
    fail(2, &["ask", engine], &["--prompt"]);
    fail(2, &["ask", engine, "--prompt", "  "], &["empty"]);
    fail(2, &["ask", engine, "--prompt", "a", "--video", "x"], &["--fps"]);
    fail(2, &["ask", engine, "--prompt", "a", "--greedy", "--temperature", "1"], &["--temperature"]);
    fail(2, &["ask", engine, "--prompt", "a", "--temperature", "0"], &["temperature"]);
    fail(2, &["ask", engine, "--prompt", "a", "--max-tokens", "0"], &["--max-tokens"]);
    fail(2, &["ask", engine, "--prompt", "a", "--threads", "0"], &["--threads"]);
    fail(
        2,
        &["ask", engine, "--image", &image, "--prompt", "a", "--choices", "22,23"],
        &["22", "23", "same token"],
    );
    fail(2, &["ask", engine, "--image", &image, "--prompt", "a", "--choices", "1,"], &["empty"]);
    fail(2, &["build", model, "-o", "x", "--backend", "tpu"], &["tpu"]);
    fail(
        2,
        &["build", model, "-o", "x", "--precision", "f8"],
        &["f8", "f32, f16, bf16, int8, fp8, int4 and nvfp4"],
    );
    fail(2, &["build", model, "-o", "x", "--precision", "f16"], &["f16", "f32, bf16, int8 and int4"]);
    let precision = |asked: &str, words: &[&str]| {
        fail(2, &["build", model, "-o", "x", "--precision", asked], words);
    };
    precision("sight=bf16", &["`sight`", "vision, language and kv"]);
    precision("language=f8", &["f8", "f32, f16, bf16, int8, fp8, int4 and nvfp4"]);
    precision("kv=int8", &["`kv`", "f32 or bf16"]);
    precision("kv=f16", &["`kv`", "f32 or bf16"]);
    precision("vision=f32,vision=bf16", &["`vision`", "two formats"]);
    fail(2, &["run", engine, "--choices", "22,23"], &["same token"]);
    fail(2, &["run", engine, "--clip", "17"], &["17", "--max-frames"]);
    fail(2, &["run", engine, "--ros-args", "-r", "__node:=two words"], &["two words"]);
    fail(1, &["ask", engine, "--prompt", &long], &["tokens", "--max-context"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    let output =
        command.args(["ask", engine, "--prompt"]).arg(OsStr::from_bytes(b"what\xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a prompt that is not UTF-8");
}

#[test]
fn a_model_says_which_clips_it_is_asked_about() {
    let model = built().dir.join("clips.model");
    let model = model.to_str().unwrap();
    succeed(&["export", "engines/small-reason", "-o", model, "--frames", "8", "--fps", "4"]);
    let clip = |file: &str| {
        let report: Value = serde_json::from_str(&succeed(&["inspect", file, "--json"])).unwrap();
        (report["reason"]["clip_frames"].clone(), report["reason"]["clip_fps"].clone())
    };
    assert_eq!(clip(model), (8.into(), 4.0.into()));
    assert_eq!(clip(&built().engine), (1.into(), 8.0.into()), "one frame, and the processor's rate");
}

#[test]
fn a_bad_file_is_code_1_and_named() {
    let Built { engine, model, dir, .. } = built();
    let image = scene("scene-1.png");
    fail(1, &["ask", "nothing.engine", "--prompt", "a"], &["nothing.engine"]);
    fail(1, &["ask", &image, "--prompt", "a"], &["scene-1.png"]);
    fail(1, &["ask", model, "--prompt", "a"], &["small.model", "engine"]);
    fail(1, &["ask", engine, "--prompt", "a", "--image", "Cargo.toml"], &["Cargo.toml"]);
    fail(1, &["ask", engine, "--prompt", "a", "--image", "nothing.png"], &["nothing.png"]);
    fail(2, &["export", "engines/small-reason", "-o", "x.model", "--frames", "0"], &["--frames"]);
    fail(2, &["export", "engines/small-reason", "-o", "x.model", "--fps", "0"], &["--fps", "above 0"]);
    fail(2, &["export", "engines/small-reason", "-o", "x.model", "--height", "64"], &["--height", "Predict"]);
    fail(1, &["export", "tests", "-o", "x.model"], &["tests", "config.json"]);
    fail(1, &["build", engine, "-o", "x.engine"], &["small.engine", "model"]);
    fail(1, &["inspect", "Cargo.toml"], &["Cargo.toml"]);
    fail(1, &["run", engine, "--bag", "nothing.mcap"], &["nothing.mcap"]);

    let bytes = fs::read(engine).unwrap();
    let cut = dir.join("cut.engine");
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    fail(1, &["ask", cut.to_str().unwrap(), "--prompt", "a"], &["cut.engine"]);
    assert!(!Path::new("x.model").exists() && !Path::new("x.engine").exists(), "nothing is left behind");
}

#[test]
fn other_precisions_answer_too() {
    let image = scene("scene-2.png");
    let arguments = ["--image", &image, "--prompt", "What colors are the balls?", "--greedy"];
    let mut all = vec!["ask", built().bf16.as_str()];
    all.extend(arguments);
    assert_eq!(succeed(&all), "green, blue\n");
    assert_eq!(json(&["inspect", &built().bf16, "--json"])["precision"], "bf16");

    let mixed = built().dir.join("mixed.engine").to_str().unwrap().to_owned();
    let asked = "vision=f32,language=bf16";
    let report = json(&["build", &built().model, "-o", &mixed, "--precision", asked, "--json"]);
    let worst = report["golden_worst"].as_f64().unwrap();
    assert!(0.0 < worst && worst < 1.0, "{worst} of what bf16 allows");
    all[1] = &mixed;
    assert_eq!(succeed(&all), "green, blue\n");
    let report = json(&["inspect", &mixed, "--json"]);
    assert_eq!(report["precision"], asked);
    let formats = report["formats"].as_array().unwrap();
    let listed: Vec<_> =
        formats.iter().map(|f| [&f["part"], &f["format"]].map(|v| v.as_str().unwrap())).collect();
    assert_eq!(listed, [["vision", "f32"], ["language", "bf16"], ["kv", "f32"]]);
    let weights = |file: &str| {
        let report = json(&["inspect", file, "--json"]);
        let sections = report["sections"].as_array().unwrap();
        sections.iter().find(|s| s["name"] == "weights").unwrap()["bytes"].as_u64().unwrap()
    };
    let [f32, mixed, bf16] = [&built().engine, &mixed, &built().bf16].map(|file| weights(file));
    assert!(bf16 < mixed && mixed < f32, "{bf16}, {mixed}, {f32} bytes");
}

#[test]
fn blocks_are_built_and_what_they_cost_is_reported_by_part() {
    let engine = built().dir.join("blocks.engine").to_str().unwrap().to_owned();
    let asked = "vision=int8,language=int4,kv=bf16";
    let report = json(&["build", &built().model, "-o", &engine, "--precision", asked, "--report", "--json"]);
    let rows = report["accuracy"].as_array().unwrap();
    let named: Vec<_> =
        rows.iter().map(|row| (row["part"].as_str(), row["format"].as_str().unwrap())).collect();
    let parts = [(Some("vision"), "int8"), (Some("language"), "int4"), (Some("kv"), "bf16"), (None, asked)];
    assert_eq!(named, parts);
    let logits = |row: &serde_json::Value| {
        let outputs = row["outputs"].as_array().unwrap();
        outputs.iter().find(|output| output["buffer"] == "logits").unwrap().clone()
    };
    let rms = |row| logits(row)["rms_share"].as_f64().unwrap();
    assert!(0.0 < rms(&rows[0]) && rms(&rows[0]) < rms(&rows[1]) && rms(&rows[1]) < 1.0, "{report:#}");
    assert!(0.0 < rms(&rows[2]) && rms(&rows[2]) < rms(&rows[0]), "{report:#}");
    let top1 = logits(&rows[3])["top1"].clone();
    assert!(0 < top1[1].as_u64().unwrap() && top1[0].as_u64() <= top1[1].as_u64(), "{top1}");

    assert_eq!(json(&["inspect", &engine, "--json"])["precision"], asked);
    let len = |file: &str| fs::metadata(file).unwrap().len();
    assert!(len(&engine) < len(&built().bf16), "{} and {} bytes", len(&engine), len(&built().bf16));
    let caches = || json(&["inspect", &engine, "--json"])["memory"]["caches_bytes"].as_u64().unwrap();
    let narrow = caches();
    let text = succeed(&["build", &built().model, "-o", &engine, "--precision", "bf16", "--report"]);
    assert!(narrow < caches(), "{narrow} and {} bytes", caches());
    assert!(text.contains("same top 1") && text.contains("language"), "{text}");
    let image = scene("scene-2.png");
    succeed(&["ask", &engine, "--image", &image, "--prompt", "What colors are the balls?", "--greedy"]);
}

#[test]
fn inspect_prints_what_each_file_is() {
    let Built { model, engine, .. } = built();
    for (path, kind) in [("engines/small-reason", "checkpoint"), (model, "model"), (engine, "engine")] {
        let report = json(&["inspect", path, "--json"]);
        assert_eq!(report["kind"], kind);
        let text = succeed(&["inspect", path]);
        assert!(text.contains(kind) && text.contains("bytes"), "{text}");
    }
    let predict = json(&["inspect", "engines/small-predict", "--json"]);
    assert_eq!((&predict["kind"], &predict["architecture"]), (&"checkpoint".into(), &"predict2.5".into()));
    assert_eq!(
        (&predict["parameters"], &predict["tensors"]),
        (&(5_716_672 + 1_889_003).into(), &(167 + 146).into())
    );
    assert_eq!(predict["files"], 2);
    assert!(succeed(&["inspect", "engines/small-predict"]).contains("vae.decoder.up_blocks"));
    // What a model's engine will claim is known before it is built.
    let plans = &json(&["inspect", model, "--json"])["plans"];
    let opened = json(&["inspect", engine, "--json"]);
    let plan = plans.as_array().unwrap().iter().find(|p| p["precision"] == opened["precision"]).unwrap();
    assert_eq!((&plan["backend"], &plan["memory"]), (&opened["backend"], &opened["memory"]));
    for path in [model, engine] {
        let dump = succeed(&["inspect", path, "--dump"]);
        assert!(dump.contains("cached_attention"), "{dump}");
    }
}

#[test]
fn doctor_says_what_can_run() {
    let report = json(&["doctor", "--json"]);
    let backends = report["backends"].as_array().unwrap();
    let can_run = |name: &str| backends.iter().find(|b| b["name"] == name).unwrap()["can_run"].as_bool();
    assert_eq!((can_run("cpu"), can_run("tensorrt")), (Some(true), Some(false)));
    assert!(succeed(&["doctor"]).contains("backend cpu"));
}

#[test]
fn bench_keeps_its_samples_and_says_how_it_counts() {
    let report = json(&[
        "bench",
        &built().engine,
        "--json",
        "--image-size",
        "64",
        "--prompt-tokens",
        "24",
        "--generate",
        "4",
        "--runs",
        "3",
        "--warmup",
        "1",
    ]);
    assert_eq!(report["workload"]["prompt_tokens"], 24 + 16);
    assert_eq!((&report["workload"]["images"], &report["workload"]["runs"]), (&"unique".into(), &3.into()));
    for (stage, count) in [("ttft_ms", 3), ("tpot_ms", 3), ("vision_ms", 3), ("itl_ms", 9)] {
        assert_eq!(report["stages"][stage]["count"], count, "{stage}");
        assert_eq!(report["samples"][stage].as_array().unwrap().len(), count);
    }
    assert!(report["samples"]["vision_ms"].as_array().unwrap().iter().all(|ms| 0.0 < ms.as_f64().unwrap()));
    assert!(report["memory"]["process"]["vm_hwm_bytes"].is_u64() && report["percentile_rule"].is_string());
}

#[test]
fn bench_tells_rates_with_their_deviation_and_which_percentiles_its_runs_bear() {
    let arguments =
        ["bench", &built().engine, "--image-size", "64", "--prompt-tokens", "24", "--generate", "5"];
    let bench = |more: &[&str]| -> (String, String) {
        let output = perihelion(&[&arguments[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let (stdout, stderr) = bench(&["--runs", "10", "--format", "json"]);
    assert!(stderr.contains("10 run(s)") && stderr.contains("p95 (needs 20), p99 (needs 100)"), "{stderr}");
    assert!(!stderr.contains("p90"), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["stages"]["ttft_ms"]["too_few_samples_for"], serde_json::json!(["p95", "p99"]));
    assert_eq!(report["stages"]["itl_ms"]["too_few_samples_for"], serde_json::json!(["p99"]));
    assert_eq!(report["stages"]["itl_ms"]["count"], 40);
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).expect(pointer);
    assert!(number("/stages/itl_ms/p90") <= number("/stages/itl_ms/p95"));
    for (rate, of_run) in [("prompt_tokens_per_s", "prefill_ms"), ("tokens_per_s", "tpot_ms")] {
        assert_eq!(report["rates"][rate]["count"], 10);
        assert!(0.0 <= number(&format!("/rates/{rate}/stddev")));
        let each: Vec<f64> = (0..10).map(|i| number(&format!("/samples/{of_run}/{i}"))).collect();
        let n_tokens = if rate == "tokens_per_s" { 1.0 } else { number("/workload/prompt_tokens") };
        let mean = each.iter().map(|ms| n_tokens * 1e3 / ms).sum::<f64>() / 10.0;
        // The head of the prompt is the same in every run, and is read once.
        assert!(number(&format!("/rates/{rate}/mean")) <= 1.000001 * mean, "{rate}");
    }

    let (text, _) = bench(&["--runs", "2"]);
    let is_row = |line: &&str| line.starts_with("  ");
    assert!(text.lines().filter(is_row).all(|row| row.chars().count() <= 100), "{text}");
    assert!(text.contains("±") && text.contains("prompt tokens (prefill)") && text.contains('–'), "{text}");

    let (markdown, _) = bench(&["--runs", "2", "--format", "md"]);
    assert!(markdown.contains("| ms | count | min | mean | ± | p50 | p90 | p95 | p99 | max |"), "{markdown}");
    assert!(markdown.contains("| tokens generated | 2 |"), "{markdown}");

    let (csv, _) = bench(&["--runs", "2", "--format", "csv"]);
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| names.iter().position(|n| *n == name).unwrap();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 1 + 7 + 2, "{csv}");
    let itl = rows.iter().find(|row| row[0] == "itl_ms").unwrap();
    assert_eq!((itl[column("count")], itl[column("p90")]), ("8", ""), "{csv}");
    assert!(itl[column("stddev")].parse::<f64>().is_ok() && itl[column("p50")].parse::<f64>().is_ok());
    let rate = rows.iter().find(|row| row[0] == "tokens_per_s").unwrap();
    assert_eq!((rate[column("unit")], rate[column("warmup_runs")]), ("1/s", "1"));

    for wrong in [&["--runs", "0"][..], &["--runs", "18446744073709551615"], &["--warmup", "1000001"]] {
        fail(2, &[&arguments[..], wrong].concat(), &[wrong[0]]);
    }
    fail(2, &[&arguments[..], &["--json", "--format", "csv"]].concat(), &["--format"]);
    fail(2, &[&arguments[..], &["--format", "xml"]].concat(), &["md", "csv", "json"]);
}

/// What a command shows on a terminal of its own.
fn on_a_terminal(arguments: &[&str]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
    let command = format!("{} {}", env!("CARGO_BIN_EXE_perihelion"), quoted.join(" "));
    let mut script = Command::new("script");
    let output = script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").output().expect("script");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bench_shows_on_a_terminal_how_far_it_is_and_nothing_of_it_elsewhere() {
    let arguments = ["bench", &built().engine, "--image-size", "64", "--generate", "2", "--runs", "3"];
    let shown = on_a_terminal(&arguments);
    assert!(shown.contains("runs") && shown.contains("/4") && shown.contains("measuring"), "{shown}");
    let stderr = perihelion(&arguments).stderr;
    assert!(!String::from_utf8_lossy(&stderr).contains("measuring"));
}

#[test]
fn bench_of_a_forecast_measures_each_part_of_it() {
    let name = |name: &str| built().dir.join(name).to_str().unwrap().to_owned();
    let (model, engine) = (name("bench-predict.model"), name("bench-predict.engine"));
    succeed(&["export", "engines/small-predict", "-o", &model]);
    succeed(&["build", &model, "-o", &engine, "--backend", "cpu", "--precision", "f32"]);
    let report = json(&["bench", &engine, "--json", "--runs", "3", "--warmup", "1"]);
    let workload = &report["workload"];
    for (key, expected) in
        [("given_frames", 5), ("forecast_frames", 8), ("latents", 4), ("steps", 1), ("runs", 3)]
    {
        assert_eq!(workload[key], expected, "{key}");
    }
    assert_eq!((&workload["frames"], &workload["warmup_runs"]), (&"unique".into(), &1.into()));
    let sample = |stage: &str, i: usize| report["samples"][stage][i].as_f64().unwrap();
    let per_chunk = workload["frames_per_chunk"].as_u64().unwrap();
    for (stage, count) in [
        ("encode_ms", 3),
        ("step_ms", 3),
        ("denoise_ms", 3),
        ("first_chunk_ms", 3),
        ("chunk_ms", 3 * 12 / per_chunk),
        ("decode_ms", 3),
        ("first_frame_ms", 3),
        ("total_ms", 3),
    ] {
        assert_eq!(report["stages"][stage]["count"], count, "{stage}");
        assert!((0..count as usize).all(|i| 0.0 < sample(stage, i)), "{stage}");
    }
    for i in 0..3 {
        assert!(sample("encode_ms", i) + sample("denoise_ms", i) < sample("first_frame_ms", i));
        assert!(sample("first_frame_ms", i) <= sample("total_ms", i));
    }
    let rate = report["forecast_frames_per_s"].as_f64().unwrap();
    let mean = report["stages"]["total_ms"]["mean"].as_f64().unwrap();
    assert!((rate - 8e3 / mean).abs() <= 1e-6 * rate && report["real_time_factor"].is_f64());
    assert_eq!(report["rates"]["forecast_frames_per_s"]["count"], 3);
    assert!(report["rates"]["real_time_factor"]["stddev"].is_f64());
    assert_eq!(report["stages"]["step_ms"]["too_few_samples_for"], serde_json::json!(["p90", "p95", "p99"]));
    assert!(report["memory"]["loop_bytes"].as_u64().unwrap() > 0 && report["machine"]["cpu"].is_string());

    let text = succeed(&["bench", &engine, "--runs", "1", "--warmup", "0"]);
    for word in
        ["5 unique frames of 64×64 in, 8 forecast", "denoise step", "times real time", "process VmHWM"]
    {
        assert!(text.contains(word), "{text} lacks {word:?}");
    }
    fail(2, &["bench", &engine, "--prompt-tokens", "9"], &["forecasts"]);
    fail(2, &["bench", &built().engine, "--steps", "2"], &["answers questions"]);
    fail(2, &["bench", &engine, "--runs", "0"], &["--runs"]);
}

/// A copy of an engine in whose weights every number of the middle third has another exponent.
fn damaged(engine: &str, name: &str) -> String {
    let mut bytes = fs::read(engine).unwrap();
    let (from, to) = (bytes.len() / 3 / 4 * 4, bytes.len() / 2 / 4 * 4);
    bytes[from..to].chunks_mut(4).for_each(|number| number[3] ^= 0x04);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_engine_with_damaged_weights_answers_and_forecasts_nothing() {
    let engine = damaged(&built().engine, "damaged-reason.engine");
    let image = scene("000/frame_7.png");
    let words = ["damaged-reason.engine", "wrong answer to the golden case", "build it again"];
    fail(
        1,
        &["ask", &engine, "--image", &image, "--prompt", "How many balls are there?", "--greedy"],
        &words,
    );
    fail(1, &["bench", &engine, "--runs", "1"], &words);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("damaged");
    fs::create_dir_all(&dir).unwrap();
    let name = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (model, whole) = (name("small.model"), name("small.engine"));
    succeed(&["export", "engines/small-predict", "-o", &model]);
    succeed(&["build", &model, "-o", &whole, "--backend", "cpu", "--precision", "f32"]);
    let engine = damaged(&whole, "damaged-predict.engine");
    let frames = name("frames");
    let words = ["damaged-predict.engine", "wrong answer to the golden case"];
    fail(1, &["imagine", &engine, "--frames", &scene("000"), "--frames-out", &frames], &words);
    assert!(
        !Path::new(&frames).exists() || fs::read_dir(&frames).unwrap().next().is_none(),
        "no frame of it is kept"
    );
}
