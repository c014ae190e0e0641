//! The topics of a node's cameras, after all rules: each has its own message and its own way over the network.

use super::cameras::{CamerasError, UNNAMED};
use super::options::NodeOptions;
use super::topics::{camera_info, image};
use crate::frames::camera::CameraOptions;
use crate::ros2::qos::Side;
use crate::ros2::transport::{ImageReliability, ImageTransport};

/// A camera of the node, with its names resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTopic {
    /// What it is called, if it has a name.
    pub camera: Option<String>,
    /// The absolute name of the topic that is subscribed to.
    pub topic: String,
    /// That of the topic where the camera tells of its lens.
    pub info: String,
    /// Which image message it carries.
    pub transport: ImageTransport,
    /// Whether images that are lost on the way are sent again.
    pub reliability: ImageReliability,
}

impl NodeOptions {
    /// The cameras, in the order in which they are shown, with their names resolved.
    ///
    /// # Errors
    /// If a name is not allowed or there twice, two have one topic, or there are more than [`CAMERAS_MAX`](super::CAMERAS_MAX).
    pub fn image_topics(&self) -> Result<Vec<ImageTopic>, CamerasError> {
        self.cameras.check().map_err(CamerasError::Refused)?;
        if self.cameras.are_asked_together() && self.clip_frames != 1 {
            return Err(CamerasError::Refused(format!(
                "ask_cameras is `all`, and a clip of {} frames is asked for: all cameras are asked about by single images \
                 (--clip 1)",
                self.clip_frames
            )));
        }
        let mut topics: Vec<ImageTopic> = Vec::new();
        for (i, base) in self.cameras.bases().into_iter().enumerate() {
            let named = self.cameras.named.get(i);
            let transport = named.and_then(|camera| camera.image_transport).unwrap_or(self.image_transport);
            let topic = image(&self.name, &self.remaps, base, transport)?;
            let info = camera_info(&self.name, &self.remaps, &topic, transport)?;
            let camera = named.map(|camera| camera.name.clone());
            let name = |camera: &Option<String>| camera.clone().unwrap_or_default();
            if let Some(other) = topics.iter().find(|other| other.topic == topic) {
                return Err(CamerasError::Refused(format!(
                    "the cameras `{}` and `{}` have one topic, {topic}: give each its own",
                    name(&other.camera),
                    name(&camera)
                )));
            }
            let told = self.qos_overrides.is_reliable(&topic, Side::Subscription);
            let reliability = match told {
                Some(true) => ImageReliability::Reliable,
                Some(false) => ImageReliability::BestEffort,
                None => named.and_then(|camera| camera.image_reliability).unwrap_or(self.image_reliability),
            };
            topics.push(ImageTopic { camera, topic, info, transport, reliability });
        }
        Ok(topics)
    }

    pub(super) fn camera(&self, image: &ImageTopic) -> CameraOptions {
        CameraOptions {
            name: image.camera.as_deref().unwrap_or(UNNAMED).to_owned(),
            topic: image.topic.clone(),
            frame_bytes_max: self.max_image_bytes,
            pixels_max: self.max_pixels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::arguments::RosArguments;
    use crate::ros2::names::NodeName;

    fn told(cameras: &[&str], ros: &str) -> Result<Vec<ImageTopic>, String> {
        let mut options = NodeOptions::new(NodeName::new("/robot", "eye").unwrap());
        for camera in cameras {
            options.cameras.named.push(camera.parse().map_err(|error: CamerasError| error.to_string())?);
        }
        let words = ["--ros-args"].into_iter().chain(ros.split_whitespace()).map(str::to_owned);
        let (arguments, _) = RosArguments::split(words).unwrap();
        let unknown = options.assign(&arguments).map_err(|error| error.to_string())?;
        assert_eq!(unknown, [""; 0]);
        options.image_topics().map_err(|error| error.to_string())
    }

    #[test]
    fn each_camera_has_its_own_topic_and_message() {
        use ImageReliability::{Auto, BestEffort, Reliable};
        use ImageTransport::{Compressed, Raw};

        let of = |ros: &str| {
            let topics = told(&["front=front/image", "rear=/rear"], ros).unwrap();
            topics.into_iter().map(|one| (one.topic, one.transport, one.reliability)).collect::<Vec<_>>()
        };
        let topic = |name: &str, transport, reliability| (name.to_owned(), transport, reliability);
        assert_eq!(of(""), [topic("/robot/front/image", Raw, Auto), topic("/rear", Raw, Auto)]);
        assert_eq!(
            of("-p rear.image_transport:=compressed -p image_reliability:=best_effort -r front/image:=/cam"),
            [topic("/cam", Raw, BestEffort), topic("/rear/compressed", Compressed, BestEffort)]
        );
        assert_eq!(
            of(
                "-p image_transport:=compressed -p front.image_transport:=raw -p rear.image_reliability:=reliable \
                -p qos_overrides./robot/front/image.subscription.reliability:=best_effort"
            ),
            [topic("/robot/front/image", Raw, BestEffort), topic("/rear/compressed", Compressed, Reliable)]
        );
    }

    #[test]
    fn a_camera_tells_of_its_lens_beside_its_images() {
        let of = |cameras: &[&str], ros: &str| -> Vec<String> {
            told(cameras, ros).unwrap().into_iter().map(|one| one.info).collect()
        };
        assert_eq!(of(&[], ""), ["/robot/camera_info"]);
        assert_eq!(of(&[], "-r image:=/cam/image_raw"), ["/cam/camera_info"]);
        assert_eq!(of(&[], "-r image:=/cam/image_raw -p image_transport:=compressed"), ["/cam/camera_info"]);
        assert_eq!(of(&[], "-r image:=/raw"), ["/camera_info"]);
        assert_eq!(
            of(&[], "-p image_transport:=compressed -r image/compressed:=/front/jpeg"),
            ["/front/camera_info"]
        );
        assert_eq!(
            of(&["front=/front/image", "rear=/rear/left/image"], "-r /front/camera_info:=/calibrated"),
            ["/calibrated", "/rear/left/camera_info"]
        );
    }

    #[test]
    fn cameras_that_cannot_be_are_refused_by_name() {
        let refused = |cameras: &[&str], ros: &str, words: &str| {
            let error = told(cameras, ros).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        refused(&["/front"], "", "camera `/front`: expected NAME=TOPIC");
        refused(&["=/front"], "", "it has an empty part");
        refused(&["2nd=/front"], "", "`2nd` is no ROS name: a part starts with a digit");
        refused(&["a/b=/front"], "", "`a/b` is no ROS name");
        refused(&["a=/front/"], "", "`/front/` is no ROS name");
        refused(&["a=/x", "a=/y"], "", "two cameras are called `a`");
        refused(&["a=/x", "b=/x"], "", "the cameras `a` and `b` have one topic, /x");
        refused(&["a=/x", "b=/y"], "-r /y:=/x", "the cameras `a` and `b` have one topic, /x");
        refused(
            &["a=/x"],
            "-p forecast_camera:=b",
            "forecast_camera `b`: there is no such camera; there are a",
        );
        refused(&["a=/x"], "-p ask_cameras:=some", "expected `each` or `all`");
        refused(&["a=/x"], "-p a.image_transport:=theora", "expected `raw` or `compressed`");
        let many: Vec<String> = (0..9).map(|i| format!("c{i}=/c{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        refused(&many, "", "9 cameras; one node takes 8 at most");
        assert!(told(&many[..8], "").is_ok());
    }
}
