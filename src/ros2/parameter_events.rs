//! The topic `/parameter_events`: tools that show parameters follow it, so that they need not ask.
//!
//! What the parameters are now is compared with what was told last, whoever changed them: a service, the prompt topic, or
//! the node itself.

use super::messages::{Message, ParameterEvent, Time, WireParameter, encode};
use super::names::NodeName;
use super::parameter_wire::to_wire;
use super::parameters::Parameters;
use super::transport::{Delivery, Publisher, Transport, TransportError};

/// Tells the others which parameters there are and what they become.
pub struct ParameterEvents {
    publisher: Box<dyn Publisher>,
    node: String,
    told: Vec<WireParameter>,
}

impl ParameterEvents {
    /// Announces the topic, `/parameter_events` unless it is remapped.
    ///
    /// # Errors
    /// If the transport refuses it.
    pub fn open(transport: &dyn Transport, topic: &str, node: &NodeName) -> Result<Self, TransportError> {
        let publisher = transport.advertise(topic, ParameterEvent::TYPE, Delivery::Reliable)?;
        Ok(Self { publisher, node: node.to_string(), told: Vec::new() })
    }

    /// Publishes what is new or has changed since the last call, if anything has. `now_ns` is ROS time.
    pub fn tell(&mut self, parameters: &Parameters, now_ns: i64) {
        let mut event = ParameterEvent {
            stamp: Time::from_ns(now_ns),
            node: self.node.clone(),
            ..ParameterEvent::default()
        };
        for (declaration, value) in parameters.iter() {
            let told = self.told.iter_mut().find(|told| told.name == declaration.name);
            let value = to_wire(value);
            match told {
                Some(told) if told.value == value => {}
                Some(told) => {
                    told.value = value;
                    event.changed_parameters.push(told.clone());
                }
                None => {
                    self.told.push(WireParameter { name: declaration.name.to_owned(), value });
                    event.new_parameters.extend(self.told.last().cloned());
                }
            }
        }
        if event.new_parameters.is_empty() && event.changed_parameters.is_empty() {
            return;
        }
        if let Err(error) = self.publisher.publish(encode(&event)) {
            log::warn!("/parameter_events: {error}");
        }
    }
}

#[cfg(test)]
#[test]
fn each_change_is_told_once() {
    use std::sync::Arc;

    use super::messages::{ByteOrder, decode};
    use super::node::NodeOptions;
    use super::parameters::Value;
    use super::transport::Memory;
    use crate::frames::clock::Clock;

    let memory = Memory::new(Arc::new(Clock::stepped()));
    let name = NodeName::new("/robot", "eye").unwrap();
    let mut events = ParameterEvents::open(&memory, "/parameter_events", &name).unwrap();
    let mut parameters = NodeOptions::new(name).parameters();
    let mut told = |parameters: &Parameters| -> Vec<ParameterEvent> {
        events.tell(parameters, 1_500_000_000);
        let bodies = memory.published("/parameter_events");
        bodies.iter().map(|body| decode(body, ByteOrder::Little).unwrap()).collect()
    };
    let first = told(&parameters);
    assert_eq!((first.len(), first[0].node.as_str(), first[0].stamp.ns()), (1, "/robot/eye", 1_500_000_000));
    assert_eq!(first[0].new_parameters.len(), parameters.iter().count());
    assert_eq!(told(&parameters), []);
    parameters.set("prompt", Value::Text("Clear?".into())).unwrap();
    let second = told(&parameters);
    assert_eq!(second[0].new_parameters, []);
    let changed: Vec<_> = second[0]
        .changed_parameters
        .iter()
        .map(|p| (p.name.as_str(), p.value.string_value.as_str()))
        .collect();
    assert_eq!(changed, [("prompt", "Clear?")]);
}
