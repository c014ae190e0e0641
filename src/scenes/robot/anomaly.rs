//! What cannot happen on a table, planted in a clip: something that a model of the world should be surprised by.

use super::SIDE;
use super::clip::Clip;
use super::shape::{Kind, Shape, overlap};
use super::table::{Object, Table};
use crate::scenes::{Color, Rng};

/// How much of an object must be seen, so that what happens to it is.
const SEEN: f64 = 0.7;
/// Pixels that an object jumps at least.
const JUMP_MIN: f64 = 16.0;
/// Speed that a push by nobody adds, in pixels a frame.
const PUSH: [f64; 2] = [3.5, 4.5];
/// Pixels that such a push leads an object astray at least, by the clip's end.
const ASTRAY_MIN: f64 = 6.0;
/// Tries at finding one.
const TRIES: usize = 60;

/// What happens to one object, all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Anomaly {
    /// It lies elsewhere.
    Jump,
    /// It is gone.
    Vanish,
    /// It has another colour.
    Recolor,
    /// It is pushed, and nothing touches it.
    GhostPush,
}

impl Anomaly {
    /// Every kind.
    pub const ALL: [Anomaly; 4] = [Anomaly::Jump, Anomaly::Vanish, Anomaly::Recolor, Anomaly::GhostPush];

    /// As tables name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Anomaly::Jump => "jump",
            Anomaly::Vanish => "vanish",
            Anomaly::Recolor => "recolor",
            Anomaly::GhostPush => "ghost push",
        }
    }

    /// What happens to `object` of a table; none where it would not be seen, or not be strange.
    fn befall(self, table: &Table, object: usize, rng: &mut Rng) -> Option<Table> {
        let mut table = table.clone();
        let it = &mut table.objects[object];
        match self {
            Anomaly::Jump => {
                let before = it.position;
                it.position = [(); 2].map(|()| rng.uniform(it.half, SIDE - it.half));
                let away = [0, 1].map(|k| it.position[k] - before[k]);
                let it = *it;
                (JUMP_MIN <= away[0].hypot(away[1]) && is_free(&table, object, &it)).then_some(table)
            }
            Anomaly::Vanish => {
                table.objects.remove(object);
                Some(table)
            }
            Anomaly::Recolor => {
                let other = Color::ALL[rng.below(Color::ALL.len())];
                let is_new = table.objects.iter().all(|object| object.color != other);
                table.objects[object].color = other;
                is_new.then_some(table)
            }
            Anomaly::GhostPush => {
                let way = [(); 2].map(|()| rng.uniform(-1.0, 1.0));
                let length = way[0].hypot(way[1]);
                let speed = rng.uniform(PUSH[0], PUSH[1]);
                (0.1 < length)
                    .then(|| it.velocity = [0, 1].map(|k| it.velocity[k] + way[k] / length * speed))?;
                Some(table)
            }
        }
    }
}

/// Whether nothing else lies there, or hides it.
fn is_free(table: &Table, object: usize, it: &Object) -> bool {
    let others =
        table.objects.iter().enumerate().filter(|(i, _)| *i != object).map(|(_, other)| other.shape());
    let pusher = table.pusher.iter().map(|pusher| pusher.shape());
    // A board hides a square.
    let panel = table.panel.iter().flat_map(|panel| {
        let half = panel.half[0].max(panel.half[1]);
        [Shape { kind: Kind::Box, center: panel.center, half }]
    });
    others.chain(pusher).chain(panel).all(|other| overlap(it.shape(), other).is_none())
}

impl Clip {
    /// The clip's tables, but that something strange happens before frame `at`, and all goes on from there with the same actions; none
    /// if there is no object at which it would be seen.
    ///
    /// # Panics
    /// If frame `at` has none before it, or is none of the clip's.
    #[must_use]
    pub fn with_anomaly(&self, anomaly: Anomaly, at: usize, rng: &mut Rng) -> Option<Vec<Table>> {
        assert!((1..self.n_frames()).contains(&at), "the clip has no frame {at} with one before it");
        let seen: Vec<usize> = (0..self.tables[at].objects.len())
            .filter(|object| [at - 1, at].iter().all(|frame| SEEN < self.visible(*frame, *object)))
            .collect();
        (0..TRIES).filter(|_| !seen.is_empty()).find_map(|_| {
            let object = seen[rng.below(seen.len())];
            let mut table = anomaly.befall(&self.tables[at], object, rng)?;
            let mut tables = self.tables[..at].to_vec();
            tables.push(table.clone());
            for action in &self.actions[at..] {
                table.step(*action);
                tables.push(table.clone());
            }
            let [came, due] = [&tables, &self.tables].map(|tables| &tables[tables.len() - 1].objects);
            let is_astray = || {
                let away = [0, 1].map(|k| came[object].position[k] - due[object].position[k]);
                ASTRAY_MIN <= away[0].hypot(away[1])
            };
            (anomaly != Anomaly::GhostPush || is_astray()).then_some(tables)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::robot::{ClipOptions, Split};

    #[test]
    fn nothing_is_strange_before_and_one_thing_after() {
        let mut n = [0; 4];
        for index in 0..200 {
            let clip = Clip::draw(Split::Validation, index, &ClipOptions::default());
            for (anomaly, n) in Anomaly::ALL.into_iter().zip(&mut n) {
                let draw = || clip.with_anomaly(anomaly, 7, &mut Rng::new(index));
                let Some(tables) = draw() else { continue };
                *n += 1;
                assert_eq!(Some(&tables), draw().as_ref());
                assert_eq!((tables.len(), &tables[..7]), (clip.n_frames(), &clip.tables[..7]));
                let (came, due) = (&tables[7], &clip.tables[7]);
                assert_ne!(came, due);
                assert_eq!((came.pusher, came.panel), (due.pusher, due.panel));
                let changed = due.objects.iter().filter(|object| !came.objects.contains(object));
                assert_eq!(changed.count(), 1, "{anomaly:?}");
                assert_eq!(came.objects.len() + usize::from(anomaly == Anomaly::Vanish), due.objects.len());
            }
        }
        assert!(n.iter().all(|n| 120 < *n), "{n:?}");
    }
}
