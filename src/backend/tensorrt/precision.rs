//! What the formats of a network's weights mean for its plans: what each graph is computed in, which weights are of fewer than 16 bits, and
//! which GPUs have that. `build` and the look ahead (`compile`) follow the same rules.
//!
//! A graph is computed in the one format of its matrices and tables that stands for itself; where all of them stand for others by scales, in
//! what caches of keys and values are kept in ([`Stored::narrow_in`]). Of fewer than 16 bits are the matrices of products alone: not those
//! whose rows are also taken as a table, nor convolutions, nor matrices whose rows are not made of whole blocks.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::layers::Element;
use super::shim::Target;
use crate::backend::parts::formatted;
use crate::backend::{
    ActivationScales, BackendError, CACHE_PART, CacheFormat, Scales, Stored, Storing, WeightFormat,
};
use crate::graph::{Graph, Network, Op, Purpose, WeightId, WeightUse};

/// How plans have numbers: values and scales of fewer bits by themselves, caches in what is computed in.
pub const STORING: Storing =
    Storing { formats: &WeightFormat::ALL, scales: Scales::Apart, caches: CacheFormat::OfWeights };

/// Of TensorRT's.
impl WeightFormat {
    /// What is computed in it; none for what only stands for other numbers.
    pub fn computes(self) -> Option<Element> {
        Some(self.element()).filter(|element| element.is_float())
    }

    /// The type of a weight's elements.
    pub fn element(self) -> Element {
        match self {
            WeightFormat::F32 => Element::F32,
            WeightFormat::F16 => Element::F16,
            WeightFormat::Bf16 => Element::Bf16,
            WeightFormat::Int8 => Element::I8,
            WeightFormat::Fp8 => Element::Fp8,
            WeightFormat::Int4 => Element::I4,
            WeightFormat::Nvfp4 => Element::Fp4,
        }
    }

    /// The first compute capability that has it, as 89 for 8.9.
    pub fn capability_min(self) -> i32 {
        match self {
            WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Int8 | WeightFormat::Int4 => 75,
            WeightFormat::Bf16 => 80,
            WeightFormat::Fp8 => 89,
            WeightFormat::Nvfp4 => 100,
        }
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
    pub stored: Vec<Option<WeightFormat>>,
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

/// How each graph of a network is lowered whose weights are so stored.
///
/// # Errors
/// If one graph, or two that have a cache in common, would be computed in two types.
pub fn rules(network: &Network, stored: &Stored, caches: CacheForm) -> Result<Vec<Rules>, BackendError> {
    let narrow = narrow(network, &stored.formats);
    let of_graph = |graph: &Graph| {
        let compute = computed_in(network, graph, stored)?;
        let compute = compute.computes().expect("a format that stands for itself");
        let scales = stored.scales.clone();
        Ok::<_, BackendError>(Rules { compute, stored: narrow.clone(), scales, caches })
    };
    let rules = network.graphs.iter().map(of_graph).collect::<Result<Vec<_>, _>>()?;
    check_caches(network, &rules)?;
    Ok(rules)
}

/// By weight: its format if it is of fewer than 16 bits in plans.
pub(super) fn narrow(network: &Network, formats: &[WeightFormat]) -> Vec<Option<WeightFormat>> {
    let of_weight = |((weight, format), takes): ((&crate::graph::Weight, &WeightFormat), bool)| {
        let format = Some(*format).filter(|format| takes && !format.is_float())?;
        (format == WeightFormat::Fp8 || format.block_len(weight.shape[1]).is_some()).then_some(format)
    };
    network.weights.iter().zip(formats).zip(products_alone(network)).map(of_weight).collect()
}

/// What a graph is computed in; f32 if it has no matrices.
fn computed_in(network: &Network, graph: &Graph, stored: &Stored) -> Result<WeightFormat, BackendError> {
    let mut found: Option<(WeightId, WeightFormat)> = None;
    let mut has_any = false;
    for id in formatted(graph) {
        has_any = true;
        let format = stored.formats[id.index()];
        match found {
            _ if !format.is_float() => {}
            Some((other, known)) if known != format => {
                let named = |id: WeightId| {
                    let weight = &network.weights[id.index()];
                    format!("`{}` of part `{}`", weight.name, weight.part)
                };
                return Err(BackendError::Unsupported {
                    why: format!(
                        "graph `{}` computes in one type, but its weight {} is {known} and {} is {format}: give their parts one format",
                        graph.name,
                        named(other),
                        named(id)
                    ),
                });
            }
            Some(_) => {}
            None => found = Some((id, format)),
        }
    }
    let otherwise = if has_any { stored.narrow_in() } else { WeightFormat::F32 };
    Ok(found.map_or(otherwise, |(_, format)| format))
}

/// Whether GPUs have every format, and plans of them are made for as many at once; of the machine's own GPU, TensorRT says it.
///
/// # Errors
/// Which part has a format that is not to be had, and what may be asked for instead.
pub fn check_target(network: &Network, stored: &Stored, target: &Target) -> Result<(), BackendError> {
    let Target::Capabilities(capabilities) = target else { return Ok(()) };
    let in_parts = network.weights.iter().zip(&stored.formats).map(|(w, format)| (&w.part[..], *format));
    // Graphs whose weights are all of fewer bits compute in what their caches are kept in.
    let computing = network.graphs.iter().filter_map(|graph| computed_in(network, graph, stored).ok());
    for (part, format) in in_parts.clone().chain(computing.map(|format| (CACHE_PART, format))) {
        if let Some(lacking) = capabilities.iter().find(|c| **c < format.capability_min()) {
            return Err(BackendError::Unsupported {
                why: format!(
                    "part `{part}` is to be {format}, which compute capability {} and later have and {} lacks; \
                     ask for another, as `--precision {part}=f16`",
                    capability(format.capability_min()),
                    capability(*lacking)
                ),
            });
        }
    }
    let narrow = narrow(network, &stored.formats);
    match in_parts.zip(narrow).find(|(_, narrow)| narrow.is_some()) {
        Some(((part, format), _)) if 1 < capabilities.len() => Err(BackendError::Unsupported {
            why: format!(
                "part `{part}` is to be {format}, and TensorRT-RTX 1.7 makes no plan for several GPUs at once that waits for such weights; \
                 name one of {} as the target",
                capabilities.iter().map(|c| format!("sm{c}")).collect::<Vec<_>>().join(", ")
            ),
        }),
        _ => Ok(()),
    }
}

/// By weight: whether products take it, and nothing else does.
pub fn products_alone(network: &Network) -> Vec<bool> {
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
                    "graph `{}` is computed in {:?} and graph `{graph}` in {element:?}, but cache `{}` is of both: give their parts one \
                     format",
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
    use crate::backend::FormatChoice;
    use crate::graph::GraphBuilder;
    use crate::tensor::DType;

    /// A table whose rows are taken and multiplied by, two matrices, one of which has rows that no block fits.
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

    /// Three matrices of which only products are made.
    fn network_of_products() -> Network {
        let mut network = Network::default();
        let x = network.declare_buffer("x", DType::F32, &[4, 64], Purpose::Input);
        let y = network.declare_buffer("y", DType::F32, &[4, 64], Purpose::Output);
        let weights =
            ["a", "b", "c"].map(|name| network.declare_weight("language", name, DType::F16, &[64, 64]));
        let mut graph = GraphBuilder::new(&mut network, "main");
        let mut rows = graph.read(x, 4);
        for weight in weights {
            rows = graph.linear(rows, weight, None);
        }
        graph.write(y, rows);
        graph.finish();
        network
    }

    fn stored(text: &str) -> Stored {
        let parts = text.parse::<FormatChoice>().unwrap().of_parts(&network(), &STORING).unwrap();
        Stored::new(&parts, &network(), None).unwrap()
    }

    #[test]
    fn matrices_of_products_alone_are_of_fewer_bits() {
        use WeightFormat::{Fp8, Int4, Int8};
        for (text, compute, narrow) in [
            ("f32", Element::F32, [None; 3]),
            ("language=int4,head=bf16", Element::Bf16, [None, Some(Int4), None]),
            ("int4", Element::F16, [None, Some(Int4), None]),
            ("int8", Element::F16, [None, Some(Int8), Some(Int8)]),
            ("fp8,head=f16", Element::F16, [None, Some(Fp8), None]),
        ] {
            let rules = rules(&network(), &stored(text), CacheForm::Tokens).unwrap();
            assert_eq!((rules[0].compute, &rules[0].stored[..]), (compute, &narrow[..]), "{text}");
        }
        let mixed = rules(&network(), &stored("language=f16,head=bf16"), CacheForm::Tokens);
        let why = mixed.unwrap_err().to_string();
        for word in ["`main`", "`table` of part `language` is f16", "`odd` of part `head` is bf16"] {
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn what_gpus_lack_is_refused_by_name() {
        let on = |text: &str, gpus: &[i32]| {
            let target = Target::Capabilities(gpus.into());
            check_target(&network(), &stored(text), &target).map_err(|why| why.to_string())
        };
        for (text, gpus, words) in [
            ("head=fp8", &[86][..], ["`head`", "fp8", "8.6"]),
            ("language=nvfp4", &[120, 89], ["`language`", "nvfp4", "8.9"]),
            ("language=int4", &[86, 89], ["`language`", "several GPUs at once", "sm86, sm89"]),
        ] {
            let why = on(text, gpus).unwrap_err();
            assert!(words.iter().all(|word| why.contains(word)), "{text}: {why}");
        }
        let kept_in = Stored { caches: Some(WeightFormat::Bf16), ..stored("int8") };
        let on_turing =
            |stored: &Stored| check_target(&network_of_products(), stored, &Target::Capabilities(vec![75]));
        let why = on_turing(&kept_in).unwrap_err().to_string();
        assert!(["`kv`", "bf16", "8.0", "7.5"].iter().all(|word| why.contains(word)), "{why}");
        assert!(on_turing(&Stored { caches: Some(WeightFormat::F16), ..kept_in }).is_ok());
        assert_eq!(on("head=fp8", &[89]), Ok(()));
        assert_eq!(on("language=nvfp4,head=int4", &[120]), Ok(()));
        assert_eq!(on("f16", &[86, 89, 120]), Ok(()));
    }
}
