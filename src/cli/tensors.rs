//! What `ask` writes beside an answer, under the names that the reference's fixtures have.

use std::path::Path;

use anyhow::Context as _;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::install::Partial;
use crate::runtime::reason::{RecordedPicture, Recording};

/// A tensor on its way to a file.
struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes `logits [n_generated, vocab]` f32.
pub(super) fn write_logits(path: &Path, recording: &Recording, vocab_size: usize) -> anyhow::Result<()> {
    let shape = vec![recording.logits.len() / vocab_size, vocab_size];
    write(path, &[f32_tensor("logits".to_owned(), shape, &recording.logits)])
}

/// Writes `position_ids [3, n]` i32, `pixel_values`, `pixel_values_videos` `[n_patches, patch_len]`, and for `image` and `video`
/// their `*.features` and `*.deepstack.N` `[n_tokens, width]`, f32.
pub(super) fn write_tensors(path: &Path, recording: &Recording) -> anyhow::Result<()> {
    let positions =
        (0..3).flat_map(|axis| recording.positions.iter().flat_map(move |p| p[axis].to_le_bytes()));
    let mut tensors = vec![Tensor {
        name: "position_ids".to_owned(),
        dtype: Dtype::I32,
        shape: vec![3, recording.positions.len()],
        bytes: positions.collect(),
    }];
    for (kind, pixels_name, is_clip) in
        [("image", "pixel_values", false), ("video", "pixel_values_videos", true)]
    {
        let pictures: Vec<&RecordedPicture> =
            recording.pictures.iter().filter(|picture| picture.is_clip == is_clip).collect();
        let Some(first) = pictures.first() else { continue };
        let pixels: Vec<f32> = pictures.iter().flat_map(|p| p.pixels.iter().copied()).collect();
        let n_patches: usize = pictures.iter().map(|p| p.grid[0] * p.grid[1]).sum();
        tensors.push(f32_tensor(pixels_name.to_owned(), vec![n_patches, pixels.len() / n_patches], &pixels));
        for part in 0..first.features.len() {
            let values: Vec<f32> = pictures.iter().flat_map(|p| p.features[part].iter().copied()).collect();
            let n_tokens: usize = pictures.iter().map(|p| p.n_tokens).sum();
            let name = match part {
                0 => format!("{kind}.features"),
                tap => format!("{kind}.deepstack.{}", tap - 1),
            };
            tensors.push(f32_tensor(name, vec![n_tokens, values.len() / n_tokens], &values));
        }
    }
    write(path, &tensors)
}

/// Writes `latents [1, C, T, h, w]` f32, normalised as the denoiser takes them.
pub(super) fn write_latents(path: &Path, shape: [usize; 5], latents: &[f32]) -> anyhow::Result<()> {
    write(path, &[f32_tensor("latents".to_owned(), shape.to_vec(), latents)])
}

fn f32_tensor(name: String, shape: Vec<usize>, values: &[f32]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor { name, dtype: Dtype::F32, shape, bytes }
}

fn write(path: &Path, tensors: &[Tensor]) -> anyhow::Result<()> {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        Ok((tensor.name.as_str(), view.with_context(|| tensor.name.clone())?))
    });
    let views = views.collect::<anyhow::Result<Vec<_>>>()?;
    let context = || path.display().to_string();
    let file = Partial::create(path).with_context(context)?;
    safetensors::serialize_to_file(views, None, file.path()).with_context(context)?;
    file.put().with_context(context)
}
