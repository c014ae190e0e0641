//! The CUDA kernels' text compiled by the system's C++ compiler, with blocks and threads as loops, against the CPU path: to the
//! last bit where both count in integers, and every thread order alike. And compiled by NVRTC where that is.
#![allow(clippy::unwrap_used)] // a test panics
#![allow(unsafe_code)] // calls into what was just compiled

use std::path::Path;
use std::process::Command;

use half::{bf16, f16};
use libloading::Library;
use perihelion::backend::cuda::arguments::{Number, Pixels, Rows, Sample, TapArguments};
use perihelion::backend::cuda::{CAMERA_TO_INPUT, COPY_ROWS, Kernel, Nvrtc, NvrtcError, SAMPLE};
use perihelion::camera::{
    FrameSize, ImageRules, Normalize, PatchLayout, PixelFormat, PixelRules, Preprocess, Preprocessor,
    RawFrame, Resample, Resizer, Taps, VideoRules, convert,
};
use perihelion::models::reason2::Sampling;
use perihelion::runtime::Sampler;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// A kernel as a function of the host.
struct Host {
    library: Library,
    kernel: Kernel,
}

impl Host {
    fn new(kernel: Kernel) -> Host {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("kernel.cpp"), folder.path().join("kernel.so"));
        std::fs::write(&source, kernel.source()).unwrap();
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let output = Command::new(&compiler)
            .args([
                "-std=c++17",
                "-O2",
                "-ffp-contract=off",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wno-unused-function",
                "-Wno-maybe-uninitialized",
            ])
            // Memory of the block that nobody wrote is never zero.
            .args(["-ftrivial-auto-var-init=pattern", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .output()
            .unwrap_or_else(|e| panic!("{compiler}: {e}: these tests need a C++ compiler"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // SAFETY: it was made of our own text a moment ago and initialises nothing.
        let library = unsafe { Library::new(&library) }.unwrap();
        Host { library, kernel }
    }

    fn run<A>(&self, arguments: &A, n_blocks: u32, n_threads: u32, is_backwards: bool) {
        type Runs<A> = unsafe extern "C" fn(*const A, u32, u32, u32);
        // SAFETY: a kernel has this signature (kernels/block.h), and its arguments are those of its own tests.
        let function = unsafe { self.library.get::<Runs<A>>(self.kernel.name.as_bytes()) }.unwrap();
        // SAFETY: the addresses in the arguments are of slices that live through the call.
        unsafe { function(arguments, n_blocks, n_threads, u32::from(is_backwards)) };
    }
}

fn address<T>(values: &[T]) -> u64 {
    values.as_ptr() as u64
}

fn address_mut<T>(values: &mut [T]) -> u64 {
    values.as_mut_ptr() as u64
}

fn tap_arguments(taps: &Taps) -> TapArguments {
    TapArguments::new(taps, address(&taps.starts), address(&taps.counts), address(&taps.weights))
}

fn random_bytes(seed: u64, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

fn pixel_rules(resample: Resample, pixels: u64) -> PixelRules {
    let normalize = Some(Normalize { mean: [0.48, 0.45, 0.4], std: [0.26, 0.27, 0.28] });
    PixelRules {
        resample: Some(resample),
        pixels_min: pixels,
        pixels_max: pixels,
        rescale: Some(1.0 / 255.0),
        normalize,
    }
}

/// A message of a size, with rows longer than they need be.
struct Message {
    format: PixelFormat,
    size: FrameSize,
    step: u32,
    is_bigendian: bool,
    data: Vec<u8>,
    rgb: Vec<u8>,
}

impl Message {
    fn new(format: PixelFormat, width: usize, height: usize, is_bigendian: bool) -> Message {
        let step = width as u32 * format.bytes_per_pixel() + 5;
        let n_rows = height + if format == PixelFormat::Nv12 { height / 2 } else { 0 };
        let data = random_bytes(width as u64 * 31 + height as u64, n_rows * step as usize);
        let mut rgb = vec![0; width * height * 3];
        let frame = RawFrame {
            width: width as u32,
            height: height as u32,
            step,
            encoding: format.name(),
            is_bigendian,
            data: &data,
        };
        let size = convert(&frame, &mut rgb).unwrap();
        Message { format, size, step, is_bigendian, data, rgb }
    }
}

#[test]
fn every_pixel_format_becomes_the_patches_of_the_cpu_path() {
    let host = Host::new(CAMERA_TO_INPUT);
    let patches = PatchLayout { patch_size: 4, temporal_patch_size: 2, merge_size: 2 };
    for (i, format) in PixelFormat::ALL.into_iter().enumerate() {
        let (cell_width, cell_height) = format.cell();
        // Odd sizes where the format has such; shrinking, enlarging, thin strips.
        for (width, height, pixels) in [(37, 23, 400), (38, 22, 4000), (10, 64, 1024), (24, 16, 384)] {
            let width = usize::next_multiple_of(width, cell_width as usize);
            let height = usize::next_multiple_of(height, cell_height as usize);
            let resample = if i % 2 == 0 { Resample::Bicubic } else { Resample::Bilinear };
            let message = Message::new(format, width, height, i % 3 == 0);
            let pixels = pixel_rules(resample, pixels);
            let video = VideoRules {
                pixels,
                do_sample_frames: false,
                fps: 2.0,
                frames_min: 1,
                frames_max: 8,
                cap_pixels_per_frame: false,
                tokens_per_frame_max: 1024,
            };
            let rules = Preprocess { patches, image: ImageRules { pixels }, video };
            let grid = rules.image_grid(message.size).unwrap();
            let mut expected = vec![f32::NAN; grid.n_patches() * patches.patch_len()];
            Preprocessor::new(rules).unwrap().image(&message.rgb, message.size, &mut expected).unwrap();

            let target = grid.frame_size(patches.patch_size);
            let across = Taps::new(message.size.width, target.width, resample);
            let down = Taps::new(message.size.height, target.height, resample);
            let values = pixels.byte_values();
            for (n_blocks, n_threads, is_backwards) in [(1, 1, false), (3, 64, true)] {
                let mut found = vec![f32::NAN; expected.len()];
                let mut arguments = Pixels {
                    data: address(&message.data),
                    values: address(values.as_flattened()),
                    out: address_mut(&mut found),
                    across: tap_arguments(&across),
                    down: tap_arguments(&down),
                    ..Pixels::default()
                };
                arguments.set_source(message.format, message.size, message.step, message.is_bigendian);
                arguments.set_target(target, Some(patches));
                host.run(&arguments, n_blocks, n_threads, is_backwards);
                assert!(expected == found, "{} {width}x{height} to {target:?}", format.name());
            }
        }
    }
}

#[test]
fn one_frame_of_a_pair_is_written_and_the_other_left_alone() {
    let host = Host::new(CAMERA_TO_INPUT);
    let patches = PatchLayout { patch_size: 2, temporal_patch_size: 2, merge_size: 1 };
    let message = Message::new(PixelFormat::Rgb8, 4, 4, false);
    let taps = Taps::new(4, 4, Resample::Bicubic);
    let values: Vec<f32> = (0..3 * 256).map(|i| (i % 256) as f32).collect();
    let mut found = vec![-1.0_f32; 4 * patches.patch_len()];
    let mut arguments = Pixels {
        data: address(&message.data),
        values: address(&values),
        out: address_mut(&mut found),
        across: tap_arguments(&taps),
        down: tap_arguments(&taps),
        ..Pixels::default()
    };
    arguments.set_source(message.format, message.size, message.step, false);
    arguments.set_target(message.size, Some(patches));
    (arguments.frame_first, arguments.frame_end) = (1, 2);
    host.run(&arguments, 2, 5, false);
    for (place, patch) in found.chunks(patches.patch_len()).enumerate() {
        for (channel, frames) in patch.chunks(8).enumerate() {
            assert_eq!(frames[..4], [-1.0; 4]);
            let (top, left) = (place / 2 * 2, place % 2 * 2);
            let at = |y: usize, x: usize| f32::from(message.rgb[((top + y) * 4 + left + x) * 3 + channel]);
            assert_eq!(frames[4..], [at(0, 0), at(0, 1), at(1, 0), at(1, 1)]);
        }
    }
}

#[test]
fn frames_that_are_not_cut_are_resized_as_on_the_cpu() {
    let host = Host::new(CAMERA_TO_INPUT);
    for (width, height, target) in [
        (45, 30, FrameSize { width: 16, height: 16 }),
        (16, 9, FrameSize { width: 33, height: 17 }),
        (640, 480, FrameSize { width: 64, height: 64 }),
    ] {
        let message = Message::new(PixelFormat::Bgr8, width, height, false);
        let mut resized = vec![0; target.rgb_bytes()];
        Resizer::new().resize(&message.rgb, message.size, &mut resized, target, Resample::Bilinear);
        let values: Vec<f32> = (0..3 * 256).map(|i| (i % 256) as f32 / 127.5 - 1.0).collect();
        let across = Taps::new(width, target.width, Resample::Bilinear);
        let down = Taps::new(height, target.height, Resample::Bilinear);
        let mut found = vec![f32::NAN; resized.len()];
        let mut arguments = Pixels {
            data: address(&message.data),
            values: address(&values),
            out: address_mut(&mut found),
            across: tap_arguments(&across),
            down: tap_arguments(&down),
            ..Pixels::default()
        };
        arguments.set_source(message.format, message.size, message.step, false);
        arguments.set_target(target, None);
        host.run(&arguments, 4, CAMERA_TO_INPUT.n_threads, false);
        let expected: Vec<f32> = resized.iter().map(|byte| f32::from(*byte) / 127.5 - 1.0).collect();
        assert_eq!(found, expected);
    }
}

/// Copies `n_rows` rows from row 1 of `from` to row 2 of an otherwise untouched target.
fn copied<F, T: Copy + PartialEq + std::fmt::Debug>(
    host: &Host,
    (from, from_number): (&[F], Number),
    (fill, to_number): (T, Number),
    (n_rows, row_len): (usize, usize),
) -> Vec<T> {
    let (from_pitch, to_pitch) = (from.len() / (n_rows + 1), row_len + 3);
    let mut to = vec![fill; (n_rows + 3) * to_pitch];
    let arguments = Rows {
        from: address(from),
        to: address_mut(&mut to),
        from_pitch: (from_pitch * size_of::<F>()) as u64,
        to_pitch: (to_pitch * size_of::<T>()) as u64,
        from_row: 1,
        to_row: 2,
        n_rows: n_rows as u64,
        row_len: row_len as u64,
        from_number,
        to_number,
    };
    host.run(&arguments, 3, 7, true);
    let mut found = Vec::new();
    for (i, row) in to.chunks(to_pitch).enumerate() {
        let is_target = (2..2 + n_rows).contains(&i);
        let (written, padding) = row.split_at(if is_target { row_len } else { 0 });
        assert!(padding.iter().all(|v| *v == fill), "wrote beyond the row");
        found.extend_from_slice(written);
    }
    found
}

#[test]
fn rows_change_their_number_format_as_half_does() {
    let host = Host::new(COPY_ROWS);
    let mut bits: Vec<u32> = (0..40_000).map(|i: u32| i.wrapping_mul(0x9e37_79b9)).collect();
    // Halfway between neighbours, at the edges of the normal range, and beyond.
    for around in
        [0, 0x3880_0000, 0x3800_0000, 0x3300_0000, 0x477f_e000, 0x477f_f000, 0x7f7f_8000, 0x7f80_0000]
    {
        for half_way in [0x1000_u32, 0x8000, 0x3000, 0x1_8000] {
            for near in [0_u32, 1, u32::MAX] {
                let magnitude = u32::wrapping_add(around, half_way).wrapping_add(near);
                bits.extend([magnitude, magnitude | 0x8000_0000]);
            }
        }
    }
    let (n_rows, row_len) = (7, bits.len() / 8 - 1);
    let floats: Vec<f32> = bits[..8 * (row_len + 1)].iter().map(|b| f32::from_bits(*b)).collect();
    let source: Vec<f32> =
        floats.chunks(row_len + 1).skip(1).flat_map(|row| row[..row_len].to_vec()).collect();

    let found = copied(&host, (&floats, Number::F32), (0x5555_u16, Number::F16), (n_rows, row_len));
    let expected: Vec<u16> = source.iter().map(|v| f16::from_f32(*v).to_bits()).collect();
    assert_eq!(found, expected);
    let found = copied(&host, (&floats, Number::F32), (0x5555_u16, Number::Bf16), (n_rows, row_len));
    let expected: Vec<u16> = source.iter().map(|v| bf16::from_f32(*v).to_bits()).collect();
    assert_eq!(found, expected);
    let found = copied(&host, (&bits, Number::Bits32), (7_u32, Number::Bits32), (n_rows, row_len));
    assert_eq!(found, source.iter().map(|v| v.to_bits()).collect::<Vec<_>>());

    let every: Vec<u16> = (0..=u16::MAX).cycle().take(2 * 65536).collect();
    for (number, of) in [
        (Number::F16, (|b| f16::from_bits(b).to_f32()) as fn(u16) -> f32),
        (Number::Bf16, |b| bf16::from_bits(b).to_f32()),
    ] {
        let found = copied(&host, (&every, number), (1.5_f32, Number::F32), (1, 65536));
        for (bits, found) in (0..=u16::MAX).zip(found) {
            let expected = of(bits);
            assert!(
                expected.to_bits() == found.to_bits() || (expected.is_nan() && found.is_nan()),
                "{bits:#x}"
            );
        }
    }
}

/// What the kernel and the CPU's sampler choose.
fn sampled(
    host: &Host,
    sampling: Sampling,
    prompt: &[u32],
    answer: &[u32],
    logits: &[f32],
    n_threads: u32,
) -> ([u32; 2], Vec<u8>) {
    let mut seen = vec![0_u8; logits.len()];
    prompt.iter().for_each(|t| seen[*t as usize] |= 1);
    answer.iter().for_each(|t| seen[*t as usize] |= 2);
    let (mut scores, mut weights) = (vec![f32::NAN; logits.len()], vec![u64::MAX; logits.len()]);
    let mut result = [7; 2];
    let arguments = Sample {
        logits: address(logits),
        seen: address_mut(&mut seen),
        scores: address_mut(&mut scores),
        weights: address_mut(&mut weights),
        result: address_mut(&mut result),
        random: ChaCha8Rng::seed_from_u64(sampling.seed).next_u64() >> 11,
        top_p: f64::from(sampling.top_p),
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        inverse_temperature: sampling.temperature.recip(),
        top_k: sampling.top_k as u32,
        n: logits.len() as u32,
        is_greedy: u32::from(sampling.greedy),
    };
    host.run(&arguments, 1, n_threads, n_threads % 2 == 1);
    (result, seen)
}

#[test]
fn tokens_are_drawn_as_the_cpu_draws_them() {
    let host = Host::new(SAMPLE);
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut n_different = 0;
    let mut tokens = std::collections::BTreeSet::new();
    for case in 0..600_u64 {
        let n = [3, 100, 1000, 4099][case as usize % 4];
        // Few levels, so that many are equal; or any.
        let coarse = case % 3 == 0;
        let logits: Vec<f32> = (0..n)
            .map(|_| {
                let v = (random.next_u32() as f32 / u32::MAX as f32 - 0.5) * 12.0;
                if coarse { v.round() } else { v }
            })
            .collect();
        let sampling = Sampling {
            greedy: case % 10 == 9,
            temperature: [0.3, 1.0, 2.5][case as usize % 3],
            top_k: [0, 1, 5, 50, 5000][case as usize % 5],
            top_p: [1.0, 0.95, 0.5, 0.01][case as usize / 4 % 4],
            repetition_penalty: [1.0, 1.3][case as usize % 2],
            presence_penalty: [0.0, 0.5, 1.5][case as usize / 2 % 3],
            seed: case,
        };
        let (prompt, answer) = ([0, 2], [1, 2]);
        let mut sampler = Sampler::new(n);
        sampler.begin(sampling, &prompt).unwrap();
        answer.iter().for_each(|token| sampler.accept(*token));
        let expected = sampler.pick(&logits).unwrap();
        let (result, seen) = sampled(&host, sampling, &prompt, &answer, &logits, 256);
        assert_eq!(result[1], u32::MAX);
        assert_eq!(seen[result[0] as usize] & 2, 2, "the token is part of the answer now");
        tokens.insert(result[0]);
        n_different += usize::from(result[0] != expected);
        for n_threads in [1, 33, 1024] {
            assert_eq!(sampled(&host, sampling, &prompt, &answer, &logits, n_threads).0, result);
        }
    }
    assert!(100 < tokens.len(), "the cases draw different tokens");
    assert_eq!(n_different, 0, "tokens that the CPU draws otherwise");
}

#[test]
fn what_is_no_number_is_no_token_on_a_device_either() {
    let host = Host::new(SAMPLE);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for greedy in [true, false] {
            let sampling = Sampling { greedy, ..Sampling::default() };
            let logits = [0.0, 1.0, bad, 2.0, bad];
            let (result, seen) = sampled(&host, sampling, &[], &[], &logits, 2);
            assert_eq!(result, [u32::MAX, 2]);
            assert_eq!(seen, [0; 5]);
        }
    }
}

#[test]
fn a_library_that_is_not_there_is_named() {
    let error = Nvrtc::open(Path::new("/nowhere/libnvrtc.so.13")).unwrap_err();
    assert!(matches!(error, NvrtcError::NotFound { .. }));
    assert!(error.to_string().contains("/nowhere/libnvrtc.so.13"), "{error}");
}

#[test]
#[ignore = "needs NVRTC (PERIHELION_NVRTC)"]
fn nvrtc_compiles_every_kernel_for_orin_hopper_thor_and_blackwell() {
    let nvrtc = Nvrtc::find().unwrap();
    println!("{} {:?}", nvrtc.path(), nvrtc.version());
    for kernel in Kernel::ALL {
        for sm in [87, 90, 110, 120] {
            let cubin = nvrtc.compile(&kernel, sm).unwrap_or_else(|e| panic!("{e}"));
            assert!(cubin.starts_with(b"\x7fELF"), "{} for sm_{sm} is no ELF file", kernel.name);
            let name = kernel.name.as_bytes();
            assert!(cubin.windows(name.len()).any(|window| window == name), "it has no {}", kernel.name);
        }
    }
}

#[test]
#[ignore = "needs NVRTC (PERIHELION_NVRTC)"]
fn what_nvrtc_refuses_comes_with_its_lines() {
    let broken = Kernel { name: "broken", text: "KERNEL(broken, int) {\n  oops;\n}\n", n_threads: 1 };
    let error = Nvrtc::find().unwrap().compile(&broken, 87).unwrap_err().to_string();
    assert!(error.contains("broken") && error.contains("sm_87") && error.contains("oops"), "{error}");
    let nowhere = Nvrtc::find().unwrap().compile(&COPY_ROWS, 1).unwrap_err().to_string();
    assert!(nowhere.contains("sm_1"), "{nowhere}");
}
