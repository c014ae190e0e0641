//! Where the VAE's weights stand in a checkpoint.
//!
//! Convolutions are stored channels first and computed channels last; those over one place are linear maps; the attention's three
//! maps are one tensor. The normalisation of latents, `(mean − μ) / σ` behind `quant_conv` and `x · σ + μ` before `post_quant_conv`,
//! is folded into both, and of `quant_conv` only the rows of the mean are kept.

use super::WanVaeConfig;
use crate::graph::Weight;
use crate::models::names::{Fold, Rule, Stored};

/// The folder of the VAE's file.
pub const FOLDER: &str = "vae";

/// The rule of a weight of [`build`](super::build).
pub fn rule(config: &WanVaeConfig, weight: &Weight) -> Rule {
    let (z, name, shape) = (config.z_dim, &weight.name[..], &weight.shape[..]);
    let named = |name: &str, shape: &[usize]| Stored { folder: FOLDER, ..Stored::new(name, shape) };
    let stored = |shape: &[usize]| named(name, shape);
    let ones = |n: usize| stored(&[shape, &vec![1; n]].concat());
    let map = || named("post_quant_conv.weight", &[z, z, 1, 1, 1]);
    let (mean, std) = (&config.latents_mean, &config.latents_std);
    let in_attention = name.contains(".attentions.");
    match (name, shape) {
        ("quant_conv.weight", _) => {
            let fold = Fold::Standardised { shift: vec![0.0; z], scale: std.clone() };
            Rule::Folded { of: stored(&[2 * z, 2 * z, 1, 1, 1]), fold }
        }
        ("quant_conv.bias", _) => {
            let fold = Fold::Standardised { shift: mean.clone(), scale: std.clone() };
            Rule::Folded { of: stored(&[2 * z]), fold }
        }
        ("post_quant_conv.weight", _) => {
            Rule::Folded { of: map(), fold: Fold::ScaledColumns { scale: std.clone() } }
        }
        ("post_quant_conv.bias", _) => {
            Rule::Folded { of: stored(&[z]), fold: Fold::Shifted { map: map(), by: mean.clone() } }
        }
        // Over all axes but the batch, or over those of a picture.
        (_, [_]) if name.ends_with(".gamma") => Rule::Whole(ones(if in_attention { 2 } else { 3 })),
        (_, &[c, ..]) if let Some((block, i, kind)) = part_of_qkv(name) => {
            let places: &[usize] = if kind == "weight" { &[1, 1] } else { &[] };
            let all = [&[3 * c], &shape[1..], places].concat();
            Rule::Rows { of: named(&format!("{block}.to_qkv.{kind}"), &all), start: i * c }
        }
        (_, [_, _]) => Rule::Whole(ones(if in_attention { 2 } else { 3 })),
        (_, &[c_out, t, h, w, c_in]) => {
            let kernel = [c_out, c_in, t, h, w];
            let of = if name.ends_with(".resample.1.weight") {
                stored(&[c_out, c_in, h, w])
            } else {
                stored(&kernel)
            };
            Rule::Permuted { of, order: vec![0, 2, 3, 4, 1] }
        }
        _ => Rule::Whole(stored(shape)),
    }
}

/// Block, index and kind of `BLOCK.to_q.weight` and its like.
fn part_of_qkv(name: &str) -> Option<(&str, usize, &str)> {
    let (name, kind) = name.rsplit_once('.')?;
    let (block, part) = name.rsplit_once(".to_")?;
    let i = ["q", "k", "v"].iter().position(|p| *p == part)?;
    Some((block, i, kind))
}
