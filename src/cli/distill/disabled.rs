//! Says that training is not compiled in.

use anyhow::bail;

use super::Options;
use crate::cli::Context;

pub(super) fn run(_: &Options, _: &Context) -> anyhow::Result<()> {
    bail!(
        "training is not in this build of perihelion; build one with: cargo build --release --features distill"
    )
}
