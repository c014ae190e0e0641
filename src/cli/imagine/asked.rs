//! What `imagine` asks of the engine: text, guidance, noise and plan, from the options and their files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::Options;
use crate::checkpoint::Tensors;
use crate::cli::{Usage, clip};
use crate::models::predict25::{Guidance, PredictManifest};
use crate::runtime::predict::{ForecastError, ForecastRequest, Noise, Predict, Rollout};

/// What is asked, with the numbers of its files.
pub(super) struct Asked {
    guidance: Guidance,
    /// `noise` and `renoise`.
    noise: Option<[Vec<f32>; 2]>,
    plan: Option<Vec<f32>>,
}

impl Asked {
    /// Text, guidance, noise and plan.
    pub(super) fn load(
        options: &Options,
        predict: &Predict,
        manifest: &PredictManifest,
    ) -> anyhow::Result<Self> {
        clip::check_text(options.text.as_deref(), manifest)?;
        let guidance = guidance(options, manifest)?;
        let asked = ForecastRequest { guidance: Some(guidance), ..ForecastRequest::default() };
        predict.check(&asked).map_err(|error| Usage(error.to_string()))?;
        let noise = options.noise.as_deref().map(|path| noise(path, predict, manifest)).transpose()?;
        let plan = match (&options.actions, &manifest.clip.actions) {
            (None, None) => None,
            (Some(path), Some(actions)) => Some(clip::read_plan(path, &actions.names)?),
            (None, Some(actions)) => {
                let names = actions.names.join(", ");
                return Err(
                    Usage(format!("the engine takes actions ({names}): pass --actions FILE.csv")).into()
                );
            }
            (Some(_), None) => return Err(Usage(ForecastError::NoActions.to_string()).into()),
        };
        Ok(Self { guidance, noise, plan })
    }

    /// The same as a request that fits; its limits are still to be set.
    pub(super) fn request<'a>(
        &'a self,
        options: &'a Options,
        predict: &Predict,
        rollout: &Rollout,
    ) -> anyhow::Result<ForecastRequest<'a>> {
        let mut request = ForecastRequest {
            text: options.text.as_deref(),
            guidance: Some(self.guidance),
            noise: match &self.noise {
                Some([noise, renoise]) => Noise::Given { noise, renoise },
                None => Noise::Seed(options.seed),
            },
            ..ForecastRequest::default()
        };
        let file = |path: &Option<PathBuf>| path.as_deref().unwrap_or(Path::new("")).display().to_string();
        rollout.check(predict, &request).with_context(|| file(&options.noise))?;
        request.actions = self.plan.as_deref();
        rollout.check(predict, &request).with_context(|| file(&options.actions))?;
        Ok(request)
    }
}

fn guidance(options: &Options, manifest: &PredictManifest) -> anyhow::Result<Guidance> {
    let mut guidance = manifest.guidance;
    guidance.scale = options.guidance.unwrap_or(guidance.scale);
    if let Some(interval) = &options.guidance_interval {
        // Not two numbers: an interval that the check below refuses.
        guidance.interval = <[f32; 2]>::try_from(&interval[..]).unwrap_or([f32::NAN; 2]);
    }
    let Guidance { scale, interval: [low, high] } = guidance;
    if !scale.is_finite() || scale < 0.0 || !(0.0 <= low && low <= high && high <= 1.0) {
        let message =
            "--guidance takes a number from 0 on, --guidance-interval two rising ones in 0…1".to_owned();
        return Err(Usage(message).into());
    }
    Ok(guidance)
}

/// A file's `noise`, and its `renoise` where the engine's schedule takes it.
fn noise(path: &Path, predict: &Predict, manifest: &PredictManifest) -> anyhow::Result<[Vec<f32>; 2]> {
    let file = Tensors::open(path)?;
    let shape = manifest.latents;
    let latents = [shape.channels, shape.n_latents, shape.height, shape.width];
    let whole = |n: usize| [&[n][..], &latents].concat();
    let noise = file.expect("noise", &whole(1))?.to_f32();
    let renoise = match file.contains("renoise") {
        true => file.expect("renoise", &whole(predict.n_steps() - 1))?.to_f32(),
        false => Vec::new(),
    };
    let wanted = predict.wants_renoise();
    if wanted && renoise.is_empty() && 1 < predict.n_steps() {
        bail!("{}: no tensor `renoise`, which this engine's schedule takes", path.display());
    }
    Ok([noise, if wanted { renoise } else { Vec::new() }])
}
