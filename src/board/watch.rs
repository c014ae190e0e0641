//! A watch over the board while something is measured: what it drew, how hot it got, and whether it was slowed down.
//!
//! A thread reads the rails, the hottest zone and the alerts ten times a second. That costs a few file reads, and a monitor's chip averages
//! over longer than that anyway. Energy is power times time between readings (the trapezoid rule).

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Board, Clocks, Counter, Heat, Mode, Rails, Root};

/// Between two readings.
const PERIOD: Duration = Duration::from_millis(100);

/// A board that is being watched. Dropped, it stops and tells nothing.
#[derive(Debug)]
pub struct Watch {
    root: Root,
    before: Board,
    stop: Sender<()>,
    thread: JoinHandle<Readings>,
}

/// What was seen between start and end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// How long was watched.
    pub seconds: f64,
    /// The power mode, at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_mode: Option<Mode>,
    /// Clocks at the start.
    pub clocks_before: Clocks,
    /// Clocks at the end.
    pub clocks_after: Clocks,
    /// The hottest zone at the start.
    pub celsius_before: Option<f64>,
    /// The most that it reached.
    pub celsius_max: Option<f64>,
    /// What was slowed down at any reading.
    pub throttled: Vec<String>,
    /// Over-current events that came in the meantime.
    pub over_current_events: Vec<Counter>,
    /// Energy; none where rails do not tell.
    pub joules: Option<f64>,
    /// Energy over time.
    pub watts_mean: Option<f64>,
    /// The most of any reading.
    pub watts_max: Option<f64>,
    /// The rails that were summed.
    pub watts_of: Vec<String>,
}

/// What a watch's thread has gathered.
#[derive(Debug, Default)]
struct Readings {
    /// When it was looked last, and the power that was known then.
    last: Option<(f64, Option<f64>)>,
    joules: f64,
    /// Over which the energy was counted.
    seconds: f64,
    watts_max: Option<f64>,
    celsius_max: Option<f64>,
    throttled: Vec<String>,
}

impl Watch {
    /// Starts to watch the board below a root; none if it is no Jetson.
    pub fn start(root: Root) -> Option<Watch> {
        let before = Board::read(&root)?;
        let (stop, stopped) = channel();
        let watched = root.clone();
        let spawned = std::thread::Builder::new().name("board watch".into());
        let thread = spawned.spawn(move || watch(&watched, &stopped)).ok()?;
        Some(Watch { root, before, stop, thread })
    }

    /// Stops, and says what was seen; none if the thread was lost.
    pub fn finish(self) -> Option<Record> {
        // The thread ends by itself only when this end is gone, so that the message arrives.
        let _ = self.stop.send(());
        let readings = self.thread.join().ok()?;
        let after = Heat::read(&self.root);
        let seconds = readings.last.map_or(0.0, |(at, _)| at);
        let joules = readings.watts_max.map(|_| readings.joules);
        let events = after.over_current.into_iter().map(|counter| {
            let before = self.before.heat.over_current.iter().find(|c| c.name == counter.name);
            let events = counter.events.saturating_sub(before.map_or(0, |c| c.events));
            Counter { events, ..counter }
        });
        Some(Record {
            seconds,
            power_mode: self.before.power_mode.map(|mode| mode.now),
            clocks_before: self.before.clocks,
            clocks_after: Clocks::read(&self.root),
            celsius_before: self.before.heat.hottest().map(|zone| zone.celsius),
            celsius_max: readings.celsius_max,
            throttled: readings.throttled,
            over_current_events: events.collect(),
            joules,
            watts_mean: joules.filter(|_| 0.0 < readings.seconds).map(|joules| joules / readings.seconds),
            watts_max: readings.watts_max,
            watts_of: self.before.rails.watts_of,
        })
    }
}

fn watch(root: &Root, stopped: &Receiver<()>) -> Readings {
    let started = Instant::now();
    let mut readings = Readings::default();
    let mut at = 0.0;
    loop {
        readings.take(at, &Heat::read(root), &Rails::read(root));
        let is_over = !matches!(stopped.recv_timeout(PERIOD), Err(RecvTimeoutError::Timeout));
        at = started.elapsed().as_secs_f64();
        if is_over {
            readings.take(at, &Heat::read(root), &Rails::read(root));
            return readings;
        }
    }
}

impl Readings {
    /// Adds a reading of a time, in seconds since the start.
    fn take(&mut self, at: f64, heat: &Heat, rails: &Rails) {
        if let Some(zone) = heat.hottest() {
            self.celsius_max = Some(self.celsius_max.map_or(zone.celsius, |max| max.max(zone.celsius)));
        }
        for alert in heat.throttled() {
            if !self.throttled.contains(&alert.name) {
                self.throttled.push(alert.name.clone());
            }
        }
        // A reading that fails leaves power as it was.
        let watts = rails.watts.or(self.last.and_then(|(_, watts)| watts));
        if let Some(watts) = rails.watts {
            self.watts_max = Some(self.watts_max.map_or(watts, |max| max.max(watts)));
        }
        if let (Some((then, Some(before))), Some(now)) = (self.last, watts) {
            self.joules += (at - then) * (before + now) / 2.0;
            self.seconds += at - then;
        }
        self.last = Some((at, watts));
    }
}

#[cfg(test)]
#[test]
fn energy_is_power_over_time() {
    let rails = |watts| Rails { watts: Some(watts), ..Rails::default() };
    let mut readings = Readings::default();
    for (at, watts) in [(0.0, 10.0), (1.0, 20.0), (3.0, 20.0)] {
        readings.take(at, &Heat::default(), &rails(watts));
    }
    assert_eq!((readings.joules, readings.watts_max), (15.0 + 40.0, Some(20.0)));
    readings.take(4.0, &Heat::default(), &Rails::default());
    assert_eq!(readings.joules, 75.0, "power stays as it was where a reading fails");

    let mut late = Readings::default();
    late.take(0.0, &Heat::default(), &Rails::default());
    late.take(2.0, &Heat::default(), &rails(10.0));
    late.take(3.0, &Heat::default(), &rails(10.0));
    assert_eq!((late.joules, late.seconds), (10.0, 1.0), "before the first reading no power is known");
}
