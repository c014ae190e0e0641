//! How a clip is laid out: which frames are taken, which times stand before their tokens, how many patches they make.
//!
//! Follows `Qwen3VLVideoProcessor.sample_frames` and the timestamps of `Qwen3VLProcessor`.

use super::error::PreprocessError;
use super::grid::{FrameSize, Grid};
use super::preprocess::Preprocess;

/// The rate that the reference takes for frames of unknown rate, in frames a second.
const FPS_UNKNOWN: f64 = 24.0;

/// What a clip becomes. Made once for clips of one length, rate and size.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoLayout {
    /// Indices of the frames that are taken, ascending; one may stand twice.
    pub frame_indices: Vec<usize>,
    /// For each group of frames the mean time of its first and last frame, in seconds from the clip's first frame.
    pub timestamps_s: Vec<f64>,
    /// The patches.
    pub grid: Grid,
}

impl VideoLayout {
    /// Lays out a clip of `n_frames` frames of one size, taken at `source_fps` (24 if unknown, as the reference has it).
    ///
    /// With `do_sample_frames`, frames are sampled at the rules' rate and limits; otherwise all are taken. Callers that
    /// have no wish of their own pass the rules' `do_sample_frames`.
    ///
    /// # Errors
    /// A rate that is not positive; a clip too short; a size that the rules refuse.
    pub fn new(
        rules: &Preprocess,
        n_frames: usize,
        source_fps: Option<f64>,
        size: FrameSize,
        do_sample_frames: bool,
    ) -> Result<VideoLayout, PreprocessError> {
        let fps = source_fps.unwrap_or(FPS_UNKNOWN);
        if !(fps.is_finite() && 0.0 < fps) {
            return Err(PreprocessError::Rate { fps });
        }
        let group = rules.patches.temporal_patch_size;
        if n_frames == 0 {
            return Err(PreprocessError::TooFewFrames { n_frames, frames_min: group });
        }
        let frame_indices = if do_sample_frames {
            let video = &rules.video;
            let wanted = (n_frames as f64 / fps * video.fps) as usize;
            let n_sampled = wanted.max(video.frames_min).min(video.frames_max).min(n_frames);
            spread(n_frames, n_sampled)
        } else {
            (0..n_frames).collect()
        };
        let grid = rules.video_grid(frame_indices.len(), size)?;
        let mean_time = |frames: &[usize]| {
            let (first, last) = (frames[0], frames[frames.len() - 1]);
            (first as f64 / fps + last as f64 / fps) / 2.0
        };
        let timestamps_s = frame_indices.chunks(group).map(mean_time).collect();
        Ok(VideoLayout { frame_indices, timestamps_s, grid })
    }

    /// The text before each group's tokens: `<0.1 seconds>`.
    pub fn timestamp_texts(&self) -> impl Iterator<Item = String> + '_ {
        self.timestamps_s.iter().map(|seconds| format!("<{seconds:.1} seconds>"))
    }
}

/// `n` indices from the first to the last of `n_frames`, evenly spread, rounded with ties to even.
fn spread(n_frames: usize, n: usize) -> Vec<usize> {
    let last = (n_frames - 1) as f64;
    let step = last / (n.max(2) - 1) as f64;
    let at = |i: usize| if 0 < i && i + 1 == n { last } else { i as f64 * step };
    (0..n).map(|i| at(i).round_ties_even() as usize).collect()
}

#[cfg(test)]
#[test]
fn seconds_are_written_as_python_writes_them() {
    // Ties in the second decimal go to the even digit, and 0.35 lies below its tie.
    let texts = [0.125, 0.25, 0.75, 1.25, 0.35, 12.0].map(|seconds: f64| format!("{seconds:.1}"));
    assert_eq!(texts, ["0.1", "0.2", "0.8", "1.2", "0.3", "12.0"]);
}
