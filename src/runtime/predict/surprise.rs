//! How far a forecast lies from what the camera then shows.
//!
//! The frames that came are encoded onward from the encoder caches that the forecast's own context left: a causal encoder gives a
//! frame other latents when it begins anew before it, so nothing else may be compared.

use super::blur::Blur;
use super::encodings::Lease;
use super::error::ForecastError;
use super::forecast::{Decoded, Predict};
use crate::models::wan_vae::FRAMES_PER_LATENT;
use crate::runtime::Limits;

/// How far one frame, and from time to time one latent, lies from its forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surprise {
    /// The frame's place in the clip, given frames counted.
    pub frame: usize,
    /// Mean absolute difference of the frame's values, as a share of their range; if that frame was decoded.
    pub pixels: Option<f32>,
    /// Root mean square difference of the latent that ends with this frame, in standard deviations of the checkpoint's latents.
    pub latent: Option<f32>,
    /// The same at the place where it is greatest, of the blurred difference; if that was asked for ([`Expectation::blurred`]).
    pub place: Option<f32>,
}

/// A forecast that waits for what comes.
#[derive(Clone, Debug)]
pub struct Expectation {
    frame_len: usize,
    latent_len: usize,
    /// Latents of the clip, channels last.
    latents: Vec<f32>,
    /// Frames of the clip, as bytes, and how many of them are there.
    frames: Vec<u8>,
    n_decoded: usize,
    /// Frames that came since the last latent.
    came: Vec<u8>,
    n_came: usize,
    /// The next frame of the clip.
    next: usize,
    /// The encoder caches of the forecast's context and of what has come since; none if they cannot be gone on from.
    lease: Option<Lease>,
    found: Vec<f32>,
    n_frames: usize,
    blur: Option<Blur>,
}

/// How far a latent lies: all of it, and where it is furthest.
struct Off {
    latent: f32,
    place: Option<f32>,
}

impl Expectation {
    /// Claims room for the forecasts of `predict`; it expects nothing yet.
    pub fn new(predict: &Predict) -> Expectation {
        let manifest = predict.manifest();
        let (frame_len, latent_len) = (predict.frame_len(), manifest.latents.frame_len());
        let n_frames = manifest.clip.n_frames;
        Expectation {
            frame_len,
            latent_len,
            latents: vec![0.0; manifest.latents.len()],
            frames: vec![0; n_frames * frame_len],
            n_decoded: 0,
            came: vec![0; FRAMES_PER_LATENT * frame_len],
            n_came: 0,
            next: n_frames,
            lease: None,
            found: vec![0.0; latent_len],
            n_frames,
            blur: None,
        }
    }

    /// Asks for surprise by place, too, from differences that are blurred by a Gaussian of σ `share` times the picture's height; 0 asks for
    /// none.
    #[must_use]
    pub fn blurred(self, share: f64, predict: &Predict) -> Expectation {
        let blur = (0.0 < share).then(|| Blur::new(share, &predict.manifest().latents));
        Expectation { blur, ..self }
    }

    /// Takes the forecast that `predict` has just made; its frames follow by [`Expectation::decoded`].
    pub fn take(&mut self, predict: &Predict) {
        self.latents.copy_from_slice(&predict.latents);
        self.lease = predict.shown;
        self.next = predict.manifest().clip.n_given;
        (self.n_came, self.n_decoded) = (0, 0);
    }

    /// Takes decoded frames of that forecast.
    pub fn decoded(&mut self, decoded: Decoded<'_>) {
        let from = decoded.first * self.frame_len;
        for (to, value) in self.frames[from..].iter_mut().zip(decoded.pixels) {
            *to = to_byte(*value);
        }
        self.n_decoded = decoded.first + decoded.pixels.len() / self.frame_len;
    }

    /// Whether a frame is still expected.
    pub fn expects_more(&self) -> bool {
        self.next < self.n_frames
    }

    /// Looks at the next frame that came, `[height, width, 3]` of bytes, one clip interval after the one before. No latent is
    /// compared once so many clips were shown since that the encoder's caches are of another one.
    ///
    /// # Errors
    /// If nothing is expected any more, the frame is of another size, or encoding failed.
    pub fn compare(
        &mut self,
        predict: &mut Predict,
        frame: &[u8],
        limits: Limits<'_>,
    ) -> Result<Surprise, ForecastError> {
        if !self.expects_more() {
            return Err(ForecastError::Nothing);
        }
        if frame.len() != self.frame_len {
            let clip = &predict.manifest().clip;
            return Err(ForecastError::FrameSize {
                found: frame.len(),
                width: clip.width,
                height: clip.height,
            });
        }
        let at = self.next;
        let pixels = (at < self.n_decoded).then(|| {
            let expected = &self.frames[at * self.frame_len..][..self.frame_len];
            let sum: u64 = expected.iter().zip(frame).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            (sum as f64 / self.frame_len as f64 / 255.0) as f32
        });
        self.came[self.n_came * self.frame_len..][..self.frame_len].copy_from_slice(frame);
        self.n_came += 1;
        self.next += 1;
        // With nothing given, the first frame is a latent of its own.
        let is_whole = self.n_came == FRAMES_PER_LATENT || at == 0;
        let off = if is_whole { self.off(predict, at, limits) } else { Ok(None) };
        if is_whole {
            self.n_came = 0;
        }
        let off = off?;
        let (latent, place) = (off.as_ref().map(|off| off.latent), off.and_then(|off| off.place));
        Ok(Surprise { frame: at, pixels, latent, place })
    }

    /// How far the latent that ends with `frame` lies; none if the caches before it are of another clip by now. An encoding that
    /// fails takes them along.
    fn off(
        &mut self,
        predict: &mut Predict,
        frame: usize,
        limits: Limits<'_>,
    ) -> Result<Option<Off>, ForecastError> {
        if self.lease.is_none() {
            return Ok(None);
        }
        let shared = predict.session.clone();
        let mut held = shared.take(limits)?;
        let session = held.session.as_mut();
        let lease = self.lease.take();
        let Some(encoding) = lease.and_then(|lease| predict.encodings.go_on(lease)) else { return Ok(None) };
        let row = frame.div_ceil(FRAMES_PER_LATENT);
        let frames: [&[u8]; FRAMES_PER_LATENT] =
            std::array::from_fn(|i| &self.came[i * self.frame_len..(i + 1) * self.frame_len]);
        predict.encode(&frames[..self.n_came], &encoding, row, session, limits)?;
        session.read(predict.wiring.encoded, row, &mut self.found)?;
        self.lease = Some(predict.encodings.finish(encoding));
        let expected = &self.latents[row * self.latent_len..][..self.latent_len];
        let sum: f64 = expected.iter().zip(&self.found).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let latent = (sum / self.latent_len as f64).sqrt() as f32;
        let place = self.blur.as_mut().map(|blur| blur.greatest(expected, &self.found) as f32);
        Ok(Some(Off { latent, place }))
    }
}

impl Predict {
    /// Lets the next showing leave the encoder caches that `expectation` compares with, whatever was shown since. An engine that
    /// holds the caches of one clip alone cannot.
    pub fn keep_for(&mut self, expectation: &Expectation) {
        if let Some(lease) = expectation.lease {
            self.encodings.keep(lease);
        }
    }
}

/// A value in −1…1 as a byte, the nearest.
pub fn to_byte(value: f32) -> u8 {
    ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8
}
