//! The rendered world: one or two coloured balls on a table seen from above, with a grey box and walls.
//!
//! The small checkpoints were trained on these scenes, so the demo's camera, the whole-program tests and our own
//! training all show them. A scene is simulated first ([`Scene::draw`] or [`Scene::simulate`]), rendered frame by
//! frame, and asked about: [`Scene::questions`] gives every question with its true answer.
//!
//! [`robot`] is a richer world, with the robot in it.
//!
//! Units: lengths are pixels of a 64×64 view, x to the right and y down; one time step is one frame (1/8 s).

mod questions;
mod render;
mod rng;
pub mod robot;
mod scene;
mod simulate;
mod start;

pub use questions::{Question, THINK_SUFFIX, Task};
pub use rng::Rng;
pub use scene::Scene;
pub use simulate::Touched;
pub use start::{Ball, Color, SceneOptions, Start};

/// Width and height of the view, in pixels.
pub const SIZE: usize = 64;
/// Bytes of one rendered frame: packed RGB, 8 bits a channel.
pub const FRAME_BYTES: usize = SIZE * SIZE * 3;
/// Frames a second at which the scenes are shown.
pub const FPS: f64 = 8.0;

#[cfg(test)]
mod tests;
