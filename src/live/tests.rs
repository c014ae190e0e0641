//! The page against viewers of every kind, without a node.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::*;
use crate::scenes::Rng;

/// The threads of this process that serve a viewer of any test here.
fn n_viewer_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.flat_map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.filter(|name| name.trim() == "live viewer").count()
}

fn connect(page: &Live) -> TcpStream {
    let stream = TcpStream::connect(page.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// The answer to these bytes, if there is one.
fn ask(page: &Live, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(page);
    // Who is refused early reads no more.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// The answer to a request that is good, once there is room for it.
fn ask_well(page: &Live, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", page.address());
    loop {
        let answer = String::from_utf8(ask(page, request.as_bytes())).unwrap();
        if !answer.is_empty() && !answer.starts_with("HTTP/1.1 503") {
            return answer;
        }
    }
}

fn page(patience: Duration) -> Live {
    Live::open_within("127.0.0.1:0".parse().unwrap(), Limits { patience, ..LIMITS }).unwrap()
}

#[test]
fn addresses_are_read_as_they_are_meant() {
    let read = |text: &str| address(text).map(|address| address.to_string());
    for (text, expected) in [
        ("127.0.0.1:8077", "127.0.0.1:8077"),
        ("localhost:0", "127.0.0.1:0"),
        ("localhost", "127.0.0.1:8077"),
        ("9000", "127.0.0.1:9000"),
        ("0.0.0.0", "0.0.0.0:8077"),
        ("[::1]:5", "[::1]:5"),
        ("::1", "[::1]:8077"),
    ] {
        assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
    }
    assert_eq!(address(ADDRESS).unwrap().port(), PORT);
    for text in ["", "small.engine", "robot:8077", "70000", "127.0.0.1:", "-1", ":80"] {
        assert!(read(text).unwrap_err().contains("expected ADDRESS:PORT"), "{text}");
    }
}

#[test]
fn ten_thousand_bad_requests_leave_a_good_page() {
    let page = page(Duration::from_secs(2));
    let good =
        format!("POST /prompt HTTP/1.1\r\nHost: {}\r\nContent-Length: 9\r\n\r\nquestion?", page.address());
    let mut rng = Rng::new(7);
    let mut below = |n: usize| (rng.unit() * n as f64) as usize;
    for i in 0..10_000 {
        let mut bytes = match i % 5 {
            // Garbage.
            0 => (0..below(600)).map(|_| below(256) as u8).collect(),
            // Cut short.
            1 => good.as_bytes()[..below(good.len())].to_vec(),
            // Damaged.
            2 => good.clone().into_bytes(),
            // Heads and bodies that are too large.
            3 => format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(8000 + below(2000))).into_bytes(),
            _ => format!("POST /prompt HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", below(1 << 40))
                .into_bytes(),
        };
        if i % 5 == 2 {
            for _ in 0..=below(4) {
                let at = below(bytes.len());
                bytes[at] = below(256) as u8;
            }
        }
        let answer = ask(&page, &bytes);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{i}: {answer:?}");
        assert!(!answer.starts_with(b"HTTP/1.1 5") || answer.starts_with(b"HTTP/1.1 50"), "{i}");
        if i % 500 == 0 {
            assert!(ask_well(&page, "/").starts_with("HTTP/1.1 200 OK"), "{i}");
        }
    }
    assert!(ask_well(&page, "/state.json").contains("\"waiting\""));
}

#[test]
fn viewers_who_never_end_are_few_and_are_left_in_the_end() {
    let page = page(Duration::from_millis(1500));
    // Half of them say a part of a request, half of them nothing.
    let mut dead: Vec<TcpStream> = Vec::new();
    for i in 0..64 {
        let mut stream = connect(&page);
        if i % 2 == 0 {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: ");
        }
        dead.push(stream);
        // Those of the other tests here are few as well.
        assert!(n_viewer_threads() <= 3 * LIMITS.viewers, "{}", n_viewer_threads());
    }
    let answers = dead.iter_mut().filter_map(|stream| {
        let mut answer = String::new();
        // Whoever is turned away hears it at once, the others in the end; nobody is left without an end.
        stream.read_to_string(&mut answer).ok().map(|_| answer)
    });
    let answers: Vec<String> = answers.collect();
    let n_with = |status: &str| answers.iter().filter(|answer| answer.starts_with(status)).count();
    assert!(0 < n_with("HTTP/1.1 503") && 0 < n_with("HTTP/1.1 408"), "{answers:?}");
    assert!(ask_well(&page, "/").ends_with("</html>\n"));
}

#[test]
fn a_page_ends_though_a_viewer_does_not() {
    let page = page(Duration::from_secs(3600));
    let viewers: Vec<TcpStream> = (0..LIMITS.viewers).map(|_| connect(&page)).collect();
    drop(page);
    drop(viewers);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let page = page(Duration::from_secs(1));
    let error = Live::open(page.address()).err().unwrap().to_string();
    assert!(error.contains(&page.address().to_string()) && error.contains("--live"), "{error}");
}
