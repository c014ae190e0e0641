//! Copies that only move elements: transposition, parts of an axis (slices and concatenation), enlargement.

use std::ops::Range;

use super::elementwise::AXES_MAX;
use super::out::Out;

/// Side of the square that a transposition of two axes moves at once.
const TILE: usize = 16;
/// Elements of a task, about.
const ELEMENTS_PER_TASK: usize = 16384;

/// Axes in another order: axis `i` of the result is axis `order[i]` of `x`. A task writes some outermost parts of the
/// result.
#[derive(Clone, Copy, Debug)]
pub struct Transpose<'a> {
    /// The elements.
    pub x: &'a [f32],
    /// Of `x`, at most [`AXES_MAX`] axes.
    pub shape: &'a [usize],
    /// A permutation.
    pub order: &'a [u8],
}

/// Places of an axis copied: `[outer, from_len, inner]` → `[outer, to_len, inner]`, `len` places from `from_start` in
/// one to `to_start` in the other. A slice is one of these, a concatenation one for each part, and so is the appending of
/// rows to a cache. A task writes a run of the copied elements.
#[derive(Clone, Copy, Debug)]
pub struct CopyAxis<'a> {
    /// The elements.
    pub x: &'a [f32],
    /// Product of the axes before.
    pub outer: usize,
    /// Product of the axes after.
    pub inner: usize,
    /// The axis in `x`.
    pub from_len: usize,
    /// First place in `x`.
    pub from_start: usize,
    /// The axis in the output.
    pub to_len: usize,
    /// First place in the output.
    pub to_start: usize,
    /// Places.
    pub len: usize,
}

/// Each place of `x [t, h, w, c]` repeated along t, h, w. A task is a row (t', h') of the output; it writes that row.
#[derive(Clone, Copy, Debug)]
pub struct Upsample<'a> {
    /// The elements.
    pub x: &'a [f32],
    /// `[t, h, w, c]`.
    pub shape: [usize; 4],
    /// Factors along t, h, w.
    pub factor: [usize; 3],
}

/// A transposition with axes of one place left out and neighbours that stay neighbours joined.
struct Moves {
    /// Extents of the result.
    extents: [usize; AXES_MAX],
    /// Strides in the input, by axis of the result.
    strides: [usize; AXES_MAX],
    n_axes: usize,
}

impl Moves {
    fn new(shape: &[usize], order: &[u8]) -> Moves {
        assert!(
            shape.len() <= AXES_MAX && shape.len() == order.len(),
            "the graph's verifier checks the axes"
        );
        let mut input_strides = [1; AXES_MAX];
        for axis in (1..shape.len()).rev() {
            input_strides[axis - 1] = input_strides[axis] * shape[axis];
        }
        let mut moves = Moves { extents: [1; AXES_MAX], strides: [1; AXES_MAX], n_axes: 0 };
        for &axis in order {
            let (extent, stride) = (shape[usize::from(axis)], input_strides[usize::from(axis)]);
            if extent == 1 {
                continue;
            }
            if 0 < moves.n_axes && moves.strides[moves.n_axes - 1] == extent * stride {
                moves.extents[moves.n_axes - 1] *= extent;
                moves.strides[moves.n_axes - 1] = stride;
            } else {
                moves.extents[moves.n_axes] = extent;
                moves.strides[moves.n_axes] = stride;
                moves.n_axes += 1;
            }
        }
        moves.n_axes = moves.n_axes.max(1);
        moves
    }

    fn axes(&self) -> (&[usize], &[usize]) {
        (&self.extents[..self.n_axes], &self.strides[..self.n_axes])
    }
}

impl Transpose<'_> {
    /// Tasks that the work is cut into: strips of the result's first axis (or of all, if nothing moves).
    pub fn tasks(&self) -> usize {
        let moves = Moves::new(self.shape, self.order);
        moves.extents[0].div_ceil(self.strip(&moves))
    }

    /// Places of the first axis that a task writes.
    fn strip(&self, moves: &Moves) -> usize {
        let rest: usize = moves.extents[1..].iter().product();
        let places = (ELEMENTS_PER_TASK / rest.max(1)).max(1);
        // Whole squares, if it is along the first axis that they move.
        if moves.strides[0] == 1 { places.next_multiple_of(TILE) } else { places }
    }
}

/// Writes the strips `tasks` of the result.
pub fn transpose(a: &Transpose<'_>, tasks: Range<usize>, out: &mut Out<'_>) {
    let moves = Moves::new(a.shape, a.order);
    let strip = a.strip(&moves);
    let (extents, strides) = moves.axes();
    let first = tasks.start * strip..extents[0].min(tasks.end * strip);
    let rest: usize = extents[1..].iter().product();
    let to = out.part(first.start * rest..first.end * rest);
    // The result's axis whose places are neighbours in the input; its last axis if there is none.
    let near = strides.iter().position(|s| *s == 1).unwrap_or(extents.len() - 1);
    let mut extents_here = moves.extents;
    extents_here[0] = first.len();
    let extents = &extents_here[..moves.n_axes];
    let last = extents.len() - 1;
    if near == last {
        copy_rows(a.x, first.start * strides[0], extents, strides, to);
    } else {
        transpose_planes(a.x, first.start * strides[0], extents, strides, near, to);
    }
}

/// The last axis stays last: whole runs are copied.
fn copy_rows(x: &[f32], start: usize, extents: &[usize], strides: &[usize], to: &mut [f32]) {
    let last = extents.len() - 1;
    let run = extents[last];
    for (row, to) in to.chunks_exact_mut(run.max(1)).enumerate() {
        let from = start + place(row, &extents[..last], &strides[..last]);
        to.copy_from_slice(&x[from..from + run]);
    }
}

/// Axis `near` of the result is last in the input: the plane of it and the result's last axis goes square by square.
fn transpose_planes(
    x: &[f32],
    start: usize,
    extents: &[usize],
    strides: &[usize],
    near: usize,
    to: &mut [f32],
) {
    let last = extents.len() - 1;
    let near_step: usize = extents[near + 1..].iter().product();
    let middle: usize = extents[near + 1..last].iter().product();
    let outer: usize = extents[..near].iter().product();
    for plane in 0..outer * middle {
        let (before, between) = (plane / middle, plane % middle);
        let from = start
            + place(before, &extents[..near], &strides[..near])
            + place(between, &extents[near + 1..last], &strides[near + 1..last]);
        let at = before * extents[near] * near_step + between * extents[last];
        for row in (0..extents[near]).step_by(TILE) {
            for column in (0..extents[last]).step_by(TILE) {
                // Through a square of its own: rows at a power of two from each other would push one another out of
                // the cache while both sides are walked.
                let mut square = [[0.0; TILE]; TILE];
                let (n_rows, n_columns) = (TILE.min(extents[near] - row), TILE.min(extents[last] - column));
                for (i, line) in square.iter_mut().enumerate().take(n_columns) {
                    let from = &x[from + row + (column + i) * strides[last]..];
                    match from.first_chunk() {
                        Some(whole) => *line = *whole,
                        None => line[..n_rows].copy_from_slice(&from[..n_rows]),
                    }
                }
                for i in 0..n_rows {
                    let to = &mut to[at + (row + i) * near_step + column..][..n_columns];
                    for (to, line) in to.iter_mut().zip(&square) {
                        *to = line[i];
                    }
                }
            }
        }
    }
}

/// Where the `index`-th place of these axes lies.
fn place(mut index: usize, extents: &[usize], strides: &[usize]) -> usize {
    let mut at = 0;
    for (extent, stride) in extents.iter().zip(strides).rev() {
        at += index % extent * stride;
        index /= extent;
    }
    at
}

impl CopyAxis<'_> {
    /// Tasks that the work is cut into.
    pub fn tasks(&self) -> usize {
        (self.outer * self.len * self.inner).div_ceil(ELEMENTS_PER_TASK)
    }
}

/// Copies the elements of `tasks`.
pub fn copy_axis(a: &CopyAxis<'_>, tasks: Range<usize>, out: &mut Out<'_>) {
    let run = a.len * a.inner;
    let end = (a.outer * run).min(tasks.end * ELEMENTS_PER_TASK);
    let mut at = tasks.start * ELEMENTS_PER_TASK;
    while at < end {
        let (row, column) = (at / run, at % run);
        let len = (run - column).min(end - at);
        let from = (row * a.from_len + a.from_start) * a.inner + column;
        let to = (row * a.to_len + a.to_start) * a.inner + column;
        out.part(to..to + len).copy_from_slice(&a.x[from..from + len]);
        at += len;
    }
}

impl Upsample<'_> {
    /// Tasks that the work is cut into.
    pub fn tasks(&self) -> usize {
        self.shape[0] * self.factor[0] * self.shape[1] * self.factor[1]
    }
}

/// Writes the rows `tasks` of the output.
pub fn upsample(a: &Upsample<'_>, tasks: Range<usize>, out: &mut Out<'_>) {
    let [_, h, w, c] = a.shape;
    let [by_t, by_h, by_w] = a.factor;
    let row_len = w * by_w * c;
    for task in tasks {
        let (t, y) = (task / (h * by_h), task % (h * by_h));
        let from = &a.x[((t / by_t) * h + y / by_h) * w * c..][..w * c];
        let to = out.part(task * row_len..(task + 1) * row_len);
        for (from, to) in from.chunks_exact(c).zip(to.chunks_exact_mut(by_w * c)) {
            for to in to.chunks_exact_mut(c) {
                to.copy_from_slice(from);
            }
        }
    }
}
