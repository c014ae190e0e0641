//! Where two shapes touch: discs, and squares that do not turn.

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Rolls.
    Ball,
    /// Slides a little and stops.
    Box,
}

impl Kind {
    /// The word of questions and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ball => "ball",
            Kind::Box => "box",
        }
    }
}

/// A disc of radius `half`, or a square of half side `half`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) center: [f64; 2],
    pub(super) half: f64,
}

/// Which way, and how far, `b` must go to no longer overlap `a`; the way has length one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlap {
    pub(super) normal: [f64; 2],
    pub(super) depth: f64,
}

/// Below this distance a direction cannot be told.
const NO_DIRECTION: f64 = 1e-6;

/// How two shapes overlap, if they do.
pub(super) fn overlap(a: Shape, b: Shape) -> Option<Overlap> {
    match (a.kind, b.kind) {
        (Kind::Ball, Kind::Ball) => {
            let away = [b.center[0] - a.center[0], b.center[1] - a.center[1]];
            beyond(away, a.half + b.half)
        }
        (Kind::Box, Kind::Box) => {
            let away = [0, 1].map(|k| b.center[k] - a.center[k]);
            let depth = away.map(|d| a.half + b.half - d.abs());
            let axis = usize::from(depth[1] < depth[0]);
            (0.0 < depth[axis]).then(|| along_axis(axis, away[axis], depth[axis]))
        }
        (Kind::Box, Kind::Ball) => of_box_and_ball(a, b),
        (Kind::Ball, Kind::Box) => {
            let Overlap { normal, depth } = of_box_and_ball(b, a)?;
            Some(Overlap { normal: normal.map(|n| -n), depth })
        }
    }
}

fn of_box_and_ball(a: Shape, ball: Shape) -> Option<Overlap> {
    let away = [0, 1].map(|k| ball.center[k] - a.center[k]);
    let outside = away.map(|d| d - d.clamp(-a.half, a.half));
    if outside != [0.0, 0.0] {
        return beyond(outside, ball.half);
    }
    // The centre lies within the box: out by the nearest side.
    let depth = away.map(|d| a.half + ball.half - d.abs());
    let axis = usize::from(depth[1] < depth[0]);
    Some(along_axis(axis, away[axis], depth[axis]))
}

fn beyond(away: [f64; 2], reach: f64) -> Option<Overlap> {
    let distance = (away[0] * away[0] + away[1] * away[1]).sqrt();
    if reach <= distance {
        return None;
    }
    let normal = if distance < NO_DIRECTION { [1.0, 0.0] } else { away.map(|d| d / distance) };
    Some(Overlap { normal, depth: reach - distance })
}

fn along_axis(axis: usize, away: f64, depth: f64) -> Overlap {
    let mut normal = [0.0; 2];
    normal[axis] = if away < 0.0 { -1.0 } else { 1.0 };
    Overlap { normal, depth }
}
