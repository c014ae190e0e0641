//! A managed node: who asks it to change, what it does then, and what it does not do in between.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use perihelion::frames::clock::Clock;
use perihelion::ros2::lifecycle::{self, Crew};
use perihelion::ros2::messages::{
    AskReply, AskRequest, ByteOrder, ChangeReply, ChangeRequest, EmptyRequest, ImageView, ImagineReply,
    ImagineRequest, Labelled, Message, NamesRequest, ParameterValue, SetReply, SetRequest, StateReply,
    StatesReply, Text, TransitionEvent, TransitionsReply, ValuesReply, WireParameter, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{Answer, Answerer, Checker, Engines, NodeOptions, Outcome, Question};
use perihelion::ros2::parameters::Parameters;
use perihelion::ros2::transport::{Dds, DdsOptions, Delivery, Memory, MessageSink, Transport, free_domain};
use perihelion::runtime::reason::AnswerSettings;

#[path = "support/script.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod script;

const PATIENCE: Duration = Duration::from_secs(60);
const PIXELS: [u8; 6] = [1, 2, 3, 4, 5, 6];

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a test knows of the engine and says to it.
#[derive(Default)]
struct Workshop {
    /// Why the next configurations fail, in order.
    faults: Mutex<Vec<&'static str>>,
    /// Held by the engine while it is there.
    memory: Arc<()>,
    /// Whether a question waits for its stop.
    is_slow: AtomicBool,
    is_asked: AtomicBool,
}

/// An engine that says what it was asked.
struct Echo(Arc<Workshop>, #[expect(dead_code, reason = "held")] Arc<()>);

impl Answerer for Echo {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        self.0.is_asked.store(true, Relaxed);
        if self.0.is_slow.load(Relaxed) {
            while !question.stop.load(Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            return Outcome::Stopped;
        }
        Outcome::Made(Answer { text: question.prompt.to_owned(), ..Answer::default() })
    }

    fn checker(&self) -> Option<Checker> {
        Some(Box::new(|prompt, _| match prompt {
            "never" => Err("not that".to_owned()),
            _ => Ok(()),
        }))
    }
}

struct Hands {
    workshop: Arc<Workshop>,
    /// Lets `configure` go on, where it is to wait.
    gate: Option<Receiver<()>>,
    engine: Option<Echo>,
}

impl Crew for Hands {
    fn configure(&mut self, now: &Parameters) -> Result<NodeOptions, String> {
        if let Some(gate) = &self.gate {
            gate.recv().unwrap();
        }
        if let Some(fault) = self.workshop.faults.lock().unwrap().pop() {
            return Err(fault.to_owned());
        }
        self.engine = Some(Echo(Arc::clone(&self.workshop), Arc::clone(&self.workshop.memory)));
        let mut options = NodeOptions { answers: Some(AnswerSettings::default()), ..options() };
        options.take_over(now);
        Ok(options)
    }

    fn engines(&mut self) -> Engines<'_> {
        Engines::answering(self.engine.as_mut().unwrap())
    }

    fn checker(&self) -> Option<Checker> {
        self.engine.as_ref().and_then(Answerer::checker)
    }

    fn cleanup(&mut self) {
        self.engine = None;
    }
}

fn options() -> NodeOptions {
    let name = NodeName::new("/", "eye").unwrap();
    NodeOptions { prompt: "What?".into(), max_image_bytes: 1000, max_pixels: 100, ..NodeOptions::new(name) }
}

/// A managed node among others, and what a manager does with it.
struct Manager {
    memory: Memory,
    workshop: Arc<Workshop>,
}

impl Manager {
    fn call<Reply: for<'a> serde::Deserialize<'a>>(
        &self,
        service: &str,
        request: &impl serde::Serialize,
    ) -> Reply {
        let (mut reply, body) = (None, encode(request));
        // It is offered a moment after the node has started.
        until(service, || {
            reply = self.memory.call(&format!("/eye/{service}"), &body);
            reply.is_some()
        });
        decode(&reply.unwrap(), ByteOrder::Little).unwrap()
    }

    fn change(&self, label: &str) -> bool {
        let transition = Labelled { id: 0, label: label.to_owned() };
        self.call::<ChangeReply>("change_state", &ChangeRequest { transition }).success
    }

    fn state(&self) -> String {
        self.call::<StateReply>("get_state", &EmptyRequest::default()).current_state.label
    }

    fn show(&self) {
        let now_ns = self.memory.clock().now().ros_ns;
        let body = script::image_body(now_ns, 2, &PIXELS);
        self.memory.inject("/image", ImageView::TYPE, &body, ByteOrder::Little);
    }

    fn answers(&self) -> Vec<String> {
        let text = |body: Vec<u8>| decode::<Text>(&body, ByteOrder::Little).unwrap().data;
        self.memory.published("/eye/answer").into_iter().map(text).collect()
    }

    /// Shows images until one is answered.
    fn answer(&self) -> String {
        let mut answers = Vec::new();
        until("an answer", || {
            self.show();
            answers = self.answers();
            !answers.is_empty()
        });
        answers.pop().unwrap()
    }

    /// Whether images are answered that nobody is to hear.
    fn is_answering(&self) -> bool {
        (0..20).any(|_| {
            self.show();
            std::thread::sleep(Duration::from_millis(2));
            !self.answers().is_empty()
        })
    }

    fn set(&self, name: &str, value: &str) -> String {
        let value = ParameterValue { kind: 4, string_value: value.to_owned(), ..ParameterValue::default() };
        let parameters = vec![WireParameter { name: name.to_owned(), value }];
        let reply: SetReply = self.call("set_parameters", &SetRequest { parameters });
        reply.results.into_iter().map(|result| result.reason).collect()
    }

    fn prompt(&self) -> String {
        let request = NamesRequest { names: vec!["prompt".to_owned()] };
        self.call::<ValuesReply>("get_parameters", &request).values.remove(0).string_value
    }

    /// Where the node went, by the events since the last call.
    fn went(&self) -> Vec<(u8, String, String)> {
        let event = |body: Vec<u8>| decode::<TransitionEvent>(&body, ByteOrder::Little).unwrap().happened;
        let bodies = self.memory.published("/eye/transition_event");
        let events = bodies.into_iter().map(event);
        events.map(|one| (one.transition.id, one.start_state.label, one.goal_state.label)).collect()
    }

    /// How often the engine is in memory.
    fn n_engines(&self) -> usize {
        Arc::strong_count(&self.workshop.memory) - 1
    }
}

/// Lets `manage` act on a node until it is shut down, or leaves it.
fn managed(gate: Option<Receiver<()>>, manage: impl FnOnce(&Manager)) {
    let manager = Manager { memory: Memory::new(Arc::new(Clock::system())), workshop: Arc::default() };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            let mut hands = Hands { workshop: Arc::clone(&manager.workshop), gate, engine: None };
            lifecycle::run(&manager.memory, &options(), &mut hands, &stop, &mut |_| {}).unwrap();
        });
        let managing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| manage(&manager)));
        stop.store(true, Relaxed);
        node.join().unwrap();
        managing.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(!manager.change("configure"), "nobody makes changes any more, and whoever asks is told");
    assert_eq!(manager.n_engines(), 0, "the node has ended, and its engine stays");
}

#[test]
fn a_node_that_stops_answering_by_itself_says_so() {
    // Its transport has no more as soon as it is active.
    let script = script::Script::new(Clock::system(), Vec::new());
    let manager = Manager { memory: script.memory.clone(), workshop: Arc::default() };
    std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            let mut hands = Hands { workshop: Arc::clone(&manager.workshop), gate: None, engine: None };
            lifecycle::run(&script, &options(), &mut hands, &AtomicBool::new(false), &mut |_| {})
        });
        assert!(manager.change("configure") && manager.change("activate"));
        let error = node.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("ended by itself"), "{error}");
    });
    assert_eq!(manager.n_engines(), 0, "the node has ended, and its engine stays");
}

#[test]
fn engines_come_and_go_as_others_say_and_are_asked_only_between() {
    managed(None, |manager| {
        assert_eq!((manager.state().as_str(), manager.n_engines()), ("unconfigured", 0));
        assert!(!manager.change("activate") && !manager.change("deactivate") && !manager.change("nonsense"));
        for turn in 0..5 {
            assert!(manager.change("configure"), "turn {turn}");
            assert_eq!((manager.state().as_str(), manager.n_engines()), ("inactive", 1));
            assert!(!manager.is_answering(), "nobody activated it");
            for _ in 0..2 {
                assert!(manager.change("activate"));
                assert_eq!(manager.state(), "active");
                assert_eq!(manager.answer(), "What?");
                assert!(!manager.change("configure") && !manager.change("cleanup"));
                assert!(manager.change("deactivate"));
                // Of images that came before.
                manager.answers();
                assert!(!manager.is_answering(), "it was deactivated");
            }
            assert!(manager.change("cleanup"));
            assert_eq!((manager.state().as_str(), manager.n_engines()), ("unconfigured", 0));
        }
        assert!(manager.change("configure") && manager.change("activate"));
        manager.answer();
        assert!(manager.change("shutdown"));
    });
}

#[test]
fn a_change_is_told_from_its_beginning_to_its_end() {
    managed(None, |manager| {
        manager.workshop.faults.lock().unwrap().push("no such engine");
        assert!(!manager.change("configure"), "the engine does not load");
        let way = |id, from: &str, to: &str| (id, from.to_owned(), to.to_owned());
        let fails = [way(1, "unconfigured", "configuring"), way(11, "configuring", "unconfigured")];
        assert_eq!(manager.went(), fails);
        assert!(!manager.change("cleanup"));
        assert_eq!(manager.went(), [], "what is refused does not happen");
        assert!(manager.change("configure") && manager.change("activate") && manager.change("shutdown"));
        let well = [
            way(1, "unconfigured", "configuring"),
            way(10, "configuring", "inactive"),
            way(3, "inactive", "activating"),
            way(30, "activating", "active"),
            way(7, "active", "shuttingdown"),
            way(50, "shuttingdown", "finalized"),
        ];
        assert_eq!(manager.went(), well);
    });
}

#[test]
fn what_can_be_done_from_here_is_told() {
    managed(None, |manager| {
        let ask = |service| manager.call::<TransitionsReply>(service, &EmptyRequest::default());
        let labels = || {
            let exits = ask("get_available_transitions").available_transitions;
            exits.into_iter().map(|exit| (exit.transition.id, exit.transition.label)).collect::<Vec<_>>()
        };
        let named = |id, label: &str| (id, label.to_owned());
        assert_eq!(labels(), [named(1, "configure"), named(5, "shutdown")]);
        assert!(manager.change("configure"));
        assert_eq!(labels(), [named(2, "cleanup"), named(3, "activate"), named(6, "shutdown")]);
        assert_eq!(ask("get_transition_graph").available_transitions.len(), 25);
        let states = manager.call::<StatesReply>("get_available_states", &EmptyRequest::default());
        assert_eq!(states.available_states.len(), 11);
    });
}

#[test]
fn a_slow_engine_holds_nobody_up() {
    let (gate, waits): (Sender<()>, _) = channel();
    managed(Some(waits), |manager| {
        std::thread::scope(|scope| {
            let configured = scope.spawn(|| manager.change("configure"));
            until("the engine's opening", || manager.state() == "configuring");
            assert_eq!(manager.set("prompt", "Clear?"), "", "parameters are there meanwhile");
            assert!(!manager.change("shutdown") && !manager.change("configure"));
            assert!(!configured.is_finished());
            gate.send(()).unwrap();
            assert!(configured.join().unwrap());
        });
        assert_eq!(manager.state(), "inactive");
    });
}

#[test]
fn a_question_that_is_being_answered_is_stopped() {
    managed(None, |manager| {
        assert!(manager.change("configure"));
        manager.workshop.is_slow.store(true, Relaxed);
        assert!(manager.change("activate"));
        until("a question", || {
            manager.show();
            manager.workshop.is_asked.load(Relaxed)
        });
        assert!(manager.change("deactivate"), "the engine was stopped");
        assert_eq!(manager.answers(), Vec::<String>::new());
        manager.workshop.is_slow.store(false, Relaxed);
        assert!(manager.change("activate"));
        assert_eq!(manager.answer(), "What?");
    });
}

/// Sets a flag when it goes, also where a check has failed.
struct Set<'a>(&'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn questions_of_others_are_answered_while_it_is_active_and_told_why_not_in_between() {
    managed(None, |manager| {
        let ask = |prompt: &str| {
            let reply: AskReply =
                manager.call("ask", &AskRequest { prompt: prompt.to_owned(), ..AskRequest::default() });
            (reply.error, reply.answer.text)
        };
        let imagine = || manager.call::<ImagineReply>("imagine", &ImagineRequest::default()).error;
        let away = ("the node is not active".to_owned(), String::new());
        assert_eq!((ask("Where?"), imagine()), (away.clone(), away.0.clone()));
        assert!(manager.change("configure"));
        for _ in 0..2 {
            assert_eq!((ask("Where?"), imagine()), (away.clone(), away.0.clone()));
            assert!(manager.change("activate"));
            assert_eq!(imagine(), "no engine of this node forecasts");
            // Of the camera, until somebody has been answered.
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let _over = Set(&is_over);
                scope.spawn(|| {
                    while !is_over.load(Relaxed) {
                        manager.show();
                        std::thread::sleep(Duration::from_millis(5));
                    }
                });
                assert_eq!(ask("Where?"), (String::new(), "Where?".to_owned()));
                assert_eq!(ask("never").0, "not that");
                // The standing question may be the one that is answered then.
                manager.workshop.is_asked.store(false, Relaxed);
                manager.workshop.is_slow.store(true, Relaxed);
                let asking = scope.spawn(|| ask("For how long?").0);
                until("a question that is being answered", || manager.workshop.is_asked.load(Relaxed));
                assert!(manager.change("deactivate"));
                manager.workshop.is_slow.store(false, Relaxed);
                let told = asking.join().unwrap();
                assert!(
                    ["the node has stopped answering", "the node is not active"].contains(&told.as_str()),
                    "{told}"
                );
            });
        }
        assert_eq!(ask("Where?"), away);
    });
}

#[test]
fn parameters_are_there_in_every_state_and_stay() {
    managed(None, |manager| {
        assert_eq!(manager.set("prompt", "Clear?"), "");
        assert!(manager.set("clip", "3").contains("clip"), "a number is no text");
        assert!(manager.set("greedy", "no").contains("not declared"), "of an engine that is not there");
        assert!(manager.change("configure"));
        assert!(manager.set("greedy", "no").contains("greedy"), "declared, and no text");
        assert_eq!(manager.set("prompt", "never"), "not that", "the engine has its say before it is asked");
        assert!(manager.change("activate"));
        assert_eq!(manager.answer(), "Clear?");
        assert_eq!(manager.set("prompt", "never"), "not that");
        assert_eq!(manager.set("prompt", "Where?"), "");
        until("the next question", || manager.answer() == "Where?");
        assert!(manager.change("deactivate"));
        assert_eq!(
            (manager.prompt().as_str(), manager.set("prompt", "never").as_str()),
            ("Where?", "not that")
        );
        assert!(manager.change("cleanup"));
        assert_eq!(manager.prompt(), "Where?");
        // Of images that came before.
        manager.answers();
        assert_eq!(manager.set("prompt", "never"), "", "nobody is there who minds");
        assert!(!manager.change("configure"), "the engine minds");
        assert_eq!((manager.state().as_str(), manager.n_engines()), ("unconfigured", 0));
        assert_eq!(manager.set("prompt", "There?"), "");
        assert!(manager.change("configure") && manager.change("activate"));
        assert_eq!(manager.answer(), "There?");
        let nothing = encode(&Text { data: String::new() });
        manager.memory.inject("/eye/prompt", Text::TYPE, &nothing, ByteOrder::Little);
        until("the first question", || manager.answer() == "What?");
    });
}

/// A process that is gone however the test ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have left already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn perihelion(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    for variable in ["ROS_DISTRO", "ROS_LOCALHOST_ONLY", "RMW_IMPLEMENTATION"] {
        command.env_remove(variable);
    }
    command.args(arguments);
    command
}

#[test]
fn the_command_is_managed_over_dds_and_ends_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (model, built, engine) = (path("a.model"), path("built.engine"), path("a.engine"));
    let checkpoint = Path::new("engines/small-reason").to_str().unwrap();
    assert!(perihelion(&["export", checkpoint, "-o", &model]).output().unwrap().status.success());
    let build = ["build", &model, "-o", &built, "--backend", "cpu", "--precision", "f32"];
    assert!(perihelion(&build).output().unwrap().status.success());

    let domain_id = free_domain();
    let log = path("log");
    let ros = ["--ros-args", "-r", "__ns:=/robot", "-r", "__node:=eye", "-p", "greedy:=true"];
    let mut command = perihelion(&[&["run", &engine, "--lifecycle", "--max-age", "30"], &ros[..]].concat());
    command.env("ROS_DOMAIN_ID", domain_id.to_string()).env("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST");
    command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let mut node = Process(command.spawn().unwrap());

    let name = NodeName::new("/test", "camera").unwrap();
    let beside = Dds::join(&DdsOptions::local(name, domain_id), Arc::new(Clock::system())).unwrap();
    let camera = beside.advertise("/robot/image", ImageView::TYPE, Delivery::BestEffort).unwrap();
    let n_heard = Arc::new(Mutex::new(0));
    let ears = Arc::clone(&n_heard);
    let sink: MessageSink = Box::new(move |_| *ears.lock().unwrap() += 1);
    beside.subscribe("/robot/eye/answer", Text::TYPE, Delivery::Reliable, sink).unwrap();
    let mut peer = peer::Peer::join(domain_id);
    let (change, get) = (peer.client("change_state", "ChangeState"), peer.client("get_state", "GetState"));
    // Before client and service have met, a request is nobody's: it is made again soon.
    let (soon, surely) = (Duration::from_millis(500), Duration::from_secs(20));
    let state = |patience| {
        peer::ask::<_, StateReply>(&get, &peer::Asked(EmptyRequest::default()), patience)
            .map(|reply| reply.current_state.label)
    };
    let mut first = None;
    until("the node", || {
        first = state(soon);
        first.is_some()
    });
    assert_eq!(first.as_deref(), Some("unconfigured"));
    let changed = |id| {
        let transition = Labelled { id, label: String::new() };
        let reply = peer::ask::<_, ChangeReply>(&change, &peer::Asked(ChangeRequest { transition }), surely);
        reply.unwrap_or_else(|| panic!("no reply to {id}: {}", fs::read_to_string(&log).unwrap())).success
    };
    until("a reply", || {
        let transition = Labelled { id: 99, label: String::new() };
        peer::ask::<_, ChangeReply>(&change, &peer::Asked(ChangeRequest { transition }), soon).is_some()
    });
    assert!(!changed(1), "the engine is not there");
    let told = fs::read_to_string(&log).unwrap();
    assert!(told.contains("a.engine: No such file"), "the log names the file: {told}");
    assert_eq!(told.matches("os error 2").count(), 1, "and says once what is wrong with it: {told}");
    fs::rename(&built, &engine).unwrap();
    assert!(changed(1) && !changed(1));
    let show = || {
        camera.publish(script::image_body(Clock::system().now().ros_ns, 64, &[90; 64 * 64 * 3])).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        *n_heard.lock().unwrap()
    };
    for _ in 0..3 {
        assert!(changed(3));
        let before = *n_heard.lock().unwrap();
        until("an answer", || before + 2 <= show());
        assert!(changed(4));
        // What was on its way.
        std::thread::sleep(Duration::from_millis(300));
        let before = *n_heard.lock().unwrap();
        assert!((0..20).all(|_| show() == before), "answers of an inactive node");
        assert_eq!(state(surely).as_deref(), Some("inactive"));
    }
    assert!(changed(2) && changed(1) && changed(3) && changed(7), "it is shut down while it is active");
    let status = node.0.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{}", fs::read_to_string(&log).unwrap());
}

/// `ros2-client` as a manager.
mod peer {
    use std::time::{Duration, Instant};

    use ros2_client::qos::WhenFull;
    use ros2_client::{
        Client, Context, Message, Name, Node, NodeName, NodeOptions, QosProfile, ServiceMapping,
        ServiceTypeName,
    };
    use rustdds::DomainParticipantBuilder;
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};

    /// One of ours.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(transparent)]
    pub(crate) struct Asked<T>(pub(crate) T);
    impl<T: Serialize + DeserializeOwned> Message for Asked<T> {}

    pub(crate) struct Peer(Node, #[expect(dead_code, reason = "held")] Context);

    impl Peer {
        pub(crate) fn join(domain_id: u16) -> Self {
            let participant = DomainParticipantBuilder::new(domain_id)
                .with_only_networks([std::net::Ipv4Addr::LOCALHOST])
                .build()
                .unwrap();
            let context = Context::from_domain_participant(participant).unwrap();
            let options = NodeOptions::new().enable_rosout(false).start_parameter_services(false);
            Self(context.new_node(NodeName::new("/peer", "manager").unwrap(), options).unwrap(), context)
        }

        pub(crate) fn client<Request, Reply>(
            &mut self,
            service: &str,
            kind: &str,
        ) -> Client<Asked<Request>, Asked<Reply>>
        where
            Request: Clone + Serialize + DeserializeOwned + 'static,
            Reply: Clone + Serialize + DeserializeOwned + 'static,
        {
            let name = Name::new("/robot/eye", service).unwrap();
            let kind = ServiceTypeName::new("lifecycle_msgs", kind);
            let qos = QosProfile::publisher_default().reliability_reliable(WhenFull::DEFAULT);
            self.0.create_client(ServiceMapping::Enhanced, &name, &kind, qos.clone(), qos).unwrap()
        }
    }

    /// The reply, if one comes in time; a request before the endpoints have matched is nobody's.
    pub(crate) fn ask<Request, Reply>(
        client: &Client<Asked<Request>, Asked<Reply>>,
        request: &Asked<Request>,
        patience: Duration,
    ) -> Option<Reply>
    where
        Request: Clone + Serialize + DeserializeOwned + 'static,
        Reply: Clone + Serialize + DeserializeOwned + 'static,
    {
        let asked = client.send_request(request.clone()).ok()?;
        let until = Instant::now() + patience;
        while Instant::now() < until {
            match client.receive_response() {
                Ok(Some((number, reply))) if number == asked => return Some(reply.0),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        None
    }
}
