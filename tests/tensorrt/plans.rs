//! Plans: made without a GPU where TensorRT-RTX is there; and how their making fails, which needs nothing.

use std::process::Command;

use perihelion::backend::BackendError;
use perihelion::backend::tensorrt::{
    Element, Kind, Layer, Layers, Library, Network, Order, Target, compile, lower,
};

use crate::cases;
use crate::models::model;

const GPUS: [i32; 3] = [86, 89, 120];

fn order(target: Target) -> Order {
    let case = &cases::all()[0];
    let layers = lower(&case.network, &case.network.graphs[0], Element::F32).unwrap().layers;
    Order { graph: "main".into(), layers, target }
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

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn a_child_makes_a_plan() {
    let made = compile(perihelion(), &order(Target::Capabilities(GPUS.into())), &mut |_| ()).unwrap();
    println!("{} bytes in {:?}, {} MB at most", made.plan.len(), made.elapsed, made.peak_bytes / 1_000_000);
    assert!(1000 < made.plan.len() && 1 << 20 < made.peak_bytes);
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn plans_of_every_graph_of_the_small_models_are_made_for_three_gpus_in_three_types() {
    let library = Library::open(None).unwrap();
    println!("{}", library.version());
    for name in ["small-reason", "small-predict"] {
        let model = model(name);
        for compute in [Element::F32, Element::F16, Element::Bf16] {
            for graph in &model.network().graphs {
                let begun = std::time::Instant::now();
                let layers = lower(model.network(), graph, compute).unwrap().layers;
                let mut network = Network::new(&library, &layers).unwrap();
                let made = network.plan(&Target::Capabilities(GPUS.into()));
                let plan = made.unwrap_or_else(|why| panic!("{name}, {}, {compute:?}: {why}", graph.name));
                let (kb, s) = (plan.len() / 1000, begun.elapsed().as_secs_f32());
                println!(
                    "{name}, {}, {compute:?}: {} layers, {kb} kB in {s:.1} s",
                    graph.name,
                    layers.layers.len()
                );
                // The weights are inputs: what is in a plan is code and a few constants.
                let constants: usize = layers.layers.iter().map(|l| l.kind.bytes().len()).sum();
                assert!(constants < 200_000, "{name}, {}: {constants} bytes of constants", graph.name);
            }
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
