//! Progress of long work, on stderr and only where a person sees it.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over bytes, or over pieces of work. It draws nothing where stderr is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar under this word.
    pub(super) fn new(what: &'static str) -> Self {
        Self::with_template(what, "{prefix:>8} {bar:32} {bytes}/{total_bytes} {eta}  {msg}")
    }

    /// A bar under this word that counts.
    pub(super) fn counting(what: &'static str) -> Self {
        Self::with_template(what, "{prefix:>8} {bar:32} {pos}/{len} {eta}  {msg}")
    }

    fn with_template(what: &'static str, template: &str) -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self { bar }
    }

    /// So many of so many are done; `message` says what comes.
    pub(super) fn set(&self, done: u64, total: u64, message: &'static str) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
