//! Convolution and enlargement of `[t, h, w, c]`.

use super::Lowering;
use crate::backend::tensorrt::layers::{Element, Kind, Tensor};
use crate::graph::{Dim, ValueId, WeightId};

impl Lowering<'_> {
    /// TensorRT's convolution has channels outside: `x` is turned before it and after, the weight once, when it is given.
    pub(super) fn conv3d(
        &mut self,
        x: ValueId,
        (weight, bias): (WeightId, Option<WeightId>),
        stride: [usize; 3],
        padding: [[usize; 2]; 3],
        shape: &[Dim],
    ) -> Tensor {
        let [t, h, w, c] = *self.shape(x) else { unreachable!("verified: four axes") };
        let kernel = self.network.weights[weight.index()].shape[1..4].iter().map(|n| *n as i64).collect();
        let maps = self.network.weights[weight.index()].shape[0];
        let x = self.computed(x);
        let x = self.recorder.transpose(x, &[3, 0, 1, 2]);
        let x = self.reshape(x, &[Dim::Fixed(1), c, t, h, w]);
        let mut inputs = vec![x, self.matrix(weight, &[0, 4, 1, 2, 3])];
        if let Some(bias) = bias {
            inputs.push(self.vector(bias, self.compute, &[maps]));
        }
        let kind = Kind::Convolution {
            maps: maps as i64,
            kernel,
            stride: stride.map(|n| n as i64).into(),
            before: padding.map(|n| n[0] as i64).into(),
            after: padding.map(|n| n[1] as i64).into(),
        };
        let y = self.recorder.layer(kind, &inputs);
        let y = self.reshape(y, &[shape[3], shape[0], shape[1], shape[2]]);
        self.recorder.transpose(y, &[1, 2, 3, 0])
    }

    pub(super) fn upsample(&mut self, x: ValueId, factor: [usize; 3]) -> Tensor {
        let [t, h, w] = factor.map(|n| n as f32);
        let x = self.value(x);
        // What is only repeated has the same numbers in any type; the narrowest there is moves the fewest bytes.
        let x = if self.recorder.element(x) == Element::F32 { self.cast(x, self.compute) } else { x };
        self.recorder.layer(Kind::Resize { scales: vec![t, h, w, 1.0] }, &[x])
    }
}
