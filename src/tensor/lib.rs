//! Element types, byte views and the names of functions: what every other part says about numbers in memory.
//!
//! Why no tensor type with owned storage: bytes belong to a mapped file, to a session's arena or to the caller,
//! never to a tensor. Only views pass between parts.

pub mod function;

use serde::{Deserialize, Serialize};

/// Element type of a tensor, in files and in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
    /// Two's complement, 32 bits.
    I32,
    /// One byte.
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::Bf16 => 2,
            DType::U8 => 1,
        }
    }

    /// Lower-case name, as manifests and messages show it.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::I32 => "i32",
            DType::U8 => "u8",
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A borrowed, dense, row-major tensor: little-endian bytes with their type and shape.
///
/// The bytes need no alignment: a mapped file does not promise any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorView<'a> {
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// `shape.product() * dtype.size_bytes()` bytes.
    pub bytes: &'a [u8],
}

impl TensorView<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element values as f32, in order. Integers become their value.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        widen(self.dtype, self.bytes, &mut out);
        out
    }
}

/// Writes little-endian elements of `dtype` in `bytes` to `out` as f32.
///
/// # Panics
/// If `bytes` does not hold exactly `out.len()` elements.
pub fn widen(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(bytes.len(), out.len() * dtype.size_bytes(), "caller passes matching lengths");
    match dtype {
        DType::F32 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *o = f32::from_le_bytes(*b);
            }
        }
        DType::F16 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *o = half::f16::from_le_bytes(*b).to_f32();
            }
        }
        DType::Bf16 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *o = half::bf16::from_le_bytes(*b).to_f32();
            }
        }
        DType::I32 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *o = i32::from_le_bytes(*b) as f32;
            }
        }
        DType::U8 => {
            for (o, b) in out.iter_mut().zip(bytes) {
                *o = f32::from(*b);
            }
        }
    }
}

/// Writes f32 values to `bytes` as little-endian elements of a floating `dtype`, rounded to nearest, ties to even.
///
/// # Panics
/// If `bytes` does not hold exactly `values.len()` elements, or the type is an integer.
pub fn narrow(dtype: DType, values: &[f32], bytes: &mut [u8]) {
    assert_eq!(bytes.len(), values.len() * dtype.size_bytes(), "caller passes matching lengths");
    match dtype {
        DType::F32 => {
            for (b, v) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *b = v.to_le_bytes();
            }
        }
        DType::F16 => {
            for (b, v) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *b = half::f16::from_f32(*v).to_le_bytes();
            }
        }
        DType::Bf16 => {
            for (b, v) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *b = half::bf16::from_f32(*v).to_le_bytes();
            }
        }
        DType::I32 | DType::U8 => panic!("{dtype}: only floating types are rounded to"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widens_every_type() {
        let mut out = [0.0; 2];
        widen(DType::Bf16, &[0x80, 0x3f, 0x00, 0xc0], &mut out);
        assert_eq!(out, [1.0, -2.0]);
        widen(DType::F16, &[0x00, 0x3c, 0x00, 0xc0], &mut out);
        assert_eq!(out, [1.0, -2.0]);
        widen(DType::I32, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], &mut out);
        assert_eq!(out, [1.0, -1.0]);
        widen(DType::U8, &[7, 255], &mut out);
        assert_eq!(out, [7.0, 255.0]);
    }

    #[test]
    fn narrows_to_the_nearest_and_back_without_a_change() {
        // Half a step above 1 goes to the even neighbour, three halves to the next even one.
        let step = 1.0 / 128.0;
        let mut bytes = [0; 4];
        narrow(DType::Bf16, &[1.0 + step / 2.0, 1.0 + 1.5 * step], &mut bytes);
        let mut out = [0.0; 2];
        widen(DType::Bf16, &bytes, &mut out);
        assert_eq!(out, [1.0, 1.0 + 2.0 * step]);
        for (dtype, n) in [(DType::F16, 2), (DType::Bf16, 2), (DType::F32, 4)] {
            let bytes: Vec<u8> = (0..n * 64).map(|i| (i * 37 % 120) as u8).collect();
            let (mut values, mut back) = (vec![0.0; 64], vec![0; bytes.len()]);
            widen(dtype, &bytes, &mut values);
            narrow(dtype, &values, &mut back);
            assert_eq!(back, bytes, "{dtype}");
        }
    }
}
