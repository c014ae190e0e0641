//! `--ros-args`: what launch files pass to every node.
//!
//! The grammar is that of `rcl_parse_arguments`: a section starts with `--ros-args` and ends with `--` or the command
//! line; the rest is ours. Why not clap: sections may stand anywhere, repeat, and hold flags that mean other things
//! outside of them.

/// One `from:=to` rule for topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remap {
    /// The only node that it is for.
    pub node: Option<String>,
    /// The name to replace, as the node writes it.
    pub from: String,
    /// The name instead.
    pub to: String,
}

/// One `-p name:=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The only node that it is for.
    pub node: Option<String>,
    /// The parameter's name.
    pub name: String,
    /// Its value as YAML.
    pub yaml: String,
}

/// What stood in the `--ros-args` sections of a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RosArguments {
    /// `__node:=name`
    pub node: Option<String>,
    /// `__ns:=/namespace`
    pub namespace: Option<String>,
    /// Topic rules, first match wins.
    pub remaps: Vec<Remap>,
    /// Parameters, later ones win, over files too.
    pub parameters: Vec<Assignment>,
    /// YAML files, later ones win.
    pub parameter_files: Vec<String>,
    /// The least level to log, if it is for us.
    pub log_level: Option<String>,
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

    fn section(&mut self, arguments: &mut impl Iterator<Item = String>) -> Result<(), ArgumentError> {
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| ArgumentError::MissingValue(flag.clone()));
            match flag.as_str() {
                "--" => return Ok(()),
                "--ros-args" => {}
                "-r" | "--remap" => self.remap(&value()?)?,
                "-p" | "--param" => {
                    let (node, name, yaml) = rule(&value()?)?;
                    self.parameters.push(Assignment { node, name, yaml });
                }
                "--params-file" => self.parameter_files.push(value()?),
                "--log-level" => self.log_level(&value()?),
                "--disable-rosout-logs" => self.rosout_disabled = true,
                "--enable-rosout-logs" => self.rosout_disabled = false,
                // Known to rcl, without a meaning here: security enclaves and spdlog's files.
                "-e" | "--enclave" | "--log-config-file" | "--log-file-name" => drop(value()?),
                "--enable-stdout-logs" | "--disable-stdout-logs" => {}
                "--enable-external-lib-logs" | "--disable-external-lib-logs" => {}
                // The deprecated form of `-r`, which old launch files still write.
                other if other.contains(":=") => self.remap(other)?,
                _ => return Err(ArgumentError::Unknown(flag)),
            }
        }
        Ok(())
    }

    fn remap(&mut self, text: &str) -> Result<(), ArgumentError> {
        let (node, from, to) = rule(text)?;
        match from.as_str() {
            "__node" | "__name" => self.node = Some(to),
            "__ns" => self.namespace = Some(to),
            _ => self.remaps.push(Remap { node, from, to }),
        }
        Ok(())
    }

    fn log_level(&mut self, text: &str) {
        match text.split_once(":=") {
            // A level for one logger by name. Ours has the node's; others are of no process but theirs.
            Some((logger, level)) if self.node.as_deref() == Some(logger) => {
                self.log_level = Some(level.into())
            }
            Some(_) => {}
            None => self.log_level = Some(text.into()),
        }
    }
}

/// Splits `[node:]name:=value`.
fn rule(text: &str) -> Result<(Option<String>, String, String), ArgumentError> {
    let malformed = || ArgumentError::NotARule(text.to_owned());
    let (left, right) = text.split_once(":=").ok_or_else(malformed)?;
    let left = left.strip_prefix("rostopic://").unwrap_or(left);
    let right = right.strip_prefix("rostopic://").unwrap_or(right);
    let (node, name) = match left.split_once(':') {
        Some((node, name)) => (Some(node.to_owned()), name),
        None => (None, left),
    };
    if name.is_empty() || node.as_deref() == Some("") {
        return Err(malformed());
    }
    Ok((node, name.to_owned(), right.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Result<(RosArguments, Vec<String>), ArgumentError> {
        RosArguments::split(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_section_ends_with_two_dashes() {
        let (ros, rest) = split(
            "run m.engine --ros-args -r image:=/cam/image_raw -r __ns:=/robot1 -r __node:=eye -p max_tokens:=32 \
             -p eye:prompt:=what --params-file a.yaml --log-level debug -- --greedy --ros-args -r ear:in:=out",
        )
        .unwrap();
        assert_eq!(rest, ["run", "m.engine", "--greedy"]);
        assert_eq!((ros.node.as_deref(), ros.namespace.as_deref()), (Some("eye"), Some("/robot1")));
        let remap = |node: Option<&str>, from: &str, to: &str| Remap {
            node: node.map(str::to_owned),
            from: from.into(),
            to: to.into(),
        };
        assert_eq!(ros.remaps, [remap(None, "image", "/cam/image_raw"), remap(Some("ear"), "in", "out")]);
        assert_eq!(ros.parameters[1].node.as_deref(), Some("eye"));
        assert_eq!((ros.parameters[0].name.as_str(), ros.parameters[0].yaml.as_str()), ("max_tokens", "32"));
        assert_eq!(
            (ros.parameter_files, ros.log_level.as_deref()),
            (vec!["a.yaml".to_owned()], Some("debug"))
        );
    }

    #[test]
    fn values_keep_their_later_assignments() {
        let (ros, _) = split("--ros-args -p url:=a:=b").unwrap();
        assert_eq!(ros.parameters[0].yaml, "a:=b");
        let (ros, _) = split("--ros-args image:=/old/style").unwrap();
        assert_eq!(ros.remaps[0].to, "/old/style");
    }

    #[test]
    fn bad_sections_are_refused() {
        assert_eq!(split("--ros-args -r").unwrap_err(), ArgumentError::MissingValue("-r".into()));
        assert_eq!(split("--ros-args -r a=b").unwrap_err(), ArgumentError::NotARule("a=b".into()));
        assert_eq!(split("--ros-args --greedy").unwrap_err(), ArgumentError::Unknown("--greedy".into()));
        assert_eq!(split("--ros-args -p :=1").unwrap_err(), ArgumentError::NotARule(":=1".into()));
    }
}
