//! Each kernel on each instruction set of this CPU against plain f64 code, on seeded random shapes with odd tails; and
//! what must be equal to the last bit: splits into tasks, numbers of rows, instruction sets that fuse multiply-add.

mod attention;
mod blocks;
mod elementwise;
mod isa;
mod layout;
mod products;
mod rows;

use std::ops::Range;

use perihelion_kernels::*;
use perihelion_tensor::{DType, TensorView, function};

/// A linear congruential generator (Knuth's MMIX constants): tests repeat exactly.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1)
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// Within `range`.
    fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.next() as usize % range.len()
    }

    /// One of `all`.
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.within(0..all.len())]
    }

    /// In -1..1.
    fn value(&mut self) -> f32 {
        self.next() as f32 / (1u32 << 30) as f32 - 1.0
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

/// Every table that this CPU can run.
fn tables() -> Vec<&'static Kernels> {
    Isa::available().into_iter().map(|isa| Kernels::of(isa).expect("it is available")).collect()
}

/// A run that is there for one instruction set (as under emulation) says so, and fails where it is missing.
#[test]
fn the_expected_instruction_set_is_tried() {
    let tried: Vec<&str> = tables().iter().map(|kernels| kernels.isa.name()).collect();
    println!("kernels tried: {}", tried.join(", "));
    if let Ok(expected) = std::env::var("PERIHELION_EXPECT_ISA") {
        assert!(tried.contains(&expected.as_str()), "{expected} is not among {tried:?}");
    }
}

/// Rounded to bfloat16, as bits and as what they stand for.
fn rounded(values: &[f32]) -> (Vec<u16>, Vec<f32>) {
    let (mut bits, mut wide) = (vec![0; values.len()], vec![0.0; values.len()]);
    perihelion_tensor::narrow(DType::Bf16, values, bytemuck::cast_slice_mut(&mut bits));
    perihelion_tensor::widen(DType::Bf16, bytemuck::cast_slice(&bits), &mut wide);
    (bits, wide)
}

fn scratch() -> Vec<f32> {
    vec![f32::NAN; SCRATCH_FLOATS]
}

/// Largest difference over largest magnitude.
fn error(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
    let difference = |(g, e): (&f32, &f64)| (f64::from(*g) - e).abs();
    // A NaN must not be lost in `max`.
    got.iter().zip(expected).map(difference).fold(0.0, |m, d| if d <= m { m } else { d }) / largest
}

fn check(what: &str, isa: Isa, got: &[f32], expected: &[f64], tolerance: f64) {
    let error = error(got, expected);
    assert!(error <= tolerance, "{what} on {isa}: off by {error:e} of the largest, allowed {tolerance:e}");
}

/// Runs `n_tasks` tasks in two and in three parts, last part first, and expects `whole`. Then runs each by itself: none may write
/// an element that another writes, which is what threads rely on, and together they write all that `whole` has anew.
fn check_splits(
    what: &str,
    n_tasks: usize,
    whole: &[f32],
    before: &[f32],
    mut run: impl FnMut(Range<usize>, &mut Out<'_>),
) {
    for parts in [2, 3] {
        let mut got = before.to_vec();
        let mut out = Out::new(&mut got);
        for part in (0..parts).rev() {
            run(part * n_tasks / parts..(part + 1) * n_tasks / parts, &mut out);
        }
        assert!(same_bits(&got, whole), "{what}: {parts} parts differ from one");
    }
    let mut writer = vec![None; before.len()];
    let mut got = before.to_vec();
    for task in 0..n_tasks {
        run(task..task + 1, &mut Out::new(&mut got));
        for (i, (got, before)) in got.iter_mut().zip(before).enumerate() {
            if got.to_bits() != before.to_bits() {
                assert_eq!(
                    writer[i].replace(task),
                    None,
                    "{what}: element {i} is written by task {task} too"
                );
                *got = *before;
            }
        }
    }
    let is_written = |i: usize| writer[i].is_some() || whole[i].to_bits() == before[i].to_bits();
    assert!((0..before.len()).all(is_written), "{what}: tasks one by one leave something out");
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// The nearest number of eight significant bits, of two equally near ones the even, by the bits of a binary32.
fn nearest_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    let is_odd = bits >> 16 & 1;
    f32::from_bits((bits + 0x7fff + is_odd) & 0xffff_0000)
}

/// A packed matrix with the values it stands for.
struct Packed {
    format: PanelFormat,
    rows: usize,
    k: usize,
    /// Starts at a multiple of 8; 64 is for speed only.
    words: Vec<u64>,
    values: Vec<f32>,
}

impl Packed {
    fn random(random: &mut Random, format: PanelFormat, rows: usize, k: usize) -> Packed {
        let mut values = random.values(rows * k);
        // Packed as they are: rounding them is the packing's.
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        if format == PanelFormat::Bf16 {
            for v in &mut values {
                *v = nearest_bf16(*v);
            }
        }
        let view = TensorView { dtype: DType::F32, shape: vec![rows, k], bytes: &bytes };
        let mut words = vec![0u64; panels_bytes(format, rows, k).div_ceil(8)];
        let len = panels_bytes(format, rows, k);
        pack_panels(&view, format, &mut bytemuck::cast_slice_mut(&mut words)[..len]).expect("finite");
        Packed { format, rows, k, words, values }
    }

    fn panels(&self) -> Panels<'_> {
        let len = panels_bytes(self.format, self.rows, self.k);
        Panels {
            format: self.format,
            rows: self.rows,
            k: self.k,
            bytes: &bytemuck::cast_slice(&self.words)[..len],
        }
    }
}
