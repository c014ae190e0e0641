//! What is recorded, and how much.

use std::path::PathBuf;
use std::time::Duration;

/// Which frames are recorded. What the node says always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordWhen {
    /// None.
    Never,
    /// All that arrive.
    Always,
    /// Those that an engine looks at.
    Used,
    /// Those around each surprise beyond `ask_surprise`.
    Surprise,
}

impl RecordWhen {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Never, Self::Always, Self::Used, Self::Surprise];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Always => "always",
            Self::Used => "used",
            Self::Surprise => "surprise",
        }
    }
}

/// How to record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecorderOptions {
    /// Where the recording will lie.
    pub place: PathBuf,
    /// Which frames are recorded.
    pub when: RecordWhen,
    /// Around a surprise, before it and after it.
    pub around: Duration,
    /// Memory for frames that may be asked for, and for all that waits to be written.
    pub buffer_bytes: usize,
    /// The file is never longer.
    pub bytes_max: u64,
}

impl RecorderOptions {
    /// Records what is said, and frames that are used, without a bound.
    pub fn new(place: impl Into<PathBuf>) -> Self {
        Self {
            place: place.into(),
            when: RecordWhen::Used,
            around: Duration::from_secs(5),
            buffer_bytes: 256 << 20,
            bytes_max: u64::MAX,
        }
    }
}
