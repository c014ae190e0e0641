//! A network lowered whole: each graph in the type that `precision` says, and what its graphs share in one type.

use super::layers::{Element, Output};
use super::lower::{Lowered, Sink, Source, lower};
use super::precision::{CacheForm, rules};
use crate::backend::{BackendError, Stored, WeightFormat};
use crate::graph::{BufferId, Network};
use crate::tensor::DType;

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
    /// Lowers a verified network, whose weights are so stored.
    ///
    /// # Errors
    /// If a graph cannot be lowered, mixes types, or shares a cache with one of another type.
    pub(super) fn new(network: &Network, stored: &Stored) -> Result<Whole, BackendError> {
        let declared = |dtype| if dtype == DType::I32 { Element::I32 } else { Element::F32 };
        let mut kept: Vec<(Element, Option<&str>)> =
            network.buffers.iter().map(|b| (declared(b.dtype), None)).collect();
        let rules = rules(network, stored, CacheForm::Tokens)?;
        let mut graphs = Vec::with_capacity(network.graphs.len());
        let mut arithmetic = WeightFormat::F32;
        for (graph, rules) in network.graphs.iter().zip(rules) {
            let lowered = lower(network, graph, rules)?;
            let format = WeightFormat::ALL.into_iter().find(|f| f.computes() == Some(lowered.compute));
            arithmetic = arithmetic.max(format.expect("it was made of one"));
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
