//! As much of HTTP/1.1 (RFC 9112) as a page, its pictures and one text field need: one request a connection, bounded in bytes and time.
//!
//! Why no connection is kept for more requests: a viewer that holds none cannot keep another out.

use std::io::{self, Read, Write};
use std::sync::Arc;

/// Headers of a request at most.
const HEADERS_MAX: usize = 64;
/// What ends a head.
const END: &[u8] = b"\r\n\r\n";

/// How large a request may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) head_bytes: usize,
    pub(super) body_bytes: usize,
}

/// What is done to what a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    /// As `Get`, without the body.
    Head,
    Post,
}

/// A request, as far as anything here depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    /// What stands behind the question mark.
    pub(super) query: String,
    pub(super) host: String,
    /// Whose page asks, where a browser says so.
    pub(super) origin: Option<String>,
    pub(super) fetch_site: Option<String>,
    /// If the viewer would go on in WebSocket.
    pub(super) upgrade: Option<Upgrade>,
    pub(super) body: Vec<u8>,
}

/// A wish to go on in WebSocket (RFC 6455, 4.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upgrade {
    /// What the answer is derived from.
    pub(super) key: String,
    /// The subprotocols that the viewer speaks, with commas between them.
    pub(super) protocols: String,
}

/// Why there is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is answered so.
    Refused(u16, &'static str),
    /// Nobody is there any more.
    Gone,
}

use Failure::{Gone, Refused};

const CUT_SHORT: Failure = Refused(400, "the request is cut short");

/// Reads one request.
///
/// # Errors
/// If it is none that is served, or does not come in time.
pub(super) fn read(stream: &mut dyn Read, bounds: Bounds) -> Result<Request, Failure> {
    let mut bytes = Vec::new();
    let head_len = loop {
        let n_known = bytes.len();
        if bounds.head_bytes <= n_known {
            return Err(Refused(431, "the head of the request is too large"));
        }
        if read_some(stream, &mut bytes, bounds.head_bytes - n_known)? == 0 {
            return Err(if bytes.is_empty() { Gone } else { CUT_SHORT });
        }
        // Looked for in what is new alone: a viewer that sends byte after byte must not cost more than its bytes.
        let from = n_known.saturating_sub(END.len() - 1);
        if let Some(at) = bytes[from..].windows(END.len()).position(|four| four == END) {
            break from + at + END.len();
        }
    };
    let body = bytes.split_off(head_len);
    let (mut request, length) = parse(&bytes)?;
    if bounds.body_bytes < length {
        return Err(Refused(413, "the body is too large"));
    }
    request.body = body;
    while request.body.len() < length {
        let missing = length - request.body.len();
        if read_some(stream, &mut request.body, missing)? == 0 {
            return Err(CUT_SHORT);
        }
    }
    // Who sends more than it said is answered to what it said.
    request.body.truncate(length);
    Ok(request)
}

/// Appends what is there, at most so many bytes; returns how many.
fn read_some(stream: &mut dyn Read, bytes: &mut Vec<u8>, at_most: usize) -> Result<usize, Failure> {
    let mut piece = [0; 1024];
    let room = at_most.min(piece.len());
    loop {
        match stream.read(&mut piece[..room]) {
            Ok(n) => {
                bytes.extend_from_slice(&piece[..n]);
                return Ok(n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(Refused(408, "the request did not come in time"));
            }
            Err(_) => return Err(Gone),
        }
    }
}

/// The request of a whole head, and how many bytes its body has.
fn parse(head: &[u8]) -> Result<(Request, usize), Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(CUT_SHORT),
        Err(httparse::Error::TooManyHeaders) => return Err(Refused(431, "there are too many headers")),
        Err(_) => return Err(Refused(400, "this is no HTTP request")),
    }
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => return Err(Refused(405, "GET, HEAD and POST are served")),
    };
    let one = |name: &'static str| -> Result<Option<&str>, Failure> {
        let mut found = parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let Some(first) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(Refused(400, "a header that is to stand once stands twice"));
        }
        let text = std::str::from_utf8(first.value).map_err(|_| Refused(400, "a header is no text"))?;
        Ok(Some(text.trim()))
    };
    if one("transfer-encoding")?.is_some() {
        return Err(Refused(501, "a body is taken with its length said beforehand"));
    }
    let length = match one("content-length")? {
        // `parse` alone would take a sign.
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| Refused(413, "the body is too large"))?
        }
        Some(_) => return Err(Refused(400, "Content-Length is no number")),
        None if method == Method::Post => return Err(Refused(411, "Content-Length is missing")),
        None => 0,
    };
    let host = one("host")?.ok_or(Refused(400, "the header Host is missing"))?.to_owned();
    let target = parsed.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Err(Refused(400, "the target of the request is no path"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let names = |list: Option<&str>, word: &str| {
        list.is_some_and(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    };
    let is_upgrade = names(one("connection")?, "upgrade") && names(one("upgrade")?, "websocket");
    let upgrade = match is_upgrade && method == Method::Get {
        true if one("sec-websocket-version")? != Some("13") => {
            return Err(Refused(426, "version 13 of WebSocket is spoken"));
        }
        true => {
            let key = one("sec-websocket-key")?.ok_or(Refused(400, "Sec-WebSocket-Key is missing"))?;
            let protocols = one("sec-websocket-protocol")?.unwrap_or_default();
            Some(Upgrade { key: key.to_owned(), protocols: protocols.to_owned() })
        }
        false => None,
    };
    let (origin, fetch_site) = (owned(one("origin")?), owned(one("sec-fetch-site")?));
    let (path, query) = (path.to_owned(), query.to_owned());
    Ok((Request { method, path, query, host, origin, fetch_site, upgrade, body: Vec::new() }, length))
}

/// The bytes of an answer.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Fixed(&'static [u8]),
    Made(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Body {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Made(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// An answer to a request.
#[derive(Debug, Clone)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) media_type: &'static str,
    /// Beside those that all have.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

impl Response {
    pub(super) fn new(status: u16, media_type: &'static str, body: Body) -> Self {
        Self { status, media_type, headers: Vec::new(), body }
    }

    /// One line of words.
    pub(super) fn words(status: u16, words: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", Body::Made(format!("{words}\n").into_bytes()))
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Writes it, without its body if so asked.
    ///
    /// # Errors
    /// What the stream says.
    pub(super) fn write(&self, stream: &mut dyn Write, with_body: bool) -> io::Result<()> {
        let body = self.body.bytes();
        let (status, reason) = (self.status, reason(self.status));
        // Nothing is kept, shown within another's page, or read by one.
        let mut head = format!(
            "HTTP/1.1 {status} {reason}\r\nConnection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nX-Frame-Options: DENY\r\n"
        );
        // RFC 9110, 8.6: not even a length of 0.
        if status != 204 {
            let (media_type, length) = (self.media_type, body.len());
            head.push_str(&format!("Content-Type: {media_type}\r\nContent-Length: {length}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        if with_body {
            stream.write_all(body)?;
        }
        stream.flush()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { head_bytes: 8 << 10, body_bytes: 4 << 10 };

    fn taken(text: &str) -> Result<Request, Failure> {
        read(&mut text.as_bytes(), BOUNDS)
    }

    #[test]
    fn a_request_is_taken_in_one_piece_and_byte_by_byte() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let n = 1.min(into.len());
                self.0.read(&mut into[..n])
            }
        }
        let text = "POST /prompt?a=b HTTP/1.1\r\nhost: robot:8077\r\nOrigin: http://robot:8077\r\nContent-Length: 4\r\n\r\nwhat+";
        let request = taken(text).unwrap();
        assert_eq!((request.method, &*request.path, &*request.query), (Method::Post, "/prompt", "a=b"));
        assert_eq!((&*request.host, request.origin.as_deref()), ("robot:8077", Some("http://robot:8077")));
        assert_eq!(request.body, b"what");
        assert_eq!(read(&mut Slow(text.as_bytes()), BOUNDS), Ok(request));
    }

    #[test]
    fn a_wish_for_another_protocol_is_known_by_both_its_headers() {
        let upgrade =
            |lines: &str| taken(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).unwrap().upgrade;
        let rest = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k==\r\nSec-WebSocket-Protocol: a, b\r\n";
        let expected = Upgrade { key: "k==".to_owned(), protocols: "a, b".to_owned() };
        let both = format!("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n{rest}");
        assert_eq!(upgrade(&both), Some(expected));
        for one in
            ["Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Connection: close\r\nUpgrade: h2c\r\n"]
        {
            assert_eq!(upgrade(&format!("{one}{rest}")), None, "{one}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_by_name() {
        let status = |text: &str| match taken(text) {
            Err(Refused(status, _)) => status,
            other => panic!("{text:?}: {other:?}"),
        };
        let host = "Host: a\r\n";
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a"), 400);
        assert_eq!(status(&format!("GET http://a/ HTTP/1.1\r\n{host}\r\n")), 400);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{host}{host}\r\n")), 400);
        assert_eq!(status(&format!("DELETE / HTTP/1.1\r\n{host}\r\n")), 405);
        assert_eq!(status(&format!("POST / HTTP/1.1\r\n{host}\r\n")), 411);
        for length in ["-1", "+1", "1 2", "", "0x10"] {
            assert_eq!(status(&format!("POST / HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n")), 400);
        }
        for length in ["4097", "99999999999999999999999999"] {
            assert_eq!(status(&format!("POST / HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n")), 413);
        }
        assert_eq!(status(&format!("POST / HTTP/1.1\r\n{host}Content-Length: 9\r\n\r\nshort")), 400);
        assert_eq!(status(&format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n")), 501);
        let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
        let version = "Sec-WebSocket-Version: 13\r\n";
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{host}{upgrade}Sec-WebSocket-Key: k\r\n\r\n")), 426);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{host}{upgrade}{version}\r\n")), 400);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(9000))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(80))), 431);
        assert_eq!(taken(""), Err(Gone));
    }
}
