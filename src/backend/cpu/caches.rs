//! Caches of keys and values that are kept in bfloat16: half the memory, and half of what a token reads of them.
//!
//! Two elements share a word of the session's memory. Only attention reads them, and only what appends to them writes them; a
//! session that is asked for rows widens them, or rounds them.
//!
//! Why not binary16, whose numbers are finer: values beyond its range would become infinite, and nothing here knows their range.

use crate::backend::WeightFormat;
use crate::graph::{Network, Purpose};

/// What caches may be kept in; the first where nothing is asked for.
pub(super) const FORMATS: &[WeightFormat] = &[WeightFormat::F32, WeightFormat::Bf16];

/// For each buffer of a network whether it is kept in bfloat16, when its caches of keys and values are kept in a format.
///
/// # Errors
/// If a cache cannot be kept so, or none can.
pub(super) fn narrow(network: &Network, caches: Option<WeightFormat>) -> Result<Vec<bool>, String> {
    let mut narrow = vec![false; network.buffers.len()];
    match caches.unwrap_or(WeightFormat::F32) {
        WeightFormat::F32 => return Ok(narrow),
        WeightFormat::Bf16 => {}
        other => return Err(format!("this backend keeps no caches in {other}")),
    }
    let mut read = vec![false; network.buffers.len()];
    for graph in &network.graphs {
        for touched in graph.nodes.iter().flat_map(|node| node.op.touches().buffers) {
            let of = if touched.is_written { &mut narrow } else { &mut read };
            of[touched.id.index()] = true;
        }
        graph.writes.iter().for_each(|write| read[write.buffer.index()] = true);
    }
    for (i, buffer) in network.buffers.iter().enumerate().filter(|(i, _)| narrow[*i]) {
        let is_between = matches!(buffer.purpose, Purpose::Cache | Purpose::Features);
        let why = match buffer.row_len() {
            odd if !odd.is_multiple_of(2) => {
                format!("its rows are of {odd} elements, expected an even number")
            }
            _ if read[i] || !is_between => "not attention alone reads it".to_owned(),
            _ => continue,
        };
        return Err(format!("cache `{}` cannot be kept in bf16: {why}; leave `kv` in f32", buffer.name));
    }
    Ok(narrow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, Op};
    use crate::tensor::DType;

    /// Attention over two caches with heads so long; it is also looked at, or not.
    fn network(dim: usize, is_read: bool) -> Network {
        let mut network = Network::default();
        let declare = |network: &mut Network, name: &str, purpose| {
            network.declare_buffer(name, DType::F32, &[4, 1, dim], purpose)
        };
        let x = declare(&mut network, "x", Purpose::Input);
        let [key_cache, value_cache] = ["k", "v"].map(|name| declare(&mut network, name, Purpose::Cache));
        let y = declare(&mut network, "y", Purpose::Output);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let past = graph.dim("past", 0, 3, 1);
        let x = graph.read(x, 1);
        let attention = Op::CachedAttention { key_cache, value_cache, past, scale: 1.0 };
        let value = graph.add(attention, &[x, x, x]);
        let value = if is_read { graph.read(value_cache, 1) } else { value };
        graph.write(y, value);
        graph.finish();
        network
    }

    #[test]
    fn caches_that_attention_alone_reads_can_be_narrow() {
        let of = |network: &Network, caches| narrow(network, caches);
        assert_eq!(of(&network(6, false), None), Ok(vec![false; 4]));
        assert_eq!(of(&network(6, true), Some(WeightFormat::F32)), Ok(vec![false; 4]));
        assert_eq!(of(&network(6, false), Some(WeightFormat::Bf16)), Ok(vec![false, true, true, false]));
        for (network, caches, word) in [
            (network(5, false), WeightFormat::Bf16, "cache `k` cannot be kept in bf16: its rows are of 5"),
            (network(6, true), WeightFormat::Bf16, "cache `v` cannot be kept in bf16: not attention alone"),
            (network(6, false), WeightFormat::Int8, "no caches in int8"),
        ] {
            let why = of(&network, Some(caches)).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
