//! One pool of pinned threads for the whole process, lent to one run at a time.
//!
//! Two pools that spin beside each other would starve the rest of the robot, so every session borrows from this one.
//! Runs that wait for it go in order of deadline. A run is one job: all its threads walk the same list of stages and
//! meet at [`Worker::meet`] between them, and the caller's thread is one of them. Work inside a stage is claimed
//! piece by piece, so a core that something else is using costs its share only, and since the pieces depend on the
//! shapes alone, no result depends on who computed it or on how many threads there are.
//!
//! Threads spin shortly for the next run and for each other, then park or yield.
//!
//! Why not rayon: its fork and join take microseconds and allocate; a step of decoding has some two hundred stages.
#![expect(unsafe_code, reason = "a job on the caller's stack is shown to the workers; threads are pinned")]

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::backend::RunError;

/// Looks at a flag before a thread gives up its core: some tens of microseconds.
const SPINS: u32 = 2_000;
/// How often a waiting run looks at its stop flag.
const STOP_LOOK: Duration = Duration::from_millis(5);
/// The most threads of one run.
pub const THREADS_MAX: usize = 64;

/// One core fewer than there are, at least one: the rest of the robot wants to run too.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
}

struct Pool {
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
    workers: Vec<Arc<Mailbox>>,
}

/// Where a worker finds its next job.
struct Mailbox {
    job: AtomicPtr<Job<'static>>,
    index: usize,
    thread: OnceLock<Thread>,
}

/// A claim on the pool, held by a session; nothing is reserved until it runs.
pub(super) struct Lease {
    n_threads: usize,
    /// Those that this lease's runs use, without the caller.
    workers: Vec<Arc<Mailbox>>,
}

/// What one thread of a run sees of the others.
pub(super) struct Worker<'a> {
    /// 0 is the caller's thread.
    pub(super) index: usize,
    meeting: &'a Meeting,
}

/// Where the threads of a run meet, and what they share.
struct Meeting {
    n_threads: u32,
    arrived: AtomicU32,
    round: AtomicU32,
    claimed: AtomicUsize,
    /// Set by a thread that wants the run to end.
    quit: AtomicBool,
    /// `quit` as the last to arrive saw it: the same for all who leave the meeting.
    quit_decided: AtomicBool,
    panicked: AtomicBool,
}

struct Job<'a> {
    work: &'a (dyn Fn(&Worker<'_>) + Sync),
    meeting: Meeting,
    workers_left: AtomicUsize,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool {
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
            let worker = start_worker(turns.workers.len() + 1)?;
            turns.workers.push(worker);
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

    /// Waits for the pool and runs `work` on `n_threads` of the lease's threads at once (the workers are left asleep
    /// if it is 1). Returns when all are done.
    ///
    /// # Errors
    /// [`RunError::Deadline`] or [`RunError::Stopped`] if that happened while waiting for the pool.
    ///
    /// # Panics
    /// If `work` does.
    pub(super) fn run(
        &mut self,
        n_threads: usize,
        deadline: Option<Instant>,
        stop: Option<&AtomicBool>,
        work: &(dyn Fn(&Worker<'_>) + Sync),
    ) -> Result<(), RunError> {
        let n_threads = n_threads.clamp(1, self.n_threads);
        let _turn = Turn::wait(deadline, stop)?;
        let job = Job {
            work,
            meeting: Meeting {
                n_threads: n_threads as u32,
                arrived: AtomicU32::new(0),
                round: AtomicU32::new(0),
                claimed: AtomicUsize::new(0),
                quit: AtomicBool::new(false),
                quit_decided: AtomicBool::new(false),
                panicked: AtomicBool::new(false),
            },
            workers_left: AtomicUsize::new(n_threads - 1),
        };
        // Waits for the workers also when `work` panics here: they see `job`, which lives on this stack.
        let guard = AllDone(&job);
        for mailbox in &self.workers[..n_threads - 1] {
            let shown: *const Job<'_> = &job;
            mailbox.job.store(shown.cast_mut().cast(), Ordering::Release);
            mailbox.thread.get().expect("set before the worker was lent").unpark();
        }
        work(&Worker { index: 0, meeting: &job.meeting });
        drop(guard);
        assert!(!job.meeting.panicked.load(Ordering::Relaxed), "a thread of the run panicked");
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        pool().turns().leases -= 1;
    }
}

struct AllDone<'a>(&'a Job<'a>);

impl Drop for AllDone<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.meeting.panicked.store(true, Ordering::Relaxed);
        }
        spin_until(|| self.0.workers_left.load(Ordering::Acquire) == 0);
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

impl Worker<'_> {
    /// Claims the next `n` pieces of the work that is shared since the last meeting, and returns the first's number.
    pub(super) fn claim(&self, n: usize) -> usize {
        self.meeting.claimed.fetch_add(n, Ordering::Relaxed)
    }

    /// Asks all threads to end the run at the next meeting.
    pub(super) fn quit(&self) {
        self.meeting.quit.store(true, Ordering::Relaxed);
    }

    /// Whether some thread has asked to end the run: what is claimed need not be done any more.
    pub(super) fn is_quitting(&self) -> bool {
        self.meeting.quit.load(Ordering::Relaxed)
    }

    /// Waits for all threads of the run. What they wrote before is seen by all after; claims start anew. Returns
    /// whether to go on, the same for every thread.
    ///
    /// # Panics
    /// If another thread of the run panicked.
    pub(super) fn meet(&self) -> bool {
        let meeting = self.meeting;
        if meeting.n_threads == 1 {
            meeting.claimed.store(0, Ordering::Relaxed);
            return !meeting.quit.load(Ordering::Relaxed);
        }
        let round = meeting.round.load(Ordering::Relaxed);
        if meeting.arrived.fetch_add(1, Ordering::AcqRel) + 1 == meeting.n_threads {
            meeting.arrived.store(0, Ordering::Relaxed);
            meeting.claimed.store(0, Ordering::Relaxed);
            meeting.quit_decided.store(meeting.quit.load(Ordering::Relaxed), Ordering::Relaxed);
            meeting.round.store(round.wrapping_add(1), Ordering::Release);
        } else {
            spin_until(|| {
                assert!(!meeting.panicked.load(Ordering::Relaxed), "another thread of the run panicked");
                meeting.round.load(Ordering::Acquire) != round
            });
        }
        !meeting.quit_decided.load(Ordering::Relaxed)
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

fn start_worker(index: usize) -> std::io::Result<Arc<Mailbox>> {
    let mailbox = Arc::new(Mailbox { job: AtomicPtr::default(), index, thread: OnceLock::new() });
    let its = Arc::clone(&mailbox);
    let handle = std::thread::Builder::new().name(format!("pool-{index}")).spawn(move || work(&its))?;
    mailbox.thread.get_or_init(|| handle.thread().clone());
    Ok(mailbox)
}

/// A worker's life: the process's.
fn work(mailbox: &Mailbox) {
    pin_to_core(mailbox.index);
    loop {
        let job = next_job(mailbox);
        // SAFETY: `Lease::run` showed a job that lives until `workers_left` is 0, which the decrement below is the last
        // part of this worker's use of it. `work` is `Sync` and everything else in a job is atomic.
        let job: &Job<'_> = unsafe { &*job };
        mailbox.job.store(std::ptr::null_mut(), Ordering::Relaxed);
        let worker = Worker { index: mailbox.index, meeting: &job.meeting };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (job.work)(&worker))).is_err() {
            job.meeting.panicked.store(true, Ordering::Relaxed);
        }
        job.workers_left.fetch_sub(1, Ordering::Release);
    }
}

fn next_job(mailbox: &Mailbox) -> *const Job<'static> {
    loop {
        for _ in 0..SPINS {
            let job = mailbox.job.load(Ordering::Acquire);
            if !job.is_null() {
                return job;
            }
            std::hint::spin_loop();
        }
        if mailbox.job.load(Ordering::Acquire).is_null() {
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
