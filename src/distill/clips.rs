//! Clips of the robot's table, rendered when they are asked for, as a network takes them.

use super::recipe::Scenes;
use crate::scenes::robot::{Clip, ClipOptions, Errand, Kind, SIDE, SPEED_MAX, Split, Table};

/// Several clips of one length.
#[derive(Clone, Debug)]
pub(super) struct Clips {
    /// `[n, n_frames, size, size, 3]`, in −1…1.
    pub(super) frames: Vec<f32>,
    /// `[n, n_frames, size, size]`: 1 where an object or the pusher is to be seen, else 0.
    pub(super) objects: Vec<f32>,
    /// `[n, n_frames - 1, 2]`, in −1…1.
    pub(super) actions: Vec<f32>,
    pub(super) n: usize,
    pub(super) n_frames: usize,
    pub(super) size: usize,
}

impl Clips {
    /// Renders clips of a split.
    pub(super) fn draw(split: Split, indices: &[u64], n_frames: usize, scenes: &Scenes) -> Clips {
        let size = scenes.size;
        let options = ClipOptions { n_frames, n_objects_max: scenes.objects, ..ClipOptions::default() };
        let mut all =
            Clips { frames: vec![], objects: vec![], actions: vec![], n: indices.len(), n_frames, size };
        let mut rgb = vec![0; size * size * 3];
        for index in indices {
            let clip = match is_errand(*index, scenes.errands) {
                true => Errand::clip(split, *index, &options, scenes.resting),
                false => Clip::draw(split, *index, &options),
            };
            for (frame, table) in clip.tables.iter().enumerate() {
                clip.render(frame, size, &mut rgb);
                all.frames.extend(rgb.iter().map(|v| f32::from(*v) / 127.5 - 1.0));
                mark(table, size, &mut all.objects);
            }
            all.actions.extend(clip.actions.iter().flatten().map(|v| (v / SPEED_MAX) as f32));
        }
        all
    }
}

/// Whether a clip is of an errand, where this share is: evenly among any that follow each other.
fn is_errand(index: u64, share: f64) -> bool {
    // The golden ratio's share of 2^64: whole numbers are exact however large the index.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    ((index.wrapping_mul(GOLDEN) >> 11) as f64) < share * (1_u64 << 53) as f64
}

/// Appends one frame: where something that moves is to be seen, with a pixel around it.
fn mark(table: &Table, size: usize, out: &mut Vec<f32>) {
    let scale = SIDE / size as f64;
    for y in 0..size {
        for x in 0..size {
            let point = [x, y].map(|v| (v as f64 + 0.5) * scale);
            let away = |center: [f64; 2]| [0, 1].map(|k| (point[k] - center[k]).abs());
            let is_hidden = table.panel.is_some_and(|panel| panel.hides(point));
            let is_there = table.objects.iter().any(|object| {
                let [dx, dy] = away(object.position);
                let reach = object.half + 1.0;
                match object.kind {
                    Kind::Ball => dx * dx + dy * dy < reach * reach,
                    Kind::Box => dx.max(dy) < reach,
                }
            });
            let is_pusher = table.pusher.is_some_and(|pusher| {
                let [dx, dy] = away(pusher.position);
                dx * dx + dy * dy < (pusher.radius + 1.0).powi(2)
            });
            out.push(if is_pusher || (is_there && !is_hidden) { 1.0 } else { 0.0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errands_are_as_many_as_their_share() {
        for share in [0.0, 0.3, 1.0] {
            for first in [0, 1 << 60] {
                let n = (first..first + 1000).filter(|index| is_errand(*index, share)).count();
                assert!(n.abs_diff((share * 1000.0) as usize) <= 3, "{n} at {share} from {first} on");
            }
        }
    }

    #[test]
    fn clips_follow_from_their_indices() {
        let scenes = Scenes { size: 32, objects: 3, clips: 10, frames: vec![5], errands: 0.0, resting: 0.0 };
        let draw = |indices: &[u64]| Clips::draw(Split::Train, indices, 5, &scenes);
        let (two, one) = (draw(&[3, 7]), draw(&[7]));
        assert_eq!(two.frames.len(), 2 * 5 * 32 * 32 * 3);
        assert_eq!(two.frames[5 * 32 * 32 * 3..], one.frames);
        assert_eq!(two.actions[8..], one.actions);
        assert!(two.frames.iter().all(|v| (-1.0..=1.0).contains(v)));
        let share = two.objects.iter().sum::<f32>() / two.objects.len() as f32;
        assert!((0.02..0.6).contains(&share), "{share}");
    }
}
