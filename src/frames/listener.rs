//! What one engine hears of a camera: the slot that holds the newest frame, or the ring that holds a clip.
//!
//! A camera offers frames at its own rate; the engine takes a question's worth when it has time. Nothing queues: an offer
//! either replaces what is older or is dropped, and every frame's fate is settled here, under one lock, so that the
//! [`Accounts`] balance at every moment.
//!
//! An engine that forecasts also looks at the frames that follow a clip, to compare them with what it expected. These are
//! kept until it looks again, and no longer than a forecast reaches, so that a slow engine misses none of them.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::frames::accounts::{Accounts, DropReason};
use crate::frames::bell::Bell;
use crate::frames::clip::{Sampling, Step};
use crate::frames::clock::{Clock, Moment};
use crate::frames::frame::{Frame, Received};
use crate::frames::ledger::Ledger;
pub use crate::frames::listening::{ListenerOptions, Verdict};
use crate::frames::stamps::{TimedBy, Timing};

/// Listens to a camera for one engine.
#[derive(Debug)]
pub struct Listener {
    clock: Arc<Clock>,
    options: ListenerOptions,
    /// Of the options, until it is set anew.
    max_age_ns: AtomicI64,
    /// Its own bit in every frame.
    bit: u32,
    state: Mutex<State>,
    changed: Condvar,
    /// Where others are waited for too.
    bell: OnceLock<Arc<Bell>>,
}

/// A question's worth of frames that waits for its turn, by the newest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its place among the frames that were taken in.
    pub place: u64,
    /// When it was seen, in nanoseconds of ROS time.
    pub seen_ns: i64,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    /// Of a clip; single frames are all taken.
    sampling: Option<Sampling>,
    last_receipt: Option<Moment>,
    closed: bool,
    /// Times that something woke the engine without a frame, such as a new prompt.
    nudges: u64,
}

impl Listener {
    pub(super) fn new(options: ListenerOptions, clock: Arc<Clock>, bit: u32) -> Self {
        let is_strict = 0 < options.follow_frames;
        let sampling = (!options.is_single()).then(|| Sampling::new(options.clip_rate_hz, is_strict));
        let ledger = Ledger::new(options);
        let state = Mutex::new(State { ledger, sampling, last_receipt: None, closed: false, nudges: 0 });
        let max_age_ns = AtomicI64::new(nanoseconds(options.max_age));
        Self { clock, options, max_age_ns, bit, state, changed: Condvar::new(), bell: OnceLock::new() }
    }

    /// How it chooses frames.
    pub fn options(&self) -> &ListenerOptions {
        &self.options
    }

    /// The clock that stamps receipts.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Takes what the camera has received, or why it is none, with how many went missing before it.
    pub(super) fn offer(&self, frame: Result<(Arc<Frame>, Timing), DropReason>, lost: u64, receipt: Moment) {
        let mut state = self.lock();
        state.last_receipt = Some(receipt);
        state.ledger.count(lost);
        match frame.and_then(|(frame, timing)| state.admit(self.judge(frame, timing, receipt))) {
            Ok(received) => state.ledger.admit(received),
            Err(reason) => state.ledger.refuse(reason),
        }
        drop(state);
        self.wake();
    }

    /// Rings this bell, too, when there may be something to do. The first one counts.
    pub fn rings(&self, bell: &Arc<Bell>) {
        let _ = self.bell.set(Arc::clone(bell));
    }

    fn wake(&self) {
        self.changed.notify_all();
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }

    /// The time that makes frames old, in steady time. Where it stands still nothing grows old: a bag's frames are as old as they were.
    fn aging_ns(&self) -> Option<i64> {
        self.clock.runs().then(|| self.clock.now().steady_ns)
    }

    /// What [`Listener::take`] would hand out now. Frames that have become too old are dropped instead.
    pub fn waiting(&self) -> Option<Waiting> {
        let now = self.aging_ns();
        let mut state = self.lock();
        state.ledger.expire(now);
        let newest = state.ledger.newest().filter(|_| state.ledger.is_fresh())?;
        Some(Waiting { place: newest.place, seen_ns: newest.seen_ns })
    }

    /// Drops what waits for this reason, unless something newer has come.
    pub fn pass_over(&self, waiting: Waiting, reason: DropReason) {
        let mut state = self.lock();
        if state.ledger.newest().is_some_and(|newest| newest.place == waiting.place) {
            state.ledger.empty_ring(reason);
        }
    }

    /// Moves the newest question's frames into `frames`, oldest first, and says whether there was one. Before the clip stand
    /// those frames that followed the one looked at last, as far as [`ListenerOptions::follow_frames`] says.
    ///
    /// The caller owes a [`Listener::settle`] before the next call. Frames that have become too old are dropped instead.
    pub fn take(&self, frames: &mut Vec<Received>) -> bool {
        frames.clear();
        let now = self.aging_ns();
        self.lock().ledger.take(frames, now)
    }

    /// As [`Listener::take`], for whoever looks beside: the next take hands out what it would have, and what was taken already is lent
    /// as long as nothing newer came.
    pub fn lend(&self, frames: &mut Vec<Received>) -> bool {
        frames.clear();
        let now = self.aging_ns();
        self.lock().ledger.lend(frames, now)
    }

    /// The newest frame that waits, which goes on waiting: for whoever only looks on. It is given however old it is.
    pub fn newest(&self) -> Option<Received> {
        self.look(Received::clone)
    }

    /// Looks for a moment at what [`Listener::newest`] gives, without holding on to it. The camera waits meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&Received) -> T) -> Option<T> {
        self.lock().ledger.newest().map(look)
    }

    /// Says that the frame at this place of the question was compared with a forecast.
    pub fn compared(&self, place: u64) {
        self.lock().ledger.compared(place);
    }

    /// Says what became of the question that [`Listener::take`] handed out.
    pub fn settle(&self, verdict: Verdict) {
        self.lock().ledger.settle(verdict);
    }

    /// Waits until there may be something to do, at most `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let state = self.lock();
        let nudges = state.nudges;
        let idle = |state: &mut State| !state.ledger.is_fresh() && !state.closed && state.nudges == nudges;
        drop(self.changed.wait_timeout_while(state, timeout, idle).unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends a [`Listener::wait`] without a frame.
    pub fn nudge(&self) {
        self.lock().nudges += 1;
        self.wake();
    }

    /// Drops what waits and takes nothing more. A question that is being served is still settled.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.ledger.close();
        drop(state);
        self.wake();
    }

    /// The accounts now; they balance.
    pub fn accounts(&self) -> Accounts {
        self.lock().ledger.accounts()
    }

    /// When the last message arrived, good or bad.
    pub fn last_receipt(&self) -> Option<Moment> {
        self.lock().last_receipt
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says by when a frame must be served.
    fn judge(&self, frame: Arc<Frame>, timing: Timing, receipt: Moment) -> Received {
        let Timing { seen_ns, timed_by, is_suspect: stamp_suspect } = timing;
        let way_ns = receipt.ros_ns.saturating_sub(frame.stamp_ns);
        let spent_ns = if stamp_suspect { 0 } else { way_ns.max(0) };
        let deadline_steady_ns = receipt.steady_ns.saturating_add(self.max_age_ns()).saturating_sub(spent_ns);
        let (place, listener) = (0, self.bit);
        Received { frame, receipt, seen_ns, timed_by, deadline_steady_ns, stamp_suspect, place, listener }
    }

    /// How old a frame may be when what is made of it is published.
    pub fn max_age_ns(&self) -> i64 {
        self.max_age_ns.load(Relaxed)
    }

    /// Lets frames be this old from now on, those that wait for their question included.
    pub fn set_max_age(&self, max_age: Duration) {
        let mut state = self.lock();
        let new_ns = nanoseconds(max_age);
        let longer_ns = new_ns.saturating_sub(self.max_age_ns.swap(new_ns, Relaxed));
        state.ledger.postpone(longer_ns);
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl State {
    /// Decides whether a frame is held; what it takes the place of goes.
    fn admit(&mut self, received: Received) -> Result<Received, DropReason> {
        let reason = match &mut self.sampling {
            _ if self.closed => Err(DropReason::Stopped),
            None => Ok(Some(DropReason::Superseded)),
            Some(_) if received.timed_by == TimedBy::Nothing => Err(DropReason::Untimed),
            Some(sampling) => {
                let last = self.ledger.newest();
                let is_first = last.is_none();
                match sampling.step(last, &received) {
                    Step::OffRate => Err(DropReason::OffRate),
                    Step::Begins if !is_first => Ok(Some(DropReason::ClipRestart)),
                    Step::Begins | Step::Joins => Ok(None),
                }
            }
        };
        match reason {
            Ok(None) => {}
            Ok(Some(reason)) => self.ledger.empty_ring(reason),
            Err(reason) => {
                received.let_go_of_pixels();
                return Err(reason);
            }
        }
        Ok(received)
    }
}
