//! Pictures out of messages and files, decoded into one buffer.

use super::came::Pixels;
use crate::camera::{Decoder, FrameError, RawFrame, convert, size_in_header};
use crate::ros2::messages::{
    CompressedImageView, HeaderView, ImageView, Message, decode, split_encapsulation,
};

/// No camera's frame is larger.
const PIXELS_MAX: u64 = 1 << 26;

/// Room for one picture.
#[derive(Default)]
pub(super) struct Pictures {
    decoder: Decoder,
    rgb: Vec<u8>,
}

impl Pictures {
    pub(super) fn of_message<'a>(
        &'a mut self,
        ros_type: &str,
        data: &'a [u8],
    ) -> (Option<i64>, Result<Pixels<'a>, String>) {
        let malformed = |why: &dyn std::fmt::Display| format!("not a message of type {ros_type}: {why}");
        let Some((order, body)) = split_encapsulation(data) else {
            return (None, Err(malformed(&"it is not in plain CDR")));
        };
        let stamp = |header: &HeaderView| Some(header.stamp.ns());
        if ros_type == CompressedImageView::TYPE {
            return match decode::<CompressedImageView<'_>>(body, order) {
                Ok(view) => (stamp(&view.header), self.of_file(view.format.as_str(), view.data)),
                Err(error) => (None, Err(malformed(&error))),
            };
        }
        match decode::<ImageView<'_>>(body, order) {
            Ok(view) => (stamp(&view.header), self.of_raw(&view)),
            Err(error) => (None, Err(malformed(&error))),
        }
    }

    fn of_raw(&mut self, view: &ImageView<'_>) -> Result<Pixels<'_>, String> {
        let &ImageView { width, height, step, is_bigendian, data, .. } = view;
        // What the bytes cannot hold is not made room for.
        if (data.len() as u64) < u64::from(width) * u64::from(height) {
            let n = data.len();
            return Err(format!("{width}×{height} pixels of `{}` in {n} bytes", view.encoding.as_str()));
        }
        self.make_room(width, height)?;
        let encoding = view.encoding.as_str();
        let raw = RawFrame { width, height, step, encoding, is_bigendian: is_bigendian != 0, data };
        let size = convert(&raw, &mut self.rgb).map_err(|error| error.to_string())?;
        Ok(Pixels { rgb: &self.rgb[..size.rgb_bytes()], size, data: None })
    }

    pub(super) fn of_file<'a>(&'a mut self, format: &str, data: &'a [u8]) -> Result<Pixels<'a>, String> {
        // The decoder says itself what is wrong with bytes that tell no size.
        let (width, height) = size_in_header(data).or_else(|| gif_size(data)).unwrap_or((1, 1));
        self.make_room(width, height)?;
        let decoded = self.decoder.decode(format, data, &mut self.rgb);
        let size = decoded.map_err(|error: FrameError| error.to_string())?;
        Ok(Pixels { rgb: &self.rgb[..size.rgb_bytes()], size, data: Some(data) })
    }

    fn make_room(&mut self, width: u32, height: u32) -> Result<(), String> {
        let n_pixels = u64::from(width) * u64::from(height);
        if PIXELS_MAX < n_pixels {
            return Err(format!("{width}×{height} pixels are over the limit of {PIXELS_MAX}"));
        }
        let n = 3 * n_pixels as usize;
        if self.rgb.len() < n {
            self.rgb.resize(n, 0);
        }
        Ok(())
    }
}

fn gif_size(data: &[u8]) -> Option<(u32, u32)> {
    let at = |offset: usize| Some(u32::from(u16::from_le_bytes(*data.get(offset..)?.first_chunk()?)));
    data.starts_with(b"GIF8").then_some(())?;
    Some((at(6)?, at(8)?))
}
