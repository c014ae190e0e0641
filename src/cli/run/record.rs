//! The recording of `run`: what `--record` and its kin say.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::places::Places;
use crate::cli::{Usage, one_of, output};
use crate::frames::clock::Clock;
use crate::ros2::recorder::{RecordWhen, Recorder, RecorderOptions, recording_until_it_ends};

/// Less memory holds no image, and a shorter file hardly its definitions.
const BYTES_MIN: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct RecordOptions {
    /// Write what the node says, and frames that it looks at, to a bag
    #[arg(long, value_name = "FILE.mcap")]
    record: Option<PathBuf>,
    /// Frames that are recorded: none, all that arrive, those that an engine looks at, or those around each surprise beyond
    /// `ask_surprise` [default: used; never with --bag, which has them]
    #[arg(long, requires = "record", value_parser = one_of(RecordWhen::ALL, RecordWhen::name))]
    record_when: Option<RecordWhen>,
    /// Seconds before and after a surprise
    #[arg(long, value_name = "S", requires = "record", default_value_t = 5.0)]
    record_seconds: f64,
    /// Memory of the recorder, for frames that may be asked for and for what waits to be written
    #[arg(long, value_name = "BYTES", requires = "record", default_value = "256MiB", value_parser = bytes)]
    record_buffer: u64,
    /// End the recording when its file has become so long [default: no limit]
    #[arg(long, value_name = "BYTES", requires = "record", value_parser = bytes)]
    record_limit: Option<u64>,
}

impl RecordOptions {
    /// Whether anything is recorded.
    pub(super) fn is_asked(&self) -> bool {
        self.record.is_some()
    }

    /// Adds the file to the places that are written.
    pub(super) fn places(&self, places: Places) -> Places {
        let partial = self.record.as_deref().map(recording_until_it_ends);
        places.writes("--record", self.record.as_ref(), 0).writes("--record", partial.as_ref(), 0)
    }

    /// Whether frames are recorded around surprises.
    pub(super) fn waits_for_surprise(&self) -> bool {
        self.record_when == Some(RecordWhen::Surprise)
    }

    /// Begins to record by this clock, if asked to, and says what memory that takes. `is_of_bag` says that a bag is played.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(super) fn begin(&self, clock: &Clock, is_of_bag: bool) -> anyhow::Result<Option<Recorder>> {
        let Some(place) = &self.record else { return Ok(None) };
        let default = if is_of_bag { RecordWhen::Never } else { RecordWhen::Used };
        let around = Duration::try_from_secs_f64(self.record_seconds)
            .map_err(|error| Usage(format!("--record-seconds {}: {error}", self.record_seconds)))?;
        let options = RecorderOptions {
            when: self.record_when.unwrap_or(default),
            around,
            buffer_bytes: usize::try_from(self.record_buffer).unwrap_or(usize::MAX),
            bytes_max: self.record_limit.unwrap_or(u64::MAX),
            ..RecorderOptions::new(place)
        };
        let (when, bytes) = (options.when.name(), output::bytes(self.record_buffer));
        let recorder = Recorder::begin(options, clock)?;
        log::info!("memory of the recorder (frames: {when}), for what waits: {bytes}");
        Ok(Some(recorder))
    }
}

/// A number of bytes as a person writes it: `4GiB`, `200MB`, `1048576`.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        other => {
            return Err(format!("{other:?} is no unit of bytes; expected MiB, GiB, MB, GB and the like"));
        }
    };
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    match number * scale as f64 {
        bytes if bytes < BYTES_MIN as f64 => Err("expected 1 MiB or more".to_owned()),
        bytes if (1u64 << 62) as f64 <= bytes => Err("there is no such disk".to_owned()),
        bytes => Ok(bytes as u64),
    }
}

#[cfg(test)]
#[test]
fn bytes_are_read_as_people_write_them() {
    assert_eq!(bytes("4GiB"), Ok(4 << 30));
    assert_eq!(bytes("1.5 GiB"), Ok(3 << 29));
    assert_eq!(bytes("200MB"), Ok(200_000_000));
    assert_eq!(bytes("1048576"), Ok(1 << 20));
    for wrong in ["", "GiB", "1", "4 gigs", "-4GiB", "1..2GiB", "99999999TiB", "0GiB"] {
        assert!(bytes(wrong).is_err(), "{wrong:?}");
    }
}
