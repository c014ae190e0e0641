//! Files below a root folder, read without faith: absent, unreadable, too long or senseless is nothing.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

/// No file that is read here is longer; of one that is, nobody wants more. (`/var/lib/dpkg/status` of a desktop is 3 MB.)
const FILE_BYTES_MAX: u64 = 16 << 20;
/// No folder of `sysfs` that is read here has more entries.
const ENTRIES_MAX: usize = 4096;

/// Where a board's files lie: `/`, or a folder with a recorded tree.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// This machine.
    pub fn machine() -> Root {
        Root::at("/")
    }

    /// A recorded tree.
    pub fn at(folder: impl Into<PathBuf>) -> Root {
        Root(folder.into())
    }

    /// A file's text, whatever of it is not UTF-8 replaced; none if it cannot be read.
    pub fn text(&self, path: &str) -> Option<String> {
        let path = self.0.join(path);
        // A pipe or a device would be waited for.
        if !fs::metadata(&path).ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file of one line, trimmed of spaces and of the zero that ends strings of a device tree; none if nothing is left.
    pub fn line(&self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        let line = text.lines().next()?.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!line.is_empty()).then(|| line.to_owned())
    }

    /// A file of one whole number.
    pub fn number(&self, path: &str) -> Option<i64> {
        self.line(path)?.parse().ok()
    }

    /// A file of one whole number that cannot be negative.
    pub fn count(&self, path: &str) -> Option<u64> {
        self.line(path)?.parse().ok()
    }

    /// The names in a folder, those with numbers at their ends in the order of the numbers; none if it cannot be read.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join(folder)) else { return Vec::new() };
        let name = |entry: Result<fs::DirEntry, _>| entry.ok()?.file_name().into_string().ok();
        let mut names: Vec<String> = entries.take(ENTRIES_MAX).filter_map(name).collect();
        names.sort_by_cached_key(|name| numbered(name));
        names
    }

    /// The folders of a class in `sysfs` whose names begin so, as paths below the root.
    pub fn folders(&self, class: &str, prefix: &str) -> Vec<String> {
        let names = self.names(class).into_iter().filter(|name| name.starts_with(prefix));
        names.map(|name| format!("{class}/{name}")).collect()
    }
}

/// A name without the digits at its end, and their number.
fn numbered(name: &str) -> (String, u64, String) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), name[stem.len()..].parse().unwrap_or(0), name.to_owned())
}

#[cfg(test)]
#[test]
fn names_stand_in_the_order_of_their_numbers() {
    let mut names = ["cpu10", "cpu9", "b", "cpu", "cpu99999999999999999999"].map(str::to_owned);
    names.sort_by_cached_key(|name| numbered(name));
    assert_eq!(names, ["b", "cpu", "cpu99999999999999999999", "cpu9", "cpu10"]);
}
