//! Clocks of the processor's cores and of the GPU, with the bounds between which they may move.

use serde::Serialize;

use super::Root;

/// One clock, in kHz; what is not told is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clock {
    /// `cpu0` (a policy is named by its first core), or as the kernel names the GPU's clock.
    pub name: String,
    /// What drives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// The lowest that it may be now.
    pub khz_min: Option<u64>,
    /// What it is.
    pub khz: Option<u64>,
    /// The highest that it may be now: the power mode's cap.
    pub khz_max: Option<u64>,
}

impl Clock {
    /// Whether it cannot move, as `jetson_clocks` leaves it.
    pub fn is_pinned(&self) -> bool {
        self.khz_min.is_some() && self.khz_min == self.khz_max
    }
}

/// The clocks that count for inference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Clocks {
    /// One for each group of cores that share a clock.
    pub cpu: Vec<Clock>,
    /// One for each clock of the GPU; Thor has several.
    pub gpu: Vec<Clock>,
}

impl Clocks {
    /// Reads `cpufreq` and `devfreq`.
    pub fn read(root: &Root) -> Clocks {
        let cpu = root.folders("sys/devices/system/cpu/cpufreq", "policy").into_iter().map(|policy| {
            let khz = |file: &str| root.count(&format!("{policy}/{file}"));
            Clock {
                name: format!("cpu{}", policy.rsplit("policy").next().unwrap_or("")),
                governor: root.line(&format!("{policy}/scaling_governor")),
                khz_min: khz("scaling_min_freq"),
                khz: khz("scaling_cur_freq"),
                khz_max: khz("scaling_max_freq"),
            }
        });
        // `17000000.gpu` (JetPack 6), `17000000.ga10b` (JetPack 5), `gpu-gpc-0` (Thor).
        let is_gpu = |name: &String| {
            name.ends_with(".gpu") || name.ends_with(".ga10b") || name.starts_with("gpu-gpc-")
        };
        let gpu = root.names("sys/class/devfreq").into_iter().filter(is_gpu).map(|name| {
            let khz = |file: &str| Some(root.count(&format!("sys/class/devfreq/{name}/{file}"))? / 1000);
            Clock {
                governor: root.line(&format!("sys/class/devfreq/{name}/governor")),
                khz_min: khz("min_freq"),
                khz: khz("cur_freq"),
                khz_max: khz("max_freq"),
                name,
            }
        });
        Clocks { cpu: cpu.collect(), gpu: gpu.collect() }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Clock> {
        self.cpu.iter().chain(&self.gpu)
    }
}
