//! Products whose weights, and what they are given, are of fewer bits: a number is put into the narrow type and taken out of it, and
//! TensorRT makes of that a product in the narrow type where it has one.
//!
//! Weights are placeholders, so that a plan is made without them and the plans of a network are given the same bytes. What a product
//! is given is of fewer bits only where its scale is known, and never beside INT4, which is for weights alone.

use super::{Given, Lowering, Placed};
use crate::backend::tensorrt::layers::{Element, Kind, Tensor};
use crate::backend::tensorrt::precision::Precision;
use crate::backend::tensorrt::quantize::activation_scale;
use crate::graph::WeightId;

impl Lowering<'_> {
    /// Rows `[n, k]` and the matrix that they are multiplied by, each through fewer bits if the rules say so.
    pub(super) fn operands(&mut self, rows: Tensor, weight: WeightId) -> [Tensor; 2] {
        let Some(precision) = self.rules.stored.get(weight.index()).copied().flatten() else {
            return [rows, self.matrix(weight, &[])];
        };
        let name = self.network.weights[weight.index()].name.as_str();
        let amax = self.activations.get(name).filter(|_| precision != Precision::Int4).copied();
        let rows =
            amax.map_or(rows, |amax| self.narrowed(rows, precision, activation_scale(precision, amax)));
        [rows, self.widened(weight, precision)]
    }

    /// A weight out of fewer bits.
    fn widened(&mut self, weight: WeightId, precision: Precision) -> Tensor {
        if let Some(known) = self.quantized.get(&weight) {
            return *known;
        }
        let declared = &self.network.weights[weight.index()];
        let (n, k) = (declared.shape[0], declared.shape[1]);
        let block = precision.block_len(k).unwrap_or(1);
        let values = self.placed(weight, precision, Given::Values, &[n, k]);
        let mut axis = None;
        let scales = match precision {
            Precision::Int8 => {
                axis = Some(0);
                self.placed(weight, precision, Given::Scales, &[n])
            }
            Precision::Nvfp4 => {
                let scales = self.placed(weight, precision, Given::Scales, &[n, k / block]);
                let own = self.placed(weight, precision, Given::ScaleOfScales, &[]);
                self.dequantize(scales, own, None)
            }
            Precision::Int4 => self.placed(weight, precision, Given::Scales, &[n, k / block]),
            _ => self.placed(weight, precision, Given::Scales, &[]),
        };
        let matrix = self.dequantize(values, scales, axis);
        self.quantized.insert(weight, matrix);
        matrix
    }

    /// Rows through fewer bits.
    fn narrowed(&mut self, rows: Tensor, precision: Precision, scale: f32) -> Tensor {
        let key = (rows, precision, scale.to_bits());
        if let Some(known) = self.narrowed.get(&key) {
            return *known;
        }
        let own = self.recorder.floats(Element::F32, &[], &[scale]);
        let narrowed = if precision == Precision::Nvfp4 {
            let [values, scales] = self.recorder.dynamic_quantize(rows, own, 1, 16);
            let scales = self.dequantize(scales, own, None);
            self.dequantize(values, scales, None)
        } else {
            let values = self.recorder.layer(Kind::Quantize { to: precision.element() }, &[rows, own]);
            self.dequantize(values, own, None)
        };
        self.narrowed.insert(key, narrowed);
        narrowed
    }

    fn dequantize(&mut self, x: Tensor, scale: Tensor, axis: Option<i32>) -> Tensor {
        self.recorder.layer(Kind::Dequantize { to: self.compute, axis }, &[x, scale])
    }

    fn placed(&mut self, weight: WeightId, precision: Precision, given: Given, dims: &[usize]) -> Tensor {
        let of = &self.network.weights[weight.index()].name;
        let (name, element) = match given {
            Given::Values => (of.clone(), precision.element()),
            Given::Scales => {
                let element = match precision {
                    Precision::Int4 => self.compute,
                    Precision::Nvfp4 => Element::Fp8,
                    _ => Element::F32,
                };
                (format!("{of}@scales"), element)
            }
            Given::ScaleOfScales => (format!("{of}@scale_of_scales"), Element::F32),
        };
        let tensor = self.recorder.placeholder(&name, element, dims);
        self.placed.push(Placed { name, weight, precision, given });
        tensor
    }
}
