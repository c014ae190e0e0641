//! The command: which verbs there are, and how a command line comes to one of them.
//!
//! The exit code is 0, 1 for a failure and 2 for a wrong command line.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::{
    Context, Usage, ask, bench, build, calibrate, compile, curate, distill, doctor, export, imagine, inspect,
    machine, manual, merge, output, plan, report, run, scenes, transport,
};
use crate::demo;
use crate::install::clean_up_on_signals;
use crate::ros2::arguments::RosArguments;

/// Runs NVIDIA Cosmos Reason and few-step Predict on a robot, behind ROS 2.
#[derive(Debug, Parser)]
#[command(name = "perihelion", version, max_term_width = 110, propagate_version = true)]
#[command(
    after_help = "The way through: export CHECKPOINT -o MODEL, build MODEL -o ENGINE, ask or run ENGINE."
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Threads that compute [default: one fewer than there are cores, at least one]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Merge(merge::Options),
    Export(export::Options),
    Calibrate(calibrate::Options),
    Build(build::Options),
    Ask(ask::Options),
    Run(run::Options),
    Imagine(imagine::Options),
    Plan(plan::Options),
    Bench(bench::Options),
    Report(report::Options),
    Inspect(inspect::Options),
    Doctor(doctor::Options),
    Demo(demo::Options),
    Scenes(scenes::Options),
    Curate(curate::Options),
    Distill(distill::Options),
    Transport(transport::Options),
    Manual(manual::Options),
    Compile(compile::Options),
}

/// Runs a command line, whose first word is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(arguments.into_iter().collect()) {
        Ok((arguments, ros)) => finish(dispatch(arguments, ros)),
        Err(error) => {
            // Help and version go to stdout with 0, mistakes to stderr with 2. A closed pipe is no failure of ours.
            let _ = error.print();
            ExitCode::from(error.exit_code() as u8)
        }
    }
}

/// Takes the ROS sections out, which may stand anywhere, and leaves the rest to clap.
fn parse(words: Vec<OsString>) -> Result<(Arguments, RosArguments), clap::Error> {
    let usage =
        |message: String| Arguments::command().error(clap::error::ErrorKind::ValueValidation, message);
    if !words.iter().any(|word| word == "--ros-args") {
        if let Some(problem) = stray_rule(&words) {
            return Err(usage(problem));
        }
        return Ok((Arguments::try_parse_from(words)?, RosArguments::default()));
    }
    let words: Result<Vec<String>, OsString> = words.into_iter().map(OsString::into_string).collect();
    let words = words.map_err(|word| usage(format!("{word:?} is not UTF-8")))?;
    let (ros, rest) = RosArguments::split(words).map_err(|error| usage(error.to_string()))?;
    if let Some(problem) = stray_rule(&rest) {
        return Err(usage(problem));
    }
    let arguments = Arguments::try_parse_from(rest)?;
    Ok((arguments, ros))
}

/// What to say of a rule or parameter for ROS that stands outside of a `--ros-args` section.
fn stray_rule(words: &[impl AsRef<OsStr>]) -> Option<String> {
    let words: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    let is_rule = |word: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_/~:.".contains(c);
        word.split_once(":=").is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_part))
    };
    let (found, meant) = words.windows(2).find_map(|pair| match [&*pair[0], &*pair[1]] {
        [flag @ ("-r" | "--remap" | "-p" | "--param"), word] if word.contains(":=") => {
            let meant = format!("{flag} {word}");
            Some((meant.clone(), meant))
        }
        // Behind another flag it may be that one's value.
        [before, word] if !before.starts_with('-') && is_rule(word) => {
            Some((word.to_owned(), format!("-r {word}")))
        }
        _ => None,
    })?;
    Some(format!("`{found}` is for ROS, whose arguments stand behind --ros-args: `--ros-args {meant}`"))
}

fn dispatch(arguments: Arguments, ros: RosArguments) -> anyhow::Result<()> {
    let context = Context { threads: arguments.threads.unwrap_or_else(machine::default_threads), ros };
    // These leave the graph or save first, and end of themselves.
    if !matches!(arguments.verb, Verb::Run(_) | Verb::Demo(_) | Verb::Distill(_)) {
        clean_up_on_signals()?;
    }
    match arguments.verb {
        Verb::Merge(options) => merge::run(&options, &context),
        Verb::Export(options) => export::run(&options, &context),
        Verb::Calibrate(options) => calibrate::run(&options, &context),
        Verb::Build(options) => build::run(&options, &context),
        Verb::Ask(options) => ask::run(&options, &context),
        Verb::Run(options) => run::run(&options, &context),
        Verb::Imagine(options) => imagine::run(&options, &context),
        Verb::Plan(options) => plan::run(&options, &context),
        Verb::Bench(options) => bench::run(&options, &context),
        Verb::Report(options) => report::run(&options, &context),
        Verb::Inspect(options) => inspect::run(&options, &context),
        Verb::Doctor(options) => doctor::run(&options, &context),
        Verb::Demo(options) => demo::run(&options, &context),
        Verb::Scenes(options) => scenes::run(&options, &context),
        Verb::Curate(options) => curate::run(&options, &context),
        Verb::Distill(options) => distill::run(&options, &context),
        Verb::Transport(options) => transport::run(&options),
        Verb::Manual(options) => manual::run(&options, Arguments::command()),
        Verb::Compile(options) => compile::run(&options, &context),
    }
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let broken_pipe = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(broken_pipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", output::chain(&error));
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn rules_for_ros_outside_of_their_section_say_where_they_belong() {
        let problem = |line: &str| {
            let words = line.split_whitespace().map(OsString::from).collect();
            parse(words).err().map(|error| error.to_string()).unwrap_or_default()
        };
        for (line, meant) in [
            ("perihelion run m -r image:=/cam", "`--ros-args -r image:=/cam`"),
            ("perihelion run m -p prompt:=x", "`--ros-args -p prompt:=x`"),
            ("perihelion run m image:=/cam", "`--ros-args -r image:=/cam`"),
            ("perihelion run m -r image:=/cam --ros-args -p clip:=1", "`--ros-args -r image:=/cam`"),
            ("perihelion run m --ros-args -p clip:=1 -- ~/answer:=/a", "`--ros-args -r ~/answer:=/a`"),
        ] {
            assert!(problem(line).contains(meant), "{line}: {}", problem(line));
        }
        for fine in ["perihelion run m --prompt a:=b", "perihelion ask m --prompt=x:=y"] {
            assert!(!problem(fine).contains("--ros-args"), "{fine}");
        }
    }

    #[test]
    fn every_verb_shows_an_example() {
        for verb in Arguments::command().get_subcommands().filter(|v| v.get_name() != "help") {
            let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains(&format!("perihelion {}", verb.get_name())), "{}", verb.get_name());
        }
    }
}
