//! What holds up the reasons of the CPU backend's `unsafe`, checked by tools that look at every access: loom tries every order in
//! which threads can meet, Miri runs one and knows what each access may touch:
//!
//! ```text
//! cargo test --package perihelion-soundness
//! MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --package perihelion-soundness
//! ```
//! `.ci/run` calls the first. The second needs a nightly toolchain, which the gate does without; run it by hand when the pool, the
//! arena or `Out` change (it last passed with the nightly of 2026-05-20).
//!
//! The backend's own files are included as they stand, so that little else need be built.
#![cfg(test)]
#![allow(clippy::duplicate_mod, reason = "the board is made of loom's atomics and of the standard library's")]

#[cfg(not(miri))]
mod interleavings;
mod memory;
