//! `perihelion transport`: the network's process, which `run` starts for itself.

use crate::ros2::transport::serve;

/// Holds the network's sockets for another process of this program; not for people
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "`run` starts it as `perihelion transport`: standard input is a socket to it, standard output is memory that \
                  both share."
)]
pub(crate) struct Options {}

pub(crate) fn run(_options: &Options) -> anyhow::Result<()> {
    Ok(serve()?)
}
