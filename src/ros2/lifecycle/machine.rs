//! The states of a managed node and the transitions between them, as `rcl_lifecycle` has them
//! (<https://design.ros2.org/articles/node_lifecycle.html>).
//!
//! A transition that is asked for leads to a state in which its work is done; how that ended is a transition too, which
//! nobody may ask for.

use crate::ros2::messages::{Labelled, TransitionDescription};

/// A state, by its number in `lifecycle_msgs/msg/State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Before a machine begins; no node is in it.
    Unknown = 0,
    /// No engine is there.
    Unconfigured = 1,
    /// The engines are there and are not asked.
    Inactive = 2,
    /// The camera is answered.
    Active = 3,
    /// It ends.
    Finalized = 4,
    /// The engines are opened.
    Configuring = 10,
    /// The engines go.
    CleaningUp = 11,
    /// It is about to end.
    ShuttingDown = 12,
    /// The camera is subscribed to.
    Activating = 13,
    /// The last question is stopped.
    Deactivating = 14,
    /// Something went wrong in a way that a failure is not.
    ErrorProcessing = 15,
}

impl State {
    /// All of them, as `rcl_lifecycle` lists them.
    pub const ALL: [Self; 11] = [
        Self::Unknown,
        Self::Unconfigured,
        Self::Inactive,
        Self::Active,
        Self::Finalized,
        Self::Configuring,
        Self::CleaningUp,
        Self::ShuttingDown,
        Self::Activating,
        Self::Deactivating,
        Self::ErrorProcessing,
    ];

    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unconfigured => "unconfigured",
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Finalized => "finalized",
            Self::Configuring => "configuring",
            Self::CleaningUp => "cleaningup",
            Self::ShuttingDown => "shuttingdown",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::ErrorProcessing => "errorprocessing",
        }
    }

    /// As a message.
    pub fn message(self) -> Labelled {
        Labelled { id: self as u8, label: self.label().to_owned() }
    }

    /// The transitions that leave it.
    pub fn exits(self) -> impl Iterator<Item = &'static Transition> {
        TRANSITIONS.iter().filter(move |transition| transition.start == self)
    }
}

/// A way from one state to another, by its number in `lifecycle_msgs/msg/Transition`.
#[derive(Debug, PartialEq, Eq)]
pub struct Transition {
    /// Its number.
    pub id: u8,
    /// Its name; names are used again.
    pub label: &'static str,
    /// The state that it leaves.
    pub start: State,
    /// The state that it leads to.
    pub goal: State,
}

impl Transition {
    /// Whether it is asked for by others; the rest are the ends of those.
    pub fn is_asked_for(&self) -> bool {
        self.id < Ending::Success.offset()
    }

    /// As a message.
    pub fn message(&self) -> TransitionDescription {
        TransitionDescription {
            transition: Labelled { id: self.id, label: self.label.to_owned() },
            start_state: self.start.message(),
            goal_state: self.goal.message(),
        }
    }
}

/// How a transition's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Success,
    /// Not, and the node is as it was before.
    Failure,
    /// Not, and the node may be in disorder.
    Error,
}

impl Ending {
    /// Where its transition stands among those that leave a state of work, and the number of the first success.
    const fn offset(self) -> u8 {
        match self {
            Self::Success => 10,
            Self::Failure => 11,
            Self::Error => 12,
        }
    }
}

const fn transition(id: u8, label: &'static str, start: State, goal: State) -> Transition {
    Transition { id, label, start, goal }
}

const SUCCESS: &str = "transition_success";
const FAILURE: &str = "transition_failure";
const ERROR: &str = "transition_error";

/// All transitions, as `rcl_lifecycle` lists them.
pub static TRANSITIONS: [Transition; 25] = {
    use State::{
        Activating, Active, CleaningUp, Configuring, Deactivating, ErrorProcessing, Finalized, Inactive,
        ShuttingDown, Unconfigured,
    };
    [
        transition(1, "configure", Unconfigured, Configuring),
        transition(10, SUCCESS, Configuring, Inactive),
        transition(11, FAILURE, Configuring, Unconfigured),
        transition(12, ERROR, Configuring, ErrorProcessing),
        transition(2, "cleanup", Inactive, CleaningUp),
        transition(20, SUCCESS, CleaningUp, Unconfigured),
        transition(21, FAILURE, CleaningUp, Inactive),
        transition(22, ERROR, CleaningUp, ErrorProcessing),
        transition(3, "activate", Inactive, Activating),
        transition(30, SUCCESS, Activating, Active),
        transition(31, FAILURE, Activating, Inactive),
        transition(32, ERROR, Activating, ErrorProcessing),
        transition(4, "deactivate", Active, Deactivating),
        transition(40, SUCCESS, Deactivating, Inactive),
        transition(41, FAILURE, Deactivating, Active),
        transition(42, ERROR, Deactivating, ErrorProcessing),
        transition(5, "shutdown", Unconfigured, ShuttingDown),
        transition(6, "shutdown", Inactive, ShuttingDown),
        transition(7, "shutdown", Active, ShuttingDown),
        transition(50, SUCCESS, ShuttingDown, Finalized),
        transition(51, FAILURE, ShuttingDown, Finalized),
        transition(52, ERROR, ShuttingDown, ErrorProcessing),
        transition(60, SUCCESS, ErrorProcessing, Unconfigured),
        transition(61, FAILURE, ErrorProcessing, Finalized),
        transition(62, ERROR, ErrorProcessing, Finalized),
    ]
};

/// The state of one node.
#[derive(Debug)]
pub struct Machine {
    state: State,
}

impl Default for Machine {
    fn default() -> Self {
        Self { state: State::Unconfigured }
    }
}

impl Machine {
    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Begins the transition that is asked for: by its name, or by its number where it has none.
    ///
    /// # Errors
    /// What is wrong, and which transitions there are from here. The state is as it was.
    pub fn begin(&mut self, asked: &Labelled) -> Result<&'static Transition, String> {
        let is_meant = |transition: &&Transition| match asked.label.as_str() {
            "" => transition.id == asked.id,
            label => transition.label == label,
        };
        let mut exits = self.state.exits().filter(|transition| transition.is_asked_for());
        if let Some(transition) = exits.find(is_meant) {
            self.state = transition.goal;
            return Ok(transition);
        }
        let exits = self.state.exits().filter(|transition| transition.is_asked_for());
        let there: Vec<String> = exits.map(|one| format!("{} ({})", one.label, one.id)).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        // A stranger's text: not all of it, and in one line.
        let label: String = asked.label.chars().take(64).collect();
        let asked = if label.is_empty() { asked.id.to_string() } else { format!("{label:?}") };
        Err(format!("no transition {asked} from {}; there is: {there}", self.state.label()))
    }

    /// Ends the transition whose work is done.
    ///
    /// # Panics
    /// If none has begun: that is our bug.
    pub fn end(&mut self, ending: Ending) -> &'static Transition {
        let mut exits = self.state.exits().filter(|transition| !transition.is_asked_for());
        let is_so = |transition: &&Transition| transition.id % 10 == ending.offset() % 10;
        let transition = exits.find(is_so).expect("a state of work has three ends");
        self.state = transition.goal;
        transition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_id(id: u8) -> Labelled {
        Labelled { id, label: String::new() }
    }

    #[test]
    fn each_number_from_each_state_leads_where_the_table_says_or_nowhere() {
        for state in State::ALL {
            for id in 0..=u8::MAX {
                let mut machine = Machine { state };
                let expected = match (state, id) {
                    (State::Unconfigured, 1) => State::Configuring,
                    (State::Inactive, 2) => State::CleaningUp,
                    (State::Inactive, 3) => State::Activating,
                    (State::Active, 4) => State::Deactivating,
                    (State::Unconfigured, 5) | (State::Inactive, 6) | (State::Active, 7) => {
                        State::ShuttingDown
                    }
                    _ => {
                        let refusal = machine.begin(&by_id(id)).unwrap_err();
                        assert!(refusal.contains(&id.to_string()), "{refusal}");
                        assert!(refusal.contains(state.label()), "{refusal}");
                        assert_eq!(machine.state(), state, "{id} from {state:?}");
                        continue;
                    }
                };
                let begun = machine.begin(&by_id(id)).unwrap();
                assert_eq!((begun.id, machine.state()), (id, expected), "{id} from {state:?}");
            }
        }
    }

    #[test]
    fn each_work_ends_in_three_ways() {
        use Ending::{Error, Failure, Success};
        let ends = [
            (State::Configuring, [State::Inactive, State::Unconfigured, State::ErrorProcessing], 10),
            (State::CleaningUp, [State::Unconfigured, State::Inactive, State::ErrorProcessing], 20),
            (State::Activating, [State::Active, State::Inactive, State::ErrorProcessing], 30),
            (State::Deactivating, [State::Inactive, State::Active, State::ErrorProcessing], 40),
            (State::ShuttingDown, [State::Finalized, State::Finalized, State::ErrorProcessing], 50),
            (State::ErrorProcessing, [State::Unconfigured, State::Finalized, State::Finalized], 60),
        ];
        for (state, goals, first) in ends {
            for (i, (ending, goal)) in [Success, Failure, Error].into_iter().zip(goals).enumerate() {
                let mut machine = Machine { state };
                let transition = machine.end(ending);
                assert_eq!((transition.id, transition.goal), (first + i as u8, goal), "{state:?} {ending:?}");
                assert_eq!(machine.state(), goal);
            }
        }
    }

    #[test]
    fn a_name_counts_before_a_number() {
        let mut machine = Machine { state: State::Active };
        let asked = Labelled { id: 4, label: "shutdown".to_owned() };
        assert_eq!(machine.begin(&asked).unwrap().id, 7);
        let mut machine = Machine { state: State::Inactive };
        let wrong = Labelled { id: 3, label: "deactivate".to_owned() };
        assert!(machine.begin(&wrong).unwrap_err().contains("cleanup (2), activate (3), shutdown (6)"));
        let end = Labelled { id: 0, label: SUCCESS.to_owned() };
        assert!(Machine { state: State::Configuring }.begin(&end).unwrap_err().ends_with("none"));
    }
}
