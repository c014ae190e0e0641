//! The messages of Foxglove's WebSocket protocol, as far as they are spoken here: those of `foxglove.sdk.v1`, which are those of
//! `foxglove.websocket.v1` under a newer name.
//!
//! Source: <https://github.com/foxglove/ws-protocol/blob/main/docs/spec.md>.

use serde::Deserialize;
use serde_json::{Value, json};

use super::hub::{Said, Told};
use crate::ros2::messages::definition;

/// What stands before a message's data.
const MESSAGE_DATA: u8 = 1;

/// What is wrong, as far as a viewer is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Warning = 1,
    Error = 2,
}

/// What a viewer says in words.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Asked {
    Subscribe {
        subscriptions: Vec<Subscription>,
    },
    Unsubscribe {
        subscription_ids: Vec<u32>,
    },
    Advertise {
        channels: Vec<Announced>,
    },
    Unadvertise {
        channel_ids: Vec<u32>,
    },
    GetParameters {
        parameter_names: Vec<String>,
        id: Option<String>,
    },
    SetParameters {
        parameters: Vec<Setting>,
        id: Option<String>,
    },
    SubscribeParameterUpdates {
        parameter_names: Vec<String>,
    },
    UnsubscribeParameterUpdates {
        parameter_names: Vec<String>,
    },
    #[serde(other)]
    Other,
}

/// A wish to hear a channel, under the viewer's own number.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subscription {
    pub(super) id: u32,
    pub(super) channel_id: usize,
}

/// A topic on which a viewer will speak, under its own number.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Announced {
    pub(super) id: u32,
    pub(super) topic: String,
    pub(super) encoding: String,
    pub(super) schema_name: String,
}

/// A parameter and what it is to be; nothing unsets it.
#[derive(Debug, Deserialize)]
pub(super) struct Setting {
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: Value,
}

/// A message of a viewer's channel, and its data.
pub(super) fn data(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (&[opcode, a, b, c, d], payload) = bytes.split_first_chunk::<5>()?;
    (opcode == MESSAGE_DATA).then_some((u32::from_le_bytes([a, b, c, d]), payload))
}

/// Who speaks, and what may be done beside listening.
pub(super) fn server_info(node: Option<&str>, run: &str) -> String {
    let name = node.map_or_else(|| "perihelion".to_owned(), |node| format!("perihelion {node}"));
    // Foxglove takes types of ROS 2 for known where a distribution is named; those that are spoken here are the same in all of them.
    let distribution = std::env::var("ROS_DISTRO").ok().filter(|name| !name.is_empty());
    json!({
        "op": "serverInfo",
        "name": name,
        "capabilities": ["clientPublish", "parameters", "parametersSubscribe"],
        "supportedEncodings": ["cdr"],
        "metadata": { "ROS_DISTRO": distribution.as_deref().unwrap_or("jazzy") },
        "sessionId": run,
    })
    .to_string()
}

/// What there is to hear; nothing of a type whose definition is not known.
pub(super) fn advertise(channels: &[Told]) -> String {
    let told = channels.iter().filter_map(|Told { channel, topic, ros_type }| {
        Some(json!({
            "id": channel,
            "topic": topic,
            "encoding": "cdr",
            "schemaName": ros_type,
            "schema": definition(ros_type)?,
            "schemaEncoding": "ros2msg",
        }))
    });
    json!({ "op": "advertise", "channels": told.collect::<Vec<_>>() }).to_string()
}

/// A message of a channel that was subscribed to under this number.
pub(super) fn message(subscription: u32, said: &Said) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(13 + said.payload.len());
    bytes.push(MESSAGE_DATA);
    bytes.extend_from_slice(&subscription.to_le_bytes());
    bytes.extend_from_slice(&said.at_ns.max(0).cast_unsigned().to_le_bytes());
    bytes.extend_from_slice(&said.payload);
    bytes
}

/// Something that a person should see.
pub(super) fn status(level: Level, words: &str) -> String {
    json!({ "op": "status", "level": level as u8, "message": words }).to_string()
}

/// What parameters are; `id` is that of the question.
pub(super) fn parameter_values(parameters: Vec<Value>, id: Option<&str>) -> String {
    let mut told = json!({ "op": "parameterValues", "parameters": parameters });
    if let Some(id) = id {
        told["id"] = json!(id);
    }
    told.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ros2::messages::{Message, Text};

    #[test]
    fn what_viewers_say_is_read_as_the_protocol_has_it() {
        let read = |text: &str| serde_json::from_str::<Asked>(text);
        assert!(matches!(
            read(r#"{"op": "subscribe", "subscriptions": [{"id": 4, "channelId": 2}]}"#).unwrap(),
            Asked::Subscribe { subscriptions } if (subscriptions[0].id, subscriptions[0].channel_id) == (4, 2)
        ));
        assert!(matches!(
            read(r#"{"op": "unsubscribe", "subscriptionIds": [4]}"#).unwrap(),
            Asked::Unsubscribe { subscription_ids } if subscription_ids == [4]
        ));
        let advertise = r#"{"op": "advertise", "channels": [{"id": 1, "topic": "/a", "encoding": "cdr",
            "schemaName": "std_msgs/msg/String", "schema": "string data", "schemaEncoding": "ros2msg"}]}"#;
        assert!(
            matches!(read(advertise).unwrap(), Asked::Advertise { channels } if channels[0].topic == "/a")
        );
        let set =
            r#"{"op": "setParameters", "parameters": [{"name": "a", "value": 2}, {"name": "b"}], "id": "x"}"#;
        assert!(matches!(
            read(set).unwrap(),
            Asked::SetParameters { parameters, id: Some(_) } if parameters[0].value == 2 && parameters[1].value.is_null()
        ));
        let get = r#"{"op": "getParameters", "parameterNames": []}"#;
        assert!(matches!(read(get).unwrap(), Asked::GetParameters { id: None, .. }));
        assert!(matches!(read(r#"{"op": "fetchAsset", "uri": "x"}"#).unwrap(), Asked::Other));
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"op": "subscribe"}"#,
            r#"{"op": 1}"#,
            r#"{"op": "unsubscribe", "subscriptionIds": [-1]}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(data(&[1, 2, 0, 0, 0, 9, 8]), Some((2, &[9, 8][..])));
        assert_eq!(data(&[1, 2, 0, 0, 0]), Some((2, &[][..])));
        for bad in [&[][..], &[1, 2, 0, 0], &[2, 2, 0, 0, 0, 9]] {
            assert_eq!(data(bad), None);
        }
    }

    #[test]
    fn what_is_said_is_written_as_the_protocol_has_it() {
        let said = Said { channel: 3, at_ns: 258, payload: Arc::new(vec![9, 8]) };
        assert_eq!(message(7, &said), [1, 7, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 9, 8]);
        let known = Told { channel: 3, topic: "/answer".into(), ros_type: Text::TYPE };
        let unknown = Told { channel: 4, topic: "/odd".into(), ros_type: "odd_msgs/msg/Odd" };
        let told: Value = serde_json::from_str(&advertise(&[known, unknown])).unwrap();
        let expected = json!({"op": "advertise", "channels": [{"id": 3, "topic": "/answer", "encoding": "cdr",
            "schemaName": "std_msgs/msg/String", "schema": "string data\n", "schemaEncoding": "ros2msg"}]});
        assert_eq!(told, expected);
        assert_eq!(
            parameter_values(vec![json!({"name": "a"})], None),
            r#"{"op":"parameterValues","parameters":[{"name":"a"}]}"#
        );
        assert_eq!(status(Level::Error, "no"), r#"{"op":"status","level":2,"message":"no"}"#);
    }
}
