//! Values of parameters as messages carry them.

use crate::ros2::messages::{ParameterValue, WireParameter};
use crate::ros2::parameters::{Parameters, Value};

/// The tag of a value's type.
pub(super) fn kind(value: &Value) -> u8 {
    match value {
        Value::Bool(_) => 1,
        Value::Integer(_) => 2,
        Value::Double(_) => 3,
        Value::Text(_) => 4,
        Value::Texts(_) => 9,
    }
}

/// The value as messages carry it.
pub(super) fn to_wire(value: &Value) -> ParameterValue {
    let mut wire = ParameterValue { kind: kind(value), ..ParameterValue::default() };
    match value {
        Value::Bool(value) => wire.bool_value = *value,
        Value::Integer(value) => wire.integer_value = *value,
        Value::Double(value) => wire.double_value = *value,
        Value::Text(value) => wire.string_value.clone_from(value),
        Value::Texts(values) => wire.string_array_value.clone_from(values),
    }
    wire
}

/// A value of the type that the parameter was declared with; rclcpp converts none either.
///
/// # Errors
/// What is wrong with it, as rclcpp says it.
pub(super) fn fitting(parameters: &Parameters, wire: &WireParameter) -> Result<Value, String> {
    // A tool that is told `[]` cannot know of what type the list is that has nothing in it.
    if matches!(parameters.get(&wire.name), Some(Value::Texts(_))) && is_empty_array(&wire.value) {
        return Ok(Value::Texts(Vec::new()));
    }
    let value = from_wire(wire)?;
    match parameters.get(&wire.name) {
        Some(declared) if kind(declared) != kind(&value) => Err(format!(
            "Wrong parameter type, parameter {{{}}} is of type {{{}}}, setting it to {{{}}} is not allowed.",
            wire.name,
            declared.type_name(),
            value.type_name()
        )),
        _ => Ok(value),
    }
}

fn is_empty_array(value: &ParameterValue) -> bool {
    match value.kind {
        5 => value.byte_array_value.is_empty(),
        6 => value.bool_array_value.is_empty(),
        7 => value.integer_array_value.is_empty(),
        8 => value.double_array_value.is_empty(),
        9 => value.string_array_value.is_empty(),
        _ => false,
    }
}

fn from_wire(parameter: &WireParameter) -> Result<Value, String> {
    let value = &parameter.value;
    match value.kind {
        1 => Ok(Value::Bool(value.bool_value)),
        2 => Ok(Value::Integer(value.integer_value)),
        3 => Ok(Value::Double(value.double_value)),
        4 => Ok(Value::Text(value.string_value.clone())),
        9 => Ok(Value::Texts(value.string_array_value.clone())),
        0 => Err(format!("`{}` cannot be undeclared", parameter.name)),
        _ => Err(format!("`{}` takes no bytes and no array but of strings", parameter.name)),
    }
}
