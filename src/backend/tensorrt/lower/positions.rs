//! Angles, and what is turned by them. Angles are f32: a position times a frequency has more digits than the narrower types.

use super::Lowering;
use crate::backend::tensorrt::layers::{Element, ElementWise, Function, Tensor};
use crate::graph::{Dim, RotaryStyle, ValueId};

impl Lowering<'_> {
    pub(super) fn rotary_table(&mut self, positions: ValueId, axis: &[u8], frequency: &[f32]) -> Tensor {
        let positions = self.exact(positions);
        let columns: Vec<i32> = axis.iter().map(|a| i32::from(*a)).collect();
        let columns = self.recorder.i32s(&[columns.len()], &columns);
        let each = self.recorder.gather(positions, columns, 1);
        self.cosines_and_sines(each, frequency)
    }

    pub(super) fn sinusoid(&mut self, x: ValueId, frequency: &[f32]) -> Tensor {
        let n = self.shape(x)[0];
        let x = self.exact(x);
        let x = self.reshape(x, &[n, Dim::Fixed(1)]);
        self.cosines_and_sines(x, frequency)
    }

    fn cosines_and_sines(&mut self, x: Tensor, frequency: &[f32]) -> Tensor {
        let frequency = self.recorder.floats(Element::F32, &[1, frequency.len()], frequency);
        let angle = self.recorder.elementwise(ElementWise::Product, x, frequency);
        let cosines = self.recorder.function(Function::Cosine, angle);
        let sines = self.recorder.function(Function::Sine, angle);
        let both = self.recorder.concat(&[cosines, sines], 1);
        self.recorder.cast(both, self.compute)
    }

    /// Pairs `(a, b)` become `(a cos - b sin, b cos + a sin)`.
    pub(super) fn rotary(
        &mut self,
        x: ValueId,
        table: ValueId,
        style: RotaryStyle,
    ) -> Result<Tensor, String> {
        let whole = self.shape(x);
        let [n, heads, dim] = *whole else { unreachable!("verified: three axes") };
        let dim = self.fixed(dim).ok_or("heads must be of fixed length")?;
        if !dim.is_multiple_of(2) {
            return Err("heads of an odd length cannot be turned".into());
        }
        let half = Dim::Fixed(dim / 2);
        // Where the two of a pair lie, and the shape of all firsts.
        let (x, table) = (self.computed(x), self.computed(table));
        let (x, shape, axis, part) = match style {
            RotaryStyle::Halves => (x, whole.to_vec(), 2, half),
            RotaryStyle::Pairs => {
                let shape = vec![n, heads, half, Dim::Fixed(2)];
                (self.reshape(x, &shape), shape, 3, Dim::Fixed(1))
            }
        };
        let a = self.slice(x, &shape, axis, Dim::Fixed(0), part);
        let b = self.slice(x, &shape, axis, part, part);
        let mut angles = vec![n, Dim::Fixed(1), half];
        angles.resize(shape.len(), Dim::Fixed(1));
        let of_table = |lowering: &mut Self, start: Dim| {
            let part = lowering.slice(table, &[n, Dim::Fixed(dim)], 1, start, half);
            lowering.reshape(part, &angles)
        };
        let (cosines, sines) = (of_table(self, Dim::Fixed(0)), of_table(self, half));
        let r = &mut self.recorder;
        let mut product = |x, by| r.elementwise(ElementWise::Product, x, by);
        let (a_cos, b_sin, b_cos, a_sin) =
            (product(a, cosines), product(b, sines), product(b, cosines), product(a, sines));
        let a = r.elementwise(ElementWise::Difference, a_cos, b_sin);
        let b = r.elementwise(ElementWise::Sum, b_cos, a_sin);
        let turned = r.concat(&[a, b], axis);
        Ok(if style == RotaryStyle::Pairs { self.reshape(turned, whole) } else { turned })
    }
}
