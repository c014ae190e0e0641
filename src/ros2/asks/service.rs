//! `~/ask` as a service: one request, one reply, when the answer has ended.

use std::sync::Arc;

use super::queue::Queue;
use super::ticket::{Asker, Ending, Ticket};
use crate::ros2::messages::{AskRequest, decode, encode};
use crate::ros2::transport::{Reply, Transport, TransportError};

pub(super) fn offer(transport: &dyn Transport, name: &str, queue: &Arc<Queue>) -> Result<(), TransportError> {
    let queue = Arc::clone(queue);
    let handler = move |body: &[u8], order, reply| {
        // What cannot be read has no reply.
        if let Ok(request) = decode::<AskRequest>(body, order) {
            queue.add(Ticket::new(
                request,
                Box::new(Caller(reply)),
                Arc::default(),
                Arc::clone(queue.tally()),
            ));
        }
    };
    transport.serve(name, "perihelion_msgs/srv/Ask", Box::new(handler))
}

struct Caller(Reply);

impl Asker for Caller {
    fn because(&self) -> &'static str {
        "service"
    }

    fn ended(self: Box<Self>, ending: Ending) {
        self.0.give(encode(&ending.into_reply()));
    }
}
