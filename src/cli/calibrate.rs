//! `perihelion calibrate`: runs a model on somebody's own data and writes how large its activations become.

mod data;
mod narrowing;
mod passes;
mod report;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use self::data::Data;
use self::narrowing::Narrowing;
use self::report::Report;
use super::build::reason_limits;
use super::places::{Places, is_file};
use super::progress::Progress;
use super::{Context, Usage, output, unit};
use crate::backend::{CACHE_PART, OpenOptions, Session, backend, parts};
use crate::graph::Network;
use crate::model::Model;
use crate::quantize::{Bits, Method, Smooth, Watching};
use crate::runtime::predict::Predict;
use crate::runtime::reason::{Reason, ReasonParts};

/// Runs a model on your own data and writes how large its activations become, for engines whose activations are of eight bits or fewer
#[derive(Debug, Args)]
#[command(after_help = "\
The model runs on the CPU in its own precision and takes memory for its weights and for all that the products of each of its graphs
are given in the largest run: some gigabytes for a model of 2B, fewer with --max-context and --max-image-tokens.
Reason is asked what each clip's clip.json asks, or --prompt; of a .jsonl file, as `ask --batch` takes it, every line. Predict
forecasts each clip, from its first frames and with its actions if the model takes such. With --smooth all data is worked through twice.

Examples:
  perihelion scenes -o clips --count 64 --split train
  perihelion calibrate small-reason.model --data clips -o small-reason.scales.json
  perihelion calibrate small-reason.model --data clips -o small-reason.scales.json --smooth auto --keep auto")]
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
    /// Moves magnitude from channels that are larger than others to weights, where norms or other weights can be scaled for it: weights take
    /// this share of it, 0 to 1, or for each group of products what leaves the least error in so few bits
    #[arg(long, value_name = "ALPHA|auto", value_parser = alpha)]
    smooth: Option<Alpha>,
    /// With --smooth: 8 for products of eight bits (SmoothQuant), 4 for weights of four that meet activations of more (AWQ), on the CPU too
    /// [default: 8]
    #[arg(long, value_parser = ["8", "4"], requires = "smooth")]
    bits: Option<String>,
    /// Leaves what some products are given in 16 bits: those that cost most in eight, as many as it takes for the golden cases to stay well
    /// within what `build` allows. Takes as many evaluations of the golden cases as there are products
    #[arg(long, value_enum)]
    keep: Option<Keep>,
    /// With --keep: the parts whose products are to be of eight bits, as `inspect` lists them; others cost nothing [default: all]
    #[arg(long, value_name = "PART,...", value_delimiter = ',', requires = "keep")]
    parts: Vec<String>,
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

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Keep {
    Auto,
}

/// What --smooth takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Alpha {
    Auto,
    Given(f32),
}

fn alpha(text: &str) -> Result<Alpha, String> {
    if text == "auto" {
        return Ok(Alpha::Auto);
    }
    unit(text).map(Alpha::Given).map_err(|_| "expected `auto` or a number from 0 to 1".to_owned())
}

/// What is not cut by [`MethodName::Percentile`], of a hundred.
const PERCENTILE: f64 = 99.99;

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let (method, smooth) = (options.method()?, options.smooth()?);
    is_file(&options.model, "a model")?;
    let data = Data::read(&options.data)?;
    Places::new()
        .reads([&options.model, &options.data])
        .reads(data.files())
        .writes("--output", Some(&options.output), 0)
        .check()?;
    let model = Model::open(&options.model)?;
    let network = options.limited(&model)?;
    let parts = options.parts(&network)?;
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
    let mut work: Box<dyn FnMut() -> anyhow::Result<usize> + '_> = match (&roles.forecasts, &roles.answers) {
        (Some(manifest), _) => {
            let mut predict = Predict::new(session, manifest.clone(), None)?;
            Box::new(move || passes::forecasts(&mut predict, &data, options))
        }
        (None, Some(manifest)) => {
            let parts = ReasonParts::of(manifest, &network, model.tokenizer()?);
            let mut reason = Reason::new(session, parts)?;
            Box::new(move || passes::answers(&mut reason, &data, options))
        }
        (None, None) => bail!("{}: the model neither answers nor forecasts", model.path().display()),
    };
    let samples = work()?;
    let mut narrowing = Narrowing::of(&model, &watched, method)?;
    if let Some(smooth) = smooth {
        narrowing.smooth(&model, &watched, smooth, context.threads.get());
        work()?;
        narrowing.again(&model, &watched)?;
    }
    drop(work);
    narrowing.compare(&model, &watched, context.threads.get());
    if let Some(Keep::Auto) = options.keep {
        narrowing.keep(&model, &parts, context.threads.get())?;
    }
    let report = Report::of(&model, &narrowing, samples, &options.output);
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

    /// The parts whose products are to be of eight bits.
    fn parts(&self, network: &Network) -> Result<Vec<String>, Usage> {
        let known: Vec<&str> = parts(network).into_iter().filter(|part| *part != CACHE_PART).collect();
        if let Some(part) = self.parts.iter().find(|part| !known.contains(&part.as_str())) {
            return Err(Usage(format!("--parts {part}: the model has {}", known.join(", "))));
        }
        let all = || known.iter().map(|part| (*part).to_owned()).collect();
        Ok(if self.parts.is_empty() { all() } else { self.parts.clone() })
    }

    /// How far magnitude is moved, if it is.
    fn smooth(&self) -> Result<Option<Smooth>, Usage> {
        let bits = match self.bits.as_deref() {
            Some("4") if self.keep.is_some() => {
                let why = "--keep is about products of eight bits; leave it or --bits 4 out";
                return Err(Usage(why.to_owned()));
            }
            Some("4") => Bits::Four,
            _ => Bits::Eight,
        };
        let alpha = |of: Alpha| match of {
            Alpha::Auto => None,
            Alpha::Given(alpha) => Some(alpha),
        };
        Ok(self.smooth.map(|of| Smooth { bits, alpha: alpha(of) }))
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
