//! The packed form of a weight matrix, which every instruction set reads.
//!
//! Rows (outputs) stand in panels of sixteen: `[panel][k][16 rows]`, so that one vector holds the same input's weights
//! for sixteen outputs. Rows missing from the last panel are zeros. The bytes start at a multiple of 64.
//!
//! Formats of blocks (int8 and int4 with scales) lie otherwise within their panels, see [`super::blocks`], and have products of
//! their own, [`super::block_product`].

use std::ops::Range;

use super::blocks::{self, BLOCK, BlockPanels, Int4, Int8};
use super::simd::LANES;
use perihelion_tensor::{DType, TensorView};

/// Rows of a panel.
pub const PANEL_ROWS: usize = LANES;

/// How the numbers of a panel are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PanelFormat {
    /// IEEE 754 binary32.
    F32,
    /// The upper half of binary32, rounded to nearest even when packed.
    Bf16,
    /// Blocks of thirty-two whole numbers of 8 bits and a scale.
    Int8,
    /// Blocks of thirty-two whole numbers of 4 bits and a scale.
    Int4,
}

impl PanelFormat {
    /// Whether numbers stand in blocks, which activations meet as whole numbers of 8 bits.
    pub fn is_blocks(self) -> bool {
        matches!(self, PanelFormat::Int8 | PanelFormat::Int4)
    }

    /// Bytes of a panel of rows of `k` elements.
    fn panel_bytes(self, k: usize) -> usize {
        match self {
            PanelFormat::F32 => PANEL_ROWS * k * 4,
            PanelFormat::Bf16 => PANEL_ROWS * k * 2,
            PanelFormat::Int8 => blocks::panel_bytes::<Int8>(k.div_ceil(BLOCK)),
            PanelFormat::Int4 => blocks::panel_bytes::<Int4>(k.div_ceil(BLOCK)),
        }
    }
}

/// A row cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row} holds a number that is not finite, or too large for this format")]
pub struct Unstorable {
    /// Which.
    pub row: usize,
}

/// A packed matrix `[rows, k]`, in bytes aligned to 64 (to 4 at the least).
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    /// How its numbers are stored.
    pub format: PanelFormat,
    /// Outputs, before padding.
    pub rows: usize,
    /// Inputs.
    pub k: usize,
    /// [`panels_bytes`] bytes.
    pub bytes: &'a [u8],
}

/// The numbers of [`Panels`] that are floats, typed.
#[derive(Clone, Copy)]
pub(super) enum PanelData<'a> {
    F32(&'a [[f32; LANES]]),
    Bf16(&'a [[u16; LANES]]),
}

impl<'a> Panels<'a> {
    /// Panels, the last one padded.
    pub fn n_panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// Bytes of all panels.
    pub fn n_bytes(&self) -> usize {
        panels_bytes(self.format, self.rows, self.k)
    }

    /// The typed numbers of a format without blocks: `k` vectors for each panel.
    ///
    /// # Panics
    /// If the bytes are too few or not aligned, which the engine's loader has checked; or the format has blocks.
    #[inline(always)]
    pub(super) fn data(&self) -> PanelData<'a> {
        let bytes = &self.bytes[..self.n_bytes()];
        match self.format {
            PanelFormat::F32 => PanelData::F32(bytemuck::cast_slice(bytes)),
            PanelFormat::Bf16 => PanelData::Bf16(bytemuck::cast_slice(bytes)),
            PanelFormat::Int8 | PanelFormat::Int4 => unreachable!("blocks have products of their own"),
        }
    }

    /// The blocks of a format that has them.
    ///
    /// # Panics
    /// If the bytes are too few.
    #[inline(always)]
    pub(super) fn blocks(&self) -> BlockPanels<'a> {
        BlockPanels::new(&self.bytes[..self.n_bytes()], self.k)
    }

    /// Writes row `row` to `out`, which is `k` long: a table that is both embedding and head is stored once.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn gather_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "the ids were checked before");
        let (panel, lane) = (row / PANEL_ROWS, row % PANEL_ROWS);
        assert_eq!(out.len(), self.k, "a row is as long as the panels are deep");
        match self.format {
            PanelFormat::Int8 => return self.blocks().row::<Int8>(panel, lane, out),
            PanelFormat::Int4 => return self.blocks().row::<Int4>(panel, lane, out),
            PanelFormat::F32 | PanelFormat::Bf16 => (),
        }
        let of_panel = panel * self.k..(panel + 1) * self.k;
        match self.data() {
            PanelData::F32(w) => {
                for (o, v) in out.iter_mut().zip(&w[of_panel]) {
                    *o = v[lane];
                }
            }
            PanelData::Bf16(w) => {
                for (o, v) in out.iter_mut().zip(&w[of_panel]) {
                    *o = f32::from_bits(u32::from(v[lane]) << 16);
                }
            }
        }
    }
}

/// Bytes of a packed matrix of `rows` outputs and `k` inputs.
pub fn panels_bytes(format: PanelFormat, rows: usize, k: usize) -> usize {
    rows.div_ceil(PANEL_ROWS) * format.panel_bytes(k)
}

/// Packs the row-major matrix `[rows, k]` of `view` (its first axis is the rows, all others together are `k`: a linear
/// layer's `[n, k]`, a convolution's `[c_out, kt, kh, kw, c_in]`).
///
/// # Errors
/// If the format has no room for a number.
///
/// # Panics
/// If `out` is not [`panels_bytes`] long or `view` is not of floats.
pub fn pack_panels(view: &TensorView<'_>, format: PanelFormat, out: &mut [u8]) -> Result<(), Unstorable> {
    let rows = view.shape.first().copied().unwrap_or(0);
    let n_panels = rows.div_ceil(PANEL_ROWS);
    pack_panel_range(view, format, 0..n_panels, out)
}

/// Packs some panels only, so that a large matrix can be written in pieces: `out` holds just these.
///
/// # Errors
/// As [`pack_panels`].
///
/// # Panics
/// As [`pack_panels`].
pub fn pack_panel_range(
    view: &TensorView<'_>,
    format: PanelFormat,
    panels: Range<usize>,
    out: &mut [u8],
) -> Result<(), Unstorable> {
    assert!(matches!(view.dtype, DType::F32 | DType::F16 | DType::Bf16), "weights are floats");
    let rows = view.shape.first().copied().unwrap_or(0);
    let k: usize = view.shape.iter().skip(1).product();
    let panel_bytes = panels_bytes(format, PANEL_ROWS, k);
    assert_eq!(out.len(), panels.len() * panel_bytes, "the output holds the panels exactly");
    if panel_bytes == 0 {
        return Ok(());
    }
    let row_bytes = k * view.dtype.size_bytes();
    let mut row_values = vec![0.0f32; k];
    for (panel, out) in panels.zip(out.chunks_exact_mut(panel_bytes)) {
        for lane in 0..PANEL_ROWS {
            let row = panel * PANEL_ROWS + lane;
            if row < rows {
                let bytes = &view.bytes[row * row_bytes..(row + 1) * row_bytes];
                perihelion_tensor::widen(view.dtype, bytes, &mut row_values);
            } else {
                row_values.fill(0.0);
            }
            let is_stored = match format {
                PanelFormat::Int8 => blocks::pack_row::<Int8>(&row_values, lane, out),
                PanelFormat::Int4 => blocks::pack_row::<Int4>(&row_values, lane, out),
                PanelFormat::F32 => {
                    let places = out.as_chunks_mut::<4>().0.iter_mut().skip(lane).step_by(PANEL_ROWS);
                    for (o, v) in places.zip(&row_values) {
                        *o = v.to_le_bytes();
                    }
                    true
                }
                PanelFormat::Bf16 => {
                    let places = out.as_chunks_mut::<2>().0.iter_mut().skip(lane).step_by(PANEL_ROWS);
                    for (o, v) in places.zip(&row_values) {
                        *o = half::bf16::from_f32(*v).to_le_bytes();
                    }
                    true
                }
            };
            if !is_stored {
                return Err(Unstorable { row });
            }
        }
    }
    Ok(())
}
