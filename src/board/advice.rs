//! What a board's state means: a line for each thing, good as it is or with what is wrong and the command that mends it.

use serde::Serialize;

use super::{Board, Clock};

/// What is wrong, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// In a sentence.
    pub what: String,
    /// A command, or what to do.
    pub remedy: String,
}

/// One thing of a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What is looked at.
    pub name: &'static str,
    /// How it is.
    pub value: String,
    /// None where it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
}

/// Nearer than this to where clocks are slowed down, a longer run will get there.
const CELSIUS_NEAR: f64 = 10.0;
/// With less that is free, the engines of the smallest models do not open.
const AVAILABLE_BYTES_MIN: u64 = 2 << 30;
/// The first release whose TensorRT (10) is spoken to.
const JETSON_LINUX_MIN: u32 = 36;

impl Board {
    /// Everything that was looked at, in the order in which a person would mend it.
    pub fn lines(&self) -> Vec<Line> {
        vec![
            self.module_line(),
            self.jetson_linux_line(),
            found("CUDA", self.software.cuda.as_deref()),
            found("TensorRT", self.software.tensorrt.as_deref()),
            self.power_mode_line(),
            self.clocks_line(),
            self.memory_line(),
            self.swap_line(),
            self.temperature_line(),
            self.throttling_line(),
            self.over_current_line(),
            self.power_line(),
        ]
    }

    fn module_line(&self) -> Line {
        let module = &self.module;
        let part = module.part.as_deref().unwrap_or("part number not told");
        let gpu = module.gpu_architecture.unwrap_or("GPU architecture not known");
        let value = format!("{}, {part}, {}, {gpu}", module.board, module.chip);
        let advice = module.gpu_architecture.is_none().then(|| Advice {
            what: format!("the chip {} is not known to this program", module.chip),
            remedy:
                "its GPU cannot be used; the processor can: perihelion build MODEL -o ENGINE --backend cpu"
                    .to_owned(),
        });
        Line { name: "module", value, advice }
    }

    fn jetson_linux_line(&self) -> Line {
        let software = &self.software;
        let told = software.jetson_linux.as_deref();
        let jetpack = software.jetpack.as_deref().map_or(String::new(), |v| format!(", JetPack {v}"));
        let advice = match software.jetson_linux_major() {
            None => Some(Advice {
                what: "no release of Jetson Linux is told (/etc/nv_tegra_release): a container may hide it"
                    .to_owned(),
                remedy: "run doctor outside of the container, or mount /etc/nv_tegra_release into it"
                    .to_owned(),
            }),
            Some(major) if major < JETSON_LINUX_MIN => Some(Advice {
                what: format!(
                    "Jetson Linux {major} carries a TensorRT that is too old: 10.3 or later is needed"
                ),
                remedy: "flash JetPack 6.2 or later with NVIDIA SDK Manager; the CPU backend runs as it is"
                    .to_owned(),
            }),
            Some(_) => None,
        };
        Line { name: "Jetson Linux", value: format!("{}{jetpack}", told.unwrap_or("unknown")), advice }
    }

    fn power_mode_line(&self) -> Line {
        let name = "power mode";
        let Some(mode) = &self.power_mode else {
            return Line { name, value: "not told".to_owned(), advice: None };
        };
        let slower = mode.uncapped().filter(|fastest| fastest.id != mode.now.id);
        let advice = slower.map(|fastest| Advice {
            what: format!("the power mode {} caps clocks: latencies are those of this mode", mode.now.name),
            remedy: format!(
                "sudo nvpmodel -m {}    # {}, where power and cooling allow",
                fastest.id, fastest.name
            ),
        });
        Line { name, value: format!("{} ({})", mode.now.name, mode.now.id), advice }
    }

    fn clocks_line(&self) -> Line {
        let mhz = |khz: Option<u64>| khz.map_or("?".to_owned(), |khz| (khz / 1000).to_string());
        let text = |clock: &Clock| format!("{} {} of {} MHz", clock.name, mhz(clock.khz), mhz(clock.khz_max));
        let value: Vec<String> = self.clocks.all().map(text).collect();
        let moving = self.clocks.all().filter(|clock| !clock.is_pinned()).count();
        let advice = (0 < moving).then(|| Advice {
            what: "clocks follow the load: the first answers after a rest are slower, and measurements vary"
                .to_owned(),
            remedy: "sudo jetson_clocks    # holds them at the power mode's highest until the next start"
                .to_owned(),
        });
        let value = if value.is_empty() { "not told".to_owned() } else { value.join(", ") };
        Line { name: "clocks", value, advice }
    }

    fn memory_line(&self) -> Line {
        let memory = &self.memory;
        let advice = memory.available_bytes.filter(|bytes| *bytes < AVAILABLE_BYTES_MIN).map(|bytes| Advice {
            what: format!("only {} of memory can be had, which processor and GPU share", gib(bytes)),
            remedy: "sudo systemctl isolate multi-user.target    # ends the desktop; sudo systemctl set-default for good"
                .to_owned(),
        });
        let told = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), gib);
        let value = format!("{}, {} of it available", told(memory.total_bytes), told(memory.available_bytes));
        Line { name: "memory", value, advice }
    }

    fn swap_line(&self) -> Line {
        let memory = &self.memory;
        let what = match (memory.swap_bytes, memory.zram_bytes) {
            (0, 0) => Some("there is no swap: the build of a large engine may be killed"),
            (0, _) => Some("all swap is compressed memory (zram), which a build takes from itself"),
            _ => None,
        };
        let advice = what.map(|what| Advice {
            what: what.to_owned(),
            remedy: "sudo systemctl disable --now nvzramconfig; sudo fallocate -l 16G /swapfile && sudo chmod 600 /swapfile \
                     && sudo mkswap /swapfile && sudo swapon /swapfile"
                .to_owned(),
        });
        let value =
            format!("{} on disk, {} compressed in memory", gib(memory.swap_bytes), gib(memory.zram_bytes));
        Line { name: "swap", value, advice }
    }

    fn temperature_line(&self) -> Line {
        let name = "temperature";
        let Some(zone) = self.heat.hottest() else {
            return Line { name, value: "not told".to_owned(), advice: None };
        };
        let slows = zone.celsius_slows.map_or(String::new(), |at| format!(", slowed down from {at:.0} °C"));
        let near = zone.celsius_slows.filter(|at| at - CELSIUS_NEAR <= zone.celsius);
        let advice = near.map(|at| Advice {
            what: format!("{:.1} °C is near the {at:.0} °C at which clocks are slowed down", zone.celsius),
            remedy: "sudo jetson_clocks --fan    # the fan at its fastest; then look at the heat sink"
                .to_owned(),
        });
        Line { name, value: format!("{:.1} °C ({}){slows}", zone.celsius, zone.name), advice }
    }

    fn throttling_line(&self) -> Line {
        let names: Vec<&str> = self.heat.throttled().map(|alert| alert.name.as_str()).collect();
        let value = match (self.heat.alerts.len(), names.is_empty()) {
            (0, _) => "not told".to_owned(),
            (_, true) => "none".to_owned(),
            (_, false) => names.join(", "),
        };
        let advice = (!names.is_empty()).then(|| Advice {
            what: "clocks are slowed down now, because of heat".to_owned(),
            remedy: "sudo jetson_clocks --fan, or a smaller power mode: sudo nvpmodel -m ID".to_owned(),
        });
        Line { name: "throttling", value, advice }
    }

    fn over_current_line(&self) -> Line {
        let counters = &self.heat.over_current;
        let told: Vec<String> = counters.iter().map(|c| format!("{} {}", c.name, c.events)).collect();
        let events: u64 = counters.iter().fold(0, |sum, counter| sum.saturating_add(counter.events));
        let advice = (0 < events).then(|| Advice {
            what: format!("the power supply was overdrawn {events} times since the start, each time slowing down for a moment"),
            remedy: "a stronger supply and shorter cable; or a power mode with a cap: sudo nvpmodel -m ID".to_owned(),
        });
        let value = if told.is_empty() { "not told".to_owned() } else { told.join(", ") };
        Line { name: "over-current events", value, advice }
    }

    fn power_line(&self) -> Line {
        let value = match self.rails.watts {
            Some(watts) => format!("{watts:.1} W ({})", self.rails.watts_of.join(" + ")),
            None => "not told".to_owned(),
        };
        Line { name: "power drawn", value, advice: None }
    }
}

/// A library that JetPack brings.
fn found(name: &'static str, version: Option<&str>) -> Line {
    let advice = version.is_none().then(|| Advice {
        what: format!("{name} is not installed: only the CPU can be used"),
        remedy: "sudo apt-get install nvidia-jetpack".to_owned(),
    });
    Line { name, value: version.map_or("not found".to_owned(), |v| format!("{v} found")), advice }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)
}
