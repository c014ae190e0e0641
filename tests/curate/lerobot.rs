//! Clips as LeRobot's data sets, and data sets as sources. What lerobot itself says of them: `tests/reference/lerobot_sets.py`.

use std::fs::{self, File};
use std::path::Path;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Value, json};

use super::World;
use super::planted::{Film, Frame, HEIGHT, WIDTH, acting_bag, bag_with_actions, compressed_bag, pass};

/// The rows of a Parquet file.
fn rows(path: &Path) -> Vec<Value> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| value(&Field::Group(row.unwrap()))).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Long(value) => json!(value),
        Field::Float(value) => json!(value),
        Field::Double(value) => json!(value),
        Field::Str(text) => json!(text),
        Field::Bytes(bytes) => json!(bytes.data()),
        Field::Group(row) => row
            .get_column_iter()
            .map(|(name, field)| (name.clone(), value(field)))
            .collect::<Map<_, _>>()
            .into(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        other => panic!("no column is of {other}"),
    }
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn bytes(image: &Value) -> Vec<u8> {
    image["bytes"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect()
}

fn shown(png: &[u8]) -> Frame {
    image::load_from_memory(png).unwrap().into_rgb8().into_raw()
}

const DATA: &str = "data/chunk-000/file-000.parquet";

#[test]
fn clips_become_episodes_with_what_the_robot_did_and_heard() {
    let world = World::new();
    let film = Film::new().add(pass(500, 0, 20)).gap(2).add(pass(501, 0, 12));
    acting_bag(&world.path("a.mcap"), &film);
    Film::new().add(pass(502, 0, 10)).folder(&world.path("b"));
    fs::write(world.path("b/clip.json"), r#"{"fps": 7.5}"#).unwrap();
    let said = world.done(&[
        "a.mcap",
        "b",
        "-o",
        "out",
        "--format",
        "lerobot",
        "--text-topic",
        "task=/prompt",
        "--text-topic",
        "answer=/answer",
    ]);
    let (acting, watching) = ("lerobot/camera-64x48-8fps-actions", "lerobot/camera-64x48-7.5fps");
    assert_eq!(said["datasets"], json!([watching, acting]));
    world.done(&["a.mcap", "b", "-o", "frames"]);
    let (manifest, folders) = (world.manifest("out"), world.manifest("frames"));
    assert_eq!((&manifest["digest"], &manifest["dropped"]), (&folders["digest"], &folders["dropped"]));

    let root = world.path("out").join(acting);
    let info = json_file(&root.join("meta/info.json"));
    assert_eq!(
        [
            &info["codebase_version"],
            &info["fps"],
            &info["total_episodes"],
            &info["total_frames"],
            &info["total_tasks"]
        ],
        [&json!("v3.0"), &json!(8), &json!(2), &json!(32), &json!(2)]
    );
    let camera = "observation.images.camera";
    assert_eq!(info["features"][camera]["shape"], json!([48, 64, 3]));
    assert_eq!(info["features"]["action"]["names"][5], "angular.z");
    let data = rows(&root.join(DATA));
    let episodes = rows(&root.join("meta/episodes/chunk-000/file-000.parquet"));
    let tasks = rows(&root.join("meta/tasks.parquet"));
    assert_eq!((data.len(), episodes.len(), tasks.len()), (32, 2, 2));
    let mut clips: Vec<&Value> =
        manifest["clips"].as_array().unwrap().iter().filter(|clip| clip["place"] == acting).collect();
    clips.sort_by_key(|clip| clip["episode"]["index"].as_u64());
    for (clip, episode) in clips.iter().zip(&episodes) {
        let first = clip["first"].as_u64().unwrap() as usize;
        let from = episode["dataset_from_index"].as_u64().unwrap() as usize;
        let n = episode["length"].as_u64().unwrap() as usize;
        let twin = folders["clips"].as_array().unwrap().iter().find(|folder| folder["clip"] == clip["clip"]);
        let folder = world.path("frames").join(twin.unwrap()["place"].as_str().unwrap());
        assert_eq!((&clip["frames"], &clip["sha256"]), (&json!(n), &twin.unwrap()["sha256"]));
        let mut heard = Vec::new();
        for at in 0..n {
            let row = &data[from + at];
            let (stamp_ns, frame) = &film.frames[first + at];
            let image = bytes(&row[camera]);
            assert!(shown(&image) == *frame, "frame {at} of {clip}");
            assert!(image == fs::read(folder.join(format!("frame_{at:03}.png"))).unwrap());
            // The action is of the image's very time, and was written after it.
            let expected: Vec<f32> = (0..6).map(|axis| (first + at) as f32 + axis as f32 / 8.0).collect();
            assert_eq!(row["action"], json!(expected), "frame {at} of {clip}");
            assert_eq!(row["stamp_ns"], json!(stamp_ns));
            assert_eq!(row["timestamp"], json!(at as f32 / 8.0));
            assert_eq!((&row["frame_index"], &row["index"]), (&json!(at), &json!(from + at)));
            assert_eq!(row["answer"], if 5 <= first + at { "I see 5" } else { "" });
            let number = row["task_index"].as_u64().unwrap() as usize;
            assert_eq!(tasks[number]["task"], if 10 <= first + at { "stop" } else { "push" });
            heard.push(&tasks[number]["task"]);
        }
        heard.dedup();
        assert_eq!(episode["tasks"], json!(heard));
        assert_eq!(episode["stats/action/min"][0], json!(first as f64));
        assert_eq!(episode["stats/action/count"], json!([n]));
        assert_eq!(clip["episode"]["stamps_off_s"], 0.0);
    }
    let stats = json_file(&root.join("meta/stats.json"));
    assert_eq!((&stats["action"]["max"][5], &stats["index"]["max"]), (&json!(31.625), &json!([31])));
    // Of all pixels, by a sum.
    let greens: Vec<f64> = film
        .frames
        .iter()
        .flat_map(|(_, frame)| frame[1..].iter().step_by(3))
        .map(|v| f64::from(*v) / 255.0)
        .collect();
    let mean = greens.iter().sum::<f64>() / greens.len() as f64;
    let std = (greens.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / greens.len() as f64).sqrt();
    let near = |found: &Value, expected: f64| (found[1][0][0].as_f64().unwrap() - expected).abs() < 1e-9;
    assert!(near(&stats[camera]["mean"], mean) && near(&stats[camera]["std"], std), "{}", stats[camera]);

    // The folder that says its own rate has neither actions nor texts.
    let data = rows(&world.path("out").join(watching).join(DATA));
    assert_eq!((data.len(), &data[3]["answer"], data[3].get("action")), (10, &json!(""), None));
    assert_eq!(data[3]["timestamp"], json!((3.0 / 7.5) as f32));
}

#[test]
fn what_cannot_be_one_data_set_is_several() {
    let world = World::new();
    // The first clip begins before the first action; its second half does not.
    let film = Film::new().add(pass(503, 0, 12)).gap(2).add(pass(506, 0, 12));
    acting_bag(&world.path("a.mcap"), &film);
    let later = Film { frames: film.frames[4..].to_vec(), ..film.clone() };
    bag_with_actions(&world.path("late.mcap"), &film, &later);
    // Grey JPEGs become PNG of three channels; colour stays as it came.
    let mut jpegs = Film::new().add(pass(507, 0, 10)).jpegs();
    let gray: Vec<u8> = vec![120; WIDTH * HEIGHT];
    for (at, (_, jpeg)) in jpegs.iter_mut().enumerate().skip(9) {
        jpeg.clear();
        let mut gray = gray.clone();
        gray.iter_mut().enumerate().for_each(|(i, v)| *v = v.wrapping_add((i / 7 + at) as u8 % 90));
        let encoder = jpeg_encoder::Encoder::new(jpeg, 90);
        encoder.encode(&gray, WIDTH as u16, HEIGHT as u16, jpeg_encoder::ColorType::Luma).unwrap();
    }
    compressed_bag(&world.path("c.mcap"), &jpegs);
    let relaxed = ["--cut", "1", "--blurred", "1", "--text", "1"];
    let more = ["--format", "lerobot", "--task", "push", "--shard-mb", "1"];
    let said = world.done(&[&["late.mcap", "c.mcap", "-o", "out"], &relaxed[..], &more[..]].concat());
    assert_eq!(said["datasets"], json!(["lerobot/camera-64x48-8fps", "lerobot/camera-64x48-8fps-actions"]));
    let root = world.path("out/lerobot/camera-64x48-8fps");
    let data = rows(&root.join(DATA));
    assert_eq!(rows(&root.join("meta/tasks.parquet")), [json!({ "task_index": 0, "task": "push" })]);
    let camera = "observation.images.camera";
    let of_jpegs: Vec<&Value> =
        data.iter().filter(|row| row[camera]["path"].as_str().unwrap().ends_with(".jpg")).collect();
    assert_eq!((data.len(), of_jpegs.len()), (22, 9));
    assert!(of_jpegs.iter().zip(&jpegs).all(|(row, (_, jpeg))| bytes(&row[camera]) == *jpeg));
    let grey = data.iter().find(|row| row["stamp_ns"] == jpegs[9].0 && row["frame_index"] == 9).unwrap();
    let image = bytes(&grey[camera]);
    assert_eq!(&image[25..26], [2], "a PNG of three channels");
    let none = ["a.mcap", "-o", "x", "--format", "lerobot", "--actions", "/none", "--min-frames", "99"];
    world.refused(&none, 1, &["no actions on /none"]);
    for bad in [
        &["--task", "push"][..],
        &["--format", "lerobot", "--text-topic", "action=/x"],
        &["--format", "lerobot", "--text-topic", "a/b=/x"],
        &["--format", "lerobot", "--text-topic", "a"],
        &["--format", "lerobot", "--text-topic", "a=/x", "--text-topic", "a=/y"],
    ] {
        world.refused(&[&["a.mcap", "-o", "x"], bad].concat(), 2, &[]);
    }
}

#[test]
fn a_data_set_is_a_source() {
    let world = World::new();
    let film = Film::new().add(pass(500, 0, 20)).gap(2).add(pass(501, 0, 12)).add(pass(502, 0, 30));
    acting_bag(&world.path("a.mcap"), &film);
    let texts = ["--text-topic", "task=/prompt"];
    // Of the last table two clips that follow each other: an episode's end is one whatever the stamps say.
    let split = ["--max-frames", "20"];
    world.done(&[&["a.mcap", "-o", "first", "--format", "lerobot"], &texts[..], &split[..]].concat());
    let said = world.done(&["first/lerobot", "-o", "frames"]);
    world.done(&[&["a.mcap", "-o", "whole"], &split[..]].concat());
    let clips = |name: &str| {
        let manifest = world.manifest(name);
        let frames = manifest["clips"].as_array().unwrap().iter().map(|clip| clip["sha256"].clone());
        let mut digests: Vec<String> = frames.map(|digest| digest.to_string()).collect();
        digests.sort();
        digests
    };
    assert_eq!((&said["clips"], &said["frames"], clips("frames").len()), (&json!(4), &json!(62), 4));
    assert_eq!(clips("frames"), clips("whole"));
    let manifest = world.manifest("frames");
    assert_eq!(manifest["sources"][0]["kind"], "lerobot");
    assert_eq!(manifest["clips"][0]["topic"], "observation.images.camera");
    // The same once more: stamps, actions and tasks.
    world.done(&["first/lerobot", "-o", "second", "--format", "lerobot"]);
    let of = |name: &str| {
        let mut rows = rows(&world.path(name).join("lerobot/camera-64x48-8fps-actions").join(DATA));
        rows.sort_by_key(|row| row["stamp_ns"].as_i64());
        let kept = |row: &Value| {
            json!([
                row["observation.images.camera"]["bytes"],
                row["action"],
                row["stamp_ns"],
                row["task_index"]
            ])
        };
        rows.iter().map(kept).collect::<Vec<_>>()
    };
    assert!(of("first") == of("second"));
    let tasks = "lerobot/camera-64x48-8fps-actions/meta/tasks.parquet";
    assert_eq!(rows(&world.path("first").join(tasks)), rows(&world.path("second").join(tasks)));

    // What cannot be read is refused by its name.
    let info = world.path("first/lerobot/camera-64x48-8fps-actions/meta/info.json");
    let text = fs::read_to_string(&info).unwrap();
    for (as_it_is, other, words) in [
        (r#""dtype": "image""#, r#""dtype": "video""#, &["observation.images.camera", "ffmpeg"][..]),
        ("v3.0", "v2.1", &["v2.1", "convert_dataset_v21_to_v30"]),
        ("data/chunk-{chunk_index:03d}", "elsewhere/{chunk_index}", &["data_path", "elsewhere"]),
        ("{\n", "", &["describes no data set"]),
    ] {
        assert!(text.contains(as_it_is), "{text}");
        fs::write(&info, text.replacen(as_it_is, other, 1)).unwrap();
        world.refused(&["first/lerobot", "-o", "x"], 1, &[&["camera-64x48-8fps-actions"], words].concat());
    }
    fs::write(&info, &text).unwrap();
    world.refused(
        &["first/lerobot", "-o", "x", "--topic", "/y"],
        1,
        &["no images on /y", "observation.images.camera"],
    );
    // What is cut: the episodes before are lost with what says where they are, and the file is named.
    let data = info.parent().unwrap().with_file_name(DATA);
    let whole = fs::read(&data).unwrap();
    fs::write(&data, &whole[..whole.len() - 100]).unwrap();
    world.refused(&["first/lerobot", "-o", "x"], 1, &["file-000.parquet", "it is cut, or something else"]);
    fs::remove_file(&data).unwrap();
    world.refused(&["first/lerobot", "-o", "x"], 1, &["it has no frames"]);
    assert!(!world.path("x").exists());
}
