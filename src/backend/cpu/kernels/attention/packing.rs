//! Keys and values as the tile takes them, widened if their cache is narrow.

use std::ops::Range;

use super::{Attention, Element, LANES, Simd};

/// Transposes keys into panels of sixteen keys, zeros after the last.
#[inline(always)]
pub(super) fn pack_keys<S: Simd, E: Element>(
    s: S,
    a: &Attention<'_>,
    k: &[E],
    kv_head: usize,
    keys: Range<usize>,
    to: &mut [[f32; LANES]],
) {
    for (panel, first) in keys.clone().step_by(LANES).enumerate() {
        let to = &mut to[panel * a.dim..(panel + 1) * a.dim];
        let mut rows: [&[E]; LANES] = [&[]; LANES];
        for (row, key) in rows.iter_mut().zip(first..keys.end) {
            *row = &k[(key * a.kv_heads + kv_head) * a.dim..][..a.dim];
        }
        let (squares, rest) = to.as_chunks_mut::<LANES>();
        for (square, to) in squares.iter_mut().enumerate() {
            let mut rooms = [[0.0; LANES]; LANES];
            let mut whole = [&[0.0; LANES]; LANES];
            for ((whole, room), row) in whole.iter_mut().zip(&mut rooms).zip(rows) {
                if let Some(part) = row.get(square * LANES..).and_then(|row| row.first_chunk()) {
                    *whole = E::widened(s, part, room);
                }
            }
            s.transpose(whole, to);
        }
        let done = a.dim - rest.len();
        for (i, to) in rest.iter_mut().enumerate() {
            for (to, row) in to.iter_mut().zip(rows) {
                *to = row.get(done + i).map_or(0.0, |x| x.widen());
            }
        }
    }
}

/// Copies values into panels of sixteen elements of the head, zeros after the last.
#[inline(always)]
pub(super) fn pack_values<S: Simd, E: Element>(
    s: S,
    a: &Attention<'_>,
    v: &[E],
    kv_head: usize,
    keys: Range<usize>,
    to: &mut [[f32; LANES]],
) {
    for (index, key) in keys.clone().enumerate() {
        let from = &v[(key * a.kv_heads + kv_head) * a.dim..][..a.dim];
        let (whole, rest) = from.as_chunks::<LANES>();
        for (panel, from) in whole.iter().enumerate() {
            s.store(E::load(s, from), &mut to[panel * keys.len() + index]);
        }
        if !rest.is_empty() {
            s.store(E::load_part(s, rest), &mut to[whole.len() * keys.len() + index]);
        }
    }
}
