//! The engines that a node runs: which file is which, and what they claim.

use std::path::{Path, PathBuf};

use super::{Options, cameras};
use crate::cli::engines::{self, Loaded};
use crate::cli::places::is_file;
use crate::cli::{Context, Usage, output};
use crate::engine::Engine;
use crate::frames::listener::ListenerOptions;
use crate::models::reason2::{Clip, Sampling};
use crate::ros2::node::{Answerer, Checker, Engines, Forecaster, NodeOptions};
use crate::ros2::predict::{PredictForecaster, PredictSettings};
use crate::ros2::reason::ReasonAnswerer;

/// At most one engine for each role; one engine may have several.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// Answers, about clips and sampling as its manifest asks for.
    pub(super) reason: Option<(PathBuf, Clip, Sampling)>,
    /// Forecasts.
    pub(super) predict: Option<PathBuf>,
}

/// Tells the engines apart by their manifests.
///
/// # Errors
/// If a file is no engine, or there are two in one role.
pub(super) fn sort(engines: &[PathBuf]) -> anyhow::Result<Paths> {
    let mut paths = Paths::default();
    let two = |what: &str, one: &Path, other: &Path| {
        let (one, other) = (one.display(), other.display());
        Usage(format!(
            "{one} and {other} both {what}: a node takes one engine that answers and one that forecasts"
        ))
    };
    for path in engines {
        is_file(path, "an engine")?;
        let engine = Engine::open(path)?;
        let roles = &engine.manifest().roles;
        if let Some(manifest) = &roles.answers
            && let Some((other, ..)) = paths.reason.replace((path.clone(), manifest.clip, manifest.sampling))
        {
            return Err(two("answer", &other, path).into());
        }
        if let Some(manifest) = &roles.forecasts {
            if manifest.clip.n_given == 0 {
                let message = format!(
                    "{}: the engine forecasts from no frames at all: export it with --condition-frames 1 or more",
                    path.display()
                );
                return Err(Usage(message).into());
            }
            if let Some(other) = paths.predict.replace(path.clone()) {
                return Err(two("forecast", &other, path).into());
            }
        }
    }
    Ok(paths)
}

/// The engines, opened.
pub(super) struct Cast {
    answerer: Option<ReasonAnswerer>,
    forecaster: Option<PredictForecaster>,
}

impl Cast {
    /// Opens the engines, lets each run its golden case, and names them in `node`.
    ///
    /// # Errors
    /// If one cannot be used, or not with these options.
    pub(super) fn open(
        paths: &Paths,
        options: &Options,
        context: &Context,
        node: &mut NodeOptions,
    ) -> anyhow::Result<Self> {
        let load = |path: &Path| Loaded::open(path, context.threads);
        let (mut loaded, mut answerer) = (None, None);
        if let Some((path, clip, _)) = &paths.reason {
            let loaded = loaded.insert(load(path)?);
            answerer = Some(open_answerer(loaded, *clip, options, node)?);
        }
        let forecaster = match (&paths.predict, &paths.reason) {
            (None, _) => None,
            // One engine in both roles has one session.
            (Some(path), Some((other, ..))) if path == other => loaded.as_ref(),
            (Some(path), _) => Some(&*loaded.insert(load(path)?)),
        };
        let forecaster = forecaster.map(|loaded| open_forecaster(loaded, options, node)).transpose()?;
        let forecaster = match &answerer {
            Some(answerer) => {
                forecaster.map(|forecaster: PredictForecaster| forecaster.with_critic(answerer.shared()))
            }
            None => forecaster,
        };
        Ok(Self { answerer, forecaster })
    }

    pub(super) fn engines(&mut self) -> Engines<'_> {
        Engines {
            answerer: self.answerer.as_mut().map(|answerer| answerer as &mut dyn Answerer),
            forecaster: self.forecaster.as_mut().map(|forecaster| forecaster as &mut dyn Forecaster),
        }
    }

    /// What says beforehand which questions the engine that answers would refuse.
    pub(super) fn checker(&self) -> Option<Checker> {
        self.answerer.as_ref().and_then(Answerer::checker)
    }

    /// Every byte that the node claims, by what it is for.
    pub(super) fn report_memory(&self, node: &NodeOptions) {
        let is_looked_at = node.onlooker.get().is_some();
        // Where both look at one camera, they share its images.
        let n_shared = usize::from(self.answerer.is_some() && self.forecaster.is_some());
        let table =
            |what: &str, session, n_cameras: usize, listener: ListenerOptions, scaled_bytes: usize| {
                log::info!("{what}");
                let mut rows = engines::memory_rows(&session);
                let of = if 1 < n_cameras { format!(" of {n_cameras} cameras") } else { String::new() };
                let mut row = |what: &str, bytes: u64| {
                    rows.push(vec![
                        format!("images{of} {what}, at most"),
                        output::bytes(bytes),
                        bytes.to_string(),
                    ]);
                };
                row("as they come", (n_cameras * listener.n_frames() * node.max_image_bytes) as u64);
                let alone = (n_cameras - n_shared) * listener.n_decoded(false);
                let decoded_bytes = (alone + n_shared * listener.n_decoded(true)) * 3 * node.max_pixels;
                row("decoded", (decoded_bytes + scaled_bytes) as u64);
                for line in output::table(&rows).lines() {
                    log::info!("{line}");
                }
            };
        if is_looked_at {
            let listener = node.onlooker_listener();
            let n_cameras = if self.answerer.is_some() { node.cameras.count() } else { 1 };
            let images_bytes = n_cameras * listener.n_frames() * node.max_image_bytes;
            let decoded_bytes = 3 * node.max_pixels;
            let (images, decoded) = (output::bytes(images_bytes as u64), output::bytes(decoded_bytes as u64));
            log::info!("memory of the live page: images as they come {images}, decoded {decoded}, at most");
        }
        if let Some(answerer) = &self.answerer {
            let memory = answerer.session_memory();
            let n_cameras = node.cameras.count();
            table("memory of the engine that answers", memory, n_cameras, node.answer_listener(), 0);
        }
        if let Some(forecaster) = &self.forecaster {
            let memory = forecaster.predict().session_memory();
            let listener = node.forecast_listener(forecaster.shape());
            table("memory of the engine that forecasts", memory, 1, listener, forecaster.claimed_bytes());
        }
    }
}

fn open_answerer(
    loaded: &Loaded,
    clip: Clip,
    options: &Options,
    node: &mut NodeOptions,
) -> anyhow::Result<ReasonAnswerer> {
    let reason = loaded.reason()?;
    node.hardware_id = hardware_id(&loaded.identity());
    let most = reason.frames_max();
    if options.clip.is_none() && node.clip_frames == clip.frames {
        // What nobody has asked for need not be refused.
        node.clip_frames = clip.frames.min(most);
    }
    if most < node.clip_frames {
        let message = format!(
            "a clip of {} frames is asked for, the engine takes {most}: build it with --max-frames",
            node.clip_frames
        );
        return Err(Usage(message).into());
    }
    let settings = node.answers.clone().expect("an engine that answers has settings");
    // What every question would be refused for is told now.
    let checked = settings.with_request(&[], &node.prompt, None, None, |first| reason.check(first));
    checked.map_err(|error| Usage(error.to_string()))?;
    cameras::check_engine(&reason, node)?;
    Ok(ReasonAnswerer::new(reason, settings))
}

fn open_forecaster(
    loaded: &Loaded,
    options: &Options,
    node: &mut NodeOptions,
) -> anyhow::Result<PredictForecaster> {
    let predict = loaded.predict(options.steps)?;
    node.forecast_hardware_id = hardware_id(&loaded.identity());
    if predict.encoder_states() < 2 {
        log::warn!(
            "{}: holds the encoder's caches of one clip, so that surprise in latent space ends with the next forecast; \
             build it with --encoder-states 2",
            loaded.path().display()
        );
    }
    let settings = PredictSettings {
        seed: options.forecast_seed,
        latent_only: node.latent_only,
        surprise_blur: node.surprise_blur,
    };
    Ok(PredictForecaster::new(predict, settings))
}

fn hardware_id(identity: &engines::Identity) -> String {
    format!("{} {}", identity.checkpoint, &identity.engine_sha256[..12])
}
