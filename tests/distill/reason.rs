//! Reason: what is trained is what is exported and asked; its runs go on as if they had not been stopped; recipes that cannot be.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use perihelion::backend::{OpenOptions, WeightFormat};
use perihelion::checkpoint::Tensors;
use perihelion::distill::{Recipe, Tensor, ops, train};
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{ReasonOptions, export_reason};
use perihelion::model::Model;
use perihelion::quality::answers::answers;
use perihelion::quality::world::World;
use perihelion::runtime::reason::Reason;
use serde_json::Value;

use crate::agree::agree;
use crate::tiny_reason;
use crate::training::{file, losses, recipe};

pub(crate) const SFT: &str = "output = \"sft\"\nseed = 5\n[scenes]\nsize = 32\nobjects = 2\nclips = 50\nframes = [9, 1]\n\
    [train]\nsteps = 6\nbatch = 2\nparts = 2\nlearning_rate = 0.002\nwarmup = 2\nvalidate_every = 4\n\
    [sft]\nlike = \"like\"\ntasks = [[\"what\", 1.0], [\"count\", 1.0], [\"puzzle\", 1.0], [\"push\", 1.0]]\nquestions = 2\n\
    auxiliary = 0.5\nmeasured = 3\n";

/// Behind `SFT`: what goes on from its checkpoint.
const GRPO: &str = "output = \"grpo\"\nseed = 6\n[scenes]\nsize = 32\nobjects = 2\nclips = 50\nframes = [9, 1]\n\
    [train]\nsteps = 5\nbatch = 2\nparts = 2\nlearning_rate = 0.002\nvalidate_every = 3\n\
    [grpo]\nlike = \"like\"\nfrom = \"sft/checkpoint\"\n\
    tasks = [[\"what\", 1.0], [\"count\", 1.0], [\"puzzle\", 1.0], [\"push\", 1.0]]\nquestions = 2\ngroup = 3\nkl = 0.1\n\
    measured = 3\n";

pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny_reason::write(&folder.path().join("like"));
    folder
}

/// What a recipe is refused with, before anything is written.
pub(crate) fn refused(folder: &Path, text: &str) -> String {
    let path = folder.join("refused.toml");
    fs::write(&path, text).unwrap();
    let trained: Result<(), perihelion::distill::DistillError> = Recipe::open(&path).and_then(|recipe| {
        train(&recipe, false, &AtomicBool::new(false), &mut |_| ())?;
        panic!("it was trained")
    });
    let why = trained.unwrap_err();
    assert!(["sft", "grpo", "gkd"].iter().all(|run| !folder.join(run).exists()), "{why}");
    let why = why.to_string();
    assert!(why.contains("refused.toml"), "{why}");
    why
}

/// Trains by a recipe at once, and by the same one in three goes: with equal losses, and with equal files at the end. Gives the first
/// run's recipe, losses and last measurement.
pub(crate) fn stopped_and_not(folder: &Path, text: &str, output: &str) -> (Recipe, Vec<f64>, Value) {
    let [whole, stopped] = ["a", "b"].map(|name| {
        let text = text.replace(&format!("output = \"{output}\""), &format!("output = \"{name}\""));
        recipe(folder, &format!("{name}.toml"), &text)
    });
    let (expected, outcome) = losses(&whole, false, usize::MAX);
    assert!(outcome.finished && expected.iter().all(|loss| loss.is_finite()), "{expected:?}");
    let found =
        [losses(&stopped, false, 2).0, losses(&stopped, true, 2).0, losses(&stopped, true, usize::MAX).0];
    assert_eq!(found.concat(), expected);
    for name in
        ["state.safetensors", "checkpoint/config.json", "checkpoint/model.safetensors", "measured-what.svg"]
    {
        assert!(file(&whole.output, name) == file(&stopped.output, name), "{name} differs");
    }
    let last = measured(&whole).pop().unwrap();
    (whole, expected, last)
}

/// The measurements in a run's log.
pub(crate) fn measured(recipe: &Recipe) -> Vec<Value> {
    let log = String::from_utf8(file(&recipe.output, "log.jsonl")).unwrap();
    let rows = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter(|row| row.get("seconds").is_none()).collect()
}

#[test]
fn a_run_of_reason_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let folder = folder();
    let (whole, losses, last) = stopped_and_not(folder.path(), SFT, "sft");
    assert!(losses.len() == 6 && losses[5] < losses[0], "{losses:?}");
    for name in ["validation_loss", "what", "count", "push"] {
        assert!(last[name].is_number(), "{name}: {last}");
    }
    // Another layout beneath a run is seen.
    let config = folder.path().join("like/generation_config.json");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("0.7", "0.8")).unwrap();
    let again = train(&whole, true, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
    assert!(again.contains("is not the one"), "{again}");
}

#[test]
fn a_run_that_learns_from_its_own_answers_goes_on_with_the_very_answers_that_would_have_come() {
    let folder = folder();
    let sft = recipe(folder.path(), "sft.toml", SFT);
    losses(&sft, false, 5);
    let (whole, found, last) = stopped_and_not(folder.path(), GRPO, "grpo");
    assert!(found.len() == 5 && found.iter().any(|loss| *loss != 0.0), "{found:?}");
    for name in ["reward", "answer_tokens", "what", "count", "push"] {
        assert!(last[name].is_number(), "{name}: {last}");
    }
    let other = GRPO.replace("seed = 6", "seed = 7").replace("\"grpo\"", "\"c\"");
    assert_ne!(losses(&recipe(folder.path(), "c.toml", &other), false, usize::MAX).0, found);
    // The weights that it began with, which it stays near, are others by now.
    losses(&sft, true, usize::MAX);
    let again = train(&whole, true, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
    assert!(again.contains("is not the one"), "{again}");
}

#[test]
fn answers_that_are_all_alike_change_no_weight_but_by_its_decay() {
    let folder = folder();
    let sft = SFT.replace("steps = 6", "steps = 2").replace("auxiliary = 0.5", "auxiliary = 0.0");
    losses(&recipe(folder.path(), "sft.toml", &sft), false, usize::MAX);
    // No order of four is guessed by what has learnt for two steps, and form is worth nothing.
    let tasks = "[[\"what\", 1.0], [\"count\", 1.0], [\"puzzle\", 1.0], [\"push\", 1.0]]";
    let text = GRPO
        .replace(tasks, "[[\"puzzle\", 1.0]]")
        .replace("kl = 0.1", "format = 0.0")
        .replace("steps = 5", "steps = 2\nweight_decay = 5.0")
        .replace("frames = [9, 1]", "frames = [9]");
    let grpo = recipe(folder.path(), "grpo.toml", &text);
    assert_eq!(losses(&grpo, false, usize::MAX).0, [0.0, 0.0]);
    let [before, after] =
        ["sft", "grpo"].map(|run| Tensors::open(&folder.path().join(run).join("state.safetensors")).unwrap());
    // The second step is half as long as the first.
    let kept = (1.0 - 0.002 * 5.0) * (1.0 - 0.5 * 0.002 * 5.0);
    let mut n_compared = 0;
    for stem in before.names().filter_map(|name| name.strip_suffix(".mean")) {
        let values = |tensors: &Tensors, part| tensors.tensor(&format!("{stem}.{part}")).unwrap().to_f32();
        for (before, after) in values(&before, "mean").iter().zip(values(&after, "values")) {
            assert!((after - kept * before).abs() <= 1e-6 * before.abs(), "{stem}: {before}, {after}");
            n_compared += 1;
        }
    }
    assert!(1000 < n_compared, "{n_compared}");
}

#[test]
fn answers_become_better_by_what_they_are_worth() {
    let folder = folder();
    let tasks = "[[\"what\", 1.0], [\"count\", 1.0], [\"puzzle\", 1.0], [\"push\", 1.0]]";
    let easy = |text: &str| {
        text.replace(tasks, "[[\"count\", 1.0]]")
            .replace("frames = [9, 1]", "frames = [2]")
            .replace("parts = 2\n", "")
            .replace("questions = 2", "questions = 1")
    };
    // It has begun to speak in numbers, and sometimes names the right one.
    let sft = easy(SFT)
        .replace("learning_rate = 0.002", "learning_rate = 0.01")
        .replace("steps = 6", "steps = 30")
        .replace("validate_every = 4", "validate_every = 30")
        .replace("auxiliary = 0.5", "auxiliary = 0.0");
    losses(&recipe(folder.path(), "sft.toml", &sft), false, usize::MAX);
    let text = easy(GRPO)
        .replace("steps = 5", "steps = 48\nema = 0.5")
        .replace("batch = 2", "batch = 4")
        .replace("learning_rate = 0.002", "learning_rate = 0.004")
        .replace("validate_every = 3", "validate_every = 4")
        .replace("group = 3", "group = 16")
        .replace("kl = 0.1\n", "")
        .replace("measured = 3", "measured = 64");
    let grpo = recipe(folder.path(), "grpo.toml", &text);
    losses(&grpo, false, usize::MAX);
    let rewards: Vec<f64> = measured(&grpo).iter().map(|row| row["reward"].as_f64().unwrap()).collect();
    let mean = |rewards: &[f64]| rewards.iter().sum::<f64>() / rewards.len() as f64;
    let (before, after) = (mean(&rewards[..2]), mean(&rewards[9..]));
    assert!(rewards.len() == 12 && 1.5 * before < after, "{before} to {after}: {rewards:?}");
}

#[test]
fn what_was_trained_of_reason_is_what_is_exported_and_answers() {
    let folder = folder();
    let run = recipe(folder.path(), "a.toml", &SFT.replace("steps = 6", "steps = 2"));
    losses(&run, false, usize::MAX);
    let [model, engine] = ["a.model", "a.engine"].map(|name| folder.path().join(name));
    export_reason(&run.output.join("checkpoint"), &ReasonOptions::default(), &model, &mut |_| {}).unwrap();
    let model = Model::open(&model).unwrap();
    let extent = |name: &str, _: usize| match name {
        "n_patches" => 16,
        "n_tokens" => 20,
        "past" => 5,
        "n_visual" => 6,
        other => panic!("an extent `{other}`"),
    };
    let compared = agree(&Tensors::open(&run.output.join("state.safetensors")).unwrap(), &model, extent);
    // The vision graph's two outputs, and one of each other graph.
    assert_eq!(compared, 5);

    let open = OpenOptions { threads: Some(1) };
    let options =
        BuildOptions { backend: "cpu".into(), formats: WeightFormat::F32.into(), limits: vec![], open };
    build(&model, &options, &engine, &mut |_| {}).unwrap();
    let engine = Engine::open(&engine).unwrap();
    let mut reason = Reason::open(&engine, engine.session(&open).unwrap()).unwrap();
    let answers = answers(&mut reason, World::Robot, 0..1, 0, |_| ()).unwrap();
    assert!(4 < answers.said.len());
}

#[test]
fn a_run_goes_on_from_a_checkpoints_weights_and_learns() {
    let folder = folder();
    // Few clips, which are soon known by heart.
    let text = SFT
        .replace("clips = 50", "clips = 2")
        .replace("frames = [9, 1]", "frames = [2]")
        .replace("parts = 2", "parts = 1");
    let text =
        text.replace("[\"puzzle\", 1.0], ", "").replace("learning_rate = 0.002", "learning_rate = 0.01");
    let first = recipe(folder.path(), "a.toml", &text.replace("steps = 6", "steps = 30"));
    let (found, _) = losses(&first, false, usize::MAX);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (before, after) = (mean(&found[..3]), mean(&found[27..]));
    assert!(after < 0.4 * before, "{before} to {after}");
    let more = text
        .replace("output = \"sft\"", "output = \"more\"")
        .replace("like = \"like\"", "like = \"like\"\nfrom = \"sft/checkpoint\"");
    let more = recipe(folder.path(), "b.toml", &more.replace("auxiliary = 0.5", "auxiliary = 0.0"));
    let (again, _) = losses(&more, false, 1);
    // Without the auxiliary part, and by running means: it begins where the other is, not where that began.
    assert!(again[0] < 0.5 * before, "{before}, {after}, {again:?}");
    assert!(again[0].is_finite());
}

#[test]
fn recipes_of_reason_that_cannot_be_are_refused_with_file_and_key() {
    let folder = folder();
    let dir = folder.path();
    for (from, to, expected) in [
        ("questions = 2", "qestions = 2", "unknown field `qestions`"),
        (
            "\"count\"",
            "\"conut\"",
            "`sft.tasks` names `conut`, which is no task; expected some of what, count,",
        ),
        ("\"count\"", "\"what\"", "`sft.tasks` names `what` twice"),
        ("[\"count\", 1.0]", "[\"count\", -1.0]", "gives `count` the share -1"),
        ("questions = 2", "questions = 0", "`sft.questions` is 0"),
        ("auxiliary = 0.5", "auxiliary = nan", "`sft.auxiliary` is NaN"),
        ("measured = 3", "measured = 0", "`sft.measured` is 0"),
        ("frames = [9, 1]", "frames = [0]", "`scenes.frames` is [0]"),
        ("like = \"like\"", "like = \"nowhere\"", "`sft.like`: "),
        ("like = \"like\"", "like = \"like\"\nfrom = \"nowhere\"", "`sft.from`: "),
        ("like = \"like\"", "like = \"like\"\nfrom = \"SMALL\"", "`sft.from`: "),
        ("[sft]", "[vae]\n[sft]", "missing field `base_dim`"),
    ] {
        let to = to.replace("SMALL", concat!(env!("CARGO_MANIFEST_DIR"), "/engines/small-reason"));
        let why = refused(dir, &SFT.replacen(from, &to, 1));
        assert!(why.contains(expected), "{to}: {why}");
    }
    let puzzle = SFT.replace(
        "[[\"what\", 1.0], [\"count\", 1.0], [\"puzzle\", 1.0], [\"push\", 1.0]]",
        "[[\"puzzle\", 1.0]]",
    );
    for (frames, expected) in [("[1]", "can be asked of one"), ("[5]", "expected 8 at least, for a puzzle")] {
        let why = refused(dir, &puzzle.replace("[9, 1]", frames));
        assert!(why.contains(expected), "{why}");
    }
    // A layout whose tokenizer is none.
    fs::write(dir.join("like/tokenizer.json"), "{}").unwrap();
    let why = refused(dir, SFT);
    assert!(why.contains("`sft.like`: ") && why.contains("tokenizer.json"), "{why}");
}

#[test]
fn recipes_of_what_learns_from_its_own_answers_that_cannot_be_are_refused_with_file_and_key() {
    let folder = folder();
    for (from, to, expected) in [
        ("group = 3", "groups = 3", "unknown field `groups`"),
        ("from = \"sft/checkpoint\"\n", "", "missing field `from`"),
        ("from = \"sft/checkpoint\"", "from = \"nowhere\"", "`grpo.from`: "),
        ("from = \"sft/checkpoint\"", "from = \"SMALL\"", "`grpo.from`: "),
        ("like = \"like\"", "like = \"nowhere\"", "`grpo.like`: "),
        ("\"count\"", "\"conut\"", "`grpo.tasks` names `conut`, which is no task"),
        ("questions = 2", "questions = 65", "`grpo.questions` is 65; expected 1 to 64"),
        ("group = 3", "group = 1", "`grpo.group` is 1; expected 2 to 64"),
        ("group = 3", "group = 65", "`grpo.group` is 65; expected 2 to 64"),
        ("kl = 0.1", "kl = -0.1", "`grpo.kl` is -0.1; expected 0 to"),
        ("kl = 0.1", "temperature = 0.0", "`grpo.temperature` is 0; expected 0.01 to 100"),
        ("kl = 0.1", "temperature = nan", "`grpo.temperature` is NaN"),
        ("kl = 0.1", "format = 1.1", "`grpo.format` is 1.1; expected 0 to 1"),
        ("measured = 3", "measured = 0", "`grpo.measured` is 0"),
        ("batch = 2", "batch = 4096", "make 24576 answers at once; expected 16384 at most"),
        ("[grpo]", "[sft]\n[grpo]", "missing field `like`"),
    ] {
        let to = to.replace("SMALL", concat!(env!("CARGO_MANIFEST_DIR"), "/engines/small-reason"));
        let why = refused(folder.path(), &GRPO.replacen(from, &to, 1));
        assert!(why.contains(expected), "{to}: {why}");
    }
    let both = format!("{GRPO}[sft]\nlike = \"like\"\ntasks = [[\"what\", 1.0]]\n");
    assert!(refused(folder.path(), &both).contains("[grpo] or [gkd]: what is learnt"));
}

#[test]
fn likelihoods_and_their_gradients_are_right() {
    let x = vec![0.0_f64, 0.0, 3.0_f64.ln(), 1.0, 1.0, 1.0];
    let leaf = Tensor::learnt(x, &[2, 3]);
    let found = ops::log_likelihood(&leaf, &[2, 0]);
    let values = found.to_f32();
    assert!((values[0] - 0.6_f32.ln()).abs() < 1e-6 && (values[1] + 3.0_f32.ln()).abs() < 1e-6, "{values:?}");
    let shares = Tensor::constant(vec![2.0_f64, -3.0], &[2]);
    let slope = ops::mul(&found, &shares).sum().backward().gradient::<f64>(&leaf).unwrap();
    let third = 1.0 / 3.0;
    let expected = [-0.4, -0.4, 0.8, -3.0 * (1.0 - third), 3.0 * third, 3.0 * third];
    assert!(slope.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-12), "{slope:?}");
}
