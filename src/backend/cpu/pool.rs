//! One pool of pinned threads for the whole process, lent to one run at a time.
//!
//! Two pools that spin beside each other would starve the rest of the robot, so every session borrows from this one.
//! Runs that wait for it go in order of deadline. A run is one [`Job`]: a list of stages, each cut into pieces that threads
//! claim one by one from the [`board`]; the caller's thread is one of them. A stage begins when all pieces of the one before
//! are done. Since pieces depend on the shapes alone, no result depends on who computed what, or on how many threads there are.
//!
//! Nobody waits for a thread that holds no piece. On a busy machine a worker may lose its core at any moment; if it does
//! so between pieces, the others do the work without it, and it finds its way back by looking at the board.
//!
//! Threads spin shortly for the next piece, then yield; workers without a run park.
//!
//! Why not rayon: its fork and join take microseconds and allocate; a step of decoding has some two hundred stages.
//! Why not a barrier between stages: it waits for every thread, and so for the one that has lost its core.
#![expect(unsafe_code, reason = "threads are pinned by a C function")]

mod board;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

pub(super) use self::board::{Job, PIECES_MAX};

use self::board::Board;
use crate::backend::RunError;

/// Looks at the board before a thread gives up its core: some tens of microseconds.
const SPINS: u32 = 2_000;
/// How often a waiting run looks at its stop flag.
const STOP_LOOK: Duration = Duration::from_millis(5);
/// The most threads of one run.
pub const THREADS_MAX: usize = 64;

/// What the board is made of.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
    pub(super) use std::thread::Thread;

    pub(super) use super::spin_until;
}

/// One core fewer than there are, at least one: the rest of the robot wants to run too.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
}

struct Pool {
    board: Board,
    turns: Mutex<Turns>,
    turn_ended: Condvar,
}

/// Who runs and who waits. Held for moments only, never while a run computes.
struct Turns {
    busy: bool,
    /// Deadline and number of each waiting run. Its capacity covers all leases.
    waiting: Vec<(Option<Instant>, u64)>,
    next_number: u64,
    leases: usize,
    workers: Vec<Thread>,
}

/// A claim on the pool, held by a session; nothing is reserved until it runs.
pub(super) struct Lease {
    n_threads: usize,
    /// Those that this lease's runs use, without the caller.
    workers: Vec<Thread>,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool {
        board: Board::new(),
        turns: Mutex::new(Turns {
            busy: false,
            waiting: Vec::new(),
            next_number: 0,
            leases: 0,
            workers: Vec::new(),
        }),
        turn_ended: Condvar::new(),
    })
}

impl Pool {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// A lease for runs of `n_threads` threads (1 to [`THREADS_MAX`], clamped), the caller's being one. Starts the
    /// workers that are missing.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub(super) fn new(n_threads: usize) -> std::io::Result<Lease> {
        let n_threads = n_threads.clamp(1, THREADS_MAX);
        let mut turns = pool().turns();
        while turns.workers.len() + 1 < n_threads {
            let index = turns.workers.len() + 1;
            let name = format!("pool-{index}");
            let handle = std::thread::Builder::new().name(name).spawn(move || worker(index))?;
            turns.workers.push(handle.thread().clone());
        }
        turns.leases += 1;
        let leases = turns.leases;
        turns.waiting.reserve(leases);
        Ok(Lease { n_threads, workers: turns.workers[..n_threads - 1].to_vec() })
    }

    /// Threads of a run.
    pub(super) fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// Waits for the pool and does the job on at most `n_threads` of the lease's threads; the workers are left asleep if
    /// nothing is to be shared.
    ///
    /// # Errors
    /// [`RunError::Deadline`] or [`RunError::Stopped`] if that happened while waiting for the pool.
    ///
    /// # Panics
    /// If the job does.
    pub(super) fn run(
        &mut self,
        n_threads: usize,
        deadline: Option<Instant>,
        stop: Option<&AtomicBool>,
        job: &dyn Job,
    ) -> Result<(), RunError> {
        let _turn = Turn::wait(deadline, stop)?;
        let n_threads = n_threads.clamp(1, self.n_threads);
        pool().board.run(&self.workers[..n_threads - 1], job);
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        pool().turns().leases -= 1;
    }
}

/// The right to use the pool, until dropped.
struct Turn;

impl Turn {
    fn wait(deadline: Option<Instant>, stop: Option<&AtomicBool>) -> Result<Turn, RunError> {
        let pool = pool();
        let mut turns = pool.turns();
        if !turns.busy && turns.waiting.is_empty() {
            turns.busy = true;
            return Ok(Turn);
        }
        let number = turns.next_number;
        turns.next_number += 1;
        turns.waiting.push((deadline, number));
        let result = loop {
            if !turns.busy && turns.first() == Some(number) {
                turns.busy = true;
                break Ok(Turn);
            }
            if stop.is_some_and(|s| s.load(Ordering::Relaxed)) {
                break Err(RunError::Stopped);
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break Err(RunError::Deadline);
            }
            let nap = left.unwrap_or(STOP_LOOK).min(STOP_LOOK);
            turns = pool.turn_ended.wait_timeout(turns, nap).unwrap_or_else(PoisonError::into_inner).0;
        };
        turns.waiting.retain(|(_, n)| *n != number);
        if result.is_err() {
            pool.turn_ended.notify_all();
        }
        result
    }
}

impl Turns {
    /// Number of the waiting run whose deadline comes first; those without one come last, in order of arrival.
    fn first(&self) -> Option<u64> {
        let order = |(deadline, number): &(Option<Instant>, u64)| (deadline.is_none(), *deadline, *number);
        self.waiting.iter().min_by_key(|w| order(w)).map(|(_, number)| *number)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let pool = pool();
        pool.turns().busy = false;
        pool.turn_ended.notify_all();
    }
}

/// Spins, and after a while gives other threads the core between looks.
fn spin_until(done: impl Fn() -> bool) {
    for _ in 0..SPINS {
        if done() {
            return;
        }
        std::hint::spin_loop();
    }
    while !done() {
        std::thread::yield_now();
    }
}

/// A worker's life: the process's.
fn worker(index: usize) {
    pin_to_core(index);
    let board = &pool().board;
    loop {
        let mut looks = 0;
        while looks < SPINS {
            looks = if board.do_piece(index) { 0 } else { looks + 1 };
            std::hint::spin_loop();
        }
        // A run that has no piece just now has one soon; without a run the caller of the next one unparks this thread.
        if board.may_have_work_for(index) {
            std::thread::yield_now();
        } else {
            std::thread::park();
        }
    }
}

/// Pins this thread to one of the cores that the process may use. Best effort: where it is refused, the scheduler decides.
#[cfg(target_os = "linux")]
fn pin_to_core(index: usize) {
    let set_bytes = size_of::<libc::cpu_set_t>();
    // SAFETY: a `cpu_set_t` is plain bits, for which zeros are a value; the calls get its size and address.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, set_bytes, &mut allowed) != 0 {
            return;
        }
        let n_cores = libc::CPU_COUNT(&allowed) as usize;
        let mut cores = (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &allowed));
        if let Some(core) = cores.nth(index % n_cores.max(1)) {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut one);
            libc::sched_setaffinity(0, set_bytes, &one);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn pin_to_core(_: usize) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicUsize;

    /// Stages of so many pieces each (those of none are done alone); counts every piece.
    struct Counting {
        stages: Vec<usize>,
        counts: Vec<Vec<AtomicUsize>>,
        panics_at: Option<usize>,
    }

    impl Counting {
        fn new(stages: &[usize]) -> Counting {
            let counts = stages.iter().map(|n| (0..*n.max(&1)).map(|_| AtomicUsize::new(0)).collect());
            Counting { stages: stages.to_vec(), counts: counts.collect(), panics_at: None }
        }

        fn all_before_are_done(&self, stage: usize) -> bool {
            self.counts[..stage].iter().flatten().all(|c| c.load(Ordering::Relaxed) == 1)
        }
    }

    impl Job for Counting {
        fn advance(&self, mut stage: usize, _: usize) -> Option<(usize, usize)> {
            while self.stages.get(stage) == Some(&0) {
                assert!(self.all_before_are_done(stage));
                self.counts[stage][0].fetch_add(1, Ordering::Relaxed);
                stage += 1;
            }
            self.stages.get(stage).map(|n| (stage, *n))
        }

        fn piece(&self, stage: usize, piece: usize, _: usize) {
            assert!(self.panics_at != Some(stage), "as asked");
            assert!(
                self.all_before_are_done(stage),
                "stage {stage} began before the ones before it were done"
            );
            self.counts[stage][piece].fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_piece_is_done_once_and_stages_follow_each_other() {
        for n_threads in 1..=4 {
            let mut lease = Lease::new(n_threads).unwrap();
            for _ in 0..50 {
                let job = Counting::new(&[0, 3, 0, 0, 100, 1, 7, 0]);
                lease.run(n_threads, None, None, &job).unwrap();
                assert!(job.all_before_are_done(job.stages.len()));
            }
        }
    }

    #[test]
    fn leases_of_several_threads_take_turns() {
        std::thread::scope(|scope| {
            for n_threads in 1..=4 {
                scope.spawn(move || {
                    let mut lease = Lease::new(n_threads).unwrap();
                    for _ in 0..50 {
                        let job = Counting::new(&[5, 0, 9]);
                        lease.run(n_threads, None, None, &job).unwrap();
                        assert!(job.all_before_are_done(job.stages.len()));
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_comes_back_and_the_pool_lives_on() {
        let mut lease = Lease::new(3).unwrap();
        let job = Counting { panics_at: Some(1), ..Counting::new(&[4, 8, 4]) };
        let run = AssertUnwindSafe(|| lease.run(3, None, None, &job));
        assert!(catch_unwind(run).is_err());
        let job = Counting::new(&[4, 8, 4]);
        lease.run(3, None, None, &job).unwrap();
        assert!(job.all_before_are_done(3));
    }

    #[test]
    fn a_stage_of_too_many_pieces_ends_the_run_and_the_pool_lives_on() {
        for n_threads in 1..=3 {
            let mut lease = Lease::new(n_threads).unwrap();
            for _ in 0..20 {
                let job = Counting::new(&[5, PIECES_MAX + 1]);
                let run = AssertUnwindSafe(|| lease.run(n_threads, None, None, &job));
                assert!(catch_unwind(run).is_err());
                let job = Counting::new(&[5, 3]);
                lease.run(n_threads, None, None, &job).unwrap();
                assert!(job.all_before_are_done(2));
            }
        }
    }

    /// Holds the pool until it is told to let go.
    struct Holding<'a> {
        held: &'a AtomicBool,
        let_go: &'a AtomicBool,
    }

    impl Job for Holding<'_> {
        fn advance(&self, _: usize, _: usize) -> Option<(usize, usize)> {
            self.held.store(true, Ordering::Release);
            spin_until(|| self.let_go.load(Ordering::Acquire));
            None
        }

        fn piece(&self, _: usize, _: usize, _: usize) {}
    }

    #[test]
    fn waiting_ends_with_the_deadline_and_with_the_stop_flag() {
        let (held, let_go, stop) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(true));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let job = Holding { held: &held, let_go: &let_go };
                Lease::new(1).unwrap().run(1, None, None, &job).unwrap();
            });
            spin_until(|| held.load(Ordering::Acquire));
            let job = Counting::new(&[1]);
            let mut lease = Lease::new(2).unwrap();
            assert_eq!(lease.run(2, Some(Instant::now()), None, &job), Err(RunError::Deadline));
            assert_eq!(lease.run(2, None, Some(&stop), &job), Err(RunError::Stopped));
            let_go.store(true, Ordering::Release);
            lease.run(2, None, None, &job).unwrap();
        });
    }

    #[test]
    fn the_earliest_deadline_comes_first() {
        let now = Instant::now();
        let later = |s| Some(now + Duration::from_secs(s));
        let waiting = vec![(None, 0), (later(3), 1), (later(2), 2), (later(2), 3)];
        let turns = Turns { busy: true, waiting, next_number: 4, leases: 4, workers: Vec::new() };
        assert_eq!(turns.first(), Some(2));
    }
}
