//! How an engine's answers are made, as parameters: declared at the settings of the start, read for every question.

use crate::ros2::parameters::{Declaration, Parameters, Value};
use crate::runtime::Sampling;
use crate::runtime::reason::AnswerSettings;

/// Beyond it a number of tokens is a slip.
const TOKENS_MAX: f64 = (1u32 << 30) as f64;
/// What may be chosen from, and how long each may be.
const CHOICES_MAX: usize = 256;
const CHOICE_BYTES_MAX: usize = 1 << 10;

/// The parameters at these settings.
pub(super) fn declarations(settings: &AnswerSettings) -> Vec<Declaration> {
    let AnswerSettings { sampling, tokens_max, think, thought_tokens_max, choices, .. } = settings;
    let declare = |name, default, description| Declaration {
        read_only: false,
        ..Declaration::new(name, default, description)
    };
    let number = |name, default: f32, description, range| Declaration {
        range: Some(range),
        ..declare(name, Value::Double(decimal(default)), description)
    };
    let above_zero = |declaration| Declaration { check: not_zero, ..declaration };
    let count = |name, default: usize, description, least| Declaration {
        range: Some((least, TOKENS_MAX)),
        ..declare(name, Value::Integer(default as i64), description)
    };
    vec![
        declare("greedy", Value::Bool(sampling.greedy), "Whether the likeliest token is taken each time."),
        above_zero(number(
            "temperature",
            sampling.temperature,
            "Divides the logits before a token is drawn; above 0.",
            (0.0, 1e6),
        )),
        count("top_k", sampling.top_k, "Tokens are drawn from this many of the likeliest; 0 is all.", 0.0),
        above_zero(number(
            "top_p",
            sampling.top_p,
            "Tokens are drawn from the likeliest that have this share of the probability; above 0.",
            (0.0, 1.0),
        )),
        above_zero(number(
            "repetition_penalty",
            sampling.repetition_penalty,
            "Makes tokens of prompt and answer less likely, by this factor; above 0, 1 is none.",
            (0.0, 1e6),
        )),
        number(
            "presence_penalty",
            sampling.presence_penalty,
            "Makes tokens of the answer less likely, by this much; 0 is not at all.",
            (-1e6, 1e6),
        ),
        declare(
            "seed",
            Value::Integer(sampling.seed.cast_signed()),
            "Where the draws begin: the same seed gives the same answer.",
        ),
        count(
            "max_tokens",
            *tokens_max,
            "Tokens of an answer at most, those of its thought not counted.",
            1.0,
        ),
        declare("think", Value::Bool(*think), "Whether a thought is asked for before the answer."),
        count(
            "think_tokens",
            *thought_tokens_max,
            "Tokens of a thought at most; a longer one is cut, and the answer follows.",
            0.0,
        ),
        Declaration {
            check: are_choices,
            ..declare(
                "choices",
                Value::Texts(choices.clone()),
                "Answers to choose from, by the first token of each; none is a free answer.",
            )
        },
    ]
}

/// The settings that the parameters are, where they are declared; the rest is of `base`.
pub(super) fn settings(parameters: &Parameters, base: &AnswerSettings) -> AnswerSettings {
    let count = |name| usize::try_from(parameters.integer(name)).expect("its range begins at 0");
    let number = |name| parameters.double(name) as f32;
    AnswerSettings {
        sampling: Sampling {
            greedy: parameters.bool("greedy"),
            temperature: number("temperature"),
            top_k: count("top_k"),
            top_p: number("top_p"),
            repetition_penalty: number("repetition_penalty"),
            presence_penalty: number("presence_penalty"),
            seed: parameters.integer("seed").cast_unsigned(),
        },
        tokens_max: count("max_tokens"),
        think: parameters.bool("think"),
        thought_tokens_max: count("think_tokens"),
        choices: parameters.texts("choices").iter().map(|choice| choice.trim().to_owned()).collect(),
        system: base.system.clone(),
        budget: base.budget,
    }
}

/// The double that is written as the float is, where it comes back as that.
fn decimal(number: f32) -> f64 {
    let written: f64 = number.to_string().parse().unwrap_or(f64::NAN);
    if written as f32 == number { written } else { f64::from(number) }
}

fn not_zero(value: &Value) -> Result<(), String> {
    match value {
        Value::Double(0.0) => Err("expected a number above 0".to_owned()),
        _ => Ok(()),
    }
}

fn are_choices(value: &Value) -> Result<(), String> {
    let Value::Texts(choices) = value else { return Ok(()) };
    check_choices(choices)
}

/// Says what is wrong with answers to choose from.
pub(super) fn check_choices(choices: &[String]) -> Result<(), String> {
    if CHOICES_MAX < choices.len() {
        return Err(format!("expected at most {CHOICES_MAX} choices, found {}", choices.len()));
    }
    if let Some(long) = choices.iter().find(|choice| CHOICE_BYTES_MAX < choice.len()) {
        return Err(format!(
            "expected choices of at most {CHOICE_BYTES_MAX} bytes, found one of {}",
            long.len()
        ));
    }
    match choices.iter().any(|choice| choice.trim().is_empty()) {
        true => Err("a choice is empty".to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_parameters_and_settings_again() {
        let settings_before = AnswerSettings {
            system: Some("Be brief.".into()),
            sampling: Sampling {
                greedy: false,
                temperature: 0.7,
                top_k: 20,
                top_p: 0.8,
                repetition_penalty: 1.05,
                presence_penalty: -1.5,
                seed: u64::MAX,
            },
            tokens_max: 33,
            think: true,
            thought_tokens_max: 0,
            budget: Some(std::time::Duration::from_millis(5)),
            choices: vec!["left".into(), "right".into()],
        };
        let parameters = Parameters::declare(declarations(&settings_before));
        assert_eq!(settings(&parameters, &settings_before), settings_before);
        assert_eq!((parameters.double("temperature"), parameters.double("top_p")), (0.7, 0.8));
        for number in [1.0f32, 0.1, f32::MIN_POSITIVE, 16777217.0, 0.3333333] {
            assert_eq!(decimal(number) as f32, number);
        }
    }

    #[test]
    fn what_no_answer_can_be_made_with_is_refused() {
        let mut parameters = Parameters::declare(declarations(&AnswerSettings::default()));
        let texts =
            |choices: &[&str]| Value::Texts(choices.iter().map(|choice| choice.to_string()).collect());
        for (name, bad) in [
            ("temperature", Value::Double(0.0)),
            ("temperature", Value::Double(f64::NAN)),
            ("top_p", Value::Double(1.5)),
            ("top_p", Value::Double(0.0)),
            ("top_k", Value::Integer(-1)),
            ("max_tokens", Value::Integer(0)),
            ("max_tokens", Value::Integer(i64::MAX)),
            ("repetition_penalty", Value::Double(f64::INFINITY)),
            ("choices", texts(&["yes", " "])),
            ("choices", texts(&["x"; 257])),
            ("choices", texts(&[&"x".repeat(2000)])),
            ("greedy", Value::Integer(1)),
        ] {
            assert!(parameters.set(name, bad.clone()).unwrap_err().contains(name), "{name} {bad}");
        }
        for (name, good) in [
            ("temperature", Value::Double(0.1)),
            ("top_k", Value::Integer(0)),
            ("choices", texts(&[])),
            ("seed", Value::Integer(-1)),
        ] {
            parameters.set(name, good).unwrap();
        }
    }
}
