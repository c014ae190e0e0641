//! `perihelion_msgs/srv/Ask` and `action/Ask`: a question of another node, and what it is answered.

use serde::{Deserialize, Serialize};

use super::AnswerMessage;

/// The request of the service, and the goal of the action, which are laid out alike.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AskRequest {
    /// The question; empty is the standing one.
    pub prompt: String,
    /// The camera that it is about; empty leaves it to the node.
    pub camera: String,
    /// Answers to choose from; none for a free answer.
    pub choices: Vec<String>,
    /// Tokens of the answer at most; 0 is as many as the node's own.
    pub max_tokens: u32,
    /// Seconds from the frame's stamp to the end of the answer at most; 0 is the node's.
    pub max_age: f64,
}

/// The reply of the service, and the result of the action, which are laid out alike.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AskReply {
    /// Why there is no answer.
    pub error: String,
    /// The answer.
    pub answer: AnswerMessage,
    /// How it ended.
    pub finish_reason: String,
}

/// The feedback of the action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskFeedback {
    /// What is answered so far.
    pub text: String,
    /// The last piece of it.
    pub added: String,
}
