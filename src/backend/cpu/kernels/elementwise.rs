//! Functions of one and of two elements.

use std::ops::Range;

use perihelion_tensor::function;

use super::math;
use super::out::Out;
use super::simd::{LANES, Simd};

/// Elements that a task writes.
pub(super) const ELEMENTS_PER_TASK: usize = 4096;
/// The most axes of a value.
pub const AXES_MAX: usize = 6;

/// A function of each element. A task writes a run of elements.
#[derive(Clone, Copy, Debug)]
pub struct Unary<'a> {
    /// Shaped as the output; none takes the output's own values.
    pub x: Option<&'a [f32]>,
    /// Elements.
    pub len: usize,
    /// Which.
    pub function: function::Unary,
}

/// `x * mul + add` for each element. A task writes a run of elements.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// Shaped as the output; none takes the output's own values.
    pub x: Option<&'a [f32]>,
    /// Elements.
    pub len: usize,
    /// Factor.
    pub mul: f32,
    /// Addend.
    pub add: f32,
}

/// A function of two values; the second's axes, aligned at the last, are equal to the first's or 1 or missing.
/// A task writes a run of elements.
#[derive(Clone, Copy, Debug)]
pub struct Binary<'a> {
    /// Shaped as the output; none takes the output's own values.
    pub x: Option<&'a [f32]>,
    /// Of `x`, at most [`AXES_MAX`] axes.
    pub shape: &'a [usize],
    /// The second value.
    pub y: &'a [f32],
    /// Of `y`.
    pub y_shape: &'a [usize],
    /// Which.
    pub function: function::Binary,
}

impl Unary<'_> {
    /// Tasks that the work is cut into.
    pub fn tasks(&self) -> usize {
        self.len.div_ceil(ELEMENTS_PER_TASK)
    }
}

impl Affine<'_> {
    /// Tasks that the work is cut into.
    pub fn tasks(&self) -> usize {
        self.len.div_ceil(ELEMENTS_PER_TASK)
    }
}

impl Binary<'_> {
    /// Tasks that the work is cut into.
    pub fn tasks(&self) -> usize {
        self.shape.iter().product::<usize>().div_ceil(ELEMENTS_PER_TASK)
    }
}

#[inline(always)]
pub(super) fn run_unary<S: Simd>(s: S, a: &Unary<'_>, tasks: Range<usize>, out: &mut Out<'_>, _: &mut [f32]) {
    each(s, a, (a.x, a.len), tasks, out);
}

#[inline(always)]
pub(super) fn run_affine<S: Simd>(
    s: S,
    a: &Affine<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    _: &mut [f32],
) {
    each(s, a, (a.x, a.len), tasks, out);
}

/// What is done with each lane. Why not a closure: it would be compiled without the caller's instruction set.
trait Lanewise {
    fn of<S: Simd>(&self, s: S, x: S::V) -> S::V;
}

impl Lanewise for Unary<'_> {
    #[inline(always)]
    fn of<S: Simd>(&self, s: S, x: S::V) -> S::V {
        apply(s, self.function, x)
    }
}

impl Lanewise for Affine<'_> {
    #[inline(always)]
    fn of<S: Simd>(&self, s: S, x: S::V) -> S::V {
        s.add(s.mul(x, s.splat(self.mul)), s.splat(self.add))
    }
}

/// Writes what is made of each element of `tasks`, of `len` elements of `x` or of the output's own.
#[inline(always)]
fn each<S: Simd>(
    s: S,
    function: &impl Lanewise,
    (x, len): (Option<&[f32]>, usize),
    tasks: Range<usize>,
    out: &mut Out<'_>,
) {
    for task in tasks {
        let here = task * ELEMENTS_PER_TASK..len.min((task + 1) * ELEMENTS_PER_TASK);
        let to = out.part(here.clone());
        if let Some(x) = x {
            to.copy_from_slice(&x[here]);
        }
        let (whole, rest) = to.as_chunks_mut::<LANES>();
        for to in whole {
            s.store(function.of(s, s.load(to)), to);
        }
        s.store_part(function.of(s, s.load_part(rest)), rest);
    }
}

/// A function of each lane.
#[inline(always)]
pub(super) fn apply<S: Simd>(s: S, function: function::Unary, x: S::V) -> S::V {
    match function {
        function::Unary::Silu => math::silu(s, x),
        function::Unary::GeluTanh => math::gelu_tanh(s, x),
        function::Unary::GeluErf => math::gelu_erf(s, x),
        function::Unary::Relu => s.max(s.zero(), x),
    }
}

/// The second value's place for each element of the first: neighbouring axes that behave alike are one.
struct Broadcast {
    extents: [usize; AXES_MAX],
    strides: [usize; AXES_MAX],
    n_axes: usize,
}

impl Broadcast {
    fn new(shape: &[usize], y_shape: &[usize]) -> Broadcast {
        assert!(
            shape.len() <= AXES_MAX && y_shape.len() <= shape.len(),
            "the graph's verifier checks the axes"
        );
        let missing = shape.len() - y_shape.len();
        let mut all = Broadcast { extents: [1; AXES_MAX], strides: [0; AXES_MAX], n_axes: 0 };
        let mut repeats_before = None;
        for (axis, &extent) in shape.iter().enumerate() {
            if extent == 1 {
                continue;
            }
            let repeats = axis < missing || y_shape[axis - missing] == 1;
            if repeats_before == Some(repeats) {
                all.extents[all.n_axes - 1] *= extent;
            } else {
                all.extents[all.n_axes] = extent;
                all.strides[all.n_axes] = usize::from(!repeats);
                all.n_axes += 1;
            }
            repeats_before = Some(repeats);
        }
        all.n_axes = all.n_axes.max(1);
        let mut size = 1;
        for axis in (0..all.n_axes).rev() {
            if all.strides[axis] != 0 {
                all.strides[axis] = size;
                size *= all.extents[axis];
            }
        }
        all
    }

    /// Place in the second value of row `row` of the last axis.
    fn row_start(&self, mut row: usize) -> usize {
        let mut start = 0;
        for axis in (0..self.n_axes - 1).rev() {
            start += row % self.extents[axis] * self.strides[axis];
            row /= self.extents[axis];
        }
        start
    }
}

#[inline(always)]
pub(super) fn run_binary<S: Simd>(
    s: S,
    a: &Binary<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    _: &mut [f32],
) {
    let len: usize = a.shape.iter().product();
    let broadcast = Broadcast::new(a.shape, a.y_shape);
    let row_len = broadcast.extents[broadcast.n_axes - 1];
    let repeats = broadcast.strides[broadcast.n_axes - 1] == 0;
    let end = len.min(tasks.end * ELEMENTS_PER_TASK);
    let mut at = tasks.start * ELEMENTS_PER_TASK;
    while at < end {
        let (row, column) = (at / row_len, at % row_len);
        let run = (row_len - column).min(end - at).min(ELEMENTS_PER_TASK);
        let to = out.part(at..at + run);
        if let Some(x) = a.x {
            to.copy_from_slice(&x[at..at + run]);
        }
        let start = broadcast.row_start(row);
        if repeats {
            let y = s.splat(a.y[start]);
            let (whole, rest) = to.as_chunks_mut::<LANES>();
            for to in whole {
                s.store(join(s, a.function, s.load(to), y), to);
            }
            s.store_part(join(s, a.function, s.load_part(rest), y), rest);
        } else {
            let y = &a.y[start + column..start + column + run];
            let (y_whole, y_rest) = y.as_chunks::<LANES>();
            let (whole, rest) = to.as_chunks_mut::<LANES>();
            for (to, y) in whole.iter_mut().zip(y_whole) {
                s.store(join(s, a.function, s.load(to), s.load(y)), to);
            }
            s.store_part(join(s, a.function, s.load_part(rest), s.load_part(y_rest)), rest);
        }
        at += run;
    }
}

#[inline(always)]
fn join<S: Simd>(s: S, function: function::Binary, x: S::V, y: S::V) -> S::V {
    match function {
        function::Binary::Add => s.add(x, y),
        function::Binary::Sub => s.sub(x, y),
        function::Binary::Mul => s.mul(x, y),
    }
}
