//! The node's parameters: declared with a type, a default and a rule; set by files, by arguments and by services.
//!
//! Files are the YAML of `rcl_yaml_param_parser`: node names with `*` and `**`, then `ros__parameters`, then values
//! whose nesting stands for dots. Files and `-p` share one order (`parameters/files.rs`).

mod files;
mod yaml;

use std::borrow::Cow;
use std::fmt;

use crate::ros2::arguments::RosArguments;
use crate::ros2::names::NodeName;

/// A parameter's value.
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
    /// Several texts.
    Texts(Vec<String>),
}

/// A parameter as the node declares it.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its value unless something sets it; it gives the type.
    pub default: Value,
    /// What it does, in one sentence.
    pub description: &'static str,
    /// Whether it is fixed once the node runs.
    pub read_only: bool,
    /// The least and the greatest that a number may be.
    pub range: Option<(f64, f64)>,
    /// Says what is wrong with a value of the right type.
    pub check: fn(&Value) -> Result<(), String>,
}

impl Declaration {
    /// One that is fixed once the node runs, and may be any value of the default's type.
    pub fn new(name: &'static str, default: Value, description: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            default,
            description,
            read_only: true,
            range: None,
            check: |_| Ok(()),
        }
    }

    /// Whether a value of the right type may be set.
    ///
    /// # Errors
    /// A sentence, if it lies outside of the range, or breaks the rule.
    pub fn takes(&self, value: &Value) -> Result<(), String> {
        let number = match value {
            Value::Integer(whole) => Some(*whole as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        };
        if let (Some((least, greatest)), Some(number)) = (self.range, number)
            && !(least..=greatest).contains(&number)
        {
            return Err(format!("expected a number from {least} to {greatest}, found {value}"));
        }
        (self.check)(value)
    }
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
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    declaration: Declaration,
    value: Value,
    /// Whether somebody said so, be it the default.
    is_set: bool,
}

impl Entry {
    fn new(declaration: Declaration) -> Self {
        Self { value: declaration.default.clone(), declaration, is_set: false }
    }
}

impl Parameters {
    /// All of `declarations` at their defaults.
    pub fn declare(declarations: Vec<Declaration>) -> Self {
        Self { entries: declarations.into_iter().map(Entry::new).collect() }
    }

    /// Sets what files and arguments say of this node. Returns the names that are not declared, for a warning: a file
    /// that many nodes share may hold others' names. `late` declares names that are there because they were given.
    ///
    /// # Errors
    /// If a file cannot be read, or a value has the wrong type or breaks its rule.
    pub fn assign(
        &mut self,
        node: &NodeName,
        arguments: &RosArguments,
        late: impl Fn(&str) -> Option<Declaration>,
    ) -> Result<Vec<String>, ParameterError> {
        let mut unknown = Vec::new();
        for given in files::given(&arguments.settings, node)? {
            if self.get(&given.name).is_none() {
                self.entries.extend(late(&given.name).map(Entry::new));
            }
            let declared = self.entries.iter_mut().find(|entry| entry.declaration.name == given.name);
            let Some(Entry { declaration, value, is_set }) = declared else {
                unknown.push(given.name);
                continue;
            };
            if given.is_nothing(&declaration.default) {
                continue;
            }
            let new = given.value(&declaration.default).and_then(|new| fit(declaration, new));
            *value = new.map_err(|problem| ParameterError::BadValue {
                name: given.name,
                origin: given.origin,
                problem,
            })?;
            *is_set = true;
        }
        Ok(unknown)
    }

    /// Sets one value while the node runs.
    ///
    /// # Errors
    /// A sentence, if the parameter is not declared, read-only, of another type, or if its rule forbids the value.
    pub fn set(&mut self, name: &str, new: Value) -> Result<(), String> {
        let Entry { declaration, value, is_set } = self
            .entries
            .iter_mut()
            .find(|entry| entry.declaration.name == name)
            .ok_or_else(|| format!("parameter '{name}' cannot be set because it was not declared"))?;
        let new = fit(declaration, new).map_err(|problem| format!("parameter '{name}': {problem}"))?;
        if declaration.read_only && new != *value {
            return Err(format!(
                "parameter '{name}' cannot be set because it is read-only: set it when the node starts"
            ));
        }
        (*value, *is_set) = (new, true);
        Ok(())
    }

    /// Declares what is not declared yet. What is keeps its value if it was set, and else has the one that is declared now.
    pub fn add(&mut self, others: Self) {
        for other in others.entries {
            match self.entries.iter_mut().find(|known| known.declaration.name == other.declaration.name) {
                None => self.entries.push(other),
                Some(known) if other.declaration.read_only || !known.is_set => *known = other,
                Some(_) => {}
            }
        }
    }

    /// The declarations with their values, in the order of declaration.
    pub fn iter(&self) -> impl Iterator<Item = (&Declaration, &Value)> {
        self.entries.iter().map(|entry| (&entry.declaration, &entry.value))
    }

    /// Those that may be set while the node runs, and were.
    pub fn set_ones(&self) -> impl Iterator<Item = (&str, &Value)> {
        let were_set = self.entries.iter().filter(|entry| entry.is_set && !entry.declaration.read_only);
        were_set.map(|entry| (entry.declaration.name.as_ref(), &entry.value))
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

    /// # Panics
    /// If `name` is not declared as several texts.
    pub fn texts(&self, name: &str) -> &[String] {
        match self.get(name) {
            Some(Value::Texts(value)) => value,
            other => panic!("`{name}` is no declared list of texts but {other:?}"),
        }
    }
}

impl Value {
    /// The name of its type in ROS.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "bool",
            Value::Integer(_) => "integer",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::Texts(_) => "string_array",
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
            Value::Texts(values) => write!(f, "{values:?}"),
        }
    }
}

/// `new` in the declared type, if it fits and its rule allows it.
fn fit(declaration: &Declaration, new: Value) -> Result<Value, String> {
    let fitted = match (&declaration.default, new) {
        (Value::Double(_), Value::Integer(whole)) => Value::Double(whole as f64),
        (_, new) => new,
    };
    if std::mem::discriminant(&fitted) != std::mem::discriminant(&declaration.default) {
        return Err(format!("expected a {}, found {fitted}", declaration.default.type_name()));
    }
    declaration.takes(&fitted)?;
    Ok(fitted)
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
            read_only,
            check: positive,
            ..Declaration::new(name, default, "")
        };
        Parameters::declare(vec![
            declare("prompt", Value::Text("What?".into()), false),
            declare("max_tokens", Value::Integer(64), false),
            declare("max_age", Value::Double(1.0), true),
            declare("clip.frames", Value::Integer(1), true),
            declare("strict", Value::Bool(false), true),
            declare("choices", Value::Texts(Vec::new()), true),
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
        let unknown = parameters.assign(&NodeName::new("/robot", "eye").unwrap(), &arguments, |_| None)?;
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
        let problem = |arguments: &[&str]| refused(nothing, arguments);
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

    fn refused(yaml: &str, arguments: &[&str]) -> String {
        assign(yaml, arguments).map(|_| ()).unwrap_err().to_string()
    }

    const NOTHING: &str = "/**:\n  ros__parameters: {}\n";

    #[test]
    fn files_and_arguments_share_one_order_as_in_rcl() {
        let files: Vec<_> = [
            "/**:\n  ros__parameters:\n    max_tokens: 11\n",
            "/robot/eye:\n  ros__parameters:\n    max_tokens: 12\n",
        ]
        .map(|yaml| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            std::io::Write::write_all(&mut file, yaml.as_bytes()).unwrap();
            file
        })
        .into();
        let check = |line: &str, expected: i64| {
            let place = |i: usize| files[i].path().to_str().unwrap();
            let line = line.replace("ALL", place(0)).replace("EYE", place(1));
            let words = line.split_whitespace().map(str::to_owned);
            let (arguments, _) =
                RosArguments::split(std::iter::once("--ros-args".to_owned()).chain(words)).unwrap();
            let mut parameters = parameters();
            parameters.assign(&NodeName::new("/robot", "eye").unwrap(), &arguments, |_| None).unwrap();
            assert_eq!(parameters.integer("max_tokens"), expected, "{line}");
        };
        check("-p max_tokens:=1 -p max_tokens:=2", 2);
        check("-p max_tokens:=1 --params-file ALL", 11);
        check("--params-file ALL -p max_tokens:=1", 1);
        check("-p max_tokens:=1 --params-file EYE", 12);
        check("--params-file EYE -p max_tokens:=1", 1);
        check("--params-file EYE --params-file ALL", 11);
        check("-p max_tokens:=1 --params-file EYE -p max_tokens:=2", 12);
        // A node's prefix is its name in the root namespace.
        check("-p eye:max_tokens:=3 -p ear:max_tokens:=4", 64);
    }

    #[test]
    fn sections_of_one_node_are_one_and_other_nodes_are_left_alone() {
        let yaml = "/robot/eye:\n  ros__parameters:\n    max_tokens: 7\n    max_tokens: 8\n\
                    robot:\n  eye:\n    ros__parameters:\n      max_age: 3\n\
                    /ear:\n  ros__parameters:\n    max_tokens: [1, x]\n\
                    /robot/eye:\n  ros__parameters:\n    prompt: again\n";
        let (parameters, unknown) = assign(yaml, &[]).unwrap();
        assert_eq!((parameters.integer("max_tokens"), parameters.double("max_age")), (8, 3.0));
        assert_eq!((parameters.text("prompt"), unknown.len()), ("again", 0));
        let (parameters, _) =
            assign(&format!("---\n{yaml}---\n/**/eye: {{ros__parameters: {{max_tokens: 9}}}}\n"), &[])
                .unwrap();
        assert_eq!(parameters.integer("max_tokens"), 9, "the later document");
    }

    #[test]
    fn bools_are_those_of_yaml_1_1_and_texts_are_as_they_were_written() {
        let strict = |value: &str| assign(NOTHING, &["-p", &format!("strict:={value}")]);
        for yes in ["yes", "Yes", "on", "ON", "y", "True", "TRUE", "true"] {
            assert!(strict(yes).unwrap().0.bool("strict"), "{yes}");
        }
        for no in ["no", "off", "N", "False"] {
            assert!(!strict(no).unwrap().0.bool("strict"), "{no}");
        }
        for other in ["1", "'yes'", "\"true\"", "tRue", "maybe", "[yes]"] {
            let problem = strict(other).map(|_| ()).unwrap_err().to_string();
            assert!(problem.contains("expected a bool, found"), "{other}: {problem}");
        }
        let texts = [
            ("123", "123"),
            ("1e3", "1e3"),
            ("yes", "yes"),
            ("007", "007"),
            ("~", "~"),
            ("null", "null"),
            ("", ""),
            ("'quoted'", "quoted"),
            ("a: b", "a: b"),
            ("[1, 2]", "[1, 2]"),
            ("{", "{"),
            ("@home", "@home"),
            ("it's", "it's"),
            ("a:=b", "a:=b"),
            ("Is it clear?", "Is it clear?"),
        ];
        for (written, expected) in texts {
            let (parameters, _) = assign(NOTHING, &["-p", &format!("prompt:={written}")]).unwrap();
            assert_eq!(parameters.text("prompt"), expected, "{written}");
        }
        let file = |value: &str| assign(&format!("/**:\n  ros__parameters:\n    prompt: {value}\n"), &[]);
        for (written, expected) in [
            ("1e3", "1e3"),
            ("yes", "yes"),
            ("|\n      two\n      lines", "two\nlines\n"),
            ("two\n      lines", "two lines"),
        ] {
            assert_eq!(file(written).unwrap().0.text("prompt"), expected, "{written}");
        }
        assert!(file("[a]").is_err());
        let (parameters, _) = assign(NOTHING, &["-p", "choices:=[yes, 'no', 3]"]).unwrap();
        assert_eq!(parameters.texts("choices"), ["yes", "no", "3"]);
        let (parameters, _) = assign(NOTHING, &["-p", "max_tokens:=[]", "-p", "prompt:=[]"]).unwrap();
        assert_eq!((parameters.integer("max_tokens"), parameters.text("prompt")), (64, "What?"));
        for bad in ["choices:=yes", "choices:=[[a]]", "choices:={a: b}"] {
            assert!(refused(NOTHING, &["-p", bad]).contains("string"), "{bad}");
        }
    }

    #[test]
    fn files_that_are_none_say_what_they_lack() {
        for (yaml, expected) in [
            ("ros__parameters:\n  a: 1\n", "`ros__parameters` where it does not belong"),
            ("/eye:\n  a: 1\n", "`a` where it does not belong"),
            ("/eye:\n  ros__parameters:\n", "expected a node's name"),
            ("[1]\n", "expected a node's name"),
            ("words\n", "expected a node's name"),
            ("/eye:\n\tros__parameters:\n", "line 2"),
            ("/eye: {ros__parameters: {a: &x 1, b: *x}}\n", "aliases"),
            ("? [a]\n: {ros__parameters: {}}\n", "a key is a list"),
        ] {
            let problem = refused(yaml, &[]);
            assert!(problem.contains(expected), "{yaml:?}: {problem}");
        }
        for nothing in ["", "# nothing\n", "{}\n", "/eye: {}\n"] {
            assert!(assign(nothing, &[]).is_ok(), "{nothing:?}");
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_refused_before_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("latin"), b"/**: {ros__parameters: {prompt: \xe4}}\n").unwrap();
        std::fs::File::create(path("huge")).unwrap().set_len(1 << 30).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        for (name, expected) in [
            ("latin", "byte 32 is not UTF-8"),
            ("huge", "over 262144 bytes"),
            ("pipe", "no regular file"),
            (".", "is a directory"),
            ("missing", "No such file"),
        ] {
            let problem = refused(NOTHING, &["--params-file", &path(name)]);
            assert!(problem.contains(expected) && problem.contains(&path(name)), "{name}: {problem}");
        }
    }
}
