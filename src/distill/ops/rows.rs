//! Rows of tables, by their indices.

use crate::distill::real::{Real, by_type, tensor};
use crate::distill::tape::Tensor;
use crate::graph::Merge;

/// Rows of `table [m, d]` by `ids`, one after the other, in the shape `[.., d]`; none if an id is outside.
pub(in crate::distill) fn embedding(table: &Tensor, ids: &[i32], shape: &[usize]) -> Option<Tensor> {
    let (n_rows, dim) = (table.shape()[0], table.shape()[1]);
    let ids: Option<Vec<usize>> =
        ids.iter().map(|id| usize::try_from(*id).ok().filter(|id| *id < n_rows)).collect();
    let ids = ids?;
    let dtype = table.dtype();
    let values = table.values();
    let out = by_type!(dtype, E => {
        let rows = values.storage::<E>();
        let out = ids.iter().flat_map(|id| &rows[id * dim..(id + 1) * dim]).copied().collect();
        tensor::<E>(out, shape)
    });
    Some(Tensor::recorded([table], out, move |g, _| {
        let g = g.to_contiguous();
        [Some(by_type!(dtype, E => {
            let mut sums = vec![E::ZERO; n_rows * dim];
            for (id, g) in ids.iter().zip(g.storage::<E>().chunks_exact(dim)) {
                sums[id * dim..(id + 1) * dim].iter_mut().zip(g).for_each(|(s, g)| *s += *g);
            }
            tensor::<E>(sums, &[n_rows, dim])
        }))]
    }))
}

/// `Σ_j share[i, j] · table[index[i, j]]`: `index` and `share [b, n, c]`; none if an index is outside.
pub(in crate::distill) fn interpolate_rows(table: &Tensor, index: &[i32], share: &Tensor) -> Option<Tensor> {
    let [b, n, c] = <[usize; 3]>::try_from(share.shape()).expect("verified: rows of shares");
    let dim = table.shape()[1];
    // The members of a batch may share indices.
    let index: Vec<i32> = index.iter().copied().cycle().take(b * n * c).collect();
    let rows = embedding(table, &index, &[b * n, c, dim])?;
    let share = share.reshaped(&[b * n, c, 1]);
    let weighed = super::mul(&rows, &share);
    // The sum over the second axis is a product with ones.
    let ones = by_type!(table.dtype(), E => Tensor::constant(vec![E::ONE; c], &[1, c]));
    let summed = super::linear(&weighed.permuted(&[0, 2, 1]), &ones, None);
    Some(summed.reshaped(&[b, n, dim]))
}

/// Row `i` of `x [b, n, d]` is merged with row `index[i]` of `table [b, m, d]` where that is not negative; none if one is beyond the
/// table.
pub(in crate::distill) fn select_rows(
    x: &Tensor,
    table: &Tensor,
    index: &[i32],
    merge: Merge,
) -> Option<Tensor> {
    let (shape, table_shape) = (x.shape(), table.shape());
    let [b, n, dim] = <[usize; 3]>::try_from(shape.clone()).expect("verified: rows");
    let m = table_shape[1];
    if index.iter().any(|i| usize::try_from(*i).is_ok_and(|i| m <= i)) {
        return None;
    }
    // The members of a batch may share indices.
    let index: Vec<i32> = index.iter().copied().cycle().take(b * n).collect();
    let (dtype, values, rows) = (x.dtype(), x.values(), table.values());
    let of = |(i, row): (usize, &i32)| Some((i, i / n * m + usize::try_from(*row).ok()?));
    let places: Vec<(usize, usize)> = index.iter().enumerate().filter_map(of).collect();
    let out = by_type!(dtype, E => {
        let (mut out, rows) = (values.storage::<E>().to_vec(), rows.storage::<E>());
        for (to, from) in &places {
            let pairs = out[to * dim..(to + 1) * dim].iter_mut().zip(&rows[from * dim..(from + 1) * dim]);
            pairs.for_each(|(o, t)| *o = if merge == Merge::Add { *o + *t } else { *t });
        }
        tensor::<E>(out, &shape)
    });
    Some(Tensor::recorded([x, table], out, move |g, [of_x, of_table]| {
        let g = g.to_contiguous();
        by_type!(dtype, E => {
            let g = g.storage::<E>();
            let to_x = || {
                let mut to_x = g.to_vec();
                if merge == Merge::Replace {
                    places.iter().for_each(|(to, _)| to_x[to * dim..(to + 1) * dim].fill(E::ZERO));
                }
                tensor::<E>(to_x, &shape)
            };
            let to_table = || {
                let mut sums = vec![E::ZERO; table_shape.iter().product()];
                for (to, from) in &places {
                    let pairs = sums[from * dim..(from + 1) * dim].iter_mut().zip(&g[to * dim..]);
                    pairs.for_each(|(s, g)| *s += *g);
                }
                tensor::<E>(sums, &table_shape)
            };
            [of_x.then(to_x), of_table.then(to_table)]
        })
    }))
}
