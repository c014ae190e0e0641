//! `rcl_interfaces`: what the six parameter services and `/parameter_events` carry.

use serde::{Deserialize, Serialize};

use super::{Message, Time};

/// `rcl_interfaces/msg/ParameterValue`: a tag and one field per type, of which the tag names one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ParameterValue {
    /// 0 not set, 1 bool, 2 integer, 3 double, 4 string, 5 bytes, 6 bools, 7 integers, 8 doubles, 9 strings.
    pub kind: u8,
    /// Counts if `kind` is 1.
    pub bool_value: bool,
    /// Counts if `kind` is 2.
    pub integer_value: i64,
    /// Counts if `kind` is 3.
    pub double_value: f64,
    /// Counts if `kind` is 4.
    pub string_value: String,
    /// Counts if `kind` is 5.
    pub byte_array_value: Vec<u8>,
    /// Counts if `kind` is 6.
    pub bool_array_value: Vec<bool>,
    /// Counts if `kind` is 7.
    pub integer_array_value: Vec<i64>,
    /// Counts if `kind` is 8.
    pub double_array_value: Vec<f64>,
    /// Counts if `kind` is 9.
    pub string_array_value: Vec<String>,
}

/// `rcl_interfaces/msg/Parameter`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WireParameter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: ParameterValue,
}

/// `rcl_interfaces/msg/ParameterDescriptor`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The parameter's name.
    pub name: String,
    /// Its type's tag.
    pub kind: u8,
    /// What it does.
    pub description: String,
    /// Rules in words.
    pub additional_constraints: String,
    /// Whether it is fixed once the node runs.
    pub read_only: bool,
    /// Whether its type may change.
    pub dynamic_typing: bool,
    /// From, to and step; at most one.
    pub floating_point_range: Vec<(f64, f64, f64)>,
    /// From, to and step; at most one.
    pub integer_range: Vec<(i64, i64, u64)>,
}

/// `rcl_interfaces/msg/SetParametersResult`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetResult {
    /// Whether the value was taken.
    pub successful: bool,
    /// Why not.
    pub reason: String,
}

/// The request of `GetParameters`, `GetParameterTypes` and `DescribeParameters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesRequest {
    /// The parameters asked about.
    pub names: Vec<String>,
}

/// The reply of `GetParameters`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ValuesReply {
    /// One value per name.
    pub values: Vec<ParameterValue>,
}

/// The reply of `GetParameterTypes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetTypesReply {
    /// One tag per name.
    pub types: Vec<u8>,
}

/// The reply of `DescribeParameters`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DescribeReply {
    /// One descriptor per name.
    pub descriptors: Vec<Descriptor>,
}

/// The request of `SetParameters` and `SetParametersAtomically`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SetRequest {
    /// The values wanted.
    pub parameters: Vec<WireParameter>,
}

/// The reply of `SetParameters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetReply {
    /// One result per parameter.
    pub results: Vec<SetResult>,
}

/// The reply of `SetParametersAtomically`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAtomicallyReply {
    /// One result for all.
    pub result: SetResult,
}

/// The request of `ListParameters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRequest {
    /// Only names under these; all names if there is none.
    pub prefixes: Vec<String>,
    /// How many levels of dots; 0 is any.
    pub depth: u64,
}

/// The reply of `ListParameters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReply {
    /// The names.
    pub names: Vec<String>,
    /// The prefixes of the names.
    pub prefixes: Vec<String>,
}

/// `rcl_interfaces/msg/ParameterEvent`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ParameterEvent {
    /// When.
    pub stamp: Time,
    /// The node's full name.
    pub node: String,
    /// Declared just now.
    pub new_parameters: Vec<WireParameter>,
    /// Set just now.
    pub changed_parameters: Vec<WireParameter>,
    /// Gone just now.
    pub deleted_parameters: Vec<WireParameter>,
}

impl Message for ParameterEvent {
    const TYPE: &'static str = "rcl_interfaces/msg/ParameterEvent";
}
