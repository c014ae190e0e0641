//! The structs of `shim.h`: what is asked of TensorRT, and what it answers, as numbers.

use std::ffi::{c_char, c_void};
use std::ptr;

/// `nvinfer1::Dims::MAX_DIMS`.
pub(in crate::backend::tensorrt) const AXES_MAX: usize = 8;

/// `ShimAxes`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct RawAxes {
    pub(super) n: i64,
    at: [i64; AXES_MAX],
}

impl RawAxes {
    /// None at all, which is not the same as none of them.
    pub(super) const NONE: RawAxes = RawAxes { n: -1, at: [0; AXES_MAX] };

    pub(super) fn new(list: impl IntoIterator<Item = i64>) -> Result<RawAxes, String> {
        let mut axes = RawAxes { n: 0, at: [0; AXES_MAX] };
        for value in list {
            let place = axes.at.get_mut(axes.n as usize).ok_or(format!("more than {AXES_MAX} axes"))?;
            *place = value;
            axes.n += 1;
        }
        Ok(axes)
    }

    pub(super) fn list(&self) -> &[i64] {
        &self.at[..usize::try_from(self.n).unwrap_or(0).min(AXES_MAX)]
    }
}

/// `ShimLayer`.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct RawLayer {
    pub(super) kind: i32,
    pub(super) operation: i32,
    pub(super) element: i32,
    pub(super) axis: i32,
    pub(super) axes: u32,
    pub(super) keeps: i32,
    pub(super) transposed: [i32; 2],
    pub(super) dims: RawAxes,
    pub(super) first: RawAxes,
    pub(super) second: RawAxes,
    pub(super) stride: RawAxes,
    pub(super) maps: i64,
    pub(super) n_scales: i64,
    pub(super) scales: [f32; AXES_MAX],
    /// Of a constant: set where it is added, from memory that is kept.
    pub(super) bytes: *const c_void,
    pub(super) n_elements: i64,
}

impl Default for RawLayer {
    fn default() -> Self {
        let none = RawAxes::NONE;
        RawLayer {
            kind: 0,
            operation: 0,
            element: 0,
            axis: 0,
            axes: 0,
            keeps: 0,
            transposed: [0; 2],
            dims: none,
            first: none,
            second: none,
            stride: none,
            maps: 0,
            n_scales: 0,
            scales: [0.0; AXES_MAX],
            bytes: ptr::null(),
            n_elements: 0,
        }
    }
}

/// `ShimTensor`.
#[derive(Debug)]
#[repr(C)]
pub(super) struct RawTensor {
    pub(super) tensor: *const c_void,
    pub(super) name: *const c_char,
    pub(super) element: i32,
    pub(super) is_there: i32,
    pub(super) dims: RawAxes,
}

/// What TensorRT says of a value.
#[derive(Debug)]
pub(super) struct TensorSeen {
    /// The same for the same value.
    pub(super) address: usize,
    pub(super) name: String,
    pub(super) element: i32,
    pub(super) dims: Vec<i64>,
}

/// What TensorRT says of a layer.
#[derive(Debug)]
pub(super) struct LayerSeen {
    pub(super) raw: RawLayer,
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) n_inputs: usize,
}

/// What a layer of TensorRT's is to the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It adds such layers, and reads all that they have.
    Known,
    /// The beginning of one that is told of at its end.
    Beginning,
    /// None that it adds.
    Foreign,
}
