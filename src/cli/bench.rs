//! `bench`: measures one Reason engine, in the field's own words.
//!
//! Every run asks about an image that was not seen before, since a camera never shows the same one twice and a cache would otherwise
//! be measured. Stop tokens are ignored, so that every run generates as many tokens. The raw samples are kept.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde::Serialize;

use super::machine::{Machine, ProcessMemory};
use super::{Context, Usage, output};
use crate::backend::Memory;
use crate::camera::FrameSize;
use crate::runtime::reason::{Answer, Picture, Reason, Recording, Request, Shown};
use crate::runtime::statistics::{PERCENTILE_RULE, Summary};

/// Measures an engine: time to the first token, time per token, memory.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  perihelion bench small-reason.engine --image-size 64 --prompt-tokens 32 --generate 32 --runs 10 --json"
)]
pub(super) struct Options {
    /// The engine
    engine: PathBuf,
    /// Write one JSON object, with the raw samples
    #[arg(long)]
    json: bool,
    /// Tokens of text in the prompt, those of the chat template included
    #[arg(long, value_name = "N", default_value_t = 64)]
    prompt_tokens: usize,
    /// Side of the square image, in pixels; 0 for none
    #[arg(long, value_name = "N", default_value_t = 512)]
    image_size: usize,
    /// Tokens to generate
    #[arg(long, value_name = "N", default_value_t = 32)]
    generate: usize,
    /// Runs that count
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    /// Runs before them that do not
    #[arg(long, value_name = "N", default_value_t = 1)]
    warmup: usize,
    /// Show one image in every run: measures the caches
    #[arg(long)]
    same_image: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    engine: PathBuf,
    #[serde(flatten)]
    identity: super::engines::Identity,
    threads: usize,
    machine: Machine,
    workload: Workload,
    percentile_rule: &'static str,
    load_ms: f64,
    stages: Stages<Summary>,
    decode_tokens_per_s: Option<f64>,
    memory: MemoryReport,
    samples: Stages<Vec<f64>>,
}

/// What was asked for and, in tokens, what came of it.
#[derive(Debug, Serialize)]
struct Workload {
    prompt_tokens: usize,
    image_tokens: usize,
    image_size: usize,
    images: &'static str,
    generated_tokens: usize,
    warmup_runs: usize,
    runs: usize,
}

/// The stages of an answer. `itl_ms` has every interval between tokens, `tpot_ms` their mean of each run.
#[derive(Debug, Default, Serialize)]
struct Stages<T> {
    preprocess_ms: T,
    vision_ms: T,
    prefill_ms: T,
    ttft_ms: T,
    tpot_ms: T,
    itl_ms: T,
    total_ms: T,
}

/// Bytes by named source. They overlap and are never summed.
#[derive(Debug, Serialize)]
struct MemoryReport {
    session: Memory,
    loop_bytes: u64,
    process: ProcessMemory,
}

pub(super) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    if options.runs == 0 || options.generate == 0 {
        return Err(Usage("--runs and --generate take at least 1".to_owned()).into());
    }
    let begin = Instant::now();
    let (mut reason, identity) = super::engines::open_reason(&options.engine, context.threads, false)?;
    let load_ms = begin.elapsed().as_secs_f64() * 1e3;

    let mut camera = Camera::new(options.image_size);
    let mut samples = Stages::<Vec<f64>>::default();
    let mut workload = None;
    for run in 0..options.warmup + options.runs {
        if run == 0 || !options.same_image {
            camera.next_image();
        }
        let (answer, recording) = ask(&mut reason, &camera, run as u64, options)?;
        if options.warmup <= run {
            samples.add(&answer, &recording);
        }
        workload = Some(Workload {
            prompt_tokens: answer.prompt_tokens,
            image_tokens: answer.image_tokens,
            image_size: options.image_size,
            images: if options.same_image { "the same" } else { "unique" },
            generated_tokens: answer.tokens.len(),
            warmup_runs: options.warmup,
            runs: options.runs,
        });
    }
    let stages = samples.summaries();
    let report = Report {
        engine: options.engine.clone(),
        identity,
        threads: context.threads.get(),
        machine: Machine::look(),
        workload: workload.expect("there was a run"),
        percentile_rule: PERCENTILE_RULE,
        load_ms,
        decode_tokens_per_s: stages.itl_ms.mean.map(|ms| 1e3 / ms),
        stages,
        memory: MemoryReport {
            session: reason.session_memory(),
            loop_bytes: reason.claimed_bytes(),
            process: ProcessMemory::look(),
        },
        samples,
    };
    if options.json { output::json(&report) } else { output::text(&report.text()) }
}

fn ask(
    reason: &mut Reason,
    camera: &Camera,
    seed: u64,
    options: &Options,
) -> anyhow::Result<(Answer, Recording)> {
    let picture = Shown::Image(camera.picture());
    let shown = if options.image_size == 0 { &[][..] } else { std::slice::from_ref(&picture) };
    let template_tokens = reason.prompt_text_tokens(&Request::new(shown, "", 1))?;
    let Some(n_more) = options.prompt_tokens.checked_sub(template_tokens) else {
        let message =
            format!("--prompt-tokens: the chat template alone has {template_tokens} tokens of text");
        return Err(Usage(message).into());
    };
    // Byte-level tokenizers have a letter in each of the first ids; any text will do.
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let text: Vec<u32> = (0..n_more).map(|_| random.next_u32() % 256).collect();
    let request = Request {
        answer_begin: &text,
        ignore_stop_tokens: true,
        ..Request::new(shown, "", options.generate)
    };
    let mut recording = Recording { only_times: true, ..Recording::default() };
    let answer = reason.ask(&request, Some(&mut recording), &mut |_, _| {})?;
    Ok((answer, recording))
}

/// Random images.
struct Camera {
    random: ChaCha8Rng,
    rgb: Vec<u8>,
    size: FrameSize,
}

impl Camera {
    fn new(side: usize) -> Self {
        let size = FrameSize { width: side, height: side };
        Self { random: ChaCha8Rng::seed_from_u64(0), rgb: vec![0; size.rgb_bytes()], size }
    }

    fn next_image(&mut self) {
        self.random.fill_bytes(&mut self.rgb);
    }

    fn picture(&self) -> Picture<'_> {
        Picture { rgb: &self.rgb, size: self.size }
    }
}

impl Stages<Vec<f64>> {
    fn add(&mut self, answer: &Answer, recording: &Recording) {
        let timings = &answer.timings;
        self.preprocess_ms.push(timings.preprocess_ms);
        self.vision_ms.push(timings.vision_ms);
        self.prefill_ms.push(timings.prefill_ms);
        self.ttft_ms.extend(timings.ttft_ms);
        self.tpot_ms.extend(timings.tpot_ms);
        self.itl_ms.extend(recording.token_ms.windows(2).map(|pair| pair[1] - pair[0]));
        self.total_ms.push(timings.total_ms);
    }

    fn summaries(&self) -> Stages<Summary> {
        Stages {
            preprocess_ms: Summary::of(&self.preprocess_ms),
            vision_ms: Summary::of(&self.vision_ms),
            prefill_ms: Summary::of(&self.prefill_ms),
            ttft_ms: Summary::of(&self.ttft_ms),
            tpot_ms: Summary::of(&self.tpot_ms),
            itl_ms: Summary::of(&self.itl_ms),
            total_ms: Summary::of(&self.total_ms),
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let Workload { prompt_tokens, image_tokens, image_size, images, generated_tokens, warmup_runs, runs } =
            &self.workload;
        let mut text = format!(
            "{}: {}, {}, {} thread(s), opened in {:.1} ms\n\
             {prompt_tokens} prompt tokens, {image_tokens} of them visual ({image_size}×{image_size} pixels, {images} images), \
             {generated_tokens} generated\n\
             {warmup_runs} warm-up runs, then {runs} runs; percentile p is {}\n\n",
            self.engine.display(),
            self.identity.backend,
            self.identity.precision,
            self.threads,
            self.load_ms,
            self.percentile_rule,
        );
        let heading = ["ms", "count", "min", "mean", "p50", "p90", "p99", "max"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        let stages = &self.stages;
        for (name, summary) in [
            ("preprocess", &stages.preprocess_ms),
            ("vision", &stages.vision_ms),
            ("prefill", &stages.prefill_ms),
            ("first token (TTFT)", &stages.ttft_ms),
            ("per token (TPOT)", &stages.tpot_ms),
            ("between tokens (ITL)", &stages.itl_ms),
            ("total", &stages.total_ms),
        ] {
            let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"));
            let Summary { count, min, mean, p50, p90, p99, max, .. } = *summary;
            let mut row = vec![name.to_owned(), count.to_string()];
            row.extend([min, mean, p50, p90, p99, max].map(ms));
            rows.push(row);
        }
        text.push_str(&output::table(&rows));
        if let Some(rate) = self.decode_tokens_per_s {
            text.push_str(&format!("\n{rate:.2} tokens/s\n"));
        }
        text.push_str("\nmemory (the sources overlap)\n");
        let MemoryReport { session, loop_bytes, process } = &self.memory;
        let mut rows = super::engines::memory_rows(session);
        rows.push(vec![
            "loop: sampler, patches, keys".to_owned(),
            output::bytes(*loop_bytes),
            loop_bytes.to_string(),
        ]);
        for (name, value) in [
            ("process VmHWM", process.vm_hwm_bytes),
            ("process RssAnon", process.rss_anon_bytes),
            ("process RssFile", process.rss_file_bytes),
        ] {
            let mut row = vec![name.to_owned(), value.map_or_else(|| "–".to_owned(), output::bytes)];
            row.extend(value.map(|bytes| bytes.to_string()));
            rows.push(row);
        }
        text.push_str(&output::table(&rows));
        text
    }
}
