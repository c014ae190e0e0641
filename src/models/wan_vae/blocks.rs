//! The parts that encoder and decoder are made of, over values `[t, h, w, c]`.
//!
//! The network is causal in time: a convolution sees two frames back. The first call of a clip pads with zeros, every later one
//! puts the two frames before it in front; they stand in a cache buffer that each call rewrites. So a call never depends on how many
//! frames came in one call before it.

use super::WanVaeConfig;
use crate::graph::{Binary, BufferId, Dim, GraphBuilder, LimitedBy, Op, Purpose, Unary, ValueId, WeightId};
use crate::models::layers::Layers;
use crate::tensor::DType;

/// Frames that a convolution over three sees before the first of a call.
const PAST_FRAMES: usize = 2;

/// One graph of the VAE under construction.
pub(super) struct Blocks<'g> {
    pub(super) graph: GraphBuilder<'g>,
    pub(super) layers: Layers,
    pub(super) config: &'g WanVaeConfig,
    /// The first call of a clip: nothing came before.
    pub(super) first: bool,
    /// How many clips' caches a buffer holds, one after the other.
    pub(super) states: LimitedBy,
    /// Behind the names of buffers.
    pub(super) suffix: &'static str,
}

impl Blocks<'_> {
    /// A buffer of the graph's size.
    pub(super) fn buffer(&self, name: &str) -> BufferId {
        self.graph.network.buffer(&format!("{name}{}", self.suffix)).expect("declared before the graphs")
    }

    /// Norm, SiLU and a causal convolution, twice, beside a shortcut.
    pub(super) fn residual(&mut self, x: ValueId, name: &str, c_in: usize, c_out: usize) -> ValueId {
        let y = self.norm(x, &format!("{name}.norm1.gamma"), c_in);
        let y = self.graph.add(Op::Unary { function: Unary::Silu }, &[y]);
        let y = self.causal(y, &format!("{name}.conv1"), c_in, c_out);
        let y = self.norm(y, &format!("{name}.norm2.gamma"), c_out);
        let y = self.graph.add(Op::Unary { function: Unary::Silu }, &[y]);
        let y = self.causal(y, &format!("{name}.conv2"), c_out, c_out);
        let shortcut = match c_in == c_out {
            true => x,
            false => self.layers.biased(&mut self.graph, &format!("{name}.conv_shortcut"), x, c_out),
        };
        self.graph.add(Op::Binary { function: Binary::Add }, &[y, shortcut])
    }

    /// Two residual blocks with attention between them.
    pub(super) fn middle(&mut self, x: ValueId, name: &str, c: usize) -> ValueId {
        let x = self.residual(x, &format!("{name}.resnets.0"), c, c);
        let x = self.attention(x, &format!("{name}.attentions.0"), c);
        self.residual(x, &format!("{name}.resnets.1"), c, c)
    }

    /// Norm, SiLU and the last convolution.
    pub(super) fn head(&mut self, x: ValueId, name: &str, c_in: usize, c_out: usize) -> ValueId {
        let x = self.norm(x, &format!("{name}.norm_out.gamma"), c_in);
        let x = self.graph.add(Op::Unary { function: Unary::Silu }, &[x]);
        self.causal(x, &format!("{name}.conv_out"), c_in, c_out)
    }

    /// A 3×3×3 convolution that sees the two frames before.
    pub(super) fn causal(&mut self, x: ValueId, name: &str, c_in: usize, c_out: usize) -> ValueId {
        let (weight, bias) = self.convolution(name, c_in, c_out, [3, 3, 3]);
        let (joined, past) = self.with_past(x, name, PAST_FRAMES);
        let padding = [[past, 0], [1, 1], [1, 1]];
        self.graph.add(Op::Conv3d { weight, bias, stride: [1; 3], padding }, &[joined])
    }

    /// Halves height and width, and time where `temporal` (but not in the first call: one frame stays one).
    pub(super) fn downsample(&mut self, x: ValueId, name: &str, c: usize, temporal: bool) -> ValueId {
        let (weight, bias) = self.convolution(&format!("{name}.resample.1"), c, c, [1, 3, 3]);
        let padding = [[0, 0], [0, 1], [0, 1]];
        let x = self.graph.add(Op::Conv3d { weight, bias, stride: [1, 2, 2], padding }, &[x]);
        if !temporal {
            return x;
        }
        let name = format!("{name}.time_conv");
        let (weight, bias) = self.convolution(&name, c, c, [3, 1, 1]);
        if self.first {
            let cache = self.cache(x, &name, 1);
            self.graph.write(cache, x);
            return x;
        }
        let (joined, _) = self.with_past(x, &name, 1);
        self.graph.add(Op::Conv3d { weight, bias, stride: [2, 1, 1], padding: [[0; 2]; 3] }, &[joined])
    }

    /// Doubles height and width and halves the channels; doubles time where `temporal` (but not in the first call).
    pub(super) fn upsample(&mut self, x: ValueId, name: &str, c: usize, temporal: bool) -> ValueId {
        let x = if temporal { self.upsample_time(x, &format!("{name}.time_conv"), c) } else { x };
        let x = self.graph.add(Op::Upsample { factor: [1, 2, 2] }, &[x]);
        let (weight, bias) = self.convolution(&format!("{name}.resample.1"), c, c / 2, [1, 3, 3]);
        let padding = [[0, 0], [1, 1], [1, 1]];
        self.graph.add(Op::Conv3d { weight, bias, stride: [1; 3], padding }, &[x])
    }

    /// Two frames from each: the channels of a convolution over time hold the first and then the second.
    fn upsample_time(&mut self, x: ValueId, name: &str, c: usize) -> ValueId {
        let (weight, bias) = self.convolution(name, c, 2 * c, [3, 1, 1]);
        if self.first {
            // The first frame is not doubled, and the second call sees zeros before its own frames, not this one.
            let cache = self.cache(x, name, PAST_FRAMES);
            let zero = self.graph.add(Op::Affine { mul: 0.0, add: 0.0 }, &[x]);
            let zeros = self.graph.add(Op::Concat { axis: 0 }, &[zero, zero]);
            self.graph.write(cache, zeros);
            return x;
        }
        let &[t, h, w, _] = self.graph.shape(x) else { unreachable!("values have four axes") };
        let (joined, _) = self.with_past(x, name, PAST_FRAMES);
        let both =
            self.graph.add(Op::Conv3d { weight, bias, stride: [1; 3], padding: [[0; 2]; 3] }, &[joined]);
        let both = self.graph.reshape(both, &[t, h, w, Dim::Fixed(2), Dim::Fixed(c)]);
        let both = self.graph.add(Op::Transpose { order: vec![0, 3, 1, 2, 4] }, &[both]);
        self.graph.reshape(both, &[t.times(2), h, w, Dim::Fixed(c)])
    }

    /// One head over the places of each frame, beside a shortcut.
    fn attention(&mut self, x: ValueId, name: &str, c: usize) -> ValueId {
        let &[t, h, w, _] = self.graph.shape(x) else { unreachable!("values have four axes") };
        let (Dim::Fixed(height), Dim::Fixed(width)) = (h, w) else {
            unreachable!("sizes are fixed at export")
        };
        let normed = self.norm(x, &format!("{name}.norm.gamma"), c);
        let parts = ["q", "k", "v"].map(|part| {
            let value = self.layers.biased(&mut self.graph, &format!("{name}.to_{part}"), normed, c);
            self.graph.reshape(value, &[t, Dim::Fixed(height * width), Dim::Fixed(1), Dim::Fixed(c)])
        });
        let y = self.graph.add(Op::Attention { scale: (c as f32).sqrt().recip() }, &parts);
        let y = self.graph.reshape(y, &[t, h, w, Dim::Fixed(c)]);
        let y = self.layers.biased(&mut self.graph, &format!("{name}.proj"), y, c);
        self.graph.add(Op::Binary { function: Binary::Add }, &[y, x])
    }

    /// `x / ‖x‖ · √c · gamma` over the channels: a root-mean-square norm whose `eps` only keeps zeros zeros.
    fn norm(&mut self, x: ValueId, gamma: &str, c: usize) -> ValueId {
        let weight = Some(self.layers.weight(&mut self.graph, gamma, &[c]));
        self.graph.add(Op::RmsNorm { weight, eps: 1e-24 / c as f32 }, &[x])
    }

    /// What a convolution over time reads: `x` behind the frames before it, or alone with as many zeros to be put in front.
    /// Rewrites the cache with the last `n` frames of it.
    fn with_past(&mut self, x: ValueId, name: &str, n: usize) -> (ValueId, usize) {
        let cache = self.cache(x, name, n);
        if self.first {
            let zero = self.graph.add(Op::Affine { mul: 0.0, add: 0.0 }, &[x]);
            let last = self.graph.add(Op::Concat { axis: 0 }, &[zero, x]);
            self.graph.write(cache, last);
            return (x, n);
        }
        let t = self.graph.shape(x)[0];
        let past = self.graph.read(cache, n);
        let joined = self.graph.add(Op::Concat { axis: 0 }, &[past, x]);
        let last = self.graph.add(Op::Slice { axis: 0, start: t, len: Dim::Fixed(n) }, &[joined]);
        self.graph.write(cache, last);
        (joined, 0)
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

    /// A convolution's kernel of `[t, h, w]` places, channels last: `[c_out, t, h, w, c_in]`; and its bias.
    fn convolution(
        &mut self,
        name: &str,
        c_in: usize,
        c_out: usize,
        [t, h, w]: [usize; 3],
    ) -> (WeightId, Option<WeightId>) {
        let weight = self.layers.weight(&mut self.graph, &format!("{name}.weight"), &[c_out, t, h, w, c_in]);
        let bias = self.layers.weight(&mut self.graph, &format!("{name}.bias"), &[c_out]);
        (weight, Some(bias))
    }
}
