//! Foxglove's viewers beside a node: what they hear is what the node says, what they say is what it hears, and none keeps an answer from
//! coming.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use perihelion::ros2::messages::{
    CompressedImageView, Message as _, Text, decode, definition, encode, split_encapsulation,
    with_encapsulation,
};
use perihelion::ros2::node::Engines;
use perihelion::scenes::Rng;
use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use super::{BLUE, Echo, PATIENCE, Stage, WIDTH, play, until};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A viewer that speaks the protocol, and what it has heard.
struct Fox {
    socket: WebSocket<TcpStream>,
    /// Numbers and types of channels by their topics.
    channels: BTreeMap<String, (u64, String)>,
    info: Value,
    said: Vec<Value>,
    data: Vec<(u32, Vec<u8>)>,
}

/// A connection with the answer to the wish to go on in WebSocket.
fn connect(stage: &Stage, headers: &str) -> (TcpStream, String) {
    let host = stage.viewer.0;
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: foxglove.websocket.v1\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

impl Fox {
    fn connect(stage: &Stage) -> Self {
        let (stream, head) = until("a seat", || {
            Some(connect(stage, "Origin: https://app.foxglove.dev\r\n"))
                .filter(|(_, head)| !head.contains(" 503 "))
        });
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        assert!(head.contains("Sec-WebSocket-Protocol: foxglove.websocket.v1\r\n"), "{head}");
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let socket = WebSocket::from_raw_socket(stream, Role::Client, None);
        let (channels, info, said, data) = Default::default();
        let mut fox = Self { socket, channels, info, said, data };
        until("the channels", || {
            fox.hear();
            (!fox.channels.is_empty() && !fox.info.is_null()).then_some(())
        });
        fox
    }

    fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).unwrap();
    }

    /// Hears what there is.
    fn hear(&mut self) {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let said: Value = serde_json::from_str(&text).unwrap();
                    match said["op"].as_str().unwrap() {
                        "serverInfo" => self.info = said,
                        "advertise" => {
                            for channel in said["channels"].as_array().unwrap() {
                                let of = |key: &str| channel[key].as_str().unwrap().to_owned();
                                assert_eq!(
                                    (of("encoding").as_str(), of("schemaEncoding").as_str()),
                                    ("cdr", "ros2msg")
                                );
                                assert_eq!(Some(of("schema")), definition(&of("schemaName")));
                                let known = (channel["id"].as_u64().unwrap(), of("schemaName"));
                                assert!(
                                    self.channels.insert(of("topic"), known).is_none(),
                                    "told twice: {channel}"
                                );
                            }
                        }
                        _ => self.said.push(said),
                    }
                }
                Ok(Message::Binary(bytes)) => {
                    let (&[opcode, a, b, c, d, ..], payload) = bytes.split_first_chunk::<13>().unwrap();
                    assert_eq!(opcode, 1);
                    self.data.push((u32::from_le_bytes([a, b, c, d]), payload.to_vec()));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn subscribe(&mut self, id: u32, topic: &str) {
        let channel = until(topic, || {
            self.hear();
            self.channels.get(topic).map(|(channel, _)| *channel)
        });
        self.send(&json!({ "op": "subscribe", "subscriptions": [{ "id": id, "channelId": channel }] }));
    }

    /// Waits for the next message of a subscription, while `beside` goes on.
    fn next(&mut self, id: u32, mut beside: impl FnMut()) -> Vec<u8> {
        until("a message", || {
            beside();
            self.hear();
            let at = self.data.iter().position(|(of, _)| *of == id)?;
            Some(self.data.remove(at).1)
        })
    }

    /// Waits for words of this kind.
    fn word(&mut self, op: &str) -> Value {
        until(op, || {
            self.hear();
            let at = self.said.iter().position(|said| said["op"] == op)?;
            Some(self.said.remove(at))
        })
    }
}

fn text(payload: &[u8]) -> String {
    let (order, body) = split_encapsulation(payload).unwrap();
    decode::<Text>(body, order).unwrap().data.trim_end().to_owned()
}

fn image(payload: &[u8]) -> image::RgbImage {
    let (order, body) = split_encapsulation(payload).unwrap();
    let view: CompressedImageView<'_> = decode(body, order).unwrap();
    assert_eq!((view.format.as_str(), 0 < view.header.stamp.sec), ("jpeg", true));
    image::load_from_memory_with_format(view.data, image::ImageFormat::Jpeg).unwrap().to_rgb8()
}

#[test]
fn a_viewer_hears_what_the_node_says_and_sees_what_it_sees() {
    let mut echo = Echo::new();
    play(Engines::answering(&mut echo), |stage| {
        let mut fox = Fox::connect(stage);
        assert_eq!(
            (&fox.info["name"], &fox.info["supportedEncodings"]),
            (&json!("perihelion /eye"), &json!(["cdr"]))
        );
        assert_eq!(fox.info["sessionId"], stage.viewer.state()["run"]);
        assert_eq!(fox.channels["/diagnostics"].1, "diagnostic_msgs/msg/DiagnosticArray");
        assert_eq!(fox.channels["/eye/answer/typed"].1, "perihelion_msgs/msg/Answer");
        fox.subscribe(1, "/eye/answer");
        fox.subscribe(2, "/image/compressed");
        fox.subscribe(3, "/eye/annotated/compressed");
        let mut show = || stage.show(WIDTH, &BLUE);
        assert_eq!(text(&fox.next(1, &mut show)), "What?");
        let seen = image(&fox.next(2, &mut show));
        assert!(
            seen.dimensions() == (WIDTH, 6) && seen.get_pixel(3, 3).0[2] > 150,
            "{:?}",
            seen.get_pixel(3, 3)
        );
        // Drawn for viewers alone: no other subscriber is there.
        assert_eq!(image(&fox.next(3, &mut show)).dimensions(), (WIDTH, 6));
        // Whoever comes late hears the last answer without another frame.
        until("the last answer", || stage.answers().is_empty().then_some(()));
        let mut late = Fox::connect(stage);
        late.subscribe(9, "/eye/answer");
        assert_eq!(text(&late.next(9, || {})), "What?");
        fox.send(&json!({ "op": "unsubscribe", "subscriptionIds": [1, 2, 7] }));
        fox.send(&json!({ "op": "getParameters", "parameterNames": ["prompt"], "id": "after" }));
        fox.word("parameterValues");
        fox.data.clear();
        (0..3).for_each(|_| drop(stage.answer(WIDTH, &BLUE)));
        fox.next(3, &mut show);
        assert!(fox.data.iter().all(|(id, _)| *id == 3));
        for (asked, word) in [
            (
                json!({ "op": "subscribe", "subscriptions": [{ "id": 4, "channelId": 999 }] }),
                "no channel 999",
            ),
            (json!({ "op": "fetchAsset", "uri": "package://x", "requestId": 1 }), "not offered"),
            (json!({ "op": "subscribe" }), "missing field"),
        ] {
            fox.send(&asked);
            let told = fox.word("status");
            assert!(told["level"] == 2 && told["message"].as_str().unwrap().contains(word), "{told}");
        }
    });
}

#[test]
fn what_a_viewer_says_is_heard_as_anyones_and_parameters_are_the_nodes() {
    let mut echo = Echo::new();
    play(Engines::answering(&mut echo), |stage| {
        let mut fox = Fox::connect(stage);
        let announce = |topic: &str, schema: &str, encoding: &str| {
            let channel = json!({ "id": 5, "topic": topic, "encoding": encoding, "schemaName": schema });
            json!({ "op": "advertise", "channels": [channel] })
        };
        for (announced, word) in [
            (announce("/eye/prompt", "std_msgs/msg/Bool", "cdr"), "expected std_msgs/msg/String"),
            (announce("/eye/prompt", "std_msgs/msg/String", "json"), "not in json"),
        ] {
            fox.send(&announced);
            let told = fox.word("status");
            assert!(told["message"].as_str().unwrap().contains(word), "{told}");
        }
        let data = |text: &str| {
            let payload = with_encapsulation(&encode(&Text { data: text.to_owned() }));
            Message::binary([&[1, 5, 0, 0, 0], payload.as_slice()].concat())
        };
        // Panels announce what they will never say.
        for topic in ["/clock", "/eye/answer", "/move_base_simple/goal"] {
            fox.send(&announce(topic, "std_msgs/msg/String", "cdr"));
            fox.socket.send(data("Too early?")).unwrap();
            let told = fox.word("status");
            assert!(told["message"].as_str().unwrap().contains("was not announced, or"), "{told}");
            assert!(fox.said.iter().all(|said| said["op"] != "status"), "{:?}", fox.said);
        }
        fox.send(&json!({ "op": "subscribeParameterUpdates", "parameterNames": ["prompt"] }));
        fox.send(&announce("/eye/prompt", Text::TYPE, "cdr"));
        fox.socket.send(data("Who?")).unwrap();
        assert_eq!(fox.word("parameterValues")["parameters"], json!([{ "name": "prompt", "value": "Who?" }]));
        assert_eq!(stage.answer(WIDTH, &BLUE)["text"], "Who?");

        let set = |name: &str, value: Value| json!({ "op": "setParameters", "parameters": [{ "name": name, "value": value }], "id": "mine" });
        let of_mine = |fox: &mut Fox| {
            until("what was set", || Some(fox.word("parameterValues")).filter(|told| told["id"] == "mine"))
        };
        fox.send(&set("prompt", json!("Where?")));
        assert_eq!(of_mine(&mut fox)["parameters"][0]["value"], "Where?");
        stage.answers();
        until("another answer", || (stage.answer(WIDTH, &BLUE)["text"] == "Where?").then_some(()));
        // The engine's refusal, and the parameter's.
        std::thread::sleep(Duration::from_secs(1));
        fox.send(&set("prompt", json!("never")));
        assert!(fox.word("status")["message"].as_str().unwrap().contains("not that"));
        assert_eq!(of_mine(&mut fox)["parameters"][0]["value"], "Where?");
        fox.send(&set("max_rate", json!("fast")));
        assert!(fox.word("status")["message"].as_str().unwrap().contains("expected a double"));
        // Few of all viewers together.
        (0..20).for_each(|i| fox.socket.send(data(&format!("{i}?"))).unwrap());
        assert!(fox.word("status")["message"].as_str().unwrap().contains("too often"));
    });
}

#[test]
fn pages_that_were_not_named_do_not_connect() {
    let mut echo = Echo::new();
    play(Engines::answering(&mut echo), |stage| {
        for origin in ["https://evil.example", "null", "file://"] {
            let (_, head) = connect(stage, &format!("Origin: {origin}\r\n"));
            assert!(head.starts_with("HTTP/1.1 403 "), "{origin}: {head}");
        }
        let (_, head) = connect(stage, "Sec-WebSocket-Protocol: chat\r\n");
        assert!(head.starts_with("HTTP/1.1 400 "), "twice the same header: {head}");
    });
}

#[test]
fn viewers_who_take_nothing_in_cost_no_answer() {
    let mut echo = Echo::new();
    let n_asked = std::sync::Arc::clone(&echo.n_asked);
    play(Engines::answering(&mut echo), |stage| {
        let mut dead: Vec<Fox> = (0..4).map(|_| Fox::connect(stage)).collect();
        for fox in &mut dead {
            for (id, topic) in
                ["/eye/answer", "/eye/answer/json", "/image/compressed", "/eye/annotated/compressed"]
                    .into_iter()
                    .enumerate()
            {
                fox.subscribe(id as u32, topic);
            }
        }
        let (_, head) = connect(stage, "");
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After"), "{head}");
        // A long text, so that sockets are full soon.
        assert_eq!(stage.viewer.ask(&"x".repeat(3000)).0, 200);
        let began = Instant::now();
        let before = *n_asked.lock().unwrap();
        while *n_asked.lock().unwrap() < before + 3000 {
            assert!(began.elapsed() < PATIENCE, "{} answers", *n_asked.lock().unwrap() - before);
            stage.show(WIDTH, &BLUE);
            std::thread::sleep(Duration::from_micros(200));
        }
        assert!(!stage.viewer.state()["answer"].is_null(), "the page has room");
        drop(dead);
        let mut fox = Fox::connect(stage);
        fox.subscribe(1, "/eye/answer");
        assert!(text(&fox.next(1, || stage.show(WIDTH, &BLUE))).starts_with("xxx"));
    });
}

#[test]
fn a_hostile_viewer_leaves_the_others_in_peace() {
    let mut echo = Echo::new();
    play(Engines::answering(&mut echo), |stage| {
        let mut rng = Rng::new(11);
        let mut below = |n: usize| (rng.unit() * n as f64) as usize;
        let good = json!({ "op": "subscribe", "subscriptions": [{ "id": 1, "channelId": 1 }] }).to_string();
        for i in 0..60 {
            let (mut stream, head) = connect(stage, "");
            if head.starts_with("HTTP/1.1 503 ") {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            // Until it is thrown out, or has said enough.
            for _ in 0..50 {
                let payload: Vec<u8> = match below(4) {
                    0 => (0..below(90)).map(|_| below(256) as u8).collect(),
                    1 => good.as_bytes()[..below(good.len())].to_vec(),
                    2 => vec![b'['; below(125)],
                    _ => [&[1u8][..], &vec![below(256) as u8; below(100)]].concat(),
                };
                // First bits as they come, with a mask of zeros; now and then without one, or longer than it is.
                let opcode =
                    [0x81, 0x82, 0x01, 0x00, 0x89, 0x80, 0xff][below(if i % 2 == 0 { 7 } else { 2 })];
                let length = if below(40) == 0 { 125 } else { payload.len() as u8 };
                let mask = if below(60) == 0 { 0 } else { 0x80 };
                let frame = [&[opcode, mask | length, 0, 0, 0, 0][..], &payload].concat();
                if stream.write_all(&frame).is_err() {
                    break;
                }
            }
        }
        // One who goes on without end while others look, and when the node ends.
        let (mut endless, head) =
            until("a seat", || Some(connect(stage, "")).filter(|(_, head)| head.contains(" 101 ")));
        assert!(head.contains("Upgrade"), "{head}");
        endless.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        std::thread::spawn(move || {
            let _ = endless.write_all(&[0x01, 0x80, 0, 0, 0, 0]);
            let pieces = [0x00, 0x80, 0, 0, 0, 0].repeat(1000);
            while endless.write_all(&pieces).is_ok() {}
        });
        let mut fox = Fox::connect(stage);
        fox.subscribe(1, "/eye/answer");
        assert_eq!(text(&fox.next(1, || stage.show(WIDTH, &BLUE))), "What?");
        // A message beyond the bound ends the talk.
        let _ = fox.socket.send(Message::text("x".repeat(70_000)));
        until("its end", || {
            let read = fox.socket.read();
            read.is_err_and(|error| !matches!(error, tungstenite::Error::Io(ref io) if io.kind() == std::io::ErrorKind::WouldBlock)).then_some(())
        });
    });
}
