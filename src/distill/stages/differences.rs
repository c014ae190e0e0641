//! A stage's gradient held to finite differences, in f64: for tests.

use crate::distill::optimizer::Parameter;
use crate::distill::tape::Tensor;
use crate::scenes::Rng;

/// The values of weights, matrices larger than a run begins with: where nothing happens, nothing is compared.
pub(super) fn enlarged(parameters: &[Parameter]) -> Vec<Vec<f64>> {
    let values = |p: &Parameter| {
        let scale = if p.shape().len() == 1 { 1.0 } else { 8.0 };
        p.values().iter().map(|v| f64::from(*v) * scale).collect()
    };
    parameters.iter().map(values).collect()
}

/// Moves each weight along a random direction, both ways, and compares how the loss changes with its gradient at these values. All
/// weights must have one, and nearly all be moved by it.
pub(super) fn agree(
    parameters: &[Parameter],
    values: &[Vec<f64>],
    mut loss: impl FnMut(&[Tensor]) -> Tensor,
) {
    let leaves: Vec<Tensor> =
        values.iter().zip(parameters).map(|(v, p)| Tensor::learnt(v.clone(), &p.shape())).collect();
    let mut slopes = loss(&leaves).backward();
    let mut rng = Rng::new(4);
    let mut n_compared = 0;
    for (i, parameter) in parameters.iter().enumerate() {
        let slope =
            slopes.gradient::<f64>(&leaves[i]).unwrap_or_else(|| panic!("{} learns nothing", parameter.name));
        let along: Vec<f64> = slope.iter().map(|_| rng.uniform(-1.0, 1.0)).collect();
        let found: f64 = slope.iter().zip(&along).map(|(s, a)| s * a).sum();
        let size: f64 = slope.iter().zip(&along).map(|(s, a)| (s * a).powi(2)).sum::<f64>().sqrt();
        let mut moved = |by: f64| {
            let of = |(j, (v, p)): (usize, (&Vec<f64>, &Parameter))| {
                let values =
                    if i == j { v.iter().zip(&along).map(|(v, a)| v + by * a).collect() } else { v.clone() };
                Tensor::constant(values, &p.shape())
            };
            loss(&values.iter().zip(parameters).enumerate().map(of).collect::<Vec<_>>()).item()
        };
        let h = 1e-6;
        let expected = (moved(h) - moved(-h)) / (2.0 * h);
        let is_near = (found - expected).abs() <= 1e-4 * size.max(1e-4);
        assert!(is_near, "{}: expected {expected}, found {found}, size {size}", parameter.name);
        n_compared += usize::from(1e-7 < size);
    }
    // A key's bias moves all scores alike; every other weight counts.
    assert!(parameters.len() - 4 < n_compared, "{n_compared} of {}", parameters.len());
}
