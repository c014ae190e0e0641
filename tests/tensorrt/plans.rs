//! Plans: made without a GPU where TensorRT-RTX is there; and how their making fails, which needs nothing.

use std::process::Command;
use std::sync::Arc;

use perihelion::backend::tensorrt::{
    Budget, CacheForm, Element, Kind, Layer, Layers, Library, Network, Order, Rules, STORING, Sink, Source,
    Target, check_target, compile, lint, lower, programs, quantize, rules,
};
use perihelion::backend::{
    ActivationScale, ActivationScales, BackendError, FormatChoice, Stored, WeightFormat,
};
use perihelion::graph::Weights as _;

use crate::cases;
use crate::models::model;

const GPUS: [i32; 3] = [86, 89, 120];

fn order(target: Target) -> Order {
    let case = &cases::all()[0];
    let layers = lower(&case.network, &case.network.graphs[0], Element::F32).unwrap().layers;
    Order { graph: "main".into(), layers, target }
}

/// Of parts as they are asked for.
fn stored(text: &str, network: &perihelion::graph::Network, scales: Option<Arc<ActivationScales>>) -> Stored {
    let parts = text.parse::<FormatChoice>().unwrap().of_parts(network, &STORING).unwrap();
    Stored::new(&parts, network, scales).unwrap()
}

fn perihelion() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    command.arg("compile");
    command
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn why(child: Command) -> String {
    let failed = compile(child, &order(Target::Capabilities(vec![86])), &mut |_| ()).unwrap_err();
    assert!(matches!(failed, BackendError::Compiler { .. }), "{failed:?}");
    failed.to_string()
}

#[test]
fn a_child_that_ends_without_a_plan_is_an_error_with_its_signal_or_code() {
    for (script, expected) in [
        ("cat > /dev/null; kill -9 $$", "signal 9"),
        ("kill -SEGV $$", "signal 11"),
        ("exec >&-; echo first; echo of its own >&2; exit 3", "code 3: "),
        ("echo of its own >&2; exit 3", "of its own"),
        ("cat > /dev/null", "wrote 0 bytes"),
        ("cat > /dev/null; printf 12345678", "wrote 8 bytes"),
        // More of each than a pipe holds.
        ("cat > /dev/null; head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; exit 1", "code 1"),
    ] {
        let why = why(shell(script));
        assert!(why.contains(expected) && why.contains("graph `main`"), "{script}: {why}");
    }
    let why = why(Command::new("/nowhere/perihelion"));
    assert!(why.contains("does not start"), "{why}");
}

#[test]
fn what_the_child_prints_is_the_plan_and_its_memory() {
    let made = compile(
        shell("cat > /dev/null; printf '\\001\\0\\0\\0\\0\\0\\0\\0plan'"),
        &order(Target::Current),
        &mut |_| (),
    );
    let made = made.unwrap();
    assert_eq!((&made.plan[..], made.peak_bytes), (&b"plan"[..], 1));
}

/// Without TensorRT the child says what is missing; with it, see below.
#[test]
fn where_there_is_no_library_the_child_says_so() {
    let mut child = perihelion();
    child.env("PERIHELION_TENSORRT", "/nowhere");
    let why = why(child);
    assert!(why.contains("`tensorrt` cannot be used") && why.contains("code 1"), "{why}");
    let mut garbage = perihelion().stdin(std::process::Stdio::null()).output().unwrap();
    garbage.stderr.truncate(4000);
    assert_eq!(garbage.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&garbage.stderr).contains("the order is none"));
}

/// What is asked for and cannot be had is refused before any plan is made.
#[test]
fn the_verb_refuses_by_name_what_there_is_not() {
    let small = "engines/small-reason";
    for (arguments, code, words) in [
        (&[small, "--target", "8.6"][..], 2, &["`8.6`", "sm86"][..]),
        (&[small, "--precision", "sight=f16"], 2, &["`sight`", "vision"]),
        (&[small, "--precision", "int5"], 2, &["`int5`", "nvfp4"]),
        (&[small, "--precision", "kv=int4"], 2, &["`kv`", "int4"]),
        (
            &[small, "--precision", "language=fp8", "--target", "sm86,sm89"],
            1,
            &["`language`", "fp8", "8.9", "8.6"],
        ),
        (&[small, "--precision", "nvfp4", "--target", "sm89"], 1, &["nvfp4", "10.0", "8.9"]),
        (&[small, "--precision", "vision=f16,language=f32,kv=f16"], 2, &["`kv`", "f32"]),
        (
            &[small, "--precision", "int4", "--target", "sm86,sm89"],
            1,
            &["int4", "several GPUs", "sm86, sm89"],
        ),
        (&[small, "--graph", "nothing"], 2, &["`nothing`", "decode"]),
        (&[small, "--scales", "/nowhere/scales.json"], 1, &["/nowhere/scales.json"]),
        (&["/nowhere/a.model"], 1, &["/nowhere/a.model"]),
        (&["README.md"], 2, &["README.md", "neither"]),
    ] {
        let done = perihelion().args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
    }
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn the_verb_says_what_is_in_a_plan() {
    let arguments =
        ["engines/small-reason", "--graph", "decode", "--precision", "int4", "--target", "sm86", "--json"];
    let done = perihelion().args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let plan = &report["plans"][0];
    assert_eq!((&plan["graph"], &plan["programs"][0]["target"]), (&"decode".into(), &"sm86".into()));
    for figure in [&plan["placed"], &plan["plan_bytes"], &plan["peak_bytes"], &plan["programs"][0]["kernels"]]
    {
        assert!(0 < figure.as_u64().unwrap(), "{report}");
    }
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn a_child_makes_a_plan() {
    let made = compile(perihelion(), &order(Target::Capabilities(GPUS.into())), &mut |_| ()).unwrap();
    println!("{} bytes in {:?}, {} MB at most", made.plan.len(), made.elapsed, made.peak_bytes / 1_000_000);
    assert!(1000 < made.plan.len() && 1 << 20 < made.peak_bytes);
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn plans_of_every_graph_of_small_reason_are_made() {
    plans_are_made("small-reason");
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn plans_of_every_graph_of_small_predict_are_made() {
    plans_are_made("small-predict");
}

/// Every graph in every precision (small-predict in int8 alone of those of blocks and eight bits), for those of the GPUs that have it, in
/// fewer bits for the first that does; what the precision changes nothing of is made once, in f16.
fn plans_are_made(name: &str) {
    let library = Library::open(None).unwrap();
    println!("{}", library.version());
    let model = model(name);
    let network = model.network();
    // A plan of the denoiser in blocks takes a minute.
    let is_made = |precision: &WeightFormat| {
        name == "small-reason" || precision.computes().is_some() || *precision == WeightFormat::Int8
    };
    for precision in WeightFormat::ALL.into_iter().filter(is_made) {
        let stored = stored(&precision.to_string(), network, None);
        // TensorRT-RTX 1.7.1 makes no plan of eight bits for several GPUs at once.
        let n_gpus = if precision.computes().is_some() { GPUS.len() } else { 1 };
        let has = |gpu: &i32| precision.capability_min() <= *gpu;
        let gpus: Vec<i32> = GPUS.into_iter().filter(has).take(n_gpus).collect();
        let rules = rules(network, &stored, CacheForm::Tokens).unwrap();
        let mut n_made = 0;
        for (graph, rules) in network.graphs.iter().zip(rules) {
            let lowered = lower(network, graph, rules).unwrap();
            if precision.computes().is_none() && lowered.placed.is_empty() {
                continue;
            }
            let begun = std::time::Instant::now();
            let made = Network::new(&library, &lowered.layers)
                .and_then(|mut network| network.plan(&Target::Capabilities(gpus.clone())));
            let plan = made.unwrap_or_else(|why| panic!("{name}, {}, {precision}: {why}", graph.name));
            let (kb, s) = (plan.len() / 1000, begun.elapsed().as_secs_f32());
            println!(
                "{name}, {}, {precision} for {gpus:?}: {} layers, {} placed, {kb} kB in {s:.1} s",
                graph.name,
                lowered.layers.layers.len(),
                lowered.placed.len()
            );
            // Weights are inputs or placed: what is in a plan is code and a few constants.
            let constants: usize = lowered.layers.layers.iter().map(|l| l.kind.bytes().len()).sum();
            assert!(constants < 200_000, "{name}, {}: {constants} bytes of constants", graph.name);
            n_made += 1;
        }
        assert!(0 < n_made, "{name} has no product in {precision}");
        for gpu in GPUS.into_iter().filter(|gpu| *gpu < precision.capability_min()) {
            let why = check_target(network, &stored, &Target::Capabilities(vec![gpu]));
            let why = why.unwrap_err().to_string();
            assert!(why.contains(precision.name()), "{why}");
        }
    }
}

/// Activations in fewer bits too, by parts, as a recipe names them.
#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn plans_by_parts_with_scales_are_made() {
    let library = Library::open(None).unwrap();
    let model = model("small-reason");
    let network = model.network();
    let scale = |w: &perihelion::graph::Weight| ActivationScale {
        weight: w.name.clone(),
        amax: 4.0,
        method: "given".into(),
    };
    let scales = Arc::new(ActivationScales::new("any", network.weights.iter().map(scale).collect()));
    for (text, gpu) in [
        ("language=int4,vision=f16,kv=f16", 86),
        ("language=int8,vision=bf16,kv=bf16", 86),
        ("language=fp8,vision=int8", 89),
        ("language=nvfp4,vision=fp8", 120),
    ] {
        let stored = stored(text, network, Some(Arc::clone(&scales)));
        for (graph, rules) in network.graphs.iter().zip(rules(network, &stored, CacheForm::Tokens).unwrap()) {
            let layers = lower(network, graph, rules).unwrap().layers;
            let made = Network::new(&library, &layers)
                .and_then(|mut network| network.plan(&Target::Capabilities(vec![gpu])));
            let plan = made.unwrap_or_else(|why| panic!("{text}, {}: {why}", graph.name));
            println!("{text}, {}: {} kB", graph.name, plan.len() / 1000);
        }
    }
}

/// What TensorRT before 11.3 asks for: the bytes of placeholders as part of the plan.
#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn a_plan_may_have_its_weights_in_it() {
    let library = Library::open(None).unwrap();
    let model = model("small-reason");
    let network = model.network();
    let at = network.graph("decode").unwrap().index();
    let rules = rules(network, &stored("int4", network, None), CacheForm::Tokens).unwrap();
    let lowered = lower(network, &network.graphs[at], rules[at].clone()).unwrap();
    let placed = |name: &str| {
        let one = lowered.placed.iter().find(|p| p.name == name)?;
        let part = quantize(&model.weight(one.weight), one.precision, lowered.compute);
        Some(part.part(one.given).to_vec())
    };
    let plan =
        |told: Result<Network, BackendError>| told.unwrap().plan(&Target::Capabilities(vec![86])).unwrap();
    let without = plan(Network::new(&library, &lowered.layers));
    let with = plan(Network::with(&library, &lowered.layers, placed));
    // What a plan waits for stands in its text.
    let waits_for = |plan: &[u8]| {
        let mark = format!("{}_constant", lowered.placed[0].name);
        plan.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    assert!(waits_for(&without) && !waits_for(&with));
    let wrong = Network::with(&library, &lowered.layers, |_| Some(vec![0; 3]));
    let why = wrong.err().unwrap().to_string();
    assert!(why.contains("is given 3 bytes, expected"), "{why}");
}

/// What the plans of a token do, by their text: keys, values and matrices are read where they stand, in either form of attention.
#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn plans_of_a_token_keep_to_their_budget() {
    let library = Library::open(None).unwrap();
    let model = model("small-reason");
    let network = model.network();
    let graph = &network.graphs[network.graph("decode").unwrap().index()];
    let n_layers = graph.nodes.iter().filter(|node| node.op.writes().next().is_some()).count();
    for (caches, n_attentions) in [(CacheForm::Tokens, 0), (CacheForm::Heads, n_layers)] {
        for gpu in GPUS {
            let rules = Rules { caches, ..Rules::from(Element::F16) };
            let lowered = lower(network, graph, rules).unwrap();
            let inputs = lowered.layers.inputs.iter().zip(&lowered.sources);
            let is_large = |source: &Source| match source {
                Source::Past { .. } | Source::Cache(_) => true,
                // Above all the table, which is also the head.
                Source::Weight { id, .. } => network.weights[id.index()].shape.len() == 2,
                Source::Rows { .. } | Source::Extent(_) => false,
            };
            let inputs = inputs.filter(|(_, source)| is_large(source));
            let outputs = lowered.layers.outputs.iter().zip(&lowered.sinks);
            let outputs = outputs.filter(|(_, s)| matches!(s, Sink::InPlace(_)));
            let names = inputs.map(|(i, _)| &i.name).chain(outputs.map(|(o, _)| &o.name));
            let budget = Budget {
                kernels_max: 18 * n_layers,
                scratch_bytes_max: 256 << 10,
                kept: names.cloned().collect(),
                n_attentions: Some(n_attentions),
            };
            let plan = Network::new(&library, &lowered.layers)
                .and_then(|mut network| network.plan(&Target::Capabilities(vec![gpu])))
                .unwrap();
            for program in programs(&plan) {
                let (n, bytes) = (program.kernels.len(), program.scratch_bytes);
                println!("{caches:?}, {}: {n} kernels, {bytes} bytes of scratch", program.target);
            }
            assert_eq!(lint(&plan, &budget), [""; 0], "{caches:?}, {gpu}");
        }
    }
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn each_gpu_has_its_own_plan_and_what_a_gpu_lacks_is_refused_by_name() {
    let library = Library::open(None).unwrap();
    let model = model("small-reason");
    let network = model.network();
    let graph = &network.graphs[network.graph("decode").unwrap().index()];
    let plan = |compute, target: &Target| {
        let layers: Layers = lower(network, graph, compute).unwrap().layers;
        Network::new(&library, &layers).unwrap().plan(target).map_err(|why| why.to_string())
    };
    for gpu in GPUS {
        plan(Element::F16, &Target::Capabilities(vec![gpu])).unwrap();
    }
    for (compute, target) in [
        (Element::Bf16, Target::Capabilities(vec![75])),
        (Element::F32, Target::Capabilities(vec![75])),
        (Element::F16, Target::Capabilities(vec![90])),
        // There is no GPU here whose architecture could be asked for.
        (Element::F16, Target::Current),
    ] {
        let why = plan(compute, &target).expect_err(&format!("{compute:?} for {target:?}"));
        println!("{compute:?} for {target:?}: {why}");
        assert!(!why.contains("does not say why"), "{why}");
    }
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn plans_that_are_cut_or_flipped_are_refused() {
    let library = Library::open(None).unwrap();
    let order = order(Target::Capabilities(GPUS.into()));
    let plan = Network::new(&library, &order.layers).unwrap().plan(&order.target).unwrap();
    let mut flipped = plan.clone();
    flipped[1] ^= 0x40;
    let cut = &plan[..plan.len() / 2];
    for (what, bytes) in [("empty", &[][..]), ("cut", cut), ("flipped", &flipped), ("garbage", &[7u8; 5000])]
    {
        let why = library.can_open(bytes).expect_err(what).to_string();
        println!("{what}: {why}");
        assert!(why.contains(&format!("plan of {} bytes", bytes.len())) && !why.contains("does not say why"));
    }
    // A whole one: refused for want of a GPU, and so otherwise than a broken one; or opened.
    if let Err(why) = library.can_open(&plan) {
        println!("whole: {why}");
        assert!(why.to_string().to_lowercase().contains("cuda"), "{why}");
    }
}

/// What the lowering never writes: an input that nothing reads, and a product that does not fit.
#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn a_network_that_does_not_fit_is_refused_with_tensorrts_reason() {
    let library = Library::open(None).unwrap();
    let case = cases::all().into_iter().find(|case| case.name.starts_with("linear 3 → 5")).unwrap();
    let whole = lower(&case.network, &case.network.graphs[0], Element::F32).unwrap().layers;
    let refused = |change: &dyn Fn(&mut Layer)| {
        let mut layers = whole.clone();
        let product = |layer: &&mut Layer| matches!(layer.kind, Kind::MatrixMultiply { .. });
        change(layers.layers.iter_mut().find(product).unwrap());
        let network = Network::new(&library, &layers);
        let plan = network.and_then(|mut network| network.plan(&Target::Capabilities(vec![86])));
        plan.map(|plan| plan.len()).unwrap_err().to_string()
    };
    let unused = refused(&|layer| layer.inputs[1] = layer.inputs[0]);
    println!("{unused}");
    let misfit = refused(&|layer| layer.kind = Kind::MatrixMultiply { transposed: [false, false] });
    println!("{misfit}");
    for why in [unused, misfit] {
        assert!(why.contains("TensorRT") && !why.contains("does not say why"), "{why}");
    }
}

#[test]
#[cfg_attr(not(feature = "tensorrt"), ignore = "TensorRT is not compiled in")]
fn what_is_no_library_of_tensorrt_is_refused() {
    let libc = Library::open(Some("libc.so.6".as_ref())).unwrap_err().to_string();
    assert!(libc.contains("lacks getInferLibVersion"), "{libc}");
    let nowhere = Library::open(Some("/nowhere/libnvinfer.so".as_ref())).unwrap_err().to_string();
    assert!(nowhere.contains("PERIHELION_TENSORRT"), "{nowhere}");
}
