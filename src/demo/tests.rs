//! The demo in memory, with answerers that know everything or nothing.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::closed_loop::{self, Course};
use super::graph::{Graph, node_options};
use super::live::{self, News, Plan};
use super::recorder::Recorder;
use super::report::Report;
use super::ticker::line;
use super::topics::Topics;
use crate::camera::load_image;
use crate::frames::camera::Camera;
use crate::frames::clock::Clock;
use crate::ros2::messages::{ImageView, Message, Text};
use crate::ros2::node::{Answer, Answerer, Engines, Outcome, Question};
use crate::ros2::transport::{
    Delivery, ImageTransport, Memory, MessageSink, Publisher, Pump, TopicSeen, Transport, TransportError,
};
use crate::scenes::{FPS, Task};

/// Answers with a closure.
struct Says<F>(F);

impl<F: FnMut(&Question<'_>) -> Outcome + Send> Answerer for Says<F> {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        (self.0)(question)
    }
}

/// A graph of one process, in which the demo's topics are to be seen from when the node subscribes to the camera.
pub(super) struct Hall(Memory);

impl Hall {
    pub(super) fn new(clock: Clock) -> Self {
        Self(Memory::new(Arc::new(clock)))
    }

    pub(super) fn graph(&self) -> Graph<'_> {
        Graph { camera: self, node: self, observer: self }
    }
}

impl Transport for Hall {
    fn clock(&self) -> &Arc<Clock> {
        self.0.clock()
    }
    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        self.0.subscribe_images(transport, camera)?;
        let topics = Topics::of(&node_options(FPS).unwrap()).unwrap();
        let texts = [topics.prompt, topics.answer, topics.plan_request, topics.plan_result];
        let texts = texts.map(|name| (name, Text::TYPE));
        for (name, ros_type) in [(topics.image, ImageView::TYPE)].into_iter().chain(texts) {
            let ros_type = ros_type.to_owned();
            self.0.announce(TopicSeen { name, ros_type, publishers: 1, subscribers: 1 });
        }
        Ok(())
    }
    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        self.0.subscribe(topic, ros_type, delivery, sink)
    }
    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        self.0.advertise(topic, ros_type, delivery)
    }
    fn graph(&self) -> Vec<TopicSeen> {
        self.0.graph()
    }
    fn pump(&self) -> Pump {
        self.0.pump()
    }
}

fn answer(text: impl Into<String>, tokens: &[u32]) -> Outcome {
    let details =
        serde_json::json!({ "tokens": tokens, "ttft_ms": 1.5, "tpot_ms": 0.5, "finish_reason": "stop" });
    Outcome::Made(Answer {
        text: text.into(),
        details: details.as_object().unwrap().clone(),
        ..Answer::default()
    })
}

fn json(report: &Report) -> Value {
    serde_json::to_value(report).unwrap()
}

fn record(n_scenes: u64, says: impl FnMut(&Question<'_>) -> Outcome + Send) -> (tempfile::TempDir, Report) {
    let (hall, dir) = (Hall::new(Clock::simulated()), tempfile::tempdir().unwrap());
    let recorder = Mutex::new(Recorder::new(dir.path()).unwrap());
    let course = Course { n_scenes, seed: 3 };
    let mut heard = Vec::new();
    let stop = AtomicBool::new(false);
    let report = closed_loop::play(hall.graph(), &course, &mut Says(says), &recorder, &stop, &mut |number| {
        heard.push(number);
    });
    assert_eq!(heard, (1..=n_scenes).collect::<Vec<_>>());
    (dir, report.unwrap())
}

fn lines(dir: &tempfile::TempDir, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_question_of_a_course_is_answered_and_recorded_with_the_frames_that_arrived() {
    let mut arrived = Vec::new();
    let (dir, report) = record(4, |question| {
        let frames: Vec<Vec<u8>> = question.frames.iter().map(|frame| frame.frame.data().to_vec()).collect();
        arrived.push((question.prompt.to_owned(), frames));
        let text = if question.prompt.contains("forward or backward") { "backward" } else { "no idea" };
        answer(text, &[7, 8])
    });
    let (questions, answers) = (lines(&dir, "questions.jsonl"), lines(&dir, "answers.jsonl"));
    let json = json(&report);
    report.verdict().unwrap();
    assert_eq!(answers.len() as u64, json["answers"]["scored"].as_u64().unwrap());
    // On a busy machine a clip may have been sent again.
    arrived.dedup();
    assert_eq!((questions.len(), arrived.len()), (answers.len(), answers.len()));
    let backward = json["scenes_backward"].as_u64().unwrap();
    assert_eq!(
        (&json["accuracy"]["arrow"]["asked"], &json["accuracy"]["arrow"]["right"]),
        (&4.into(), &backward.into())
    );
    assert_eq!(json["accuracy"]["touch"]["asked"], 4 - backward, "not asked of what is shown backward");
    let again = json["clips_sent_again"].as_u64().unwrap();
    assert_eq!(json["frames"]["received"], 8 * (answers.len() as u64 + again));
    assert_eq!(json["latency"]["age_ms"]["max"], 0.0, "simulated time stands still while the node thinks");

    for ((question, answer), (prompt, frames)) in questions.iter().zip(&answers).zip(&arrived) {
        assert_eq!((&question["id"], &question["prompt"]), (&answer["id"], &prompt.as_str().into()));
        assert_eq!((&question["fps"], &answer["tokens"]), (&FPS.into(), &serde_json::json!([7, 8])));
        for (file, frame) in question["video"].as_array().unwrap().iter().zip(frames) {
            let image = load_image(&dir.path().join(file.as_str().unwrap()), 1 << 20).unwrap();
            assert_eq!((image.rgb.as_slice(), image.size().n_pixels()), (frame.as_slice(), 64 * 64));
        }
    }
    let pictures = std::fs::read_dir(dir.path().join("frames")).unwrap().count();
    assert!(pictures <= 4 * 8, "{pictures} pictures of 4 scenes: the same frame is kept once");
}

#[test]
fn a_clip_that_is_not_answered_is_sent_again() {
    let mut n_asked = 0;
    let (dir, report) = record(1, |_| {
        n_asked += 1;
        if n_asked == 1 { Outcome::Expired } else { answer("2", &[1]) }
    });
    let json = json(&report);
    assert!(1 <= json["clips_sent_again"].as_u64().unwrap());
    assert_eq!(json["frames"]["dropped_by_reason"]["answer_too_late"], 1);
    assert_eq!(lines(&dir, "answers.jsonl").len() as u64, json["answers"]["scored"].as_u64().unwrap());
    report.verdict().unwrap();
}

#[test]
fn the_live_camera_is_answered_task_by_task_and_every_frame_accounted_for() {
    let hall = Hall::new(Clock::system());
    let plan = Plan { duration: Duration::from_millis(2500), seed: 5, rate_hz: 60.0 };
    let mut said = Vec::new();
    let mut count_only =
        Says(|question: &Question<'_>| answer(if question.prompt.contains("alls") { "2" } else { "?" }, &[]));
    let mut say = |news: News<'_>| {
        if let News::Answer(verdict) = news {
            said.push(line(verdict));
        }
        Ok(())
    };
    let stop = AtomicBool::new(false);
    let report =
        live::play(hall.graph(), &plan, Engines::answering(&mut count_only), &stop, &mut say).unwrap();
    report.verdict().unwrap();
    let json = json(&report);
    let figure = |pointer: &str| json.pointer(pointer).unwrap_or(&Value::Null).as_u64().unwrap();
    assert_eq!(figure("/answers/scored"), said.len() as u64);
    assert_eq!(figure("/answers/published"), figure("/answers/heard"));
    assert_eq!(figure("/frames/sent"), figure("/frames/received"), "memory loses nothing");
    assert_eq!(
        figure("/frames/received"),
        figure("/frames/answered") + figure("/frames/clip_members") + figure("/frames/dropped")
    );
    let asked = Task::ALL.map(|task| figure(&format!("/accuracy/{}/asked", task.name())));
    assert!(3 <= asked.iter().filter(|n| 0 < **n).count(), "it goes round the tasks: {asked:?}");
    assert_eq!(figure("/accuracy/way/right"), 0);
    let text = report.text();
    for part in ["age of the newest frame", "TTFT", "arrow", "received", "in flight 0; lost 0"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn whatever_a_model_says_is_text_on_the_page_and_in_the_terminal() {
    let hostile = "</bdi><script>alert(1)</script>\u{1b}[2J\u{7}";
    let hall = Hall::new(Clock::system());
    let plan = Plan { duration: Duration::from_millis(1500), seed: 5, rate_hz: 60.0 };
    let mut n_asked = 0;
    let mut says = Says(|_: &Question<'_>| {
        n_asked += 1;
        match n_asked % 3 {
            0 => answer("", &[]),
            1 => answer(hostile, &[]),
            _ => answer(format!("{}end", "endless ".repeat(100_000)), &[]),
        }
    });
    let mut said = Vec::new();
    let mut say = |news: News<'_>| {
        if let News::Answer(verdict) = news {
            said.push(line(verdict));
        }
        Ok(())
    };
    let stop = AtomicBool::new(false);
    let report = live::play(hall.graph(), &plan, Engines::answering(&mut says), &stop, &mut say).unwrap();
    let page = report.page();
    assert!(3 <= said.len() && page.contains("&lt;script&gt;alert(1)") && page.contains("more letters"));
    assert!(!page.contains("<script") && !page.contains('\u{1b}'));
    assert!(page.len() < 4 << 20, "{} bytes", page.len());
    assert!(page.contains("(nothing)"));
    for line in said {
        let plain = anstream::adapter::strip_str(&line).to_string();
        assert!(plain.lines().all(|line| line.chars().count() <= 100), "{plain}");
        assert!(!plain.contains('\u{7}') && plain.len() < 2000 && !line.contains("[2J\u{7}"), "{plain}");
        let n_escapes = line.matches('\u{1b}').count();
        assert!(n_escapes <= 5, "only its own colours: {line:?}");
    }
}

#[test]
fn a_page_of_nothing_says_so() {
    let hall = Hall::new(Clock::system());
    let plan = Plan { duration: Duration::from_millis(200), seed: 5, rate_hz: 60.0 };
    let mut fails = Says(|_: &Question<'_>| Outcome::Failed("a logit is not a number".into()));
    let stop = AtomicBool::new(false);
    let report =
        live::play(hall.graph(), &plan, Engines::answering(&mut fails), &stop, &mut |_| Ok(())).unwrap();
    let page = report.interrupted().page();
    for part in
        ["No answer could be judged", "Nothing was measured", "was interrupted", "Where every frame went"]
    {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    assert!(!page.contains("NaN"), "{page}");
}

#[test]
fn a_course_that_is_stopped_keeps_what_it_has() {
    let (hall, dir) = (Hall::new(Clock::simulated()), tempfile::tempdir().unwrap());
    let recorder = Mutex::new(Recorder::new(dir.path()).unwrap());
    let course = Course { n_scenes: 4, seed: 3 };
    let stop = AtomicBool::new(false);
    let mut says = Says(|_: &Question<'_>| answer("2", &[1]));
    let mut on_scene = |_| stop.store(true, Relaxed);
    let report =
        closed_loop::play(hall.graph(), &course, &mut says, &recorder, &stop, &mut on_scene).unwrap();
    assert!(report.verdict().unwrap_err().to_string().contains("stopped after 1 of 4 scenes"));
    assert_eq!(json(&report)["is_interrupted"], true);
    assert_eq!(
        lines(&dir, "answers.jsonl").len() as u64,
        json(&report)["answers"]["scored"].as_u64().unwrap()
    );
    assert!(report.page().contains("was interrupted") && report.text().contains("interrupted"));
}

#[test]
fn no_answer_is_a_failure() {
    let hall = Hall::new(Clock::system());
    let plan = Plan { duration: Duration::from_millis(300), seed: 5, rate_hz: 60.0 };
    let mut fails = Says(|_: &Question<'_>| Outcome::Failed("a logit is not a number".into()));
    let stop = AtomicBool::new(false);
    let report =
        live::play(hall.graph(), &plan, Engines::answering(&mut fails), &stop, &mut |_| Ok(())).unwrap();
    assert!(report.verdict().unwrap_err().to_string().contains("no answer came"));
}
