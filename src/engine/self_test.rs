//! Runs an engine's golden cases and compares.

use super::sums::Sums;
use super::{Engine, EngineError};
use crate::backend::{Session, WeightFormat, coarsest_rounding};
use crate::model::GoldenStep;

/// How far an engine's outputs may lie from the reference evaluation's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    /// The largest difference, as a share of the largest element.
    pub(super) largest: f32,
    /// Root of the mean square of the differences, over that of the elements.
    pub(super) rms: f32,
}

/// What a format explains.
///
/// With weights that are stored exactly, only the order of sums and the approximation of exponentials differ. Weights rounded
/// to eight significant bits move the outputs of a deep network by some hundredths. Whole numbers of 8 bits for weights and activations
/// move single elements of the small checkpoints by a twentieth of the largest, weights of 4 bits by a quarter, and are allowed three to
/// four times as much: too much for an engine that is wrong in part. So what they may be off as a whole is bounded too, for 8 bits at four
/// times what those checkpoints are off. With 4 bits in every part the logits of a prompt of few tokens are off by 0.6 as a whole, though
/// answers stay right: what is refused then is what has little or nothing to do with the right ones. Floats of 8 bits have four
/// significant ones, fewer than whole numbers of 8 bits use, and are allowed twice as much as those. The coarsest format of any part counts.
pub(super) fn allowed(rounding: WeightFormat) -> Allowed {
    let (largest, rms) = match rounding {
        WeightFormat::F32 => (2e-4, f32::INFINITY),
        WeightFormat::F16 | WeightFormat::Bf16 => (8e-2, f32::INFINITY),
        WeightFormat::Int8 => (0.2, 0.08),
        WeightFormat::Fp8 => (0.4, 0.16),
        WeightFormat::Int4 | WeightFormat::Nvfp4 => (0.8, 0.9),
    };
    Allowed { largest, rms }
}

/// How a self-test went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfTest {
    /// Runs.
    pub n_runs: usize,
    /// Largest difference, as a share of what is allowed.
    pub worst: f32,
}

/// Runs the golden cases in a session of the engine, which must have been opened just now: its buffers are still empty.
/// What they leave in caches and features is of no use to anybody.
///
/// # Errors
/// If a run fails, or an output is farther from the reference evaluation's than the formats explain.
pub fn self_test(engine: &Engine, session: &mut dyn Session) -> Result<SelfTest, EngineError> {
    let manifest = engine.manifest();
    let formats = manifest.formats.of_weights(&manifest.network).expect("checked when the engine was opened");
    let of_weights = coarsest_rounding(&manifest.network, &formats).unwrap_or(WeightFormat::F32);
    let allowed = allowed(of_weights.max(session.arithmetic()));
    let mut done = SelfTest { n_runs: 0, worst: 0.0 };
    for step in engine.golden().iter().flat_map(|case| &case.steps) {
        let found = step.run(session).map_err(|source| {
            let (path, graph) = (engine.path().to_owned(), step.graph.clone());
            EngineError::GoldenRun { path, graph, source }
        })?;
        let worst = compare(engine, step, &found, allowed)?;
        done = SelfTest { n_runs: done.n_runs + 1, worst: done.worst.max(worst) };
    }
    Ok(done)
}

/// The largest difference of any output, as a share of what is allowed.
fn compare(
    engine: &Engine,
    step: &GoldenStep,
    found: &[Vec<f32>],
    allowed: Allowed,
) -> Result<f32, EngineError> {
    let mut worst_of_step: f32 = 0.0;
    for (output, found) in step.outputs.iter().zip(found) {
        let buffer = || engine.network().buffers[output.buffer.index()].name.clone();
        let (path, graph) = (|| engine.path().to_owned(), || step.graph.clone());
        match allowed.judge(&output.values, found) {
            Ok(worst) => worst_of_step = worst_of_step.max(worst),
            Err(Wrong::Element { element, allowed }) => {
                return Err(EngineError::Golden {
                    path: path(),
                    graph: graph(),
                    buffer: buffer(),
                    element,
                    expected: output.values[element],
                    found: found[element],
                    allowed,
                });
            }
            Err(Wrong::Rms { share }) => {
                let (path, graph, buffer) = (path(), graph(), buffer());
                return Err(EngineError::GoldenRms { path, graph, buffer, share, allowed: allowed.rms });
            }
        }
    }
    Ok(worst_of_step)
}

/// How an output is farther off than is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    /// One of its elements is, and by more than this.
    Element { element: usize, allowed: f32 },
    /// All of it is, by this.
    Rms { share: f32 },
}

impl Allowed {
    /// The largest difference, as a share of what is allowed.
    fn judge(self, expected: &[f32], found: &[f32]) -> Result<f32, Wrong> {
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let allowed = self.largest * largest.max(f32::MIN_POSITIVE);
        // A difference that is not a number is the worst there is.
        let off = |(e, f): (&f32, &f32)| if (e - f).is_nan() { f32::INFINITY } else { (e - f).abs() };
        let differences = expected.iter().zip(found).map(off).enumerate();
        let Some((element, worst)) = differences.max_by(|a, b| a.1.total_cmp(&b.1)) else { return Ok(0.0) };
        if allowed < worst {
            return Err(Wrong::Element { element, allowed });
        }
        let mut sums = Sums::default();
        sums.add(expected, found, 0);
        let share = sums.rms_share() as f32;
        if self.rms < share { Err(Wrong::Rms { share }) } else { Ok((worst / allowed).max(share / self.rms)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_is_wrong_in_part_is_refused_in_every_format() {
        let right: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin()).collect();
        let halved: Vec<f32> = right.iter().map(|v| v / 2.0).collect();
        let mut moved = right.clone();
        moved.rotate_left(3);
        let mut one = right.clone();
        one[7] = f32::NAN;
        let silent = vec![0.0; right.len()];
        for format in WeightFormat::ALL {
            let allowed = allowed(format);
            assert_eq!(allowed.judge(&right, &right), Ok(0.0), "{format}");
            for wrong in [&moved, &one, &silent] {
                assert!(allowed.judge(&right, wrong).is_err(), "{format}");
            }
            let is_of_4_bits = matches!(format, WeightFormat::Int4 | WeightFormat::Nvfp4);
            assert_eq!(allowed.judge(&right, &halved).is_err(), !is_of_4_bits, "{format}");
        }
        // Of many elements that are all small beside one.
        let mut spread = vec![0.5; 64];
        spread[0] = 1.0;
        let missing: Vec<f32> = spread.iter().map(|v| if *v == 1.0 { 1.0 } else { 0.0 }).collect();
        let refused = allowed(WeightFormat::Int4).judge(&spread, &missing);
        assert!(matches!(refused, Err(Wrong::Rms { share }) if 0.96 < share), "{refused:?}");
        let near: Vec<f32> = right.iter().map(|v| v * 1.1).collect();
        assert!(allowed(WeightFormat::Int4).judge(&right, &near).is_ok());
    }
}
