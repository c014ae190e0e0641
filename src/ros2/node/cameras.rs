//! Several cameras of one node: what they are called, where their images are, and how questions are put about them.
//!
//! A node that is told of none has one without a name, whose topic is `image`.

use std::str::FromStr;
use std::time::Duration;

use super::rules::{SIZE, is_reliability, is_transport};
use crate::ros2::names::{NameError, check_token};
use crate::ros2::parameters::{Declaration, Parameters, Value};
use crate::ros2::transport::{ImageReliability, ImageTransport};

/// Cameras of one node at most.
pub const CAMERAS_MAX: usize = 8;

/// The topic of the camera that has no name, and what logs call it.
pub(super) const UNNAMED: &str = "image";

/// A camera as the node is told of it: `front=/front/image`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCamera {
    /// What answers, diagnostics and parameters call it.
    pub name: String,
    /// The topic of its raw images, before remap rules; the compressed ones are beside it.
    pub topic: String,
    /// Which image message is subscribed to, if not the node's.
    pub image_transport: Option<ImageTransport>,
    /// Whether lost images are sent again, if not as the node's.
    pub image_reliability: Option<ImageReliability>,
}

/// What a question is about, where there are several cameras.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AskCameras {
    /// One camera, and the next one's turn comes after it.
    #[default]
    Each,
    /// The newest frames of all of them.
    All,
}

impl AskCameras {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Each, Self::All];

    /// Its name, as the parameter has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::All => "all",
        }
    }
}

/// The cameras that have names, and how they are looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Cameras {
    /// In the order in which they are shown; none where the node's one camera has no name.
    pub named: Vec<NamedCamera>,
    /// Otherwise, the topic of its raw images, before remap rules.
    pub unnamed: String,
    /// What a question is about.
    pub ask: AskCameras,
    /// How far apart the frames of one question may have been seen.
    pub tolerance: Duration,
    /// Whose frames are forecast; the first one's, unless it is said.
    pub forecast: Option<String>,
}

impl Default for Cameras {
    fn default() -> Self {
        let (named, ask, forecast) = Default::default();
        Self { named, unnamed: UNNAMED.to_owned(), ask, tolerance: Duration::from_millis(100), forecast }
    }
}

/// Cameras that cannot be those of one node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CamerasError {
    /// A topic's name, or what it is remapped to.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What they are together.
    #[error("{0}")]
    Refused(String),
}

/// `front=/front/image`.
impl FromStr for NamedCamera {
    type Err = CamerasError;

    fn from_str(text: &str) -> Result<Self, CamerasError> {
        let Some((name, topic)) = text.split_once('=') else {
            return Err(CamerasError::Refused(format!(
                "camera `{text}`: expected NAME=TOPIC, such as front=/front/image_raw"
            )));
        };
        check_token(name, name)?;
        let (name, topic) = (name.to_owned(), topic.to_owned());
        Ok(Self { name, topic, image_transport: None, image_reliability: None })
    }
}

impl Cameras {
    /// The parameters at these settings; none where the one camera has no name.
    pub(super) fn declarations(&self) -> Vec<Declaration> {
        if self.named.is_empty() {
            return Vec::new();
        }
        let text = |text: &str| Value::Text(text.to_owned());
        let mut declarations = vec![
            Declaration {
                check: is_ask_cameras,
                ..Declaration::new(
                    "ask_cameras",
                    text(self.ask.name()),
                    "`each` or `all`: whether a question is about one camera at a time, or about all at once.",
                )
            },
            Declaration {
                range: Some((0.0, SIZE.1)),
                ..Declaration::new(
                    "camera_tolerance",
                    Value::Double(self.tolerance.as_secs_f64()),
                    "Seconds between the frames of a question about all cameras, at most.",
                )
            },
            Declaration::new(
                "forecast_camera",
                text(self.forecast.as_deref().unwrap_or_default()),
                "The camera whose frames are forecast; empty is the first.",
            ),
        ];
        for camera in &self.named {
            let of = |what: &str| format!("{}.{what}", camera.name).into();
            let transport = camera.image_transport.map_or("", ImageTransport::name);
            let reliability = camera.image_reliability.map_or("", ImageReliability::name);
            declarations.push(Declaration {
                name: of("image_transport"),
                check: |value| unless_empty(value, is_transport),
                ..Declaration::new(
                    "",
                    text(transport),
                    "As image_transport, of this camera; empty is as that.",
                )
            });
            declarations.push(Declaration {
                name: of("image_reliability"),
                check: |value| unless_empty(value, is_reliability),
                ..Declaration::new(
                    "",
                    text(reliability),
                    "As image_reliability, of this camera; empty is as that.",
                )
            });
        }
        declarations
    }

    /// Takes over what the parameters say.
    pub(super) fn read(&mut self, parameters: &Parameters) {
        if self.named.is_empty() {
            return;
        }
        let ask = parameters.text("ask_cameras");
        self.ask = AskCameras::ALL.into_iter().find(|one| one.name() == ask).unwrap_or_default();
        self.tolerance = Duration::from_secs_f64(parameters.double("camera_tolerance"));
        self.forecast = Some(parameters.text("forecast_camera").to_owned()).filter(|name| !name.is_empty());
        for camera in &mut self.named {
            let of = |what: &str| parameters.text(&format!("{}.{what}", camera.name));
            let (transport, reliability) = (of("image_transport"), of("image_reliability"));
            camera.image_transport = ImageTransport::ALL.into_iter().find(|one| one.name() == transport);
            camera.image_reliability =
                ImageReliability::ALL.into_iter().find(|one| one.name() == reliability);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.named.len().max(1)
    }

    /// Whether a question is about several.
    pub fn are_asked_together(&self) -> bool {
        self.ask == AskCameras::All && 1 < self.named.len()
    }

    /// Which one's frames are forecast.
    pub(super) fn forecast_index(&self) -> usize {
        let named = |name: &String| self.named.iter().position(|camera| camera.name == *name);
        self.forecast.as_ref().and_then(named).unwrap_or(0)
    }

    /// The topics of raw images, before remap rules.
    pub(super) fn bases(&self) -> Vec<&str> {
        match self.named.is_empty() {
            true => vec![&self.unnamed],
            false => self.named.iter().map(|camera| camera.topic.as_str()).collect(),
        }
    }

    /// Says what is wrong with them together.
    pub(super) fn check(&self) -> Result<(), String> {
        if CAMERAS_MAX < self.named.len() {
            return Err(format!("{} cameras; one node takes {CAMERAS_MAX} at most", self.named.len()));
        }
        for (i, camera) in self.named.iter().enumerate() {
            if self.named[..i].iter().any(|other| other.name == camera.name) {
                return Err(format!("two cameras are called `{}`: give each a name of its own", camera.name));
            }
        }
        match &self.forecast {
            Some(name) if self.named.iter().all(|camera| camera.name != *name) => {
                let there: Vec<&str> = self.named.iter().map(|camera| camera.name.as_str()).collect();
                let there = if there.is_empty() { "none with a name".to_owned() } else { there.join(", ") };
                Err(format!("forecast_camera `{name}`: there is no such camera; there are {there}"))
            }
            _ => Ok(()),
        }
    }
}

fn is_ask_cameras(value: &Value) -> Result<(), String> {
    match value {
        Value::Text(text) if AskCameras::ALL.iter().any(|one| one.name() == text) => Ok(()),
        other => Err(format!("expected `each` or `all`, found {other}")),
    }
}

fn unless_empty(value: &Value, check: fn(&Value) -> Result<(), String>) -> Result<(), String> {
    match value {
        Value::Text(text) if text.is_empty() => Ok(()),
        other => check(other),
    }
}
