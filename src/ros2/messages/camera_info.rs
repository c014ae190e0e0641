//! `sensor_msgs/msg/CameraInfo`: how a camera maps what is before it to pixels.

use serde::{Deserialize, Serialize};

use super::{Header, Message};

/// The matrices are row-major and about the whole picture that the camera was calibrated for, of `width` by `height` pixels. What is
/// published of it is the region `roi` (the whole where that is empty), of which `binning_x` by `binning_y` pixels were made one
/// (0 is as 1).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CameraInfo {
    /// When and where.
    pub header: Header,
    /// Rows.
    pub height: u32,
    /// Pixels of a row.
    pub width: u32,
    /// How `d` is to be read, such as `plumb_bob`.
    pub distortion_model: String,
    /// Of the lens.
    pub d: Vec<f64>,
    /// `[3, 3]`, of pictures as they are; zeros where nobody calibrated it.
    pub k: [f64; 9],
    /// `[3, 3]`, a rotation, for stereo alone.
    pub r: [f64; 9],
    /// `[3, 4]`, of rectified pictures.
    pub p: [f64; 12],
    /// Pixels of a row that were made one.
    pub binning_x: u32,
    /// Rows that were made one.
    pub binning_y: u32,
    /// The region of the whole picture.
    pub roi: RegionOfInterest,
}

impl Message for CameraInfo {
    const TYPE: &'static str = "sensor_msgs/msg/CameraInfo";
}

/// `sensor_msgs/msg/RegionOfInterest`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionOfInterest {
    /// Its leftmost pixel.
    pub x_offset: u32,
    /// Its topmost row.
    pub y_offset: u32,
    /// Rows.
    pub height: u32,
    /// Pixels of a row.
    pub width: u32,
    /// Whether a rectified picture has another region.
    pub do_rectify: bool,
}

impl CameraInfo {
    /// The region of the whole picture that is published: where it begins, and its size.
    fn region(&self) -> ([u32; 2], [u32; 2]) {
        let RegionOfInterest { x_offset, y_offset, width, height, .. } = self.roi;
        match (width, height) {
            (0, 0) => ([0, 0], [self.width, self.height]),
            size => ([x_offset, y_offset], size.into()),
        }
    }

    fn binning(&self) -> [u32; 2] {
        [self.binning_x.max(1), self.binning_y.max(1)]
    }

    /// Says what is wrong with it, whatever images it is for.
    ///
    /// # Errors
    /// What was expected, and what it has.
    pub fn check(&self) -> Result<(), String> {
        let Self { width, height, d, k, r, p, .. } = self;
        let ([x, y], [columns, rows]) = self.region();
        let is_within =
            |from: u32, n: u32, whole: u32| 0 < n && u64::from(from) + u64::from(n) <= u64::from(whole);
        if !is_within(x, columns, *width) || !is_within(y, rows, *height) {
            return Err(format!("its region of {columns}×{rows} at {x}, {y} is not within {width}×{height}"));
        }
        // Calibrations have up to 14.
        if DISTORTIONS_MAX < d.len() {
            return Err(format!(
                "expected at most {DISTORTIONS_MAX} values of distortion, found {}",
                d.len()
            ));
        }
        match d.iter().chain(k).chain(r).chain(p).all(|value| value.is_finite()) {
            true => Ok(()),
            false => Err("it has a number that is not finite".to_owned()),
        }
    }

    /// The same lens, as it is of a picture that images of the size `image` were scaled to. One of that size is theirs, and what is told
    /// of them holds; of another, region and binning are in the matrices, as `image_geometry` puts them there, which are scaled as
    /// `image_proc` does it.
    ///
    /// # Errors
    /// If it is not about images of that size.
    pub fn scaled(&self, image: [u32; 2], picture: [u32; 2]) -> Result<Self, String> {
        let (offset, region) = self.region();
        let binning = self.binning();
        let told = [region[0] / binning[0], region[1] / binning[1]];
        // A driver may round up.
        let is_told = |i: usize| told[i] == image[i] || region[i].div_ceil(binning[i]) == image[i];
        if !is_told(0) || !is_told(1) {
            let [[width, height], [columns, rows]] = [told, image];
            return Err(format!("it is about images of {width}×{height}, and they are of {columns}×{rows}"));
        }
        if picture == image {
            return Ok(self.clone());
        }
        let scale: [f64; 2] =
            std::array::from_fn(|i| f64::from(picture[i]) / (f64::from(image[i]) * f64::from(binning[i])));
        let (mut k, mut p) = (self.k, self.p);
        for (i, row) in [0, 1].into_iter().enumerate() {
            let from = f64::from(offset[i]);
            for column in 0..3 {
                k[3 * row + column] = scale[i] * (k[3 * row + column] - from * k[6 + column]);
            }
            for column in 0..4 {
                p[4 * row + column] = scale[i] * (p[4 * row + column] - from * p[8 + column]);
            }
        }
        let [width, height] = picture;
        let (binning_x, binning_y, roi) = Default::default();
        Ok(Self { width, height, k, p, binning_x, binning_y, roi, ..self.clone() })
    }
}

/// Values of distortion at most, of any model.
const DISTORTIONS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// A wide camera of 1280×960, of which the right half is published in 2×2 binning: 320×480.
    fn lens() -> CameraInfo {
        CameraInfo {
            width: 1280,
            height: 960,
            distortion_model: "plumb_bob".into(),
            d: vec![-0.2, 0.05, 0.0, 0.0, 0.0],
            k: [900.0, 2.0, 650.0, 0.0, 910.0, 470.0, 0.0, 0.0, 1.0],
            r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            p: [880.0, 0.0, 640.0, -105.6, 0.0, 890.0, 480.0, 7.0, 0.0, 0.0, 1.0, 0.0],
            binning_x: 2,
            binning_y: 2,
            roi: RegionOfInterest { x_offset: 640, y_offset: 0, width: 640, height: 960, do_rectify: true },
            ..CameraInfo::default()
        }
    }

    /// Where the matrix of `columns` columns puts a point.
    fn pixel(matrix: &[f64], point: &[f64]) -> [f64; 2] {
        let row = |i: usize| -> f64 {
            matrix[i * point.len()..][..point.len()].iter().zip(point).map(|(a, b)| a * b).sum()
        };
        [row(0) / row(2), row(1) / row(2)]
    }

    #[test]
    fn a_point_lies_in_the_picture_where_its_pixel_of_the_whole_has_gone() {
        let (whole, image, picture) = (lens(), [320, 480], [64, 32]);
        let scaled = whole.scaled(image, picture).unwrap();
        let gone = |[x, y]: [f64; 2]| {
            // Into the region, into its binned image, into the picture.
            [(x - 640.0) / 2.0 * 64.0 / 320.0, y / 2.0 * 32.0 / 480.0]
        };
        for point in [[0.1, 0.2, 1.0, 1.0], [-0.3, 0.4, 2.5, 1.0], [1.0, -1.0, 4.0, 1.0]] {
            for (found, expected) in [
                (pixel(&scaled.k, &point[..3]), gone(pixel(&whole.k, &point[..3]))),
                (pixel(&scaled.p, &point), gone(pixel(&whole.p, &point))),
            ] {
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-9, "{found} and {expected}");
                }
            }
        }
        assert_eq!(
            (scaled.width, scaled.height, scaled.binning_x, scaled.roi),
            (64, 32, 0, RegionOfInterest::default())
        );
        assert_eq!(
            (&scaled.d, scaled.r, &scaled.distortion_model),
            (&whole.d, whole.r, &whole.distortion_model)
        );
        assert_eq!(
            whole.scaled(image, image).unwrap(),
            whole,
            "a picture of the image's size is told of as the image is"
        );
    }

    #[test]
    fn what_nobody_calibrated_stays_so() {
        let bare = CameraInfo { k: [0.0; 9], r: [0.0; 9], p: [0.0; 12], ..lens() };
        let scaled = bare.scaled([320, 480], [64, 64]).unwrap();
        assert_eq!((scaled.k, scaled.r, scaled.p), (bare.k, bare.r, bare.p));
    }

    #[test]
    fn other_images_are_named() {
        let error = lens().scaled([640, 480], [64, 64]).unwrap_err();
        assert_eq!(error, "it is about images of 320×480, and they are of 640×480");
        let odd = CameraInfo { width: 641, height: 481, roi: RegionOfInterest::default(), ..lens() };
        for image in [[320, 240], [321, 241], [321, 240]] {
            assert!(odd.scaled(image, [64, 64]).is_ok(), "{image:?}");
        }
        assert!(odd.scaled([322, 241], [64, 64]).is_err());
    }

    #[test]
    fn what_is_no_lens_is_named() {
        let wrong = |change: &dyn Fn(&mut CameraInfo)| {
            let mut info = lens();
            change(&mut info);
            info.check().unwrap_err()
        };
        assert_eq!(lens().check(), Ok(()));
        assert!(wrong(&|info| info.k[3] = f64::NAN).contains("not finite"));
        assert!(wrong(&|info| info.p[11] = f64::INFINITY).contains("not finite"));
        assert!(wrong(&|info| info.d[0] = f64::NAN).contains("not finite"));
        assert!(wrong(&|info| info.d = vec![0.0; 65]).contains("at most 64"));
        assert!(wrong(&|info| info.roi.x_offset = u32::MAX).contains("is not within 1280×960"));
        assert!(wrong(&|info| info.roi.height = 0).contains("is not within"));
        assert!(wrong(&|info| (info.width, info.roi) = Default::default()).contains("0×960"));
    }
}
