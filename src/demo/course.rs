//! Courses to be surprised by: a scene that rolls on, and the same one in which a ball suddenly lies elsewhere.

use crate::scenes::{FRAME_BYTES, SIZE, Scene, Start};

/// Places along each side that are looked at for the ball to jump to.
const GRID: usize = 13;
/// Pixels that stay free between the ball and whatever lies there.
const CLEARANCE: f64 = 2.0;

/// The frames of the scene as it rolls on.
pub(super) fn quiet(scene: &Scene) -> Vec<Vec<u8>> {
    (0..scene.n_frames()).map(|frame| rendered(scene, frame)).collect()
}

/// As many frames, in which ball 0 jumps before frame `at` to the free place farthest from where it was, and rolls on from there.
///
/// # Panics
/// If the scene has no frame before that one.
pub(super) fn with_jump(scene: &Scene, at: usize) -> Vec<Vec<u8>> {
    let after = Scene::simulate(jumped(scene, at), scene.n_frames() - at, 0);
    let before = (0..at).map(|frame| rendered(scene, frame));
    before.chain((0..after.n_frames()).map(|frame| rendered(&after, frame))).collect()
}

pub(super) fn rendered(scene: &Scene, frame: usize) -> Vec<u8> {
    let mut rgb = vec![0; FRAME_BYTES];
    scene.render(frame, &mut rgb);
    rgb
}

/// What lies on the table at frame `at`, but for ball 0.
fn jumped(scene: &Scene, at: usize) -> Start {
    let mut start = scene.start.clone();
    for (i, ball) in start.balls.iter_mut().enumerate().filter(|(_, ball)| ball.present) {
        let (before, here) = (scene.track[at - 1][i], scene.track[at][i]);
        ball.position = here;
        // Within a bounce this is not the velocity that the simulation goes on with; any course will do.
        ball.velocity = [0, 1].map(|k| here[k] - before[k]);
    }
    let here = start.balls[0].position;
    let radius = start.balls[0].radius;
    let along = |step: usize| radius + step as f64 * (SIZE as f64 - 2.0 * radius) / (GRID - 1) as f64;
    let places = (0..GRID * GRID).map(|i| [along(i % GRID), along(i / GRID)]);
    let far = |p: &[f64; 2]| (p[0] - here[0]).hypot(p[1] - here[1]);
    let farthest = places.filter(|p| is_free(&start, *p)).max_by(|a, b| far(a).total_cmp(&far(b)));
    start.balls[0].position = farthest.unwrap_or(here);
    start
}

fn is_free(start: &Start, place: [f64; 2]) -> bool {
    let radius = start.balls[0].radius + CLEARANCE;
    let outside = [0, 1].map(|k| ((place[k] - start.box_center[k]).abs() - start.box_half[k]).max(0.0));
    let mut others = start.balls[1..].iter().filter(|ball| ball.present);
    radius <= outside[0].hypot(outside[1])
        && others.all(|b| radius + b.radius <= (place[0] - b.position[0]).hypot(place[1] - b.position[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::{Rng, SceneOptions};

    #[test]
    fn a_jump_changes_nothing_before_it_and_lands_on_a_free_place() {
        let mut rng = Rng::new(5);
        for _ in 0..50 {
            let scene = Scene::draw(&mut rng, SceneOptions { n_frames: 20, ..SceneOptions::default() });
            let (quiet, jumping) = (quiet(&scene), with_jump(&scene, 12));
            assert_eq!((quiet.len(), jumping.len()), (20, 20));
            assert_eq!(quiet[..12], jumping[..12]);
            assert_ne!(quiet[12], jumping[12]);
            let start = jumped(&scene, 12);
            assert!(is_free(&start, start.balls[0].position));
            let [x, y] = [0, 1].map(|k| start.balls[0].position[k] - scene.track[12][0][k]);
            assert!(20.0 < x.hypot(y), "it lands far away");
        }
    }
}
