//! Attention over many queries, without a tokens × tokens matrix (Dao et al. 2022, <https://arxiv.org/abs/2205.14135>).
//!
//! A task is one key-value head and a block of its query rows (a row is a token and one of the query heads that share
//! the key-value head, so grouped queries share the packing of keys). It walks the keys block by block: packs them into
//! panels, multiplies with the tile of [`super::matmul`], and keeps for each row the greatest score so far, the sum of
//! exponentials and the weighted sum of values, rescaled when the greatest score grows.
//!
//! Blocks of keys start at multiples of [`KEYS`] and masked scores weigh exactly nothing, so a token's result does not
//! depend on how many tokens are asked for at once.

use std::ops::Range;

use super::math;
use super::matmul::{BLOCK_ROWS, BlockRow, ROW_LEN_MAX, ROW_STRIDE, tile};
use super::out::Out;
use super::simd::{LANES, Simd};

/// The longest head.
pub const HEAD_DIM_MAX: usize = ROW_LEN_MAX;
/// Keys of a block.
const KEYS: usize = 128;

/// `softmax(scale q kᵀ) v`: `q [n, h, d]`, `k [m, g, d]`, `v [m, g, d]`, `g` divides `h` → `[n, h, d]`.
///
/// A task writes one block of queries of the heads that share a key-value head.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// `[n, h, d]`.
    pub q: &'a [f32],
    /// `[m, g, d]`, or a cache with at least `m` rows.
    pub k: &'a [f32],
    /// As `k`.
    pub v: &'a [f32],
    /// Queries.
    pub n: usize,
    /// Keys.
    pub m: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements of a head, at most [`HEAD_DIM_MAX`].
    pub dim: usize,
    /// Of the scores.
    pub scale: f32,
    /// Whether query `i` sees keys `0..=m - n + i` only: the queries are the last `n` of `m` tokens.
    pub causal: bool,
}

impl Attention<'_> {
    fn rows_of_kv_head(&self) -> usize {
        self.n * (self.heads / self.kv_heads)
    }

    fn blocks_of_kv_head(&self) -> usize {
        self.rows_of_kv_head().div_ceil(BLOCK_ROWS)
    }

    /// Tasks that the work is cut into.
    pub fn tasks(&self) -> usize {
        self.kv_heads * self.blocks_of_kv_head()
    }

    /// Keys that the query of row `row` sees.
    fn seen(&self, row: usize) -> usize {
        if self.causal { self.m - self.n + row / (self.heads / self.kv_heads) + 1 } else { self.m }
    }
}

const PANELS_MAX: usize = HEAD_DIM_MAX / LANES;
const ROWS_FLOATS: usize = BLOCK_ROWS * ROW_STRIDE;
const KEYS_FLOATS: usize = KEYS * HEAD_DIM_MAX;
/// Scratch of one thread, in elements.
pub(super) const SCRATCH_FLOATS: usize =
    2 * ROWS_FLOATS + 2 * KEYS_FLOATS + BLOCK_ROWS * PANELS_MAX * LANES + 2 * BLOCK_ROWS;

/// The parts of a thread's scratch.
struct Blocks<'a> {
    queries: &'a mut [BlockRow],
    /// Scores, then their exponentials.
    shares: &'a mut [BlockRow],
    /// `[16 keys each][d]`.
    keys: &'a mut [[f32; LANES]],
    /// `[16 elements of the head each][key]`.
    values: &'a mut [[f32; LANES]],
    /// `[16 elements of the head each][row]`.
    sums: &'a mut [[f32; LANES]],
    greatest: &'a mut [f32],
    weight: &'a mut [f32],
}

impl<'a> Blocks<'a> {
    fn new(scratch: &'a mut [f32]) -> Blocks<'a> {
        let (keys, scratch) = scratch.split_at_mut(KEYS_FLOATS);
        let (values, scratch) = scratch.split_at_mut(KEYS_FLOATS);
        let (sums, scratch) = scratch.split_at_mut(BLOCK_ROWS * PANELS_MAX * LANES);
        let (queries, scratch) = scratch.split_at_mut(ROWS_FLOATS);
        let (shares, scratch) = scratch.split_at_mut(ROWS_FLOATS);
        let (greatest, scratch) = scratch.split_at_mut(BLOCK_ROWS);
        Blocks {
            queries: queries.as_chunks_mut().0,
            shares: shares.as_chunks_mut().0,
            keys: keys.as_chunks_mut().0,
            values: values.as_chunks_mut().0,
            sums: sums.as_chunks_mut().0,
            greatest,
            weight: &mut scratch[..BLOCK_ROWS],
        }
    }
}

#[inline(always)]
pub(super) fn run<S: Simd, const T: usize>(
    s: S,
    a: &Attention<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    assert!(a.dim <= HEAD_DIM_MAX, "lowering refuses longer heads");
    assert!(a.heads.is_multiple_of(a.kv_heads), "query heads share key-value heads evenly");
    assert_eq!(a.q.len(), a.n * a.heads * a.dim, "q is [n, h, d]");
    assert_eq!(out.len(), a.q.len(), "the output is shaped as q");
    assert!(a.k.len().min(a.v.len()) >= a.m * a.kv_heads * a.dim, "k and v are [m, g, d]");
    let mut blocks = Blocks::new(scratch);
    for task in tasks {
        let (kv_head, block) = (task / a.blocks_of_kv_head(), task % a.blocks_of_kv_head());
        let rows = block * BLOCK_ROWS..a.rows_of_kv_head().min((block + 1) * BLOCK_ROWS);
        run_task::<S, T>(s, a, kv_head, rows, out, &mut blocks);
    }
}

#[inline(always)]
fn run_task<S: Simd, const T: usize>(
    s: S,
    a: &Attention<'_>,
    kv_head: usize,
    rows: Range<usize>,
    out: &mut Out<'_>,
    blocks: &mut Blocks<'_>,
) {
    let n_panels = a.dim.div_ceil(LANES);
    for (row, query) in rows.clone().zip(&mut *blocks.queries) {
        let from = &a.q[query_start(a, kv_head, row)..][..a.dim];
        for (q, x) in query.iter_mut().zip(from) {
            *q = x * a.scale;
        }
    }
    blocks.greatest.fill(f32::NEG_INFINITY);
    blocks.weight.fill(0.0);
    blocks.sums[..n_panels * BLOCK_ROWS].fill([0.0; LANES]);

    let seen = a.seen(rows.end - 1);
    for keys in (0..seen).step_by(KEYS).map(|start| start..seen.min(start + KEYS)) {
        pack_keys(s, a, kv_head, keys.clone(), blocks.keys);
        pack_values(a, kv_head, keys.clone(), blocks.values);
        scores::<S, T>(s, a.dim, rows.len(), keys.len(), blocks);
        for (index, row) in rows.clone().enumerate() {
            let seen = a.seen(row).saturating_sub(keys.start).min(keys.len());
            soften(s, seen, keys.len(), index, n_panels, blocks);
        }
        add_values::<S, T>(s, n_panels, rows.len(), keys.len(), blocks);
    }

    for (index, row) in rows.enumerate() {
        let share = 1.0 / blocks.weight[index];
        let to = out.part(query_start(a, kv_head, row)..query_start(a, kv_head, row) + a.dim);
        for (panel, to) in to.chunks_mut(LANES).enumerate() {
            for (to, sum) in to.iter_mut().zip(&blocks.sums[panel * BLOCK_ROWS + index]) {
                *to = sum * share;
            }
        }
    }
}

/// Where the query of row `row` starts in `q` and in the output.
#[inline(always)]
fn query_start(a: &Attention<'_>, kv_head: usize, row: usize) -> usize {
    let sharing = a.heads / a.kv_heads;
    ((row / sharing) * a.heads + kv_head * sharing + row % sharing) * a.dim
}

/// Transposes keys into panels of sixteen keys, zeros after the last.
#[inline(always)]
fn pack_keys<S: Simd>(s: S, a: &Attention<'_>, kv_head: usize, keys: Range<usize>, to: &mut [[f32; LANES]]) {
    for (panel, first) in keys.clone().step_by(LANES).enumerate() {
        let to = &mut to[panel * a.dim..(panel + 1) * a.dim];
        let mut rows: [&[f32]; LANES] = [&[]; LANES];
        for (row, key) in rows.iter_mut().zip(first..keys.end) {
            *row = &a.k[(key * a.kv_heads + kv_head) * a.dim..][..a.dim];
        }
        let (squares, rest) = to.as_chunks_mut::<LANES>();
        for (square, to) in squares.iter_mut().enumerate() {
            let mut whole = [&[0.0; LANES]; LANES];
            for (whole, row) in whole.iter_mut().zip(rows) {
                if let Some(part) = row.get(square * LANES..).and_then(|row| row.first_chunk()) {
                    *whole = part;
                }
            }
            s.transpose(whole, to);
        }
        let done = a.dim - rest.len();
        for (i, to) in rest.iter_mut().enumerate() {
            for (to, row) in to.iter_mut().zip(rows) {
                *to = row.get(done + i).copied().unwrap_or(0.0);
            }
        }
    }
}

/// Copies values into panels of sixteen elements of the head, zeros after the last.
#[inline(always)]
fn pack_values(a: &Attention<'_>, kv_head: usize, keys: Range<usize>, to: &mut [[f32; LANES]]) {
    for (index, key) in keys.clone().enumerate() {
        let from = &a.v[(key * a.kv_heads + kv_head) * a.dim..][..a.dim];
        let (whole, rest) = from.as_chunks::<LANES>();
        for (panel, from) in whole.iter().enumerate() {
            to[panel * keys.len() + index] = *from;
        }
        if !rest.is_empty() {
            let to = &mut to[whole.len() * keys.len() + index];
            to.fill(0.0);
            to[..rest.len()].copy_from_slice(rest);
        }
    }
}

/// Scores of all rows with a block of keys.
#[inline(always)]
fn scores<S: Simd, const T: usize>(s: S, dim: usize, n_rows: usize, n_keys: usize, blocks: &mut Blocks<'_>) {
    let n_panels = n_keys.div_ceil(LANES);
    let (queries, shares) = (blocks.queries.as_chunks::<T>().0, blocks.shares.as_chunks_mut::<T>().0);
    for panel in (0..n_panels).step_by(2) {
        let low = &blocks.keys[panel * dim..][..dim];
        for (queries, shares) in queries.iter().zip(&mut *shares).take(n_rows.div_ceil(T)) {
            if panel + 1 < n_panels {
                let high = &blocks.keys[(panel + 1) * dim..][..dim];
                store_scores::<S, T, 2>(s, tile(s, queries, [low, high]), panel, shares);
            } else {
                store_scores::<S, T, 1>(s, tile(s, queries, [low]), panel, shares);
            }
        }
    }
}

#[inline(always)]
fn store_scores<S: Simd, const T: usize, const P: usize>(
    s: S,
    tile: [[S::V; T]; P],
    panel: usize,
    shares: &mut [BlockRow; T],
) {
    for (t, shares) in shares.iter_mut().enumerate() {
        for (part, to) in tile.iter().zip(&mut shares.as_chunks_mut().0[panel..]) {
            s.store(part[t], to);
        }
    }
}

/// Turns a row's scores into exponentials under its new greatest score, and rescales its sums.
#[inline(always)]
fn soften<S: Simd>(s: S, seen: usize, n_keys: usize, row: usize, n_panels: usize, blocks: &mut Blocks<'_>) {
    let shares = &mut blocks.shares[row][..n_keys.next_multiple_of(LANES)];
    if seen == 0 {
        shares.fill(0.0);
        return;
    }
    shares[seen..].fill(f32::NEG_INFINITY);
    let shares = shares.as_chunks_mut::<LANES>().0;
    let mut top = s.load(&shares[0]);
    for share in &shares[1..] {
        top = s.max(top, s.load(share));
    }
    let before = blocks.greatest[row];
    let greatest = before.max(s.greatest(top));
    let mut sum = s.zero();
    for share in shares {
        let e = math::exp(s, s.sub(s.load(share), s.splat(greatest)));
        sum = s.add(sum, e);
        s.store(e, share);
    }
    if before != greatest {
        let mut fade = [0.0; LANES];
        s.store(math::exp(s, s.splat(before - greatest)), &mut fade);
        blocks.greatest[row] = greatest;
        blocks.weight[row] *= fade[0];
        for panel in 0..n_panels {
            let of_row = &mut blocks.sums[panel * BLOCK_ROWS + row];
            s.store(s.mul(s.load(of_row), s.splat(fade[0])), of_row);
        }
    }
    blocks.weight[row] += s.sum(sum);
}

/// Adds a block's values, weighted, to the sums of all rows.
#[inline(always)]
fn add_values<S: Simd, const T: usize>(
    s: S,
    n_panels: usize,
    n_rows: usize,
    n_keys: usize,
    blocks: &mut Blocks<'_>,
) {
    let shares = blocks.shares.as_chunks::<T>().0;
    for panel in (0..n_panels).step_by(2) {
        let low = &blocks.values[panel * n_keys..][..n_keys];
        for (index, shares) in shares.iter().enumerate().take(n_rows.div_ceil(T)) {
            let sums = &mut blocks.sums[panel * BLOCK_ROWS + index * T..];
            if panel + 1 < n_panels {
                let high = &blocks.values[(panel + 1) * n_keys..][..n_keys];
                add_sums::<S, T, 2>(s, tile(s, shares, [low, high]), sums);
            } else {
                add_sums::<S, T, 1>(s, tile(s, shares, [low]), sums);
            }
        }
    }
}

#[inline(always)]
fn add_sums<S: Simd, const T: usize, const P: usize>(s: S, tile: [[S::V; T]; P], sums: &mut [[f32; LANES]]) {
    for p in 0..P {
        let sums = &mut sums[p * BLOCK_ROWS..][..T];
        for t in 0..T {
            s.store(s.add(s.load(&sums[t]), tile[p][t]), &mut sums[t]);
        }
    }
}
