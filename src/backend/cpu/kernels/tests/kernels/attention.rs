//! Attention of many and of few queries.

use super::*;

fn attention_in_f64(a: &Attention<'_>) -> Vec<f64> {
    let (Keys::F32(k), Keys::F32(v)) = (a.k, a.v) else { panic!("cases are of f32") };
    let mut out = Vec::new();
    for i in 0..a.n {
        for head in 0..a.heads {
            let kv_head = head / (a.heads / a.kv_heads);
            let seen = if a.causal { a.m - a.n + i + 1 } else { a.m };
            let of = |key: usize| (key * a.kv_heads + kv_head) * a.dim;
            let q = &a.q[(i * a.heads + head) * a.dim..][..a.dim];
            let dot = |key: usize| -> f64 {
                q.iter().zip(&k[of(key)..]).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum()
            };
            let scores: Vec<f64> = (0..seen).map(|key| dot(key) * f64::from(a.scale)).collect();
            let greatest = scores.iter().fold(f64::MIN, |m, s| m.max(*s));
            let shares: Vec<f64> = scores.iter().map(|s| (s - greatest).exp()).collect();
            let weight: f64 = shares.iter().sum();
            for d in 0..a.dim {
                let sum: f64 = shares.iter().enumerate().map(|(key, p)| p * f64::from(v[of(key) + d])).sum();
                out.push(sum / weight);
            }
        }
    }
    out
}

struct Case {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    n: usize,
    m: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    causal: bool,
}

impl Case {
    fn random(random: &mut Random, n: usize, m: usize, causal: bool) -> Case {
        let kv_heads = random.within(1..4);
        let heads = kv_heads * random.within(1..5);
        let dim = random.one_of(&[8, 16, 24, 64, 72, 80, 128, 256, 384, 500]);
        let mut q = random.values(n * heads * dim);
        // Scores of different size: the greatest one grows on the way.
        q.iter_mut().enumerate().for_each(|(i, q)| *q *= 1.0 + (i % 7) as f32);
        let spare = random.within(0..3);
        let (k, v) =
            (random.values((m + spare) * kv_heads * dim), random.values((m + spare) * kv_heads * dim));
        Case { q, k, v, n, m, heads, kv_heads, dim, causal }
    }

    fn attention(&self) -> Attention<'_> {
        Attention {
            q: &self.q,
            k: Keys::F32(&self.k),
            v: Keys::F32(&self.v),
            n: self.n,
            m: self.m,
            heads: self.heads,
            kv_heads: self.kv_heads,
            dim: self.dim,
            scale: 1.0 / (self.dim as f32).sqrt(),
            causal: self.causal,
        }
    }
}

#[test]
fn attention_agrees_with_f64() {
    for seed in 0..24 {
        let mut random = Random::new(seed + 1000);
        let causal = seed % 2 == 0;
        let n = random.one_of(&[1, 2, 5, 13, 70, 130]);
        let m = if causal { n + random.one_of(&[0, 1, 100, 200]) } else { random.within(1..300) };
        let case = Case::random(&mut random, n, m, causal);
        let a = case.attention();
        let expected = attention_in_f64(&a);
        for kernels in tables() {
            let mut out = vec![f32::NAN; expected.len()];
            (kernels.attention)(&a, 0..a.tasks(), &mut Out::new(&mut out), &mut scratch());
            let what = format!("attention n {n} m {m} h {} g {} d {}", a.heads, a.kv_heads, a.dim);
            check(&what, kernels.isa, &out, &expected, 3e-6);
            check_splits(&what, a.tasks(), &out, &vec![f32::NAN; out.len()], |tasks, out| {
                (kernels.attention)(&a, tasks, out, &mut scratch());
            });
        }
    }
}

#[test]
fn decode_attention_agrees_with_f64() {
    for seed in 0..24 {
        let mut random = Random::new(seed + 2000);
        let n = random.within(1..DECODE_QUERIES_MAX + 1);
        let m = n + random.one_of(&[0, 1, 254, 255, 256, 257, 600]);
        let causal = seed % 4 != 0;
        let case = Case::random(&mut random, n, m, causal);
        let a = case.attention();
        let expected = attention_in_f64(&a);
        for kernels in tables() {
            let d = DecodeAttention { attention: a };
            let mut partials = vec![f32::NAN; d.partial_floats() + 3];
            (kernels.decode_attention)(&d, 0..d.tasks(), &mut Out::new(&mut partials), &mut scratch());
            let what = format!("decode n {n} m {m} h {} g {} d {}", a.heads, a.kv_heads, a.dim);
            check_splits(&what, d.tasks(), &partials, &vec![f32::NAN; partials.len()], |tasks, out| {
                (kernels.decode_attention)(&d, tasks, out, &mut scratch());
            });
            let j = JoinRanges { attention: a, partials: &partials };
            let mut out = vec![f32::NAN; expected.len()];
            (kernels.join_ranges)(&j, 0..j.tasks(), &mut Out::new(&mut out), &mut scratch());
            check(&what, kernels.isa, &out, &expected, 3e-6);
            check_splits(&what, j.tasks(), &out, &vec![f32::NAN; out.len()], |tasks, out| {
                (kernels.join_ranges)(&j, tasks, out, &mut scratch());
            });
        }
    }
}

#[test]
fn narrow_keys_and_values_are_taken_for_what_they_stand_for() {
    for seed in 0..24 {
        let mut random = Random::new(seed + 3000);
        let n = random.one_of(&[1, 2, 4, 13, 70]);
        let m = n + random.one_of(&[0, 1, 100, 255, 300]);
        let mut case = Case::random(&mut random, n, m, seed % 2 == 0);
        let (k_bits, k_wide) = rounded(&case.k);
        let (v_bits, v_wide) = rounded(&case.v);
        (case.k, case.v) = (k_wide, v_wide);
        let wide = case.attention();
        let narrow = Attention { k: Keys::Bf16(&k_bits), v: Keys::Bf16(&v_bits), ..wide };
        for kernels in tables() {
            let of = |a: &Attention<'_>| {
                let mut out = vec![f32::NAN; a.q.len()];
                (kernels.attention)(a, 0..a.tasks(), &mut Out::new(&mut out), &mut scratch());
                out
            };
            assert!(same_bits(&of(&wide), &of(&narrow)), "n {n} m {m} d {} {}", wide.dim, kernels.isa);
            let few = |attention: Attention<'_>| {
                let d = DecodeAttention { attention };
                let mut partials = vec![0.0; d.partial_floats()];
                (kernels.decode_attention)(&d, 0..d.tasks(), &mut Out::new(&mut partials), &mut scratch());
                partials
            };
            if n <= DECODE_QUERIES_MAX {
                assert!(
                    same_bits(&few(wide), &few(narrow)),
                    "decode n {n} m {m} d {} {}",
                    wide.dim,
                    kernels.isa
                );
            }
        }
    }
}

#[test]
fn rows_are_rounded_to_the_nearest_and_what_is_no_number_stays_none() {
    let x = [1.0, -1.003_906_2, 1.011_718_8, f32::MAX, f32::NAN, f32::NEG_INFINITY, 1e-40, -0.0];
    let expected = [0x3f80, 0xbf80, 0x3f82, 0x7f80, 0x7fc0, 0xff80, 0x0001, 0x8000];
    let a = Narrow { x: &x, len: 4 };
    assert_eq!(a.tasks(), 2);
    let mut words = vec![f32::NAN; 4];
    (0..2).for_each(|task| narrow(&a, task..task + 1, &mut Out::new(&mut words)));
    assert_eq!(bytemuck::cast_slice::<f32, u16>(&words), expected);
}

#[test]
fn prefill_in_pieces_is_prefill_at_once() {
    let mut random = Random::new(77);
    let case = Case::random(&mut random, 300, 300, true);
    let all = case.attention();
    let width = all.heads * all.dim;
    for kernels in tables() {
        let mut whole = vec![f32::NAN; all.q.len()];
        (kernels.attention)(&all, 0..all.tasks(), &mut Out::new(&mut whole), &mut scratch());
        for tokens in [0..1, 0..130, 130..131, 140..300] {
            let n = tokens.len();
            let q = &all.q[tokens.start * width..tokens.end * width];
            let a = Attention { q, n, m: tokens.end, ..all };
            let mut part = vec![f32::NAN; n * width];
            (kernels.attention)(&a, 0..a.tasks(), &mut Out::new(&mut part), &mut scratch());
            assert!(
                same_bits(&part, &whole[tokens.start * width..tokens.end * width]),
                "{tokens:?} {}",
                kernels.isa
            );
        }
    }
}

#[test]
fn not_a_number_stays_visible() {
    let mut random = Random::new(78);
    let mut case = Case::random(&mut random, 3, 200, false);
    case.k[0] = f32::NAN;
    for kernels in tables() {
        let a = case.attention();
        let mut out = vec![0.0; a.q.len()];
        (kernels.attention)(&a, 0..a.tasks(), &mut Out::new(&mut out), &mut scratch());
        assert!(out.iter().any(|v| v.is_nan()), "{}", kernels.isa);
    }
}
