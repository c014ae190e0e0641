//! Which request is answered with what, and whose requests are.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use serde_json::json;

use super::foxglove::{Hub, Robot, Welcome, talk};
use super::http::{Body, Method, Request, Response, Upgrade};
use super::known::{Known, PromptRefusal};
use super::pace::Shared;
use super::pictures::{Pictures, Shown};
use super::server::{Host, Reply};

const PAGE: &str = include_str!("page.html");
/// Nothing from elsewhere, and within nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' blob: data:; \
                      connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// Where Foxglove is, in a browser.
const FOXGLOVE: &str = "https://app.foxglove.dev";
const JSON: &str = "application/json";
const JPEG: &str = "image/jpeg";

/// Answers requests about one node.
#[derive(Default)]
pub(super) struct Routes {
    pub(super) known: Arc<Known>,
    /// All that is known, in JSON.
    state: Shared,
    pictures: Pictures,
    /// What this machine is called, where others may reach it.
    names: Vec<String>,
    pub(super) hub: Arc<Hub>,
    /// Whose pages may connect beside this one.
    origins: Vec<String>,
    /// Viewers who stay.
    n_seated: Arc<AtomicUsize>,
    /// Whether somebody was told how another page may connect.
    is_told: AtomicBool,
}

impl Routes {
    /// Of a page that is served at this address, and pages of these origins beside it.
    pub(super) fn new(address: SocketAddr, origins: &[String]) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        let names = match address.ip().is_loopback() || host.is_empty() {
            true => Vec::new(),
            false => vec![host.to_owned(), format!("{host}.local")],
        };
        let origins = origins.iter().cloned().chain([FOXGLOVE.to_owned()]).collect();
        Self { names, origins, ..Self::default() }
    }

    pub(super) fn answer(&self, request: &Request) -> Response {
        if let Some(words) = self.foreign(request) {
            return Response::words(403, words);
        }
        let (is_get, path) = (request.method != Method::Post, request.path.as_str());
        match path {
            "/" if is_get => {
                let page = Body::Fixed(PAGE.as_bytes());
                Response::new(200, "text/html; charset=utf-8", page).with("Content-Security-Policy", POLICY)
            }
            "/state.json" if is_get => {
                let make = || self.known.json().to_string().into_bytes();
                Response::new(200, JSON, Body::Shared(self.state.get(self.known.version(), make)))
            }
            "/frame.jpg" if is_get => {
                let shown = self.pictures.frame(&self.known);
                let word = |(round, place): (u64, u64)| format!("{round}.{place}");
                picture(shown, word, request, "no frame has come yet that can be shown")
            }
            "/answer.jpg" if is_get => {
                let shown = self.pictures.answer(&self.known);
                picture(shown, |n| n.to_string(), request, "no answer is there yet")
            }
            "/forecast.jpg" if is_get => {
                let shown = self.pictures.forecast(&self.known);
                picture(shown, |n| n.to_string(), request, "no forecast is there yet")
            }
            "/prompt" if !is_get => self.prompt(&request.body),
            "/prompt" => Response::words(405, "the question is set by POST").with("Allow", "POST"),
            "/" | "/state.json" | "/frame.jpg" | "/answer.jpg" | "/forecast.jpg" => {
                Response::words(405, "it can be looked at").with("Allow", "GET, HEAD")
            }
            _ => Response::words(
                404,
                "there are /, /state.json, /frame.jpg, /answer.jpg, /forecast.jpg and POST /prompt",
            ),
        }
    }

    /// Why a request is none of ours to answer: another's name for this machine, or another's page that sends.
    ///
    /// A name is what an attacker can point at this machine (DNS rebinding); an address is not. A browser says whose page sends.
    fn foreign(&self, request: &Request) -> Option<&'static str> {
        if !self.is_ours(&request.host) {
            return Some("this machine is not known by that name: use its address, or localhost");
        }
        let is_sent_by_other = request.origin.as_deref().is_some_and(|origin| !is_same(origin, request))
            || request.fetch_site.as_deref().is_some_and(|site| site != "same-origin" && site != "none");
        (request.method == Method::Post && is_sent_by_other)
            .then_some("another page's requests are not taken: the question is set from this page")
    }

    /// Lets a viewer stay who would go on in WebSocket.
    ///
    /// A browser asks nobody whether a page may connect, and says whose page it is.
    fn welcome(&self, request: &Request, upgrade: &Upgrade) -> Result<Welcome, Response> {
        if let Some(words) = self.foreign(request) {
            return Err(Response::words(403, words));
        }
        if let Some(origin) = &request.origin
            && !is_same(origin, request)
            && !self.origins.iter().any(|one| one.eq_ignore_ascii_case(origin))
        {
            if !self.is_told.swap(true, Relaxed) {
                log::warn!(
                    "live page: a page of {origin:?} would connect and was refused; --live-origin lets it"
                );
            }
            return Err(Response::words(403, "pages of that origin are not let in: see --live-origin"));
        }
        if request.path != "/" {
            return Err(Response::words(404, "it is at /"));
        }
        Welcome::of(upgrade, &self.n_seated)
    }

    fn is_ours(&self, host: &str) -> bool {
        if host.parse::<SocketAddr>().is_ok() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return true;
        }
        let (name, port) = host.split_once(':').unwrap_or((host, "0"));
        let is_known = |known: &str| known.eq_ignore_ascii_case(name);
        port.parse::<u16>().is_ok() && (is_known("localhost") || self.names.iter().any(|one| is_known(one)))
    }

    fn prompt(&self, body: &[u8]) -> Response {
        let told = |status, told: serde_json::Value| {
            Response::new(status, JSON, Body::Made(told.to_string().into_bytes()))
        };
        let Ok(text) = std::str::from_utf8(body) else {
            return told(422, json!({ "error": "the question is no UTF-8" }));
        };
        match self.known.ask(text) {
            Ok(prompt) => told(200, json!({ "prompt": prompt })),
            Err(PromptRefusal::NobodyThere) => told(409, json!({ "error": "no node is there yet" })),
            Err(PromptRefusal::TooOften) => {
                told(429, json!({ "error": "questions are set too often: try again in a second" }))
                    .with("Retry-After", 1)
            }
            Err(PromptRefusal::Refused(error)) => told(422, json!({ "error": error })),
        }
    }
}

impl Host for Routes {
    fn reply(&self, request: &Request) -> Reply {
        match &request.upgrade {
            None => Reply::Says(self.answer(request)),
            Some(upgrade) => self.welcome(request, upgrade).map_or_else(Reply::Says, Reply::Stays),
        }
    }

    fn talk(&self, stream: TcpStream, welcome: &Welcome, stop: &AtomicBool) {
        let Self { known, pictures, hub, .. } = self;
        talk(stream, welcome, Robot { known, pictures, hub }, stop);
    }
}

/// Whether a page of this origin is the one that the request goes to.
fn is_same(origin: &str, request: &Request) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(|host| host.eq_ignore_ascii_case(&request.host))
}

/// A picture with its number; only the number, if the viewer has it already and says so.
fn picture<Number>(
    shown: Option<Shown<Number>>,
    word: impl Fn(Number) -> String,
    request: &Request,
    missing: &str,
) -> Response {
    let Some(Shown { number, jpeg, seen_ns, age_ms, .. }) = shown else {
        return Response::words(404, missing);
    };
    let number = word(number);
    let response = match request.query.strip_prefix("after=") {
        Some(known) if known == number => Response::new(204, JPEG, Body::Fixed(&[])),
        _ => Response::new(200, JPEG, Body::Shared(jpeg)),
    };
    let (seen_ms, age_ms) = (format!("{:.3}", seen_ns as f64 / 1e6), format!("{age_ms:.1}"));
    response.with("X-Number", number).with("X-Seen-Ms", seen_ms).with("X-Age-Ms", age_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, path: &str, host: &str, origin: Option<&str>) -> Request {
        let (path, host, origin) = (path.to_owned(), host.to_owned(), origin.map(str::to_owned));
        Request {
            method,
            path,
            query: String::new(),
            host,
            origin,
            fetch_site: None,
            upgrade: None,
            body: Vec::new(),
        }
    }

    fn status(routes: &Routes, method: Method, path: &str, host: &str, origin: Option<&str>) -> u16 {
        routes.answer(&request(method, path, host, origin)).status
    }

    #[test]
    fn only_names_that_nobody_can_point_here_are_ours() {
        let routes = Routes::new("127.0.0.1:8077".parse().unwrap(), &[]);
        let get = |host: &str| status(&routes, Method::Get, "/", host, None);
        for host in ["127.0.0.1:8077", "localhost:8077", "LOCALHOST", "[::1]:9", "[::1]", "192.168.1.9:1"] {
            assert_eq!(get(host), 200, "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8077",
            "localhost.evil.example:8077",
            "localhost:x",
            "127.0.0.1.evil:1",
        ] {
            assert_eq!(get(host), 403, "{host}");
        }
        let mut open = Routes::new("0.0.0.0:8077".parse().unwrap(), &[]);
        open.names = vec!["robot".to_owned(), "robot.local".to_owned()];
        assert_eq!(status(&open, Method::Get, "/", "Robot.local:8077", None), 200);
        assert_eq!(status(&open, Method::Get, "/", "robot.example:8077", None), 403);
    }

    #[test]
    fn another_page_sets_no_question() {
        let routes = Routes::new("127.0.0.1:8077".parse().unwrap(), &[]);
        let host = "127.0.0.1:8077";
        let post = |origin: Option<&str>| status(&routes, Method::Post, "/prompt", host, origin);
        // Nobody is there who would take it.
        assert_eq!(post(None), 409);
        assert_eq!(post(Some("http://127.0.0.1:8077")), 409);
        for origin in
            ["http://evil.example", "null", "http://127.0.0.1:8078", "http://127.0.0.1", "127.0.0.1:8077"]
        {
            assert_eq!(post(Some(origin)), 403, "{origin}");
        }
        let mut sent = request(Method::Post, "/prompt", host, None);
        for (site, expected) in [("cross-site", 403), ("same-site", 403), ("same-origin", 409), ("none", 409)]
        {
            sent.fetch_site = Some(site.to_owned());
            assert_eq!(routes.answer(&sent).status, expected, "{site}");
        }
    }

    #[test]
    fn pages_of_others_connect_if_they_were_named() {
        let routes = Routes::new("127.0.0.1:8077".parse().unwrap(), &["http://localhost:3000".to_owned()]);
        let connect = |path: &str, host: &str, origin: Option<&str>| {
            let (key, protocols) = ("k".to_owned(), "foxglove.sdk.v1".to_owned());
            let upgrade = Some(Upgrade { key, protocols });
            match routes.reply(&Request { upgrade, ..request(Method::Get, path, host, origin) }) {
                Reply::Says(response) => response.status,
                Reply::Stays(_) => 101,
            }
        };
        let ours = "127.0.0.1:8077";
        for origin in [
            None,
            Some("http://127.0.0.1:8077"),
            Some("https://app.foxglove.dev"),
            Some("http://localhost:3000"),
        ] {
            assert_eq!(connect("/", ours, origin), 101, "{origin:?}");
            assert_eq!(connect("/", "evil.example", origin), 403, "{origin:?}");
        }
        for origin in [
            "null",
            "file://",
            "http://app.foxglove.dev",
            "https://foxglove.dev",
            "http://localhost:3001",
            "",
        ] {
            assert_eq!(connect("/", ours, Some(origin)), 403, "{origin}");
        }
        assert_eq!(connect("/state.json", ours, None), 404);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let routes = Routes::new("127.0.0.1:8077".parse().unwrap(), &[]);
        let of = |method, path: &str| status(&routes, method, path, "localhost", None);
        assert_eq!(of(Method::Get, "/nothing"), 404);
        for path in ["/frame.jpg", "/answer.jpg", "/forecast.jpg"] {
            assert_eq!((of(Method::Get, path), of(Method::Post, path)), (404, 405), "{path}");
        }
        assert_eq!((of(Method::Get, "/prompt"), of(Method::Post, "/")), (405, 405));
        let state = routes.answer(&request(Method::Get, "/state.json", "localhost", None));
        let state: serde_json::Value = serde_json::from_slice(state.body.bytes()).unwrap();
        assert_eq!((&state["state"], &state["node"]), (&json!("waiting"), &serde_json::Value::Null));
    }
}
