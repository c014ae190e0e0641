//! Turns the views of a step into slices, for the extents and windows of a run.

use std::ops::Range;

use super::arena::{Memory, Place};
use super::kernels::{AXES_MAX, Kernels, Keys, Out};
use super::pack::PackedWeights;
use super::placement::{Base, View};
use super::program::RowAt;
use crate::graph::{BufferId, Dim, Symbol};

/// A buffer's place, elements of a row, and whether two of them share a word of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BufferPlace {
    pub(super) place: Place,
    pub(super) row_len: usize,
    pub(super) is_narrow: bool,
}

impl BufferPlace {
    /// The words that hold some of the elements: whole rows, or parts of rows that begin and end with a word.
    pub(super) fn words(&self, elements: Range<usize>) -> Range<usize> {
        if self.is_narrow { elements.start / 2..elements.end / 2 } else { elements }
    }
}

/// What a run knows, the same for all its steps and threads.
pub(super) struct Context<'a> {
    pub(super) extents: &'a [usize],
    /// For each buffer the row at which the run's window begins.
    pub(super) windows: &'a [usize],
    pub(super) memory: &'a Memory,
    pub(super) buffers: &'a [BufferPlace],
    pub(super) weights: &'a PackedWeights,
    pub(super) kernels: &'a Kernels,
}

/// Extents of a view.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) extents: [usize; AXES_MAX],
    rank: usize,
}

impl Shape {
    /// No axis at all.
    pub(super) fn none() -> Shape {
        Shape { extents: [1; AXES_MAX], rank: 0 }
    }

    pub(super) fn of(dims: &[Dim], extents: &[usize]) -> Shape {
        let mut shape = Shape { extents: [1; AXES_MAX], rank: dims.len() };
        for (to, dim) in shape.extents.iter_mut().zip(dims) {
            *to = dim.value(extents);
        }
        shape
    }

    pub(super) fn as_slice(&self) -> &[usize] {
        &self.extents[..self.rank]
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().iter().product()
    }

    pub(super) fn last(&self) -> usize {
        self.as_slice().last().copied().unwrap_or(1)
    }
}

impl<'a> Context<'a> {
    pub(super) fn shape(&self, view: &View) -> Shape {
        Shape::of(&view.shape, self.extents)
    }

    /// Where a view's elements are in its place.
    pub(super) fn part(&self, view: &View) -> Range<usize> {
        let mut start = 0;
        for offset in &view.offsets {
            let places = offset.places.map_or(0, |d| d.value(self.extents)) - offset.less;
            start += places * offset.factors.iter().map(|d| d.value(self.extents)).product::<usize>();
        }
        start..start + self.shape(view).len()
    }

    pub(super) fn rows_start(&self, buffer: BufferId, at: RowAt) -> usize {
        let row = match at {
            RowAt::Window => self.windows[buffer.index()],
            RowAt::Past(symbol) => self.extents[usize::from(symbol.0)],
        };
        row * self.buffers[buffer.index()].row_len
    }

    pub(super) fn read(&self, view: &View) -> &'a [f32] {
        let part = self.part(view);
        match view.base {
            Base::Arena(place) => self.memory.read(place, part),
            Base::Rows(buffer, at) => {
                let start = self.rows_start(buffer, at);
                let buffer = self.buffers[buffer.index()];
                assert!(!buffer.is_narrow, "attention alone reads such caches");
                self.memory.read(buffer.place, start + part.start..start + part.end)
            }
            Base::Weight(id) => &self.weights.rows(id)[part],
        }
    }

    pub(super) fn read_i32(&self, view: &View) -> &'a [i32] {
        bytemuck::cast_slice(self.read(view))
    }

    /// Some of the elements of an output, or the words that they share in a narrow cache.
    pub(super) fn out(&self, view: &View, some: Range<usize>) -> Out<'a> {
        let part = self.part(view);
        assert!(some.end <= part.len(), "a step writes within its output");
        let start = part.start + some.start;
        match view.base {
            Base::Arena(place) => self.memory.out(place, start..start + some.len()),
            Base::Rows(buffer, at) => {
                let start = start + self.rows_start(buffer, at);
                let buffer = self.buffers[buffer.index()];
                self.memory.out(buffer.place, buffer.words(start..start + some.len()))
            }
            Base::Weight(_) => unreachable!("no call makes a constant"),
        }
    }

    /// A cache's first `rows` rows.
    pub(super) fn cache(&self, buffer: BufferId, rows: usize) -> Keys<'a> {
        let buffer = self.buffers[buffer.index()];
        let words = self.memory.read(buffer.place, buffer.words(0..rows * buffer.row_len));
        if buffer.is_narrow { Keys::Bf16(bytemuck::cast_slice(words)) } else { Keys::F32(words) }
    }

    pub(super) fn past(&self, past: Option<Symbol>) -> usize {
        past.map_or(0, |p| self.extents[usize::from(p.0)])
    }
}
