//! What was logged in this process.

use std::sync::Mutex;

/// The lines so far with these words in them, each behind its level. Lines are taken down from the first call on.
pub(crate) fn logged(words: &str) -> Vec<String> {
    struct Lines(Mutex<Vec<String>>);
    impl log::Log for Lines {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            self.0.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
        }
        fn flush(&self) {}
    }
    static LINES: Lines = Lines(Mutex::new(Vec::new()));
    if log::set_logger(&LINES).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
    LINES.0.lock().unwrap().iter().filter(|line| line.contains(words)).cloned().collect()
}
