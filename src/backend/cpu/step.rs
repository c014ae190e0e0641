//! Runs some of the tasks of a step.

use std::ops::Range;

use super::bind::{Bound, Shapes, bind};
use super::context::Context;
use super::kernels::{self, CopyAxis, Out};
use super::placement::Step;

/// A step with its arguments for one run.
pub(super) struct BoundStep<'a> {
    step: &'a Step,
    bound: Bound<'a>,
    /// Tasks that it is cut into.
    pub(super) n_tasks: usize,
}

/// An index points outside its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexOutside;

impl<'a> BoundStep<'a> {
    /// Binds a step's views.
    pub(super) fn new(step: &'a Step, cx: &Context<'a>, shapes: &'a mut Shapes) -> BoundStep<'a> {
        let bound = bind(step, cx, shapes);
        let n_tasks = n_tasks(&bound, step, cx);
        BoundStep { step, bound, n_tasks }
    }

    /// Runs some tasks.
    ///
    /// # Errors
    /// If the step checks indices and one is outside.
    pub(super) fn run(
        &self,
        cx: &Context<'a>,
        tasks: Range<usize>,
        scratch: &mut [f32],
    ) -> Result<(), IndexOutside> {
        let k = cx.kernels;
        if let Bound::Check { index, rows, negative_is_none } = self.bound {
            return match kernels::first_outside(index, rows, negative_is_none) {
                Some(_) => Err(IndexOutside),
                None => Ok(()),
            };
        }
        let view = self.step.output.as_ref().expect("all but checks have an output");
        let out = &mut cx.out(view, 0..cx.shape(view).len());
        match &self.bound {
            Bound::Check { .. } => unreachable!("see above"),
            Bound::Linear(a) if a.weight.format.is_blocks() => (k.linear_blocks)(a, tasks, out, scratch),
            Bound::Linear(a) => (k.linear)(a, tasks, out, scratch),
            Bound::Conv3d(a) if a.weight.format.is_blocks() => (k.conv3d_blocks)(a, tasks, out, scratch),
            Bound::Conv3d(a) => (k.conv3d)(a, tasks, out, scratch),
            Bound::Embedding(a) => kernels::embedding(a, tasks, out),
            Bound::RmsNorm(a, _) => (k.rms_norm)(a, tasks, out, scratch),
            Bound::LayerNorm(a, _) => (k.layer_norm)(a, tasks, out, scratch),
            Bound::Unary(a) => (k.unary)(a, tasks, out, scratch),
            Bound::Affine(a) => (k.affine)(a, tasks, out, scratch),
            Bound::Binary(a) => (k.binary)(a, tasks, out, scratch),
            Bound::RotaryTable(a) => kernels::rotary_table(a, tasks, out),
            Bound::Rotary(a) => (k.rotary)(a, tasks, out, scratch),
            Bound::Attention(parts) => {
                for_parts(parts.tasks_of_part(), tasks, |part, tasks| {
                    let (a, result) = parts.part(part);
                    (k.attention)(&a, tasks, &mut cx.out(view, result), scratch);
                });
            }
            Bound::DecodeRanges(a) => (k.decode_attention)(a, tasks, out, scratch),
            Bound::DecodeJoin(a) => (k.join_ranges)(a, tasks, out, scratch),
            Bound::SelectRows(a) => kernels::select_rows(a, tasks, out),
            Bound::InterpolateRows(a) => (k.interpolate_rows)(a, tasks, out, scratch),
            Bound::Transpose(a) => kernels::transpose(a, tasks, out),
            Bound::Concat { outer, inner, to_len, axis } => {
                concat(cx, self.step, [*outer, *inner, *to_len, *axis], tasks, out);
            }
            Bound::CopyAxis(a) => kernels::copy_axis(a, tasks, out),
            Bound::Narrow(a) => kernels::narrow(a, tasks, out),
            Bound::Upsample(a) => kernels::upsample(a, tasks, out),
            Bound::Sinusoid(a) => kernels::sinusoid(a, tasks, out),
        }
        Ok(())
    }
}

fn n_tasks(bound: &Bound<'_>, step: &Step, cx: &Context<'_>) -> usize {
    match bound {
        Bound::Linear(a) => a.tasks(),
        Bound::Conv3d(a) => a.tasks(),
        Bound::Check { .. } => 1,
        Bound::Embedding(a) => a.ids.len(),
        Bound::RmsNorm(_, rows) | Bound::LayerNorm(_, rows) => *rows,
        Bound::Unary(a) => a.tasks(),
        Bound::Affine(a) => a.tasks(),
        Bound::Binary(a) => a.tasks(),
        Bound::RotaryTable(_) | Bound::Rotary(_) | Bound::InterpolateRows(_) => {
            cx.shape(step.output.as_ref().expect("all but checks have an output")).extents[0]
        }
        Bound::Attention(parts) => parts.tasks_of_part() * parts.n_parts,
        Bound::DecodeRanges(a) => a.tasks(),
        Bound::DecodeJoin(a) => a.tasks(),
        Bound::SelectRows(a) => a.index.len(),
        Bound::Transpose(a) => a.tasks(),
        Bound::Concat { outer, inner, to_len, axis } => {
            parts(cx, step, [*outer, *inner, *to_len, *axis]).map(|a| a.tasks()).sum()
        }
        Bound::CopyAxis(a) => a.tasks(),
        Bound::Narrow(a) => a.tasks(),
        Bound::Upsample(a) => a.tasks(),
        Bound::Sinusoid(a) => a.x.len(),
    }
}

/// Calls `run` with each part that `tasks` reach into, and its tasks among them.
fn for_parts(tasks_of_part: usize, tasks: Range<usize>, mut run: impl FnMut(usize, Range<usize>)) {
    let mut task = tasks.start;
    while task < tasks.end {
        let part = task / tasks_of_part;
        let end = tasks.end.min((part + 1) * tasks_of_part);
        run(part, task - part * tasks_of_part..end - part * tasks_of_part);
        task = end;
    }
}

/// The copies that make up a concatenation.
fn parts<'a>(
    cx: &Context<'a>,
    step: &'a Step,
    [outer, inner, to_len, axis]: [usize; 4],
) -> impl Iterator<Item = CopyAxis<'a>> {
    let mut to_start = 0;
    step.inputs.iter().map(move |view| {
        let len = cx.shape(view).extents[axis];
        let a =
            CopyAxis { x: cx.read(view), outer, inner, from_len: len, from_start: 0, to_len, to_start, len };
        to_start += len;
        a
    })
}

fn concat(cx: &Context<'_>, step: &Step, dims: [usize; 4], tasks: Range<usize>, out: &mut Out<'_>) {
    let mut first = 0;
    for part in parts(cx, step, dims) {
        let end = first + part.tasks();
        let here = tasks.start.clamp(first, end) - first..tasks.end.clamp(first, end) - first;
        if !here.is_empty() {
            kernels::copy_axis(&part, here, out);
        }
        first = end;
    }
}
