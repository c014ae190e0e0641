//! The demo while it runs: a line for each answer and each surprise, in columns that fit a terminal, and what the columns mean.

use clap::builder::styling::{AnsiColor, Effects, Style};

use super::forecast;
use super::scoreboard::Verdict;
use crate::cli::output::wrapped;
use crate::quality::boxes::IOU_MIN;

/// Columns of a line at most.
pub(super) const WIDTH: usize = 100;
/// Columns before an answer's words.
const LEFT: usize = 39;
/// Letters of an answer at most; the report at the end has more.
const LETTERS_MAX: usize = 400;
/// Columns of a bar that reaches the threshold.
const BAR: f64 = 20.0;

const BOLD: Style = Style::new().effects(Effects::BOLD);
const DIM: Style = Style::new().effects(Effects::DIMMED);
const RIGHT: Style = AnsiColor::Green.on_default();
const WRONG: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
const UNUSUAL: Style = AnsiColor::Yellow.on_default().effects(Effects::BOLD);

/// What the columns are, and their heading.
pub(super) fn legend() -> String {
    let unusual = forecast::THRESHOLD.latent;
    let mut text = String::from("\n");
    for (word, meaning) in [
        ("scene", "its number; > shown forward, < shown backward".to_owned()),
        ("task", "the kind of question".to_owned()),
        ("age", "ms from the newest frame's stamp to its answer".to_owned()),
        ("took", "ms from that frame's arrival to its answer".to_owned()),
        (
            "right",
            format!(
                "the answer is the truth; a box overlaps the true one by half (IoU {IOU_MIN:.2} or more)"
            ),
        ),
        ("surprise", format!("how far what came lies from what was forecast; above {unusual:.2} is rare")),
    ] {
        text.push_str(&format!("  {BOLD}{word:<9}{BOLD:#} {meaning}\n"));
    }
    let heading = format!("{:>5}   {:<8} {:>6} {:>6}", "scene", "task", "age", "took");
    text.push_str(&format!("\n{DIM}{heading}{DIM:#}\n"));
    text
}

/// An answer beside the truth.
pub(super) fn line(verdict: &Verdict) -> String {
    let Verdict { scene, is_backward, task, question, answer, truth, is_right, iou, .. } = verdict;
    let Verdict { age_ms, camera_to_answer_ms, .. } = verdict;
    let way = if *is_backward { '<' } else { '>' };
    let (style, word) = if *is_right { (RIGHT, "right") } else { (WRONG, "WRONG") };
    let iou = iou.map_or(String::new(), |iou| format!(" (IoU {iou:.2})"));
    let mut lines = wrapped(&format!("{question} → {}{iou}", cut(answer)), WIDTH - LEFT);
    if !is_right {
        lines.extend(wrapped(&format!("truth: {truth}"), WIDTH - LEFT));
    }
    let head = format!("{scene:>5} {way} {task:<8} {age_ms:>6.0} {camera_to_answer_ms:>6.0}");
    let mut text = format!("{DIM}{head}{DIM:#}  {style}{word}{style:#}  ");
    let indent = format!("\n{:LEFT$}", "");
    text.push_str(&lines.join(&indent));
    text.push('\n');
    text
}

/// A surprise, with a bar.
pub(super) fn surprise_line(surprise: f32) -> String {
    let threshold = forecast::THRESHOLD.latent;
    let is_unusual = threshold < surprise;
    let style = if is_unusual { UNUSUAL } else { DIM };
    let n_marks = (f64::from(surprise / threshold) * BAR).clamp(0.0, 2.0 * BAR) as usize;
    let beside = if is_unusual { " rare" } else { "" };
    let bar = "▪".repeat(n_marks);
    format!("{style}{:8}surprise {surprise:>6.2}{:9}{bar}{beside}{style:#}\n", "", "")
}

fn cut(answer: &str) -> String {
    match answer.char_indices().nth(LETTERS_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", &answer[..end], answer.len()),
        None => answer.to_owned(),
    }
}

/// Adds a sentence in lines that a terminal has room for.
pub(super) fn say(text: &mut String, sentence: &str) {
    if let Some(rest) = sentence.strip_prefix('\n') {
        text.push('\n');
        return say(text, rest);
    }
    for line in wrapped(sentence, WIDTH) {
        text.push_str(&line);
        text.push('\n');
    }
}
