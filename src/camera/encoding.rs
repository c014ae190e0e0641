//! The encodings of raw images, by the names of ROS `sensor_msgs/image_encodings`.

use super::PixelFormat;
use super::error::{FrameError, ShortName};

impl PixelFormat {
    /// The format that an image message names.
    ///
    /// # Errors
    /// [`FrameError::DepthEncoding`] for depth, [`FrameError::UnknownEncoding`] for anything else that we cannot show.
    pub fn from_encoding(encoding: &str) -> Result<PixelFormat, FrameError> {
        Ok(match encoding {
            "rgb8" => PixelFormat::Rgb8,
            "bgr8" | "8UC3" => PixelFormat::Bgr8,
            "rgba8" => PixelFormat::Rgba8,
            "bgra8" => PixelFormat::Bgra8,
            "mono8" | "8UC1" => PixelFormat::Mono8,
            "yuv422" | "uyvy" => PixelFormat::Uyvy,
            "yuv422_yuy2" | "yuyv" => PixelFormat::Yuyv,
            "nv12" => PixelFormat::Nv12,
            "bayer_rggb8" => PixelFormat::BayerRggb8,
            "bayer_bggr8" => PixelFormat::BayerBggr8,
            "bayer_gbrg8" => PixelFormat::BayerGbrg8,
            "bayer_grbg8" => PixelFormat::BayerGrbg8,
            "mono16" => PixelFormat::Mono16,
            "rgb16" => PixelFormat::Rgb16,
            "bgr16" | "16UC3" => PixelFormat::Bgr16,
            "rgba16" => PixelFormat::Rgba16,
            "bgra16" => PixelFormat::Bgra16,
            "bayer_rggb16" => PixelFormat::BayerRggb16,
            "bayer_bggr16" => PixelFormat::BayerBggr16,
            "bayer_gbrg16" => PixelFormat::BayerGbrg16,
            "bayer_grbg16" => PixelFormat::BayerGrbg16,
            _ if is_depth(encoding) => return Err(FrameError::DepthEncoding(ShortName::new(encoding))),
            _ => return Err(FrameError::UnknownEncoding(ShortName::new(encoding))),
        })
    }
}

/// Encodings of depth and disparity cameras.
pub(super) fn is_depth(encoding: &str) -> bool {
    ["16UC1", "16SC1", "32FC1", "64FC1"].contains(&encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_name_and_its_other_names() {
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::from_encoding(format.name()), Ok(format));
        }
        assert_eq!(PixelFormat::from_encoding("8UC1"), Ok(PixelFormat::Mono8));
        assert_eq!(PixelFormat::from_encoding("8UC3"), Ok(PixelFormat::Bgr8));
        assert_eq!(PixelFormat::from_encoding("uyvy"), Ok(PixelFormat::Uyvy));
        assert_eq!(PixelFormat::from_encoding("yuyv"), Ok(PixelFormat::Yuyv));
    }

    #[test]
    fn depth_is_told_from_the_unknown() {
        let reason = |name| PixelFormat::from_encoding(name).unwrap_err().reason();
        assert_eq!(reason("16UC1"), "depth_encoding");
        assert_eq!(reason("32FC1"), "depth_encoding");
        assert_eq!(reason("RGB8"), "unknown_encoding");
        assert_eq!(reason(""), "unknown_encoding");
    }
}
