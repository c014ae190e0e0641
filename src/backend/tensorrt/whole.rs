//! A network lowered whole: each graph in the type that its part's format names, and what its graphs share in one type.

use super::layers::{Element, Output};
use super::lower::{Lowered, Sink, Source, lower};
use crate::backend::{BackendError, WeightFormat};
use crate::graph::{BufferId, Graph, Network, WeightId, WeightUse};
use crate::tensor::DType;

/// The formats that there are types to compute in for.
pub(super) const FORMATS: &[WeightFormat] = &[WeightFormat::F32, WeightFormat::F16, WeightFormat::Bf16];

/// All graphs as layers, and what each buffer is kept in.
#[derive(Debug)]
pub(super) struct Whole {
    /// In the network's order.
    pub(super) graphs: Vec<Lowered>,
    /// By buffer; as the network declares it where no graph touches it.
    pub(super) kept_in: Vec<Element>,
    /// The coarsest format that any graph computes in.
    pub(super) arithmetic: WeightFormat,
}

impl Whole {
    /// Lowers a verified network, whose weights are of these formats.
    ///
    /// # Errors
    /// If a graph cannot be lowered, mixes types, or shares a cache with one of another type.
    pub(super) fn new(network: &Network, formats: &[WeightFormat]) -> Result<Whole, BackendError> {
        let declared = |dtype| if dtype == DType::I32 { Element::I32 } else { Element::F32 };
        let mut kept: Vec<(Element, Option<&str>)> =
            network.buffers.iter().map(|b| (declared(b.dtype), None)).collect();
        let mut graphs = Vec::with_capacity(network.graphs.len());
        let mut arithmetic = WeightFormat::F32;
        for graph in &network.graphs {
            let format = format_of(network, graph, formats)?;
            arithmetic = arithmetic.max(format);
            let lowered = lower(network, graph, element_of(format))?;
            assert!(lowered.placed.is_empty(), "weights of one type are inputs");
            for (buffer, element) in touched(&lowered) {
                let known = &mut kept[buffer.index()];
                match known.1 {
                    Some(other) if known.0 != element => {
                        return Err(BackendError::Unsupported {
                            why: format!(
                                "graphs `{other}` and `{}` share buffer `{}` and compute in {:?} and {element:?}: give their \
                                 parts one format",
                                graph.name,
                                network.buffers[buffer.index()].name,
                                known.0
                            ),
                        });
                    }
                    _ => *known = (element, Some(&graph.name)),
                }
            }
            graphs.push(lowered);
        }
        let kept_in = kept.into_iter().map(|(element, _)| element).collect();
        Ok(Whole { graphs, kept_in, arithmetic })
    }
}

/// The buffers of a graph, each with the type that its plan takes or gives.
fn touched(lowered: &Lowered) -> impl Iterator<Item = (BufferId, Element)> {
    let read =
        lowered.sources.iter().zip(&lowered.layers.inputs).filter_map(|(source, input)| match source {
            Source::Rows { buffer, .. } | Source::Past { cache: buffer, .. } | Source::Cache(buffer) => {
                Some((*buffer, input.element))
            }
            Source::Weight { .. } | Source::Extent(_) => None,
        });
    let written = lowered.sinks.iter().zip(&lowered.layers.outputs);
    let written = written.map(|(sink, Output { element, .. })| match sink {
        Sink::Rows(buffer) | Sink::Append(buffer, _) | Sink::InPlace(buffer) => (*buffer, *element),
    });
    read.chain(written)
}

/// The one format of a graph's matrices and tables; f32 if it has none.
fn format_of(
    network: &Network,
    graph: &Graph,
    formats: &[WeightFormat],
) -> Result<WeightFormat, BackendError> {
    let mut found: Option<(WeightId, WeightFormat)> = None;
    for weight in graph.nodes.iter().flat_map(|node| node.op.weights()) {
        if weight.usage == WeightUse::Elements {
            continue;
        }
        let format = formats[weight.id.index()];
        let named = |id: WeightId| {
            let weight = &network.weights[id.index()];
            format!("`{}` of part `{}`", weight.name, weight.part)
        };
        if !FORMATS.contains(&format) {
            return Err(BackendError::Unsupported {
                why: format!("weight {} is {format}, plans compute in f32, f16 and bf16", named(weight.id)),
            });
        }
        match found {
            Some((other, known)) if known != format => {
                return Err(BackendError::Unsupported {
                    why: format!(
                        "graph `{}` computes in one type, but its weight {} is {known} and {} is {format}: give their parts one format",
                        graph.name,
                        named(other),
                        named(weight.id)
                    ),
                });
            }
            _ => found = Some((weight.id, format)),
        }
    }
    Ok(found.map_or(WeightFormat::F32, |(_, format)| format))
}

fn element_of(format: WeightFormat) -> Element {
    match format {
        WeightFormat::F16 => Element::F16,
        WeightFormat::Bf16 => Element::Bf16,
        _ => Element::F32,
    }
}
