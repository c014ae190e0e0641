//! `perihelion curate merge`: parts into the set that one machine would have made.

use std::path::PathBuf;

use clap::Args;

use super::place::Place;
use super::tell;
use crate::cli::progress::Progress;
use crate::curate::{finish, read_parts};
use crate::install::PartialFolder;

/// Join the parts of `curate --shard` to the set that one machine makes, byte for byte
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  perihelion curate merge parts/1 parts/2 -o calibration/kitchen")]
pub(super) struct Options {
    /// All parts of one run, in any order
    #[arg(value_name = "PART", required = true)]
    parts: Vec<PathBuf>,
    /// A folder that is not there or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Replace a set that lies there
    #[arg(long)]
    overwrite: bool,
    /// One JSON object about the result
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let out = &options.output;
    let (parameters, records) = read_parts(&options.parts)?;
    let place = Place::new(out, &options.parts, options.overwrite)?;
    let result = PartialFolder::create(&place.beside()).map_err(|error| place.failed(error))?;
    let progress = Progress::counting("clips");
    let mut tell_progress = |done, of| progress.set(done, of, "");
    let summary = finish(records, &parameters, result.path(), false, &mut tell_progress)?;
    drop(progress);
    result.install().map_err(|error| place.failed(error))?;
    place.take(&place.beside())?;
    tell(options.json, out, &parameters, &summary, 0)
}
