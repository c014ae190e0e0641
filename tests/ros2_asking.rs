//! When a question is put, and what is told of its answer beside the words: messages, detections, a picture.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/predict.rs"]
mod engine;
#[path = "support/script.rs"]
mod script;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use perihelion::export::PredictOptions;
use perihelion::frames::accounts::DropReason;
use perihelion::frames::clock::Clock;
use perihelion::ros2::messages::{
    AnswerMessage, ByteOrder, CompressedImageView, Detections, Flag, Message, ParameterValue, SetReply,
    SetRequest, Text, WireParameter, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{
    Answer, Answerer, AskWhen, Because, Engines, NodeOptions, Outcome, Question, Report, run,
};
use perihelion::ros2::predict::{PredictForecaster, PredictSettings};
use perihelion::ros2::transport::{Memory, TopicSeen};
use perihelion::runtime::reason::Place;
use perihelion::scenes::{FRAME_BYTES, Rng, SIZE, Scene, SceneOptions};
use script::{Event, MS, Script, image};
use serde_json::Value;

/// Milliseconds from one frame to the next, as the scenes have them.
const FRAME_MS: i64 = 125;

struct Says(Vec<Place>);

impl Answerer for Says {
    fn answer(&mut self, _: &Question<'_>) -> Outcome {
        Outcome::Made(Answer { text: "It is a cup.".to_owned(), places: self.0.clone(), ..Answer::default() })
    }
}

fn options(because: Because) -> NodeOptions {
    let name = NodeName::new("/", "eye").unwrap();
    let ask_when = AskWhen { because, surprise: 0.6, ..AskWhen::default() };
    NodeOptions { ask_when, max_image_bytes: FRAME_BYTES, max_pixels: SIZE * SIZE, ..NodeOptions::new(name) }
}

fn play(script: &Script, options: &NodeOptions, forecaster: Option<&mut PredictForecaster>) -> Report {
    let mut says = Says(Vec::new());
    let mut engines = Engines::answering(&mut says);
    engines.forecaster = forecaster.map(|forecaster| forecaster as _);
    let report = run(script, options, engines, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let accounts = report.answers.as_ref().unwrap().accounts;
    assert!(accounts.balance() && accounts.in_flight == 0, "{accounts}");
    report
}

/// At which frames questions were put, and why.
fn asked(memory: &Memory) -> Vec<(i64, String)> {
    let one = |body: Vec<u8>| {
        let text = decode::<Text>(&body, ByteOrder::Little).unwrap().data;
        let json: Value = serde_json::from_str(&text).unwrap();
        let part = |name: &str| json["stamp"][name].as_i64().unwrap();
        let stamp_ms = part("sec") * 1000 + part("nanosec") / MS;
        (stamp_ms / FRAME_MS, json["asked_because"].as_str().unwrap().to_owned())
    };
    memory.published("/eye/answer/json").into_iter().map(one).collect()
}

fn shown(n_frames: usize, frame: impl Fn(usize) -> Vec<u8>) -> Script {
    let at = |t: usize| image(t as i64 * FRAME_MS, SIZE as u32, frame(t));
    Script::new(Clock::stepped(), (0..n_frames).map(at).collect())
}

/// Where nothing moves, and the same with a ball that lies elsewhere after the frame `at`.
fn at_rest(seed: u64, at: usize, n_frames: usize) -> [impl Fn(usize) -> Vec<u8>; 2] {
    let mut drawn = Scene::draw(&mut Rng::new(seed), SceneOptions { n_frames, ..SceneOptions::default() });
    for ball in &mut drawn.start.balls {
        ball.velocity = [0.0; 2];
    }
    let quiet = Scene::simulate(drawn.start, n_frames, 0);
    let mut moved = quiet.start.clone();
    for x in &mut moved.balls[0].position {
        *x += if *x < SIZE as f64 / 2.0 { 28.0 } else { -28.0 };
    }
    let after = Scene::simulate(moved, n_frames, 0);
    [quiet.clone(), after].map(|after| {
        let before = quiet.clone();
        move |t: usize| {
            let mut rgb = vec![0; FRAME_BYTES];
            if t <= at {
                before.render(t, &mut rgb)
            } else {
                after.render(t - at, &mut rgb)
            }
            rgb
        }
    })
}

#[test]
fn a_jump_is_asked_about_and_a_quiet_scene_is_not() {
    let predict = engine::open(Path::new("engines/small-predict"), &PredictOptions::default(), 1, None);
    let mut forecaster = PredictForecaster::new(
        predict,
        PredictSettings { seed: 0, latent_only: false, ..PredictSettings::default() },
    );
    let (n_frames, at) = (29, 12);
    for seed in [1, 2, 3] {
        let [quiet, jump] = at_rest(seed, at, n_frames);
        let mut questions = |because, frame: &dyn Fn(usize) -> Vec<u8>| {
            let script = shown(n_frames, frame);
            let forecaster = Some(&mut forecaster).filter(|_| because == Because::Surprise);
            // Looks once a horizon: what follows a forecast is held against it, and then the next is made.
            let max_rate_hz = if because == Because::Surprise { 1.0 } else { 0.0 };
            let report = play(&script, &NodeOptions { max_rate_hz, ..options(because) }, forecaster);
            let unchanged = report.answers.unwrap().accounts.dropped(DropReason::Unchanged);
            (asked(&script.memory), unchanged)
        };
        assert_eq!(questions(Because::Surprise, &quiet).0, [], "seed {seed}");
        let (asked, _) = questions(Because::Surprise, &jump);
        // What the ball pushes where it lands may surprise again later.
        assert_eq!(asked.first(), Some(&(at as i64 + 8, "surprise".to_owned())), "seed {seed}: {asked:?}");

        let change = |frame: i64| (frame, "change".to_owned());
        assert_eq!(questions(Because::Change, &quiet), (vec![change(0)], 28), "seed {seed}: the first alone");
        let (asked, _) = questions(Because::Change, &jump);
        assert_eq!(asked[..2], [change(0), change(at as i64 + 1)], "seed {seed}: {asked:?}");
    }
}

fn small(t: i64) -> Event {
    image(t * FRAME_MS, 2, vec![7; 12])
}

fn ask(data: bool) -> Event {
    Box::new(move |memory| memory.inject("/eye/ask", Flag::TYPE, &encode(&Flag { data }), ByteOrder::Little))
}

#[test]
fn each_true_is_a_question_and_nothing_else_is() {
    let nonsense: Event = Box::new(|memory| {
        memory.inject("/eye/ask", Flag::TYPE, &[], ByteOrder::Little);
        memory.inject("/eye/ask", Text::TYPE, &encode(&Text { data: "true".into() }), ByteOrder::Little);
    });
    let events = vec![
        small(0),
        ask(true),
        small(1),
        small(2),
        ask(false),
        nonsense,
        small(3),
        ask(true),
        ask(true),
        small(4),
    ];
    let script = Script::new(Clock::stepped(), events);
    let report = play(&script, &options(Because::Topic), None);
    let topic = |frame: i64| (frame, "topic".to_owned());
    // The newest frame is there when somebody asks; who asks again waits for the next.
    assert_eq!(asked(&script.memory), [topic(0), topic(3), topic(4)]);
    assert_eq!(report.answers.unwrap().accounts.dropped(DropReason::Superseded), 2);
}

fn set(memory: &Memory, value: &str) -> String {
    let value = ParameterValue { kind: 4, string_value: value.to_owned(), ..ParameterValue::default() };
    let parameters = vec![WireParameter { name: "ask_when".to_owned(), value }];
    let reply = memory.call("/eye/set_parameters", &encode(&SetRequest { parameters })).unwrap();
    decode::<SetReply>(&reply, ByteOrder::Little).unwrap().results.remove(0).reason
}

#[test]
fn when_to_ask_changes_while_the_node_runs() {
    let events: Vec<Event> = vec![
        small(0),
        Box::new(|memory| {
            assert!(set(memory, "never").contains("expected `rate`"));
            assert!(set(memory, "surprise").contains("forecasts"), "nothing here could be surprised");
            assert_eq!(set(memory, "topic"), "");
        }),
        small(1),
        ask(true),
        Box::new(|memory| assert_eq!(set(memory, "change"), "")),
        small(2),
        small(3),
        Box::new(|memory| assert_eq!(set(memory, "rate"), "")),
        small(4),
    ];
    let script = Script::new(Clock::stepped(), events);
    play(&script, &options(Because::Rate), None);
    let of = |(frame, why): (i64, &str)| (frame, why.to_owned());
    assert_eq!(asked(&script.memory), [(0, "rate"), (1, "topic"), (2, "change"), (4, "rate")].map(of));
}

/// Is late with so many answers, and then is not.
struct Late(usize);

impl Answerer for Late {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Outcome::Expired
            }
            None => Says(Vec::new()).answer(question),
        }
    }
}

#[test]
fn what_was_not_answered_is_asked_again() {
    for because in [Because::Change, Because::Topic] {
        // The scene stands still, and nobody asks again.
        let script = Script::new(Clock::stepped(), vec![ask(true), small(0), small(1), small(2), small(3)]);
        let mut late = Late(2);
        let engines = Engines::answering(&mut late);
        run(&script, &options(because), engines, &AtomicBool::new(false), &mut |_| {}).unwrap();
        assert_eq!(asked(&script.memory), [(2, because.name().to_owned())]);
    }
}

#[test]
fn what_called_under_another_rule_is_over() {
    let events: Vec<Event> = vec![
        small(0),
        ask(true),
        Box::new(|memory| assert_eq!(set(memory, "topic"), "")),
        small(1),
        Box::new(|memory| assert_eq!(set(memory, "change"), "")),
        small(2),
    ];
    let script = Script::new(Clock::stepped(), events);
    play(&script, &options(Because::Rate), None);
    let of = |(frame, why): (i64, &str)| (frame, why.to_owned());
    // The frame that is there is another than none.
    assert_eq!(asked(&script.memory), [(0, "rate"), (1, "change")].map(of));
}

#[test]
fn an_answer_is_told_in_messages_and_shown_to_who_looks() {
    let place = |label: Option<&str>, pixels: &[f64]| Place {
        label: label.map(str::to_owned),
        units: Vec::new(),
        pixels: Some(pixels.to_vec()),
    };
    let looks: Event = Box::new(|memory| {
        let seen = |ros_type: &str, subscribers| TopicSeen {
            name: "/eye/annotated/compressed".to_owned(),
            ros_type: ros_type.to_owned(),
            publishers: 0,
            subscribers,
        };
        memory.announce(seen(Text::TYPE, 1));
        memory.announce(seen(CompressedImageView::TYPE, 1));
    });
    let frame = |t: i64| image(t * FRAME_MS, SIZE as u32, vec![90; FRAME_BYTES]);
    let script = Script::new(Clock::stepped(), vec![frame(8), looks, frame(9)]);
    let mut says = Says(vec![place(Some("cup"), &[10.0, 20.0, 30.0, 50.0]), place(None, &[5.0, 6.0])]);
    let engines = Engines::answering(&mut says);
    run(&script, &options(Because::Rate), engines, &AtomicBool::new(false), &mut |_| {}).unwrap();

    let typed = script.memory.published("/eye/answer/typed");
    assert_eq!(typed.len(), 2);
    let answer: AnswerMessage = decode(&typed[1], ByteOrder::Little).unwrap();
    let stamp_ns = 9 * FRAME_MS * MS;
    assert_eq!((answer.header.stamp.ns(), answer.header.frame_id.as_str()), (stamp_ns, "cam"));
    assert_eq!((answer.text.as_str(), answer.prompt.as_str()), ("It is a cup.", "What do you see?"));
    assert_eq!((answer.stamps.len(), answer.asked_because.as_str(), answer.is_cut), (1, "rate", false));
    assert_eq!(answer.valid_until.ns(), stamp_ns + 2_000_000_000);

    let detections = script.memory.published("/eye/detections");
    let seen: Detections = decode(&detections[0], ByteOrder::Little).unwrap();
    let [cup, point] = &seen.detections[..] else { panic!("{seen:?}") };
    assert_eq!((seen.header.stamp.ns(), &cup.header), (8 * FRAME_MS * MS, &seen.header));
    assert_eq!((cup.bbox.center, cup.bbox.size_x, cup.bbox.size_y), ([20.0, 35.0], 20.0, 30.0));
    assert_eq!((cup.results[0].class_id.as_str(), point.bbox.size_x), ("cup", 0.0));

    let pictures = script.memory.published("/eye/annotated/compressed");
    assert_eq!(pictures.len(), 1, "nobody looked at the first");
    let view: CompressedImageView<'_> = decode(&pictures[0], ByteOrder::Little).unwrap();
    assert_eq!((view.header.stamp.ns(), view.format.as_str()), (stamp_ns, "jpeg"));
    let drawn = ::image::load_from_memory(view.data).unwrap().to_rgb8();
    assert_eq!(drawn.dimensions(), (SIZE as u32, SIZE as u32));
    let is_marked = |x, y| drawn.get_pixel(x, y).0[0] > 150;
    assert!(is_marked(10, 35) && is_marked(20, 21) && !is_marked(20, 35), "the box's sides, not its inside");
}
