//! TensorRT's own attention and update of caches in the evaluation, as its headers say that they compute.

use crate::evaluate::Value;

/// `[1, groups, rows, dim]` with the new rows from a row on.
pub(crate) fn update(cache: &Value, new: &Value, at: &Value) -> Result<Value, String> {
    let ([1, groups, rows, dim], [1, g, n, d], [at]) = (&cache.shape[..], &new.shape[..], at.i64s()?) else {
        return Err(format!("{:?} into {:?}", new.shape, cache.shape));
    };
    let at = usize::try_from(*at).map_err(|_| format!("row {at}"))?;
    if (g, d) != (groups, dim) || *rows < at + n {
        return Err(format!("{:?} at {at} into {:?}", new.shape, cache.shape));
    }
    let (mut out, new) = (cache.f32s()?.to_vec(), new.f32s()?);
    for group in 0..*groups {
        let to = (group * rows + at) * dim;
        out[to..to + n * dim].copy_from_slice(&new[group * n * dim..][..n * dim]);
    }
    Ok(Value::floats(&cache.shape, out))
}

/// `softmax(q kᵀ) v`; of keys as many as the fourth input says; causal, the last query sees all of those.
pub(crate) fn attend(inputs: &[&Value], causal: bool) -> Result<Value, String> {
    let (q, k, v) = (inputs[0], inputs[1], inputs[2]);
    let ([b, heads, n, dim], [bk, groups, m, dk]) = (&q.shape[..], &k.shape[..]) else {
        return Err(format!("{:?} over {:?}", q.shape, k.shape));
    };
    if (b, dim) != (bk, dk) || v.shape != k.shape || !heads.is_multiple_of(*groups) {
        return Err(format!("{:?} over {:?} and {:?}", q.shape, k.shape, v.shape));
    }
    let valid = match inputs.get(3).map(|lengths| lengths.i64s()).transpose()? {
        Some([valid]) if *b == 1 => usize::try_from(*valid).map_err(|_| format!("{valid} keys"))?,
        Some(other) => return Err(format!("lengths {other:?} of {b}")),
        None => *m,
    };
    if *m < valid {
        return Err(format!("{valid} keys of {m}"));
    }
    let (qv, kv, vv) = (q.f32s()?, k.f32s()?, v.f32s()?);
    let mut out = Vec::with_capacity(qv.len());
    for part in 0..*b {
        for head in 0..*heads {
            let group = part * groups + head / (heads / groups);
            let row = |of: &'_ [f32], i: usize| of[(group * m + i) * dim..][..*dim].to_vec();
            for i in 0..*n {
                let query = &qv[((part * heads + head) * n + i) * dim..][..*dim];
                let seen = if causal {
                    (valid + i + 1).checked_sub(*n).ok_or("more queries than keys")?
                } else {
                    valid
                };
                let score = |j: usize| -> f64 {
                    query.iter().zip(row(kv, j)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
                };
                let scores: Vec<f64> = (0..seen).map(score).collect();
                let most = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
                let powers: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                let sum: f64 = powers.iter().sum();
                let mut y = vec![0.0f64; *dim];
                for (j, power) in powers.iter().enumerate() {
                    y.iter_mut().zip(row(vv, j)).for_each(|(y, v)| *y += power / sum * f64::from(v));
                }
                out.extend(y.iter().map(|y| *y as f32));
            }
        }
    }
    Ok(Value::floats(&q.shape, out))
}
