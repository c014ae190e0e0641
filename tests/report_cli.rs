//! `perihelion report` as a person runs it: its figures against ones computed here from the same clips, its page, and what is refused.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::process::{Command, Output};

use perihelion::quality::world::World;
use serde_json::Value;

fn perihelion(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perihelion")).args(arguments).output().unwrap()
}

fn done(arguments: &[&str]) -> Vec<u8> {
    let output = perihelion(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Peak signal to noise of the pixels that moved, and of all, of so many clips' last given frame.
fn held(clips: u64, n_given: usize, n_frames: usize) -> [f64; 2] {
    let (mut squares, mut counts) = ([0.0; 2], [0.0; 2]);
    for index in 0..clips {
        let course = World::Balls.course(index, n_frames, 64);
        let newest = &course.frames[n_given - 1];
        for frame in &course.frames[n_given..] {
            for (now, before) in frame.chunks(3).zip(newest.chunks(3)) {
                let off: Vec<f64> =
                    now.iter().zip(before).map(|(a, b)| (f64::from(*a) - f64::from(*b)) / 255.0).collect();
                let square: f64 = off.iter().map(|v| v * v).sum();
                let has_moved = off.iter().any(|v| 0.05 < v.abs());
                for (kind, counts_here) in [has_moved, true].into_iter().enumerate() {
                    if counts_here {
                        squares[kind] += square;
                        counts[kind] += 3.0;
                    }
                }
            }
        }
    }
    [0, 1].map(|kind| 10.0 * f64::log10(counts[kind] / squares[kind]))
}

#[test]
fn engines_are_measured_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for name in ["reason", "predict"] {
        let (model, engine) = (path(&format!("{name}.model")), path(&format!("{name}.engine")));
        done(&["export", &format!("engines/small-{name}"), "-o", &model]);
        done(&["build", &model, "-o", &engine, "--backend", "cpu", "--precision", "f32"]);
    }
    let (reason, predict, page) = (path("reason.engine"), path("predict.engine"), path("page.html"));

    let told = done(&["report", &reason, &predict, "--clips", "4", "--json", "-o", &page]);
    let told: Value = serde_json::from_slice(&told).unwrap();
    let engines = told["engines"].as_array().unwrap();
    assert_eq!((told["world"].as_str(), engines.len()), (Some("balls"), 2));
    assert_eq!((engines[0]["file"].as_str(), engines[1]["answers"].is_null()), (Some("reason.engine"), true));
    let tasks = engines[0]["answers"]["tasks"].as_array().unwrap();
    let named = |name: &str| tasks.iter().find(|task| task["task"] == name).unwrap();
    assert_eq!((named("count")["asked"].as_u64(), named("path")["asked"].as_u64()), (Some(4), Some(2)));
    assert_eq!(named("count")["right"], 4, "the small checkpoint counts balls");
    assert!(named("where")["mean_iou"].as_f64().unwrap() > 0.3);

    let [of] = &engines[1]["forecasts"].as_array().unwrap()[..] else { panic!("{told}") };
    let number = |of: &Value, key: &str| of[key].as_f64().unwrap_or_else(|| panic!("{key} of {of}"));
    let (n_given, horizon) = (number(of, "given_frames") as usize, number(of, "horizon_frames") as usize);
    let expected = held(4, n_given, n_given + horizon);
    for (key, expected) in ["psnr_moving_db", "psnr_db"].into_iter().zip(expected) {
        let found = number(&of["newest_frame_held"], key);
        assert!((found - expected).abs() < 1e-9, "{key}: {found}, not {expected}");
    }
    let moving = ["newest_frame_held", "forecast", "vae"].map(|who| number(&of[who], "psnr_moving_db"));
    assert!(moving[0] < moving[1] && moving[1] < moving[2], "held, forecast, VAE: {moving:?}");
    assert_eq!(number(&of["vae"], "found"), 1.0, "what the VAE gives back has every ball");
    assert!(number(&of["vae"], "center_error_px") < number(&of["forecast"], "center_error_px"));
    assert!(number(&of["vae"], "ssim") > 0.8 && number(&of["newest_frame_held"], "sharpness") > 0.9);
    assert_eq!(of["forecast"]["by_frame"].as_array().unwrap().len(), horizon);

    let html = std::fs::read_to_string(&page).unwrap();
    for part in ["predict.engine", "PSNR where something moves", "Clip 3", "most frequent"] {
        assert!(html.contains(part), "{part}");
    }
    // The same again, and in words; another world.
    let again = done(&["report", &predict, "--clips", "2", "--steps", "1,1"]);
    let again = String::from_utf8(again).unwrap();
    let rows: Vec<&str> =
        again.lines().filter(|line| line.trim_start().starts_with("predict.engine")).collect();
    let without_time = |row: &str| row.rsplit_once(' ').unwrap().0.trim_end().to_owned();
    assert_eq!((rows.len(), without_time(rows[0])), (2, without_time(rows[1])), "{again}");
    let robot = done(&["report", &predict, "--clips", "8", "--world", "robot", "--json"]);
    let robot: Value = serde_json::from_slice(&robot).unwrap();
    let surprise = &robot["engines"][0]["surprise"][0];
    assert_eq!(surprise["quiet_clips"], 8);
    let kinds = surprise["kinds"].as_array().unwrap();
    let names: Vec<&str> = kinds.iter().map(|kind| kind["anomaly"].as_str().unwrap()).collect();
    assert_eq!(names, ["any", "jump", "vanish", "recolor", "ghost push"]);
    let clips: Vec<u64> = kinds.iter().map(|kind| kind["clips"].as_u64().unwrap()).collect();
    assert_eq!(clips[0], clips[1..].iter().sum::<u64>());
    assert!(clips.iter().all(|n| *n <= 8) && 4 <= clips[0], "{clips:?}");
    for key in ["auroc_latent", "auroc_place", "auroc_pixels"] {
        assert!((0.0..=1.0).contains(&number(&kinds[0], key)), "{surprise}");
    }
    assert!(number(&robot["engines"][0]["forecasts"][0]["forecast"], "psnr_db") > 5.0);

    // What cannot be meant.
    let refused = |arguments: &[&str], expected: &str| {
        let output = perihelion(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    let words = String::from_utf8(done(&["report", &predict, "--clips", "4", "--world", "robot"])).unwrap();
    assert!(words.contains("AUROC, latents") && words.contains("predict.engine: ghost push"), "{words}");
    refused(&["report", &reason, "--steps", "2"], "none of the engines forecasts");
    refused(&["report", &predict, "-o", &predict], "--output");
    refused(&["report", &predict, "--clips", "0"], "--clips");
    std::fs::write(path("noise"), [7; 4096]).unwrap();
    // Said before anything is measured, of the last engine as of the first.
    for (arguments, expected) in [
        (&["report", &reason, &predict, "--steps", "9999", "--clips", "1000000"][..], "9999 steps"),
        (&["report", &path("predict.model")], "found a model"),
        (&["report", &reason, &path("noise"), "--clips", "1000000"], "noise"),
    ] {
        let output = perihelion(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
