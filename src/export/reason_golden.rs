//! The golden cases of Reason.
//!
//! The reference evaluation takes some nanoseconds for each product: the two cases together are ten rows of the language model and
//! twelve patches, some seconds for a model of two billion parameters.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::golden::{LARGER, PlannedStep, SMALLEST};
use crate::model::GoldenValues::{self, F32, I32};
use crate::models::reason2::{PatchInputs, PatchPositions, Reason2Config};

/// Golden inputs are the same for every export of a checkpoint.
const GOLDEN_SEED: u64 = 2_026;
/// The row of the features from which on the larger case has its own: further than the smallest case's.
const FEATURES_ROW: usize = 3;
/// Tokens that the larger case gives at once: more than any kernel for few rows takes.
const N_TOKENS: usize = 5;

/// Random inputs of the cases' steps.
pub(super) struct GoldenInputs<'a> {
    config: &'a Reason2Config,
    rng: ChaCha8Rng,
}

impl<'a> GoldenInputs<'a> {
    pub(super) fn new(config: &'a Reason2Config) -> Self {
        GoldenInputs { config, rng: ChaCha8Rng::seed_from_u64(GOLDEN_SEED) }
    }

    /// All cases.
    pub(super) fn cases(mut self) -> Vec<(&'static str, Vec<PlannedStep>)> {
        vec![(SMALLEST, self.smallest()), (LARGER, self.larger())]
    }

    /// Every graph at its smallest extents: one visual token is made, then a text token and the visual one are read, and one
    /// more token follows.
    fn smallest(&mut self) -> Vec<PlannedStep> {
        let (first, last) = (self.token(), self.token());
        let image = self.config.image_token_id as i32;
        vec![
            self.vision([1, 1], 0),
            prefill(0, &[first], &[0; 3], &[-1], 1),
            prefill(1, &[image], &[1; 3], &[0], 1),
            head(),
            decode(2, last, 2),
        ]
    }

    /// A group of frames beside the first, wider than high, at a window of the features; then, after the tokens that are there,
    /// several at once, which see the features of both groups.
    fn larger(&mut self) -> Vec<PlannedStep> {
        let (first, after, last) = (self.token(), self.token(), self.token());
        let image = self.config.image_token_id as i32;
        let row = FEATURES_ROW as i32;
        // In time, height and width: a text token, three visual ones, and one more of text.
        let positions = [3, 3, 3, 4, 4, 4, 4, 4, 5, 4, 5, 4, 6, 6, 6];
        let tokens = [first, image, image, image, after];
        vec![
            self.vision([1, 2], FEATURES_ROW),
            prefill(3, &tokens, &positions, &[-1, row, 0, row + 1, -1], FEATURES_ROW + 2),
            head(),
            decode(3 + N_TOKENS, last, 7),
        ]
    }

    fn token(&mut self) -> i32 {
        (self.rng.next_u32() as usize % self.config.language.vocab_size) as i32
    }

    /// Random patches of an image of so many visual tokens, whose features go to the rows from `row` on.
    fn vision(&mut self, [rows, columns]: [usize; 2], row: usize) -> PlannedStep {
        let vision = &self.config.vision;
        let merge = vision.spatial_merge_size;
        let n = rows * columns * merge.pow(2);
        let patch_len = vision.in_channels * vision.temporal_patch_size * vision.patch_size.pow(2);
        // Pixels from -1 to 1, as normalised ones are.
        let rng = &mut self.rng;
        let patches = (0..n * patch_len).map(|_| rng.next_u32() as f32 / 2f32.powi(31) - 1.0).collect();
        let (mut index, mut share, mut position) = (vec![0; 4 * n], vec![0.0; 4 * n], vec![0; 2 * n]);
        let inputs = PatchInputs { index: &mut index, share: &mut share, position: &mut position };
        patch_positions(self.config).fill(rows * merge, columns * merge, inputs);
        let names = std::iter::once("visual_features".to_owned())
            .chain((0..vision.deepstack_layers.len()).map(|i| format!("deepstack.{i}")));
        let names: Vec<String> = names.collect();
        PlannedStep {
            graph: "vision".to_owned(),
            extents: vec![("n_patches", n)],
            windows: names.iter().filter(|_| row != 0).map(|name| (name.clone(), row)).collect(),
            inputs: vec![
                ("patches".to_owned(), F32(patches)),
                ("position_index".to_owned(), I32(index)),
                ("position_share".to_owned(), F32(share)),
                ("patch_positions".to_owned(), I32(position)),
            ],
            outputs: names.into_iter().map(|name| (name, rows * columns)).collect(),
        }
    }
}

/// So many tokens after `past`; `visual_index` names rows among the first `n_visual` of the features.
fn prefill(
    past: usize,
    tokens: &[i32],
    positions: &[i32],
    visual_index: &[i32],
    n_visual: usize,
) -> PlannedStep {
    let input =
        |name: &str, values: &[i32]| -> (String, GoldenValues) { (name.to_owned(), I32(values.into())) };
    PlannedStep {
        graph: "prefill".to_owned(),
        extents: vec![("n_tokens", tokens.len()), ("past", past), ("n_visual", n_visual)],
        inputs: vec![
            input("tokens", tokens),
            input("positions", positions),
            input("visual_index", visual_index),
        ],
        outputs: vec![("hidden".to_owned(), 1)],
        ..PlannedStep::default()
    }
}

fn head() -> PlannedStep {
    PlannedStep {
        graph: "head".to_owned(),
        outputs: vec![("logits".to_owned(), 1)],
        ..PlannedStep::default()
    }
}

fn decode(past: usize, token: i32, position: i32) -> PlannedStep {
    PlannedStep {
        graph: "decode".to_owned(),
        extents: vec![("past", past)],
        inputs: vec![
            ("tokens".to_owned(), I32(vec![token])),
            ("positions".to_owned(), I32(vec![position; 3])),
        ],
        outputs: vec![("logits".to_owned(), 1)],
        ..PlannedStep::default()
    }
}

/// Where the patches of images lie, as the config says.
pub(super) fn patch_positions(config: &Reason2Config) -> PatchPositions {
    let vision = &config.vision;
    PatchPositions { merge_size: vision.spatial_merge_size, table_side: vision.position_grid_side }
}
