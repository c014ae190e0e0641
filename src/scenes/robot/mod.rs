//! The robot's view: balls and boxes on a table, pushed by the robot's own pusher, passing behind a panel.
//!
//! What the small models are trained on. A [`Clip`] is drawn from a [`Split`]'s seeds and simulated; it gives frames
//! ([`Clip::render`]), the robot's actions, tracks, [`Event`]s, and questions with answers that can be checked ([`Clip::questions`]).
//! [`Table::step`] alone is the world that a robot acts in, and an [`Errand`] is something to do in it.
//!
//! Units: lengths are pixels of a 64×64 view (the table's sides), x to the right and y down, whatever the size that is rendered;
//! one time step is one frame (1/8 s). Everything follows from the seed; only sums, products, quotients and roots decide a
//! course, so that it is the same on every machine.

mod anomaly;
mod clip;
mod draw;
mod errand;
mod look;
mod questions;
mod shape;
mod split;
mod table;

pub use anomaly::Anomaly;
pub use clip::{Clip, ClipOptions, Event};
pub use errand::{ARRIVAL, Errand, commands_to_rest};
pub use look::Look;
pub use questions::{Asked, Show, Topic};
pub use shape::Kind;
pub use split::Split;
pub use table::{Body, Contact, Object, Panel, Pusher, SPEED_MAX, Table, Wall};

/// Length of the table's sides, in pixels of the small view.
pub const SIDE: f64 = 64.0;

#[cfg(test)]
mod tests;
