//! What makes one plan better than another.

use super::critic::Critic;
use crate::models::wan_vae::FRAMES_PER_LATENT;
use crate::runtime::Limits;
use crate::runtime::predict::{Blur, ForecastError, Predict};

/// What makes one plan better than another. Of several noises, a plan's score is the mean over its forecasts, unless said otherwise.
pub enum Score<'a> {
    /// How far the forecast's last latent lies from a goal's: root mean square difference in standard deviations of the checkpoint's
    /// latents, 0 for the goal itself; blurred first if [`Target::blurred`]. Lower is better.
    Goal(Target),
    /// How far the forecast lies from what really came, over all latents of which both are there: the surprise, in the same units.
    /// Lower is better: the plan that explains best what was seen.
    Surprise(Target),
    /// The surprise to expect if the world does as the model thinks it may: root mean square difference of two forecasts of the same
    /// plan from independent noises, over all pairs, in the same units. Lower is better: the plan whose outcome the model is surest of.
    ExpectedSurprise,
    /// The probability with which a Reason engine gives the answer that is hoped for when it is shown the forecast, 0…1. Higher is
    /// better.
    Critic(Critic<'a>),
}

impl Score<'_> {
    /// As JSON names it.
    pub fn name(&self) -> &'static str {
        match self {
            Score::Goal(_) => "goal",
            Score::Surprise(_) => "surprise",
            Score::ExpectedSurprise => "expected_surprise",
            Score::Critic(_) => "critic",
        }
    }

    /// What its numbers are.
    pub fn unit(&self) -> &'static str {
        match self {
            Score::Critic(_) => "probability",
            _ => "standard deviations of the latents, root mean square",
        }
    }

    /// By what differences of latents are blurred before they count, if they are: σ, in heights of the picture.
    pub fn blur(&self) -> Option<f64> {
        match self {
            Score::Goal(target) | Score::Surprise(target) => target.blur.as_ref().map(Blur::share),
            Score::ExpectedSurprise | Score::Critic(_) => None,
        }
    }

    /// Whether a higher score is the better one.
    pub fn higher_is_better(&self) -> bool {
        matches!(self, Score::Critic(_))
    }
}

/// Latents that forecasts are compared with.
#[derive(Clone, Debug)]
pub struct Target {
    /// The first of the forecast's elements that is compared.
    from: usize,
    /// From there on, `[n, height, width, channels]`.
    latents: Vec<f32>,
    blur: Option<Blur>,
}

impl Target {
    /// A goal as one image, `[height, width, 3]` of bytes: it stands still for the frames of one latent that follows the shown frames.
    ///
    /// So it is encoded onward from the shown frames' own caches, as every forecast's latents were trained to be, and its one
    /// difference from the last latent of a plan that reaches the goal is how that plan arrives there. It stands still for one latent
    /// only, since that ranks true outcomes as well as standing still for the whole forecast, at a fraction of the encoder's work.
    ///
    /// # Errors
    /// See [`Predict::encode_onward`], whose warning about the shown frames holds here too.
    pub fn goal(predict: &mut Predict, image: &[u8], limits: Limits<'_>) -> Result<Target, ForecastError> {
        let latent_len = predict.manifest().latents.frame_len();
        let mut latents = vec![0.0; latent_len];
        // With nothing given, a clip's first frame is a latent of its own.
        let n_frames = if predict.manifest().clip.n_given == 0 { 1 } else { FRAMES_PER_LATENT };
        predict.encode_onward(&vec![image; n_frames], &mut latents, limits)?;
        Ok(Target { from: last_latent(predict), latents, blur: None })
    }

    /// A goal as the last latent of a clip of this engine, `[C, T, h, w]` in the denoiser's normalised space; none if the clip is of
    /// another size or not finite.
    pub fn goal_of_clip(predict: &Predict, clip: &[f32]) -> Option<Target> {
        let shape = predict.manifest().latents;
        if clip.len() != shape.len() || clip.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let (mut patches, mut latents) = (vec![0.0; clip.len()], vec![0.0; clip.len()]);
        shape.file_to_patches(clip, &mut patches);
        shape.from_patches(&patches, &mut latents);
        latents.drain(..clip.len() - shape.frame_len());
        Some(Target { from: last_latent(predict), latents, blur: None })
    }

    /// What came after the shown frames, oldest first; frames beyond the forecast, or that fill no latent, are left out.
    ///
    /// # Errors
    /// See [`Predict::encode_onward`], whose warning about the shown frames holds here too.
    pub fn came(
        predict: &mut Predict,
        frames: &[&[u8]],
        limits: Limits<'_>,
    ) -> Result<Target, ForecastError> {
        let manifest = predict.manifest();
        let n_latents = manifest.latents.n_latents - manifest.n_given_latents();
        let (latent_len, most) = (manifest.latents.frame_len(), manifest.horizon());
        let mut latents = vec![0.0; n_latents * latent_len];
        let n = predict.encode_onward(&frames[..frames.len().min(most)], &mut latents, limits)?;
        latents.truncate(n * latent_len);
        Ok(Target { from: 0, latents, blur: None })
    }

    /// The same target, from which differences are blurred by a Gaussian before they count, of σ `share` times the picture's height: what
    /// comes near counts, too, where nothing lies on its goal. 0 blurs nothing.
    #[must_use]
    pub fn blurred(self, share: f64, predict: &Predict) -> Target {
        let blur = (0.0 < share).then(|| Blur::new(share, &predict.manifest().latents));
        Target { blur, ..self }
    }

    /// Root mean square difference between the target and a forecast's continuation.
    pub(super) fn distance(&mut self, continuation: &[f32]) -> f64 {
        let found = &continuation[self.from..self.from + self.latents.len()];
        let sum: f64 = match &mut self.blur {
            None => self.latents.iter().zip(found).map(|(a, b)| f64::from(a - b).powi(2)).sum(),
            Some(blur) => {
                let each = blur.len();
                let pairs = self.latents.chunks_exact(each).zip(found.chunks_exact(each));
                pairs.map(|(a, b)| blur.squares(a, b)).sum()
            }
        };
        (sum / self.latents.len() as f64).sqrt()
    }
}

/// Where the last latent of a forecast's continuation begins.
fn last_latent(predict: &Predict) -> usize {
    let manifest = predict.manifest();
    (manifest.latents.n_latents - manifest.n_given_latents() - 1) * manifest.latents.frame_len()
}
