//! Attention of a few queries over a cache, where reading keys and values is all that takes time.
//!
//! The cache is cut into ranges of [`RANGE`] keys. A first kernel makes, for each head and range, the greatest score,
//! the sum of exponentials and the unnormalised sum of values; a second one joins the ranges of a head. Ranges start at
//! fixed keys, so results do not depend on the number of threads.

use std::ops::Range;

use super::attention::{Attention, HEAD_DIM_MAX};
use super::keys::{Element, Keys};
use super::math;
use super::out::Out;
use super::simd::{LANES, Simd};

/// Keys of a range.
const RANGE: usize = 256;
/// Elements that stand before a range's sum of values: greatest score and sum of exponentials, padded to a vector.
const HEADER: usize = LANES;
/// How many keys ahead of its use a key is fetched: heads of one token lie side by side, so the next key is far away.
const KEYS_AHEAD: usize = 8;
/// Scratch of one thread, in elements: the scores of one row.
pub(super) const SCRATCH_FLOATS: usize = RANGE;

/// The most queries that this serves better than [`Attention`]'s own kernel.
pub const DECODE_QUERIES_MAX: usize = 4;

/// The two steps of [`Attention`] for at most [`DECODE_QUERIES_MAX`] queries.
///
/// First step: the output is the partial results, `partial_floats()` long; a task writes those of one range for the
/// heads that share a key-value head. Second step: a task writes one head of one query.
#[derive(Clone, Copy, Debug)]
pub struct DecodeAttention<'a> {
    /// What is asked.
    pub attention: Attention<'a>,
}

/// The second step of [`DecodeAttention`]; its output is that of [`Attention`].
#[derive(Clone, Copy, Debug)]
pub struct JoinRanges<'a> {
    /// What is asked.
    pub attention: Attention<'a>,
    /// What the first step has written.
    pub partials: &'a [f32],
}

/// Elements of the partial results for `rows` (queries times heads) of `dim` elements and at most `m` keys.
pub fn decode_partial_floats(rows: usize, dim: usize, m: usize) -> usize {
    rows * m.div_ceil(RANGE) * (HEADER + dim.next_multiple_of(LANES))
}

impl DecodeAttention<'_> {
    /// Tasks of the first step.
    pub fn tasks(&self) -> usize {
        self.attention.kv_heads * self.attention.m.div_ceil(RANGE)
    }

    /// Elements of the partial results.
    pub fn partial_floats(&self) -> usize {
        let a = &self.attention;
        decode_partial_floats(a.n * a.heads, a.dim, a.m)
    }
}

impl JoinRanges<'_> {
    /// Tasks of the second step: one for each head of each query.
    pub fn tasks(&self) -> usize {
        self.attention.n * self.attention.heads
    }
}

#[inline(always)]
pub(super) fn run<S: Simd>(
    s: S,
    d: &DecodeAttention<'_>,
    tasks: Range<usize>,
    partials: &mut Out<'_>,
    scratch: &mut [f32],
) {
    let a = &d.attention;
    assert!(a.dim <= HEAD_DIM_MAX, "lowering refuses longer heads");
    assert_eq!(a.q.len(), a.n * a.heads * a.dim, "q is [n, h, d]");
    assert!(d.partial_floats() <= partials.len(), "the arena has room for the partial results");
    match (a.k, a.v) {
        (Keys::F32(k), Keys::F32(v)) => run_tasks(s, a, [k, v], tasks, partials, scratch),
        (Keys::Bf16(k), Keys::Bf16(v)) => run_tasks(s, a, [k, v], tasks, partials, scratch),
        _ => unreachable!("both caches of a layer are kept in one format"),
    }
}

#[inline(always)]
fn run_tasks<S: Simd, E: Element>(
    s: S,
    a: &Attention<'_>,
    kv: [&[E]; 2],
    tasks: Range<usize>,
    partials: &mut Out<'_>,
    scratch: &mut [f32],
) {
    let sharing = a.heads / a.kv_heads;
    let n_ranges = a.m.div_ceil(RANGE);
    let stride = HEADER + a.dim.next_multiple_of(LANES);
    for task in tasks {
        let (kv_head, range) = (task / n_ranges, task % n_ranges);
        let keys = range * RANGE..a.m.min((range + 1) * RANGE);
        for query in 0..a.n {
            let seen = if a.causal { a.m - a.n + query + 1 } else { a.m };
            let keys = keys.start.min(seen)..keys.end.min(seen);
            for head in kv_head * sharing..(kv_head + 1) * sharing {
                let row = query * a.heads + head;
                let place = (row * n_ranges + range) * stride;
                let to = partials.part(place..place + stride);
                one_row(s, a, kv, (row, kv_head), keys.clone(), to, &mut scratch[..RANGE]);
            }
        }
    }
}

/// One query head over one range of keys.
#[inline(always)]
fn one_row<S: Simd, E: Element>(
    s: S,
    a: &Attention<'_>,
    [k, v]: [&[E]; 2],
    (row, kv_head): (usize, usize),
    keys: Range<usize>,
    to: &mut [f32],
    shares: &mut [f32],
) {
    let (header, sums) = to.split_at_mut(HEADER);
    sums.fill(0.0);
    header.fill(0.0);
    header[0] = f32::NEG_INFINITY;
    if keys.is_empty() {
        return;
    }
    let query = &a.q[row * a.dim..][..a.dim];
    let of = |key: usize| (key * a.kv_heads + kv_head) * a.dim;
    for (share, key) in shares.iter_mut().zip(keys.clone()) {
        for line in (0..a.dim).step_by(E::IN_LINE) {
            s.prefetch(k.as_ptr().wrapping_add(of(key + KEYS_AHEAD) + line));
        }
        *share = dot(s, query, &k[of(key)..][..a.dim]) * a.scale;
    }
    let n_keys = keys.len();
    shares[n_keys..].fill(f32::NEG_INFINITY);
    let vectors = shares[..n_keys.next_multiple_of(LANES)].as_chunks_mut::<LANES>().0;
    let mut top = s.load(&vectors[0]);
    for v in &vectors[1..] {
        top = s.max(top, s.load(v));
    }
    let greatest = s.greatest(top);
    let mut weight = s.zero();
    for v in vectors {
        let e = math::exp(s, s.sub(s.load(v), s.splat(greatest)));
        weight = s.add(weight, e);
        s.store(e, v);
    }
    header[0] = greatest;
    header[1] = s.sum(weight);
    let shares = &shares[..n_keys];
    let whole = a.dim / LANES;
    let mut panel = 0;
    while panel + 4 <= whole {
        add_values::<S, E, 4>(s, a, v, of(keys.start) + panel * LANES, shares, &mut sums[panel * LANES..]);
        panel += 4;
    }
    while panel < whole {
        add_values::<S, E, 1>(s, a, v, of(keys.start) + panel * LANES, shares, &mut sums[panel * LANES..]);
        panel += 1;
    }
    for (i, sum) in sums.iter_mut().enumerate().take(a.dim).skip(whole * LANES) {
        for (share, key) in shares.iter().zip(keys.clone()) {
            *sum += share * v[of(key) + i].widen();
        }
    }
}

#[inline(always)]
fn dot<S: Simd, E: Element>(s: S, a: &[f32], b: &[E]) -> f32 {
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    let mut sum = s.zero();
    for (a, b) in a_whole.iter().zip(b_whole) {
        sum = s.mul_add(s.load(a), E::load(s, b), sum);
    }
    if !a_rest.is_empty() {
        sum = s.mul_add(s.load_part(a_rest), E::load_part(s, b_rest), sum);
    }
    s.sum(sum)
}

/// `P` vectors of a head, from element `start` of the values on, summed over the keys.
#[inline(always)]
fn add_values<S: Simd, E: Element, const P: usize>(
    s: S,
    a: &Attention<'_>,
    v: &[E],
    start: usize,
    shares: &[f32],
    sums: &mut [f32],
) {
    let stride = a.kv_heads * a.dim;
    let mut totals = [s.zero(); P];
    for (key, share) in shares.iter().enumerate() {
        let from = start + key * stride;
        let values = v[from..from + P * LANES].as_chunks::<LANES>().0;
        for (p, (total, value)) in totals.iter_mut().zip(values).enumerate() {
            s.prefetch(v.as_ptr().wrapping_add(from + KEYS_AHEAD * stride + p * LANES));
            *total = s.mul_add(E::load(s, value), s.splat(*share), *total);
        }
    }
    for (total, to) in totals.into_iter().zip(sums.as_chunks_mut().0) {
        s.store(total, to);
    }
}

#[inline(always)]
pub(super) fn run_join<S: Simd>(
    s: S,
    j: &JoinRanges<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    _: &mut [f32],
) {
    let a = &j.attention;
    let n_ranges = a.m.div_ceil(RANGE);
    let stride = HEADER + a.dim.next_multiple_of(LANES);
    for row in tasks {
        let ranges = &j.partials[row * n_ranges * stride..(row + 1) * n_ranges * stride];
        let greatest =
            ranges.chunks_exact(stride).fold(f32::NEG_INFINITY, |g, r| if r[0] < g { g } else { r[0] });
        let to = out.part(row * a.dim..(row + 1) * a.dim);
        let mut fade = [0.0; LANES];
        let mut weight = 0.0;
        to.fill(0.0);
        for range in ranges.chunks_exact(stride) {
            s.store(math::exp(s, s.splat(range[0] - greatest)), &mut fade);
            weight += range[1] * fade[0];
            for (to, x) in to.iter_mut().zip(&range[HEADER..]) {
                *to += x * fade[0];
            }
        }
        for to in to {
            *to /= weight;
        }
    }
}
