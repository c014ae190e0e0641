//! Pictures to draw on: the demo's sheets and plots, and what a node shows of its answers. Letters are embedded-graphics' own
//! bitmaps, so that no font of the system is needed.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use embedded_graphics::Pixel;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_9X15;
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Primitive, RgbColor, Size};
use embedded_graphics::primitives::{
    Line, PrimitiveStyle, PrimitiveStyleBuilder, Rectangle, StrokeAlignment,
};
use embedded_graphics::text::{Baseline, Text, TextStyleBuilder};
use image::{ImageFormat, Rgb, RgbImage};

pub use embedded_graphics::geometry::Point;
pub use embedded_graphics::pixelcolor::Rgb888 as Color;
pub use embedded_graphics::text::Alignment;

use crate::install;

/// Height of a letter, in pixels.
pub const LETTER_HEIGHT: u32 = 15;
/// Width of a letter, in pixels.
pub const LETTER_WIDTH: u32 = 9;

/// A picture to draw on. What lies outside of it is not drawn.
#[derive(Debug)]
pub struct Canvas {
    image: RgbImage,
}

impl Canvas {
    /// A white one.
    pub fn new(width: u32, height: u32) -> Self {
        Self { image: RgbImage::from_pixel(width, height, Rgb([255; 3])) }
    }

    /// One that shows this already, `[height, width, 3]`.
    ///
    /// # Panics
    /// If it is too short.
    pub fn over(rgb: &[u8], width: u32, height: u32) -> Self {
        let bytes = rgb[..3 * width as usize * height as usize].to_vec();
        Self { image: RgbImage::from_raw(width, height, bytes).expect("as long as its size says") }
    }

    /// What it shows, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        self.image.as_raw()
    }

    /// Writes a line of Latin-1 whose middle is at the height of `at`.
    pub fn text(&mut self, at: Point, alignment: Alignment, text: &str, color: Color) {
        let letters = MonoTextStyle::new(&FONT_9X15, color);
        let style = TextStyleBuilder::new().alignment(alignment).baseline(Baseline::Middle).build();
        let Ok(_) = Text::with_text_style(text, at, letters, style).draw(self);
    }

    /// Draws a line of this width.
    pub fn line(&mut self, from: Point, to: Point, color: Color, width: u32) {
        let Ok(()) = Line::new(from, to).into_styled(PrimitiveStyle::with_stroke(color, width)).draw(self);
    }

    /// Draws the sides of a rectangle, within it.
    pub fn frame(&mut self, [from, to]: [Point; 2], color: Color, width: u32) {
        let style = PrimitiveStyleBuilder::new()
            .stroke_color(color)
            .stroke_width(width)
            .stroke_alignment(StrokeAlignment::Inside)
            .build();
        let Ok(()) = Rectangle::with_corners(from, to).into_styled(style).draw(self);
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, [from, to]: [Point; 2], color: Color) {
        let style = PrimitiveStyle::with_fill(color);
        let Ok(()) = Rectangle::with_corners(from, to).into_styled(style).draw(self);
    }

    /// Shows a square picture of `side` pixels, each of its pixels as a square of `scale` pixels.
    pub fn picture(&mut self, left: u32, top: u32, rgb: &[u8], side: usize, scale: u32) {
        let whole = side as u32 * scale;
        for (x, y) in (0..whole).flat_map(|y| (0..whole).map(move |x| (x, y))) {
            let at = ((y / scale) as usize * side + (x / scale) as usize) * 3;
            self.image.put_pixel(left + x, top + y, Rgb([rgb[at], rgb[at + 1], rgb[at + 2]]));
        }
    }

    /// Writes it as PNG.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = install::Partial::create(path)?;
        self.image.write_to(&mut file, ImageFormat::Png).map_err(io::Error::other)?;
        file.put()
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.image.width(), self.image.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Color;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Color>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            let place = u32::try_from(at.x).ok().zip(u32::try_from(at.y).ok());
            if let Some(pixel) = place.and_then(|(x, y)| self.image.get_pixel_mut_checked(x, y)) {
                *pixel = Rgb([color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}
