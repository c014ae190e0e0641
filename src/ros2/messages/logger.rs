//! `rcl_interfaces`: what the services of a log's levels carry.

use serde::{Deserialize, Serialize};

use super::SetResult;

/// `rcl_interfaces/msg/LoggerLevel`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggerLevel {
    /// The logger: a node's name with dots.
    pub name: String,
    /// 0 not set, 10 debug, 20 info, 30 warning, 40 error, 50 fatal.
    pub level: u32,
}

/// The request of `GetLoggerLevels`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggersRequest {
    /// The loggers asked about.
    pub names: Vec<String>,
}

/// The reply of `GetLoggerLevels`, and the request of `SetLoggerLevels`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggerLevels {
    /// One level a logger.
    pub levels: Vec<LoggerLevel>,
}

/// The reply of `SetLoggerLevels`; its results are laid out as those of parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLevelsReply {
    /// One result a level.
    pub results: Vec<SetResult>,
}
