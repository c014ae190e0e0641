//! The table: what lies on it, and what a frame's time does to it.
//!
//! Four small steps make a frame. Balls roll on and lose little, boxes slide and stop; all bounce off walls and each other. The
//! pusher goes where it is told, as fast as it can; what it meets goes before it, and what cannot go on holds it up.

use super::SIDE;
use super::shape::{Kind, Overlap, Shape, overlap};
use crate::scenes::Color;

/// The pusher's greatest speed, in pixels a frame, along each axis.
pub const SPEED_MAX: f64 = 4.0;
/// Steps of the simulation in one frame.
const SUBSTEPS: usize = 4;
/// Speed kept by a bounce.
const RESTITUTION: f64 = 0.8;
/// Speed that a push adds to the pusher's own, as a share of how fast they met.
const KICK: f64 = 0.2;
/// Speed kept over a frame.
const ROLLING: f64 = 0.96;
const SLIDING: f64 = 0.7;
/// Slower than this, in pixels a frame, an object rests.
const REST: f64 = 0.02;

/// Something that can be pushed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Ball or box.
    pub kind: Kind,
    /// Its colour, unique on a table.
    pub color: Color,
    /// Radius, or half a side.
    pub half: f64,
    /// Its centre.
    pub position: [f64; 2],
    /// Pixels a frame.
    pub velocity: [f64; 2],
}

impl Object {
    pub(super) fn shape(&self) -> Shape {
        Shape { kind: self.kind, center: self.position, half: self.half }
    }

    /// One over its mass, which is its area.
    fn lightness(&self) -> f64 {
        let area = self.half * self.half;
        1.0 / if self.kind == Kind::Ball { std::f64::consts::PI * area } else { 4.0 * area }
    }

    /// As questions and answers name it: "red ball".
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.color.name(), self.kind.name())
    }
}

/// The robot's own finger, a disc.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pusher {
    /// Its radius.
    pub radius: f64,
    /// Its centre.
    pub position: [f64; 2],
}

impl Pusher {
    pub(super) fn shape(&self) -> Shape {
        Shape { kind: Kind::Ball, center: self.position, half: self.radius }
    }
}

/// A board above the table: it hides what passes behind it, and stops nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Panel {
    /// Its centre.
    pub center: [f64; 2],
    /// Half its width and half its height.
    pub half: [f64; 2],
}

impl Panel {
    /// Whether a point lies behind it.
    #[must_use]
    pub fn hides(&self, point: [f64; 2]) -> bool {
        (0..2).all(|k| (point[k] - self.center[k]).abs() < self.half[k])
    }
}

/// The table's sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wall {
    /// x = 0
    Left,
    /// x = 64
    Right,
    /// y = 0
    Top,
    /// y = 64
    Bottom,
}

impl Wall {
    /// Its side.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Wall::Left => "left",
            Wall::Right => "right",
            Wall::Top => "top",
            Wall::Bottom => "bottom",
        }
    }
}

/// What can be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// The object of that index.
    Object(usize),
    /// The robot's pusher.
    Pusher,
    /// A side of the table.
    Wall(Wall),
}

/// An object that touched something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Contact {
    /// The object's index, of two objects the lower one.
    pub object: usize,
    /// What it touched.
    pub with: Body,
}

impl Contact {
    /// What `object` touched by this contact, if it has part in it.
    #[must_use]
    pub fn of(&self, object: usize) -> Option<Body> {
        match self.with {
            _ if self.object == object => Some(self.with),
            Body::Object(other) if other == object => Some(Body::Object(self.object)),
            _ => None,
        }
    }
}

/// What lies on the table at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What can be pushed.
    pub objects: Vec<Object>,
    /// The robot's finger, if it is there.
    pub pusher: Option<Pusher>,
    /// A board above, if there is one.
    pub panel: Option<Panel>,
}

impl Table {
    /// Lets one frame's time pass, while the pusher is told to go `command` pixels a frame; returns what touched, each once.
    ///
    /// A command beyond [`SPEED_MAX`] is cut to it; one that is no number is taken as standing still.
    pub fn step(&mut self, command: [f64; 2]) -> Vec<Contact> {
        let command = command.map(|v| if v.is_finite() { v.clamp(-SPEED_MAX, SPEED_MAX) } else { 0.0 });
        let mut contacts = Vec::new();
        for _ in 0..SUBSTEPS {
            self.substep(command, &mut contacts);
        }
        contacts
    }

    fn substep(&mut self, command: [f64; 2], contacts: &mut Vec<Contact>) {
        let share = 1.0 / SUBSTEPS as f64;
        if let Some(pusher) = &mut self.pusher {
            pusher.position = moved(pusher.position, share, command);
            hold_inside(&mut pusher.position, pusher.radius);
        }
        for (i, object) in self.objects.iter_mut().enumerate() {
            object.position = moved(object.position, share, object.velocity);
            bounce_off_walls(object, |wall| note(contacts, i, Body::Wall(wall)));
        }
        for i in 1..self.objects.len() {
            let (before, from_i) = self.objects.split_at_mut(i);
            for (j, other) in before.iter_mut().enumerate() {
                if bounce(other, &mut from_i[0]) {
                    note(contacts, j, Body::Object(i));
                }
            }
        }
        if let Some(pusher) = &mut self.pusher {
            for (i, object) in self.objects.iter_mut().enumerate() {
                if push(pusher, command, object) {
                    note(contacts, i, Body::Pusher);
                }
            }
        }
        for object in &mut self.objects {
            let kept: f64 = if object.kind == Kind::Ball { ROLLING } else { SLIDING };
            let kept = kept.sqrt().sqrt();
            object.velocity = object.velocity.map(|v| v * kept);
            if dot(object.velocity, object.velocity) < REST * REST {
                object.velocity = [0.0; 2];
            }
        }
    }
}

fn note(contacts: &mut Vec<Contact>, object: usize, with: Body) {
    let contact = Contact { object, with };
    if !contacts.contains(&contact) {
        contacts.push(contact);
    }
}

fn bounce_off_walls(object: &mut Object, mut touched: impl FnMut(Wall)) {
    let far = SIDE - object.half;
    for (k, [low, high]) in [[Wall::Left, Wall::Right], [Wall::Top, Wall::Bottom]].into_iter().enumerate() {
        let (p, v) = (object.position[k], object.velocity[k]);
        let (wall, is_outward) = match p {
            p if p < object.half => (low, v < 0.0),
            p if far < p => (high, 0.0 < v),
            _ => continue,
        };
        object.position[k] = p.clamp(object.half, far);
        if is_outward {
            object.velocity[k] = -RESTITUTION * v;
        }
        touched(wall);
    }
}

/// Two objects that overlap go apart, by their masses; true if they did.
fn bounce(a: &mut Object, b: &mut Object) -> bool {
    let Some(Overlap { normal, depth }) = overlap(a.shape(), b.shape()) else { return false };
    let (of_a, of_b) = (a.lightness(), b.lightness());
    let all = of_a + of_b;
    a.position = moved(a.position, -depth * of_a / all, normal);
    b.position = moved(b.position, depth * of_b / all, normal);
    let closing = dot(a.velocity, normal) - dot(b.velocity, normal);
    if 0.0 < closing {
        let impulse = (1.0 + RESTITUTION) * closing / all;
        a.velocity = moved(a.velocity, -impulse * of_a, normal);
        b.velocity = moved(b.velocity, impulse * of_b, normal);
    }
    hold_inside(&mut a.position, a.half);
    hold_inside(&mut b.position, b.half);
    true
}

/// What the pusher meets goes before it; true if it met the object.
fn push(pusher: &mut Pusher, command: [f64; 2], object: &mut Object) -> bool {
    let Some(Overlap { normal, depth }) = overlap(pusher.shape(), object.shape()) else { return false };
    object.position = moved(object.position, depth, normal);
    let closing = dot(command, normal) - dot(object.velocity, normal);
    if 0.0 < closing {
        object.velocity = moved(object.velocity, (1.0 + KICK) * closing, normal);
    }
    hold_inside(&mut object.position, object.half);
    // Against a wall: the pusher stays where the object lets it.
    if let Some(Overlap { normal, depth }) = overlap(pusher.shape(), object.shape()) {
        pusher.position = moved(pusher.position, -depth, normal);
        hold_inside(&mut pusher.position, pusher.radius);
    }
    true
}

fn hold_inside(position: &mut [f64; 2], half: f64) {
    *position = position.map(|p| p.clamp(half, SIDE - half));
}

fn moved(from: [f64; 2], by: f64, along: [f64; 2]) -> [f64; 2] {
    [0, 1].map(|k| from[k] + by * along[k])
}

pub(super) fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}
