//! What lies on the table at first, drawn at random or given.

use super::{Rng, SIZE};

/// The colours of balls. Two balls of one scene never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// (230, 60, 50)
    Red,
    /// (60, 190, 70)
    Green,
    /// (70, 110, 235)
    Blue,
    /// (235, 200, 50)
    Yellow,
    /// (200, 80, 210)
    Purple,
    /// (70, 210, 215)
    Cyan,
}

impl Color {
    /// Every colour, in the order in which training numbers them.
    pub const ALL: [Color; 6] =
        [Color::Red, Color::Green, Color::Blue, Color::Yellow, Color::Purple, Color::Cyan];

    /// The word that questions and answers use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Color::Red => "red",
            Color::Green => "green",
            Color::Blue => "blue",
            Color::Yellow => "yellow",
            Color::Purple => "purple",
            Color::Cyan => "cyan",
        }
    }

    /// Red, green, blue in 0..=255.
    #[must_use]
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Color::Red => [230, 60, 50],
            Color::Green => [60, 190, 70],
            Color::Blue => [70, 110, 235],
            Color::Yellow => [235, 200, 50],
            Color::Purple => [200, 80, 210],
            Color::Cyan => [70, 210, 215],
        }
    }
}

/// One ball before the first frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Ball {
    /// Pixels.
    pub radius: f64,
    /// Its colour, unique in the scene.
    pub color: Color,
    /// A ball that is not there neither moves nor shows.
    pub present: bool,
    /// Centre, in pixels.
    pub position: [f64; 2],
    /// Pixels a frame.
    pub velocity: [f64; 2],
}

/// Everything that a scene follows from.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The balls; ball 0 is always there and is the one asked about in `touch` and `path`.
    pub balls: Vec<Ball>,
    /// Half width and half height of the grey box.
    pub box_half: [f64; 2],
    /// Centre of the grey box.
    pub box_center: [f64; 2],
    /// Red, green, blue of the table, 0..=255.
    pub background: [f64; 3],
    /// Added to ball 0's velocity just before frame `push_at`, in pixels a frame.
    pub push: [f64; 2],
    /// The frame of the push; none for a scene that is left alone.
    pub push_at: Option<usize>,
}

/// What [`Scene::draw`](super::Scene::draw) draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SceneOptions {
    /// Frames that are shown, at least one.
    pub n_frames: usize,
    /// Balls at most, 1 to 6; each but the first is there in six scenes of ten.
    pub n_balls: usize,
    /// Frames simulated beyond the shown ones, to learn what ball 0 touches next.
    pub horizon: usize,
    /// Seven scenes in ten push ball 0 just before this frame, by a random push. For the training of forecasts.
    pub push_at: Option<usize>,
}

impl Default for SceneOptions {
    /// The clip that the small checkpoint is asked about: eight frames, two balls at most.
    fn default() -> Self {
        SceneOptions { n_frames: 8, n_balls: 2, horizon: 40, push_at: None }
    }
}

/// Distance that is kept free around a ball when it is placed, in pixels.
const CLEARANCE: f64 = 0.5;
/// Tries at placing all balls before only ball 0 is kept.
const TRIES: usize = 60;

impl Start {
    pub(super) fn draw(rng: &mut Rng, options: SceneOptions) -> Start {
        assert!((1..=Color::ALL.len()).contains(&options.n_balls), "a scene has 1 to 6 balls");
        let box_half = [rng.uniform(6.0, 10.0), rng.uniform(6.0, 10.0)];
        let (box_center, placed, all_fit) = place(rng, options.n_balls, box_half);
        let mut colors = Color::ALL;
        rng.shuffle(&mut colors);

        let balls = placed.iter().zip(colors).enumerate().map(|(i, (&(radius, position), color))| {
            let present = i == 0 || (rng.chance(0.6) && all_fit);
            let (angle, speed) = (rng.uniform(0.0, std::f64::consts::TAU), rng.uniform(1.0, 4.5));
            let moves = (i == 0 || rng.chance(0.5)) && present;
            Ball {
                radius,
                color,
                present,
                position: if present { position } else { [-100.0, -100.0] },
                velocity: if moves { polar(angle, speed) } else { [0.0, 0.0] },
            }
        });
        let balls = balls.collect();
        let shade = rng.uniform(20.0, 60.0);
        let background = [(); 3].map(|()| shade + rng.uniform(-8.0, 8.0));
        let mut push = [0.0, 0.0];
        if options.push_at.is_some() {
            let (angle, strength) = (rng.uniform(0.0, std::f64::consts::TAU), rng.uniform(1.5, 4.5));
            if rng.chance(0.7) {
                push = polar(angle, strength);
            }
        }
        Start { balls, box_half, box_center, background, push, push_at: options.push_at }
    }
}

/// A ball's radius and centre.
type Placed = (f64, [f64; 2]);

/// Places the box's centre and the balls so that nothing overlaps; false if that failed.
fn place(rng: &mut Rng, n_balls: usize, box_half: [f64; 2]) -> ([f64; 2], Vec<Placed>, bool) {
    for _ in 0..TRIES {
        let center = [(); 2].map(|()| rng.uniform(14.0, SIZE as f64 - 14.0));
        let mut balls = Vec::with_capacity(n_balls);
        for _ in 0..n_balls {
            let radius = rng.uniform(5.5, 8.5);
            balls.push((radius, [(); 2].map(|()| rng.uniform(radius, SIZE as f64 - radius))));
        }
        if balls.iter().enumerate().all(|(i, ball)| is_free(ball, &balls[..i], center, box_half)) {
            return (center, balls, true);
        }
    }
    let center = [(); 2].map(|()| rng.uniform(14.0, SIZE as f64 - 14.0));
    let balls = (0..n_balls).map(|_| (rng.uniform(5.5, 8.5), [0.0, 0.0])).collect();
    (center, balls, false)
}

fn is_free(&(radius, p): &Placed, others: &[Placed], center: [f64; 2], half: [f64; 2]) -> bool {
    let outside = [0, 1].map(|k| ((p[k] - center[k]).abs() - half[k]).max(0.0));
    let from_balls = |&(r, q): &Placed| radius + r + CLEARANCE < (p[0] - q[0]).hypot(p[1] - q[1]);
    radius + CLEARANCE < outside[0].hypot(outside[1]) && others.iter().all(from_balls)
}

fn polar(angle: f64, length: f64) -> [f64; 2] {
    [angle.cos() * length, angle.sin() * length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_keep_to_their_distributions() {
        let mut rng = Rng::new(11);
        let options = SceneOptions { push_at: Some(4), ..SceneOptions::default() };
        let starts: Vec<Start> = (0..2000).map(|_| Start::draw(&mut rng, options)).collect();
        let share =
            |f: &dyn Fn(&Start) -> bool| starts.iter().filter(|s| f(s)).count() as f64 / starts.len() as f64;
        for start in &starts {
            assert!(start.balls.iter().all(|b| (5.5..8.5).contains(&b.radius)));
            assert_ne!(start.balls[0].color, start.balls[1].color);
            assert!(start.balls[0].present);
            assert!(start.background.iter().all(|c| (12.0..68.0).contains(c)));
            let speed = start.balls[0].velocity[0].hypot(start.balls[0].velocity[1]);
            assert!((1.0..4.5).contains(&speed));
        }
        assert!((share(&|s| s.balls[1].present) - 0.6).abs() < 0.04);
        assert!((share(&|s| s.balls[1].velocity != [0.0, 0.0]) - 0.3).abs() < 0.04);
        assert!((share(&|s| s.push != [0.0, 0.0]) - 0.7).abs() < 0.04);
        assert!((share(&|s| s.balls[0].color == Color::Cyan) - 1.0 / 6.0).abs() < 0.03);
    }
}
