//! A small network with random contents, and the ways to run it.

use perihelion::backend::reference::Reference;
use perihelion::backend::{Elements, Run, Session};
use perihelion::graph::Weights;
use perihelion::graph::{
    BufferId, Dim, GraphBuilder, GraphId, Network, Op, Purpose, Symbol, ValueId, WeightId, WeightUse,
};
use perihelion::tensor::{DType, TensorView};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// How far a backend may be from the reference evaluation, or from itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tolerance {
    /// The same bits: nothing is computed, elements only move.
    Bits,
    /// A few hundred-thousandths of the buffer's largest element: sums in another order, other approximations of `exp`.
    Close,
    /// What keys, values or activations of eight significant bits explain.
    OfBf16,
    /// What whole numbers of 8 bits for activations explain, where elements are sums of few products.
    OfInt8,
}

impl Tolerance {
    fn of_largest(self) -> f32 {
        match self {
            Tolerance::Bits => 0.0,
            Tolerance::Close => 3e-5,
            Tolerance::OfBf16 => 0.01,
            Tolerance::OfInt8 => 0.05,
        }
    }

    /// Where two sets of buffers differ most, if by more than this allows.
    pub(crate) fn differs(
        self,
        expected: &[Vec<f32>],
        found: &[Vec<f32>],
        network: &Network,
    ) -> Option<String> {
        for ((expected, found), buffer) in expected.iter().zip(found).zip(&network.buffers) {
            assert_eq!(expected.len(), found.len(), "both are read whole");
            let largest = expected.iter().fold(1.0f32, |m, x| m.max(x.abs()));
            let allowed = self.of_largest() * largest;
            let far = |(e, f): (&f32, &f32)| {
                let same =
                    e.to_bits() == f.to_bits() || (self != Tolerance::Bits && (e - f).abs() <= allowed);
                !same
            };
            let at = expected.iter().zip(found).position(far);
            if let Some(at) = at {
                return Some(format!(
                    "buffer `{}`, element {at} of {}: expected {}, found {}, allowed {allowed}",
                    buffer.name,
                    expected.len(),
                    expected[at],
                    found[at]
                ));
            }
        }
        None
    }
}

/// Weights by their order of declaration.
#[derive(Clone, Default)]
pub(crate) struct Held(pub(crate) Vec<(DType, Vec<usize>, Vec<u8>)>);

impl Weights for Held {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        let (dtype, shape, bytes) = &self.0[id.index()];
        TensorView { dtype: *dtype, shape: shape.clone(), bytes }
    }
}

/// One run of a case.
#[derive(Clone, Debug)]
pub(crate) struct CaseRun {
    pub graph: GraphId,
    pub extents: Vec<usize>,
    pub windows: Vec<(BufferId, usize)>,
}

/// A network, its weights, what its buffers hold at first, and its runs.
pub(crate) struct Case {
    pub name: String,
    pub network: Network,
    pub weights: Held,
    pub tolerance: Tolerance,
    pub contents: Vec<Contents>,
    pub runs: Vec<CaseRun>,
}

/// What a buffer holds at first.
pub(crate) enum Contents {
    F32(Vec<f32>),
    I32(Vec<i32>),
}

impl Case {
    /// Puts a number into the last element of some matrix of products that is stored as f32. Whose it is.
    pub(crate) fn spoil_a_matrix(&mut self, number: f32) -> WeightId {
        let nodes = self.network.graphs.iter().flat_map(|graph| &graph.nodes);
        let mut matrices = nodes.flat_map(|node| node.op.weights()).filter(|w| w.usage == WeightUse::Matrix);
        let of_f32 = matrices.find(|w| self.weights.0[w.id.index()].0 == DType::F32);
        let id = of_f32.expect("half of all weights are stored so").id;
        let bytes = &mut self.weights.0[id.index()].2;
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&number.to_le_bytes());
        id
    }

    /// All buffers after the runs, by the reference evaluation.
    pub(crate) fn reference(&self) -> Vec<Vec<f32>> {
        self.reference_of(&self.weights)
    }

    /// The same with other weights.
    pub(crate) fn reference_of(&self, weights: &Held) -> Vec<Vec<f32>> {
        self.on(&mut Reference::new(&self.network, weights))
    }

    /// All buffers after the runs on a session (those of i32 are left out: nothing reads them back).
    pub(crate) fn on(&self, session: &mut dyn Session) -> Vec<Vec<f32>> {
        for (i, contents) in self.contents.iter().enumerate() {
            let elements = match contents {
                Contents::F32(v) => Elements::F32(v),
                Contents::I32(v) => Elements::I32(v),
            };
            session.write(BufferId(i as u32), 0, elements).expect("contents are of the buffer's shape");
        }
        for run in &self.runs {
            let given = Run { extents: &run.extents, windows: &run.windows, ..Run::default() };
            session.run(run.graph, &given).unwrap_or_else(|why| panic!("{}: {run:?}: {why}", self.name));
        }
        let buffers = self.network.buffers.iter().enumerate();
        let read_one = |(i, buffer): (usize, &perihelion::graph::Buffer)| match buffer.dtype {
            DType::F32 => {
                let mut out = vec![f32::NAN; buffer.len()];
                session.read(BufferId(i as u32), 0, &mut out).expect("the whole buffer");
                out
            }
            _ => Vec::new(),
        };
        buffers.map(read_one).collect()
    }
}

/// Rows that every buffer has beyond what a graph's largest extents need, for windows to move in.
const SLACK_ROWS: usize = 3;

/// A case under construction: random numbers, and short names for what cases do.
pub(crate) struct Sketch {
    pub network: Network,
    pub rng: ChaCha8Rng,
    weights: Held,
    contents: Vec<Contents>,
    /// Caches, whose rows no window moves.
    unmoved: Vec<BufferId>,
}

impl Sketch {
    pub(crate) fn new(seed: u64) -> Sketch {
        Sketch {
            network: Network::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            weights: Held::default(),
            contents: Vec::new(),
            unmoved: Vec::new(),
        }
    }

    /// A whole number in `from..=to`.
    pub(crate) fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.rng.next_u32() as usize % (to - from + 1)
    }

    /// A number in -1..1 that bfloat16 can hold.
    fn coarse(&mut self) -> f32 {
        half::bf16::from_f32(self.fine()).to_f32()
    }

    /// A number in -1..1.
    fn fine(&mut self) -> f32 {
        self.rng.next_u32() as f32 / 2f32.powi(31) - 1.0
    }

    /// A weight whose elements every precision can hold, so that one reference serves all of them.
    pub(crate) fn weight(&mut self, shape: &[usize]) -> WeightId {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.coarse()).collect();
        let as_bf16 = self.rng.next_u32().is_multiple_of(2);
        let (dtype, bytes) = if as_bf16 {
            (DType::Bf16, values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect())
        } else {
            (DType::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
        };
        self.declare(dtype, shape, bytes)
    }

    fn declare(&mut self, dtype: DType, shape: &[usize], bytes: Vec<u8>) -> WeightId {
        let name = format!("w{}", self.weights.0.len());
        self.weights.0.push((dtype, shape.into(), bytes));
        self.network.declare_weight("main", &name, dtype, shape)
    }

    /// A buffer of f32 for at most `rows` rows.
    pub(crate) fn buffer(&mut self, rows: usize, row: &[usize]) -> BufferId {
        let shape: Vec<usize> = [rows + SLACK_ROWS].iter().chain(row).copied().collect();
        let contents = (0..shape.iter().product()).map(|_| self.fine()).collect();
        self.contents.push(Contents::F32(contents));
        let name = format!("b{}", self.contents.len());
        self.network.declare_buffer(&name, DType::F32, &shape, Purpose::Features)
    }

    /// A buffer of i32 in `from..to` for at most `rows` rows.
    pub(crate) fn indices(&mut self, rows: usize, row: &[usize], from: i32, to: i32) -> BufferId {
        let shape: Vec<usize> = [rows + SLACK_ROWS].iter().chain(row).copied().collect();
        let len: usize = shape.iter().product();
        let contents = (0..len).map(|_| from + (self.rng.next_u32() % (to - from) as u32) as i32).collect();
        self.contents.push(Contents::I32(contents));
        let name = format!("b{}", self.contents.len());
        self.network.declare_buffer(&name, DType::I32, &shape, Purpose::Input)
    }

    /// A cache of `rows` rows.
    pub(crate) fn cache(&mut self, rows: usize, row: &[usize]) -> BufferId {
        let id = self.buffer(rows, row);
        self.unmoved.push(id);
        id
    }

    /// A graph.
    pub(crate) fn graph(&mut self, name: &str) -> GraphBuilder<'_> {
        GraphBuilder::new(&mut self.network, name)
    }

    /// A run of a graph with these extents, and a random window for every buffer that has one.
    pub(crate) fn run(&mut self, graph: usize, extents: &[usize]) -> CaseRun {
        let ids: Vec<BufferId> = (0..self.network.buffers.len() as u32).map(BufferId).collect();
        let moved = ids.into_iter().filter(|id| !self.unmoved.contains(id)).collect::<Vec<_>>();
        let windows = moved.into_iter().map(|id| (id, self.between(0, SLACK_ROWS))).collect();
        CaseRun { graph: GraphId(graph as u32), extents: extents.into(), windows }
    }

    /// Four runs of the first graph: at the smallest extents, the largest, and twice between.
    pub(crate) fn runs(&mut self) -> Vec<CaseRun> {
        let dims = self.network.graphs[0].dims.clone();
        let mut runs = Vec::new();
        for kind in 0..4 {
            let extents: Vec<usize> = dims
                .iter()
                .map(|dim| match kind {
                    0 => dim.min,
                    1 => dim.max,
                    _ => self.between(dim.min / dim.multiple_of, dim.max / dim.multiple_of) * dim.multiple_of,
                })
                .collect();
            runs.push(self.run(0, &extents));
        }
        runs
    }

    /// The case, with these runs.
    pub(crate) fn with_runs(self, name: &str, tolerance: Tolerance, runs: Vec<CaseRun>) -> Case {
        let Sketch { network, weights, contents, .. } = self;
        Case { name: name.into(), network, weights, tolerance, contents, runs }
    }

    /// The case, with [`Sketch::runs`].
    pub(crate) fn case(mut self, name: &str, tolerance: Tolerance) -> Case {
        let runs = self.runs();
        self.with_runs(name, tolerance, runs)
    }
}

/// A case of one op over buffers of `n` rows, `n` from 1 to `rows`: `rows_of` are the shapes of their rows.
pub(crate) fn rowwise(
    name: &str,
    seed: u64,
    tolerance: Tolerance,
    rows: usize,
    rows_of: &[&[usize]],
    op: impl FnOnce(&mut Sketch) -> Op,
) -> Case {
    let mut sketch = Sketch::new(seed);
    let inputs: Vec<BufferId> = rows_of.iter().map(|row| sketch.buffer(rows, row)).collect();
    let op = op(&mut sketch);
    build(sketch, name, tolerance, rows, |graph, n| {
        let values: Vec<ValueId> = inputs.iter().map(|b| graph.read(*b, n)).collect();
        graph.add(op, &values)
    })
}

/// A case of one graph with one extent, `n` from 1 to `rows`, whose value goes to a buffer.
pub(crate) fn build(
    mut sketch: Sketch,
    name: &str,
    tolerance: Tolerance,
    rows: usize,
    make: impl FnOnce(&mut GraphBuilder<'_>, Symbol) -> ValueId,
) -> Case {
    let mut graph = sketch.graph("main");
    let n = graph.dim("n", 1, rows, 1);
    let value = make(&mut graph, n);
    let shape = graph.shape(value).to_vec();
    let fixed = |d: &Dim| if let Dim::Fixed(d) = d { *d } else { panic!("{name}: rows are of fixed shape") };
    let row: Vec<usize> = shape[1..].iter().map(fixed).collect();
    let out_rows = shape[0].value(&[rows]) + SLACK_ROWS;
    let out_shape: Vec<usize> = [out_rows].into_iter().chain(row).collect();
    let out = graph.network.declare_buffer("out", DType::F32, &out_shape, Purpose::Output);
    graph.write(out, value);
    graph.finish();
    let contents = (0..out_shape.iter().product()).map(|_| sketch.fine()).collect();
    sketch.contents.push(Contents::F32(contents));
    sketch.case(name, tolerance)
}
