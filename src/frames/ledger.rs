//! The frames whose fate is open, and the accounts of all others.
//!
//! Every frame that is taken in leaves through one function, which counts it once: [`Accounts`] balance at every moment.

use crate::frames::accounts::{Accounts, DropReason};
use crate::frames::frame::Received;
use crate::frames::listening::{ListenerOptions, Verdict};

/// What one listener holds.
#[derive(Debug)]
pub(super) struct Ledger {
    options: ListenerOptions,
    /// Oldest first.
    held: Vec<Held>,
    accounts: Accounts,
    /// Whether the ring holds a question's worth that was not asked about.
    fresh: bool,
    /// The place of the frame that came last, and of the last that was looked at.
    place: u64,
    looked: u64,
}

#[derive(Debug)]
struct Held {
    received: Received,
    /// Whether it is of the newest question, or follows the last.
    in_ring: bool,
    in_question: bool,
    /// Whether it is counted already, as served or as a clip's member.
    is_counted: bool,
    /// Whether it was compared with a forecast, so that it was of use whatever else happens to it.
    is_compared: bool,
    /// Why it will count as dropped, if nothing better happens to it.
    verdict: Option<DropReason>,
}

impl Ledger {
    pub(super) fn new(options: ListenerOptions) -> Self {
        let held = Vec::with_capacity(options.n_frames());
        Self { options, held, accounts: Accounts::default(), fresh: false, place: 0, looked: 0 }
    }

    /// Counts a message that reached us, and those that did not before it.
    pub(super) fn count(&mut self, lost: u64) {
        self.accounts.received += 1;
        self.accounts.lost += lost;
    }

    /// The newest frame of the question that forms.
    pub(super) fn newest(&self) -> Option<&Received> {
        self.held.iter().rfind(|held| held.in_ring).map(|held| &held.received)
    }

    /// Takes in a counted frame, which is held until it is settled.
    pub(super) fn admit(&mut self, received: Received) {
        self.accounts.in_flight += 1;
        self.place += 1;
        let received = Received { place: self.place, ..received };
        let (in_ring, in_question, is_counted, is_compared, verdict) = (true, false, false, false, None);
        self.held.push(Held { received, in_ring, in_question, is_counted, is_compared, verdict });
        self.trim_ring();
        self.fresh = self.options.clip_frames <= self.held.iter().filter(|held| held.in_ring).count();
    }

    /// Counts a frame that is not taken in.
    pub(super) fn refuse(&mut self, reason: DropReason) {
        self.accounts.drop_one(reason);
    }

    /// Whether there is something to ask about.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Drops a question that is too old at `now_steady_ns`. Time that stands still is `None`.
    pub(super) fn expire(&mut self, now_steady_ns: Option<i64>) {
        let Some(now_ns) = now_steady_ns.filter(|_| self.fresh) else { return };
        let single = self.options.is_single();
        let newest = self.newest_held();
        if newest.received.deadline_steady_ns <= now_ns {
            newest.verdict = Some(DropReason::TooOld);
            newest.in_ring = !single;
            self.fresh = false;
            self.settle_loose();
        }
    }

    fn newest_held(&mut self) -> &mut Held {
        self.held.iter_mut().rfind(|held| held.in_ring).expect("fresh means a full ring")
    }

    /// Moves the newest question into `frames`, oldest first, and says whether there was one; what is too old at
    /// `now_steady_ns` is dropped instead. Time that stands still is `None`.
    pub(super) fn take(&mut self, frames: &mut Vec<Received>, now_steady_ns: Option<i64>) -> bool {
        self.expire(now_steady_ns);
        if !self.fresh {
            return false;
        }
        self.fresh = false;
        let single = self.options.is_single();
        self.looked = self.newest_held().received.place;
        for held in self.held.iter_mut().filter(|held| held.in_ring) {
            held.in_question = true;
            held.in_ring = !single;
            frames.push(held.received.clone());
        }
        self.trim_ring();
        true
    }

    /// As [`Ledger::take`], and leaves all of it for whoever takes it, or has: it follows the same frames, and is as new as it was.
    pub(super) fn lend(&mut self, frames: &mut Vec<Received>, now_steady_ns: Option<i64>) -> bool {
        self.expire(now_steady_ns);
        let is_good = |newest: &Received| now_steady_ns.is_none_or(|now| now < newest.deadline_steady_ns);
        let in_ring = self.held.iter().filter(|held| held.in_ring).count();
        if in_ring < self.options.clip_frames || !self.newest().is_some_and(is_good) {
            return false;
        }
        for held in self.held.iter_mut().filter(|held| held.in_ring) {
            held.in_question = true;
            frames.push(held.received.clone());
        }
        true
    }

    /// Lets the frames whose fate is open be served this much later than was said of them.
    pub(super) fn postpone(&mut self, longer_ns: i64) {
        for held in &mut self.held {
            let deadline_ns = &mut held.received.deadline_steady_ns;
            *deadline_ns = deadline_ns.saturating_add(longer_ns);
        }
    }

    /// Notes that the frame at this place was compared with a forecast.
    pub(super) fn compared(&mut self, place: u64) {
        if let Some(held) = self.held.iter_mut().find(|held| held.received.place == place) {
            held.is_compared = true;
        }
    }

    /// Settles the question that was taken.
    pub(super) fn settle(&mut self, verdict: Verdict) {
        let Self { options, held, accounts, .. } = self;
        let mut frames: Vec<&mut Held> = held.iter_mut().filter(|held| held.in_question).collect();
        let n_frames = frames.len();
        for (i, held) in frames.iter_mut().enumerate() {
            held.in_question = false;
            let is_of_clip = n_frames <= i + options.clip_frames;
            match verdict {
                Verdict::Served if is_of_clip && !held.is_counted => {
                    held.is_counted = true;
                    accounts.in_flight -= 1;
                    let count =
                        if i + 1 == n_frames { &mut accounts.served } else { &mut accounts.clip_members };
                    *count += 1;
                }
                Verdict::Dropped(reason) if i + 1 == n_frames => held.condemn(reason),
                Verdict::Rejected(bad, reason) if i == bad => held.condemn(reason),
                _ => {}
            }
        }
        // A clip must not be asked about again with the bad frame in it; a single newer frame has nothing to do with it.
        if matches!(verdict, Verdict::Rejected(..)) && !self.options.is_single() {
            self.empty_ring(DropReason::ClipRestart);
        }
        self.settle_loose();
    }

    /// Drops what waits; what is being asked about is still settled.
    pub(super) fn close(&mut self) {
        self.fresh = false;
        for held in &mut self.held {
            held.in_ring = false;
            held.verdict.get_or_insert(DropReason::Stopped);
        }
        self.settle_loose();
    }

    /// Drops what waits, since what comes next does not follow it.
    pub(super) fn empty_ring(&mut self, reason: DropReason) {
        for held in self.held.iter_mut().filter(|held| held.in_ring) {
            held.in_ring = false;
            held.verdict.get_or_insert(reason);
        }
        // One place is left out, which shows that the next frame does not follow the last.
        self.place += 1;
        self.fresh = false;
        self.settle_loose();
    }

    /// The accounts, which balance.
    pub(super) fn accounts(&self) -> Accounts {
        debug_assert!(self.accounts.balance(), "{}", self.accounts);
        self.accounts
    }

    /// Lets go of what is neither of the newest clip nor among the first to follow what was looked at.
    fn trim_ring(&mut self) {
        let ListenerOptions { clip_frames, follow_frames, .. } = self.options;
        let following = self.looked + 1..=self.looked + follow_frames as u64;
        for (i, held) in self.held.iter_mut().rev().filter(|held| held.in_ring).enumerate() {
            held.in_ring = i < clip_frames || following.contains(&held.received.place);
        }
        self.settle_loose();
    }

    /// Settles the frames that no clip and no question holds.
    fn settle_loose(&mut self) {
        let accounts = &mut self.accounts;
        self.held.retain(|held| {
            let open = held.in_ring || held.in_question;
            if !open {
                held.received.let_go_of_pixels();
            }
            if !open && !held.is_counted {
                accounts.in_flight -= 1;
                match held.verdict {
                    _ if held.is_compared => accounts.clip_members += 1,
                    verdict => accounts.drop_one(verdict.unwrap_or(DropReason::Superseded)),
                }
            }
            open
        });
    }
}

impl Held {
    /// It counts under `reason`, although it may have been compared.
    fn condemn(&mut self, reason: DropReason) {
        (self.verdict, self.is_compared) = (Some(reason), false);
    }
}
