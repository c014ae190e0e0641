//! What an engine will claim that is not built yet.

use std::num::NonZeroUsize;

use serde::Serialize;

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Memory, OpenOptions, WeightFormat};
use crate::cli::engines::memory_rows;
use crate::cli::output;
use crate::graph::Network;

/// What a session will claim, once the network is built in one format and opened.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    backend: &'static str,
    precision: WeightFormat,
    memory: Memory,
}

impl Plan {
    /// One for each format of the CPU's. Nothing is claimed: a network may be larger than this machine.
    pub(super) fn all(network: &Network, threads: NonZeroUsize) -> anyhow::Result<Vec<Plan>> {
        let (cpu, options) = (Cpu::new()?, OpenOptions { threads: Some(threads.get()) });
        let plan = |precision: &WeightFormat| {
            let memory = cpu.claims(network, *precision, &options)?;
            Ok(Plan { backend: "cpu", precision: *precision, memory })
        };
        cpu.storing().formats.iter().map(plan).collect()
    }

    /// As a table with its title.
    pub(super) fn text(&self) -> String {
        let title = format!("\nbytes by purpose, built for the CPU in {} and opened\n", self.precision);
        title + &output::table(&memory_rows(&self.memory))
    }
}
