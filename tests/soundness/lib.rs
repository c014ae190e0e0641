//! What holds up the reasons of the CPU backend's `unsafe`, checked by tools that look at every access: loom tries every order in
//! which threads can meet, Miri runs one and knows what each access may touch. `.ci/run` calls both:
//!
//! ```text
//! cargo test --package perihelion-soundness
//! cargo miri test --package perihelion-soundness      (of a nightly toolchain, with -Zmiri-disable-isolation)
//! ```
//! The backend's own files are included as they stand, so that little else need be built.
#![cfg(test)]
#![allow(clippy::duplicate_mod, reason = "the board is made of loom's atomics and of the standard library's")]

#[cfg(not(miri))]
mod interleavings;
mod memory;
