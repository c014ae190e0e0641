//! Camera frames in a page: as a film that plays, as a strip, as a still with boxes over it.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};

use super::html::{Element, Html, element};

/// Frames of one size, kept once in the page however often they are shown: whatever shows them stands in [`Film::around`].
#[derive(Clone, Debug)]
pub struct Film {
    n_frames: usize,
    width: u32,
    height: u32,
    fps: f64,
    data: String,
}

/// A box to draw over a frame: left, top, right, bottom from 0 to 1000 across and down.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Its corners.
    pub corners: [f64; 4],
    /// How it is drawn: `truth` or `answer`.
    pub class: &'static str,
}

impl Film {
    /// From packed RGB frames of one size, in time order.
    ///
    /// # Panics
    /// If there is no frame, or one is not three bytes for each of its pixels.
    #[must_use]
    pub fn new(frames: &[Vec<u8>], width: u32, height: u32, fps: f64) -> Film {
        let row_bytes = width as usize * 3;
        assert!(frames.iter().all(|frame| frame.len() == row_bytes * height as usize) && !frames.is_empty());
        let rows = (0..height as usize)
            .flat_map(|y| frames.iter().flat_map(move |frame| &frame[y * row_bytes..(y + 1) * row_bytes]));
        let side_by_side: Vec<u8> = rows.copied().collect();
        let data = data_uri(&side_by_side, width * frames.len() as u32, height);
        Film { n_frames: frames.len(), width, height, fps, data }
    }

    /// An element in which the film's parts can be shown.
    #[must_use]
    pub fn around(&self, name: &'static str, class: &str) -> Element {
        let Film { n_frames, width, height, fps, data } = self;
        let seconds = *n_frames as f64 / fps;
        element(name, class).set(
            "style",
            format!("--film:url({data});--n:{n_frames};--w:{width};--h:{height};--s:{seconds:.3}s"),
        )
    }

    /// The film, playing over and over (standing still for who prefers that, and on paper).
    #[must_use]
    pub fn playing(&self, words: &str) -> Html {
        element("div", "film").set("role", "img").set("aria-label", words).into()
    }

    /// All frames side by side.
    #[must_use]
    pub fn strip(&self, words: &str) -> Html {
        element("div", "strip").set("role", "img").set("aria-label", words).into()
    }

    /// Frame number `frame`, counted from 0, with boxes over it.
    #[must_use]
    pub fn still(&self, frame: usize, boxes: &[Overlay], words: &str) -> Html {
        let share = if self.n_frames < 2 { 0.0 } else { frame as f64 / (self.n_frames - 1) as f64 };
        let drawn = boxes.iter().map(|Overlay { corners: [left, top, right, bottom], class }| {
            let number = |value: f64| format!("{value:.1}");
            element("rect", class)
                .set("x", number(*left))
                .set("y", number(*top))
                .set("width", number((right - left).max(0.0)))
                .set("height", number((bottom - top).max(0.0)))
        });
        let drawing = element("svg", "")
            .set("viewBox", "0 0 1000 1000")
            .set("preserveAspectRatio", "none")
            .with_all(drawn);
        element("div", "still")
            .set("role", "img")
            .set("aria-label", words)
            .set("style", format!("--at:{:.3}%", 100.0 * share))
            .with(drawing)
            .into()
    }
}

fn data_uri(rgb: &[u8], width: u32, height: u32) -> String {
    let picture = RgbImage::from_raw(width, height, rgb.to_vec()).expect("three bytes a pixel");
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).expect("memory takes it");
    format!("data:image/png;base64,{}", base64::encode(png.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_keeps_its_frames_side_by_side_and_once() {
        let frames = [10u8, 20, 30].map(|v| vec![v; 2 * 3 * 3]);
        let film = Film::new(&frames, 2, 3, 8.0);
        let page = Html::from(film.around("div", "scene").with(film.playing("a")).with(film.strip("b")));
        assert_eq!(page.as_str().matches("data:image/png;base64,").count(), 1);
        assert!(page.as_str().contains("--n:3;--w:2;--h:3;--s:0.375s"), "{}", page.as_str());
        let coded = film.data.split(',').nth(1).unwrap();
        let strip = image::load_from_memory(&base64::decode(coded).unwrap()).unwrap().into_rgb8();
        assert_eq!(strip.dimensions(), (6, 3));
        assert_eq!([0, 2, 4].map(|x| strip.get_pixel(x, 2).0[0]), [10, 20, 30]);
    }

    #[test]
    fn boxes_lie_over_their_frame() {
        let film = Film::new(&[vec![0; 12], vec![1; 12]], 2, 2, 8.0);
        let boxes = [Overlay { corners: [100.0, 200.0, 50.0, 400.0], class: "truth" }];
        let still = film.still(1, &boxes, "boxes");
        for part in
            ["--at:100.000%", "class=\"truth\" x=\"100.0\" y=\"200.0\" width=\"0.0\" height=\"200.0\""]
        {
            assert!(still.as_str().contains(part), "{}", still.as_str());
        }
    }
}
