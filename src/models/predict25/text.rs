//! Texts as the denoiser sees them: embeddings from files, and the checkpoint's projection where it has one.
//!
//! The projection is a network of its own, which whoever makes a model runs once for each text: of a hundred thousand inputs to a token,
//! it does not go on a robot.

use std::path::Path;

use super::spelling::Spelling;
use super::{DenoiserConfig, PredictError, TextEntry, graph_name};
use crate::checkpoint::Tensors;
use crate::graph::{GraphBuilder, Network, Op, Purpose, Unary};
use crate::models::layers::Layers;
use crate::models::names::{Names, Rule};
use crate::tensor::DType;

/// More tokens than any text encoder's prompt has.
const TOKENS_MAX: usize = 4096;

/// The embedding of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEmbedding {
    /// As it is asked for: lower case letters, digits and `_`.
    pub name: String,
    /// Rows.
    pub n_tokens: usize,
    /// `[n_tokens, text_dim]`, or as wide as a projection takes them.
    pub values: Vec<f32>,
}

impl TextEmbedding {
    /// The file of embeddings that lies in a checkpoint's directory.
    pub const FILE: &str = "text_embedding.safetensors";

    /// Its name and length.
    pub fn entry(&self) -> TextEntry {
        TextEntry { name: self.name.clone(), n_tokens: self.n_tokens }
    }

    /// The graph that computes what cross-attention sees of the text.
    pub fn graph_name(&self) -> String {
        graph_name(&self.name)
    }

    /// Reads an embedding `[n, d]` or `[1, n, d]` from a safetensors file: the tensor of the text's name, or the only one.
    ///
    /// # Errors
    /// If there is none, or it is not of the width that the checkpoint's texts have (before the projection, where there is one), or
    /// not finite.
    pub fn load(config: &DenoiserConfig, name: &str, path: &Path) -> Result<TextEmbedding, PredictError> {
        let wrong = |why: String| PredictError::Text { path: path.to_owned(), name: name.to_owned(), why };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || 32 < name.len() || !name.chars().all(plain) {
            return Err(wrong("a name is of lower case letters, digits and `_`, at most 32".into()));
        }
        let file = Tensors::open(path)?;
        let names: Vec<&str> = file.names().collect();
        let tensor = match &names[..] {
            _ if file.contains(name) => name,
            [only] => *only,
            _ => return Err(wrong(format!("expected a tensor of that name or only one, found {names:?}"))),
        };
        let view = file.tensor(tensor)?;
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

/// The projection of a text of `n_tokens`, where the config has one: graph `project` makes `y` of `x` as `gelu(W x + b)`.
pub fn projection(config: &DenoiserConfig, n_tokens: usize, dtype: DType) -> Option<Network> {
    let width = config.text_projection?;
    let mut network = Network::default();
    let x = network.declare_buffer("x", DType::F32, &[n_tokens, width], Purpose::Input);
    let y = network.declare_buffer("y", DType::F32, &[n_tokens, config.text_dim], Purpose::Output);
    let mut graph = GraphBuilder::new(&mut network, "project");
    let value = graph.read(x, n_tokens);
    let layers = Layers { part: "text", dtype };
    let value = layers.biased(&mut graph, "crossattn_proj.0", value, config.text_dim);
    let value = graph.add(Op::Unary { function: Unary::GeluErf }, &[value]);
    graph.write(y, value);
    graph.finish();
    Some(network)
}

/// Where the weights of a [`projection`] stand.
pub fn projection_names(network: &Network, spelling: Spelling) -> Names {
    Names::new(network, |weight| Rule::Whole(spelling.stored(&weight.name, &weight.shape)))
}
