//! The networks, one folder each: a checkpoint's config and weights become graphs, and what surrounds them (prompts, tokens) data.

pub mod reason2;
