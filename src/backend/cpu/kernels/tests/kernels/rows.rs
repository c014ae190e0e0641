//! Rotary positions, tables and rows picked from them.

use super::*;
use function::{Merge, RotaryStyle};

#[test]
fn pairs_turn_by_their_angle() {
    for (seed, dim) in [2usize, 8, 24, 64, 80, 128].into_iter().enumerate() {
        let mut random = Random::new(seed as u64);
        let (n, heads) = (7, 3);
        let (x, angles) = (random.values(n * heads * dim), random.values(n * dim / 2));
        let table: Vec<f32> = angles
            .chunks(dim / 2)
            .flat_map(|a| a.iter().map(|a| a.cos()).chain(a.iter().map(|a| a.sin())))
            .collect();
        for style in [RotaryStyle::Halves, RotaryStyle::Pairs] {
            let mut expected: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            for (row, head) in expected.chunks_exact_mut(dim).enumerate() {
                for j in 0..dim / 2 {
                    let (a, b) =
                        if style == RotaryStyle::Halves { (j, j + dim / 2) } else { (2 * j, 2 * j + 1) };
                    let (sine, cosine) = f64::from(angles[row / heads * (dim / 2) + j]).sin_cos();
                    (head[a], head[b]) =
                        (head[a] * cosine - head[b] * sine, head[b] * cosine + head[a] * sine);
                }
            }
            for kernels in tables() {
                let a = Rotary { x: Some(&x), table: &table, style, heads, dim };
                let mut out = vec![f32::NAN; x.len()];
                (kernels.rotary)(&a, 0..n, &mut Out::new(&mut out), &mut []);
                check(&format!("rotary {style:?} {dim}"), kernels.isa, &out, &expected, 3e-7);
                check_splits("rotary", n, &out, &vec![f32::NAN; out.len()], |tasks, out| {
                    (kernels.rotary)(&a, tasks, out, &mut []);
                });
                let mut in_place = x.clone();
                (kernels.rotary)(&Rotary { x: None, ..a }, 0..n, &mut Out::new(&mut in_place), &mut []);
                assert!(same_bits(&in_place, &out));
            }
        }
    }
}

#[test]
fn tables_hold_cosines_then_sines() {
    let positions = [3, 100, 0, 7];
    let a = RotaryTable {
        positions: Positions::I32(&positions),
        n_axes: 2,
        axis: &[0, 1, 1],
        inverse_frequency: &[1.0, 0.5, 0.01],
    };
    let mut out = [0.0; 12];
    rotary_table(&a, 0..2, &mut Out::new(&mut out));
    let expected = [3.0f64.cos(), 50.0f64.cos(), 1.0f64.cos(), 3.0f64.sin(), 50.0f64.sin(), 1.0f64.sin()];
    check("rotary table", Isa::Portable, &out[..6], &expected, 1e-6);
    assert_eq!(out[6], 1.0);
    check_splits("rotary table", 2, &out, &[f32::NAN; 12], |tasks, out| rotary_table(&a, tasks, out));
    let a = Sinusoid { x: &[0.0, 2.0], frequency: &[1.0, 0.25] };
    let mut out = [0.0; 8];
    sinusoid(&a, 0..2, &mut Out::new(&mut out));
    let expected = [1.0, 1.0, 0.0, 0.0, 2.0f64.cos(), 0.5f64.cos(), 2.0f64.sin(), 0.5f64.sin()];
    check("sinusoid", Isa::Portable, &out, &expected, 1e-6);
    check_splits("sinusoid", 2, &out, &[f32::NAN; 8], |tasks, out| sinusoid(&a, tasks, out));
}

#[test]
fn rows_are_picked_replaced_and_added() {
    let mut random = Random::new(1);
    let dim = 21;
    let packed = Packed::random(&mut random, PanelFormat::F32, 40, dim);
    let ids = [39, 0, 7, 7];
    for table in [Table::Panels(packed.panels()), Table::Rows(&packed.values)] {
        let mut out = vec![f32::NAN; ids.len() * dim];
        let a = Embedding { ids: &ids, table, dim };
        embedding(&a, 0..ids.len(), &mut Out::new(&mut out));
        for (id, row) in ids.iter().zip(out.chunks_exact(dim)) {
            assert_eq!(row, &packed.values[*id as usize * dim..][..dim]);
        }
        check_splits("embedding", ids.len(), &out, &vec![f32::NAN; out.len()], |tasks, out| {
            embedding(&a, tasks, out);
        });
    }
    let x = random.values(3 * dim);
    let index = [-1, 5, 0];
    for merge in [Merge::Replace, Merge::Add] {
        let a = SelectRows { x: Some(&x), table: &packed.values, index: &index, dim, merge };
        let mut out = vec![f32::NAN; 3 * dim];
        select_rows(&a, 0..3, &mut Out::new(&mut out));
        assert_eq!(out[..dim], x[..dim]);
        for (i, v) in out.iter().enumerate().skip(dim) {
            let row = &packed.values[index[i / dim] as usize * dim..][..dim];
            let kept = if merge == Merge::Add { x[i] } else { 0.0 };
            assert_eq!(*v, kept + row[i % dim]);
        }
        check_splits("select_rows", 3, &out, &vec![f32::NAN; out.len()], |tasks, out| {
            select_rows(&a, tasks, out);
        });
    }
    assert_eq!(first_outside(&index, 6, true), None);
    assert_eq!(first_outside(&index, 6, false), Some(0));
    assert_eq!(first_outside(&index, 5, true), Some(1));
}

#[test]
fn rows_are_interpolated() {
    let mut random = Random::new(2);
    let (n, dim) = (5, 37);
    let table = random.values(9 * dim);
    let index: Vec<i32> = (0..4 * n).map(|_| random.within(0..9) as i32).collect();
    let share = random.values(4 * n);
    let expected: Vec<f64> = (0..n * dim)
        .map(|i| {
            let one = |j: usize| {
                let place = i / dim * 4 + j;
                f64::from(share[place]) * f64::from(table[index[place] as usize * dim + i % dim])
            };
            (0..4).map(one).sum()
        })
        .collect();
    for kernels in tables() {
        let a = InterpolateRows { index: &index, share: &share, n_shares: 4, table: &table, dim };
        let mut out = vec![f32::NAN; n * dim];
        (kernels.interpolate_rows)(&a, 0..n, &mut Out::new(&mut out), &mut []);
        check("interpolate_rows", kernels.isa, &out, &expected, 3e-7);
        check_splits("interpolate_rows", n, &out, &vec![f32::NAN; out.len()], |tasks, out| {
            (kernels.interpolate_rows)(&a, tasks, out, &mut []);
        });
    }
}
