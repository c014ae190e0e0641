//! Where others ask about a managed node's state and for changes of it: five services and the topic of transitions.
//!
//! A change is taken or refused at once and made by the node's own thread, since opening an engine takes its time; its reply goes
//! out when it is done. Meanwhile the state is the one of that work, as `get_state` says.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::machine::{Ending, Machine, State, TRANSITIONS, Transition};
use crate::frames::clock::Clock;
use crate::ros2::arguments::Remap;
use crate::ros2::messages::{
    ChangeReply, ChangeRequest, EmptyRequest, Message, StateReply, StatesReply, TransitionDescription,
    TransitionEvent, TransitionsReply, decode, encode,
};
use crate::ros2::names::{NameError, NodeName};
use crate::ros2::node::OnlookerOption;
use crate::ros2::services::with;
use crate::ros2::transport::{Delivery, Publisher, Reply, Transport, TransportError};

/// What the services and the topic are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    services: [String; 5],
    event: String,
}

impl Names {
    /// Of a node under these rules.
    ///
    /// # Errors
    /// If what one is remapped to is not allowed.
    pub(super) fn of(node: &NodeName, remaps: &[Remap]) -> Result<Self, NameError> {
        let name = |service: &str| node.service(&format!("~/{service}"), remaps);
        let services = [
            name("change_state")?,
            name("get_state")?,
            name("get_available_states")?,
            name("get_available_transitions")?,
            name("get_transition_graph")?,
        ];
        Ok(Self { services, event: node.topic("~/transition_event", remaps)? })
    }
}

/// A change that was taken and is to be made.
pub(super) struct Wanted {
    pub(super) transition: &'static Transition,
    reply: Reply,
}

pub(super) struct Desk {
    shared: Arc<Shared>,
    events: Box<dyn Publisher>,
    clock: Arc<Clock>,
    onlooker: OnlookerOption,
}

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    came: Condvar,
}

#[derive(Default)]
struct Book {
    machine: Machine,
    wanted: Option<Wanted>,
    /// Whether nobody makes changes any more.
    is_closed: bool,
    refused: u64,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, request: &ChangeRequest, reply: Reply) {
        let mut book = self.book();
        if book.is_closed {
            drop(book);
            return reply.give(encode(&ChangeReply { success: false }));
        }
        match book.machine.begin(&request.transition) {
            Ok(transition) => {
                book.wanted = Some(Wanted { transition, reply });
                self.came.notify_all();
            }
            Err(refusal) => {
                book.refused += 1;
                let refused = book.refused;
                drop(book);
                // At powers of two: who asks again and again must not fill the log.
                if refused.is_power_of_two() {
                    log::error!("{refusal} ({refused} refused so far)");
                }
                reply.give(encode(&ChangeReply { success: false }));
            }
        }
    }
}

impl Drop for Desk {
    /// A transport keeps services for longer than the node runs: whoever asks then, or waits, is answered all the same.
    fn drop(&mut self) {
        let mut book = self.shared.book();
        book.is_closed = true;
        if let Some(wanted) = book.wanted.take() {
            drop(book);
            wanted.reply.give(encode(&ChangeReply { success: false }));
        }
    }
}

impl Desk {
    /// Offers the services and announces the topic.
    ///
    /// # Errors
    /// If the transport cannot.
    pub(super) fn open(
        transport: &dyn Transport,
        names: &Names,
        onlooker: OnlookerOption,
    ) -> Result<Self, TransportError> {
        let shared = Arc::new(Shared::default());
        let Names { services: [change, state, states, transitions, graph], event } = names;
        let desk = Arc::clone(&shared);
        let take = move |body: &[u8], order, reply| {
            // What cannot be read has no reply.
            if let Ok(request) = decode::<ChangeRequest>(body, order) {
                desk.take(&request, reply);
            }
        };
        transport.serve(change, "lifecycle_msgs/srv/ChangeState", Box::new(take))?;
        let desk = Arc::clone(&shared);
        let current =
            move |_: EmptyRequest| StateReply { current_state: desk.book().machine.state().message() };
        transport.serve(state, "lifecycle_msgs/srv/GetState", with(current))?;
        let all = |_: EmptyRequest| StatesReply {
            available_states: State::ALL.into_iter().map(State::message).collect(),
        };
        transport.serve(states, "lifecycle_msgs/srv/GetAvailableStates", with(all))?;
        let reply = |exits: Vec<TransitionDescription>| TransitionsReply { available_transitions: exits };
        let desk = Arc::clone(&shared);
        let exits = move |_: EmptyRequest| {
            reply(desk.book().machine.state().exits().map(Transition::message).collect())
        };
        transport.serve(transitions, "lifecycle_msgs/srv/GetAvailableTransitions", with(exits))?;
        let whole = move |_: EmptyRequest| reply(TRANSITIONS.iter().map(Transition::message).collect());
        transport.serve(graph, "lifecycle_msgs/srv/GetAvailableTransitions", with(whole))?;
        // As rcl publishes it: reliable, for those who are there.
        let events = transport.advertise(event, TransitionEvent::TYPE, Delivery::Reliable)?;
        let desk = Self { shared, events, clock: Arc::clone(transport.clock()), onlooker };
        desk.show();
        Ok(desk)
    }

    /// Shows the state to whoever looks on.
    fn show(&self) {
        if let Some(onlooker) = self.onlooker.get() {
            onlooker.is_in(self.state().label());
        }
    }

    pub(super) fn state(&self) -> State {
        self.shared.book().machine.state()
    }

    /// The change that is to be made now, if one is asked for within `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> Option<Wanted> {
        let book = self.shared.book();
        let waited = self.shared.came.wait_timeout_while(book, timeout, |book| book.wanted.is_none());
        let (mut book, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let wanted = book.wanted.take()?;
        drop(book);
        self.tell(wanted.transition);
        Some(wanted)
    }

    /// Ends a change, and tells who asked for it.
    pub(super) fn end(&self, wanted: Wanted, ending: Ending) {
        let transition = self.shared.book().machine.end(ending);
        let (asked, state) = (wanted.transition.label, transition.goal.label());
        match ending {
            Ending::Success => log::info!("{asked}: {state}"),
            Ending::Failure | Ending::Error => log::error!("{asked} has failed: {state}"),
        }
        self.tell(transition);
        wanted.reply.give(encode(&ChangeReply { success: ending == Ending::Success }));
    }

    fn tell(&self, transition: &Transition) {
        self.show();
        let timestamp = u64::try_from(self.clock.now().ros_ns).unwrap_or(0);
        let event = TransitionEvent { timestamp, happened: transition.message() };
        if let Err(error) = self.events.publish(encode(&event)) {
            log::warn!("a transition's event: {error}");
        }
    }
}
