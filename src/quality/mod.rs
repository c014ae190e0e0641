//! How good answers and forecasts are, on rendered clips of which everything is known.

pub mod answers;
pub mod boxes;
pub mod forecasts;
pub mod frames;
pub mod surprise;
pub mod things;
pub mod world;
