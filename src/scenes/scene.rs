//! A scene: what lies on the table at first, and where the balls went from there.

use super::Rng;
use super::simulate::{self, Touched};
use super::start::{SceneOptions, Start};

/// A simulated scene.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// What it follows from.
    pub start: Start,
    /// Ball centres, `[frame][ball]`, in pixels.
    pub track: Vec<Vec<[f64; 2]>>,
    /// What ball 0 touches first, from the last shown frame on.
    pub touched: Touched,
}

impl Scene {
    /// Draws a start at random and simulates it.
    ///
    /// # Panics
    /// If `n_frames` is zero or `n_balls` is not in 1..=6.
    #[must_use]
    pub fn draw(rng: &mut Rng, options: SceneOptions) -> Scene {
        Scene::simulate(Start::draw(rng, options), options.n_frames, options.horizon)
    }

    /// Rolls `start` for `n_frames` shown frames and `horizon` more.
    ///
    /// # Panics
    /// If `n_frames` is zero or there is no ball.
    #[must_use]
    pub fn simulate(start: Start, n_frames: usize, horizon: usize) -> Scene {
        let (track, touched) = simulate::roll(&start, n_frames, horizon);
        Scene { start, track, touched }
    }

    /// Frames that can be rendered.
    #[must_use]
    pub fn n_frames(&self) -> usize {
        self.track.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_one_scene_and_scenes_differ() {
        let draw = |seed| Scene::draw(&mut Rng::new(seed), SceneOptions::default());
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3).track, draw(4).track);
    }
}
