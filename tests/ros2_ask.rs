//! Questions of other nodes, by the service and by the action: what is answered, when, and what becomes of those that are not.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use perihelion::frames::clock::Clock;
use perihelion::ros2::messages::{
    AskFeedback, AskReply, AskRequest, ByteOrder, CancelReply, CancelRequest, FeedbackMessage,
    GetResultReply, GetResultRequest, GoalId, GoalInfo, GoalStatuses, ImageView, Message, SendGoalReply,
    SendGoalRequest, Time, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{
    Answer, Answerer, Checker, Engines, Forecast, ForecastShape, Forecaster, Glimpse, Look, NamedCamera,
    NodeOptions, Outcome, Question, Report, run,
};
use perihelion::ros2::transport::{Memory, Transport};
use perihelion::runtime::reason::AnswerSettings;
use serde::{Deserialize, Serialize};

#[path = "support/script.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod script;

const PATIENCE: Duration = Duration::from_secs(60);
const PIXELS: [u8; 6] = [1, 2, 3, 4, 5, 6];
const SUCCEEDED: i8 = 4;
const EXECUTING: i8 = 2;
const CANCELED: i8 = 5;
const ABORTED: i8 = 6;

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says its prompt in pieces, each when it is let.
#[derive(Default)]
struct Gate {
    /// Pieces that may still be said; none is without end.
    let_say: Mutex<Option<usize>>,
    opened: Condvar,
    n_asked: AtomicUsize,
}

impl Gate {
    fn allow(&self, n: Option<usize>) {
        *self.let_say.lock().unwrap() = n;
        self.opened.notify_all();
    }

    /// Waits for leave to say a piece; false if it is to stop.
    fn pass(&self, stop: &AtomicBool) -> bool {
        let mut left = self.let_say.lock().unwrap();
        loop {
            match &mut *left {
                _ if stop.load(Relaxed) => return false,
                None => return true,
                Some(0) => {}
                Some(n) => {
                    *n -= 1;
                    return true;
                }
            }
            left = self.opened.wait_timeout(left, Duration::from_millis(2)).unwrap().0;
        }
    }
}

struct Speaker(Arc<Gate>);

impl Answerer for Speaker {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        self.answer_aloud(question, &mut |_| {})
    }

    fn answer_aloud(&mut self, question: &Question<'_>, emit: &mut dyn FnMut(&str)) -> Outcome {
        self.0.n_asked.fetch_add(1, Relaxed);
        if question.prompt == "fail" {
            return Outcome::Failed("a logit is not a number".to_owned());
        }
        let is_standing = question.prompt == "standing";
        let pieces: Vec<&str> = question.prompt.split_inclusive(' ').collect();
        for piece in &pieces {
            if !is_standing && !self.0.pass(question.stop) {
                return Outcome::Stopped;
            }
            emit(piece);
        }
        let settings = question.settings.unwrap();
        let text = settings.choices.first().map_or(question.prompt, String::as_str).to_owned();
        if !settings.choices.is_empty() {
            assert_eq!(pieces.concat(), question.prompt);
        }
        let tokens =
            serde_json::json!({ "finish_reason": if settings.tokens_max == 7 { "length" } else { "stop" } });
        Outcome::Made(Answer { text, details: tokens.as_object().unwrap().clone(), ..Answer::default() })
    }

    fn checker(&self) -> Option<Checker> {
        Some(Box::new(|prompt, _| match prompt {
            "never" => Err("not that".to_owned()),
            _ => Ok(()),
        }))
    }
}

fn options(ask: &str) -> NodeOptions {
    let mut options = NodeOptions {
        prompt: "standing".into(),
        max_image_bytes: 1000,
        max_pixels: 100,
        max_age: Duration::from_secs(30),
        answers: Some(AnswerSettings::default()),
        ..NodeOptions::new(NodeName::new("/", "eye").unwrap())
    };
    options.ask_when.because = perihelion::ros2::node::Because::named(ask).unwrap();
    options
}

/// A node among others, and what these do.
#[derive(Clone)]
struct Others {
    memory: Memory,
    gate: Arc<Gate>,
    next: Arc<AtomicUsize>,
}

impl Others {
    fn call<Reply: for<'a> Deserialize<'a>>(&self, service: &str, request: &impl Serialize) -> Option<Reply> {
        let reply = self.memory.call(&format!("/eye/{service}"), &encode(request))?;
        Some(decode(&reply, ByteOrder::Little).unwrap())
    }

    fn show_on(&self, topic: &str) {
        let now_ns = self.memory.clock().now().ros_ns;
        self.memory.inject(
            topic,
            ImageView::TYPE,
            &script::image_body(now_ns, 2, &PIXELS),
            ByteOrder::Little,
        );
    }

    fn ask(&self, request: &AskRequest) -> AskReply {
        self.call("ask", request).unwrap()
    }

    fn goal(&self, goal: AskRequest) -> (GoalId, bool) {
        let n = self.next.fetch_add(1, Relaxed) as u8 + 1;
        let goal_id = [n; 16];
        let reply: SendGoalReply =
            self.call("ask/_action/send_goal", &SendGoalRequest { goal_id, goal }).unwrap();
        (goal_id, reply.accepted)
    }

    fn result(&self, goal_id: GoalId) -> (i8, AskReply) {
        let reply: GetResultReply<AskReply> =
            self.call("ask/_action/get_result", &GetResultRequest { goal_id }).unwrap();
        (reply.status, reply.result)
    }

    fn cancel(&self, goal_id: GoalId) -> CancelReply {
        let goal_info = GoalInfo { goal_id, stamp: Time::default() };
        self.call("ask/_action/cancel_goal", &CancelRequest { goal_info }).unwrap()
    }

    /// What was fed back of a goal since the last call of this.
    fn feedback(&self, goal_id: GoalId) -> Vec<AskFeedback> {
        let bodies = self.memory.published("/eye/ask/_action/feedback");
        let messages = bodies
            .iter()
            .map(|body| decode::<FeedbackMessage<AskFeedback>>(body, ByteOrder::Little).unwrap());
        messages.filter(|message| message.goal_id == goal_id).map(|message| message.feedback).collect()
    }

    /// Every state that a goal was told to be in, once each.
    fn states(&self, goal_id: GoalId) -> Vec<i8> {
        let bodies = self.memory.published("/eye/ask/_action/status");
        let all = bodies.iter().map(|body| decode::<GoalStatuses>(body, ByteOrder::Little).unwrap());
        let mut states: Vec<i8> = all
            .filter_map(|all| all.status_list.into_iter().find(|one| one.goal_info.goal_id == goal_id))
            .map(|one| one.status)
            .collect();
        states.dedup();
        states
    }

    fn n_standing(&self) -> usize {
        self.memory.published("/eye/answer").len()
    }
}

fn about(prompt: &str) -> AskRequest {
    AskRequest { prompt: prompt.to_owned(), ..AskRequest::default() }
}

/// Lets others do something beside a node that answers, and a camera that shows something all the time.
fn beside(options: &NodeOptions, topics: &[&str], act: impl FnOnce(&Others)) -> Report {
    let (gate, next) = Default::default();
    let others = Others { memory: Memory::new(Arc::new(Clock::system())), gate, next };
    let (stop, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let report = std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            let mut speaker = Speaker(Arc::clone(&others.gate));
            run(&others.memory, options, Engines::answering(&mut speaker), &stop, &mut |_| {}).unwrap()
        });
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                topics.iter().for_each(|topic| others.show_on(topic));
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        // It is offered a moment before somebody answers.
        let answers = |reply: AskReply| reply.error == "not that";
        until("who answers", || others.call::<AskReply>("ask", &about("never")).is_some_and(answers));
        let acting = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&others)));
        others.gate.allow(None);
        stop.store(true, Relaxed);
        let report = node.join().unwrap();
        is_over.store(true, Relaxed);
        acting.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        report
    });
    let accounts = report.answers.as_ref().unwrap().accounts;
    assert!(accounts.balance() && accounts.in_flight == 0, "{accounts}");
    let reply = others.call::<AskReply>("ask", &about("Who is there?")).unwrap();
    assert_eq!(reply.error, "the node is not active", "the node has ended, and whoever asks is told");
    report
}

#[test]
fn the_service_answers_about_the_newest_image_and_says_why_not() {
    beside(&options("topic"), &["/image"], |others| {
        // It is offered before images come.
        until("an image", || others.ask(&about("Is it there?")).error.is_empty());
        let before_ns = others.memory.clock().now().ros_ns;
        let reply = others.ask(&about(" What is on the table? "));
        let AskReply { error, answer, finish_reason } = &reply;
        assert_eq!((error.as_str(), finish_reason.as_str()), ("", "stop"));
        assert_eq!(
            (answer.text.as_str(), answer.prompt.as_str()),
            ("What is on the table?", "What is on the table?")
        );
        assert_eq!((answer.asked_because.as_str(), answer.header.frame_id.as_str()), ("service", "cam"));
        let stamp_ns = answer.header.stamp.ns();
        assert!(before_ns - 1_000_000_000 < stamp_ns, "the image is older than that");
        assert_eq!(answer.stamps, [answer.header.stamp]);
        assert_eq!(answer.valid_until.ns() - stamp_ns, 30_000_000_000);
        assert!(0.0 <= answer.answer_ms && answer.answer_ms <= answer.camera_to_answer_ms, "{answer:?}");

        let own = others.ask(&AskRequest { max_age: 7.0, max_tokens: 7, ..about("") });
        assert_eq!((own.answer.prompt.as_str(), own.finish_reason.as_str()), ("standing", "length"));
        assert_eq!(own.answer.valid_until.ns() - own.answer.header.stamp.ns(), 7_000_000_000);
        let chosen =
            others.ask(&AskRequest { choices: vec![" yes ".into(), "no".into()], ..about("Clear?") });
        assert_eq!(chosen.answer.text, "yes");
        for (request, why) in [
            (about("never"), "not that"),
            (about("fail"), "a logit is not a number"),
            (about(&"x".repeat(20_000)), "prompt: expected at most 16384 bytes, found 20000"),
            (about("a\0b"), "NUL"),
            (AskRequest { camera: "front".into(), ..about("") }, "there is no such camera"),
            (AskRequest { max_age: f64::NAN, ..about("") }, "max_age"),
            (AskRequest { choices: vec![String::new()], ..about("") }, "choices: a choice is empty"),
            (AskRequest { choices: vec!["x".into(); 300], ..about("") }, "choices: expected at most 256"),
        ] {
            let reply = others.ask(&request);
            assert!(reply.error.contains(why), "{why}: {}", reply.error);
            assert_eq!((reply.answer.text.as_str(), reply.finish_reason.as_str()), ("", ""), "{why}");
        }
        assert!(others.memory.call("/eye/ask", &[9, 0, 0, 0]).is_none(), "what cannot be read has no reply");
        assert!(others.ask(&about("And now?")).error.is_empty());
        assert_eq!(others.n_standing(), 0, "what one node asked is told to it alone");
    });
}

#[test]
fn nobody_takes_all_turns() {
    beside(&options("rate"), &["/image"], |others| {
        until("the standing answer", || 0 < others.n_standing());
        // Somebody who asks without end, and the standing question goes on.
        let asking = others.clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let asker = std::thread::spawn(move || {
            let mut n = 0;
            while !over.load(Relaxed) {
                let reply = asking.ask(&about(&format!("question {n}")));
                assert_eq!((reply.error.as_str(), reply.answer.text), ("", format!("question {n}")));
                n += 1;
            }
            n
        });
        others.n_standing();
        let mut n_standing = 0;
        until("standing answers beside", || {
            n_standing += others.n_standing();
            20 <= n_standing
        });
        is_over.store(true, Relaxed);
        let n_asked = asker.join().unwrap();
        assert!(0 < n_asked, "the standing question takes all turns");
    });
}

#[test]
fn one_camera_of_several_is_asked_about() {
    let mut options = options("topic");
    for name in ["front", "rear"] {
        options.cameras.named.push(format!("{name}=/{name}").parse::<NamedCamera>().unwrap());
    }
    beside(&options, &["/front", "/rear"], |others| {
        until("an image", || others.ask(&about("Is it there?")).error.is_empty());
        for camera in ["rear", "rear", "front", "rear"] {
            let reply = others.ask(&AskRequest { camera: camera.into(), ..about("Where?") });
            assert_eq!((reply.error.as_str(), &reply.answer.cameras[..]), ("", &[camera.to_owned()][..]));
        }
        let reply = others.ask(&AskRequest { camera: "left".into(), ..about("Where?") });
        assert!(reply.error.contains("there is front, rear"), "{}", reply.error);
    });
}

#[test]
fn a_camera_that_shows_nothing_is_named() {
    let options = NodeOptions { max_age: Duration::from_millis(200), ..options("rate") };
    beside(&options, &[], |others| {
        let reply = others.ask(&about("Where?"));
        assert_eq!(reply.error, "no image to ask about came on /image within 1 s");
        let (goal_id, accepted) = others.goal(about("Where?"));
        assert!(accepted);
        let (status, result) = others.result(goal_id);
        assert_eq!(
            (status, result.error.as_str()),
            (ABORTED, "no image to ask about came on /image within 1 s")
        );
    });
}

#[test]
fn a_goal_is_fed_back_piece_by_piece_and_ends_once() {
    beside(&options("topic"), &["/image"], |others| {
        until("an image", || others.ask(&about("Is it there?")).error.is_empty());
        others.gate.allow(Some(0));
        let text = "One cup, zwei Täßchen, 三つの杯 and a spoon.";
        let (goal_id, accepted) = others.goal(about(text));
        assert!(accepted);
        let goal = SendGoalRequest { goal_id, goal: about("again") };
        assert!(
            !others.call::<SendGoalReply>("ask/_action/send_goal", &goal).unwrap().accepted,
            "it is known"
        );
        let early = others.clone();
        let early = std::thread::spawn(move || early.result(goal_id));
        let mut pieces = Vec::new();
        for n in 1..=3 {
            others.gate.allow(Some(1));
            until("a piece", || {
                pieces.extend(others.feedback(goal_id));
                n <= pieces.len()
            });
            // The next one is not held back.
            std::thread::sleep(Duration::from_millis(60));
        }
        let during = others.clone();
        let during = std::thread::spawn(move || during.result(goal_id));
        others.gate.allow(None);
        let (status, result) = early.join().unwrap();
        assert_eq!((status, result.error.as_str(), result.answer.text.as_str()), (SUCCEEDED, "", text));
        assert_eq!((result.answer.asked_because.as_str(), result.finish_reason.as_str()), ("action", "stop"));
        assert_eq!(during.join().unwrap(), (status, result.clone()));
        assert_eq!(others.result(goal_id), (status, result), "afterwards, and again");
        pieces.extend(others.feedback(goal_id));
        assert_eq!(pieces.iter().map(|piece| piece.added.as_str()).collect::<String>(), text);
        let mut so_far = String::new();
        for piece in &pieces {
            so_far.push_str(&piece.added);
            assert_eq!(piece.text, so_far);
        }
        assert_eq!(others.states(goal_id), [1, 2, SUCCEEDED]);
        assert_eq!(others.cancel(goal_id).return_code, 3, "it has ended");
        let (status, result) = others.result([99; 16]);
        assert_eq!((status, result), (0, AskReply::default()), "nobody knows it");
        assert_eq!(others.cancel([99; 16]).return_code, 2);
    });
}

#[test]
fn a_goal_is_canceled_in_the_middle_and_the_next_one_is_right() {
    beside(&options("topic"), &["/image"], |others| {
        until("an image", || others.ask(&about("Is it there?")).error.is_empty());
        others.gate.allow(Some(2));
        let (first, _) = others.goal(about("one two three four"));
        let (waits, _) = others.goal(about("five six"));
        until("two pieces", || others.gate.let_say.lock().unwrap().is_some_and(|left| left == 0));
        until("that it is being answered", || others.states(first).contains(&EXECUTING));
        // Who waits for its turn ends at once.
        assert_eq!(others.cancel(waits).goals_canceling.len(), 1);
        let (status, result) = others.result(waits);
        assert_eq!((status, result.error.as_str(), result.answer.text.as_str()), (CANCELED, "canceled", ""));
        let reply = others.cancel(first);
        assert_eq!((reply.return_code, reply.goals_canceling[0].goal_id), (0, first));
        let (status, result) = others.result(first);
        assert_eq!((status, result.answer.text.as_str()), (CANCELED, "one two "));
        assert_eq!((result.finish_reason.as_str(), result.answer.is_cut), ("canceled", true));
        others.gate.allow(None);
        let (next, _) = others.goal(about("seven eight"));
        let (status, result) = others.result(next);
        assert_eq!((status, result.answer.text.as_str()), (SUCCEEDED, "seven eight"));
        assert_eq!(others.states(next).last(), Some(&SUCCEEDED));
    });
}

#[test]
fn a_flood_of_goals_is_bounded_and_each_that_is_accepted_has_its_result() {
    beside(&options("rate"), &["/image"], |others| {
        until("the standing answer", || 0 < others.n_standing());
        others.gate.allow(Some(0));
        let goals: Vec<(GoalId, bool)> = (0..100).map(|i| others.goal(about(&format!("goal {i}")))).collect();
        let accepted: Vec<usize> = (0..100).filter(|i| goals[*i].1).collect();
        // One is answered, one perhaps is next, four wait.
        assert!((4..=6).contains(&accepted.len()), "{accepted:?}");
        others.gate.allow(None);
        for i in &accepted {
            let (status, result) = others.result(goals[*i].0);
            assert_eq!((status, result.answer.text), (SUCCEEDED, format!("goal {i}")));
        }
        let rejected = goals.iter().find(|(_, accepted)| !accepted).unwrap().0;
        assert_eq!(others.result(rejected).0, 0);
        assert_eq!(others.result(others.goal(about("never")).0).1.error, "not that");
        for body in [&[][..], &[7; 15], &[0xff; 64]] {
            for service in ["send_goal", "cancel_goal", "get_result"] {
                // What may be read of it is a goal that nobody knows.
                others.memory.call(&format!("/eye/ask/_action/{service}"), body);
            }
        }
        let (last, _) = others.goal(about("and now"));
        assert_eq!(others.result(last).0, SUCCEEDED);
        // The standing question goes on beside.
        others.n_standing();
        until("a standing answer", || 0 < others.n_standing());
    });
}

#[test]
fn a_node_that_leaves_ends_its_goals() {
    let (stop, memory) = (AtomicBool::new(false), Memory::new(Arc::new(Clock::system())));
    let others = Others { memory, gate: Arc::default(), next: Arc::default() };
    let (first, waits) = std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            let mut speaker = Speaker(Arc::clone(&others.gate));
            run(&others.memory, &options("topic"), Engines::answering(&mut speaker), &stop, &mut |_| {})
                .unwrap()
        });
        until("an image", || {
            others.show_on("/image");
            others.call::<AskReply>("ask", &about("never")).is_some_and(|reply| reply.error == "not that")
        });
        others.gate.allow(Some(1));
        let (first, waits) = (others.goal(about("one two")).0, others.goal(about("three")).0);
        until("a piece", || {
            others.show_on("/image");
            *others.gate.let_say.lock().unwrap() == Some(0)
        });
        stop.store(true, Relaxed);
        node.join().unwrap();
        (first, waits)
    });
    let (status, result) = others.result(first);
    assert_eq!((status, result.error.as_str()), (ABORTED, "the node has stopped answering"));
    assert_eq!(result.answer.text, "one ");
    let (status, result) = others.result(waits);
    assert_eq!((status, result.error.as_str()), (ABORTED, "the node has stopped answering"));
    let (late, accepted) = others.goal(about("four"));
    assert!(accepted);
    let (status, result) = others.result(late);
    assert_eq!((status, result.error.as_str()), (ABORTED, "the node is not active"));
}

/// An engine that only forecasts.
struct Seer(ForecastShape);

impl Forecaster for Seer {
    fn shape(&self) -> &ForecastShape {
        &self.0
    }
    fn look(&mut self, _: &Look<'_>, _: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> {
        Outcome::Made(Forecast::default())
    }
}

#[test]
fn an_engine_that_only_forecasts_says_so() {
    let (stop, memory) = (AtomicBool::new(false), Memory::new(Arc::new(Clock::system())));
    let others = Others { memory, gate: Arc::default(), next: Arc::default() };
    std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            let shape = ForecastShape {
                n_given: 1,
                horizon: 1,
                rate_hz: 10.0,
                width: 2,
                height: 1,
                action_names: Vec::new(),
                action_limits: Vec::new(),
            };
            run(&others.memory, &options("rate"), Engines::forecasting(&mut Seer(shape)), &stop, &mut |_| {})
                .unwrap()
        });
        let mut error = String::new();
        until("the service", || {
            error =
                others.call::<AskReply>("ask", &about("Where?")).map(|reply| reply.error).unwrap_or_default();
            error.starts_with("no engine")
        });
        assert_eq!(error, "no engine of this node answers questions");
        stop.store(true, Relaxed);
        node.join().unwrap();
    });
}
