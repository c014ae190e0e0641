//! `ask`: runs a Reason engine on files, once or on a batch of questions.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::generation::GenerationOptions;
use super::places::Places;
use super::question::{BatchLine, Question};
use super::{Context, Usage, output, tensors};
use crate::runtime::reason::{Answer, AnswerSettings, AskError, Part, Reason, Recording};

/// Asks a Reason engine about images, a clip, or nothing but the question.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion ask small-reason.engine --image table.png --prompt \"How many balls are there?\" --greedy
  perihelion ask small-reason.engine --video frames/ --fps 8 --prompt \"Which way is the red ball moving?\" --json
  perihelion ask small-reason.engine --image table.png --prompt \"Is the path clear?\" --choices yes,no")]
pub(crate) struct Options {
    /// The engine
    engine: PathBuf,
    /// An image that the question is about; may be given several times
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// A clip that the question is about: a directory of frames, taken in natural order of their names
    #[arg(long, value_name = "DIR", requires = "fps")]
    video: Option<PathBuf>,
    /// The rate at which the clip's frames were taken
    #[arg(long, value_name = "F", requires = "video")]
    fps: Option<f64>,
    /// The question
    #[arg(long, value_name = "TEXT", required_unless_present = "batch")]
    prompt: Option<String>,
    /// The standing instruction before media and question
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    generation: GenerationOptions,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    /// Write the logits of every generated position, before penalties and temperature
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "batch")]
    logits: Option<PathBuf>,
    /// Write the pixels, position ids and vision features
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "batch")]
    tensors: Option<PathBuf>,
    /// Ask every line of a file: objects with `prompt` and, as there are, `id`, `system`, `images`, `video` with `fps`, `choices`,
    /// `think`, `max_tokens`, `seed`. Writes one JSON object a line
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["prompt", "image", "video"])]
    batch: Option<PathBuf>,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    if options.fps.is_some_and(|fps| !(fps.is_finite() && 0.0 < fps)) {
        return Err(Usage("--fps takes a number above 0".to_owned()).into());
    }
    Places::new()
        .reads([&options.engine])
        .reads(&options.image)
        .reads(&options.video)
        .reads(&options.batch)
        .writes("--logits", options.logits.as_ref(), 0)
        .writes("--tensors", options.tensors.as_ref(), 0)
        .check()?;
    let (mut reason, _) = super::engines::open_reason(&options.engine, context.threads)?;
    let settings = options.generation.resolve(reason.default_sampling(), options.system.as_deref())?;
    match (&options.batch, &options.prompt) {
        (Some(path), _) => batch(&mut reason, &settings, path),
        (None, Some(prompt)) => one(&mut reason, options, settings, prompt),
        (None, None) => {
            Err(Usage("a question is needed: --prompt TEXT or --batch FILE.jsonl".to_owned()).into())
        }
    }
}

fn one(reason: &mut Reason, options: &Options, settings: AnswerSettings, prompt: &str) -> anyhow::Result<()> {
    let video = options.video.as_deref().zip(options.fps);
    let question = Question::load(prompt.to_owned(), &options.image, video, settings)?;
    let records = options.logits.is_some() || options.tensors.is_some();
    let mut recording = records.then(Recording::default);
    let streams = !options.json;
    let mut last = Part::Answer;
    let answer = question.with_request(None, |request| {
        let streams = streams && request.choices.is_empty();
        let mut emit = |part, text: &str| {
            if streams {
                stream(last, part, text);
                last = part;
            }
        };
        reason.ask(request, recording.as_mut(), &mut emit)
    });
    let answer = answer.map_err(refused)?;
    if let Some(recording) = &recording {
        if let Some(path) = &options.logits {
            tensors::write_logits(path, recording, reason.vocab_size())?;
        }
        if let Some(path) = &options.tensors {
            tensors::write_tensors(path, recording)?;
        }
    }
    if options.json {
        return output::json(&answer);
    }
    if answer.choices.is_empty() {
        output::text("\n")?;
    } else {
        let rows = answer.choices.iter().map(|choice| {
            vec![choice.text.clone(), format!("{:.4}", choice.share), format!("{:.4}", choice.probability)]
        });
        let heading = ["choice", "of the choices", "of everything"].map(str::to_owned).to_vec();
        let table: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
        output::text(&format!("{}\n{}", answer.text, output::table(&table)))?;
    }
    eprintln!("{}", summary(&answer));
    Ok(())
}

/// A mistake of the command line is told from a failure.
fn refused(error: AskError) -> anyhow::Error {
    if error.is_usage() { Usage(error.to_string()).into() } else { error.into() }
}

/// The answer to stdout as it comes, the thought to stderr on lines of its own.
fn stream(last: Part, part: Part, text: &str) {
    // A reader that went away is noticed at the end.
    let _ = match part {
        Part::Answer => {
            if last == Part::Thought {
                eprintln!();
            }
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        }
        Part::Thought => io::stderr().lock().write_all(text.as_bytes()),
    };
}

fn summary(answer: &Answer) -> String {
    let timings = &answer.timings;
    let mut text = format!(
        "{} prompt tokens ({} visual, {} reused), {} generated; ",
        answer.prompt_tokens,
        answer.image_tokens,
        answer.reused_tokens,
        answer.tokens.len()
    );
    if let Some(ttft) = timings.ttft_ms {
        text.push_str(&format!("first after {ttft:.1} ms, "));
    }
    if let Some(tpot) = timings.tpot_ms {
        text.push_str(&format!("then {tpot:.2} ms each, "));
    }
    text.push_str(&format!("{:.1} ms in all", timings.total_ms));
    if answer.truncated {
        text.push_str(&format!("; cut off ({})", answer.finish_reason.name()));
    }
    text
}

/// A line of a batch's output.
#[derive(Serialize)]
#[serde(untagged)]
enum BatchAnswer<'a> {
    Answered {
        id: &'a serde_json::Value,
        #[serde(flatten)]
        answer: Box<Answer>,
    },
    Failed {
        id: &'a serde_json::Value,
        error: String,
    },
}

fn batch(reason: &mut Reason, general: &AnswerSettings, path: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let (mut n_questions, mut n_failed) = (0, 0);
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        n_questions += 1;
        let mut id = serde_json::Value::from(number);
        let answered =
            serde_json::from_str::<BatchLine>(line).map_err(anyhow::Error::from).and_then(|mut line| {
                id = line.id.take().unwrap_or(serde_json::Value::from(number));
                let question = Question::from_line(line, directory, general)?;
                Ok(question.with_request(None, |request| reason.ask(request, None, &mut |_, _| {}))?)
            });
        match answered {
            Ok(answer) => output::json_line(&BatchAnswer::Answered { id: &id, answer: Box::new(answer) })?,
            Err(error) => {
                n_failed += 1;
                output::json_line(&BatchAnswer::Failed { id: &id, error: output::chain(&error) })?;
            }
        }
    }
    if 0 < n_failed {
        anyhow::bail!(
            "{n_failed} of {n_questions} questions of {} failed: see their `error`",
            path.display()
        );
    }
    Ok(())
}
