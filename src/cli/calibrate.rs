//! `perihelion calibrate`: runs a model on somebody's own data and writes how large its activations become.

mod data;
mod passes;
mod report;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use self::data::Data;
use self::report::Report;
use super::build::reason_limits;
use super::places::{Places, is_file};
use super::progress::Progress;
use super::{Context, Usage, output};
use crate::backend::{OpenOptions, Session, backend};
use crate::graph::Network;
use crate::model::Model;
use crate::quantize::{Method, Watching};
use crate::runtime::predict::Predict;
use crate::runtime::reason::{Reason, ReasonParts};

/// Runs a model on your own data and writes how large its activations become, for engines whose activations are of eight bits or fewer
#[derive(Debug, Args)]
#[command(after_help = "\
The model runs on the CPU in its own precision and takes memory for its weights and for all that the products of each of its graphs
are given in the largest run: some gigabytes for a model of 2B, fewer with --max-context and --max-image-tokens.
Reason is asked what each clip's clip.json asks, or --prompt; of a .jsonl file, as `ask --batch` takes it, every line. Predict
forecasts each clip, from its first frames and with its actions if the model takes such.

Example:
  perihelion scenes -o clips --count 64 --split train
  perihelion calibrate small-reason.model --data clips -o small-reason.scales.json")]
pub(crate) struct Options {
    /// The model
    model: PathBuf,
    /// A folder of frames, a folder of such folders, or for Reason a .jsonl file of questions
    #[arg(long, value_name = "DIR|FILE.jsonl")]
    data: PathBuf,
    /// The file of scales
    #[arg(short, long, value_name = "SCALES.json")]
    output: PathBuf,
    /// How the magnitude that the largest number stands for is chosen; for FP8, whose numbers reach far, take max
    #[arg(long, value_enum, default_value_t = MethodName::Mse)]
    method: MethodName,
    /// With --method percentile: so many of a hundred numbers are not cut [default: 99.99]
    #[arg(long, value_name = "P")]
    percentile: Option<f64>,
    /// Clips or questions at most [default: all]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    samples: Option<usize>,
    /// Reason: what is asked of clips that bring no questions [default: Describe what happens.]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Reason: tokens of prompt and answer together, at most; fewer take less memory [default: as `build`]
    #[arg(long, value_name = "N")]
    max_context: Option<NonZeroUsize>,
    /// Reason: visual tokens of one image or pair of frames, at most; fewer take less memory [default: as `build`]
    #[arg(long, value_name = "N")]
    max_image_tokens: Option<NonZeroUsize>,
    /// Reason: tokens of an answer at most [default: 32]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    max_tokens: Option<usize>,
    /// One JSON object about what was seen
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum MethodName {
    Max,
    Percentile,
    Entropy,
    Mse,
}

/// What is not cut by [`MethodName::Percentile`], of a hundred.
const PERCENTILE: f64 = 99.99;

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let method = options.method()?;
    is_file(&options.model, "a model")?;
    let data = Data::read(&options.data)?;
    Places::new()
        .reads([&options.model, &options.data])
        .reads(data.files())
        .writes("--output", Some(&options.output), 0)
        .check()?;
    let model = Model::open(&options.model)?;
    let network = options.limited(&model)?;
    let roles = &model.manifest().roles;
    if let Some(manifest) = &roles.forecasts {
        passes::check_forecasts(&data, manifest, options)?;
    }
    let progress = Progress::new("calibrate");
    model.verify(|done, total| progress.set(done, total, "checking the model"))?;
    drop(progress);
    let open = OpenOptions { threads: Some(context.threads.get()) };
    let opened = Watching::open(backend("cpu")?.as_ref(), &network, &model, &open);
    let (session, watched) = opened.with_context(|| model.path().display().to_string())?;
    let session: Box<dyn Session> = Box::new(session);
    let samples = match (&roles.forecasts, &roles.answers) {
        (Some(manifest), _) => {
            passes::forecasts(Predict::new(session, manifest.clone(), None)?, &data, options)?
        }
        (None, Some(manifest)) => {
            let parts = ReasonParts::of(manifest, &network, model.tokenizer()?);
            passes::answers(Reason::new(session, parts)?, data, options)?
        }
        (None, None) => bail!("{}: the model neither answers nor forecasts", model.path().display()),
    };
    let report = Report::of(&model, &watched, method, samples, &options.output)?;
    report.write_scales()?;
    if options.json { output::json(&report) } else { output::text(&report.text()) }
}

impl Options {
    fn method(&self) -> Result<Method, Usage> {
        if let (Some(share), true) = (self.percentile, self.method != MethodName::Percentile) {
            return Err(Usage(format!("--percentile {share} is for --method percentile: give that too")));
        }
        Ok(match self.method {
            MethodName::Max => Method::Max,
            MethodName::Percentile => {
                let share = self.percentile.unwrap_or(PERCENTILE);
                if !(50.0 < share && share <= 100.0) {
                    let message = format!("--percentile {share}: expected more than 50 and at most 100");
                    return Err(Usage(message));
                }
                Method::Percentile(share)
            }
            MethodName::Entropy => Method::Entropy,
            MethodName::Mse => Method::Mse,
        })
    }

    /// The network within these limits.
    fn limited(&self, model: &Model) -> anyhow::Result<Network> {
        let mut network = model.network().clone();
        let Some(reason) = &model.manifest().roles.answers else {
            let given = [
                ("--max-context", self.max_context.is_some()),
                ("--max-image-tokens", self.max_image_tokens.is_some()),
                ("--prompt", self.prompt.is_some()),
                ("--max-tokens", self.max_tokens.is_some()),
            ];
            return match given.iter().find(|(_, is_given)| *is_given) {
                Some((option, _)) => Err(Usage(format!("{option} is for models of Reason")).into()),
                None => Ok(network),
            };
        };
        let limits = reason_limits(&network, reason.context_max, self.max_context, self.max_image_tokens)?;
        network.set_limits(&limits).map_err(|why| {
            let [(_, context), (_, image)] = limits;
            Usage(format!(
                "--max-context {context}, --max-image-tokens {image}: {}: {why}",
                model.path().display()
            ))
        })?;
        Ok(network)
    }
}
