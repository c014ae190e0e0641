//! Copies that only move elements.

use super::*;

fn transposed(x: &[f32], shape: &[usize], order: &[u8]) -> Vec<f32> {
    let extents: Vec<usize> = order.iter().map(|a| shape[usize::from(*a)]).collect();
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    (0..x.len())
        .map(|mut index| {
            let mut at = 0;
            for i in (0..order.len()).rev() {
                at += index % extents[i] * stride(usize::from(order[i]));
                index /= extents[i];
            }
            x[at]
        })
        .collect()
}

#[test]
fn axes_change_places() {
    let mut random = Random::new(4);
    let mut cases: Vec<(Vec<usize>, Vec<u8>)> = vec![
        (vec![300, 200], vec![1, 0]),
        (vec![5, 300, 7], vec![0, 2, 1]),
        (vec![33, 1, 17], vec![2, 1, 0]),
        (vec![40000], vec![0]),
        // More elements than a task's behind each place of the first axis.
        (vec![2, 130, 2, 70], vec![0, 2, 1, 3]),
        (vec![19000, 3], vec![1, 0]),
        (vec![3, 19000], vec![1, 0]),
        (vec![1, 1], vec![1, 0]),
        (vec![2, 3, 2, 5, 2, 7], vec![0, 2, 4, 1, 3, 5]),
        (vec![2, 3, 2, 5, 2, 7], vec![0, 2, 4, 5, 1, 3]),
    ];
    for _ in 0..60 {
        let n_axes = random.within(1..7);
        let shape: Vec<usize> = (0..n_axes).map(|_| random.one_of(&[1, 2, 3, 5, 18])).collect();
        let mut order: Vec<u8> = (0..n_axes as u8).collect();
        for i in (1..n_axes).rev() {
            order.swap(i, random.within(0..i + 1));
        }
        if shape.iter().product::<usize>() < 100_000 {
            cases.push((shape, order));
        }
    }
    for (shape, order) in cases {
        let x = random.values(shape.iter().product());
        let expected = transposed(&x, &shape, &order);
        let a = Transpose { x: &x, shape: &shape, order: &order };
        let mut out = vec![f32::NAN; x.len()];
        transpose(&a, 0..a.tasks(), &mut Out::new(&mut out));
        assert_eq!(out, expected, "{shape:?} {order:?}");
        check_splits("transpose", a.tasks(), &out, &vec![f32::NAN; x.len()], |tasks, out| {
            transpose(&a, tasks, out)
        });
    }
}

#[test]
fn parts_of_an_axis_are_copied() {
    let x: Vec<f32> = (0..2 * 5 * 3).map(|i| i as f32).collect();
    let slice =
        CopyAxis { x: &x, outer: 2, inner: 3, from_len: 5, from_start: 1, to_len: 2, to_start: 0, len: 2 };
    let mut out = vec![f32::NAN; 12];
    copy_axis(&slice, 0..slice.tasks(), &mut Out::new(&mut out));
    assert_eq!(out, [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0]);
    let back = CopyAxis { x: &out, from_len: 2, from_start: 0, to_len: 4, to_start: 2, ..slice };
    let mut joined = vec![-1.0; 24];
    copy_axis(&back, 0..back.tasks(), &mut Out::new(&mut joined));
    assert_eq!(joined[5..13], [-1.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, -1.0]);

    let x: Vec<f32> = (0..3 * 20_000).map(|i| i as f32).collect();
    let long = CopyAxis {
        x: &x,
        outer: 3,
        inner: 1,
        from_len: 20_000,
        from_start: 5,
        to_len: 19_000,
        to_start: 0,
        len: 19_000,
    };
    let mut out = vec![f32::NAN; 3 * 19_000];
    copy_axis(&long, 0..long.tasks(), &mut Out::new(&mut out));
    assert_eq!((out[0], out[18_999], out[19_000], out[56_999]), (5.0, 19_004.0, 20_005.0, 59_004.0));
    check_splits("copy_axis", long.tasks(), &out, &vec![f32::NAN; out.len()], |tasks, out| {
        copy_axis(&long, tasks, out)
    });
}

#[test]
fn places_are_repeated() {
    let x: Vec<f32> = (0..2 * 3 * 2 * 2).map(|i| i as f32).collect();
    let a = Upsample { x: &x, shape: [2, 3, 2, 2], factor: [2, 1, 3] };
    let mut out = vec![f32::NAN; 4 * 3 * 6 * 2];
    upsample(&a, 0..a.tasks(), &mut Out::new(&mut out));
    for (i, v) in out.iter().enumerate() {
        let (c, w, h, t) = (i % 2, i / 2 % 6, i / 12 % 3, i / 36);
        assert_eq!(*v, x[((t / 2 * 3 + h) * 2 + w / 3) * 2 + c]);
    }
    check_splits("upsample", a.tasks(), &out, &vec![f32::NAN; out.len()], |tasks, out| {
        upsample(&a, tasks, out);
    });
}
