//! JSON files of a checkpoint, read with a bound on their size, and their values with the key's whole name in every error.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::CheckpointError;

/// No extent, count or id of a network is larger: products of two of them fit 64 bits.
const COUNT_MAX: u64 = 1 << 31;

/// Reads the whole of a file that has at most `bytes_max` bytes; `None` if there is no such file.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
    let io = |e| CheckpointError::io(path, e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    let bytes = file.metadata().map_err(io)?.len();
    if bytes_max < bytes {
        return Err(CheckpointError::TooLarge { path: path.to_owned(), bytes, bytes_max });
    }
    let mut text = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    // The file may be longer than it says (a pipe, a file being written): never more than the bound is read.
    file.take(bytes_max).read_to_end(&mut text).map_err(io)?;
    Ok(Some(text))
}

/// An object of a config, with the names needed to say which of its values is wrong.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    path: &'a Path,
    prefix: String,
    map: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    /// The whole of the config that lies at `path`.
    ///
    /// # Errors
    /// If it is no object.
    pub fn root(path: &'a Path, value: &'a Value) -> Result<Self, CheckpointError> {
        let map = value.as_object().ok_or_else(|| CheckpointError::Json {
            path: path.to_owned(),
            message: format!("expected an object, found {}", brief(value)),
        })?;
        Ok(Self { path, prefix: String::new(), map })
    }

    /// The file this section lies in.
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// The value at `key`; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// The object at `key`, if there is one.
    ///
    /// # Errors
    /// If there is something else.
    pub fn section(&self, key: &str) -> Result<Option<Section<'a>>, CheckpointError> {
        self.read(key, "an object", Value::as_object).map(|map| {
            map.map(|map| Section { path: self.path, prefix: format!("{}{key}.", self.prefix), map })
        })
    }

    /// The integer at `key`, from 0 to 2³¹, if there is one.
    ///
    /// # Errors
    /// If there is something else.
    pub fn count(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        self.read(key, "an integer from 0 to 2147483648", count)
    }

    /// The number at `key`, if there is one.
    ///
    /// # Errors
    /// If there is something else, or a number that is not finite in f32.
    pub fn number(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.read(key, "a finite number", |v| v.as_f64().filter(|n| (*n as f32).is_finite()))
    }

    /// The flag at `key`, if there is one.
    ///
    /// # Errors
    /// If there is something else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// The text at `key`, if there is one.
    ///
    /// # Errors
    /// If there is something else.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, CheckpointError> {
        self.read(key, "a string", Value::as_str)
    }

    /// The integers at `key`, of which there are at most 256, if there is such a list.
    ///
    /// # Errors
    /// If there is something else.
    pub fn counts(&self, key: &str) -> Result<Option<Vec<usize>>, CheckpointError> {
        self.read(key, "a list of at most 256 integers", |v| {
            let list = v.as_array().filter(|l| l.len() <= 256)?;
            list.iter().map(count).collect()
        })
    }

    /// The numbers at `key`, of which there are at most 256, if there is such a list.
    ///
    /// # Errors
    /// If there is something else.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, CheckpointError> {
        self.read(key, "a list of at most 256 finite numbers", |v| {
            let list = v.as_array().filter(|l| l.len() <= 256)?;
            list.iter().map(|v| v.as_f64().filter(|n| (*n as f32).is_finite())).collect()
        })
    }

    /// The value there is, or an error saying that `key` is absent.
    ///
    /// # Errors
    /// If `value` is `None`.
    pub fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, CheckpointError> {
        value.ok_or_else(|| self.wrong(key, "a value"))
    }

    /// The positive integer at `key`, which must be there.
    ///
    /// # Errors
    /// If there is something else.
    pub fn extent(&self, key: &str) -> Result<usize, CheckpointError> {
        self.count(key)?.filter(|n| 0 < *n).ok_or_else(|| self.wrong(key, "an integer from 1 to 2147483648"))
    }

    /// The positive integer at `key`, which must be there and at most `max`: so that networks are not written that no memory holds.
    ///
    /// # Errors
    /// If there is something else.
    pub fn extent_to(&self, key: &str, max: usize) -> Result<usize, CheckpointError> {
        let n = self.extent(key)?;
        if n <= max { Ok(n) } else { Err(self.wrong(key, format!("an integer from 1 to {max}"))) }
    }

    /// Says that the value at `key` is not as expected.
    pub fn wrong(&self, key: &str, expected: impl Into<String>) -> CheckpointError {
        CheckpointError::Config {
            path: self.path.to_owned(),
            key: format!("{}{key}", self.prefix),
            expected: expected.into(),
            found: self.map.get(key).map_or_else(|| "nothing".to_owned(), brief),
        }
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        f: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        self.get(key).map(|v| f(v).ok_or_else(|| self.wrong(key, expected))).transpose()
    }
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64().filter(|n| *n <= COUNT_MAX).and_then(|n| usize::try_from(n).ok())
}

/// A value as a message shows it: short, whatever the file holds.
fn brief(value: &Value) -> String {
    match value {
        Value::Object(map) => format!("an object of {} keys", map.len()),
        Value::Array(list) if 8 < list.len() => format!("a list of {}", list.len()),
        Value::Array(list) => format!("[{}]", list.iter().map(brief).collect::<Vec<_>>().join(", ")),
        Value::String(text) if 64 < text.len() => format!("a string of {} bytes", text.len()),
        other => other.to_string(),
    }
}

/// Names that may not stand twice.
#[derive(Default)]
pub(super) struct Unique(HashSet<String>);

impl Unique {
    pub(super) fn add(&mut self, name: &str) -> Result<(), String> {
        if self.0.insert(name.to_owned()) { Ok(()) } else { Err(format!("`{name}` stands twice")) }
    }
}

/// A JSON object, in its own order, in which no key may stand twice.
#[derive(Debug)]
pub(super) struct UniqueMap<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for UniqueMap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = UniqueMap<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut pairs, mut seen) = (Vec::new(), Unique::default());
                while let Some(pair) = map.next_entry::<String, T>()? {
                    seen.add(&pair.0).map_err(A::Error::custom)?;
                    pairs.push(pair);
                }
                Ok(UniqueMap(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// A parsed JSON file with its path.
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
    value: Value,
}

impl JsonFile {
    /// Reads a config of at most 16 MiB; `None` if there is no such file.
    ///
    /// # Errors
    /// If it is too large, cannot be read, or is no JSON.
    pub fn open(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let Some(text) = read_bounded(path, 16 << 20)? else { return Ok(None) };
        Self::parse(path, &text).map(Some)
    }

    /// Reads `config.json` in the directory.
    ///
    /// # Errors
    /// As [`JsonFile::open`], and if there is none.
    pub fn open_config(dir: &Path) -> Result<Self, CheckpointError> {
        let missing = || CheckpointError::Missing { dir: dir.to_owned(), expected: "config.json".to_owned() };
        Self::open(&dir.join("config.json"))?.ok_or_else(missing)
    }

    /// Parses `text`, which stands for the file at `path`.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, CheckpointError> {
        let value = serde_json::from_slice(text)
            .map_err(|e| CheckpointError::Json { path: path.to_owned(), message: e.to_string() })?;
        Ok(Self { path: path.to_owned(), value })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its outermost object.
    ///
    /// # Errors
    /// If it is no object.
    pub fn root(&self) -> Result<Section<'_>, CheckpointError> {
        Section::root(&self.path, &self.value)
    }

    /// What was parsed.
    pub fn value(&self) -> &Value {
        &self.value
    }
}
