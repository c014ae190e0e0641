//! Elements in other places, and extents as values.

use super::Lowering;
use crate::backend::tensorrt::layers::{ElementWise, Kind, Tensor};
use crate::graph::{Dim, Symbol, ValueId};

impl Lowering<'_> {
    pub(super) fn reshaped(&mut self, x: ValueId, shape: &[Dim]) -> Tensor {
        self.reshape(self.value(x), shape)
    }

    pub(super) fn transposed(&mut self, x: ValueId, order: &[u8]) -> Tensor {
        let order: Vec<i32> = order.iter().map(|a| i32::from(*a)).collect();
        self.recorder.transpose(self.value(x), &order)
    }

    pub(super) fn concatenated(&mut self, parts: &[ValueId], axis: usize) -> Tensor {
        let mut tensors: Vec<Tensor> = parts.iter().map(|v| self.value(*v)).collect();
        let first = self.recorder.element(tensors[0]);
        if tensors.iter().any(|t| self.recorder.element(*t) != first) {
            tensors = tensors.into_iter().map(|t| self.cast(t, self.compute)).collect();
        }
        self.recorder.concat(&tensors, axis)
    }

    pub(super) fn sliced(&mut self, x: ValueId, axis: usize, start: Dim, len: Dim) -> Tensor {
        self.slice(self.value(x), self.shape(x), axis, start, len)
    }

    pub(super) fn last_row(&mut self, x: ValueId) -> Tensor {
        let shape = self.shape(x);
        let one = Dim::Fixed(1);
        if let Some(rows) = self.fixed(shape[0]) {
            return self.slice(self.value(x), shape, 0, Dim::Fixed(rows - 1), one);
        }
        let rows = self.extent(shape[0]);
        let less = self.recorder.i64s(&[-1]);
        let last = self.recorder.elementwise(ElementWise::Sum, rows, less);
        let zeros = self.recorder.i64s(&vec![0; shape.len() - 1]);
        let start = if shape.len() == 1 { last } else { self.recorder.concat(&[last, zeros], 0) };
        let size: Vec<Dim> = [one].iter().chain(&shape[1..]).copied().collect();
        let size = self.extents(&size);
        self.slice_at(self.value(x), start, size, shape.len())
    }

    /// `len` places of one axis of a value of this shape, from `start` on.
    pub(super) fn slice(&mut self, x: Tensor, shape: &[Dim], axis: usize, start: Dim, len: Dim) -> Tensor {
        let rank = shape.len();
        let mut size = shape.to_vec();
        size[axis] = len;
        let mut first = vec![Dim::Fixed(0); rank];
        first[axis] = start;
        let fixed = |dims: &[Dim]| -> Option<Vec<i64>> {
            dims.iter().map(|d| self.fixed(*d).map(|n| n as i64)).collect()
        };
        if let (Some(start), Some(size)) = (fixed(&first), fixed(&size)) {
            return self.recorder.layer(Kind::Slice { start, size, stride: vec![1; rank] }, &[x]);
        }
        let (start, size) = (self.extents(&first), self.extents(&size));
        self.slice_at(x, start, size, rank)
    }

    pub(super) fn slice_at(&mut self, x: Tensor, start: Tensor, size: Tensor, rank: usize) -> Tensor {
        let kind = Kind::Slice { start: Vec::new(), size: Vec::new(), stride: vec![1; rank] };
        self.recorder.layer(kind, &[x, start, size])
    }

    /// The same elements in another shape.
    pub(super) fn reshape(&mut self, x: Tensor, shape: &[Dim]) -> Tensor {
        let n_varying = shape.iter().filter(|d| self.fixed(**d).is_none()).count();
        if 1 < n_varying {
            let shape = self.extents(shape);
            let kind = Kind::Shuffle { first: Vec::new(), shape: None, second: Vec::new() };
            return self.recorder.layer(kind, &[x, shape]);
        }
        let shape = shape.iter().map(|d| self.fixed(*d).map_or(-1, |n| n as i64)).collect();
        self.recorder.layer(Kind::Shuffle { first: Vec::new(), shape: Some(shape), second: Vec::new() }, &[x])
    }

    /// All rows of `width` elements, one below the other.
    pub(super) fn flattened(&mut self, x: Tensor, width: usize) -> Tensor {
        let shape = Some(vec![-1, width as i64]);
        self.recorder.layer(Kind::Shuffle { first: Vec::new(), shape, second: Vec::new() }, &[x])
    }

    /// An extent that is the same in every run.
    pub(super) fn fixed(&self, dim: Dim) -> Option<usize> {
        match dim {
            Dim::Fixed(n) => Some(n),
            Dim::Scaled { symbol, mul, div, add } => {
                let named = &self.graph.dims[usize::from(symbol.0)];
                (named.min == named.max).then(|| named.min * mul / div + add)
            }
        }
    }

    /// Extents as a value `[n]`.
    pub(super) fn extents(&mut self, dims: &[Dim]) -> Tensor {
        let fixed: Option<Vec<i64>> = dims.iter().map(|d| self.fixed(*d).map(|n| n as i64)).collect();
        if let Some(fixed) = fixed {
            return self.recorder.i64s(&fixed);
        }
        let each: Vec<Tensor> = dims.iter().map(|d| self.extent(*d)).collect();
        if each.len() == 1 { each[0] } else { self.recorder.concat(&each, 0) }
    }

    /// An extent as a value `[1]`.
    pub(super) fn extent(&mut self, dim: Dim) -> Tensor {
        if let Some(n) = self.fixed(dim) {
            return self.recorder.i64s(&[n as i64]);
        }
        let Dim::Scaled { symbol, mul, div, add } = dim else { unreachable!("a number is fixed") };
        let value = self.symbol(symbol);
        self.scale(value, [mul, div], add as i64)
    }

    /// What a named extent is in this run, from the rows of an input that follows it.
    fn symbol(&mut self, symbol: Symbol) -> Tensor {
        if let Some(known) = self.symbols.get(&symbol) {
            return *known;
        }
        let (input, rows) = self.rows_of[&symbol];
        let Dim::Scaled { mul, div, add, .. } = rows else { unreachable!("it names the symbol") };
        let shape = self.recorder.layer(Kind::Shape, &[input]);
        let kind = Kind::Slice { start: vec![0], size: vec![1], stride: vec![1] };
        let rows = self.recorder.layer(kind, &[shape]);
        let less = self.scale(rows, [1, 1], -(add as i64));
        let value = self.scale(less, [div, mul], 0);
        self.symbols.insert(symbol, value);
        value
    }

    /// `value * mul / div + add`.
    fn scale(&mut self, mut value: Tensor, [mul, div]: [usize; 2], add: i64) -> Tensor {
        for (operation, by, neutral) in [
            (ElementWise::Product, mul as i64, 1),
            (ElementWise::FloorQuotient, div as i64, 1),
            (ElementWise::Sum, add, 0),
        ] {
            if by != neutral {
                let by = self.recorder.i64s(&[by]);
                value = self.recorder.elementwise(operation, value, by);
            }
        }
        value
    }
}
