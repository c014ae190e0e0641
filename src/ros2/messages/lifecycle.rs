//! `lifecycle_msgs`: states, transitions, and what the five services of a managed node carry.

use serde::{Deserialize, Serialize};

use super::Message;

/// `lifecycle_msgs/msg/State`, and `Transition`, which is laid out alike: a number and a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labelled {
    /// The number, of the constants in its definition.
    pub id: u8,
    /// The name.
    pub label: String,
}

/// `lifecycle_msgs/msg/TransitionDescription`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionDescription {
    /// The transition.
    pub transition: Labelled,
    /// The state that it leaves.
    pub start_state: Labelled,
    /// The state that it leads to.
    pub goal_state: Labelled,
}

/// `lifecycle_msgs/msg/TransitionEvent`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionEvent {
    /// When, in nanoseconds of ROS time.
    pub timestamp: u64,
    /// What happened.
    pub happened: TransitionDescription,
}

impl Message for TransitionEvent {
    const TYPE: &'static str = "lifecycle_msgs/msg/TransitionEvent";
}

/// A request without fields, which on the wire has one byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptyRequest {
    /// So that there is something.
    pub structure_needs_at_least_one_member: u8,
}

/// The request of `ChangeState`: a transition by its name, or by its number where it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRequest {
    /// Which transition.
    pub transition: Labelled,
}

/// The reply of `ChangeState`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReply {
    /// Whether the transition was made.
    pub success: bool,
}

/// The reply of `GetState`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReply {
    /// The state now.
    pub current_state: Labelled,
}

/// The reply of `GetAvailableStates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatesReply {
    /// All that there are.
    pub available_states: Vec<Labelled>,
}

/// The reply of `GetAvailableTransitions`, which is also the type of `get_transition_graph`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionsReply {
    /// Those that leave the current state, or all.
    pub available_transitions: Vec<TransitionDescription>,
}
