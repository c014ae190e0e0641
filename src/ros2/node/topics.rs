//! What the node's topics and services are called.

use crate::ros2::arguments::Remap;
use crate::ros2::names::{NameError, NodeName};
use crate::ros2::parameter_services;
use crate::ros2::qos::{Endpoint, Side};
use crate::ros2::transport::ImageTransport;

/// The names that the node gives to its topics.
pub(super) const NAMES: [&str; 25] = [
    "image",
    "image/compressed",
    "~/prompt",
    "~/ask",
    "~/answer",
    "~/answer/json",
    "~/answer/typed",
    "~/detections",
    "~/annotated/compressed",
    "~/annotated/camera_info",
    "~/forecast",
    "~/forecast/camera_info",
    "~/forecast/json",
    "~/forecast/typed",
    "~/surprise",
    "~/surprise/pixels",
    "~/surprise/typed",
    "cmd_vel",
    "~/actions",
    "~/plan/request",
    "~/plan/result",
    "~/plan/typed",
    "/diagnostics",
    "/rosout",
    "/clock",
];

/// The absolute names of the node's topics beside those of its cameras.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topics {
    pub(super) parameter_services: [String; 6],
    pub(super) parameter_events: String,
    pub(super) clock: String,
    pub(super) prompt: String,
    pub(super) ask: String,
    pub(super) answer: String,
    pub(super) answer_json: String,
    pub(super) answer_typed: String,
    pub(super) detections: String,
    pub(super) annotated: String,
    pub(super) annotated_info: String,
    pub(super) forecast: String,
    pub(super) forecast_info: String,
    pub(super) forecast_json: String,
    pub(super) forecast_typed: String,
    pub(super) surprise: String,
    pub(super) surprise_pixels: String,
    pub(super) surprise_typed: String,
    pub(super) cmd_vel: String,
    pub(super) actions: String,
    pub(super) plan_request: String,
    pub(super) plan_result: String,
    pub(super) plan_typed: String,
    pub(super) diagnostics: String,
}

/// Where quality of service may be set, whichever image message is read and whatever the engines do.
///
/// # Errors
/// As [`Topics::of`].
pub(super) fn endpoints(
    node: &NodeName,
    remaps: &[Remap],
    images: &[&str],
) -> Result<Vec<Endpoint>, NameError> {
    let mut endpoints = Topics::of(node, remaps)?.endpoints();
    for base in images {
        for transport in ImageTransport::ALL {
            let topic = image(node, remaps, base, transport)?;
            let info = camera_info(node, remaps, &topic, transport)?;
            endpoints.push(Endpoint { topic, side: Side::Subscription, is_of_images: true });
            let info = Endpoint { topic: info, side: Side::Subscription, is_of_images: false };
            if !endpoints.contains(&info) {
                endpoints.push(info);
            }
        }
    }
    Ok(endpoints)
}

/// The absolute name of a camera's topic, whose raw images the node calls `base`.
///
/// # Errors
/// If it, or what it is remapped to, is not allowed.
pub(super) fn image(
    node: &NodeName,
    remaps: &[Remap],
    base: &str,
    transport: ImageTransport,
) -> Result<String, NameError> {
    match transport {
        ImageTransport::Raw => node.topic(base, remaps),
        // A rule for `image` moves its compressed sibling along, as image_transport does it.
        ImageTransport::Compressed => {
            let sibling = format!("{base}/compressed");
            let (own, unmapped) = (node.topic(&sibling, remaps)?, node.topic(&sibling, &[])?);
            Ok(if own == unmapped { format!("{}/compressed", node.topic(base, remaps)?) } else { own })
        }
    }
}

/// The absolute name of the topic where the camera whose images are on `image` tells of its lens: beside them, as image_transport
/// has it.
///
/// # Errors
/// If what it is remapped to is not allowed.
pub(super) fn camera_info(
    node: &NodeName,
    remaps: &[Remap],
    image: &str,
    transport: ImageTransport,
) -> Result<String, NameError> {
    let base = match transport {
        ImageTransport::Raw => image,
        ImageTransport::Compressed => image.strip_suffix("/compressed").unwrap_or(image),
    };
    let beside = base.rsplit_once('/').map_or("", |(namespace, _)| namespace);
    node.topic(&format!("{beside}/camera_info"), remaps)
}

impl Topics {
    /// The names of this node under these rules.
    ///
    /// # Errors
    /// If one, or what it is remapped to, is not allowed.
    pub(super) fn of(node: &NodeName, remaps: &[Remap]) -> Result<Self, NameError> {
        let name = |topic: &str| node.topic(topic, remaps);
        Ok(Self {
            parameter_services: parameter_services::names(node, remaps)?,
            parameter_events: name("/parameter_events")?,
            clock: name("/clock")?,
            prompt: name("~/prompt")?,
            ask: name("~/ask")?,
            answer: name("~/answer")?,
            answer_json: name("~/answer/json")?,
            answer_typed: name("~/answer/typed")?,
            detections: name("~/detections")?,
            annotated: name("~/annotated/compressed")?,
            annotated_info: name("~/annotated/camera_info")?,
            forecast: name("~/forecast")?,
            forecast_info: name("~/forecast/camera_info")?,
            forecast_json: name("~/forecast/json")?,
            forecast_typed: name("~/forecast/typed")?,
            surprise: name("~/surprise")?,
            surprise_pixels: name("~/surprise/pixels")?,
            surprise_typed: name("~/surprise/typed")?,
            cmd_vel: name("cmd_vel")?,
            actions: name("~/actions")?,
            plan_request: name("~/plan/request")?,
            plan_result: name("~/plan/result")?,
            plan_typed: name("~/plan/typed")?,
            diagnostics: name("/diagnostics")?,
        })
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let of = |side| move |topic: &String| Endpoint { topic: topic.clone(), side, is_of_images: false };
        let published = [
            &self.answer,
            &self.answer_json,
            &self.answer_typed,
            &self.detections,
            &self.annotated,
            &self.annotated_info,
            &self.forecast,
            &self.forecast_info,
            &self.forecast_json,
            &self.forecast_typed,
            &self.surprise,
            &self.surprise_pixels,
            &self.surprise_typed,
            &self.plan_result,
            &self.plan_typed,
            &self.diagnostics,
            &self.parameter_events,
        ];
        let subscribed =
            [&self.prompt, &self.ask, &self.cmd_vel, &self.actions, &self.plan_request, &self.clock];
        let published = published.into_iter().map(of(Side::Publisher));
        published.chain(subscribed.into_iter().map(of(Side::Subscription))).collect()
    }
}
