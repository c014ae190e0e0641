//! The board below the program: which Jetson it is, what is installed on it, its power mode, clocks, memory, temperatures, throttling,
//! over-current counters and power rails; and a watch over them while something is measured.
//!
//! Everything is read from files that need no root and no tool, below one root folder, so that a recorded tree is read like a live
//! board. What a board does not tell is absent, never guessed, and a damaged file is a file that tells nothing.
//!
//! Where the formats are documented: NVIDIA's *Jetson Linux Developer Guide*, chapter "Platform Power and Performance" (`nvpmodel`,
//! `cpufreq`, `devfreq`, thermal zones, INA3221 rails, `soctherm_oc` counters), and the kernel's `Documentation/hwmon` and
//! `Documentation/ABI/testing/sysfs-class-thermal`, `-devfreq`.

mod advice;
mod clocks;
mod device;
mod heat;
mod memory;
mod module;
mod power_mode;
mod rails;
mod root;
mod software;
mod watch;

pub use advice::{Advice, Line};
pub use clocks::{Clock, Clocks};
pub use device::{DEVICES, Device, Figure, Peak, STORAGES, Storage};
pub use heat::{Alert, Counter, Heat, Zone};
pub use memory::{Memory, kib_field};
pub use module::Module;
pub use power_mode::{Mode, PowerMode};
pub use rails::{Rail, Rails};
pub use root::Root;
pub use software::Software;
pub use watch::{Record, Watch};

use serde::Serialize;

/// A Jetson, as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct Board {
    /// Which one.
    pub module: Module,
    /// What is installed.
    pub software: Software,
    /// The mode that caps clocks and cores; none where nothing tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_mode: Option<PowerMode>,
    /// Clocks of processor and GPU.
    pub clocks: Clocks,
    /// Memory and swap.
    pub memory: Memory,
    /// Temperatures, throttling and over-current counters.
    pub heat: Heat,
    /// Power that is drawn.
    pub rails: Rails,
}

impl Board {
    /// Reads the board below a root; none if it is no Jetson.
    pub fn read(root: &Root) -> Option<Board> {
        let module = Module::read(root)?;
        Some(Board {
            software: Software::read(root),
            power_mode: PowerMode::read(root),
            clocks: Clocks::read(root),
            memory: Memory::read(root),
            heat: Heat::read(root),
            rails: Rails::read(root),
            module,
        })
    }
}
