//! The networks, one folder each, in three steps: a config, parsed and checked; the network that is written from it alone; and beside
//! that a table of names ([`names`]), by which its weights come from a checkpoint and go back. What surrounds a network (prompts,
//! tokens, schedules) becomes data.

mod layers;
pub mod names;
pub mod predict25;
pub mod reason2;
pub mod wan_vae;
