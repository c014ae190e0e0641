//! What a calibration has seen: the scales, and how well numbers of eight bits fit.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::backend::{ActivationScale, ActivationScales};
use crate::cli::output;
use crate::container::hex;
use crate::install;
use crate::model::Model;
use crate::quantize::{Method, Watched, products};

/// Products that a person is told of: those that fit worst.
const TOLD: usize = 10;

/// What was seen.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    scales: &'a Path,
    model: String,
    method: String,
    /// Clips or questions.
    samples: usize,
    tensors: Vec<Seen>,
    /// Matrices whose products were given nothing: the data does not reach them.
    unseen: Vec<String>,
    /// Matrices whose products were given nothing but zeros.
    zeros: Vec<String>,
}

/// What one product was given.
#[derive(Serialize)]
struct Seen {
    weight: String,
    /// Numbers.
    n: u64,
    largest: f32,
    amax: f32,
    /// The share of numbers that are above.
    cut_share: f64,
    /// Signal to noise with eight bits, in decibels; and with the largest number as the magnitude.
    sqnr_db: f64,
    sqnr_db_of_max: f64,
}

impl<'a> Report<'a> {
    /// Of a model that was watched; `scales` is where its scales will lie.
    ///
    /// # Errors
    /// If a product was given what is no number.
    pub(super) fn of(
        model: &Model,
        watched: &Watched,
        method: Method,
        samples: usize,
        scales: &'a Path,
    ) -> anyhow::Result<Self> {
        let (mut tensors, mut unseen, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
        let network = model.network();
        for id in products(network) {
            let (weight, seen) = (&network.weights[id.index()].name, watched.of(id));
            if 0 < seen.not_finite() {
                bail!(
                    "{}: what the product with `{weight}` is given has {} infinities or no numbers: the model itself is broken on this \
                     data",
                    model.path().display(),
                    seen.not_finite()
                );
            }
            let Some(amax) = method.amax(&seen) else {
                let list = if seen.n() == 0 { &mut unseen } else { &mut zeros };
                list.push(weight.clone());
                continue;
            };
            let fit = seen.fit(amax);
            tensors.push(Seen {
                weight: weight.clone(),
                n: seen.n(),
                largest: seen.largest(),
                amax,
                cut_share: fit.cut_share,
                sqnr_db: fit.sqnr_db,
                sqnr_db_of_max: seen.fit(seen.largest()).sqnr_db,
            });
        }
        let (model, method) = (hex(&model.digest()), method.to_string());
        Ok(Self { scales, model, method, samples, tensors, unseen, zeros })
    }

    /// Writes the file of scales.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write_scales(&self) -> anyhow::Result<()> {
        let scale = |seen: &Seen| ActivationScale {
            weight: seen.weight.clone(),
            amax: seen.amax,
            method: self.method.clone(),
        };
        let scales = ActivationScales::new(&self.model, self.tensors.iter().map(scale).collect());
        let text = serde_json::to_vec_pretty(&scales)?;
        install::write(self.scales, &text).with_context(|| self.scales.display().to_string())
    }

    /// For a person: the worst products first.
    pub(super) fn text(&self) -> String {
        let mut worst: Vec<&Seen> = self.tensors.iter().collect();
        worst.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
        let heads = ["product with", "largest", "amax", "cut", "signal to noise", "uncut"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for seen in worst.iter().take(TOLD) {
            rows.push(vec![
                seen.weight.clone(),
                format!("{:.3}", seen.largest),
                format!("{:.3}", seen.amax),
                format!("{:.4} %", 100.0 * seen.cut_share),
                format!("{:.1} dB", seen.sqnr_db),
                format!("{:.1} dB", seen.sqnr_db_of_max),
            ]);
        }
        let more = match self.tensors.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!("and {more} that fit better\n"),
        };
        let without = |weights: &[String], why: &str| match weights {
            [] => String::new(),
            [first, ..] => format!(
                "{} products {why}, as that with {first}: no scale is written for them, and plans leave what they are given wide\n",
                weights.len()
            ),
        };
        let unseen = without(
            &self.unseen,
            "were never reached: give data of every kind that the model takes, as images",
        ) + &without(&self.zeros, "were given nothing but zeros");
        format!(
            "{}: {} scales by {}, of {} samples\n\n{}{more}{unseen}",
            self.scales.display(),
            self.tensors.len(),
            self.method,
            self.samples,
            output::table(&rows)
        )
    }
}
