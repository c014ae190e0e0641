//! Weights in blocks: packing, and products with rows that are quantised on the way.

use super::*;

const FORMATS: [PanelFormat; 2] = [PanelFormat::Int8, PanelFormat::Int4];
const BLOCK: usize = 32;

fn run(kernels: &Kernels, a: &Linear<'_>, tasks: Range<usize>, out: &mut Out<'_>) {
    (kernels.linear_blocks)(a, tasks, out, &mut scratch());
}

/// A matrix of these values, packed, with the values that are read back.
fn packed(format: PanelFormat, rows: usize, k: usize, values: &[f32]) -> Result<Packed, Unstorable> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView { dtype: DType::F32, shape: vec![rows, k], bytes: &bytes };
    let len = panels_bytes(format, rows, k);
    let mut words = vec![0u64; len.div_ceil(8)];
    pack_panels(&view, format, &mut bytemuck::cast_slice_mut(&mut words)[..len])?;
    let mut packed = Packed { format, rows, k, words, values: vec![0.0; rows * k] };
    let mut read = vec![0.0; rows * k];
    for (row, to) in read.chunks_mut(k).enumerate() {
        packed.panels().gather_row(row, to);
    }
    packed.values = read;
    Ok(packed)
}

fn random_packed(random: &mut Random, format: PanelFormat, rows: usize, k: usize) -> Packed {
    // Blocks of very different sizes, some of zeros.
    let size = |random: &mut Random| random.one_of(&[0.0, 1e-3, 1.0, 1.0, 1.0, 30.0]);
    let mut values = random.values(rows * k);
    for row in values.chunks_mut(k) {
        for block in row.chunks_mut(BLOCK) {
            let size = size(random);
            block.iter_mut().for_each(|v| *v *= size);
        }
    }
    packed(format, rows, k, &values).expect("finite")
}

/// Rows as the whole numbers times scales that stand for them, by the definition: the largest of 32 becomes 127.
fn quantised(x: &[f32], k: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for block in x.chunks(k).flat_map(|row| row.chunks(BLOCK)) {
        let largest = block.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
        let scale = f64::from(largest / 127.0);
        out.extend(block.iter().map(|v| f64::from((v * inverse).round_ties_even()) * scale));
    }
    out
}

fn linear_in_f64(x: &[f32], m: usize, w: &Packed, bias: &[f32]) -> Vec<f64> {
    let x = quantised(x, w.k);
    let mut out = Vec::new();
    for row in 0..m {
        for (n, bias) in bias.iter().enumerate() {
            let products = (0..w.k).map(|k| x[row * w.k + k] * f64::from(w.values[n * w.k + k]));
            out.push(products.sum::<f64>() + f64::from(*bias));
        }
    }
    out
}

#[test]
fn numbers_of_eight_bits_are_the_nearest_to_their_values() {
    let mut random = Random::new(1);
    for size in [0.0, 1e-9, 1e-6, 1.0, 8e6] {
        let (rows, k) = (18, 75);
        let values: Vec<f32> = random.values(rows * k).into_iter().map(|v| v * size).collect();
        let found = packed(PanelFormat::Int8, rows, k, &values).unwrap().values;
        for (values, found) in values.chunks(k).zip(found.chunks(k)) {
            for (values, found) in values.chunks(BLOCK).zip(found.chunks(BLOCK)) {
                let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let nearest = half::f16::from_f32(largest / 127.0);
                // Among the smallest numbers the next above, so that no value is cut.
                let is_short = !nearest.is_normal() && nearest.to_f32() < largest / 127.0;
                let scale = half::f16::from_bits(nearest.to_bits() + u16::from(is_short)).to_f32();
                for (v, f) in values.iter().zip(found) {
                    let number = if scale == 0.0 { 0.0 } else { (v / scale).round_ties_even() };
                    assert!((f - number.clamp(-127.0, 127.0) * scale).abs() <= scale * 1e-3, "{v} as {f}");
                }
            }
        }
    }
}

#[test]
fn numbers_of_four_bits_are_nearer_than_those_of_the_plain_scale() {
    let mut random = Random::new(2);
    let (rows, k) = (32, 96);
    let values = random.values(rows * k);
    let found = packed(PanelFormat::Int4, rows, k, &values).unwrap().values;
    let (mut ours, mut plain) = (0.0f64, 0.0f64);
    for (values, found) in values.chunks(BLOCK).zip(found.chunks(BLOCK)) {
        let farthest = values.iter().fold(0.0f32, |m, v| if m.abs() < v.abs() { *v } else { m });
        let scale = half::f16::from_f32(farthest / -8.0).to_f32();
        for (v, f) in values.iter().zip(found) {
            let nearest = (v / scale).round().clamp(-8.0, 7.0) * scale;
            ours += f64::from(v - f).powi(2);
            plain += f64::from(v - nearest).powi(2);
        }
    }
    assert!(ours < 0.95 * plain && 0.3 * plain < ours, "{ours} against {plain}");
}

/// The scales of such blocks are among the smallest numbers of 16 bits, of which each is far from the next.
#[test]
fn the_smallest_values_are_not_cut() {
    for largest in [1e-7f32, 1e-6, 3e-6, 1.05e-5, 1e-4] {
        let values: Vec<f32> = (0..BLOCK).map(|i| largest * (i as f32 / 31.0 * 2.0 - 1.0)).collect();
        let read = packed(PanelFormat::Int8, 1, BLOCK, &values).expect("finite").values;
        let scale = (largest / 127.0).max(6e-8) + 6e-8;
        for (value, read) in values.iter().zip(&read) {
            assert!((value - read).abs() <= scale / 2.0, "{largest}: {value} is read back as {read}");
        }
    }
}

#[test]
fn what_no_block_can_hold_is_refused_by_its_row() {
    for format in FORMATS {
        for wrong in [f32::NAN, f32::INFINITY, -1e9] {
            let mut values = vec![1.0; 40 * 33];
            values[37 * 33 + 32] = wrong;
            assert_eq!(packed(format, 40, 33, &values).err(), Some(Unstorable { row: 37 }), "{wrong}");
        }
    }
}

#[test]
fn products_agree_with_f64() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let m = random.one_of(&[1, 2, 3, 4, 5, 11, 12, 13, 25, 191, 193, 200]);
        let (n, k) = (random.within(1..150), random.one_of(&[1, 7, 31, 32, 33, 64, 255, 256, 257, 288, 530]));
        let format = random.one_of(&FORMATS);
        let w = random_packed(&mut random, format, n, k);
        let (x, bias) = (random.values(m * k), random.values(n));
        let expected = linear_in_f64(&x, m, &w, &bias);
        for kernels in tables() {
            let a = Linear { x: &x, m, weight: w.panels(), bias: Some(&bias), epilogue: Epilogue::None };
            let mut out = vec![f32::NAN; m * n];
            run(kernels, &a, 0..a.tasks(), &mut Out::new(&mut out));
            let what = format!("linear {m}x{n}x{k} {format:?}");
            check(&what, kernels.isa, &out, &expected, 2e-6);
            check_splits(&what, a.tasks(), &out, &vec![f32::NAN; m * n], |tasks, out| {
                run(kernels, &a, tasks, out);
            });
        }
    }
}

#[test]
fn the_largest_numbers_there_are_do_not_overflow() {
    let mut random = Random::new(4);
    let (m, n, k) = (13, 48, 96);
    for format in FORMATS {
        let largest = if format == PanelFormat::Int8 { [127.0, -127.0] } else { [7.0, -8.0] };
        for always in [None, Some(0), Some(1)] {
            let values: Vec<f32> =
                (0..n * k).map(|_| largest[always.unwrap_or_else(|| random.within(0..2))]).collect();
            let w = packed(format, n, k, &values).unwrap();
            let x: Vec<f32> =
                (0..m * k).map(|_| [1.0, -1.0][always.unwrap_or_else(|| random.within(0..2))]).collect();
            let expected = linear_in_f64(&x, m, &w, &vec![0.0; n]);
            for kernels in tables() {
                let a = Linear { x: &x, m, weight: w.panels(), bias: None, epilogue: Epilogue::None };
                let mut out = vec![f32::NAN; m * n];
                run(kernels, &a, 0..a.tasks(), &mut Out::new(&mut out));
                check(&format!("largest {format:?}"), kernels.isa, &out, &expected, 1e-6);
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    let mut random = Random::new(7);
    let (m, n, k) = (211, 75, 700);
    for format in FORMATS {
        let w = random_packed(&mut random, format, n, k);
        let (x, bias) = (random.values(m * k), random.values(n));
        let mut fused: Option<Vec<f32>> = None;
        for kernels in tables() {
            let of = |rows: Range<usize>| {
                let a = Linear {
                    x: &x[rows.start * k..rows.end * k],
                    m: rows.len(),
                    weight: w.panels(),
                    bias: Some(&bias),
                    epilogue: Epilogue::Unary(function::Unary::Silu),
                };
                let mut out = vec![f32::NAN; rows.len() * n];
                run(kernels, &a, 0..a.tasks(), &mut Out::new(&mut out));
                out
            };
            let all = of(0..m);
            for rows in [0..1, 200..201, 3..5, 10..13, 20..24, 100..105, 7..19, 150..180, 0..192] {
                let part = &all[rows.start * n..rows.end * n];
                assert!(same_bits(&of(rows.clone()), part), "rows {rows:?} on {} {format:?}", kernels.isa);
            }
            if kernels.isa != Isa::Portable {
                let first = fused.get_or_insert_with(|| all.clone());
                assert!(same_bits(first, &all), "{} differs from the other instruction sets", kernels.isa);
            }
        }
    }
}

#[test]
fn epilogues_follow_the_sum_in_place_too() {
    let mut random = Random::new(3);
    for (m, format) in [(1, PanelFormat::Int8), (3, PanelFormat::Int4), (14, PanelFormat::Int8)] {
        let (n, k) = (37, 300);
        let w = random_packed(&mut random, format, n, k);
        let (x, bias, other) = (random.values(m * k), random.values(n), random.values(m * n));
        let sums = linear_in_f64(&x, m, &w, &bias);
        let product: Vec<f64> = sums.iter().zip(&other).map(|(v, o)| v * f64::from(*o)).collect();
        let sum: Vec<f64> = sums.iter().zip(&other).map(|(v, o)| v + f64::from(*o)).collect();
        for kernels in tables() {
            for (epilogue, expected) in
                [(Epilogue::Mul(Some(&other[..])), &product), (Epilogue::Add(None), &sum)]
            {
                let a = Linear { x: &x, m, weight: w.panels(), bias: Some(&bias), epilogue };
                let mut out = other.clone();
                run(kernels, &a, 0..a.tasks(), &mut Out::new(&mut out));
                check("epilogue", kernels.isa, &out, expected, 3e-6);
            }
        }
    }
}

#[test]
fn what_is_not_a_number_stays_in_its_row_and_is_seen_there() {
    let mut random = Random::new(8);
    let (m, n, k) = (6, 20, 70);
    let w = random_packed(&mut random, PanelFormat::Int8, n, k);
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 40, 69] {
            let mut x = random.values(m * k);
            x[2 * k + at] = wrong;
            for kernels in tables() {
                let a = Linear { x: &x, m, weight: w.panels(), bias: None, epilogue: Epilogue::None };
                let mut out = vec![0.0; m * n];
                run(kernels, &a, 0..a.tasks(), &mut Out::new(&mut out));
                for (row, out) in out.chunks(n).enumerate() {
                    assert!(out.iter().all(|v| v.is_nan() == (row == 2)), "row {row}, {wrong} at {at}");
                }
            }
        }
    }
}

#[test]
fn convolutions_meet_blocks_as_products_do() {
    for seed in 0..12 {
        let mut random = Random::new(seed + 300);
        let (c_out, c) = (random.within(1..40), random.one_of(&[3, 16, 32, 40]));
        let shape = [random.within(1..4), random.within(2..7), random.within(2..12), c];
        let kernel = [random.within(1..3), random.one_of(&[1, 3]), random.one_of(&[1, 3])];
        let padding = [[kernel[0] - 1, 0], [kernel[1] / 2; 2], [kernel[2] / 2; 2]];
        let k = kernel.iter().product::<usize>() * c;
        let format = random.one_of(&FORMATS);
        let w = random_packed(&mut random, format, c_out, k);
        let (x, bias) = (random.values(shape.iter().product()), random.values(c_out));
        let weight = w.panels();
        let conv = |x| Conv3d {
            x,
            shape,
            weight,
            bias: Some(&bias),
            kernel,
            stride: [1; 3],
            padding,
            epilogue: Epilogue::None,
        };
        // Its windows as the rows of a product, gathered here one by one.
        let mut rows = Vec::new();
        for place in 0..shape[..3].iter().product() {
            let at = [place / (shape[1] * shape[2]), place / shape[2] % shape[1], place % shape[2]];
            for tap in 0..kernel.iter().product() {
                let tap = [tap / (kernel[1] * kernel[2]), tap / kernel[2] % kernel[1], tap % kernel[2]];
                let [t, y, x_at]: [usize; 3] =
                    std::array::from_fn(|i| (at[i] + tap[i]).wrapping_sub(padding[i][0]));
                let inside = t < shape[0] && y < shape[1] && x_at < shape[2];
                let from = if inside { ((t * shape[1] + y) * shape[2] + x_at) * c } else { 0 };
                rows.extend((0..c).map(|i| if inside { x[from + i] } else { 0.0 }));
            }
        }
        let expected = linear_in_f64(&rows, rows.len() / k, &w, &bias);
        for kernels in tables() {
            let a = conv(&x);
            let mut out = vec![f32::NAN; expected.len()];
            (kernels.conv3d_blocks)(&a, 0..a.tasks(), &mut Out::new(&mut out), &mut scratch());
            let what = format!("conv3d {shape:?} by {kernel:?} {format:?}");
            check(&what, kernels.isa, &out, &expected, 2e-6);
            check_splits(&what, a.tasks(), &out, &vec![f32::NAN; out.len()], |tasks, out| {
                (kernels.conv3d_blocks)(&a, tasks, out, &mut scratch());
            });
        }
    }
}

#[test]
fn damaged_panels_do_no_more_than_give_other_results() {
    let mut random = Random::new(21);
    let (m, n, k) = (9, 33, 300);
    for format in FORMATS {
        let mut w = random_packed(&mut random, format, n, k);
        w.words
            .iter_mut()
            .for_each(|word| *word = u64::from(random.next()) << 32 | u64::from(random.next()) << 1);
        let x = random.values(m * k);
        for kernels in tables() {
            for m in [1, m] {
                let a =
                    Linear { x: &x[..m * k], m, weight: w.panels(), bias: None, epilogue: Epilogue::None };
                let mut out = vec![f32::NAN; m * n];
                run(kernels, &a, 0..a.tasks(), &mut Out::new(&mut out));
                assert!(out.iter().all(|v| v.is_finite()), "{format:?} on {}", kernels.isa);
            }
        }
    }
}
