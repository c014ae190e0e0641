//! Camera frames on their way to an engine.
//!
//! A [`camera::Camera`] owns the buffers and hands every frame to its listeners; a [`listener::Listener`] keeps the newest
//! frame, or the newest clip, of one engine and accounts for all of them. A frame is decoded when the first engine looks at
//! it, and once, whoever looks: its picture stays beside it until nobody wants it. The camera also judges when a frame was seen,
//! by its stamp or by its receipt ([`stamps`]), and what its [`stream`] is like.
//!
//! Architecture invariant: nothing here knows ROS. Whoever reads a message's bytes hands them in as plain values.

pub mod accounts;
pub mod bell;
pub mod camera;
mod clip;
pub mod clock;
pub mod decoded;
pub mod decoding;
pub mod frame;
mod ledger;
pub mod listener;
mod listening;
mod pool;
pub mod scaled;
pub mod short_string;
pub mod stamps;
pub mod stream;

#[cfg(test)]
mod tests;
