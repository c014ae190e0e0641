//! The pictures of a question's frames.

use std::sync::Arc;

use crate::camera::{Decoder, FrameError};
use crate::frames::decoded::Decoded;
use crate::frames::frame::Received;

/// Decodes what is not yet decoded of a question's frames, and returns the pictures in their order.
///
/// # Errors
/// The first frame that cannot be used, counted from zero, and why.
pub fn decode(decoder: &mut Decoder, frames: &[Received]) -> Result<Vec<Arc<Decoded>>, (usize, FrameError)> {
    let decode =
        |(i, received): (usize, &Received)| received.frame.decode(decoder).map_err(|error| (i, error));
    frames.iter().enumerate().map(decode).collect()
}
