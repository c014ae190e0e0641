//! `action_msgs`, and what the services and topics of any action carry around its goals, results and feedback.

use serde::{Deserialize, Serialize};

use super::{Message, Time};

/// What tells goals apart; its client chooses it. `unique_identifier_msgs/msg/UUID`.
pub type GoalId = [u8; 16];

/// `action_msgs/msg/GoalInfo`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoalInfo {
    /// Which goal; zeros are none.
    pub goal_id: GoalId,
    /// When it was accepted.
    pub stamp: Time,
}

/// `action_msgs/msg/GoalStatus`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoalStatus {
    /// The goal.
    pub goal_info: GoalInfo,
    /// Its state, of the constants in its definition.
    pub status: i8,
}

/// `action_msgs/msg/GoalStatusArray`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoalStatuses {
    /// All goals that are known.
    pub status_list: Vec<GoalStatus>,
}

impl Message for GoalStatuses {
    const TYPE: &'static str = "action_msgs/msg/GoalStatusArray";
}

/// The request of `action_msgs/srv/CancelGoal`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// A goal, or all that were accepted until then, or all.
    pub goal_info: GoalInfo,
}

/// The reply of `action_msgs/srv/CancelGoal`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelReply {
    /// 0, or of the constants in its definition.
    pub return_code: i8,
    /// The goals that will end.
    pub goals_canceling: Vec<GoalInfo>,
}

/// The request of an action's `send_goal`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SendGoalRequest<Goal> {
    /// What the goal is called from now on.
    pub goal_id: GoalId,
    /// The goal.
    pub goal: Goal,
}

/// The reply of an action's `send_goal`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendGoalReply {
    /// Whether it will have a result.
    pub accepted: bool,
    /// When that was decided.
    pub stamp: Time,
}

/// The request of an action's `get_result`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetResultRequest {
    /// The goal.
    pub goal_id: GoalId,
}

/// The reply of an action's `get_result`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GetResultReply<Outcome> {
    /// The state in which it ended; 0 where it is not known.
    pub status: i8,
    /// Its result.
    pub result: Outcome,
}

/// A message of an action's feedback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackMessage<Feedback> {
    /// The goal.
    pub goal_id: GoalId,
    /// How far it is.
    pub feedback: Feedback,
}
