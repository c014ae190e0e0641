//! What an op touches besides the values that it takes and the one that it yields: weights, buffers and named extents.
//!
//! Said once, in the one `match` below that has no `_`: whoever only wants to know that (the verifier, the dump, what is alive, what
//! is packed) asks here, so that a new op cannot be forgotten by any of them.

use super::{BufferId, Dim, Graph, Op, Symbol, WeightId};

/// How an op reads a weight: what a backend must know to store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightUse {
    /// A matrix of products: rows of outputs, each of all inputs (of a convolution: of all taps).
    Matrix,
    /// A table of which rows are taken by id.
    Table,
    /// Its elements, as they stand.
    Elements,
}

/// One weight of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchedWeight {
    /// Which.
    pub id: WeightId,
    /// How.
    pub usage: WeightUse,
    /// The op's field that names it, as serialised.
    pub field: &'static str,
}

/// One buffer of an op, of which it touches as many rows as its value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchedBuffer {
    /// Which.
    pub id: BufferId,
    /// Whether rows of it are read.
    pub is_read: bool,
    /// Whether rows of it are written in place, before the graph's own writes.
    pub is_written: bool,
    /// The named extent whose value is the first of those rows; none where it is the run's window.
    pub begins_at: Option<Symbol>,
    /// The op's field that names it, as serialised.
    pub field: &'static str,
}

/// Everything that an op touches, in the order of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// Weights, all of them read.
    pub weights: Vec<TouchedWeight>,
    /// Buffers.
    pub buffers: Vec<TouchedBuffer>,
    /// Extents, by the field that names them.
    pub extents: Vec<(&'static str, Dim)>,
}

impl Touches {
    fn weight(mut self, field: &'static str, id: impl Into<Option<WeightId>>, usage: WeightUse) -> Self {
        self.weights.extend(id.into().map(|id| TouchedWeight { id, usage, field }));
        self
    }

    fn reads(mut self, field: &'static str, id: BufferId) -> Self {
        self.buffers.push(TouchedBuffer { id, is_read: true, is_written: false, begins_at: None, field });
        self
    }

    fn appends(mut self, field: &'static str, id: BufferId, past: Symbol) -> Self {
        let begins_at = Some(past);
        self.buffers.push(TouchedBuffer { id, is_read: true, is_written: true, begins_at, field });
        self
    }

    fn extent(mut self, field: &'static str, dim: Dim) -> Self {
        self.extents.push((field, dim));
        self
    }
}

impl Op {
    /// Everything that it touches.
    pub fn touches(&self) -> Touches {
        use WeightUse::{Elements, Matrix, Table};
        let none = Touches::default();
        match self {
            Op::Read { buffer } => none.reads("buffer", *buffer),
            Op::Constant { weight } => none.weight("weight", *weight, Elements),
            Op::Linear { weight, bias } | Op::Conv3d { weight, bias, .. } => {
                none.weight("weight", *weight, Matrix).weight("bias", *bias, Elements)
            }
            Op::Embedding { weight } => none.weight("weight", *weight, Table),
            Op::RmsNorm { weight, .. } => none.weight("weight", *weight, Elements),
            Op::LayerNorm { weight, bias, .. } => {
                none.weight("weight", *weight, Elements).weight("bias", *bias, Elements)
            }
            // Its rows are weighed as they are read, which is done on elements.
            Op::InterpolateRows { weight } => none.weight("weight", *weight, Elements),
            Op::CachedAttention { key_cache, value_cache, past, .. } => none
                .appends("key_cache", *key_cache, *past)
                .appends("value_cache", *value_cache, *past)
                .extent("past", Dim::of(*past)),
            Op::Reshape { shape } => shape.iter().fold(none, |t, dim| t.extent("shape", *dim)),
            Op::Slice { start, len, .. } => none.extent("start", *start).extent("len", *len),
            Op::Unary { .. }
            | Op::Binary { .. }
            | Op::Affine { .. }
            | Op::RotaryTable { .. }
            | Op::Rotary { .. }
            | Op::Attention { .. }
            | Op::SelectRows { .. }
            | Op::LastRow
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Upsample { .. }
            | Op::Sinusoid { .. } => none,
        }
    }

    /// The weights that it reads.
    pub fn weights(&self) -> impl Iterator<Item = TouchedWeight> {
        self.touches().weights.into_iter()
    }

    /// The buffers of which it reads rows.
    pub fn reads(&self) -> impl Iterator<Item = BufferId> {
        self.touches().buffers.into_iter().filter(|b| b.is_read).map(|b| b.id)
    }

    /// The buffers of which it writes rows in place.
    pub fn writes(&self) -> impl Iterator<Item = BufferId> {
        self.touches().buffers.into_iter().filter(|b| b.is_written).map(|b| b.id)
    }
}

impl Graph {
    /// The rows of buffers that a run of a verified graph touches, in no order: each buffer with one past the last of them.
    pub fn rows_touched(
        &self,
        extents: &[usize],
        windows: &[(BufferId, usize)],
    ) -> impl Iterator<Item = (BufferId, usize)> {
        let window = |id: BufferId| windows.iter().find(|(b, _)| *b == id).map_or(0, |(_, row)| *row);
        let end = move |id: BufferId, begins_at: Option<Symbol>, shape: &[Dim]| {
            let begin = begins_at.map_or_else(|| window(id), |symbol| extents[usize::from(symbol.0)]);
            (id, begin.saturating_add(shape.first().map_or(1, |rows| rows.value(extents))))
        };
        let by_nodes = self.nodes.iter().flat_map(move |node| {
            let buffers = node.op.touches().buffers.into_iter();
            buffers.map(move |b| end(b.id, b.begins_at, &node.shape))
        });
        let by_writes = self.writes.iter();
        by_nodes.chain(by_writes.map(move |w| end(w.buffer, None, &self.nodes[w.value.index()].shape)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{GraphBuilder, Network, Purpose};
    use super::*;
    use crate::tensor::DType;

    /// One of every op, whose weights are 900 and up, buffers 800 and up, symbols 700 and up: numbers that stand for nothing else.
    fn one_of_each() -> Vec<Value> {
        let dim = |symbol: u64| json!({"symbol": symbol, "mul": 1, "div": 1, "add": 0});
        vec![
            json!({"op": "read", "buffer": 800}),
            json!({"op": "constant", "weight": 900}),
            json!({"op": "linear", "weight": 900, "bias": 901}),
            json!({"op": "embedding", "weight": 900}),
            json!({"op": "rms_norm", "weight": 900, "eps": 0.5}),
            json!({"op": "layer_norm", "weight": 900, "bias": 901, "eps": 0.5}),
            json!({"op": "unary", "function": "silu"}),
            json!({"op": "binary", "function": "add"}),
            json!({"op": "affine", "mul": 2.0, "add": 0.5}),
            json!({"op": "rotary_table", "axis": [0], "inverse_frequency": [0.5]}),
            json!({"op": "rotary", "style": "pairs"}),
            json!({"op": "attention", "scale": 0.5}),
            json!({"op": "cached_attention", "key_cache": 800, "value_cache": 801, "past": 700, "scale": 0.5}),
            json!({"op": "select_rows", "merge": "add"}),
            json!({"op": "interpolate_rows", "weight": 900}),
            json!({"op": "last_row"}),
            json!({"op": "reshape", "shape": [dim(700), dim(701)]}),
            json!({"op": "transpose", "order": [1, 0]}),
            json!({"op": "concat", "axis": 0}),
            json!({"op": "slice", "axis": 0, "start": dim(700), "len": dim(701)}),
            json!({"op": "conv3d", "weight": 900, "bias": 901, "stride": [1, 1, 1], "padding": [[0, 0], [0, 0], [0, 0]]}),
            json!({"op": "upsample", "factor": [1, 2, 2]}),
            json!({"op": "sinusoid", "frequency": [0.5]}),
        ]
    }

    /// All numbers of 700 and more, by the field of the op below which they stand.
    fn ids(field: &str, value: &Value, found: &mut Vec<(String, u64)>) {
        match value {
            Value::Array(all) => all.iter().for_each(|v| ids(field, v, found)),
            Value::Object(all) => all.values().for_each(|v| ids(field, v, found)),
            other => found.extend(other.as_u64().filter(|n| 700 <= *n).map(|n| (field.to_owned(), n))),
        }
    }

    #[test]
    fn nothing_that_an_op_names_is_left_out() {
        for op in one_of_each() {
            let mut expected = Vec::new();
            for (field, value) in op.as_object().unwrap() {
                ids(field, value, &mut expected);
            }
            let touches = serde_json::from_value::<Op>(op.clone()).unwrap().touches();
            let weights = touches.weights.iter().map(|w| (w.field.to_owned(), u64::from(w.id.0)));
            let buffers = touches.buffers.iter().map(|b| (b.field.to_owned(), u64::from(b.id.0)));
            let extents = touches.extents.iter().map(|(field, dim)| {
                let Dim::Scaled { symbol, .. } = dim else { panic!("{op}: {dim:?}") };
                ((*field).to_owned(), u64::from(symbol.0))
            });
            let found: Vec<_> = weights.chain(buffers).chain(extents).collect();
            assert_eq!(found, expected, "{op}");
        }
    }

    #[test]
    fn rows_begin_at_windows_and_at_the_past() {
        let mut network = Network::default();
        let x = network.declare_buffer("x", DType::F32, &[9, 1, 2], Purpose::Input);
        let [k, v, y] =
            ["k", "v", "y"].map(|name| network.declare_buffer(name, DType::F32, &[9, 1, 2], Purpose::Cache));
        let mut graph = GraphBuilder::new(&mut network, "main");
        let (n, past) = (graph.dim("n", 1, 4, 1), graph.dim("past", 0, 9, 1));
        let value = graph.read(x, Dim::of(n).plus(1));
        let value = graph.add(Op::Slice { axis: 0, start: 1.into(), len: n.into() }, &[value]);
        let op = Op::CachedAttention { key_cache: k, value_cache: v, past, scale: 1.0 };
        let value = graph.add(op, &[value, value, value]);
        graph.write(y, value);
        graph.finish();
        let touched = |windows: &[_]| network.graphs[0].rows_touched(&[3, 6], windows).collect::<Vec<_>>();
        assert_eq!(touched(&[]), [(x, 4), (k, 9), (v, 9), (y, 3)]);
        assert_eq!(touched(&[(y, 2), (x, 1), (k, 5)]), [(x, 5), (k, 9), (v, 9), (y, 5)]);
        assert_eq!(touched(&[(y, usize::MAX)])[3], (y, usize::MAX));
    }

    #[test]
    fn the_list_above_holds_every_op() {
        // The parser says which ops there are.
        let refused = serde_json::from_value::<Op>(json!({"op": "?"})).unwrap_err().to_string();
        let known: Vec<&str> = refused.split('`').skip(3).step_by(2).collect();
        let listed: Vec<Value> = one_of_each();
        assert_eq!(known.len(), listed.len(), "{refused}");
        for op in &listed {
            assert!(known.contains(&op["op"].as_str().unwrap()), "{op}");
            assert_eq!(serde_json::from_value::<Op>(op.clone()).unwrap().name(), op["op"]);
        }
    }
}
