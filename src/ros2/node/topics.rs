//! What the node's topics and services are called.

use crate::ros2::arguments::Remap;
use crate::ros2::names::{NameError, NodeName};
use crate::ros2::parameter_services;
use crate::ros2::qos::{Endpoint, Side};
use crate::ros2::transport::ImageTransport;

/// The names that the node gives to its topics.
pub(super) const NAMES: [&str; 16] = [
    "image",
    "image/compressed",
    "~/prompt",
    "~/answer",
    "~/answer/json",
    "~/forecast",
    "~/forecast/json",
    "~/surprise",
    "~/surprise/pixels",
    "cmd_vel",
    "~/actions",
    "~/plan/request",
    "~/plan/result",
    "/diagnostics",
    "/rosout",
    "/clock",
];

/// The absolute names of the node's topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topics {
    pub(super) parameter_services: [String; 6],
    pub(super) parameter_events: String,
    pub(super) clock: String,
    pub(super) image: String,
    pub(super) prompt: String,
    pub(super) answer: String,
    pub(super) answer_json: String,
    pub(super) forecast: String,
    pub(super) forecast_json: String,
    pub(super) surprise: String,
    pub(super) surprise_pixels: String,
    pub(super) cmd_vel: String,
    pub(super) actions: String,
    pub(super) plan_request: String,
    pub(super) plan_result: String,
    pub(super) diagnostics: String,
}

/// Where quality of service may be set, whichever image message is read and whatever the engines do.
///
/// # Errors
/// As [`Topics::of`].
pub(super) fn endpoints(node: &NodeName, remaps: &[Remap]) -> Result<Vec<Endpoint>, NameError> {
    let of = |transport| Topics::of(node, remaps, transport);
    let (raw, compressed) = (of(ImageTransport::Raw)?, of(ImageTransport::Compressed)?);
    let mut endpoints = raw.endpoints();
    endpoints.extend(compressed.endpoints().into_iter().filter(|one| one.is_of_images));
    Ok(endpoints)
}

impl Topics {
    /// The names of this node under these rules.
    ///
    /// # Errors
    /// If one, or what it is remapped to, is not allowed.
    pub(super) fn of(
        node: &NodeName,
        remaps: &[Remap],
        image_transport: ImageTransport,
    ) -> Result<Self, NameError> {
        let name = |topic: &str| node.topic(topic, remaps);
        let image = match image_transport {
            ImageTransport::Raw => name("image")?,
            // A rule for `image` moves its compressed sibling along, as image_transport does it.
            ImageTransport::Compressed => {
                let own = name("image/compressed")?;
                let unmapped = node.topic("image/compressed", &[])?;
                if own == unmapped { format!("{}/compressed", name("image")?) } else { own }
            }
        };
        Ok(Self {
            image,
            parameter_services: parameter_services::names(node, remaps)?,
            parameter_events: name("/parameter_events")?,
            clock: name("/clock")?,
            prompt: name("~/prompt")?,
            answer: name("~/answer")?,
            answer_json: name("~/answer/json")?,
            forecast: name("~/forecast")?,
            forecast_json: name("~/forecast/json")?,
            surprise: name("~/surprise")?,
            surprise_pixels: name("~/surprise/pixels")?,
            cmd_vel: name("cmd_vel")?,
            actions: name("~/actions")?,
            plan_request: name("~/plan/request")?,
            plan_result: name("~/plan/result")?,
            diagnostics: name("/diagnostics")?,
        })
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let of = |side| move |topic: &String| Endpoint { topic: topic.clone(), side, is_of_images: false };
        let published = [
            &self.answer,
            &self.answer_json,
            &self.forecast,
            &self.forecast_json,
            &self.surprise,
            &self.surprise_pixels,
            &self.plan_result,
            &self.diagnostics,
            &self.parameter_events,
        ];
        let subscribed = [&self.prompt, &self.cmd_vel, &self.actions, &self.plan_request, &self.clock];
        let images = Endpoint { topic: self.image.clone(), side: Side::Subscription, is_of_images: true };
        let published = published.into_iter().map(of(Side::Publisher));
        published.chain(subscribed.into_iter().map(of(Side::Subscription))).chain([images]).collect()
    }
}
