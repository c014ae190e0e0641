//! The nodes of a graph, one after the other: what each is in ONNX.

use super::emitter::Emitter;
use super::interface::Begins;
use super::proto::AttributeProto;
use super::{OnnxError, Opset};
use crate::graph::{Binary, BufferId, Dim, Merge, Node, Op, Unary, ValueId, WeightId};

/// Orders of axes between `[t, h, w, c]` and ONNX's `[1, c, t, h, w]`.
const CHANNELS_FIRST: [i64; 5] = [0, 4, 1, 2, 3];
const CHANNELS_LAST: [i64; 5] = [0, 2, 3, 4, 1];

impl Emitter<'_> {
    /// Emits every node of the graph.
    ///
    /// # Errors
    /// The node that ONNX does not express.
    pub(super) fn lower(&mut self) -> Result<(), OnnxError> {
        let graph = self.graph;
        for (i, node) in graph.nodes.iter().enumerate() {
            self.enter(i, node);
            let name = self.node(i, node).map_err(|why| OnnxError::Op {
                graph: graph.name.clone(),
                node: i,
                op: node.op.name(),
                opset: self.opset.version(),
                why,
            })?;
            self.done(name, node);
        }
        Ok(())
    }

    fn node(&mut self, i: usize, node: &Node) -> Result<String, String> {
        let input = |n: usize| node.inputs[n];
        Ok(match &node.op {
            Op::Read { buffer } => {
                self.check_unwritten(i, *buffer)?;
                self.interface.input(*buffer, Begins::Window, &node.shape).name.clone()
            }
            Op::Constant { weight } => self.widened(*weight),
            Op::Linear { weight, bias } => self.linear(input(0), *weight, *bias),
            Op::Embedding { weight } => {
                let (table, ids) = (self.stored(*weight), self.value(input(0)));
                let rows = self.add("Gather", &[table, ids], vec![AttributeProto::int("axis", 0)]);
                self.widened_rows(*weight, rows)
            }
            Op::InterpolateRows { weight } => {
                let (table, index) = (self.stored(*weight), self.value(input(0)));
                let rows = self.add("Gather", &[table, index], vec![AttributeProto::int("axis", 0)]);
                let rows = self.widened_rows(*weight, rows);
                let share = self.value(input(1));
                let share = self.unsqueezed(&share, &[2]);
                let weighed = self.add("Mul", &[rows, share], vec![]);
                let axis = self.i64s(&[1]);
                self.add("ReduceSum", &[weighed, axis], vec![AttributeProto::int("keepdims", 0)])
            }
            Op::RmsNorm { weight, eps } => self.rms_norm(node, *weight, *eps)?,
            Op::LayerNorm { weight, bias, eps } => {
                let x = self.value(input(0));
                let scale = self.scale(node, *weight)?;
                let bias = bias.map(|b| self.widened(b));
                let inputs: Vec<String> = [x, scale].into_iter().chain(bias).collect();
                let (axis, eps) = (AttributeProto::int("axis", -1), AttributeProto::float("epsilon", *eps));
                self.add("LayerNormalization", &inputs, vec![axis, eps])
            }
            Op::Unary { function } => self.unary(input(0), *function),
            Op::Binary { function } => {
                let name = match function {
                    Binary::Add => "Add",
                    Binary::Sub => "Sub",
                    Binary::Mul => "Mul",
                };
                self.add(name, &[self.value(input(0)), self.value(input(1))], vec![])
            }
            Op::Affine { mul, add } => {
                let (mul, add) = (self.scalar(*mul), self.scalar(*add));
                let product = self.add("Mul", &[self.value(input(0)), mul], vec![]);
                self.add("Add", &[product, add], vec![])
            }
            Op::RotaryTable { axis, inverse_frequency } => {
                self.rotary_table(input(0), axis, inverse_frequency)
            }
            Op::Rotary { style } => self.rotary(node, *style)?,
            Op::Attention { scale } => self.attention(node, *scale)?,
            Op::CachedAttention { key_cache, value_cache, past, scale } => {
                self.cached_attention(node, [*key_cache, *value_cache], *past, *scale)?
            }
            Op::SelectRows { merge } => self.select_rows(node, *merge),
            Op::LastRow => self.last_row(&self.value(input(0))),
            Op::Reshape { shape } => self.reshape(&self.value(input(0)), self.shape(input(0)), shape)?,
            Op::Transpose { order } => {
                self.transposed(&self.value(input(0)), order.iter().map(|axis| i64::from(*axis)))
            }
            Op::Concat { axis } => {
                let parts: Vec<String> = node.inputs.iter().map(|part| self.value(*part)).collect();
                self.joined(&parts, i64::from(*axis))
            }
            Op::Slice { axis, start, len } => {
                let x = self.value(input(0));
                self.slice(&x, self.shape(input(0)), usize::from(*axis), *start, *len)?
            }
            Op::Conv3d { weight, bias, stride, padding } => {
                self.conv3d(input(0), *weight, *bias, *stride, *padding)
            }
            Op::Upsample { factor } => {
                let x = self.channels_first(input(0));
                let scales: Vec<f32> = [1, 1].iter().chain(factor).map(|n| *n as f32).collect();
                let scales = self.f32s(&scales, "scales");
                let how = [
                    ("mode", "nearest"),
                    ("coordinate_transformation_mode", "asymmetric"),
                    ("nearest_mode", "floor"),
                ];
                let how = how.map(|(name, value)| AttributeProto::string(name, value));
                let y = self.add("Resize", &[&x, "", &scales], how.to_vec());
                self.channels_last(&y)
            }
            Op::Sinusoid { frequency } => self.sinusoid(input(0), frequency),
        })
    }

    /// Refuses a read of rows that an op before it has put into their buffer: in ONNX inputs do not change.
    fn check_unwritten(&self, i: usize, buffer: BufferId) -> Result<(), String> {
        let written = self.graph.nodes[..i].iter().any(|node| node.op.writes().any(|id| id == buffer));
        let name = &self.network.buffers[buffer.index()].name;
        if written { Err(format!("it reads `{name}` after an op has appended to it")) } else { Ok(()) }
    }

    fn linear(&mut self, x: ValueId, weight: WeightId, bias: Option<WeightId>) -> String {
        let is_matrix = self.shape(x).len() == 2;
        let (x, bias) = (self.value(x), bias.map(|b| self.widened(b)));
        if is_matrix {
            let weight = self.widened(weight);
            let inputs: Vec<String> = [x, weight].into_iter().chain(bias).collect();
            return self.add("Gemm", &inputs, vec![AttributeProto::int("transB", 1)]);
        }
        let weight = self.turned(weight);
        let y = self.add("MatMul", &[x, weight], vec![]);
        match bias {
            Some(bias) => self.add("Add", &[y, bias], vec![]),
            None => y,
        }
    }

    fn rms_norm(&mut self, node: &Node, weight: Option<WeightId>, eps: f32) -> Result<String, String> {
        let x = self.value(node.inputs[0]);
        if self.opset == Opset::V23 {
            let scale = self.scale(node, weight)?;
            let (axis, eps) = (AttributeProto::int("axis", -1), AttributeProto::float("epsilon", eps));
            return Ok(self.add("RMSNormalization", &[x, scale], vec![axis, eps]));
        }
        let weight = weight.map(|w| self.widened(w));
        let squares = self.add("Mul", &[&x, &x], vec![]);
        let axis = self.i64s(&[-1]);
        let mean = self.add("ReduceMean", &[squares, axis], vec![AttributeProto::int("keepdims", 1)]);
        let eps = self.scalar(eps);
        let mean = self.add("Add", &[mean, eps], vec![]);
        let root = self.add("Sqrt", &[mean], vec![]);
        let y = self.add("Div", &[x, root], vec![]);
        Ok(match weight {
            Some(weight) => self.add("Mul", &[y, weight], vec![]),
            None => y,
        })
    }

    /// The weight of a norm; ones where there is none.
    fn scale(&mut self, node: &Node, weight: Option<WeightId>) -> Result<String, String> {
        match (weight, node.shape.last()) {
            (Some(weight), _) => Ok(self.widened(weight)),
            (None, Some(Dim::Fixed(n))) => Ok(self.f32s(&vec![1.0; *n], "ones")),
            (None, _) => Err("the normalised axis must be as long in every run".to_owned()),
        }
    }

    fn unary(&mut self, x: ValueId, function: Unary) -> String {
        let x = self.value(x);
        match function {
            Unary::Silu => {
                let share = self.add("Sigmoid", &[&x], vec![]);
                self.add("Mul", &[x, share], vec![])
            }
            Unary::Relu => self.add("Relu", &[x], vec![]),
            Unary::GeluErf | Unary::GeluTanh if self.opset == Opset::V23 => {
                let approximate = if function == Unary::GeluErf { "none" } else { "tanh" };
                self.add("Gelu", &[x], vec![AttributeProto::string("approximate", approximate)])
            }
            Unary::GeluErf => {
                let root = self.scalar(std::f32::consts::SQRT_2);
                let inner = self.add("Div", &[&x, &root], vec![]);
                let bend = self.add("Erf", &[inner], vec![]);
                self.gelu(x, bend)
            }
            Unary::GeluTanh => {
                // sqrt(2/π) (x + 0.044715 x³)
                let (one, cube, root) = (
                    self.scalar(1.0),
                    self.scalar(0.044715),
                    self.scalar((2.0 / std::f32::consts::PI).sqrt()),
                );
                let square = self.add("Mul", &[&x, &x], vec![]);
                let part = self.add("Mul", &[square, cube], vec![]);
                let part = self.add("Add", &[part, one], vec![]);
                let inner = self.add("Mul", &[&x, &part], vec![]);
                let inner = self.add("Mul", &[inner, root], vec![]);
                let bend = self.add("Tanh", &[inner], vec![]);
                self.gelu(x, bend)
            }
        }
    }

    /// `x/2 (1 + bend)`.
    fn gelu(&mut self, x: String, bend: String) -> String {
        let (one, half) = (self.scalar(1.0), self.scalar(0.5));
        let bend = self.add("Add", &[bend, one], vec![]);
        let y = self.add("Mul", &[x, bend], vec![]);
        self.add("Mul", &[y, half], vec![])
    }

    /// Row `i` is merged with `table[index[i]]` where that is at least 0; elsewhere row 0 is fetched and not used.
    fn select_rows(&mut self, node: &Node, merge: Merge) -> String {
        let [x, table, index] = [0, 1, 2].map(|i| self.value(node.inputs[i]));
        let zero = self.scalar_i32(0);
        let place = self.add("Max", &[&index, &zero], vec![]);
        let rows = self.add("Gather", &[table, place], vec![AttributeProto::int("axis", 0)]);
        let rows = match merge {
            Merge::Replace => rows,
            Merge::Add => self.add("Add", &[&x, &rows], vec![]),
        };
        let is_selected = self.add("GreaterOrEqual", &[index, zero], vec![]);
        let is_selected = self.unsqueezed(&is_selected, &[1]);
        self.add("Where", &[is_selected, rows, x], vec![])
    }

    fn conv3d(
        &mut self,
        x: ValueId,
        weight: WeightId,
        bias: Option<WeightId>,
        stride: [usize; 3],
        padding: [[usize; 2]; 3],
    ) -> String {
        let x = self.channels_first(x);
        let mut kernel = self.widened(weight);
        if !self.is_kernel(weight) {
            kernel = self.transposed(&kernel, CHANNELS_FIRST);
        }
        let bias = bias.map(|b| self.widened(b));
        let inputs: Vec<String> = [x, kernel].into_iter().chain(bias).collect();
        let ints = |name: &str, values: &[usize]| {
            AttributeProto::ints(name, values.iter().map(|n| *n as i64).collect::<Vec<_>>())
        };
        let size = &self.network.weights[weight.index()].shape[1..4];
        let pads: Vec<usize> = [0, 1].iter().flat_map(|side| padding.map(|pad| pad[*side])).collect();
        let attributes = vec![ints("kernel_shape", size), ints("strides", &stride), ints("pads", &pads)];
        let y = self.add("Conv", &inputs, attributes);
        self.channels_last(&y)
    }

    fn channels_first(&mut self, x: ValueId) -> String {
        let x = self.value(x);
        let x = self.unsqueezed(&x, &[0]);
        self.transposed(&x, CHANNELS_FIRST)
    }

    fn channels_last(&mut self, x: &str) -> String {
        let x = self.transposed(x, CHANNELS_LAST);
        self.squeezed(&x, &[0])
    }
}
