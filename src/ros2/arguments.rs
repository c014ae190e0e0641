//! `--ros-args`: what launch files pass to every node.
//!
//! The grammar is that of `rcl_parse_arguments`: a section starts with `--ros-args` and ends with `--` or the command
//! line; the rest is ours. Why not clap: sections may stand anywhere, repeat, and hold flags that mean other things
//! outside of them. What is refused here, `rcl` refuses too; two forms that it does not take (any more) are unambiguous and
//! taken: a rule without `-r`, and a namespace without its first slash.

use log::LevelFilter;

use crate::ros2::logging;

/// What a remap rule renames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renames {
    /// Topics and services of a name.
    Names,
    /// Topics alone: `rostopic://`.
    Topics,
    /// Services alone: `rosservice://`.
    Services,
    /// The node: `__node`.
    Node,
    /// The node's namespace: `__ns`.
    Namespace,
}

/// One `from:=to` rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remap {
    /// The only node that it is for, by its name without a namespace.
    pub node: Option<String>,
    /// What it renames.
    pub renames: Renames,
    /// The name to replace, as the node writes it; for a node or namespace `__node` or `__ns`.
    pub from: String,
    /// The name instead.
    pub to: String,
}

/// One `-p name:=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The only node that it is for: one of this name in the root namespace.
    pub node: Option<String>,
    /// The parameter's name.
    pub name: String,
    /// Its value as YAML.
    pub yaml: String,
}

/// Something that sets parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `-p`
    Assignment(Assignment),
    /// `--params-file`
    File(String),
}

/// One `--log-level`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel {
    /// The logger, and those below it; all if it is not named.
    pub logger: Option<String>,
    /// The least level to log; `None` leaves it to the logger above.
    pub level: Option<LevelFilter>,
}

/// What stood in the `--ros-args` sections of a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RosArguments {
    /// Rules, of which the first that fits counts.
    pub remaps: Vec<Remap>,
    /// Parameters and files of them, in one order.
    pub settings: Vec<Setting>,
    /// Levels, of which the last for a logger counts.
    pub log_levels: Vec<LogLevel>,
    /// `--disable-rosout-logs`
    pub rosout_disabled: bool,
}

/// A `--ros-args` section that we cannot obey.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentError {
    /// The command line ends too early.
    #[error("`{0}` needs a value after it")]
    MissingValue(String),
    /// Not a rule.
    #[error("`{0}` is not of the form `name:=value`")]
    NotARule(String),
    /// A rule with a name that none can have.
    #[error("`{rule}`: {problem}")]
    BadRule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not a level.
    #[error("--log-level {0}: expected debug, info, warn, error or fatal, for one logger as `name:=level`")]
    BadLevel(String),
    /// Not a flag that rcl knows.
    #[error("`{0}` is not known after `--ros-args` (end the section with `--` to pass other arguments)")]
    Unknown(String),
}

impl RosArguments {
    /// Splits a command line into its ROS sections and the rest, whose order stays.
    ///
    /// # Errors
    /// If a section holds an unknown flag, a flag without its value, or a malformed rule.
    pub fn split(arguments: impl IntoIterator<Item = String>) -> Result<(Self, Vec<String>), ArgumentError> {
        let mut parsed = Self::default();
        let mut rest = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument == "--ros-args" {
                parsed.section(&mut arguments)?;
            } else {
                rest.push(argument);
            }
        }
        Ok((parsed, rest))
    }

    /// The least level that the logger of this name logs, if anything was said of it: of itself, of one above it (`robot` is
    /// above `robot.eye`), or of all.
    pub fn log_level(&self, logger: &str) -> Option<LevelFilter> {
        let said = |name: Option<&str>| {
            let found = self.log_levels.iter().rev().find(|level| level.logger.as_deref() == name);
            found.and_then(|level| level.level)
        };
        let above = std::iter::successors(Some(logger), |name| Some(name.rsplit_once('.')?.0));
        above.map(Some).chain([None]).find_map(said)
    }

    fn section(&mut self, arguments: &mut impl Iterator<Item = String>) -> Result<(), ArgumentError> {
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| ArgumentError::MissingValue(flag.clone()));
            match flag.as_str() {
                "--" => return Ok(()),
                "--ros-args" => {}
                "-r" | "--remap" => self.remaps.push(remap(&value()?)?),
                "-p" | "--param" => self.settings.push(Setting::Assignment(assignment(&value()?)?)),
                "--params-file" => self.settings.push(Setting::File(value()?)),
                "--log-level" => self.log_levels.push(log_level(&value()?)?),
                "--disable-rosout-logs" => self.rosout_disabled = true,
                "--enable-rosout-logs" => self.rosout_disabled = false,
                // Known to rcl, without a meaning here: security enclaves and spdlog's files.
                "-e" | "--enclave" | "--log-config-file" | "--log-file-name" => drop(value()?),
                "--enable-stdout-logs" | "--disable-stdout-logs" => {}
                "--enable-external-lib-logs" | "--disable-external-lib-logs" => {}
                // The deprecated form of `-r`, which old launch files still write.
                other if other.contains(":=") => self.remaps.push(remap(other)?),
                _ => return Err(ArgumentError::Unknown(flag)),
            }
        }
        Ok(())
    }
}

/// `[node:][rostopic://]from:=to`
fn remap(text: &str) -> Result<Remap, ArgumentError> {
    let (node, left, to) = rule(text)?;
    let bad = |problem| Err(ArgumentError::BadRule { rule: text.to_owned(), problem });
    let (renames, from) = match left {
        "__node" | "__name" => (Renames::Node, "__node"),
        "__ns" => (Renames::Namespace, "__ns"),
        _ => match (left.strip_prefix("rostopic://"), left.strip_prefix("rosservice://")) {
            (Some(topic), _) => (Renames::Topics, topic),
            (_, Some(service)) => (Renames::Services, service),
            _ => (Renames::Names, left),
        },
    };
    match renames {
        Renames::Node if !is_token(to) => {
            return bad("a node's name has letters, digits and underscores, and no digit first");
        }
        Renames::Namespace if to.is_empty() => return bad("it names no namespace; the root is `/`"),
        Renames::Node | Renames::Namespace => {}
        _ if from.contains('*') => return bad("a wildcard stands for no name here, and not in rcl either"),
        _ if !is_name(from) => return bad("what stands before `:=` is no name of a topic or service"),
        _ if !may_become(to) => return bad("what stands after `:=` is no name of a topic or service"),
        _ => {}
    }
    Ok(Remap { node, renames, from: from.to_owned(), to: to.to_owned() })
}

/// `[node:]name:=yaml`
fn assignment(text: &str) -> Result<Assignment, ArgumentError> {
    let (node, name, yaml) = rule(text)?;
    // A topic's name may stand between two dots, as in `qos_overrides./image.subscription.depth`.
    let is_part = |part: &str| part.split('/').all(is_token);
    let mut parts = name.split('.');
    let is_begun = parts.next().is_some_and(is_part);
    if !is_begun || !parts.all(|part| is_part(part.strip_prefix('/').unwrap_or(part))) {
        let problem = "a parameter's name has letters, digits and underscores, with dots between its parts";
        return Err(ArgumentError::BadRule { rule: text.to_owned(), problem });
    }
    Ok(Assignment { node, name: name.to_owned(), yaml: yaml.to_owned() })
}

/// `[logger:=]level`
fn log_level(text: &str) -> Result<LogLevel, ArgumentError> {
    let bad = || ArgumentError::BadLevel(text.to_owned());
    let (logger, name) = match text.split_once(":=") {
        Some(("", _)) => return Err(bad()),
        Some((logger, name)) => (Some(logger.to_owned()), name),
        None => (None, text),
    };
    let level = match name.eq_ignore_ascii_case("unset") {
        true => None,
        false => Some(logging::parse_level(name).ok_or_else(bad)?),
    };
    Ok(LogLevel { logger, level })
}

/// Splits `[node:]left:=right`.
fn rule(text: &str) -> Result<(Option<String>, &str, &str), ArgumentError> {
    let (left, right) = text
        .split_once(":=")
        .filter(|(left, _)| !left.is_empty())
        .ok_or_else(|| ArgumentError::NotARule(text.to_owned()))?;
    // The colon of `rostopic://` is no node's.
    let (node, left) = match left.split_once(':') {
        Some((node, name)) if !name.starts_with("//") => (Some(node), name),
        _ => (None, left),
    };
    if node.is_some_and(|node| !is_token(node)) {
        let problem = "before the `:` stands the name of a node, without its namespace";
        return Err(ArgumentError::BadRule { rule: text.to_owned(), problem });
    }
    Ok((node.map(str::to_owned), left, right))
}

fn is_token(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| !c.is_ascii_digit()) && text.chars().all(is_part)
}

/// `name`, `/a/name` or `~/name`.
fn is_name(text: &str) -> bool {
    let relative = text.strip_prefix('~').unwrap_or(text);
    let relative = if relative.len() < text.len() { relative.strip_prefix('/') } else { Some(text) };
    let Some(relative) = relative else { return false };
    relative.strip_prefix('/').unwrap_or(relative).split('/').all(is_token)
}

/// A name in which `{node}` and `{ns}` may stand; the whole is checked once these are known.
fn may_become(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_/~{}".contains(c);
    !text.is_empty() && text.chars().all(is_part) && !text.contains("//") && !text.ends_with(['/', '~'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Result<(RosArguments, Vec<String>), ArgumentError> {
        RosArguments::split(line.split_whitespace().map(str::to_owned))
    }

    fn rule(renames: Renames, node: Option<&str>, from: &str, to: &str) -> Remap {
        Remap { node: node.map(str::to_owned), renames, from: from.into(), to: to.into() }
    }

    #[test]
    fn a_section_ends_with_two_dashes() {
        let (ros, rest) = split(
            "run m.engine --ros-args -r image:=/cam/image_raw -r __ns:=/robot1 -r __node:=eye -p max_tokens:=32 \
             -p eye:prompt:=what --params-file a.yaml --log-level debug -- --greedy --ros-args -r ear:in:=out",
        )
        .unwrap();
        assert_eq!(rest, ["run", "m.engine", "--greedy"]);
        let expected = [
            rule(Renames::Names, None, "image", "/cam/image_raw"),
            rule(Renames::Namespace, None, "__ns", "/robot1"),
            rule(Renames::Node, None, "__node", "eye"),
            rule(Renames::Names, Some("ear"), "in", "out"),
        ];
        assert_eq!(ros.remaps, expected);
        let assigned = |node: Option<&str>, name: &str, yaml: &str| {
            let node = node.map(str::to_owned);
            Setting::Assignment(Assignment { node, name: name.into(), yaml: yaml.into() })
        };
        let expected = [
            assigned(None, "max_tokens", "32"),
            assigned(Some("eye"), "prompt", "what"),
            Setting::File("a.yaml".into()),
        ];
        assert_eq!(ros.settings, expected);
        assert_eq!(ros.log_level("robot1.eye"), Some(LevelFilter::Debug));
    }

    #[test]
    fn values_keep_their_later_assignments() {
        let (ros, _) = split("--ros-args -p url:=a:=b").unwrap();
        let Setting::Assignment(assignment) = &ros.settings[0] else { panic!("{ros:?}") };
        assert_eq!(assignment.yaml, "a:=b");
        let (ros, _) = split("--ros-args image:=/old/style").unwrap();
        assert_eq!(ros.remaps[0].to, "/old/style");
    }

    #[test]
    fn bad_sections_are_refused() {
        assert_eq!(split("--ros-args -r").unwrap_err(), ArgumentError::MissingValue("-r".into()));
        assert_eq!(split("--ros-args -r a=b").unwrap_err(), ArgumentError::NotARule("a=b".into()));
        assert_eq!(split("--ros-args --greedy").unwrap_err(), ArgumentError::Unknown("--greedy".into()));
        assert_eq!(split("--ros-args -p :=1").unwrap_err(), ArgumentError::NotARule(":=1".into()));
        for cut in [
            "-p",
            "--param",
            "-p x",
            "-r :=",
            "-r x",
            "--params-file",
            "--log-level",
            "-e",
            "-r a: -r",
            "-p a::=1",
        ] {
            assert!(split(&format!("--ros-args {cut}")).is_err(), "{cut}");
        }
    }

    #[test]
    fn names_that_none_can_have_are_refused_as_in_rcl() {
        for rule in [
            "-r image:=",
            "-r image:=a//b",
            "-r 1image:=a",
            "-r {ns}/image:=/a",
            "-r *:=/a",
            "-r /**/image:=/a",
            "-r image:=rostopic:///a",
            "-r /robot/eye:image:=/a",
            "-r __node:=two-words",
            "-r __node:=/a",
            "-r other:__node:=two-words",
            "-r ~image:=a",
            "-r image/:=a",
            "-p a-b:=1",
            "-p 1a:=1",
            "-p ~a:=1",
            "-p /eye:a:=1",
            "-p /**:a:=1",
        ] {
            let error = split(&format!("--ros-args {rule}")).unwrap_err();
            assert!(matches!(error, ArgumentError::BadRule { .. }), "{rule}: {error}");
        }
        for rule in
            ["-r ~/a:=~/b", "-r /a/b:=c", "-r rostopic://a:=b", "-r eye:rosservice://~/a:=/b", "-p a.b/c:=1"]
        {
            assert!(split(&format!("--ros-args {rule}")).is_ok(), "{rule}");
        }
    }

    #[test]
    fn a_level_is_for_all_loggers_or_for_one_and_those_below_it() {
        let check = |line: &str, expected: Option<LevelFilter>| {
            let (ros, _) = split(&format!("--ros-args {line}")).unwrap();
            assert_eq!(ros.log_level("robot.eye"), expected, "{line}");
        };
        check("", None);
        check("--log-level warn", Some(LevelFilter::Warn));
        check("--log-level robot.eye:=debug --log-level warn", Some(LevelFilter::Debug));
        check("--log-level robot:=debug --log-level warn", Some(LevelFilter::Debug));
        check("--log-level robot.eye:=warn --log-level robot.eye:=ERROR", Some(LevelFilter::Error));
        check("--log-level robot.eye:=unset --log-level robot:=debug", Some(LevelFilter::Debug));
        check("--log-level warn --log-level unset", None);
        for other in
            ["eye:=debug", "/robot/eye:=debug", "robot.ear:=debug", "robot.eye.lid:=debug", "rob:=debug"]
        {
            check(&format!("--log-level {other}"), None);
        }
        for bad in ["loud", "eye:=loud", ":=debug", "eye:=", "a:=b:=debug"] {
            assert_eq!(
                split(&format!("--ros-args --log-level {bad}")).unwrap_err(),
                ArgumentError::BadLevel(bad.into())
            );
        }
    }
}
