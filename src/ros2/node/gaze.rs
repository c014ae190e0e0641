//! Says which frames the next question is about: those of a camera whose turn it is, or the newest of all cameras.
//!
//! Turns go round among the cameras that have something new, so that a fast one does not starve a slow one. Frames of all cameras
//! are the newest of each, if they were seen within the tolerance; if not, the oldest can never find its companion, since what
//! comes is newer still, and makes room. Nothing is waited for here: a camera that is silent is left out of the turns, or leaves the
//! question unasked, which the watch says.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::board::{Board, Summary};
use super::cameras::Cameras;
use crate::frames::accounts::DropReason;
use crate::frames::bell::Bell;
use crate::frames::clock::Clock;
use crate::frames::frame::Received;
use crate::frames::listener::{Listener, Verdict, Waiting};

/// Where an engine hears one camera.
#[derive(Clone)]
pub(super) struct Eye {
    /// What the camera is called, if it has a name.
    pub(super) name: Option<String>,
    pub(super) listener: Arc<Listener>,
    /// Of the questions about it; eyes that are asked about together have one.
    pub(super) board: Arc<Board>,
}

/// What was done about all these cameras, if there are any; those that share a board were asked about together.
pub(super) fn summary(eyes: &[Eye]) -> Option<Summary> {
    let mut whole: Option<Summary> = None;
    for (i, eye) in eyes.iter().enumerate() {
        let accounts = eye.listener.accounts();
        let is_known = eyes[..i].iter().any(|other| Arc::ptr_eq(&other.board, &eye.board));
        match &mut whole {
            Some(whole) if is_known => whole.accounts += accounts,
            Some(whole) => whole.join(eye.board.summary(accounts)),
            None => whole = Some(eye.board.summary(accounts)),
        }
    }
    whole
}

/// Of which cameras frames are wanted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Of the one whose turn it is, or of all.
    Any,
    /// Of this one, and of the others only if all are asked about.
    Of(usize),
    /// Of this one alone, whoever's turn it is.
    Only(usize),
    /// The newest of the first one, which stay there for the next question, and may have been those of the last.
    Lent,
}

/// How the frames of several cameras find together.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    /// Frames that found no companion since a question was last put.
    passed: AtomicU64,
    /// How far the last of them was from the newest.
    apart_ns: AtomicI64,
}

impl Pairing {
    /// Frames that found no companion since some did, and how far the last was away.
    pub(super) fn apart(&self) -> (u64, Duration) {
        let apart_ns = u64::try_from(self.apart_ns.load(Relaxed)).unwrap_or(0);
        (self.passed.load(Relaxed), Duration::from_nanos(apart_ns))
    }
}

/// What an engine looks at.
pub(super) struct Gaze {
    eyes: Vec<Eye>,
    bell: Arc<Bell>,
    /// How far apart frames may be that are asked about together; none where they are not.
    tolerance_ns: Option<i64>,
    pairing: Arc<Pairing>,
    /// Whose turn was last.
    last: usize,
    /// Those of the question that was taken: one with all frames, or several with one each.
    asked: Vec<usize>,
    /// A frame on its way.
    one: Vec<Received>,
}

impl Gaze {
    /// At these cameras, of which there is at least one.
    pub(super) fn new(eyes: Vec<Eye>, cameras: &Cameras) -> Self {
        let bell = Arc::new(Bell::default());
        // One is waited for by itself.
        if 1 < eyes.len() {
            eyes.iter().for_each(|eye| eye.listener.rings(&bell));
        }
        let tolerance_ns = (cameras.are_asked_together() && 1 < eyes.len())
            .then(|| i64::try_from(cameras.tolerance.as_nanos()).unwrap_or(i64::MAX));
        let (last, asked, one) = (eyes.len() - 1, Vec::with_capacity(eyes.len()), Vec::with_capacity(1));
        Self { eyes, bell, tolerance_ns, pairing: Arc::default(), last, asked, one }
    }

    pub(super) fn eyes(&self) -> &[Eye] {
        &self.eyes
    }

    /// How frames find together, where they are to.
    pub(super) fn pairing(&self) -> Option<Arc<Pairing>> {
        self.tolerance_ns.map(|_| Arc::clone(&self.pairing))
    }

    pub(super) fn clock(&self) -> &Arc<Clock> {
        self.eyes[0].listener.clock()
    }

    /// How old a frame may be when what is made of it is published.
    pub(super) fn max_age_ns(&self) -> i64 {
        self.eyes[0].listener.max_age_ns()
    }

    /// Waits until there may be something to do, at most `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        match &self.eyes[..] {
            [eye] => eye.listener.wait(timeout),
            _ => self.bell.wait(timeout),
        }
    }

    /// Moves the frames of the next question into `frames`, and says whether there is one: of one camera, oldest first, or of all, in
    /// their order. The caller owes a [`Gaze::settle`].
    pub(super) fn take(&mut self, frames: &mut Vec<Received>, wanted: Wanted) -> bool {
        frames.clear();
        self.asked.clear();
        match (self.tolerance_ns, wanted) {
            (_, Wanted::Only(camera)) => {
                let is_there = self.eyes[camera].listener.take(frames);
                self.asked.extend(is_there.then_some(camera));
                is_there
            }
            (_, Wanted::Lent) => {
                let is_there = self.eyes[0].listener.lend(frames);
                self.asked.extend(is_there.then_some(0));
                is_there
            }
            (Some(tolerance_ns), _) => self.take_all(frames, tolerance_ns),
            (None, _) => self.take_next(frames, wanted),
        }
    }

    fn take_next(&mut self, frames: &mut Vec<Received>, wanted: Wanted) -> bool {
        let n = self.eyes.len();
        let mut turns = (1..=n).map(|i| (self.last + i) % n);
        let is_wanted = |i: usize| wanted == Wanted::Any || wanted == Wanted::Of(i);
        let next = turns.find(|i| is_wanted(*i) && self.eyes[*i].listener.take(frames));
        if let Some(next) = next {
            self.last = next;
            self.asked.push(next);
        }
        next.is_some()
    }

    fn take_all(&mut self, frames: &mut Vec<Received>, tolerance_ns: i64) -> bool {
        let (mut oldest, mut newest_ns) = (None, i64::MIN);
        for eye in &self.eyes {
            let Some(waiting) = eye.listener.waiting() else { return false };
            newest_ns = newest_ns.max(waiting.seen_ns);
            if oldest.is_none_or(|(_, known): (&Eye, Waiting)| waiting.seen_ns < known.seen_ns) {
                oldest = Some((eye, waiting));
            }
        }
        let (eye, oldest) = oldest.expect("there is an eye");
        let apart_ns = newest_ns.saturating_sub(oldest.seen_ns);
        if tolerance_ns < apart_ns {
            eye.listener.pass_over(oldest, DropReason::Unpaired);
            self.pairing.apart_ns.store(apart_ns, Relaxed);
            self.pairing.passed.fetch_add(1, Relaxed);
            return false;
        }
        for (i, eye) in self.eyes.iter().enumerate() {
            if eye.listener.take(&mut self.one) {
                frames.append(&mut self.one);
                self.asked.push(i);
            }
        }
        // A newer frame may have come, or one grown too old, since they were looked at.
        let seen = || frames.iter().map(|received| received.seen_ns);
        let apart_ns = seen().max().unwrap_or(0).saturating_sub(seen().min().unwrap_or(0));
        if self.asked.len() < self.eyes.len() || tolerance_ns < apart_ns {
            frames.clear();
            self.settle(Verdict::Dropped(DropReason::Unpaired));
            return false;
        }
        self.pairing.passed.store(0, Relaxed);
        true
    }

    /// Says what became of the question that was taken.
    pub(super) fn settle(&mut self, verdict: Verdict) {
        let is_together = self.is_together();
        for (i, eye) in self.asked.drain(..).map(|i| &self.eyes[i]).enumerate() {
            eye.listener.settle(match verdict {
                Verdict::Rejected(bad, reason) if is_together && bad == i => Verdict::Rejected(0, reason),
                Verdict::Rejected(..) if is_together => Verdict::Dropped(DropReason::Unpaired),
                other => other,
            });
        }
    }

    /// Whether the question that was taken is about several cameras.
    fn is_together(&self) -> bool {
        1 < self.asked.len()
    }

    /// The cameras of the question that was taken, each by its number and with its newest frame.
    pub(super) fn asked<'a>(&'a self, frames: &'a [Received]) -> impl Iterator<Item = (usize, &'a Received)> {
        let first = frames.len() - self.asked.len();
        self.asked.iter().copied().zip(&frames[first..])
    }

    /// What they are called, if they have names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.asked.iter().filter_map(|i| self.eyes[*i].name.as_deref()).collect()
    }

    /// The frame by which the question's age counts: the newest of a clip, the oldest of several cameras.
    pub(super) fn lead<'f>(&self, frames: &'f [Received]) -> &'f Received {
        let last = frames.last().expect("a question has at least one frame");
        match self.is_together() {
            true => frames.iter().min_by_key(|received| received.deadline_steady_ns).unwrap_or(last),
            false => last,
        }
    }

    /// The board of the cameras of the question that was taken.
    pub(super) fn board(&self) -> &Board {
        &self.eyes[self.asked.first().copied().unwrap_or(0)].board
    }
}
