//! `diagnostic_msgs/DiagnosticArray` and `rcl_interfaces/Log`.

use serde::{Deserialize, Serialize};

use super::{Header, Message, Time, encode, padding_bytes};

/// `diagnostic_msgs/msg/KeyValue`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// What is measured.
    pub key: String,
    /// What it is now.
    pub value: String,
}

/// `diagnostic_msgs/msg/DiagnosticStatus`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticStatus {
    /// 0 fine, 1 warning, 2 error, 3 stale.
    pub level: u8,
    /// `node: task`.
    pub name: String,
    /// The state in a few words.
    pub message: String,
    /// What the state is about.
    pub hardware_id: String,
    /// The figures behind it.
    pub values: Vec<KeyValue>,
}

/// `diagnostic_msgs/msg/DiagnosticArray`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticArray {
    /// When.
    pub header: Header,
    /// One entry per task.
    pub status: Vec<DiagnosticStatus>,
}

impl DiagnosticArray {
    /// The body, with trailing spaces in the last value where RTPS would fragment a body of odd length.
    pub fn encode_padded(&mut self) -> Vec<u8> {
        let body = encode(self);
        let missing = padding_bytes(body.len());
        let last = self.status.last_mut().and_then(|status| status.values.last_mut());
        let Some(last) = last.filter(|_| 0 < missing) else { return body };
        last.value.extend(std::iter::repeat_n(' ', missing));
        encode(self)
    }
}

impl Message for DiagnosticArray {
    const TYPE: &'static str = "diagnostic_msgs/msg/DiagnosticArray";
}

/// `rcl_interfaces/msg/Log`: a line of `/rosout`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// When.
    pub stamp: Time,
    /// 10 debug, 20 info, 30 warning, 40 error, 50 fatal.
    pub level: u8,
    /// The logger: the node's name with dots.
    pub name: String,
    /// The line.
    pub msg: String,
    /// The source file that wrote it.
    pub file: String,
    /// The function that wrote it.
    pub function: String,
    /// The line in the source file.
    pub line: u32,
}

impl Message for Log {
    const TYPE: &'static str = "rcl_interfaces/msg/Log";
}

#[cfg(test)]
#[test]
fn long_arrays_are_multiples_of_four_and_read_back() {
    use crate::ros2::messages::{ByteOrder, decode};
    for n in 0..8 {
        let values = vec![KeyValue { key: "k".repeat(100), value: "v".repeat(n) }; 12];
        let status = DiagnosticStatus { level: 1, values, ..DiagnosticStatus::default() };
        let mut array = DiagnosticArray { status: vec![status], ..DiagnosticArray::default() };
        let body = array.encode_padded();
        assert_eq!(body.len() % 4, 0);
        assert_eq!(decode::<DiagnosticArray>(&body, ByteOrder::Little).unwrap(), array);
    }
}
