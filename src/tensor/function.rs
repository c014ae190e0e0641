//! The functions that a graph names and kernels compute: once, so that neither keeps a copy of the other's list.

use serde::{Deserialize, Serialize};

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unary {
    /// `x / (1 + e^-x)` (Elfwing et al. 2017, <https://arxiv.org/abs/1702.03118>).
    Silu,
    /// `x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))` (Hendrycks & Gimpel 2016, <https://arxiv.org/abs/1606.08415>).
    GeluTanh,
    /// `x Φ(x)` with the error function (the same paper).
    GeluErf,
    /// `max(x, 0)`.
    Relu,
}

/// A function of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
}

/// Which elements of a head turn together (Su et al. 2021, <https://arxiv.org/abs/2104.09864>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotaryStyle {
    /// Element `i` with element `i + dim/2`.
    Halves,
    /// Element `2i` with element `2i + 1`.
    Pairs,
}

/// What is done with a selected row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// It takes the place of the row.
    Replace,
    /// It is added to the row.
    Add,
}
