//! What a node of this program would be called under `--ros-args`, without an engine.

use log::LevelFilter;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::cli::{Context, Usage};
use crate::ros2::arguments::RosArguments;
use crate::ros2::names::NodeName;
use crate::ros2::node::NodeOptions;
use crate::ros2::parameters::Value;
use crate::runtime::reason::AnswerSettings;

/// Names, levels and parameters, as they count.
#[derive(Debug, Serialize)]
pub(super) struct Resolved {
    node: String,
    namespace: String,
    logger: String,
    log_level: String,
    rosout: bool,
    /// Absolute names by the node's own.
    topics: Map<String, Json>,
    services: Vec<String>,
    parameters: Map<String, Json>,
    /// Set, and not this node's.
    unknown_parameters: Vec<String>,
}

impl Resolved {
    /// `None` without `--ros-args`.
    ///
    /// # Errors
    /// What `run` would refuse.
    pub(super) fn of(context: &Context) -> anyhow::Result<Option<Self>> {
        if context.ros == RosArguments::default() {
            return Ok(None);
        }
        Self::read(&context.ros).map(Some).map_err(|error| Usage(error.to_string()).into())
    }

    fn read(ros: &RosArguments) -> anyhow::Result<Self> {
        let mut node = NodeOptions::new(NodeName::new("/", "perihelion")?);
        node.answers = Some(AnswerSettings::default());
        let unknown_parameters = node.assign(ros)?;
        let logger = node.name.logger();
        let log_level = ros.log_level(&logger).unwrap_or(LevelFilter::Info).to_string().to_lowercase();
        let topics = node.topic_names()?;
        Ok(Self {
            node: node.name.to_string(),
            namespace: node.name.namespace().to_owned(),
            logger,
            log_level,
            rosout: !ros.rosout_disabled,
            topics: topics.into_iter().map(|(ours, name)| (ours.to_owned(), json!(name))).collect(),
            services: node.service_names()?.into(),
            parameters: node
                .parameters()
                .iter()
                .map(|(declaration, value)| (declaration.name.to_string(), as_json(value)))
                .collect(),
            unknown_parameters,
        })
    }

    /// Rows of text.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let renamed =
            self.topics.iter().map(|(ours, name)| format!("{ours} {}", name.as_str().unwrap_or("")));
        vec![
            ("node", format!("{}, logs from {}", self.node, self.log_level)),
            ("topics", renamed.collect::<Vec<_>>().join(", ")),
        ]
    }
}

fn as_json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Double(value) => json!(value),
        Value::Text(value) => json!(value),
        Value::Texts(values) => json!(values),
    }
}
