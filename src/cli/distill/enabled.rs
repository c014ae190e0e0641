//! Trains: the recipe read, signals taken, progress shown.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::bail;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::Options;
use crate::cli::progress::Progress;
use crate::cli::{Context, Usage, output};
use crate::distill::{self, DistillError, Event, Recipe};

pub(super) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let mut recipe = Recipe::open(&options.recipe).map_err(blamed)?;
    if let Some(output) = &options.output {
        recipe.output.clone_from(output);
    }
    distill::use_threads(context.threads.get());
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends the process at once: what was saved last is whole.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let progress = Progress::counting("distill");
    let (begin, mut has_begun) = (Instant::now(), false);
    let mut figures_now = Vec::new();
    let outcome = distill::train(&recipe, options.resume, &stop, &mut |event| match event {
        Event::Step(step) => {
            if !std::mem::replace(&mut has_begun, true) {
                progress.go_on_from(step.step);
            }
            progress.set(step.step + 1, recipe.train.steps, format!("loss {:.4}", step.loss));
        }
        Event::Measured { step, figures } => {
            let text: Vec<String> =
                figures.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
            let seconds = begin.elapsed().as_secs_f64();
            progress.say(&format!("step {step} ({seconds:.0} s): {}", text.join(", ")));
            figures_now.clone_from(figures);
        }
        _ => {}
    })
    .map_err(blamed)?;
    drop(progress);
    let place = recipe.output.display();
    if options.json {
        let figures: serde_json::Map<String, serde_json::Value> =
            figures_now.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        output::json(&json!({
            "output": place.to_string(), "steps": outcome.steps, "finished": outcome.finished, "loss": outcome.loss,
            "measured": figures,
        }))?;
    } else {
        output::text(&format!("{place}: {} steps, loss {:.4}\n", outcome.steps, outcome.loss))?;
    }
    if !outcome.finished {
        bail!(
            "{place}: stopped after {} of {} steps; go on with --resume",
            outcome.steps,
            recipe.train.steps
        );
    }
    Ok(())
}

/// A wrong recipe is what the command was given.
fn blamed(why: DistillError) -> anyhow::Error {
    match why {
        DistillError::Recipe { .. } => Usage(why.to_string()).into(),
        other => other.into(),
    }
}
