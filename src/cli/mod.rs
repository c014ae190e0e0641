//! The verbs: options in, calls down, text out. One file per verb.
//!
//! What was typed stands in a verb's `Options`; the verb's `run` makes of it what it means, and calls the library. Results go to
//! stdout, everything else to stderr. Which verbs there are, `command.rs` says.

pub(crate) mod ask;
pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod calibrate;
mod clip;
pub(crate) mod compile;
pub(crate) mod curate;
pub(crate) mod distill;
pub(crate) mod doctor;
pub(crate) mod engines;
pub(crate) mod export;
mod generation;
pub(crate) mod imagine;
pub(crate) mod inspect;
pub(crate) mod machine;
pub(crate) mod manual;
pub(crate) mod merge;
mod onnx;
pub(crate) mod output;
pub(crate) mod places;
pub(crate) mod plan;
mod progress;
mod question;
mod recipe;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod scenes;
mod tensors;
pub(crate) mod transport;

use std::num::NonZeroUsize;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::ros2::arguments::RosArguments;

/// What every verb is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// Threads that compute.
    pub(crate) threads: NonZeroUsize,
    /// The `--ros-args` sections; empty for verbs that are no node.
    pub(crate) ros: RosArguments,
}

/// Takes the name of one of these.
fn one_of<T, const N: usize>(all: [T; N], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let named = move |text: String| all.into_iter().find(|one| name(*one) == text);
    PossibleValuesParser::new(all.map(name)).map(move |text| named(text).expect("it is a possible value"))
}

/// Takes a number from 0 to 1.
fn unit<N: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<N, String> {
    let number = text.parse().ok().filter(|number| (N::from(0)..=N::from(1)).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// A command line that means nothing: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);
