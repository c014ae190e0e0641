//! The graphs and buffers of a Reason network by their names, and one function for each graph that is run.

use super::AskError;
use crate::backend::{Elements, Run, RunError, Session};
use crate::graph::{BufferId, GraphId, Network};
use crate::models::reason2::{PatchInputs, PatchPositions};

/// Ids and extents, looked up once.
#[derive(Debug)]
pub(super) struct Wiring {
    vision: GraphId,
    prefill: GraphId,
    head: GraphId,
    decode: GraphId,
    patches: BufferId,
    position_index: BufferId,
    position_share: BufferId,
    patch_positions: BufferId,
    tokens: BufferId,
    positions: BufferId,
    visual_index: BufferId,
    logits: BufferId,
    /// The visual tokens, then the DeepStack taps.
    features: Vec<BufferId>,
    feature_width: usize,
    rows_of_patches: PatchRows,
    /// Rows of the caches: tokens of prompt and answer together.
    pub(super) context: usize,
    /// Visual tokens of one picture at most.
    pub(super) picture_tokens_max: usize,
    /// Frames of a clip at most.
    pub(super) frames_max: usize,
    /// Rows of the feature buffers.
    pub(super) feature_rows: usize,
    /// Tokens of one run of `prefill` at most.
    pub(super) prefill_tokens_max: usize,
    pub(super) vocab_size: usize,
    /// Numbers of one patch.
    pub(super) patch_len: usize,
}

/// Inputs of the vision graph beside the pixels, claimed once.
#[derive(Debug)]
struct PatchRows {
    of: PatchPositions,
    index: Vec<i32>,
    share: Vec<f32>,
    position: Vec<i32>,
}

/// What of a prompt one run of `prefill` takes: ids, positions, and for each token the row of its features or -1.
pub(super) type Piece<'a> = (&'a [i32], &'a [[i32; 3]], &'a mut [i32]);

impl Wiring {
    /// Finds everything in the network.
    ///
    /// # Errors
    /// What is missing or has another shape, in words.
    pub(super) fn new(network: &Network, positions: PatchPositions) -> Result<Self, String> {
        let graph = |name: &str| network.graph(name).ok_or(format!("it has no graph `{name}`"));
        let buffer = |name: &str| network.buffer(name).ok_or(format!("it has no buffer `{name}`"));
        let shape = |id: BufferId| network.buffers[id.index()].shape.as_slice();
        let limit = |name: &str| network.limit(name).ok_or(format!("it has no limit `{name}`"));
        let mut features = vec![buffer("visual_features")?];
        while let Some(tap) = network.buffer(&format!("deepstack.{}", features.len() - 1)) {
            features.push(tap);
        }
        let (patches, tokens, logits) = (buffer("patches")?, buffer("tokens")?, buffer("logits")?);
        let &[patches_max, patch_len] = shape(patches) else { return Err("`patches` needs two axes".into()) };
        let &[feature_rows, feature_width] = shape(features[0]) else {
            return Err("`visual_features` needs two axes".into());
        };
        if FEATURE_BUFFERS_MAX < features.len() {
            return Err(format!("it has more than {FEATURE_BUFFERS_MAX} feature buffers"));
        }
        if features.iter().any(|id| shape(*id) != [feature_rows, feature_width]) {
            return Err("its feature buffers differ in shape".into());
        }
        let &[1, vocab_size] = shape(logits) else { return Err("`logits` is not one row".into()) };
        let merged = positions.merge_size * positions.merge_size;
        let rows_of_patches = PatchRows {
            of: positions,
            index: vec![0; 4 * patches_max],
            share: vec![0.0; 4 * patches_max],
            position: vec![0; 2 * patches_max],
        };
        Ok(Self {
            vision: graph("vision")?,
            prefill: graph("prefill")?,
            head: graph("head")?,
            decode: graph("decode")?,
            patches,
            position_index: buffer("position_index")?,
            position_share: buffer("position_share")?,
            patch_positions: buffer("patch_positions")?,
            tokens,
            positions: buffer("positions")?,
            visual_index: buffer("visual_index")?,
            logits,
            features,
            feature_width,
            rows_of_patches,
            context: limit("context")?,
            picture_tokens_max: patches_max / merged.max(1),
            frames_max: limit("frames")?,
            feature_rows,
            prefill_tokens_max: shape(tokens)[0],
            vocab_size,
            patch_len,
        })
    }

    /// Where the patches of a picture go, `n` of them.
    pub(super) fn patches<'a>(
        &self,
        session: &'a mut dyn Session,
        n: usize,
    ) -> Result<&'a mut [f32], RunError> {
        session.input(self.patches, 0, n)
    }

    /// Encodes one picture of `[rows, columns]` patches, which were put where patches go, to the feature rows from `row` on.
    pub(super) fn encode(
        &mut self,
        session: &mut dyn Session,
        [rows, columns]: [usize; 2],
        row: usize,
        run: &Run<'_>,
    ) -> Result<(), RunError> {
        let n = rows * columns;
        let PatchRows { of, index, share, position } = &mut self.rows_of_patches;
        let (index, share, position) = (&mut index[..4 * n], &mut share[..4 * n], &mut position[..2 * n]);
        of.fill(rows, columns, PatchInputs { index, share, position });
        session.write(self.position_index, 0, Elements::I32(index))?;
        session.write(self.position_share, 0, Elements::F32(share))?;
        session.write(self.patch_positions, 0, Elements::I32(position))?;
        let windows = self.feature_windows(row);
        session.run(self.vision, &Run { extents: &[n], windows: &windows[..self.features.len()], ..*run })
    }

    /// The features of `n` visual tokens from `row` on: `[n, width]` of each feature buffer. Allocates.
    pub(super) fn features(
        &self,
        session: &dyn Session,
        row: usize,
        n: usize,
    ) -> Result<Vec<Vec<f32>>, RunError> {
        let read = |id: &BufferId| {
            let mut out = vec![0.0; n * self.feature_width];
            session.read(*id, row, &mut out).map(|()| out)
        };
        self.features.iter().map(read).collect()
    }

    /// Runs a piece of a prompt whose first `past` tokens are in the cache. Rewrites the rows of features to the run's window.
    pub(super) fn prefill(
        &self,
        session: &mut dyn Session,
        (ids, positions, feature_rows): Piece<'_>,
        past: usize,
        run: &Run<'_>,
    ) -> Result<(), RunError> {
        let seen = || feature_rows.iter().filter(|row| 0 <= **row);
        let first = seen().min().map_or(0, |row| *row);
        let n_visual = seen().max().map_or(1, |row| (*row - first + 1) as usize);
        for row in feature_rows.iter_mut().filter(|row| 0 <= **row) {
            *row -= first;
        }
        session.write(self.tokens, 0, Elements::I32(ids))?;
        session.write(self.positions, 0, Elements::I32(positions.as_flattened()))?;
        session.write(self.visual_index, 0, Elements::I32(feature_rows))?;
        let windows = self.feature_windows(first as usize);
        let windows = &windows[..self.features.len()];
        session.run(self.prefill, &Run { extents: &[ids.len(), past, n_visual], windows, ..*run })
    }

    /// Makes the logits of the last token that `prefill` ran.
    pub(super) fn head(&self, session: &mut dyn Session, run: &Run<'_>) -> Result<(), RunError> {
        session.run(self.head, run)
    }

    /// The logits that the last run of `head` or `decode` made.
    pub(super) fn logits<'a>(&self, session: &'a dyn Session) -> Result<&'a [f32], RunError> {
        session.view(self.logits, 0, 1)
    }

    /// Runs one token, and makes the logits after it.
    pub(super) fn decode(
        &self,
        session: &mut dyn Session,
        token: u32,
        position: i32,
        past: usize,
        run: &Run<'_>,
    ) -> Result<(), RunError> {
        session.write(self.tokens, 0, Elements::I32(&[token as i32]))?;
        session.write(self.positions, 0, Elements::I32(&[position; 3]))?;
        session.run(self.decode, &Run { extents: &[past], ..*run })
    }

    /// Bytes that this has claimed.
    pub(super) fn claimed_bytes(&self) -> u64 {
        let PatchRows { index, share, position, .. } = &self.rows_of_patches;
        4 * (index.len() + share.len() + position.len()) as u64
    }

    /// The feature buffers' windows at a row; only as many as there are feature buffers count.
    fn feature_windows(&self, row: usize) -> [(BufferId, usize); FEATURE_BUFFERS_MAX] {
        let mut windows = [(self.features[0], row); FEATURE_BUFFERS_MAX];
        for (window, id) in windows.iter_mut().zip(&self.features) {
            window.0 = *id;
        }
        windows
    }
}

/// More than any network has DeepStack taps.
const FEATURE_BUFFERS_MAX: usize = 16;

impl From<RunError> for AskError {
    fn from(error: RunError) -> Self {
        AskError::Run(error)
    }
}
