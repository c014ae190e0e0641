//! Attention as TensorRT's own, one kernel, and caches that it writes in place ([`CacheForm::Heads`]).
//!
//! A cache is `[1, groups, rows, dim]` there, all of it, and lies where whoever runs the plan has put it; how many rows are valid is a
//! number that is given. So one token reads keys and values once, and writes its own. Many tokens have the cache copied and repeated by
//! TensorRT-RTX 1.7 for each call, as the portable form has.
//!
//! TensorRT makes one kernel of it in f16 and bf16, for heads of 32 to 256; where it cannot, it is let take several.
//!
//! [`CacheForm::Heads`]: crate::backend::tensorrt::CacheForm

use super::attention::Heads;
use super::{Lowering, Sink, Source};
use crate::backend::tensorrt::layers::{Element, ElementWise, Extent, Kind, Tensor};
use crate::graph::{BufferId, Dim, Symbol, ValueId};

impl Lowering<'_> {
    /// The inputs that a cached attention has in this form.
    pub(super) fn declare_whole_caches(&mut self, caches: [BufferId; 2], past: Symbol) {
        for cache in caches {
            let declared = &self.network.buffers[cache.index()];
            let [rows, groups, dim] = declared.shape[..] else { unreachable!("verified: three axes") };
            let extents = [1, groups, rows, dim].map(Extent::fixed).into();
            let name = format!("{}@whole", declared.name);
            let tensor = self.recorder.input(&name, self.compute, extents);
            self.sources.push(Source::Cache(cache));
            self.pasts.insert(cache, tensor);
        }
        if !self.counts.contains_key(&past) {
            let name = format!("{}@count", self.graph.dims[usize::from(past.0)].name);
            let tensor = self.recorder.input(&name, Element::I32, vec![Extent::fixed(1)]);
            self.sources.push(Source::Extent(past));
            self.counts.insert(past, tensor);
        }
    }

    pub(super) fn attention_in_place(
        &mut self,
        [q, k, v]: [ValueId; 3],
        heads: Heads,
        caches: [BufferId; 2],
        past: Symbol,
        scale: f32,
    ) -> Tensor {
        let (whole, count) = (self.shape(q), self.counts[&past]);
        let q = self.scaled_heads(q, &[], heads, scale);
        let mut held = Vec::new();
        for (cache, new) in caches.into_iter().zip([k, v]) {
            let new = self.computed(new);
            let new = self.heads_first(new, &[], heads.n, heads.groups, heads.dim);
            let inputs = [self.pasts[&cache], new, count];
            let written = self.recorder.layer(Kind::CacheUpdate, &inputs);
            let name = format!("{}@written", self.network.buffers[cache.index()].name);
            self.recorder.output(&name, written);
            self.sinks.push(Sink::InPlace(cache));
            held.push(written);
        }
        let new = match self.fixed(heads.n) {
            Some(n) => self.recorder.i32s(&[1], &[n as i32]),
            None => {
                let n = self.extent(heads.n);
                self.recorder.cast(n, Element::I32)
            }
        };
        let valid = self.recorder.elementwise(ElementWise::Sum, count, new);
        let kind = Kind::Attention { causal: true, decomposes: self.decomposes(heads) };
        let y = self.recorder.layer(kind, &[q, held[0], held[1], valid]);
        self.tokens_first(y, whole)
    }

    pub(super) fn whole_attention(
        &mut self,
        [q, k, v]: [ValueId; 3],
        heads: Heads,
        n_keys: Dim,
        scale: f32,
    ) -> Tensor {
        let whole = self.shape(q);
        let front = &whole[..whole.len() - 3];
        let q = self.scaled_heads(q, front, heads, scale);
        let [k, v] = [k, v].map(|x| {
            let x = self.computed(x);
            self.heads_first(x, front, n_keys, heads.groups, heads.dim)
        });
        let kind = Kind::Attention { causal: false, decomposes: self.decomposes(heads) };
        let y = self.recorder.layer(kind, &[q, k, v]);
        self.tokens_first(y, whole)
    }

    fn decomposes(&self, heads: Heads) -> bool {
        let dim = self.fixed(heads.dim).unwrap_or(0);
        self.compute == Element::F32 || !(32..=256).contains(&dim) || !dim.is_multiple_of(8)
    }

    /// `[.., n, heads, dim]` scaled, as `[.., heads, n, dim]` with one axis in front.
    fn scaled_heads(&mut self, q: ValueId, front: &[Dim], heads: Heads, scale: f32) -> Tensor {
        let q = self.computed(q);
        let q = self.heads_first(q, front, heads.n, heads.groups * heads.per_group, heads.dim);
        let scale = self.scalar(scale, self.compute, 4);
        self.recorder.elementwise(ElementWise::Product, q, scale)
    }

    fn heads_first(&mut self, x: Tensor, front: &[Dim], n: Dim, heads: usize, dim: Dim) -> Tensor {
        let parts = front.first().copied().unwrap_or(Dim::Fixed(1));
        let x = self.reshape(x, &[parts, n, heads.into(), dim]);
        self.recorder.transpose(x, &[0, 2, 1, 3])
    }

    fn tokens_first(&mut self, y: Tensor, whole: &[Dim]) -> Tensor {
        let y = self.recorder.transpose(y, &[0, 2, 1, 3]);
        self.reshape(y, whole)
    }
}
