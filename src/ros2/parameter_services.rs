//! The six services by which `ros2 param` reads and sets a node's parameters.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ros2::messages::{
    ByteOrder, DescribeReply, Descriptor, GetTypesReply, ListReply, ListRequest, NamesRequest,
    ParameterValue, SetAtomicallyReply, SetReply, SetRequest, SetResult, ValuesReply, WireParameter, decode,
    encode,
};
use crate::ros2::names::NodeName;
use crate::ros2::parameters::{Parameters, Value};
use crate::ros2::transport::{ServiceHandler, Transport, TransportError};

/// Parameters that services and the node's own threads share.
pub type SharedParameters = Arc<Mutex<Parameters>>;

/// Offers the services under the node's name.
///
/// # Errors
/// If the transport cannot offer them.
pub fn offer(
    transport: &dyn Transport,
    node: &NodeName,
    parameters: &SharedParameters,
) -> Result<(), TransportError> {
    let name = |service: &str| format!("{node}/{service}");
    transport.serve(&name("list_parameters"), "rcl_interfaces/srv/ListParameters", with(parameters, list))?;
    transport.serve(&name("get_parameters"), "rcl_interfaces/srv/GetParameters", with(parameters, get))?;
    transport.serve(
        &name("get_parameter_types"),
        "rcl_interfaces/srv/GetParameterTypes",
        with(parameters, get_types),
    )?;
    transport.serve(
        &name("describe_parameters"),
        "rcl_interfaces/srv/DescribeParameters",
        with(parameters, describe),
    )?;
    transport.serve(&name("set_parameters"), "rcl_interfaces/srv/SetParameters", with(parameters, set))?;
    transport.serve(
        &name("set_parameters_atomically"),
        "rcl_interfaces/srv/SetParametersAtomically",
        with(parameters, set_atomically),
    )
}

/// A handler that decodes, serves and encodes.
fn with<Request, Reply>(
    parameters: &SharedParameters,
    serve: impl Fn(&mut Parameters, Request) -> Reply + Send + 'static,
) -> ServiceHandler
where
    Request: for<'a> Deserialize<'a>,
    Reply: Serialize,
{
    let parameters = Arc::clone(parameters);
    Box::new(move |body: &[u8], order: ByteOrder| {
        let request = decode::<Request>(body, order).ok()?;
        let reply = serve(&mut parameters.lock().unwrap_or_else(PoisonError::into_inner), request);
        Some(encode(&reply))
    })
}

fn list(parameters: &mut Parameters, request: ListRequest) -> ListReply {
    // Our names have no dots, so that depth and prefixes of results have no meaning.
    let wanted = |name: &str| {
        request.prefixes.is_empty()
            || request.prefixes.iter().any(|prefix| prefix.is_empty() || prefix == name)
    };
    let names = parameters.iter().map(|(declaration, _)| declaration.name);
    ListReply { names: names.filter(|name| wanted(name)).map(str::to_owned).collect(), prefixes: Vec::new() }
}

fn get(parameters: &mut Parameters, request: NamesRequest) -> ValuesReply {
    // As in rclcpp: one unknown name, and there are no values at all.
    let values: Option<Vec<ParameterValue>> =
        request.names.iter().map(|name| parameters.get(name).map(to_wire)).collect();
    ValuesReply { values: values.unwrap_or_default() }
}

fn get_types(parameters: &mut Parameters, request: NamesRequest) -> GetTypesReply {
    let types: Option<Vec<u8>> = request.names.iter().map(|name| parameters.get(name).map(kind)).collect();
    GetTypesReply { types: types.unwrap_or_default() }
}

fn describe(parameters: &mut Parameters, request: NamesRequest) -> DescribeReply {
    let describe_one = |name: &String| {
        let (declaration, value) = parameters.iter().find(|(declaration, _)| declaration.name == name)?;
        Some(Descriptor {
            name: name.clone(),
            kind: kind(value),
            description: declaration.description.to_owned(),
            read_only: declaration.read_only,
            ..Descriptor::default()
        })
    };
    let descriptors: Option<Vec<Descriptor>> = request.names.iter().map(describe_one).collect();
    DescribeReply { descriptors: descriptors.unwrap_or_default() }
}

fn set(parameters: &mut Parameters, request: SetRequest) -> SetReply {
    let set_one = |parameter: WireParameter| {
        result(fitting(parameters, &parameter).and_then(|value| parameters.set(&parameter.name, value)))
    };
    SetReply { results: request.parameters.into_iter().map(set_one).collect() }
}

fn set_atomically(parameters: &mut Parameters, request: SetRequest) -> SetAtomicallyReply {
    let mut trial = parameters.clone();
    let all = request
        .parameters
        .iter()
        .try_for_each(|wire| fitting(&trial, wire).and_then(|value| trial.set(&wire.name, value)));
    if all.is_ok() {
        *parameters = trial;
    }
    SetAtomicallyReply { result: result(all) }
}

fn result(outcome: Result<(), String>) -> SetResult {
    SetResult { successful: outcome.is_ok(), reason: outcome.err().unwrap_or_default() }
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Bool(_) => 1,
        Value::Integer(_) => 2,
        Value::Double(_) => 3,
        Value::Text(_) => 4,
    }
}

pub(super) fn to_wire(value: &Value) -> ParameterValue {
    let mut wire = ParameterValue { kind: kind(value), ..ParameterValue::default() };
    match value {
        Value::Bool(value) => wire.bool_value = *value,
        Value::Integer(value) => wire.integer_value = *value,
        Value::Double(value) => wire.double_value = *value,
        Value::Text(value) => wire.string_value.clone_from(value),
    }
    wire
}

/// A value of the type that the parameter was declared with; rclcpp converts none either.
fn fitting(parameters: &Parameters, wire: &WireParameter) -> Result<Value, String> {
    let value = from_wire(wire)?;
    let name = |value: &Value| ["bool", "integer", "double", "string"][usize::from(kind(value)) - 1];
    match parameters.get(&wire.name) {
        Some(declared) if kind(declared) != kind(&value) => Err(format!(
            "Wrong parameter type, parameter {{{}}} is of type {{{}}}, setting it to {{{}}} is not allowed.",
            wire.name,
            name(declared),
            name(&value)
        )),
        _ => Ok(value),
    }
}

fn from_wire(parameter: &WireParameter) -> Result<Value, String> {
    let value = &parameter.value;
    match value.kind {
        1 => Ok(Value::Bool(value.bool_value)),
        2 => Ok(Value::Integer(value.integer_value)),
        3 => Ok(Value::Double(value.double_value)),
        4 => Ok(Value::Text(value.string_value.clone())),
        0 => Err(format!("`{}` cannot be undeclared", parameter.name)),
        _ => Err(format!("`{}` takes one value, not an array", parameter.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::node::NodeOptions;

    fn parameters() -> Parameters {
        NodeOptions::new(NodeName::new("/", "eye").unwrap()).parameters()
    }

    fn wire(name: &str, value: &Value) -> WireParameter {
        WireParameter { name: name.to_owned(), value: to_wire(value) }
    }

    #[test]
    fn values_types_and_descriptions_are_told_for_known_names() {
        let mut parameters = parameters();
        let names = list(&mut parameters, ListRequest::default()).names;
        assert!(names.iter().any(|name| name == "prompt"));
        let ask =
            |names: &[&str]| NamesRequest { names: names.iter().map(|name| name.to_string()).collect() };
        assert_eq!(get(&mut parameters, ask(&["clip", "max_age"])).values.len(), 2);
        assert_eq!(get(&mut parameters, ask(&["clip", "nothing"])).values.len(), 0);
        assert_eq!(get_types(&mut parameters, ask(&["clip", "max_age", "prompt"])).types, [2, 3, 4]);
        let described = describe(&mut parameters, ask(&["clip", "prompt"])).descriptors;
        assert_eq!(described.iter().map(|d| d.read_only).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_cannot_be_set_says_why_and_atomic_sets_are_all_or_nothing() {
        let mut parameters = parameters();
        let (prompt, clip) =
            (wire("prompt", &Value::Text("Clear?".into())), wire("clip", &Value::Integer(3)));
        let request = || SetRequest { parameters: vec![prompt.clone(), clip.clone()] };
        let together = set_atomically(&mut parameters, request()).result;
        assert!(!together.successful && together.reason.contains("read-only"), "{together:?}");
        assert_eq!(parameters.text("prompt"), "What do you see?");
        let each = set(&mut parameters, request()).results;
        assert_eq!(each.iter().map(|result| result.successful).collect::<Vec<_>>(), [true, false]);
        assert_eq!(parameters.text("prompt"), "Clear?");
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let mut parameters = parameters();
        let wires = [wire("prompt", &Value::Integer(3)), wire("max_age", &Value::Integer(3))];
        for parameter in wires {
            let each = set(&mut parameters, SetRequest { parameters: vec![parameter.clone()] }).results;
            assert!(!each[0].successful && each[0].reason.contains("{integer} is not allowed"), "{each:?}");
            let all = set_atomically(&mut parameters, SetRequest { parameters: vec![parameter] }).result;
            assert!(!all.successful, "{all:?}");
        }
        assert_eq!(parameters.text("prompt"), "What do you see?");
    }

    #[test]
    fn a_handler_answers_requests_and_nothing_else() {
        let shared = Arc::new(Mutex::new(parameters()));
        let mut handler = with(&shared, get);
        let request = encode(&NamesRequest { names: vec!["prompt".into()] });
        let reply = handler(&request, ByteOrder::Little).unwrap();
        let reply: ValuesReply = decode(&reply, ByteOrder::Little).unwrap();
        assert_eq!(reply.values[0].string_value, "What do you see?");
        assert_eq!(handler(&request[..6], ByteOrder::Little), None);
    }
}
