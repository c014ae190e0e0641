//! Equality with the Python scenes that the checkpoints were trained on.
//!
//! Fixtures: `tests/reference/scenes.py`. Tracks within 1e-9 pixels; pixels equal (one level off only where the reference
//! rounds a tie, counted); questions and answers letter by letter.

use serde::Deserialize;

use super::{Ball, Color, Scene, Start};
use super::{FRAME_BYTES, SIZE, THINK_SUFFIX, Task};

#[derive(Deserialize)]
struct Fixture {
    wordings: serde_json::Map<String, serde_json::Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    n_frames: usize,
    horizon: usize,
    push_at: Option<usize>,
    push: [f64; 2],
    box_half: [f64; 2],
    box_center: [f64; 2],
    background: [f64; 3],
    balls: Vec<BallCase>,
    sheet_row: Option<usize>,
    track: Vec<Vec<[f64; 2]>>,
    touched: String,
    answers: [Vec<(String, Option<String>, String)>; 2],
}

#[derive(Deserialize)]
struct BallCase {
    radius: f64,
    color: String,
    present: bool,
    position: [f64; 2],
    velocity: [f64; 2],
}

impl Case {
    fn scene(&self) -> Scene {
        let color = |name: &str| Color::ALL.into_iter().find(|c| c.name() == name).unwrap();
        let ball = |b: &BallCase| Ball {
            radius: b.radius,
            color: color(&b.color),
            present: b.present,
            position: b.position,
            velocity: b.velocity,
        };
        let start = Start {
            balls: self.balls.iter().map(ball).collect(),
            box_half: self.box_half,
            box_center: self.box_center,
            background: self.background,
            push: self.push,
            push_at: self.push_at,
        };
        Scene::simulate(start, self.n_frames, self.horizon)
    }
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/scenes.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn balls_roll_as_in_the_reference() {
    for (i, case) in fixture().cases.iter().enumerate() {
        let scene = case.scene();
        assert_eq!(scene.touched.name(), case.touched, "case {i}");
        assert_eq!(scene.track.len(), case.track.len());
        let expected = case.track.iter().flatten().flatten();
        for (at, (ours, theirs)) in scene.track.iter().flatten().flatten().zip(expected).enumerate() {
            assert!((ours - theirs).abs() < 1e-9, "case {i}, number {at}: {ours} is not {theirs}");
        }
    }
}

#[test]
fn pixels_are_the_reference_s() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/scenes.png");
    let sheet = image::open(path).unwrap().to_rgb8();
    let mut rgb = vec![0; FRAME_BYTES];
    let (mut n_frames, mut n_ties) = (0, 0);
    for case in fixture().cases.iter().filter(|case| case.sheet_row.is_some()) {
        let scene = case.scene();
        for frame in 0..scene.n_frames() {
            scene.render(frame, &mut rgb);
            n_frames += 1;
            for (i, pixel) in rgb.chunks_exact(3).enumerate() {
                let (x, y) = (frame * SIZE + i % SIZE, case.sheet_row.unwrap() * SIZE + i / SIZE);
                let theirs = sheet.get_pixel(x as u32, y as u32).0;
                for (ours, theirs) in pixel.iter().zip(theirs) {
                    assert!(ours.abs_diff(theirs) <= 1, "row {:?} frame {frame}", case.sheet_row);
                    n_ties += usize::from(*ours != theirs);
                }
            }
        }
    }
    assert_eq!(n_frames, 80);
    assert_eq!(n_ties, 0, "bytes of {} that are one level off", n_frames * FRAME_BYTES);
}

#[test]
fn questions_and_answers_are_the_reference_s() {
    let fixture = fixture();
    assert_eq!(fixture.wordings["think"], THINK_SUFFIX);
    for task in Task::ALL {
        assert_eq!(fixture.wordings[task.name()], serde_json::json!(task.wordings()));
    }
    for (i, case) in fixture.cases.iter().enumerate() {
        for (reversed, expected) in [false, true].into_iter().zip(&case.answers) {
            let questions = case.scene().questions(reversed);
            let ours = questions
                .iter()
                .map(|q| (q.task.name().to_owned(), q.color.map(str::to_owned), q.truth.clone()));
            assert_eq!(&ours.collect::<Vec<_>>(), expected, "case {i}, reversed: {reversed}");
            for q in &questions {
                assert!(q.texts.iter().all(|t| !t.contains('{')));
                assert!(q.color.is_none_or(|c| q.texts.iter().all(|t| t.contains(c))));
            }
        }
    }
}
