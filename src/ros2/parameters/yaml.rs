//! YAML as `rcl_yaml_param_parser` reads it: scalars keep their text as it was written and whether it was quoted, keys may
//! repeat, and aliases are refused.
//!
//! Why two passes over the text: the parser says of a plain scalar what YAML 1.2 makes of it or how it was written, and
//! never both. The first pass learns the shape, the second the texts.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Value;

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    /// One value.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Tree>),
    /// A mapping in the order of the text; keys may repeat.
    Map(Vec<(Tree, Tree)>),
}

/// One value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scalar {
    /// Without its quotes.
    pub(super) text: String,
    /// Whether it stood without quotes, so that it may be a number or a bool.
    pub(super) is_plain: bool,
}

impl Scalar {
    /// What `rcl` takes it for: bools of YAML 1.1, whole numbers as C writes them, numbers, text.
    pub(super) fn value(&self) -> Value {
        let text = self.text.as_str();
        let number = || integer(text).map(Value::Integer).or_else(|| double(text).map(Value::Double));
        let plain = || boolean(text).map(Value::Bool).or_else(number);
        self.is_plain.then(plain).flatten().unwrap_or_else(|| Value::Text(text.to_owned()))
    }
}

/// More than any file has open, quoted ones included.
const BRACKETS_MAX: usize = 200;

fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// As `strtoll` with base 0: decimal, `0x1F`, and octal where it begins with 0.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

fn double(text: &str) -> Option<f64> {
    let (sign, size) = match text.strip_prefix('-') {
        Some(size) => (-1.0, size),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match size.to_ascii_lowercase().as_str() {
        ".inf" | "inf" | "infinity" => return Some(sign * f64::INFINITY),
        ".nan" | "nan" => return Some(f64::NAN),
        _ => {}
    }
    let is_number = size.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    // What is too large for a double is text, as it is to `strtod`'s callers there.
    size.parse().ok().filter(|number: &f64| is_number && number.is_finite()).map(|number| sign * number)
}

/// The documents of `text`; one that holds nothing is none.
///
/// # Errors
/// What is wrong, and on which line if that is known.
pub(super) fn read(text: &str) -> Result<Vec<Tree>, String> {
    // Before it is parsed: the parser looks at every open bracket at every word.
    let depth_after = |depth: usize, byte: u8| match byte {
        b'[' | b'{' => depth + 1,
        b']' | b'}' => depth.saturating_sub(1),
        _ => depth,
    };
    let mut depths = text.bytes().scan(0, |depth, byte| {
        *depth = depth_after(*depth, byte);
        Some(*depth)
    });
    if depths.any(|depth| BRACKETS_MAX < depth) {
        return Err(format!("over {BRACKETS_MAX} brackets are open at once"));
    }
    let documents = || serde_norway::Deserializer::from_str(text);
    let (shaping, writing) = (Pass::over(text), Pass::over(text));
    let mut trees = Vec::new();
    for (first, second) in documents().zip(documents()) {
        let shape = ShapeOf(&shaping).deserialize(first).map_err(|error| error.to_string())?;
        if shape != Shape::Nothing {
            let tree = TreeOf(&writing, &shape).deserialize(second).map_err(|error| error.to_string())?;
            trees.push(tree);
        }
    }
    Ok(trees)
}

/// One of the two passes over a text.
struct Pass<'a> {
    text: &'a str,
    /// What it may still make, in nodes and bytes: every node has a part of the text of its own, and an escape stands for no
    /// more than it takes. Only aliases go beyond, of which a few lines can make any number of nodes.
    allowance: Cell<usize>,
    /// Where the last scalar ended.
    end: Cell<usize>,
}

const ALIASES: &str = "aliases (`*name`) are not for parameter files: write the values out";

impl<'a> Pass<'a> {
    fn over(text: &'a str) -> Self {
        Self { text, allowance: Cell::new(2 * text.len() + 64), end: Cell::new(0) }
    }

    fn spend<E: Error>(&self, n: usize) -> Result<(), E> {
        self.allowance.set(self.allowance.get().checked_sub(n).ok_or_else(|| E::custom(ALIASES))?);
        Ok(())
    }

    /// A scalar that stands in the text as it is.
    fn scalar<E: Error>(&self, written: &str) -> Result<Scalar, E> {
        self.spend(1 + written.len())?;
        let place = (written.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let end = place.saturating_add(written.len());
        if self.text.len() < end {
            return Ok(Scalar { text: written.to_owned(), is_plain: false });
        }
        // An alias leads back to what was read before.
        if !written.is_empty() && place < self.end.replace(end) {
            return Err(E::custom(ALIASES));
        }
        let before = place.checked_sub(1).map(|before| self.text.as_bytes()[before]);
        let is_plain = !matches!(before, Some(b'"' | b'\''));
        Ok(Scalar { text: written.to_owned(), is_plain })
    }
}

/// What a node is, without its texts.
#[derive(Debug, PartialEq)]
enum Shape {
    Nothing,
    Scalar,
    List(Vec<Shape>),
    Map(Vec<(Shape, Shape)>),
}

struct ShapeOf<'a>(&'a Pass<'a>);

impl<'de> DeserializeSeed<'de> for ShapeOf<'_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        self.0.spend(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ShapeOf<'_> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map, without a tag of its own")
    }

    fn visit_none<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::Nothing)
    }

    fn visit_unit<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        let mut shapes = Vec::new();
        while let Some(shape) = list.next_element_seed(ShapeOf(self.0))? {
            shapes.push(shape);
        }
        Ok(Shape::List(shapes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut shapes = Vec::new();
        while let Some(entry) = map.next_entry_seed(ShapeOf(self.0), ShapeOf(self.0))? {
            shapes.push(entry);
        }
        Ok(Shape::Map(shapes))
    }
}

struct TreeOf<'a>(&'a Pass<'a>, &'a Shape);

impl<'de> DeserializeSeed<'de> for TreeOf<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        match self.1 {
            Shape::Nothing | Shape::Scalar => deserializer.deserialize_str(self),
            Shape::List(_) => deserializer.deserialize_seq(self),
            Shape::Map(_) => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for TreeOf<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the first pass found")
    }

    fn visit_borrowed_str<E: Error>(self, written: &'de str) -> Result<Tree, E> {
        self.0.scalar(written).map(Tree::Scalar)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tree, E> {
        // Several lines, or escapes: neither can be a number or a bool.
        self.0.spend(1 + text.len())?;
        Ok(Tree::Scalar(Scalar { text: text.to_owned(), is_plain: false }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let Self(pass, Shape::List(shapes)) = self else { return Err(A::Error::custom("a list")) };
        let mut trees = Vec::with_capacity(shapes.len());
        for shape in shapes {
            trees.extend(list.next_element_seed(TreeOf(pass, shape))?);
        }
        Ok(Tree::List(trees))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let Self(pass, Shape::Map(shapes)) = self else { return Err(A::Error::custom("a map")) };
        let mut trees = Vec::with_capacity(shapes.len());
        for (key, value) in shapes {
            trees.extend(map.next_entry_seed(TreeOf(pass, key), TreeOf(pass, value))?);
        }
        Ok(Tree::Map(trees))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Tree {
        let mut trees = read(text).unwrap();
        assert_eq!(trees.len(), 1, "{text}");
        trees.remove(0)
    }

    fn scalar(text: &str) -> Scalar {
        match one(text) {
            Tree::Scalar(scalar) => scalar,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn scalars_are_what_rcl_takes_them_for() {
        // The expected values are those of rcl of Jazzy and Kilted.
        let check = |text: &str, expected: Value| assert_eq!(scalar(text).value(), expected, "{text}");
        for text in ["yes", "Yes", "YES", "on", "On", "true", "True", "TRUE", "y", "Y"] {
            check(text, Value::Bool(true));
        }
        for text in ["no", "off", "n", "N", "False", "FALSE", "OFF"] {
            check(text, Value::Bool(false));
        }
        for (text, expected) in [
            ("1", 1),
            ("+1", 1),
            ("-1", -1),
            ("010", 8),
            ("0x1F", 31),
            ("-0x10", -16),
            ("0", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            check(text, Value::Integer(expected));
        }
        for (text, expected) in [
            ("1e3", 1e3),
            ("1.", 1.0),
            (".5", 0.5),
            ("+.5", 0.5),
            ("-1.5", -1.5),
            ("9223372036854775808", 9223372036854775808.0),
            ("inf", f64::INFINITY),
            ("-.inf", f64::NEG_INFINITY),
        ] {
            check(text, Value::Double(expected));
        }
        assert!(matches!(scalar(".NaN").value(), Value::Double(x) if x.is_nan()));
        for text in ["tRue", "0b1", "0o7", "1_000", "1e", "1e400", "1,5", "12:30", "~", "null", "2001-01-01"]
        {
            check(text, Value::Text(text.to_owned()));
        }
        for (text, expected) in
            [("'yes'", "yes"), ("\"1\"", "1"), ("'1.5'", "1.5"), ("\"a\\tb\"", "a\tb"), ("a b", "a b")]
        {
            check(text, Value::Text(expected.to_owned()));
        }
    }

    #[test]
    fn texts_keys_and_documents_stay_as_they_were_written() {
        let plain = |text: &str| Tree::Scalar(Scalar { text: text.to_owned(), is_plain: true });
        let quoted = |text: &str| Tree::Scalar(Scalar { text: text.to_owned(), is_plain: false });
        assert_eq!(
            one("a: [1e3, 'x', {y: on}]\na: |\n  two\n  lines\n0x1: &anchor no\nb:\n"),
            Tree::Map(vec![
                (
                    plain("a"),
                    Tree::List(vec![plain("1e3"), quoted("x"), Tree::Map(vec![(plain("y"), plain("on"))])])
                ),
                (plain("a"), quoted("two\nlines\n")),
                (plain("0x1"), plain("no")),
                (plain("b"), plain("")),
            ])
        );
        assert_eq!(read("--- 1\n--- x\n").unwrap(), [plain("1"), plain("x")]);
        for nothing in ["", "# nothing\n", "\n\n"] {
            assert_eq!(read(nothing).unwrap(), [], "{nothing:?}");
        }
    }

    #[test]
    fn aliases_depth_and_damage_are_refused() {
        let laughs = (1..30).fold("a0: &a0 [ha, ha]\n".to_owned(), |text, i| {
            let last = i - 1;
            text + &format!("a{i}: &a{i} [*a{last}, *a{last}, *a{last}, *a{last}]\n")
        });
        let long = format!("a: &a '{}'\nb: [{}]\n", "x".repeat(50_000), "*a,".repeat(10_000));
        let wide = format!("a: &a [{}]\nb: [{}]\n", "\"\\t\",".repeat(5_000), "*a,".repeat(10_000));
        for text in ["a: &x 1\nb: *x\n", "&x a: *x\n", &laughs, &long, &wide] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains("aliases") || problem.contains("repetition"), "{problem}");
        }
        for text in [
            &"[".repeat(100_000),
            &"{a: ".repeat(100_000),
            &"- ".repeat(100_000),
            "{",
            "'a",
            "a: b: c",
            "!x a",
        ] {
            assert!(read(text).is_err(), "{:.20}", text);
        }
    }
}
