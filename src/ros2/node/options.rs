//! What the node is told at its start, as parameters of ROS declare it.

use std::time::Duration;

use super::answering;
use super::cameras::{Cameras, CamerasError};
use super::forecast_shape::ForecastShape;
use super::occasion::AskWhen;
use super::onlooker::OnlookerOption;
use super::rules::{SIZE, is_no_trifle, is_prompt, is_reliability, is_transport};
use super::topics;
pub(super) use super::topics::Topics;
use crate::frames::listener::ListenerOptions;
use crate::ros2::arguments::{Remap, RosArguments};
use crate::ros2::kernel_limits::RECEIVE_BUFFER_BYTES_ASKED;
use crate::ros2::names::{NameError, NodeName};
use crate::ros2::parameter_services;
use crate::ros2::parameters::{Declaration, ParameterError, Parameters, Value};
use crate::ros2::qos::{self, QosOverrides};
use crate::ros2::recorder::Recording;
use crate::ros2::transport::{ImageReliability, ImageTransport};
use crate::runtime::reason::AnswerSettings;

/// Of the largest images that cameras commonly send.
const PIXELS_MAX: usize = 3840 * 2160;

const OR_NONE: (f64, f64) = (0.0, SIZE.1);
const SHARE: (f64, f64) = (0.0, 1.0);
const COUNT: (f64, f64) = (1.0, (1u32 << 30) as f64);

/// The node's settings. [`NodeOptions::assign`] lets ROS parameters change them.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeOptions {
    /// Who we are.
    pub name: NodeName,
    /// How topics are renamed.
    pub remaps: Vec<Remap>,
    /// The cameras, where they have names.
    pub cameras: Cameras,
    /// Which image message is subscribed to.
    pub image_transport: ImageTransport,
    /// Whether images that are lost on the way are sent again.
    pub image_reliability: ImageReliability,
    /// The UDP receive buffer that the kernel is asked for.
    pub receive_buffer_bytes: u64,
    /// The first standing question.
    pub prompt: String,
    /// Frames of a question: 1, or a clip's length.
    pub clip_frames: usize,
    /// Frames per second of a clip.
    pub clip_rate_hz: f64,
    /// How old a frame may be when its answer is published.
    pub max_age: Duration,
    /// Questions per second at most; 0 is no limit.
    pub max_rate_hz: f64,
    /// The largest image message that is taken.
    pub max_image_bytes: usize,
    /// Pixels of an image at most, for which its picture is claimed.
    pub max_pixels: usize,
    /// Whether `/clock` gives the time.
    pub use_sim_time: bool,
    /// Beyond which surprise in latent space diagnostics warn; 0 is never.
    pub surprise_warn: f64,
    /// Beyond which surprise diagnostics speak of an error; 0 is never.
    pub surprise_error: f64,
    /// By what differences of latents are blurred, in heights of the picture, before the place is looked for where they are greatest,
    /// which is then the surprise in latent space; 0 takes the whole latent.
    pub surprise_blur: f64,
    /// Whether forecasts stay in latent space, so that no frame is shown.
    pub latent_only: bool,
    /// How answers are made, so that parameters may change it; `None` leaves it to the engine.
    pub answers: Option<AnswerSettings>,
    /// When a question is put.
    pub ask_when: AskWhen,
    /// Quality of service of single topics.
    pub qos_overrides: QosOverrides,
    /// What diagnostics name as the hardware of answers: the engine.
    pub hardware_id: String,
    /// What they name as the hardware of forecasts.
    pub forecast_hardware_id: String,
    /// Who looks on from outside of the graph.
    pub onlooker: OnlookerOption,
    /// What records, which [`Recorded`](crate::ros2::recorder::Recorded) puts before the transport.
    pub recording: Recording,
}

/// Settings that contradict each other or ROS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The node's name or namespace.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A parameter.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The cameras together.
    #[error(transparent)]
    Cameras(#[from] CamerasError),
}

impl NodeOptions {
    /// The settings of a node of this name that nobody has told anything.
    pub fn new(name: NodeName) -> Self {
        Self {
            name,
            remaps: Vec::new(),
            cameras: Cameras::default(),
            image_transport: ImageTransport::Raw,
            image_reliability: ImageReliability::Auto,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES_ASKED,
            prompt: "What do you see?".to_owned(),
            clip_frames: 1,
            clip_rate_hz: 4.0,
            max_age: Duration::from_secs(2),
            max_rate_hz: 0.0,
            max_image_bytes: PIXELS_MAX * 3,
            max_pixels: PIXELS_MAX,
            use_sim_time: false,
            surprise_warn: 0.0,
            surprise_error: 0.0,
            surprise_blur: 0.0,
            latent_only: false,
            answers: None,
            ask_when: AskWhen::default(),
            qos_overrides: QosOverrides::default(),
            hardware_id: String::new(),
            forecast_hardware_id: String::new(),
            onlooker: OnlookerOption::default(),
            recording: Recording::default(),
        }
    }

    /// Lets the `--ros-args` of a command line rename the node and its topics and set its parameters.
    ///
    /// Returns the names of parameters that the node does not have, for a warning.
    ///
    /// # Errors
    /// If a name is not allowed, a parameter file cannot be read, or a value does not fit.
    pub fn assign(&mut self, arguments: &RosArguments) -> Result<Vec<String>, OptionsError> {
        self.name = self.name.renamed(&arguments.remaps)?;
        self.remaps.clone_from(&arguments.remaps);
        let mut parameters = self.parameters();
        let endpoints = topics::endpoints(&self.name, &self.remaps, &self.cameras.bases())?;
        let unknown = parameters.assign(&self.name, arguments, |name| qos::declaration(name, &endpoints))?;
        self.read(&parameters);
        self.image_topics()?;
        Ok(unknown)
    }

    /// The node's parameters at these settings.
    pub fn parameters(&self) -> Parameters {
        let text = |text: &str| Value::Text(text.to_owned());
        let within = |range, declaration| Declaration { range: Some(range), ..declaration };
        let changing = |declaration| Declaration { read_only: false, ..declaration };
        let changing_or_none = |name, default, description| Declaration {
            check: is_no_trifle,
            ..changing(within(OR_NONE, Declaration::new(name, Value::Double(default), description)))
        };
        let mut declarations = vec![
            Declaration {
                check: is_transport,
                ..Declaration::new(
                    "image_transport",
                    text(self.image_transport.name()),
                    "`raw` or `compressed`: which image message is read.",
                )
            },
            Declaration {
                check: is_reliability,
                ..Declaration::new(
                    "image_reliability",
                    text(self.image_reliability.name()),
                    "`auto`, `best_effort` or `reliable`: whether lost images are sent again.",
                )
            },
            within(
                COUNT,
                Declaration::new(
                    "receive_buffer",
                    Value::Integer(self.receive_buffer_bytes as i64),
                    "Bytes of the UDP receive buffer that the kernel is asked for.",
                ),
            ),
            Declaration {
                read_only: false,
                check: is_prompt,
                ..Declaration::new(
                    "prompt",
                    text(&self.prompt),
                    "The standing question; the topic ~/prompt sets it too.",
                )
            },
            within(
                COUNT,
                Declaration::new("clip", Value::Integer(self.clip_frames as i64), "Frames of a question."),
            ),
            within(
                SIZE,
                Declaration::new("fps", Value::Double(self.clip_rate_hz), "Frames per second of a clip."),
            ),
            changing(within(
                SIZE,
                Declaration::new(
                    "max_age",
                    Value::Double(self.max_age.as_secs_f64()),
                    "Seconds from a frame's stamp to its answer, at most.",
                ),
            )),
            changing_or_none(
                "max_rate",
                self.max_rate_hz,
                "Questions, and forecasts, per second, at most; 0 is no limit.",
            ),
            within(
                COUNT,
                Declaration::new(
                    "max_image_bytes",
                    Value::Integer(self.max_image_bytes as i64),
                    "The largest image message that is taken.",
                ),
            ),
            Declaration::new(
                "use_sim_time",
                Value::Bool(self.use_sim_time),
                "Whether /clock gives the time.",
            ),
            changing_or_none(
                "surprise_warn",
                self.surprise_warn,
                "Surprise in latent space beyond which diagnostics warn; 0 is never.",
            ),
            changing_or_none(
                "surprise_error",
                self.surprise_error,
                "Surprise in latent space beyond which diagnostics speak of an error; 0 is never.",
            ),
            within(
                SHARE,
                Declaration::new(
                    "surprise_blur",
                    Value::Double(self.surprise_blur),
                    "Surprise in latent space is that of its most surprising place, blurred by this share of the picture's height; 0 is of all.",
                ),
            ),
            Declaration::new(
                "latent_only",
                Value::Bool(self.latent_only),
                "Whether forecasts are not decoded into frames.",
            ),
        ];
        declarations.extend(self.cameras.declarations());
        declarations.extend(self.ask_when.declarations());
        declarations.extend(self.answers.iter().flat_map(answering::declarations));
        declarations.extend(self.qos_overrides.declarations());
        Parameters::declare(declarations)
    }

    /// Says what is wrong with settings that did not come through [`NodeOptions::assign`].
    ///
    /// # Errors
    /// A sentence that names the parameter.
    pub fn check(&self) -> Result<(), String> {
        let parameters = self.parameters();
        parameters.iter().try_for_each(|(declaration, value)| {
            declaration.takes(value).map_err(|problem| format!("{}: {problem}", declaration.name))
        })
    }

    /// The absolute name of the log's topic.
    ///
    /// # Errors
    /// If what it is remapped to is not allowed.
    pub fn rosout_topic(&self) -> Result<String, NameError> {
        self.name.topic("/rosout", &self.remaps)
    }

    /// What the node's topics are called after all rules, by the names that the node gives them.
    ///
    /// # Errors
    /// If one, or what it is remapped to, is not allowed.
    pub fn topic_names(&self) -> Result<Vec<(&'static str, String)>, NameError> {
        topics::NAMES.iter().map(|name| Ok((*name, self.name.topic(name, &self.remaps)?))).collect()
    }

    /// The absolute names of the services by which parameters are read and set.
    ///
    /// # Errors
    /// If what one is remapped to is not allowed.
    pub fn service_names(&self) -> Result<[String; 6], NameError> {
        parameter_services::names(&self.name, &self.remaps)
    }

    /// How frames are chosen for questions.
    pub fn answer_listener(&self) -> ListenerOptions {
        ListenerOptions {
            clip_frames: self.clip_frames,
            clip_rate_hz: self.clip_rate_hz,
            follow_frames: 0,
            pictures: self.clip_frames,
            max_age: self.max_age,
        }
    }

    /// How frames are chosen for an engine that forecasts: its clip, and what follows as far as a forecast reaches. It looks at
    /// one picture at a time, which it scales.
    pub fn forecast_listener(&self, shape: &ForecastShape) -> ListenerOptions {
        ListenerOptions {
            clip_frames: shape.n_given,
            clip_rate_hz: shape.rate_hz,
            follow_frames: shape.horizon,
            pictures: 1,
            max_age: self.max_age,
        }
    }

    /// How frames are chosen for whoever looks on: the newest one. With it the one of the last answer may be held, and one of them
    /// drawn: as many frames as a question's listener has, and no pictures, which whoever looks on makes for himself.
    pub fn onlooker_listener(&self) -> ListenerOptions {
        ListenerOptions {
            clip_frames: 1,
            clip_rate_hz: self.clip_rate_hz,
            follow_frames: 0,
            pictures: 0,
            max_age: self.max_age,
        }
    }

    /// Takes over what the parameters say.
    pub(super) fn read(&mut self, parameters: &Parameters) {
        self.image_transport = match parameters.text("image_transport") {
            "compressed" => ImageTransport::Compressed,
            _ => ImageTransport::Raw,
        };
        let reliability = parameters.text("image_reliability");
        let named = ImageReliability::ALL.into_iter().find(|one| one.name() == reliability);
        self.image_reliability = named.unwrap_or_default();
        self.cameras.read(parameters);
        self.qos_overrides = QosOverrides::of(parameters);
        self.receive_buffer_bytes = parameters.integer("receive_buffer") as u64;
        self.prompt = parameters.text("prompt").to_owned();
        self.clip_frames = parameters.integer("clip") as usize;
        self.clip_rate_hz = parameters.double("fps");
        self.max_age = max_age(parameters);
        self.max_rate_hz = parameters.double("max_rate");
        self.max_image_bytes = parameters.integer("max_image_bytes") as usize;
        self.use_sim_time = parameters.bool("use_sim_time");
        self.surprise_warn = parameters.double("surprise_warn");
        self.surprise_error = parameters.double("surprise_error");
        self.surprise_blur = parameters.double("surprise_blur");
        self.latent_only = parameters.bool("latent_only");
        self.ask_when = AskWhen::of(parameters);
        self.answers = self.answers.as_ref().map(|answers| answering::settings(parameters, answers));
    }

    pub(super) fn topics(&self) -> Result<Topics, NameError> {
        Topics::of(&self.name, &self.remaps)
    }
}

/// How old a frame may be when what is made of it is published.
pub(super) fn max_age(parameters: &Parameters) -> Duration {
    Duration::from_secs_f64(parameters.double("max_age"))
}

/// Nanoseconds from one question, or forecast, to the next at least, if there is a limit.
pub(super) fn ask_period_ns(parameters: &Parameters) -> Option<i64> {
    let max_rate_hz = parameters.double("max_rate");
    (0.0 < max_rate_hz).then(|| (1e9 / max_rate_hz) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::qos::Side;
    use crate::ros2::transport::{Delivery, Qos};

    fn assigned(line: &str) -> Result<NodeOptions, Box<dyn std::error::Error>> {
        let words = line.split_whitespace().map(str::to_owned);
        let (arguments, _) = RosArguments::split(words)?;
        let mut options = NodeOptions::new(NodeName::new("/", "perihelion").expect("a name"));
        options.assign(&arguments)?;
        Ok(options)
    }

    #[test]
    fn ros_arguments_win_over_what_stood_there() {
        let options = assigned(
            "--ros-args -r __node:=eye -r __ns:=/robot -r image:=/cam/image_raw -p clip:=8 -p fps:=2 -p max_age:=0.5 \
             -p prompt:=Clear?",
        )
        .unwrap();
        assert_eq!((options.clip_frames, options.clip_rate_hz, options.prompt.as_str()), (8, 2.0, "Clear?"));
        assert_eq!(options.max_age, Duration::from_millis(500));
        let topics = options.topics().unwrap();
        let image = options.image_topics().unwrap().remove(0).topic;
        assert_eq!((image.as_str(), topics.answer.as_str()), ("/cam/image_raw", "/robot/eye/answer"));
        assert_eq!(topics.diagnostics, "/diagnostics");
    }

    #[test]
    fn the_compressed_topic_follows_its_base_unless_told_itself() {
        let image = |line: &str| {
            assigned(&format!("--ros-args -p image_transport:=compressed {line}"))
                .unwrap()
                .image_topics()
                .unwrap()
                .remove(0)
                .topic
        };
        assert_eq!(image(""), "/image/compressed");
        assert_eq!(image("-r image:=/cam/image_raw"), "/cam/image_raw/compressed");
        assert_eq!(image("-r image:=/cam/image_raw -r image/compressed:=/jpeg"), "/jpeg");
    }

    #[test]
    fn quality_of_service_is_set_topic_by_topic() {
        let given = "--ros-args -r __ns:=/robot -r __node:=eye -r image:=/cam/image_raw \
             -p qos_overrides./cam/image_raw.subscription.reliability:=reliable \
             -p qos_overrides./robot/eye/answer.publisher.durability:=volatile \
             -p qos_overrides./robot/eye/answer.publisher.depth:=3";
        let options = assigned(given).unwrap();
        let reliability = |options: &NodeOptions| options.image_topics().unwrap()[0].reliability;
        assert_eq!(reliability(&options), ImageReliability::Reliable);
        let (latched, side) = (Delivery::Latched { kept: 1 }, Side::Publisher);
        let qos = options.qos_overrides.apply("/robot/eye/answer", side, latched).qos();
        assert_eq!(qos, Qos { is_reliable: true, is_latched: false, depth: 3 });
        assert_eq!(options.qos_overrides.apply("/robot/eye/answer/json", side, latched), latched);
        let (declarations, again) = (options.parameters(), options.parameters());
        let name = "qos_overrides./robot/eye/answer.publisher.depth";
        assert_eq!(declarations.get(name), Some(&Value::Integer(3)));
        assert_eq!(again.iter().filter(|(one, _)| one.name.starts_with("qos_overrides")).count(), 3);
        assert_eq!(reliability(&assigned("").unwrap()), ImageReliability::Auto);
    }

    #[test]
    fn quality_of_service_that_cannot_be_is_refused_or_named() {
        let given = |parameter: &str| {
            let words = ["--ros-args", "-p", parameter].map(str::to_owned);
            let (arguments, _) = RosArguments::split(words).unwrap();
            NodeOptions::new(NodeName::new("/", "eye").unwrap()).assign(&arguments)
        };
        for bad in ["publisher.reliability:=perhaps", "publisher.depth:=0", "publisher.depth:=many"] {
            let error = given(&format!("qos_overrides./eye/answer.{bad}")).unwrap_err().to_string();
            assert!(error.contains("qos_overrides./eye/answer.publisher"), "{error}");
        }
        for nobody_s in
            ["/eye/answer.subscription.depth", "/answer.publisher.depth", "/image.subscription.depth"]
        {
            let name = format!("qos_overrides.{nobody_s}");
            assert_eq!(given(&format!("{name}:=5")).unwrap(), [name]);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in
            ["clip:=0", "max_age:=-1", "max_age:=.nan", "image_transport:=theora", "fps:=0", "max_rate:=-2"]
        {
            assert!(assigned(&format!("--ros-args -p {bad}")).is_err(), "{bad}");
        }
        assert!(assigned("--ros-args -r __node:=two-words").is_err());
    }
}
