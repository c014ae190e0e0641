//! `perihelion_msgs`: what the node says, as messages of its own beside the JSON. Their texts are those of the interface package in
//! `jetson/ros2/perihelion_msgs`, which others build.

use serde::{Deserialize, Serialize};

use super::{Header, Message, Time};

/// `perihelion_msgs/msg/Answer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerMessage {
    /// Of the newest frame; of several cameras' frames, of the oldest.
    pub header: Header,
    /// Of all frames: of one camera oldest first, of several in the order of `cameras`.
    pub stamps: Vec<Time>,
    /// The answer.
    pub text: String,
    /// The question.
    pub prompt: String,
    /// Why it was asked.
    pub asked_because: String,
    /// Whether `max_age` ended it before its end.
    pub is_cut: bool,
    /// Whether the stamp cannot be right.
    pub stamp_suspect: bool,
    /// What ages go by.
    pub timed_by: String,
    /// From the stamp to publishing.
    pub age_ms: f64,
    /// From the taking of the frames to publishing.
    pub answer_ms: f64,
    /// From their arrival to publishing.
    pub camera_to_answer_ms: f64,
    /// Until when it may be acted upon.
    pub valid_until: Time,
    /// The cameras that it is about.
    pub cameras: Vec<String>,
}

impl Message for AnswerMessage {
    const TYPE: &'static str = "perihelion_msgs/msg/Answer";
}

/// `perihelion_msgs/msg/Forecast`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ForecastMessage {
    /// Of the newest frame that it was made from.
    pub header: Header,
    /// Of all of these, oldest first.
    pub stamps: Vec<Time>,
    /// Whether the stamp cannot be right.
    pub stamp_suspect: bool,
    /// What ages go by.
    pub timed_by: String,
    /// Frames that there may be.
    pub horizon_frames: u32,
    /// Frames that were shown.
    pub forecast_frames: u32,
    /// Whether these are fewer than there should have been.
    pub truncated: bool,
    /// Frames in a second.
    pub fps: f64,
    /// When the last of them will be.
    pub forecast_until: Time,
    /// From the stamp to publishing.
    pub age_ms: f64,
    /// From the taking of the frames to publishing.
    pub forecast_ms: f64,
    /// From their arrival to publishing.
    pub camera_to_forecast_ms: f64,
    /// Until when it may be acted upon.
    pub valid_until: Time,
    /// Of the clip's encoding.
    pub encode_ms: f64,
    /// Of all steps.
    pub denoise_ms: f64,
    /// Of one step.
    pub step_ms: f64,
    /// Of the frames.
    pub decode_ms: f64,
    /// Calls of the denoiser.
    pub steps: u32,
    /// Of the noise.
    pub seed: u64,
    /// Whether it was not decoded.
    pub latent_only: bool,
    /// Where its actions come from.
    pub actions: String,
}

impl Message for ForecastMessage {
    const TYPE: &'static str = "perihelion_msgs/msg/Forecast";
}

/// `perihelion_msgs/msg/Surprise`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SurpriseMessage {
    /// Of the frame that came.
    pub header: Header,
    /// How many frames after the forecast's clip it came, from 1.
    pub frames_ahead: u32,
    /// In latent space, or not a number.
    pub latent: f64,
    /// In pixels, or not a number.
    pub pixels: f64,
}

impl Message for SurpriseMessage {
    const TYPE: &'static str = "perihelion_msgs/msg/Surprise";
}

/// `perihelion_msgs/msg/Plan`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanMessage {
    /// Of the newest frame of the clip.
    pub header: Header,
    /// Of the request.
    pub id: String,
    /// Of the clip, oldest first.
    pub stamps: Vec<Time>,
    /// From the stamp to publishing.
    pub age_ms: f64,
    /// Why there is no ranking.
    pub error: String,
    /// What was scored.
    pub score: String,
    /// Which way is better.
    pub higher_is_better: bool,
    /// Plans that there were.
    pub n_candidates: u32,
    /// Plans that the budget was enough for.
    pub n_evaluated: u32,
    /// Whether these are fewer.
    pub truncated: bool,
    /// The evaluated ones, best first.
    pub candidates: Vec<u32>,
    /// Their scores.
    pub scores: Vec<f64>,
    /// Of the scores over the noises, or not a number.
    pub deviations: Vec<f64>,
    /// What the columns of the best steer.
    pub action_names: Vec<String>,
    /// Its rows, one after the other.
    pub best: Vec<f32>,
}

impl Message for PlanMessage {
    const TYPE: &'static str = "perihelion_msgs/msg/Plan";
}
