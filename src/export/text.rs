//! Reads texts for a Predict checkpoint, and takes them through its projection, once, so that no engine has to.

use std::path::Path;

use crate::backend::reference::Reference;
use crate::backend::{Elements, Run, Session};
use crate::models::predict25::{
    PredictCheckpoint, PredictError, TextEmbedding, projection, projection_names,
};
use crate::tensor::DType;

/// Reads an embedding `[n, d]` or `[1, n, d]` from a safetensors file: the tensor of the text's name, or the only one. What comes out
/// is as wide as the denoiser's cross-attention takes it.
///
/// # Errors
/// As [`TextEmbedding::load`], and if the projection's weights are not the config's.
pub fn load_text(
    checkpoint: &PredictCheckpoint,
    name: &str,
    path: &Path,
) -> Result<TextEmbedding, PredictError> {
    let config = &checkpoint.config().denoiser;
    let text = TextEmbedding::load(config, name, path)?;
    let Some(mut network) = projection(config, text.n_tokens, DType::F32) else { return Ok(text) };
    let names = projection_names(&network, checkpoint.spelling());
    let constants = names.read(&mut network, &checkpoint.folders())?;
    let buffer = |name: &str| network.buffer(name).expect("a projection has x and y");
    let mut values = vec![0.0; network.buffers[buffer("y").index()].len()];
    let mut reference = Reference::new(&network, &constants);
    reference.write(buffer("x"), 0, Elements::F32(&text.values)).expect("read in this shape");
    let graph = network.graph("project").expect("a projection has this graph");
    reference.run(graph, &Run::default()).expect("no extents, no indices");
    reference.read(buffer("y"), 0, &mut values).expect("all of it");
    Ok(TextEmbedding { values, ..text })
}
