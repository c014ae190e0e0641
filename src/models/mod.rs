//! The networks, one folder each: a checkpoint's config and weights become graphs, and what surrounds them (prompts, tokens) data.

pub mod constants;
pub mod predict25;
pub mod reason2;
pub mod wan_vae;
