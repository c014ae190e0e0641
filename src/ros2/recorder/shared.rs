//! What the threads that say and see something share with the one that writes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::file::Channel;
use super::options::{RecordWhen, RecorderOptions};
use super::queue::{Entry, Queue};
use crate::frames::clock::{Clock, Moment};
use crate::frames::frame::Received;

/// How long a loss is a trouble.
const LOSS_NS: i64 = 5_000_000_000;

pub(super) struct Shared {
    pub(super) options: RecorderOptions,
    state: Mutex<State>,
    /// Something is to be written, or it is over.
    work: Condvar,
    /// There is room again.
    room: Condvar,
    pub(super) counts: Counts,
}

struct State {
    queue: Queue,
    channels: Vec<Channel>,
    /// Frames that come until then are written, in steady time.
    wanted_until_ns: i64,
    last_loss_ns: Option<i64>,
    /// Whether no more will come.
    is_closing: bool,
    /// Why nothing is recorded any more, before it was closed.
    ended: Option<String>,
}

/// What was recorded, and what was not.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) messages: AtomicU64,
    /// Those of a camera among them.
    pub(super) frames: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Messages that found no room.
    pub(super) lost: AtomicU64,
}

/// What the writing thread does next.
pub(super) enum Next {
    /// Writes this; these topics are new with it.
    Message(Entry, Vec<Channel>),
    /// Nothing came for a while.
    Idle,
    /// Nothing will come; these topics had no message.
    Closed(Vec<Channel>),
}

impl Shared {
    pub(super) fn new(options: RecorderOptions) -> Self {
        // Only a surprise asks for frames of so long ago.
        let patience = if options.when == RecordWhen::Surprise { options.around } else { Duration::ZERO };
        let queue = Queue::new(options.buffer_bytes, nanoseconds(patience));
        let state = State {
            queue,
            channels: Vec::new(),
            wanted_until_ns: i64::MIN,
            last_loss_ns: None,
            is_closing: false,
            ended: None,
        };
        let (work, room, counts) = Default::default();
        Self { options, state: Mutex::new(state), work, room, counts }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a topic among all.
    pub(super) fn channel(&self, topic: &str, ros_type: &str) -> usize {
        let mut state = self.state();
        let channel = Channel { topic: topic.to_owned(), ros_type: ros_type.to_owned() };
        let known = state.channels.iter().position(|known| *known == channel);
        known.unwrap_or_else(|| {
            state.channels.push(channel);
            state.channels.len() - 1
        })
    }

    /// Takes a message in, of a camera if it has the identity of a frame. Where time runs, one without room is counted and gone; where it
    /// stands still, what is said waits for room.
    pub(super) fn offer(
        &self,
        channel: usize,
        bytes: &[u8],
        is_big_endian: bool,
        frame: Option<usize>,
        clock: &Clock,
    ) {
        let received = clock.now();
        let mut state = self.state();
        let mut body = loop {
            if state.ended.is_some() || state.is_closing {
                return;
            }
            if let Some(body) = state.queue.room(bytes.len(), frame.is_some(), received) {
                break body;
            }
            if clock.runs() || !state.queue.is_busy() {
                frame.iter().for_each(|frame| state.queue.lose_frame(*frame));
                self.lose(&mut state, received);
                return;
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        body.fill(bytes);
        let mut state = self.state();
        let is_wanted = frame.is_none()
            || match self.options.when {
                RecordWhen::Always => true,
                RecordWhen::Surprise => received.steady_ns <= state.wanted_until_ns,
                RecordWhen::Used | RecordWhen::Never => false,
            };
        let frame = frame.unwrap_or(0);
        state.queue.push(Entry { channel, received, is_big_endian, frame, body }, is_wanted);
        if is_wanted {
            self.work.notify_one();
        }
    }

    fn lose(&self, state: &mut State, received: Moment) {
        state.last_loss_ns = Some(received.steady_ns);
        self.counts.lost.fetch_add(1, Relaxed);
    }

    /// An engine looks at these frames.
    fn used(&self, frames: &[Received]) {
        if self.options.when != RecordWhen::Used {
            return;
        }
        let mut state = self.state();
        for received in frames {
            if !state.queue.want_frame(Arc::as_ptr(&received.frame) as usize) {
                self.lose(&mut state, received.receipt);
            }
        }
        self.work.notify_one();
    }

    /// A frame that was received then lies far from its forecast.
    fn surprised(&self, received: Moment) {
        if self.options.when != RecordWhen::Surprise {
            return;
        }
        let around_ns = nanoseconds(self.options.around);
        let from_ns = received.steady_ns.saturating_sub(around_ns);
        let until_ns = received.steady_ns.saturating_add(around_ns);
        let mut state = self.state();
        state.wanted_until_ns = state.wanted_until_ns.max(until_ns);
        state.queue.want_between(from_ns, until_ns);
        self.work.notify_one();
    }

    /// The next thing to do for a writer that knows so many topics; where nothing comes for `patience`, it says so.
    pub(super) fn next(&self, n_known: usize, patience: Duration) -> Next {
        let mut state = self.state();
        loop {
            if let Some(entry) = state.queue.pop() {
                let n = n_known.max(entry.channel + 1);
                return Next::Message(entry, state.channels[n_known..n].to_vec());
            }
            if state.is_closing {
                return Next::Closed(state.channels[n_known..].to_vec());
            }
            let waited = self.work.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() && !state.queue.has_work() && !state.is_closing {
                return Next::Idle;
            }
        }
    }

    /// Takes back the room of a message that was copied out.
    pub(super) fn give_back(&self, entry: Entry) {
        self.state().queue.give_back(entry.body);
        self.room.notify_all();
    }

    /// Nothing is recorded any more.
    pub(super) fn end(&self, why: String) {
        let mut state = self.state();
        state.ended = Some(why);
        state.queue.clear();
        self.room.notify_all();
    }

    /// What came is written, and nothing else comes.
    pub(super) fn close(&self) {
        self.state().is_closing = true;
        self.work.notify_one();
        self.room.notify_all();
    }

    fn troubles(&self, now_ns: i64) -> Vec<String> {
        let state = self.state();
        if let Some(why) = &state.ended {
            return vec![format!("nothing is recorded any more: {why}")];
        }
        let mut troubles = Vec::new();
        if state.last_loss_ns.is_some_and(|last_ns| now_ns.saturating_sub(last_ns) < LOSS_NS) {
            let lost = self.counts.lost.load(Relaxed);
            troubles.push(format!("{lost} messages were not recorded: more comes than can be written"));
        }
        if let Some(held_ns) = state.queue.shortest_ns() {
            let (held_s, around_s) = (held_ns as f64 / 1e9, self.options.around.as_secs_f64());
            troubles.push(format!(
                "the recorder holds the frames of {held_s:.1} s, and --record-seconds is {around_s}: raise --record-buffer"
            ));
        }
        troubles
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// The recording of what a node says and sees, if there is one.
#[derive(Clone, Default)]
pub struct Recording(pub(super) Option<Arc<Shared>>);

impl Recording {
    /// Whether anything is recorded.
    pub fn goes_on(&self) -> bool {
        self.0.is_some()
    }

    /// An engine looks at these frames.
    pub fn used(&self, frames: &[Received]) {
        if let Some(shared) = &self.0 {
            shared.used(frames);
        }
    }

    /// A frame that was received then lies far from its forecast.
    pub fn surprised(&self, received: Moment) {
        if let Some(shared) = &self.0 {
            shared.surprised(received);
        }
    }

    /// What is wrong with it at this moment of steady time.
    pub fn troubles(&self, now_ns: i64) -> Vec<String> {
        self.0.as_ref().map(|shared| shared.troubles(now_ns)).unwrap_or_default()
    }

    /// What diagnostics show of it.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, String)> {
        let counts = self.0.as_ref().map(|shared| &shared.counts);
        counts.into_iter().flat_map(|counts| {
            [
                ("recorded", &counts.messages),
                ("recorded_bytes", &counts.bytes),
                ("recording_lost", &counts.lost),
            ]
            .map(|(name, count)| (name, count.load(Relaxed).to_string()))
        })
    }
}

impl PartialEq for Recording {
    /// Whether it is the same one.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

#[cfg(test)]
#[test]
fn frames_that_gave_way_are_missed_by_who_waits_or_looks_at_them() {
    let clock = Clock::system();
    for (when, held_too_short) in [(RecordWhen::Used, false), (RecordWhen::Surprise, true)] {
        let options = RecorderOptions { when, buffer_bytes: 1 << 20, ..RecorderOptions::new("a.mcap") };
        let shared = Shared::new(options);
        let channel = shared.channel("/image", "sensor_msgs/msg/Image");
        for frame in 1..=8 {
            shared.offer(channel, &vec![0; 300_000], false, Some(frame), &clock);
        }
        let troubles = || shared.troubles(clock.now().steady_ns).join("; ");
        assert_eq!(troubles().contains("--record-seconds"), held_too_short, "{when:?}: {}", troubles());
        assert!(!troubles().contains("not recorded"), "{when:?}: nobody has asked for them");
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a recording" } else { "no recording" })
    }
}
