//! Progress of long work, on stderr and only where a person sees it.

use std::borrow::Cow;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over bytes, or over pieces of work. It draws nothing where stderr is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    template: &'static str,
}

const OF_BYTES: &str = "{prefix:>8} {bar:32} {bytes}/{total_bytes} {eta}  {msg}";
const OF_PIECES: &str = "{prefix:>8} {bar:32} {pos}/{len} {eta}  {msg}";
/// Of pieces that tell themselves how long they take.
const OF_LONG_PIECES: &str = "{prefix:>8} {bar:32} {pos}/{len}  {msg}";

impl Progress {
    /// A bar under this word.
    pub(super) fn new(what: &'static str) -> Self {
        Self::with_template(what, OF_BYTES)
    }

    /// A bar under this word that counts.
    pub(super) fn counting(what: &'static str) -> Self {
        Self::with_template(what, OF_PIECES)
    }

    fn with_template(what: &'static str, template: &'static str) -> Self {
        let bar = ProgressBar::new(0);
        bar.set_prefix(what);
        let progress = Self { bar, template };
        progress.draw_as(template);
        progress
    }

    fn draw_as(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    /// A line above the bar, also where no bar is drawn.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| anstream::eprintln!("{line}"));
    }

    /// So many pieces of so many are done; `message` says how far the next one is.
    pub(super) fn count(&self, done: u64, total: u64, message: String) {
        self.draw_as(OF_LONG_PIECES);
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(message);
    }

    /// So many of so many are done; `message` says what comes.
    pub(super) fn set(&self, done: u64, total: u64, message: impl Into<Cow<'static, str>>) {
        self.draw_as(self.template);
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(message);
    }

    /// What is done by now took no time: it was done before.
    #[cfg_attr(not(feature = "distill"), expect(dead_code, reason = "training alone goes on from somewhere"))]
    pub(super) fn go_on_from(&self, done: u64) {
        self.bar.set_position(done);
        self.bar.reset_eta();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
