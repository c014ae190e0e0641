//! Boxes and points that an answer names, as the model writes them (0 to 1000 across and down) and in pixels of the source image.
//!
//! Two ways of writing are read: JSON as Cosmos-Reason2 writes it (`{"bbox_2d": [l, t, r, b], "label": "cup"}`, `point_2d`), and bare
//! `[left, top, right, bottom]`. Anything else in brackets is left alone.

use serde::Serialize;

/// The model's units along each side of an image.
const UNITS: f64 = 1000.0;
/// No answer names more; bounds the work on one that repeats itself.
const PLACES_MAX: usize = 256;

/// A box or a point of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// What it is, if the answer says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// As written: left, top, right, bottom, or across and down, each 0 to 1000.
    pub units: Vec<f64>,
    /// The same in pixels of the source image; absent if the question showed images of different sizes, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<Vec<f64>>,
}

/// Every box and point in `text`, in order; `size` is the width and height of the image that it is about.
pub fn places(text: &str, size: Option<[usize; 2]>) -> Vec<Place> {
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find('[').map(|at| from + at) {
        from = open + 1;
        let Some(close) = text[from..].find(']').map(|at| from + at) else { break };
        let Some(units) = numbers(&text[from..close]) else { continue };
        let key = key_before(&text[..open]);
        let fits = match (key, units.len()) {
            (Some("bbox_2d" | "bbox" | "box"), 4) => true,
            (Some("point_2d" | "point"), 2) => true,
            (None, 4) => units[0] <= units[2] && units[1] <= units[3],
            _ => false,
        };
        if fits && places.len() < PLACES_MAX {
            let pixels = size.map(|size| {
                let scaled = units.iter().enumerate().map(|(i, u)| u / UNITS * size[i % 2] as f64);
                scaled.map(|p| (p * 100.0).round() / 100.0).collect()
            });
            let label = key.and_then(|_| label_around(text, open, close));
            places.push(Place { label, units, pixels });
        }
        from = close + 1;
    }
    places
}

/// Two or four numbers of 0 to 1000 with commas between them.
fn numbers(text: &str) -> Option<Vec<f64>> {
    let numbers: Vec<f64> = text.split(',').take(5).map(|n| n.trim().parse().ok()).collect::<Option<_>>()?;
    let in_range = numbers.iter().all(|n| (0.0..=UNITS).contains(n));
    (in_range && matches!(numbers.len(), 2 | 4)).then_some(numbers)
}

/// `name` if the text ends with `"name":`.
fn key_before(text: &str) -> Option<&str> {
    let text = text.trim_end().strip_suffix(':')?.trim_end().strip_suffix('"')?;
    Some(&text[text.rfind('"')? + 1..])
}

/// The value of `"label"` in the JSON object around a place.
fn label_around(text: &str, open: usize, close: usize) -> Option<String> {
    let begin = text[..open].rfind('{')?;
    let end = close + text[close..].find('}')? + 1;
    let object: serde_json::Value = serde_json::from_str(&text[begin..end]).ok()?;
    Some(object.get("label")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<Vec<f64>> {
        places(text, None).into_iter().map(|p| p.units).collect()
    }

    #[test]
    fn bare_boxes_are_scaled_to_the_image() {
        let found = places("[250, 500, 1000, 750]", Some([64, 48]));
        assert_eq!(found[0].units, [250.0, 500.0, 1000.0, 750.0]);
        assert_eq!(found[0].pixels.as_deref(), Some(&[16.0, 24.0, 64.0, 36.0][..]));
        assert_eq!(found[0].label, None);
    }

    #[test]
    fn json_boxes_and_points_have_labels() {
        let text = r#"```json
[{"bbox_2d": [1, 2, 3, 4], "label": "a \"cup\""}, {"label": "tip", "point_2d": [5, 6]}]
```"#;
        let found = places(text, None);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].label.as_deref(), found[1].label.as_deref()), (Some("a \"cup\""), Some("tip")));
        assert_eq!((found[1].units.as_slice(), &found[1].pixels), (&[5.0, 6.0][..], &None));
    }

    #[test]
    fn other_brackets_are_left_alone() {
        let nothing: [Vec<f64>; 0] = [];
        for text in ["[1, 2, 3]", "[1, 2, 3, 1001]", "[9, 2, 3, 4]", "[a, b]", "[1, 2", "[", "[]", "[1, 2]"] {
            assert_eq!(units(text), nothing, "{text}");
        }
        assert_eq!(units("[[1, 2, 3, 4], [5, 6, 7, 8]]"), [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]);
    }

    #[test]
    fn a_box_may_be_a_line_and_pixels_have_two_places() {
        assert_eq!(units("[7, 2, 7, 4] [1, 5, 3, 5]"), [[7.0, 2.0, 7.0, 4.0], [1.0, 5.0, 3.0, 5.0]]);
        let found = places("[1, 1, 333, 1000]", Some([64, 48]));
        assert_eq!(found[0].pixels.as_deref(), Some(&[0.06, 0.05, 21.31, 48.0][..]));
    }

    #[test]
    fn an_answer_that_repeats_itself_names_so_many_places_and_no_more() {
        assert_eq!(places(&"[1, 2, 3, 4] ".repeat(300), None).len(), PLACES_MAX);
    }
}
