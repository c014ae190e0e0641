//! Tables, and bars in their cells.

use super::html::{Html, element};

/// A table: the first column to the left, the others to the right. It scrolls by itself where a page is too narrow.
#[must_use]
pub fn table(heading: &[&str], rows: Vec<Vec<Html>>) -> Html {
    let head = element("tr", "").with_all(heading.iter().map(|cell| element("th", "").with(*cell)));
    let row = |cells: Vec<Html>| {
        element("tr", "").with_all(cells.into_iter().map(|cell| element("td", "").with(cell)))
    };
    let body = element("tbody", "").with_all(rows.into_iter().map(row));
    let table = element("table", "").with(element("thead", "").with(head)).with(body);
    element("div", "scroll").with(table).into()
}

/// A share of 0 to 1 as a bar; nothing where there is none.
#[must_use]
pub fn bar(share: Option<f64>) -> Html {
    let Some(share) = share.filter(|share| share.is_finite()) else { return Html::new() };
    let width = format!("width:{:.1}%", 100.0 * share.clamp(0.0, 1.0));
    element("div", "bar").set("aria-hidden", "true").with(element("div", "").set("style", width)).into()
}

#[cfg(test)]
#[test]
fn cells_are_text_and_bars_are_shares() {
    let rows = vec![vec![Html::from("a<b"), bar(Some(0.25))], vec!["x".into(), bar(None)]];
    let html = table(&["name", "share"], rows);
    assert!(html.as_str().contains("<th>name</th><th>share</th>"));
    assert!(html.as_str().contains("<td>a&lt;b</td>") && html.as_str().contains("width:25.0%"));
    assert!(html.as_str().ends_with("<tr><td>x</td><td></td></tr></tbody></table></div>"));
}
