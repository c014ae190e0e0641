//! A difference of latents, blurred over their places by a Gaussian.
//!
//! Of a goal: unblurred, a thing that misses it by more than its own size is as far off by a little as by a lot, and no plan is better
//! than another; blurred, what is within about 2 σ counts as near. Of a surprise: what a forecast gets slightly wrong has both signs
//! side by side and cancels, what is not there at all, or of another colour, does not.

use crate::models::predict25::LatentShape;

/// Beyond so many σ the Gaussian is cut off.
const REACH: f64 = 3.0;

/// A Gaussian over height and width of latents, and room to apply it. Beyond the edges there is no difference.
#[derive(Clone, Debug)]
pub(in crate::runtime) struct Blur {
    /// σ, in heights of the picture.
    share: f64,
    /// `[height, width, channels]` of a latent.
    extents: [usize; 3],
    /// From the middle on; over both sides it adds up to 1.
    half: Vec<f32>,
    difference: Vec<f32>,
    rows: Vec<f32>,
}

impl Blur {
    /// Of σ `share` times the height of the picture.
    pub(in crate::runtime) fn new(share: f64, shape: &LatentShape) -> Blur {
        let sigma = share * shape.height as f64;
        let extents = [shape.height, shape.width, shape.channels];
        // No further than the latent is large.
        let reach = ((REACH * sigma).ceil() as usize).min(shape.height.max(shape.width));
        let gauss = |at: usize| if at == 0 { 1.0 } else { (-0.5 * (at as f64 / sigma).powi(2)).exp() };
        let total: f64 = (0..=reach).map(|at| gauss(at) * if at == 0 { 1.0 } else { 2.0 }).sum();
        let half = (0..=reach).map(|at| (gauss(at) / total) as f32).collect();
        let room = vec![0.0; extents.iter().product()];
        Blur { share, extents, half, difference: room.clone(), rows: room }
    }

    /// σ, in heights of the picture.
    pub(in crate::runtime) fn share(&self) -> f64 {
        self.share
    }

    /// Elements of a latent.
    pub(in crate::runtime) fn len(&self) -> usize {
        self.difference.len()
    }

    /// The sum of squares of the blurred difference of two latents, `[height, width, channels]`.
    pub(in crate::runtime) fn squares(&mut self, a: &[f32], b: &[f32]) -> f64 {
        self.apply(a, b);
        self.difference.iter().map(|d| f64::from(*d).powi(2)).sum()
    }

    /// The root mean square over the channels of the blurred difference, at the place where it is greatest.
    pub(in crate::runtime) fn greatest(&mut self, a: &[f32], b: &[f32]) -> f64 {
        self.apply(a, b);
        let n_channels = self.extents[2];
        let at = |place: &[f32]| place.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>();
        let greatest = self.difference.chunks_exact(n_channels).map(at).fold(0.0, f64::max);
        (greatest / n_channels as f64).sqrt()
    }

    fn apply(&mut self, a: &[f32], b: &[f32]) {
        let [height, width, channels] = self.extents;
        let pairs = a.iter().zip(b);
        self.difference.iter_mut().zip(pairs).for_each(|(d, (a, b))| *d = a - b);
        along(&self.half, &self.difference, &mut self.rows, [height, width, channels]);
        along(&self.half, &self.rows, &mut self.difference, [1, height, width * channels]);
    }
}

/// Weighs `[outer, n, inner]` along `n`.
fn along(half: &[f32], from: &[f32], to: &mut [f32], [outer, n, inner]: [usize; 3]) {
    to.fill(0.0);
    for block in 0..outer {
        for at in 0..n {
            let low = at.saturating_sub(half.len() - 1);
            let to = &mut to[(block * n + at) * inner..][..inner];
            for other in low..n.min(at + half.len()) {
                let weight = half[at.abs_diff(other)];
                let from = &from[(block * n + other) * inner..][..inner];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: LatentShape = LatentShape { n_latents: 1, height: 8, width: 10, channels: 2 };

    fn thing(x: usize, y: usize) -> Vec<f32> {
        let mut all = vec![0.0; SHAPE.frame_len()];
        all[(y * SHAPE.width + x) * 2 + 1] = 1.0;
        all
    }

    #[test]
    fn one_place_becomes_the_gaussian() {
        // σ of one place.
        let mut blur = Blur::new(0.125, &SHAPE);
        let found = blur.squares(&thing(4, 4), &[0.0; 160]);
        let weights: Vec<f64> = (-3..=3).map(|d| (-0.5 * f64::from(d * d)).exp()).collect();
        let total: f64 = weights.iter().sum();
        let expected = weights.iter().map(|w| (w / total).powi(2)).sum::<f64>().powi(2);
        assert!((found - expected).abs() < 1e-7, "{found}, {expected}");
        let at = |x: usize, y: usize| f64::from(blur.difference[(y * SHAPE.width + x) * 2 + 1]);
        assert!((at(5, 2) - weights[4] * weights[1] / total.powi(2)).abs() < 1e-7);
        assert_eq!(blur.difference.iter().step_by(2).copied().fold(0.0, f32::max), 0.0, "the other channel");
    }

    #[test]
    fn of_two_that_miss_the_nearer_one_is_less_off() {
        let goal = thing(2, 4);
        let off = |share: f64| {
            [3, 4, 5, 8]
                .map(|x| Blur::new(share, &SHAPE).squares(&thing(x, 4), &goal))
                .map(|v| (v * 1e6) as i64)
        };
        assert_eq!(off(0.0), [2_000_000; 4], "without a blur all are alike");
        let blurred = off(0.2);
        assert!(blurred.is_sorted_by(|a, b| a < b), "{blurred:?}");
        assert_eq!(Blur::new(0.2, &SHAPE).squares(&goal, &goal), 0.0);
    }

    #[test]
    fn what_is_greatest_is_at_one_place() {
        // Unblurred it is the place's own root mean square, whatever else is there.
        let [one, two] = [thing(1, 1), thing(8, 6)];
        let both: Vec<f32> = one.iter().zip(&two).map(|(a, b)| a + 3.0 * b).collect();
        let mut unblurred = Blur::new(1e-9, &SHAPE);
        assert!((unblurred.greatest(&both, &[0.0; 160]) - 3.0 / 2.0_f64.sqrt()).abs() < 1e-6);
        // Of two differences of the same size the one whose signs are side by side is less.
        let beside: Vec<f32> = thing(4, 4).iter().zip(thing(5, 4)).map(|(a, b)| a - b).collect();
        let alike: Vec<f32> = thing(4, 4).iter().zip(thing(5, 4)).map(|(a, b)| a + b).collect();
        let mut blur = Blur::new(0.125, &SHAPE);
        let [beside, alike] = [beside, alike].map(|of| blur.greatest(&of, &[0.0; 160]));
        assert!(2.0 * beside < alike, "{beside}, {alike}");
    }

    #[test]
    fn any_share_is_borne() {
        for share in [1e-300, 1e-3, 1.0, 1e6] {
            let found = Blur::new(share, &SHAPE).squares(&thing(0, 0), &thing(9, 7));
            assert!((0.0..=2.0).contains(&found), "{share}: {found}");
        }
    }
}
