//! The names under which the demo's participants meet.

use crate::ros2::node::NodeOptions;

/// Absolute names of the topics between them.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    pub(super) image: String,
    pub(super) prompt: String,
    pub(super) answer: String,
    pub(super) surprise: String,
    pub(super) plan_request: String,
    pub(super) plan_result: String,
}

impl Topics {
    pub(super) fn of(options: &NodeOptions) -> anyhow::Result<Self> {
        let name = |topic: &str| options.name.topic(topic, &options.remaps);
        Ok(Self {
            image: name("image")?,
            prompt: name("~/prompt")?,
            answer: name("~/answer/json")?,
            surprise: name("~/surprise")?,
            plan_request: name("~/plan/request")?,
            plan_result: name("~/plan/result")?,
        })
    }
}
