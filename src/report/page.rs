//! The page itself: head, style, figures at a glance, sections.

use super::html::{Html, element};

const STYLE: &str = include_str!("page.css");
/// Nothing is loaded, nothing runs, nothing is sent: pictures and styles are those in the page.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A report.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    lead: Html,
    notes: Vec<Html>,
    tiles: Vec<Tile>,
    sections: Vec<(&'static str, &'static str, Html)>,
}

/// A figure at a glance.
#[derive(Clone, Debug)]
pub struct Tile {
    /// The figure, with its unit.
    pub value: String,
    /// What it is.
    pub name: &'static str,
    /// What it is compared with, or of how many it is.
    pub beside: String,
}

impl Page {
    /// A page with a title and a sentence of what it is about.
    #[must_use]
    pub fn new(title: &str, lead: impl Into<Html>) -> Page {
        let (title, lead) = (title.to_owned(), lead.into());
        Page { title, lead, notes: Vec::new(), tiles: Vec::new(), sections: Vec::new() }
    }

    /// Adds something that must be read first.
    pub fn note(&mut self, text: impl Into<Html>) {
        self.notes.push(text.into());
    }

    /// Adds a figure at a glance.
    pub fn tile(&mut self, tile: Tile) {
        self.tiles.push(tile);
    }

    /// Adds a section, whose `id` is one word.
    pub fn section(&mut self, id: &'static str, title: &'static str, content: impl Into<Html>) {
        self.sections.push((id, title, content.into()));
    }

    /// The whole file.
    #[must_use]
    pub fn html(&self) -> String {
        let link = |(id, title, _): &(&'static str, &'static str, Html)| {
            element("a", "").set("href", format!("#{id}")).with(*title)
        };
        let tile = |tile: &Tile| {
            let Tile { value, name, beside } = tile;
            element("div", "tile")
                .with(element("span", "name").with(*name))
                .with(element("span", "value").with(value.as_str()))
                .with(element("span", "beside").with(beside.as_str()))
        };
        let section = |(id, title, content): &(&'static str, &'static str, Html)| {
            element("section", "").set("id", id).with(element("h2", "").with(*title)).with(content.clone())
        };
        let head = element("header", "")
            .with(element("h1", "").with(self.title.as_str()))
            .with(element("p", "lead").with(self.lead.clone()))
            .with_all(self.notes.iter().map(|note| element("p", "note").with(note.clone())))
            .with(element("nav", "").with_all(self.sections.iter().map(link)));
        let body = element("main", "")
            .with(head)
            .with(element("div", "tiles").with_all(self.tiles.iter().map(tile)))
            .with_all(self.sections.iter().map(section));
        let title = Html::from(element("title", "").with(self.title.as_str()));
        let policy = element("meta", "").set("http-equiv", "Content-Security-Policy").set("content", POLICY);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{}\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n{}\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}\n</body>\n</html>\n",
            Html::from(policy).as_str(),
            title.as_str(),
            Html::from(body).as_str(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_needs_nothing_from_elsewhere_and_runs_nothing() {
        let mut page = Page::new("A <b>", "Lead & more");
        page.note("first");
        page.tile(Tile { value: "1 ms".into(), name: "age", beside: "of 2".into() });
        page.section("answers", "Answers", element("p", "").with("<script>"));
        let html = page.html();
        for part in ["<title>A &lt;b&gt;</title>", "Lead &amp; more", "href=\"#answers\"", "id=\"answers\""] {
            assert!(html.contains(part), "{part} is not in\n{html}");
        }
        for foreign in ["<script", "http://", "https://", "@import", "<link"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        assert!(html.contains("default-src &#39;none&#39;"));
        assert!(html.contains("prefers-color-scheme: dark"));
    }
}
