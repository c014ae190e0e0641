//! Near duplicates: clips whose frames are all seen in another clip.
//!
//! Whom a clip is compared with does not depend on where it was found: the longest are looked at first, of those the largest, then
//! what lost nothing in a JPEG, then in the order of their sources' digests, and one that is kept is never let go of again.

use std::cmp::Reverse;

use super::hash::{BITS, Hash};
use super::parameters::Parameters;
use super::record::Clip;

/// Frames of a clip that may have no like, in tenths.
const UNLIKE_TENTHS: usize = 1;

/// A clip with what orders it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) clip: &'a Clip,
    pub(super) sha256: &'a str,
    pub(super) topic: &'a str,
}

/// What a near duplicate is one of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Like {
    /// The clip that is kept.
    pub(super) of: usize,
    /// Share of the hash's bits in which nine of ten frames differ at most.
    pub(super) apart: f32,
}

/// For each clip, the kept one that it is a near duplicate of.
pub(super) fn near_duplicates(clips: &[Candidate<'_>], parameters: &Parameters) -> Vec<Option<Like>> {
    let mut order: Vec<usize> = (0..clips.len()).collect();
    let rank = |at: usize| {
        let Candidate { clip, sha256, topic } = clips[at];
        let is_lossy = clip.files.iter().any(|file| file.ends_with(".jpg"));
        (Reverse(clip.hashes.len()), Reverse(clip.width * clip.height), is_lossy, sha256, topic, clip.first)
    };
    order.sort_by_key(|at| rank(*at));
    let mut found: Vec<Option<Like>> = vec![None; clips.len()];
    let mut kept: Vec<usize> = Vec::new();
    for at in order {
        let like = kept.iter().find_map(|of| {
            let apart = apart(clips[at].clip, clips[*of].clip, parameters)?;
            Some(Like { of: *of, apart })
        });
        match like {
            Some(like) => found[at] = Some(like),
            None => kept.push(at),
        }
    }
    found
}

/// How far nine of ten frames of a clip are from their likes in another, if those and the one in its middle are near.
fn apart(clip: &Clip, other: &Clip, parameters: &Parameters) -> Option<f32> {
    let bits_max = (parameters.duplicate * BITS as f32) as u32;
    let nearest = |hash: &Hash| {
        let is_of_hue = |like: &&Hash| hash.hues_apart(like) <= parameters.duplicate_hue;
        let likes = other.hashes.iter().filter(is_of_hue);
        likes.map(|like| hash.apart(like)).min().filter(|bits| *bits <= bits_max)
    };
    // Of two clips of different things this one frame says it.
    nearest(&clip.hashes[clip.hashes.len() / 2])?;
    let mut n_may_be_unlike = clip.hashes.len() * UNLIKE_TENTHS / 10;
    let mut furthest = 0;
    for hash in &clip.hashes {
        match nearest(hash) {
            Some(bits) => furthest = furthest.max(bits),
            None => n_may_be_unlike = n_may_be_unlike.checked_sub(1)?,
        }
    }
    Some(furthest as f32 / BITS as f32)
}
