//! Boxes of answers, as detectors are judged: intersection over union.

use crate::runtime::reason::places;

/// The intersection over union with the true box from which a box is right: one unit of the model's grid more or less is no mistake.
pub const IOU_MIN: f64 = 0.5;

/// The first box that a text names, if it names one: left, top, right, bottom, each 0 to 1000.
#[must_use]
pub fn box_in(text: &str) -> Option<[f64; 4]> {
    places(text, None).iter().find_map(|place| <[f64; 4]>::try_from(place.units.as_slice()).ok())
}

/// Intersection over union of the first boxes of two texts; 0 where one has none.
#[must_use]
pub fn iou(found: &str, truth: &str) -> f64 {
    let (Some(a), Some(b)) = (box_in(found), box_in(truth)) else { return 0.0 };
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let shared = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let union = area(a) + area(b) - shared;
    if 0.0 < union { shared / union } else { 0.0 }
}

#[cfg(test)]
#[test]
fn boxes_are_judged_by_what_they_share() {
    for (found, truth, expected) in [
        ("[0, 0, 100, 100]", "[0, 0, 100, 100]", 1.0),
        ("[0, 0, 100, 100]", "[50, 0, 150, 100]", 1.0 / 3.0),
        ("It is at [0, 0, 100, 200].", "[0, 0, 100, 100]", 0.5),
        (r#"{"bbox_2d": [0, 0, 50, 100], "label": "ball"}"#, "[0, 0, 100, 100]", 0.5),
        ("[200, 200, 300, 300]", "[0, 0, 100, 100]", 0.0),
        ("[100, 0, 200, 100]", "[0, 0, 100, 100]", 0.0),
        ("[50, 50, 50, 50]", "[50, 50, 50, 50]", 0.0),
        ("[100, 100, 0, 0]", "[0, 0, 100, 100]", 0.0),
        ("on the left", "[0, 0, 100, 100]", 0.0),
        ("[0, 0, 1e300, nan]", "[0, 0, 100, 100]", 0.0),
    ] {
        assert!((iou(found, truth) - expected).abs() < 1e-12, "{found} of {truth}: {}", iou(found, truth));
    }
}
