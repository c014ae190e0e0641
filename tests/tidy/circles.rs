//! Which files name each other in a circle.
//!
//! An import is followed to the file that defines the name, through the re-exports of the folders between. A part may use
//! what its own folder's file defines: a parent hands names to its parts. Everything else must have a direction.
//!
//! Read as text: `use` trees and written-out paths. What a macro makes is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Where a file stands: `src/graph/op.rs` is `[graph, op]`, `src/graph/mod.rs` is `[graph]`.
type Place = Vec<String>;

/// Files by place, with the paths that each names (`pub use` among them).
struct Tree {
    names: BTreeMap<Place, String>,
    paths: BTreeMap<Place, Vec<String>>,
    texts: BTreeMap<Place, String>,
}

/// Each circle as a line of the files in it. `files` are names from the package's root and their texts.
pub(crate) fn circles(files: &[(String, String)]) -> Vec<String> {
    let mut tree = Tree { names: BTreeMap::new(), paths: BTreeMap::new(), texts: BTreeMap::new() };
    for (name, text) in files.iter().filter(|(name, _)| !name.contains("/tests")) {
        let code = without_comments(text.split("#[cfg(test)]").next().expect("split yields one"));
        let place = place_of(name);
        tree.paths.insert(place.clone(), paths_in(&code));
        tree.names.insert(place.clone(), name.clone());
        tree.texts.insert(place, code);
    }
    let edges: BTreeMap<&Place, BTreeSet<Place>> =
        tree.names.keys().map(|place| (place, tree.uses(place))).collect();
    let reached: BTreeMap<&Place, BTreeSet<Place>> =
        edges.keys().map(|place| (*place, reachable(place, &edges))).collect();
    let mut found = BTreeSet::new();
    for (place, beyond) in reached.iter().filter(|(place, beyond)| beyond.contains(**place)) {
        let circle: BTreeSet<&str> = beyond
            .iter()
            .filter(|other| reached[other].contains(*place))
            .map(|other| tree.names[other].as_str())
            .collect();
        found.insert(circle.into_iter().collect::<Vec<_>>().join(", "));
    }
    found.into_iter().map(|files| format!("a circle of imports: {files}")).collect()
}

impl Tree {
    /// The files that one uses, itself and its parents left out.
    fn uses(&self, place: &Place) -> BTreeSet<Place> {
        let absolute = self.paths[place].iter().filter_map(|path| self.absolute(place, path));
        let files = absolute.filter_map(|path| self.resolve(&path, 0));
        files.filter(|file| !file.is_empty() && !place.starts_with(file)).collect()
    }

    /// A path from the crate's root.
    fn absolute(&self, place: &Place, path: &str) -> Option<Place> {
        let mut words: &[&str] = &path.split("::").collect::<Vec<_>>();
        let mut base = place.clone();
        match words[0] {
            "crate" => return Some(owned(&words[1..])),
            "self" => words = &words[1..],
            "super" => {
                while words.first() == Some(&"super") {
                    base.pop();
                    words = &words[1..];
                }
            }
            part => {
                let own = [place.as_slice(), &[part.to_owned()]].concat();
                self.names.contains_key(&own).then_some(())?;
            }
        }
        base.extend(owned(words));
        Some(base)
    }

    /// The file that defines what a path from the crate's root names.
    fn resolve(&self, path: &[String], depth: usize) -> Option<Place> {
        let n = (0..=path.len()).rev().find(|n| self.names.contains_key(&path[..*n]))?;
        let file = path[..n].to_vec();
        let Some(name) = path.get(n).filter(|_| depth < 6) else { return Some(file) };
        for named in &self.paths[&file] {
            let last = named.rsplit("::").next().expect("split yields one");
            if last != "*" && last != name {
                continue;
            }
            let Some(mut target) = self.absolute(&file, named).filter(|t| t.starts_with(&file)) else {
                continue;
            };
            if last == "*" {
                *target.last_mut().expect("it ends in a star") = name.clone();
            }
            if target == path[..=n] {
                continue;
            }
            target.extend_from_slice(&path[n + 1..]);
            match self.resolve(&target, depth + 1) {
                Some(end) if end != file && (last != "*" || self.texts[&end].contains(name.as_str())) => {
                    return Some(end);
                }
                _ => {}
            }
        }
        Some(file)
    }
}

fn reachable(from: &Place, edges: &BTreeMap<&Place, BTreeSet<Place>>) -> BTreeSet<Place> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&Place> = edges[from].iter().collect();
    while let Some(place) = open.pop() {
        if seen.insert(place.clone()) {
            open.extend(&edges[place]);
        }
    }
    seen
}

fn owned(words: &[&str]) -> Place {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn place_of(name: &str) -> Place {
    let path = Path::new(name).strip_prefix("src").expect("files lie under src").with_extension("");
    let mut place: Place = path.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    place.pop_if(|last| last == "mod" || last == "lib");
    place
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The paths that a text names: its `use` trees written out, and paths that begin with `crate`, `self` or `super`.
fn paths_in(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = String::new();
    let mut parts = code.split(';').peekable();
    while let Some(part) = parts.next() {
        let (before, tree) = match use_in(part) {
            Some((before, tree)) if parts.peek().is_some() => (before, Some(tree)),
            _ => (part, None),
        };
        rest.push_str(before);
        rest.push(';');
        if let Some(tree) = tree {
            written_out(tree, "", &mut paths);
        }
    }
    for (at, _) in rest.match_indices("::") {
        let start = rest[..at].rfind(|c: char| !is_of_path(c)).map_or(0, |i| i + 1);
        let end = rest[at..].find(|c: char| !is_of_path(c)).map_or(rest.len(), |i| at + i);
        let path = rest[start..end].trim_matches(':');
        let first = path.split("::").next().unwrap_or("");
        if ["crate", "self", "super"].contains(&first) && path.contains("::") {
            paths.push(path.to_owned());
        }
    }
    paths
}

fn is_of_path(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == ':'
}

/// What stands before a `use` at the start of a line, and its tree.
fn use_in(part: &str) -> Option<(&str, &str)> {
    let starts = part.match_indices("use ").find(|(at, _)| {
        let line = part[..*at].rsplit('\n').next().unwrap_or("").trim();
        line.is_empty() || line.starts_with("pub")
    });
    starts.map(|(at, _)| (&part[..at], &part[at + 4..]))
}

fn written_out(tree: &str, before: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or("").trim();
        if !path.is_empty() {
            paths.push(format!("{before}{path}"));
        }
        return;
    };
    let before = format!("{before}{}", head.trim());
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0usize, 0);
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                written_out(&group[start..i], &before, paths);
                start = i + 1;
            }
            _ => {}
        }
    }
    written_out(&group[start..], &before, paths);
}

#[test]
fn circles_are_found_through_re_exports_and_parents_are_none() {
    let files = |texts: &[(&str, &str)]| -> Vec<(String, String)> {
        texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    let through_a_folder = files(&[
        ("src/a/mod.rs", "mod x;\nmod y;\npub use x::X;\npub use y::{Y, Z as W};\n"),
        ("src/a/x.rs", "use super::Y;\npub struct X;"),
        ("src/a/y.rs", "use crate::a::{X};\npub struct Y; // crate::b::B"),
        ("src/b.rs", "fn f() -> crate::a::X {}"),
    ]);
    assert_eq!(circles(&through_a_folder), ["a circle of imports: src/a/x.rs, src/a/y.rs"]);
    let from_a_parent = files(&[
        ("src/a/mod.rs", "mod x;\nuse x::X;\npub struct A;"),
        ("src/a/x.rs", "use super::A;\npub struct X;\n#[cfg(test)]\nuse crate::b::B;"),
        ("src/b.rs", "use crate::a::A;"),
    ]);
    assert_eq!(circles(&from_a_parent), Vec::<String>::new());
}
