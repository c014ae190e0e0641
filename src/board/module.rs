//! Which Jetson this is: from the device tree, whose `compatible` lists carrier, module and chip.

use serde::Serialize;

use super::Root;

/// A module and its chip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// As the firmware names the whole board (`NVIDIA Jetson AGX Orin Developer Kit`).
    pub board: String,
    /// The module's part number (`p3767-0005`), where the device tree tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The chip (`tegra234`).
    pub chip: String,
    /// The name by which options and recipes know such a device (`orin-nano`); none if they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'static str>,
    /// The GPU's architecture, as CUDA names it; none of a chip that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_architecture: Option<&'static str>,
}

/// Chips with their GPU's architecture. Source: CUDA's list of compute capabilities; 11.0 was 10.1 before CUDA 13.
const CHIPS: &[(&str, &str)] = &[("tegra194", "sm_72"), ("tegra234", "sm_87"), ("tegra264", "sm_110")];

/// Beginnings of part numbers, the longer before the shorter. Source: the table of devices in the *Jetson Linux Developer Guide*,
/// "Quick Start". Modules with less memory than the device of that name are not it.
const PARTS: &[(&str, Option<&str>)] = &[
    ("p3701-0005", Some("agx-orin")),
    ("p3701-0008", Some("agx-orin")),
    ("p3701", None),
    ("p3767-0000", Some("orin-nx")),
    ("p3767-0003", Some("orin-nano")),
    ("p3767-0005", Some("orin-nano")),
    ("p3767", None),
    ("p3834-0008", Some("thor")),
    ("p3834", None),
];

impl Module {
    /// Reads the device tree; none if it is not of a Jetson.
    pub fn read(root: &Root) -> Option<Module> {
        let board = root.line("proc/device-tree/model")?;
        let compatible = root.text("proc/device-tree/compatible").unwrap_or_default();
        let named: Vec<&str> =
            compatible.split('\0').filter_map(|name| name.strip_prefix("nvidia,")).collect();
        let chip = named.iter().find(|name| name.starts_with("tegra")).copied();
        if chip.is_none() && !board.contains("Jetson") {
            return None;
        }
        let chip = chip.unwrap_or("unknown").to_owned();
        // A carrier and a module in one name are joined by `+`, the module last; a `-super` is no part of the number.
        let is_part = |name: &&&str| name.starts_with("p3") && name.contains('-');
        let part = named.iter().filter(is_part).filter_map(|name| name.rsplit('+').next()).next_back();
        let part = part.map(|part| part.trim_end_matches("-super").to_owned());
        let device = part.as_deref().and_then(|part| PARTS.iter().find(|(begin, _)| part.starts_with(begin)));
        Some(Module {
            device: device.and_then(|(_, device)| *device),
            gpu_architecture: CHIPS.iter().find(|(known, _)| *known == chip).map(|(_, sm)| *sm),
            board,
            part,
            chip,
        })
    }
}
