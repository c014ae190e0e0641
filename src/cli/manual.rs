//! `manual`: writes the manual pages and the shell completions of all verbs, for the package. It is hidden: a package has it done.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

use super::Usage;

/// Shells whose completions are written.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes manual pages (`man1/`) and shell completions (`completions/`) into a folder.
#[derive(Debug, Args)]
#[command(hide = true, after_help = "Example:\n  perihelion manual pages")]
pub(crate) struct Options {
    /// The folder, which is empty or is made
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes those of `command`.
///
/// # Errors
/// If the folder holds something, or cannot be written to.
pub(crate) fn run(options: &Options, mut command: Command) -> anyhow::Result<()> {
    let shown = options.folder.display();
    let in_folder = || format!("{shown}");
    if fs::read_dir(&options.folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Usage(format!("{shown} is not empty; name another folder")).into());
    }
    let (pages, completions) = (options.folder.join("man1"), options.folder.join("completions"));
    for folder in [&pages, &completions] {
        fs::create_dir_all(folder).with_context(in_folder)?;
    }
    let name = command.get_name().to_owned();
    // A page for each verb of `help` would say nothing. Completions make the command whole, and then it has them.
    let for_pages = command.clone().disable_help_subcommand(true);
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut command, &name, &completions).with_context(in_folder)?;
    }
    clap_mangen::generate_to(for_pages, &pages).with_context(in_folder)
}
