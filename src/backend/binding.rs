//! What an engine is bound to: the machine and the versions for which it was built, field by field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Named fields, as a backend says them of itself and an engine's manifest keeps them: a version of a layout, an instruction
/// architecture; a GPU, a driver, a library. Where an engine is for several, its value names them, parted by `|`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Binding(BTreeMap<String, String>);

/// A field in which two bindings differ. `none` stands where one of them lacks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub field: String,
    /// In the one.
    pub expected: String,
    /// In the other.
    pub found: String,
}

impl Binding {
    /// With one more field.
    pub fn with(mut self, field: &str, value: impl ToString) -> Self {
        self.0.insert(field.to_owned(), value.to_string());
        self
    }

    /// The value of a field.
    pub fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// All fields with their values, by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(field, value)| (field.as_str(), value.as_str()))
    }

    /// The first field, by name, in which `found` is not as this, nor names it among others.
    pub fn difference(&self, found: &Binding) -> Option<Difference> {
        let mut names: Vec<&String> = self.0.keys().chain(found.0.keys()).collect();
        names.sort();
        let differs = |name: &&String| match (self.get(name), found.get(name)) {
            (Some(this), Some(found)) => this != found && !found.split('|').any(|one| one == this),
            (this, found) => this != found,
        };
        let differing = names.into_iter().find(differs)?;
        let value = |binding: &Binding| binding.get(differing).unwrap_or("none").to_owned();
        Some(Difference { field: differing.clone(), expected: value(self), found: value(found) })
    }
}

#[cfg(test)]
#[test]
fn a_difference_names_its_field_and_both_values() {
    let here = Binding::default().with("layout", 1).with("architecture", "x86_64");
    let differs = |found: Binding| here.difference(&found).map(|d| (d.field, d.expected, d.found));
    let field = |field: &str, expected: &str, found: &str| {
        Some((field.to_owned(), expected.to_owned(), found.to_owned()))
    };
    assert_eq!(differs(here.clone()), None);
    assert_eq!(differs(here.clone().with("architecture", "aarch64|x86_64")), None);
    assert_eq!(
        differs(here.clone().with("architecture", "aarch64|x86")),
        field("architecture", "x86_64", "aarch64|x86")
    );
    assert_eq!(differs(here.clone().with("layout", 2)), field("layout", "1", "2"));
    assert_eq!(differs(here.clone().with("driver", "580")), field("driver", "none", "580"));
    assert_eq!(differs(Binding::default().with("layout", 1)), field("architecture", "x86_64", "none"));
}
