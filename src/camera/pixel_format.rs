//! How the bytes of a raw image are laid out.

/// How the bytes of a raw image are laid out. Of samples of 16 bits the high byte counts, as `cv_bridge` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb8,
    /// Blue, green, red; also `8UC3`, as OpenCV keeps colour.
    Bgr8,
    /// Red, green, blue, alpha; alpha is dropped.
    Rgba8,
    /// Blue, green, red, alpha; alpha is dropped.
    Bgra8,
    /// Grey; also `8UC1`.
    Mono8,
    /// U Y0 V Y1 for two pixels (`yuv422`, `uyvy`).
    Uyvy,
    /// Y0 U Y1 V for two pixels (`yuv422_yuy2`, `yuyv`).
    Yuyv,
    /// A plane of Y, then a plane of U V for each 2×2 pixels.
    Nv12,
    /// Colour filter, top left 2×2: red green, green blue.
    BayerRggb8,
    /// Colour filter, top left 2×2: blue green, green red.
    BayerBggr8,
    /// Colour filter, top left 2×2: green blue, red green.
    BayerGbrg8,
    /// Colour filter, top left 2×2: green red, blue green.
    BayerGrbg8,
    /// Grey in 16 bits, as thermal and infrared cameras send it.
    Mono16,
    /// Red, green, blue in 16 bits each.
    Rgb16,
    /// Blue, green, red in 16 bits each; also `16UC3`.
    Bgr16,
    /// Red, green, blue, alpha in 16 bits each; alpha is dropped.
    Rgba16,
    /// Blue, green, red, alpha in 16 bits each; alpha is dropped.
    Bgra16,
    /// As `BayerRggb8`, in 16 bits.
    BayerRggb16,
    /// As `BayerBggr8`, in 16 bits.
    BayerBggr16,
    /// As `BayerGbrg8`, in 16 bits.
    BayerGbrg16,
    /// As `BayerGrbg8`, in 16 bits.
    BayerGrbg16,
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [PixelFormat; 21] = [
        PixelFormat::Rgb8,
        PixelFormat::Bgr8,
        PixelFormat::Rgba8,
        PixelFormat::Bgra8,
        PixelFormat::Mono8,
        PixelFormat::Uyvy,
        PixelFormat::Yuyv,
        PixelFormat::Nv12,
        PixelFormat::BayerRggb8,
        PixelFormat::BayerBggr8,
        PixelFormat::BayerGbrg8,
        PixelFormat::BayerGrbg8,
        PixelFormat::Mono16,
        PixelFormat::Rgb16,
        PixelFormat::Bgr16,
        PixelFormat::Rgba16,
        PixelFormat::Bgra16,
        PixelFormat::BayerRggb16,
        PixelFormat::BayerBggr16,
        PixelFormat::BayerGbrg16,
        PixelFormat::BayerGrbg16,
    ];

    /// Its first name in ROS.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PixelFormat::Rgb8 => "rgb8",
            PixelFormat::Bgr8 => "bgr8",
            PixelFormat::Rgba8 => "rgba8",
            PixelFormat::Bgra8 => "bgra8",
            PixelFormat::Mono8 => "mono8",
            PixelFormat::Uyvy => "yuv422",
            PixelFormat::Yuyv => "yuv422_yuy2",
            PixelFormat::Nv12 => "nv12",
            PixelFormat::BayerRggb8 => "bayer_rggb8",
            PixelFormat::BayerBggr8 => "bayer_bggr8",
            PixelFormat::BayerGbrg8 => "bayer_gbrg8",
            PixelFormat::BayerGrbg8 => "bayer_grbg8",
            PixelFormat::Mono16 => "mono16",
            PixelFormat::Rgb16 => "rgb16",
            PixelFormat::Bgr16 => "bgr16",
            PixelFormat::Rgba16 => "rgba16",
            PixelFormat::Bgra16 => "bgra16",
            PixelFormat::BayerRggb16 => "bayer_rggb16",
            PixelFormat::BayerBggr16 => "bayer_bggr16",
            PixelFormat::BayerGbrg16 => "bayer_gbrg16",
            PixelFormat::BayerGrbg16 => "bayer_grbg16",
        }
    }

    /// Bytes that one pixel takes in a row (of the first plane).
    #[must_use]
    pub fn bytes_per_pixel(self) -> u32 {
        match self {
            PixelFormat::Rgb16 | PixelFormat::Bgr16 => 6,
            PixelFormat::Rgba16 | PixelFormat::Bgra16 => 8,
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => 3,
            PixelFormat::Rgba8 | PixelFormat::Bgra8 => 4,
            PixelFormat::Uyvy | PixelFormat::Yuyv | PixelFormat::Mono16 => 2,
            PixelFormat::BayerRggb16
            | PixelFormat::BayerBggr16
            | PixelFormat::BayerGbrg16
            | PixelFormat::BayerGrbg16 => 2,
            _ => 1,
        }
    }

    /// Pixels across and down that share samples: the image's width and height are multiples of them.
    #[must_use]
    pub fn cell(self) -> (u32, u32) {
        match self {
            PixelFormat::Rgb8
            | PixelFormat::Bgr8
            | PixelFormat::Rgba8
            | PixelFormat::Bgra8
            | PixelFormat::Mono8
            | PixelFormat::Mono16
            | PixelFormat::Rgb16
            | PixelFormat::Bgr16
            | PixelFormat::Rgba16
            | PixelFormat::Bgra16 => (1, 1),
            PixelFormat::Uyvy | PixelFormat::Yuyv => (2, 1),
            _ => (2, 2),
        }
    }
}
