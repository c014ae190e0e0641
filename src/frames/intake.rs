//! Where frames arrive: the place that holds the newest, or the ring that holds a clip.
//!
//! A transport offers frames at the camera's rate; the node takes a question's worth when it has time. Nothing queues:
//! an offer either replaces what is older or is dropped, and every frame's fate is settled here, under one lock, so that
//! the [`Accounts`] balance at every moment.
//!
//! An engine that forecasts also looks at the frames that follow a clip, to compare them with what it expected. These are
//! kept until it looks again, and no longer than a forecast reaches, so that a slow engine misses none of them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::frames::accounts::{Accounts, DropReason};
use crate::frames::clock::{Clock, Moment};
use crate::frames::frame::{Frame, FramePool, Received};

const NANOSECONDS_PER_SECOND: f64 = 1e9;
/// Clocks of two machines that are kept in step differ by less than this.
const STAMP_AHEAD_NS_MAX: i64 = 100_000_000;
/// No camera pipeline holds a frame for this long beyond `max_age`: then the stamp is wrong, not the frame old.
const STAMP_BEHIND_NS_MAX: i64 = 10_000_000_000;

/// How frames are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntakeOptions {
    /// Frames of a question: 1, or the length of a clip.
    pub clip_frames: usize,
    /// Frames per second within a clip, by their stamps. Without meaning for single frames.
    pub clip_rate_hz: f64,
    /// Frames after a clip that are kept until the next look, for a comparison with its forecast; 0 where none is made. With
    /// a forecast a clip is strict about its rate: one frame missing, and it starts over.
    pub follow_frames: usize,
    /// How old a frame may be when its answer is published.
    pub max_age: Duration,
    /// The largest image message to take.
    pub frame_bytes_max: usize,
}

impl IntakeOptions {
    /// Frames that may be held at once: for one question being answered, the next one forming, one on its way in, and one
    /// to spare.
    pub fn n_frames(&self) -> usize {
        2 * (self.clip_frames + self.follow_frames) + 2
    }

    fn is_single(&self) -> bool {
        self.clip_frames == 1 && self.follow_frames == 0
    }
}

/// The meeting point of a transport's thread and the node's.
#[derive(Debug)]
pub struct Intake {
    pool: FramePool,
    /// Another intake that is offered the same frames.
    next: Option<Arc<Intake>>,
    clock: Arc<Clock>,
    options: IntakeOptions,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Frames whose fate is open, oldest first.
    held: Vec<Held>,
    accounts: Accounts,
    /// Whether the ring holds a full clip that was not asked about.
    fresh: bool,
    /// The stamp from which the next frame belongs to the clip.
    next_due_ns: Option<i64>,
    last_receipt: Option<Moment>,
    /// The place of the frame that came last, and of the last that was looked at.
    place: u64,
    looked: u64,
    closed: bool,
    /// Times that something woke the node without a frame, such as a new prompt.
    nudges: u64,
}

#[derive(Debug)]
struct Held {
    received: Received,
    in_ring: bool,
    in_question: bool,
    /// Whether it is counted already, as answered or as a clip's member.
    is_counted: bool,
    /// Whether it was compared with a forecast, so that it was of use whatever else happens to it.
    is_compared: bool,
    /// Why it will count as dropped, if nothing better happens to it.
    verdict: Option<DropReason>,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answered, about the newest of its frames.
    Answered,
    /// Not answered; the older frames of a clip may still be.
    Dropped(DropReason),
    /// Not answered because of one of its frames, counted from the oldest. A clip starts over without it.
    Rejected(usize, DropReason),
}

impl Intake {
    /// Claims the buffers for [`IntakeOptions::n_frames`].
    pub fn new(options: IntakeOptions, clock: Arc<Clock>) -> Self {
        Self::build(options, clock, options.n_frames(), None)
    }

    /// An intake that is fed by another and claims no buffers of its own.
    pub fn fed(options: IntakeOptions, clock: Arc<Clock>) -> Self {
        Self::build(options, clock, 0, None)
    }

    /// Claims buffers for itself and for `next`, which shares every frame that this one is offered.
    pub fn feeding(options: IntakeOptions, clock: Arc<Clock>, next: Arc<Intake>) -> Self {
        Self::build(options, clock, options.n_frames() + next.options.n_frames(), Some(next))
    }

    fn build(options: IntakeOptions, clock: Arc<Clock>, n_buffers: usize, next: Option<Arc<Intake>>) -> Self {
        let pool = FramePool::new(n_buffers, options.frame_bytes_max);
        let held = Vec::with_capacity(options.n_frames());
        let state = Mutex::new(State { held, ..State::default() });
        Self { pool, next, clock, options, state, changed: Condvar::new() }
    }

    /// The buffers that offered frames must come from.
    pub fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// The clock that stamps receipts.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Takes what a transport made of one received message, with how many of the publisher's went missing before it.
    pub fn offer(&self, frame: Result<Arc<Frame>, DropReason>, lost: u64) {
        if let Some(next) = &self.next {
            next.offer(frame.clone(), lost);
        }
        let receipt = self.clock.now();
        let mut state = self.lock();
        state.last_receipt = Some(receipt);
        state.accounts.received += 1;
        state.accounts.lost += lost;
        let admitted = frame.map(|frame| self.judge(frame, receipt)).and_then(|received| {
            if state.closed {
                return Err(DropReason::Stopped);
            }
            if self.options.is_single() {
                state.replace()
            } else {
                self.sample(&mut state, &received)?
            }
            Ok(received)
        });
        match admitted {
            Ok(mut received) => {
                state.accounts.in_flight += 1;
                state.place += 1;
                received.place = state.place;
                state.held.push(Held::new(received));
                state.trim_ring(&self.options);
                state.fresh = self.options.clip_frames <= state.ring_len();
            }
            Err(reason) => state.accounts.drop_one(reason),
        }
        debug_assert!(state.accounts.balance(), "{}", state.accounts);
        drop(state);
        self.changed.notify_all();
    }

    /// Moves the newest question's frames into `frames`, oldest first, and says whether there was one. Before the clip stand
    /// those frames that followed the one looked at last, as far as [`IntakeOptions::follow_frames`] says.
    ///
    /// The caller owes a [`Intake::settle`] before the next call. Frames that have become too old are dropped instead.
    pub fn take(&self, frames: &mut Vec<Received>) -> bool {
        frames.clear();
        let now = self.clock.now();
        let mut state = self.lock();
        if !state.fresh {
            return false;
        }
        state.fresh = false;
        let single = self.options.is_single();
        let newest = state.held.iter_mut().rfind(|held| held.in_ring).expect("fresh means a full ring");
        // Where time stands still nothing grows old: a bag's frames are as old as they were.
        if self.clock.runs() && newest.received.deadline_steady_ns <= now.steady_ns {
            newest.verdict = Some(DropReason::TooOld);
            newest.in_ring = !single;
            state.settle_loose();
            return false;
        }
        let looked = newest.received.place;
        for held in state.held.iter_mut().filter(|held| held.in_ring) {
            held.in_question = true;
            held.in_ring = !single;
            frames.push(held.received.clone());
        }
        state.looked = looked;
        state.trim_ring(&self.options);
        true
    }

    /// Says that the frame at this place of the question was compared with a forecast.
    pub fn compared(&self, place: u64) {
        let mut state = self.lock();
        if let Some(held) = state.held.iter_mut().find(|held| held.received.place == place) {
            held.is_compared = true;
        }
    }

    /// Says what became of the question that [`Intake::take`] handed out.
    pub fn settle(&self, verdict: Verdict) {
        let mut state = self.lock();
        let State { held, accounts, .. } = &mut *state;
        let mut frames: Vec<&mut Held> = held.iter_mut().filter(|held| held.in_question).collect();
        let n_frames = frames.len();
        for (i, held) in frames.iter_mut().enumerate() {
            held.in_question = false;
            let is_of_clip = n_frames <= i + self.options.clip_frames;
            match verdict {
                Verdict::Answered if is_of_clip && !held.is_counted => {
                    held.is_counted = true;
                    accounts.in_flight -= 1;
                    let count =
                        if i + 1 == n_frames { &mut accounts.answered } else { &mut accounts.clip_members };
                    *count += 1;
                }
                Verdict::Dropped(reason) if i + 1 == n_frames => held.condemn(reason),
                Verdict::Rejected(bad, reason) if i == bad => held.condemn(reason),
                _ => {}
            }
        }
        // A clip must not be asked about again with the bad frame in it; a single newer frame has nothing to do with it.
        if matches!(verdict, Verdict::Rejected(..)) && !self.options.is_single() {
            state.empty_ring(DropReason::ClipRestart);
        }
        state.settle_loose();
        debug_assert!(state.accounts.balance(), "{}", state.accounts);
    }

    /// Waits until there may be something to do, at most `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let state = self.lock();
        if state.fresh || state.closed {
            return;
        }
        let nudges = state.nudges;
        let idle = |state: &mut State| !state.fresh && !state.closed && state.nudges == nudges;
        drop(self.changed.wait_timeout_while(state, timeout, idle).unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends a [`Intake::wait`] without a frame.
    pub fn nudge(&self) {
        self.lock().nudges += 1;
        self.changed.notify_all();
    }

    /// Drops what waits and takes nothing more. A question that is being answered is still settled.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.fresh = false;
        for held in &mut state.held {
            held.in_ring = false;
            held.verdict.get_or_insert(DropReason::Stopped);
        }
        state.settle_loose();
        drop(state);
        self.changed.notify_all();
    }

    /// The accounts now; they balance.
    pub fn accounts(&self) -> Accounts {
        self.lock().accounts
    }

    /// When the last message arrived, good or bad.
    pub fn last_receipt(&self) -> Option<Moment> {
        self.lock().last_receipt
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says by when a frame must be answered, and whether its stamp can be believed.
    fn judge(&self, frame: Arc<Frame>, receipt: Moment) -> Received {
        let max_age_ns = i64::try_from(self.options.max_age.as_nanos()).unwrap_or(i64::MAX);
        let transit_ns = receipt.ros_ns.saturating_sub(frame.stamp_ns);
        let plausible = -STAMP_AHEAD_NS_MAX..=max_age_ns.saturating_add(STAMP_BEHIND_NS_MAX);
        let stamp_suspect = !plausible.contains(&transit_ns);
        let spent_ns = if stamp_suspect { 0 } else { transit_ns.max(0) };
        let deadline_steady_ns = receipt.steady_ns.saturating_add(max_age_ns).saturating_sub(spent_ns);
        Received { frame, receipt, deadline_steady_ns, stamp_suspect, place: 0 }
    }

    /// Decides whether a frame joins the clip; empties the ring where a clip must start over.
    fn sample(&self, state: &mut State, received: &Received) -> Result<(), DropReason> {
        let period_ns = (NANOSECONDS_PER_SECOND / self.options.clip_rate_hz) as i64;
        let stamp_ns = received.frame.stamp_ns;
        let last = state.held.iter().rfind(|held| held.in_ring).map(|held| Arc::clone(&held.received.frame));
        if let (Some(last), Some(due_ns)) = (last, state.next_due_ns) {
            // How early a frame may be, and after which stamp one is missing. A forecast counts frames as if they were time,
            // so that the nearest frame to each moment is taken and none may be left out; a camera that is as fast as the
            // clip, or faster, always has one that fits.
            let (early_ns, latest_ns) = match self.options.follow_frames {
                0 => (period_ns / 16, last.stamp_ns.saturating_add(5 * period_ns / 2)),
                _ => (period_ns / 4, due_ns.saturating_add(3 * period_ns / 4)),
            };
            let broken =
                stamp_ns < last.stamp_ns || latest_ns < stamp_ns || last.size() != received.frame.size();
            if broken {
                state.empty_ring(DropReason::ClipRestart);
            } else if stamp_ns.saturating_add(early_ns) < due_ns {
                return Err(DropReason::OffRate);
            } else {
                // The grid stays where the clip began, so that a camera's jitter does not add up.
                let due_ns = due_ns.saturating_add(period_ns);
                state.next_due_ns = Some(due_ns.max(stamp_ns.saturating_add(period_ns / 2)));
                return Ok(());
            }
        }
        state.next_due_ns = Some(stamp_ns.saturating_add(period_ns));
        Ok(())
    }
}

impl Held {
    fn new(received: Received) -> Self {
        let (in_ring, in_question, is_counted, is_compared, verdict) = (true, false, false, false, None);
        Self { received, in_ring, in_question, is_counted, is_compared, verdict }
    }

    /// It counts under `reason`, although it may have been compared.
    fn condemn(&mut self, reason: DropReason) {
        (self.verdict, self.is_compared) = (Some(reason), false);
    }
}

impl State {
    fn ring_len(&self) -> usize {
        self.held.iter().filter(|held| held.in_ring).count()
    }

    fn replace(&mut self) {
        self.empty_ring(DropReason::Superseded);
    }

    fn empty_ring(&mut self, reason: DropReason) {
        for held in self.held.iter_mut().filter(|held| held.in_ring) {
            held.in_ring = false;
            held.verdict.get_or_insert(reason);
        }
        // One place is left out, which shows that the next frame does not follow the last.
        self.place += 1;
        self.fresh = false;
        self.settle_loose();
    }

    /// Lets go of what is neither of the newest clip nor among the first to follow what was looked at.
    fn trim_ring(&mut self, options: &IntakeOptions) {
        let following = self.looked + 1..=self.looked + options.follow_frames as u64;
        for (i, held) in self.held.iter_mut().rev().filter(|held| held.in_ring).enumerate() {
            held.in_ring = i < options.clip_frames || following.contains(&held.received.place);
        }
        self.settle_loose();
    }

    /// Settles the frames that no clip and no question holds.
    fn settle_loose(&mut self) {
        let accounts = &mut self.accounts;
        self.held.retain(|held| {
            let open = held.in_ring || held.in_question;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::frame::ImageTransport;
    use crate::ros2::messages::{ByteOrder, HeaderView, ImageView, ShortString, Time, encode};

    const MS: i64 = 1_000_000;

    fn intake(clip_frames: usize) -> Intake {
        intake_in(clip_frames, Clock::stepped())
    }

    fn intake_in(clip_frames: usize, clock: Clock) -> Intake {
        Intake::new(options(clip_frames, 0), Arc::new(clock))
    }

    fn options(clip_frames: usize, follow_frames: usize) -> IntakeOptions {
        let max_age = Duration::from_millis(500);
        IntakeOptions { clip_frames, clip_rate_hz: 4.0, follow_frames, max_age, frame_bytes_max: 64 }
    }

    fn body(stamp_ns: i64, width: u32) -> Vec<u8> {
        let header = HeaderView { stamp: Time::from_ns(stamp_ns), frame_id: ShortString::default() };
        let encoding = ShortString::new("mono8").unwrap();
        encode(&ImageView { header, height: 1, width, encoding, is_bigendian: 0, step: width, data: &[7; 8] })
    }

    /// A frame stamped `stamp_ms` that arrives then.
    fn offer(intake: &Intake, stamp_ms: i64) {
        intake.clock().set(stamp_ms * MS);
        let frame = intake.pool().take(ImageTransport::Raw, &body(stamp_ms * MS, 8), ByteOrder::Little);
        intake.offer(frame, 0);
    }

    fn take(intake: &Intake) -> Vec<i64> {
        let mut frames = Vec::new();
        assert_eq!(intake.take(&mut frames), !frames.is_empty());
        frames.iter().map(|received| received.frame.stamp_ns / MS).collect()
    }

    fn account(intake: &Intake) -> String {
        let accounts = intake.accounts();
        assert!(accounts.balance(), "{accounts}");
        accounts.to_string()
    }

    #[test]
    fn the_newest_wins() {
        let intake = intake(1);
        for stamp in [10, 20, 30] {
            offer(&intake, stamp);
        }
        assert_eq!(take(&intake), [30]);
        offer(&intake, 40);
        offer(&intake, 50);
        assert_eq!(intake.accounts().in_flight, 2, "one asked about, one waiting");
        intake.settle(Verdict::Answered);
        assert_eq!(take(&intake), [50]);
        intake.settle(Verdict::Dropped(DropReason::AnswerTooLate));
        assert_eq!(take(&intake), [0; 0]);
        let line = "received 5 = answered 1 + clip members 0 + dropped 4 (superseded 3, answer_too_late 1) \
                    + in flight 0; lost 0";
        assert_eq!(account(&intake), line);
    }

    #[test]
    fn an_old_frame_is_never_asked_about() {
        // Simulated time is what we set; steady time runs, so that the frame of a second ago is too old by its stamp.
        for (clock, asked) in [(Clock::simulated(), vec![]), (Clock::stepped(), vec![1000])] {
            let intake = intake_in(1, clock);
            intake.clock().set(2000 * MS);
            intake.offer(intake.pool().take(ImageTransport::Raw, &body(1000 * MS, 8), ByteOrder::Little), 0);
            assert_eq!(take(&intake), asked);
            assert_eq!(intake.accounts().dropped(DropReason::TooOld), u64::from(asked.is_empty()));
            assert!(intake.accounts().balance());
        }
    }

    #[test]
    fn time_on_the_way_counts_unless_the_stamp_is_absurd() {
        let check = |stamp_ms: i64, now_ms: i64, suspect, deadline_ms| {
            let intake = intake(1);
            intake.clock().set(now_ms * MS);
            let frame = intake.pool().take(ImageTransport::Raw, &body(stamp_ms * MS, 8), ByteOrder::Little);
            let received = intake.judge(frame.unwrap(), intake.clock().now());
            assert_eq!((received.stamp_suspect, received.deadline_steady_ns), (suspect, deadline_ms * MS));
        };
        check(100_000, 100_200, false, 100_500);
        check(100_050, 100_000, false, 100_500);
        check(95_000, 100_000, false, 95_500);
        check(0, 100_000, true, 100_500);
        check(200_000, 100_000, true, 100_500);
    }

    #[test]
    fn a_clip_is_sampled_by_stamps_and_moves_on_by_one() {
        let intake = intake(3);
        // 30 Hz for a second and a bit, into 4 Hz.
        for i in 0..=23 {
            offer(&intake, i * 1000 / 30);
        }
        assert_eq!(take(&intake), [266, 500, 766]);
        intake.settle(Verdict::Answered);
        assert_eq!(take(&intake), [0; 0], "nothing new");
        for i in 24..=30 {
            offer(&intake, i * 1000 / 30);
        }
        assert_eq!(take(&intake), [500, 766, 1000]);
        intake.settle(Verdict::Answered);
        intake.close();
        let line = "received 31 = answered 2 + clip members 2 + dropped 27 (superseded 1, off_rate 26) \
                    + in flight 0; lost 0";
        assert_eq!(account(&intake), line);
    }

    #[test]
    fn a_clip_starts_over_after_a_break() {
        let check = |breaking: &dyn Fn(&Intake)| {
            let intake = intake(3);
            offer(&intake, 1000);
            offer(&intake, 1250);
            breaking(&intake);
            assert_eq!(take(&intake), [0; 0]);
            assert_eq!(intake.accounts().dropped(DropReason::ClipRestart), 2);
            assert_eq!(intake.accounts().in_flight, 1);
            account(&intake);
        };
        check(&|intake| offer(intake, 2250));
        check(&|intake| offer(intake, 900));
        check(&|intake| {
            intake.clock().set(1500 * MS);
            intake.offer(intake.pool().take(ImageTransport::Raw, &body(1500 * MS, 4), ByteOrder::Little), 0);
        });
    }

    #[test]
    fn a_bad_frame_leaves_its_clip() {
        let intake = intake(2);
        offer(&intake, 0);
        offer(&intake, 250);
        assert_eq!(take(&intake), [0, 250]);
        intake.settle(Verdict::Rejected(0, DropReason::Corrupt));
        offer(&intake, 500);
        assert_eq!(take(&intake), [0; 0], "the clip forms anew");
        offer(&intake, 750);
        assert_eq!(take(&intake), [500, 750]);
        intake.settle(Verdict::Answered);
        assert_eq!(intake.accounts().dropped(DropReason::Corrupt), 1);
        assert_eq!(intake.accounts().dropped(DropReason::ClipRestart), 1);
        account(&intake);
    }

    #[test]
    fn a_bad_frame_does_not_take_the_next_one_with_it() {
        let intake = intake(1);
        offer(&intake, 0);
        assert_eq!(take(&intake), [0]);
        offer(&intake, 33);
        intake.settle(Verdict::Rejected(0, DropReason::UnknownEncoding));
        assert_eq!(take(&intake), [33]);
        intake.settle(Verdict::Rejected(0, DropReason::UnknownEncoding));
        assert_eq!(intake.accounts().dropped(DropReason::UnknownEncoding), 2);
        account(&intake);
    }

    #[test]
    fn a_clip_with_a_bad_frame_is_not_asked_about_again() {
        let intake = intake(2);
        offer(&intake, 0);
        offer(&intake, 250);
        assert_eq!(take(&intake), [0, 250]);
        offer(&intake, 500);
        intake.settle(Verdict::Rejected(1, DropReason::Corrupt));
        assert_eq!(take(&intake), [0; 0], "although a newer clip was whole");
        account(&intake);
    }

    #[test]
    fn buffers_never_run_out_while_a_clip_is_asked_about() {
        let intake = intake(4);
        let mut frames = Vec::new();
        for i in 0..40 {
            offer(&intake, i * 250);
            if i == 10 {
                assert!(intake.take(&mut frames));
            }
        }
        assert_eq!(intake.accounts().dropped(DropReason::NoBuffer), 0);
        intake.settle(Verdict::Answered);
        intake.close();
        assert_eq!(intake.accounts().in_flight, 0);
        account(&intake);
    }

    /// Clips of two, and three frames that follow one.
    fn forecasting() -> Intake {
        Intake::new(options(2, 3), Arc::new(Clock::stepped()))
    }

    #[test]
    fn frames_that_follow_a_look_wait_for_the_next() {
        let intake = forecasting();
        for i in 0..=1 {
            offer(&intake, i * 250);
        }
        assert_eq!(take(&intake), [0, 250]);
        for i in 2..=9 {
            offer(&intake, i * 250);
        }
        intake.compared(1);
        intake.settle(Verdict::Answered);
        let mut frames = Vec::new();
        assert!(intake.take(&mut frames));
        let places: Vec<u64> = frames.iter().map(|received| received.place).collect();
        assert_eq!(places, [3, 4, 5, 9, 10], "what follows the last look, and the clip");
        for place in &places[..2] {
            intake.compared(*place);
        }
        intake.settle(Verdict::Answered);
        intake.close();
        let line =
            "received 10 = answered 2 + clip members 4 + dropped 4 (superseded 4) + in flight 0; lost 0";
        assert_eq!(account(&intake), line);
    }

    #[test]
    fn a_break_leaves_a_place_out() {
        let check = |breaking: &dyn Fn(&Intake)| {
            let intake = forecasting();
            offer(&intake, 0);
            offer(&intake, 250);
            assert_eq!(take(&intake), [0, 250]);
            breaking(&intake);
            let mut frames = Vec::new();
            assert!(intake.take(&mut frames));
            assert_eq!(frames.len(), 2, "the clip alone");
            assert!(3 < frames[0].place, "{}", frames[0].place);
            intake.settle(Verdict::Dropped(DropReason::AnswerFailed));
            intake.close();
            assert_eq!(intake.accounts().dropped(DropReason::AnswerFailed), 1);
            account(&intake);
        };
        let start_over = |intake: &Intake, from: i64| {
            intake.settle(Verdict::Answered);
            offer(intake, from);
            offer(intake, from + 250);
        };
        check(&|intake| start_over(intake, 750));
        check(&|intake| start_over(intake, 100));
        check(&|intake| {
            intake.settle(Verdict::Rejected(1, DropReason::Corrupt));
            offer(intake, 500);
            offer(intake, 750);
        });
    }

    #[test]
    fn a_camera_as_fast_as_the_clip_or_faster_never_breaks_it() {
        for camera_hz in [4.0, 4.1, 5.0, 6.0, 7.9, 8.0, 30.0] {
            let intake = forecasting();
            for i in 0..200 {
                offer(&intake, (f64::from(i) * 1000.0 / camera_hz) as i64);
            }
            assert_eq!(intake.accounts().dropped(DropReason::ClipRestart), 0, "{camera_hz} Hz");
            account(&intake);
        }
        let slow = forecasting();
        for i in 0..200 {
            offer(&slow, i * 1000 / 3);
        }
        assert!(0 < slow.accounts().dropped(DropReason::ClipRestart), "three frames are not four");
    }

    #[test]
    fn two_intakes_share_the_frames_and_count_each_for_itself() {
        let clock = Arc::new(Clock::stepped());
        let clips = Arc::new(Intake::fed(options(2, 3), Arc::clone(&clock)));
        let singles = Intake::feeding(options(1, 0), clock, Arc::clone(&clips));
        for i in 0..20 {
            offer(&singles, i * 250);
            assert_eq!(take(&singles), [i * 250]);
            singles.settle(Verdict::Answered);
        }
        singles.offer(Err(DropReason::Malformed), 1);
        assert_eq!(take(&clips).last(), Some(&(19 * 250)));
        clips.settle(Verdict::Answered);
        for intake in [&singles, &*clips] {
            let accounts = intake.accounts();
            assert_eq!(
                (accounts.received, accounts.lost, accounts.dropped(DropReason::NoBuffer)),
                (21, 1, 0)
            );
            account(intake);
        }
        assert_eq!((singles.accounts().answered, clips.accounts().answered), (20, 1));
    }

    #[test]
    fn hostile_bodies_are_counted_drops() {
        let intake = intake(1);
        let whole = body(0, 8);
        for cut in 0..whole.len() {
            for order in [ByteOrder::Little, ByteOrder::Big] {
                intake.offer(intake.pool().take(ImageTransport::Raw, &whole[..cut], order), 0);
                intake.offer(intake.pool().take(ImageTransport::Compressed, &whole[..cut], order), 0);
            }
        }
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            intake.offer(intake.pool().take(ImageTransport::Raw, &flipped, ByteOrder::Little), 0);
            intake.offer(intake.pool().take(ImageTransport::Compressed, &flipped, ByteOrder::Little), 0);
        }
        assert!(0 < intake.accounts().dropped(DropReason::Malformed));
        account(&intake);
    }
}
