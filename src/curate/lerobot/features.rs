//! The features of a data set: what each frame has, as `meta/info.json` describes it, as a column, and as `datasets` reads it.

use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::table::Column;

/// The stamp that came with a frame. Not below `observation.`, where policies would take it for a state.
pub(super) const STAMP: &str = "stamp_ns";
pub(super) const ACTION: &str = "action";
pub(super) const TIMESTAMP: &str = "timestamp";
/// What else every frame has.
const NUMBERS: [&str; 4] = ["frame_index", "episode_index", "index", "task_index"];

/// A feature.
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) column: Column,
    shape: Vec<usize>,
    names: Value,
}

impl Feature {
    fn dtype(&self) -> &'static str {
        match self.column {
            Column::Image => "image",
            Column::Text => "string",
            Column::I64 => "int64",
            _ => "float32",
        }
    }

    /// Whether its least and greatest values are told as whole numbers.
    pub(super) fn is_whole(&self) -> bool {
        self.column == Column::I64
    }

    /// Whether there is a least and a greatest of it, but of pictures, which have theirs by channels.
    pub(super) fn has_numbers(&self) -> bool {
        !matches!(self.column, Column::Image | Column::Text)
    }

    fn described(&self) -> Value {
        json!({ "dtype": self.dtype(), "shape": self.shape, "names": self.names })
    }

    fn of_datasets(&self) -> Value {
        let value = json!({ "dtype": self.dtype(), "_type": "Value" });
        match self.column {
            Column::Image => json!({ "_type": "Image" }),
            Column::F32s => json!({ "feature": value, "length": self.shape[0], "_type": "List" }),
            _ => value,
        }
    }
}

/// All of a kind's, in the columns' order. `texts` are names of texts.
pub(super) fn features<'a>(kind: &Kind, texts: impl Iterator<Item = &'a String>) -> Vec<Feature> {
    let one = |name: &str, column: Column| Feature {
        name: name.to_owned(),
        column,
        shape: vec![1],
        names: Value::Null,
    };
    let mut features = vec![Feature {
        name: kind.camera.clone(),
        column: Column::Image,
        shape: vec![kind.height, kind.width, 3],
        names: json!(["height", "width", "channels"]),
    }];
    let n = kind.action_names.len();
    if 0 < n {
        // What has one number is none of lists.
        let column = if n == 1 { Column::F32 } else { Column::F32s };
        let names = json!(kind.action_names);
        features.push(Feature { name: ACTION.to_owned(), column, shape: vec![n], names });
    }
    features.extend(texts.map(|name| one(name, Column::Text)));
    features.push(one(STAMP, Column::I64));
    features.push(one(TIMESTAMP, Column::F32));
    features.extend(NUMBERS.map(|name| one(name, Column::I64)));
    features
}

/// For `meta/info.json`.
pub(super) fn described(features: &[Feature]) -> Value {
    features.iter().map(|feature| (feature.name.clone(), feature.described())).collect::<Map<_, _>>().into()
}

/// For the head of a Parquet file.
pub(super) fn of_datasets(features: &[Feature]) -> String {
    let all: Map<_, _> = features.iter().map(|f| (f.name.clone(), f.of_datasets())).collect();
    json!({ "info": { "features": all } }).to_string()
}

/// What is wrong with this name of a text.
#[must_use]
pub fn text_name_problem(name: &str) -> Option<&'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    match () {
        () if name.is_empty() || 64 < name.len() || !name.chars().all(is_plain) => {
            Some("is no name of letters, digits, `_` and `.`")
        }
        // By these beginnings lerobot knows what a policy sees and does.
        () if name.starts_with("observation") || name.starts_with(ACTION) || name.contains("image") => {
            Some("would be taken for what a policy sees or does")
        }
        () if [STAMP, TIMESTAMP].contains(&name) || NUMBERS.contains(&name) => {
            Some("is a feature that every frame has")
        }
        () => None,
    }
}
