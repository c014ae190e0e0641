//! Runs: two of one seed are equal, one that was stopped goes on as if it had not been, and what was trained is what is exported.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use perihelion::checkpoint::{CheckpointWriter, NewTensor, Tensors};
use perihelion::distill::{Event, Outcome, Recipe, train};
use perihelion::export::{PredictOptions, export_predict};
use perihelion::model::Model;
use perihelion::models::predict25::{Renoise, Schedule};
use perihelion::tensor::DType;

use crate::agree::agree;

const VAE: &str = "output = \"vae\"\nseed = 5\n[scenes]\nsize = 16\nobjects = 2\nclips = 50\nframes = [5, 9]\n\
    [train]\nsteps = 6\nbatch = 2\nparts = 2\nlearning_rate = 0.002\nwarmup = 2\nvalidate_every = 4\n\
    [vae]\nbase_dim = 2\ndim_mult = [1, 2, 2]\nnum_res_blocks = 1\nz_dim = 4\nhalve_time = [true, true]\n\
    noise = 0.5\nobject_weight = 4.0\n";

const TEACHER: &str = "output = \"teacher\"\nseed = 6\n[scenes]\nsize = 16\nobjects = 2\nclips = 8\nframes = [9]\n\
    [train]\nsteps = 3\nbatch = 4\nlearning_rate = 0.02\nema = 0.5\n\
    [teacher]\nvae = \"vae/checkpoint\"\nheads = 2\nhead_dim = 12\nlayers = 2\nadaln_dim = 4\ntext_dim = 6\n\
    given = [[5, 0.5], [1, 0.5]]\ndrop_actions = 0.2\nshift = 3.0\nnoisiest = 0.1\n";

const STUDENT: &str = "output = \"student\"\nseed = 7\n[scenes]\nsize = 16\nobjects = 2\nclips = 8\nframes = [9]\n\
    [train]\nsteps = 2\nbatch = 4\nlearning_rate = 0.001\nema = 0.9\n\
    [student]\nteacher = \"teacher/checkpoint\"\ngiven = [[5, 1.0]]\ntimes = 16\nshift = 5.0\nsigmas = [1.0, 0.625]\n";

pub(crate) fn recipe(folder: &Path, name: &str, text: &str) -> Recipe {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    Recipe::open(&path).unwrap()
}

/// Trains, and stops after so many steps; the losses of the steps that were done.
pub(crate) fn losses(recipe: &Recipe, resume: bool, stop_after: usize) -> (Vec<f64>, Outcome) {
    let (stop, mut losses) = (AtomicBool::new(false), Vec::new());
    let outcome = train(recipe, resume, &stop, &mut |event| {
        if let Event::Step(step) = event {
            losses.push(step.loss);
            stop.store(stop_after <= losses.len(), Relaxed);
        }
    });
    (losses, outcome.unwrap())
}

pub(crate) fn file(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

#[test]
fn a_run_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, again, stopped] = ["a", "b", "c"].map(|name| {
        recipe(folder.path(), &format!("{name}.toml"), &VAE.replace("\"vae\"", &format!("\"{name}\"")))
    });
    let (expected, outcome) = losses(&whole, false, usize::MAX);
    assert_eq!((expected.len(), outcome.finished), (6, true));
    assert!(expected.iter().all(|loss| loss.is_finite()) && expected[0] != expected[1], "{expected:?}");
    assert_eq!(losses(&again, false, usize::MAX).0, expected);

    let (before, outcome) = losses(&stopped, false, 2);
    assert_eq!((outcome.steps, outcome.finished), (2, false));
    // Begun again, it would be lost; and another's run is not gone on with.
    let begin = train(&stopped, false, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
    assert!(begin.contains("--resume"), "{begin}");
    let other = Recipe { seed: 7, ..stopped.clone() };
    let refused = train(&other, true, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
    assert!(refused.contains("another seed"), "{refused}");
    // What a killed process left of the log's last line, and a step after the save.
    let log = stopped.output.join("log.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text + "{\"step\":2,\"loss\":9.0,\"norm\":1,\"rate\":1,\"seconds\":1}\n{\"step\":3,\"lo")
        .unwrap();
    let (after, outcome) = losses(&stopped, true, usize::MAX);
    assert_eq!((outcome.steps, outcome.finished), (6, true));
    assert_eq!([before, after].concat(), expected);
    for name in [
        "state.safetensors",
        "checkpoint/vae/config.json",
        "checkpoint/vae/diffusion_pytorch_model.safetensors",
    ] {
        assert!(file(&whole.output, name) == file(&stopped.output, name), "{name} differs");
    }
    let csv = String::from_utf8(file(&stopped.output, "loss.csv")).unwrap();
    let first: Vec<&str> = csv.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(first, expected.iter().map(f64::to_string).collect::<Vec<_>>());
    assert!(String::from_utf8(file(&stopped.output, "loss.svg")).unwrap().contains("<path"));
}

#[test]
fn parts_at_the_same_time_teach_what_they_teach_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, parts: &str| {
        let text = VAE.replace("\"vae\"", &format!("\"{name}\"")).replace("parts = 2", parts);
        recipe(folder.path(), &format!("{name}.toml"), &text)
    };
    let [alone, together, again] =
        [("a", "parts = 3"), ("b", "parts = 3\nat_once = 2"), ("c", "parts = 3\nat_once = 2")]
            .map(|(name, parts)| losses(&with(name, parts), false, usize::MAX).0);
    assert_eq!(together, again);
    // Gradients are added up in another order, and what that changes grows from step to step.
    let near = |(a, b): (&f64, &f64)| (a - b).abs() < 2e-3 * a;
    assert!((alone[0] - together[0]).abs() < 1e-9, "{alone:?}, {together:?}");
    assert!(alone.len() == 6 && alone.iter().zip(&together).all(near), "{alone:?}, {together:?}");
    let path = folder.path().join("d.toml");
    fs::write(&path, VAE.replace("parts = 2", "parts = 2\nat_once = 3")).unwrap();
    let refused = Recipe::open(&path).unwrap_err().to_string();
    assert!(refused.contains("`train.at_once` is 3; expected 1 to 2"), "{refused}");
}

#[test]
fn a_run_that_goes_on_by_other_steps_keeps_both_recipes() {
    let folder = tempfile::tempdir().unwrap();
    let begun = recipe(folder.path(), "a.toml", VAE);
    losses(&begun, false, 2);
    losses(&begun, true, 1);
    let shorter = VAE.replace("steps = 6", "steps = 4");
    losses(&recipe(folder.path(), "b.toml", &shorter), true, usize::MAX);
    assert_eq!(file(&begun.output, "recipe.toml"), VAE.as_bytes());
    assert_eq!(file(&begun.output, "recipe-3.toml"), shorter.as_bytes());
    let names = fs::read_dir(&begun.output).unwrap().map(|entry| entry.unwrap().file_name());
    let recipes: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("recipe")).collect();
    assert_eq!(recipes.len(), 2, "{recipes:?}");
}

#[test]
fn a_damaged_or_missing_state_is_refused_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), "a.toml", VAE);
    let resume = || train(&recipe, true, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
    assert!(resume().contains("no run was saved there"), "{}", resume());
    losses(&recipe, false, 1);
    let state = recipe.output.join("state.safetensors");
    let whole = fs::read(&state).unwrap();
    for n in [0, 7, whole.len() / 2, whole.len() - 1] {
        fs::write(&state, &whole[..n]).unwrap();
        assert!(resume().contains("state.safetensors"), "{n}: {}", resume());
    }
    // As a network of another size would have left it.
    let text = VAE.replace("base_dim = 2", "base_dim = 4");
    fs::write(&state, &whole).unwrap();
    let other = self::recipe(folder.path(), "b.toml", &text);
    let refused = train(&other, true, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
    assert!(refused.contains("another seed, scenes or network"), "{refused}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), "a.toml", VAE);
    losses(&recipe, false, 2);
    let before = file(&recipe.output, "state.safetensors");
    let mut broken = recipe.clone();
    broken.train.save_every_s = 0;
    // No recipe may say these; learning rates that are only too high would take more steps to do the same.
    for (rate, expected) in [
        (1e30, "the loss at step 3 is "),
        (f64::INFINITY, "a weight is no number after step 2"),
        (f64::NAN, "a weight is no number after step 2"),
    ] {
        broken.train.learning_rate = rate;
        let refused = train(&broken, true, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
        assert!(refused.contains(expected), "{rate}: {refused}");
        assert!(before == file(&recipe.output, "state.safetensors"), "{rate}: the state was written over");
    }
    assert!(losses(&recipe, true, usize::MAX).1.finished);
}

/// Both stages, and the teacher's folder.
fn trained(folder: &Path) -> PathBuf {
    losses(&recipe(folder, "vae.toml", VAE), false, usize::MAX);
    let teacher = recipe(folder, "teacher.toml", TEACHER);
    let (losses, outcome) = losses(&teacher, false, usize::MAX);
    assert!(outcome.finished && losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    teacher.output
}

#[test]
fn a_student_begins_as_its_teacher_and_says_how_it_is_to_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = trained(folder.path());
    let student = recipe(folder.path(), "student.toml", STUDENT);
    let (losses, outcome) = losses(&student, false, usize::MAX);
    assert!(outcome.finished && losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    let out = folder.path().join("student.model");
    export_predict(&student.output.join("checkpoint"), &PredictOptions::default(), &out, &mut |_| {})
        .unwrap();
    let forecasts = Model::open(&out).unwrap().manifest().roles.forecasts.clone().unwrap();
    let expected = Schedule::Fixed { sigmas: vec![1.0, 0.625], renoise: Renoise::Same };
    assert_eq!(forecasts.schedule, expected);
    // Two short steps from the teacher, and not the teacher.
    let name = "checkpoint/transformer/diffusion_pytorch_model.safetensors";
    let [before, after] = [&teacher, &student.output].map(|run| Tensors::open(&run.join(name)).unwrap());
    let name = "transformer_blocks.0.ff.net.2.weight";
    let [before, after] = [&before, &after].map(|tensors| tensors.tensor(name).unwrap().to_f32());
    let off = before.iter().zip(&after).map(|(b, a)| (b - a).abs()).fold(0.0, f32::max);
    assert!(0.0 < off && off < 0.01, "{off}");
}

#[test]
fn a_resumed_run_keeps_its_log() {
    let folder = tempfile::tempdir().unwrap();
    losses(&recipe(folder.path(), "vae.toml", VAE), false, 1);
    let text = TEACHER.replace("steps = 3", "steps = 3\nvalidate_every = 1");
    let rows = |name: &str, stops: &[usize]| -> Vec<serde_json::Value> {
        let teacher = recipe(
            folder.path(),
            &format!("{name}.toml"),
            &text.replace("\"teacher\"", &format!("\"{name}\"")),
        );
        for (i, stop_after) in stops.iter().enumerate() {
            losses(&teacher, 0 < i, *stop_after);
        }
        let log = String::from_utf8(file(&teacher.output, "log.jsonl")).unwrap();
        let rows = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        rows.map(|mut row| {
            if let Some(seconds) = row.get_mut("seconds") {
                assert!(seconds.is_f64(), "{seconds}");
                seconds.take();
            }
            row
        })
        .collect()
    };
    let whole = rows("a", &[usize::MAX]);
    assert_eq!(whole.len(), 6, "three steps, each with a measurement: {whole:?}");
    assert_eq!(rows("b", &[1, 1, 1]), whole);
}

#[test]
fn an_input_that_is_replaced_is_seen_and_what_was_read_of_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let vae = recipe(folder.path(), "vae.toml", VAE);
    losses(&vae, false, 1);
    let name = "checkpoint/vae/diffusion_pytorch_model.safetensors";
    let read = file(&vae.output, name);
    let teacher = recipe(folder.path(), "teacher.toml", TEACHER);
    // The VAE's run goes on beside the teacher's.
    let stop = AtomicBool::new(false);
    let outcome = train(&teacher, false, &stop, &mut |event| {
        if let Event::Step(step) = event
            && step.step == 0
        {
            losses(&vae, true, 1);
            stop.store(true, Relaxed);
        }
    });
    assert_eq!(outcome.unwrap().steps, 1);
    assert!(file(&vae.output, name) != read, "the test needs another VAE");
    let [read, written] = [vae.output.join("read.safetensors"), teacher.output.join(name)].map(|path| {
        if !path.exists() {
            fs::write(&path, &read).unwrap();
        }
        let tensors = Tensors::open(&path).unwrap();
        let of = |name: &str| (name.to_owned(), tensors.tensor(name).unwrap().to_f32());
        tensors.names().map(of).collect::<Vec<_>>()
    });
    assert!(read == written, "the teacher's checkpoint has another VAE than it was taught with");
    let refused = train(&teacher, true, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
    assert!(refused.contains("the VAE, the teacher or the checkpoint of Reason is not the one"), "{refused}");
}

#[test]
fn a_student_of_a_teacher_that_takes_no_actions_learns_too() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/small-predict");
    let text = STUDENT.replace("teacher/checkpoint", teacher).replace("batch = 4", "batch = 1");
    let small = recipe(folder.path(), "a.toml", &text.replace("clips = 8", "clips = 2"));
    let (found, outcome) = losses(&small, false, usize::MAX);
    assert!(outcome.finished && found.iter().all(|loss| loss.is_finite()), "{found:?}");
    // The size that it learnt at is what its checkpoint says.
    let index: serde_json::Value =
        serde_json::from_slice(&file(&small.output, "checkpoint/model_index.json")).unwrap();
    let notes = &index["perihelion"];
    assert_eq!(
        ["height", "width", "frames", "condition_frames"].map(|n| notes[n].as_u64().unwrap()),
        [16, 16, 9, 5]
    );
    // A latent's patches do not divide this.
    let odd =
        recipe(folder.path(), "b.toml", &text.replace("size = 16", "size = 24").replace("student\"", "b\""));
    let refused = train(&odd, false, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
    assert!(refused.contains("16"), "{refused}");
    assert!(!odd.output.exists());
}

/// The largest difference of two runs' weights of one file.
fn off(a: &Path, b: &Path, name: &str) -> f32 {
    let [a, b] = [a, b].map(|run| Tensors::open(&run.join("checkpoint").join(name)).unwrap());
    assert!(a.names().eq(b.names()));
    let of = |tensors: &Tensors, name: &str| tensors.tensor(name).unwrap().to_f32();
    let pairs = a.names().flat_map(|name| of(&a, name).into_iter().zip(of(&b, name)).collect::<Vec<_>>());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

const VAE_FILE: &str = "vae/diffusion_pytorch_model.safetensors";
const DENOISER_FILE: &str = "transformer/diffusion_pytorch_model.safetensors";

/// Such a recipe that takes one step of no length from a checkpoint.
fn from(text: &str, table: &str, checkpoint: &str) -> String {
    let text = text
        .replacen("output = \"", "output = \"from-", 1)
        .replace(table, &format!("{table}\nfrom = \"{checkpoint}\""));
    let lines = text.lines().map(|line| match line.split_once(" = ") {
        Some(("steps", _)) => "steps = 1".to_owned(),
        Some(("warmup", _)) => "warmup = 0".to_owned(),
        Some(("learning_rate", _)) => "learning_rate = 1e-9".to_owned(),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_begun_from_a_checkpoint_begins_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = trained(folder.path());
    let vae = folder.path().join("vae");
    let again = recipe(folder.path(), "a.toml", &from(VAE, "[vae]", "vae/checkpoint"));
    losses(&again, false, usize::MAX);
    let found = off(&vae, &again.output, VAE_FILE);
    assert!(found < 1e-6, "{found}");
    // A run that was begun with other weights is not gone on with.
    let place = vae.join("checkpoint").join(VAE_FILE);
    let whole = fs::read(&place).unwrap();
    let mut other = whole.clone();
    let middle = other.len() / 2;
    other[middle] ^= 0x40;
    fs::write(&place, other).unwrap();
    let refused = train(&again, true, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
    assert!(refused.contains("is not the one that the run was begun with"), "{refused}");
    fs::write(&place, whole).unwrap();

    let again = recipe(folder.path(), "b.toml", &from(TEACHER, "[teacher]", "teacher/checkpoint"));
    losses(&again, false, usize::MAX);
    let found = off(&teacher, &again.output, DENOISER_FILE);
    assert!(found < 1e-6, "{found}");
    let name = "checkpoint/text_embedding.safetensors";
    assert!(file(&teacher, name) == file(&again.output, name), "another text than the one it knows");
}

#[test]
fn a_teacher_that_takes_actions_is_begun_from_one_that_takes_none() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = trained(folder.path());
    let (whole, bare) = (teacher.join("checkpoint"), folder.path().join("bare"));
    let mut index: serde_json::Value = serde_json::from_slice(&file(&whole, "model_index.json")).unwrap();
    index["perihelion"].as_object_mut().unwrap().remove("actions").unwrap();
    let tensors = Tensors::open(&whole.join(DENOISER_FILE)).unwrap();
    let write = |dir: &Path, is_kept: &dyn Fn(&str) -> bool| {
        let mut writer = CheckpointWriter::create(dir, None).unwrap();
        writer.json("model_index.json", &index).unwrap();
        for name in ["text_embedding.safetensors", "transformer/config.json", "vae/config.json", VAE_FILE] {
            writer.file(name, &file(&whole, name)).unwrap();
        }
        writer
            .file("scheduler/scheduler_config.json", &file(&whole, "scheduler/scheduler_config.json"))
            .unwrap();
        let kept = tensors.names().filter(|name| is_kept(name)).map(|name| {
            let view = tensors.tensor(name).unwrap();
            NewTensor::new(name, view.dtype, view.shape, move || view.bytes.into())
        });
        writer.tensors(DENOISER_FILE, kept.collect()).unwrap();
        writer.finish().unwrap();
    };
    write(&bare, &|name| !name.contains("action"));
    let text = from(TEACHER, "[teacher]", "bare");
    let again = recipe(folder.path(), "a.toml", &text);
    losses(&again, false, usize::MAX);
    let trained = Tensors::open(&again.output.join("checkpoint").join(DENOISER_FILE)).unwrap();
    let mut new = 0;
    for name in trained.names() {
        let [found, expected] = [&trained, &tensors].map(|all| all.tensor(name).unwrap().to_f32());
        let off = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
        match name.contains("action") {
            true => new += 1,
            false => assert!(off < 1e-6, "{name}: {off}"),
        }
    }
    assert_eq!(new, 8, "two perceptrons of two layers");

    let refused = |text: &str| {
        let recipe = recipe(folder.path(), "refused.toml", &text.replace("from-", "refused-"));
        let why = train(&recipe, false, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
        assert!(!recipe.output.exists(), "{why}");
        why
    };
    for (from, to, expected) in [
        ("\"bare\"", "\"nowhere\"", "`teacher.from`: "),
        ("layers = 2", "layers = 3", "`teacher.from`: it has no `transformer_blocks.2"),
        ("adaln_dim = 4", "adaln_dim = 5", "`teacher.from`: it has no `"),
        ("text_dim = 6", "text_dim = 5", "`teacher.from`: its texts are of 6 values"),
    ] {
        let why = refused(&text.replace(from, to));
        assert!(why.contains(expected), "{to}: {why}");
    }
    write(&folder.path().join("cut"), &|name| !name.contains("action") && !name.contains("ff.net.2"));
    let why = refused(&text.replace("\"bare\"", "\"cut\""));
    assert!(why.contains("ff.net.2"), "{why}");
    let text = self::from(VAE, "[vae]", "vae/checkpoint");
    for (from, to, expected) in [
        ("vae/checkpoint", "nowhere", "`vae.from`: "),
        ("z_dim = 4", "z_dim = 5", "`vae.from`: a VAE of other sizes"),
    ] {
        let why = refused(&text.replace(from, to));
        assert!(why.contains(expected), "{to}: {why}");
    }
}

#[test]
fn a_teacher_of_which_something_would_be_lost_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let index = trained(folder.path()).join("checkpoint/model_index.json");
    let whole: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = whole.clone();
        change(&mut changed);
        fs::write(&index, changed.to_string()).unwrap();
        let student = recipe(folder.path(), "student.toml", STUDENT);
        let why = train(&student, false, &AtomicBool::new(false), &mut |_| ()).unwrap_err().to_string();
        assert!(!student.output.exists(), "{why}");
        why
    };
    // It takes actions, and nothing says so.
    let why = refused(&|index| drop(index["perihelion"].as_object_mut().unwrap().remove("actions")));
    assert!(why.contains("action"), "{why}");
    for notes in [serde_json::json!("x"), serde_json::json!([1]), serde_json::json!(3)] {
        let why = refused(&|index| index["perihelion"] = notes.clone());
        assert!(why.contains("perihelion"), "{why}");
    }
}

#[test]
fn what_was_trained_is_what_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path());
    let out = folder.path().join("a.model");
    export_predict(&run.join("checkpoint"), &PredictOptions::default(), &out, &mut |_| {}).unwrap();
    let model = Model::open(&out).unwrap();
    let manifest = model.manifest().roles.forecasts.clone().unwrap();
    assert_eq!(manifest.clip.actions.as_ref().unwrap().names, ["linear.x", "linear.y"]);

    let compared = agree(&Tensors::open(&run.join("state.safetensors")).unwrap(), &model, |_, max| max);
    assert!(10 < compared, "{compared}");
}

#[test]
fn a_recipe_says_in_what_weights_are_written_and_at_which_noise_a_teacher_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    losses(&recipe(folder.path(), "vae.toml", VAE), false, usize::MAX);
    let text = TEACHER.replace("ema = 0.5\n", "ema = 0.5\nweights = \"f16\"\n") + "sigmas = [1.0]\n";
    losses(&recipe(folder.path(), "teacher.toml", &text), false, usize::MAX);
    let checkpoint = folder.path().join("teacher/checkpoint");
    for folder in ["transformer", "vae"] {
        let weights = checkpoint.join(folder).join("diffusion_pytorch_model.safetensors");
        let tensors = Tensors::open(&weights).unwrap();
        let types: Vec<DType> = tensors.names().map(|name| tensors.tensor(name).unwrap().dtype).collect();
        assert!(!types.is_empty() && types.iter().all(|dtype| *dtype == DType::F16), "{folder}: {types:?}");
    }
    let out = folder.path().join("a.model");
    export_predict(&checkpoint, &PredictOptions::default(), &out, &mut |_| {}).unwrap();
    let manifest = Model::open(&out).unwrap().manifest().roles.forecasts.clone().unwrap();
    assert_eq!(manifest.schedule.default_steps(), 1);

    for (sigmas, expected) in [("[]", None), ("[0.5, 1.0]", Some("`teacher.sigmas` is [0.5, 1.0]"))] {
        let path = folder.path().join("other.toml");
        fs::write(&path, format!("{TEACHER}sigmas = {sigmas}\n")).unwrap();
        match (Recipe::open(&path), expected) {
            (Ok(_), None) => {}
            (Err(why), Some(expected)) => assert!(why.to_string().contains(expected), "{why}"),
            (found, _) => panic!("{sigmas}: {found:?}"),
        }
    }
}
