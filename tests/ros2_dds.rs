//! The node's live transport against itself and against `ros2-client`, over DDS on the loopback interface.
//!
//! Discovery and delivery take as long as they take: a test asks again until a far deadline, and asserts what came.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, LazyLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use perihelion::frames::accounts::DropReason;
use perihelion::frames::camera::{Camera, CameraOptions};
use perihelion::frames::clock::Clock;
use perihelion::frames::frame::Format;
use perihelion::frames::listener::{Listener, ListenerOptions, Verdict};
use perihelion::ros2::messages::{
    CompressedImageView, HeaderView, ImageView, Message, ShortString, Text, Time, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{
    Engines, Forecast, ForecastShape, Forecaster, Glimpse, Look, NodeOptions, Outcome, run,
};
use perihelion::ros2::parameter_services;
use perihelion::ros2::parameter_store::ParameterStore;
use perihelion::ros2::transport::{
    Choice, Dds, DdsOptions, Delivery, ImageReliability, ImageTransport, MessageSink, Reply, Transport, Why,
    free_domain,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// One domain for all tests of this process; they differ by topic.
static DOMAIN: LazyLock<u16> = LazyLock::new(free_domain);

fn join(name: &str) -> Dds {
    let node = NodeName::new("/test", name).unwrap();
    let options = DdsOptions::local(node, *DOMAIN);
    Dds::join(&options, Arc::new(Clock::system())).expect("a participant on the loopback interface")
}

/// Who listens to the images of a topic.
fn camera_of(transport: &Dds, topic: &str, frame_bytes_max: usize) -> Arc<Listener> {
    Arc::clone(&whole_camera_of(transport, topic, frame_bytes_max).listeners()[0])
}

fn whole_camera_of(transport: &Dds, topic: &str, frame_bytes_max: usize) -> Arc<Camera> {
    let (name, topic) = ("camera".to_owned(), topic.to_owned());
    let camera = CameraOptions { name, topic, frame_bytes_max, pixels_max: frame_bytes_max };
    let max_age = Duration::from_secs(60);
    let listener =
        ListenerOptions { clip_frames: 1, clip_rate_hz: 1.0, follow_frames: 0, pictures: 1, max_age };
    let camera = Arc::new(Camera::new(camera, transport.clock(), &[listener]));
    transport.subscribe_images(ImageTransport::Raw, Arc::clone(&camera)).unwrap();
    camera
}

fn image(stamp_ns: i64, width: u32, data: &[u8]) -> Vec<u8> {
    let header = HeaderView { stamp: Time::from_ns(stamp_ns), frame_id: ShortString::new("cam").unwrap() };
    let (encoding, step) = (ShortString::new("rgb8").unwrap(), 3 * width);
    let height = data.len() as u32 / step;
    encode(&ImageView { header, height, width, encoding, is_bigendian: 0, step, data })
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}

fn now_ns() -> i64 {
    Clock::system().now().ros_ns
}

#[test]
fn an_image_arrives_as_it_was_sent() {
    let (camera, node) = (join("camera_a"), join("eye_a"));
    let listener = camera_of(&node, "/a/image", 200_000);
    let publisher = camera.advertise("/a/image", ImageView::TYPE, Delivery::BestEffort).unwrap();
    let pixels: Vec<u8> = (0..240 * 180 * 3u32).map(|i| (i * 7 + i / 251) as u8).collect();
    let stamp = now_ns();
    until("the first image", || {
        publisher.publish(image(stamp, 240, &pixels)).unwrap();
        0 < listener.accounts().received
    });
    let mut frames = Vec::new();
    assert!(listener.take(&mut frames));
    let frame = &frames[0].frame;
    assert_eq!((frame.stamp_ns, frame.frame_id.as_str(), frame.size()), (stamp, "cam", Some((240, 180))));
    let Format::Raw { encoding, step, is_bigendian, .. } = frame.format else { panic!("{:?}", frame.format) };
    assert_eq!((encoding.as_str(), step, is_bigendian), ("rgb8", 720, false));
    assert!(frame.data() == pixels, "the pixels differ");
    assert!(!frames[0].stamp_suspect);
    listener.settle(Verdict::Served);
    assert!(listener.accounts().balance());
}

#[test]
fn the_newest_image_wins_and_the_others_are_accounted_for() {
    let (camera, node) = (join("camera_b"), join("eye_b"));
    let listener = camera_of(&node, "/b/image", 10_000);
    let publisher = camera.advertise("/b/image", ImageView::TYPE, Delivery::BestEffort).unwrap();
    let start = now_ns();
    let mut n_sent = 0;
    let mut send = || {
        publisher.publish(image(start + n_sent, 8, &[n_sent as u8; 8 * 8 * 3])).unwrap();
        n_sent += 1;
        start + n_sent - 1
    };
    let total = || listener.accounts().received + listener.accounts().lost;
    until("the first image", || 0 < total() || send() == 0);
    let total_before = total();
    for _ in 0..50 {
        send();
    }
    until("the newest image", || {
        let newest = send();
        sleep(Duration::from_millis(20));
        let mut frames = Vec::new();
        let is_newest = listener.take(&mut frames) && frames[0].frame.stamp_ns == newest;
        listener.settle(Verdict::Served);
        is_newest
    });
    let accounts = listener.accounts();
    assert!(accounts.balance(), "{accounts}");
    assert!(51 <= total() - total_before, "received or counted as lost: {accounts}");
    assert!(accounts.served < accounts.received, "older ones gave way: {accounts}");
}

#[test]
fn two_publishers_of_one_topic_are_told_apart() {
    let (one, two, node) = (join("camera_m"), join("camera_n"), join("eye_m"));
    let camera = whole_camera_of(&node, "/m/image", 10_000);
    let publishers =
        [&one, &two].map(|dds| dds.advertise("/m/image", ImageView::TYPE, Delivery::BestEffort).unwrap());
    let send = |n: usize| publishers[n].publish(image(now_ns(), 8, &[n as u8; 8 * 8 * 3])).unwrap();
    let publishers_of = || camera.stream().mixed.publishers_hz.len();
    until("images of one", || {
        send(0);
        sleep(Duration::from_millis(5));
        camera.stream().rate_hz.is_some()
    });
    assert_eq!(publishers_of(), 0);
    until("images of both", || {
        send(0);
        send(1);
        publishers_of() == 2
    });
    until("the end of the second", || {
        send(0);
        publishers_of() == 0
    });
}

/// Forecasts eight frames from one, all at once.
struct Eight(ForecastShape);

impl Forecaster for Eight {
    fn shape(&self) -> &ForecastShape {
        &self.0
    }
    fn look(&mut self, look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> {
        assert!(look.deadline.is_some(), "time runs");
        for ahead in 1..=self.0.horizon {
            tell(Glimpse::Frame { ahead, rgb: &vec![ahead as u8; 3 * 65 * 63] });
        }
        Outcome::Made(Forecast::default())
    }
}

#[test]
fn forecast_frames_arrive_in_order_and_whole() {
    let (camera, node, viewer) = (join("camera_f"), join("eye_f"), join("viewer_f"));
    let (sender, seen) = mpsc::channel();
    let sink: MessageSink = Box::new(move |body| {
        let (body, order) = body.unwrap();
        let view: ImageView<'_> = decode(body, order).unwrap();
        assert_eq!((view.width, view.height, view.data.len()), (65, 63, 3 * 65 * 63 + 3), "padded by zeros");
        // The node may have stopped listening to the test, or the test to the node.
        let _ = sender.send((view.header.stamp.ns(), view.data[0]));
    });
    viewer.subscribe("/test/eye_f/forecast", ImageView::TYPE, Delivery::Reliable, sink).unwrap();
    let publisher = camera.advertise("/test/image", ImageView::TYPE, Delivery::BestEffort).unwrap();
    let action_names = Vec::new();
    let shape = ForecastShape {
        n_given: 1,
        horizon: 8,
        rate_hz: 10.0,
        width: 65,
        height: 63,
        action_names,
        action_limits: Vec::new(),
    };
    let name = NodeName::new("/test", "eye_f").unwrap();
    let options = NodeOptions { max_image_bytes: 1000, ..NodeOptions::new(name) };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let mut engine = Eight(shape);
            run(&node, &options, Engines::forecasting(&mut engine), &stop, &mut |_| {}).unwrap()
        });
        let mut frames: Vec<(i64, u8)> = Vec::new();
        let mut sent = Vec::new();
        until("three forecasts", || {
            sent.push(now_ns());
            publisher.publish(image(sent[sent.len() - 1], 8, &[7; 8 * 8 * 3])).unwrap();
            sleep(Duration::from_millis(80));
            frames.extend(seen.try_iter());
            // The viewer may have come in the middle of the first.
            let first = frames.iter().position(|(_, ahead)| *ahead == 1).unwrap_or(frames.len());
            frames.drain(..first);
            24 <= frames.len()
        });
        stop.store(true, Relaxed);
        let accounts = running.join().unwrap().forecasts.unwrap().accounts;
        assert!(accounts.balance() && accounts.in_flight == 0, "{accounts}");
        for forecast in frames.chunks_exact(8) {
            let newest = forecast[0].0 - 100_000_000;
            assert!(sent.contains(&newest), "the future of a frame that was sent");
            let expected: Vec<(i64, u8)> =
                (1..=8).map(|k| (newest + 100_000_000 * i64::from(k), k as u8)).collect();
            assert_eq!(forecast, expected);
        }
    });
}

#[test]
fn what_does_not_fit_is_a_counted_drop() {
    let (camera, node) = (join("camera_c"), join("eye_c"));
    let listener = camera_of(&node, "/c/image", 1000);
    let liar = camera.advertise("/c/image", CompressedImageView::TYPE, Delivery::BestEffort).unwrap();
    let honest = camera.advertise("/c/image", ImageView::TYPE, Delivery::BestEffort).unwrap();
    let count = |reason| listener.accounts().dropped(reason);
    let small = image(0, 4, &[1; 48]);
    until("a message of another type", || {
        liar.publish(small.clone()).unwrap();
        0 < count(DropReason::WrongType)
    });
    until("too large a message", || {
        honest.publish(image(0, 400, &[0; 1200])).unwrap();
        0 < count(DropReason::Oversized)
    });
    until("a message cut short", || {
        honest.publish(small[..small.len() - 20].to_vec()).unwrap();
        0 < count(DropReason::Malformed)
    });
    until("the node still takes what is right", || {
        honest.publish(image(now_ns(), 4, &[1; 48])).unwrap();
        listener.take(&mut Vec::new())
    });
    listener.settle(Verdict::Served);
    assert!(listener.accounts().balance());
    let wrong = node.graph().into_iter().filter(|topic| topic.name == "/c/image").count();
    assert_eq!(wrong, 2, "the graph shows the topic under both types");
}

#[test]
fn with_a_small_buffer_cameras_that_repeat_are_read_reliably_and_nothing_is_lost_in_the_change() {
    let name = NodeName::new("/test", "eye_i").unwrap();
    let small = DdsOptions { receive_buffer_bytes: 100_000, ..DdsOptions::local(name, *DOMAIN) };
    let (camera, node) = (join("camera_i"), Dds::join(&small, Arc::new(Clock::system())).unwrap());
    let listener = camera_of(&node, "/i/image", 10_000);
    let chosen = || node.reception("/i/image").expect("it is subscribed to").choice;
    let choice = |is_reliable, why| Choice { is_reliable, why };
    assert_eq!(chosen(), choice(false, Why::NobodyYet));
    assert_eq!(node.reception("/i/image").unwrap().buffer_bytes, Some(100_000));
    let publisher = camera.advertise("/i/image", ImageView::TYPE, Delivery::Reliable).unwrap();
    let mut n_sent = 0;
    let mut send = || {
        n_sent += 1;
        publisher.publish(image(now_ns(), 8, &[7; 8 * 8 * 3])).unwrap();
        n_sent
    };
    until("a reliable reader", || chosen() == choice(true, Why::SmallBuffer));
    until("the first image", || {
        send();
        0 < listener.accounts().received
    });
    sleep(Duration::from_millis(1000));
    let before = listener.accounts().received;
    let n_before = send() - 1;
    let mut until_chosen = |what: &str, wanted: Choice| {
        until(what, || {
            send();
            chosen() == wanted
        });
        // Both readers are there for a while.
        for _ in 0..40 {
            send();
            sleep(Duration::from_millis(20));
        }
    };
    let deaf = camera.advertise("/i/image", ImageView::TYPE, Delivery::BestEffort).unwrap();
    until_chosen("a best effort reader", choice(false, Why::NothingRepeated));
    drop(deaf);
    until_chosen("a reliable reader again", choice(true, Why::SmallBuffer));
    let n_since = send() - n_before;
    until("every image once", || before + n_since as u64 <= listener.accounts().received);
    sleep(Duration::from_millis(300));
    let accounts = listener.accounts();
    assert_eq!((accounts.received, accounts.lost), (before + n_since as u64, 0), "{accounts}");
    let reception = node.reception("/i/image").unwrap();
    assert!(192 < reception.image_bytes_max && reception.image_bytes_max < 400, "{reception:?}");
}

#[test]
fn what_is_told_of_reliability_is_done() {
    for (wanted, is_reliable) in [(ImageReliability::BestEffort, false), (ImageReliability::Reliable, true)] {
        let name = NodeName::new("/test", "eye_j").unwrap();
        let options = DdsOptions {
            image_reliability: wanted,
            receive_buffer_bytes: 100_000,
            ..DdsOptions::local(name, *DOMAIN)
        };
        let (camera, node) = (join("camera_j"), Dds::join(&options, Arc::new(Clock::system())).unwrap());
        let listener = camera_of(&node, "/j/image", 10_000);
        let publisher = camera.advertise("/j/image", ImageView::TYPE, Delivery::BestEffort).unwrap();
        let chosen = || node.reception("/j/image").unwrap().choice;
        if is_reliable {
            until("the publisher that is not heard", || chosen().why == Why::Unheard);
            publisher.publish(image(now_ns(), 8, &[7; 192])).unwrap();
            sleep(Duration::from_millis(300));
            assert_eq!(listener.accounts().received, 0);
        } else {
            until("an image", || {
                publisher.publish(image(now_ns(), 8, &[7; 192])).unwrap();
                0 < listener.accounts().received
            });
            assert_eq!(chosen(), Choice { is_reliable: false, why: Why::Told });
        }
    }
}

fn listen(node: &Dds, topic: &str) -> Receiver<String> {
    let (sender, heard) = mpsc::channel();
    let sink: MessageSink = Box::new(move |body| {
        let (body, order) = body.expect("small and of the right type");
        sender.send(decode::<Text>(body, order).expect("a text").data).expect("the test listens");
    });
    node.subscribe(topic, Text::TYPE, Delivery::Reliable, sink).unwrap();
    heard
}

#[test]
fn texts_arrive_reliably_and_in_order() {
    let (asker, node) = (join("asker_d"), join("eye_d"));
    let heard = listen(&node, "/d/prompt");
    let publisher = asker.advertise("/d/prompt", Text::TYPE, Delivery::Reliable).unwrap();
    until("the reader", || {
        asker.graph().iter().any(|topic| topic.name == "/d/prompt" && 0 < topic.subscribers)
    });
    // Matching follows discovery by a moment; what is sent before it is nobody's.
    until("the first text", || {
        publisher.publish(encode(&Text { data: "ready?".into() })).unwrap();
        heard.try_recv().is_ok()
    });
    let long = "päd".repeat(1000);
    let sent: Vec<String> = (0..20).map(|i| format!("{i} {long}")).collect();
    for text in &sent {
        until("room for a text", || publisher.publish(encode(&Text::padded(text.clone()))).is_ok());
    }
    let mut got = Vec::new();
    until("all texts", || {
        got.extend(heard.try_iter().filter(|text| text != "ready?"));
        got.len() == sent.len()
    });
    assert_eq!(got.iter().map(|text| text.trim_end()).collect::<Vec<_>>(), sent);
}

#[test]
fn a_latched_topic_reaches_late_readers() {
    let (early, late) = (join("early_e"), join("late_e"));
    let publisher = early.advertise("/e/state", Text::TYPE, Delivery::Latched { kept: 10 }).unwrap();
    publisher.publish(encode(&Text { data: "as it is".into() })).unwrap();
    let (sender, heard) = mpsc::channel();
    let sink: MessageSink = Box::new(move |body| {
        let (body, order) = body.unwrap();
        sender.send(decode::<Text>(body, order).unwrap().data).unwrap();
    });
    late.subscribe("/e/state", Text::TYPE, Delivery::Latched { kept: 10 }, sink).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "as it is");
}

/// A request comes before it is known where its reply is read, as of any client that has just started.
#[test]
fn a_reply_waits_until_it_is_known_where_it_is_read() {
    let node = join("eye_k");
    let answer = |_: &[u8], _, reply: Reply| reply.give(encode(&Text { data: "here".into() }));
    node.serve("/k/ask", "std_srvs/srv/Trigger", Box::new(answer)).unwrap();
    let qos = rustdds::QosPolicyBuilder::new().reliable(rustdds::Duration::ZERO).build();
    // Whoever takes its time to announce its reader, on a busy machine, is nobody's fault: another tries.
    until("a reply", || {
        let participant = rustdds::DomainParticipantBuilder::new(*DOMAIN)
            .with_only_networks([std::net::Ipv4Addr::LOCALHOST])
            .build()
            .unwrap();
        let topic = |name: &str, kind: &str| {
            let (name, kind) = (name.to_owned(), format!("std_srvs::srv::dds_::Trigger_{kind}_"));
            participant.create_topic(name, kind, &qos, rustdds::TopicKind::NoKey).unwrap()
        };
        let publisher = participant.create_publisher(&qos).unwrap();
        let requests = publisher
            .create_datawriter_no_key::<u8, rustdds::CDRSerializerAdapter<_>>(
                &topic("rq/k/askRequest", "Request"),
                None,
            )
            .unwrap();
        until("the service", || {
            let readers = participant.discovered_readers();
            readers.iter().any(|reader| reader.subscription_topic_data.topic_name() == "rq/k/askRequest")
        });
        // It is matched a moment after it is known.
        sleep(Duration::from_millis(100));
        requests.write(0, None).unwrap();
        let subscriber = participant.create_subscriber(&qos).unwrap();
        let replies = subscriber
            .create_simple_datareader_no_key::<String, rustdds::CDRDeserializerAdapter<_>>(
                &topic("rr/k/askReply", "Response"),
                None,
            )
            .unwrap();
        (0..150).any(|_| {
            sleep(Duration::from_millis(20));
            replies.drain_read_notifications();
            matches!(replies.try_take_one(), Ok(Some(sample)) if sample.sample == "here")
        })
    });
}

/// `rmw_dds_common/msg/ParticipantEntitiesInfo` as a ROS node of one generation reads it.
#[derive(serde::Deserialize)]
struct Participant<Gid> {
    _gid: Gid,
    nodes: Vec<(String, String, Vec<Gid>, Vec<Gid>)>,
}

/// Lets a node of a generation whose identities are `Gid`s come and go, and watches it as that generation does.
fn comes_and_goes<Gid: serde::de::DeserializeOwned + 'static>(name: &str, gid_bytes: usize) {
    let participant = rustdds::DomainParticipantBuilder::new(*DOMAIN)
        .with_only_networks([std::net::Ipv4Addr::LOCALHOST])
        .build()
        .unwrap();
    let qos = rustdds::QosPolicyBuilder::new()
        .reliable(rustdds::Duration::ZERO)
        .durability(rustdds::policy::Durability::TransientLocal)
        .history(rustdds::policy::History::KeepLast { depth: 1 })
        .build();
    let ros_type = "rmw_dds_common::msg::dds_::ParticipantEntitiesInfo_".to_owned();
    let kind = rustdds::TopicKind::NoKey;
    let topic = participant.create_topic("ros_discovery_info".into(), ros_type, &qos, kind).unwrap();
    let subscriber = participant.create_subscriber(&qos).unwrap();
    let reader = subscriber
        .create_simple_datareader_no_key::<Participant<Gid>, rustdds::CDRDeserializerAdapter<_>>(&topic, None)
        .unwrap();
    // The other tests' nodes are there too, in the other generation's layout: those samples are errors.
    let hears = |wanted: &dyn Fn(&Participant<Gid>) -> bool| {
        reader.drain_read_notifications();
        loop {
            match reader.try_take_one() {
                Ok(Some(sample)) if wanted(&sample.sample) => break true,
                Ok(None) => break false,
                // Other tests' nodes, some in the other generation's layout.
                _ => {}
            }
        }
    };

    let node = NodeName::new("/test", name).unwrap();
    let options = DdsOptions { gid_bytes, ..DdsOptions::local(node, *DOMAIN) };
    let node = Dds::join(&options, Arc::new(Clock::system())).unwrap();
    let publisher = node.advertise(&format!("/f/{name}"), Text::TYPE, Delivery::Reliable).unwrap();
    until("the node with its writer", || {
        hears(&|info| {
            info.nodes.iter().any(|(namespace, found, readers, writers)| {
                namespace == "/test" && found == name && readers.is_empty() && writers.len() == 1
            })
        })
    });
    let topic = format!("rt/f/{name}");
    let is_there =
        || participant.discovered_writers().iter().any(|w| w.publication_topic_data.topic_name == topic);
    until("the writer itself", is_there);
    drop(publisher);
    drop(node);
    // Without a leave it would stay for the 50 seconds of its lease.
    let deadline = Instant::now() + Duration::from_secs(25);
    until("its leave", || {
        assert!(Instant::now() < deadline, "the node is still there");
        !is_there()
    });
}

#[test]
fn todays_nodes_see_ours_come_and_go() {
    comes_and_goes::<[u8; 16]>("eye_f", 16);
}

#[test]
fn humble_nodes_see_ours_come_and_go() {
    comes_and_goes::<[u8; 24]>("eye_h", 24);
}

#[test]
fn another_implementation_reads_and_writes_our_texts() {
    let mut peer = peer::Peer::join("talker");
    let node = join("eye_g");
    let heard = listen(&node, "/g/prompt");
    let answer = node.advertise("/g/answer", Text::TYPE, Delivery::Reliable).unwrap();
    let prompt = peer.publisher("/g/prompt");
    let answers = peer.subscription("/g/answer");
    until("a prompt from the peer", || {
        prompt.publish(peer::PeerText { data: "Was siehst du?".into() }).unwrap();
        heard.try_recv().is_ok_and(|text| text == "Was siehst du?")
    });
    let long = "ja ".repeat(701);
    until("an answer at the peer", || {
        answer.publish(encode(&Text::padded(long.clone()))).unwrap();
        answers.take().unwrap().is_some_and(|(text, _)| text.data.trim_end() == long.trim_end())
    });
}

#[test]
fn another_implementation_reads_parameters() {
    let name = NodeName::new("/test", "eye_p").unwrap();
    let node = join("eye_p");
    let parameters = Arc::new(ParameterStore::new(NodeOptions::new(name.clone()).parameters()));
    let names = parameter_services::names(&name, &[]).unwrap();
    parameter_services::offer(&node, &names, &parameters).unwrap();
    let mut peer = peer::Peer::join("asker");
    let client = peer.parameter_client("/test/eye_p");
    let mut values = Vec::new();
    until("the values", || {
        // A request before the endpoints have matched is nobody's.
        client.send_request(peer::Names { names: vec!["prompt".into(), "clip".into()] }).unwrap();
        sleep(Duration::from_millis(100));
        while let Ok(Some((_, reply))) = client.receive_response() {
            values = reply.values;
        }
        !values.is_empty()
    });
    assert_eq!(values[0].string_value, "What do you see?");
    assert_eq!((values[1].kind, values[1].integer_value), (2, 1));
}

/// `ros2-client` as another implementation of a ROS 2 node.
mod peer {
    use ros2_client::{
        Client, Context, MessageTypeName, Name, Node, NodeName, NodeOptions, Publisher, QosProfile,
        ServiceMapping, ServiceTypeName, Subscription, qos::WhenFull,
    };
    use rustdds::DomainParticipantBuilder;

    #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
    pub(crate) struct PeerText {
        pub(crate) data: String,
    }
    impl ros2_client::Message for PeerText {}

    #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
    pub(crate) struct Names {
        pub(crate) names: Vec<String>,
    }
    impl ros2_client::Message for Names {}

    #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
    pub(crate) struct Values {
        pub(crate) values: Vec<perihelion::ros2::messages::ParameterValue>,
    }
    impl ros2_client::Message for Values {}

    pub(crate) struct Peer {
        node: Node,
        context: Context,
    }

    impl Peer {
        pub(crate) fn join(name: &str) -> Self {
            let participant = DomainParticipantBuilder::new(*super::DOMAIN)
                .with_only_networks([std::net::Ipv4Addr::LOCALHOST])
                .build()
                .unwrap();
            let context = Context::from_domain_participant(participant).unwrap();
            let options = NodeOptions::new().enable_rosout(false).start_parameter_services(false);
            let node = context.new_node(NodeName::new("/peer", name).unwrap(), options).unwrap();
            Self { node, context }
        }

        fn topic(&self, name: &str) -> rustdds::Topic {
            let dds_name =
                Name::parse(name).unwrap().to_dds_name("rt", &NodeName::new("/peer", "x").unwrap(), "");
            let qos = QosProfile::publisher_default().reliability_reliable(WhenFull::DEFAULT);
            self.context.create_topic(dds_name, MessageTypeName::new("std_msgs", "String"), &qos).unwrap()
        }

        pub(crate) fn parameter_client(&mut self, node: &str) -> Client<Names, Values> {
            let name = Name::new(node, "get_parameters").unwrap();
            let kind = ServiceTypeName::new("rcl_interfaces", "GetParameters");
            let qos = QosProfile::publisher_default().reliability_reliable(WhenFull::DEFAULT);
            self.node.create_client(ServiceMapping::Enhanced, &name, &kind, qos.clone(), qos).unwrap()
        }

        pub(crate) fn publisher(&mut self, name: &str) -> Publisher<PeerText> {
            let topic = self.topic(name);
            self.node.create_publisher(&topic, None).unwrap()
        }

        pub(crate) fn subscription(&mut self, name: &str) -> Subscription<PeerText> {
            let topic = self.topic(name);
            self.node.create_subscription(&topic, None).unwrap()
        }
    }
}
