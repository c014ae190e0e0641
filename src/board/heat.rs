//! Temperatures, throttling, and the counters of over-current events.

use serde::Serialize;

use super::Root;

/// No chip that runs is colder or hotter: what reads so is a sensor that is switched off (Orin's tell −256 °C).
const PLAUSIBLE_MILLIDEGREES: std::ops::Range<i64> = -60_000..200_000;

/// A thermal zone, in degrees Celsius.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Zone {
    /// As the kernel names it (`tj-thermal`, the hottest of the junction).
    pub name: String,
    /// Now.
    pub celsius: f64,
    /// The lowest at which software slows clocks down (a *passive* trip point).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub celsius_slows: Option<f64>,
}

/// A cooling device that tells of throttling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// As the kernel names it (`gpu-throttle-alert`).
    pub name: String,
    /// 0 when at rest.
    pub state: u64,
}

/// Over-current events since the board started. The kernel never sets it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// `oc1` is under-voltage, `oc2` the average current, `oc3` the instantaneous one (Orin).
    pub name: String,
    /// So many.
    pub events: u64,
}

/// How hot it is, and what that did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Heat {
    /// Zones that tell a temperature.
    pub zones: Vec<Zone>,
    /// Throttling, by what is slowed.
    pub alerts: Vec<Alert>,
    /// Over-current events.
    pub over_current: Vec<Counter>,
}

impl Heat {
    /// Reads thermal zones, cooling devices and `soctherm_oc`.
    pub fn read(root: &Root) -> Heat {
        let zones = root.folders("sys/class/thermal", "thermal_zone").into_iter();
        let alerts = root.folders("sys/class/thermal", "cooling_device").into_iter().filter_map(|device| {
            let name = root.line(&format!("{device}/type"))?;
            let state = root.count(&format!("{device}/cur_state"))?;
            name.ends_with("-alert").then_some(Alert { name, state })
        });
        let chips = root.folders("sys/class/hwmon", "hwmon").into_iter();
        let chips = chips.filter(|chip| root.line(&format!("{chip}/name")).as_deref() == Some("soctherm_oc"));
        let over_current = chips.flat_map(|chip| {
            let names = root.names(&chip).into_iter();
            let counter = move |file: String| {
                let name = file.strip_suffix("_event_cnt")?;
                let events = root.count(&format!("{chip}/{file}"))?;
                name.starts_with("oc").then(|| Counter { name: name.to_owned(), events })
            };
            names.filter_map(counter).collect::<Vec<_>>()
        });
        Heat {
            zones: zones.filter_map(|folder| zone(root, &folder)).collect(),
            alerts: alerts.collect(),
            over_current: over_current.collect(),
        }
    }

    /// The zone to watch: the junction's, or else the hottest.
    pub fn hottest(&self) -> Option<&Zone> {
        let junction = self.zones.iter().find(|zone| zone.name.starts_with("tj"));
        junction.or_else(|| self.zones.iter().max_by(|a, b| a.celsius.total_cmp(&b.celsius)))
    }

    /// What is slowed down now.
    pub fn throttled(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| 0 < alert.state)
    }
}

fn zone(root: &Root, folder: &str) -> Option<Zone> {
    let celsius = |millidegrees: i64| {
        PLAUSIBLE_MILLIDEGREES.contains(&millidegrees).then_some(millidegrees as f64 / 1000.0)
    };
    let trips = root.names(folder).into_iter().filter_map(|file| {
        let trip = file.strip_suffix("_type").filter(|name| name.starts_with("trip_point_"))?;
        let is_passive = root.line(&format!("{folder}/{file}"))? == "passive";
        celsius(root.number(&format!("{folder}/{trip}_temp")).filter(|_| is_passive)?)
    });
    Some(Zone {
        name: root.line(&format!("{folder}/type"))?,
        celsius: celsius(root.number(&format!("{folder}/temp"))?)?,
        celsius_slows: trips.min_by(f64::total_cmp),
    })
}
