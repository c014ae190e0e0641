//! What a calibration has found: the scales, how well numbers of eight bits fit, and what they cost layer by layer.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::narrowing::{Given, Narrowing, Product};
use crate::backend::ActivationScales;
use crate::cli::output;
use crate::engine::GoldenError;
use crate::install;
use crate::model::Model;

/// Products that a person is told of: those that are off most.
const TOLD: usize = 10;

/// What was found.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    #[serde(rename = "scales")]
    path: &'a Path,
    model: String,
    method: String,
    /// Clips or questions.
    samples: usize,
    tensors: Vec<Seen>,
    /// Matrices whose products were given nothing: the data does not reach them.
    unseen: Vec<String>,
    /// Matrices whose products were given nothing but zeros.
    zeros: Vec<String>,
    /// With `--keep`: what eight bits cost the golden cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    golden: Option<Golden>,
    #[serde(skip)]
    scales: ActivationScales,
}

/// What one product is given.
#[derive(Serialize)]
struct Seen {
    weight: String,
    #[serde(flatten)]
    now: Figures,
    /// With `--smooth`, where magnitude was moved: the share that the matrix has taken, and what there was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Figures>,
    /// With `--keep`: what this product alone costs the golden cases, and whether what it is given stays in 16 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    alone: Option<GoldenError>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    wide: bool,
}

#[derive(Serialize)]
struct Figures {
    /// Numbers.
    n: u64,
    largest: f32,
    amax: f32,
    /// The share of numbers that are above.
    cut_share: f64,
    /// Signal to noise with eight bits, in decibels; and with the largest number as the magnitude.
    sqnr_db: f64,
    sqnr_db_of_max: f64,
    /// How far the product of few bits is off, weights too: root of the mean square, over that of the true product.
    error: f64,
}

/// What eight bits cost the golden cases, of each the output that is off most.
#[derive(Serialize)]
struct Golden {
    /// With every product in them.
    all: GoldenError,
    /// With what some are given left in 16 bits.
    kept: GoldenError,
    /// Whether that is as near as it is to be.
    is_near: bool,
}

impl<'a> Report<'a> {
    /// Of a model; `path` is where its scales will lie.
    pub(super) fn of(model: &Model, narrowing: &Narrowing, samples: usize, path: &'a Path) -> Self {
        let scales = narrowing.scales(model);
        let keeping = narrowing.keeping.as_ref();
        let seen = |product: &Product| {
            let alone = keeping.and_then(|of| of.alone.iter().find(|(id, _)| *id == product.id));
            Seen {
                weight: product.name.clone(),
                now: Figures::of(product.given()),
                alpha: product.balanced.as_ref().map(|balanced| balanced.alpha),
                before: product.balanced.as_ref().map(|_| Figures::of(&product.plain)),
                alone: alone.map(|(_, error)| *error),
                wide: narrowing.is_wide(product.id),
            }
        };
        Self {
            path,
            model: scales.model.clone(),
            method: narrowing.method.to_string(),
            samples,
            tensors: narrowing.products.iter().map(seen).collect(),
            unseen: narrowing.unseen.clone(),
            zeros: narrowing.zeros.clone(),
            golden: keeping.map(|of| Golden { all: of.all, kept: of.kept, is_near: of.is_near }),
            scales,
        }
    }

    /// Writes the file of scales.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write_scales(&self) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(&self.scales)?;
        install::write(self.path, &text).with_context(|| self.path.display().to_string())
    }

    /// For a person: the worst products first.
    pub(super) fn text(&self) -> String {
        let mut worst: Vec<&Seen> = self.tensors.iter().collect();
        // What a layer costs the outputs counts, where that is known.
        let cost = |seen: &Seen| seen.alone.map_or(seen.now.error, |alone| alone.rms_share);
        worst.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
        let heads = ["product with", "largest", "amax", "cut", "signal to noise", "uncut", "error"];
        let is_smoothed = !self.scales.balances.is_empty();
        let more_heads = [(is_smoothed, "moved"), (is_smoothed, "error before")].into_iter();
        let more_heads = more_heads.chain([self.golden.is_some(); 2].into_iter().zip(["golden", "bits"]));
        let more_heads: Vec<&str> =
            more_heads.filter(|(is_there, _)| *is_there).map(|(_, head)| head).collect();
        let mut rows = vec![heads.into_iter().chain(more_heads).map(str::to_owned).collect()];
        for seen in worst.iter().take(TOLD) {
            let now = &seen.now;
            let mut row = vec![
                seen.weight.clone(),
                format!("{:.3}", now.largest),
                format!("{:.3}", now.amax),
                format!("{:.4} %", 100.0 * now.cut_share),
                format!("{:.1} dB", now.sqnr_db),
                format!("{:.1} dB", now.sqnr_db_of_max),
                percent(now.error),
            ];
            if is_smoothed {
                row.push(seen.alpha.map_or_else(String::new, |alpha| format!("{alpha}")));
                row.push(seen.before.as_ref().map_or_else(String::new, |before| percent(before.error)));
            }
            if self.golden.is_some() {
                row.push(seen.alone.map_or_else(String::new, |alone| percent(alone.rms_share)));
                row.push(if seen.wide { "16" } else { "8" }.to_owned());
            }
            rows.push(row);
        }
        let more = match self.tensors.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!("and {more} that cost less\n"),
        };
        format!(
            "{}: {} scales by {}, of {} samples\n\n{}{more}{}{}",
            self.path.display(),
            self.scales.tensors.len(),
            self.method,
            self.samples,
            output::table(&rows),
            self.golden.as_ref().map_or_else(String::new, |golden| self.of_golden(golden)),
            self.without_scales()
        )
    }

    fn of_golden(&self, golden: &Golden) -> String {
        let Golden { all, kept, is_near } = golden;
        let wide = self.scales.wide.len();
        let told = format!(
            "golden cases: off by {} as a whole in the output that is off most with all products in eight bits",
            percent(all.rms_share)
        );
        match (wide, is_near) {
            (0, _) => format!("{told}: none is left in 16\n"),
            (_, true) => format!("{told}, by {} with what {wide} are given in 16\n", percent(kept.rms_share)),
            (_, false) => format!(
                "{told}, by {} with what all are given in 16: their weights alone cost too much; give parts another format\n",
                percent(kept.rms_share)
            ),
        }
    }

    /// What there is no scale for.
    fn without_scales(&self) -> String {
        let without = |weights: &[String], why: &str| match weights {
            [] => String::new(),
            [first, ..] => format!(
                "{} products {why}, as that with {first}: no scale is written for them, and plans leave what they are given wide\n",
                weights.len()
            ),
        };
        without(&self.unseen, "were never reached: give data of every kind that the model takes, as images")
            + &without(&self.zeros, "were given nothing but zeros")
    }
}

impl Figures {
    fn of(given: &Given) -> Self {
        let Given { n, largest, amax, fit, sqnr_db_of_max, error } = *given;
        Figures { n, largest, amax, cut_share: fit.cut_share, sqnr_db: fit.sqnr_db, sqnr_db_of_max, error }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}
