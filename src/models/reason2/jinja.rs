//! Jinja as `transformers` renders chat templates: its settings, its functions, and Python's methods on texts, lists and maps.
//!
//! Published templates lean on what Python's objects can do (`content.split('</think>')[-1].lstrip('\n')`), on `break` and
//! `continue`, on `{% generation %}` blocks that mark what training learns from, and on a `tojson` with the options of
//! `json.dumps`. Whatever they use beyond that ends with the engine's own error.
//!
//! Why not Python's string methods from `minijinja-contrib` alone: it counts places in bytes, finds that an empty text is a number,
//! and does not know names of arguments.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, escape_formatter};
use minijinja_contrib::pycompat;

use super::python::{python_text, to_json};
use super::strftime::strftime;

/// Renders `source` with `values`, at `now_s` seconds after 1970 (UTC).
///
/// # Errors
/// If the template is broken, uses what is not known here, or raises an exception of its own.
pub(super) fn render(source: &str, values: Value, now_s: i64) -> Result<String, Error> {
    let mut environment = Environment::new();
    minijinja_contrib::add_to_environment(&mut environment);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(method);
    environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    environment.add_function("strftime_now", move |format: &str| strftime(format, now_s));
    environment.add_filter("tojson", to_json);
    // Texts and maps are both in Python.
    let is_iterable = |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
    };
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_iterable);
    environment
        .add_test("number", |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
    environment.add_filter("string", |value: &Value| python_text(value));
    environment.add_function("dict", dict);
    environment.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.0));
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            out.write_str(&python_text(value)).map_err(Error::from)
        }
        _ => escape_formatter(out, state, value),
    });
    environment.render_str(&without_generation(source), values)
}

/// `{% generation %}` blocks only mark their text: they become blocks of another kind that give it.
fn without_generation(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        text.push_str(before);
        rest = tag;
        let inside = tag.trim_start_matches(['-', '+']).trim_start();
        if is_tag(inside, "raw") {
            let end = tag
                .match_indices("{%")
                .find(|(at, _)| is_tag(tag[at + 2..].trim_start_matches(['-', '+']).trim_start(), "endraw"));
            let raw = &tag[..end.map_or(tag.len(), |(at, _)| at)];
            text.push_str(raw);
            rest = &tag[raw.len()..];
            continue;
        }
        for (name, other) in [("generation", "with"), ("endgeneration", "endwith")] {
            if is_tag(inside, name) {
                text.push_str(&tag[..tag.len() - inside.len()]);
                text.push_str(other);
                rest = &inside[name.len()..];
            }
        }
    }
    text + rest
}

/// Whether the inside of a tag is this one word.
fn is_tag(inside: &str, name: &str) -> bool {
    let after = inside.strip_prefix(name).map(|after| after.trim_start().trim_start_matches(['-', '+']));
    after.is_some_and(|after| after.starts_with("%}"))
}

/// `dict(pairs or map, **names)`.
fn dict(args: Rest<Value>) -> Result<Value, Error> {
    let (first, names): (Option<Value>, Kwargs) = from_args(&args)?;
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    if let Some(first) = first {
        for item in first.try_iter()? {
            pairs.push(match first.kind() {
                ValueKind::Map => (item.clone(), first.get_item(&item)?),
                _ => (item.get_item_by_index(0)?, item.get_item_by_index(1)?),
            });
        }
    }
    for name in names.args() {
        pairs.push((Value::from(name), names.get(name)?));
    }
    Ok(Value::from_iter(pairs))
}

/// Python's methods, of which the crate's own are the last resort.
fn method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str()
        && let Some(result) = text_method(text, name, args)
    {
        return result;
    }
    match (value.kind(), name) {
        (ValueKind::Seq | ValueKind::Map, "copy") => Ok(value.clone()),
        (ValueKind::Seq, "index") => {
            let (wanted,): (&Value,) = from_args(args)?;
            let place = value.try_iter()?.position(|item| item == *wanted);
            place.map(Value::from).ok_or_else(|| wrong(format!("{wanted} is not in the list")))
        }
        _ => pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// A method of a text, if it is one of those that are written here.
fn text_method(text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let all = |holds: fn(char) -> bool| Ok(Value::from(!text.is_empty() && text.chars().all(holds)));
    let one = || -> Result<&str, Error> { from_args(args).map(|(part,): (&str,)| part) };
    Some(match name {
        "split" | "rsplit" => split(text, args, name == "rsplit"),
        "partition" => one().map(|sep| parts(text.split_once(sep), sep, [text, "", ""])),
        "rpartition" => one().map(|sep| parts(text.rsplit_once(sep), sep, ["", "", text])),
        "removeprefix" => one().map(|part| Value::from(text.strip_prefix(part).unwrap_or(text))),
        "removesuffix" => one().map(|part| Value::from(text.strip_suffix(part).unwrap_or(text))),
        "find" => one().map(|part| place(text, text.find(part))),
        "rfind" => one().map(|part| place(text, text.rfind(part))),
        "index" => one().and_then(|part| match text.find(part) {
            Some(at) => Ok(place(text, Some(at))),
            None => Err(wrong("substring not found")),
        }),
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(char::is_whitespace),
        "islower" => Ok(is_cased(text, char::is_lowercase, char::is_uppercase)),
        "isupper" => Ok(is_cased(text, char::is_uppercase, char::is_lowercase)),
        "casefold" => Ok(Value::from(text.to_lowercase())),
        "zfill" => from_args(args).map(|(width,): (usize,)| {
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => text.split_at(text.len() - digits.len()),
                None => ("", text),
            };
            let zeros = width.min(1 << 16).saturating_sub(text.chars().count());
            Value::from(format!("{sign}{}{digits}", "0".repeat(zeros)))
        }),
        "ljust" | "rjust" => from_args(args).map(|(width, fill): (usize, Option<&str>)| {
            let missing = width.min(1 << 16).saturating_sub(text.chars().count());
            let padding = fill.unwrap_or(" ").repeat(missing);
            Value::from(if name == "ljust" { format!("{text}{padding}") } else { format!("{padding}{text}") })
        }),
        _ => return None,
    })
}

/// `split(sep=None, maxsplit=-1)` and `rsplit`.
fn split(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (separator, n_max, names): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(names.get("sep")?).filter(|value| !value.is_none());
    let n_max = n_max.or(names.get("maxsplit")?).and_then(|n| usize::try_from(n).ok());
    names.assert_all_used()?;
    // Above the length there is nothing more to split.
    let n = n_max.unwrap_or(text.len()).min(text.len()) + 1;
    let mut found: Vec<String> = match separator.as_ref().map(|separator| separator.as_str()) {
        Some(None) => return Err(wrong("split takes a text")),
        Some(Some("")) => return Err(wrong("empty separator")),
        Some(Some(separator)) if from_right => text.rsplitn(n, separator).map(str::to_owned).collect(),
        Some(Some(separator)) => text.splitn(n, separator).map(str::to_owned).collect(),
        None => words(text, n, from_right),
    };
    if from_right {
        found.reverse();
    }
    Ok(found.into_iter().map(Value::from).collect())
}

/// The words between runs of white space, at most `n`, the last of which is the rest; from the right, in that order.
fn words(text: &str, n: usize, from_right: bool) -> Vec<String> {
    let near =
        |rest: &'_ str| if from_right { rest.trim_end().len() } else { rest.len() - rest.trim_start().len() };
    let (mut words, mut rest) = (Vec::new(), text);
    loop {
        // White space at the near end separates; at the far end it belongs to the rest.
        let at = near(rest);
        rest = if from_right { &rest[..at] } else { &rest[at..] };
        if rest.is_empty() {
            return words;
        }
        if words.len() + 1 == n {
            words.push(rest.to_owned());
            return words;
        }
        let word = if from_right {
            &rest[rest.trim_end_matches(|c: char| !c.is_whitespace()).len()..]
        } else {
            &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())]
        };
        words.push(word.to_owned());
        let left = rest.len() - word.len();
        rest = if from_right { &rest[..left] } else { &rest[word.len()..] };
    }
}

fn parts(found: Option<(&str, &str)>, separator: &str, otherwise: [&str; 3]) -> Value {
    let parts = found.map_or(otherwise, |(before, after)| [before, separator, after]);
    parts.into_iter().map(Value::from).collect()
}

/// A place in bytes as one in characters; −1 for none.
fn place(text: &str, at: Option<usize>) -> Value {
    Value::from(at.map_or(-1, |at| text[..at].chars().count() as i64))
}

fn is_cased(text: &str, is: fn(char) -> bool, is_not: fn(char) -> bool) -> Value {
    Value::from(text.chars().any(is) && !text.chars().any(is_not))
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

#[cfg(test)]
mod tests {
    use minijinja::context;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        now_s: i64,
        tokens: serde_json::Value,
        conversations: Vec<serde_json::Value>,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        template: String,
        /// Of each conversation, without and with the beginning of an answer.
        rendered: Vec<Rendered>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Rendered {
        Text(String),
        Error(String),
    }

    /// Fixture: `tests/reference/templates.py`. `PERIHELION_TEMPLATES` names another fixture file.
    #[test]
    fn templates_are_rendered_as_transformers_renders_them() {
        let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/templates.json");
        let path = std::env::var("PERIHELION_TEMPLATES").unwrap_or(committed.to_owned());
        let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(30 <= fixture.cases.len());
        for Case { name, template, rendered } in &fixture.cases {
            assert_eq!(rendered.len(), 2 * fixture.conversations.len());
            for (i, expected) in rendered.iter().enumerate() {
                let (tools, documents, tokens) = ((), (), Value::from_serialize(&fixture.tokens));
                let messages = Value::from_serialize(&fixture.conversations[i / 2]);
                let add_generation_prompt = i % 2 == 1;
                let values = context! { messages, tools, documents, add_generation_prompt, ..tokens };
                match (render(template, values, fixture.now_s), expected) {
                    (Ok(found), Rendered::Text(expected)) => assert_eq!(found, *expected, "{name}, {i}"),
                    (Err(_), Rendered::Error(_)) => {}
                    (Ok(_), Rendered::Error(error)) => panic!("{name}, {i}: {error} is not raised"),
                    (Err(error), Rendered::Text(_)) => panic!("{name}, {i}: {error:#}"),
                }
            }
        }
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for template in [
            "{{ 'a'.nothing() }}",
            "{{ 'a'.split('') }}",
            "{{ 'a'.split('a', wrong=1) }}",
            "{{ [1].append(2) }}",
            "{{ 'a' | tojson(wrong=1) }}",
            "{{ nothing.role }}",
            "{{ raise_exception('no') }}",
            "{% generation %}",
            "{% break %}",
        ] {
            assert!(render(template, context! {}, 0).is_err(), "{template}");
        }
    }
}
