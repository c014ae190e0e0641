//! Elements in other places.

use crate::distill::real::{Real, by_type, tensor};
use crate::distill::tape::Tensor;

/// Each place of `x [b, t, h, w, c]` repeated along t, h and w.
pub(in crate::distill) fn upsample(x: &Tensor, factor: [usize; 3]) -> Tensor {
    let small = <[usize; 5]>::try_from(x.shape()).expect("verified: four axes and the batch");
    let large = [small[0], small[1] * factor[0], small[2] * factor[1], small[3] * factor[2], small[4]];
    let (values, dtype) = (x.values(), x.dtype());
    let c = small[4];
    let n_large: usize = large.iter().product();
    let out = by_type!(dtype, E => {
        let mut out = Vec::with_capacity(n_large);
        let x = values.storage::<E>();
        sources(small, factor, |from| out.extend_from_slice(&x[from * c..(from + 1) * c]));
        tensor::<E>(out, &large)
    });
    Tensor::recorded([x], out, move |g, _| {
        let g = g.to_contiguous();
        [Some(by_type!(dtype, E => {
            let mut sums = vec![E::ZERO; small.iter().product()];
            let mut rows = g.storage::<E>().chunks_exact(c);
            sources(small, factor, |from| {
                let g = rows.next().expect("as many as there are places");
                sums[from * c..(from + 1) * c].iter_mut().zip(g).for_each(|(s, g)| *s += *g);
            });
            tensor::<E>(sums, &small)
        }))]
    })
}

/// For each place of the larger value in turn, the place of the smaller one that it repeats.
fn sources([b, t, h, w, _]: [usize; 5], factor: [usize; 3], mut f: impl FnMut(usize)) {
    for frame in 0..b * t {
        for _ in 0..factor[0] {
            for row in 0..h {
                for _ in 0..factor[1] {
                    let begin = (frame * h + row) * w;
                    for column in 0..w {
                        (0..factor[2]).for_each(|_| f(begin + column));
                    }
                }
            }
        }
    }
}
