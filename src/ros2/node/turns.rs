//! Engines take turns at the frames: each looks at what its own listener has, serves what is there, and settles it.
//!
//! Where time runs, each engine has a thread of its own, so that neither waits for the other. Where time stands still
//! between messages, all take their turns in one thread: a bag's next message waits until each has had the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::gaze::{Gaze, Wanted};
use crate::frames::accounts::DropReason;
use crate::frames::clock::Moment;
use crate::frames::frame::Received;
use crate::frames::listener::Verdict;
use crate::ros2::transport::{Pump, Transport};
use crate::supervisor::Supervisor;

/// How often a thread without work looks whether to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// How often a thread looks whether something calls for a turn.
const LOOK: Duration = Duration::from_millis(10);

/// What an engine does in the node.
pub(super) trait Role: Send {
    /// Where its frames arrive.
    fn gaze(&mut self) -> &mut Gaze;

    /// Which frames are to be looked at now, if any are; newer ones take their places meanwhile.
    fn calls(&self) -> Option<Wanted> {
        Some(Wanted::Any)
    }

    /// Does what does not wait for frames; called before every turn.
    fn glance(&self) {}

    /// Which frames somebody else asks about, if anybody does: they take turns with the role's own, and go by no rate.
    fn guest(&mut self) -> Option<Wanted> {
        None
    }

    /// As [`Role::serve`], for whoever [`Role::guest`] told of. `alive` is to be called now and then, where it takes long.
    fn serve_guest(
        &mut self,
        frames: &[Received],
        began: Moment,
        stop: &AtomicBool,
        alive: &mut dyn FnMut(),
    ) -> Verdict {
        let _ = (frames, began, stop, alive);
        unreachable!("nobody was told of")
    }

    /// Deals with the frames that the listener has handed out, and says what became of them.
    fn serve(&mut self, frames: &[Received], began: Moment, stop: &AtomicBool) -> Verdict;
}

/// A role with the time of its next turn.
pub(super) struct Turns<'a> {
    role: Box<dyn Role + 'a>,
    frames: Vec<Received>,
    period_ns: Period<'a>,
    /// When the last turn began that was used, in steady time.
    last_ns: Option<i64>,
    /// Whether the last turn was a guest's.
    was_guest: bool,
}

/// Nanoseconds from one turn to the next at least, if there is a limit now.
pub(super) type Period<'a> = Box<dyn Fn() -> Option<i64> + Send + 'a>;

enum Turn {
    Served,
    /// It is not time yet.
    Early(Duration),
    /// Nothing is there.
    Idle,
}

impl<'a> Turns<'a> {
    pub(super) fn new(role: Box<dyn Role + 'a>, period_ns: Period<'a>) -> Self {
        Self { role, frames: Vec::new(), period_ns, last_ns: None, was_guest: false }
    }

    /// A turn of the role's own and one of a guest, if there is one, come by turns; whoever finds no frames leaves it to the other.
    fn take(&mut self, stop: &AtomicBool, alive: &mut dyn FnMut()) -> Turn {
        self.role.glance();
        let Some(wanted) = self.role.guest() else {
            self.was_guest = false;
            return self.take_own(stop);
        };
        if !self.was_guest && self.take_guest(wanted, stop, alive) {
            alive();
            // At once, before anything newer is waited for: its frames may be those that were lent.
            self.take_own(stop);
            return Turn::Served;
        }
        let was_guest = self.was_guest;
        match self.take_own(stop) {
            Turn::Served => Turn::Served,
            _ if was_guest && self.take_guest(wanted, stop, alive) => Turn::Served,
            other => other,
        }
    }

    fn take_guest(&mut self, wanted: Wanted, stop: &AtomicBool, alive: &mut dyn FnMut()) -> bool {
        if !self.role.gaze().take(&mut self.frames, wanted) {
            return false;
        }
        let began = self.role.gaze().clock().now();
        let verdict = self.role.serve_guest(&self.frames, began, stop, alive);
        self.frames.clear();
        self.role.gaze().settle(verdict);
        self.was_guest = true;
        true
    }

    fn take_own(&mut self, stop: &AtomicBool) -> Turn {
        let clock = Arc::clone(self.role.gaze().clock());
        // Asked each time: the rate may change while its turn is awaited.
        let next_ns = self
            .last_ns
            .zip((self.period_ns)())
            .map_or(i64::MIN, |(last, period)| last.saturating_add(period));
        let early_ns = next_ns.saturating_sub(clock.now().steady_ns);
        if let Ok(early_ns @ 1..) = u64::try_from(early_ns) {
            return Turn::Early(Duration::from_nanos(early_ns));
        }
        let Some(wanted) = self.role.calls() else { return Turn::Early(LOOK) };
        if !self.role.gaze().take(&mut self.frames, wanted) {
            return Turn::Idle;
        }
        let began = clock.now();
        let verdict = self.role.serve(&self.frames, began, stop);
        // A look that puts no question leaves the next its turn.
        if verdict != Verdict::Dropped(DropReason::Unchanged) {
            self.last_ns = Some(began.steady_ns);
        }
        // Their buffers are free for what comes next.
        self.frames.clear();
        self.role.gaze().settle(verdict);
        self.was_guest = false;
        Turn::Served
    }
}

/// How many threads [`play`] has for so many roles.
pub(super) fn n_threads(transport: &dyn Transport, n_roles: usize) -> usize {
    if transport.clock().runs() { n_roles } else { 1 }
}

/// Serves until `stop` is set or the transport has no more, and tells the service manager that every thread still comes round.
/// Where time stands still, `heed` is called after each turn.
pub(super) fn play(
    transport: &dyn Transport,
    roles: &mut [Turns<'_>],
    stop: &AtomicBool,
    supervisor: &Supervisor,
    heed: &mut dyn FnMut(),
) {
    if !transport.clock().runs() {
        return in_turn(transport, roles, stop, &mut || {
            supervisor.beat(0);
            heed();
        });
    }
    let Some((first, others)) = roles.split_first_mut() else { return };
    std::thread::scope(|scope| {
        for (i, other) in others.iter_mut().enumerate() {
            scope.spawn(move || {
                in_turn(transport, std::slice::from_mut(other), stop, &mut || supervisor.beat(i + 1))
            });
        }
        in_turn(transport, std::slice::from_mut(first), stop, &mut || supervisor.beat(0));
    });
}

/// Sets a flag when it goes, so that threads end which would wait for one that panicked.
pub(super) struct Ending<'a> {
    pub(super) flag: &'a AtomicBool,
    /// Whether only a panic counts.
    pub(super) only_panics: bool,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.flag.fetch_or(!self.only_panics || std::thread::panicking(), Relaxed);
    }
}

fn in_turn(transport: &dyn Transport, roles: &mut [Turns<'_>], stop: &AtomicBool, beat: &mut dyn FnMut()) {
    // An engine's panic is our bug: the others end too, and it goes on to whoever started the node.
    let _ending = Ending { flag: stop, only_panics: true };
    let runs = transport.clock().runs();
    while !stop.load(Relaxed) {
        beat();
        let pump = transport.pump();
        let (mut is_served, mut early) = (false, None);
        for role in roles.iter_mut() {
            match role.take(stop, beat) {
                Turn::Served => is_served = true,
                Turn::Early(left) => early = Some(left),
                Turn::Idle => {}
            }
        }
        match (early, pump) {
            _ if is_served => {}
            (Some(left), _) if runs => std::thread::sleep(left.min(GLANCE)),
            (_, Pump::Live) => roles[0].role.gaze().wait(GLANCE),
            (_, Pump::Delivered) => {}
            (_, Pump::Ended) => break,
        }
    }
}
