//! Takes connections, a bounded number at a time, and gives each so much time and no more.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::foxglove::Welcome;
use super::http::{Bounds, Failure, Method, Request, Response, read};

/// How often a thread that waits looks whether to stop.
const GLANCE: Duration = Duration::from_millis(200);
/// How long is waited for a viewer to take its answer in, once everything was handed to the kernel.
const FAREWELL: Duration = Duration::from_millis(500);
/// Bytes that are taken and thrown away meanwhile.
const FAREWELL_BYTES: usize = 64 << 10;
/// Viewers who were turned away and are still seen off; whoever came before them must do without.
const LEAVING_MAX: usize = 32;
/// How often it is looked whether these have gone.
const LEAVING_GLANCE: Duration = Duration::from_millis(10);
/// How much the page stands back for engines where there are processors for one of them.
const NICENESS: i32 = 5;
/// The name of a connection's thread.
const THREAD_NAME: &str = "live viewer";

/// What a viewer may ask of us.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) bounds: Bounds,
    /// From a connection's beginning to its end.
    pub(super) patience: Duration,
    /// Connections at a time.
    pub(super) viewers: usize,
}

/// What others know of a page that is served, and tell it.
#[derive(Debug, Default)]
pub(super) struct Doors {
    /// Ends it.
    pub(super) stop: AtomicBool,
    /// Connections that are being served.
    pub(super) n_viewers: AtomicUsize,
}

/// What becomes of a request.
pub(super) enum Reply {
    /// It is answered, and the connection ends.
    Says(Response),
    /// The viewer stays.
    Stays(Welcome),
}

/// Whoever viewers come to.
pub(super) trait Host: Sync {
    /// Says what becomes of a request.
    fn reply(&self, request: &Request) -> Reply;

    /// Talks with a viewer who stays, until it goes or it is to stop.
    fn talk(&self, stream: TcpStream, welcome: &Welcome, stop: &AtomicBool);
}

/// Serves until it is told to stop; every thread has ended then.
pub(super) fn serve(listener: &TcpListener, limits: Limits, doors: &Doors, host: &dyn Host) {
    let Doors { stop, n_viewers } = doors;
    // Of this thread alone, and of those that it starts. Whoever may not is served all the same.
    let _ = rustix::process::nice(NICENESS);
    // On Linux it holds for `accept` too.
    if let Err(error) = set_socket_timeout(listener, Timeout::Recv, Some(GLANCE)) {
        log::warn!("live page: {error}: nobody is served");
        return;
    }
    let mut is_failing = false;
    std::thread::scope(|scope| {
        let (leaving, leave) = sync_channel(LEAVING_MAX);
        let seeing_off = std::thread::Builder::new().name("live door".to_owned());
        if let Err(error) = seeing_off.spawn_scoped(scope, move || see_off(&leave)) {
            log::warn!("live page: {error}: whoever is turned away may not hear it");
        }
        while !stop.load(Relaxed) {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if is_of_time(&error) => continue,
                Err(error) => {
                    // Too many open files, say: it passes, or is the same each time.
                    if !std::mem::replace(&mut is_failing, true) {
                        log::warn!("live page: {error}");
                    }
                    std::thread::sleep(GLANCE);
                    continue;
                }
            };
            is_failing = false;
            if limits.viewers <= n_viewers.load(Relaxed) {
                turn_away(stream, limits.viewers, &leaving);
                continue;
            }
            let place = Place::take(n_viewers);
            let viewer = move || {
                let _place = place;
                attend(stream, limits, stop, host);
            };
            // Where there is no thread to be had the connection ends, and the next may fare better.
            let _ = std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn_scoped(scope, viewer);
        }
    });
}

/// One of the places of viewers.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(n_viewers: &'a AtomicUsize) -> Self {
        n_viewers.fetch_add(1, Relaxed);
        Self(n_viewers)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn is_of_time(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Says that there is no room, to whoever hears it without being waited for.
fn turn_away(mut stream: TcpStream, viewers: usize, leaving: &SyncSender<TcpStream>) {
    if stream.set_nonblocking(true).is_ok() {
        let words = format!("{viewers} connections are open, which is as many as are served");
        let _ = Response::words(503, &words).with("Retry-After", 1).write(&mut stream, true);
        let _ = stream.shutdown(Shutdown::Write);
        // Where too many leave at once, some go without having heard it.
        let _ = leaving.try_send(stream);
    }
}

/// Takes in what those who leave still say, for a while: as [`Line::part`], of all of them at once.
fn see_off(leave: &Receiver<TcpStream>) {
    let mut leaving: VecDeque<(TcpStream, Instant)> = VecDeque::with_capacity(LEAVING_MAX);
    loop {
        let next = match leaving.is_empty() {
            true => leave.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => leave.recv_timeout(LEAVING_GLANCE),
        };
        match next {
            Ok(stream) => {
                if leaving.len() == LEAVING_MAX {
                    leaving.pop_front();
                }
                leaving.push_back((stream, Instant::now() + FAREWELL));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        leaving.retain_mut(|(stream, end)| {
            // A piece at a time, so that whoever sends without end is no work without end.
            let mut piece = [0; 1024];
            match stream.read(&mut piece) {
                Ok(n) => 0 < n && Instant::now() < *end,
                Err(error) => is_of_time(&error) && Instant::now() < *end,
            }
        });
    }
}

fn attend(stream: TcpStream, limits: Limits, stop: &AtomicBool, host: &dyn Host) {
    let mut line = Line { stream, deadline: Instant::now() + limits.patience, stop };
    let (response, with_body) = match read(&mut line, limits.bounds) {
        Ok(request) => match host.reply(&request) {
            Reply::Says(response) => (response, request.method != Method::Head),
            Reply::Stays(welcome) => return host.talk(line.stream, &welcome, stop),
        },
        Err(Failure::Refused(status, words)) => {
            // Whoever was too slow hears at least that.
            line.deadline = line.deadline.max(Instant::now() + FAREWELL);
            (Response::words(status, words), true)
        }
        Err(Failure::Gone) => return,
    };
    if response.write(&mut line, with_body).is_ok() {
        line.part();
    }
}

/// A connection with an end.
struct Line<'a> {
    stream: TcpStream,
    deadline: Instant,
    stop: &'a AtomicBool,
}

impl Line<'_> {
    /// Does something that may take until the deadline, a glance at a time.
    fn patiently(
        &mut self,
        side: Timeout,
        mut attempt: impl FnMut(&mut TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stop.load(Relaxed) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            set_socket_timeout(&self.stream, side, Some(left.min(GLANCE)))?;
            match attempt(&mut self.stream) {
                Err(error) if is_of_time(&error) => {}
                done => return done,
            }
        }
    }

    /// Lets the viewer take in what was written: a connection that is closed with bytes unread takes the answer with it.
    fn part(mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        self.deadline = self.deadline.min(Instant::now() + FAREWELL);
        let (mut piece, mut n_bytes) = ([0; 1024], 0);
        while let Ok(n @ 1..) = self.read(&mut piece) {
            n_bytes += n;
            if FAREWELL_BYTES < n_bytes {
                break;
            }
        }
    }
}

impl Read for Line<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.patiently(Timeout::Recv, |stream| stream.read(into))
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(Timeout::Send, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
