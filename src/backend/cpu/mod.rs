//! The CPU backend: a compiler from graphs to flat lists of kernel calls.
//!
//! ```text
//! fuse ─▶ lower ─▶ placement ─▶ session: bind ─▶ step ─▶ kernels
//!         program   arena                 pool    pack ──┘
//! ```
//! At build, `pack` writes the weights in the kernels' own layout. At open, `lower` turns each graph into calls, with
//! what follows a product fused into it; `placement` gives values places in one `arena` and calls stages; nothing of the
//! weights is read. A run walks the stages on the threads of the process's one `pool`.
//!
//! **Architecture invariant:** how work is cut depends on shapes alone and every result is computed in one order, so
//! results do not depend on the number of threads.

mod arena;
mod bind;
mod caches;
mod context;
mod cost;
mod fuse;
mod lower;
mod pack;
mod placement;
mod pool;
mod program;
mod session;
mod step;

pub use perihelion_kernels as kernels;

pub use kernels::{ISA_VARIABLE, Isa, IsaError};
pub use pool::{THREADS_MAX, default_threads};

use self::pack::{PackedWeights, WeightLayout};
use self::session::CpuSession;
use super::format::listed;
use super::{
    Backend, BackendError, Binding, CacheFormat, Memory, OpenOptions, Scales, SectionSink, Sections, Session,
    Stored, Storing, Told, WeightFormat,
};
use crate::graph::{Network, Weights};

/// Version of what `build` writes: counted up by every change of layout or packing.
pub const LAYOUT_VERSION: u32 = 1;

/// The one section that `build` writes. There is no plan in it: lowering a graph takes no time worth saving.
const WEIGHTS: &str = "weights";

/// The CPU backend, with the kernels of one instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    isa: Isa,
    shares_all: bool,
}

impl Cpu {
    /// With the best instruction set of this machine, or the one that [`ISA_VARIABLE`] names.
    ///
    /// # Errors
    /// If the variable names none that this machine has.
    pub fn new() -> Result<Cpu, BackendError> {
        let isa = Isa::detect();
        isa.map(Cpu::with_isa).map_err(|e| BackendError::Unavailable { name: "cpu", why: e.to_string() })
    }

    /// With the kernels of an instruction set, which opening checks.
    pub fn with_isa(isa: Isa) -> Cpu {
        Cpu { isa, shares_all: false }
    }

    /// Has threads share even the smallest stage, in the smallest pieces. Slower: it is there for tests, whose networks are
    /// too small for sharing to pay.
    pub fn sharing_all_work(self) -> Cpu {
        Cpu { shares_all: true, ..self }
    }

    /// Bytes by purpose that a session of a verified network would claim, once it is built with all parts in one format and its
    /// file mapped. Nothing is claimed and no weight is looked at: a network may be asked that is too large for this machine.
    ///
    /// # Errors
    /// If the network holds what this backend cannot compute, or it does not store the format.
    pub fn claims(
        &self,
        network: &Network,
        format: WeightFormat,
        options: &OpenOptions,
    ) -> Result<Memory, BackendError> {
        let layout = layout(network, &vec![format; network.weights.len()])?;
        let claims = session::claims_of(network, None, options.threads.unwrap_or_else(default_threads))?;
        Ok(Memory { weights_mapped_bytes: layout.total_bytes() as u64, ..claims })
    }

    /// Builds and opens at once, with the packed weights in private memory: for networks that no file holds.
    ///
    /// # Errors
    /// As [`Backend::build`] and [`Backend::open`].
    pub fn prepare(
        &self,
        network: &Network,
        weights: &dyn Weights,
        stored: &Stored,
        options: &OpenOptions,
    ) -> Result<Box<dyn Session>, BackendError> {
        let mut sections = Sections::default();
        self.build(network, weights, stored, &mut sections, &mut |_| ())?;
        self.open(network.clone(), stored, &sections, options)
    }
}

fn layout(network: &Network, formats: &[WeightFormat]) -> Result<WeightLayout, BackendError> {
    match formats.iter().find(|format| !pack::FORMATS.contains(format)) {
        Some(format) => {
            let why =
                format!("this backend stores no weights as {format}; it stores {}", listed(pack::FORMATS));
            Err(BackendError::Unsupported { why })
        }
        None => Ok(WeightLayout::new(network, formats)),
    }
}

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn check(&self) -> Result<String, BackendError> {
        let all: Vec<&str> = Isa::available().iter().map(|isa| isa.name()).collect();
        Ok(format!("{} kernels of {}", self.isa, all.join(", ")))
    }

    fn binding(&self) -> Binding {
        Binding::default().with("layout", LAYOUT_VERSION).with("architecture", std::env::consts::ARCH)
    }

    fn storing(&self) -> Storing {
        Storing {
            formats: pack::FORMATS,
            scales: Scales::InBlocks,
            caches: CacheFormat::AsAsked(caches::FORMATS),
        }
    }

    fn accepts(&self, network: &Network, stored: &Stored) -> Result<(), BackendError> {
        if stored.scales.as_ref().is_some_and(|scales| scales.balances.is_empty()) {
            let why = "this backend takes no scales of activations: it finds them as it runs; leave --scales out, or give those of \
                       `calibrate --smooth`, which move magnitude to weights";
            return Err(BackendError::Unsupported { why: why.into() });
        }
        caches::narrow(network, stored.caches).map_err(|why| BackendError::Unsupported { why })?;
        layout(network, &stored.formats).map(drop)
    }

    fn estimate_bytes(&self, network: &Network, stored: &Stored) -> Option<u64> {
        Some(layout(network, &stored.formats).ok()?.total_bytes() as u64)
    }

    fn build(
        &self,
        network: &Network,
        weights: &dyn Weights,
        stored: &Stored,
        out: &mut dyn SectionSink,
        told: &mut dyn FnMut(Told<'_>),
    ) -> Result<u64, BackendError> {
        let unsupported = |why| BackendError::Unsupported { why };
        let narrow = caches::narrow(network, stored.caches).map_err(unsupported)?;
        for graph in &network.graphs {
            lower::lower(network, graph, &narrow).map_err(unsupported)?;
        }
        let layout = layout(network, &stored.formats)?;
        let mut progress = |done| told(Told::Weights(done));
        let written = out.section(WEIGHTS, &mut |out| layout.write(network, weights, out, &mut progress));
        written.map_err(|source| BackendError::System { what: "the packed weights", source })?;
        Ok(layout.total_bytes() as u64)
    }

    fn open(
        &self,
        network: Network,
        stored: &Stored,
        sections: &Sections,
        options: &OpenOptions,
    ) -> Result<Box<dyn Session>, BackendError> {
        let layout = layout(&network, &stored.formats)?;
        let weights = PackedWeights::new(layout, sections.get(WEIGHTS)?.clone());
        let weights = weights.map_err(|why| BackendError::Payload { why })?;
        let n_threads = options.threads.unwrap_or_else(default_threads);
        Ok(Box::new(CpuSession::new(network, stored.caches, weights, self.isa, n_threads, self.shares_all)?))
    }
}
