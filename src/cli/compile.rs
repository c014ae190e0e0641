//! `perihelion compile`: the process in which a plan is made, which `build` starts for itself.

use crate::backend::tensorrt::serve;

/// Makes one TensorRT plan for another process of this program; not for people
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "`build` starts it as `perihelion compile`: standard input is the network and its target, standard output is the \
                  plan."
)]
pub(crate) struct Options {}

pub(crate) fn run(_options: &Options) -> anyhow::Result<()> {
    Ok(serve(&mut std::io::stdin().lock(), &mut std::io::stdout().lock())?)
}
