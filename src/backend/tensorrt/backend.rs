//! TensorRT as a backend: plans from child processes or kept from before, sessions on NVIDIA's driver.

use std::cell::RefCell;
use std::process::Command;
use std::time::Duration;

use super::cache::{Key, PlanCache};
use super::compile::{Compiled, Order, available_bytes, compile, estimate_bytes};
use super::driver::{self, Gpu};
use super::layers::Layers;
use super::precision::{STORING, check_target, narrow};
use super::sections::{weights_bytes, write};
use super::session::open_on;
use super::shim::{Library, Target};
use super::target::{Wanted, architectures};
use crate::backend::{
    Backend, BackendError, Binding, OpenOptions, PlanMade, PlanTold, SectionSink, Sections, Session, Stored,
    Storing, Told,
};
use crate::graph::{Network, Weights};

/// Version of what `build` writes: counted up by every change of lowering, of the weights' layout, or of sections.
const LAYOUT_VERSION: u32 = 2;

/// TensorRT or TensorRT-RTX, building for one target.
#[derive(Debug)]
pub struct TensorRt {
    library: Library,
    /// The GPU of this machine, or why there is none.
    here: Result<Gpu, String>,
    target: Target,
    capabilities: Vec<i32>,
}

impl TensorRt {
    /// For a target by name, or for the GPU of this machine if none is named.
    ///
    /// # Errors
    /// If there is no library, no such target, or it cannot build for it.
    pub fn new(target: Option<&str>) -> Result<TensorRt, BackendError> {
        // A wrong name is told on any machine.
        let wanted = target.map_or_else(|| Ok(Wanted::current()), Wanted::parse)?;
        let library = Library::open(None)?;
        let here = driver::gpu();
        let capability = match &here {
            Ok(gpu) => Ok(gpu.capability),
            Err(why) => Err(BackendError::NoDevice { name: "tensorrt", why: why.clone() }),
        };
        let (target, capabilities) = wanted.resolve(library.is_rtx(), library.version(), capability)?;
        Ok(TensorRt { library, here, target, capabilities })
    }

    /// What a plan depends on.
    fn key(&self, order: &Order) -> Key {
        let order = serde_json::to_vec(order).expect("plain data");
        // A plan for the GPU that is there is tuned to it, whatever others share its architecture.
        let gpu = match (&self.target, &self.here) {
            (Target::Current, Ok(gpu)) => format!("{gpu:?}"),
            _ => String::new(),
        };
        let form = format!("layout {LAYOUT_VERSION}, {}", std::env::consts::ARCH);
        Key::of(&[form.as_bytes(), self.library.version().as_bytes(), gpu.as_bytes(), &order])
    }

    /// Has a plan made by a child process, if there is memory for it.
    fn made(&self, order: &Order, tick: &mut dyn FnMut(Duration)) -> Result<Compiled, BackendError> {
        let failed = |why: String| BackendError::Compiler { graph: order.graph.clone(), why };
        let needed = estimate_bytes(&order.layers);
        if let Some(available) = available_bytes().filter(|available| *available < needed) {
            let mb = |bytes: u64| bytes / 1_000_000;
            return Err(failed(format!(
                "it takes about {} MB of memory, {} MB are available; end other programs, or add swap",
                mb(needed),
                mb(available)
            )));
        }
        let program =
            std::env::current_exe().map_err(|why| failed(format!("this program is not found: {why}")))?;
        let mut child = Command::new(program);
        child.arg("compile");
        compile(child, order, tick)
    }
}

/// How long plans take, by those that were made: TensorRT's work grows about as the layers do.
#[derive(Default)]
struct Pace {
    elapsed: Duration,
    n_layers: usize,
}

impl Pace {
    fn note(&mut self, elapsed: Duration, layers: &Layers) {
        self.elapsed = self.elapsed.saturating_add(elapsed);
        self.n_layers += layers.layers.len();
    }

    fn expected(&self, layers: &Layers) -> Option<Duration> {
        let of_layer = self.elapsed.checked_div(u32::try_from(self.n_layers).ok()?)?;
        Some(of_layer.saturating_mul(u32::try_from(layers.layers.len()).ok()?))
    }
}

impl Backend for TensorRt {
    fn name(&self) -> &'static str {
        "tensorrt"
    }

    fn check(&self) -> Result<String, BackendError> {
        match &self.here {
            Ok(gpu) => Ok(format!("{} on {} (sm_{})", self.library.version(), gpu.name, gpu.capability)),
            Err(why) => Err(BackendError::NoDevice { name: "tensorrt", why: why.clone() }),
        }
    }

    fn binding(&self) -> Binding {
        Binding::default()
            .with("layout", LAYOUT_VERSION)
            .with("platform", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))
            .with("library", self.library.version())
            .with("gpu", architectures(&self.capabilities))
    }

    fn storing(&self) -> Storing {
        STORING
    }

    fn accepts(&self, network: &Network, stored: &Stored) -> Result<(), BackendError> {
        // Also of this machine's own GPU: its architecture is known by now.
        check_target(network, stored, &Target::Capabilities(self.capabilities.clone()))?;
        let narrow = narrow(network, &stored.formats);
        let Some((weight, _)) = network.weights.iter().zip(narrow).find(|(_, narrow)| narrow.is_some())
        else {
            return Ok(());
        };
        if self.library.takes_placeholders() {
            return Ok(());
        }
        let why = format!(
            "part `{}` is to be of fewer than 16 bits, and {} makes no plan that waits for such weights: TensorRT-RTX 1.7 and TensorRT 11.3 \
             do; ask for f16",
            weight.part,
            self.library.version()
        );
        Err(BackendError::Unsupported { why })
    }

    fn estimate_bytes(&self, network: &Network, stored: &Stored) -> Option<u64> {
        weights_bytes(network, stored)
    }

    fn build(
        &self,
        network: &Network,
        weights: &dyn Weights,
        stored: &Stored,
        out: &mut dyn SectionSink,
        told: &mut dyn FnMut(Told<'_>),
    ) -> Result<u64, BackendError> {
        let cache = PlanCache::of_user();
        let n_plans = network.graphs.len();
        let mut pace = Pace::default();
        let mut make = |graph: &str,
                        layers: &Layers,
                        place: usize,
                        told: &mut dyn FnMut(Told<'_>)|
         -> Result<Vec<u8>, BackendError> {
            // Two tell: the cache of what it finds, and the child's progress.
            let hears = RefCell::new(told);
            let tell = |what: Told<'_>| {
                let mut told = hears.borrow_mut();
                (*told)(what);
            };
            let of_plan = |elapsed: Duration, made: Option<PlanMade>| {
                let expected = pace.expected(layers);
                let place = (place, n_plans);
                tell(Told::Plan(PlanTold { graph, place, elapsed, expected, made }));
            };
            let order =
                Order { graph: graph.to_owned(), layers: layers.clone(), target: self.target.clone() };
            of_plan(Duration::ZERO, None);
            let mut note = |what: &str| tell(Told::Note(what));
            let mut make = || self.made(&order, &mut |elapsed| of_plan(elapsed, None));
            let (compiled, is_kept) = cache.plan(&self.key(&order), &mut note, &mut make)?;
            let Compiled { plan, elapsed, peak_bytes } = compiled;
            of_plan(elapsed, Some(PlanMade { plan_bytes: plan.len() as u64, peak_bytes, is_kept }));
            pace.note(elapsed, layers);
            Ok(plan)
        };
        write(network, weights, stored, &mut make, out, told)
    }

    fn open(
        &self,
        network: Network,
        stored: &Stored,
        sections: &Sections,
        _options: &OpenOptions,
    ) -> Result<Box<dyn Session>, BackendError> {
        open_on(network, stored, sections, driver::open(&self.library)?)
    }
}

#[cfg(test)]
#[test]
fn plans_are_expected_to_take_as_long_as_those_before_them() {
    let of = |n: usize| {
        let mut recorder = super::recorder::Recorder::default();
        for _ in 0..n {
            recorder.i64s(&[1]);
        }
        recorder.finish()
    };
    let mut pace = Pace::default();
    assert_eq!(pace.expected(&of(3)), None);
    pace.note(Duration::from_secs(4), &of(2));
    pace.note(Duration::from_secs(2), &of(4));
    assert_eq!(pace.expected(&of(3)), Some(Duration::from_secs(3)));
}
