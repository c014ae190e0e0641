//! Claims everything that questions need, once.

use std::sync::Arc;

use super::error::AskError;
use super::request::Request;
use super::thought::{self, Splitter};
use super::wiring::Wiring;
use crate::backend::Memory;
use crate::camera::{Preprocess, PreprocessError, Preprocessor};
use crate::engine::{Engine, EngineError};
use crate::graph::Network;
use crate::models::reason2::{
    PatchPositions, PromptLayout, ReasonManifest, TextStream, Tokenizer, TokenizerError,
};
use crate::runtime::{Sampler, Sampling, SamplingError, SharedSession};

/// Bytes of the longest token that any tokenizer has, several times over.
const PIECE_BYTES: usize = 1 << 10;

/// Why an engine cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The network is none of Reason's.
    #[error("the engine is none that answers questions: {0}")]
    Network(String),
    /// The engine's file lacks a part.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The preprocessing rules are out of range.
    #[error("the engine's rules for images: {0}")]
    Preprocess(#[from] PreprocessError),
    /// The tokenizer cannot be used.
    #[error("the engine's {0}")]
    Tokenizer(#[from] TokenizerError),
    /// The sampling defaults are out of range.
    #[error("the engine's sampling defaults: {0}")]
    Sampling(#[from] SamplingError),
}

/// What a Reason engine consists of, beside its session.
#[derive(Clone, Debug)]
pub struct ReasonParts<'a> {
    /// The bytes of `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// The chat template in pieces.
    pub layout: PromptLayout,
    /// From images to patches, within the engine's limits.
    pub preprocess: Preprocess,
    /// Where patches lie.
    pub patch_positions: PatchPositions,
    /// How the checkpoint's authors sample.
    pub default_sampling: Sampling,
    /// Tokens that end an answer.
    pub stop_tokens: Vec<u32>,
}

impl<'a> ReasonParts<'a> {
    /// As a manifest has them, and within the limits of its network.
    pub fn of(manifest: &ReasonManifest, network: &Network, tokenizer: &'a [u8]) -> Self {
        let mut preprocess = manifest.preprocess;
        if let Some(n_tokens) = network.limit("image_tokens") {
            preprocess.limit_image_tokens(n_tokens);
        }
        Self {
            tokenizer,
            layout: manifest.prompt.clone(),
            preprocess,
            patch_positions: manifest.patch_positions,
            default_sampling: manifest.sampling,
            stop_tokens: manifest.stop_token_ids.clone(),
        }
    }
}

/// An opened Reason engine.
pub struct Reason {
    pub(super) session: SharedSession,
    pub(super) wiring: Wiring,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) layout: PromptLayout,
    pub(super) preprocessor: Preprocessor,
    pub(super) stop_tokens: Vec<u32>,
    /// Whether the prompt itself opens a thought.
    pub(super) begins_in_thought: bool,
    pub(super) sampler: Sampler,
    pub(super) splitter: Splitter,
    pub(super) text_stream: TextStream,
    /// Text of one token.
    pub(super) piece: String,
    default_sampling: Sampling,
}

impl Reason {
    /// Makes an opened engine and a session of it, which other loops may share, answer questions. Images are scaled down to the engine's limit of visual tokens.
    ///
    /// # Errors
    /// If the engine is none of Reason's, or its parts do not belong together.
    pub fn open(engine: &Engine, session: impl Into<SharedSession>) -> Result<Self, OpenError> {
        let Some(manifest) = &engine.manifest().roles.answers else {
            return Err(OpenError::Network("it forecasts; `imagine` runs it".into()));
        };
        Self::new(session, ReasonParts::of(manifest, engine.network(), engine.tokenizer()?))
    }

    /// Claims the loop's own buffers for a session.
    ///
    /// # Errors
    /// If the parts do not belong together, or one is out of range.
    pub fn new(session: impl Into<SharedSession>, parts: ReasonParts<'_>) -> Result<Self, OpenError> {
        let session = session.into();
        let wiring = Wiring::new(session.wait().session.network(), parts.patch_positions);
        let wiring = wiring.map_err(OpenError::Network)?;
        let expected = parts.preprocess.patches.patch_len();
        if wiring.patch_len != expected {
            let why = format!(
                "its patches have {} numbers, its rules for images make {expected}",
                wiring.patch_len
            );
            return Err(OpenError::Network(why));
        }
        parts.default_sampling.check()?;
        Ok(Self {
            tokenizer: Arc::new(Tokenizer::from_bytes(parts.tokenizer)?),
            preprocessor: Preprocessor::new(parts.preprocess)?,
            stop_tokens: parts.stop_tokens,
            begins_in_thought: parts.layout.closing.trim_end().ends_with(thought::OPEN),
            layout: parts.layout,
            sampler: Sampler::new(wiring.vocab_size),
            splitter: Splitter::new(false),
            text_stream: TextStream::default(),
            piece: String::with_capacity(PIECE_BYTES),
            default_sampling: parts.default_sampling,
            session,
            wiring,
        })
    }

    /// How the checkpoint's authors sample; the seed is 0.
    pub fn default_sampling(&self) -> Sampling {
        self.default_sampling
    }

    /// Tokens that the model knows.
    pub fn vocab_size(&self) -> usize {
        self.wiring.vocab_size
    }

    /// Tokens of prompt and answer together.
    pub fn context(&self) -> usize {
        self.wiring.context
    }

    /// Frames of a clip at most.
    pub fn frames_max(&self) -> usize {
        self.wiring.frames_max
    }

    /// Whether it can be asked to think.
    pub fn can_think(&self) -> bool {
        self.layout.think_suffix.is_some()
    }

    /// The rules by which images become patches.
    pub fn preprocess(&self) -> &Preprocess {
        self.preprocessor.rules()
    }

    /// Bytes of the session, by purpose.
    pub fn session_memory(&self) -> Memory {
        self.session.memory()
    }

    /// Bytes that the loop itself has claimed: sampler, places of patches, keys. What images are resized in is claimed by the first of
    /// each size.
    pub fn claimed_bytes(&self) -> u64 {
        let preprocessor = self.preprocessor.reserved_bytes() as u64;
        let keys = self.session.claimed_bytes();
        preprocessor + keys + self.sampler.claimed_bytes() + self.wiring.claimed_bytes()
    }

    /// Tokens of text in the prompt of a question, visual ones left out.
    ///
    /// # Errors
    /// As for asking it.
    pub fn prompt_text_tokens(&self, request: &Request<'_>) -> Result<usize, AskError> {
        let media = self.lay_out(request)?;
        Ok(self.assemble(request, &media)?.ids.len() - media.n_tokens())
    }

    /// Forgets what was seen and read: the next question computes everything.
    pub fn forget(&mut self) {
        let mut held = self.session.wait();
        held.rows.cut(0);
        held.features.clear();
    }
}
