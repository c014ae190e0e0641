//! `run`, the real binary: a bag's frames are answered as `ask` answers their files and forecast as `imagine` forecasts them, and
//! a live node comes, answers and goes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use perihelion::camera::{Image, load_frames_dir, load_image};
use perihelion::frames::clock::Clock;
use perihelion::ros2::messages::{
    HeaderView, ImageView, Message, ShortString, Text, Time, decode, encode, split_encapsulation,
    with_encapsulation,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::transport::{Dds, DdsOptions, Delivery, MessageSink, Transport, free_domain};
use perihelion::scenes::{FRAME_BYTES, Rng, SIZE, Scene, SceneOptions};
use serde_json::{Value, json};

const START_NS: i64 = 1_700_000_000_000_000_000;
const PROMPT: &str = "How many balls are there?";
const SCENES: &str = "tests/fixtures/scenes";

fn perihelion(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    // What this machine's own ROS setup says must not matter.
    for variable in ["ROS_DISTRO", "ROS_LOCALHOST_ONLY", "ROS_DOMAIN_ID", "RMW_IMPLEMENTATION"] {
        command.env_remove(variable);
    }
    command.args(arguments);
    command
}

fn succeed(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = perihelion(arguments).output().expect("the binary runs");
    assert_eq!(status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn fails_with(code: i32, arguments: &[&str], words: &[&str]) {
    let Output { status, stderr, .. } = perihelion(arguments).output().expect("the binary runs");
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(words.iter().all(|word| stderr.contains(word)), "{stderr} lacks one of {words:?}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn dir() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli_run");
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn build(checkpoint: &str) -> String {
    let name = |kind: &str| {
        let name = format!("{}.{kind}", Path::new(checkpoint).file_name().unwrap().to_str().unwrap());
        dir().join(name).to_str().unwrap().to_owned()
    };
    let (model, engine) = (name("model"), name("engine"));
    succeed(&["export", checkpoint, "-o", &model]);
    succeed(&["build", &model, "-o", &engine, "--backend", "cpu", "--precision", "f32"]);
    engine
}

fn engine() -> &'static str {
    static ENGINE: OnceLock<String> = OnceLock::new();
    ENGINE.get_or_init(|| build("engines/small-reason"))
}

fn predict_engine() -> &'static str {
    static ENGINE: OnceLock<String> = OnceLock::new();
    ENGINE.get_or_init(|| build("engines/small-predict"))
}

/// Thirteen frames of one rendered scene.
fn rendered() -> Vec<Image> {
    let scene = Scene::draw(&mut Rng::new(8), SceneOptions { n_frames: 13, ..SceneOptions::default() });
    let frame = |t| {
        let mut rgb = vec![0; FRAME_BYTES];
        scene.render(t, &mut rgb);
        Image { width: SIZE, height: SIZE, rgb }
    };
    (0..13).map(frame).collect()
}

fn message(image: &Image, stamp_ns: i64) -> Vec<u8> {
    let header = HeaderView { stamp: Time::from_ns(stamp_ns), frame_id: ShortString::new("cam").unwrap() };
    let (width, height) = (image.size().width as u32, image.size().height as u32);
    let encoding = ShortString::new("rgb8").unwrap();
    encode(&ImageView { header, height, width, encoding, is_bigendian: 0, step: 3 * width, data: &image.rgb })
}

/// A bag of these images, taken every `period_ms` and recorded 5 ms later.
fn bag(name: &str, images: &[Image], period_ms: i64) -> String {
    bag_of(name, &["/camera/image_raw"], images, period_ms)
}

/// A bag of cameras that see the same, each a millisecond after the other.
fn bag_of(name: &str, topics: &[&str], images: &[Image], period_ms: i64) -> String {
    let path = dir().join(name);
    let mut writer = mcap::WriteOptions::new()
        .profile("ros2")
        .create(BufWriter::new(File::create(&path).unwrap()))
        .unwrap();
    let schema = writer.add_schema(ImageView::TYPE, "ros2msg", b"").unwrap();
    let mut channel = |topic: &&str| writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).unwrap();
    let channels: Vec<u16> = topics.iter().map(&mut channel).collect();
    for (i, image) in images.iter().enumerate() {
        for (channel_id, later_ms) in channels.iter().copied().zip(0..) {
            let stamp_ns = START_NS + (i as i64 * period_ms + later_ms) * 1_000_000;
            let log_time = (stamp_ns + 5_000_000) as u64;
            let sequence = i as u32;
            let header =
                mcap::records::MessageHeader { channel_id, sequence, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, &with_encapsulation(&message(image, stamp_ns))).unwrap();
        }
    }
    writer.finish().unwrap();
    path.to_str().unwrap().to_owned()
}

fn scenes() -> Vec<Image> {
    ["scene-1.png", "scene-2.png"]
        .map(|name| load_image(&Path::new(SCENES).join(name), 1 << 20).unwrap())
        .into()
}

const REMAP: [&str; 3] = ["--ros-args", "-r", "image:=/camera/image_raw"];

#[test]
fn a_bag_is_answered_frame_by_frame_as_files_are() {
    let expected: Vec<Value> = ["scene-1.png", "scene-2.png"]
        .iter()
        .map(|name| {
            let file = format!("{SCENES}/{name}");
            let stdout =
                succeed(&["ask", engine(), "--image", &file, "--prompt", PROMPT, "--greedy", "--json"]);
            serde_json::from_str(&stdout).unwrap()
        })
        .collect();
    let bag = bag("scenes.mcap", &scenes(), 33);
    let run = ["run", engine(), "--bag", &bag, "--prompt", PROMPT, "--greedy", "--json"];
    let answers = lines(&succeed(&[&run[..], &REMAP].concat()));
    assert_eq!(answers.len(), 2);
    for (i, (answer, expected)) in answers.iter().zip(&expected).enumerate() {
        for key in ["text", "tokens", "prompt_tokens", "image_tokens", "finish_reason"] {
            assert_eq!(answer[key], expected[key], "{key}");
        }
        let nanosec = 33_000_000 * i;
        assert_eq!(answer["stamp"], json!({ "sec": START_NS / 1_000_000_000, "nanosec": nanosec }));
        assert_eq!((&answer["age_ms"], &answer["frame_id"]), (&json!(5.0), &json!("cam")));
        assert_eq!(answer["valid_until"]["sec"], START_NS / 1_000_000_000 + 2);
    }
}

#[test]
fn a_bag_of_two_cameras_is_answered_camera_by_camera_and_together() {
    let expected: Vec<Value> = ["scene-1.png", "scene-2.png"]
        .map(|name| {
            let file = format!("{SCENES}/{name}");
            let ask = ["ask", engine(), "--image", &file, "--prompt", PROMPT, "--greedy", "--json"];
            serde_json::from_str(&succeed(&ask)).unwrap()
        })
        .into();
    let bag = bag_of("cameras.mcap", &["/front/image", "/rear/image"], &scenes(), 300);
    let run =
        ["run", engine(), "--bag", &bag, "--prompt", PROMPT, "--greedy", "--image", "front=/front/image"];
    let rear = ["--image", "rear=/rear/image"];
    let answers = lines(&succeed(&[&run[..], &rear, &["--json"]].concat()));
    assert_eq!(answers.len(), 4);
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(answer["camera"], ["front", "rear"][i % 2]);
        assert_eq!(answer["tokens"], expected[i / 2]["tokens"]);
    }
    let text = succeed(&[&run[..], &rear].concat());
    assert!(text.lines().nth(1).unwrap().contains("] rear: "), "{text}");
    let answers = lines(&succeed(&[&run[..], &rear, &["--ask-cameras", "all", "--json"]].concat()));
    assert_eq!(answers.len(), 2);
    for (i, answer) in answers.iter().enumerate() {
        let nanosec = |camera: usize| answer["cameras"][camera]["stamp"]["nanosec"].as_i64().unwrap();
        assert_eq!([nanosec(0), nanosec(1)], [i as i64 * 300_000_000, i as i64 * 300_000_000 + 1_000_000]);
        let tokens = |answer: &Value| answer["image_tokens"].as_u64().unwrap();
        assert_eq!(tokens(answer), 2 * tokens(&expected[0]));
    }
    // One topic, without a name, is as the remap rule.
    let unnamed = ["run", engine(), "--bag", &bag, "--greedy", "--json", "--image", "/rear/image"];
    assert_eq!(lines(&succeed(&unnamed)).iter().filter(|answer| answer.get("camera").is_none()).count(), 2);

    let lacking =
        &["no topic /left/image of type sensor_msgs/msg/Image (camera left)", "/front/image (sensor"];
    fails_with(2, &[&run[..], &["--image", "left=/left/image"]].concat(), lacking);
    fails_with(
        2,
        &[&run[..], &["--image", "front=/rear/image"]].concat(),
        &["two cameras are called `front`"],
    );
    fails_with(2, &[&run[..], &["--image", "rear=/front/image"]].concat(), &["have one topic, /front/image"]);
    fails_with(2, &[&run[..], &["--image", "/rear/image"]].concat(), &["--image /rear/image", "NAME=TOPIC"]);
    fails_with(2, &[&run[..], &["--image", "2=/rear/image"]].concat(), &["`2` is no ROS name"]);
    let typo = ["run", engine(), "--bag", &bag, "--image", "/typo"];
    fails_with(2, &typo, &["no topic /typo", "choose one with --image TOPIC"]);
    for said in [["--ask-cameras", "all"], ["--camera-tolerance", "0.2"]] {
        let words = [said[0], "no camera has a name", "--image NAME=TOPIC"];
        fails_with(2, &[&unnamed[..], &said].concat(), &words);
    }
    let clips = [&run[..], &rear, &["--ask-cameras", "all", "--clip", "2"]].concat();
    fails_with(2, &clips, &["a clip of 2 frames", "--clip 1"]);
    fails_with(
        2,
        &[&run[..], &rear, &["--forecast-camera", "top"]].concat(),
        &["no such camera", "front, rear"],
    );
}

#[test]
fn cameras_that_one_question_cannot_show_are_refused_at_the_start() {
    self::engine();
    let [model, engine] =
        ["small-reason.model", "short.engine"].map(|name| dir().join(name).to_str().unwrap().to_owned());
    let build = ["build", &model, "-o", &engine, "--backend", "cpu", "--precision", "f32"];
    succeed(&[&build[..], &["--max-context", "400"]].concat());
    let run = ["run", &engine, "--bag", "nowhere.mcap", "--image", "a=/a", "--image", "b=/b"];
    // Two images of 256 tokens; and two of 64.
    let together = [&run[..], &["--ask-cameras", "all"]].concat();
    fails_with(2, &together, &["one question about 2 cameras", "--max-context", "--max-pixels", "each"]);
    fails_with(1, &[&together[..], &["--max-pixels", "16384"]].concat(), &["nowhere.mcap"]);
    fails_with(1, &run, &["nowhere.mcap"]);
}

#[test]
fn a_clip_of_a_bag_is_answered_as_a_directory_of_frames_is() {
    let clip = format!("{SCENES}/clip");
    let frames = load_frames_dir(Path::new(&clip), 1 << 20).unwrap();
    // The engine's manifest says single frames, and eight a second where there are more.
    for (fps, period_ms, said) in
        [("8", 125, &["--clip", "8"][..]), ("4", 250, &["--clip", "8", "--fps", "4"][..])]
    {
        let ask = ["ask", engine(), "--video", &clip, "--fps", fps, "--prompt", PROMPT, "--greedy", "--json"];
        let expected: Value = serde_json::from_str(&succeed(&ask)).unwrap();
        let bag = bag(&format!("clip_{fps}.mcap"), &frames, period_ms);
        let run = ["run", engine(), "--bag", &bag, "--prompt", PROMPT, "--greedy", "--json"];
        let answers = lines(&succeed(&[&run[..], said, &REMAP].concat()));
        assert_eq!(answers.len(), 1, "one clip is whole");
        assert_eq!((&answers[0]["tokens"], &answers[0]["text"]), (&expected["tokens"], &expected["text"]));
        assert_eq!(answers[0]["stamps"].as_array().unwrap().len(), frames.len());
    }
}

/// What a bag holds of a topic: log times and images.
fn recorded(path: &Path, topic: &str) -> Vec<(i64, i64, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let messages = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap);
    let image = |message: mcap::Message<'_>| {
        let (order, body) = split_encapsulation(&message.data).unwrap();
        let view: ImageView<'_> = decode(body, order).unwrap();
        (message.log_time as i64, view.header.stamp.ns(), view.data.to_vec())
    };
    messages.filter(|message| message.channel.topic == topic).map(image).collect()
}

#[test]
fn a_bag_is_forecast_as_files_are() {
    let frames = rendered();
    let (seen, expected) = (dir().join("seen"), dir().join("expected"));
    fs::create_dir_all(&seen).unwrap();
    for (t, frame) in frames[..5].iter().enumerate() {
        let path = seen.join(format!("{t:02}.png"));
        let picture = image::RgbImage::from_raw(SIZE as u32, SIZE as u32, frame.rgb.clone()).unwrap();
        picture.save(path).unwrap();
    }
    let name = |path: &Path| path.to_str().unwrap().to_owned();
    let (seen, expected) = (name(&seen), name(&expected));
    let imagine = ["imagine", predict_engine(), "--frames", &seen, "--seed", "3", "--frames-out", &expected];
    succeed(&[&imagine[..], &["--overwrite"]].concat());
    let expected = load_frames_dir(Path::new(&expected), 1 << 20).unwrap();
    assert_eq!(expected.len(), 8);

    let bag = bag("rendered.mcap", &frames, 125);
    let out = dir().join("forecasts.mcap");
    let record = name(&out);
    let run = ["run", predict_engine(), "--bag", &bag, "--record", &record, "--forecast-seed", "3", "--json"];
    let said = lines(&succeed(&[&run[..], &REMAP].concat()));
    let (forecasts, surprises): (Vec<Value>, Vec<Value>) =
        said.into_iter().partition(|line| line.get("forecast_frames").is_some());
    assert_eq!((forecasts.len(), surprises.len()), (9, 8), "every clip, and what follows the first");
    let newest_ns = START_NS + 4 * 125_000_000;
    let sec = |ns: i64| json!({ "sec": ns / 1_000_000_000, "nanosec": ns % 1_000_000_000 });
    assert_eq!((&forecasts[0]["stamp"], &forecasts[0]["age_ms"]), (&sec(newest_ns), &json!(5.0)));
    assert_eq!((&forecasts[0]["forecast_frames"], &forecasts[0]["seed"]), (&json!(8), &json!(3)));
    assert_eq!(surprises[3]["frames_ahead"], 4);
    assert!(surprises[3]["surprise"].as_f64().unwrap() < 1.0, "{}", surprises[3]);

    let images = recorded(&out, "/perihelion/forecast");
    assert_eq!(images.len(), 9 * 8);
    for (i, ((log_time, stamp_ns, data), expected)) in images.iter().zip(&expected).enumerate() {
        assert_eq!(*log_time, newest_ns + 5_000_000, "in the time of the frame that it is made from");
        assert_eq!(*stamp_ns, newest_ns + (i as i64 + 1) * 125_000_000);
        assert!(*data == expected.rgb, "frame {i} differs from imagine's");
    }
}

#[test]
fn a_closed_stdout_ends_no_recording() {
    let bag = bag("closed.mcap", &rendered()[..6], 125);
    let record = dir().join("closed-answers.mcap");
    let run = ["run", engine(), "--prompt", PROMPT, "--clip", "1", "--max-tokens", "2", "--bag", &bag];
    let run = [&run[..], &["--record", record.to_str().unwrap()], &REMAP].concat();
    let mut child = perihelion(&run).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(stderr.matches("goes on without it").count(), 1, "said once: {stderr}");
    let bytes = fs::read(&record).unwrap();
    let messages = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap);
    assert_eq!(messages.filter(|message| message.channel.topic == "/perihelion/answer").count(), 6);
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_answers() {
    let mut seed = 5u32;
    let mut noise = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let mut image = || Image { width: SIZE, height: SIZE, rgb: (0..FRAME_BYTES).map(|_| noise()).collect() };
    let images: Vec<Image> = (0..30).map(|_| image()).collect();
    let (bag, record) = (bag("noise.mcap", &images, 250), dir().join("full.mcap"));
    let partial = dir().join("full.partial.mcap");
    let _ = fs::remove_file(&partial);
    // A file may have 150 KiB; what is written beyond them fails as on a full disk.
    let run =
        ["run", engine(), "--bag", &bag, "--record", record.to_str().unwrap(), "--record-when", "always"];
    let run =
        [&run[..], &["--prompt", PROMPT, "--max-tokens", "2", "--clip", "1", "--json"], &REMAP].concat();
    let limited =
        ["-c", "trap '' XFSZ; ulimit -f 150; exec \"$@\"", "bash", env!("CARGO_BIN_EXE_perihelion")];
    let Output { status, stdout, stderr } =
        Command::new("bash").args(limited).args(&run).output().expect("bash runs");
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(lines(std::str::from_utf8(&stdout).unwrap()).len(), images.len(), "every frame is answered");
    assert_eq!(stderr.matches("the recording broke, and the node goes on").count(), 1, "{stderr}");
    assert!(stderr.contains("File too large") && stderr.contains("full.partial.mcap"), "{stderr}");
    assert!(!record.exists());
    // Closed, so that any reader takes it; each of its frames is one of the bag's.
    let kept = recorded(&partial, "/camera/image_raw");
    assert!(!kept.is_empty() && kept.len() < images.len(), "{} frames", kept.len());
    assert!(kept.iter().zip(&images).all(|((.., data), image)| *data == image.rgb));
    assert!(fs::metadata(&partial).unwrap().len() <= 150 << 10);
}

#[test]
fn what_cannot_be_recorded_is_a_usage_error() {
    let run = ["run", engine(), "--bag", "nowhere.mcap"];
    for (said, words) in [
        (&["--record-when", "always"][..], &["--record <FILE.mcap>"][..]),
        (&["--record", "x.mcap", "--record-when", "surprise"], &["no engine of this node forecasts"]),
        (&["--record", "x.mcap", "--record-limit", "4 gigs"], &["--record-limit", "no unit of bytes"]),
        (&["--record", "x.mcap", "--record-buffer", "1kB"], &["--record-buffer", "1 MiB or more"]),
    ] {
        fails_with(2, &[&run[..], said].concat(), words);
    }
}

#[test]
fn one_node_answers_and_forecasts() {
    let bag = bag("both.mcap", &rendered()[..9], 125);
    let run = ["run", predict_engine(), engine(), "--bag", &bag, "--clip", "1", "--latent-only"];
    let run = [&run[..], &["--prompt", PROMPT, "--greedy", "--json"]].concat();
    let said = lines(&succeed(&[&run[..], &REMAP].concat()));
    let of = |key: &str| said.iter().filter(|line| line.get(key).is_some()).count();
    assert_eq!((of("text"), of("forecast_frames"), of("surprise")), (9, 5, 4));
    assert!(said.iter().all(|line| line["forecast_frames"] != 8), "nothing was decoded");
}

#[test]
fn a_node_whose_engine_is_cut_ends_in_order() {
    let engine = dir().join("cut.engine");
    fs::copy(self::engine(), &engine).unwrap();
    let image = scenes().remove(0);
    // More answers than fit into a pipe: the node is not done when the first was read.
    let bag = bag("cut.mcap", &vec![image; 600], 33);
    let run = ["run", engine.to_str().unwrap(), "--bag", &bag, "--prompt", PROMPT, "--greedy", "--json"];
    let mut node = perihelion(&[&run[..], &REMAP].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(node.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&said.next().unwrap().unwrap()).unwrap();
    File::options().write(true).open(&engine).unwrap().set_len(4096).unwrap();
    let mut n_answers = 1;
    for line in said {
        let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(answer["text"], first["text"]);
        n_answers += 1;
    }
    let Output { status, stderr, .. } = node.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(n_answers < 600, "{stderr}");
    assert_eq!(status.code(), Some(perihelion::mapped::EXIT_CODE), "{stderr}");
    assert!(stderr.contains(&format!("{}: the file was changed while in use", engine.display())), "{stderr}");
}

#[test]
fn mistakes_are_told_from_failures() {
    let bag = bag("mistakes.mcap", &scenes(), 33);
    fails_with(2, &["run", engine(), "--bag", &bag], &["no topic /image", "/camera/image_raw"]);
    fails_with(
        2,
        &["run", engine(), "--bag", &bag, "--ros-args", "-p", "max_age:=soon"],
        &["max_age", "double"],
    );
    fails_with(2, &["run", engine(), "--ros-args", "--remap"], &["--remap"]);
    fails_with(
        2,
        &["run", engine(), "-r", "image:=/camera/image_raw"],
        &["`--ros-args -r image:=/camera/image_raw`"],
    );
    fails_with(2, &["run", engine(), "--bag", &bag, "--clip", "99"], &["99 frames"]);
    fails_with(2, &["run", engine(), engine()], &["both answer"]);
    fails_with(2, &["run", predict_engine(), predict_engine()], &["both forecast"]);
    fails_with(2, &["run"], &["ENGINE"]);
    fails_with(1, &["run", engine(), "--bag", "nowhere.mcap"], &["nowhere.mcap"]);
    fails_with(1, &["run", "nowhere.engine"], &["nowhere.engine"]);
}

/// A node that is told to leave however the test ends.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // It may have left already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_live_node_answers_hears_another_question_and_leaves() {
    let domain_id = free_domain();
    let arguments =
        ["run", engine(), "--prompt", PROMPT, "--clip", "1", "--greedy", "--json", "--max-age", "30"];
    let mut command =
        perihelion(&[&arguments[..], &REMAP, &["-r", "__ns:=/robot", "-r", "__node:=eye"]].concat());
    command.env("ROS_DOMAIN_ID", domain_id.to_string()).env("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST");
    let mut node = Node(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());

    let name = NodeName::new("/test", "camera").unwrap();
    let options = DdsOptions::local(name, domain_id);
    let peer = Dds::join(&options, Arc::new(Clock::system())).unwrap();
    let camera = peer.advertise("/camera/image_raw", ImageView::TYPE, Delivery::BestEffort).unwrap();
    let prompt = peer.advertise("/robot/eye/prompt", Text::TYPE, Delivery::Reliable).unwrap();
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let hearing = Arc::clone(&heard);
    let sink: MessageSink = Box::new(move |body| {
        let (body, order) = body.unwrap();
        let text: Text = decode(body, order).unwrap();
        hearing.lock().unwrap().push(serde_json::from_str(&text.data).unwrap());
    });
    peer.subscribe("/robot/eye/answer/json", Text::TYPE, Delivery::Reliable, sink).unwrap();

    let image = &scenes()[0];
    let other = "Where is the red ball?";
    let deadline = Instant::now() + Duration::from_secs(90);
    let until = |what: &str, done: &dyn Fn(&Value) -> bool| {
        while !heard.lock().unwrap().iter().any(done) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            camera.publish(message(image, Clock::system().now().ros_ns)).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until("the first answer", &|answer| answer["prompt_text"] == PROMPT);
    prompt.publish(encode(&Text { data: other.into() })).unwrap();
    until("an answer to another question", &|answer| answer["prompt_text"] == other);
    let answer = heard.lock().unwrap().iter().rfind(|answer| answer["prompt_text"] == other).unwrap().clone();
    assert_eq!(answer["text"], "[760, 310, 970, 520]");
    assert_eq!(answer["stamp_suspect"], false);

    let interrupted = Command::new("kill").args(["-INT", &node.0.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let status = node.0.wait().unwrap();
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut node.0.stderr.take().unwrap(), &mut stderr).unwrap();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("[INFO] [") && stderr.contains("[robot.eye]: answers: received"), "{stderr}");
    assert!(stderr.contains("in flight 0"), "{stderr}");
}
