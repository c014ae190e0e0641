//! What files and arguments say of parameters, node by node, in the order in which `rcl` weighs it.
//!
//! Each name of a node, wildcards and all, has an entry, which stands where the name was met first, in a file or before a `-p`
//! (without a name that is `/**`). Within an entry the later value counts, and the later entry counts among those that mean a
//! node. So `-p a:=1 --params-file F -p a:=2` is 2 unless F speaks of this node by name.

use std::fs::File;
use std::io::Read;

use super::yaml::{self, Scalar, Tree};
use super::{ParameterError, Value};
use crate::ros2::arguments::{Assignment, Setting};
use crate::ros2::names::NodeName;

/// No robot's parameters fill it; what is larger is another file.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// A value that something gave to a parameter.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) tree: Tree,
    /// The argument as it was written, if it was one.
    pub(super) argument: Option<String>,
    /// The file or the command line.
    pub(super) origin: String,
}

/// What is said of every node.
#[derive(Debug, Default)]
struct Entries(Vec<(String, Vec<Given>)>);

/// What the settings say of `node`: one value for each parameter, in the order in which they were met.
///
/// # Errors
/// If a file cannot be read or is none of parameters.
pub(super) fn given(settings: &[Setting], node: &NodeName) -> Result<Vec<Given>, ParameterError> {
    let mut entries = Entries::default();
    for setting in settings {
        match setting {
            Setting::File(path) => read_file(path, &mut entries)?,
            Setting::Assignment(assignment) => entries.assign(assignment),
        }
    }
    let mut all = Vec::new();
    let full_name = node.to_string();
    for (pattern, values) in entries.0 {
        if matches(&pattern, &full_name) {
            values.into_iter().for_each(|given| put(&mut all, given));
        }
    }
    Ok(all)
}

impl Entries {
    fn of(&mut self, pattern: &str) -> &mut Vec<Given> {
        let place = self.0.iter().position(|(known, _)| known == pattern).unwrap_or_else(|| {
            self.0.push((pattern.to_owned(), Vec::new()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }

    fn assign(&mut self, assignment: &Assignment) {
        let Assignment { node, name, yaml } = assignment;
        let read = yaml::read(yaml).ok().and_then(|mut trees| (trees.len() == 1).then(|| trees.remove(0)));
        // What is no YAML, such as `what's there: a or b?`, is a text as it stands.
        let text = || Tree::Scalar(Scalar { text: yaml.clone(), is_plain: false });
        let given = Given {
            name: name.clone(),
            tree: read.unwrap_or_else(text),
            argument: Some(yaml.clone()),
            origin: "the command line".to_owned(),
        };
        put(self.of(node.as_deref().unwrap_or("/**")), given);
    }
}

/// Adds a value, in place of the one that its parameter has.
fn put(values: &mut Vec<Given>, given: Given) {
    match values.iter_mut().find(|known| known.name == given.name) {
        Some(known) => *known = given,
        None => values.push(given),
    }
}

fn read_file(path: &str, entries: &mut Entries) -> Result<(), ParameterError> {
    let malformed = |problem: String| ParameterError::Malformed { path: path.to_owned(), problem };
    let text = read_text(path).map_err(|problem| match problem {
        Unread::Io(source) => ParameterError::Unreadable { path: path.to_owned(), source },
        Unread::Other(problem) => malformed(problem),
    })?;
    for tree in yaml::read(&text).map_err(malformed)? {
        let Tree::Map(map) = tree else { return Err(malformed(EXPECTED.to_owned())) };
        collect_nodes(map, "", path, entries).map_err(malformed)?;
    }
    Ok(())
}

enum Unread {
    Io(std::io::Error),
    Other(String),
}

fn read_text(path: &str) -> Result<String, Unread> {
    let kind = std::fs::metadata(path).map_err(Unread::Io)?;
    if !kind.is_file() {
        // Before it is opened: a pipe that nobody writes to would be waited for.
        let what = if kind.is_dir() { "it is a directory" } else { "it is no regular file" };
        return Err(Unread::Other(format!("{what}; give a YAML file")));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Unread::Io)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Unread::Io)?;
    if FILE_BYTES_MAX < bytes.len() as u64 {
        return Err(Unread::Other(format!(
            "it has over {FILE_BYTES_MAX} bytes, which no parameter file needs"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Unread::Other(format!("byte {place} is not UTF-8; save the file as UTF-8"))
    })
}

const EXPECTED: &str =
    "expected a node's name, such as `/**:`, below it `ros__parameters:`, below that the values";

fn collect_nodes(
    map: Vec<(Tree, Tree)>,
    above: &str,
    path: &str,
    entries: &mut Entries,
) -> Result<(), String> {
    for (key, value) in map {
        let key = key_text(key)?;
        match value {
            Tree::Map(values) if key == "ros__parameters" && !above.is_empty() => {
                flatten(values, "", path, entries.of(above))?;
            }
            Tree::Map(nodes) if key != "ros__parameters" => {
                let pattern = match above {
                    "" => key,
                    above => format!("{}/{}", above.trim_end_matches('/'), key.trim_start_matches('/')),
                };
                collect_nodes(nodes, &pattern, path, entries)?;
            }
            _ => return Err(format!("found `{key}` where it does not belong; {EXPECTED}")),
        }
    }
    Ok(())
}

fn flatten(map: Vec<(Tree, Tree)>, prefix: &str, path: &str, values: &mut Vec<Given>) -> Result<(), String> {
    for (key, value) in map {
        let key = key_text(key)?;
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Tree::Map(map) => flatten(map, &name, path, values)?,
            tree => put(values, Given { name, tree, argument: None, origin: path.to_owned() }),
        }
    }
    Ok(())
}

fn key_text(key: Tree) -> Result<String, String> {
    match key {
        Tree::Scalar(scalar) => Ok(scalar.text),
        _ => Err("a key is a list or a map; expected a name".to_owned()),
    }
}

impl Given {
    /// Whether it says nothing: to `rcl` a list without items has no type, and sets no parameter. Where a list is declared it is
    /// that one.
    pub(super) fn is_nothing(&self, default: &Value) -> bool {
        matches!(&self.tree, Tree::List(items) if items.is_empty()) && !matches!(default, Value::Texts(_))
    }

    /// The value for a parameter of the type of `default`: whatever `rcl` takes it for if that is the type, whole numbers for
    /// doubles, and what was written where a text is declared.
    ///
    /// # Errors
    /// What was expected and found.
    pub(super) fn value(&self, default: &Value) -> Result<Value, String> {
        let several = || format!("expected a {}, found a list or a map", default.type_name());
        match (default, &self.tree) {
            (Value::Text(_), Tree::Scalar(scalar)) => Ok(Value::Text(scalar.text.clone())),
            (Value::Text(_), _) => self.argument.clone().map(Value::Text).ok_or_else(several),
            (Value::Texts(_), Tree::List(items)) => items
                .iter()
                .map(|item| match item {
                    Tree::Scalar(scalar) => Ok(scalar.text.clone()),
                    _ => Err("expected a list of strings, found a list in it".to_owned()),
                })
                .collect::<Result<_, _>>()
                .map(Value::Texts),
            (_, Tree::Scalar(scalar)) => Ok(scalar.value()),
            _ => Err(several()),
        }
    }
}

/// Whether `/**`, `/*/eye` or `/robot/eye` means the node of this full name; a first slash may be missing.
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
    let mut pattern = tokens(pattern);
    // One after the other they mean the same, and would be tried in every way.
    pattern.dedup_by(|later, earlier| *later == "**" && *earlier == "**");
    tokens_match(&pattern, &tokens(full_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_rcl() {
        let check = |pattern, expected| assert_eq!(matches(pattern, "/robot/eye"), expected, "{pattern}");
        for pattern in
            ["/**", "/robot/eye", "/*/eye", "/**/eye", "/robot/*", "/robot/**", "/*/*", "robot/eye", "**"]
        {
            check(pattern, true);
        }
        for pattern in ["/eye", "/*", "/robot", "/robot/eye/x", "/**/ear", "eye", "/robot/e*"] {
            check(pattern, false);
        }
    }
}
