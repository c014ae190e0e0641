//! The node's parameters: declared with a type, a default and a rule; set by files, by arguments and by services.
//!
//! Files are the YAML of `rcl_yaml_param_parser`: node names with `*` and `**`, then `ros__parameters`, then values
//! whose nesting stands for dots. Later files win over earlier ones, and `-p` wins over files.

use std::fmt;
use std::path::Path;

use serde_norway::Value as Yaml;

use crate::ros2::arguments::RosArguments;
use crate::ros2::names::NodeName;

/// A parameter's value. Arrays are not needed yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number; whole ones are taken too.
    Double(f64),
    /// A text.
    Text(String),
}

/// A parameter as the node declares it.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Its name.
    pub name: &'static str,
    /// Its value unless something sets it; it gives the type.
    pub default: Value,
    /// What it does, in one sentence.
    pub description: &'static str,
    /// Whether it is fixed once the node runs.
    pub read_only: bool,
    /// Says what is wrong with a value of the right type.
    pub check: fn(&Value) -> Result<(), String>,
}

/// Parameters that were set to what they cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// The file cannot be read.
    #[error("parameter file {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not YAML of the right form.
    #[error("parameter file {path}: {problem}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The value does not fit.
    #[error("parameter `{name}` (from {origin}): {problem}")]
    BadValue {
        /// The parameter.
        name: String,
        /// The file or argument.
        origin: String,
        /// What is wrong.
        problem: String,
    },
}

/// The declared parameters and their values.
#[derive(Debug, Clone)]
pub struct Parameters {
    entries: Vec<(Declaration, Value)>,
}

impl Parameters {
    /// All of `declarations` at their defaults.
    pub fn declare(declarations: Vec<Declaration>) -> Self {
        Self { entries: declarations.into_iter().map(|d| (d.clone(), d.default)).collect() }
    }

    /// Sets what files and arguments say of this node. Returns the names that are not declared, for a warning: a file
    /// that many nodes share may hold others' names.
    ///
    /// # Errors
    /// If a file cannot be read, or a value has the wrong type or breaks its rule.
    pub fn assign(
        &mut self,
        node: &NodeName,
        arguments: &RosArguments,
    ) -> Result<Vec<String>, ParameterError> {
        let mut unknown = Vec::new();
        for path in &arguments.parameter_files {
            for (name, yaml) in read_file(Path::new(path), node)? {
                self.assign_one(&name, &yaml, path, &mut unknown)?;
            }
        }
        for assignment in &arguments.parameters {
            if assignment.node.as_deref().is_some_and(|meant| meant != node.name()) {
                continue;
            }
            // What is no YAML, such as `why?: because`, is a text as it stands.
            let yaml =
                serde_norway::from_str(&assignment.yaml).unwrap_or(Yaml::String(assignment.yaml.clone()));
            self.assign_one(&assignment.name, &yaml, "the command line", &mut unknown)?;
        }
        Ok(unknown)
    }

    fn assign_one(
        &mut self,
        name: &str,
        yaml: &Yaml,
        origin: &str,
        unknown: &mut Vec<String>,
    ) -> Result<(), ParameterError> {
        let Some((declaration, value)) = self.entries.iter_mut().find(|(d, _)| d.name == name) else {
            unknown.push(name.to_owned());
            return Ok(());
        };
        let bad =
            |problem| ParameterError::BadValue { name: name.to_owned(), origin: origin.to_owned(), problem };
        let new = from_yaml(yaml).ok_or_else(|| bad("expected one value, found a list or a map".into()))?;
        *value = fit(declaration, new).map_err(bad)?;
        Ok(())
    }

    /// Sets one value while the node runs.
    ///
    /// # Errors
    /// A sentence, if the parameter is not declared, read-only, of another type, or if its rule forbids the value.
    pub fn set(&mut self, name: &str, new: Value) -> Result<(), String> {
        let (declaration, value) = self
            .entries
            .iter_mut()
            .find(|(d, _)| d.name == name)
            .ok_or_else(|| format!("`{name}` is not declared"))?;
        let new = fit(declaration, new)?;
        if declaration.read_only && new != *value {
            return Err(format!("`{name}` is read-only: set it when the node starts"));
        }
        *value = new;
        Ok(())
    }

    /// Says whether [`Parameters::set`] would take the value.
    ///
    /// # Errors
    /// As [`Parameters::set`].
    pub fn would_set(&self, name: &str, new: Value) -> Result<(), String> {
        self.clone().set(name, new)
    }

    /// The declarations with their values, in the order of declaration.
    pub fn iter(&self) -> impl Iterator<Item = (&Declaration, &Value)> {
        self.entries.iter().map(|(declaration, value)| (declaration, value))
    }

    /// The value of `name`, if it is declared.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(declaration, _)| declaration.name == name).map(|(_, value)| value)
    }

    /// # Panics
    /// If `name` is not declared as a bool.
    pub fn bool(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Value::Bool(value)) => *value,
            other => panic!("`{name}` is no declared bool but {other:?}"),
        }
    }

    /// # Panics
    /// If `name` is not declared as an integer.
    pub fn integer(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Value::Integer(value)) => *value,
            other => panic!("`{name}` is no declared integer but {other:?}"),
        }
    }

    /// # Panics
    /// If `name` is not declared as a double.
    pub fn double(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Value::Double(value)) => *value,
            other => panic!("`{name}` is no declared double but {other:?}"),
        }
    }

    /// # Panics
    /// If `name` is not declared as a text.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Value::Text(value)) => value,
            other => panic!("`{name}` is no declared text but {other:?}"),
        }
    }
}

impl Value {
    fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "bool",
            Value::Integer(_) => "integer",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            Value::Double(value) => value.fmt(f),
            Value::Text(value) => write!(f, "{value:?}"),
        }
    }
}

/// `new` in the declared type, if it fits and its rule allows it.
fn fit(declaration: &Declaration, new: Value) -> Result<Value, String> {
    let fitted = match (&declaration.default, new) {
        (Value::Double(_), Value::Integer(whole)) => Value::Double(whole as f64),
        // `-p prompt:=7` means the text: YAML cannot know.
        (Value::Text(_), Value::Integer(whole)) => Value::Text(whole.to_string()),
        (Value::Text(_), Value::Bool(flag)) => Value::Text(flag.to_string()),
        (_, new) => new,
    };
    if std::mem::discriminant(&fitted) != std::mem::discriminant(&declaration.default) {
        return Err(format!("expected a {}, found {fitted}", declaration.default.type_name()));
    }
    (declaration.check)(&fitted)?;
    Ok(fitted)
}

fn from_yaml(yaml: &Yaml) -> Option<Value> {
    match yaml {
        Yaml::Bool(value) => Some(Value::Bool(*value)),
        Yaml::Number(number) => {
            number.as_i64().map(Value::Integer).or_else(|| number.as_f64().map(Value::Double))
        }
        Yaml::String(text) => Some(Value::Text(text.clone())),
        Yaml::Null => Some(Value::Text(String::new())),
        _ => None,
    }
}

/// The parameters that `path` holds for `node`, in the order of the file.
fn read_file(path: &Path, node: &NodeName) -> Result<Vec<(String, Yaml)>, ParameterError> {
    let shown = || path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| ParameterError::Unreadable { path: shown(), source })?;
    let yaml: Yaml = serde_norway::from_str(&text)
        .map_err(|error| ParameterError::Malformed { path: shown(), problem: error.to_string() })?;
    let mut found = Vec::new();
    collect_nodes(&yaml, "", node, &mut found);
    if found.is_empty() && !text.contains("ros__parameters") {
        let problem =
            "it has no `ros__parameters`; expected `/**:`, then `ros__parameters:`, then values".into();
        return Err(ParameterError::Malformed { path: shown(), problem });
    }
    Ok(found)
}

fn collect_nodes(yaml: &Yaml, pattern: &str, node: &NodeName, found: &mut Vec<(String, Yaml)>) {
    let Yaml::Mapping(map) = yaml else { return };
    for (key, value) in map {
        match key.as_str() {
            Some("ros__parameters") if matches(pattern, &node.to_string()) => flatten(value, "", found),
            Some("ros__parameters") | None => {}
            Some(key) => collect_nodes(value, &format!("{pattern}/{}", key.trim_matches('/')), node, found),
        }
    }
}

fn flatten(yaml: &Yaml, prefix: &str, found: &mut Vec<(String, Yaml)>) {
    match yaml {
        Yaml::Mapping(map) => {
            for (key, value) in map {
                let Some(key) = key.as_str() else { continue };
                let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
                flatten(value, &name, found);
            }
        }
        value => found.push((prefix.to_owned(), value.clone())),
    }
}

/// Whether `/**`, `/*/eye` or `/robot/eye` means the node of this full name.
fn matches(pattern: &str, full_name: &str) -> bool {
    fn tokens_match(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (["**", rest @ ..], _) => (0..=name.len()).any(|skipped| tokens_match(rest, &name[skipped..])),
            (["*", rest @ ..], [_, name @ ..]) => tokens_match(rest, name),
            ([token, rest @ ..], [first, name @ ..]) => token == first && tokens_match(rest, name),
            _ => false,
        }
    }
    let tokens = |text| -> Vec<&str> { str::split(text, '/').filter(|token| !token.is_empty()).collect() };
    tokens_match(&tokens(pattern), &tokens(full_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positive(value: &Value) -> Result<(), String> {
        match value {
            Value::Integer(n) if *n <= 0 => Err(format!("{n} is not positive")),
            _ => Ok(()),
        }
    }

    fn parameters() -> Parameters {
        let declare = |name, default, read_only| Declaration {
            name,
            default,
            description: "",
            read_only,
            check: positive,
        };
        Parameters::declare(vec![
            declare("prompt", Value::Text("What?".into()), false),
            declare("max_tokens", Value::Integer(64), false),
            declare("max_age", Value::Double(1.0), true),
            declare("clip.frames", Value::Integer(1), true),
        ])
    }

    fn assign(yaml: &str, arguments: &[&str]) -> Result<(Parameters, Vec<String>), ParameterError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, yaml.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        let line = ["--ros-args", "--params-file", path]
            .into_iter()
            .chain(arguments.iter().copied())
            .map(|s| s.to_string());
        let (arguments, _) = RosArguments::split(line).unwrap();
        let mut parameters = parameters();
        let unknown = parameters.assign(&NodeName::new("/robot", "eye").unwrap(), &arguments)?;
        Ok((parameters, unknown))
    }

    #[test]
    fn the_more_particular_origin_wins() {
        let yaml = "/**:\n  ros__parameters:\n    max_tokens: 7\n    max_age: 2\n    clip: {frames: 8}\n    other: 1\n\
                    /robot/eye:\n  ros__parameters:\n    max_tokens: 8\n/ear:\n  ros__parameters:\n    max_tokens: 9\n";
        let (parameters, unknown) =
            assign(yaml, &["-p", "prompt:=Is it clear?", "-p", "ear:max_tokens:=3"]).unwrap();
        assert_eq!(parameters.integer("max_tokens"), 8);
        assert_eq!(parameters.double("max_age"), 2.0);
        assert_eq!(parameters.integer("clip.frames"), 8);
        assert_eq!(parameters.text("prompt"), "Is it clear?");
        assert_eq!(unknown, ["other"]);
    }

    #[test]
    fn what_does_not_fit_names_its_origin() {
        let nothing = "/**:\n  ros__parameters: {}\n";
        let problem = |arguments: &[&str]| assign(nothing, arguments).unwrap_err().to_string();
        assert!(problem(&["-p", "max_tokens:=many"]).contains("expected a integer, found \"many\""));
        assert!(problem(&["-p", "max_tokens:=0"]).contains("0 is not positive"));
        assert!(problem(&["-p", "max_tokens:=[1, 2]"]).contains("a list"));
        assert!(assign("max_tokens: 3\n", &[]).unwrap_err().to_string().contains("ros__parameters"));
        assert!(assign("{", &[]).is_err());
    }

    #[test]
    fn read_only_parameters_are_fixed() {
        let mut parameters = parameters();
        assert!(parameters.set("max_age", Value::Double(2.0)).unwrap_err().contains("read-only"));
        assert!(parameters.set("max_age", Value::Double(1.0)).is_ok(), "nothing changes");
        assert!(parameters.set("nothing", Value::Double(2.0)).unwrap_err().contains("not declared"));
        parameters.set("max_tokens", Value::Integer(3)).unwrap();
        assert_eq!(parameters.integer("max_tokens"), 3);
    }

    #[test]
    fn patterns_match_as_in_rcl() {
        let check = |pattern, expected| assert_eq!(matches(pattern, "/robot/eye"), expected, "{pattern}");
        for pattern in ["/**", "/robot/eye", "/*/eye", "/**/eye", "/robot/*", "/robot/**", "/*/*"] {
            check(pattern, true);
        }
        for pattern in ["/eye", "/*", "/robot", "/robot/eye/x", "/**/ear"] {
            check(pattern, false);
        }
    }
}
