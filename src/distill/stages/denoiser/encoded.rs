//! A clip as a denoiser learns from it.

use crate::distill::clips::Clips;
use crate::models::predict25::LatentShape;
use crate::models::wan_vae::FRAMES_PER_LATENT;

/// A clip that was encoded.
#[derive(Clone)]
pub(super) struct Encoded {
    /// Latents as patches.
    pub(super) patches: Vec<f32>,
    pub(super) actions: Vec<f32>,
    /// How much of each element's place is taken by objects and pusher, 0 to 1, as patches.
    pub(super) things: Vec<f32>,
}

impl Encoded {
    /// `latents` `[t, h, w, C]` of the only one of these clips.
    pub(super) fn new(clips: Clips, latents: &[f32], shape: &LatentShape) -> Encoded {
        let as_patches = |values: &[f32]| {
            let mut patches = vec![0.0; values.len()];
            shape.to_patches(values, &mut patches);
            patches
        };
        let things = things(&clips, shape);
        Encoded { patches: as_patches(latents), actions: clips.actions, things: as_patches(&things) }
    }

    pub(super) fn bytes(&self) -> usize {
        let n = self.patches.len() + self.actions.len() + self.things.len();
        n * size_of::<f32>()
    }
}

/// `[t, h, w, C]`: of each latent the share of its pixels, over the frames that it is of, where something is.
fn things(clips: &Clips, shape: &LatentShape) -> Vec<f32> {
    let LatentShape { n_latents, height, width, channels, .. } = *shape;
    let (side, area) = (clips.size, clips.size * clips.size);
    let cell = side / height;
    let mut all = Vec::with_capacity(n_latents * height * width * channels);
    for latent in 0..n_latents {
        let last = latent * FRAMES_PER_LATENT;
        let frames = (last + 1).saturating_sub(FRAMES_PER_LATENT)..=last;
        let n = frames.clone().count() * cell * cell;
        for place in 0..height * width {
            let [top, left] = [place / width, place % width].map(|v| v * cell);
            let rows =
                frames.clone().flat_map(|frame| (top..top + cell).map(move |y| frame * area + y * side));
            let sum: f32 =
                rows.map(|row| clips.objects[row + left..row + left + cell].iter().sum::<f32>()).sum();
            all.extend(std::iter::repeat_n(sum / n as f32, channels));
        }
    }
    all
}

#[cfg(test)]
#[test]
fn a_thing_counts_in_the_latents_that_show_it() {
    let shape = LatentShape { n_latents: 2, height: 2, width: 2, channels: 2 };
    let (n_frames, size) = (5, 4);
    // The upper right quarter, in the last two of four frames; and one pixel of the first frame.
    let mut objects = vec![0.0; n_frames * size * size];
    for frame in [3, 4] {
        for at in [2, 3, 6, 7] {
            objects[frame * 16 + at] = 1.0;
        }
    }
    objects[0] = 1.0;
    let clips = Clips { frames: vec![], objects, actions: vec![], n: 1, n_frames, size };
    let found = things(&clips, &shape);
    let expected = [0.25, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0];
    assert_eq!(found, expected.map(|share| [share; 2]).concat());
}
