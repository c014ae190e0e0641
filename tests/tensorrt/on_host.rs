//! The session of TensorRT engines, on a device of host memory: the same cases, golden cases and refusals as the CPU backend's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use perihelion::backend::tensorrt::{
    Element, Failure, Layers, Library, STORING, Source, Target, TensorRt, lower, open_on, write_sections,
};
use perihelion::backend::{
    ActivationScale, ActivationScales, Backend, BackendError, Elements, FormatChoice, OpenOptions, Run,
    RunError, Sections, Session, Stored, WeightFormat,
};
use perihelion::graph::{Buffer, BufferId, GraphBuilder, GraphId, Network, Op, Purpose, Unary, Weights};
use perihelion::quantize::Balanced;
use perihelion::tensor::DType;

use crate::case::{Case, Held};
use crate::host::{Host, Record, plan_of};
use crate::models::model;
use crate::{all, worst};

/// Of the largest element of an output, in f32.
const TOLERANCE: f32 = 1e-4;

fn built(network: &Network, weights: &dyn Weights, stored: &Stored) -> Result<Sections, BackendError> {
    let mut sections = Sections::default();
    let n_bytes =
        write_sections(network, weights, stored, &mut |_, layers| Ok(plan_of(layers)), &mut sections)?;
    assert!(network.graphs.is_empty() || 0 < n_bytes);
    Ok(sections)
}

fn opened(
    network: &Network,
    weights: &dyn Weights,
    format: WeightFormat,
    device: Box<Host>,
) -> Result<Box<dyn Session>, BackendError> {
    let stored = stored(network, format.into());
    open_on(network.clone(), &stored, &built(network, weights, &stored)?, device)
}

/// As an engine has them: matrices and tables in the format, everything else as it stands.
fn stored(network: &Network, choice: FormatChoice) -> Stored {
    Stored::new(&choice.of_parts(network, &STORING).unwrap(), network, None).unwrap()
}

fn check(cases: &[Case], library: Option<&Library>) {
    for shares_memory in [false, true] {
        let problem = |case: &Case| {
            let device = Host::new(library.cloned(), shares_memory, &Record::default());
            let mut session = match opened(&case.network, &case.weights, WeightFormat::F32, device) {
                Ok(session) => session,
                Err(why) => return Some(format!("{}: {why}", case.name)),
            };
            let found = case.on(session.as_mut());
            let differs = case.tolerance.differs(&case.reference(), &found, &case.network);
            differs.map(|how| format!("{}, memory shared: {shares_memory}: {how}", case.name))
        };
        let problems: Vec<String> = cases.iter().filter_map(problem).collect();
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }
}

#[test]
fn every_op_and_network_agrees_with_the_reference_evaluation() {
    check(&all(), None);
}

/// What only a GPU can show: plans that run, through the same session on NVIDIA's driver.
#[test]
#[ignore = "needs TensorRT and a GPU: PERIHELION_TENSORRT names the library"]
fn on_a_gpu_every_op_and_network_agrees_with_the_reference_evaluation() {
    let backend = match TensorRt::new(None) {
        Ok(backend) => backend,
        Err(why @ BackendError::NoDevice { .. }) => return println!("NOT RUN: {why}"),
        Err(why) => panic!("{why}"),
    };
    println!("{}", backend.check().unwrap());
    let library = Library::open(None).unwrap();
    for case in all() {
        let stored = stored(&case.network, WeightFormat::F32.into());
        let mut make = |_: &str, layers: &Layers| {
            let mut network = perihelion::backend::tensorrt::Network::new(&library, layers)?;
            network.plan(&Target::Current)
        };
        let mut sections = Sections::default();
        write_sections(&case.network, &case.weights, &stored, &mut make, &mut sections).unwrap();
        let opened = backend.open(case.network.clone(), &stored, &sections, &OpenOptions::default());
        let share = worst(&case.reference(), &case.on(opened.unwrap().as_mut()));
        println!("{}: off by {share:.1e}", case.name);
        assert!(share <= TOLERANCE, "{}: off by {share} of the largest", case.name);
    }
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn as_tensorrt_recorded_them_every_op_and_network_agrees_with_the_reference_evaluation() {
    check(&all(), Some(&Library::open(None).unwrap()));
}

/// Caches and features are then kept in the narrower type, and written and read through it.
#[test]
fn in_narrower_types_they_agree_as_far_as_these_round() {
    for format in [WeightFormat::F16, WeightFormat::Bf16] {
        for case in all() {
            let device = Host::new(None, false, &Record::default());
            let mut session = opened(&case.network, &case.weights, format, device).unwrap();
            let has_matrices = stored(&case.network, format.into()).formats.contains(&format);
            assert_eq!(
                session.arithmetic(),
                if has_matrices { format } else { WeightFormat::F32 },
                "{}",
                case.name
            );
            let share = worst(&case.reference(), &case.on(session.as_mut()));
            assert!(share < 0.08, "{}, {format}: off by {share} of the largest", case.name);
        }
    }
}

fn golden(name: &str, format: WeightFormat, tolerance: f32) {
    let model = model(name);
    for shares_memory in [false, true] {
        let device = Host::new(None, shares_memory, &Record::default());
        let mut session = opened(model.network(), &model, format, device).unwrap();
        for step in model.golden().iter().flat_map(|case| &case.steps) {
            let found = step.run(session.as_mut()).unwrap_or_else(|why| panic!("{}: {why}", step.graph));
            let expected: Vec<Vec<f32>> = step.outputs.iter().map(|o| o.values.clone()).collect();
            let share = worst(&expected, &found);
            println!("{name}, {format}, {} at {:?}: off by {share:.1e}", step.graph, step.extents);
            assert!(share <= tolerance, "{name}, {format}, {}: off by {share} of the largest", step.graph);
        }
    }
}

#[test]
fn the_golden_cases_of_small_reason_are_answered() {
    golden("small-reason", WeightFormat::F32, TOLERANCE);
    golden("small-reason", WeightFormat::Bf16, 0.08);
}

#[test]
fn the_golden_cases_of_small_predict_are_answered() {
    golden("small-predict", WeightFormat::F32, TOLERANCE);
}

/// What decides how long a robot waits for a token: of a cache no row moves but a new one, and that only where it cannot be written
/// in place, since rows are no multiple of 256 bytes long. Those of the true models are.
#[test]
fn a_token_copies_its_inputs_and_its_logits_and_no_row_of_a_cache_but_a_new_one() {
    let model = model("small-reason");
    let network = model.network();
    let record = Record::default();
    let mut session = opened(network, &model, WeightFormat::F32, Host::new(None, false, &record)).unwrap();
    let [tokens, positions, logits] =
        ["tokens", "positions", "logits"].map(|name| network.buffer(name).unwrap());
    let decode = network.graph("decode").unwrap();
    let row_bytes = |buffer: &Buffer| buffer.row_len() * 4;
    let given: usize =
        [tokens, positions, logits].iter().map(|id| row_bytes(&network.buffers[id.index()])).sum();
    let caches = network.buffers.iter().filter(|buffer| buffer.purpose == Purpose::Cache).map(row_bytes);
    let mut is_seen = [false; 2];
    for past in [0, 1, 9, 16, 200] {
        session.write(tokens, 0, Elements::I32(&[5])).unwrap();
        session.write(positions, 0, Elements::I32(&[past as i32; 3])).unwrap();
        record.with(|asked| *asked = Default::default());
        session.run(decode, &Run { extents: &[past], ..Run::default() }).unwrap();
        let moved: usize = caches.clone().filter(|row_bytes| past * row_bytes % 256 != 0).sum();
        is_seen[usize::from(moved == 0)] = true;
        assert_eq!(record.with(|asked| asked.copied_bytes), given + moved, "after {past} tokens");
    }
    assert_eq!(is_seen, [true; 2]);
}

/// A table that is also the matrix of a product is two inputs of a plan, and stands on the device once.
#[test]
fn a_tied_table_is_two_inputs_at_one_address() {
    let model = model("small-reason");
    let network = model.network();
    for format in [WeightFormat::F32, WeightFormat::F16] {
        let record = Record::default();
        let session = opened(network, &model, format, Host::new(None, false, &record)).unwrap();
        let decode = network.graph("decode").unwrap().index();
        let element = if format == WeightFormat::F16 { Element::F16 } else { Element::F32 };
        let lowered = lower(network, &network.graphs[decode], element).unwrap();
        let table = network.graphs[decode].nodes.iter().find_map(|node| match node.op {
            Op::Embedding { weight } => Some(weight),
            _ => None,
        });
        let is_table = |source: &Source| matches!(source, Source::Weight { id, .. } if Some(*id) == table);
        let inputs = lowered.sources.iter().enumerate().filter(|(_, source)| is_table(source));
        let [rows, product] = inputs.map(|(input, _)| input).collect::<Vec<_>>()[..] else {
            panic!("two inputs of {:?}", lowered.sources)
        };
        let place = |input| record.with(|asked| asked.bound[&(decode, input)]);
        assert_eq!(place(rows), place(product));
        // Each form of a weight once, whatever it is for and however many plans take it.
        let graphs: Vec<_> = network.graphs.iter().map(|g| lower(network, g, element).unwrap()).collect();
        let inputs = graphs.iter().flat_map(|lowered| lowered.sources.iter().zip(&lowered.layers.inputs));
        let forms = inputs.filter_map(|(source, input)| match source {
            Source::Weight { id, order } => Some((id.0, input.element as i32, order.clone(), input.element)),
            _ => None,
        });
        let forms: HashMap<_, _> =
            forms.map(|(id, code, order, element)| ((id, code, order), element)).collect();
        let each = forms.iter().map(|((id, ..), element)| {
            let n: usize = network.weights[*id as usize].shape.iter().product();
            element.bytes_of(n).next_multiple_of(256) as u64
        });
        assert_eq!(session.memory().weights_private_bytes, each.sum::<u64>(), "{format}");
    }
}

/// `to` becomes `relu(from)`: three rows of each, of 256 bytes, from the run's windows on.
fn relu(from: BufferId, to: BufferId) -> Network {
    let mut network = Network::default();
    for name in ["a", "b"] {
        network.declare_buffer(name, DType::F32, &[6, 64], Purpose::Features);
    }
    let mut graph = GraphBuilder::new(&mut network, "main");
    let value = graph.read(from, 3);
    let value = graph.add(Op::Unary { function: Unary::Relu }, &[value]);
    graph.write(to, value);
    graph.finish();
    network.verify().unwrap();
    network
}

#[test]
fn rows_are_used_where_they_stand_unless_a_plan_would_overwrite_what_it_reads() {
    let (a, b) = (BufferId(0), BufferId(1));
    for (from, to, n_copies) in [(a, b, 0), (a, a, 1), (b, a, 0)] {
        let (network, record) = (relu(from, to), Record::default());
        let mut session =
            opened(&network, &Held::default(), WeightFormat::F32, Host::new(None, false, &record)).unwrap();
        let contents: Vec<f32> = (0..6 * 64).map(|i| if i % 3 == 0 { -1.0 } else { i as f32 }).collect();
        let mut expected = [contents.clone(), contents.clone()];
        for id in [a, b] {
            session.write(id, 0, Elements::F32(&contents)).unwrap();
        }
        let windows = [(a, 2), (b, 1)];
        session.run(GraphId(0), &Run { windows: &windows, ..Run::default() }).unwrap();
        let row = |id: BufferId| windows[id.index()].1 * 64;
        for i in 0..3 * 64 {
            expected[to.index()][row(to) + i] = contents[row(from) + i].max(0.0);
        }
        for id in [a, b] {
            let mut found = vec![f32::NAN; 6 * 64];
            session.read(id, 0, &mut found).unwrap();
            assert_eq!(found, expected[id.index()], "buffer {} of {from:?} to {to:?}", id.0);
        }
        assert_eq!(record.with(|asked| asked.n_copies), n_copies, "{from:?} to {to:?}");
    }
}

#[test]
fn what_a_run_refuses_it_refuses_before_the_device_is_asked() {
    let model = model("small-reason");
    let network = model.network();
    let record = Record::default();
    let mut session = opened(network, &model, WeightFormat::F32, Host::new(None, false, &record)).unwrap();
    let (tokens, logits) = (network.buffer("tokens").unwrap(), network.buffer("logits").unwrap());
    let decode = network.graph("decode").unwrap();
    let (stop, now) = (AtomicBool::new(true), Instant::now());
    let at = [3];
    let run = Run { extents: &at, ..Run::default() };
    assert_eq!(session.run(decode, &Run { deadline: Some(now), ..run }), Err(RunError::Deadline));
    assert_eq!(session.run(decode, &Run { stop: Some(&stop), ..run }), Err(RunError::Stopped));
    let beyond = [(logits, 1 << 40)];
    assert!(matches!(session.run(decode, &Run { windows: &beyond, ..run }), Err(RunError::Bounds { .. })));
    for token in [-1, 1 << 20] {
        session.write(tokens, 0, Elements::I32(&[token])).unwrap();
        assert_eq!(session.run(decode, &run), Err(RunError::Index(decode)), "{token}");
    }
    assert_eq!(record.with(|asked| (asked.n_launches, asked.n_copies)), (0, 0));
    session.write(tokens, 0, Elements::I32(&[1])).unwrap();
    session.run(decode, &run).unwrap();
    assert_eq!(record.with(|asked| asked.n_launches), 1);
    // What passes is an error of the run, and the next one is its own.
    record.with(|asked| asked.failure = Some(Failure { code: 2, is_lasting: false }));
    assert_eq!(session.run(decode, &run), Err(RunError::Device(2)));
    session.run(decode, &run).unwrap();
}

/// A process of its own: it ends.
#[test]
fn a_gpu_that_is_lost_ends_the_process_with_70() {
    const NAME: &str = "on_host::a_gpu_that_is_lost_ends_the_process_with_70";
    if std::env::var_os("PERIHELION_TEST_LOSES_ITS_GPU").is_none() {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args([NAME, "--exact", "--nocapture"]).env("PERIHELION_TEST_LOSES_ITS_GPU", "1");
        let ended = again.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(70), "{said}");
        assert!(said.contains("the GPU is lost to this process (CUDA error 700)"), "{said}");
        return;
    }
    let case = &crate::cases::all()[0];
    let record = Record::default();
    let mut session =
        opened(&case.network, &case.weights, WeightFormat::F32, Host::new(None, false, &record)).unwrap();
    record.with(|asked| asked.failure = Some(Failure { code: 700, is_lasting: true }));
    case.on(session.as_mut());
}

#[test]
fn sections_that_are_not_the_networks_are_refused() {
    let case = crate::networks::all().into_iter().find(|case| 1 < case.network.weights.len()).unwrap();
    let device = || Host::new(None, false, &Record::default());
    let of = |format: WeightFormat| stored(&case.network, format.into());
    let sections = built(&case.network, &case.weights, &of(WeightFormat::F32)).unwrap();
    let refused = |sections: &Sections, stored: &Stored| {
        open_on(case.network.clone(), stored, sections, device()).err().expect("not its own").to_string()
    };
    let other = refused(&sections, &of(WeightFormat::Bf16));
    assert!(other.contains("the weights take") && other.contains("build the engine again"), "{other}");
    let none = refused(&Sections::default(), &of(WeightFormat::F32));
    assert!(none.contains("`weights`"), "{none}");
    let mut mixed = of(WeightFormat::F32);
    let narrowed = of(WeightFormat::F16).formats.iter().position(|f| *f == WeightFormat::F16).unwrap();
    mixed.formats[narrowed] = WeightFormat::F16;
    let mixed = built(&case.network, &case.weights, &mixed).err().unwrap().to_string();
    assert!(
        mixed.contains("computes in one type") && mixed.contains("give their parts one format"),
        "{mixed}"
    );
}

/// Weights in fewer bits are constants that plans are given, out of one copy in the engine, and answer as the gate of `build` asks. No scales
/// were measured for these: with floats of few bits, any that are large enough do.
#[test]
fn engines_of_fewer_bits_answer_the_golden_cases() {
    let model = model("small-reason");
    let network = model.network();
    for (text, has_scales, [largest, rms]) in [
        ("language=int8,vision=f16", false, [0.2, 0.08]),
        ("language=int8,vision=f16", true, [0.2, 0.08]),
        ("language=fp8,vision=bf16,kv=bf16", true, [0.4, 0.16]),
        ("language=int4,vision=f16", false, [0.8, 0.9]),
        ("language=nvfp4,vision=f16", true, [0.8, 0.9]),
    ] {
        let calibrated = || ActivationScales::open("calibration/small-reason.scales.json".as_ref()).unwrap();
        let scales = has_scales.then(|| Arc::new(calibrated()));
        let as_asked = Stored { scales, ..stored(network, text.parse().unwrap()) };
        let balances = as_asked.scales.as_ref().map_or(&[][..], |scales| &scales.balances);
        let weights = Balanced::new(network, &model, balances).unwrap();
        let sections = built(weights.network(), &weights, &as_asked).unwrap();
        let device = Host::new(None, false, &Record::default());
        let mut session = open_on(weights.network().clone(), &as_asked, &sections, device).unwrap();
        // Of each output, as the self-test judges them.
        let (mut worst_share, mut of_all) = (0.0f32, 0.0f64);
        for step in model.golden().iter().flat_map(|case| &case.steps) {
            let found = step.run(session.as_mut()).unwrap_or_else(|why| panic!("{}: {why}", step.graph));
            for (expected, found) in step.outputs.iter().map(|o| &o.values).zip(&found) {
                let largest = expected.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
                let (mut off, mut all) = (0.0f64, f64::MIN_POSITIVE);
                for (e, f) in expected.iter().zip(found) {
                    assert!(f.is_finite(), "{text}: {}", step.graph);
                    worst_share = worst_share.max((e - f).abs() / largest);
                    off += f64::from(e - f).powi(2);
                    all += f64::from(*e).powi(2);
                }
                of_all = of_all.max((off / all).sqrt());
            }
        }
        println!(
            "{text}, scales: {has_scales}: off by {worst_share:.3} of the largest, {of_all:.3} as a whole"
        );
        assert!(worst_share <= largest && of_all <= f64::from(rms), "{text}: {worst_share}, {of_all}");
        // In the engine once, on the device for each plan that waits for them.
        let [weights, constants] =
            ["weights", "constants"].map(|name| sections.get(name).unwrap().bytes().len() as u64);
        let on_device = session.memory().weights_private_bytes;
        assert!(
            weights + constants < on_device && on_device <= weights + 3 * constants,
            "{text}: {on_device}"
        );
        let full = built(network, &model, &stored(network, WeightFormat::F16.into())).unwrap();
        assert!(weights + constants < full.get("weights").unwrap().bytes().len() as u64, "{text}");
    }
}

fn scales(network: &Network, amax: f32) -> Arc<ActivationScales> {
    let scale = |w: &perihelion::graph::Weight| ActivationScale {
        weight: w.name.clone(),
        amax,
        method: "given".into(),
    };
    Arc::new(ActivationScales::new("any", network.weights.iter().map(scale).collect()))
}

/// A plan is kept by all that it is made of: other scales are other layers.
#[test]
fn other_scales_are_other_plans() {
    let model = model("small-reason");
    let network = model.network();
    let plans = |scales: Option<Arc<ActivationScales>>| {
        let stored = Stored { scales, ..stored(network, "language=int8,vision=f16".parse().unwrap()) };
        let sections = built(network, &model, &stored).unwrap();
        ["vision", "decode"].map(|graph| sections.get(&format!("plan.{graph}")).unwrap().bytes().to_vec())
    };
    let [none, of_8, of_16] = [None, Some(scales(network, 8.0)), Some(scales(network, 16.0))].map(plans);
    assert!(none[0] == of_8[0] && of_8[0] == of_16[0], "vision is f16");
    assert!(none[1] != of_8[1] && of_8[1] != of_16[1]);
}

#[test]
fn constants_that_are_not_the_networks_are_refused() {
    let model = model("small-reason");
    let network = model.network();
    let of = |text: &str| stored(network, text.parse().unwrap());
    let sections = |text: &str| built(network, &model, &of(text)).unwrap();
    let opened = |sections: &Sections, text: &str| {
        let device = Host::new(None, false, &Record::default());
        open_on(network.clone(), &of(text), sections, device).map(drop).map_err(|why| why.to_string())
    };
    let int4 = sections("language=int4,vision=f16");
    let mut without = Sections::default();
    let plans = network.graphs.iter().map(|graph| format!("plan.{}", graph.name));
    for name in plans.chain(["weights".to_owned()]) {
        without.add(&name, int4.get(&name).unwrap().clone());
    }
    let none = opened(&without, "language=int4,vision=f16").unwrap_err();
    assert!(none.contains("no section `constants`"), "{none}");
    let other = opened(&int4, "language=int8,vision=f16").unwrap_err();
    assert!(other.contains("the weights in fewer bits take"), "{other}");
    assert_eq!(opened(&int4, "language=int4,vision=f16"), Ok(()));
    // What no scale stands for is refused by the name of its weight.
    let mut case = crate::networks::all().into_iter().find(|case| 1 < case.network.weights.len()).unwrap();
    let id = case.spoil_a_matrix(f32::NAN);
    let stored = stored(&case.network, WeightFormat::Int8.into());
    let why = built(&case.network, &case.weights, &stored).err().unwrap();
    let why = format!("{why}: {:?}", std::error::Error::source(&why).map(ToString::to_string));
    assert!(why.contains(&case.network.weights[id.index()].name), "{why}");
}

#[test]
fn indices_among_the_weights_that_are_of_no_row_are_refused() {
    let mut network = Network::default();
    let table = network.declare_weight("main", "table", DType::F32, &[4, 64]);
    let ids = network.declare_weight("main", "ids", DType::I32, &[3]);
    let to = network.declare_buffer("to", DType::F32, &[3, 64], Purpose::Features);
    let mut graph = GraphBuilder::new(&mut network, "main");
    let index = graph.add(Op::Constant { weight: ids }, &[]);
    let rows = graph.add(Op::Embedding { weight: table }, &[index]);
    graph.write(to, rows);
    graph.finish();
    network.verify().unwrap();
    for (last, is_right) in [(3, true), (4, false), (-1, false)] {
        let bytes = |ids: [i32; 3]| ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let weights = Held(vec![
            (DType::F32, vec![4, 64], vec![0; 4 * 64 * 4]),
            (DType::I32, vec![3], bytes([0, 1, last])),
        ]);
        let device = Host::new(None, false, &Record::default());
        match opened(&network, &weights, WeightFormat::F32, device) {
            Ok(_) => assert!(is_right, "{last}"),
            Err(why) => {
                let why = why.to_string();
                assert!(!is_right && why.contains(&format!("`ids` holds index {last}")), "{last}: {why}");
            }
        }
    }
}
