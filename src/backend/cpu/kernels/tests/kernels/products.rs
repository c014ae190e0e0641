//! Linear layers and convolutions.

use super::*;

const FORMATS: [PanelFormat; 2] = [PanelFormat::F32, PanelFormat::Bf16];

fn linear_in_f64(x: &[f32], m: usize, w: &Packed, bias: Option<&[f32]>) -> Vec<f64> {
    let mut out = Vec::new();
    for row in 0..m {
        for n in 0..w.rows {
            let products = (0..w.k).map(|k| f64::from(x[row * w.k + k]) * f64::from(w.values[n * w.k + k]));
            out.push(products.sum::<f64>() + bias.map_or(0.0, |b| f64::from(b[n])));
        }
    }
    out
}

fn run_linear(kernels: &Kernels, a: &Linear<'_>, out: &mut [f32]) {
    (kernels.linear)(a, 0..a.tasks(), &mut Out::new(out), &mut scratch());
}

#[test]
fn linear_agrees_with_f64() {
    for seed in 0..24 {
        let mut random = Random::new(seed);
        let m = random.one_of(&[1, 2, 3, 4, 5, 11, 12, 13, 25, 191, 193, 200]);
        let (n, k) = (random.within(1..150), random.one_of(&[1, 7, 64, 255, 256, 257, 530]));
        let format = random.one_of(&FORMATS);
        let w = Packed::random(&mut random, format, n, k);
        let (x, bias) = (random.values(m * k), random.values(n));
        let bias = (seed % 2 == 0).then_some(&bias[..]);
        let of_rounded = linear_in_f64(&rounded(&x).1, m, &w, bias);
        let of_exact = linear_in_f64(&x, m, &w, bias);
        for kernels in tables() {
            let rounds = kernels.isa.rounds_activations() && format == PanelFormat::Bf16;
            let expected = if rounds { &of_rounded } else { &of_exact };
            let a = Linear { x: &x, m, weight: w.panels(), bias, epilogue: Epilogue::None };
            let mut out = vec![f32::NAN; m * n];
            run_linear(kernels, &a, &mut out);
            check(&format!("linear {m}x{n}x{k} {format:?}"), kernels.isa, &out, expected, 2e-6);
            check_splits("linear", a.tasks(), &out, &vec![f32::NAN; m * n], |tasks, out| {
                (kernels.linear)(&a, tasks, out, &mut scratch());
            });
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    let mut random = Random::new(7);
    let (m, n, k) = (211, 75, 700);
    for format in FORMATS {
        let w = Packed::random(&mut random, format, n, k);
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
                run_linear(kernels, &a, &mut out);
                out
            };
            let all = of(0..m);
            for rows in [0..1, 200..201, 3..5, 10..13, 20..24, 100..105, 7..19, 150..180, 0..192] {
                let part = &all[rows.start * n..rows.end * n];
                assert!(same_bits(&of(rows.clone()), part), "rows {rows:?} on {} {format:?}", kernels.isa);
            }
            let rounds = kernels.isa.rounds_activations() && format == PanelFormat::Bf16;
            if kernels.isa != Isa::Portable && !rounds {
                let first = fused.get_or_insert_with(|| all.clone());
                assert!(same_bits(first, &all), "{} differs from the other instruction sets", kernels.isa);
            }
        }
    }
}

#[test]
fn epilogues_follow_the_sum() {
    let mut random = Random::new(3);
    for m in [1, 3, 14] {
        let (n, k) = (37, 300);
        let w = Packed::random(&mut random, PanelFormat::F32, n, k);
        let (x, bias, other) = (random.values(m * k), random.values(n), random.values(m * n));
        let sums = linear_in_f64(&x, m, &w, Some(&bias));
        let with = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
            sums.iter().zip(&other).map(|(v, o)| f(*v, f64::from(*o))).collect()
        };
        let silu = |v: f64| v / (1.0 + (-v).exp());
        let cases = [
            (Epilogue::Unary(function::Unary::Silu), with(&|v, _| silu(v))),
            (Epilogue::Unary(function::Unary::Relu), with(&|v, _| v.max(0.0))),
            (Epilogue::Unary(function::Unary::GeluTanh), with(&|v, _| super::elementwise::gelu_tanh(v))),
            (Epilogue::Add(Some(&other[..])), with(&|v, o| v + o)),
            (Epilogue::Mul(Some(&other[..])), with(&|v, o| v * o)),
            (Epilogue::Add(None), with(&|v, o| v + o)),
            (Epilogue::Mul(None), with(&|v, o| v * o)),
        ];
        for (epilogue, expected) in cases {
            for kernels in tables() {
                let a = Linear { x: &x, m, weight: w.panels(), bias: Some(&bias), epilogue };
                let mut out = other.clone();
                run_linear(kernels, &a, &mut out);
                check(&format!("{epilogue:.9?}"), kernels.isa, &out, &expected, 3e-6);
            }
        }
    }
}

#[test]
fn packed_rows_are_gathered() {
    let mut random = Random::new(9);
    for format in FORMATS {
        let w = Packed::random(&mut random, format, 37, 19);
        let mut row = vec![0.0; 19];
        for index in 0..37 {
            w.panels().gather_row(index, &mut row);
            assert_eq!(row, w.values[index * 19..(index + 1) * 19]);
        }
    }
}

#[test]
fn packing_puts_every_element_in_its_place_rounded_to_the_nearest_even() {
    // By their bits: sign, five bits of exponent, ten of fraction.
    let of_half = |bits: u16| {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 0x3ff));
        let size = if exponent == 0 {
            fraction * 2f32.powi(-24)
        } else {
            (1024.0 + fraction) * 2f32.powi(exponent - 25)
        };
        if bits >> 15 == 1 { -size } else { size }
    };
    let (rows, k) = (21, 7);
    let mut random = Random::new(12);
    let ties = [1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), -1.0 - 2f32.powi(-8), 2f32.powi(-20), -0.0];
    let floats: Vec<f32> = random.values(rows * k - ties.len()).into_iter().chain(ties).collect();
    let halves: Vec<u16> = (0..rows * k).map(|i| (i * 213 % 0x7c00) as u16 | (i as u16 & 1) << 15).collect();
    let sources = [
        (DType::F32, floats.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>(), floats.clone()),
        (
            DType::F16,
            halves.iter().flat_map(|v| v.to_le_bytes()).collect(),
            halves.iter().map(|h| of_half(*h)).collect(),
        ),
    ];
    for (dtype, bytes, values) in sources {
        let view = TensorView { dtype, shape: vec![rows, k], bytes: &bytes };
        for format in FORMATS {
            let mut packed = vec![0xaa; panels_bytes(format, rows, k)];
            pack_panels(&view, format, &mut packed).unwrap();
            for row in 0..rows.next_multiple_of(PANEL_ROWS) {
                for column in 0..k {
                    let at = (row / PANEL_ROWS * k + column) * PANEL_ROWS + row % PANEL_ROWS;
                    let value = if row < rows { values[row * k + column] } else { 0.0 };
                    match format {
                        PanelFormat::F32 => assert_eq!(packed[4 * at..4 * at + 4], value.to_le_bytes()),
                        PanelFormat::Bf16 => {
                            let expected = &nearest_bf16(value).to_le_bytes()[2..];
                            assert_eq!(&packed[2 * at..2 * at + 2], expected, "{dtype} {value}");
                        }
                        PanelFormat::Int8 | PanelFormat::Int4 => unreachable!("see `blocks`"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_matrix_is_packed_in_pieces_as_at_once() {
    let mut random = Random::new(10);
    let values = random.values(50 * 9);
    let bytes: Vec<u8> = values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let view = TensorView { dtype: DType::F16, shape: vec![50, 3, 3], bytes: &bytes };
    let mut whole = vec![0; panels_bytes(PanelFormat::Bf16, 50, 9)];
    pack_panels(&view, PanelFormat::Bf16, &mut whole).unwrap();
    let mut pieces = vec![0; whole.len()];
    let (low, high) = pieces.split_at_mut(3 * 16 * 9 * 2);
    pack_panel_range(&view, PanelFormat::Bf16, 0..3, low).unwrap();
    pack_panel_range(&view, PanelFormat::Bf16, 3..4, high).unwrap();
    assert_eq!(whole, pieces);
    assert!(
        whole[3 * 16 * 9 * 2..].chunks_exact(32).all(|k| k[4..].iter().all(|b| *b == 0)),
        "padding is zeros"
    );
}

fn conv_in_f64(a: &Conv3d<'_>, w: &Packed) -> Vec<f64> {
    let [t_len, h_len, w_len, c] = a.shape;
    let places = a.output_places();
    let mut out = Vec::new();
    for place in 0..places.iter().product() {
        let place = [place / (places[1] * places[2]), place / places[2] % places[1], place % places[2]];
        for o in 0..w.rows {
            let mut sum = f64::from(a.bias.map_or(0.0, |b| b[o]));
            for tap in 0..a.kernel.iter().product() {
                let tap_at =
                    [tap / (a.kernel[1] * a.kernel[2]), tap / a.kernel[2] % a.kernel[1], tap % a.kernel[2]];
                let at: [isize; 3] = std::array::from_fn(|i| {
                    (place[i] * a.stride[i] + tap_at[i]) as isize - a.padding[i][0] as isize
                });
                let [t, y, x] = at;
                let inside = |i: isize, len: usize| (0..len as isize).contains(&i);
                if inside(t, t_len) && inside(y, h_len) && inside(x, w_len) {
                    let from = ((t as usize * h_len + y as usize) * w_len + x as usize) * c;
                    for i in 0..c {
                        sum += f64::from(a.x[from + i]) * f64::from(w.values[o * w.k + tap * c + i]);
                    }
                }
            }
            out.push(sum);
        }
    }
    out
}

#[test]
fn conv3d_agrees_with_f64() {
    for seed in 0..30 {
        let mut random = Random::new(seed + 100);
        let c_out = random.within(1..40);
        let shape: [usize; 4] = [
            random.within(1..4),
            random.within(1..9),
            random.within(1..20),
            random.one_of(&[1, 3, 4, 16, 31]),
        ];
        let kernel: [usize; 3] = [random.within(1..4), random.one_of(&[1, 3]), random.one_of(&[1, 2, 3, 4])];
        let stride = [random.within(1..3), random.within(1..3), random.within(1..3)];
        let mut padding = [[0; 2]; 3];
        for i in 0..3 {
            padding[i] = [random.within(0..3), random.within(0..3)];
            // The window fits at least once.
            padding[i][1] += kernel[i].saturating_sub(shape[i] + padding[i][0] + padding[i][1]);
        }
        let k = kernel.iter().product::<usize>() * shape[3];
        let format = random.one_of(&FORMATS);
        let w = Packed::random(&mut random, format, c_out, k);
        let (x, bias) = (random.values(shape.iter().product()), random.values(c_out));
        let weight = w.panels();
        let a = Conv3d {
            x: &x,
            shape,
            weight,
            bias: Some(&bias),
            kernel,
            stride,
            padding,
            epilogue: Epilogue::None,
        };
        let of_exact = conv_in_f64(&a, &w);
        let of_rounded = conv_in_f64(&Conv3d { x: &rounded(&x).1, ..a }, &w);
        for kernels in tables() {
            let rounds = kernels.isa.rounds_activations() && format == PanelFormat::Bf16;
            let expected = if rounds { &of_rounded } else { &of_exact };
            let mut out = vec![f32::NAN; expected.len()];
            (kernels.conv3d)(&a, 0..a.tasks(), &mut Out::new(&mut out), &mut scratch());
            let what = format!("conv3d {shape:?} by {kernel:?} {stride:?} {padding:?}");
            check(&what, kernels.isa, &out, expected, 2e-6);
            check_splits(&what, a.tasks(), &out, &vec![f32::NAN; out.len()], |tasks, out| {
                (kernels.conv3d)(&a, tasks, out, &mut scratch());
            });
        }
    }
}

#[test]
fn frames_one_by_one_are_frames_at_once() {
    let mut random = Random::new(55);
    let (h, w, c) = (9, 7, 33);
    let weight = Packed::random(&mut random, PanelFormat::F32, 20, 3 * 9 * c);
    let frame = h * w * c;
    let x = random.values(7 * frame);
    for kernels in tables() {
        let of = |from: usize, frames: usize| {
            let a = Conv3d {
                x: &x[from * frame..(from + frames) * frame],
                shape: [frames, h, w, c],
                weight: weight.panels(),
                bias: None,
                kernel: [3, 3, 3],
                stride: [1, 1, 1],
                padding: [[0, 0], [1, 1], [1, 1]],
                epilogue: Epilogue::None,
            };
            let mut out = vec![f32::NAN; (frames - 2) * h * w * 20];
            (kernels.conv3d)(&a, 0..a.tasks(), &mut Out::new(&mut out), &mut scratch());
            out
        };
        let single: Vec<f32> = (0..5).flat_map(|from| of(from, 3)).collect();
        assert!(same_bits(&single, &of(0, 7)), "{}", kernels.isa);
    }
}
