//! `perihelion_msgs/srv/Ask` and `action/Ask`: a question of another node, and what it is answered; `srv/Imagine`: a forecast that
//! another node wants, and what is foreseen.

use serde::{Deserialize, Serialize};

use super::{AnswerMessage, ForecastMessage, ImageMessage};

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

/// The request of `perihelion_msgs/srv/Imagine`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImagineRequest {
    /// Rows of actions, one after the other; none are those that the node's own forecasts take.
    pub actions: Vec<f32>,
    /// Values of a row; 0 leaves it to the engine.
    pub action_width: u32,
    /// Of the noise; 0 is the node's.
    pub seed: u64,
    /// Seconds from the newest frame's stamp to the end of the forecast at most; 0 is the node's.
    pub max_age: f64,
    /// Whether its frames are wanted.
    pub want_frames: bool,
    /// The camera that is forecast; empty leaves it to the node.
    pub camera: String,
}

/// The reply of `perihelion_msgs/srv/Imagine`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImagineReply {
    /// Why there is no forecast.
    pub error: String,
    /// How it was made.
    pub forecast: ForecastMessage,
    /// Its frames, nearest first, if they were wanted.
    pub frames: Vec<ImageMessage>,
}
