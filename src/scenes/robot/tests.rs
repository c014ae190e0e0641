//! Physics by hand-counted cases, properties over many drawn clips, and the shares of answers.

use std::collections::BTreeMap;

use super::*;
use crate::scenes::{Color, Rng};

fn object(kind: Kind, half: f64, position: [f64; 2], velocity: [f64; 2]) -> Object {
    Object { kind, color: Color::Red, half, position, velocity }
}

fn table(objects: Vec<Object>, pusher: Option<[f64; 2]>) -> Table {
    let pusher = pusher.map(|position| Pusher { radius: 4.0, position });
    Table { objects, pusher, panel: None }
}

fn clips(n: u64) -> impl Iterator<Item = Clip> {
    (0..n).map(|index| Clip::draw(Split::Validation, index, &ClipOptions::default()))
}

#[test]
fn a_ball_rolls_on_and_bounces_off_a_wall() {
    let mut table = table(vec![object(Kind::Ball, 6.0, [30.0, 30.0], [4.0, 0.0])], None);
    table.step([0.0; 2]);
    // Four steps of a quarter, each a fourth root of 0.96 slower than the one before.
    let kept = 0.96_f64.powf(0.25);
    let way = 1.0 + kept + kept * kept + kept * kept * kept;
    assert!((table.objects[0].position[0] - (30.0 + way)).abs() < 1e-9);
    assert!((table.objects[0].velocity[0] - 4.0 * 0.96).abs() < 1e-9);
    let contacts: Vec<Contact> = (0..10).flat_map(|_| table.step([0.0; 2])).collect();
    assert_eq!(contacts, [Contact { object: 0, with: Body::Wall(Wall::Right) }]);
    assert!(table.objects[0].velocity[0] < 0.0);
}

#[test]
fn equal_balls_that_meet_head_on_change_their_speeds() {
    let mut table = table(
        vec![
            object(Kind::Ball, 6.0, [20.0, 30.0], [3.0, 0.0]),
            object(Kind::Ball, 6.0, [33.0, 30.0], [0.0, 0.0]),
        ],
        None,
    );
    let contacts: Vec<Contact> = (0..2).flat_map(|_| table.step([0.0; 2])).collect();
    assert_eq!(contacts, [Contact { object: 0, with: Body::Object(1) }]);
    // Restitution 0.8: nine tenths of the speed go over, one tenth stays.
    let [a, b] = [0, 1].map(|i| table.objects[i].velocity[0]);
    assert!((b / a - 9.0).abs() < 1e-6, "{a} {b}");
}

#[test]
fn the_pusher_pushes_and_is_held_up_by_what_stands_at_a_wall() {
    let mut free = table(vec![object(Kind::Box, 5.0, [30.0, 32.0], [0.0; 2])], Some([18.0, 32.0]));
    let contacts: Vec<Contact> = (0..4).flat_map(|_| free.step([3.0, 0.0])).collect();
    assert!(contacts.contains(&Contact { object: 0, with: Body::Pusher }));
    assert!(36.0 < free.objects[0].position[0], "the box was moved");
    assert_eq!(free.objects[0].position[1], 32.0);

    let mut held = table(vec![object(Kind::Box, 5.0, [59.0, 32.0], [0.0; 2])], Some([45.0, 32.0]));
    for _ in 0..10 {
        held.step([4.0, 0.0]);
    }
    assert_eq!(held.objects[0].position[0], 59.0);
    assert!((held.pusher.unwrap().position[0] - 50.0).abs() < 1e-9, "{:?}", held.pusher);
}

#[test]
fn a_command_that_is_no_number_or_too_fast_is_cut() {
    let far = |command: [f64; 2]| {
        let mut table = table(vec![], Some([32.0, 32.0]));
        table.step(command);
        table.pusher.unwrap().position
    };
    assert_eq!(far([f64::NAN, 1.0]), [32.0, 33.0]);
    assert_eq!(far([1e300, f64::NEG_INFINITY]), [32.0 + SPEED_MAX, 32.0]);
}

#[test]
fn nothing_leaves_the_table_or_stays_within_another() {
    for clip in clips(300) {
        for table in &clip.tables {
            for object in &table.objects {
                let inside = object.half - 1e-9..=SIDE - object.half + 1e-9;
                assert!(object.position.iter().all(|p| inside.contains(p)), "{object:?}");
            }
        }
        // At rest nothing overlaps; in motion, what was pressed between others may for a frame.
        let mut table = clip.last().clone();
        (0..200).for_each(|_| drop(table.step([0.0; 2])));
        for (i, a) in table.objects.iter().enumerate() {
            for b in &table.objects[..i] {
                let depth = shape::overlap(a.shape(), b.shape()).map_or(0.0, |overlap| overlap.depth);
                assert!(depth < 0.5, "{a:?} in {b:?} by {depth}");
            }
        }
    }
}

#[test]
fn a_clip_is_its_seeds_and_splits_share_none() {
    let options = ClipOptions::default();
    let draw = |split, index| Clip::draw(split, index, &options);
    assert_eq!(draw(Split::Train, 7), draw(Split::Train, 7));
    let mut all: Vec<Clip> =
        Split::ALL.iter().flat_map(|split| (0..20).map(|index| draw(*split, index))).collect();
    while let Some(clip) = all.pop() {
        assert!(!all.contains(&clip));
    }
}

/// A known clip, so that a change of the world is noticed: models were trained on what it was.
#[test]
fn the_world_is_the_one_that_models_were_trained_on() {
    let mut sums = Vec::new();
    let mut rgb = vec![0; 64 * 64 * 3];
    for clip in clips(4) {
        clip.render(clip.n_frames() - 1, 64, &mut rgb);
        let sum: u64 = rgb.iter().zip(1..).map(|(byte, i)| u64::from(*byte) * i).sum();
        sums.push((clip.last().objects.len(), clip.events.len(), sum));
    }
    assert_eq!(sums, KNOWN);
}
const KNOWN: [(usize, usize, u64); 4] =
    [(1, 1, 3182737091), (1, 3, 2436392292), (3, 1, 4318462900), (2, 1, 3338699516)];

#[test]
fn a_frame_shows_its_objects_at_either_size() {
    let look = Look {
        background: [40.0; 3],
        light: 0.0,
        light_from: [1.0, 0.0],
        texture: 0.0,
        texture_scale: 5.0,
        noise: 0.0,
        tremble: 0.0,
        seed: 1,
    };
    let mut table = table(vec![object(Kind::Ball, 8.0, [20.0, 40.0], [0.0; 2])], None);
    for size in [64, 128] {
        let mut rgb = vec![0; size * size * 3];
        look.render(&table, 0, size, &mut rgb);
        let at = |x: f64, y: f64| {
            let place = (y * size as f64 / SIDE) as usize * size + (x * size as f64 / SIDE) as usize;
            [0, 1, 2].map(|k| rgb[place * 3 + k])
        };
        assert_eq!(at(50.0, 10.0), [40; 3]);
        let [red, green, blue] = at(20.0, 40.0);
        assert!(180 < red && green < 130 && blue < 130, "{red} {green} {blue}");
    }
    table.panel = Some(Panel { center: [20.0, 40.0], half: [10.0; 2] });
    let mut rgb = vec![0; 64 * 64 * 3];
    look.render(&table, 0, 64, &mut rgb);
    assert!(rgb.chunks(3).all(|pixel| pixel[0] < 120), "the panel hides the ball");
}

#[test]
fn answers_follow_from_the_tracks() {
    let mut rng = Rng::new(1);
    let options = ClipOptions { n_frames: 8, ..ClipOptions::default() };
    let look = Clip::draw(Split::Train, 0, &options).look;
    let mut start = table(
        vec![
            object(Kind::Ball, 6.0, [12.0, 12.0], [0.0; 2]),
            Object { color: Color::Blue, ..object(Kind::Box, 5.0, [50.0, 50.0], [0.0; 2]) },
        ],
        Some([30.0, 50.0]),
    );
    start.panel = Some(Panel { center: [12.0, 12.0], half: [10.0; 2] });
    let clip = Clip::simulate(start, look, &options, |_| [3.0, 0.0]);
    let answers: BTreeMap<(Topic, Option<usize>), String> = clip
        .questions(&mut rng)
        .into_iter()
        .map(|asked| ((asked.topic, asked.object), asked.truth))
        .collect();
    let answer = |topic, object| answers.get(&(topic, object)).map(String::as_str);
    assert_eq!(answer(Topic::Count, None), Some("1"));
    assert_eq!(answer(Topic::Hidden, None), None, "nobody has seen what is behind it");
    assert_eq!(answer(Topic::What, Some(1)), Some("box"));
    assert_eq!(answer(Topic::Push, Some(1)), Some("yes"));
    assert_eq!(answer(Topic::Side, Some(1)), Some("bottom right"));
    assert_eq!(answer(Topic::What, Some(0)), None, "it cannot be seen");
    assert_eq!(answer(Topic::Puzzle, None).map(|order| order.split(' ').count()), Some(4));
}

#[test]
fn what_passed_behind_the_panel_is_still_there() {
    let options = ClipOptions { n_frames: 8, ..ClipOptions::default() };
    let look = Clip::draw(Split::Train, 0, &options).look;
    let mut start = table(vec![object(Kind::Ball, 6.0, [10.0, 32.0], [3.0, 0.0])], None);
    start.panel = Some(Panel { center: [30.0, 32.0], half: [10.0, 12.0] });
    let clip = Clip::simulate(start, look, &options, |_| [0.0; 2]);
    let asked = clip.questions(&mut Rng::new(1));
    let hidden = asked.iter().find(|asked| asked.topic == Topic::Hidden).unwrap();
    assert_eq!(hidden.truth, "red ball");
    assert_eq!(hidden.show, Show::Forward);
}

#[test]
fn a_puzzle_in_its_right_order_is_the_clip() {
    let mut n_puzzles = 0;
    for clip in clips(40) {
        for asked in clip.questions(&mut Rng::new(3)) {
            let Show::Parts(_) = asked.show else { continue };
            n_puzzles += 1;
            let len = clip.n_frames() / 4;
            let shown = asked.show.frames(clip.n_frames());
            let order = asked.truth.split(' ').map(|at| at.parse::<usize>().unwrap() - 1);
            let put_right: Vec<usize> =
                order.flat_map(|at| shown[at * len..(at + 1) * len].to_vec()).collect();
            assert_eq!(put_right, (0..4 * len).collect::<Vec<_>>());
        }
    }
    assert!(10 < n_puzzles);
}

#[test]
fn no_topic_is_answered_by_one_word_alone() {
    let mut counts: BTreeMap<Topic, BTreeMap<String, usize>> = BTreeMap::new();
    for (i, clip) in clips(1500).enumerate() {
        for asked in clip.questions(&mut Rng::new(i as u64)) {
            *counts.entry(asked.topic).or_default().entry(asked.truth).or_default() += 1;
        }
    }
    for topic in Topic::ALL {
        let answers = &counts[&topic];
        let n: usize = answers.values().sum();
        let most = *answers.values().max().unwrap() as f64 / n as f64;
        let limit = match topic {
            Topic::Path | Topic::Arrow => 0.55,
            Topic::What | Topic::Hidden | Topic::Push => 0.85,
            _ => 0.6,
        };
        println!("{:9} {n:5} questions, {:4} answers, most {most:.2}", topic.name(), answers.len());
        assert!(100 < n, "{} is asked {n} times", topic.name());
        assert!(most < limit, "{}: one answer in {most:.2}", topic.name());
    }
}
