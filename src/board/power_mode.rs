//! The power mode: what `nvpmodel` was last set to, and which modes there are.
//!
//! `nvpmodel` keeps the mode's number in `/var/lib/nvpmodel/status` (`pmode:0002`) and the modes in `/etc/nvpmodel.conf`
//! (`< POWER_MODEL ID=2 NAME=MAXN_SUPER >`). Why not `nvpmodel -q`: some releases want root for it, and containers do not have it.

use serde::Serialize;

use super::Root;

/// A mode that the board has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mode {
    /// What `nvpmodel -m` takes.
    pub id: u32,
    /// Its name; the number again if the configuration does not name it.
    pub name: String,
}

/// The mode that is set, and those that could be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PowerMode {
    /// The mode that is set.
    #[serde(flatten)]
    pub now: Mode,
    /// All modes, in the order of the configuration.
    pub modes: Vec<Mode>,
}

impl PowerMode {
    /// Reads `nvpmodel`'s state and configuration.
    pub fn read(root: &Root) -> Option<PowerMode> {
        let configuration = root.text("etc/nvpmodel.conf").unwrap_or_default();
        let modes: Vec<Mode> = configuration.lines().filter_map(mode).collect();
        let status = root.line("var/lib/nvpmodel/status");
        let id = status.and_then(|status| status.strip_prefix("pmode:")?.trim().parse().ok());
        // Until it is set for the first time there is no state, and the configuration's default holds.
        let id = id.or_else(|| configuration.lines().find_map(default_id))?;
        let name = modes.iter().find(|mode| mode.id == id).map_or_else(|| id.to_string(), |m| m.name.clone());
        Some(PowerMode { now: Mode { id, name }, modes })
    }

    /// The mode that caps nothing, if there is one: the fastest.
    ///
    /// Why by name: numbers are in no order (an Orin Nano's are 15W, 25W, MAXN_SUPER, 7W).
    pub fn uncapped(&self) -> Option<&Mode> {
        let named = |name: &str| self.modes.iter().find(|mode| mode.name == name);
        named("MAXN_SUPER").or_else(|| named("MAXN"))
    }
}

/// `< POWER_MODEL ID=0 NAME=MAXN >`, the two in either order.
fn mode(line: &str) -> Option<Mode> {
    let words: Vec<&str> = tag(line, "POWER_MODEL")?.split_whitespace().collect();
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    Some(Mode { id: value("ID")?.parse().ok()?, name: value("NAME")?.to_owned() })
}

/// `< PM_CONFIG DEFAULT=2 >`.
fn default_id(line: &str) -> Option<u32> {
    tag(line, "PM_CONFIG")?.split_whitespace().find_map(|word| word.strip_prefix("DEFAULT=")?.parse().ok())
}

/// What stands in `< NAME … >`.
fn tag<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let inner = line.trim().strip_prefix('<')?.strip_suffix('>')?.trim();
    inner.strip_prefix(name).filter(|rest| rest.starts_with(' '))
}

#[cfg(test)]
#[test]
fn modes_are_read_as_they_are_written() {
    let read = |line| mode(line).map(|mode| (mode.id, mode.name));
    assert_eq!(read("< POWER_MODEL ID=2 NAME=MAXN_SUPER >"), Some((2, "MAXN_SUPER".to_owned())));
    assert_eq!(read("  < POWER_MODEL NAME=MODE_15W ID=1 >"), Some((1, "MODE_15W".to_owned())));
    for other in
        ["# < POWER_MODEL ID=0 NAME=X >", "< POWER_MODEL ID=x NAME=X >", "< POWER_MODELS ID=0 >", "<>", "<"]
    {
        assert_eq!(read(other), None, "{other}");
    }
    assert_eq!(default_id("< PM_CONFIG DEFAULT=1 >"), Some(1));
}
