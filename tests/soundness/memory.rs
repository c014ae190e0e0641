//! The arena and the kernels' outputs on real threads, small enough for Miri.
//!
//! A job of stages like a session's: what a stage makes, the next one reads, and threads share each. Miri sees every element
//! that is read or written, by whom, and what orders the two. Without Miri the results are compared all the same.

/// What the board is made of, as in the pool.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
    pub(super) use std::thread::Thread;

    pub(super) fn spin_until(done: impl Fn() -> bool) {
        while !done() {
            std::thread::yield_now();
        }
    }
}

mod kernels {
    pub(super) use perihelion_kernels::Out;
}

#[path = "../../src/backend/cpu/arena.rs"]
#[allow(dead_code, reason = "what a session alone asks for")]
mod arena;
#[path = "../../src/backend/cpu/pool/board.rs"]
#[allow(dead_code, reason = "what the pool alone asks for")]
mod board;

use std::sync::atomic::{AtomicBool, Ordering};

use perihelion_kernels::{
    Affine, Attention, CopyAxis, Epilogue, Isa, Kernels, Keys, Linear, PanelFormat, Panels, SCRATCH_FLOATS,
    copy_axis, pack_panels, panels_bytes,
};
use perihelion_tensor::{DType, TensorView};

use arena::{Lifetime, Memory, Place, Placer};
use board::{Board, Job};

/// Rows, heads, elements of a head; a row is as wide as the heads.
const N: usize = 7;
const HEADS: usize = 2;
const DIM: usize = 8;
const WIDTH: usize = HEADS * DIM;

/// Stages over places of one memory: `x` is scaled in place; a product of it goes to `y`, with what stood in `z` added; attention of
/// `y` with itself goes to `z`, in place of what was there; and `z` is copied to the kept rows.
struct Stages {
    kernels: &'static Kernels,
    memory: Memory,
    kept: Place,
    x: Place,
    y: Place,
    z: Place,
    panels: Vec<u64>,
}

impl Stages {
    fn new() -> Stages {
        let mut placer = Placer::default();
        let kept = placer.keep(N * WIDTH);
        let lifetime = |first, last| Lifetime { len: N * WIDTH, first, last };
        let places = placer.share(&[lifetime(0, 1), lifetime(1, 2), lifetime(0, 3)]);
        let [x, y, z] = places[..] else { panic!("one for each") };
        let mut memory = placer.claim().expect("a few hundred bytes");
        for (place, scale) in [(x, 0.01), (z, 0.02)] {
            for (i, v) in memory.get_mut(place, 0..N * WIDTH).iter_mut().enumerate() {
                *v = (i % 13) as f32 * scale - 0.05;
            }
        }
        let weights: Vec<u8> =
            (0..WIDTH * WIDTH).flat_map(|i| ((i % 11) as f32 * 0.1 - 0.5).to_le_bytes()).collect();
        let view = TensorView { dtype: DType::F32, shape: vec![WIDTH, WIDTH], bytes: &weights };
        let mut panels = vec![0u64; panels_bytes(PanelFormat::F32, WIDTH, WIDTH) / 8];
        let packed = pack_panels(&view, PanelFormat::F32, bytemuck::cast_slice_mut(&mut panels));
        packed.expect("f32 holds all");
        Stages { kernels: Kernels::of(Isa::Portable).expect("always there"), memory, kept, x, y, z, panels }
    }

    fn n_tasks(&self, stage: usize) -> usize {
        match stage {
            0 => self.scaled().tasks(),
            1 => self.product().tasks(),
            2 => self.attention().tasks(),
            _ => self.copied().tasks(),
        }
    }

    fn read(&self, place: Place) -> &[f32] {
        self.memory.read(place, 0..N * WIDTH)
    }

    fn scaled(&self) -> Affine<'_> {
        Affine { x: None, len: N * WIDTH, mul: 2.0, add: 0.25 }
    }

    fn product(&self) -> Linear<'_> {
        let bytes = bytemuck::cast_slice(&self.panels);
        let weight = Panels { format: PanelFormat::F32, rows: WIDTH, k: WIDTH, bytes };
        let epilogue = Epilogue::Add(Some(self.read(self.z)));
        Linear { x: self.read(self.x), m: N, weight, bias: None, epilogue }
    }

    fn attention(&self) -> Attention<'_> {
        let y = self.read(self.y);
        Attention {
            q: y,
            k: Keys::F32(y),
            v: Keys::F32(y),
            n: N,
            m: N,
            heads: HEADS,
            kv_heads: HEADS,
            dim: DIM,
            scale: 0.5,
            causal: true,
        }
    }

    fn copied(&self) -> CopyAxis<'_> {
        let x = self.read(self.z);
        CopyAxis {
            x,
            outer: N,
            inner: 1,
            from_len: WIDTH,
            from_start: 0,
            to_len: WIDTH,
            to_start: 0,
            len: WIDTH,
        }
    }
}

impl Job for Stages {
    fn advance(&self, stage: usize, _: usize) -> Option<(usize, usize)> {
        (stage < 4).then(|| (stage, self.n_tasks(stage)))
    }

    fn piece(&self, stage: usize, piece: usize, _: usize) {
        let tasks = piece..piece + 1;
        let out = |place| self.memory.out(place, 0..N * WIDTH);
        let mut scratch = vec![0.0; SCRATCH_FLOATS];
        match stage {
            0 => (self.kernels.affine)(&self.scaled(), tasks, &mut out(self.x), &mut scratch),
            1 => (self.kernels.linear)(&self.product(), tasks, &mut out(self.y), &mut scratch),
            2 => (self.kernels.attention)(&self.attention(), tasks, &mut out(self.z), &mut scratch),
            _ => copy_axis(&self.copied(), tasks, &mut out(self.kept)),
        }
    }
}

/// What a run leaves in the kept rows, on this thread and so many workers.
fn kept_after_a_run(n_workers: usize) -> Vec<f32> {
    let (board, stages, is_over) = (Board::new(), Stages::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let worker = |index: usize| {
            let (board, is_over) = (&board, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    if !board.do_piece(index) {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let workers: Vec<_> = (1..=n_workers).map(worker).collect();
        let threads: Vec<_> = workers.iter().map(|worker| worker.thread().clone()).collect();
        board.run(&threads, &stages);
        is_over.store(true, Ordering::Relaxed);
    });
    stages.read(stages.kept).to_vec()
}

#[test]
fn threads_share_stages_over_one_memory() {
    let alone = kept_after_a_run(0);
    assert!(alone.iter().all(|v| v.is_finite() && *v != 0.0));
    for n_workers in 1..=2 {
        let shared = kept_after_a_run(n_workers);
        assert!(alone.iter().zip(&shared).all(|(a, b)| a.to_bits() == b.to_bits()), "{n_workers} workers");
    }
}
