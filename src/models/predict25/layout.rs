//! Orders of a clip's latents: `[C, T, h, w]` in files, `[T, h, w, C]` for the VAE, and patch by patch for the denoiser.

use serde::{Deserialize, Serialize};

use super::PATCH;

/// Extents of a clip's latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentShape {
    /// Frames.
    pub n_latents: usize,
    /// Rows, a multiple of [`PATCH`].
    pub height: usize,
    /// Columns, a multiple of [`PATCH`].
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl LatentShape {
    /// Frames, and rows and columns of patches.
    pub fn grid(&self) -> [usize; 3] {
        [self.n_latents, self.height / PATCH, self.width / PATCH]
    }

    /// Patches of one frame.
    pub fn n_patches(&self) -> usize {
        self.height / PATCH * (self.width / PATCH)
    }

    /// Elements of one frame.
    pub fn frame_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Elements of the clip.
    pub fn len(&self) -> usize {
        self.n_latents * self.frame_len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `[t, h, w, C]` → patches, `[t, n_patches, (row, column, channel)]`, of as many frames as are given.
    pub fn to_patches(&self, latents: &[f32], out: &mut [f32]) {
        self.each(latents.len() / self.frame_len(), |place, patch, _| {
            out[patch..patch + self.channels].copy_from_slice(&latents[place..place + self.channels]);
        });
    }

    /// The way back.
    pub fn from_patches(&self, patches: &[f32], out: &mut [f32]) {
        self.each(out.len() / self.frame_len(), |place, patch, _| {
            out[place..place + self.channels].copy_from_slice(&patches[patch..patch + self.channels]);
        });
    }

    /// A file's whole clip `[C, T, h, w]` → patches.
    pub fn file_to_patches(&self, file: &[f32], out: &mut [f32]) {
        let plane = self.n_latents * self.height * self.width;
        self.each(self.n_latents, |_, patch, at| {
            (0..self.channels).for_each(|c| out[patch + c] = file[c * plane + at])
        });
    }

    /// The way back.
    pub fn patches_to_file(&self, patches: &[f32], out: &mut [f32]) {
        let plane = self.n_latents * self.height * self.width;
        self.each(self.n_latents, |_, patch, at| {
            (0..self.channels).for_each(|c| out[c * plane + at] = patches[patch + c])
        });
    }

    /// For each place of `n_latents` frames: its first element in channels-last order, that in patches, and its index.
    fn each(&self, n_latents: usize, mut f: impl FnMut(usize, usize, usize)) {
        let mut at = 0;
        for t in 0..n_latents {
            for y in 0..self.height {
                for x in 0..self.width {
                    let patch = (t * (self.height / PATCH) + y / PATCH) * (self.width / PATCH) + x / PATCH;
                    let inside = y % PATCH * PATCH + x % PATCH;
                    f(at * self.channels, (patch * PATCH * PATCH + inside) * self.channels, at);
                    at += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_orders_lead_to_each_other() {
        let shape = LatentShape { n_latents: 2, height: 4, width: 2, channels: 3 };
        let latents: Vec<f32> = (0..shape.len()).map(|i| i as f32).collect();
        let (mut patches, mut back, mut file, mut again) =
            (vec![0.0; shape.len()], vec![0.0; shape.len()], vec![0.0; shape.len()], vec![0.0; shape.len()]);
        shape.to_patches(&latents, &mut patches);
        shape.from_patches(&patches, &mut back);
        assert_eq!(back, latents);
        shape.patches_to_file(&patches, &mut file);
        // Channel 1 of frame 1, row 3, column 1.
        assert_eq!(file[((2 + 1) * 4 + 3) * 2 + 1], latents[((4 + 3) * 2 + 1) * 3 + 1]);
        shape.file_to_patches(&file, &mut again);
        assert_eq!(again, patches);
        // The second patch begins with row 2, column 0.
        assert_eq!(patches[12], latents[2 * 2 * 3]);
    }
}
