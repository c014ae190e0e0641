//! `perihelion distill`: trains by a recipe, where training is compiled in.

#[cfg(not(feature = "distill"))]
mod disabled;
#[cfg(feature = "distill")]
mod enabled;

use std::path::PathBuf;

use clap::Args;

use super::Context;
#[cfg(not(feature = "distill"))]
use disabled as compiled;
#[cfg(feature = "distill")]
use enabled as compiled;

/// Train a model by a recipe: a VAE, a teacher that forecasts with it, a student of few steps, a model that answers, from
/// true answers or from what its own are worth.
/// Builds without the feature `distill` cannot
#[cfg_attr(not(feature = "distill"), allow(dead_code, reason = "read where training is compiled in"))]
#[derive(Debug, Args)]
#[command(after_help = "\
The recipe's `output` becomes a folder: log.jsonl, loss.csv, loss.svg, state.safetensors (to resume from) and checkpoint/, which
export or the next stage reads. SIGTERM and Ctrl-C end the run after the step that is under way, and save; --resume goes on with the
very steps that would have come, unless the recipe's [train] is another by then.

Example:
  perihelion distill engines/small-robot/vae.toml
  perihelion distill engines/small-reason/sft.toml
  perihelion distill engines/small-reason/grpo.toml")]
pub(crate) struct Options {
    /// What is learnt, of what and how
    #[arg(value_name = "RECIPE.toml")]
    pub(super) recipe: PathBuf,
    /// Where the run's folder is to be, in place of the recipe's `output`
    #[arg(short, long, value_name = "DIR")]
    pub(super) output: Option<PathBuf>,
    /// Go on with the run that lies there
    #[arg(long)]
    pub(super) resume: bool,
    /// One JSON object about the run
    #[arg(long)]
    pub(super) json: bool,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    compiled::run(options, context)
}
