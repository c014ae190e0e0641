//! Quality of service that users set for single topics, by the parameters that `rclcpp` has for it:
//! `qos_overrides./camera/image_raw.subscription.reliability` and its like (design article "QoS overrides", ROS 2).
//!
//! Such a parameter is there once it was given at the start, for a topic that the node has. Why not declare all of them: a node
//! of ours would list some sixty that nobody has set. What is kept is bounded: `keep_all` keeps 1000, and a depth is at most that.

use std::borrow::Cow;

use super::parameters::{Declaration, Parameters, Value};
use super::transport::{Delivery, Qos};

const PREFIX: &str = "qos_overrides.";
/// More messages than anybody keeps.
const DEPTH_MAX: u16 = 1000;

/// Which end of a topic a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It publishes.
    Publisher,
    /// It subscribes.
    Subscription,
}

/// An end of a topic for which quality of service may be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The topic's absolute name, after all rules.
    pub topic: String,
    /// Which end.
    pub side: Side,
    /// Whether it is one of images, which are kept and repeated as their own parameters say: only reliability may be set.
    pub is_of_images: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Reliability,
    Durability,
    History,
    Depth,
}

/// What is set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QosOverrides(Vec<(String, Side, Policy, Value)>);

/// The declaration of a parameter of this name, if it sets what may be set for one of these.
pub fn declaration(name: &str, endpoints: &[Endpoint]) -> Option<Declaration> {
    let (topic, side, policy) = parsed(name)?;
    let is_there = |one: &Endpoint| {
        one.topic == topic && one.side == side && (!one.is_of_images || policy == Policy::Reliability)
    };
    endpoints.iter().any(is_there).then(|| declare(name.to_owned(), policy, policy.default()))
}

impl QosOverrides {
    /// What these parameters set.
    pub fn of(parameters: &Parameters) -> Self {
        let set = parameters.iter().filter_map(|(declaration, value)| {
            let (topic, side, policy) = parsed(&declaration.name)?;
            Some((topic.to_owned(), side, policy, value.clone()))
        });
        Self(set.collect())
    }

    /// The parameters that set it.
    pub fn declarations(&self) -> impl Iterator<Item = Declaration> + '_ {
        self.0.iter().map(|(topic, side, policy, value)| {
            let name = format!("{PREFIX}{topic}.{}.{}", side.name(), policy.name());
            declare(name, *policy, value.clone())
        })
    }

    /// Whether a topic's end is to be reliable, if anybody has said so.
    pub fn is_reliable(&self, topic: &str, side: Side) -> Option<bool> {
        self.text(topic, side, Policy::Reliability).map(|text| text == "reliable")
    }

    /// What becomes of the node's own choice.
    pub fn apply(&self, topic: &str, side: Side, own: Delivery) -> Delivery {
        if !self.0.iter().any(|(known, end, ..)| known == topic && *end == side) {
            return own;
        }
        let own = own.qos();
        let is_latched = self.text(topic, side, Policy::Durability).map(|text| text == "transient_local");
        let keeps_all = self.text(topic, side, Policy::History).map(|text| text == "keep_all");
        let depth = match self.value(topic, side, Policy::Depth) {
            Some(Value::Integer(depth)) => u16::try_from(*depth).ok(),
            _ => None,
        };
        Delivery::Told(Qos {
            is_reliable: self.is_reliable(topic, side).unwrap_or(own.is_reliable),
            is_latched: is_latched.unwrap_or(own.is_latched),
            depth: if keeps_all == Some(true) { DEPTH_MAX } else { depth.unwrap_or(own.depth) },
        })
    }

    fn value(&self, topic: &str, side: Side, policy: Policy) -> Option<&Value> {
        let is_it = |(known, end, what, _): &&(String, Side, Policy, Value)| {
            known == topic && *end == side && *what == policy
        };
        self.0.iter().find(is_it).map(|(.., value)| value)
    }

    fn text(&self, topic: &str, side: Side, policy: Policy) -> Option<&str> {
        match self.value(topic, side, policy) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Subscription => "subscription",
        }
    }
}

impl Policy {
    const ALL: [Self; 4] = [Self::Reliability, Self::Durability, Self::History, Self::Depth];

    fn name(self) -> &'static str {
        match self {
            Self::Reliability => "reliability",
            Self::Durability => "durability",
            Self::History => "history",
            Self::Depth => "depth",
        }
    }

    /// Gives the type; what was given takes its place at once.
    fn default(self) -> Value {
        match self {
            Self::Reliability => Value::Text("reliable".to_owned()),
            Self::Durability => Value::Text("volatile".to_owned()),
            Self::History => Value::Text("keep_last".to_owned()),
            Self::Depth => Value::Integer(10),
        }
    }

    fn check(self) -> fn(&Value) -> Result<(), String> {
        match self {
            Self::Reliability => |value| one_of(value, ["reliable", "best_effort"]),
            Self::Durability => |value| one_of(value, ["volatile", "transient_local"]),
            Self::History => |value| one_of(value, ["keep_last", "keep_all"]),
            Self::Depth => |_| Ok(()),
        }
    }
}

fn one_of(value: &Value, [a, b]: [&str; 2]) -> Result<(), String> {
    match value {
        Value::Text(text) if text == a || text == b => Ok(()),
        other => Err(format!("expected `{a}` or `{b}`, found {other}")),
    }
}

fn declare(name: String, policy: Policy, default: Value) -> Declaration {
    Declaration {
        name: Cow::Owned(name),
        range: (policy == Policy::Depth).then_some((1.0, f64::from(DEPTH_MAX))),
        check: policy.check(),
        ..Declaration::new("", default, "Quality of service of a topic, in place of the node's own choice.")
    }
}

/// The topic, its end and the policy that a parameter's name means. A topic's name has no dots.
fn parsed(name: &str) -> Option<(&str, Side, Policy)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('.');
    let (topic, side, policy) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let side = [Side::Publisher, Side::Subscription].into_iter().find(|one| one.name() == side)?;
    let policy = Policy::ALL.into_iter().find(|one| one.name() == policy)?;
    Some((topic, side, policy))
}
