//! The log as ROS shows it: `[INFO] [1700000000.123456789] [eye]: text` on stderr, and the same on `/rosout`.
//!
//! Our own lines go out at the level that the user asked for. Of the libraries below us only errors do, at most one a
//! second: RustDDS reports a lost fragment as an error, and a lossy network has thousands of them.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use log::{Level, LevelFilter, Metadata, Record};

use crate::frames::clock::Clock;
use crate::ros2::messages::{Log, Time, encode};

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// Publishes an encoded [`Log`].
pub type Rosout = Box<dyn Fn(Vec<u8>) + Send>;

static LOGGER: OnceLock<RosLog> = OnceLock::new();

struct RosLog {
    name: String,
    /// As rcl counts: only lines of at least this severity go out.
    severity: AtomicU32,
    rosout: Mutex<Option<Rosout>>,
    last_foreign_ns: AtomicI64,
    suppressed: AtomicU64,
    is_leaving: AtomicBool,
}

/// Starts the log of the logger `name` at `level`. Later calls change nothing: a process has one log.
pub fn start(name: &str, level: LevelFilter) {
    let logger = LOGGER.get_or_init(|| RosLog {
        name: name.to_owned(),
        severity: AtomicU32::new(severity_at(level)),
        rosout: Mutex::new(None),
        last_foreign_ns: AtomicI64::new(0),
        suppressed: AtomicU64::new(0),
        is_leaving: AtomicBool::new(false),
    });
    // Another logger may stand already, in a program that uses us as a library; then it is the one to use.
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level.max(LevelFilter::Error));
    }
}

/// The severity from which lines of the logger `name` go out, or `None` for a logger that is not this process's.
pub fn severity_of(name: &str) -> Option<u32> {
    LOGGER.get().filter(|logger| logger.name == name).map(|logger| logger.severity.load(Relaxed))
}

/// Lets lines of the logger `name` out from another severity on; 0 is as if none had been set.
///
/// # Errors
/// If it is another process's logger, or the severity none of rcl's.
pub fn set_severity(name: &str, severity: u32) -> Result<(), String> {
    let Some(logger) = LOGGER.get().filter(|logger| logger.name == name) else {
        let own = LOGGER.get().map_or("no other", |logger| &logger.name);
        return Err(format!("there is no logger {name:?} here: this node's is {own:?}"));
    };
    if !SEVERITIES.contains(&severity) {
        return Err(format!("expected a level of {SEVERITIES:?}, found {severity}"));
    }
    let severity = if severity == 0 { severity_at(LevelFilter::Info) } else { severity };
    logger.severity.store(severity, Relaxed);
    log::set_max_level(filter(severity).max(LevelFilter::Error));
    Ok(())
}

/// Sends our lines to `/rosout` too, from now on, or no longer. A transport's publishers must end before it does.
///
/// Why not a publisher of the transport: transports log, so that this stands below them.
pub fn set_rosout(publish: Option<Rosout>) {
    if let Some(logger) = LOGGER.get() {
        *logger.rosout.lock().unwrap_or_else(PoisonError::into_inner) = publish;
    }
}

/// Stops listening to the libraries: what RustDDS says while it is taken down is about sockets that nobody needs.
pub fn hush_libraries() {
    if let Some(logger) = LOGGER.get() {
        logger.is_leaving.store(true, Relaxed);
    }
}

/// The level of a `--log-level`, by its name in rcl.
pub fn parse_level(name: &str) -> Option<LevelFilter> {
    match name.to_ascii_lowercase().as_str() {
        "debug" => Some(LevelFilter::Debug),
        "info" => Some(LevelFilter::Info),
        "warn" => Some(LevelFilter::Warn),
        // `log` has nothing above errors.
        "error" | "fatal" => Some(LevelFilter::Error),
        "none" => Some(LevelFilter::Off),
        _ => None,
    }
}

impl log::Log for RosLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = filter(self.severity.load(Relaxed));
        let limit = if is_ours(metadata.target()) { level } else { level.min(LevelFilter::Error) };
        metadata.level() <= limit
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now_ns = Clock::system().now().ros_ns;
        if is_ours(record.target()) {
            write_line(&self.name, record.level(), now_ns, &record.args().to_string());
            self.publish(record, now_ns);
        } else if let Some(suppressed) = self.admit_foreign(now_ns) {
            let more =
                if suppressed == 0 { String::new() } else { format!(" ({suppressed} like it before)") };
            let text = format!("{}: {}{more}", record.target(), record.args());
            write_line(&self.name, record.level(), now_ns, &text);
        }
    }

    fn flush(&self) {}
}

impl RosLog {
    /// Whether a library's line may go out, and how many did not since the last that did.
    fn admit_foreign(&self, now_ns: i64) -> Option<u64> {
        if self.is_leaving.load(Relaxed) {
            return None;
        }
        let last = self.last_foreign_ns.load(Relaxed);
        if now_ns.saturating_sub(last) < NANOSECONDS_PER_SECOND {
            self.suppressed.fetch_add(1, Relaxed);
            return None;
        }
        self.last_foreign_ns.store(now_ns, Relaxed);
        Some(self.suppressed.swap(0, Relaxed))
    }

    fn publish(&self, record: &Record<'_>, now_ns: i64) {
        let rosout = self.rosout.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(publish) = &*rosout else { return };
        let message = Log {
            stamp: Time::from_ns(now_ns),
            level: severity(record.level()),
            name: self.name.clone(),
            msg: record.args().to_string(),
            file: record.file().unwrap_or_default().to_owned(),
            function: record.module_path().unwrap_or_default().to_owned(),
            line: record.line().unwrap_or_default(),
        };
        publish(encode(&message));
    }
}

fn write_line(name: &str, level: Level, now_ns: i64, text: &str) {
    let line = format_line(name, level, now_ns, text);
    // Nobody is left to tell if stderr is closed.
    drop(std::io::stderr().lock().write_all(line.as_bytes()));
}

fn format_line(name: &str, level: Level, now_ns: i64, text: &str) -> String {
    let (sec, nanosec) =
        (now_ns.div_euclid(NANOSECONDS_PER_SECOND), now_ns.rem_euclid(NANOSECONDS_PER_SECOND));
    format!("[{}] [{sec}.{nanosec:09}] [{name}]: {text}\n", level_name(level))
}

fn is_ours(target: &str) -> bool {
    target.split("::").next() == Some(env!("CARGO_CRATE_NAME"))
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

/// The levels of rcl: not set, debug, info, warning, error, fatal.
const SEVERITIES: [u32; 6] = [0, 10, 20, 30, 40, 50];
/// Above all of them: nothing goes out.
const SILENCE: u32 = 60;

fn severity_at(level: LevelFilter) -> u32 {
    level.to_level().map_or(SILENCE, |level| u32::from(severity(level)))
}

fn filter(severity: u32) -> LevelFilter {
    match severity {
        ..=10 => LevelFilter::Debug,
        11..=20 => LevelFilter::Info,
        21..=30 => LevelFilter::Warn,
        // `log` has nothing above errors.
        31..=50 => LevelFilter::Error,
        _ => LevelFilter::Off,
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug | Level::Trace => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_as_in_rcl() {
        let line = format_line("robot.eye", Level::Info, 1_700_000_000_000_000_042, "up");
        assert_eq!(line, "[INFO] [1700000000.000000042] [robot.eye]: up\n");
    }

    #[test]
    fn libraries_are_heard_once_a_second_and_only_in_need() {
        let (rosout, last_foreign_ns, suppressed) = Default::default();
        let logger = RosLog {
            name: "eye".into(),
            severity: AtomicU32::new(20),
            rosout,
            last_foreign_ns,
            suppressed,
            is_leaving: AtomicBool::new(false),
        };
        let enabled = |target, level| {
            log::Log::enabled(&logger, &Metadata::builder().target(target).level(level).build())
        };
        assert!(enabled("perihelion::ros2", Level::Info) && !enabled("perihelion::ros2", Level::Debug));
        assert!(enabled("rustdds::rtps", Level::Error) && !enabled("rustdds::rtps", Level::Warn));
        assert!(!enabled("perihelion_other", Level::Info));
        let second = NANOSECONDS_PER_SECOND;
        let admitted = [second, second + 5, second + 6, 2 * second].map(|now| logger.admit_foreign(now));
        assert_eq!(admitted, [Some(0), None, None, Some(2)]);
        logger.is_leaving.store(true, Relaxed);
        assert_eq!(logger.admit_foreign(9 * second), None);
    }

    #[test]
    fn severities_are_levels_there_and_back() {
        for level in
            [LevelFilter::Off, LevelFilter::Error, LevelFilter::Warn, LevelFilter::Info, LevelFilter::Debug]
        {
            assert_eq!(filter(severity_at(level)), level);
        }
        assert_eq!(SEVERITIES.map(filter)[4..], [LevelFilter::Error; 2]);
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        // The process's only logger, unless another test has started one.
        start("levels.test", LevelFilter::Warn);
        let name = LOGGER.get().unwrap().name.clone();
        set_severity(&name, 10).unwrap();
        assert_eq!(severity_of(&name), Some(10));
        let debug = Metadata::builder().target("perihelion::ros2").level(Level::Debug).build();
        assert!(log::Log::enabled(LOGGER.get().unwrap(), &debug));
        set_severity(&name, 40).unwrap();
        assert!(!log::Log::enabled(LOGGER.get().unwrap(), &debug));
        assert!(set_severity(&name, 25).unwrap_err().contains("25"));
        assert!(set_severity("other", 20).unwrap_err().contains(&name));
        set_severity(&name, 0).unwrap();
        assert_eq!(severity_of(&name), Some(20));
    }

    #[test]
    fn levels_have_their_names_in_rcl() {
        assert_eq!(parse_level("WARN"), Some(LevelFilter::Warn));
        assert_eq!(parse_level("fatal"), Some(LevelFilter::Error));
        assert_eq!(parse_level("loud"), None);
    }
}
