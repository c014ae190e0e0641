//! Weights in fewer bits, as plans are given them when they are opened: each part of each weight once in an engine, for all plans.
//!
//! Where each stands follows from the lowered network alone, as for weights that are inputs.

use std::io::{self, Write};
use std::ops::Range;

use super::layers::{Constant, Element, Kind, Layers};
use super::lower::{Given, Placed};
use super::quantize::quantize;
use super::weights::{ALIGN_BYTES, pad};
use super::whole::Whole;
use crate::backend::WeightFormat;
use crate::graph::{Network, WeightId, Weights};
use crate::tensor::{TensorView, widen};

/// Where each part of each weight stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlacedLayout {
    parts: Vec<Part>,
    /// By graph and placeholder.
    places: Vec<Vec<usize>>,
    total_bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Part {
    of: Of,
    given: Given,
    range: Range<usize>,
}

/// A weight, in what, for products computed in what: scales of one in blocks have that type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Of {
    weight: WeightId,
    precision: WeightFormat,
    compute: Element,
}

impl PlacedLayout {
    /// The layout of a lowered network.
    pub(super) fn new(whole: &Whole) -> PlacedLayout {
        let mut layout = PlacedLayout { parts: Vec::new(), places: Vec::new(), total_bytes: 0 };
        for lowered in &whole.graphs {
            let waiting = placeholders(&lowered.layers).map(|waiting| waiting.name);
            let is_same = lowered.placed.iter().map(|placed| &placed.name[..]).eq(waiting);
            assert!(is_same, "each placeholder is recorded as placed, in the same order");
            let shaped = lowered.placed.iter().zip(placeholders(&lowered.layers));
            let places = shaped.map(|(placed, Waiting { element, dims, .. })| {
                let Placed { weight, precision, given, .. } = *placed;
                let n_bytes = element.bytes_of(dims.iter().product::<i64>() as usize);
                layout.place(Of { weight, precision, compute: lowered.compute }, given, n_bytes)
            });
            let places = places.collect();
            layout.places.push(places);
        }
        layout.total_bytes = layout.total_bytes.next_multiple_of(ALIGN_BYTES);
        layout
    }

    fn place(&mut self, of: Of, given: Given, n_bytes: usize) -> usize {
        if let Some(known) = self.parts.iter().position(|part| (part.of, part.given) == (of, given)) {
            return known;
        }
        let start = self.total_bytes.next_multiple_of(ALIGN_BYTES);
        self.total_bytes = start + n_bytes;
        self.parts.push(Part { of, given, range: start..self.total_bytes });
        self.parts.len() - 1
    }

    /// Length of the run of bytes; 0 if no plan waits for any.
    pub(super) fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// What the plan of a graph is given out of the run of bytes.
    pub(super) fn constants<'a>(&self, whole: &'a Whole, graph: usize, bytes: &'a [u8]) -> Vec<Constant<'a>> {
        let lowered = &whole.graphs[graph];
        let waiting = placeholders(&lowered.layers).zip(&self.places[graph]);
        let one = |(Waiting { name, element, dims }, place): (Waiting<'a>, &usize)| {
            let bytes = &bytes[self.parts[*place].range.clone()];
            Constant { name, element, dims, bytes }
        };
        waiting.map(one).collect()
    }

    /// Writes all parts; `progress` is told of the bytes written so far.
    ///
    /// # Errors
    /// What the writer says; or a weight holds what is no number.
    pub(super) fn write(
        &self,
        network: &Network,
        weights: &dyn Weights,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let mut written = 0;
        let mut made = None;
        for Part { of, given, range } in &self.parts {
            pad(out, &mut written, range.start)?;
            // The parts of a weight stand one after the other: it is made once, and one of them is in memory.
            let (_, quantized) = match made.take() {
                Some((known, quantized)) if known == *of => made.insert((known, quantized)),
                _ => {
                    let view = weights.weight(of.weight);
                    let (name, shape) = (&network.weights[of.weight.index()].name, &view.shape);
                    assert_eq!(
                        *shape,
                        network.weights[of.weight.index()].shape,
                        "weights are of the network's shapes"
                    );
                    if !is_finite(&view) {
                        let why = format!(
                            "weight `{name}` holds what is no number, and {} has none such",
                            of.precision
                        );
                        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                    }
                    made.insert((*of, quantize(&view, of.precision, of.compute)))
                }
            };
            let bytes = quantized.part(*given);
            assert_eq!(bytes.len(), range.len(), "`quantize` makes what placeholders ask for");
            out.write_all(bytes)?;
            written += bytes.len();
            progress(written as u64);
        }
        pad(out, &mut written, self.total_bytes)
    }
}

/// What a plan waits for.
struct Waiting<'a> {
    name: &'a str,
    element: Element,
    dims: &'a [i64],
}

/// Each placeholder, in the order of layers.
fn placeholders(layers: &Layers) -> impl Iterator<Item = Waiting<'_>> {
    layers.layers.iter().filter_map(|layer| match &layer.kind {
        Kind::Placeholder { element, dims } => Some(Waiting { name: &layer.name, element: *element, dims }),
        _ => None,
    })
}

fn is_finite(view: &TensorView<'_>) -> bool {
    let k = view.shape.last().copied().unwrap_or(1).max(1);
    let mut row = vec![0.0; k];
    view.bytes.chunks_exact(k * view.dtype.size_bytes()).all(|bytes| {
        widen(view.dtype, bytes, &mut row);
        row.iter().all(|v| v.is_finite())
    })
}
