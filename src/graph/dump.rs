//! A network as text that a person can read: `--dump`.
//!
//! One line a thing: limits, weights, buffers, and for each graph its extents, its nodes with what they read and the shape
//! they yield, and its writes. Parameters of an op stand behind its name as they are serialised.

use std::fmt::{self, Display, Formatter, Write as _};

use serde_json::Value;

use super::{Dim, Graph, LimitedBy, Network, Node, Touches};

/// Longest list of numbers that is shown whole.
const LIST_MAX: usize = 6;

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let weight_bytes: u128 = self
            .weights
            .iter()
            .map(|w| w.shape.iter().map(|n| *n as u128).product::<u128>() * w.dtype.size_bytes() as u128)
            .sum();
        writeln!(f, "limits")?;
        for limit in &self.limits {
            writeln!(f, "  {} = {}", limit.name, limit.value)?;
        }
        writeln!(f, "weights ({}, {weight_bytes} bytes)", self.weights.len())?;
        for weight in &self.weights {
            writeln!(f, "  {} {}{:?}", weight.name, weight.dtype, weight.shape)?;
        }
        writeln!(f, "buffers")?;
        for buffer in &self.buffers {
            let purpose = serde_json::to_value(buffer.purpose).unwrap_or_default();
            let purpose = purpose.as_str().unwrap_or_default();
            write!(f, "  {} {}{:?} {purpose}", buffer.name, buffer.dtype, buffer.shape)?;
            if let Some(limited) = buffer.rows_limit {
                write!(f, ", rows {}", self.limited(limited))?;
            }
            writeln!(f)?;
        }
        self.graphs.iter().try_for_each(|graph| self.dump_graph(graph, f))
    }
}

impl Network {
    fn dump_graph(&self, graph: &Graph, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {}", graph.name)?;
        for dim in &graph.dims {
            write!(f, "  {} in {}..={}", dim.name, dim.min, dim.max)?;
            if dim.multiple_of != 1 {
                write!(f, ", a multiple of {}", dim.multiple_of)?;
            }
            if let Some(limited) = dim.max_limit {
                write!(f, ", at most {}", self.limited(limited))?;
            }
            writeln!(f)?;
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            writeln!(f, "  %{i} = {}", self.node(graph, node))?;
        }
        for write in &graph.writes {
            let buffer = self.buffers.get(write.buffer.index()).map_or("?", |b| &b.name);
            writeln!(f, "  {buffer} <- %{}", write.value.0)?;
        }
        Ok(())
    }

    fn node(&self, graph: &Graph, node: &Node) -> String {
        let mut line = node.op.name().to_owned();
        for input in &node.inputs {
            let _ = write!(line, " %{}", input.0);
        }
        if let Ok(Value::Object(parameters)) = serde_json::to_value(&node.op) {
            let touches = node.op.touches();
            // The new shape is the node's own, which stands at the end.
            for (key, value) in parameters.iter().filter(|(k, v)| *k != "op" && *k != "shape" && !v.is_null())
            {
                let _ = write!(line, " {key}={}", self.parameter(graph, &touches, key, value));
            }
        }
        let shape: Vec<String> = node.shape.iter().map(|d| graph.dim_text(*d)).collect();
        let _ = write!(line, " : {}[{}]", node.dtype, shape.join(", "));
        line
    }

    /// A parameter as text: ids of weights, buffers and extents by their names.
    fn parameter(&self, graph: &Graph, touches: &Touches, key: &str, value: &Value) -> String {
        let weight = touches.weights.iter().find(|w| w.field == key);
        let weight = weight.and_then(|w| self.weights.get(w.id.index())).map(|w| w.name.clone());
        let buffer = touches.buffers.iter().find(|b| b.field == key);
        let buffer = buffer.and_then(|b| self.buffers.get(b.id.index())).map(|b| b.name.clone());
        let extent = touches.extents.iter().find(|(field, _)| *field == key).map(|(_, d)| graph.dim_text(*d));
        weight.or(buffer).or(extent).unwrap_or_else(|| match value {
            Value::String(text) => text.clone(),
            Value::Array(list) if LIST_MAX < list.len() => {
                let shown: Vec<String> = list[..LIST_MAX - 1].iter().map(Value::to_string).collect();
                format!("[{}, … {} in all]", shown.join(","), list.len())
            }
            other => other.to_string(),
        })
    }

    fn limited(&self, by: LimitedBy) -> String {
        let mut text = self.limits.get(usize::from(by.limit)).map_or("?".into(), |l| l.name.clone());
        if by.mul != 1 {
            let _ = write!(text, " * {}", by.mul);
        }
        match by.cap {
            Some(cap) => format!("min({text}, {cap})"),
            None => text,
        }
    }
}

impl Graph {
    /// An extent as text: a number, or its name with what is done to it.
    pub fn dim_text(&self, dim: Dim) -> String {
        let Dim::Scaled { symbol, mul, div, add } = dim else {
            return dim.value(&[]).to_string();
        };
        let mut text = self.dims.get(usize::from(symbol.0)).map_or("?".into(), |d| d.name.clone());
        for (sign, n, neutral) in [("*", mul, 1), ("/", div, 1), ("+", add, 0)] {
            if n != neutral {
                let _ = write!(text, "{sign}{n}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GraphBuilder, Op, Purpose};
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn names_stand_where_indices_were() {
        let mut network = Network::default();
        let rows = network.declare_limit("context", 8);
        let x = network.declare_limited_buffer("x", DType::F32, rows, &[4], Purpose::Input);
        let weight = network.declare_weight("main", "layer.weight", DType::Bf16, &[3, 4]);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let n = graph.limited_dim("n", 2, rows, 2);
        let value = graph.read(x, n);
        let value = graph.linear(value, weight, None);
        graph.add(Op::Slice { axis: 0, start: 0.into(), len: Dim::of(n).over(2) }, &[value]);
        graph.finish();
        let expected = "\
limits
  context = 8
weights (1, 24 bytes)
  layer.weight bf16[3, 4]
buffers
  x f32[8, 4] input, rows context
graph main
  n in 2..=8, a multiple of 2, at most context
  %0 = read buffer=x : f32[n, 4]
  %1 = linear %0 weight=layer.weight : f32[n, 3]
  %2 = slice %1 axis=0 start=0 len=n/2 : f32[n/2, 3]
";
        assert_eq!(network.to_string(), expected);
    }

    #[test]
    fn long_lists_are_cut_and_limits_show_how_they_are_followed() {
        let mut network = Network::default();
        let rows = network.declare_limit("rows", 8);
        let capped = LimitedBy { mul: 2, cap: Some(12), ..rows };
        let x = network.declare_limited_buffer("x", DType::F32, capped, &[2], Purpose::Input);
        let [k, v] =
            ["k", "v"].map(|name| network.declare_buffer(name, DType::F32, &[9, 1, 4], Purpose::Cache));
        let mut graph = GraphBuilder::new(&mut network, "main");
        let n = graph.limited_dim("n", 1, rows, 1);
        let past = graph.dim("past", 0, 4, 1);
        let positions = graph.read(x, n);
        for n_frequencies in [6, 7] {
            let (axis, inverse_frequency) = (vec![1; n_frequencies], vec![0.5; n_frequencies]);
            graph.add(Op::RotaryTable { axis, inverse_frequency }, &[positions]);
        }
        let tokens = graph.reshape(positions, &[Dim::of(n).over(1), 1.into(), 2.into()]);
        let tokens = graph.add(Op::Concat { axis: 2 }, &[tokens, tokens]);
        let op = Op::CachedAttention { key_cache: k, value_cache: v, past, scale: 1.0 };
        let value = graph.add(op, &[tokens, tokens, tokens]);
        graph.write(v, value);
        // Not finished: a cache may not be written twice. It can be shown all the same.
        let graph = graph.unfinished();
        network.graphs.push(graph);
        let text = network.to_string();
        for expected in [
            "  x f32[12, 2] input, rows min(rows * 2, 12)\n",
            "  n in 1..=8, at most rows\n  past in 0..=4\n",
            "axis=[1,1,1,1,1,1] inverse_frequency=[0.5,0.5,0.5,0.5,0.5,0.5] : f32[n, 12]\n",
            "axis=[1,1,1,1,1, … 7 in all] inverse_frequency=[0.5,0.5,0.5,0.5,0.5, … 7 in all] : f32[n, 14]\n",
            "cached_attention %4 %4 %4 key_cache=k value_cache=v past=past scale=1.0 : f32[n, 1, 4]\n  v <- %5\n",
            "reshape %0 : f32[n, 1, 2]\n",
        ] {
            assert!(text.contains(expected), "{text}\nlacks {expected}");
        }
        network.buffers.clear();
        network.graphs[0].dims.clear();
        let text = network.to_string();
        assert!(
            text.contains("key_cache=1") && text.contains("f32[?, 1, 4]") && text.contains("? <- %5"),
            "{text}"
        );
    }
}
