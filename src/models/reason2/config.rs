//! The config of Cosmos-Reason2, which is Qwen3-VL's: every extent of the network, checked against the others.
//!
//! Two generations of writers are read: transformers 4 puts `rope_theta` and `rope_scaling` into the text config, transformers 5
//! one `rope_parameters`. What neither says has the reference's default. A value that would make another network than the one
//! written here (another activation, scaled rotary positions) is refused by name.

use super::GenerationConfig;
use super::common_terms::{EMBEDDING, HEAD, Head};
use super::generation::token_ids;
use crate::checkpoint::{CheckpointError, JsonFile, Section, Tensors};
use crate::tensor::DType;

/// Beyond every network of this kind: what a config says is written as graphs before a weight is looked at.
const LAYERS_MAX: usize = 1024;
const WIDTH_MAX: usize = 1 << 18;
const HEADS_MAX: usize = 4096;
const VOCABULARY_MAX: usize = 1 << 24;
/// Pixels of a patch, its frames and channels, patches of a token.
const SIDE_MAX: usize = 256;

/// Everything that the config says about the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason2Config {
    /// The language model.
    pub language: LanguageConfig,
    /// The vision encoder.
    pub vision: VisionConfig,
    /// Stands in the prompt for each visual token of an image.
    pub image_token_id: u32,
    /// Stands in the prompt for each visual token of a video.
    pub video_token_id: u32,
    /// Before the visual tokens of an image or of a group of frames.
    pub vision_start_token_id: u32,
    /// After them.
    pub vision_end_token_id: u32,
    /// Whether the head is meant to be the embedding; [`Reason2Config::head`] says whether it is.
    pub tie_word_embeddings: bool,
    /// The type in which the authors store weights; bf16 where they do not say.
    pub dtype: DType,
    /// Stop tokens that the config itself names; [`Reason2Config::stop_token_ids`] has those that count.
    pub eos_token_ids: Vec<u32>,
}

/// The decoder: grouped-query attention with normalised queries and keys, SwiGLU, interleaved M-RoPE.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageConfig {
    /// Number of token ids, the rows of the embedding.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub n_layers: usize,
    /// Number of query heads; a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// Number of key and value heads.
    pub n_kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Added to the mean square in every normalisation.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How many of the `head_dim / 2` frequencies turn by time, height and width.
    pub mrope_section: [usize; 3],
    /// Whether the attention's projections have biases.
    pub attention_bias: bool,
    /// Most positions that the network was made for.
    pub max_position_embeddings: usize,
}

/// The encoder: patches of frame pairs, attention within a frame, 2×2 patches merged into a token.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Number of blocks.
    pub depth: usize,
    /// Width of a patch.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of heads; each is a multiple of four wide.
    pub n_heads: usize,
    /// Colour channels.
    pub in_channels: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    /// Frames in a patch.
    pub temporal_patch_size: usize,
    /// Side of the square of patches that becomes one token.
    pub spatial_merge_size: usize,
    /// Width of a visual token: the language model's.
    pub out_hidden_size: usize,
    /// Side of the square table of learned positions.
    pub position_grid_side: usize,
    /// Blocks after which features are tapped, ascending; tap `i` is added after language layer `i`.
    pub deepstack_layers: Vec<usize>,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
}

impl Reason2Config {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// If it is of another architecture, or a value is absent, out of range or at odds with another.
    pub fn parse(config: &JsonFile) -> Result<Self, CheckpointError> {
        let root = config.root()?;
        known_architecture(&root)?;
        let text = root.required("text_config", root.section("text_config")?)?;
        let vision = root.required("vision_config", root.section("vision_config")?)?;
        let language = LanguageConfig::parse(&text)?;
        let vision = VisionConfig::parse(&vision, &language)?;
        let id = |key, default| token_id(&root, key, default, language.vocab_size);
        let tied = match root.flag("tie_word_embeddings")? {
            Some(tied) => tied,
            None => text.flag("tie_word_embeddings")?.unwrap_or(false),
        };
        let mut eos_token_ids = token_ids(&root, "eos_token_id", language.vocab_size)?;
        for id in token_ids(&text, "eos_token_id", language.vocab_size)? {
            if !eos_token_ids.contains(&id) {
                eos_token_ids.push(id);
            }
        }
        Ok(Self {
            image_token_id: id("image_token_id", 151_655)?,
            video_token_id: id("video_token_id", 151_656)?,
            vision_start_token_id: id("vision_start_token_id", 151_652)?,
            vision_end_token_id: id("vision_end_token_id", 151_653)?,
            tie_word_embeddings: tied,
            dtype: dtype(&root, &text),
            eos_token_ids,
            language,
            vision,
        })
    }

    /// Which weight is the head. As the reference decides: a tied head is the embedding, unless the checkpoint has a head of its own
    /// with other values.
    ///
    /// # Errors
    /// If the head is not tied and there is none.
    pub fn head(&self, tensors: &Tensors) -> Result<Head, CheckpointError> {
        if !self.tie_word_embeddings {
            return tensors.tensor(HEAD).map(|_| Head::Own);
        }
        if tensors.contains(HEAD)
            && tensors.contains(EMBEDDING)
            && tensors.tensor(HEAD)? != tensors.tensor(EMBEDDING)?
        {
            return Ok(Head::Own);
        }
        Ok(Head::Embedding)
    }

    /// The tokens that end an answer: the generation config's where it names any, else the config's own, as the reference has it.
    pub fn stop_token_ids<'a>(&'a self, generation: &'a GenerationConfig) -> &'a [u32] {
        if generation.eos_token_ids.is_empty() { &self.eos_token_ids } else { &generation.eos_token_ids }
    }
}

impl LanguageConfig {
    fn parse(text: &Section<'_>) -> Result<Self, CheckpointError> {
        only(text, "hidden_act", "silu")?;
        let n_heads = text.extent_to("num_attention_heads", HEADS_MAX)?;
        let n_kv_heads = text.count("num_key_value_heads")?.unwrap_or(n_heads);
        if n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
            return Err(
                text.wrong("num_key_value_heads", format!("a divisor of the {n_heads} attention heads"))
            );
        }
        let head_dim = text.count("head_dim")?.unwrap_or(128);
        if head_dim == 0 || !head_dim.is_multiple_of(2) || WIDTH_MAX / n_heads < head_dim {
            return Err(
                text.wrong("head_dim", format!("a positive even number, {WIDTH_MAX} for all heads together"))
            );
        }
        let (rope_theta, mrope_section) = text_rope(text, head_dim)?;
        let rms_norm_eps = text.number("rms_norm_eps")?.unwrap_or(1e-6);
        if rms_norm_eps < 0.0 {
            return Err(text.wrong("rms_norm_eps", "no negative number"));
        }
        Ok(Self {
            vocab_size: text.extent_to("vocab_size", VOCABULARY_MAX)?,
            hidden_size: text.extent_to("hidden_size", WIDTH_MAX)?,
            intermediate_size: text.extent_to("intermediate_size", WIDTH_MAX)?,
            n_layers: text.extent_to("num_hidden_layers", LAYERS_MAX)?,
            n_heads,
            n_kv_heads,
            head_dim,
            rms_norm_eps: rms_norm_eps as f32,
            rope_theta,
            mrope_section,
            attention_bias: text.flag("attention_bias")?.unwrap_or(false),
            max_position_embeddings: text.count("max_position_embeddings")?.unwrap_or(128_000),
        })
    }
}

impl VisionConfig {
    fn parse(vision: &Section<'_>, language: &LanguageConfig) -> Result<Self, CheckpointError> {
        only(vision, "hidden_act", "gelu_pytorch_tanh")?;
        let (hidden_size, n_heads) =
            (vision.extent_to("hidden_size", WIDTH_MAX)?, vision.extent("num_heads")?);
        if !hidden_size.is_multiple_of(n_heads) || !(hidden_size / n_heads).is_multiple_of(4) {
            return Err(vision.wrong(
                "num_heads",
                format!("a divisor of {hidden_size} that makes heads a multiple of 4 wide"),
            ));
        }
        let n_positions = vision.extent_to("num_position_embeddings", VOCABULARY_MAX)?;
        let position_grid_side = n_positions.isqrt();
        if position_grid_side * position_grid_side != n_positions {
            return Err(vision.wrong("num_position_embeddings", "a square number"));
        }
        let out_hidden_size = vision.extent("out_hidden_size")?;
        if out_hidden_size != language.hidden_size {
            return Err(vision
                .wrong("out_hidden_size", format!("the language model's width, {}", language.hidden_size)));
        }
        let depth = vision.extent_to("depth", LAYERS_MAX)?;
        let key = "deepstack_visual_indexes";
        let deepstack_layers = vision.required(key, vision.counts(key)?)?;
        let ascending = deepstack_layers.windows(2).all(|w| w[0] < w[1]);
        if !ascending
            || deepstack_layers.iter().any(|i| depth <= *i)
            || language.n_layers < deepstack_layers.len()
        {
            let n_layers = language.n_layers;
            return Err(
                vision.wrong(key, format!("at most {n_layers} ascending indexes of the {depth} blocks"))
            );
        }
        let side = |key, default| -> Result<usize, CheckpointError> {
            // One number, or the same one for height and width.
            let list = match vision.get(key) {
                None => vec![default],
                Some(value) if value.is_array() => vision.counts(key)?.unwrap_or_default(),
                Some(_) => vec![vision.extent(key)?],
            };
            match list[..] {
                [n] if (1..=SIDE_MAX).contains(&n) => Ok(n),
                [h, w] if (1..=SIDE_MAX).contains(&h) && h == w => Ok(h),
                _ => Err(vision.wrong(key, format!("an integer from 1 to {SIDE_MAX}"))),
            }
        };
        let rope = vision.section("rope_parameters")?;
        if let Some(rope) = &rope {
            only(rope, "rope_type", "axial")?;
        }
        let rope_theta = rope.map(|r| r.number("rope_theta")).transpose()?.flatten().unwrap_or(10_000.0);
        if rope_theta <= 0.0 {
            return Err(vision.wrong("rope_parameters", "a positive `rope_theta`"));
        }
        Ok(Self {
            depth,
            hidden_size,
            intermediate_size: vision.extent_to("intermediate_size", WIDTH_MAX)?,
            n_heads,
            in_channels: side("in_channels", 3)?,
            patch_size: side("patch_size", 16)?,
            temporal_patch_size: side("temporal_patch_size", 2)?,
            spatial_merge_size: side("spatial_merge_size", 2)?,
            out_hidden_size,
            position_grid_side,
            deepstack_layers,
            rope_theta,
        })
    }
}

fn known_architecture(root: &Section<'_>) -> Result<(), CheckpointError> {
    let model_type = root.text("model_type")?;
    if model_type == Some("qwen3_vl") {
        return Ok(());
    }
    let class = root.get("architectures").and_then(|list| list.get(0)).and_then(|name| name.as_str());
    let found = match (class, model_type) {
        (Some(class), Some(model_type)) => format!("{class} (`{model_type}`)"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => "none (no `model_type`)".to_owned(),
    };
    let known = "Qwen3VLForConditionalGeneration (`qwen3_vl`: Cosmos-Reason2)";
    Err(CheckpointError::UnknownArchitecture { path: root.path().to_owned(), found, known })
}

/// The type that either section names, in the spelling of either generation of writers.
fn dtype(root: &Section<'_>, text: &Section<'_>) -> DType {
    let keys =
        [root, text].into_iter().flat_map(|section| [section.get("dtype"), section.get("torch_dtype")]);
    match keys.flatten().find_map(|value| value.as_str()) {
        Some("float32") => DType::F32,
        Some("float16") => DType::F16,
        _ => DType::Bf16,
    }
}

/// Theta and sections of the rotary positions, in either spelling.
fn text_rope(text: &Section<'_>, head_dim: usize) -> Result<(f64, [usize; 3]), CheckpointError> {
    let key = if text.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
    let rope = text.section(key)?;
    let (mut theta, mut sections) = (text.number("rope_theta")?, None);
    if let Some(rope) = &rope {
        // transformers 4 wrote `type` too, with `mrope` where it meant the default.
        let type_key = if rope.get("rope_type").is_some() { "rope_type" } else { "type" };
        if rope.text(type_key)?.is_some_and(|t| !["default", "mrope"].contains(&t)) {
            return Err(rope.wrong(type_key, "`default`"));
        }
        if rope.flag("mrope_interleaved")? == Some(false) {
            return Err(rope.wrong("mrope_interleaved", "true"));
        }
        theta = rope.number("rope_theta")?.or(theta);
        sections = rope.counts("mrope_section")?;
    }
    let theta = theta.unwrap_or(500_000.0);
    if theta <= 0.0 {
        return Err(text.wrong("rope_theta", "a positive number"));
    }
    let half = head_dim / 2;
    let sections = sections.unwrap_or_else(|| vec![24, 20, 20]);
    // Interleaved: height takes every third frequency from 1, width from 2; what is left turns by time.
    let fits = |n: usize, first: usize| n == 0 || first + 3 * (n - 1) < half;
    match sections[..] {
        [t, h, w] if t + h + w == half && fits(h, 1) && fits(w, 2) => Ok((theta, [t, h, w])),
        _ => Err(rope
            .as_ref()
            .unwrap_or(text)
            .wrong("mrope_section", format!("three counts that share out {half} frequencies"))),
    }
}

/// Refuses every value at `key` but one.
fn only(section: &Section<'_>, key: &str, value: &str) -> Result<(), CheckpointError> {
    match section.text(key)? {
        Some(found) if found != value => Err(section.wrong(key, format!("`{value}`"))),
        _ => Ok(()),
    }
}

fn token_id(
    section: &Section<'_>,
    key: &str,
    default: usize,
    vocab_size: usize,
) -> Result<u32, CheckpointError> {
    let id = section.count(key)?.unwrap_or(default);
    let id = u32::try_from(id).ok().filter(|id| (*id as usize) < vocab_size);
    id.ok_or_else(|| section.wrong(key, format!("a token id below {vocab_size}")))
}

#[cfg(test)]
mod tests;
