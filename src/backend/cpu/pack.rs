//! The weights of an engine: in the form that the kernels read, in one run of bytes that is mapped and used in place.
//!
//! Where each weight stands follows from the network and the formats alone, so no table is stored that could lie.
//! Matrices of products are panels, each in its format; a table that is also such a matrix (tied embeddings) is
//! stored once, and its rows are gathered from the panels. Everything else is row-major, f32 (or i32).

use std::io::{self, Write};
use std::ops::Range;

use super::kernels::{PANEL_ROWS, PanelFormat, Panels, Table, pack_panel_range, panels_bytes};
use crate::backend::{Payload, SECTION_ALIGN_BYTES, WeightFormat};
use crate::graph::{Network, WeightId, WeightUse, Weights};
use crate::tensor::{DType, TensorView};

/// Weights start at multiples of this, in the run of bytes and in memory.
pub(super) const ALIGN_BYTES: usize = SECTION_ALIGN_BYTES;
/// Formats that there are kernels for.
pub(super) const FORMATS: &[WeightFormat] =
    &[WeightFormat::F32, WeightFormat::Bf16, WeightFormat::Int8, WeightFormat::Int4];
/// Panels are packed and written in pieces of about this size.
const PIECE_BYTES: usize = 4 << 20;

/// Where each weight stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WeightLayout {
    weights: Vec<Stored>,
    total_bytes: usize,
}

/// The forms in which one weight is stored; both, if it is used in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stored {
    /// `[rows, k]`.
    shape: [usize; 2],
    panels: Option<(PanelFormat, Range<usize>)>,
    rows: Option<Range<usize>>,
}

impl WeightLayout {
    /// The layout of a verified network whose weights are of these formats.
    ///
    /// # Panics
    /// If there is not one format for each weight, or it is none of [`FORMATS`].
    pub(super) fn new(network: &Network, formats: &[WeightFormat]) -> WeightLayout {
        assert_eq!(formats.len(), network.weights.len(), "one format for each weight");
        let panels: Vec<PanelFormat> = formats.iter().map(|format| panel_format(*format)).collect();
        let (mut in_panels, mut in_rows) =
            (vec![false; network.weights.len()], vec![false; network.weights.len()]);
        let mut tables = Vec::new();
        for weight in network.graphs.iter().flat_map(|g| &g.nodes).flat_map(|node| node.op.weights()) {
            match weight.usage {
                WeightUse::Matrix => in_panels[weight.id.index()] = true,
                WeightUse::Table => tables.push(weight.id),
                WeightUse::Elements => in_rows[weight.id.index()] = true,
            }
        }
        // A table of ids is read from the panels if there are any; rows are kept for f32 only.
        for table in tables {
            let as_rows = !in_panels[table.index()] && panels[table.index()] == PanelFormat::F32;
            (if as_rows { &mut in_rows } else { &mut in_panels })[table.index()] = true;
        }
        let mut total_bytes = 0usize;
        let mut take = |n_bytes: usize| {
            let start = total_bytes.next_multiple_of(ALIGN_BYTES);
            total_bytes = start + n_bytes;
            start..total_bytes
        };
        let weights = network.weights.iter().enumerate().map(|(i, weight)| {
            let n_rows = weight.shape.first().copied().unwrap_or(1);
            let len: usize = weight.shape.iter().product();
            let k = weight.shape.iter().skip(1).product();
            Stored {
                shape: [n_rows, k],
                panels: in_panels[i].then(|| (panels[i], take(panels_bytes(panels[i], n_rows, k)))),
                rows: in_rows[i].then(|| take(len * 4)),
            }
        });
        let weights = weights.collect();
        WeightLayout { weights, total_bytes }
    }

    /// Length of the run of bytes.
    pub(super) fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// Writes all weights, piece by piece; `progress` is told of the bytes written so far.
    ///
    /// # Errors
    /// What the writer says; or a weight holds a number that its format cannot.
    pub(super) fn write(
        &self,
        network: &Network,
        weights: &dyn Weights,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let mut piece = Vec::new();
        let mut written = 0;
        for (i, stored) in self.weights.iter().enumerate() {
            if stored.panels.is_none() && stored.rows.is_none() {
                continue;
            }
            let view = weights.weight(WeightId(i as u32));
            assert_eq!(view.shape, network.weights[i].shape, "weights are of the network's shapes");
            if let Some((format, range)) = &stored.panels {
                pad(out, &mut written, range.start)?;
                let panel_bytes = panels_bytes(*format, PANEL_ROWS, stored.shape[1]);
                let n_panels = stored.shape[0].div_ceil(PANEL_ROWS);
                let at_once = (PIECE_BYTES / panel_bytes.max(1)).max(1);
                for first in (0..n_panels).step_by(at_once) {
                    let panels = first..n_panels.min(first + at_once);
                    piece.resize(panels.len() * panel_bytes, 0);
                    pack_panel_range(&view, *format, panels, &mut piece).map_err(|why| {
                        let name = &network.weights[i].name;
                        let why = format!("weight `{name}`: {why}; store its part as bf16 or f32");
                        io::Error::new(io::ErrorKind::InvalidData, why)
                    })?;
                    out.write_all(&piece)?;
                    written += piece.len();
                    progress(written as u64);
                }
            }
            if let Some(range) = &stored.rows {
                pad(out, &mut written, range.start)?;
                write_rows(&view, out, &mut piece)?;
                written = range.end;
                progress(written as u64);
            }
        }
        Ok(())
    }
}

/// What panels of a format are.
fn panel_format(format: WeightFormat) -> PanelFormat {
    match format {
        WeightFormat::F32 => PanelFormat::F32,
        WeightFormat::Bf16 => PanelFormat::Bf16,
        WeightFormat::Int8 => PanelFormat::Int8,
        WeightFormat::Int4 => PanelFormat::Int4,
        WeightFormat::F16 | WeightFormat::Fp8 | WeightFormat::Nvfp4 => unreachable!("none of `FORMATS`"),
    }
}

fn pad(out: &mut dyn Write, written: &mut usize, start: usize) -> io::Result<()> {
    out.write_all(&[0; ALIGN_BYTES][..start - *written])?;
    *written = start;
    Ok(())
}

/// Four bytes an element: f32, or i32 as it is.
fn write_rows(view: &TensorView<'_>, out: &mut dyn Write, piece: &mut Vec<u8>) -> io::Result<()> {
    if view.dtype == DType::I32 {
        return out.write_all(view.bytes);
    }
    let at_once = PIECE_BYTES / 4;
    let mut values = Vec::new();
    for bytes in view.bytes.chunks(at_once * view.dtype.size_bytes()) {
        values.resize(bytes.len() / view.dtype.size_bytes(), 0.0f32);
        crate::tensor::widen(view.dtype, bytes, &mut values);
        piece.clear();
        piece.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        out.write_all(piece)?;
    }
    Ok(())
}

/// Weights in place, by id.
pub(super) struct PackedWeights {
    layout: WeightLayout,
    bytes: Payload,
}

impl PackedWeights {
    /// The weights of `layout` in `bytes`, of which nothing is read here.
    ///
    /// # Errors
    /// If they are not as long as the layout, or stand at an address that the kernels cannot read from.
    pub(super) fn new(layout: WeightLayout, bytes: Payload) -> Result<PackedWeights, String> {
        let given = bytes.bytes();
        if given.len() != layout.total_bytes {
            return Err(format!("the weights take {} bytes, expected {}", given.len(), layout.total_bytes));
        }
        if !given.as_ptr().addr().is_multiple_of(ALIGN_BYTES) {
            return Err(format!("the weights do not start at a multiple of {ALIGN_BYTES} bytes"));
        }
        Ok(PackedWeights { layout, bytes })
    }

    /// Whether products are with panels of bfloat16.
    pub(super) fn have_bf16(&self) -> bool {
        self.layout.weights.iter().flat_map(|w| &w.panels).any(|(format, _)| *format == PanelFormat::Bf16)
    }

    /// Bytes that are mapped, and bytes that are private.
    pub(super) fn mapped_and_private_bytes(&self) -> (u64, u64) {
        let n = self.layout.total_bytes as u64;
        if self.bytes.is_mapped() { (n, 0) } else { (0, n) }
    }

    /// Some outputs of a matrix of products; the first must begin a panel.
    pub(super) fn panels(&self, id: WeightId, outputs: Range<usize>) -> Panels<'_> {
        let stored = &self.layout.weights[id.index()];
        let (format, range) = stored.panels.clone().expect("the layout has panels where products are");
        let k = stored.shape[1];
        let skipped = panels_bytes(format, outputs.start, k);
        let bytes = &self.bytes.bytes()[range][skipped..];
        Panels { format, rows: outputs.len(), k, bytes }
    }

    /// All outputs of a matrix of products.
    pub(super) fn all_panels(&self, id: WeightId) -> Panels<'_> {
        self.panels(id, 0..self.layout.weights[id.index()].shape[0])
    }

    /// A weight that is stored row-major.
    pub(super) fn rows(&self, id: WeightId) -> &[f32] {
        let range = self.layout.weights[id.index()].rows.clone();
        bytemuck::cast_slice(&self.bytes.bytes()[range.expect("the layout has rows where they are read")])
    }

    /// A table of which rows are read by id.
    pub(super) fn table(&self, id: WeightId) -> Table<'_> {
        if self.layout.weights[id.index()].panels.is_some() {
            Table::Panels(self.all_panels(id))
        } else {
            Table::Rows(self.rows(id))
        }
    }
}
