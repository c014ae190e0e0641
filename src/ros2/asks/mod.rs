//! What other nodes ask, beside the standing question and the standing forecast: a question by the service `~/ask` or the action of
//! the same name, and a forecast by the service `~/imagine`.
//!
//! A request waits in the short queue of its kind until whoever serves it takes it, and ends once, with what it asks for or a reason why
//! there is none, whatever becomes of the node. The services are there in every state of the node: where nobody serves, they say so at once.
//!
//! Why the same name twice: an action's services and topics lie below its name, so that neither hides the other.

mod action;
mod goals;
mod kind;
mod queue;
mod service;
mod ticket;

use std::sync::Arc;

pub(super) use ticket::{Ending, Ticket};

use self::action::Action;
use self::queue::Queue;
pub(super) use self::queue::{Attendance, Attending};
use super::arguments::Remap;
use super::messages::{AskRequest, ImagineRequest};
use super::names::{NameError, NodeName};
use super::transport::{Transport, TransportError};

/// The one name of the service and the action that answer.
const ASK: &str = "~/ask";
const IMAGINE: &str = "~/imagine";

/// What the services and the parts of the action are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    ask: String,
    action: action::Names,
    imagine: String,
}

impl Names {
    /// Of a node under these rules.
    ///
    /// # Errors
    /// If what one is remapped to is not allowed.
    pub(super) fn of(node: &NodeName, remaps: &[Remap]) -> Result<Self, NameError> {
        Ok(Self {
            ask: node.service(ASK, remaps)?,
            action: action::Names::of(node, remaps, ASK)?,
            imagine: node.service(IMAGINE, remaps)?,
        })
    }
}

/// What other nodes ask.
pub(super) struct Asks {
    /// About what is seen.
    pub(super) questions: Arc<Queue<AskRequest>>,
    /// For forecasts.
    pub(super) wishes: Arc<Queue<ImagineRequest>>,
    action: Arc<Action>,
}

impl Asks {
    /// Offers the services and the action, at which nobody serves yet.
    ///
    /// # Errors
    /// If the transport cannot.
    pub(super) fn open(transport: &dyn Transport, names: &Names) -> Result<Self, TransportError> {
        let (questions, wishes): (Arc<Queue<AskRequest>>, Arc<Queue<ImagineRequest>>) = Default::default();
        service::offer(transport, &names.ask, &questions)?;
        let action = Action::open(transport, &names.action, &questions)?;
        service::offer(transport, &names.imagine, &wishes)?;
        Ok(Self { questions, wishes, action })
    }
}

impl Drop for Asks {
    /// A transport keeps services for longer than the node runs, and what they hold must not hold it.
    fn drop(&mut self) {
        self.action.hush();
    }
}
