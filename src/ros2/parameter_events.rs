//! What goes to the topic `/parameter_events`: tools that show parameters follow it, so that they need not ask.
//!
//! What the parameters are now is compared with what was told last, whoever changed them: a service, the prompt topic, or
//! the node itself. Why not publish here: changes come in calls of a transport, which may not be called back from there.

use super::messages::{ParameterEvent, Time, WireParameter};
use super::names::NodeName;
use super::parameter_wire::to_wire;
use super::parameters::Parameters;

/// Events that wait at most; what changes beyond is told together.
const WAITING_MAX: usize = 64;

/// Tells which parameters there are and what they become.
#[derive(Debug)]
pub struct ParameterEvents {
    node: String,
    told: Vec<WireParameter>,
    waiting: Vec<ParameterEvent>,
}

impl ParameterEvents {
    /// Of a node that has told nothing yet.
    pub fn new(node: &NodeName) -> Self {
        Self { node: node.to_string(), told: Vec::new(), waiting: Vec::new() }
    }

    /// Notes what is new or has changed since the last call, if anything has. `now_ns` is ROS time.
    pub fn note(&mut self, parameters: &Parameters, now_ns: i64) {
        if self.waiting.len() == WAITING_MAX {
            return;
        }
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
                    self.told.push(WireParameter { name: declaration.name.to_string(), value });
                    event.new_parameters.extend(self.told.last().cloned());
                }
            }
        }
        if !event.new_parameters.is_empty() || !event.changed_parameters.is_empty() {
            self.waiting.push(event);
        }
    }

    /// The events that are to be published now, oldest first. `parameters` and `now_ns` are as for [`ParameterEvents::note`].
    pub fn take(&mut self, parameters: &Parameters, now_ns: i64) -> Vec<ParameterEvent> {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.note(parameters, now_ns);
        waiting.append(&mut self.waiting);
        waiting
    }
}

#[cfg(test)]
#[test]
fn each_change_is_told_once() {
    use super::node::NodeOptions;
    use super::parameters::Value;

    let name = NodeName::new("/robot", "eye").unwrap();
    let mut events = ParameterEvents::new(&name);
    let mut parameters = NodeOptions::new(name).parameters();
    let told = |events: &mut ParameterEvents, parameters: &Parameters| events.take(parameters, 1_500_000_000);
    let first = told(&mut events, &parameters);
    assert_eq!((first.len(), first[0].node.as_str(), first[0].stamp.ns()), (1, "/robot/eye", 1_500_000_000));
    assert_eq!(first[0].new_parameters.len(), parameters.iter().count());
    assert_eq!(told(&mut events, &parameters), []);
    parameters.set("prompt", Value::Text("Clear?".into())).unwrap();
    let second = told(&mut events, &parameters);
    assert_eq!(second[0].new_parameters, []);
    let changed: Vec<_> = second[0]
        .changed_parameters
        .iter()
        .map(|p| (p.name.as_str(), p.value.string_value.as_str()))
        .collect();
    assert_eq!(changed, [("prompt", "Clear?")]);
    for i in 0..2 * WAITING_MAX {
        parameters.set("prompt", Value::Text(i.to_string())).unwrap();
        events.note(&parameters, 0);
    }
    let waited = told(&mut events, &parameters);
    assert_eq!(waited.len(), WAITING_MAX + 1, "the rest together");
    assert_eq!(
        waited.last().unwrap().changed_parameters[0].value.string_value,
        (2 * WAITING_MAX - 1).to_string()
    );
}
