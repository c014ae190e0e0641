//! Attention over many queries, without a tokens × tokens matrix (Dao et al. 2022, <https://arxiv.org/abs/2205.14135>).
//!
//! A task is one key-value head and a block of its query rows (a row is a token and one of the query heads that share
//! the key-value head, so grouped queries share the packing of keys). It walks the keys block by block: packs them into
//! panels, multiplies with the tile of [`super::matmul`], and keeps for each row the greatest score so far, the sum of
//! exponentials and the weighted sum of values, rescaled when the greatest score grows.
//!
//! Blocks of keys start at multiples of [`KEYS`] and masked scores weigh exactly nothing, so a token's result does not
//! depend on how many tokens are asked for at once.
//!
//! A head longer than a row of a block (the Wan VAE's only one has 384 elements) lies in parts, and its blocks hold as many fewer
//! rows and keys.

mod blocks;
mod packing;

use std::ops::Range;

use super::arithmetic::InF32;
use super::block::{BLOCK_ROWS, BlockRow, ROW_LEN_MAX, ROW_STRIDE};
use super::keys::{Element, Keys};
use super::math;
use super::matmul::tile;
use super::out::Out;
use super::simd::{LANES, Simd};
use blocks::Blocks;
use packing::{pack_keys, pack_values};

/// Parts of the longest head.
const PARTS_MAX: usize = 2;
/// The longest head.
pub const HEAD_DIM_MAX: usize = PARTS_MAX * ROW_LEN_MAX;
/// Keys of a block, of heads in one part.
const KEYS: usize = 128;

/// `softmax(scale q kᵀ) v`: `q [n, h, d]`, `k [m, g, d]`, `v [m, g, d]`, `g` divides `h` → `[n, h, d]`.
///
/// A task writes one block of queries of the heads that share a key-value head.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// `[n, h, d]`.
    pub q: &'a [f32],
    /// `[m, g, d]`, or a cache with at least `m` rows.
    pub k: Keys<'a>,
    /// As `k`, and in the same format.
    pub v: Keys<'a>,
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

    /// Parts of a head, each a row of a block.
    fn parts(&self) -> usize {
        self.dim.div_ceil(ROW_LEN_MAX).max(1)
    }

    /// Query rows of a block.
    fn block_rows(&self) -> usize {
        BLOCK_ROWS / self.parts()
    }

    /// Keys of a block.
    fn block_keys(&self) -> usize {
        KEYS / self.parts()
    }

    fn blocks_of_kv_head(&self) -> usize {
        self.rows_of_kv_head().div_ceil(self.block_rows())
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

const ROWS_FLOATS: usize = BLOCK_ROWS * ROW_STRIDE;
const KEYS_FLOATS: usize = KEYS * ROW_LEN_MAX;
const SUMS_FLOATS: usize = BLOCK_ROWS * ROW_LEN_MAX;
/// Scratch of one thread, in elements.
pub(super) const SCRATCH_FLOATS: usize = 2 * ROWS_FLOATS + 2 * KEYS_FLOATS + SUMS_FLOATS + 2 * BLOCK_ROWS;

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
    match (a.k, a.v) {
        (Keys::F32(k), Keys::F32(v)) => run_tasks::<S, T, f32>(s, a, [k, v], tasks, out, scratch),
        (Keys::Bf16(k), Keys::Bf16(v)) => run_tasks::<S, T, u16>(s, a, [k, v], tasks, out, scratch),
        _ => unreachable!("both caches of a layer are kept in one format"),
    }
}

#[inline(always)]
fn run_tasks<S: Simd, const T: usize, E: Element>(
    s: S,
    a: &Attention<'_>,
    kv: [&[E]; 2],
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    let mut blocks = Blocks::new(scratch);
    for task in tasks {
        let (kv_head, block) = (task / a.blocks_of_kv_head(), task % a.blocks_of_kv_head());
        let rows = block * a.block_rows()..a.rows_of_kv_head().min((block + 1) * a.block_rows());
        run_task::<S, T, E>(s, a, kv, kv_head, rows, out, &mut blocks);
    }
}

#[inline(always)]
fn run_task<S: Simd, const T: usize, E: Element>(
    s: S,
    a: &Attention<'_>,
    [k, v]: [&[E]; 2],
    kv_head: usize,
    rows: Range<usize>,
    out: &mut Out<'_>,
    blocks: &mut Blocks<'_>,
) {
    let n_panels = a.dim.div_ceil(LANES);
    let block_rows = a.block_rows();
    for (index, row) in rows.clone().enumerate() {
        let from = &a.q[query_start(a, kv_head, row)..][..a.dim];
        for (part, from) in from.chunks(ROW_LEN_MAX).enumerate() {
            for (q, x) in blocks.queries[part * block_rows + index].iter_mut().zip(from) {
                *q = x * a.scale;
            }
        }
    }
    blocks.greatest.fill(f32::NEG_INFINITY);
    blocks.weight.fill(0.0);
    blocks.sums[..n_panels * block_rows].fill([0.0; LANES]);

    let seen = a.seen(rows.end - 1);
    let block_keys = a.block_keys();
    for keys in (0..seen).step_by(block_keys).map(|start| start..seen.min(start + block_keys)) {
        pack_keys(s, a, k, kv_head, keys.clone(), blocks.keys);
        pack_values(s, a, v, kv_head, keys.clone(), blocks.values);
        scores::<S, T>(s, a, rows.len(), keys.len(), blocks);
        for (index, row) in rows.clone().enumerate() {
            let seen = a.seen(row).saturating_sub(keys.start).min(keys.len());
            let sums = blocks.sums[index..].iter_mut().step_by(block_rows).take(n_panels);
            let (greatest, weight) = (&mut blocks.greatest[index], &mut blocks.weight[index]);
            soften(s, seen, keys.len(), &mut blocks.shares[index], sums, (greatest, weight));
        }
        add_values::<S, T>(s, a, rows.len(), keys.len(), blocks);
    }

    for (index, row) in rows.enumerate() {
        let share = 1.0 / blocks.weight[index];
        let to = out.part(query_start(a, kv_head, row)..query_start(a, kv_head, row) + a.dim);
        for (panel, to) in to.chunks_mut(LANES).enumerate() {
            for (to, sum) in to.iter_mut().zip(&blocks.sums[panel * block_rows + index]) {
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

/// Scores of all rows with a block of keys.
#[inline(always)]
fn scores<S: Simd, const T: usize>(
    s: S,
    a: &Attention<'_>,
    n_rows: usize,
    n_keys: usize,
    blocks: &mut Blocks<'_>,
) {
    let n_panels = n_keys.div_ceil(LANES);
    let shares = blocks.shares.as_chunks_mut::<T>().0;
    let keys = |panel: usize| &blocks.keys[panel * a.dim..][..a.dim];
    for panel in (0..n_panels).step_by(2) {
        for (index, shares) in shares.iter_mut().enumerate().take(n_rows.div_ceil(T)) {
            let queries = &blocks.queries[index * T..];
            if panel + 1 < n_panels {
                let scores = score_tile::<S, T, 2>(s, a, queries, [keys(panel), keys(panel + 1)]);
                store_scores(s, scores, panel, shares);
            } else {
                store_scores(s, score_tile::<S, T, 1>(s, a, queries, [keys(panel)]), panel, shares);
            }
        }
    }
}

/// Scores of `T` rows with `P` panels of keys, part of the head by part.
#[inline(always)]
fn score_tile<S: Simd, const T: usize, const P: usize>(
    s: S,
    a: &Attention<'_>,
    queries: &[BlockRow],
    keys: [&[[f32; LANES]]; P],
) -> [[S::V; T]; P] {
    let mut scores = part_tile::<S, T, P>(s, a, queries, keys, 0);
    for part in 1..a.parts() {
        let more = part_tile::<S, T, P>(s, a, queries, keys, part);
        for p in 0..P {
            for t in 0..T {
                scores[p][t] = s.add(scores[p][t], more[p][t]);
            }
        }
    }
    scores
}

/// Scores by one part of the head. Why not a closure: it would be compiled without the caller's instruction set.
#[inline(always)]
fn part_tile<S: Simd, const T: usize, const P: usize>(
    s: S,
    a: &Attention<'_>,
    queries: &[BlockRow],
    keys: [&[[f32; LANES]]; P],
    part: usize,
) -> [[S::V; T]; P] {
    let elements = part * ROW_LEN_MAX..a.dim.min((part + 1) * ROW_LEN_MAX);
    let queries = queries[part * a.block_rows()..].first_chunk().expect("blocks hold whole tiles");
    let mut of_part = keys;
    for panel in &mut of_part {
        *panel = &panel[elements.clone()];
    }
    tile::<S, _, T, P>(s, InF32, queries, of_part)
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

/// Turns a row's scores into exponentials under its new greatest score, and rescales its sums and their weight.
#[inline(always)]
fn soften<'a, S: Simd>(
    s: S,
    seen: usize,
    n_keys: usize,
    shares: &mut BlockRow,
    sums: impl Iterator<Item = &'a mut [f32; LANES]>,
    (greatest, weight): (&mut f32, &mut f32),
) {
    let shares = &mut shares[..n_keys.next_multiple_of(LANES)];
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
    let before = *greatest;
    *greatest = before.max(s.greatest(top));
    let mut sum = s.zero();
    for share in shares {
        let e = math::exp(s, s.sub(s.load(share), s.splat(*greatest)));
        sum = s.add(sum, e);
        s.store(e, share);
    }
    if before != *greatest {
        let mut fade = [0.0; LANES];
        s.store(math::exp(s, s.splat(before - *greatest)), &mut fade);
        *weight *= fade[0];
        for sum in sums {
            s.store(s.mul(s.load(sum), s.splat(fade[0])), sum);
        }
    }
    *weight += s.sum(sum);
}

/// Adds a block's values, weighted, to the sums of all rows.
#[inline(always)]
fn add_values<S: Simd, const T: usize>(
    s: S,
    a: &Attention<'_>,
    n_rows: usize,
    n_keys: usize,
    blocks: &mut Blocks<'_>,
) {
    let (n_panels, block_rows) = (a.dim.div_ceil(LANES), a.block_rows());
    let shares = blocks.shares.as_chunks::<T>().0;
    for panel in (0..n_panels).step_by(2) {
        let low = &blocks.values[panel * n_keys..][..n_keys];
        for (index, shares) in shares.iter().enumerate().take(n_rows.div_ceil(T)) {
            let sums = &mut blocks.sums[panel * block_rows + index * T..];
            if panel + 1 < n_panels {
                let high = &blocks.values[(panel + 1) * n_keys..][..n_keys];
                add_sums::<S, T, 2>(s, tile(s, InF32, shares, [low, high]), block_rows, sums);
            } else {
                add_sums::<S, T, 1>(s, tile(s, InF32, shares, [low]), block_rows, sums);
            }
        }
    }
}

#[inline(always)]
fn add_sums<S: Simd, const T: usize, const P: usize>(
    s: S,
    tile: [[S::V; T]; P],
    block_rows: usize,
    sums: &mut [[f32; LANES]],
) {
    for p in 0..P {
        let sums = &mut sums[p * block_rows..][..T];
        for t in 0..T {
            s.store(s.add(s.load(&sums[t]), tile[p][t]), &mut sums[t]);
        }
    }
}
