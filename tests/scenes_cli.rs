//! `perihelion scenes` as a person runs it: clips as folders and as a bag, the same from the same numbers, and nothing half written.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn scenes(arguments: &[&str], place: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    command.arg("scenes").args(arguments).arg("-o").arg(place).output().unwrap()
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn a_clip_is_a_folder_of_frames_with_what_happened_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let output = scenes(&["--count", "3", "--first", "5", "--frames", "9", "--size", "48", "--json"], &a);
    assert!(output.status.success(), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["clips"], 3);
    assert_eq!(summary["frames"], 27);

    let clip = a.join("000006");
    let names: Vec<String> = files(&clip).into_iter().map(|(name, _)| name).collect();
    let expected: Vec<String> =
        ["clip.json".to_owned()].into_iter().chain((0..9).map(|i| format!("frame_{i:03}.png"))).collect();
    assert_eq!(names, expected);
    let frame = image::open(clip.join("frame_008.png")).unwrap();
    assert_eq!((frame.width(), frame.height()), (48, 48));
    let told: Value = serde_json::from_slice(&std::fs::read(clip.join("clip.json")).unwrap()).unwrap();
    assert_eq!(told["actions"].as_array().unwrap().len(), 8);
    assert_eq!(told["objects"][0]["track"].as_array().unwrap().len(), 9);
    let questions = told["questions"].as_array().unwrap();
    assert!(questions.iter().all(|q| q["texts"][0].is_string() && q["answer"].is_string()));
    assert!(!questions.is_empty());

    // A clip is its split and its number, whatever it is drawn with.
    assert!(scenes(&["--count", "1", "--first", "6", "--frames", "9", "--size", "48"], &b).status.success());
    assert_eq!(files(&clip), files(&b.join("000006")));
    // Clips are kept, unless others are wanted in their place.
    let another = ["--count", "1", "--first", "7", "--frames", "2"];
    let refused = scenes(&another, &b);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--overwrite"));
    assert!(b.join("000006/clip.json").exists());
    assert!(scenes(&[&another[..], &["--overwrite"]].concat(), &b).status.success());
    assert_eq!(std::fs::read_dir(&b).unwrap().count(), 1);
    assert!(b.join("000007/clip.json").exists());
    let held_out = dir.path().join("held-out");
    let more = ["--count", "1", "--first", "6", "--frames", "9", "--size", "48", "--split", "held-out"];
    assert!(scenes(&more, &held_out).status.success());
    assert_ne!(files(&clip), files(&held_out.join("000006")));
}

#[test]
fn a_bag_holds_images_actions_and_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("clips.mcap");
    let output = scenes(&["--count", "2", "--frames", "4"], &place);
    assert!(output.status.success(), "{output:?}");
    let bytes = std::fs::read(&place).unwrap();
    let messages: Vec<_> = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap).collect();
    let of = |topic: &str| -> Vec<u64> {
        messages.iter().filter(|m| m.channel.topic == topic).map(|m| m.log_time).collect()
    };
    // Eight a second, and a second from clip to clip.
    let times: Vec<u64> =
        [0, 125, 250, 375, 1375, 1500, 1625, 1750].map(|ms| 1_000_000_000 + ms * 1_000_000).into();
    for topic in ["/clock", "/camera/image_raw", "/cmd_vel"] {
        assert_eq!(of(topic), times, "{topic}");
    }
    let image = messages.iter().find(|m| m.channel.topic == "/camera/image_raw").unwrap();
    let schema = image.channel.schema.as_ref().unwrap();
    assert_eq!((schema.name.as_str(), schema.encoding.as_str()), ("sensor_msgs/msg/Image", "ros2msg"));
    assert!(String::from_utf8_lossy(&schema.data).contains("string encoding"));
    assert!(64 * 64 * 3 < image.data.len());
}

#[test]
fn what_lies_there_is_kept_and_bad_numbers_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let full = dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("mine"), "mine").unwrap();
    let output = scenes(&["--count", "1"], &full);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("full") && said.contains("not empty"), "{said}");
    assert_eq!(scenes(&["--count", "1", "--overwrite"], &full).status.code(), Some(2));
    assert_eq!(files(&full).len(), 1);

    let file = dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert_eq!(scenes(&["--count", "1"], &file).status.code(), Some(2));
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    for bad in [["--count", "0"], ["--frames", "0"], ["--size", "8"], ["--objects", "7"], ["--split", "test"]]
    {
        assert_eq!(scenes(&bad, &dir.path().join("new")).status.code(), Some(2), "{bad:?}");
    }
    let nowhere = dir.path().join("no/such/folder");
    assert_eq!(scenes(&["--count", "1"], &nowhere).status.code(), Some(1));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing was left behind");
}
