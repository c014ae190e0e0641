//! A session that looks on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::taps::{Tap, tapped};
use super::{Histogram, Sample};
use crate::backend::{
    Backend, BackendError, Elements, Memory, OpenOptions, Run, RunError, Sections, Session, Stored,
    WeightFormat,
};
use crate::graph::{BufferId, GraphId, Network, WeightId, Weights};
use crate::tensor::DType;

/// What products were given, by their weights.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// By weight.
    seen: Vec<Seen>,
    /// By weight: what each channel is divided by before it is counted.
    divisors: HashMap<WeightId, Vec<f32>>,
    /// Whether only magnitudes are counted, since all else is known.
    is_again: bool,
}

/// What the products with one weight were given.
#[derive(Clone, Debug, Default)]
struct Seen {
    histogram: Histogram,
    /// The largest magnitude of each channel; nothing while nothing was seen.
    largest: Vec<f32>,
    sample: Sample,
}

impl Watched {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen of a weight's products; nothing was if it is empty.
    pub fn of(&self, weight: WeightId) -> Histogram {
        self.held().seen[weight.index()].histogram.clone()
    }

    /// The largest magnitude of each channel that a weight's products were given; empty if nothing was.
    pub fn largest(&self, weight: WeightId) -> Vec<f32> {
        self.held().seen[weight.index()].largest.clone()
    }

    /// Some rows of what a weight's products were given.
    pub fn sample(&self, weight: WeightId) -> Sample {
        self.held().seen[weight.index()].sample.clone()
    }

    /// Counts magnitudes anew, of channels that are divided by these first; what is not named is counted as it is.
    pub fn again(&self, divisors: HashMap<WeightId, Vec<f32>>) {
        let mut held = self.held();
        held.seen.iter_mut().for_each(|seen| seen.histogram = Histogram::default());
        (held.divisors, held.is_again) = (divisors, true);
    }
}

impl Held {
    fn add(&mut self, weight: WeightId, given: &[f32], row_len: usize) {
        let Seen { histogram, largest, sample } = &mut self.seen[weight.index()];
        match self.divisors.get(&weight) {
            None => histogram.add(given),
            Some(divisors) => {
                let mut divided = given.to_vec();
                for row in divided.chunks_exact_mut(divisors.len().max(1)) {
                    row.iter_mut().zip(divisors).for_each(|(v, divisor)| *v /= divisor);
                }
                histogram.add(&divided);
            }
        }
        if self.is_again {
            return;
        }
        largest.resize(row_len, 0.0);
        for row in given.chunks_exact(row_len.max(1)) {
            largest.iter_mut().zip(row).for_each(|(most, v)| *most = most.max(v.abs()));
        }
        sample.add(given, row_len);
    }
}

/// A session of a network that is watched: it does what the session of that network would, and adds up what its products are given.
pub struct Watching {
    session: Box<dyn Session>,
    /// By graph.
    taps: Vec<Vec<Tap>>,
    watched: Watched,
}

impl Watching {
    /// Opens a network to be watched, weights as exact as they are stored. Takes as much memory as the weights, and as all that the products
    /// of a run are given.
    ///
    /// # Errors
    /// As the backend says.
    pub fn open(
        backend: &dyn Backend,
        network: &Network,
        weights: &dyn Weights,
        options: &OpenOptions,
    ) -> Result<(Self, Watched), BackendError> {
        let (network, taps) = tapped(network);
        let exact = |dtype: DType| match dtype {
            DType::Bf16 => WeightFormat::Bf16,
            _ => WeightFormat::F32,
        };
        let formats: Vec<WeightFormat> = network.weights.iter().map(|weight| exact(weight.dtype)).collect();
        let (stored, mut sections) = (Stored::from(formats), Sections::default());
        backend.build(&network, weights, &stored, &mut sections, &mut |_| ())?;
        let seen = vec![Seen::default(); network.weights.len()];
        let watched = Watched(Arc::new(Mutex::new(Held { seen, ..Held::default() })));
        let session = backend.open(network, &stored, &sections, options)?;
        Ok((Watching { session, taps, watched: watched.clone() }, watched))
    }
}

impl Session for Watching {
    fn network(&self) -> &Network {
        self.session.network()
    }

    fn input(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [f32], RunError> {
        self.session.input(buffer, row, n_rows)
    }

    fn input_i32(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [i32], RunError> {
        self.session.input_i32(buffer, row, n_rows)
    }

    fn view(&self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&[f32], RunError> {
        self.session.view(buffer, row, n_rows)
    }

    fn write(&mut self, buffer: BufferId, row: usize, elements: Elements<'_>) -> Result<(), RunError> {
        self.session.write(buffer, row, elements)
    }

    fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), RunError> {
        self.session.read(buffer, row, out)
    }

    fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        self.session.run(graph, run)?;
        let mut watched = self.watched.held();
        for tap in &self.taps[graph.index()] {
            let given = self.session.view(tap.buffer, 0, tap.rows.value(run.extents))?;
            for weight in &tap.weights {
                // A product takes the last axis, which its matrix has as columns.
                let row_len = self.session.network().weights[weight.index()].shape[1];
                watched.add(*weight, given, row_len);
            }
        }
        Ok(())
    }

    fn looks_ms_max(&self) -> Option<u32> {
        None
    }

    fn memory(&self) -> Memory {
        self.session.memory()
    }

    fn arithmetic(&self) -> WeightFormat {
        self.session.arithmetic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::graph::{Dim, GraphBuilder, Op, Purpose, Unary};
    use crate::tensor::TensorView;

    struct Held(Vec<(Vec<usize>, Vec<u8>)>);

    impl Weights for Held {
        fn weight(&self, id: WeightId) -> TensorView<'_> {
            let (shape, bytes) = &self.0[id.index()];
            TensorView { dtype: DType::F32, shape: shape.clone(), bytes }
        }
    }

    /// `y = silu(x Aᵀ) Bᵀ`, `z = x Cᵀ`, and another graph with `B`. `A` doubles and `B` and `C` are ones.
    fn network() -> (Network, Held) {
        let mut network = Network::default();
        let x = network.declare_buffer("x", DType::F32, &[8, 2], Purpose::Input);
        let y = network.declare_buffer("y", DType::F32, &[8, 2], Purpose::Output);
        let z = network.declare_buffer("z", DType::F32, &[8, 2], Purpose::Output);
        let [a, b, c] = ["a", "b", "c"].map(|name| network.declare_weight("main", name, DType::F32, &[2, 2]));
        let mut graph = GraphBuilder::new(&mut network, "main");
        let n = graph.dim("n", 1, 8, 1);
        let given = graph.read(x, Dim::of(n));
        let doubled = graph.linear(given, a, None);
        let doubled = graph.add(Op::Unary { function: Unary::Silu }, &[doubled]);
        let out = graph.linear(doubled, b, None);
        let other = graph.linear(given, c, None);
        graph.write(y, out);
        graph.write(z, other);
        graph.finish();
        let mut graph = GraphBuilder::new(&mut network, "alone");
        let given = graph.read(x, 1);
        let out = graph.linear(given, b, None);
        graph.write(y, out);
        graph.finish();
        let of = |values: [f32; 4]| (vec![2, 2], values.iter().flat_map(|v| v.to_le_bytes()).collect());
        (network, Held(vec![of([2.0, 0.0, 0.0, 2.0]), of([1.0; 4]), of([1.0; 4])]))
    }

    #[test]
    fn what_products_are_given_is_seen_and_nothing_else() {
        let (network, weights) = network();
        network.verify().unwrap();
        let (cpu, open) = (Cpu::new().unwrap(), OpenOptions { threads: Some(1) });
        let (mut session, watched) = Watching::open(&cpu, &network, &weights, &open).unwrap();
        session.network().verify().unwrap();
        let x = network.buffer("x").unwrap();
        // Rows that no run reads.
        session.write(x, 3, Elements::F32(&[900.0, 900.0])).unwrap();
        session.write(x, 0, Elements::F32(&[-1.0, 0.25, 3.0, 0.5, 0.0, 20.0])).unwrap();
        session.run(GraphId(0), &Run { extents: &[3], ..Run::default() }).unwrap();
        let silu = |v: f32| v / (1.0 + (-v).exp());
        let [a, b, c] = [0, 1, 2].map(|id| watched.of(WeightId(id)));
        assert_eq!((a.n(), a.largest()), (6, 20.0));
        assert_eq!(a, c, "both are given the same");
        assert!((b.largest() - silu(40.0)).abs() < 1e-4, "{}", b.largest());
        // A row more, of another graph.
        session.write(x, 0, Elements::F32(&[-100.0, 0.0])).unwrap();
        session.run(GraphId(1), &Run::default()).unwrap();
        let b = watched.of(WeightId(1));
        assert_eq!((b.n(), b.largest()), (8, 100.0));
        assert_eq!(watched.of(WeightId(0)), a);
        // A run that is refused is not seen.
        assert!(session.run(GraphId(0), &Run { extents: &[9], ..Run::default() }).is_err());
        assert_eq!(watched.of(WeightId(0)), a);
        // By channel, and of rows: here all of them.
        assert_eq!(watched.largest(WeightId(0)), [3.0, 20.0]);
        assert_eq!(watched.sample(WeightId(0)).rows(), [-1.0, 0.25, 3.0, 0.5, 0.0, 20.0]);
        assert_eq!(watched.largest(WeightId(1))[0], 100.0);
        // Once more, by channels that are divided; what is known of them stays.
        watched.again([(WeightId(0), vec![3.0, 40.0])].into());
        assert_eq!((watched.of(WeightId(0)).n(), watched.of(WeightId(1)).n()), (0, 0));
        session.write(x, 0, Elements::F32(&[6.0, -4.0])).unwrap();
        session.run(GraphId(0), &Run { extents: &[1], ..Run::default() }).unwrap();
        assert_eq!((watched.of(WeightId(0)).n(), watched.of(WeightId(0)).largest()), (2, 2.0));
        assert_eq!(watched.of(WeightId(2)).largest(), 6.0);
        assert_eq!(watched.largest(WeightId(0)), [3.0, 20.0]);
        session.write(x, 0, Elements::F32(&[-100.0, 0.0])).unwrap();
        session.run(GraphId(1), &Run::default()).unwrap();
        // What the network itself gives is as before.
        let mut y = [0.0; 2];
        session.read(network.buffer("y").unwrap(), 0, &mut y).unwrap();
        assert_eq!(y, [-100.0; 2]);
    }
}
