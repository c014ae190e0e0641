//! A smaller model that learns from a larger one's shares of the next token.

use std::fs;
use std::path::Path;

use perihelion::distill::{Tensor, ops};
use perihelion::scenes::Rng;

use crate::reason::{SFT, folder, measured, refused, stopped_and_not};
use crate::tiny_reason;
use crate::training::{losses, recipe};

const GKD: &str = "output = \"gkd\"\nseed = 6\n[scenes]\nsize = 32\nobjects = 2\nclips = 50\nframes = [9, 1]\n\
    [train]\nsteps = 5\nbatch = 2\nparts = 2\nlearning_rate = 0.002\nvalidate_every = 3\n\
    [gkd]\nlike = \"like\"\nteacher = \"teacher/checkpoint\"\n\
    tasks = [[\"what\", 1.0], [\"count\", 1.0], [\"puzzle\", 1.0], [\"push\", 1.0]]\nquestions = 2\nmeasured = 3\n";

/// A teacher of a wider network that has learnt a little, in `teacher/checkpoint`.
fn teach(folder: &Path) {
    tiny_reason::write_wider(&folder.join("wide"));
    let text = SFT
        .replace("\"sft\"", "\"teacher\"")
        .replace("like = \"like\"", "like = \"wide\"")
        .replace("steps = 6", "steps = 20")
        .replace("learning_rate = 0.002", "learning_rate = 0.01");
    losses(&recipe(folder, "teacher.toml", &text), false, usize::MAX);
}

#[test]
fn a_run_that_learns_from_a_teacher_goes_on_as_if_it_had_not_been_stopped() {
    let folder = folder();
    teach(folder.path());
    let (whole, found, last) = stopped_and_not(folder.path(), GKD, "gkd");
    assert!(found.len() == 5 && found.iter().all(|loss| 0.0 < *loss), "{found:?}");
    for name in ["divergence", "what", "count", "push"] {
        assert!(last[name].is_number(), "{name}: {last}");
    }
    // Another teacher is seen.
    let file = folder.path().join("teacher/checkpoint/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 0x40;
    fs::write(&file, bytes).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let again = perihelion::distill::train(&whole, true, &stop, &mut |_| ()).unwrap_err().to_string();
    assert!(again.contains("is not the one"), "{again}");
}

#[test]
fn a_student_comes_near_its_teacher_by_either_divergence_and_by_its_own_answers() {
    let folder = folder();
    teach(folder.path());
    for (beta, on_policy) in [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)] {
        let text = GKD
            .replace("steps = 5", "steps = 30")
            .replace("learning_rate = 0.002", "learning_rate = 0.01")
            .replace("validate_every = 3", "validate_every = 1")
            .replace("\"gkd\"", &format!("\"gkd-{beta}\""))
            + &format!("beta = {beta:.1}\non_policy = {on_policy:.1}\n");
        let student = recipe(folder.path(), &format!("{beta}.toml"), &text);
        losses(&student, false, usize::MAX);
        let apart: Vec<f64> =
            measured(&student).iter().map(|row| row["divergence"].as_f64().unwrap()).collect();
        let (first, last) = (apart[0], apart[apart.len() - 1]);
        assert!(apart.len() == 30 && last < 0.5 * first, "β {beta}: {apart:?}");
    }
}

#[test]
fn a_teacher_that_is_shown_or_told_something_else_is_refused() {
    let folder = folder();
    teach(folder.path());
    for (from, to, expected) in [
        ("beta", "betta", "unknown field `betta`"),
        ("beta = 0.5", "beta = 1.5", "`gkd.beta` is 1.5; expected 0 to 1"),
        ("beta = 0.5", "on_policy = -0.5", "`gkd.on_policy` is -0.5"),
        ("beta = 0.5", "temperature = 0.0", "`gkd.temperature` is 0; expected 0.01 to 100"),
        ("teacher = \"teacher/checkpoint\"\n", "", "missing field `teacher`"),
        ("teacher/checkpoint", "nowhere", "`gkd.teacher`: "),
        ("teacher/checkpoint", "wide", "`gkd.teacher`: "),
        ("like = \"like\"", "like = \"like\"\nfrom = \"teacher/checkpoint\"", "`gkd.from`: "),
        ("\"count\"", "\"conut\"", "`gkd.tasks` names `conut`, which is no task"),
    ] {
        let why = refused(folder.path(), &format!("{GKD}beta = 0.5\n").replacen(from, to, 1));
        assert!(why.contains(expected), "{to}: {why}");
    }
    let teacher = folder.path().join("teacher/checkpoint");
    for (name, from, to, expected) in [
        ("tokenizer.json", "<|vision_pad|>", "<|vision_hole|>", "its tokens are not those"),
        ("generation_config.json", "504", "503", "its ends of answers are not those"),
        ("processor_config.json", "0.5", "0.25", "its pixels are not those"),
        ("chat_template.jinja", "assistant", "robot", "its prompts are not those"),
    ] {
        let place = teacher.join(name);
        let whole = fs::read_to_string(&place).unwrap();
        let changed = whole.replacen(from, to, 1);
        assert_ne!(changed, whole, "{name}");
        fs::write(&place, changed).unwrap();
        let why = refused(folder.path(), GKD);
        assert!(why.contains("`gkd.teacher`: ") && why.contains(expected), "{name}: {why}");
        fs::write(&place, whole).unwrap();
    }
}

/// As the definition has it, term by term.
fn expected(x: &[f64], towards: &[f64], beta: f64) -> f64 {
    let shares = |row: &[f64]| -> Vec<f64> {
        let total: f64 = row.iter().map(|v| v.exp()).sum();
        row.iter().map(|v| v.exp() / total).collect()
    };
    let kl = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * (a / b).ln()).sum::<f64>();
    let (q, p) = (shares(x), shares(towards));
    let r: Vec<f64> = q.iter().zip(&p).map(|(q, p)| beta * p + (1.0 - beta) * q).collect();
    match beta {
        0.0 => kl(&p, &q),
        1.0 => kl(&q, &p),
        _ => beta * kl(&p, &r) + (1.0 - beta) * kl(&q, &r),
    }
}

#[test]
fn divergences_and_their_gradients_are_right() {
    let mut rng = Rng::new(3);
    for beta in [0.0, 0.1, 0.5, 1.0] {
        let mut row = || -> Vec<f64> { (0..5).map(|_| rng.uniform(-3.0, 3.0)).collect() };
        let rows = [row(), row()];
        let others = Tensor::constant([row(), row()].concat(), &[2, 5]);
        let of_others: Vec<f64> = others.to_f32().into_iter().map(f64::from).collect();
        let others = Tensor::constant(of_others.clone(), &[2, 5]);
        let leaf = Tensor::learnt(rows.concat(), &[2, 5]);
        let found = ops::divergence(&leaf, &others, beta);
        let values = found.to_f32();
        let slope = ops::mul(&found, &Tensor::constant(vec![2.0_f64, -3.0], &[2]));
        let slope = slope.sum().backward().gradient::<f64>(&leaf).unwrap();
        for (i, (row, share)) in rows.iter().zip([2.0, -3.0]).enumerate() {
            let other = &of_others[i * 5..][..5];
            let of = |row: &[f64]| expected(row, other, beta);
            assert!((f64::from(values[i]) - of(row)).abs() < 1e-6, "β {beta}: {values:?}");
            for k in 0..5 {
                let moved = |by: f64| {
                    let mut row = row.clone();
                    row[k] += by;
                    of(&row)
                };
                let wanted = share * (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((slope[i * 5 + k] - wanted).abs() < 1e-7, "β {beta}, {i} {k}: {slope:?}, {wanted}");
            }
        }
        // Far apart, nothing overflows.
        let far = Tensor::constant(vec![0.0_f32, 1e4, -1e4], &[1, 3]);
        let leaf = Tensor::learnt(vec![1e4_f32, -1e4, 0.0], &[1, 3]);
        let slope = ops::divergence(&leaf, &far, beta).sum().backward().gradient::<f32>(&leaf).unwrap();
        assert!(slope.iter().all(|s| s.is_finite()), "β {beta}: {slope:?}");
    }
}
