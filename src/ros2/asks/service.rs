//! A kind of request as a service: one request, one reply, when it has ended.

use std::sync::Arc;

use super::kind::Kind;
use super::queue::Queue;
use super::ticket::{Asker, Ending, Ticket};
use crate::ros2::messages::{decode, encode};
use crate::ros2::transport::{Reply, Transport, TransportError};

pub(super) fn offer<K: Kind>(
    transport: &dyn Transport,
    name: &str,
    queue: &Arc<Queue<K>>,
) -> Result<(), TransportError> {
    let queue = Arc::clone(queue);
    let handler = move |body: &[u8], order, reply| {
        // What cannot be read has no reply.
        if let Ok(request) = decode::<K>(body, order) {
            queue.add(Ticket::new(
                request,
                Box::new(Caller(reply)),
                Arc::default(),
                Arc::clone(queue.tally()),
            ));
        }
    };
    transport.serve(name, K::SERVICE, Box::new(handler))
}

struct Caller(Reply);

impl<K: Kind> Asker<K> for Caller {
    fn because(&self) -> &'static str {
        "service"
    }

    fn ended(self: Box<Self>, ending: Ending<K>) {
        self.0.give(encode(&ending.into_reply()));
    }
}
