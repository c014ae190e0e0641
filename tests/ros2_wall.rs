//! The wall around DDS: everything passes it, and what kills the network's process harms nobody else.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use perihelion::frames::camera::{Camera, CameraOptions};
use perihelion::frames::clock::Clock;
use perihelion::frames::listener::ListenerOptions;
use perihelion::ros2::messages::{HeaderView, ImageView, Message, ShortString, Text, Time, decode, encode};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::transport::{
    Dds, DdsOptions, Delivery, ImageTransport, MessageSink, Publisher, Qos, TopicSeen, Transport, Walled,
    WalledOptions, free_domain,
};

const PATIENCE: Duration = Duration::from_secs(60);
const SIDE: u32 = 200;

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}

fn options(name: &str, domain_id: u16) -> DdsOptions {
    let node = NodeName::new("/test", name).unwrap();
    DdsOptions::local(node, domain_id)
}

/// A node behind a wall and one without.
fn pair(domain_id: u16) -> (Walled, Dds) {
    let peer = Dds::join(&options("peer", domain_id), Arc::new(Clock::system())).unwrap();
    let walled = WalledOptions {
        dds: options("walled", domain_id),
        program: env!("CARGO_BIN_EXE_perihelion").into(),
        image_bytes_max: 1 << 20,
        n_cameras: 1,
    };
    (Walled::join(walled, Arc::new(Clock::system())).unwrap(), peer)
}

fn camera(walled: &Walled) -> Arc<Camera> {
    let options = CameraOptions {
        name: "camera".into(),
        topic: "/image".into(),
        frame_bytes_max: 1 << 20,
        pixels_max: 1 << 20,
    };
    let listener = ListenerOptions {
        clip_frames: 1,
        clip_rate_hz: 1.0,
        follow_frames: 0,
        pictures: 1,
        max_age: Duration::from_secs(60),
    };
    let camera = Arc::new(Camera::new(options, walled.clock(), &[listener]));
    walled.subscribe_images(ImageTransport::Raw, Arc::clone(&camera)).unwrap();
    camera
}

fn image() -> Vec<u8> {
    let stamp = Time::from_ns(Clock::system().now().ros_ns);
    let header = HeaderView { stamp, frame_id: ShortString::new("cam").unwrap() };
    let data = vec![7; (3 * SIDE * SIDE) as usize];
    let encoding = ShortString::new("rgb8").unwrap();
    let step = 3 * SIDE;
    encode(&ImageView { header, height: SIDE, width: SIDE, encoding, is_bigendian: 0, step, data: &data })
}

fn texts(transport: &dyn Transport, topic: &str, delivery: Delivery) -> Receiver<String> {
    let (sender, heard) = mpsc::channel();
    let sender = Mutex::new(sender);
    let sink: MessageSink = Box::new(move |message| {
        let (body, order) = message.unwrap();
        sender.lock().unwrap().send(decode::<Text>(body, order).unwrap().data).unwrap();
    });
    transport.subscribe(topic, Text::TYPE, delivery, sink).unwrap();
    heard
}

fn say(publisher: &dyn Publisher, text: &str) {
    publisher.publish(encode(&Text { data: text.into() })).unwrap();
}

#[test]
fn two_publishers_of_one_topic_are_told_apart() {
    let (walled, peer) = pair(free_domain());
    let camera = camera(&walled);
    let advertise = || peer.advertise("/image", ImageView::TYPE, Delivery::BestEffort).unwrap();
    let publishers = [advertise(), advertise()];
    until("images of both", || {
        publishers.iter().for_each(|publisher| publisher.publish(image()).unwrap());
        camera.stream().mixed.publishers_hz.len() == 2
    });
}

#[test]
fn messages_and_images_pass_and_everything_comes_back_after_a_death() {
    let domain = free_domain();
    let (walled, peer) = pair(domain);
    let camera = camera(&walled);
    let heard_by_walled = texts(&walled, "/prompt", Delivery::Reliable);
    let heard_by_peer = texts(&peer, "/answer", Delivery::Latched { kept: 1 });
    let answers = walled.advertise("/answer", Text::TYPE, Delivery::Latched { kept: 1 }).unwrap();
    let told = Delivery::Told(Qos { is_reliable: true, is_latched: true, depth: 3 });
    let told_to_peer = texts(&peer, "/told", Delivery::Latched { kept: 1 });
    let of_users = walled.advertise("/told", Text::TYPE, told).unwrap();
    let prompts = peer.advertise("/prompt", Text::TYPE, Delivery::Reliable).unwrap();
    let images = peer.advertise("/image", ImageView::TYPE, Delivery::BestEffort).unwrap();
    let received = || camera.listeners()[0].accounts().received;
    say(&*answers, "before");
    say(&*of_users, "as told");
    until("a latched answer", || heard_by_peer.try_recv() == Ok("before".into()));
    until("one that users have latched", || told_to_peer.try_recv() == Ok("as told".into()));
    until("a prompt", || {
        say(&*prompts, "hello");
        heard_by_walled.recv_timeout(Duration::from_millis(50)).is_ok()
    });
    until("the first image", || {
        images.publish(image()).unwrap();
        0 < received()
    });
    until("the graph", || walled.graph().iter().any(|topic| topic.name == "/image" && topic.publishers == 1));

    let first = walled.guid();
    poison(&walled, &peer, domain);
    until("another process", || walled.guid() != first);
    let before = received();
    until("an image after the death", || {
        images.publish(image()).unwrap();
        before < received()
    });
    let accounts = camera.listeners()[0].accounts();
    assert!(accounts.balance(), "{accounts}");
    until("the answer that was latched", || heard_by_peer.try_recv() == Ok("before".into()));
    until("the one that users have latched", || told_to_peer.try_recv() == Ok("as told".into()));
    until("a prompt after the death", || {
        say(&*prompts, "again");
        heard_by_walled.try_iter().any(|text| text == "again")
    });
    say(&*answers, "after");
    until("an answer after the death", || heard_by_peer.try_recv() == Ok("after".into()));
    drop(walled);
    until("the node has left", || {
        !peer.graph().iter().any(|topic| topic.name == "/answer" && 0 < topic.publishers)
    });
}

/// One packet that makes RustDDS list 2⁶² numbers: a heartbeat of the peer's own announcer of publications.
fn poison(walled: &Walled, peer: &Dds, domain: u16) {
    let (to, from) = (walled.guid(), peer.guid());
    let mut packet = [b"RTPS\x02\x03\x01\x12", &from[..12]].concat();
    packet.extend_from_slice(&[0x0e, 1, 12, 0]);
    packet.extend_from_slice(&to[..12]);
    packet.extend_from_slice(&[0x07, 1, 28, 0, 0, 0, 3, 0xc7, 0, 0, 3, 0xc2]);
    packet.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for participant in 0..8 {
        // RTPS 2.5, 9.6.2.3.
        socket.send_to(&packet, ("127.0.0.1", 7400 + 250 * domain + 10 + 2 * participant)).unwrap();
    }
}

/// This test again, as another process that plays `role`; it ends however the test ends.
struct Player(Child);

impl Player {
    fn start(role: &str, domain: u16) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["who_is_killed_takes_its_network_along", "--exact", "--nocapture"]);
        command.env(ROLE, role).env(DOMAIN, domain.to_string()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ROLE: &str = "PERIHELION_TEST_ROLE";
const DOMAIN: &str = "PERIHELION_TEST_DOMAIN";
const N_TOPICS: usize = 30;

fn topic(i: usize) -> String {
    format!("/many/{i}")
}

/// The children of a process that have not ended.
fn children(process: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |number: &u32| {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{number}/status")) else { return false };
        status.lines().any(|line| line.split_whitespace().eq(["PPid:", &process.to_string()]))
    };
    numbers.filter(is_child).collect()
}

fn has_ended(process: u32) -> bool {
    // Who adopts it may leave it a zombie.
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    stat.map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])))
}

/// The engine's process is killed while readers that are frozen have confirmed nothing: the network's ends soon all the
/// same, and has said that it leaves.
#[test]
fn who_is_killed_takes_its_network_along() {
    if let (Ok(role), Ok(domain)) = (std::env::var(ROLE), std::env::var(DOMAIN)) {
        return play(&role, domain.parse().unwrap());
    }
    let domain = free_domain();
    let peer = Dds::join(&options("peer", domain), Arc::new(Clock::system())).unwrap();
    let (engine, frozen) = (Player::start("engine", domain), Player::start("reader", domain));
    let seen = |count: &dyn Fn(&TopicSeen) -> usize| {
        peer.graph().iter().filter(|topic| topic.name.starts_with("/many/")).map(count).sum::<usize>()
    };
    until("the publishers", || seen(&|topic| topic.publishers) == N_TOPICS);
    until("the readers", || seen(&|topic| topic.subscribers) == N_TOPICS);
    let network = children(engine.0.id());
    assert_eq!(network.len(), 1, "{network:?}");
    // Matched, and then silent.
    sleep(Duration::from_secs(1));
    frozen.signal("-STOP");
    sleep(Duration::from_millis(500));
    engine.signal("-KILL");
    let killed = Instant::now();
    until("the end of the network's process", || has_ended(network[0]));
    // Each publisher by itself would wait as long as all of them do together.
    assert!(killed.elapsed() < Duration::from_secs(10), "it took {:?}", killed.elapsed());
    until("its leave", || seen(&|topic| topic.publishers) == 0);
    // Nobody spoke for it, it would be there for the 50 seconds of its lease.
    assert!(killed.elapsed() < Duration::from_secs(10), "it was seen for {:?}", killed.elapsed());
}

fn play(role: &str, domain: u16) {
    if role == "engine" {
        let walled = WalledOptions {
            dds: options("engine", domain),
            program: env!("CARGO_BIN_EXE_perihelion").into(),
            image_bytes_max: 1 << 20,
            n_cameras: 1,
        };
        let walled = Walled::join(walled, Arc::new(Clock::system())).unwrap();
        let publishers: Vec<_> = (0..N_TOPICS)
            .map(|i| walled.advertise(&topic(i), Text::TYPE, Delivery::Reliable).unwrap())
            .collect();
        loop {
            for publisher in &publishers {
                // Who does not listen is what this is about.
                let _ = publisher.publish(encode(&Text { data: "still".into() }));
            }
            sleep(Duration::from_millis(100));
        }
    }
    let reader = Dds::join(&options("reader", domain), Arc::new(Clock::system())).unwrap();
    for i in 0..N_TOPICS {
        reader.subscribe(&topic(i), Text::TYPE, Delivery::Reliable, Box::new(|_| {})).unwrap();
    }
    loop {
        sleep(Duration::from_secs(1));
    }
}

#[test]
fn a_program_that_is_not_ours_is_an_error_and_no_wait() {
    let walled = WalledOptions {
        dds: options("walled", free_domain()),
        program: "/bin/true".into(),
        image_bytes_max: 1 << 20,
        n_cameras: 1,
    };
    let Err(error) = Walled::join(walled, Arc::new(Clock::system())) else { panic!("joined by /bin/true") };
    assert!(error.to_string().starts_with("DDS: cannot "), "{error}");
}
