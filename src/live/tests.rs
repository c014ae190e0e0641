//! The page against viewers of every kind, without a node.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::time::Instant;

use super::*;
use crate::scenes::Rng;

/// Longer than anything here takes.
const AGES: Duration = Duration::from_secs(60);
/// Never, as far as a test is concerned.
const NEVER: Duration = Duration::from_secs(3600);

fn n_viewers(page: &Live) -> usize {
    page.doors.n_viewers.load(Relaxed)
}

fn connect(page: &Live) -> TcpStream {
    let stream = TcpStream::connect(page.address()).unwrap();
    stream.set_read_timeout(Some(AGES)).unwrap();
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
    let deadline = Instant::now() + AGES;
    loop {
        assert!(Instant::now() < deadline, "there is never room for {path}");
        let answer = String::from_utf8(ask(page, request.as_bytes())).unwrap();
        if !answer.is_empty() && !answer.starts_with("HTTP/1.1 503") {
            return answer;
        }
    }
}

fn page(patience: Duration) -> Live {
    Live::open_within("127.0.0.1:0".parse().unwrap(), &[], Limits { patience, ..LIMITS }).unwrap()
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
fn origins_are_written_as_browsers_write_them() {
    for good in ["https://app.example.org", "http://localhost:8080", "file://", "http://[::1]:8080"] {
        assert_eq!(origin(good).as_deref(), Ok(good));
    }
    for bad in
        ["", "*", "null", "localhost:8080", "http://localhost:8080/", "https://*.example.org", "://host"]
    {
        assert!(origin(bad).unwrap_err().contains("expected SCHEME"), "{bad}");
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
        let is_ours = !answer.starts_with(b"HTTP/1.1 5");
        assert!(
            is_ours || [&b"HTTP/1.1 501"[..], b"HTTP/1.1 503"].iter().any(|fine| answer.starts_with(fine)),
            "{i}: {answer:?}"
        );
        if i % 500 == 0 {
            assert!(ask_well(&page, "/").starts_with("HTTP/1.1 200 OK"), "{i}");
        }
    }
    assert!(ask_well(&page, "/state.json").contains("\"waiting\""));
}

/// What a viewer hears until nothing more comes.
fn hear(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Viewers who all say half of a request, once the page has as many of them as it takes.
fn halves(page: &Live, n: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for i in 1..=n {
        let mut stream = connect(page);
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: ");
        streams.push(stream);
        let deadline = Instant::now() + AGES;
        while n_viewers(page) < i.min(LIMITS.viewers) {
            assert!(Instant::now() < deadline, "{} viewers of {i}", n_viewers(page));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(n_viewers(page) <= LIMITS.viewers, "{}", n_viewers(page));
    }
    streams
}

#[test]
fn viewers_who_never_end_are_few_and_the_others_hear_it() {
    let page = page(NEVER);
    let mut viewers = halves(&page, 48);
    for turned_away in viewers.drain(LIMITS.viewers..) {
        let answer = hear(turned_away);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After: 1\r\n"), "{answer:?}");
    }
    assert_eq!(n_viewers(&page), LIMITS.viewers);
    // They end, and there is room.
    drop(viewers);
    assert!(ask_well(&page, "/").ends_with("</html>\n"));
}

#[test]
fn viewers_who_never_end_are_left_in_the_end() {
    let page = page(Duration::from_millis(100));
    let (half, nothing) = (connect(&page), connect(&page));
    let _ = (&half).write_all(b"GET / HTTP/1.1\r\nHost: ");
    for dead in [half, nothing] {
        assert!(hear(dead).starts_with("HTTP/1.1 408"));
    }
}

#[test]
fn a_page_ends_though_a_viewer_does_not() {
    let page = page(NEVER);
    let viewers = halves(&page, LIMITS.viewers);
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        drop(page);
        let _ = done.send(());
    });
    assert!(is_done.recv_timeout(AGES).is_ok(), "it waits for a viewer");
    drop(viewers);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let page = page(Duration::from_secs(1));
    let error = Live::open(page.address(), &[]).err().unwrap().to_string();
    assert!(error.contains(&page.address().to_string()) && error.contains("--live"), "{error}");
}
