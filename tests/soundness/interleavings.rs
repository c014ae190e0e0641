//! The pool's board (`src/backend/cpu/pool/board.rs`) under loom: every order in which threads can meet on it, up to a number of
//! preemptions that takes seconds. Without a bound, two threads take minutes.
//!
//! The board is included as it stands, with loom's atomics in place of the standard library's. Loom also watches the cells
//! that a job's pieces write and read: two accesses that nothing orders, one of them a write, end the check.
//!
//! Why not `--cfg loom` and the board in place: that would build the program and all that it needs a second time.

mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
    pub(super) use loom::thread::Thread;

    /// Lets the other threads go on until it is done: what waits spins, and loom must be told.
    pub(super) fn spin_until(done: impl Fn() -> bool) {
        while !done() {
            loom::thread::yield_now();
        }
    }
}

#[path = "../../src/backend/cpu/pool/board.rs"]
mod board;

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread::Thread;

use board::{Board, Job, PIECES_MAX};

/// Stages of so many pieces. A piece counts itself in a cell of its own, when it has seen that all of the stage before have.
struct Counting {
    cells: Vec<Vec<UnsafeCell<u32>>>,
    /// Read by every piece, and written when the run is over: a piece that came later would race with that.
    is_over: UnsafeCell<bool>,
    panics_at: Option<(usize, usize)>,
    /// Pieces that the stage after the last one claims to have; none is the end.
    too_many: Option<usize>,
}

// SAFETY: loom's cells are `UnsafeCell`s that watch every access; that they are apart is what is checked here.
#[expect(unsafe_code, reason = "a job is shared by threads; loom checks what they share")]
unsafe impl Sync for Counting {}

impl Counting {
    fn new(stages: &[usize]) -> Counting {
        let cells = stages.iter().map(|n| (0..*n).map(|_| UnsafeCell::new(0)).collect());
        Counting { cells: cells.collect(), is_over: UnsafeCell::new(false), panics_at: None, too_many: None }
    }

    #[expect(unsafe_code, reason = "as `UnsafeCell` asks")]
    fn count(&self, stage: usize, piece: usize) -> u32 {
        // SAFETY: loom ends the check if another thread may write at the same time.
        self.cells[stage][piece].with(|count| unsafe { *count })
    }

    /// Ends the run in the eyes of its pieces; then whether each piece of these stages was done once.
    #[expect(unsafe_code, reason = "as `UnsafeCell` asks")]
    fn is_complete(&self, n_stages: usize) -> bool {
        // SAFETY: loom ends the check if a piece is still under way.
        self.is_over.with_mut(|is_over| unsafe { *is_over = true });
        (0..n_stages).all(|stage| (0..self.cells[stage].len()).all(|piece| self.count(stage, piece) == 1))
    }
}

impl Job for Counting {
    fn advance(&self, stage: usize, _: usize) -> Option<(usize, usize)> {
        if let Some(before) = stage.checked_sub(1) {
            assert!((0..self.cells[before].len()).all(|piece| self.count(before, piece) == 1));
        }
        match self.cells.get(stage) {
            Some(pieces) => Some((stage, pieces.len())),
            None => self.too_many.map(|n_pieces| (stage, n_pieces)),
        }
    }

    #[expect(unsafe_code, reason = "as `UnsafeCell` asks")]
    fn piece(&self, stage: usize, piece: usize, _: usize) {
        // SAFETY: loom ends the check if the run may be over.
        assert!(!self.is_over.with(|is_over| unsafe { *is_over }));
        if let Some(before) = stage.checked_sub(1) {
            assert!((0..self.cells[before].len()).all(|piece| self.count(before, piece) == 1));
        }
        // SAFETY: loom ends the check if another thread does this piece or looks at it.
        self.cells[stage][piece].with_mut(|count| unsafe { *count += 1 });
        assert!(self.panics_at != Some((stage, piece)), "as asked");
    }
}

/// Calls `runs` with a board and its workers, in every order of their steps in which threads are preempted at most so often (or
/// `LOOM_MAX_PREEMPTIONS` times). A worker looks for a piece `n_looks` times: one that looks no more is as one that has lost
/// its core.
fn in_every_order(n_workers: usize, n_looks: usize, preemptions: usize, runs: fn(&Board, &[Thread])) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(move || {
        let board = Arc::new(Board::new());
        let worker = |index: usize| {
            let board = board.clone();
            loom::thread::spawn(move || {
                for _ in 0..n_looks {
                    board.do_piece(index);
                }
            })
        };
        let workers: Vec<_> = (1..=n_workers).map(worker).collect();
        let threads: Vec<Thread> = workers.iter().map(|worker| worker.thread().clone()).collect();
        runs(&board, &threads);
        workers.into_iter().for_each(|worker| worker.join().expect("a worker outlives every run"));
    });
}

fn panics(run: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

#[test]
fn pieces_are_done_once_and_stages_follow_each_other() {
    in_every_order(1, 2, 5, |board, workers| {
        let job = Counting::new(&[2, 1, 2]);
        board.run(workers, &job);
        assert!(job.is_complete(3));
    });
}

#[test]
fn a_worker_that_slept_through_a_run_finds_the_next() {
    in_every_order(1, 2, 5, |board, workers| {
        for _ in 0..2 {
            let job = Counting::new(&[2]);
            board.run(workers, &job);
            assert!(job.is_complete(1));
        }
    });
}

#[test]
fn three_threads_share() {
    in_every_order(2, 1, 3, |board, workers| {
        let job = Counting::new(&[3, 2]);
        board.run(workers, &job);
        assert!(job.is_complete(2));
    });
}

#[test]
fn a_panic_ends_its_run_alone() {
    in_every_order(1, 2, 5, |board, workers| {
        let job = Counting { panics_at: Some((0, 1)), ..Counting::new(&[2, 1]) };
        assert!(panics(|| board.run(workers, &job)));
        assert!(job.is_complete(1));
        let job = Counting::new(&[2]);
        board.run(workers, &job);
        assert!(job.is_complete(1));
    });
}

#[test]
fn a_stage_of_too_many_pieces_ends_its_run() {
    in_every_order(1, 2, 5, |board, workers| {
        let job = Counting { too_many: Some(PIECES_MAX + 1), ..Counting::new(&[2]) };
        assert!(panics(|| board.run(workers, &job)));
        let job = Counting::new(&[1]);
        board.run(workers, &job);
        assert!(job.is_complete(1));
    });
}
