//! What a checkpoint does not fix and `export` does: the clip, and what actions mean.

use serde::{Deserialize, Serialize};

use super::{Generation, PredictError};
use crate::checkpoint::Section;
use crate::models::wan_vae::{ClipSize, FRAMES_PER_LATENT};

/// What one value of an action's row steers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionSpan {
    /// All actions of the clip together bias every frame.
    Clip,
    /// Four actions bias the latent that they lead to; given latents get none.
    Latent,
}

/// Beyond its limits by less than this share of their distance an action is within them: it may have been rounded.
const SLACK: f32 = 1e-3;

/// The actions of an action-conditioned checkpoint: one row for each frame after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Actions {
    /// Of each column.
    pub names: Vec<String>,
    /// What a row steers.
    pub span: ActionSpan,
    /// Lowest and highest value of each column; empty where the checkpoint says none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<[f32; 2]>,
}

impl Actions {
    /// In words: the names, each with its limits if it has any.
    pub fn describe(&self) -> String {
        let one = |(i, name): (usize, &String)| match self.limits.get(i) {
            Some([low, high]) => format!("{name} ({low}…{high})"),
            None => name.clone(),
        };
        self.names.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Which of these rows' actions lies beyond its limits, in words; the first one, if any does.
    pub fn beyond(names: &[String], limits: &[[f32; 2]], rows: &[f32]) -> Option<String> {
        let columns = names.iter().zip(limits).enumerate();
        let (step, name, value, [low, high]) = columns
            .filter_map(|(column, (name, [low, high]))| {
                let slack = SLACK * (high - low);
                let is_beyond = |value: &f32| !(low - slack..=high + slack).contains(value);
                let values = rows.iter().copied().skip(column).step_by(names.len());
                let (step, value) = values.enumerate().find(|(_, value)| is_beyond(value))?;
                Some((step, name, value, [low, high]))
            })
            .min_by_key(|(step, ..)| *step)?;
        Some(format!("{name} is {value} in step {step}, and the checkpoint takes {low} to {high}"))
    }

    /// How many values the perceptrons of a checkpoint with this note take at a time, if it names the columns.
    pub(super) fn noted_inputs(
        generation: Generation,
        n_frames: usize,
        note: &Section<'_>,
    ) -> Result<Option<usize>, PredictError> {
        let (_, rows) = rows_at_a_time(generation, n_frames, Some(note))?;
        let names = note.get("names").and_then(|names| names.as_array());
        Ok(names.map(|names| rows * names.len()))
    }

    /// `n_inputs` is the width of the perceptrons that the checkpoint has.
    pub(super) fn of(
        generation: Generation,
        n_inputs: usize,
        n_frames: usize,
        note: Option<&Section<'_>>,
        names: Option<&[String]>,
    ) -> Result<Actions, PredictError> {
        let (span, rows) = rows_at_a_time(generation, n_frames, note)?;
        if rows == 0 || !n_inputs.is_multiple_of(rows) || n_inputs == 0 {
            let why = format!(
                "the checkpoint's perceptrons take {n_inputs} values: not a multiple of {rows} rows; ask for another --frames"
            );
            return Err(PredictError::Actions(why));
        }
        let width = n_inputs / rows;
        let noted = note.and_then(|n| n.get("names")).and_then(|v| v.as_array());
        let noted: Option<Vec<String>> =
            noted.and_then(|l| l.iter().map(|v| v.as_str().map(str::to_owned)).collect());
        let names = match (names, noted) {
            (Some(names), _) => names.to_vec(),
            (None, Some(names)) => names,
            (None, None) => (0..width).map(|i| format!("action_{i}")).collect(),
        };
        if names.len() != width {
            let why =
                format!("{} names for the {width} values that the checkpoint takes at a time", names.len());
            return Err(PredictError::Actions(why));
        }
        let limits = note.map(|note| limits(note, width)).transpose()?.unwrap_or_default();
        Ok(Actions { names, span, limits })
    }
}

/// What a row of actions steers, and how many rows the perceptrons take at a time.
fn rows_at_a_time(
    generation: Generation,
    n_frames: usize,
    note: Option<&Section<'_>>,
) -> Result<(ActionSpan, usize), PredictError> {
    let span = match note.and_then(|n| n.text("per").transpose()).transpose()? {
        Some("clip") => ActionSpan::Clip,
        Some("latent") => ActionSpan::Latent,
        Some(_) => return Err(note.expect("it said so").wrong("per", "`clip` or `latent`").into()),
        // NVIDIA's checkpoints: the whole clip's in Predict2, four a latent in 2.5.
        None if generation == Generation::Predict2 => ActionSpan::Clip,
        None => ActionSpan::Latent,
    };
    let rows = match span {
        ActionSpan::Clip => n_frames.saturating_sub(1),
        ActionSpan::Latent => FRAMES_PER_LATENT,
    };
    Ok((span, rows))
}

/// `low` and `high`, each a list of a number for each column.
fn limits(note: &Section<'_>, width: usize) -> Result<Vec<[f32; 2]>, PredictError> {
    let (low, high) = match (note.numbers("low")?, note.numbers("high")?) {
        (None, None) => return Ok(Vec::new()),
        (low, high) => (low.unwrap_or_default(), high.unwrap_or_default()),
    };
    let limits: Vec<[f32; 2]> = low.iter().zip(&high).map(|(l, h)| [*l as f32, *h as f32]).collect();
    let fits = low.len() == width && high.len() == width;
    if !fits || limits.iter().any(|[low, high]| !low.is_finite() || !high.is_finite() || high < low) {
        let expected = format!("{width} numbers, none of them above its fellow in `high`");
        return Err(note.wrong("low", expected).into());
    }
    Ok(limits)
}

/// The clip that a network is made for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipOptions {
    /// Of a frame, in pixels.
    pub height: usize,
    /// Of a frame, in pixels.
    pub width: usize,
    /// Frames of the whole clip, given and forecast: one, and then fours.
    pub n_frames: usize,
    /// Frames that are given: none, or one and then fours.
    pub n_given: usize,
    /// The rate that enters the rotary positions, if one does.
    pub rope_fps: Option<f64>,
    /// The actions that it takes.
    pub actions: Option<Actions>,
}

impl ClipOptions {
    /// Latents of `n_frames` frames.
    pub fn n_latents(n_frames: usize) -> usize {
        if n_frames == 0 { 0 } else { (n_frames - 1) / FRAMES_PER_LATENT + 1 }
    }

    /// Size of the clip as the VAE sees it.
    pub fn size(&self) -> ClipSize {
        ClipSize { height: self.height, width: self.width, n_latents: Self::n_latents(self.n_frames) }
    }

    /// Checks that sizes are possible; height and width must be multiples of `multiple`.
    pub(super) fn check(&self, multiple: usize) -> Result<(), PredictError> {
        let size = |what, found, fits, expected| {
            if fits { Ok(()) } else { Err(PredictError::Size { what, expected, found }) }
        };
        for (what, n) in [("height", self.height), ("width", self.width)] {
            let fits = 0 < n && n <= 1 << 14 && n.is_multiple_of(multiple);
            size(what, n, fits, format!("a multiple of {multiple}, up to 16384"))?;
        }
        let whole = |n: usize| n % FRAMES_PER_LATENT == 1;
        let frames = "one frame, and then fours: 5, 9, 13, …".to_owned();
        size(
            "frames",
            self.n_frames,
            whole(self.n_frames) && 1 < self.n_frames && self.n_frames <= 4097,
            frames,
        )?;
        let fits = (self.n_given == 0 || whole(self.n_given)) && self.n_given < self.n_frames;
        size(
            "condition frames",
            self.n_given,
            fits,
            format!("0, 1, 5, …, fewer than the clip's {}", self.n_frames),
        )?;
        match self.rope_fps {
            Some(fps) if !(fps.is_finite() && 0.0 < fps) => {
                Err(PredictError::Size { what: "fps", expected: "a positive number".into(), found: 0 })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_first_action_beyond_its_limits_is_named() {
        let names = ["x", "y"].map(str::to_owned);
        let beyond = |rows: &[f32]| Actions::beyond(&names, &[[-1.0, 1.0], [0.0, 0.5]], rows);
        assert_eq!(beyond(&[1.0, 0.0, -1.001, 0.5003]), None, "it is as good as within");
        let told = beyond(&[1.0, 0.0, 1.0, 0.6, 3.0, 0.0]).unwrap();
        assert_eq!(told, "y is 0.6 in step 1, and the checkpoint takes 0 to 0.5");
        assert_eq!(Actions::beyond(&names, &[], &[9.0, 9.0]), None, "none are known");
    }

    #[test]
    fn limits_come_in_pairs_for_every_column() {
        let of = |note: serde_json::Value| {
            let note = Section::root(Path::new("model_index.json"), &note).unwrap();
            Actions::of(Generation::Predict25, 8, 9, Some(&note), None).map(|actions| actions.limits)
        };
        let json = |text: &str| serde_json::from_str(text).unwrap();
        assert_eq!(of(json("{}")).unwrap(), Vec::<[f32; 2]>::new());
        let found = of(json(r#"{"low": [-1, 0], "high": [1, 0.5]}"#)).unwrap();
        assert_eq!(found, [[-1.0, 1.0], [0.0, 0.5]]);
        for bad in
            [r#"{"low": [0, 0]}"#, r#"{"low": [0], "high": [1]}"#, r#"{"low": [0, 2], "high": [1, 1]}"#]
        {
            let message = of(json(bad)).unwrap_err().to_string();
            assert!(message.contains("low") && message.contains("2 numbers"), "{bad}: {message}");
        }
    }
}
