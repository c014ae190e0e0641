//! Memory, which processor and GPU share on a Jetson, and swap.

use serde::Serialize;

use super::Root;

/// From `/proc/meminfo` and `/proc/swaps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// In all, without what firmware keeps.
    pub total_bytes: Option<u64>,
    /// What can be had without swapping.
    pub available_bytes: Option<u64>,
    /// Swap on files and partitions.
    pub swap_bytes: u64,
    /// Swap in compressed memory (`zram`), which takes from what the GPU could have.
    pub zram_bytes: u64,
}

impl Memory {
    /// Reads both files.
    pub fn read(root: &Root) -> Memory {
        let text = root.text("proc/meminfo").unwrap_or_default();
        let field = |key| kib_field(&text, key);
        let mut memory = Memory {
            total_bytes: field("MemTotal"),
            available_bytes: field("MemAvailable"),
            ..Memory::default()
        };
        // A heading, then lines of name, type, size in KiB, used, priority.
        for line in root.text("proc/swaps").unwrap_or_default().lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(kib) = words.get(2).and_then(|word| word.parse::<u64>().ok()) else { continue };
            let kind =
                if words[0].contains("zram") { &mut memory.zram_bytes } else { &mut memory.swap_bytes };
            *kind = kind.saturating_add(kib.saturating_mul(1024));
        }
        memory
    }
}

/// The value of a line `key: n kB`, in bytes, as the files of `/proc` write it.
pub fn kib_field(text: &str, key: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
#[test]
fn figures_are_read_as_the_kernel_writes_them() {
    let text = "VmPeak:\t  100 kB\nVmHWM:\t  7 kB\nRssAnon:\t 7 MB\n";
    assert_eq!(kib_field(text, "VmHWM"), Some(7 << 10));
    assert_eq!(["RssAnon", "Vm"].map(|key| kib_field(text, key)), [None, None]);
}
