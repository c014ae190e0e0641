//! Power rails: voltages and currents of INA3221 (and, on Thor, INA238) monitors, which `hwmon` shows without root.
//!
//! A rail has a label, a voltage in mV and a current in mA (`Documentation/hwmon/ina3221.rst`). The driver's `sum of shunt voltages` is
//! no rail, though it has a label.

use serde::Serialize;

use super::Root;

/// A rail and what it carries now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rail {
    /// As the device tree labels it (`VDD_GPU_SOC`).
    pub name: String,
    /// Volts times amperes.
    pub watts: f64,
}

/// All rails, and what they come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rails {
    /// Each rail.
    pub rails: Vec<Rail>,
    /// What the module draws; none of rails that are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watts: Option<f64>,
    /// The rails of which that is the sum.
    pub watts_of: Vec<String>,
}

/// Rails that together carry all that the module draws; the first line of which all are there counts. Source: NVIDIA's developer
/// guide, "Software-Based Power Consumption Modeling": what is not in a line is fed from a rail that is.
const WHOLE: &[&[&str]] = &[
    &["VDD_IN"],                                    // Orin NX and Nano
    &["VIN"],                                       // Thor's developer kit, with the carrier board
    &["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"],  // AGX Orin
    &["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"], // Thor
];

impl Rails {
    /// Reads every monitor.
    pub fn read(root: &Root) -> Rails {
        let mut rails = Vec::new();
        for chip in root.folders("sys/class/hwmon", "hwmon") {
            if !root.line(&format!("{chip}/name")).is_some_and(|name| name.starts_with("ina")) {
                continue;
            }
            for file in root.names(&chip) {
                let channel = file.strip_prefix("in").and_then(|rest| rest.strip_suffix("_label"));
                rails.extend(channel.and_then(|channel| rail(root, &chip, channel)));
            }
        }
        let watts_of = |name: &&str| rails.iter().find(|rail| rail.name == **name).map(|rail| rail.watts);
        let sums = WHOLE.iter().map(|names| (names, names.iter().map(watts_of).sum::<Option<f64>>()));
        let whole = sums.into_iter().find_map(|(names, watts)| Some((names, watts?)));
        Rails {
            watts: whole.map(|(_, watts)| watts),
            watts_of: whole
                .map_or(Vec::new(), |(names, _)| names.iter().map(|name| (*name).to_owned()).collect()),
            rails,
        }
    }
}

fn rail(root: &Root, chip: &str, channel: &str) -> Option<Rail> {
    let name = root.line(&format!("{chip}/in{channel}_label"))?;
    let millivolts = root.number(&format!("{chip}/in{channel}_input"))?;
    let milliamperes = root.number(&format!("{chip}/curr{channel}_input"))?;
    // The chip's registers have 13 bits: what is beyond is not one of its readings.
    let is_sane = (0..1_000_000).contains(&millivolts) && (-1_000_000..1_000_000).contains(&milliamperes);
    (is_sane && !name.contains("shunt"))
        .then(|| Rail { name, watts: (millivolts as f64) * (milliamperes as f64) / 1e6 })
}
