//! What single parameters may be, beyond their types and ranges.

use crate::ros2::parameters::Value;
use crate::ros2::transport::ImageReliability;

/// The largest prompt that the prompt topic may set.
const PROMPT_BYTES_MAX: usize = 16 << 10;
/// Beyond a day or a gigabyte a number is a slip, and durations have an end.
pub(super) const SIZE: (f64, f64) = (1e-3, 86_400.0);

pub(super) fn is_transport(value: &Value) -> Result<(), String> {
    match value {
        Value::Text(text) if text == "raw" || text == "compressed" => Ok(()),
        other => Err(format!("expected `raw` or `compressed`, found {other}")),
    }
}

pub(super) fn is_reliability(value: &Value) -> Result<(), String> {
    match value {
        Value::Text(text) if ImageReliability::ALL.iter().any(|one| one.name() == text) => Ok(()),
        other => Err(format!("expected `auto`, `best_effort` or `reliable`, found {other}")),
    }
}

pub(super) fn is_prompt(value: &Value) -> Result<(), String> {
    match value {
        Value::Text(text) if PROMPT_BYTES_MAX < text.len() => {
            Err(format!("expected at most {PROMPT_BYTES_MAX} bytes, found {}", text.len()))
        }
        _ => Ok(()),
    }
}

/// 0, or at least [`SIZE`]'s least.
pub(super) fn is_no_trifle(value: &Value) -> Result<(), String> {
    match value {
        Value::Double(x) if 0.0 < *x && *x < SIZE.0 => {
            Err(format!("expected 0 or at least {}, found {value}", SIZE.0))
        }
        _ => Ok(()),
    }
}
