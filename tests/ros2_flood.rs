//! Millions of damaged packets of every kind of submessage at a node whose camera runs: it lives, its memory is bounded,
//! and it answers again.
//!
//! Packets are written here as RTPS 2.5 (chapter 9.4) has them, in the names of participants that the node knows, with
//! numbers that lie, and are then damaged. `PERIHELION_FLOOD_PACKETS` says how many.
//!
//! Why ignored: ten million take minutes. The gate sends fewer, of a real ROS 2's conversation.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use perihelion::frames::clock::Clock;
use perihelion::ros2::messages::{HeaderView, ImageView, Message, ShortString, Text, Time, encode};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::transport::{
    DdsOptions, Delivery, MessageSink, Transport, Walled, WalledOptions, free_domain,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use rustdds::{DomainParticipant, DomainParticipantBuilder};
use rustix::process::{Resource, Rlimit, setrlimit};

const BINARY: &str = env!("CARGO_BIN_EXE_perihelion");
const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
/// What the engine's process may add to what it has at rest.
const ENGINE_GROWTH_BYTES_MAX: u64 = 256 << 20;
const PREFIX_BYTES: usize = 12;
/// What this test and what it starts may claim, each for itself.
const TEST_BYTES_MAX: u64 = 2 << 30;

/// A node that ends however the test ends.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // It may have left already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}

fn succeed(arguments: &[&str]) {
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn status(process: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// What a process holds for itself.
fn memory_bytes(process: u32) -> u64 {
    status(process, "RssAnon").unwrap_or(0) * 1024
}

/// The network's process of this node, while there is one.
fn network_of(node: u32) -> Option<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let mut processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.find(|process| status(*process, "PPid") == Some(u64::from(node)))
}

/// The UDP ports at which a process is the only one to listen: those of multicast are everybody's.
fn ports_of(process: u32, domain: u16) -> Vec<u16> {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let sockets: HashSet<String> = links.map(|link| link.display().to_string()).collect();
    let listed = fs::read_to_string("/proc/net/udp").unwrap();
    let rows = listed.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| sockets.contains(&format!("socket:[{}]", row[9])))
        .map(|row| u16::from_str_radix(row[1].split_once(':').unwrap().1, 16).unwrap())
        .filter(|port| (7410 + 250 * domain..7650 + 250 * domain).contains(port))
        .collect()
}

fn image(stamp_ns: i64, data: &[u8]) -> Vec<u8> {
    let header = HeaderView { stamp: Time::from_ns(stamp_ns), frame_id: ShortString::new("cam").unwrap() };
    let (encoding, step) = (ShortString::new("rgb8").unwrap(), 3 * WIDTH);
    encode(&ImageView { header, height: HEIGHT, width: WIDTH, encoding, is_bigendian: 0, step, data })
}

/// Kinds of submessages (RTPS 2.5, table 9.13), and two that nobody has given a meaning.
const KINDS: [(u8, &str); 15] = [
    (0x01, "PAD"),
    (0x06, "ACKNACK"),
    (0x07, "HEARTBEAT"),
    (0x08, "GAP"),
    (0x09, "INFO_TS"),
    (0x0c, "INFO_SRC"),
    (0x0d, "INFO_REPLY_IP4"),
    (0x0e, "INFO_DST"),
    (0x0f, "INFO_REPLY"),
    (0x12, "NACK_FRAG"),
    (0x13, "HEARTBEAT_FRAG"),
    (0x15, "DATA"),
    (0x16, "DATA_FRAG"),
    (0x33, "unknown 0x33"),
    (0x80, "vendor's 0x80"),
];

/// Who there is to speak for and to.
struct Cast {
    /// The node's participant.
    node: [u8; PREFIX_BYTES],
    /// The node's own readers and writers.
    node_entities: Vec<[u8; 4]>,
    /// Those it may hear: participants, and the readers and writers of all of them.
    strangers: Vec<[u8; PREFIX_BYTES]>,
    stranger_entities: Vec<[u8; 4]>,
}

/// The entities of discovery (RTPS 2.5, table 9.2): of participants, publications, subscriptions, and liveliness.
const BUILT_IN: [[u8; 4]; 10] = [
    [0, 1, 0, 0xc2],
    [0, 1, 0, 0xc7],
    [0, 0, 3, 0xc2],
    [0, 0, 3, 0xc7],
    [0, 0, 4, 0xc2],
    [0, 0, 4, 0xc7],
    [0, 2, 0, 0xc2],
    [0, 2, 0, 0xc7],
    [0, 0, 0, 0],
    [0, 0, 1, 0xc1],
];

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0.next_u32() as usize % n
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A sequence number: its high word, then its low word.
    fn sequence(&mut self) -> Vec<u8> {
        let any = i64::from(self.0.next_u32() % 4096);
        let number = self.one(&[0, 1, 2, any, any, any, 1 << 31, 1 << 32, 1 << 62, -1, i64::MIN, i64::MAX]);
        let high = ((number >> 32) as i32).to_le_bytes();
        [high, (number as u32).to_le_bytes()].concat()
    }

    fn number(&mut self) -> [u8; 4] {
        let any = self.0.next_u32();
        let small = any % 64;
        self.one(&[0, 1, small, small, 255, 256, 257, 65_535, 1 << 20, 1 << 31, u32::MAX, any]).to_le_bytes()
    }

    /// A set of numbers: how many bits, and some words of them.
    fn set(&mut self) -> Vec<u8> {
        let n_words = self.below(10);
        [self.number().to_vec(), self.bytes(4 * n_words)].concat()
    }

    fn entities(&mut self, cast: &Cast) -> Vec<u8> {
        let all = [&cast.node_entities[..], &cast.stranger_entities, &BUILT_IN].concat();
        [self.one(&all), self.one(&all)].concat()
    }

    /// One submessage of this kind.
    fn submessage(&mut self, kind: u8, cast: &Cast) -> Vec<u8> {
        let any = self.0.next_u32() as u8 & 0xfe;
        let flags = 1 | self.one(&[0, 2, 4, 4, 8, any]);
        let n_payload = self.one(&[0, 4, 24, 200, 900]);
        let body = match kind {
            0x01 => self.bytes(n_payload),
            0x06 => [self.entities(cast), self.sequence(), self.set(), self.number().to_vec()].concat(),
            0x07 => [self.entities(cast), self.sequence(), self.sequence(), self.number().to_vec()].concat(),
            0x08 => [self.entities(cast), self.sequence(), self.sequence(), self.set()].concat(),
            0x09 => self.bytes(8),
            0x0c => [vec![0; 4], vec![2, 3, 1, 15], self.one(&cast.strangers).to_vec()].concat(),
            0x0e => cast.node.to_vec(),
            0x0d | 0x0f => [self.number().to_vec(), self.bytes(24), self.bytes(n_payload)].concat(),
            0x12 => [
                self.entities(cast),
                self.sequence(),
                self.number().to_vec(),
                self.set(),
                self.number().to_vec(),
            ]
            .concat(),
            0x13 => [self.entities(cast), self.sequence(), self.number().to_vec(), self.number().to_vec()]
                .concat(),
            0x15 => [
                vec![0, 0, 16, 0],
                self.entities(cast),
                self.sequence(),
                // How the payload is encoded: parameters, or plain.
                self.one(&[[0, 3, 0, 0], [0, 1, 0, 0], [0xff; 4]]).to_vec(),
                self.bytes(n_payload),
            ]
            .concat(),
            0x16 => [
                vec![0, 0, 28, 0],
                self.entities(cast),
                self.sequence(),
                self.number().to_vec(),
                [1u16, 1, 2, 0, 65_535][self.below(5)].to_le_bytes().to_vec(),
                [1024u16, 65_000, 1, 0][self.below(4)].to_le_bytes().to_vec(),
                self.number().to_vec(),
                self.bytes(n_payload),
            ]
            .concat(),
            _ => self.bytes(n_payload),
        };
        let mut whole = vec![kind, flags];
        whole.extend_from_slice(&(body.len() as u16).to_le_bytes());
        whole.extend_from_slice(&body);
        whole
    }

    /// A packet from somebody that the node may know, whose last submessage but for damage is of `kind`.
    fn packet(&mut self, kind: u8, cast: &Cast) -> Vec<u8> {
        let source = self.one(&cast.strangers);
        let mut packet = [&b"RTPS\x02\x03\x01\x0f"[..], &source].concat();
        if self.below(2) == 0 {
            packet.extend(self.submessage(0x0e, cast));
        }
        if self.below(4) == 0 {
            let other = self.one(&KINDS).0;
            packet.extend(self.submessage(other, cast));
        }
        packet.extend(self.submessage(kind, cast));
        self.damage(&mut packet);
        packet
    }

    /// Bits turned, numbers made huge, tails cut, bytes put in; one in four is left as it is.
    fn damage(&mut self, packet: &mut Vec<u8>) {
        for _ in 0..self.one(&[0, 1, 1, 4]) {
            let at = 20 + self.below(packet.len().saturating_sub(20).max(1));
            match self.below(5) {
                _ if packet.len() <= at => return,
                0 => packet[at] ^= 1 << self.below(8),
                1 => packet[at] = self.one(&[0xff, 0x7f, 0x80, 0, 1]),
                2 => packet.truncate(at),
                3 => {
                    let n = self.one(&[1, 4, 16]);
                    let bytes = self.bytes(n);
                    packet.splice(at..at, bytes);
                }
                _ => {
                    let (at, number) = (at - at % 4, self.number());
                    packet.splice(at..(at + 4).min(packet.len()), number);
                }
            }
        }
    }
}

/// What strangers learn of the graph, as everybody does; nothing while the node is not in it.
fn cast(stranger: &DomainParticipant, peer: &Walled) -> Option<Cast> {
    let readers = stranger.discovered_readers();
    let writers = stranger.discovered_writers();
    let guids = readers.iter().map(|reader| reader.reader_proxy.remote_reader_guid);
    let guids = guids.chain(writers.iter().map(|writer| writer.writer_proxy.remote_writer_guid));
    let all: Vec<[u8; 16]> = guids.map(|guid| guid.to_bytes()).collect();
    let prefix = |guid: &[u8; 16]| -> [u8; PREFIX_BYTES] { guid[..PREFIX_BYTES].try_into().unwrap() };
    let entity = |guid: &[u8; 16]| -> [u8; 4] { guid[PREFIX_BYTES..].try_into().unwrap() };
    let peers = prefix(&peer.guid());
    let (of_peer, of_node): (Vec<_>, Vec<_>) = all.iter().partition(|guid| prefix(guid) == peers);
    Some(Cast {
        node: prefix(of_node.first()?),
        node_entities: of_node.iter().map(&entity).collect(),
        strangers: vec![peers, peers, [7; PREFIX_BYTES], [0; PREFIX_BYTES]],
        stranger_entities: of_peer.iter().map(entity).collect(),
    })
}

/// What the test sees of the node while it goes on.
#[derive(Default)]
struct Watched {
    engine_bytes: u64,
    network_bytes: u64,
    network_data_bytes: u64,
}

impl Watched {
    fn look(&mut self, node: u32) {
        self.engine_bytes = self.engine_bytes.max(memory_bytes(node));
        if let Some(network) = network_of(node) {
            self.network_bytes = self.network_bytes.max(memory_bytes(network));
            self.network_data_bytes =
                self.network_data_bytes.max(status(network, "VmData").unwrap_or(0) * 1024);
        }
    }
}

#[test]
#[ignore = "ten million packets take minutes: PERIHELION_FLOOD_PACKETS=10000000 cargo test --test ros2_flood -- --ignored"]
fn a_node_lives_through_damaged_packets_of_every_kind() {
    let n_packets: u64 = std::env::var("PERIHELION_FLOOD_PACKETS").map_or(100_000, |n| n.parse().unwrap());
    let seed: u64 = std::env::var("PERIHELION_FLOOD_SEED").map_or(1, |n| n.parse().unwrap());
    // Strangers have no wall here: if lies reach them, the test ends and not the machine.
    let limit = Rlimit { current: Some(TEST_BYTES_MAX), maximum: Some(TEST_BYTES_MAX) };
    setrlimit(Resource::Data, limit).unwrap();
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
    let (model, engine) = (path("small.model"), path("small.engine"));
    succeed(&["export", "engines/small-reason", "-o", &model]);
    succeed(&["build", &model, "-o", &engine, "--backend", "cpu", "--precision", "f32"]);
    let domain = free_domain();
    let log = path("log");
    let run = ["run", &engine, "--json", "--ros-args", "-r", "__node:=eye", "-r", "image:=/camera/image_raw"];
    let mut command = Command::new(BINARY);
    command.args(run).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    command.env("ROS_DOMAIN_ID", domain.to_string()).env("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST");
    let mut node = Node(command.spawn().unwrap());
    let process = node.0.id();

    let name = NodeName::new("/test", "camera").unwrap();
    // The camera has a wall too: it hears what the node makes of lies.
    let options = WalledOptions {
        dds: DdsOptions::local(name, domain),
        program: BINARY.into(),
        image_bytes_max: 1 << 20,
        n_cameras: 1,
    };
    let peer = Walled::join(options, Arc::new(Clock::system())).unwrap();
    let camera = peer.advertise("/camera/image_raw", ImageView::TYPE, Delivery::BestEffort).unwrap();
    let n_answers = Arc::new(AtomicU64::new(0));
    let hearing = Arc::clone(&n_answers);
    let sink: MessageSink = Box::new(move |_| {
        hearing.fetch_add(1, Relaxed);
    });
    peer.subscribe("/eye/answer/json", Text::TYPE, Delivery::Reliable, sink).unwrap();
    let stranger = DomainParticipantBuilder::new(domain)
        .with_only_networks([std::net::Ipv4Addr::LOCALHOST])
        .build()
        .unwrap();
    let (is_over, n_frames) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let playing = {
        let (is_over, n_frames) = (Arc::clone(&is_over), Arc::clone(&n_frames));
        std::thread::spawn(move || {
            let data = vec![90; (3 * WIDTH * HEIGHT) as usize];
            let began = Instant::now();
            for i in 1u32.. {
                if is_over.load(Relaxed) {
                    return;
                }
                // While its own network starts again nothing can be sent.
                let is_sent = camera.publish(image(Clock::system().now().ros_ns, &data)).is_ok();
                n_frames.fetch_add(u64::from(is_sent), Relaxed);
                sleep((began + i * Duration::from_secs(1) / 30).saturating_duration_since(Instant::now()));
            }
        })
    };
    until("answers", || 10 < n_answers.load(Relaxed));
    until("what the node has in the graph", || {
        20 < stranger.discovered_readers().len() + stranger.discovered_writers().len()
    });
    let (at_rest, mut watched) = (memory_bytes(process), Watched::default());

    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let mouth = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut sent, mut answers_during) = (BTreeMap::<&str, u64>::new(), n_answers.load(Relaxed));
    let (mut known, mut ports) = (cast(&stranger, &peer).expect("the node has endpoints"), Vec::new());
    let began = Instant::now();
    for i in 0..n_packets {
        if i % 4096 == 0 {
            watched.look(process);
            assert!(node.0.try_wait().unwrap().is_none(), "the node ended after {i} packets");
            // A process that starts again has another participant.
            ports = network_of(process)
                .map(|network| ports_of(network, domain))
                .filter(|found| !found.is_empty())
                .unwrap_or(ports);
            known = cast(&stranger, &peer).unwrap_or(known);
        }
        let (kind, kind_name) = dice.one(&KINDS);
        let packet = dice.packet(kind, &known);
        if !ports.is_empty() && mouth.send_to(&packet, ("127.0.0.1", dice.one(&ports))).is_ok() {
            *sent.entry(kind_name).or_default() += 1;
        }
    }
    let took = began.elapsed();
    answers_during = n_answers.load(Relaxed) - answers_during;
    let (before, ended) = (n_answers.load(Relaxed), Instant::now());
    until("an answer after the flood", || before < n_answers.load(Relaxed));
    let again = ended.elapsed();
    sleep(Duration::from_secs(3));
    watched.look(process);
    is_over.store(true, Relaxed);
    playing.join().unwrap();
    sleep(Duration::from_millis(500));
    assert!(Command::new("kill").args(["-INT", &process.to_string()]).status().unwrap().success());
    let status = node.0.wait().unwrap();
    let log = fs::read_to_string(Path::new(&log)).unwrap();
    let account = log.lines().rfind(|line| line.contains("answers: received")).unwrap_or("none").to_owned();
    let restarts = log.matches("it starts again").count();
    let report = serde_json::json!({
        "packets": n_packets, "seed": seed, "sent_by_kind": sent, "seconds": took.as_secs_f64(),
        "frames_sent": n_frames.load(Relaxed), "answers_during": answers_during,
        "engine_bytes_at_rest": at_rest, "engine_bytes_most": watched.engine_bytes,
        "network_bytes_most": watched.network_bytes, "network_data_bytes_most": watched.network_data_bytes,
        "restarts": restarts, "seconds_to_an_answer_after": again.as_secs_f64(), "account": account,
    });
    println!("{report:#}");
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(watched.engine_bytes < at_rest + ENGINE_GROWTH_BYTES_MAX, "the engine's memory grew");
    let numbers: Vec<u64> = account
        .split_once("received ")
        .map(|(_, text)| text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect())
        .unwrap_or_default();
    let [received, answered, members, dropped, ..] = numbers[..] else { panic!("no account: {log}") };
    assert!(answered + members + dropped <= received, "{account}");
    assert!(sent.len() == KINDS.len(), "a kind was not sent: {sent:?}");
}
