//! What is there of a node before and after its engines look at anything.

use std::sync::Arc;

use super::NodeError;
use super::options::NodeOptions;
use crate::frames::accounts::DropReason;
use crate::frames::clock::Clock;
use crate::ros2::messages::{self, Message, ParameterEvent};
use crate::ros2::parameter_events::ParameterEvents;
use crate::ros2::parameter_services;
use crate::ros2::parameter_store::SharedParameters;
use crate::ros2::services;
use crate::ros2::transport::{Delivery, Publisher, Transport, TransportError};

/// What is there of a node whatever it does: its parameters, its types, how much it logs, and its clock.
pub(in crate::ros2) struct Presence {
    parameters: SharedParameters,
    events: Box<dyn Publisher>,
    topic: String,
}

impl Presence {
    /// Offers the services and announces the topic of parameters.
    ///
    /// # Errors
    /// If one cannot be had.
    pub(in crate::ros2) fn open(
        transport: &dyn Transport,
        options: &NodeOptions,
        parameters: &SharedParameters,
    ) -> Result<Self, NodeError> {
        let topics = options.topics()?;
        let clock = transport.clock();
        if options.use_sim_time {
            follow_clock(transport, &topics.clock, Arc::clone(clock))?;
        }
        parameter_services::offer(transport, &topics.parameter_services, parameters)?;
        services::offer(transport, &services::names(&options.name, &options.remaps)?)?;
        let topic = topics.parameter_events;
        let events = transport.advertise(&topic, ParameterEvent::TYPE, Delivery::Reliable)?;
        // In a bag's time nobody else is there to change anything.
        if clock.runs() {
            parameters.note_events(ParameterEvents::new(&options.name), Arc::clone(clock));
        }
        Ok(Self { parameters: Arc::clone(parameters), events, topic })
    }

    /// Publishes what is to be told of the parameters.
    pub(in crate::ros2) fn tell(&self) {
        for event in self.parameters.take_events() {
            if let Err(error) = self.events.publish(messages::encode(&event)) {
                log::warn!("{}: {error}", self.topic);
            }
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.parameters.let_go();
    }
}

fn follow_clock(transport: &dyn Transport, topic: &str, clock: Arc<Clock>) -> Result<(), TransportError> {
    let sink = move |body: Result<(&[u8], messages::ByteOrder), DropReason>| {
        // A tick that cannot be read is followed by one that can.
        if let Ok(Ok(tick)) = body.map(|(body, order)| messages::decode::<messages::Clock>(body, order)) {
            clock.set(tick.clock.ns());
        }
    };
    transport.subscribe(topic, messages::Clock::TYPE, Delivery::BestEffort, Box::new(sink))
}
