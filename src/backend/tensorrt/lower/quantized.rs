//! Products whose weights, and what they are given, are of fewer bits: a number is put into the narrow type and taken out of it, and
//! TensorRT makes of that a product in the narrow type where it has one.
//!
//! TensorRT-RTX 1.7 fuses the way out of the narrow type with the product where all elements have one scale, or those of a block have; with
//! a scale for each row of INT8 it writes the whole matrix in the wide type in each run. So INT8 weights that meet activations of the wide
//! type have one scale before the product, and the rows' shares of it after: the scale is that of the rows in the middle, so that products of
//! the smallest and the largest stay within 16 bits.
//!
//! Weights are placeholders, so that a plan is made without them and the plans of a network are given the same bytes. What a product
//! is given is of fewer bits only where its scale is known, and never beside INT4, which is for weights alone.

use super::{Given, Lowering, Placed};
use crate::backend::WeightFormat;
use crate::backend::tensorrt::layers::{Element, Kind, Tensor};
use crate::backend::tensorrt::quantize::activation_scale;
use crate::graph::WeightId;

/// What a product is made of.
pub(super) struct Operands {
    pub(super) rows: Tensor,
    pub(super) matrix: Tensor,
    /// What its columns are multiplied by.
    pub(super) ratios: Option<Tensor>,
}

impl Lowering<'_> {
    /// Rows `[n, k]` and the matrix that they are multiplied by, each through fewer bits if the rules say so.
    pub(super) fn operands(&mut self, rows: Tensor, weight: WeightId) -> Operands {
        let Some(precision) = self.rules.stored.get(weight.index()).copied().flatten() else {
            return Operands { rows, matrix: self.matrix(weight, &[]), ratios: None };
        };
        let name = self.network.weights[weight.index()].name.as_str();
        let amax = self.activations.get(name).filter(|_| precision != WeightFormat::Int4).copied();
        let rows =
            amax.map_or(rows, |amax| self.narrowed(rows, precision, activation_scale(precision, amax)));
        let has_ratios = precision == WeightFormat::Int8 && amax.is_none();
        let [matrix, ratios] = self.widened(weight, precision, has_ratios);
        Operands { rows, matrix, ratios: has_ratios.then_some(ratios) }
    }

    /// A weight out of fewer bits, and its rows' shares of its scale if it has such; else itself again.
    fn widened(&mut self, weight: WeightId, precision: WeightFormat, has_ratios: bool) -> [Tensor; 2] {
        if let Some(known) = self.quantized.get(&weight) {
            return *known;
        }
        let declared = &self.network.weights[weight.index()];
        let (n, k) = (declared.shape[0], declared.shape[1]);
        let block = precision.block_len(k).unwrap_or(1);
        let values = self.placed(weight, precision, Given::Values, &[n, k]);
        let mut axis = None;
        let mut ratios = None;
        let scales = match precision {
            WeightFormat::Int8 if has_ratios => {
                ratios = Some(self.placed(weight, precision, Given::Ratios, &[1, n]));
                self.placed(weight, precision, Given::ScaleOfScales, &[])
            }
            WeightFormat::Int8 => {
                axis = Some(0);
                self.placed(weight, precision, Given::Scales, &[n])
            }
            WeightFormat::Nvfp4 => {
                let scales = self.placed(weight, precision, Given::Scales, &[n, k / block]);
                let own = self.placed(weight, precision, Given::ScaleOfScales, &[]);
                self.dequantize(scales, own, None)
            }
            WeightFormat::Int4 => self.placed(weight, precision, Given::Scales, &[n, k / block]),
            _ => self.placed(weight, precision, Given::Scales, &[]),
        };
        let matrix = self.dequantize(values, scales, axis);
        let widened = [matrix, ratios.unwrap_or(matrix)];
        self.quantized.insert(weight, widened);
        widened
    }

    /// Rows through fewer bits.
    fn narrowed(&mut self, rows: Tensor, precision: WeightFormat, scale: f32) -> Tensor {
        let key = (rows, precision, scale.to_bits());
        if let Some(known) = self.narrowed.get(&key) {
            return *known;
        }
        let own = self.recorder.floats(Element::F32, &[], &[scale]);
        let narrowed = if precision == WeightFormat::Nvfp4 {
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

    fn placed(&mut self, weight: WeightId, precision: WeightFormat, given: Given, dims: &[usize]) -> Tensor {
        let of = &self.network.weights[weight.index()].name;
        let (name, element) = match given {
            Given::Values => (of.clone(), precision.element()),
            Given::Scales => {
                let element = match precision {
                    WeightFormat::Int4 => self.compute,
                    WeightFormat::Nvfp4 => Element::Fp8,
                    _ => Element::F32,
                };
                (format!("{of}@scales"), element)
            }
            Given::ScaleOfScales => (format!("{of}@scale_of_scales"), Element::F32),
            Given::Ratios => (format!("{of}@ratios"), self.compute),
        };
        let tensor = self.recorder.placeholder(&name, element, dims);
        self.placed.push(Placed { name, weight, precision, given });
        tensor
    }
}
