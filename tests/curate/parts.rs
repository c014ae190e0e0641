//! Shares, and what an interrupted run goes on from: the bytes are those of one run.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::World;
use super::planted::{Film, compressed_bag, pass, seen_again, still};

/// Six sources with near duplicates across them, one of them there twice.
fn logs(world: &World) {
    let logs = world.path("logs");
    fs::create_dir(&logs).unwrap();
    let passed = pass(501, 0, 14);
    fs::create_dir(logs.join("bags")).unwrap();
    for (name, film) in [
        ("1.mcap", Film::new().add(pass(500, 0, 12)).add(passed.clone()).add(still(&passed[13], 12))),
        ("2.mcap", Film::new().add(seen_again(&pass(501, 2, 12), 1.05)).gap(2).add(pass(502, 0, 20))),
        ("10.mcap", Film::new().add(pass(503, 0, 9))),
    ] {
        let folder = logs.join("bags").join(name.trim_end_matches(".mcap"));
        fs::create_dir(&folder).unwrap();
        film.bag(&folder.join(name));
    }
    Film::new().add(pass(506, 0, 10)).add(pass(502, 5, 12)).folder(&logs.join("frames"));
    compressed_bag(&world.path("logs/lossy.mcap"), &Film::new().add(pass(500, 0, 12)).jpegs());
    fs::create_dir(logs.join("zz")).unwrap();
    fs::rename(logs.join("lossy.mcap"), logs.join("zz/lossy.mcap")).unwrap();
    fs::create_dir(logs.join("copy")).unwrap();
    fs::copy(logs.join("bags/10/10.mcap"), logs.join("copy/10.mcap")).unwrap();
}

#[test]
fn parts_join_to_the_bytes_of_one_run() {
    let world = World::new();
    logs(&world);
    for format in ["frames", "webdataset", "lerobot"] {
        let (whole, joined) = (format!("whole-{format}"), format!("joined-{format}"));
        let more = ["--format", format, "--shard-mb", "1"];
        let said = world.done(&[&["logs", "-o", &whole], &more[..]].concat());
        assert_eq!((&said["sources"], &said["clips"]), (&Value::from(5), &Value::from(5)));
        // 501 and 502 from the second table on, and 500 in lossy files.
        assert_eq!(said["dropped"]["duplicate"]["stretches"], 3);
        let parts: Vec<String> = (1..=3).map(|i| format!("part-{format}-{i}")).collect();
        for (i, part) in parts.iter().enumerate() {
            let shard = format!("{}/3", i + 1);
            let said = world.done(&[&["logs", "-o", part, "--shard", &shard], &more[..]].concat());
            assert_eq!((&said["read"], &said["of"]), (&Value::from(2), &Value::from(3)));
        }
        let said_of_joined = world.done(&["merge", &parts[2], &parts[0], &parts[1], "-o", &joined]);
        assert_eq!(said_of_joined["digest"], said["digest"]);
        assert!(world.tree(&whole) == world.tree(&joined), "{format}");
        let manifest = world.manifest(&whole);
        let also = manifest["sources"].as_array().unwrap().iter().map(|source| source["also"].to_string());
        assert_eq!(also.filter(|also| also.contains("logs/copy")).count(), 1);
    }
    shards_hold_clips_of_one_shape(&world);

    let part = |i: usize| format!("part-frames-{i}");
    let (first, second, third) = (part(1), part(2), part(3));
    world.refused(&["merge", &first, &third, "-o", "x"], 1, &["are missing: 2"]);
    world.refused(
        &["merge", &first, &second, &second, &third, "-o", "x"],
        1,
        &["part 2 of 3, which is there twice"],
    );
    world.refused(&["merge", &first, "part-webdataset-2", &third, "-o", "x"], 1, &["other parameters"]);
    world.refused(&["merge", &first, "logs", "-o", "x"], 1, &["part.json"]);
    world.refused(&["merge", &first, &second, &third, "-o", &first], 2, &["which is read"]);
    world.refused(&["merge", &first, &second, &third, "-o", "whole-frames"], 2, &["--overwrite"]);
    let files = world.tree(&second);
    let record = files.keys().find(|path| path.ends_with("record.json")).unwrap();
    let record = world.path(&second).join(record);
    let text = fs::read(&record).unwrap();
    fs::write(&record, &text[..text.len() / 2]).unwrap();
    world.refused(&["merge", &first, &second, &third, "-o", "x"], 1, &["record.json", "it is cut"]);
    let leading_out = String::from_utf8_lossy(&text).replacen("00/0000", "../0000", 1);
    fs::write(&record, leading_out).unwrap();
    world.refused(&["merge", &first, &second, &third, "-o", "x"], 1, &["is no image beside it"]);
    let text = String::from_utf8(text).unwrap();
    for (as_it_is, damaged, said) in [
        ("\"sha256\":\"", "\"sha256\":\"ü", "is no SHA-256"),
        ("\"width\":", "\"width\":7777777", "no size"),
        ("\"damaged\":", "\"damaged\":999999999999999999", "so many frames"),
    ] {
        assert!(text.contains(as_it_is), "{text}");
        fs::write(&record, text.replacen(as_it_is, damaged, 1)).unwrap();
        world.refused(&["merge", &first, &second, &third, "-o", "x"], 1, &["record.json", said]);
    }
    fs::write(&record, text).unwrap();
    // What is no part of a part is not read through it.
    let is_frame = |path: &&PathBuf| path.ends_with("00/00000000.png");
    let frame = world.path(&second).join(files.keys().find(is_frame).unwrap());
    fs::remove_file(&frame).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &frame).unwrap();
    world.refused(&["merge", &first, &second, &third, "-o", "x"], 1, &["00000000.png", "it is no file"]);
    assert!(!world.path("x").exists() && !world.path("x.curating").exists());

    // A share that was read already is not read again, if that is asked; and is not lost, if it is not.
    let again = ["logs", "-o", &third, "--shard", "3/3", "--shard-mb", "1"];
    world.refused(&again, 2, &["not empty"]);
    let said = world.done(&[&again[..], &["--resume"]].concat());
    assert_eq!((&said["read"], &said["resumed"]), (&Value::from(0), &Value::from(2)));
}

fn shards_hold_clips_of_one_shape(world: &World) {
    let manifest = world.manifest("whole-webdataset");
    let shards = manifest["shards"].as_array().unwrap();
    let listed = |shard: &Value| {
        let path = world.path("whole-webdataset").join(shard["place"].as_str().unwrap());
        let output = Command::new("tar").arg("-tf").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for shard in shards {
        let names = listed(shard);
        let clips: Vec<&Value> = manifest["clips"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|clip| clip["place"] == shard["place"])
            .collect();
        assert_eq!(shard["clips"], clips.len());
        let mut expected = Vec::new();
        for clip in clips {
            for key in ["aspect", "width", "height", "frames_min"] {
                assert_eq!(clip[key], shard[key]);
            }
            let (key, n) = (clip["clip"].as_str().unwrap(), clip["frames"].as_u64().unwrap());
            expected.extend((0..n).map(|at| format!("{key}.{at:04}.png")));
            expected.push(format!("{key}.json"));
        }
        assert_eq!(names, expected);
    }
    // 9 to 14 frames, and 20.
    let frames_min: Vec<_> = shards.iter().map(|shard| shard["frames_min"].as_u64().unwrap()).collect();
    assert_eq!(frames_min, [8, 16]);
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let world = World::new();
    logs(&world);
    world.done(&["logs", "-o", "whole"]);
    let sources = world.path("out.curating/sources");
    let done = || {
        let entries = fs::read_dir(&sources).into_iter().flatten().flatten();
        entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")).count()
    };
    interrupt(&world, &["--resume"], "-KILL", || 2 <= done());

    world.refused(&["logs", "-o", "out"], 2, &["out.curating", "--resume"]);
    world.refused(&["logs", "-o", "out", "--resume", "--still", "0.5"], 2, &["other sources or parameters"]);
    // What was read whole is not read again.
    let said = world.done(&["logs", "-o", "out", "--resume"]);
    let resumed = said["resumed"].as_u64().unwrap();
    assert!((2..6).contains(&resumed), "{said}");
    assert!(world.tree("whole") == world.tree("out"));
    assert_eq!(world.names(), ["logs", "out", "whole"]);
}

#[test]
fn a_stopped_run_leaves_nothing() {
    let world = World::new();
    logs(&world);
    interrupt(&world, &[], "-TERM", || 2 <= world.names().len());
    assert_eq!(world.names(), ["logs"]);
}

#[test]
fn how_fast_frames_came_is_a_part_of_their_source() {
    let world = World::new();
    fs::create_dir(world.path("logs")).unwrap();
    for (name, fps) in [("a", 8), ("b", 8), ("c", 16)] {
        let folder = world.path("logs").join(name);
        Film::new().add(pass(501, 0, 14)).folder(&folder);
        fs::write(folder.join("clip.json"), format!("{{\"fps\": {fps}}}")).unwrap();
    }
    let said = world.done(&["logs", "-o", "out"]);
    assert_eq!((&said["sources"], &said["clips"]), (&Value::from(2), &Value::from(1)), "{said}");
}

/// Runs `curate logs -o out` and sends it a signal as soon as `is_time`; begins again where it had ended by then.
fn interrupt(world: &World, more: &[&str], signal: &str, is_time: impl Fn() -> bool) {
    for _ in 0..100 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
        command.current_dir(world.dir.path()).args(["curate", "logs", "-o", "out"]).args(more);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !is_time() && child.try_wait().unwrap().is_none() {}
        drop(Command::new("kill").args([signal, &child.id().to_string()]).output().unwrap());
        if !child.wait().unwrap().success() {
            assert!(!world.path("out").exists());
            return;
        }
        fs::remove_dir_all(world.path("out")).unwrap();
    }
    panic!("it is always faster than this test can look");
}

#[test]
fn what_is_not_ours_is_neither_taken_nor_removed() {
    let world = World::new();
    logs(&world);
    let stranger = world.path("out.curating/mine.txt");
    fs::create_dir(world.path("out.curating")).unwrap();
    fs::write(&stranger, "mine").unwrap();
    world.refused(&["logs", "-o", "out", "--resume"], 2, &["mine.txt"]);
    assert_eq!(fs::read(&stranger).unwrap(), b"mine");
    fs::remove_dir_all(world.path("out.curating")).unwrap();
    let before = world.tree("logs");
    fs::rename(world.path("logs"), world.path("out.curating")).unwrap();
    world.refused(&["out.curating", "-o", "out", "--resume"], 2, &["which is read"]);
    assert!(before == world.tree("out.curating"));
    // Found, though not named.
    fs::rename(world.path("out.curating"), world.path("out")).unwrap();
    fs::create_dir(world.path("links")).unwrap();
    std::os::unix::fs::symlink(world.path("out"), world.path("links/logs")).unwrap();
    world.refused(&["links", "-o", "out", "--overwrite"], 2, &["which is read"]);
    assert!(before == world.tree("out"));
}
