//! What the parts of a network are computed in and their weights stored as, and which GPUs have that.
//!
//! Written as for other engines (`language=int4,vision=f16,head=f16,kv=f16`). Products whose weights are of fewer than 16 bits are
//! computed in the type of the other parts of their graph, or in f16 if there is none. Of fewer bits are the matrices of products alone:
//! not those whose rows are also taken as a table, nor convolutions, nor matrices whose rows are not made of whole blocks.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::layers::Element;
use super::shim::Target;
use crate::backend::format::{asked, listed};
use crate::backend::{ActivationScales, BackendError, CACHE_PART, FormatError, parts};
use crate::graph::{Graph, Network, Op, Purpose, WeightUse};

/// How numbers are stored, from the finest to the coarsest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "`quantize` and `Element` say it")]
pub enum Precision {
    F32,
    F16,
    Bf16,
    Int8,
    Fp8,
    Int4,
    Nvfp4,
}

impl Precision {
    /// All, from the finest to the coarsest.
    pub const ALL: [Precision; 7] = [
        Precision::F32,
        Precision::F16,
        Precision::Bf16,
        Precision::Int8,
        Precision::Fp8,
        Precision::Int4,
        Precision::Nvfp4,
    ];

    /// As the command line and manifests name it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
            Precision::Fp8 => "fp8",
            Precision::Int4 => "int4",
            Precision::Nvfp4 => "nvfp4",
        }
    }

    /// What is computed in it; none for what only stands for other numbers.
    pub fn computes(self) -> Option<Element> {
        match self {
            Precision::F32 => Some(Element::F32),
            Precision::F16 => Some(Element::F16),
            Precision::Bf16 => Some(Element::Bf16),
            Precision::Int8 | Precision::Fp8 | Precision::Int4 | Precision::Nvfp4 => None,
        }
    }

    /// The type of a weight's elements.
    pub fn element(self) -> Element {
        match self {
            Precision::F32 => Element::F32,
            Precision::F16 => Element::F16,
            Precision::Bf16 => Element::Bf16,
            Precision::Int8 => Element::I8,
            Precision::Fp8 => Element::Fp8,
            Precision::Int4 => Element::I4,
            Precision::Nvfp4 => Element::Fp4,
        }
    }

    /// The first compute capability that has it, as 89 for 8.9.
    pub fn capability_min(self) -> i32 {
        match self {
            Precision::F32 | Precision::F16 | Precision::Int8 | Precision::Int4 => 75,
            Precision::Bf16 => 80,
            Precision::Fp8 => 89,
            Precision::Nvfp4 => 100,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let found = Precision::ALL.into_iter().find(|precision| precision.name() == text);
        found.ok_or_else(|| FormatError::Unknown { found: text.to_owned(), known: listed(Precision::ALL) })
    }
}

/// What is asked for: one precision for all parts, another for some; f16 for what is not named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrecisionChoice {
    rest: Option<Precision>,
    parts: Vec<(String, Precision)>,
}

impl From<Precision> for PrecisionChoice {
    fn from(rest: Precision) -> Self {
        PrecisionChoice { rest: Some(rest), parts: Vec::new() }
    }
}

impl FromStr for PrecisionChoice {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let (rest, parts) = asked(text)?;
        Ok(PrecisionChoice { rest, parts })
    }
}

/// How attention over a cache is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheForm {
    /// By operations that every TensorRT has, over rows of tokens that whoever runs the plan has put there.
    #[default]
    Tokens,
    /// By TensorRT's own attention and update of a cache, `[groups, rows, dim]`, in place: TensorRT 11, TensorRT-RTX 1.5.
    Heads,
}

/// How one graph is lowered.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What is computed in.
    pub compute: Element,
    /// By weight: what it is stored as if not in that type.
    pub stored: Vec<Option<Precision>>,
    /// What activations are scaled by; without, only weights are of fewer bits.
    pub scales: Option<Arc<ActivationScales>>,
    /// How attention over caches is written, for all graphs of a network alike.
    pub caches: CacheForm,
}

impl From<Element> for Rules {
    /// Everything in one type.
    fn from(compute: Element) -> Self {
        Rules { compute, stored: Vec::new(), scales: None, caches: CacheForm::default() }
    }
}

/// The precision of each part of a network, in the order in which they are declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartPrecisions(Vec<PartPrecision>);

/// The precision of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartPrecision {
    /// The part.
    pub part: String,
    /// What its matrices are stored as; of `kv`, its caches.
    pub precision: Precision,
}

impl PrecisionChoice {
    /// The precision of each part of a network.
    ///
    /// # Errors
    /// If the network has no such part, or caches are to be of fewer than 16 bits.
    pub fn of_parts(&self, network: &Network) -> Result<PartPrecisions, FormatError> {
        let parts = parts(network);
        if let Some((found, _)) = self.parts.iter().find(|(name, _)| !parts.contains(&name.as_str())) {
            let known = if parts.is_empty() { "none".to_owned() } else { listed(parts) };
            return Err(FormatError::Part { found: found.clone(), known });
        }
        let named = |part: &str| self.parts.iter().find(|(name, _)| name == part).map(|(_, p)| *p);
        let mut precisions = PartPrecisions(Vec::new());
        for part in parts {
            let precision = match named(part) {
                Some(coarse) if part == CACHE_PART && coarse.computes().is_none() => {
                    return Err(FormatError::CacheOf(coarse.name().to_owned()));
                }
                Some(precision) => precision,
                // They stand last, and are what their graphs are computed in.
                None if part == CACHE_PART => precisions.of_caches(network),
                None => self.rest.unwrap_or(Precision::F16),
            };
            precisions.0.push(PartPrecision { part: part.to_owned(), precision });
        }
        Ok(precisions)
    }
}

impl PartPrecisions {
    /// Each part and its precision.
    pub fn list(&self) -> &[PartPrecision] {
        &self.0
    }

    /// Whether GPUs have every precision; of the machine's own, TensorRT says it.
    ///
    /// # Errors
    /// Which part has one that a GPU lacks.
    pub fn check_target(&self, target: &Target) -> Result<(), BackendError> {
        let Target::Capabilities(capabilities) = target else { return Ok(()) };
        for PartPrecision { part, precision } in &self.0 {
            if let Some(lacking) = capabilities.iter().find(|c| **c < precision.capability_min()) {
                return Err(BackendError::Unsupported {
                    why: format!(
                        "part `{part}` is to be {precision}, which compute capability {} and later have and {} lacks; \
                         ask for another, as `--precision {part}=f16`",
                        capability(precision.capability_min()),
                        capability(*lacking)
                    ),
                });
            }
        }
        Ok(())
    }

    /// How each graph of a network is lowered.
    ///
    /// # Errors
    /// If parts of one graph, or of two that have a cache in common, are to be computed in two types.
    pub fn rules(
        &self,
        network: &Network,
        scales: Option<&Arc<ActivationScales>>,
        caches: CacheForm,
    ) -> Result<Vec<Rules>, BackendError> {
        let of_part = |part: &str| self.0.iter().find(|p| p.part == part).map(|p| p.precision);
        let takes = products_alone(network);
        let stored: Vec<Option<Precision>> = network
            .weights
            .iter()
            .zip(takes)
            .map(|(weight, takes)| {
                let coarse = of_part(&weight.part).filter(|p| takes && p.computes().is_none())?;
                (coarse == Precision::Fp8 || coarse.block_len(weight.shape[1]).is_some()).then_some(coarse)
            })
            .collect();
        let mut rules = Vec::new();
        for graph in &network.graphs {
            let compute = self.compute(network, graph)?;
            rules.push(Rules { compute, stored: stored.clone(), scales: scales.cloned(), caches });
        }
        check_caches(network, &rules)?;
        Ok(rules)
    }

    /// What the first graph with a cache of keys and values is computed in.
    fn of_caches(&self, network: &Network) -> Precision {
        let has_caches = |graph: &&Graph| graph.nodes.iter().any(|node| node.op.writes().next().is_some());
        let graph = network.graphs.iter().find(has_caches);
        let element = graph.and_then(|graph| self.compute(network, graph).ok());
        let found = Precision::ALL.into_iter().find(|p| element.is_some() && p.computes() == element);
        found.unwrap_or(Precision::F16)
    }

    /// What a graph is computed in.
    fn compute(&self, network: &Network, graph: &Graph) -> Result<Element, BackendError> {
        let mut found: Vec<(&str, Element)> = Vec::new();
        for PartPrecision { part, precision } in &self.0 {
            let Some(element) = precision.computes() else { continue };
            let touches = graph.nodes.iter().map(|node| node.op.touches());
            let mut of_graph = touches.flat_map(|touches| {
                let weights: Vec<&str> =
                    touches.weights.iter().map(|w| &*network.weights[w.id.index()].part).collect();
                let caches = touches.buffers.iter().filter(|b| b.is_written).map(|_| CACHE_PART);
                weights.into_iter().chain(caches).collect::<Vec<_>>()
            });
            if of_graph.any(|name| name == part) {
                found.push((part, element));
            }
        }
        match found.iter().find(|(_, element)| *element != found[0].1) {
            None => Ok(found.first().map_or(Element::F16, |(_, element)| *element)),
            Some((part, element)) => Err(BackendError::Unsupported {
                why: format!(
                    "graph `{}` is to be computed in {:?} by part `{}` and in {element:?} by part `{part}`; name one type for both",
                    graph.name, found[0].1, found[0].0
                ),
            }),
        }
    }
}

impl fmt::Display for PartPrecisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, PartPrecision { part, precision }) in self.0.iter().enumerate() {
            write!(f, "{}{part}={precision}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// By weight: whether products take it, and nothing else does.
fn products_alone(network: &Network) -> Vec<bool> {
    let (mut products, mut others) = (vec![false; network.weights.len()], vec![false; network.weights.len()]);
    for node in network.graphs.iter().flat_map(|graph| &graph.nodes) {
        for weight in node.op.touches().weights {
            let is_product = matches!(node.op, Op::Linear { .. }) && weight.usage == WeightUse::Matrix;
            let seen = if is_product { &mut products } else { &mut others };
            seen[weight.id.index()] = true;
        }
    }
    products.into_iter().zip(others).map(|(product, other)| product && !other).collect()
}

/// A cache that two graphs have in common is in one type.
fn check_caches(network: &Network, rules: &[Rules]) -> Result<(), BackendError> {
    for (i, buffer) in network.buffers.iter().enumerate().filter(|(_, b)| b.purpose == Purpose::Cache) {
        let touching = network.graphs.iter().zip(rules).filter(|(graph, _)| {
            let by_ops = graph.nodes.iter().flat_map(|node| node.op.touches().buffers).map(|b| b.id);
            by_ops.chain(graph.writes.iter().map(|w| w.buffer)).any(|id| id.index() == i)
        });
        let all: Vec<_> = touching.map(|(graph, rules)| (&graph.name, rules.compute)).collect();
        if let Some((graph, element)) = all.iter().find(|(_, element)| *element != all[0].1) {
            return Err(BackendError::Unsupported {
                why: format!(
                    "graph `{}` is computed in {:?} and graph `{graph}` in {element:?}, but cache `{}` is of both; name one type",
                    all[0].0, all[0].1, buffer.name
                ),
            });
        }
    }
    Ok(())
}

/// 89 as `8.9`.
fn capability(of: i32) -> String {
    format!("{}.{}", of / 10, of % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphBuilder;
    use crate::tensor::DType;

    /// A table whose rows are taken and multiplied by, two matrices, one of which has rows that no block fits, and a cache.
    fn network() -> Network {
        let mut network = Network::default();
        let ids = network.declare_buffer("ids", DType::I32, &[4], Purpose::Input);
        let y = network.declare_buffer("y", DType::F32, &[4, 9], Purpose::Output);
        let table = network.declare_weight("language", "table", DType::F16, &[9, 64]);
        let whole = network.declare_weight("language", "whole", DType::F16, &[24, 64]);
        let odd = network.declare_weight("head", "odd", DType::F16, &[64, 24]);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let ids = graph.read(ids, 4);
        let rows = graph.add(Op::Embedding { weight: table }, &[ids]);
        let rows = graph.linear(rows, whole, None);
        let rows = graph.linear(rows, odd, None);
        let rows = graph.linear(rows, table, None);
        graph.write(y, rows);
        graph.finish();
        network
    }

    fn rules(text: &str) -> Result<Rules, String> {
        let parts = text.parse::<PrecisionChoice>().and_then(|choice| choice.of_parts(&network()));
        let parts = parts.map_err(|why| why.to_string())?;
        let rules = parts.rules(&network(), None, CacheForm::Tokens).map_err(|why| why.to_string())?;
        Ok(rules[0].clone())
    }

    #[test]
    fn matrices_of_products_alone_are_of_fewer_bits() {
        use Precision::{Fp8, Int4, Int8};
        for (text, compute, stored) in [
            ("f32", Element::F32, [None; 3]),
            ("language=int4,head=bf16", Element::Bf16, [None, Some(Int4), None]),
            ("int4", Element::F16, [None, Some(Int4), None]),
            ("int8", Element::F16, [None, Some(Int8), Some(Int8)]),
            ("fp8,head=f16", Element::F16, [None, Some(Fp8), None]),
        ] {
            let rules = rules(text).unwrap();
            assert_eq!((rules.compute, &rules.stored[..]), (compute, &stored[..]), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        for (text, words) in [
            ("int5", &["`int5`", "nvfp4"][..]),
            ("sight=f16", &["`sight`", "language and head"]),
            ("language=f16,head=bf16", &["`main`", "F16", "`language`", "Bf16", "`head`"]),
            ("f16,f16", &["the rest", "two formats"]),
        ] {
            let why = rules(text).unwrap_err();
            assert!(words.iter().all(|word| why.contains(word)), "{text}: {why}");
        }
        let parts = |text: &str| text.parse::<PrecisionChoice>().unwrap().of_parts(&network()).unwrap();
        let on = |text: &str, gpu: i32| {
            parts(text).check_target(&Target::Capabilities(vec![gpu])).map_err(|why| why.to_string())
        };
        for (text, gpu, lacks) in [("head=fp8", 86, "8.6"), ("language=nvfp4", 89, "8.9")] {
            let why = on(text, gpu).unwrap_err();
            assert!(why.contains(lacks) && why.contains(text.split_once('=').unwrap().1), "{why}");
        }
        assert_eq!(on("head=fp8", 89), Ok(()));
        assert_eq!(on("language=nvfp4,head=int4", 120), Ok(()));
        assert_eq!(parts("int4,head=f16").to_string(), "language=int4,head=f16");
    }
}
