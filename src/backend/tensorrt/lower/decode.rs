//! Attention of one token over a cache, as sums over elements instead of products of matrices.
//!
//! Keys and values are read once, where they stand: `score[m] = Σ_d q[d] k[m, d]` and `y[d] = Σ_m share[m] v[m, d]` are each one kernel
//! that multiplies and sums. Nothing of a cache is copied or turned, and what is kept beside it are the scores. It is computed in f32,
//! which costs no memory, since only sums are written. One token asks for as many operations as there are elements to read, so that a
//! matrix unit has nothing to gain.

use super::Lowering;
use super::attention::Heads;
use crate::backend::tensorrt::layers::{Element, ElementWise, Reduction, Tensor};
use crate::graph::{BufferId, Dim, Symbol, ValueId};

const ONE: Dim = Dim::Fixed(1);

impl Lowering<'_> {
    pub(super) fn attention_of_one(
        &mut self,
        [q, k, v]: [ValueId; 3],
        heads: Heads,
        caches: [BufferId; 2],
        past: Symbol,
        scale: f32,
    ) -> Tensor {
        let (whole, n_past) = (self.shape(q), Dim::of(past));
        let (groups, per_group) = (Dim::Fixed(heads.groups), Dim::Fixed(heads.per_group));
        let new = [self.computed(k), self.computed(v)];
        let old = caches.map(|cache| self.pasts[&cache]);
        // One axis order for all: `[m, groups, heads of a group, dim]`.
        let q = self.exact(q);
        let q = self.reshape(q, &[ONE, groups, per_group, heads.dim]);
        let scale = self.scalar(scale, Element::F32, 4);
        let q = self.recorder.elementwise(ElementWise::Product, q, scale);
        let rows = |lowering: &mut Self, x: Tensor, m: Dim| {
            let x = lowering.reshape(x, &[m, groups, ONE, heads.dim]);
            lowering.recorder.cast(x, Element::F32)
        };
        let [k_old, v_old] = old.map(|x| rows(self, x, n_past));
        let [k_new, v_new] = new.map(|x| rows(self, x, ONE));
        let scores = [k_old, k_new].map(|k| {
            let product = self.recorder.elementwise(ElementWise::Product, k, q);
            self.recorder.reduce(Reduction::Sum, product, 3, true)
        });
        let scores = self.recorder.concat(&scores, 0);
        let shares = self.recorder.softmax(scores, 0);
        let sums = [(Dim::Fixed(0), n_past, v_old), (n_past, ONE, v_new)].map(|(start, len, v)| {
            let zero = Dim::Fixed(0);
            let start = self.extents(&[start, zero, zero, zero]);
            let size = self.extents(&[len, groups, per_group, ONE]);
            let share = self.slice_at(shares, start, size, 4);
            let product = self.recorder.elementwise(ElementWise::Product, share, v);
            self.recorder.reduce(Reduction::Sum, product, 0, true)
        });
        let y = self.recorder.elementwise(ElementWise::Sum, sums[0], sums[1]);
        let y = self.recorder.cast(y, self.compute);
        let y = self.reshape(y, whole);
        self.appended(caches, new, past);
        y
    }
}
