//! The weights of an engine as plans take them: in the checkpoint's layout or with axes in another order, each form once for all
//! plans, in one run of bytes that goes to the device as it is.
//!
//! Where each stands follows from the lowered network alone, so no table is stored that could lie.

use std::io::{self, Write};
use std::ops::Range;

use super::layers::Element;
use super::lower::Source;
use super::whole::Whole;
use crate::graph::{Network, WeightId, Weights};
use crate::tensor::{DType, TensorView, widen};

/// Where TensorRT lets an input begin, and so everything that plans take or give.
pub(super) const ALIGN_BYTES: usize = 256;
/// Elements that are converted at once.
const PIECE_LEN: usize = 1 << 18;

/// Where each form of each weight stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WeightLayout {
    stored: Vec<Stored>,
    /// By graph and input; none where that is no weight.
    places: Vec<Vec<Option<usize>>>,
    total_bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Stored {
    id: WeightId,
    element: Element,
    order: Vec<u8>,
    range: Range<usize>,
}

impl WeightLayout {
    /// The layout of a lowered network.
    pub(super) fn new(network: &Network, whole: &Whole) -> WeightLayout {
        let mut layout = WeightLayout { stored: Vec::new(), places: Vec::new(), total_bytes: 0 };
        for lowered in &whole.graphs {
            let inputs = lowered.sources.iter().zip(&lowered.layers.inputs);
            let places = inputs.map(|(source, input)| match source {
                Source::Weight { id, order } => Some(layout.place(network, *id, input.element, order)),
                Source::Rows { .. } | Source::Past { .. } | Source::Cache(_) | Source::Extent(_) => None,
            });
            let places = places.collect();
            layout.places.push(places);
        }
        layout.total_bytes = layout.total_bytes.next_multiple_of(ALIGN_BYTES);
        layout
    }

    fn place(&mut self, network: &Network, id: WeightId, element: Element, order: &[u8]) -> usize {
        let same = |s: &Stored| (s.id, s.element, &s.order[..]) == (id, element, order);
        if let Some(known) = self.stored.iter().position(same) {
            return known;
        }
        let start = self.total_bytes.next_multiple_of(ALIGN_BYTES);
        let len: usize = network.weights[id.index()].shape.iter().product();
        self.total_bytes = start + element.bytes_of(len);
        self.stored.push(Stored { id, element, order: order.into(), range: start..self.total_bytes });
        self.stored.len() - 1
    }

    /// Length of the run of bytes.
    pub(super) fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// The first byte of a graph's input, if it is a weight.
    pub(super) fn start_of(&self, graph: usize, input: usize) -> Option<usize> {
        self.places[graph][input].map(|i| self.stored[i].range.start)
    }

    /// The bytes of a weight of whole numbers, in the run of bytes, if it stands there.
    pub(super) fn wholes_of(&self, id: WeightId) -> Option<Range<usize>> {
        let found = self.stored.iter().find(|s| s.id == id && s.element == Element::I32);
        found.map(|s| s.range.clone())
    }

    /// Writes all weights; `progress` is told of the bytes written so far.
    ///
    /// # Errors
    /// What the writer says.
    pub(super) fn write(
        &self,
        network: &Network,
        weights: &dyn Weights,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let mut written = 0;
        for stored in &self.stored {
            pad(out, &mut written, stored.range.start)?;
            let view = weights.weight(stored.id);
            assert_eq!(
                view.shape,
                network.weights[stored.id.index()].shape,
                "weights are of the network's shapes"
            );
            let len: usize = view.shape.iter().product();
            for first in (0..len).step_by(PIECE_LEN) {
                let piece = first..len.min(first + PIECE_LEN);
                let bytes = converted(&view, stored, piece);
                out.write_all(&bytes)?;
                written += bytes.len();
                progress(written as u64);
            }
        }
        pad(out, &mut written, self.total_bytes)
    }
}

/// Zeros up to a place.
pub(super) fn pad(out: &mut dyn Write, written: &mut usize, start: usize) -> io::Result<()> {
    out.write_all(&[0; ALIGN_BYTES][..start - *written])?;
    *written = start;
    Ok(())
}

/// Some elements of a weight, in the order and type in which it is stored.
fn converted(view: &TensorView<'_>, stored: &Stored, piece: Range<usize>) -> Vec<u8> {
    let size = view.dtype.size_bytes();
    let taken: Vec<u8> = if stored.order.is_empty() {
        view.bytes[piece.start * size..piece.end * size].to_vec()
    } else {
        let at = Turned::new(&view.shape, &stored.order);
        piece.clone().flat_map(|i| view.bytes[at.place(i) * size..][..size].iter().copied()).collect()
    };
    let as_stored = matches!(
        (view.dtype, stored.element),
        (DType::F32, Element::F32)
            | (DType::F16, Element::F16)
            | (DType::Bf16, Element::Bf16)
            | (DType::I32, Element::I32)
    );
    if as_stored {
        return taken;
    }
    let mut values = vec![0.0f32; piece.len()];
    widen(view.dtype, &taken, &mut values);
    narrowed(stored.element, &values)
}

/// Numbers of a floating type, rounded to the nearest.
fn narrowed(element: Element, values: &[f32]) -> Vec<u8> {
    match element {
        Element::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
        Element::Bf16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

/// Places of a value whose axes stand in another order.
struct Turned {
    /// Of the turned value, from the outermost: extent, and how far apart its places are in the value itself.
    axes: Vec<(usize, usize)>,
}

impl Turned {
    fn new(shape: &[usize], order: &[u8]) -> Turned {
        let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        Turned { axes: order.iter().map(|a| usize::from(*a)).map(|a| (shape[a], stride(a))).collect() }
    }

    /// Where element `i` of the turned value stands.
    fn place(&self, mut i: usize) -> usize {
        let mut place = 0;
        for (n, stride) in self.axes.iter().rev() {
            place += i % n * stride;
            i /= n;
        }
        place
    }
}

#[cfg(test)]
#[test]
fn axes_are_turned_as_the_order_says() {
    let values: Vec<u8> = (0..6u32).flat_map(|v| (v as f32).to_le_bytes()).collect();
    let view = TensorView { dtype: DType::F32, shape: vec![2, 3], bytes: &values };
    let stored =
        |element, order: &[u8]| Stored { id: WeightId(0), element, order: order.into(), range: 0..0 };
    let turned = converted(&view, &stored(Element::F32, &[1, 0]), 1..5);
    let turned: Vec<f32> = turned.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert_eq!(turned, [3.0, 1.0, 4.0, 2.0]);
    let halves = converted(&view, &stored(Element::F16, &[]), 4..6);
    assert_eq!(
        halves,
        [half::f16::from_f32(4.0), half::f16::from_f32(5.0)].map(|h| h.to_le_bytes()).concat()
    );
}
