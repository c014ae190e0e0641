//! What this machine is: the device block of reports, and the figures of a process's memory.
//!
//! Everything is read from `/proc` and `/sys`; what a machine does not tell is left out of the report, never guessed.

use std::fs;
use std::num::NonZeroUsize;

use serde::Serialize;

use crate::board::{Board, Memory, Root, kib_field};

/// The device block.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// The board's name, where the firmware has a device tree (Jetson).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// `x86_64`, `aarch64`.
    pub architecture: &'static str,
    /// The processor's name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// What the kernels may use of the processor.
    pub instruction_sets: Vec<&'static str>,
    /// Memory of the machine.
    pub memory_total_bytes: Option<u64>,
    /// Memory that can be had without swapping.
    pub memory_available_bytes: Option<u64>,
    /// The limit of this process's control group, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_cgroup_limit_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The frequency governor of core 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// The Jetson's power mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_mode: Option<String>,
    /// JetPack's base, Jetson Linux (`36.4.7`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l4t: Option<String>,
    /// Load of the last minute: other work makes figures worse.
    pub load_1min: Option<f64>,
}

/// This process's memory, each figure with its source; they overlap and are never summed.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct ProcessMemory {
    /// `VmHWM`: the most resident memory so far, mapped files included.
    pub vm_hwm_bytes: Option<u64>,
    /// `RssAnon`: resident memory that is this process's own.
    pub rss_anon_bytes: Option<u64>,
    /// `RssFile`: resident pages of mapped files, which processes share.
    pub rss_file_bytes: Option<u64>,
}

/// One core fewer than there are, at least one: the last is for the camera's topics.
pub(crate) fn default_threads() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores - 1).unwrap_or(NonZeroUsize::MIN)
}

impl Machine {
    /// Looks at the machine.
    pub(super) fn look() -> Self {
        let board = Board::read(&Root::machine());
        let memory = Memory::read(&Root::machine());
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let cpu = ["model name", "Hardware", "Processor"].iter().find_map(|key| field(&cpuinfo, key));
        Self {
            board: read("/proc/device-tree/model").map(|s| s.trim_end_matches('\0').to_owned()),
            architecture: std::env::consts::ARCH,
            cpu: cpu.unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            instruction_sets: instruction_sets(),
            memory_total_bytes: memory.total_bytes,
            memory_available_bytes: memory.available_bytes,
            memory_cgroup_limit_bytes: read("/sys/fs/cgroup/memory.max").and_then(|s| s.trim().parse().ok()),
            kernel: read("/proc/sys/kernel/osrelease").map(|s| s.trim().to_owned()),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .map(|s| s.trim().to_owned()),
            power_mode: board.as_ref().and_then(|board| Some(board.power_mode.as_ref()?.now.name.clone())),
            l4t: board.and_then(|board| board.software.jetson_linux),
            load_1min: read("/proc/loadavg").and_then(|s| s.split(' ').next()?.parse().ok()),
        }
    }
}

impl ProcessMemory {
    /// This process's figures now.
    pub(super) fn look() -> Self {
        let status = read("/proc/self/status").unwrap_or_default();
        Self {
            vm_hwm_bytes: kib_field(&status, "VmHWM"),
            rss_anon_bytes: kib_field(&status, "RssAnon"),
            rss_file_bytes: kib_field(&status, "RssFile"),
        }
    }
}

/// The extensions that the kernels know, as far as this processor has them.
pub(super) fn instruction_sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    #[cfg(target_arch = "aarch64")]
    let known = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let known: [(&'static str, bool); 0] = [];
    known.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

fn read(path: &str) -> Option<String> {
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The value of a line `key : value`.
fn field(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
#[test]
fn figures_are_read_as_the_kernel_writes_them() {
    assert_eq!(field("flags\t: fpu\nmodel name\t: A B\n", "model name").as_deref(), Some("A B"));
    assert!(1 <= default_threads().get());
}
