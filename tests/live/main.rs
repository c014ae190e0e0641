//! The live page beside a node: what it shows is what the node saw and said, what it sets is what is asked next, and nobody who looks
//! keeps an answer from coming.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use perihelion::frames::clock::Clock;
use perihelion::live::Live;
use perihelion::ros2::lifecycle::{self, Crew};
use perihelion::ros2::messages::{
    ByteOrder, ChangeReply, ChangeRequest, ImageView, Labelled, Message, Text, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{
    Answer, Answerer, Checker, Engines, Forecast, ForecastShape, Forecaster, Glimpse, Look, NodeOptions,
    Outcome, Question, Said, run,
};
use perihelion::ros2::parameters::Parameters;
use perihelion::ros2::reason::ReasonAnswerer;
use perihelion::ros2::transport::{Memory, Transport};
use perihelion::runtime::reason::{AnswerSettings, Place};
use perihelion::scenes::{FRAME_BYTES, Rng, SIZE, Scene, SceneOptions};
use serde_json::{Value, json};

mod foxglove;
#[path = "../support/reason.rs"]
mod reason;
#[path = "../support/script.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod script;

const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: &str = include_str!("../../src/live/page.html");
const WIDTH: u32 = 8;
const BLUE: [u8; 3 * 48] = {
    let mut rgb = [20; 3 * 48];
    let mut i = 2;
    while i < rgb.len() {
        rgb[i] = 220;
        i += 3;
    }
    rgb
};

fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks the page as a viewer does.
struct Viewer(SocketAddr);

impl Viewer {
    /// The answer, once there is room for another viewer.
    fn send(&self, request: &str, headers: &str, body: &str) -> (u16, String, Vec<u8>) {
        until(request, || self.try_send(request, headers, body).ok().filter(|(status, ..)| *status != 503))
    }

    fn try_send(&self, request: &str, headers: &str, body: &str) -> io::Result<(u16, String, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.0)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let host = self.0;
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        Ok((head[9..12].parse().unwrap(), head, answer[end..].to_vec()))
    }

    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let (status, head, body) = self.send(&format!("GET {path}"), "", "");
        let length = (status != 204).then(|| format!("Content-Length: {}", body.len()));
        let told = head.lines().find(|line| line.starts_with("Content-Length"));
        assert!(told == length.as_deref() && head.contains("no-store"), "{head}");
        (status, body)
    }

    fn state(&self) -> Value {
        serde_json::from_slice(&self.get("/state.json").1).unwrap()
    }

    fn ask(&self, prompt: &str) -> (u16, Value) {
        let (status, _, body) = self.send("POST /prompt", &format!("Origin: http://{}\r\n", self.0), prompt);
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// A picture, once there is one.
    fn picture(&self, path: &str) -> image::RgbImage {
        let jpeg = until(path, || {
            let (status, jpeg) = self.get(path);
            (status == 200).then_some(jpeg)
        });
        image::load_from_memory_with_format(&jpeg, image::ImageFormat::Jpeg).unwrap().to_rgb8()
    }
}

/// A node in this process that is looked at.
struct Stage {
    memory: Memory,
    viewer: Viewer,
}

impl Stage {
    fn show(&self, width: u32, rgb: &[u8]) {
        self.show_on("/image", width, rgb);
    }

    fn show_on(&self, topic: &str, width: u32, rgb: &[u8]) {
        let body = script::image_body(self.memory.clock().now().ros_ns, width, rgb);
        self.memory.inject(topic, ImageView::TYPE, &body, ByteOrder::Little);
    }

    /// The answers since the last call, as their topic has them.
    fn answers(&self) -> Vec<Value> {
        let text = |body: Vec<u8>| decode::<Text>(&body, ByteOrder::Little).unwrap().data;
        let bodies = self.memory.published("/eye/answer/json");
        bodies.into_iter().map(|body| serde_json::from_str(text(body).trim()).unwrap()).collect()
    }

    /// Shows a picture until it is answered.
    fn answer(&self, width: u32, rgb: &[u8]) -> Value {
        until("an answer", || {
            self.show(width, rgb);
            self.answers().pop()
        })
    }
}

fn options() -> NodeOptions {
    let name = NodeName::new("/", "eye").unwrap();
    let answers = Some(AnswerSettings::default());
    NodeOptions {
        prompt: "What?".into(),
        max_age: Duration::from_secs(60),
        max_image_bytes: FRAME_BYTES,
        max_pixels: SIZE * SIZE,
        answers,
        ..NodeOptions::new(name)
    }
}

/// Says that something is over when it goes.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Lets a node run while `look` looks at it.
fn play(engines: Engines<'_>, look: impl FnOnce(&Stage) + Send) {
    play_as(options(), engines, look);
}

fn play_as(options: NodeOptions, engines: Engines<'_>, look: impl FnOnce(&Stage) + Send) {
    let page = Live::open("127.0.0.1:0".parse().unwrap(), &[]).unwrap();
    let stage = Stage { memory: Memory::new(Arc::new(Clock::system())), viewer: Viewer(page.address()) };
    let options = NodeOptions { onlooker: page.onlooker(), ..options };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            // However it ends, the node does too.
            let _ends = Ends(&stop);
            until("the camera's subscription", || stage.viewer.state()["camera"].is_object().then_some(()));
            look(&stage);
        });
        let overheard = page.overhears(&stage.memory);
        run(&overheard, &options, engines, &stop, &mut |_: Said<'_>| {}).unwrap();
        if let Err(panic) = looking.join() {
            std::panic::resume_unwind(panic);
        }
    });
    let state = stage.viewer.state();
    assert_eq!((&state["state"], &state["camera"]), (&json!("waiting"), &Value::Null), "the node has ended");
}

/// Says what it was asked, and that something is in the middle.
struct Echo {
    /// How often it was asked.
    n_asked: Arc<Mutex<u64>>,
}

impl Echo {
    fn new() -> Self {
        Self { n_asked: Arc::default() }
    }
}

impl Answerer for Echo {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        *self.n_asked.lock().unwrap() += 1;
        let places = vec![Place { label: None, units: Vec::new(), pixels: Some(vec![1.0, 1.0, 6.0, 4.0]) }];
        Outcome::Made(Answer { text: question.prompt.to_owned(), places, ..Answer::default() })
    }

    fn checker(&self) -> Option<Checker> {
        Some(Box::new(|prompt, _| match prompt {
            "never" => Err("not that".to_owned()),
            _ => Ok(()),
        }))
    }
}

#[test]
fn the_page_shows_what_small_reason_sees_and_says() {
    let scene = Scene::draw(&mut Rng::new(8), SceneOptions { n_frames: 1, ..SceneOptions::default() });
    let mut rgb = vec![0; FRAME_BYTES];
    scene.render(0, &mut rgb);
    let mut answerer = ReasonAnswerer::new(reason::open(), AnswerSettings::default());
    play(Engines::answering(&mut answerer), |stage| {
        let viewer = &stage.viewer;
        let (status, page) = viewer.get("/");
        assert_eq!((status, page.as_slice()), (200, PAGE.as_bytes()));
        assert_eq!(viewer.get("/answer.jpg").0, 404);
        let published = stage.answer(SIZE as u32, &rgb);

        // The last answer stays until the next picture is shown.
        let state =
            until("the answer", || {
                let state = viewer.state();
                stage.answers().is_empty().then_some(state).filter(|state| {
                    state["accounts"]["answers"]["in_flight"] == 0 && !state["answer"].is_null()
                })
            });
        let answer = &state["answer"];
        assert_eq!(answer["prompt_text"], "What?");
        assert_eq!((&answer["text"], &answer["tokens"]), (&published["text"], &published["tokens"]));
        let number = answer["number"].as_u64().unwrap() as usize;
        assert_eq!(state["answers"].as_array().unwrap().len(), number.min(240));
        assert!(answer["age_now_ms"].as_f64() >= answer["age_ms"].as_f64());
        assert_eq!((&state["node"], &state["state"]), (&json!("/eye"), &json!("active")));
        assert_eq!(
            (&state["camera"]["topic"], &state["camera"]["size"]),
            (&json!("/image"), &json!([SIZE, SIZE]))
        );
        let accounts = &state["accounts"]["answers"];
        let figure = |name: &str| accounts[name].as_u64().unwrap();
        let there =
            figure("answered") + figure("clip_members") + figure("dropped_total") + figure("in_flight");
        assert_eq!((figure("received"), figure("answered") as usize), (there, number));
        assert_eq!(state["accounts"]["forecasts"], Value::Null);

        let picture = viewer.picture("/frame.jpg");
        assert_eq!(picture.dimensions(), (SIZE as u32, SIZE as u32));
        let off: u64 = picture.iter().zip(&rgb).map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
        assert!(off / (FRAME_BYTES as u64) < 12, "a JPEG of the very picture, {off}");
        // Enlarged, so that letters do not cover it.
        assert_eq!(viewer.picture("/answer.jpg").dimensions(), (5 * SIZE as u32, 5 * SIZE as u32));

        let (status, told) = viewer.ask("  Which way does the red ball go? ");
        assert_eq!((status, &told["prompt"]), (200, &json!("Which way does the red ball go?")));
        stage.answers();
        let next = stage.answer(SIZE as u32, &rgb);
        assert_eq!(next["prompt_text"], "Which way does the red ball go?");
        // Letters that the tokenizer has no words for are a token a byte, which is more than the engine has room for.
        let (status, told) = viewer.ask(&"ǧ".repeat(2048));
        assert_eq!(status, 422);
        assert!(told["error"].as_str().unwrap().contains("token"), "{told}");
        assert_eq!(viewer.state()["prompt"], "Which way does the red ball go?");
        assert_eq!(viewer.ask(""), (200, json!({ "prompt": "What?" })));
    });
}

#[test]
fn a_question_is_taken_from_the_page_alone_and_refusals_are_told() {
    let mut echo = Echo::new();
    play(Engines::answering(&mut echo), |stage| {
        let viewer = &stage.viewer;
        assert_eq!(viewer.ask("never"), (422, json!({ "error": "not that" })));
        for headers in
            ["Origin: http://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"]
        {
            assert_eq!(viewer.send("POST /prompt", headers, "theirs").0, 403, "{headers}");
        }
        assert_eq!(viewer.send("POST /prompt", "Host: evil.example\r\n", "theirs").0, 400, "two hosts");
        assert_eq!(viewer.send("POST /prompt", "", &"x".repeat(4097)).0, 413);
        assert_eq!(viewer.state()["prompt"], "What?");
        // A script has no origin.
        assert_eq!(viewer.send("POST /prompt", "", "Ours?").0, 200);
        assert_eq!(stage.answer(WIDTH, &BLUE)["text"], "Ours?");
    });
}

#[test]
fn boxes_are_drawn_over_the_frame_that_was_answered() {
    let mut echo = Echo::new();
    play(Engines::answering(&mut echo), |stage| {
        assert_eq!(stage.viewer.ask(".").0, 200);
        let (side, is_yellow) = (48usize, |pixel: &image::Rgb<u8>| pixel.0[0] > 150 && pixel.0[2] < 120);
        let blue: Vec<u8> = BLUE.iter().copied().cycle().take(3 * side * side).collect();
        stage.answer(side as u32, &blue);
        let marked = until("the box", || {
            let picture = stage.viewer.picture("/answer.jpg");
            Some(picture).filter(|picture| picture.width() == 7 * side as u32)
        });
        // A box of 5 by 3 pixels, seven times as large and two pixels wide.
        let (left, right) = (marked.get_pixel(7, 15), marked.get_pixel(42, 15));
        assert!(is_yellow(marked.get_pixel(20, 7)) || is_yellow(marked.get_pixel(20, 8)), "the upper side");
        assert!(is_yellow(left) || is_yellow(right), "{left:?} {right:?}");
        assert!(!is_yellow(marked.get_pixel(24, 18)), "the inside is seen");
        let bare = stage.viewer.picture("/frame.jpg");
        assert!(bare.width() == side as u32 && !bare.pixels().any(is_yellow));
        // Whoever has a picture need not take it again.
        until("a picture that is known", || {
            let (_, head, _) = stage.viewer.send("GET /answer.jpg", "", "");
            let number = head.lines().find_map(|line| line.strip_prefix("X-Number: ")).unwrap().to_owned();
            let (status, body) = stage.viewer.get(&format!("/answer.jpg?after={number}"));
            (status == 204 && body.is_empty()).then_some(())
        });
        let (status, head, body) = stage.viewer.send("HEAD /frame.jpg", "", "");
        assert!(status == 200 && head.contains("image/jpeg") && body.is_empty());
    });
}

#[test]
fn dead_viewers_take_no_answer_away() {
    let mut echo = Echo::new();
    let n_asked = Arc::clone(&echo.n_asked);
    play(Engines::answering(&mut echo), |stage| {
        // Some say nothing, some ask for pictures and read none of them.
        let dead: Vec<TcpStream> = (0..12)
            .map(|i| {
                let mut stream = TcpStream::connect(stage.viewer.0).unwrap();
                if i % 2 == 0 {
                    let _ = write!(stream, "GET /frame.jpg HTTP/1.1\r\nHost: {}\r\n\r\n", stage.viewer.0);
                }
                stream
            })
            .collect();
        let n_frames = 200;
        for i in 1..=n_frames {
            stage.show(WIDTH, &BLUE);
            until("the answer", || (*n_asked.lock().unwrap() == i).then_some(()));
            until("its message", || (!stage.answers().is_empty()).then_some(()));
        }
        drop(dead);
        // What is told may be a moment old.
        until("the account of all", || {
            let accounts = &stage.viewer.state()["accounts"]["answers"];
            (accounts["received"] == n_frames && accounts["answered"] == n_frames).then_some(())
        });
    });
}

#[test]
fn greedy_viewers_of_large_frames_take_no_frame_away() {
    let (width, height) = (640, 480);
    // Noise: its JPEG does not fit a socket that nobody reads.
    let mut rng = Rng::new(3);
    let rgb: Vec<u8> = (0..3 * width * height).map(|_| (256.0 * rng.unit()) as u8).collect();
    let mut echo = Echo::new();
    let n_asked = Arc::clone(&echo.n_asked);
    let options = NodeOptions { max_image_bytes: rgb.len(), max_pixels: width * height, ..options() };
    play_as(options, Engines::answering(&mut echo), |stage| {
        let (n_frames, n_at_once) = (40, 200);
        let (enough, n_looks) = (AtomicBool::new(false), AtomicUsize::new(0));
        let show = || stage.show(width as u32, &rgb);
        std::thread::scope(|scope| {
            for path in ["/frame.jpg", "/answer.jpg", "/state.json", "/state.json"] {
                let (viewer, enough, n_looks) = (&stage.viewer, &enough, &n_looks);
                scope.spawn(move || {
                    while !enough.load(Relaxed) {
                        n_looks.fetch_add(usize::from(viewer.get(path).0 == 200), Relaxed);
                    }
                });
            }
            // However it ends, they do too.
            let _enough = Ends(&enough);
            let mut unread = Vec::new();
            for i in 1..=n_frames {
                show();
                until("the answer", || (*n_asked.lock().unwrap() == i).then_some(()));
                until("its message", || (!stage.answers().is_empty()).then_some(()));
                if i % 20 == 1 {
                    let mut stream = TcpStream::connect(stage.viewer.0).unwrap();
                    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096);
                    let _ = write!(stream, "GET /frame.jpg HTTP/1.1\r\nHost: {}\r\n\r\n", stage.viewer.0);
                    unread.push(stream);
                }
            }
            // As of a bag that nobody waits for.
            (0..n_at_once).for_each(|_| show());
            until("all of them", || {
                let accounts = &stage.viewer.state()["accounts"]["answers"];
                (accounts["received"] == n_frames + n_at_once && accounts["in_flight"] == 0).then_some(())
            });
        });
        assert!(0 < n_looks.load(Relaxed));
        assert_eq!(stage.viewer.picture("/frame.jpg").dimensions(), (width as u32, height as u32));
        let accounts = &stage.viewer.state()["accounts"]["answers"];
        let dropped = accounts["dropped"].as_object().unwrap();
        assert!(dropped.keys().all(|reason| reason == "superseded"), "{accounts}");
        assert_eq!(accounts["answered"], *n_asked.lock().unwrap(), "{accounts}");
        assert!(n_frames <= *n_asked.lock().unwrap());
    });
}

#[test]
fn questions_are_set_a_few_times_a_second() {
    let mut echo = Echo::new();
    play(Engines::answering(&mut echo), |stage| {
        let (head, told) = until("one too many", || {
            let (status, head, body) = stage.viewer.send("POST /prompt", "", "Again?");
            assert!(status == 200 || status == 429, "{head}");
            (status == 429).then(|| (head, serde_json::from_slice::<Value>(&body).unwrap()))
        });
        assert!(head.contains("Retry-After: 1\r\n") && told["error"].is_string(), "{head} {told}");
        assert_eq!(stage.viewer.state()["prompt"], "Again?");
    });
}

/// Forecasts that what is seen becomes red, and is surprised of every frame.
struct Seer(ForecastShape);

impl Forecaster for Seer {
    fn shape(&self) -> &ForecastShape {
        &self.0
    }

    fn look(&mut self, look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> {
        let frame = look.frames.len() - 1;
        tell(Glimpse::Surprise { frame, ahead: 1, latent: Some(0.25), pixels: None });
        for ahead in 1..=self.0.horizon {
            tell(Glimpse::Frame { ahead, rgb: &[240, 10, 10].repeat(self.0.width * self.0.height) });
        }
        Outcome::Made(Forecast::default())
    }
}

#[test]
fn forecasts_are_shown_as_one_strip_and_surprise_is_told() {
    let (n_given, horizon, rate_hz, width, height) = (1, 3, 8.0, 16, 16);
    let mut seer = Seer(ForecastShape {
        n_given,
        horizon,
        rate_hz,
        width,
        height,
        action_names: Vec::new(),
        action_limits: Vec::new(),
    });
    play(Engines::forecasting(&mut seer), |stage| {
        let state = until("a forecast", || {
            stage.show(WIDTH, &BLUE);
            Some(stage.viewer.state()).filter(|state| state["forecast"].is_object())
        });
        let strip = &state["forecast"]["strip"];
        assert_eq!((&strip["tile"], &strip["frames_ahead"]), (&json!([16, 16]), &json!([1, 2, 3])));
        assert_eq!((&state["answer"], &state["surprises"][0]["latent"]), (&Value::Null, &json!(0.25)));
        assert_eq!(state["forecast"]["forecast_frames"], 3);
        let picture = stage.viewer.picture("/forecast.jpg");
        assert_eq!(picture.dimensions(), (48, 16));
        assert!(picture.pixels().all(|pixel| pixel.0[0] > 200 && pixel.0[2] < 60));
    });
}

#[test]
fn of_several_cameras_that_of_the_forecasts_is_shown() {
    let mut options = options();
    let cameras = ["front=/front/image", "rear=/rear/image"];
    options.cameras.named = cameras.map(|camera| camera.parse().unwrap()).into();
    options.cameras.forecast = Some("rear".to_owned());
    let (n_given, horizon, rate_hz, width, height) = (1, 3, 8.0, 16, 16);
    let shape = ForecastShape {
        n_given,
        horizon,
        rate_hz,
        width,
        height,
        action_names: Vec::new(),
        action_limits: Vec::new(),
    };
    for answers in [true, false] {
        let (mut echo, mut seer) = (Echo::new(), Seer(shape.clone()));
        let answerer = answers.then_some(&mut echo as &mut dyn Answerer);
        play_as(options.clone(), Engines { answerer, forecaster: Some(&mut seer) }, |stage| {
            let state = until("a forecast, and answers about both", || {
                stage.show_on("/front/image", WIDTH, &BLUE);
                stage.show_on("/rear/image", 2 * WIDTH, &BLUE);
                let state = stage.viewer.state();
                let is_answered = !answers || 2 <= state["answers"].as_array().unwrap().len();
                Some(state).filter(|state| state["forecast"].is_object() && is_answered)
            });
            let camera = &state["camera"];
            assert_eq!((&camera["name"], &camera["topic"]), (&json!("rear"), &json!("/rear/image")));
            assert_eq!(camera["size"], json!([2 * WIDTH, 3]));
            assert_eq!(state["accounts"]["answers"].is_object(), answers);
            assert_eq!(stage.viewer.picture("/frame.jpg").dimensions(), (2 * WIDTH, 3));
        });
    }
}

struct Hands(Echo);

impl Crew for Hands {
    fn configure(&mut self, now: &Parameters) -> Result<NodeOptions, String> {
        let mut options = options();
        options.take_over(now);
        Ok(options)
    }

    fn engines(&mut self) -> Engines<'_> {
        Engines::answering(&mut self.0)
    }

    fn checker(&self) -> Option<Checker> {
        self.0.checker()
    }

    fn cleanup(&mut self) {}
}

#[test]
fn the_page_of_a_managed_node_tells_its_state() {
    let page = Live::open("127.0.0.1:0".parse().unwrap(), &[]).unwrap();
    let stage = Stage { memory: Memory::new(Arc::new(Clock::system())), viewer: Viewer(page.address()) };
    let options = NodeOptions { onlooker: page.onlooker(), ..options() };
    let stop = AtomicBool::new(false);
    let change = |label: &str| {
        let transition = Labelled { id: 0, label: label.to_owned() };
        let body = encode(&ChangeRequest { transition });
        let reply = until(label, || stage.memory.call("/eye/change_state", &body));
        assert!(decode::<ChangeReply>(&reply, ByteOrder::Little).unwrap().success, "{label}");
        stage.viewer.state()
    };
    std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            let mut hands = Hands(Echo::new());
            lifecycle::run(&page.overhears(&stage.memory), &options, &mut hands, &stop, &mut |_| {}).unwrap();
        });
        until("the node", || (stage.viewer.state()["state"] == "unconfigured").then_some(()));
        // Nobody judges it before there is an engine.
        assert_eq!(stage.viewer.ask("Early?").0, 200);
        assert_eq!(change("configure")["state"], "inactive");
        assert_eq!(stage.viewer.ask("never").0, 422);
        for round in 1..=2 {
            let state = change("activate");
            assert_eq!(
                (&state["state"], &state["camera"]["topic"]),
                (&json!("active"), &json!("/image")),
                "{round}"
            );
            assert_eq!(stage.answer(WIDTH, &BLUE)["text"], "Early?");
            assert_eq!(stage.viewer.picture("/frame.jpg").dimensions(), (WIDTH, 6));
            let state = change("deactivate");
            assert_eq!((&state["state"], &state["camera"]), (&json!("inactive"), &Value::Null));
            assert_eq!(state["answer"]["text"], "Early?");
        }
        assert_eq!(change("cleanup")["state"], "unconfigured");
        change("shutdown");
        node.join().unwrap();
    });
}

fn perihelion(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    for variable in ["ROS_DISTRO", "ROS_LOCALHOST_ONLY", "ROS_DOMAIN_ID", "RMW_IMPLEMENTATION"] {
        command.env_remove(variable);
    }
    command.args(arguments).output().unwrap()
}

#[test]
fn the_command_says_where_the_page_is_and_who_can_see_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (model, engine, bag) = (path("a.model"), path("a.engine"), path("a.mcap"));
    let checkpoint = Path::new("engines/small-reason").to_str().unwrap();
    for arguments in [
        &["export", checkpoint, "-o", &model][..],
        &["build", &model, "-o", &engine, "--backend", "cpu", "--precision", "f32"],
        &["scenes", "-o", &bag, "--count", "1"],
    ] {
        let Output { status, stderr, .. } = perihelion(arguments);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }
    let play = |live: &[&str]| {
        let ros = ["--ros-args", "-r", "image:=/camera/image_raw"];
        let Output { status, stderr, .. } =
            perihelion(&[&["run", &engine, "--bag", &bag], live, &ros[..]].concat());
        let log = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{log}");
        log
    };
    let log = play(&["--live", "127.0.0.1:0"]);
    assert!(log.contains("live page: http://127.0.0.1:") && !log.contains("anyone on the network"), "{log}");
    let log = play(&["--live=0.0.0.0:0"]);
    let warning = log.lines().find(|line| line.contains("anyone on the network can see the camera")).unwrap();
    assert!(warning.contains("WARN") && warning.contains("0.0.0.0:"), "{warning}");
    assert!(!play(&[]).contains("live page"));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let Output { status, stderr, .. } = perihelion(&["run", &engine, "--bag", &bag, "--live", &port]);
    let log = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(1) && log.contains(&port) && log.contains("--live"), "{log}");
    // An engine where an address may stand.
    let Output { status, stderr, .. } = perihelion(&["run", "--live", &engine]);
    let log = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(2) && log.contains("--live="), "{log}");
}
