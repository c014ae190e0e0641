//! What the demo's pictures are drawn on. Letters are embedded-graphics' own bitmaps, so that no font of the system is needed.

use std::convert::Infallible;
use std::path::Path;

use anyhow::Context as _;
use embedded_graphics::Pixel;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_9X15;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Line, PrimitiveStyle};
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};
use image::{ImageFormat, Rgb, RgbImage};

use crate::install;
use crate::scenes::SIZE;

/// Height of a letter, in pixels.
pub(super) const LETTER_HEIGHT: u32 = 15;

/// A white picture to draw on. What lies outside of it is not drawn.
pub(super) struct Canvas {
    image: RgbImage,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self { image: RgbImage::from_pixel(width, height, Rgb([255; 3])) }
    }

    /// Writes a line of Latin-1 whose middle is at the height of `at`.
    pub(super) fn text(&mut self, at: Point, alignment: Alignment, text: &str, color: Rgb888) {
        let letters = MonoTextStyle::new(&FONT_9X15, color);
        let style = TextStyleBuilder::new().alignment(alignment).baseline(Baseline::Middle).build();
        let Ok(_) = Text::with_text_style(text, at, letters, style).draw(self);
    }

    pub(super) fn line(&mut self, from: Point, to: Point, color: Rgb888, width: u32) {
        let Ok(()) = Line::new(from, to).into_styled(PrimitiveStyle::with_stroke(color, width)).draw(self);
    }

    /// Shows a camera frame, each of its pixels as a square of `scale` pixels.
    pub(super) fn frame(&mut self, left: u32, top: u32, rgb: &[u8], scale: u32) {
        let side = SIZE as u32 * scale;
        for (x, y) in (0..side).flat_map(|y| (0..side).map(move |x| (x, y))) {
            let at = ((y / scale) as usize * SIZE + (x / scale) as usize) * 3;
            self.image.put_pixel(left + x, top + y, Rgb([rgb[at], rgb[at + 1], rgb[at + 2]]));
        }
    }

    /// # Errors
    /// If the file cannot be written.
    pub(super) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let mut file = install::Partial::create(path).with_context(|| path.display().to_string())?;
        self.image.write_to(&mut file, ImageFormat::Png).with_context(|| path.display().to_string())?;
        file.put().with_context(|| path.display().to_string())
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.image.width(), self.image.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            let place = u32::try_from(at.x).ok().zip(u32::try_from(at.y).ok());
            if let Some(pixel) = place.and_then(|(x, y)| self.image.get_pixel_mut_checked(x, y)) {
                *pixel = Rgb([color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}
