//! What an answer says that is seen and where: as detections in pixels of the image, and drawn over it.

use jpeg_encoder::{ColorType, Encoder};

use crate::drawing::{Alignment, Canvas, Color, LETTER_HEIGHT, LETTER_WIDTH, Point};
use crate::ros2::messages::{Box2D, Detection, Detections, Header, Hypothesis};
use crate::runtime::reason::Place;

/// Of the picture that is shown, out of 100.
const JPEG_QUALITY: u8 = 85;
/// JPEG's sides are 16 bits wide.
const SIDE_MAX: usize = u16::MAX as usize;
/// Lines of an answer that are shown; the rest of it stands on its own topic.
const LINES_MAX: usize = 4;
const MARGIN: i32 = 4;
const MARK: Color = Color::new(255, 210, 0);
const BAND: Color = Color::new(20, 20, 20);
const LETTERS: Color = Color::new(255, 255, 255);

/// The boxes and points of an answer about the image of this header. A point is a box without a size.
///
/// What has a name has one hypothesis, of score 1: the model tells none.
pub(super) fn detections(places: &[Place], header: &Header) -> Detections {
    let detection = |place: &Place| {
        let (center, [size_x, size_y]) = match *place.pixels.as_deref()? {
            [left, top, right, bottom] => {
                // A model may name any corner first.
                ([(left + right) / 2.0, (top + bottom) / 2.0], [(right - left).abs(), (bottom - top).abs()])
            }
            [across, down] => ([across, down], [0.0; 2]),
            _ => return None,
        };
        let named =
            |label: &String| Hypothesis { class_id: label.clone(), score: 1.0, ..Hypothesis::default() };
        Some(Detection {
            header: header.clone(),
            results: place.label.iter().map(named).collect(),
            bbox: Box2D { center, theta: 0.0, size_x, size_y },
            id: String::new(),
        })
    };
    Detections { header: header.clone(), detections: places.iter().filter_map(detection).collect() }
}

/// A JPEG of the picture with the answer, its places and its age drawn over it; none if it is too large for one.
pub fn annotated(
    rgb: &[u8],
    [width, height]: [usize; 2],
    answer: &str,
    places: &[Place],
    age_ms: f64,
) -> Option<Vec<u8>> {
    if SIDE_MAX < width || SIDE_MAX < height {
        return None;
    }
    let (right, bottom) = (width as i32 - 1, height as i32 - 1);
    let mut canvas = Canvas::over(rgb, width as u32, height as u32);
    for place in places {
        mark(&mut canvas, place, [right, bottom]);
    }
    let line = LETTER_HEIGHT as i32 + MARGIN;
    let mut lines = lines(answer, (width.saturating_sub(2 * MARGIN as usize)) / LETTER_WIDTH as usize);
    // What is seen is not to be covered by what is said of it.
    lines.truncate((height / 3 / line as usize).max(1));
    let top = bottom + 1 - line * lines.len() as i32;
    if !lines.is_empty() {
        canvas.fill([Point::new(0, top), Point::new(right, bottom)], BAND);
    }
    for (i, text) in lines.iter().enumerate() {
        let at = Point::new(MARGIN, top + line * i as i32 + line / 2);
        canvas.text(at, Alignment::Left, text, LETTERS);
    }
    let age = format!("{age_ms:.0} ms");
    let left = right - MARGIN - (age.len() as u32 * LETTER_WIDTH) as i32;
    canvas.fill([Point::new(left - MARGIN, 0), Point::new(right, line)], BAND);
    canvas.text(Point::new(left, line / 2), Alignment::Left, &age, LETTERS);

    let mut jpeg = Vec::new();
    let encoder = Encoder::new(&mut jpeg, JPEG_QUALITY);
    // It writes to memory, and the sides were looked at.
    encoder.encode(canvas.rgb(), width as u16, height as u16, ColorType::Rgb).ok()?;
    Some(jpeg)
}

fn mark(canvas: &mut Canvas, place: &Place, last: [i32; 2]) {
    let within = |(i, pixel): (usize, &f64)| (pixel.round() as i32).clamp(0, last[i % 2]);
    let pixels: Vec<i32> = place.pixels.iter().flatten().enumerate().map(within).collect();
    let corner = match pixels[..] {
        [left, top, right, bottom] => {
            canvas.frame([Point::new(left, top), Point::new(right, bottom)], MARK, 2);
            Point::new(left, top)
        }
        [across, down] => {
            let arm = |x, y| Point::new(across + x, down + y);
            canvas.line(arm(-6, 0), arm(6, 0), MARK, 2);
            canvas.line(arm(0, -6), arm(0, 6), MARK, 2);
            arm(8, 8)
        }
        _ => return,
    };
    if let Some(label) = &place.label {
        let at = Point::new(corner.x.max(MARGIN), (corner.y - LETTER_HEIGHT as i32 / 2 - 2).max(MARGIN * 2));
        let shown: String = label.chars().take(40).collect();
        canvas.text(at, Alignment::Left, &shown, MARK);
    }
}

/// A text in lines of so many letters, broken between words where there are any; not all of a long one.
fn lines(text: &str, n_letters: usize) -> Vec<String> {
    if n_letters == 0 {
        return Vec::new();
    }
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(n_letters) {
            let room = lines.last().map_or(0, |line| n_letters.saturating_sub(line.chars().count() + 1));
            if piece.len() <= room && !lines.is_empty() {
                let line = lines.last_mut().expect("there is one");
                line.push(' ');
                line.extend(piece);
            } else if lines.len() < LINES_MAX {
                lines.push(piece.iter().collect());
            } else {
                return lines;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(label: Option<&str>, pixels: &[f64]) -> Place {
        Place { label: label.map(str::to_owned), units: Vec::new(), pixels: Some(pixels.to_vec()) }
    }

    #[test]
    fn boxes_are_told_by_their_middle_and_points_have_no_size() {
        let header = Header { frame_id: "cam".to_owned(), ..Header::default() };
        let places = [
            place(Some("cup"), &[10.0, 20.0, 30.0, 60.0]),
            place(None, &[5.0, 6.0]),
            Place { pixels: None, ..place(None, &[]) },
        ];
        let found = detections(&places, &header);
        assert_eq!((found.detections.len(), found.header.frame_id.as_str()), (2, "cam"));
        let [cup, point] = &found.detections[..] else { panic!("{found:?}") };
        assert_eq!((cup.bbox.center, cup.bbox.size_x, cup.bbox.size_y), ([20.0, 40.0], 20.0, 40.0));
        assert_eq!((cup.results[0].class_id.as_str(), cup.results[0].score), ("cup", 1.0));
        assert_eq!((point.bbox.center, point.bbox.size_x, point.results.len()), ([5.0, 6.0], 0.0, 0));
    }

    #[test]
    fn an_answer_is_drawn_over_its_picture() {
        let (width, height) = (200, 120);
        let rgb = vec![100; 3 * width * height];
        let places = [place(Some("cup"), &[50.0, 30.0, 90.0, 60.0]), place(None, &[150.0, 50.0])];
        let drawn = |places: &[Place], answer: &str| {
            let jpeg = annotated(&rgb, [width, height], answer, places, 123.4).unwrap();
            let image = image::load_from_memory(&jpeg).unwrap().to_rgb8();
            assert_eq!(image.dimensions(), (width as u32, height as u32));
            move |x: u32, y: u32| image.get_pixel(x, y).0.map(i32::from)
        };
        let is_marked = |[red, green, _]: [i32; 3]| 150 < red && 120 < green;
        let (bare, full) = (drawn(&[], ""), drawn(&places, "It is a cup"));
        for (x, y) in [(50, 45), (89, 45), (70, 31), (70, 59), (150, 50)] {
            assert!(is_marked(full(x, y)), "{x}, {y}: {:?}", full(x, y));
            assert!(!is_marked(bare(x, y)), "{x}, {y}: {:?}", bare(x, y));
        }
        assert!(!is_marked(full(70, 45)), "the inside of a box is seen");
        let dark = |[red, ..]: [i32; 3]| red < 60;
        assert!(dark(full(198, 118)) && !dark(bare(198, 118)), "the answer's band");
        assert!(dark(bare(198, 2)), "the age's");
    }

    #[test]
    fn long_texts_are_broken_between_words_and_cut() {
        assert_eq!(lines("a red ball is here", 10), ["a red ball", "is here"]);
        assert_eq!(lines("unbreakable", 4), ["unbr", "eaka", "ble"]);
        assert_eq!(lines(&"word ".repeat(99), 4).len(), LINES_MAX);
        assert_eq!(lines("anything", 0), Vec::<String>::new());
    }

    #[test]
    fn the_smallest_pictures_are_drawn_too() {
        for side in [1, 2, 9, 17] {
            let rgb = vec![0; 3 * side * side];
            let far = [place(Some("beyond"), &[-50.0, 1e9, 3e9, 2e9])];
            assert!(annotated(&rgb, [side, side], "an answer", &far, 1e9).is_some(), "{side}");
        }
        assert_eq!(annotated(&[], [SIDE_MAX + 1, 1], "", &[], 0.0), None);
    }
}
