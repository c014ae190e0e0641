//! Values as Python writes them: `json.dumps`, `str`, `repr`.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind};

/// `json.dumps` with the arguments that `transformers` passes on.
pub(super) fn to_json(value: &Value, args: Rest<Value>) -> Result<String, Error> {
    type Arguments = (Option<bool>, Option<Value>, Option<Value>, Option<bool>, Kwargs);
    let (ascii, indent, separators, sorted, names): Arguments = from_args(&args)?;
    let indent = indent.or(names.get("indent")?).filter(|indent| !indent.is_none());
    let separators = separators.or(names.get("separators")?).filter(|pair| !pair.is_none());
    let mut writer = JsonWriter {
        text: String::new(),
        ascii: ascii.or(names.get("ensure_ascii")?).unwrap_or(false),
        indent: indent.as_ref().map(|indent| match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent.clone()).unwrap_or(0).min(64)),
        }),
        between: if indent.is_some() { "," } else { ", " }.to_owned(),
        after_key: ": ".to_owned(),
        sorted: sorted.or(names.get("sort_keys")?).unwrap_or(false),
    };
    names.assert_all_used()?;
    if let Some(pair) = separators {
        let pair: Vec<Value> = pair.try_iter()?.collect();
        let [between, after_key] = &pair[..] else { return Err(invalid("separators are two texts")) };
        (writer.between, writer.after_key) = (between.to_string(), after_key.to_string());
    }
    writer.value(value, 0)?;
    Ok(writer.text)
}

struct JsonWriter {
    text: String,
    ascii: bool,
    /// What a level is indented by, each item on a line of its own.
    indent: Option<String>,
    between: String,
    after_key: String,
    sorted: bool,
}

impl JsonWriter {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.text.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items('[', ']', &items, depth, |writer, item| writer.value(item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.items('{', '}', &keys, depth, |writer, key| {
                    let name = if key.kind() == ValueKind::Bool {
                        key.to_string().to_lowercase()
                    } else {
                        key.to_string()
                    };
                    writer.string(&name);
                    let after_key = writer.after_key.clone();
                    writer.text.push_str(&after_key);
                    writer.value(&value.get_item(key)?, depth + 1)
                })?;
            }
            kind => return Err(invalid(format!("a value of kind {kind} is not JSON serializable"))),
        }
        Ok(())
    }

    fn items(
        &mut self,
        open: char,
        close: char,
        items: &[Value],
        depth: usize,
        mut write: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.text.push(open);
        for (i, item) in items.iter().enumerate() {
            if 0 < i {
                self.text.push_str(&self.between);
            }
            self.line(depth + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.text.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.text.push('\n');
            self.text.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                c if u32::from(c) < 0x20
                    || (self.ascii && !c.is_ascii())
                    || (self.ascii && c == '\u{7f}') =>
                {
                    // Python leaves DEL as it is.
                    if c == '\u{7f}' {
                        self.text.push(c);
                        continue;
                    }
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        self.text.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

/// What Python's `str` makes of a value.
pub(super) fn python_text(value: &Value) -> String {
    match value.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => repr(value, 0),
        ValueKind::Number => number(value),
        _ => value.to_string(),
    }
}

/// What Python's `repr` makes of a value; lists for tuples, since templates' engines do not tell them apart.
fn repr(value: &Value, depth: usize) -> String {
    // No template prints deeper than this, and none may end the process.
    if 64 < depth {
        return "...".to_owned();
    }
    let items = |value: &Value| value.try_iter().into_iter().flatten();
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<String> = items(value).map(|item| repr(&item, depth + 1)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Map => {
            let pair = |key: Value| {
                let of_key = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", repr(&key, depth + 1), repr(&of_key, depth + 1))
            };
            format!("{{{}}}", items(value).map(pair).collect::<Vec<_>>().join(", "))
        }
        ValueKind::Number => number(value),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            let mut quoted = String::from(quote);
            for c in text.chars() {
                match c {
                    '\\' => quoted.push_str("\\\\"),
                    '\n' => quoted.push_str("\\n"),
                    '\r' => quoted.push_str("\\r"),
                    '\t' => quoted.push_str("\\t"),
                    c if c == quote => quoted.extend(['\\', c]),
                    c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
                    c => quoted.push(c),
                }
            }
            quoted.push(quote);
            quoted
        }
        _ => value.to_string(),
    }
}

/// A number as Python's `repr` gives it.
fn number(value: &Value) -> String {
    let float = match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => float,
        _ => return value.to_string(),
    };
    if !float.is_finite() {
        return if float.is_nan() {
            "NaN".into()
        } else if 0.0 < float {
            "Infinity".into()
        } else {
            "-Infinity".into()
        };
    }
    let exponent = if float == 0.0 { 0 } else { float.abs().log10().floor() as i32 };
    if !(-4..16).contains(&exponent) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{float:?}")
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}
