//! Runs an engine's golden cases and compares.

use super::{Engine, EngineError};
use crate::backend::{Session, WeightFormat, coarsest_rounding};
use crate::model::GoldenStep;

/// How far an engine's outputs may lie from the reference evaluation's, as a share of the largest element of each.
///
/// With weights that are stored exactly, only the order of sums and the approximation of exponentials differ. Weights rounded
/// to eight significant bits move the outputs of a deep network by some hundredths. Whole numbers of 8 bits for weights and activations
/// move those of the small checkpoints by a twentieth, weights of 4 bits by a quarter, and are allowed three to four times as much. A
/// wrong engine is off by its whole size, or nearly so. The coarsest format of any part counts.
fn tolerance(rounding: WeightFormat) -> f32 {
    match rounding {
        WeightFormat::F32 => 2e-4,
        WeightFormat::F16 | WeightFormat::Bf16 => 8e-2,
        WeightFormat::Int8 => 0.2,
        WeightFormat::Int4 => 0.8,
    }
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
    let share = tolerance(of_weights.max(session.arithmetic()));
    let mut done = SelfTest { n_runs: 0, worst: 0.0 };
    for step in engine.golden().iter().flat_map(|case| &case.steps) {
        let found = step.run(session).map_err(|source| {
            let (path, graph) = (engine.path().to_owned(), step.graph.clone());
            EngineError::GoldenRun { path, graph, source }
        })?;
        let worst = compare(engine, step, &found, share)?;
        done = SelfTest { n_runs: done.n_runs + 1, worst: done.worst.max(worst) };
    }
    Ok(done)
}

/// The largest difference of any output, as a share of what is allowed.
fn compare(engine: &Engine, step: &GoldenStep, found: &[Vec<f32>], share: f32) -> Result<f32, EngineError> {
    let mut worst_of_step: f32 = 0.0;
    for (output, found) in step.outputs.iter().zip(found) {
        let largest = output.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let allowed = share * largest.max(f32::MIN_POSITIVE);
        // A difference that is not a number is the worst there is.
        let off = |(e, f): (&f32, &f32)| if (e - f).is_nan() { f32::INFINITY } else { (e - f).abs() };
        let differences = output.values.iter().zip(found).map(off).enumerate();
        let Some((element, worst)) = differences.max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
        if allowed < worst {
            return Err(EngineError::Golden {
                path: engine.path().to_owned(),
                graph: step.graph.clone(),
                buffer: engine.network().buffers[output.buffer.index()].name.clone(),
                element,
                expected: output.values[element],
                found: found[element],
                allowed,
            });
        }
        worst_of_step = worst_of_step.max(worst / allowed);
    }
    Ok(worst_of_step)
}
