//! What a question shows, as pictures: images, and groups of a clip's frames, each encoded by one run.

use sha2::{Digest as _, Sha256};

use super::error::AskError;
use super::request::Shown;
use crate::camera::{Grid, Picture, Preprocess, PreprocessError, Preprocessor, VideoLayout};
use crate::models::reason2::Media;
use crate::runtime::Digest;

/// One run of the vision network.
#[derive(Clone, Debug)]
pub(super) struct LaidPicture {
    /// Index of the medium.
    media: usize,
    /// Group of frames within it.
    group: usize,
    pub(super) is_clip: bool,
    /// Of the whole medium.
    pub(super) grid: Grid,
    pub(super) n_tokens: usize,
    /// Of its pixels and extents.
    pub(super) digest: Digest,
}

/// The media of a question.
#[derive(Debug, Default)]
pub(super) struct MediaLayout {
    pub(super) pictures: Vec<LaidPicture>,
    media: Vec<LaidMedium>,
}

#[derive(Debug)]
enum LaidMedium {
    Image(Grid),
    Clip(VideoLayout),
}

impl MediaLayout {
    /// Decides sizes and takes digests. A clip whose groups would have more tokens than fit is scaled down.
    pub(super) fn new(
        rules: &Preprocess,
        shown: &[Shown<'_>],
        group_tokens_max: impl Fn(usize) -> usize,
    ) -> Result<Self, AskError> {
        let mut layout = Self::default();
        for (index, shown) in shown.iter().enumerate() {
            let refused = |source| AskError::Media { index, source };
            let (grid, is_clip) = match shown {
                Shown::Image(picture) => {
                    let grid = rules.image_grid(picture.size).map_err(refused)?;
                    layout.media.push(LaidMedium::Image(grid));
                    (grid, false)
                }
                Shown::Clip { frames, fps } => {
                    let too_few = PreprocessError::TooFewFrames { n_frames: 0, frames_min: 1 };
                    let size = frames.first().ok_or(too_few).map_err(refused)?.size;
                    if frames.iter().any(|frame| frame.size != size) {
                        return Err(AskError::FrameSizes { index });
                    }
                    let laid_out = |rules: &Preprocess| {
                        VideoLayout::new(rules, frames.len(), Some(*fps), size, false).map_err(refused)
                    };
                    let mut clip = laid_out(rules)?;
                    let n_tokens_max = group_tokens_max(clip.grid.t);
                    if n_tokens_max < clip.grid.n_tokens_per_group(rules.patches.merge_size) {
                        clip = laid_out(&capped(*rules, n_tokens_max))?;
                    }
                    let grid = clip.grid;
                    layout.media.push(LaidMedium::Clip(clip));
                    (grid, true)
                }
            };
            for group in 0..grid.t {
                let frames = frames_of(shown, group, rules.patches.temporal_patch_size);
                layout.pictures.push(LaidPicture {
                    media: index,
                    group,
                    is_clip,
                    grid,
                    n_tokens: grid.n_tokens_per_group(rules.patches.merge_size),
                    digest: digest(grid, is_clip, frames),
                });
            }
        }
        Ok(layout)
    }

    /// The media as the prompt sees them.
    pub(super) fn in_prompt(&self) -> Vec<Media<'_>> {
        let of = |media| match media {
            &LaidMedium::Image(grid) => Media::Image { grid: [grid.h, grid.w] },
            LaidMedium::Clip(clip) => {
                Media::Video { grid: [clip.grid.h, clip.grid.w], seconds: &clip.timestamps_s }
            }
        };
        self.media.iter().map(of).collect()
    }

    /// The index of the picture that is this group of this medium.
    pub(super) fn picture(&self, media: usize, group: usize) -> usize {
        let found = self.pictures.iter().position(|p| (p.media, p.group) == (media, group));
        found.expect("a prompt shows the groups that were laid out")
    }

    /// The length of each clip.
    pub(super) fn clip_frames(&self) -> impl Iterator<Item = usize> + '_ {
        self.media.iter().filter_map(|media| match media {
            LaidMedium::Image(_) => None,
            LaidMedium::Clip(clip) => Some(clip.frame_indices.len()),
        })
    }

    /// Visual tokens in all.
    pub(super) fn n_tokens(&self) -> usize {
        self.pictures.iter().map(|picture| picture.n_tokens).sum()
    }
}

impl LaidPicture {
    /// Rows and columns of patches.
    pub(super) fn patches(&self) -> [usize; 2] {
        [self.grid.h, self.grid.w]
    }

    /// How many they are.
    pub(super) fn n_patches(&self) -> usize {
        self.grid.h * self.grid.w
    }

    /// Resizes and cuts up its frames, to the start of `out`: `[h * w, patch_len]`.
    pub(super) fn preprocess(
        &self,
        preprocessor: &mut Preprocessor,
        shown: &[Shown<'_>],
        out: &mut [f32],
    ) -> Result<(), AskError> {
        let refused = |source| AskError::Media { index: self.media, source };
        match &shown[self.media] {
            Shown::Image(picture) => {
                preprocessor.image(picture.rgb, picture.size, out).map_err(refused)?;
            }
            Shown::Clip { frames, .. } => {
                let group_size = preprocessor.rules().patches.temporal_patch_size;
                let group = frames_of(&shown[self.media], self.group, group_size);
                let rgb: Vec<&[u8]> = group.iter().map(|frame| frame.rgb).collect();
                preprocessor.video_group(&rgb, frames[0].size, self.grid, out).map_err(refused)?;
            }
        }
        Ok(())
    }
}

/// The rules with at most so many tokens of a group of frames.
fn capped(mut rules: Preprocess, n_tokens_max: usize) -> Preprocess {
    let video = &mut rules.video;
    video.tokens_per_frame_max =
        if video.cap_pixels_per_frame { video.tokens_per_frame_max } else { usize::MAX };
    video.tokens_per_frame_max = video.tokens_per_frame_max.min(n_tokens_max);
    video.cap_pixels_per_frame = true;
    // A lower bound of the whole clip must not undo it: each frame may have a twentieth more than that.
    let pixels = n_tokens_max as u64 * (rules.patches.factor() as u64).pow(2);
    video.pixels.pixels_min = video.pixels.pixels_min.min(pixels * 20 / 21);
    rules
}

/// The frames of a group; the last group of a clip may have fewer.
fn frames_of<'a>(shown: &'a Shown<'_>, group: usize, group_size: usize) -> &'a [Picture<'a>] {
    match shown {
        Shown::Image(picture) => std::slice::from_ref(picture),
        Shown::Clip { frames, .. } => {
            let begin = group * group_size;
            &frames[begin..(begin + group_size).min(frames.len())]
        }
    }
}

fn digest(grid: Grid, is_clip: bool, frames: &[Picture<'_>]) -> Digest {
    let mut hash = Sha256::new();
    for number in [grid.h, grid.w, usize::from(is_clip), frames.len()] {
        hash.update((number as u64).to_le_bytes());
    }
    for frame in frames {
        hash.update(frame.digest());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{FrameSize, PixelRules, Resample};

    fn rules() -> Preprocess {
        let pixels =
            PixelRules { resample: None, pixels_min: 1, pixels_max: 1 << 20, rescale: None, normalize: None };
        Preprocess::of_tests(2, pixels)
    }

    #[test]
    fn a_clip_that_moves_on_by_a_group_shares_all_but_one_digest() {
        let rgb: Vec<Vec<u8>> = (0..8u8).map(|t| vec![t; 8 * 4 * 3]).collect();
        let size = FrameSize { width: 8, height: 4 };
        let frames: Vec<Picture<'_>> = rgb.iter().map(|rgb| Picture::new(rgb, size)).collect();
        let digests = |from: usize, n: usize| {
            let shown = [Shown::Clip { frames: &frames[from..from + n], fps: 8.0 }];
            let layout = MediaLayout::new(&rules(), &shown, |_| usize::MAX).unwrap();
            assert_eq!(layout.n_tokens(), 2 * n.div_ceil(2));
            layout.pictures.into_iter().map(|p| p.digest).collect::<Vec<_>>()
        };
        let (first, moved) = (digests(0, 6), digests(2, 6));
        assert_eq!(first[1..], moved[..2]);
        assert!(!first.contains(&moved[2]));
        // A group that is filled up with its last frame is not that frame's image, nor a whole group.
        let image = MediaLayout::new(&rules(), &[Shown::Image(frames[0])], |_| usize::MAX).unwrap().pictures
            [0]
        .digest;
        assert!(digests(0, 1)[0] != image && digests(0, 3)[1] != first[1]);
    }

    #[test]
    fn pixels_whose_digest_is_kept_are_not_read_again() {
        let (kept, size) = (std::sync::OnceLock::new(), FrameSize { width: 8, height: 4 });
        let digest = |picture| {
            let shown = [Shown::Image(picture)];
            MediaLayout::new(&rules(), &shown, |_| usize::MAX).unwrap().pictures[0].digest
        };
        let first = digest(Picture::with_digest(&[1; 8 * 4 * 3], size, &kept));
        assert_eq!(first, digest(Picture::new(&[1; 8 * 4 * 3], size)));
        assert_eq!(first, digest(Picture::with_digest(&[2; 8 * 4 * 3], size, &kept)));
        assert_ne!(first, digest(Picture::new(&[2; 8 * 4 * 3], size)));
    }

    #[test]
    fn a_lower_bound_of_pixels_does_not_undo_what_a_group_may_have() {
        let size = FrameSize { width: 64, height: 64 };
        let rgb = vec![7; size.rgb_bytes()];
        let frames = [Picture::new(&rgb, size); 4];
        let shown = [Shown::Clip { frames: &frames, fps: 8.0 }];
        let mut rules = rules();
        (rules.video.pixels.resample, rules.video.pixels.pixels_min) = (Some(Resample::Bicubic), 64 * 64);
        let tokens_of_a_group = |n_tokens_max| {
            let layout = MediaLayout::new(&rules, &shown, |_| n_tokens_max).unwrap();
            layout.pictures.iter().map(|picture| picture.n_tokens).collect::<Vec<_>>()
        };
        assert_eq!(tokens_of_a_group(usize::MAX), [256; 2]);
        for n_tokens_max in [255, 100, 16, 1] {
            let n_tokens = tokens_of_a_group(n_tokens_max);
            assert!(
                n_tokens.iter().all(|n| (1..=n_tokens_max).contains(n)),
                "{n_tokens:?} of {n_tokens_max}"
            );
        }
    }

    #[test]
    fn frames_of_two_sizes_are_no_clip() {
        let rgb = [0; 8 * 8 * 3];
        let picture = |height| Picture::new(&rgb[..8 * height * 3], FrameSize { width: 8, height });
        let shown = [Shown::Clip { frames: &[picture(4), picture(8)], fps: 8.0 }];
        assert!(matches!(
            MediaLayout::new(&rules(), &shown, |_| usize::MAX),
            Err(AskError::FrameSizes { index: 0 })
        ));
    }
}
