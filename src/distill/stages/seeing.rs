//! What visual tokens are to tell of the objects in their squares, by a linear head that is thrown away when a checkpoint is written.
//!
//! From answers alone the encoder does not learn to see within the steps that a small machine has; from what stands where, it does. Of
//! the newest frame of a group each token tells whether an object's centre lies in its square, of which kind and colour, where in the
//! square and how fast; and whether the pusher or the panel is there.

use super::lesson::{Lesson, View};
use crate::distill::draw::{Purpose, generator, normal};
use crate::distill::ops;
use crate::distill::optimizer::{Parameter, Rule};
use crate::distill::tape::Tensor;
use crate::scenes::Color;
use crate::scenes::robot::{Kind, SIDE, SPEED_MAX};

/// Of an object, at least so much is seen where it is told of.
const SEEN: f64 = 0.5;
/// Deviation of the head's weights at first.
const DEVIATION: f32 = 0.02;

/// Choices that a token makes, each with its columns of the head; two numbers for place and speed come behind them.
const CHOICES: [usize; 5] = [2, 2, Color::ALL.len(), 2, 2];
const N_CHOICES: usize = 2 + 2 + Color::ALL.len() + 2 + 2;
const N_COLUMNS: usize = N_CHOICES + 4;

/// What one token is to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Told {
    /// For each of the choices which is right; none where there is nothing to choose.
    choices: [Option<usize>; CHOICES.len()],
    /// Where in the square an object's centre lies, −1…1 along both axes.
    place: Option<[f32; 2]>,
    /// How far it went since the frame before, in shares of the pusher's greatest speed.
    speed: Option<[f32; 2]>,
}

/// The head's weights, for visual tokens of this width.
pub(super) fn parameters(seed: u64, width: usize) -> [Parameter; 2] {
    let rng = &mut generator(seed, Purpose::Weights, u64::MAX);
    let values = normal(rng, N_COLUMNS * width).into_iter().map(|v| v * DEVIATION).collect();
    [
        Parameter::new("auxiliary.weight", &[N_COLUMNS, width], values, Rule::AdamW),
        Parameter::new("auxiliary.bias", &[N_COLUMNS], vec![0.0; N_COLUMNS], Rule::AdamW),
    ]
}

/// How far visual tokens, `[views, tokens, width]`, are from telling what is there: mean surprise of each choice and mean square of each
/// number, added up.
pub(super) fn off(features: &Tensor, head: &[Tensor], lesson: &Lesson, merge: usize, group: usize) -> Tensor {
    let told: Vec<Told> = lesson.views.iter().flat_map(|view| of_view(view, lesson, merge, group)).collect();
    let said = ops::linear(features, &head[0], Some(&head[1])).reshaped(&[told.len(), N_COLUMNS]);
    let mut sum = features.constant_like(&[0.0], &[1]);
    let mut first = 0;
    for (choice, n) in CHOICES.into_iter().enumerate() {
        let of_choice = said.sliced(1, first, n);
        first += n;
        let ids: Vec<usize> = told.iter().map(|told| told.choices[choice].unwrap_or(0)).collect();
        let likelihood = ops::log_likelihood(&of_choice, &ids);
        let counts = told.iter().map(|told| told.choices[choice].is_some());
        sum = ops::sub(&sum, &mean_of(&likelihood, counts, 1));
    }
    for (at, number) in [|told: &Told| told.place, |told: &Told| told.speed].into_iter().enumerate() {
        let of_number = said.sliced(1, N_CHOICES + 2 * at, 2);
        let right: Vec<f32> = told.iter().flat_map(|told| number(told).unwrap_or_default()).collect();
        let away = ops::sub(&of_number, &features.constant_like(&right, &[told.len(), 2]));
        let counts = told.iter().map(|told| number(told).is_some());
        sum = ops::add(&sum, &mean_of(&ops::mul(&away, &away), counts, 2));
    }
    sum
}

/// The mean over rows of `each` numbers that count; nought where none does.
fn mean_of(x: &Tensor, counts: impl Iterator<Item = bool>, each: usize) -> Tensor {
    let shares: Vec<f32> = counts.flat_map(|counts| vec![f32::from(u8::from(counts)); each]).collect();
    let n = shares.iter().sum::<f32>().max(1.0);
    let shape = x.shape();
    ops::mul(x, &x.constant_like(&shares, &shape)).sum().scaled(1.0 / f64::from(n))
}

/// What the tokens of a view are to tell, group by group, row by row.
fn of_view(view: &View, lesson: &Lesson, merge: usize, group: usize) -> Vec<Told> {
    let [rows, columns] = [lesson.grid.h, lesson.grid.w].map(|n| n / merge);
    view.frames.chunks(group).flat_map(|frames| of_group(view, frames, rows, columns)).collect()
}

fn of_group(view: &View, frames: &[usize], rows: usize, columns: usize) -> Vec<Told> {
    let newest = *frames.last().expect("a group has a frame");
    // Frames that do not follow each other show no speed.
    let before = frames.len().checked_sub(2).map(|at| frames[at]).filter(|frame| frame.abs_diff(newest) == 1);
    let table = &view.clip.tables[newest];
    let square = [SIDE / columns as f64, SIDE / rows as f64];
    // Which square, and where in it.
    let at = |point: [f64; 2]| {
        let cell = [0, 1].map(|k| (point[k] / square[k]).max(0.0) as usize);
        let [column, row] = [cell[0].min(columns - 1), cell[1].min(rows - 1)];
        let center = [column as f64 + 0.5, row as f64 + 0.5];
        let inside = [0, 1].map(|k| ((point[k] / square[k] - center[k]) * 2.0) as f32);
        (row * columns + column, inside)
    };
    let nothing = Told { choices: [Some(0), None, None, Some(0), Some(0)], ..Told::default() };
    let mut told = vec![nothing; rows * columns];
    for (i, object) in table.objects.iter().enumerate() {
        let (token, place) = at(object.position);
        if view.clip.visible(newest, i) < SEEN || told[token].choices[0] == Some(1) {
            continue;
        }
        let color = Color::ALL.iter().position(|color| *color == object.color).expect("all are listed");
        told[token].choices[..3].copy_from_slice(&[
            Some(1),
            Some(usize::from(object.kind == Kind::Box)),
            Some(color),
        ]);
        told[token].place = Some(place);
        told[token].speed = before.map(|before| {
            let from = view.clip.tables[before].objects[i].position;
            [0, 1].map(|k| ((object.position[k] - from[k]) / SPEED_MAX) as f32)
        });
    }
    if let Some(pusher) = &table.pusher {
        told[at(pusher.position).0].choices[3] = Some(1);
    }
    if let Some(panel) = &table.panel {
        for (token, told) in told.iter_mut().enumerate() {
            let center = [token % columns, token / columns];
            let center = [0, 1].map(|k| (center[k] as f64 + 0.5) * square[k]);
            told.choices[4] = Some(usize::from(panel.hides(center)));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::robot::{Clip, ClipOptions, Split};

    #[test]
    fn a_token_tells_of_what_lies_in_its_square() {
        let (mut n_objects, mut n_fast) = (0, 0);
        for index in 0..20 {
            let clip =
                Clip::draw(Split::Train, index, &ClipOptions { n_frames: 4, ..ClipOptions::default() });
            for frames in [[2, 3], [3, 2], [0, 3]] {
                let view = View { clip: clip.clone(), frames: frames.to_vec() };
                let told = of_group(&view, &frames, 4, 4);
                assert_eq!(told.len(), 16);
                for (token, told) in told.iter().enumerate().filter(|(_, told)| told.choices[0] == Some(1)) {
                    let [x, y] = told.place.unwrap();
                    let center = [token % 4, token / 4].map(|k| k as f64 * 16.0 + 8.0);
                    let there = [center[0] + f64::from(x) * 8.0, center[1] + f64::from(y) * 8.0];
                    let object = clip.tables[frames[1]]
                        .objects
                        .iter()
                        .position(|object| (0..2).all(|k| (object.position[k] - there[k]).abs() < 1e-3));
                    let object = object.expect("it is where it is said to be");
                    let [now, then] =
                        frames.map(|f| clip.tables[f].objects[object].position[0]).map(|x| x as f32);
                    match told.speed {
                        Some([dx, _]) => assert!((dx * SPEED_MAX as f32 - (then - now)).abs() < 1e-3),
                        None => assert_eq!(frames, [0, 3], "only frames side by side show a speed"),
                    }
                    n_objects += 1;
                    n_fast += usize::from(told.speed.is_some_and(|[dx, _]| 0.1 < dx.abs()));
                }
                let n_pushers = told.iter().filter(|told| told.choices[3] == Some(1)).count();
                assert_eq!(n_pushers, usize::from(clip.tables[frames[1]].pusher.is_some()));
            }
        }
        assert!(40 < n_objects && 5 < n_fast, "{n_objects}, {n_fast}");
    }
}
