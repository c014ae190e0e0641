//! Questions of other nodes, beside the standing one: the service `~/ask`, and the action of the same name.
//!
//! A question waits in one short queue until whoever answers takes it, and has one answer or one reason why there is none, whatever
//! becomes of the node. It is there in every state of the node: where nobody answers, it says so at once.
//!
//! Why the same name twice: an action's services and topics lie below its name, so that neither hides the other.

mod action;
mod goals;
mod queue;
mod service;
mod ticket;

use std::sync::Arc;

pub(super) use ticket::{Ending, Ticket};

use self::action::Action;
use self::queue::Queue;
pub(super) use self::queue::{Attendance, Attending};
use super::arguments::Remap;
use super::names::{NameError, NodeName};
use super::transport::{Transport, TransportError};

/// The one name.
const NAME: &str = "~/ask";

/// What the service and the parts of the action are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    service: String,
    action: action::Names,
}

impl Names {
    /// Of a node under these rules.
    ///
    /// # Errors
    /// If what one is remapped to is not allowed.
    pub(super) fn of(node: &NodeName, remaps: &[Remap]) -> Result<Self, NameError> {
        Ok(Self { service: node.service(NAME, remaps)?, action: action::Names::of(node, remaps, NAME)? })
    }
}

/// The questions of other nodes.
pub(super) struct Asks {
    queue: Arc<Queue>,
    action: Arc<Action>,
}

impl Asks {
    /// Offers the service and the action, at which nobody answers yet.
    ///
    /// # Errors
    /// If the transport cannot.
    pub(super) fn open(transport: &dyn Transport, names: &Names) -> Result<Self, TransportError> {
        let queue: Arc<Queue> = Arc::default();
        service::offer(transport, &names.service, &queue)?;
        let action = Action::open(transport, &names.action, &queue)?;
        Ok(Self { queue, action })
    }

    /// Lets questions be answered, or not, until the guard goes. `wake` is called when one has come.
    pub(super) fn attended(&self, attendance: Attendance, wake: impl Fn() + Send + 'static) -> Attending<'_> {
        self.queue.attended(attendance, Box::new(wake))
    }

    /// The question whose turn it is.
    pub(super) fn next(&self) -> Option<Ticket> {
        self.queue.next()
    }

    /// How many were answered, and how many were not.
    pub(super) fn counts(&self) -> [u64; 2] {
        self.queue.counts()
    }
}

impl Drop for Asks {
    /// A transport keeps services for longer than the node runs, and what they hold must not hold it.
    fn drop(&mut self) {
        self.action.hush();
    }
}
