//! Weights in fewer bits: which numbers stand for them, and how those lie in memory.
//!
//! With `w` an element, and `round` to the nearest number that the type has, ties to even:
//!
//! | precision | an element is | times |
//! | --- | --- | --- |
//! | INT8 | `round(w / s)` within ±127 | `s = r g`, with `r = max\|row\| / max\|all\|` in the type that is computed in and `g = max\|all\| / 127`, f32 |
//! | FP8 | `round(w / s)` as E4M3 | `s = max\|all\| / 448`, f32 |
//! | INT4 | `round(w / s)` within ±7 | `s = max\|block\| / 7`, in the type that is computed in |
//! | NVFP4 | `round(w / (s g))` as E2M1 | `s = round(max\|block\| / 6 / g)` as E4M3, and `g = max\|all\| / (6 · 448)`, f32 |
//!
//! A scale of nothing but zeros is 1, of a block of NVFP4 0; one of f16 is at least its smallest normal number. Blocks are parts of a row: of 128 elements for INT4, or the most of 64, 32 and 16 that make up a
//! row; of 16 for NVFP4. A row is read once more for `max|all|`, and no weight is widened whole.
//!
//! Micikevicius et al. 2022, <https://arxiv.org/abs/2209.05433>, for E4M3; the OCP's microscaling formats v1.0 for E2M1.

use super::layers::Element;
use crate::backend::WeightFormat;
use crate::tensor::{TensorView, widen};

/// The largest number of E4M3.
const E4M3_MAX: f32 = 448.0;
/// The numbers of E2M1 that are not negative, by their code.
const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// A matrix `[n, k]` in fewer bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantized {
    /// `[n, k]`, in the precision's type.
    pub values: Vec<u8>,
    /// INT8: `[n]` f32. FP8: one f32. INT4: `[n, k / block]` in the type that is computed in. NVFP4: the same in E4M3.
    pub scales: Vec<u8>,
    /// NVFP4: the scale of the scales, one f32. INT8: `g`. Else nothing.
    pub scale_of_scales: Vec<u8>,
    /// INT8: `r`, `[n]` in the type that is computed in; else nothing.
    pub ratios: Vec<u8>,
}

impl WeightFormat {
    /// The elements of a row of `k` that have one scale; or none if it has no such.
    pub fn block_len(self, k: usize) -> Option<usize> {
        match self {
            WeightFormat::Int4 => [128, 64, 32, 16].into_iter().find(|block| k.is_multiple_of(*block)),
            WeightFormat::Nvfp4 => Some(16).filter(|block| k.is_multiple_of(*block)),
            WeightFormat::Int8 => Some(k),
            WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16 | WeightFormat::Fp8 => None,
        }
        .filter(|block| 0 < *block)
    }
}

/// A matrix in fewer bits, for products that are computed in `compute`.
///
/// # Panics
/// If it is no matrix of floats, its rows are not made of whole blocks, or the precision has elements that stand for themselves.
pub fn quantize(matrix: &TensorView<'_>, precision: WeightFormat, compute: Element) -> Quantized {
    let [n, k] = matrix.shape[..] else { panic!("a matrix has two axes, not {:?}", matrix.shape) };
    let mut rows = Rows { matrix, row: vec![0.0; k], k };
    let mut out = Quantized::default();
    let in_blocks = matches!(precision, WeightFormat::Int4 | WeightFormat::Nvfp4) && 0 < k;
    let block = precision.block_len(k);
    assert!(block.is_some() || !in_blocks, "rows of {k} are not made of blocks of {precision}");
    let block = block.unwrap_or(k.max(1));
    match precision {
        WeightFormat::Int8 => {
            let most = rows.largest(n);
            let middle = rows.middle(n, most);
            let of_all = scale_of(most, 127.0) * middle;
            out.scale_of_scales.extend(of_all.to_le_bytes());
            for i in 0..n {
                let row = rows.get(i);
                let share = largest(row) / most.max(f32::MIN_POSITIVE);
                let (ratio, bytes) = rounded(share / middle, compute);
                let scale = ratio * of_all;
                out.ratios.extend(bytes);
                out.scales.extend(scale.to_le_bytes());
                out.values.extend(row.iter().map(|w| whole(*w, scale, 127.0) as u8));
            }
        }
        WeightFormat::Fp8 => {
            let scale = scale_of(rows.largest(n), E4M3_MAX);
            out.scales.extend(scale.to_le_bytes());
            for i in 0..n {
                out.values.extend(rows.get(i).iter().map(|w| e4m3(w / scale)));
            }
        }
        WeightFormat::Int4 => {
            for i in 0..n {
                let row = rows.get(i);
                let mut codes = Vec::with_capacity(k);
                for part in row.chunks(block) {
                    let (scale, bytes) = rounded(scale_of(largest(part), 7.0), compute);
                    out.scales.extend(bytes);
                    codes.extend(part.iter().map(|w| whole(*w, scale, 7.0) as u8 & 15));
                }
                out.values.extend(pairs(&codes));
            }
        }
        WeightFormat::Nvfp4 => {
            let scale_of_scales = scale_of(rows.largest(n), 6.0 * E4M3_MAX);
            out.scale_of_scales.extend(scale_of_scales.to_le_bytes());
            for i in 0..n {
                let row = rows.get(i);
                let mut codes = Vec::with_capacity(k);
                for part in row.chunks(block) {
                    let code = e4m3(largest(part) / 6.0 / scale_of_scales);
                    let scale = of_e4m3(code) * scale_of_scales;
                    out.scales.push(code);
                    // A block so small that its scale is nothing is nothing.
                    codes.extend(part.iter().map(|w| if scale == 0.0 { 0 } else { e2m1(w / scale) }));
                }
                out.values.extend(pairs(&codes));
            }
        }
        WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16 => panic!("{precision} stands for itself"),
    }
    out
}

/// The least share of a matrix that a row counts with: the least normal number of 16 bits.
const LEAST_SHARE: f32 = 1.0 / (1 << 14) as f32;

struct Rows<'a> {
    matrix: &'a TensorView<'a>,
    row: Vec<f32>,
    k: usize,
}

impl Rows<'_> {
    fn get(&mut self, i: usize) -> &[f32] {
        let row_bytes = self.k * self.matrix.dtype.size_bytes();
        widen(self.matrix.dtype, &self.matrix.bytes[i * row_bytes..][..row_bytes], &mut self.row);
        &self.row
    }

    /// The power of two in the middle between the largest row and the smallest that is not nothing, as a share of `most`: a product at
    /// this scale is as many times too large for the smallest row as too small for the largest, and neither leaves what 16 bits hold.
    fn middle(&mut self, n: usize, most: f32) -> f32 {
        let shares = (0..n).map(|i| largest(self.get(i)) / most.max(f32::MIN_POSITIVE));
        let least = shares.filter(|share| 0.0 < *share).fold(1.0, f32::min);
        (least.max(LEAST_SHARE).log2() / 2.0).round().exp2()
    }

    fn largest(&mut self, n: usize) -> f32 {
        (0..n).fold(0.0, |most, i| most.max(largest(self.get(i))))
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, v| most.max(v.abs()))
}

/// The scale by which `most` becomes `to`.
pub(super) fn scale_of(most: f32, to: f32) -> f32 {
    let scale = most / to;
    if scale.is_normal() { scale } else { 1.0 }
}

/// The scale of an activation of a precision whose largest element is `most`: of NVFP4 that of its scales, which are found as it runs.
pub(super) fn activation_scale(precision: WeightFormat, most: f32) -> f32 {
    match precision {
        WeightFormat::Int8 => scale_of(most, 127.0),
        WeightFormat::Nvfp4 => scale_of(most, 6.0 * E4M3_MAX),
        _ => scale_of(most, E4M3_MAX),
    }
}

fn whole(w: f32, scale: f32, most: f32) -> i8 {
    (w / scale).round_ties_even().clamp(-most, most) as i8
}

/// A scale as a type holds it, not less than the smallest that is a scale, and its bytes.
fn rounded(scale: f32, element: Element) -> (f32, Vec<u8>) {
    match element {
        Element::F16 => {
            let (least, most) = (half::f16::MIN_POSITIVE.to_f32(), half::f16::MAX.to_f32());
            let scale = half::f16::from_f32(if scale.is_nan() { least } else { scale.clamp(least, most) });
            (scale.to_f32(), scale.to_le_bytes().into())
        }
        Element::Bf16 => {
            let scale = half::bf16::from_f32(scale.min(half::bf16::MAX.to_f32()));
            (scale.to_f32(), scale.to_le_bytes().into())
        }
        _ => (scale, scale.to_le_bytes().into()),
    }
}

/// Two codes a byte, the first in its lower half.
fn pairs(codes: &[u8]) -> impl Iterator<Item = u8> {
    codes.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4))
}

/// The nearest number of E4M3, as its code; what is larger than any is the largest.
pub fn e4m3(x: f32) -> u8 {
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    let x = x.abs();
    if x.is_nan() {
        return sign | 0x7f;
    }
    // Below the smallest that is normal, eighths of it.
    if x < 2f32.powi(-6) {
        return sign | (x * 2f32.powi(9)).round_ties_even() as u8;
    }
    let bits = x.min(E4M3_MAX).to_bits();
    let rounded = (bits + 0x7_ffff + (bits >> 20 & 1)) >> 20;
    sign | (rounded - ((127 - 7) << 3)) as u8
}

/// The number of a code of E4M3.
pub fn of_e4m3(code: u8) -> f32 {
    let (exponent, fraction) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let x = match (exponent, code & 7) {
        (0, _) => fraction * 2f32.powi(-9),
        (15, 7) => f32::NAN,
        _ => (1.0 + fraction / 8.0) * 2f32.powi(exponent - 7),
    };
    if code & 0x80 == 0 { x } else { -x }
}

/// The nearest number of E2M1, as its code.
pub fn e2m1(x: f32) -> u8 {
    let sign = if x.is_sign_negative() { 8 } else { 0 };
    let x = x.abs().min(6.0);
    let after = E2M1.iter().position(|v| x <= *v).unwrap_or(7);
    let before = after.saturating_sub(1);
    let (down, up) = (x - E2M1[before], E2M1[after] - x);
    let is_up = up < down || (up == down && after.is_multiple_of(2));
    sign | if is_up { after } else { before } as u8
}

/// The number of a code of E2M1.
pub fn of_e2m1(code: u8) -> f32 {
    let x = E2M1[usize::from(code & 7)];
    if code & 8 == 0 { x } else { -x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn codes_are_those_of_the_nearest_number() {
        for code in (0..=255u8).filter(|c| c & 0x7f != 0x7f) {
            assert_eq!(e4m3(of_e4m3(code)), code, "{}", of_e4m3(code));
        }
        // 1, the next, and halfway between each: to the even one.
        for (x, expected) in [(1.0, 0x38), (1.125, 0x39), (1.0625, 0x38), (1.1875, 0x3a), (1e9, 0x7e)] {
            assert_eq!((e4m3(x), e4m3(-x)), (expected, expected | 0x80), "{x}");
        }
        // Half of the smallest is even's, a little more is not.
        assert_eq!([e4m3(2f32.powi(-10)), e4m3(0.001), e4m3(0.0)], [0, 1, 0]);
        assert!(of_e4m3(e4m3(f32::NAN)).is_nan());
        for code in 0..16 {
            assert_eq!(e2m1(of_e2m1(code)), code);
        }
        let halfway = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0];
        assert_eq!(halfway.map(|x| of_e2m1(e2m1(x))), [0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 6.0]);
    }

    fn matrix(rows: &[&[f32]]) -> (Vec<usize>, Vec<u8>) {
        let bytes = rows.iter().flat_map(|row| row.iter().flat_map(|v| v.to_le_bytes())).collect();
        (vec![rows.len(), rows[0].len()], bytes)
    }

    fn of(rows: &[&[f32]], precision: WeightFormat, compute: Element) -> Quantized {
        let (shape, bytes) = matrix(rows);
        quantize(&TensorView { dtype: DType::F32, shape, bytes: &bytes }, precision, compute)
    }

    fn f32s(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    #[test]
    fn int8_has_a_scale_for_each_row() {
        let q = of(
            &[&[254.0, -127.0, 1.0, 3.0], &[0.0; 4], &[127.0, 63.5, 0.0, 1.5]],
            WeightFormat::Int8,
            Element::F16,
        );
        let expected = [127i8, -64, 0, 2, 0, 0, 0, 0, 127, 64, 0, 2].map(|v| v as u8);
        assert_eq!(q.values, expected);
        assert_eq!(f32s(&q.scales), [2.0, 2f32.powi(-14), 1.0], "the least share is the least of its type");
        assert_eq!(f32s(&q.scale_of_scales), [1.0], "of the rows in the middle");
        let ratios: Vec<f32> =
            q.ratios.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect();
        assert_eq!(ratios, [2.0, 2f32.powi(-14), 1.0]);
    }

    #[test]
    fn no_row_of_int8_leaves_16_bits_before_its_share_is_taken() {
        let (large, small) = (vec![1.0f32; 2048], vec![2f32.powi(-10); 2048]);
        let q = of(&[&large, &small], WeightFormat::Int8, Element::F16);
        let of_all = f32s(&q.scale_of_scales)[0];
        let ratios = q.ratios.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32());
        for ((row, ratio), expected) in q.values.chunks(2048).zip(ratios).zip([16.0 * 2048.0, 32.0]) {
            let product: f32 = row.iter().map(|w| f32::from(*w as i8) * of_all * 16.0).sum();
            let product = half::f16::from_f32(product);
            assert!(product.is_normal() && product.is_finite(), "{product}");
            let found = half::f16::from_f32(product.to_f32() * ratio).to_f32();
            assert!((found / expected - 1.0).abs() < 2e-3, "{found}, {expected}");
        }
    }

    #[test]
    fn fp8_has_one_scale() {
        let q = of(&[&[896.0, -2.0], &[2.25, 0.0]], WeightFormat::Fp8, Element::F16);
        assert_eq!((f32s(&q.scales), q.values), (vec![2.0], vec![0x7e, 0xb8, 0x39, 0]));
    }

    #[test]
    fn int4_has_a_scale_for_each_block_in_the_type_of_the_product() {
        let mut row = [0.0; 32];
        (row[0], row[1], row[2], row[31]) = (7.0, -3.6, 0.5, -1.0);
        let q = of(&[&row], WeightFormat::Int4, Element::F16);
        assert_eq!(q.scales, half::f16::from_f32(1.0).to_le_bytes(), "one block of 32");
        assert_eq!((q.values.len(), q.values[0], q.values[1], q.values[15]), (16, 7 | 12 << 4, 0, 15 << 4));
        assert_eq!(WeightFormat::Int4.block_len(2048), Some(128));
        assert_eq!(
            [448, 160, 48, 24].map(|k| WeightFormat::Int4.block_len(k)),
            [Some(64), Some(32), Some(16), None]
        );
    }

    #[test]
    fn nvfp4_has_scales_of_scales() {
        let mut row = [0.0f32; 32];
        (row[0], row[1], row[16], row[17]) = (6.0 * 448.0, -448.0 * 1.5, 6.0, 0.4);
        let q = of(&[&row], WeightFormat::Nvfp4, Element::F16);
        assert_eq!((f32s(&q.scale_of_scales), &q.scales[..]), (vec![1.0], &[0x7e, 0x38][..]));
        assert_eq!((q.values[0], q.values[8]), (7 | 0xb << 4, 7 | 1 << 4));
    }

    /// Every precision, by its own formula read backwards: no element is further off than half a step, and what rounding adds.
    #[test]
    fn what_stands_for_an_element_is_near_it() {
        let row: Vec<f32> = (0..64).map(|i| ((i * 37 % 64) as f32 - 31.0) / 9.0).collect();
        let most = largest(&row);
        for (precision, share) in [
            (WeightFormat::Int8, 0.5 / 127.0),
            (WeightFormat::Int4, 0.5 / 7.0 + 1e-3),
            // Half of the widest step: 2 of 6, and 32 of 448; NVFP4's scale has an eighth to round.
            (WeightFormat::Nvfp4, 1.0 / 6.0 + 1.0 / 16.0),
            (WeightFormat::Fp8, 16.0 / 448.0),
        ] {
            let q = of(&[&row], precision, Element::F16);
            let back = |i: usize| -> f32 {
                let nibble = q.values[i / 2 % q.values.len()] >> (4 * (i % 2)) & 15;
                match precision {
                    WeightFormat::Int8 => f32::from(q.values[i] as i8) * f32s(&q.scales)[0],
                    WeightFormat::Fp8 => of_e4m3(q.values[i]) * f32s(&q.scales)[0],
                    WeightFormat::Int4 => {
                        let scale = half::f16::from_le_bytes([q.scales[0], q.scales[1]]).to_f32();
                        f32::from((nibble << 4) as i8 >> 4) * scale
                    }
                    _ => of_e2m1(nibble) * of_e4m3(q.scales[i / 16]) * f32s(&q.scale_of_scales)[0],
                }
            };
            for (i, w) in row.iter().enumerate() {
                assert!((back(i) - w).abs() <= 1.001 * share * most, "{precision}, {i}: {} for {w}", back(i));
            }
        }
    }
}
