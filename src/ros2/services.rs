//! The services by which tools ask a node what its types are and how much it logs.
//!
//! `rclcpp` offers those of the log only where `enable_logger_service` is set. They are always here: to see more of a robot
//! that runs, nobody should have to stop it.

use serde::{Deserialize, Serialize};

use super::arguments::Remap;
use super::logging;
use super::messages::{
    LoggerLevel, LoggerLevels, LoggersRequest, SetLevelsReply, SetResult, TypeDescription, TypeReply,
    TypeRequest, decode, encode,
};
use super::names::{NameError, NodeName};
use super::transport::{ServiceHandler, Transport, TransportError};

/// The absolute names of the three services of a node: of types, and of the log's levels to get and to set.
///
/// # Errors
/// If what one is remapped to is not allowed.
pub fn names(node: &NodeName, remaps: &[Remap]) -> Result<[String; 3], NameError> {
    let name = |service: &str| node.service(&format!("~/{service}"), remaps);
    Ok([name("get_type_description")?, name("get_logger_levels")?, name("set_logger_levels")?])
}

/// Offers the services under their [`names`].
///
/// # Errors
/// If the transport cannot offer them.
pub fn offer(transport: &dyn Transport, names: &[String; 3]) -> Result<(), TransportError> {
    let [types, get_levels, set] = names;
    transport.serve(types, "type_description_interfaces/srv/GetTypeDescription", with(describe))?;
    transport.serve(get_levels, "rcl_interfaces/srv/GetLoggerLevels", with(levels))?;
    transport.serve(set, "rcl_interfaces/srv/SetLoggerLevels", with(set_levels))
}

/// A handler that decodes, serves, encodes and replies at once; what it cannot read has no reply.
pub(super) fn with<Request, Reply>(serve: impl Fn(Request) -> Reply + Send + 'static) -> ServiceHandler
where
    Request: for<'a> Deserialize<'a>,
    Reply: Serialize,
{
    Box::new(move |body, order, reply| {
        if let Ok(request) = decode::<Request>(body, order) {
            reply.give(encode(&serve(request)));
        }
    })
}

fn describe(request: TypeRequest) -> TypeReply {
    let refused = |failure_reason| TypeReply { failure_reason, ..TypeReply::default() };
    let Some(description) = TypeDescription::of(&request.type_name) else {
        // In the words of rcl.
        return refused("Type not currently in use by this node".to_owned());
    };
    let hash = description.hash();
    if hash != request.type_hash {
        let TypeRequest { type_name, type_hash, .. } = request;
        return refused(format!("the hash of {type_name} is {hash} here, and {type_hash:?} was asked for"));
    }
    let type_sources = if request.include_type_sources { description.sources() } else { Vec::new() };
    TypeReply { successful: true, type_description: description, type_sources, ..TypeReply::default() }
}

fn levels(request: LoggersRequest) -> LoggerLevels {
    let level = |name: String| LoggerLevel { level: logging::severity_of(&name).unwrap_or(0), name };
    LoggerLevels { levels: request.names.into_iter().map(level).collect() }
}

fn set_levels(request: LoggerLevels) -> SetLevelsReply {
    let set = |LoggerLevel { name, level }: LoggerLevel| {
        let outcome = logging::set_severity(&name, level);
        SetResult { successful: outcome.is_ok(), reason: outcome.err().unwrap_or_default() }
    };
    SetLevelsReply { results: request.levels.into_iter().map(set).collect() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ros2::messages::ByteOrder;
    use crate::ros2::transport::Reply;

    /// What a handler that replies at once says.
    pub(in crate::ros2) fn called(mut handler: ServiceHandler, request: &[u8]) -> Option<Vec<u8>> {
        let (sender, heard) = std::sync::mpsc::channel();
        let reply = Reply::by(move |body| sender.send(body).expect("it is waited for"));
        handler(request, ByteOrder::Little, reply);
        heard.try_recv().expect("it replies at once, or never")
    }

    fn ask(type_name: &str, type_hash: &str, include_type_sources: bool) -> TypeReply {
        let request =
            TypeRequest { type_name: type_name.into(), type_hash: type_hash.into(), include_type_sources };
        let reply = called(with(describe), &encode(&request)).expect("a request that can be read");
        decode(&reply, ByteOrder::Little).expect("a reply that can be read")
    }

    #[test]
    fn types_are_described_to_who_knows_their_hash() {
        let hash = TypeDescription::of("sensor_msgs/msg/Image").unwrap().hash();
        let reply = ask("sensor_msgs/msg/Image", &hash, true);
        assert!(reply.successful, "{}", reply.failure_reason);
        let within: Vec<&str> =
            reply.type_description.referenced.iter().map(|one| one.type_name.as_str()).collect();
        assert_eq!(within, ["builtin_interfaces/msg/Time", "std_msgs/msg/Header"]);
        assert_eq!(reply.type_sources.len(), 3);
        assert!(reply.type_sources[0].raw_file_contents.contains("uint8[] data"));
        assert_eq!(ask("sensor_msgs/msg/Image", &hash, false).type_sources, []);
        for (name, hash, why) in [
            ("sensor_msgs/msg/Image", "RIHS01_00", "is RIHS01_d31d41a9"),
            ("sensor_msgs/msg/Imu", &hash, "not currently in use"),
        ] {
            let reply = ask(name, hash, true);
            assert!(!reply.successful && reply.failure_reason.contains(why), "{reply:?}");
        }
        assert_eq!(called(with(describe), &[9, 0, 0, 0]), None);
    }

    #[test]
    fn the_level_of_another_logger_is_not_ours_to_set() {
        let request = LoggerLevels { levels: vec![LoggerLevel { name: "somebody".into(), level: 10 }] };
        let results = set_levels(request).results;
        assert!(!results[0].successful && results[0].reason.contains("somebody"), "{results:?}");
        let told = levels(LoggersRequest { names: vec!["somebody".into()] }).levels;
        assert_eq!((told[0].name.as_str(), told[0].level), ("somebody", 0));
    }
}
