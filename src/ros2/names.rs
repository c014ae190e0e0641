//! Names of nodes and topics: expansion, remapping, validation.
//!
//! The rules are those of <https://design.ros2.org/articles/topic_and_service_names.html>. Why not the names of
//! `ros2-client`: it knows no `~`, no remap rules, and doubles the slash of relative names in the root namespace.

use std::fmt;

use crate::ros2::arguments::{Remap, Renames};

/// A name that ROS does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no ROS name: {problem}")]
pub struct NameError {
    /// The name as it was given.
    pub name: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// A node's name and where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName {
    /// Without its last slash, so that the root is empty.
    namespace: String,
    name: String,
}

impl NodeName {
    /// `name` in `namespace`, which may lack its first slash as on a command line.
    ///
    /// # Errors
    /// If a part is empty, starts with a digit or holds anything but letters, digits and underscores.
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        let absolute =
            if namespace.starts_with('/') { namespace.to_owned() } else { format!("/{namespace}") };
        let trimmed = absolute.trim_end_matches('/');
        if !trimmed.is_empty() {
            check_absolute(trimmed)?;
        }
        check_token(name, name)?;
        Ok(Self { namespace: trimmed.to_owned(), name: name.to_owned() })
    }

    /// The namespace, `/` at the root.
    pub fn namespace(&self) -> &str {
        if self.namespace.is_empty() { "/" } else { &self.namespace }
    }

    /// The name without its namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name that loggers bear: parts joined by dots.
    pub fn logger(&self) -> String {
        self.to_string().trim_start_matches('/').replace('/', ".")
    }

    /// What the rules make of this node: of its name first, and then, by the name that it has now, of its namespace.
    ///
    /// # Errors
    /// If what a rule says is no name.
    pub fn renamed(&self, remaps: &[Remap]) -> Result<Self, NameError> {
        let first = |node: &Self, renames| {
            let mut meant = remaps.iter().filter(|remap| remap.renames == renames && node.is_meant(remap));
            meant.next().map(|remap| remap.to.clone())
        };
        let mut renamed = self.clone();
        if let Some(name) = first(&renamed, Renames::Node) {
            renamed = Self::new(self.namespace(), &name)?;
        }
        match first(&renamed, Renames::Namespace) {
            Some(namespace) => Self::new(&namespace, renamed.name()),
            None => Ok(renamed),
        }
    }

    /// The absolute name of the topic that the node calls `topic`: expanded, remapped, checked.
    ///
    /// `~/x` is private to the node, `x` relative to its namespace, `/x` absolute; the first rule that fits counts.
    ///
    /// # Errors
    /// If the name, or what a rule turns it into, is not allowed.
    pub fn topic(&self, topic: &str, remaps: &[Remap]) -> Result<String, NameError> {
        self.resolve(topic, Renames::Topics, remaps)
    }

    /// The absolute name of a service, by the rules of [`NodeName::topic`].
    ///
    /// # Errors
    /// As [`NodeName::topic`].
    pub fn service(&self, service: &str, remaps: &[Remap]) -> Result<String, NameError> {
        self.resolve(service, Renames::Services, remaps)
    }

    fn resolve(&self, name: &str, of: Renames, remaps: &[Remap]) -> Result<String, NameError> {
        let expanded = self.expand(name)?;
        let is_meant = |remap: &&Remap| [Renames::Names, of].contains(&remap.renames) && self.is_meant(remap);
        for remap in remaps.iter().filter(is_meant) {
            if self.expand(&remap.from).is_ok_and(|from| from == expanded) {
                return self.expand(&remap.to);
            }
        }
        Ok(expanded)
    }

    fn is_meant(&self, remap: &Remap) -> bool {
        remap.node.as_deref().is_none_or(|node| node == self.name)
    }

    fn expand(&self, topic: &str) -> Result<String, NameError> {
        let full = topic
            .replace("{node}", &self.name)
            .replace("{ns}", self.namespace())
            .replace("{namespace}", self.namespace());
        let absolute = match full.strip_prefix('~') {
            Some(private) if private.is_empty() || private.starts_with('/') => format!("{self}{private}"),
            Some(_) => {
                return Err(NameError {
                    name: topic.into(),
                    problem: "`~` must stand alone or before a `/`",
                });
            }
            // `{ns}/x` in the root namespace.
            None if full.starts_with('/') => full.replacen("//", "/", usize::from(topic.starts_with('{'))),
            None => format!("{}/{full}", self.namespace),
        };
        check_absolute(&absolute)?;
        Ok(absolute)
    }
}

/// The full name, such as `/robot/eye`.
impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn check_absolute(name: &str) -> Result<(), NameError> {
    let parts =
        name.strip_prefix('/').ok_or(NameError { name: name.into(), problem: "it must start with `/`" })?;
    parts.split('/').try_for_each(|token| check_token(token, name))
}

/// Says whether `token` may be a part of `name`.
pub(super) fn check_token(token: &str, name: &str) -> Result<(), NameError> {
    let problem = if token.is_empty() {
        "it has an empty part"
    } else if token.starts_with(|c: char| c.is_ascii_digit()) {
        "a part starts with a digit"
    } else if !token.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        "only letters, digits, `_` and `/` are allowed"
    } else if 255 < name.len() {
        "it is longer than 255 bytes"
    } else {
        return Ok(());
    };
    Err(NameError { name: name.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remap(node: Option<&str>, from: &str, to: &str) -> Remap {
        rule(Renames::Names, node, from, to)
    }

    fn rule(renames: Renames, node: Option<&str>, from: &str, to: &str) -> Remap {
        Remap { node: node.map(str::to_owned), renames, from: from.into(), to: to.into() }
    }

    #[test]
    fn names_expand_in_root_and_namespace() {
        let check = |namespace, topic, expected: &str| {
            let node = NodeName::new(namespace, "eye").unwrap();
            assert_eq!(node.topic(topic, &[]).unwrap(), expected);
        };
        check("/", "image", "/image");
        check("/", "~/answer", "/eye/answer");
        check("/", "/diagnostics", "/diagnostics");
        check("/robot1", "image", "/robot1/image");
        check("robot1/", "~/answer", "/robot1/eye/answer");
        check("/a/b", "{ns}/x/{node}", "/a/b/x/eye");
        check("/", "{ns}/x", "/x");
        check("/", "~", "/eye");
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let node = NodeName::new("/robot1", "eye").unwrap();
        let rules = [
            remap(Some("ear"), "image", "/wrong"),
            remap(None, "image", "/cam/image_raw"),
            remap(Some("eye"), "/robot1/image", "/too/late"),
            remap(None, "~/answer", "said"),
        ];
        assert_eq!(node.topic("image", &rules).unwrap(), "/cam/image_raw");
        assert_eq!(node.topic("~/answer", &rules).unwrap(), "/robot1/said");
        assert_eq!(node.topic("~/answer/json", &rules).unwrap(), "/robot1/eye/answer/json");
    }

    #[test]
    fn a_node_is_renamed_by_its_first_rule_and_its_namespace_by_the_new_name() {
        let check = |rules: &[Remap], expected: &str| {
            let node = NodeName::new("/", "perihelion").unwrap();
            assert_eq!(node.renamed(rules).unwrap().to_string(), expected, "{rules:?}");
        };
        let name = |node, to| rule(Renames::Node, node, "__node", to);
        let namespace = |node, to| rule(Renames::Namespace, node, "__ns", to);
        check(&[], "/perihelion");
        check(&[name(None, "a"), name(None, "b")], "/a");
        check(&[name(Some("ear"), "a"), name(Some("perihelion"), "eye")], "/eye");
        check(&[namespace(None, "/r"), namespace(None, "/s")], "/r/perihelion");
        check(&[namespace(Some("ear"), "/r"), namespace(None, "/s")], "/s/perihelion");
        check(&[namespace(Some("eye"), "/robot"), name(None, "eye")], "/robot/eye");
        check(&[namespace(Some("perihelion"), "/robot"), name(None, "eye")], "/eye");
    }

    #[test]
    fn rules_for_topics_leave_services_alone() {
        let node = NodeName::new("/", "eye").unwrap();
        let resolved = |renames| {
            let rules = [rule(renames, None, "~/x", "/there")];
            [node.topic("~/x", &rules).unwrap(), node.service("~/x", &rules).unwrap()]
        };
        assert_eq!(resolved(Renames::Names), ["/there", "/there"]);
        assert_eq!(resolved(Renames::Topics), ["/there", "/eye/x"]);
        assert_eq!(resolved(Renames::Services), ["/eye/x", "/there"]);
        assert_eq!(resolved(Renames::Node), ["/eye/x", "/eye/x"]);
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        let node = NodeName::new("/", "eye").unwrap();
        for bad in ["", "a//b", "/a//b/", "1a", "a b", "a/", "~a", "bild\u{e4}", "/"] {
            assert!(node.topic(bad, &[]).is_err(), "{bad:?}");
        }
        assert!(NodeName::new("/", "").is_err());
        assert!(NodeName::new("/", "a/b").is_err());
        assert!(NodeName::new("/a b", "eye").is_err());
    }

    #[test]
    fn loggers_join_by_dots() {
        assert_eq!(NodeName::new("/robot", "eye").unwrap().logger(), "robot.eye");
        assert_eq!(NodeName::new("/", "eye").unwrap().logger(), "eye");
    }
}
