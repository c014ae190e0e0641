//! From the logits of one position to a token.
//!
//! The order is that of transformers' logits processors: repetition penalty, presence penalty, then, unless the likeliest token is
//! taken, temperature, top-k, top-p, and a draw from what is left. Equal logits at the edge of top-k are all kept, and equally likely
//! tokens stand in the order of their ids, so that a seed gives the same answer on every machine.
//!
//! Everything is claimed by [`Sampler::new`]; no later call allocates. A logit that is not a finite number is an error and never a
//! token: a device that has gone wrong answers fluently.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::models::reason2::{Sampling, SamplingError};

/// Logits that are no numbers, or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the logit of token {token} is not a finite number: the engine computes wrongly on this device; \
     check it with `perihelion inspect --verify` and build it again"
)]
pub struct NotFinite {
    /// The first such token.
    pub token: u32,
}

/// A token's part in the penalties.
const IN_PROMPT: u8 = 1;
const IN_ANSWER: u8 = 2;

/// Chooses tokens, with memory that is claimed once.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    scores: Vec<f32>,
    /// For each token where it was seen.
    seen: Vec<u8>,
    /// Candidates, likeliest first as far as they are sorted.
    order: Vec<u32>,
}

impl Sampler {
    /// Claims the buffers for a vocabulary.
    pub fn new(vocab_size: usize) -> Self {
        Self {
            sampling: Sampling::default(),
            random: ChaCha8Rng::seed_from_u64(0),
            scores: vec![0.0; vocab_size],
            seen: vec![0; vocab_size],
            order: (0..vocab_size as u32).collect(),
        }
    }

    /// Forgets the last answer and begins one, for a prompt of these ids.
    ///
    /// # Errors
    /// A setting outside of its range.
    pub fn begin(&mut self, sampling: Sampling, prompt: &[u32]) -> Result<(), SamplingError> {
        sampling.check()?;
        self.sampling = sampling;
        self.random = ChaCha8Rng::seed_from_u64(sampling.seed);
        self.seen.fill(0);
        for id in prompt {
            self.mark(*id, IN_PROMPT);
        }
        Ok(())
    }

    /// Chooses the next token from the logits of the last position.
    ///
    /// # Errors
    /// If a logit is not a finite number.
    ///
    /// # Panics
    /// If there are more or fewer logits than the vocabulary has tokens: the engine's opening has checked that.
    pub fn pick(&mut self, logits: &[f32]) -> Result<u32, NotFinite> {
        assert_eq!(logits.len(), self.scores.len());
        check_finite(logits)?;
        self.penalize(logits);
        let token = if self.sampling.greedy { likeliest(&self.scores) } else { self.draw() };
        self.mark(token, IN_ANSWER);
        Ok(token)
    }

    /// The likeliest token after the penalties, without choosing it.
    ///
    /// # Errors
    /// If a logit is not a finite number.
    ///
    /// # Panics
    /// As [`Sampler::pick`].
    pub fn peek(&mut self, logits: &[f32]) -> Result<u32, NotFinite> {
        assert_eq!(logits.len(), self.scores.len());
        check_finite(logits)?;
        self.penalize(logits);
        Ok(likeliest(&self.scores))
    }

    /// Bytes that it has claimed.
    pub fn claimed_bytes(&self) -> u64 {
        (self.scores.len() * 4 + self.seen.len() + self.order.len() * 4) as u64
    }

    /// Counts a token as part of the answer that was not chosen here.
    pub fn accept(&mut self, token: u32) {
        self.mark(token, IN_ANSWER);
    }

    fn mark(&mut self, token: u32, place: u8) {
        if let Some(seen) = self.seen.get_mut(token as usize) {
            *seen |= place;
        }
    }

    fn penalize(&mut self, logits: &[f32]) {
        self.scores.copy_from_slice(logits);
        let Sampling { repetition_penalty, presence_penalty, .. } = self.sampling;
        if repetition_penalty == 1.0 && presence_penalty == 0.0 {
            return;
        }
        for (score, seen) in self.scores.iter_mut().zip(&self.seen) {
            if *seen != 0 {
                *score = if *score < 0.0 { *score * repetition_penalty } else { *score / repetition_penalty };
            }
            if seen & IN_ANSWER != 0 {
                *score -= presence_penalty;
            }
        }
    }

    /// Draws from the scores by temperature, top-k and top-p.
    fn draw(&mut self) -> u32 {
        let scores = &mut self.scores;
        let inverse = self.sampling.temperature.recip();
        // Adding zero makes the two zeros one: they are equally likely, but stand apart in a total order.
        scores.iter_mut().for_each(|score| *score = *score * inverse + 0.0);
        let scores = &self.scores;
        let by_score =
            |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then_with(|| a.cmp(b));
        let n_kept = match self.sampling.top_k {
            k if 0 < k && k < scores.len() => {
                self.order.select_nth_unstable_by(k - 1, by_score);
                with_equals(scores, &mut self.order, k)
            }
            _ => scores.len(),
        };
        let kept = &mut self.order[..n_kept];
        let max = kept.iter().map(|t| scores[*t as usize]).fold(f32::NEG_INFINITY, f32::max);
        let weight = |token: u32| f64::from(scores[token as usize] - max).exp();
        let total: f64 = kept.iter().map(|t| weight(*t)).sum();
        let wanted = f64::from(self.sampling.top_p) * total;

        // Sorted only as far as the share reaches: a sharp distribution has it in a few tokens of a hundred thousand.
        let (mut sorted, mut mass, mut n_nucleus) = (0, 0.0, 0);
        while n_nucleus == sorted && sorted < kept.len() {
            let piece = (sorted * 3).max(64).min(kept.len() - sorted);
            let rest = &mut kept[sorted..];
            if piece < rest.len() {
                rest.select_nth_unstable_by(piece - 1, by_score);
            }
            rest[..piece].sort_unstable_by(by_score);
            sorted += piece;
            while n_nucleus < sorted && (n_nucleus == 0 || mass < wanted) {
                mass += weight(kept[n_nucleus]);
                n_nucleus += 1;
            }
        }
        let nucleus = &kept[..n_nucleus];
        // 53 random bits: uniform in [0, 1).
        let mut left = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * mass;
        for token in nucleus {
            left -= weight(*token);
            if left < 0.0 {
                return *token;
            }
        }
        *nucleus.last().expect("the likeliest token is always kept")
    }
}

/// Of a distribution over all tokens, the probability of each of `tokens`.
///
/// # Errors
/// If a logit is not a finite number.
///
/// # Panics
/// If a token is outside of the vocabulary.
pub fn probabilities(logits: &[f32], tokens: &[u32]) -> Result<Vec<f64>, NotFinite> {
    check_finite(logits)?;
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - max).exp();
    let total: f64 = logits.iter().map(|l| weight(*l)).sum();
    Ok(tokens.iter().map(|t| weight(logits[*t as usize]) / total).collect())
}

/// Refuses NaN and infinities.
///
/// # Errors
/// Naming the first token with such a logit.
pub fn check_finite(logits: &[f32]) -> Result<(), NotFinite> {
    // Without a branch in the loop, so that it is vectorised.
    if logits.iter().fold(true, |all, l| all & l.is_finite()) {
        return Ok(());
    }
    let first = logits.iter().position(|l| !l.is_finite());
    Err(NotFinite { token: first.expect("one is not finite") as u32 })
}

/// The first of the largest.
fn likeliest(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (token, score) in scores.iter().enumerate() {
        if scores[best] < *score {
            best = token;
        }
    }
    best as u32
}

/// After the `k` likeliest have been brought to the front, brings those that are as likely as the last of them behind them.
fn with_equals(scores: &[f32], order: &mut [u32], k: usize) -> usize {
    let edge = scores[order[k - 1] as usize];
    let mut n_kept = k;
    for i in k..order.len() {
        if scores[order[i] as usize] == edge {
            order.swap(i, n_kept);
            n_kept += 1;
        }
    }
    n_kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: Sampling = Sampling {
        greedy: false,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        seed: 1,
    };

    /// How often each token is drawn from `logits`, of 20,000 times. The answer is begun anew, so penalties do not gather.
    fn shares(sampling: Sampling, prompt: &[u32], logits: &[f32]) -> Vec<f64> {
        let mut sampler = Sampler::new(logits.len());
        let mut counts = vec![0.0; logits.len()];
        for seed in 0..20_000 {
            sampler.begin(Sampling { seed, ..sampling }, prompt).unwrap();
            counts[sampler.pick(logits).unwrap() as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 0.015 && (*e > 0.0 || *f == 0.0), "{found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn draws_follow_the_softmax_and_the_temperature() {
        let logits = [1f32, 0.0, -1.0];
        let softmax = |t: f64| {
            let w = logits.map(|l| (f64::from(l) / t).exp());
            w.map(|x| x / w.iter().sum::<f64>())
        };
        assert_close(&shares(DRAW, &[], &logits), &softmax(1.0));
        assert_close(&shares(Sampling { temperature: 0.5, ..DRAW }, &[], &logits), &softmax(0.5));
    }

    #[test]
    fn top_k_keeps_equals_of_the_last() {
        let logits = [0f32, 2.0, 1.0, 1.0, -3.0];
        let e = std::f64::consts::E;
        let z = e + 2.0;
        let k2 = Sampling { top_k: 2, ..DRAW };
        assert_close(&shares(k2, &[], &logits), &[0.0, e / z, 1.0 / z, 1.0 / z, 0.0]);
        assert_close(&shares(Sampling { top_k: 1, ..DRAW }, &[], &logits), &[0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn top_p_keeps_the_token_that_reaches_the_share_and_comes_after_top_k() {
        // Probabilities 0.5, 0.25, 0.125, 0.125.
        let logits = [0f32, 0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln()];
        let with = |top_p, top_k| Sampling { top_p, top_k, ..DRAW };
        assert_close(&shares(with(0.4, 0), &[], &logits), &[1.0, 0.0, 0.0, 0.0]);
        assert_close(&shares(with(0.6, 0), &[], &logits), &[2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]);
        // Of the two that top-k leaves the first has 2/3, which is enough now.
        assert_close(&shares(with(0.6, 2), &[], &logits), &[1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_flat_distribution_over_many_tokens_is_drawn_whole() {
        let logits = vec![0.5f32; 5000];
        let mut sampler = Sampler::new(5000);
        let half = Sampling { top_p: 0.5, ..DRAW };
        let mut drawn = vec![];
        for seed in 0..4000 {
            sampler.begin(Sampling { seed, ..half }, &[]).unwrap();
            drawn.push(sampler.pick(&logits).unwrap());
        }
        // Equals stand in the order of their ids: the first half of them.
        assert!(drawn.iter().all(|t| *t < 2501) && drawn.iter().any(|t| 2400 < *t));
    }

    #[test]
    fn both_zeros_are_equally_likely() {
        let (mut sampler, half) = (Sampler::new(2), Sampling { top_p: 0.5, ..DRAW });
        for logits in [[-0.0, 0.0], [0.0, -0.0]] {
            sampler.begin(half, &[]).unwrap();
            assert_eq!(sampler.pick(&logits), Ok(0), "the first of equals reaches half of the whole");
        }
    }

    #[test]
    fn penalties_are_those_of_the_reference() {
        let mut sampler = Sampler::new(4);
        let sampling = Sampling { repetition_penalty: 2.0, presence_penalty: 0.25, ..Sampling::default() };
        sampler.begin(sampling, &[0, 3]).unwrap();
        sampler.accept(1);
        sampler.penalize(&[4.0, 3.0, 1.0, -1.0]);
        assert_eq!(sampler.scores, [2.0, 1.25, 1.0, -2.0]);
        // 0 is chosen, and so pays for its presence too.
        assert_eq!(sampler.pick(&[4.0, 3.0, 1.0, -1.0]), Ok(0));
        sampler.penalize(&[4.0, 3.0, 1.0, -1.0]);
        assert_eq!(sampler.scores, [1.75, 1.25, 1.0, -2.0]);
        sampler.begin(sampling, &[]).unwrap();
        sampler.penalize(&[4.0, 3.0, 1.0, -1.0]);
        assert_eq!(sampler.scores, [4.0, 3.0, 1.0, -1.0]);
    }

    #[test]
    fn the_likeliest_is_the_first_of_equals() {
        let mut sampler = Sampler::new(4);
        sampler.begin(Sampling::default(), &[]).unwrap();
        assert_eq!(sampler.pick(&[-1.0, 2.0, 2.0, 0.0]), Ok(1));
    }

    #[test]
    fn what_is_no_number_is_never_a_token() {
        let mut sampler = Sampler::new(3);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for sampling in [DRAW, Sampling::default()] {
                sampler.begin(sampling, &[]).unwrap();
                assert_eq!(sampler.pick(&[0.0, bad, 1.0]), Err(NotFinite { token: 1 }));
            }
            assert_eq!(probabilities(&[bad, 1.0], &[1]), Err(NotFinite { token: 0 }));
        }
    }

    #[test]
    fn probabilities_are_over_the_whole_vocabulary() {
        let found = probabilities(&[0.0, 2f32.ln(), 0.0], &[1, 2]).unwrap();
        assert!((found[0] - 0.5).abs() < 1e-6 && (found[1] - 0.25).abs() < 1e-6);
    }
}
