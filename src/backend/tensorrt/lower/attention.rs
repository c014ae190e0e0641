//! Attention as products and a softmax, which every TensorRT has.
//!
//! With a cache, `softmax(q [K_past K_new]ᵀ) [V_past V_new]` is taken in two parts: scores of cached keys and of new ones are computed
//! each where those stand and joined, since they are few; the shares are parted again for the two products with values, which are
//! summed. Only the new part has a mask: a token sees all of the past. TensorRT-RTX puts keys and values into another order for these
//! products, twice over, which many new tokens are worth and one is not: see `decode.rs`.
//!
//! Query heads stand in groups, `[groups, heads of a group, n, dim]`, and a group's keys and values have a 1 in place of the heads,
//! which the products repeat.

use super::{Lowering, Sink};
use crate::backend::tensorrt::layers::{Element, ElementWise, Kind, Tensor};
use crate::backend::tensorrt::precision::CacheForm;
use crate::graph::{BufferId, Dim, Symbol, ValueId};

const ONE: Dim = Dim::Fixed(1);

/// `[n, heads, dim]` of queries over `[m, groups, dim]`.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) n: Dim,
    pub(super) groups: usize,
    pub(super) per_group: usize,
    pub(super) dim: Dim,
}

impl Heads {
    pub(super) fn of(q: &[Dim], k: &[Dim]) -> Result<Heads, String> {
        let ([n, Dim::Fixed(heads), dim], [_, Dim::Fixed(groups), _]) = (q, k) else {
            return Err("heads must be of fixed number".into());
        };
        Ok(Heads { n: *n, groups: *groups, per_group: heads / groups, dim: *dim })
    }
}

impl Lowering<'_> {
    pub(super) fn attention(&mut self, [q, k, v]: [ValueId; 3], scale: f32) -> Result<Tensor, String> {
        let whole = self.shape(q);
        // With four axes the first counts parts that attend to themselves; it stays the outermost.
        let parts = whole.len() - 3;
        let heads = Heads::of(&whole[parts..], &self.shape(k)[parts..])?;
        let n_keys = self.shape(k)[parts];
        if self.rules.caches == CacheForm::Heads {
            return Ok(self.whole_attention([q, k, v], heads, n_keys, scale));
        }
        let front = &whole[..parts];
        let (q, k, v) = (self.computed(q), self.computed(k), self.computed(v));
        let q = self.queries(q, front, heads, scale);
        let (k, v) = (self.of_groups(k, front, n_keys, heads), self.of_groups(v, front, n_keys, heads));
        let scores = self.recorder.matmul(q, k, [false, true]);
        let shares = self.recorder.softmax(scores, parts + 3);
        let y = self.recorder.matmul(shares, v, [false, false]);
        Ok(self.tokens(y, front, whole))
    }

    pub(super) fn cached_attention(
        &mut self,
        [q, k, v]: [ValueId; 3],
        caches: [BufferId; 2],
        past: Symbol,
        scale: f32,
    ) -> Result<Tensor, String> {
        let whole = self.shape(q);
        let heads = Heads::of(whole, self.shape(k))?;
        if self.rules.caches == CacheForm::Heads {
            return Ok(self.attention_in_place([q, k, v], heads, caches, past, scale));
        }
        if self.fixed(heads.n) == Some(1) {
            return Ok(self.attention_of_one([q, k, v], heads, caches, past, scale));
        }
        let n_past = Dim::of(past);
        let (q, new) = (self.computed(q), [self.computed(k), self.computed(v)]);
        let q = self.queries(q, &[], heads, scale);
        let old = caches.map(|cache| self.pasts[&cache]);
        let [k_old, v_old] = old.map(|x| self.of_groups(x, &[], n_past, heads));
        let [k_new, v_new] = new.map(|x| self.of_groups(x, &[], heads.n, heads));
        let scores_old = self.recorder.matmul(q, k_old, [false, true]);
        let scores_new = self.recorder.matmul(q, k_new, [false, true]);
        let mask = self.mask(heads.n);
        let scores_new = self.recorder.elementwise(ElementWise::Sum, scores_new, mask);
        let scores = self.recorder.concat(&[scores_old, scores_new], 3);
        let shares = self.recorder.softmax(scores, 3);
        let rows = [heads.groups.into(), heads.per_group.into(), heads.n];
        let part = |lowering: &mut Self, start: Dim, len: Dim, v: Tensor| {
            let (start, size) = ([0.into(), 0.into(), 0.into(), start], [rows[0], rows[1], rows[2], len]);
            let (start, size) = (lowering.extents(&start), lowering.extents(&size));
            let shares = lowering.slice_at(shares, start, size, 4);
            lowering.recorder.matmul(shares, v, [false, false])
        };
        let (of_old, of_new) = (part(self, 0.into(), n_past, v_old), part(self, n_past, heads.n, v_new));
        let y = self.recorder.elementwise(ElementWise::Sum, of_old, of_new);
        let y = self.tokens(y, &[], whole);
        self.appended(caches, new, past);
        Ok(y)
    }

    /// New rows of caches as outputs, for whoever runs the plan to put behind the valid ones.
    pub(super) fn appended(&mut self, caches: [BufferId; 2], new: [Tensor; 2], past: Symbol) {
        for (cache, rows) in caches.into_iter().zip(new) {
            let name = self.network.buffers[cache.index()].name.clone();
            self.yielded(rows, self.compute, &name, Sink::Append(cache, past));
        }
    }

    /// `[.., n, heads, dim]` scaled, as `[.., groups, heads of a group, n, dim]`.
    fn queries(&mut self, q: Tensor, front: &[Dim], heads: Heads, scale: f32) -> Tensor {
        let shape = [heads.n, heads.groups.into(), heads.per_group.into(), heads.dim];
        let shape: Vec<Dim> = front.iter().copied().chain(shape).collect();
        let scale = self.scalar(scale, self.compute, shape.len());
        let q = self.reshape(q, &shape);
        let q = self.recorder.elementwise(ElementWise::Product, q, scale);
        self.inner_order(q, front.len(), [1, 2, 0, 3])
    }

    /// `[.., m, groups, dim]` as `[.., groups, 1, m, dim]`.
    fn of_groups(&mut self, x: Tensor, front: &[Dim], m: Dim, heads: Heads) -> Tensor {
        let shape = [m, heads.groups.into(), ONE, heads.dim];
        let shape: Vec<Dim> = front.iter().copied().chain(shape).collect();
        let x = self.reshape(x, &shape);
        self.inner_order(x, front.len(), [1, 2, 0, 3])
    }

    /// `[.., groups, heads of a group, n, dim]` as `[.., n, heads, dim]`.
    fn tokens(&mut self, y: Tensor, front: &[Dim], whole: &[Dim]) -> Tensor {
        let y = self.inner_order(y, front.len(), [2, 0, 1, 3]);
        self.reshape(y, whole)
    }

    fn inner_order(&mut self, x: Tensor, n_front: usize, order: [i32; 4]) -> Tensor {
        let front = n_front as i32;
        let order: Vec<i32> = (0..front).chain(order.map(|a| a + front)).collect();
        self.recorder.transpose(x, &order)
    }

    /// `[1, 1, n, n]`, added to scores: nothing up to the diagonal, beyond it the lowest number that the type has.
    fn mask(&mut self, n: Dim) -> Tensor {
        if let Some(known) = self.masks.get(&n) {
            return *known;
        }
        let n_max = self.extent_of(n).max as i32;
        let counted = self.recorder.i32s(&[n_max as usize], &(0..n_max).collect::<Vec<_>>());
        let counted = self.slice(counted, &[Dim::Fixed(n_max as usize)], 0, Dim::Fixed(0), n);
        let (row, column) =
            (self.reshape(counted, &[ONE, ONE, n, ONE]), self.reshape(counted, &[ONE, ONE, ONE, n]));
        let is_hidden = self.recorder.elementwise(ElementWise::Greater, column, row);
        let lowest = match self.compute {
            Element::F16 => half::f16::MIN.to_f32(),
            Element::Bf16 => half::bf16::MIN.to_f32(),
            _ => f32::MIN,
        };
        let (lowest, nothing) = (self.scalar(lowest, self.compute, 4), self.scalar(0.0, self.compute, 4));
        let mask = self.recorder.layer(Kind::Select, &[is_hidden, lowest, nothing]);
        self.masks.insert(n, mask);
        mask
    }
}
