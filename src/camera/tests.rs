//! Equality with the reference processors, and refusal of hostile images.
//!
//! Fixture: `tests/reference/pixels.py`, transformers 5.23 on torchvision. Every output is compared by the digest of its
//! float32 bytes; where that differs, the samples tell by how much. `PERIHELION_PIXELS` names another fixture file.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::scenes::Rng;

#[derive(Deserialize)]
struct Fixture {
    configs: serde_json::Map<String, Value>,
    images: Vec<Case>,
    clips: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    config: String,
    width: usize,
    height: usize,
    grid: [usize; 3],
    shape: [usize; 2],
    sha256: String,
    samples: Vec<(usize, f64)>,
    #[serde(default)]
    index: usize,
    #[serde(default)]
    n_frames: usize,
    fps: Option<f64>,
    #[serde(default)]
    sample: bool,
    #[serde(default)]
    frame_indices: Vec<usize>,
    #[serde(default)]
    timestamps: Vec<String>,
}

impl Case {
    fn size(&self) -> FrameSize {
        FrameSize { width: self.width, height: self.height }
    }

    fn check(&self, grid: Grid, patch_len: usize, patches: &[f32]) {
        let name = format!("{} {}×{} × {}", self.config, self.width, self.height, self.n_frames);
        assert_eq!([grid.t, grid.h, grid.w], self.grid, "{name}");
        assert_eq!([grid.n_patches(), patch_len], self.shape, "{name}");
        for &(at, expected) in &self.samples {
            assert!(
                (f64::from(patches[at]) - expected).abs() < 1e-6,
                "{name}: {at}: {} {expected}",
                patches[at]
            );
        }
        let bytes: Vec<u8> = patches.iter().flat_map(|value| value.to_le_bytes()).collect();
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, self.sha256, "{name}: the samples agree, but not all values");
    }
}

fn fixture() -> Fixture {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pixels.json");
    let path = std::env::var("PERIHELION_PIXELS").unwrap_or(committed.to_owned());
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Fixture {
    fn rules(&self, config: &str) -> Preprocess {
        ProcessorConfigs { processor: Some(&self.configs[config]), ..Default::default() }
            .preprocess()
            .unwrap()
    }
}

/// The formula of the fixture's frames.
fn frame(size: FrameSize, index: usize) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(size.rgb_bytes());
    for y in 0..size.height {
        for x in 0..size.width {
            for c in 0..3 {
                let rings = (3 * x * x + 5 * y * y + 7 * x * y + 83 * c + 29 * index) % 256;
                let checks = 255 * ((x / 3 + y / 5 + c + index) % 2);
                rgb.push(if index % 2 == 1 { checks } else { rings } as u8);
            }
        }
    }
    rgb
}

#[test]
fn images_become_the_reference_s_patches() {
    let fixture = fixture();
    assert!(20 <= fixture.images.len());
    for case in &fixture.images {
        let rules = fixture.rules(&case.config);
        let patch_len = rules.patches.patch_len();
        let mut patches = vec![f32::NAN; case.shape[0] * case.shape[1]];
        let mut preprocessor = Preprocessor::new(rules).unwrap();
        let grid = preprocessor.image(&frame(case.size(), case.index), case.size(), &mut patches).unwrap();
        case.check(grid, patch_len, &patches);
    }
}

#[test]
fn clips_become_the_reference_s_patches_and_times() {
    let fixture = fixture();
    assert!(15 <= fixture.clips.len());
    for case in &fixture.clips {
        let rules = fixture.rules(&case.config);
        let layout = VideoLayout::new(&rules, case.n_frames, case.fps, case.size(), case.sample).unwrap();
        assert_eq!(layout.frame_indices, case.frame_indices);
        assert_eq!(layout.timestamp_texts().collect::<Vec<_>>(), case.timestamps);
        let frames: Vec<Vec<u8>> = layout.frame_indices.iter().map(|&i| frame(case.size(), i)).collect();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let mut patches = vec![f32::NAN; case.shape[0] * case.shape[1]];
        let grid = Preprocessor::new(rules).unwrap().video(&frames, case.size(), &mut patches).unwrap();
        assert_eq!(grid, layout.grid);
        case.check(grid, rules.patches.patch_len(), &patches);
    }
}

fn small_rules() -> Preprocess {
    fixture().rules("small")
}

#[test]
fn a_preprocessor_keeps_no_trace_of_earlier_frames() {
    let rules = small_rules();
    let sizes = [(100, 80), (64, 64), (9, 300), (100, 80), (640, 480)];
    let mut kept = Preprocessor::new(rules).unwrap();
    for (width, height) in sizes {
        let size = FrameSize { width, height };
        let grid = rules.image_grid(size).unwrap();
        let mut patches = [(); 2].map(|()| vec![f32::NAN; grid.n_patches() * rules.patches.patch_len()]);
        kept.image(&frame(size, 1), size, &mut patches[0]).unwrap();
        Preprocessor::new(rules).unwrap().image(&frame(size, 1), size, &mut patches[1]).unwrap();
        assert_eq!(patches[0], patches[1]);
    }
}

#[test]
fn frames_of_one_size_reserve_nothing_more() {
    let rules = small_rules();
    let size = FrameSize { width: 640, height: 480 };
    let mut preprocessor = Preprocessor::new(rules).unwrap();
    let mut patches = vec![0.0; rules.image_grid(size).unwrap().n_patches() * rules.patches.patch_len()];
    preprocessor.image(&frame(size, 0), size, &mut patches).unwrap();
    let reserved = preprocessor.reserved_bytes();
    for index in 0..5 {
        preprocessor.image(&frame(size, index), size, &mut patches).unwrap();
    }
    assert_eq!(preprocessor.reserved_bytes(), reserved);
}

#[test]
fn groups_written_alone_are_the_clip_s() {
    let rules = small_rules();
    let size = FrameSize { width: 90, height: 50 };
    let frames: Vec<Vec<u8>> = (0..5).map(|i| frame(size, i)).collect();
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let grid = rules.video_grid(5, size).unwrap();
    let mut preprocessor = Preprocessor::new(rules).unwrap();
    let mut clip = vec![f32::NAN; grid.n_patches() * rules.patches.patch_len()];
    preprocessor.video(&frames, size, &mut clip).unwrap();
    let group_len = clip.len() / grid.t;
    let mut group = vec![f32::NAN; group_len];
    for (frames, expected) in frames.chunks(2).zip(clip.chunks(group_len)) {
        preprocessor.video_group(frames, size, grid, &mut group).unwrap();
        assert_eq!(group, expected);
    }
}

#[test]
fn bad_frames_and_buffers_are_refused() {
    let rules = small_rules();
    let mut preprocessor = Preprocessor::new(rules).unwrap();
    let mut patches = vec![0.0; 100_000];
    let size = |width, height| FrameSize { width, height };
    let image =
        |p: &mut Preprocessor, bytes, size, patches: &mut [f32]| p.image(&vec![0; bytes], size, patches);
    type E = PreprocessError;
    assert!(matches!(image(&mut preprocessor, 0, size(0, 5), &mut patches), Err(E::ZeroSize { .. })));
    assert!(matches!(image(&mut preprocessor, 603, size(201, 1), &mut patches), Err(E::AspectRatio { .. })));
    assert!(matches!(image(&mut preprocessor, 5, size(64, 64), &mut patches), Err(E::BufferLength { .. })));
    assert!(matches!(image(&mut preprocessor, 12288, size(64, 64), &mut [0.0]), Err(E::BufferLength { .. })));
    assert!(matches!(preprocessor.video(&[], size(64, 64), &mut patches), Err(E::TooFewFrames { .. })));
    let frame = vec![0; 12288];
    assert!(matches!(preprocessor.video(&[&frame], size(64, 64), &mut patches), Err(E::TooFewFrames { .. })));
    let layout = |fps| VideoLayout::new(&rules, 8, Some(fps), size(64, 64), true);
    assert!(layout(8.0).is_ok());
    for fps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(layout(fps), Err(E::Rate { .. })));
    }
    let as_they_come = fixture().rules("as they come");
    assert!(matches!(as_they_come.image_grid(size(64, 40)), Err(E::DoesNotFit { .. })));
}

#[test]
fn a_limit_of_tokens_holds() {
    let mut rules = small_rules();
    rules.limit_image_tokens(20);
    for (width, height) in [(64, 64), (1920, 1080), (500, 100)] {
        let grid = rules.image_grid(FrameSize { width, height }).unwrap();
        assert!(grid.n_tokens(2) <= 20, "{grid:?}");
    }
    // The reference keeps one square across whatever the limit, so a strip goes over: sessions check the grid.
    assert_eq!(rules.image_grid(FrameSize { width: 500, height: 20 }).unwrap().n_tokens(2), 22);
}

/// Twenty thousand raw and compressed images whose claims are drawn at random: refused, or small enough to be true.
#[test]
fn hostile_images_are_refused_without_a_panic() {
    let mut rng = Rng::new(20_260_101);
    let mut rgb = vec![0; 64 * 48 * 3];
    let mut decoder = Decoder::new();
    let mut reasons = std::collections::BTreeMap::<&str, usize>::new();
    let pictures = pictures();
    for _ in 0..20_000 {
        let result = if rng.chance(0.7) {
            hostile_raw(&mut rng, &mut rgb)
        } else {
            hostile_compressed(&mut rng, &pictures, &mut decoder, &mut rgb)
        };
        let reason = match result {
            Ok(size) => {
                assert!(0 < size.n_pixels() && size.rgb_bytes() <= rgb.len());
                "accepted"
            }
            Err(error) => {
                assert!(FrameError::REASONS.contains(&error.reason()) && !error.to_string().is_empty());
                error.reason()
            }
        };
        *reasons.entry(reason).or_default() += 1;
    }
    for reason in FrameError::REASONS.into_iter().chain(["accepted"]) {
        assert!(20 <= reasons.get(reason).copied().unwrap_or(0), "{reason} was not reached: {reasons:?}");
    }
    assert!(decoder.reserved_bytes() <= 64 * 48 * 8, "an image made the decoder keep more than the limit");
}

fn hostile_raw(rng: &mut Rng, rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
    const NAMES: [&str; 6] = ["16UC1", "rgb16", "", "bayer_rggb16", "\u{0}\u{ffff}", "32FC1"];
    let encoding = match rng.below(4) {
        0 => NAMES[rng.below(NAMES.len())],
        _ => PixelFormat::ALL[rng.below(PixelFormat::ALL.len())].name(),
    };
    let mut claim = |usual: u32| match rng.below(12) {
        0 => 0,
        1 => u32::MAX,
        2 => 1 << rng.below(32),
        3 => usual * 3 + 1,
        _ => usual,
    };
    let (width, height, step) = (claim(40), claim(30), claim(160));
    let n_bytes_max = if rng.chance(0.3) { 500 } else { 10_000 };
    let n_bytes = rng.below(n_bytes_max);
    convert(&RawFrame { width, height, step, encoding, is_bigendian: false, data: &vec![7; n_bytes] }, rgb)
}

fn hostile_compressed(
    rng: &mut Rng,
    pictures: &[(&str, Vec<u8>)],
    decoder: &mut Decoder,
    rgb: &mut [u8],
) -> Result<FrameSize, FrameError> {
    const FORMATS: [&str; 6] =
        ["jpeg", "png", "rgb8; jpeg compressed bgr8", "tiff", "16UC1; compressedDepth", ""];
    let (format, data) = &pictures[rng.below(pictures.len())];
    let mut data = data.clone();
    for _ in 0..rng.below(4) {
        let n_in_reach = if rng.chance(0.5) { data.len().min(64) } else { data.len() };
        let at = rng.below(n_in_reach);
        data[at] = rng.below(256) as u8;
    }
    if rng.chance(0.3) {
        data.truncate(rng.below(data.len()));
    }
    let format = if rng.chance(0.2) { FORMATS[rng.below(FORMATS.len())] } else { format };
    decoder.decode(format, &data, rgb)
}

/// A 40×30 picture in every compression: baseline and progressive JPEG with and without subsampling, PNG.
fn pictures() -> Vec<(&'static str, Vec<u8>)> {
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
    let rgb = frame(FrameSize { width: 40, height: 30 }, 0);
    let mut png = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_raw(40, 30, rgb.clone()).unwrap();
    image.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let mut pictures = vec![("png", png.into_inner())];
    for is_progressive in [false, true] {
        for sampling in [SamplingFactor::R_4_4_4, SamplingFactor::R_4_2_0] {
            let mut jpeg = Vec::new();
            let mut encoder = Encoder::new(&mut jpeg, 80);
            encoder.set_progressive(is_progressive);
            encoder.set_sampling_factor(sampling);
            encoder.encode(&rgb, 40, 30, ColorType::Rgb).unwrap();
            pictures.push(("jpeg", jpeg));
        }
    }
    pictures
}
