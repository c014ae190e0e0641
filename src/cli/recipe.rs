//! Recipes: files that say how a model becomes an engine for a device (`engines/*.toml`).
//!
//! A recipe names its model's file, relative to itself; what the model's checkpoint and clip should be; the device, the backend and how
//! much memory the engine may take there; what each part is stored as; and the limits. It is strict: a key that is not known is an error
//! that names its line.
//!
//! Why it does not export: a checkpoint lies on a workstation, the build runs on the robot.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use toml::Spanned;

use super::Usage;
use crate::backend::{CACHE_PART, parts, takes_format};
use crate::board::{Device, STORAGES, Storage};
use crate::bounded;
use crate::graph::{Network, Purpose};
use crate::model::{Model, Roles};

/// What parts of models are called.
const PARTS: &[&str] = &["vision", "language", "head", CACHE_PART, "denoiser", "vae", "text"];
const GIB: f64 = (1_u64 << 30) as f64;
/// No recipe is longer.
const RECIPE_BYTES_MAX: u64 = 1 << 20;

/// A recipe that was read and found sound in itself.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// The model's file.
    pub(crate) model: PathBuf,
    /// Name of the backend.
    pub(crate) backend: String,
    /// What the engine is for.
    pub(crate) device: &'static Device,
    /// As `--precision` takes it.
    pub(crate) precision: String,
    /// Bounds of what an engine takes.
    pub(crate) limits: Limits,
    formats: BTreeMap<String, &'static Storage>,
    checkpoint: String,
    clip: Option<Clip>,
    memory_gib_max: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    source: Source,
    engine: Engine,
    precision: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    limits: Limits,
    clip: Option<Clip>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    model: PathBuf,
    checkpoint: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Engine {
    backend: String,
    device: Spanned<String>,
    memory_gib_max: Spanned<f64>,
}

/// As the options of `build` that are named like these.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) context: Option<NonZeroUsize>,
    pub(crate) image_tokens: Option<NonZeroUsize>,
    pub(crate) frames: Option<NonZeroUsize>,
    pub(crate) latents_per_call: Option<NonZeroUsize>,
    pub(crate) encoder_states: Option<NonZeroUsize>,
}

/// What a model of Predict was exported for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Clip {
    width: usize,
    height: usize,
    frames: usize,
    given: usize,
    /// Numbers of an action; 0 where it takes none.
    #[serde(default)]
    actions: usize,
}

impl Recipe {
    /// Whether a path is one, by its name.
    pub(crate) fn is_named(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == "toml")
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// If it cannot be read, or is wrong: the file, the line, what was found and what is there to choose from.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Recipe> {
        let shown = path.display();
        let text = bounded::read_text(path, RECIPE_BYTES_MAX).with_context(|| format!("{shown}"))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Recipe::parse(&text, folder).map_err(|why| Usage(format!("{shown}: {why}")).into())
    }

    fn parse(text: &str, folder: &Path) -> Result<Recipe, String> {
        let Written { source, engine, precision, limits, clip } =
            toml::from_str(text).map_err(|why| why.to_string().trim_end().to_owned())?;
        let line = |at: std::ops::Range<usize>| 1 + text[..at.start].matches('\n').count();
        let at = |spanned: &Spanned<String>| line(spanned.span());
        let device = Device::named(engine.device.as_ref()).ok_or_else(|| {
            let (line, found) = (at(&engine.device), engine.device.as_ref());
            format!("line {line}: no device is named `{found}`; there are {}", Device::names())
        })?;
        let (gib, gib_max) = (*engine.memory_gib_max.as_ref(), device.memory_bytes.value / GIB);
        if !(0.0 < gib && gib <= gib_max) {
            let line = line(engine.memory_gib_max.span());
            return Err(format!("line {line}: memory_gib_max is {gib}; {} has {gib_max} GiB", device.title));
        }
        let mut formats = BTreeMap::new();
        for (part, format) in &precision {
            if !PARTS.contains(&part.as_ref().as_str()) {
                let (line, found) = (at(part), part.as_ref());
                return Err(format!(
                    "line {line}: no part is named `{found}`; there are {}",
                    PARTS.join(", ")
                ));
            }
            let (line, found) = (at(format), format.as_ref());
            let storage = Storage::named(found).ok_or_else(|| {
                format!("line {line}: no format is named `{found}`; there are {}", Storage::names())
            })?;
            // f32 is computed beside the tensor cores, everywhere.
            if storage.name != "f32" && device.peak(storage).is_none() {
                let has = STORAGES.iter().filter(|storage| device.peak(storage).is_some());
                let has: Vec<&str> = has.map(|storage| storage.name).collect();
                let (title, architecture) = (device.title, device.gpu_architecture);
                return Err(format!(
                    "line {line}: {title} ({architecture}) has no {found}; it has f32, {}",
                    has.join(", ")
                ));
            }
            formats.insert(part.as_ref().clone(), storage);
        }
        let list = precision.iter().map(|(part, format)| format!("{}={}", part.as_ref(), format.as_ref()));
        Ok(Recipe {
            model: folder.join(&source.model),
            backend: engine.backend,
            device,
            precision: list.collect::<Vec<_>>().join(","),
            limits,
            formats,
            checkpoint: source.checkpoint,
            clip,
            memory_gib_max: gib,
        })
    }

    /// Opens its model.
    ///
    /// # Errors
    /// If it is not there, is no model, or not of what the recipe is for.
    pub(crate) fn open_model(&self) -> anyhow::Result<Model> {
        let shown = self.model.display();
        if !self.model.exists() {
            let checkpoint = &self.checkpoint;
            bail!(
                "{shown}: the recipe's model is not there; perihelion export CHECKPOINT -o {shown}, of {checkpoint}"
            );
        }
        let model = Model::open(&self.model)?;
        match self.mismatch(&model.manifest().roles) {
            None => Ok(model),
            Some(why) => bail!("{shown}: {why}; export {} with the recipe's [clip]", self.checkpoint),
        }
    }

    /// What of a model is not as the recipe has it.
    fn mismatch(&self, roles: &Roles) -> Option<String> {
        let found = roles.forecasts.as_ref().map(|predict| Clip {
            width: predict.clip.width,
            height: predict.clip.height,
            frames: predict.clip.n_frames,
            given: predict.clip.n_given,
            actions: predict.clip.actions.as_ref().map_or(0, |actions| actions.names.len()),
        });
        let text = |clip: Option<Clip>| match clip {
            None => "a model that forecasts nothing".to_owned(),
            Some(Clip { width, height, frames, given, actions }) => {
                format!(
                    "{width}×{height}, {frames} frames of which {given} are given, {actions} numbers of an action"
                )
            }
        };
        (found != self.clip)
            .then(|| format!("the recipe is for {}, this is {}", text(self.clip), text(found)))
    }

    /// Refuses what cannot fit: weights and buffers alone, before anything is built.
    ///
    /// # Errors
    /// If they are more than the recipe allows.
    pub(crate) fn check_memory(&self, network: &Network) -> anyhow::Result<()> {
        let gib = self.bytes_min(network) / GIB;
        if self.memory_gib_max < gib {
            bail!(
                "weights, caches and buffers alone take {gib:.2} GiB, the recipe allows {:.2} on {}; choose smaller limits or \
                 coarser formats",
                self.memory_gib_max,
                self.device.title
            );
        }
        Ok(())
    }

    /// Bytes of weights and buffers of a network whose limits are set. Intermediate values come on top.
    fn bytes_min(&self, network: &Network) -> f64 {
        let format = |part: &str| self.formats.get(part).copied();
        let weights = network.weights.iter().zip(takes_format(network)).map(|(weight, takes)| {
            let bits = format(&weight.part).filter(|_| takes).map_or(32.0, |storage| storage.bits);
            weight.shape.iter().product::<usize>() as f64 * bits / 8.0
        });
        let has_keys = parts(network).contains(&CACHE_PART);
        let buffers = network.buffers.iter().map(|buffer| {
            let of_kv = (has_keys && buffer.purpose == Purpose::Cache).then(|| format(CACHE_PART)).flatten();
            buffer.len() as f64 * of_kv.map_or(buffer.dtype.size_bytes() as f64, |storage| storage.bits / 8.0)
        });
        weights.sum::<f64>() + buffers.sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::JsonFile;
    use crate::models::predict25::{ClipOptions, PredictConfig, TextEntry};
    use crate::models::reason2::{self, Head, Reason2Config};
    use crate::models::wan_vae::{ENCODER_STATES, LATENTS_PER_CALL};
    use crate::tensor::DType;
    use std::fs;

    const SOUND: &str = "[source]\nmodel = \"a.model\"\ncheckpoint = \"x/A\"\n[engine]\nbackend = \"tensorrt\"\n\
                         device = \"orin-nano\"\nmemory_gib_max = 5.5\n[precision]\nlanguage = \"int4\"\n";

    fn package() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let folder = Path::new("f");
        let recipe = Recipe::parse(SOUND, folder).unwrap();
        assert_eq!((recipe.model, recipe.precision.as_str()), (folder.join("a.model"), "language=int4"));
        for (from, to, expected) in [
            ("backend", "backends", "line 5, column 1"),
            ("backend", "backends", "unknown field `backends`"),
            ("\"orin-nano\"", "\"orin\"", "line 6: no device is named `orin`; there are orin-nano, orin-nx"),
            ("5.5", "8.5", "line 7: memory_gib_max is 8.5; Jetson Orin Nano 8 GB (MAXN_SUPER) has 8 GiB"),
            ("5.5", "nan", "line 7: memory_gib_max is NaN"),
            ("5.5", "\"x\"", "line 7, column 18"),
            ("language", "speech", "line 9: no part is named `speech`; there are vision, language"),
            ("int4", "int3", "line 9: no format is named `int3`; there are f32, f16"),
            (
                "int4",
                "nvfp4",
                "line 9: Jetson Orin Nano 8 GB (MAXN_SUPER) (sm_87) has no nvfp4; it has f32, f16, bf16",
            ),
            ("[precision]", "[limits]\ncontext = 0\n[precision]", "line 9, column 11"),
            ("[precision]", "[limits]\nwidth = 1\n[precision]", "unknown field `width`"),
            ("model = \"a.model\"\n", "", "missing field `model`"),
        ] {
            let refused = Recipe::parse(&SOUND.replacen(from, to, 1), folder).unwrap_err();
            assert!(refused.contains(expected), "{to}: {refused}");
        }
    }

    #[test]
    fn every_shipped_recipe_fits_its_device() {
        let mut seen = 0;
        for entry in fs::read_dir(package().join("engines")).unwrap() {
            let path = entry.unwrap().path();
            if !Recipe::is_named(&path) {
                continue;
            }
            let recipe = Recipe::open(&path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let (model, device) = name.split_once(".on-").unwrap();
            assert_eq!(recipe.device.name, device, "{name}");
            assert_eq!(recipe.model.file_stem().unwrap().to_str(), Some(model), "{name}");
            let network = network_of(&recipe, model);
            for part in recipe.formats.keys() {
                assert!(
                    parts(&network).contains(&part.as_str()),
                    "{name}: {part} is none of {:?}",
                    parts(&network)
                );
            }
            recipe.check_memory(&network).unwrap_or_else(|why| panic!("{name}: {why}"));
            // A tenth of what is allowed is left for intermediate values, and the recipe is not a blank cheque.
            let share = recipe.bytes_min(&network) / GIB / recipe.memory_gib_max;
            assert!((0.1..0.9).contains(&share), "{name}: weights and buffers are {share:.2} of the budget");
            seen += 1;
        }
        assert_eq!(seen, 18);
    }

    #[test]
    fn what_cannot_fit_is_refused_before_it_is_built() {
        let text = fs::read_to_string(package().join("engines/reason2-2b.on-orin-nano.toml")).unwrap();
        let recipe =
            Recipe::parse(&text.replace("int4", "f32").replace("int8", "f32"), Path::new("")).unwrap();
        let refused = recipe.check_memory(&network_of(&recipe, "reason2-2b")).unwrap_err().to_string();
        assert!(refused.starts_with("weights, caches and buffers alone take"), "{refused}");
    }

    /// The network of the true config, with the recipe's limits and clip.
    fn network_of(recipe: &Recipe, model: &str) -> Network {
        let config = |name: &str| package().join("tests/fixtures/configs").join(name);
        let limits = recipe.limits;
        let Some(clip) = recipe.clip else {
            let config = Reason2Config::parse(&JsonFile::open_config(&config(model)).unwrap()).unwrap();
            let head = if config.tie_word_embeddings { Head::Embedding } else { Head::Own };
            let mut network = reason2::network(&config, reason2::Limits::default(), head, config.dtype);
            let asked = [
                ("context", limits.context),
                ("image_tokens", limits.image_tokens),
                ("frames", limits.frames),
            ];
            set(&mut network, &asked);
            return network;
        };
        let config = PredictConfig::open(&config("predict2.5-2b")).unwrap();
        let clip = ClipOptions {
            height: clip.height,
            width: clip.width,
            n_frames: clip.frames,
            n_given: clip.given,
            rope_fps: None,
            // The config of the checkpoint that takes actions is not at hand; its weights are few.
            actions: None,
        };
        let texts = [TextEntry { name: "default".to_owned(), n_tokens: 512 }];
        let mut network = config.network(&clip, &texts, DType::Bf16).unwrap();
        set(
            &mut network,
            &[(LATENTS_PER_CALL, limits.latents_per_call), (ENCODER_STATES, limits.encoder_states)],
        );
        network
    }

    fn set(network: &mut Network, asked: &[(&str, Option<NonZeroUsize>)]) {
        let limits: Vec<_> =
            asked.iter().filter_map(|(name, value)| Some((*name, (*value)?.get()))).collect();
        network.set_limits(&limits).unwrap();
    }
}
