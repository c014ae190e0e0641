//! The board on which a run shows its work, and how threads claim pieces of it.
//!
//! What there is to do now stands in one word, so that claiming a piece is one exchange: a thread that has slept through
//! any number of stages or runs claims a piece of what is there now, or none. Whoever does the last piece of a stage posts
//! the next one.
//!
//! All that is shared here is made of what `super::sync` names: the standard library's atomics, and loom's in
//! `tests/soundness`, which includes this file and tries every order in which threads can meet in it.
#![expect(unsafe_code, reason = "a job on the caller's stack is shown to the workers")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, Thread, spin_until};

/// The most pieces of one stage.
pub(crate) const PIECES_MAX: usize = 1 << 16;
/// The most stages of one run.
pub(crate) const STAGES_MAX: usize = 1 << 20;

/// The work of a run.
pub(crate) trait Job: Sync {
    /// Does by itself, on thread `thread`, what comes from stage `stage` on and is not to be shared; then says which
    /// stage (below [`STAGES_MAX`]) is to be shared next, and in how many pieces (1 to [`PIECES_MAX`]). None is the end of
    /// the run.
    fn advance(&self, stage: usize, thread: usize) -> Option<(usize, usize)>;

    /// Does one piece of a shared stage. Thread 0 is the caller's.
    fn piece(&self, stage: usize, piece: usize, thread: usize);
}

/// What there is to do now.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Posted {
    /// Threads that may claim; 0 if no run is under way.
    n_threads: usize,
    stage: usize,
    n_pieces: usize,
    /// Claimed so far.
    claimed: usize,
}

impl Posted {
    const NOTHING: Posted = Posted { n_threads: 0, stage: 0, n_pieces: 0, claimed: 0 };
    /// Nothing yet, of a run that is about to begin.
    const TAKEN: Posted = Posted { n_threads: 0, stage: 1, n_pieces: 0, claimed: 0 };

    /// All pieces of a stage, or nothing at the end of a run.
    ///
    /// # Panics
    /// If the word has no room for what the job says.
    fn next(n_threads: usize, stage: Option<(usize, usize)>) -> Posted {
        let Some((stage, n_pieces)) = stage else { return Posted::NOTHING };
        assert!(stage < STAGES_MAX, "stage {stage}: a run has fewer than {STAGES_MAX}");
        assert!((1..=PIECES_MAX).contains(&n_pieces), "{n_pieces} pieces: a stage has 1 to {PIECES_MAX}");
        Posted { n_threads, stage, n_pieces, claimed: 0 }
    }

    fn word(self) -> u64 {
        (self.n_threads as u64) << 56
            | (self.stage as u64) << 36
            | (self.n_pieces as u64) << 18
            | self.claimed as u64
    }

    fn from(word: u64) -> Posted {
        let field = |shift: u32, bits: u32| (word >> shift & ((1 << bits) - 1)) as usize;
        Posted {
            n_threads: field(56, 8),
            stage: field(36, 20),
            n_pieces: field(18, 18),
            claimed: field(0, 18),
        }
    }

    fn has_piece_for(self, thread: usize) -> bool {
        thread < self.n_threads && self.claimed < self.n_pieces
    }
}

/// Where all threads look for work.
pub(crate) struct Board {
    posted: AtomicU64,
    /// Pieces of the posted stage that are done.
    done: AtomicU32,
    /// The job of the run under way. Whoever holds a piece may use it: the run cannot end before the piece is done.
    job: AtomicPtr<&'static dyn Job>,
    panicked: AtomicBool,
}

impl Board {
    /// With nothing to do.
    pub(crate) fn new() -> Board {
        Board {
            posted: AtomicU64::new(Posted::NOTHING.word()),
            done: AtomicU32::new(0),
            job: AtomicPtr::new(std::ptr::null_mut()),
            panicked: AtomicBool::new(false),
        }
    }

    /// Does the job on this thread, which is thread 0, and on as many of the `workers` (threads 1, 2, …) as come in time.
    /// They are woken if there is something to share.
    ///
    /// # Panics
    /// If the job does, or asks for more stages or pieces than there can be; or if a run is under way.
    pub(crate) fn run(&self, workers: &[Thread], job: &dyn Job) {
        let Some(stage) = job.advance(0, 0) else { return };
        let n_threads = workers.len() + 1;
        let first = Posted::next(n_threads, Some(stage));
        let (nothing, taken) = (Posted::NOTHING.word(), Posted::TAKEN.word());
        let is_free =
            self.posted.compare_exchange(nothing, taken, Ordering::Acquire, Ordering::Relaxed).is_ok();
        assert!(is_free, "one run at a time");
        let shown: *const &dyn Job = &raw const job;
        self.job.store(shown.cast_mut().cast(), Ordering::Relaxed);
        self.panicked.store(false, Ordering::Relaxed);
        self.post(first);
        workers.iter().for_each(Thread::unpark);
        // Once nothing is posted any more, nobody but this thread uses the job. Nothing here panics before that.
        while self.is_running() {
            if !self.do_piece(0) {
                spin_until(|| !self.is_running() || self.posted().has_piece_for(0));
            }
        }
        assert!(!self.panicked.load(Ordering::Relaxed), "a thread of the run panicked");
    }

    /// Whether the run under way, if there is one, is of so many threads that `thread` is one of them.
    pub(crate) fn may_have_work_for(&self, thread: usize) -> bool {
        thread < self.posted().n_threads
    }

    fn is_running(&self) -> bool {
        self.may_have_work_for(0)
    }

    fn posted(&self) -> Posted {
        Posted::from(self.posted.load(Ordering::Acquire))
    }

    fn post(&self, posted: Posted) {
        self.done.store(0, Ordering::Relaxed);
        self.posted.store(posted.word(), Ordering::Release);
    }

    /// Claims a piece and does it, if there is one. Whoever does a stage's last piece posts the next stage.
    pub(crate) fn do_piece(&self, thread: usize) -> bool {
        let word = self.posted.load(Ordering::Acquire);
        let posted = Posted::from(word);
        if !posted.has_piece_for(thread) {
            return false;
        }
        if self.posted.compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return true;
        }
        let shown = self.job.load(Ordering::Relaxed).cast::<&dyn Job>();
        // SAFETY: `run` showed the job before it posted what was claimed here, and returns only after this piece is done:
        // the run ends when somebody posts nothing, which takes all pieces of the last stage. `tests/soundness` has
        // loom try that in every order of two threads, and in those of three with two preemptions.
        let job: &dyn Job = unsafe { *shown };
        // Whatever panics here, this thread lives on, and the run ends with its last piece.
        let guarded = |work: &dyn Fn() -> Posted| {
            catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
                self.panicked.store(true, Ordering::Relaxed);
                Posted::NOTHING
            })
        };
        guarded(&|| {
            job.piece(posted.stage, posted.claimed, thread);
            Posted::NOTHING
        });
        if self.done.fetch_add(1, Ordering::AcqRel) as usize + 1 == posted.n_pieces {
            let has_panicked = self.panicked.load(Ordering::Relaxed);
            let next = || Posted::next(posted.n_threads, job.advance(posted.stage + 1, thread));
            self.post(if has_panicked { Posted::NOTHING } else { guarded(&next) });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_posted_word_holds_all_its_fields() {
        let posted =
            Posted { n_threads: 64, stage: STAGES_MAX - 1, n_pieces: PIECES_MAX, claimed: PIECES_MAX };
        assert!(Posted::from(posted.word()) == posted);
        assert!(Posted::NOTHING.word() != Posted::TAKEN.word());
    }
}
