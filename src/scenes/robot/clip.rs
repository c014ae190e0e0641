//! A clip: a table over some frames, with what the robot did and what touched.

use super::draw::{self, Policy};
use super::look::Look;
use super::split::Split;
use super::table::{Body, Contact, Table};
use crate::scenes::Rng;

/// What a clip is drawn as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipOptions {
    /// Frames that are shown, at least one.
    pub n_frames: usize,
    /// Objects at most, 1 to 6.
    pub n_objects_max: usize,
    /// Frames simulated beyond the shown ones with the robot still, to learn what is touched next.
    pub horizon: usize,
}

impl Default for ClipOptions {
    /// Thirteen frames, as a small forecast has; three objects; five seconds ahead.
    fn default() -> Self {
        ClipOptions { n_frames: 13, n_objects_max: 3, horizon: 40 }
    }
}

/// A contact that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The frame that first shows it.
    pub frame: usize,
    /// Who touched whom.
    pub contact: Contact,
}

/// A simulated clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// How it looks.
    pub look: Look,
    /// The table at each frame.
    pub tables: Vec<Table>,
    /// What the pusher was told between each frame and the next, in pixels a frame; one fewer than frames.
    pub actions: Vec<[f64; 2]>,
    /// Contacts, in the order in which they began.
    pub events: Vec<Event>,
    /// For each object what it will touch first after the last frame if the robot then holds still; none for nothing.
    pub next: Vec<Option<Body>>,
}

/// Tries at a clip in which the path of the first moving object is as the coin says.
const TRIES: usize = 64;

impl Clip {
    /// Clip `index` of a split. Of clips in which something moves at the end, half have its path clear.
    ///
    /// # Panics
    /// If there is no frame, or the index reaches 2^62.
    #[must_use]
    pub fn draw(split: Split, index: u64, options: &ClipOptions) -> Clip {
        let mut rng = split.rng(index);
        let is_clear = rng.chance(0.5);
        let as_wanted = |clip: &Clip| clip.moving().map(|object| clip.is_path_clear(object) == is_clear);
        let mut clip = Clip::draw_once(&mut rng, options);
        if as_wanted(&clip) == Some(false) {
            for _ in 1..TRIES {
                clip = Clip::draw_once(&mut rng, options);
                if as_wanted(&clip) == Some(true) {
                    break;
                }
            }
        }
        clip
    }

    fn draw_once(rng: &mut Rng, options: &ClipOptions) -> Clip {
        let start = draw::table(rng, options.n_objects_max);
        let look = Look::draw(rng);
        let mut policy = Policy::draw(rng, &start);
        let mut clip = Clip::simulate(start, look, options, |table| policy.command(rng, table));
        let panel = draw::panel(rng, &clip.tables[0], clip.last());
        clip.tables.iter_mut().for_each(|table| table.panel = panel);
        clip
    }

    /// Lets `start` go on for the options' frames, with what `command` tells the pusher at each.
    ///
    /// # Panics
    /// If there is no frame.
    #[must_use]
    pub fn simulate(
        start: Table,
        look: Look,
        options: &ClipOptions,
        mut command: impl FnMut(&Table) -> [f64; 2],
    ) -> Clip {
        assert!(0 < options.n_frames, "a clip has a frame");
        let mut table = start;
        let mut clip =
            Clip { look, tables: Vec::new(), actions: Vec::new(), events: Vec::new(), next: Vec::new() };
        let mut touching: Vec<Contact> = Vec::new();
        clip.tables.push(table.clone());
        for frame in 1..options.n_frames {
            let action = command(&table);
            let contacts = table.step(action);
            let begun = contacts.iter().filter(|contact| !touching.contains(contact));
            clip.events.extend(begun.map(|contact| Event { frame, contact: *contact }));
            clip.actions.push(action);
            clip.tables.push(table.clone());
            touching = contacts;
        }
        clip.next = vec![None; table.objects.len()];
        for _ in 0..options.horizon {
            let contacts = table.step([0.0; 2]);
            for (object, next) in clip.next.iter_mut().enumerate() {
                *next = next.or_else(|| {
                    let fresh = contacts.iter().filter(|contact| !touching.contains(contact));
                    fresh.filter_map(|contact| contact.of(object)).next()
                });
            }
            touching = contacts;
        }
        clip
    }

    /// Frames that are shown.
    #[must_use]
    pub fn n_frames(&self) -> usize {
        self.tables.len()
    }

    /// The table at the last frame.
    ///
    /// # Panics
    /// Never: a clip has a frame.
    #[must_use]
    pub fn last(&self) -> &Table {
        self.tables.last().expect("a clip has a frame")
    }

    /// As questions and answers name it: "red ball", "left wall", "pusher".
    ///
    /// # Panics
    /// If there is no such object.
    #[must_use]
    pub fn name_of(&self, body: Body) -> String {
        match body {
            Body::Pusher => "pusher".to_owned(),
            Body::Object(object) => self.last().objects[object].name(),
            Body::Wall(wall) => format!("{} wall", wall.name()),
        }
    }

    /// The first object that moves at the last frame and can be seen.
    #[must_use]
    pub fn moving(&self) -> Option<usize> {
        let last = self.n_frames() - 1;
        (0..self.last().objects.len()).find(|&object| {
            let [x, y] = self.last().objects[object].velocity;
            0.64 < x * x + y * y && 0.5 < self.visible(last, object)
        })
    }

    /// Whether the next thing that an object touches, if the robot holds still, is a wall or nothing.
    #[must_use]
    pub fn is_path_clear(&self, object: usize) -> bool {
        matches!(self.next[object], None | Some(Body::Wall(_)))
    }

    /// How much of an object is to be seen in a frame: what neither the panel nor the pusher hides, from 0 to 1.
    #[must_use]
    pub fn visible(&self, frame: usize, object: usize) -> f64 {
        const N: usize = 9;
        let table = &self.tables[frame];
        let object = &table.objects[object];
        let (mut n_inside, mut n_seen) = (0, 0);
        for i in 0..N * N {
            let away = [i % N, i / N].map(|k| (k as f64 + 0.5) / N as f64 * 2.0 - 1.0);
            let is_ball = object.kind == super::Kind::Ball;
            if is_ball && 1.0 < away[0] * away[0] + away[1] * away[1] {
                continue;
            }
            let point = [0, 1].map(|k| object.position[k] + away[k] * object.half);
            let behind_panel = table.panel.is_some_and(|panel| panel.hides(point));
            let under_pusher = table.pusher.is_some_and(|pusher| {
                let from = [0, 1].map(|k| point[k] - pusher.position[k]);
                from[0] * from[0] + from[1] * from[1] < pusher.radius * pusher.radius
            });
            n_inside += 1;
            n_seen += usize::from(!behind_panel && !under_pusher);
        }
        n_seen as f64 / n_inside as f64
    }

    /// Renders a frame, `size` pixels wide and high, packed RGB.
    ///
    /// # Panics
    /// If there is no such frame, or `rgb` is not `size * size * 3` bytes long.
    pub fn render(&self, frame: usize, size: usize, rgb: &mut [u8]) {
        self.look.render(&self.tables[frame], frame, size, rgb);
    }
}
