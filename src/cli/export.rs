//! `export`: a checkpoint becomes a model.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::onnx::{OnnxOptions, OnnxReport};
use super::places::Places;
use super::progress::Progress;
use super::{Context, Usage, output};
use crate::container::Kind;
use crate::export::{PredictOptions, ReasonOptions, Summary, export_predict, export_reason};
use crate::install::folder_of;
use crate::model::Model;

/// Makes a model of a checkpoint of Reason or Predict: graphs, weights and golden cases in one file, for any device.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:
  perihelion export engines/small-reason -o small-reason.model --think-suffix $'\\nThink first, in <think> </think>.'
  perihelion export engines/small-predict -o small-predict.model --onnx small-predict-onnx
  perihelion export Cosmos-Predict2.5-2B -o predict.model --height 256 --width 320 --frames 33 --condition-frames 5 \\
      --text-embedding default=empty.safetensors")]
pub(crate) struct Options {
    /// The checkpoint's directory
    checkpoint: PathBuf,
    /// The model's file, which is replaced whole
    #[arg(short, long, value_name = "MODEL")]
    output: PathBuf,
    /// Added to a question that should be thought about: how the checkpoint is asked to think
    #[arg(long, value_name = "TEXT")]
    think_suffix: Option<String>,
    /// Predict: the embedding of a text, `[n, d]`; a plain file is named `default`, and `negative` is what guidance leads away from.
    /// May be given several times [default: text_embedding.safetensors beside the checkpoint]
    #[arg(long, value_name = "[NAME=]FILE.safetensors")]
    text_embedding: Vec<String>,
    /// Predict: height of a frame, a multiple of 16
    #[arg(long, value_name = "PIXELS")]
    height: Option<usize>,
    /// Predict: width of a frame, a multiple of 16
    #[arg(long, value_name = "PIXELS")]
    width: Option<usize>,
    /// Predict: frames of the clip, given and forecast: 5, 9, 13, …; Reason: frames that `run` asks about together, unless told
    /// otherwise [default for Reason: 1]
    #[arg(long, value_name = "N")]
    frames: Option<NonZeroUsize>,
    /// Predict: frames that are given: 0, 1 or 5
    #[arg(long, value_name = "N")]
    condition_frames: Option<usize>,
    /// Frames in a second of a clip; said here for Predict, the rate enters the rotary positions [default: the checkpoint's]
    #[arg(long, value_name = "F")]
    fps: Option<f64>,
    /// Predict: names of an action's columns, where the checkpoint does not say them
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    action_names: Option<Vec<String>>,
    #[command(flatten)]
    onnx: OnnxOptions,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Without what is Predict's.
    fn reason_only(&self) -> Options {
        Options {
            text_embedding: Vec::new(),
            height: None,
            width: None,
            condition_frames: None,
            action_names: None,
            ..self.clone()
        }
    }

    fn reason(&self) -> anyhow::Result<ReasonOptions> {
        if *self != self.reason_only() {
            let message = "--text-embedding, --height, --width, --condition-frames and --action-names are for Predict; \
                           is this a diffusers directory, with model_index.json?";
            return Err(Usage(message.to_owned()).into());
        }
        if self.fps.is_some_and(|fps| !(fps.is_finite() && 0.0 < fps)) {
            return Err(Usage("--fps takes a number above 0".to_owned()).into());
        }
        Ok(ReasonOptions {
            think_suffix: self.think_suffix.clone(),
            clip_frames: self.frames,
            clip_fps: self.fps,
            ..ReasonOptions::default()
        })
    }

    /// Names and files of text embeddings.
    fn texts(&self) -> impl Iterator<Item = (String, PathBuf)> {
        self.text_embedding.iter().map(|text| match text.split_once('=') {
            Some((name, file)) => (name.to_owned(), PathBuf::from(file)),
            None => ("default".to_owned(), PathBuf::from(text)),
        })
    }

    fn predict(&self) -> anyhow::Result<PredictOptions> {
        if self.think_suffix.is_some() {
            return Err(Usage("--think-suffix is for Reason".to_owned()).into());
        }
        Ok(PredictOptions {
            texts: self.texts().collect(),
            height: self.height,
            width: self.width,
            frames: self.frames.map(NonZeroUsize::get),
            condition_frames: self.condition_frames,
            fps: self.fps,
            action_names: self.action_names.clone(),
        })
    }
}

/// Whether `path` is a folder, as a checkpoint is.
///
/// # Errors
/// A [`Usage`] that says what the file there is for.
fn is_checkpoint(path: &Path) -> anyhow::Result<()> {
    let adapter = ["adapter_config.json", "pytorch_lora_weights.safetensors"].map(|name| path.join(name));
    let is_checkpoint = ["config.json", "model_index.json"].iter().any(|name| path.join(name).exists());
    if adapter.iter().any(|file| file.is_file()) && !is_checkpoint {
        let base = std::fs::read(&adapter[0])
            .ok()
            .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let base = base.as_ref().and_then(|config| config.get("base_model_name_or_path")?.as_str());
        let base = base.map(|base| format!(" ({})", base.escape_debug())).unwrap_or_default();
        let message = format!(
            "{0} is an adapter without its base{base}: perihelion merge CHECKPOINT {0} -o DIR makes a checkpoint of the two",
            path.display()
        );
        return Err(Usage(message).into());
    }
    if !path.is_file() {
        return Ok(());
    }
    let (is, cure) = match Kind::of_file(path) {
        Ok(Some(Kind::Model)) => ("a model already", "perihelion build makes an engine of it".to_owned()),
        Ok(Some(Kind::Engine)) => ("an engine already", "ask, imagine and run take it".to_owned()),
        _ if path.extension().is_some_and(|extension| extension == "safetensors") => {
            ("one file", format!("name the folder that it lies in: {}", folder_of(path).display()))
        }
        _ => ("a file", "name the folder that has config.json or model_index.json".to_owned()),
    };
    Err(Usage(format!("{} is {is}, and a checkpoint is a folder; {cure}", path.display())).into())
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a PathBuf,
    sha256: &'a str,
    parameters: u64,
    tensors: usize,
    weights_bytes: u64,
    file_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    onnx: Option<OnnxReport>,
}

pub(crate) fn run(options: &Options, _: &Context) -> anyhow::Result<()> {
    is_checkpoint(&options.checkpoint)?;
    Places::new()
        .reads([&options.checkpoint])
        .reads(options.texts().map(|(_, file)| file))
        .writes("-o", Some(&options.output), 0)
        .writes_onnx(OnnxOptions::FLAG, options.onnx.dir(), options.onnx.overwrites())
        .check()?;
    let progress = Progress::new("export");
    let tell = &mut |at: crate::export::Progress| progress.set(at.done, at.total, at.stage);
    let summary = if options.checkpoint.join("model_index.json").exists() {
        export_predict(&options.checkpoint, &options.predict()?, &options.output, tell)?
    } else {
        export_reason(&options.checkpoint, &options.reason()?, &options.output, tell)?
    };
    drop(progress);
    let Summary { n_parameters, n_tensors, weights_bytes, file_bytes, sha256, notes } = &summary;
    for note in notes {
        eprintln!("{}: {note}", options.checkpoint.display());
    }
    let onnx = match options.onnx.dir() {
        Some(_) => options.onnx.write(&Model::open(&options.output)?)?,
        None => None,
    };
    if options.json {
        return output::json(&Report {
            model: &options.output,
            sha256,
            parameters: *n_parameters,
            tensors: *n_tensors,
            weights_bytes: *weights_bytes,
            file_bytes: *file_bytes,
            onnx,
        });
    }
    output::text(&format!(
        "{}: {n_parameters} parameters in {n_tensors} tensors, {}, sha256 {sha256}\n{}",
        options.output.display(),
        output::bytes(*file_bytes),
        onnx.map(|onnx| onnx.text()).unwrap_or_default()
    ))
}
