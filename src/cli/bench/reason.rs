//! Measures an engine that answers. Stop tokens are ignored, so that every run generates as many tokens.

use std::time::Instant;

use clap::Args;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde::Serialize;

use super::{Measured, Options, Samples, run_each};
use crate::camera::FrameSize;
use crate::cli::engines::open_reason;
use crate::cli::{Context, Usage};
use crate::runtime::reason::{Answer, Picture, Reason, Recording, Request, Shown};

/// The question.
#[derive(Debug, Args)]
#[group(skip)]
#[command(next_help_heading = "Of an engine that answers")]
pub(super) struct ReasonOptions {
    /// Tokens of text in the prompt, those of the chat template included [default: 64]
    #[arg(long, value_name = "N")]
    prompt_tokens: Option<usize>,
    /// Side of the square image, in pixels; 0 for none [default: 512]
    #[arg(long, value_name = "N")]
    image_size: Option<usize>,
    /// Tokens to generate [default: 32]
    #[arg(long, value_name = "N")]
    generate: Option<usize>,
    /// Show one image in every run: measures the caches
    #[arg(long)]
    same_image: bool,
}

/// What was asked for and, in tokens, what came of it.
#[derive(Debug, Serialize)]
pub(super) struct Workload {
    prompt_tokens: usize,
    image_tokens: usize,
    image_size: usize,
    images: &'static str,
    generated_tokens: usize,
    warmup_runs: usize,
    runs: usize,
}

/// Of the mean interval between tokens.
#[derive(Debug, Serialize)]
pub(super) struct Rates {
    decode_tokens_per_s: Option<f64>,
}

/// Of each run: tokens of the prompt that were computed, visual ones included, by the time of the prefill; and the tokens after the
/// first by their time.
const RATES: [(&str, &str); 2] =
    [("prompt_tokens_per_s", "prompt tokens (prefill)"), ("tokens_per_s", "tokens generated")];

/// `itl_ms` has every interval between tokens, `tpot_ms` their mean of each run.
const STAGES: [(&str, &str); 7] = [
    ("preprocess_ms", "preprocess"),
    ("vision_ms", "vision"),
    ("prefill_ms", "prefill"),
    ("ttft_ms", "first token (TTFT)"),
    ("tpot_ms", "per token (TPOT)"),
    ("itl_ms", "between tokens (ITL)"),
    ("total_ms", "total"),
];

impl ReasonOptions {
    /// Whether one was given.
    pub(super) fn any(&self) -> bool {
        let numbers = [self.prompt_tokens, self.image_size, self.generate];
        numbers.iter().any(Option::is_some) || self.same_image
    }
}

/// Runs the benchmark.
///
/// # Errors
/// If the engine cannot be opened or cannot answer such a question.
pub(super) fn measure(options: &Options, context: &Context) -> anyhow::Result<Measured<Workload, Rates>> {
    let asked = &options.reason;
    let question = Question {
        prompt_tokens: asked.prompt_tokens.unwrap_or(64),
        image_size: asked.image_size.unwrap_or(512),
        generate: asked.generate.unwrap_or(32),
    };
    if question.generate == 0 {
        return Err(Usage("--generate takes at least 1".to_owned()).into());
    }
    let begin = Instant::now();
    let (mut reason, identity) = open_reason(&options.engine, context.threads)?;
    let load_ms = begin.elapsed().as_secs_f64() * 1e3;

    let mut camera = Camera::new(question.image_size);
    let (mut samples, mut rates) = (Samples::new(&STAGES), Samples::new(&RATES));
    let mut last = None;
    let board = run_each(options, |run, counts| {
        if run == 0 || !asked.same_image {
            camera.next_image();
        }
        let (answer, recording) = question.ask(&mut reason, &camera, run)?;
        if counts {
            add(&mut samples, &mut rates, &answer, &recording);
        }
        last = Some(answer);
        Ok(())
    })?;
    let answer = last.expect("there was a run");
    let workload = Workload {
        prompt_tokens: answer.prompt_tokens,
        image_tokens: answer.image_tokens,
        image_size: question.image_size,
        images: if asked.same_image { "the same" } else { "unique" },
        generated_tokens: answer.tokens.len(),
        warmup_runs: options.warmup,
        runs: options.runs,
    };
    let Workload { prompt_tokens, image_tokens, image_size, images, generated_tokens, .. } = &workload;
    let description = format!(
        "{prompt_tokens} prompt tokens, {image_tokens} of them visual ({image_size}×{image_size} pixels, {images} images), \
         {generated_tokens} generated"
    );
    let decode_tokens_per_s = samples.mean("itl_ms").map(|ms| 1e3 / ms);
    Ok(Measured {
        identity,
        load_ms,
        workload,
        description,
        mean_rates: Rates { decode_tokens_per_s },
        rates,
        samples,
        board,
        session: reason.session_memory(),
        loop_bytes: reason.claimed_bytes(),
        loop_holds: "sampler, keys",
    })
}

/// The size of every question.
struct Question {
    prompt_tokens: usize,
    image_size: usize,
    generate: usize,
}

impl Question {
    fn ask(&self, reason: &mut Reason, camera: &Camera, seed: u64) -> anyhow::Result<(Answer, Recording)> {
        let picture = Shown::Image(camera.picture());
        let shown = if self.image_size == 0 { &[][..] } else { std::slice::from_ref(&picture) };
        let template_tokens = reason.prompt_text_tokens(&Request::new(shown, "", 1))?;
        let Some(n_more) = self.prompt_tokens.checked_sub(template_tokens) else {
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
            ..Request::new(shown, "", self.generate)
        };
        let mut recording = Recording { only_times: true, ..Recording::default() };
        let answer = reason.ask(&request, Some(&mut recording), &mut |_, _| {})?;
        Ok((answer, recording))
    }
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
        Picture::new(&self.rgb, self.size)
    }
}

fn add(samples: &mut Samples, rates: &mut Samples, answer: &Answer, recording: &Recording) {
    let timings = &answer.timings;
    samples.add("preprocess_ms", [timings.preprocess_ms]);
    samples.add("vision_ms", [timings.vision_ms]);
    samples.add("prefill_ms", [timings.prefill_ms]);
    samples.add("ttft_ms", timings.ttft_ms);
    samples.add("tpot_ms", timings.tpot_ms);
    samples.add("itl_ms", recording.token_ms.windows(2).map(|pair| pair[1] - pair[0]));
    samples.add("total_ms", [timings.total_ms]);
    let n_read = answer.prompt_tokens - answer.reused_tokens;
    rates.add("prompt_tokens_per_s", [n_read as f64 * 1e3 / timings.prefill_ms]);
    rates.add("tokens_per_s", timings.tpot_ms.map(|ms| 1e3 / ms));
}
