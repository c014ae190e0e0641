//! Keeps the network's process: starts it, passes on what it says, and starts it again when it ends.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustdds::GUID;

use super::ring::RingReader;
use super::wire::{self, NEWS_BYTES_MAX, News, Order};
use super::{Images, Shared, Sink, failed};
use crate::frames::accounts::DropReason;
use crate::ros2::messages::ByteOrder;
use crate::ros2::transport::dds::{DdsOptions, Farewell};
use crate::ros2::transport::{Reply, TopicSeen, TransportError};

/// It tells the graph once a second; so long without a word, it hangs.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// An order that cannot be handed over for so long shows the same.
const SEND_MAX: Duration = Duration::from_secs(1);
/// How long it may take to leave.
const LEAVE_MAX: Duration = Duration::from_secs(3);
/// The pause before the next start, so that a start that fails at once does not fill the machine.
const PAUSE: Duration = Duration::from_millis(100);

/// The network's process, and what we share with it.
pub(super) struct Outside {
    pub(super) child: Child,
    news: UnixStream,
    ring: RingReader,
}

impl Shared {
    /// Starts a process and tells it everything that was asked for so far.
    pub(super) fn start(&self) -> io::Result<Outside> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(SEND_MAX))?;
        ours.set_read_timeout(Some(SILENCE_MAX))?;
        let (ring, file) = RingReader::make(self.options.n_slots(), self.options.slot_bytes())?;
        let mut child = Command::new(&self.options.program)
            .arg("transport")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(file))
            // A Ctrl-C of the terminal is for the engine's process, which tells this one.
            .process_group(0)
            .spawn()?;
        match self.tell_all(&ours) {
            Ok(()) => Ok(Outside { child, news: ours, ring }),
            Err(error) => {
                end(&mut child, Duration::ZERO);
                Err(error)
            }
        }
    }

    /// Tells a new process what was asked for so far, and lets others speak to it from then on.
    fn tell_all(&self, ours: &UnixStream) -> io::Result<()> {
        let mut state = self.state();
        let mut line = ours.try_clone()?;
        wire::send(&mut line, &self.options.join())?;
        for order in &state.asked {
            wire::send(&mut line, order)?;
        }
        for (id, body) in &state.latest {
            wire::send(&mut line, &Order::Publish { id: *id, body: body.clone() })?;
        }
        state.line = Some(line);
        Ok(())
    }

    /// Waits for the first news, which is whether the graph was joined.
    pub(super) fn await_joining(&self, outside: &mut Outside) -> Result<Farewell, TransportError> {
        let attempt = "join the domain";
        match wire::receive(&mut outside.news, &mut Vec::new(), NEWS_BYTES_MAX) {
            Ok(News::Joined { guid }) => {
                self.state().guid = guid;
                let DdsOptions { domain_id, reach, .. } = self.options.dds;
                Ok(Farewell::of(GUID::from_bytes(guid), domain_id, reach))
            }
            Ok(News::Refused { attempt, problem }) => Err(TransportError::Dds { attempt, problem }),
            Ok(_) => Err(failed(attempt)("the network's process says something else first")),
            Err(error) => Err(failed(attempt)(error)),
        }
    }

    /// Passes on what comes, and starts the process again when it ends.
    pub(super) fn keep(self: &Arc<Self>, mut outside: Outside, mut farewell: Farewell) {
        loop {
            let ended = self.listen(&mut outside);
            self.state().line = None;
            if self.is_leaving.load(Relaxed) {
                end(&mut outside.child, LEAVE_MAX);
                return;
            }
            let status = end(&mut outside.child, Duration::from_millis(100));
            log::error!("the network's process ended ({ended}; {status}); it starts again");
            // What it had in the graph is gone, and it cannot say so itself.
            drop(farewell);
            (outside, farewell) = loop {
                std::thread::sleep(PAUSE);
                if self.is_leaving.load(Relaxed) {
                    return;
                }
                let started = self.start().map_err(failed("start the network's process"));
                match started.and_then(|mut outside| match self.await_joining(&mut outside) {
                    Ok(farewell) => Ok((outside, farewell)),
                    Err(error) => {
                        end(&mut outside.child, Duration::ZERO);
                        Err(error)
                    }
                }) {
                    Ok(again) => break again,
                    Err(error) => log::error!("{error}"),
                }
            };
        }
    }

    /// Passes on what comes until nothing does, and says why.
    fn listen(self: &Arc<Self>, outside: &mut Outside) -> io::Error {
        let mut scratch = Vec::new();
        loop {
            match wire::receive(&mut outside.news, &mut scratch, NEWS_BYTES_MAX) {
                Ok(news) => self.hear(news, &outside.ring),
                Err(error) => return error,
            }
        }
    }

    fn hear(self: &Arc<Self>, news: News, ring: &RingReader) {
        let mut sinks = self.sinks();
        let order = |is_big| if is_big { ByteOrder::Big } else { ByteOrder::Little };
        match news {
            News::Image { id, writer, sequence, slot, len, is_big } => {
                if let Some(Sink::Images(Images { transport, camera: Some(camera), writers, .. })) =
                    sinks.get_mut(&id)
                {
                    let body = ring.slot(slot, len).ok_or(DropReason::Malformed);
                    let frame = body.and_then(|body| transport.take(camera, body, order(is_big)));
                    let lost = writers.lost_before(writer, sequence);
                    camera.offer_from(u128::from_le_bytes(writer), frame, lost);
                }
                let _ = self.send(&Order::Free { slot });
            }
            News::ImageDropped { id, writer, sequence, reason } => {
                if let Some(Sink::Images(Images { camera: Some(camera), writers, .. })) = sinks.get_mut(&id) {
                    camera.offer(Err(drop_reason(reason)), writers.lost_before(writer, sequence));
                }
            }
            News::Message { id, is_big, body } => {
                if let Some(Sink::Messages(sink)) = sinks.get_mut(&id) {
                    sink(Ok((&body, order(is_big))));
                }
            }
            News::MessageDropped { id, reason } => {
                if let Some(Sink::Messages(sink)) = sinks.get_mut(&id) {
                    sink(Err(drop_reason(reason)));
                }
            }
            News::Request { id, request, is_big, body } => {
                let Some(Sink::Requests(handler)) = sinks.get_mut(&id) else { return };
                // A reply that waits does not hold what it would be sent by.
                let shared = Arc::downgrade(self);
                let send = move |reply: Option<Vec<u8>>| {
                    let is_given = reply.is_some();
                    let order = Order::Reply { request, is_given, body: reply.unwrap_or_default() };
                    if let Some(shared) = shared.upgrade() {
                        // A process that has ended is not waited for.
                        let _ = shared.send(&order);
                    }
                };
                handler(&body, order(is_big), Reply::by(send));
            }
            News::Graph(topics) => {
                let topic =
                    |(name, ros_type, publishers, subscribers): (String, String, u32, u32)| TopicSeen {
                        name,
                        ros_type,
                        publishers: publishers as usize,
                        subscribers: subscribers as usize,
                    };
                self.state().graph = topics.into_iter().map(topic).collect();
            }
            News::Reception { topic, reception } => {
                let is_ours = |sink: &Sink| matches!(sink, Sink::Images(images) if images.topic == topic);
                if sinks.values().any(is_ours) {
                    self.state().receptions.insert(topic, reception);
                }
            }
            News::Full { id } => self.state().full.push(id),
            News::Refused { attempt, problem } => log::error!("DDS: cannot {attempt}: {problem}"),
            News::Joined { .. } => {}
        }
    }
}

fn drop_reason(index: u8) -> DropReason {
    DropReason::ALL.get(usize::from(index)).copied().unwrap_or(DropReason::Malformed)
}

/// Waits for a process to end, at most so long, then ends it; says how it went.
pub(super) fn end(child: &mut Child, patience: Duration) -> String {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            _ => break,
        }
    }
    // It is there, and is ours.
    drop(child.kill());
    child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
}
