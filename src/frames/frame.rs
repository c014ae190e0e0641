//! Camera frames in buffers that are claimed once.
//!
//! A transport decodes under a lock that its network thread also wants, so that taking a frame is one copy into memory
//! that is already there. Frames are shared by [`Arc`]: consecutive clips overlap, and a buffer is free again when the
//! last clip has let go of it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::frames::accounts::DropReason;
use crate::frames::clock::Moment;
use crate::ros2::messages::{ByteOrder, CompressedImageView, HeaderView, ImageView, ShortString, decode};

/// How the bytes of a frame are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Rows of pixels.
    Raw {
        /// The pixel format by its ROS name.
        encoding: ShortString<63>,
        /// Pixels of a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes from one row to the next.
        step: u32,
        /// Whether wide samples stand most significant byte first.
        is_bigendian: bool,
    },
    /// A file in memory.
    Compressed {
        /// What `CompressedImage.format` says.
        format: ShortString<63>,
    },
}

/// Which of the two image messages a topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageTransport {
    /// `sensor_msgs/msg/Image`
    Raw,
    /// `sensor_msgs/msg/CompressedImage`
    Compressed,
}

/// One image as it came, in a buffer of the pool.
#[derive(Debug)]
pub struct Frame {
    /// When the scene was seen, in ROS time.
    pub stamp_ns: i64,
    /// The camera's coordinate frame.
    pub frame_id: ShortString<255>,
    /// How to read the bytes.
    pub format: Format,
    data: Vec<u8>,
}

impl Frame {
    /// The image's bytes, perhaps followed by padding.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Width and height as the message says; compressed frames do not say.
    pub fn size(&self) -> Option<(u32, u32)> {
        match self.format {
            Format::Raw { width, height, .. } => Some((width, height)),
            Format::Compressed { .. } => None,
        }
    }
}

/// A frame with what we know of its way here.
#[derive(Debug, Clone)]
pub struct Received {
    /// The image.
    pub frame: Arc<Frame>,
    /// When it reached us.
    pub receipt: Moment,
    /// When an answer about it is too late, in steady time.
    pub deadline_steady_ns: i64,
    /// Whether its stamp cannot be right by our clock, so that its age counts from its receipt.
    pub stamp_suspect: bool,
    /// Where it stands among the frames that were taken in: the next frame of an unbroken clip has the next place.
    pub place: u64,
}

/// A fixed number of frames of bounded size.
#[derive(Debug)]
pub struct FramePool {
    frames: Mutex<Vec<Arc<Frame>>>,
    frame_bytes_max: usize,
}

impl FramePool {
    /// Claims `n_frames` buffers of `frame_bytes_max` bytes. The kernel backs them with memory as they are used.
    pub fn new(n_frames: usize, frame_bytes_max: usize) -> Self {
        let empty = || Frame {
            stamp_ns: 0,
            frame_id: ShortString::default(),
            format: Format::Compressed { format: ShortString::default() },
            data: Vec::with_capacity(frame_bytes_max),
        };
        Self { frames: Mutex::new((0..n_frames).map(|_| Arc::new(empty())).collect()), frame_bytes_max }
    }

    /// Takes an image message's body into a free buffer.
    ///
    /// # Errors
    /// The reason to drop it: malformed, oversized, or no buffer is free. It never grows the pool.
    pub fn take(
        &self,
        transport: ImageTransport,
        body: &[u8],
        order: ByteOrder,
    ) -> Result<Arc<Frame>, DropReason> {
        match transport {
            ImageTransport::Raw => {
                let view: ImageView<'_> = decode(body, order).map_err(|_| DropReason::Malformed)?;
                let ImageView { header, height, width, encoding, is_bigendian, step, data } = view;
                let is_bigendian = is_bigendian != 0;
                self.fill(header, Format::Raw { encoding, width, height, step, is_bigendian }, data)
            }
            ImageTransport::Compressed => {
                let view: CompressedImageView<'_> = decode(body, order).map_err(|_| DropReason::Malformed)?;
                self.fill(view.header, Format::Compressed { format: view.format }, view.data)
            }
        }
    }

    fn fill(&self, header: HeaderView, format: Format, data: &[u8]) -> Result<Arc<Frame>, DropReason> {
        if self.frame_bytes_max < data.len() {
            return Err(DropReason::Oversized);
        }
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let free =
            frames.iter_mut().position(|frame| Arc::get_mut(frame).is_some()).ok_or(DropReason::NoBuffer)?;
        let frame = Arc::get_mut(&mut frames[free]).expect("found free a moment ago, under the lock");
        frame.stamp_ns = header.stamp.ns();
        frame.frame_id = header.frame_id;
        frame.format = format;
        frame.data.clear();
        frame.data.extend_from_slice(data);
        Ok(Arc::clone(&frames[free]))
    }

    /// Bytes that the buffers may hold together.
    pub fn claimed_bytes(&self) -> usize {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).len() * self.frame_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::messages::{Time, encode};

    fn body(data: &[u8]) -> Vec<u8> {
        let header =
            HeaderView { stamp: Time { sec: 1, nanosec: 2 }, frame_id: ShortString::new("cam").unwrap() };
        let encoding = ShortString::new("mono8").unwrap();
        let (width, step) = (data.len() as u32, data.len() as u32);
        encode(&ImageView { header, height: 1, width, encoding, is_bigendian: 0, step, data })
    }

    #[test]
    fn a_buffer_is_free_again_when_the_last_holder_lets_go() {
        let pool = FramePool::new(2, 16);
        let take = |data: &[u8]| pool.take(ImageTransport::Raw, &body(data), ByteOrder::Little);
        let (first, second) = (take(&[1]).unwrap(), take(&[2, 3]).unwrap());
        let shared = Arc::clone(&first);
        drop(first);
        assert_eq!(take(&[4]).unwrap_err(), DropReason::NoBuffer);
        drop(shared);
        let third = take(&[4, 5, 6]).unwrap();
        assert_eq!((third.data(), second.data()), (&[4, 5, 6][..], &[2, 3][..]));
        assert_eq!(
            (third.stamp_ns, third.frame_id.as_str(), third.size()),
            (1_000_000_002, "cam", Some((3, 1)))
        );
    }

    #[test]
    fn what_is_too_large_or_malformed_takes_no_buffer() {
        let pool = FramePool::new(1, 4);
        let take = |body: &[u8]| pool.take(ImageTransport::Raw, body, ByteOrder::Little).map(drop);
        assert_eq!(take(&body(&[0; 5])), Err(DropReason::Oversized));
        assert_eq!(take(&body(&[0; 4])[..30]), Err(DropReason::Malformed));
        assert_eq!(take(&body(&[0; 4])), Ok(()));
    }
}
