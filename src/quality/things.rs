//! What became of the things in a frame: whether they are there, where, and of which colour.

/// A pixel belongs to the colour of a palette that is nearest to its own, and to none that is farther away than this, in levels of red,
/// green and blue together.
const NEAR: f64 = 60.0;
/// Fewer pixels than this of a thing in the true frame are too few to look for.
const PIXELS_MIN: usize = 12;
/// A thing is found, or has got another colour, by this share of its true pixels.
const FOUND: f64 = 1.0 / 3.0;

/// The pixels of a colour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Patch {
    /// How many.
    pub n: usize,
    /// The middle of them, in pixels from the upper left corner of the frame.
    pub center: [f64; 2],
}

/// Which colour of the palette each pixel belongs to.
#[must_use]
pub fn sorted(rgb: &[u8], palette: &[[f64; 3]]) -> Vec<Option<usize>> {
    let nearest = |pixel: &[u8]| {
        let away = |color: &[f64; 3]| -> f64 {
            color.iter().zip(pixel).map(|(c, p)| (c - f64::from(*p)).powi(2)).sum::<f64>().sqrt()
        };
        let all = palette.iter().map(away).enumerate();
        all.filter(|(_, away)| *away < NEAR).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(color, _)| color)
    };
    rgb.chunks_exact(3).map(nearest).collect()
}

/// The pixels of one colour.
#[must_use]
pub fn patch(sorted: &[Option<usize>], color: usize, width: usize) -> Patch {
    let of_color = |(i, found): (usize, &Option<usize>)| (*found == Some(color)).then_some(i);
    let (mut n, mut sum) = (0usize, [0.0; 2]);
    for i in sorted.iter().enumerate().filter_map(of_color) {
        n += 1;
        sum = [sum[0] + (i % width) as f64 + 0.5, sum[1] + (i / width) as f64 + 0.5];
    }
    Patch { n, center: sum.map(|s| s / n.max(1) as f64) }
}

/// Of how many things what became of them was looked for, and what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    looked: u64,
    found: u64,
    recolored: u64,
    away_px: f64,
}

impl Tally {
    /// Looks in a frame for the things of the true one: the first `n_things` colours of the palette are theirs.
    pub fn look(
        &mut self,
        found: &[u8],
        truth: &[u8],
        (palette, n_things): (&[[f64; 3]], usize),
        width: usize,
    ) {
        let (found, truth) = (sorted(found, palette), sorted(truth, palette));
        for thing in 0..n_things {
            let expected = patch(&truth, thing, width);
            if expected.n < PIXELS_MIN {
                continue;
            }
            self.looked += 1;
            let seen = patch(&found, thing, width);
            let enough = (FOUND * expected.n as f64).ceil() as usize;
            if enough <= seen.n {
                self.found += 1;
                let [x, y] = [0, 1].map(|k| seen.center[k] - expected.center[k]);
                self.away_px += (x * x + y * y).sqrt();
                continue;
            }
            let in_its_place = truth.iter().zip(&found).filter(|(truth, _)| **truth == Some(thing));
            let others = in_its_place.filter(|(_, found)| found.is_some_and(|color| color != thing)).count();
            self.recolored += u64::from(enough <= others);
        }
    }

    /// All that another has counted too.
    pub fn absorb(&mut self, other: Tally) {
        self.looked += other.looked;
        self.found += other.found;
        self.recolored += other.recolored;
        self.away_px += other.away_px;
    }

    /// The share of things that are there.
    #[must_use]
    pub fn found(&self) -> Option<f64> {
        share(self.found, self.looked)
    }

    /// Of the things that are there in any colour, the share that has its own.
    #[must_use]
    pub fn color_kept(&self) -> Option<f64> {
        share(self.found, self.found + self.recolored)
    }

    /// How far those that are there lie from where they should, in pixels, on average.
    #[must_use]
    pub fn away_px(&self) -> Option<f64> {
        (0 < self.found).then(|| self.away_px / self.found as f64)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (0 < whole).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: [f64; 3] = [230.0, 60.0, 50.0];
    const BLUE: [f64; 3] = [70.0, 110.0, 235.0];
    const WIDTH: usize = 16;

    /// A square of 4×4 pixels on a dark ground.
    fn frame(at: [usize; 2], color: [f64; 3]) -> Vec<u8> {
        let inside = |i: usize, k: usize| (at[k]..at[k] + 4).contains(&[i % WIDTH, i / WIDTH][k]);
        (0..WIDTH * WIDTH)
            .flat_map(|i| if inside(i, 0) && inside(i, 1) { color.map(|v| v as u8) } else { [30; 3] })
            .collect()
    }

    fn tally(found: &[u8], truth: &[u8]) -> Tally {
        let mut tally = Tally::default();
        tally.look(found, truth, (&[RED, BLUE], 1), WIDTH);
        tally
    }

    #[test]
    fn a_thing_is_found_where_it_is_or_gone_or_of_another_color() {
        let truth = frame([3, 5], RED);
        assert_eq!(patch(&sorted(&truth, &[RED, BLUE]), 0, WIDTH), Patch { n: 16, center: [5.0, 7.0] });
        let moved = tally(&frame([6, 9], RED), &truth);
        assert_eq!((moved.found(), moved.color_kept(), moved.away_px()), (Some(1.0), Some(1.0), Some(5.0)));
        let mut gone = tally(&[30; 3 * WIDTH * WIDTH], &truth);
        assert_eq!((gone.found(), gone.color_kept(), gone.away_px()), (Some(0.0), None, None));
        let recolored = tally(&frame([3, 5], BLUE), &truth);
        assert_eq!((recolored.found(), recolored.color_kept()), (Some(0.0), Some(0.0)));
        gone.absorb(moved);
        gone.absorb(recolored);
        assert_eq!(
            (gone.found(), gone.color_kept(), gone.away_px()),
            (Some(1.0 / 3.0), Some(0.5), Some(5.0))
        );
        let nothing = tally(&truth, &[30; 3 * WIDTH * WIDTH]);
        assert_eq!((nothing.found(), nothing.looked), (None, 0));
    }
}
