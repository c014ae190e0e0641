//! Markup, in which whatever came from outside is text.

use std::fmt::Write as _;

/// Letters of one text at most; the rest is counted and left out. No report is read for one endless answer.
const LETTERS_MAX: usize = 4000;
/// Elements that have no content and no end.
const VOID: [&str; 4] = ["br", "img", "meta", "link"];

/// Markup that is safe to stand in a page: text becomes it only by being escaped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Html(String);

/// An element that is being put together.
#[derive(Clone, Debug)]
pub struct Element {
    name: &'static str,
    attributes: String,
    content: Html,
}

impl Html {
    /// Nothing.
    #[must_use]
    pub fn new() -> Html {
        Html::default()
    }

    /// Parts after one another.
    #[must_use]
    pub fn join(parts: impl IntoIterator<Item = impl Into<Html>>) -> Html {
        let mut all = Html::new();
        for part in parts {
            all.0.push_str(&part.into().0);
        }
        all
    }

    /// The markup.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Html {
    /// Escapes text. What is no letter (control characters) is shown as such, and a text without end is cut.
    fn from(text: &str) -> Html {
        let mut out = escaped(text, LETTERS_MAX);
        let n_left_out = text.chars().skip(LETTERS_MAX).count();
        if 0 < n_left_out {
            let _ = write!(out, "… ({n_left_out} more letters)");
        }
        Html(out)
    }
}

impl From<String> for Html {
    fn from(text: String) -> Html {
        text.as_str().into()
    }
}

impl From<Element> for Html {
    fn from(element: Element) -> Html {
        let Element { name, attributes, content: Html(content) } = element;
        match VOID.contains(&name) {
            true => Html(format!("<{name}{attributes}>")),
            false => Html(format!("<{name}{attributes}>{content}</{name}>")),
        }
    }
}

/// An element with a class, or without one where `class` is empty.
#[must_use]
pub fn element(name: &'static str, class: &str) -> Element {
    let empty = Element { name, attributes: String::new(), content: Html::new() };
    if class.is_empty() { empty } else { empty.set("class", class) }
}

impl Element {
    /// Sets an attribute. Its value is escaped, and as long as it is.
    #[must_use]
    pub fn set(mut self, attribute: &'static str, value: impl AsRef<str>) -> Self {
        let _ = write!(self.attributes, " {attribute}=\"{}\"", escaped(value.as_ref(), usize::MAX));
        self
    }

    /// Adds to what is in it.
    #[must_use]
    pub fn with(mut self, content: impl Into<Html>) -> Self {
        self.content.0.push_str(&content.into().0);
        self
    }

    /// Adds several parts.
    #[must_use]
    pub fn with_all(self, parts: impl IntoIterator<Item = impl Into<Html>>) -> Self {
        self.with(Html::join(parts))
    }
}

fn escaped(text: &str, letters_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(letters_max));
    for letter in text.chars().take(letters_max) {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_wherever_it_stands() {
        let hostile = "</p><script>alert('1')</script>\u{0}\u{1b}[2J\" onload=\"x&amp;";
        let html = Html::from(element("p", "a").set("title", hostile).with(hostile));
        let text = "&lt;/p&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;\u{fffd}\u{fffd}[2J&quot; onload=&quot;x&amp;amp;";
        assert_eq!(html.as_str(), format!("<p class=\"a\" title=\"{text}\">{text}</p>"));
    }

    #[test]
    fn a_text_without_end_ends() {
        let html = Html::from("<".repeat(10_000));
        assert_eq!(html.as_str().matches("&lt;").count(), LETTERS_MAX);
        assert!(html.as_str().ends_with("… (6000 more letters)"), "{}", &html.as_str()[16_000..]);
        assert_eq!(Html::from("ü".repeat(LETTERS_MAX)).as_str(), "ü".repeat(LETTERS_MAX));
    }

    #[test]
    fn parts_stand_in_order_and_what_has_no_content_no_end() {
        let list = element("ul", "").with_all(["a", "b"].map(|text| element("li", "").with(text)));
        assert_eq!(Html::from(list.with(element("br", ""))).as_str(), "<ul><li>a</li><li>b</li><br></ul>");
    }
}
