//! `inspect`: prints a checkpoint, a model or an engine.

mod checkpoint;
mod claims;
mod configured;
mod file;
mod roofline;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;

use super::onnx::OnnxOptions;
use super::places::Places;
use super::progress::Progress;
use super::{Context, Usage, output};
use crate::board::Device;
use crate::container::Kind;
use crate::engine::Engine;
use crate::graph::Network;
use crate::model::Model;
use checkpoint::CheckpointReport;
use file::FileReport;
use roofline::Roofline;

/// Prints what a checkpoint, model or engine is, with a table of bytes by purpose; of configs without weights, what they would be.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion inspect small-reason.engine --json
  perihelion inspect small-reason.model --onnx small-reason-onnx
  perihelion inspect reason2.model --roofline orin-nano")]
pub(crate) struct Options {
    /// A checkpoint directory (or one of its configs alone), a model file or an engine file
    #[arg(value_name = "CHECKPOINT|MODEL|ENGINE")]
    path: PathBuf,
    /// Write one JSON object
    #[arg(long, conflicts_with = "dump")]
    json: bool,
    /// Print the graphs, node by node
    #[arg(long)]
    dump: bool,
    /// Print how fast the graphs could run on a device at the most, by its data sheet: an estimate
    #[arg(long, value_name = "DEVICE", value_parser = device, conflicts_with = "dump")]
    roofline: Option<&'static Device>,
    /// Read every byte of a model or engine and compare its digests first
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    onnx: OnnxOptions,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let path = &options.path;
    if options.onnx.dir().is_some() {
        return write_onnx(options);
    }
    let progress = Progress::new("verify");
    let tell = |done, total| progress.set(done, total, "");
    if path.is_dir() {
        if options.dump || options.verify {
            let message =
                "a checkpoint has neither graphs nor digests; --dump and --verify are for models and engines";
            return Err(Usage(message.to_owned()).into());
        }
        let report = CheckpointReport::of(path, context.threads)?;
        if let Some(device) = options.roofline {
            return roofline(options, report.network(), device);
        }
        return if options.json { output::json(&report) } else { output::text(&report.text()) };
    }
    let (report, network) = match Kind::of_file(path)? {
        Some(Kind::Model) => {
            let model = Model::open(path)?;
            if options.verify {
                model.verify(tell)?;
            }
            (FileReport::of_model(&model, context.threads)?, model.network().clone())
        }
        Some(Kind::Engine) => {
            let engine = Engine::open(path)?;
            if options.verify {
                engine.verify(tell)?;
            }
            (FileReport::of_engine(&engine, context.threads), engine.network().clone())
        }
        None => {
            anyhow::bail!("{}: neither a checkpoint directory, nor a model, nor an engine", path.display())
        }
    };
    drop(progress);
    if let Some(device) = options.roofline {
        roofline(options, &network, device)
    } else if options.dump {
        output::text(&network.to_string())
    } else if options.json {
        output::json(&report)
    } else {
        output::text(&report.text(options.verify))
    }
}

/// The network that a checkpoint's configs say.
///
/// # Errors
/// If they cannot be read, or say none that there is.
pub(crate) fn network_of_checkpoint(dir: &Path, threads: NonZeroUsize) -> anyhow::Result<Network> {
    Ok(CheckpointReport::of(dir, threads)?.network().clone())
}

/// Writes a model's graphs as ONNX, and says what was written.
fn write_onnx(options: &Options) -> anyhow::Result<()> {
    let path = &options.path;
    if path.is_dir() {
        let shown = path.display();
        let message = format!(
            "{shown} is a folder; perihelion export {shown} -o MODEL --onnx DIR makes both of a checkpoint"
        );
        return Err(Usage(message).into());
    }
    if Kind::of_file(path)? == Some(Kind::Engine) {
        let message = format!(
            "{} is an engine, whose weights are packed for one backend; name the model that it was built from",
            path.display()
        );
        return Err(Usage(message).into());
    }
    if options.roofline.is_some() {
        let message = "--roofline prints an estimate, and --onnx writes graphs; name one of them";
        return Err(Usage(message.to_owned()).into());
    }
    if options.dump {
        return Err(
            Usage("--dump prints the graphs, and --onnx writes them; name one of them".to_owned()).into()
        );
    }
    Places::new()
        .reads([path])
        .writes_onnx(OnnxOptions::FLAG, options.onnx.dir(), options.onnx.overwrites())
        .check()?;
    let model = Model::open(path)?;
    if options.verify {
        let progress = Progress::new("verify");
        model.verify(|done, total| progress.set(done, total, ""))?;
    }
    match options.onnx.write(&model)? {
        Some(report) if options.json => output::json(&report),
        Some(report) => output::text(&report.text()),
        None => Ok(()),
    }
}

fn roofline(options: &Options, network: &Network, device: &Device) -> anyhow::Result<()> {
    let roofline = Roofline::of(network, device);
    if options.json { output::json(&roofline) } else { output::text(&roofline.text()) }
}

/// A device by its name.
fn device(name: &str) -> Result<&'static Device, String> {
    Device::named(name).ok_or_else(|| format!("no device is named `{name}`; there are {}", Device::names()))
}
