//! The parts that encoder and decoder are made of, over values `[t, h, w, c]`.
//!
//! The network is causal in time: a convolution sees two frames back. The first call of a clip pads with zeros, every later one
//! puts the two frames before it in front; they stand in a cache buffer that each call rewrites. So a call never depends on how many
//! frames came in one call before it.

use super::WanVaeConfig;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::graph::{Binary, BufferId, Dim, GraphBuilder, LimitedBy, Op, Purpose, Unary, ValueId, WeightId};
use crate::models::constants::{Constants, rows};
use crate::tensor::DType;

/// Frames that a convolution over three sees before the first of a call.
const PAST_FRAMES: usize = 2;

/// One graph of the VAE under construction.
pub(super) struct Blocks<'g, 'n, 'c> {
    pub(super) graph: GraphBuilder<'g>,
    pub(super) constants: &'n mut Constants<'c>,
    pub(super) checkpoint: &'c Checkpoint,
    pub(super) config: &'n WanVaeConfig,
    /// The first call of a clip: nothing came before.
    pub(super) first: bool,
    /// How many clips' caches a buffer holds, one after the other.
    pub(super) states: LimitedBy,
    /// Behind the names of buffers.
    pub(super) suffix: &'static str,
}

type Built = Result<ValueId, CheckpointError>;

impl Blocks<'_, '_, '_> {
    /// A buffer of the graph's size.
    pub(super) fn buffer(&self, name: &str) -> BufferId {
        self.graph.network.buffer(&format!("{name}{}", self.suffix)).expect("declared before the graphs")
    }

    /// Norm, SiLU and a causal convolution, twice, beside a shortcut.
    pub(super) fn residual(&mut self, x: ValueId, name: &str, c_in: usize, c_out: usize) -> Built {
        let y = self.norm(x, &format!("{name}.norm1.gamma"), c_in, 3)?;
        let y = self.graph.add(Op::Unary { function: Unary::Silu }, &[y]);
        let y = self.causal(y, &format!("{name}.conv1"), c_in, c_out)?;
        let y = self.norm(y, &format!("{name}.norm2.gamma"), c_out, 3)?;
        let y = self.graph.add(Op::Unary { function: Unary::Silu }, &[y]);
        let y = self.causal(y, &format!("{name}.conv2"), c_out, c_out)?;
        let shortcut = if c_in == c_out {
            x
        } else {
            self.pointwise(x, &format!("{name}.conv_shortcut"), c_in, c_out, 3)?
        };
        Ok(self.graph.add(Op::Binary { function: Binary::Add }, &[y, shortcut]))
    }

    /// Two residual blocks with attention between them.
    pub(super) fn middle(&mut self, x: ValueId, name: &str, c: usize) -> Built {
        let x = self.residual(x, &format!("{name}.resnets.0"), c, c)?;
        let x = self.attention(x, &format!("{name}.attentions.0"), c)?;
        self.residual(x, &format!("{name}.resnets.1"), c, c)
    }

    /// Norm, SiLU and the last convolution.
    pub(super) fn head(&mut self, x: ValueId, name: &str, c_in: usize, c_out: usize) -> Built {
        let x = self.norm(x, &format!("{name}.norm_out.gamma"), c_in, 3)?;
        let x = self.graph.add(Op::Unary { function: Unary::Silu }, &[x]);
        self.causal(x, &format!("{name}.conv_out"), c_in, c_out)
    }

    /// A 3×3×3 convolution that sees the two frames before.
    pub(super) fn causal(&mut self, x: ValueId, name: &str, c_in: usize, c_out: usize) -> Built {
        let weight = self.kernel(name, &[c_out, c_in, 3, 3, 3])?;
        let bias = self.bias(name, c_out)?;
        let (joined, past) = self.with_past(x, name, PAST_FRAMES)?;
        let padding = [[past, 0], [1, 1], [1, 1]];
        Ok(self.graph.add(Op::Conv3d { weight, bias: Some(bias), stride: [1; 3], padding }, &[joined]))
    }

    /// Halves height and width, and time where `temporal` (but not in the first call: one frame stays one).
    pub(super) fn downsample(&mut self, x: ValueId, name: &str, c: usize, temporal: bool) -> Built {
        let weight = self.kernel(&format!("{name}.resample.1"), &[c, c, 3, 3])?;
        let bias = self.bias(&format!("{name}.resample.1"), c)?;
        let padding = [[0, 0], [0, 1], [0, 1]];
        let x = self.graph.add(Op::Conv3d { weight, bias: Some(bias), stride: [1, 2, 2], padding }, &[x]);
        if !temporal {
            return Ok(x);
        }
        let name = format!("{name}.time_conv");
        let weight = self.kernel(&name, &[c, c, 3, 1, 1])?;
        let bias = self.bias(&name, c)?;
        if self.first {
            let cache = self.cache(x, &name, 1);
            self.graph.write(cache, x);
            return Ok(x);
        }
        let (joined, _) = self.with_past(x, &name, 1)?;
        Ok(self
            .graph
            .add(Op::Conv3d { weight, bias: Some(bias), stride: [2, 1, 1], padding: [[0; 2]; 3] }, &[joined]))
    }

    /// Doubles height and width and halves the channels; doubles time where `temporal` (but not in the first call).
    pub(super) fn upsample(&mut self, x: ValueId, name: &str, c: usize, temporal: bool) -> Built {
        let x = if temporal { self.upsample_time(x, &format!("{name}.time_conv"), c)? } else { x };
        let x = self.graph.add(Op::Upsample { factor: [1, 2, 2] }, &[x]);
        let weight = self.kernel(&format!("{name}.resample.1"), &[c / 2, c, 3, 3])?;
        let bias = self.bias(&format!("{name}.resample.1"), c / 2)?;
        let padding = [[0, 0], [1, 1], [1, 1]];
        Ok(self.graph.add(Op::Conv3d { weight, bias: Some(bias), stride: [1; 3], padding }, &[x]))
    }

    /// Two frames from each: the channels of a convolution over time hold the first and then the second.
    fn upsample_time(&mut self, x: ValueId, name: &str, c: usize) -> Built {
        let weight = self.kernel(name, &[2 * c, c, 3, 1, 1])?;
        let bias = self.bias(name, 2 * c)?;
        if self.first {
            // The first frame is not doubled, and the second call sees zeros before its own frames, not this one.
            let cache = self.cache(x, name, PAST_FRAMES);
            let zero = self.graph.add(Op::Affine { mul: 0.0, add: 0.0 }, &[x]);
            let zeros = self.graph.add(Op::Concat { axis: 0 }, &[zero, zero]);
            self.graph.write(cache, zeros);
            return Ok(x);
        }
        let &[t, h, w, _] = self.graph.shape(x) else { unreachable!("values have four axes") };
        let (joined, _) = self.with_past(x, name, PAST_FRAMES)?;
        let both = self
            .graph
            .add(Op::Conv3d { weight, bias: Some(bias), stride: [1; 3], padding: [[0; 2]; 3] }, &[joined]);
        let both = self.graph.reshape(both, &[t, h, w, Dim::Fixed(2), Dim::Fixed(c)]);
        let both = self.graph.add(Op::Transpose { order: vec![0, 3, 1, 2, 4] }, &[both]);
        Ok(self.graph.reshape(both, &[t.times(2), h, w, Dim::Fixed(c)]))
    }

    /// A convolution over one place: a linear map of the channels. `axes` is how many ones follow in the stored shape.
    fn pointwise(&mut self, x: ValueId, name: &str, c_in: usize, c_out: usize, axes: usize) -> Built {
        let mut shape = vec![c_out, c_in];
        shape.resize(2 + axes, 1);
        let weight = format!("{name}.weight");
        let view = self.checkpoint.expect(&weight, &shape)?;
        let weight = self.constants.borrow(self.graph.network, &weight, view, &[c_out, c_in]);
        let bias = self.bias(name, c_out)?;
        Ok(self.graph.linear(x, weight, Some(bias)))
    }

    /// One head over the places of each frame, beside a shortcut.
    fn attention(&mut self, x: ValueId, name: &str, c: usize) -> Built {
        let &[t, h, w, _] = self.graph.shape(x) else { unreachable!("values have four axes") };
        let (Dim::Fixed(height), Dim::Fixed(width)) = (h, w) else {
            unreachable!("sizes are fixed at export")
        };
        let normed = self.norm(x, &format!("{name}.norm.gamma"), c, 2)?;
        let weight = self.checkpoint.expect(&format!("{name}.to_qkv.weight"), &[3 * c, c, 1, 1])?;
        let bias = self.checkpoint.expect(&format!("{name}.to_qkv.bias"), &[3 * c])?;
        let mut parts = Vec::with_capacity(3);
        for (i, part) in ["q", "k", "v"].into_iter().enumerate() {
            let (weight, bias) = (rows(&weight, i * c, c), rows(&bias, i * c, c));
            let name = format!("{name}.to_{part}");
            let weight =
                self.constants.borrow(self.graph.network, &format!("{name}.weight"), weight, &[c, c]);
            let bias = self.constants.borrow(self.graph.network, &format!("{name}.bias"), bias, &[c]);
            let value = self.graph.linear(normed, weight, Some(bias));
            parts.push(
                self.graph.reshape(value, &[t, Dim::Fixed(height * width), Dim::Fixed(1), Dim::Fixed(c)]),
            );
        }
        let y = self.graph.add(Op::Attention { scale: (c as f32).sqrt().recip() }, &parts);
        let y = self.graph.reshape(y, &[t, h, w, Dim::Fixed(c)]);
        let y = self.pointwise(y, &format!("{name}.proj"), c, c, 2)?;
        Ok(self.graph.add(Op::Binary { function: Binary::Add }, &[y, x]))
    }

    /// `x / ‖x‖ · √c · gamma` over the channels: a root-mean-square norm whose `eps` only keeps zeros zeros.
    fn norm(&mut self, x: ValueId, name: &str, c: usize, axes: usize) -> Built {
        let mut shape = vec![c];
        shape.resize(1 + axes, 1);
        let view = self.checkpoint.expect(name, &shape)?;
        let weight = self.constants.borrow(self.graph.network, name, view, &[c]);
        Ok(self.graph.add(Op::RmsNorm { weight: Some(weight), eps: 1e-24 / c as f32 }, &[x]))
    }

    /// What a convolution over time reads: `x` behind the frames before it, or alone with as many zeros to be put in front.
    /// Rewrites the cache with the last `n` frames of it.
    fn with_past(&mut self, x: ValueId, name: &str, n: usize) -> Result<(ValueId, usize), CheckpointError> {
        let cache = self.cache(x, name, n);
        if self.first {
            let zero = self.graph.add(Op::Affine { mul: 0.0, add: 0.0 }, &[x]);
            let last = self.graph.add(Op::Concat { axis: 0 }, &[zero, x]);
            self.graph.write(cache, last);
            return Ok((x, n));
        }
        let t = self.graph.shape(x)[0];
        let past = self.graph.read(cache, n);
        let joined = self.graph.add(Op::Concat { axis: 0 }, &[past, x]);
        let last = self.graph.add(Op::Slice { axis: 0, start: t, len: Dim::Fixed(n) }, &[joined]);
        self.graph.write(cache, last);
        Ok((joined, 0))
    }

    /// The cache of a convolution: `n` frames like those of `x`, for each clip.
    fn cache(&mut self, x: ValueId, name: &str, n: usize) -> BufferId {
        let name = format!("{name}.past{}", self.suffix);
        if let Some(id) = self.graph.network.buffer(&name) {
            return id;
        }
        let row: Vec<usize> = self.graph.shape(x)[1..]
            .iter()
            .map(|d| match d {
                Dim::Fixed(n) => *n,
                Dim::Scaled { .. } => unreachable!("only time varies"),
            })
            .collect();
        let rows = LimitedBy { mul: n, ..self.states };
        let cache = self.graph.network.declare_limited_buffer(&name, DType::F32, rows, &row, Purpose::Cache);
        self.graph.network.keep_windows(cache, n);
        cache
    }

    /// A kernel `[c_out, c_in, (t,) h, w]`, channels last: `[c_out, t, h, w, c_in]`.
    fn kernel(&mut self, name: &str, shape: &[usize]) -> Result<WeightId, CheckpointError> {
        let name = format!("{name}.weight");
        let mut view = self.checkpoint.expect(&name, shape)?;
        if shape.len() == 4 {
            view.shape.insert(2, 1);
        }
        Ok(self.constants.permute(self.graph.network, &name, &view, &[0, 2, 3, 4, 1]))
    }

    fn bias(&mut self, name: &str, c: usize) -> Result<WeightId, CheckpointError> {
        let name = format!("{name}.bias");
        let view = self.checkpoint.expect(&name, &[c])?;
        Ok(self.constants.borrow(self.graph.network, &name, view, &[c]))
    }
}
