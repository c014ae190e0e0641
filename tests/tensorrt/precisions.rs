//! Fewer bits, without a GPU: layers that put numbers into a narrow type and take them out of it compute what the formulas say.

use std::sync::Arc;

use perihelion::backend::reference::Reference;
use perihelion::backend::tensorrt::{CacheForm, Element, Kind, Library, Rules, e2m1, e4m3, of_e2m1, of_e4m3};
use perihelion::backend::{
    ActivationScale, ActivationScales, Elements, Memory, Run, RunError, Session, WeightFormat,
};
use perihelion::graph::{Binary, BufferId, GraphId, Network, Op, Unary, WeightId, Weights};
use perihelion::tensor::{DType, TensorView};

use crate::case::{Case, Sketch, Tolerance, build};
use crate::mutations::quietly;
use crate::session::Evaluated;
use crate::worst;

const NARROW: [WeightFormat; 4] =
    [WeightFormat::Int8, WeightFormat::Fp8, WeightFormat::Int4, WeightFormat::Nvfp4];
/// Of the largest element: sums in another order.
const TOLERANCE: f32 = 3e-5;
/// What the calibration of these tests has seen.
const AMAX: f32 = 1.75;

/// A feed-forward of rows that blocks fit, with a residual: three products.
fn feed_forward() -> Case {
    let mut s = Sketch::new(31);
    let (x, gate, up, down) =
        (s.buffer(20, &[64]), s.weight(&[96, 64]), s.weight(&[96, 64]), s.weight(&[64, 96]));
    build(s, "feed-forward of whole blocks", Tolerance::Close, 20, |g, n| {
        let x = g.read(x, n);
        let gate = g.linear(x, gate, None);
        let gate = g.add(Op::Unary { function: Unary::Silu }, &[gate]);
        let up = g.linear(x, up, None);
        let hidden = g.add(Op::Binary { function: Binary::Mul }, &[gate, up]);
        let y = g.linear(hidden, down, None);
        g.add(Op::Binary { function: Binary::Add }, &[x, y])
    })
}

fn product() -> Case {
    let mut s = Sketch::new(32);
    let (x, w, b) = (s.buffer(20, &[128]), s.weight(&[48, 128]), s.weight(&[48]));
    build(s, "product of whole blocks", Tolerance::Close, 20, |g, n| {
        let x = g.read(x, n);
        g.linear(x, w, Some(b))
    })
}

fn rules(case: &Case, precision: WeightFormat, scales: bool) -> Rules {
    let weights = &case.network.weights;
    let stored = weights.iter().map(|w| (w.shape.len() == 2).then_some(precision)).collect();
    let scale = |w: &perihelion::graph::Weight| ActivationScale {
        weight: w.name.clone(),
        amax: AMAX,
        method: "given".into(),
    };
    let scales = scales.then(|| Arc::new(ActivationScales::new("any", weights.iter().map(scale).collect())));
    Rules { stored, scales, ..Rules::from(Element::F32) }
}

/// Numbers as their formula says that they are stored, by rows of `k`.
fn rounded(values: &[f32], k: usize, precision: WeightFormat) -> Vec<f32> {
    let most = |part: &[f32]| part.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let whole = most(values);
    let in_blocks = |len: usize, one: &dyn Fn(&[f32]) -> Vec<f32>| values.chunks(len).flat_map(one).collect();
    let whole_numbers = |to: f32| {
        move |part: &[f32]| -> Vec<f32> {
            let scale = most(part) / to;
            part.iter().map(|v| (v / scale).round_ties_even() * scale).collect()
        }
    };
    match precision {
        WeightFormat::Int8 => in_blocks(k, &whole_numbers(127.0)),
        WeightFormat::Int4 => in_blocks(1 << k.trailing_zeros(), &whole_numbers(7.0)),
        WeightFormat::Fp8 => {
            values.iter().map(|v| of_e4m3(e4m3(v / (whole / 448.0))) * (whole / 448.0)).collect()
        }
        _ => in_blocks(16, &|part: &[f32]| four_bits(part, whole / 2688.0)),
    }
}

fn four_bits(part: &[f32], scale_of_scales: f32) -> Vec<f32> {
    let most = part.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let scale = of_e4m3(e4m3(most / 6.0 / scale_of_scales)) * scale_of_scales;
    part.iter().map(|v| of_e2m1(e2m1(v / scale)) * scale).collect()
}

/// Matrices as they are stored.
struct Rounded(Vec<(Vec<usize>, Vec<u8>)>);

impl Rounded {
    fn of(case: &Case, precision: WeightFormat) -> Rounded {
        let ids = (0..case.network.weights.len()).map(|i| WeightId(i as u32));
        Rounded(
            ids.map(|id| {
                let view = case.weights.weight(id);
                let values = view.to_f32();
                let values = match view.shape[..] {
                    [_, k] => rounded(&values, k, precision),
                    _ => values,
                };
                (view.shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
            })
            .collect(),
        )
    }
}

impl Weights for Rounded {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        let (shape, bytes) = &self.0[id.index()];
        TensorView { dtype: DType::F32, shape: shape.clone(), bytes }
    }
}

fn on(case: &Case, rules: Rules, library: Option<&Library>) -> Vec<Vec<f32>> {
    let session = Evaluated::new(&case.network, &case.weights, rules, library);
    let mut session = session.unwrap_or_else(|why| panic!("{}: {why}", case.name));
    case.on(&mut session)
}

fn check_weights(library: Option<&Library>) {
    for case in [feed_forward(), product()] {
        for precision in NARROW {
            let found = on(&case, rules(&case, precision, false), library);
            let weights = Rounded::of(&case, precision);
            let expected = case.on(&mut Reference::new(&case.network, &weights));
            let (share, lost) = (worst(&expected, &found), worst(&case.reference(), &found));
            println!("{}, {precision}: off by {share:.1e}, from f32 by {lost:.1e}", case.name);
            assert!(share < TOLERANCE, "{}, {precision}: off by {share}", case.name);
            assert!(TOLERANCE < lost, "{}, {precision}: nothing was rounded", case.name);
        }
    }
}

/// A session in which the first buffer is of numbers as they are stored when a product is given them.
struct Given<'a>(Reference<'a>, WeightFormat);

impl Session for Given<'_> {
    fn network(&self) -> &Network {
        self.0.network()
    }

    fn input(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [f32], RunError> {
        self.0.input(buffer, row, n_rows)
    }

    fn input_i32(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [i32], RunError> {
        self.0.input_i32(buffer, row, n_rows)
    }

    fn view(&self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&[f32], RunError> {
        self.0.view(buffer, row, n_rows)
    }

    fn write(&mut self, buffer: BufferId, row: usize, elements: Elements<'_>) -> Result<(), RunError> {
        let (Elements::F32(values), 0) = (&elements, buffer.index()) else {
            return self.0.write(buffer, row, elements);
        };
        let values: Vec<f32> = match self.1 {
            WeightFormat::Int8 => {
                let scale = AMAX / 127.0;
                values.iter().map(|v| (v / scale).round_ties_even().clamp(-128.0, 127.0) * scale).collect()
            }
            WeightFormat::Fp8 => {
                let scale = AMAX / 448.0;
                values.iter().map(|v| of_e4m3(e4m3(v / scale)) * scale).collect()
            }
            WeightFormat::Nvfp4 => {
                values.chunks(16).flat_map(|part| four_bits(part, AMAX / 2688.0)).collect()
            }
            _ => values.to_vec(),
        };
        self.0.write(buffer, row, Elements::F32(&values))
    }

    fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), RunError> {
        self.0.read(buffer, row, out)
    }

    fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        self.0.run(graph, run)
    }

    fn looks_ms_max(&self) -> Option<u32> {
        None
    }

    fn memory(&self) -> Memory {
        self.0.memory()
    }
}

fn check_activations(library: Option<&Library>) {
    let case = product();
    for precision in NARROW {
        let found = on(&case, rules(&case, precision, true), library);
        let weights = Rounded::of(&case, precision);
        let expected = case.on(&mut Given(Reference::new(&case.network, &weights), precision));
        let share = worst(&expected[1..], &found[1..]);
        println!("{}, {precision} with what it is given: off by {share:.1e}", case.name);
        assert!(share < TOLERANCE, "{precision}: off by {share}");
        let of_weights = worst(&on(&case, rules(&case, precision, false), library)[1..], &found[1..]);
        assert_eq!(
            of_weights == 0.0,
            precision == WeightFormat::Int4,
            "{precision}: INT4 is for weights alone"
        );
    }
}

#[test]
fn weights_in_fewer_bits_are_what_their_formula_says() {
    check_weights(None);
}

#[test]
fn what_products_are_given_is_in_fewer_bits_where_its_scale_is_known() {
    check_activations(None);
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn what_tensorrt_recorded_of_fewer_bits_is_what_their_formula_says() {
    let library = Library::open(None).unwrap();
    check_weights(Some(&library));
    check_activations(Some(&library));
}

/// A scale in the wrong place, a wrong axis, a wrong type: each is seen.
#[test]
fn a_product_in_fewer_bits_that_is_wrong_in_one_place_is_seen() {
    let case = product();
    for precision in NARROW {
        let session =
            Evaluated::new(&case.network, &case.weights, rules(&case, precision, true), None).unwrap();
        let expected = on(&case, rules(&case, precision, true), None);
        let layers = &session.plans[0].layers.layers;
        let narrow = |kind: &Kind| {
            matches!(kind, Kind::Quantize { .. } | Kind::Dequantize { .. } | Kind::DynamicQuantize { .. })
        };
        let mut n_wrong = 0;
        for (i, layer) in layers.iter().enumerate().filter(|(_, layer)| narrow(&layer.kind)) {
            let mut wrong = layer.kind.clone();
            match &mut wrong {
                Kind::Quantize { to } => *to = Element::I4,
                Kind::DynamicQuantize { block, .. } => *block = 32,
                Kind::Dequantize { axis: Some(axis), .. } => *axis = 1,
                Kind::Dequantize { axis, .. } => *axis = Some(0),
                _ => unreachable!("filtered"),
            }
            let mut session =
                Evaluated::new(&case.network, &case.weights, rules(&case, precision, true), None).unwrap();
            session.plans[0].layers.layers[i].kind = wrong;
            let seen =
                quietly(|| case.on(&mut session)).is_none_or(|found| TOLERANCE < worst(&expected, &found));
            assert!(seen, "{precision}: {:?} is not seen", layer.kind);
            n_wrong += 1;
        }
        assert!(0 < n_wrong, "{precision}");
    }
}

/// TensorRT's own attention and caches in place.
fn check_in_place(library: Option<&Library>) {
    let rules = Rules { caches: CacheForm::Heads, ..Rules::from(Element::F32) };
    let mut n = 0;
    for case in crate::all().into_iter().filter(|case| case.name.contains("attention")) {
        let mut session = match Evaluated::new(&case.network, &case.weights, rules.clone(), library) {
            Ok(session) => session,
            // An extent that only the rows of a cache would tell.
            Err(why) if why.contains("is the rows of no input") => continue,
            Err(why) => panic!("{}: {why}", case.name),
        };
        let (expected, found) = (case.reference(), case.on(&mut session));
        let share = worst(&expected, &found);
        assert!(share < 1e-4, "{}: off by {share} of the largest", case.name);
        n += 1;
    }
    assert!(10 <= n, "only {n} cases");
}

#[test]
fn attention_of_tensorrts_own_equals_the_reference_evaluation() {
    check_in_place(None);
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn what_tensorrt_recorded_of_its_own_attention_equals_the_reference_evaluation() {
    check_in_place(Some(&Library::open(None).unwrap()));
}
