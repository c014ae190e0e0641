//! An answer chosen from a few, by the first token of each.

use super::AskError;
use super::request::Choice;
use crate::models::reason2::Tokenizer;
use crate::runtime::{NotFinite, probabilities};

/// The choices' first tokens and, once decided, their probabilities.
#[derive(Debug)]
pub(super) struct ChoiceTokens {
    tokens: Vec<u32>,
    probabilities: Vec<f64>,
}

impl ChoiceTokens {
    /// `None` for a free answer.
    pub(super) fn new(tokenizer: &Tokenizer, choices: &[&str]) -> Result<Option<Self>, AskError> {
        let mut tokens = Vec::with_capacity(choices.len());
        for choice in choices {
            let token = *tokenizer.encode(choice)?.first().ok_or(AskError::ChoiceEmpty)?;
            if let Some(other) = tokens.iter().position(|other| *other == token) {
                let (first, second) = (choices[other].to_owned(), (*choice).to_owned());
                return Err(AskError::ChoicesShareToken { first, second });
            }
            tokens.push(token);
        }
        let decided = Vec::new();
        Ok((!tokens.is_empty()).then_some(Self { tokens, probabilities: decided }))
    }

    /// Reads the probabilities from the logits of the answer's first position; the token of the likeliest choice.
    pub(super) fn decide(&mut self, logits: &[f32]) -> Result<u32, NotFinite> {
        self.probabilities = probabilities(logits, &self.tokens)?;
        let likeliest = self.tokens.iter().max_by(|a, b| {
            let logit = |token: &u32| logits[*token as usize];
            logit(a).total_cmp(&logit(b))
        });
        Ok(*likeliest.expect("there are choices"))
    }

    /// The choices with their texts; none if it was not decided.
    pub(super) fn into_choices(self, texts: &[&str]) -> Vec<Choice> {
        let sum: f64 = self.probabilities.iter().sum();
        let decided = texts.iter().zip(&self.tokens).zip(&self.probabilities);
        decided
            .map(|((text, token), probability)| Choice {
                text: (*text).to_owned(),
                token: *token,
                probability: *probability,
                share: if 0.0 < sum { probability / sum } else { 1.0 / texts.len() as f64 },
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_choice_is_taken_and_shares_are_of_the_choices_alone() {
        let mut choices = ChoiceTokens { tokens: vec![2, 0, 3], probabilities: Vec::new() };
        // Probabilities 0.25, 0.5, 0.125, 0.125: the likeliest token of all is no choice.
        let logits = [0.25f32.ln(), 0.5f32.ln(), 0.125f32.ln(), 0.125f32.ln()];
        assert_eq!(choices.decide(&logits), Ok(0));
        let decided = choices.into_choices(&["two", "none", "three"]);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        for (choice, (token, probability, share)) in
            decided.iter().zip([(2, 0.125, 0.25), (0, 0.25, 0.5), (3, 0.125, 0.25)])
        {
            assert_eq!(choice.token, token);
            assert!(close(choice.probability, probability) && close(choice.share, share), "{choice:?}");
        }
        assert_eq!(decided[1].text, "none");
    }

    #[test]
    fn choices_that_the_model_would_never_say_share_alike() {
        let mut choices = ChoiceTokens { tokens: vec![1, 2], probabilities: Vec::new() };
        choices.decide(&[3e4, -3e4, -3e4]).expect("finite");
        assert!(choices.into_choices(&["a", "b"]).iter().all(|choice| choice.share == 0.5));
    }
}
