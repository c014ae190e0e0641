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

use std::io::Write;

use self::pack::{AlignedBytes, PackedWeights, WeightLayout};
use self::session::CpuSession;
use super::{Backend, BackendError, Memory, OpenOptions, Payload, Precision, Session};
use crate::graph::Network;
use crate::graph::Weights;

/// Version of what `build` writes: counted up by every change of layout or packing.
pub const LAYOUT_VERSION: u32 = 1;

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

    /// Bytes by purpose that a session of a verified network would claim, once it is built and its file mapped. Nothing is claimed
    /// and no weight is looked at: a network may be asked that is too large for this machine.
    ///
    /// # Errors
    /// If the network holds what this backend cannot compute.
    pub fn claims(
        &self,
        network: &Network,
        precision: Precision,
        options: &OpenOptions,
    ) -> Result<Memory, BackendError> {
        let claims = session::claims_of(network, options.threads.unwrap_or_else(default_threads))?;
        Ok(Memory { weights_mapped_bytes: self.payload_bytes(network, precision), ..claims })
    }

    /// Builds and opens at once, with the packed weights in private memory: for networks that no file holds.
    ///
    /// # Errors
    /// As [`Backend::build`] and [`Backend::open`].
    pub fn prepare(
        &self,
        network: &Network,
        weights: &dyn Weights,
        precision: Precision,
        options: &OpenOptions,
    ) -> Result<Box<dyn Session>, BackendError> {
        let mut bytes = AlignedBytes::default();
        self.build(network, weights, precision, &mut bytes, &mut |_| ())?;
        self.open(network.clone(), precision, Payload::in_memory(bytes), options)
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

    fn payload_bytes(&self, network: &Network, precision: Precision) -> u64 {
        WeightLayout::new(network, precision).total_bytes() as u64
    }

    fn build(
        &self,
        network: &Network,
        weights: &dyn Weights,
        precision: Precision,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), BackendError> {
        for graph in &network.graphs {
            lower::lower(network, graph).map_err(|why| BackendError::Unsupported { why })?;
        }
        let layout = WeightLayout::new(network, precision);
        let failed = |source| BackendError::System { what: "the packed weights", source };
        layout.write(network, weights, out, progress).map_err(failed)
    }

    fn open(
        &self,
        network: Network,
        precision: Precision,
        payload: Payload,
        options: &OpenOptions,
    ) -> Result<Box<dyn Session>, BackendError> {
        let layout = WeightLayout::new(&network, precision);
        let weights = PackedWeights::new(layout, payload).map_err(|why| BackendError::Payload { why })?;
        let n_threads = options.threads.unwrap_or_else(default_threads);
        Ok(Box::new(CpuSession::new(network, weights, self.isa, n_threads, self.shares_all)?))
    }
}
