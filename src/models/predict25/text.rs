//! Texts as the denoiser sees them: embeddings from files, and the checkpoint's projection of them where it has one.

use std::path::Path;

use super::names::Tensors;
use super::{PredictCheckpoint, PredictError};
use crate::checkpoint;
use crate::graph::{GraphBuilder, Network, Op, Purpose, Unary};
use crate::models::constants::Constants;
use crate::tensor::DType;

/// The name of the text that guidance leads away from.
pub const NEGATIVE: &str = "negative";
/// More tokens than any text encoder's prompt has.
const TOKENS_MAX: usize = 4096;

/// The embedding of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEmbedding {
    /// As it is asked for: lower case letters, digits and `_`.
    pub name: String,
    /// Rows.
    pub n_tokens: usize,
    /// `[n_tokens, text_dim]`.
    pub values: Vec<f32>,
}

impl TextEmbedding {
    /// The graph that computes what cross-attention sees of the text.
    pub fn graph_name(&self) -> String {
        graph_name(&self.name)
    }

    /// Reads an embedding `[n, d]` or `[1, n, d]` from a safetensors file: the tensor of the text's name, or the only one. Where
    /// the checkpoint has a [`projection`], it is of the width that this takes, and has yet to go through it.
    ///
    /// # Errors
    /// If there is none, or it is not of the width that the checkpoint's texts have, or not finite.
    pub(crate) fn read(
        checkpoint: &PredictCheckpoint,
        name: &str,
        path: &Path,
    ) -> Result<TextEmbedding, PredictError> {
        let wrong = |why: String| PredictError::Text { path: path.to_owned(), name: name.to_owned(), why };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || 32 < name.len() || !name.chars().all(plain) {
            return Err(wrong("a name is of lower case letters, digits and `_`, at most 32".into()));
        }
        let file = checkpoint::Tensors::open(path)?;
        let names: Vec<&str> = file.names().collect();
        let tensor = match &names[..] {
            _ if file.contains(name) => name,
            [only] => *only,
            _ => return Err(wrong(format!("expected a tensor of that name or only one, found {names:?}"))),
        };
        let view = file.tensor(tensor)?;
        let config = checkpoint.config();
        let (width, source) = match config.text_projection {
            Some(n) => (n, "the checkpoint's text projection takes"),
            None => (config.text_dim, "the checkpoint's cross-attention takes"),
        };
        let n_tokens = match view.shape[..] {
            [n, d] | [1, n, d] if d == width && 0 < n && n <= TOKENS_MAX => n,
            _ => {
                let found = &view.shape;
                return Err(wrong(format!(
                    "expected [n, {width}], n up to {TOKENS_MAX} ({source} {width}), found {found:?}; was it made for another checkpoint?"
                )));
            }
        };
        let values = view.to_f32();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(wrong("it holds values that are not finite".into()));
        }
        Ok(TextEmbedding { name: name.to_owned(), n_tokens, values })
    }
}

/// The graph of the text of that name.
pub fn graph_name(text: &str) -> String {
    format!("text_{text}")
}

/// `y = gelu(W x + b)` of so many tokens, if the checkpoint has it: graph `project` from buffer `x` to buffer `y`.
///
/// # Errors
/// If its weights are not there, or of other shapes.
pub(crate) fn projection(
    checkpoint: &PredictCheckpoint,
    n_tokens: usize,
) -> Result<Option<(Network, Constants<'_>)>, PredictError> {
    let config = checkpoint.config();
    let (n, Some(k)) = (config.text_dim, config.text_projection) else { return Ok(None) };
    let tensors = Tensors::new(checkpoint.transformer());
    let (mut network, mut constants) = (Network::default(), Constants::default());
    constants.begin_part("text");
    let x = network.declare_buffer("x", DType::F32, &[n_tokens, k], Purpose::Input);
    let y = network.declare_buffer("y", DType::F32, &[n_tokens, n], Purpose::Output);
    let weight = tensors.expect("crossattn_proj.0.weight", &[n, k])?;
    let weight = constants.borrow(&mut network, "weight", weight, &[n, k]);
    let bias = tensors.expect("crossattn_proj.0.bias", &[n])?;
    let bias = constants.borrow(&mut network, "bias", bias, &[n]);
    let mut graph = GraphBuilder::new(&mut network, "project");
    let value = graph.read(x, n_tokens);
    let value = graph.linear(value, weight, Some(bias));
    let value = graph.add(Op::Unary { function: Unary::GeluErf }, &[value]);
    graph.write(y, value);
    graph.finish();
    Ok(Some((network, constants)))
}
