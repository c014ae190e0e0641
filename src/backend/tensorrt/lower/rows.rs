//! Rows of tables by index.

use super::Lowering;
use crate::backend::tensorrt::layers::{ElementWise, Kind, Reduction, Tensor};
use crate::graph::{Dim, Merge, ValueId, WeightId};

impl Lowering<'_> {
    pub(super) fn embedding(&mut self, ids: ValueId, weight: WeightId) -> Tensor {
        let table = self.table(weight);
        self.recorder.gather(table, self.value(ids), 0)
    }

    /// Rows whose index is negative take row 0 of the table and then are left as they were.
    pub(super) fn select_rows(&mut self, [x, table, index]: [ValueId; 3], merge: Merge) -> Tensor {
        let n_rows = self.shape(index)[0];
        let (x, table) = (self.computed(x), self.computed(table));
        let index = self.value(index);
        let zero = self.recorder.i32s(&[1], &[0]);
        let at = self.recorder.elementwise(ElementWise::Max, index, zero);
        let mut rows = self.recorder.gather(table, at, 0);
        if merge == Merge::Add {
            rows = self.recorder.elementwise(ElementWise::Sum, x, rows);
        }
        let column = self.reshape(index, &[n_rows, Dim::Fixed(1)]);
        let none = self.recorder.i32s(&[1, 1], &[-1]);
        let is_named = self.recorder.elementwise(ElementWise::Greater, column, none);
        self.recorder.layer(Kind::Select, &[is_named, rows, x])
    }

    pub(super) fn interpolate_rows(&mut self, index: ValueId, share: ValueId, weight: WeightId) -> Tensor {
        let shape = self.shape(share);
        let table = self.elements(weight);
        let table = self.cast(table, self.compute);
        let rows = self.recorder.gather(table, self.value(index), 0);
        let share = self.computed(share);
        let share = self.reshape(share, &[shape[0], shape[1], Dim::Fixed(1)]);
        let weighed = self.recorder.elementwise(ElementWise::Product, rows, share);
        self.recorder.reduce(Reduction::Sum, weighed, 1, false)
    }
}
