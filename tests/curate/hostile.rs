//! Logs that are damaged, empty or something else, and places that must not be written to.

use std::fs;

use serde_json::Value;

use super::planted::{self, Film, compressed_bag, pass};
use super::{World, expected, ranges};

#[test]
fn a_damaged_image_is_named_and_the_clip_goes_on() {
    let world = World::new();
    let mut jpegs = Film::new().add(pass(502, 0, 20)).jpegs();
    let n = jpegs[7].1.len();
    jpegs[7].1.truncate(n / 2);
    jpegs[19].1 = b"no picture".to_vec();
    compressed_bag(&world.path("a.mcap"), &jpegs);
    fs::create_dir(world.path("b")).unwrap();
    for (at, (_, data)) in jpegs.iter().enumerate() {
        fs::write(world.path("b").join(format!("{at}.jpg")), data).unwrap();
    }
    for (source, file) in [("a.mcap", Value::Null), ("b", Value::from("7.jpg"))] {
        let output = world.run(&[source, "-o", "out", "--overwrite"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.success() && said.contains("2 of 20 images are damaged; the first is number 7"),
            "{said}"
        );
        let manifest = world.manifest("out");
        let stream = &manifest["sources"][0]["streams"][0];
        assert_eq!((&stream["frames"], &stream["damaged"]), (&Value::from(20), &Value::from(2)));
        assert_eq!(
            (&stream["damaged_first"][0]["frame"], &stream["damaged_first"][0]["file"]),
            (&Value::from(7), &file)
        );
        let clips = manifest["clips"].as_array().unwrap();
        assert_eq!(clips.len(), 1);
        assert_eq!(
            (&clips[0]["first"], &clips[0]["last"], &clips[0]["frames"]),
            (&0.into(), &18.into(), &18.into())
        );
        // What came compressed stays as it came.
        assert!(fs::read(world.path("out/frames/000000/frame_000.jpg")).unwrap() == jpegs[0].1);
    }
}

#[test]
fn bags_without_images_or_end_are_named_and_the_others_go_on() {
    let world = World::new();
    let film = Film::new().add(pass(501, 0, 20));
    film.bag(&world.path("a.mcap"));
    let bytes = fs::read(world.path("a.mcap")).unwrap();
    fs::write(world.path("cut.mcap"), &bytes[..bytes.len() * 2 / 3]).unwrap();
    Film::new().bag(&world.path("none.mcap"));
    planted::clock_bag(&world.path("clock.mcap"));
    let of_none = ["no clip is left", "none.mcap", "hold no image"];
    world.refused(&["none.mcap", "-o", "out"], 1, &of_none);
    world.refused(
        &["clock.mcap", "-o", "out"],
        1,
        &["no topic of images in it", "/clock (rosgraph_msgs/msg/Clock)"],
    );
    world.refused(
        &["a.mcap", "-o", "out", "--topic", "/other"],
        1,
        &["no images on /other", "/camera/image_raw"],
    );
    let said = world.done(&["a.mcap", "none.mcap", "-o", "out"]);
    assert_eq!((&said["clips"], &said["problems"][0]["source"]), (&1.into(), &"none.mcap".into()));
    // What a killed recorder has left.
    let mut writer = mcap_without_end(&film);
    writer.truncate(writer.len() - 20_000);
    fs::write(world.path("cut.mcap"), writer).unwrap();
    let said = world.done(&["cut.mcap", "-o", "cut"]);
    assert!(said["problems"][0]["problem"].as_str().unwrap().contains("interrupted"), "{said}");
    let n = said["frames"].as_u64().unwrap();
    assert!((8..20).contains(&n), "{said}");
    fs::write(world.path("text.mcap"), "no bag").unwrap();
    world.refused(&["text.mcap", "-o", "x"], 1, &["text.mcap", "no MCAP"]);
    assert_eq!(world.names(), ["a.mcap", "clock.mcap", "cut", "cut.mcap", "none.mcap", "out", "text.mcap"]);
}

/// A bag without chunks, as a recorder writes it that flushes every message.
fn mcap_without_end(film: &Film) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    film.bag(&dir.path().join("a.mcap"));
    let bytes = fs::read(dir.path().join("a.mcap")).unwrap();
    let mut out = Vec::new();
    let options = mcap::WriteOptions::new().profile("ros2").use_chunks(false);
    let mut writer = options.create(std::io::Cursor::new(&mut out)).unwrap();
    for message in mcap::MessageStream::new(&bytes).unwrap() {
        writer.write(&message.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    out
}

#[test]
fn one_content_under_two_names_is_one_source() {
    let world = World::new();
    Film::new().add(pass(502, 0, 10)).bag(&world.path("b.mcap"));
    fs::copy(world.path("b.mcap"), world.path("a.mcap")).unwrap();
    let said = world.done(&["b.mcap", "a.mcap", "./b.mcap", "-o", "out"]);
    assert_eq!((&said["sources"], &said["clips"], &said["frames"]), (&1.into(), &1.into(), &10.into()));
    assert_eq!(said["dropped"]["duplicate"]["frames"], 0);
    let source = &world.manifest("out")["sources"][0];
    assert_eq!((&source["name"], &source["also"][0]), (&"a.mcap".into(), &"b.mcap".into()));
}

#[test]
fn a_size_that_changes_ends_the_clip() {
    let world = World::new();
    let film = Film::new().add(pass(503, 0, 20));
    film.folder(&world.path("a"));
    for at in 10..20 {
        let path = world.path("a").join(format!("{at}.png"));
        image::open(&path)
            .unwrap()
            .resize_exact(48, 48, image::imageops::FilterType::Triangle)
            .save(&path)
            .unwrap();
    }
    world.done(&["a", "-o", "out", "--format", "webdataset"]);
    let manifest = world.manifest("out");
    assert_eq!(ranges(&manifest["clips"], "begins"), expected(&[(0, 9, "start"), (10, 19, "size")]));
    let shards = manifest["shards"].as_array().unwrap();
    let shapes: Vec<_> =
        shards.iter().map(|shard| (shard["aspect"].as_str().unwrap(), &shard["width"])).collect();
    assert_eq!(shapes, [("4:3", &Value::from(64)), ("1:1", &Value::from(48))]);
}

#[test]
fn no_place_is_written_to_that_is_read_or_another_s() {
    let world = World::new();
    let film = Film::new().add(pass(506, 0, 10));
    film.folder(&world.path("logs/a"));
    fs::create_dir(world.path("empty")).unwrap();
    fs::write(world.path("file"), "mine").unwrap();
    world.refused(&["empty", "-o", "out"], 1, &["empty: neither a bag nor a frame"]);
    world.refused(&["nowhere", "-o", "out"], 1, &["nowhere"]);
    world.refused(&["logs", "-o", "logs/out"], 2, &["lies in logs, which is read"]);
    world.refused(
        &["logs/a", "-o", "logs", "--overwrite"],
        2,
        &["holds logs/a, which is read and would be lost"],
    );
    world.refused(&["logs", "-o", "file", "--overwrite"], 2, &["is a file"]);
    world.refused(&["logs", "-o", "no/such/out"], 1, &["there is no folder no/such"]);
    world.refused(&["-o", "out"], 2, &["BAG|DIR"]);
    Film::new().add(pass(507, 0, 10)).folder(&world.path("logs"));
    world.refused(&["logs", "-o", "out"], 1, &["frames lie here, and folders as logs/a"]);
    assert_eq!(world.names(), ["empty", "file", "logs"]);

    fs::create_dir(world.path("out")).unwrap();
    world.done(&["logs/a", "-o", "out"]);
    let before = world.tree("out");
    world.refused(&["logs/a", "-o", "out"], 2, &["not empty", "--overwrite"]);
    fs::write(world.path("out/mine.txt"), "mine").unwrap();
    world.refused(&["logs/a", "-o", "out", "--overwrite"], 2, &["mine.txt"]);
    fs::remove_file(world.path("out/mine.txt")).unwrap();
    // What comes to nothing takes nothing away.
    world.refused(&["logs/a", "-o", "out", "--overwrite", "--min-frames", "11"], 1, &["10 short"]);
    assert!(world.tree("out") == before);
    world.done(&["logs/a", "-o", "out", "--overwrite", "--format", "webdataset"]);
    assert!(world.path("out/shards/000000.tar").exists() && !world.path("out/frames").exists());
}
