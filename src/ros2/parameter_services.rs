//! The six services by which `ros2 param` reads and sets a node's parameters.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ros2::arguments::Remap;
use crate::ros2::messages::{
    DescribeReply, Descriptor, GetTypesReply, ListReply, ListRequest, NamesRequest, ParameterValue,
    SetAtomicallyReply, SetReply, SetRequest, SetResult, ValuesReply, WireParameter,
};
use crate::ros2::names::{NameError, NodeName};
use crate::ros2::parameter_store::{ParameterStore, SharedParameters};
use crate::ros2::parameter_wire::{fitting, kind, to_wire};
use crate::ros2::parameters::{Declaration, Parameters, Value};
use crate::ros2::services;
use crate::ros2::transport::{ServiceHandler, Transport, TransportError};

/// The absolute names of the six services of a node.
///
/// # Errors
/// If what one is remapped to is not allowed.
pub fn names(node: &NodeName, remaps: &[Remap]) -> Result<[String; 6], NameError> {
    let name = |service: &str| node.service(&format!("~/{service}"), remaps);
    Ok([
        name("list_parameters")?,
        name("get_parameters")?,
        name("get_parameter_types")?,
        name("describe_parameters")?,
        name("set_parameters")?,
        name("set_parameters_atomically")?,
    ])
}

/// Offers the services under their [`names`].
///
/// # Errors
/// If the transport cannot offer them.
pub fn offer(
    transport: &dyn Transport,
    names: &[String; 6],
    parameters: &SharedParameters,
) -> Result<(), TransportError> {
    let [list_name, get_name, types_name, describe_name, set_name, atomically_name] = names;
    let handlers: [(&str, &'static str, ServiceHandler); 6] = [
        (list_name, "rcl_interfaces/srv/ListParameters", reading(parameters, list)),
        (get_name, "rcl_interfaces/srv/GetParameters", reading(parameters, get)),
        (types_name, "rcl_interfaces/srv/GetParameterTypes", reading(parameters, get_types)),
        (describe_name, "rcl_interfaces/srv/DescribeParameters", reading(parameters, describe)),
        (set_name, "rcl_interfaces/srv/SetParameters", with(parameters, set)),
        (atomically_name, "rcl_interfaces/srv/SetParametersAtomically", with(parameters, set_atomically)),
    ];
    handlers.into_iter().try_for_each(|(name, ros_type, handler)| transport.serve(name, ros_type, handler))
}

/// A handler that decodes, looks at the values of one moment and encodes.
fn reading<Request, Reply>(
    parameters: &SharedParameters,
    serve: impl Fn(&Parameters, Request) -> Reply + Send + 'static,
) -> ServiceHandler
where
    Request: for<'a> Deserialize<'a>,
    Reply: Serialize,
{
    with(parameters, move |store, request| store.read(|parameters| serve(parameters, request)))
}

/// A handler that serves these parameters.
fn with<Request, Reply>(
    parameters: &SharedParameters,
    serve: impl Fn(&ParameterStore, Request) -> Reply + Send + 'static,
) -> ServiceHandler
where
    Request: for<'a> Deserialize<'a>,
    Reply: Serialize,
{
    let parameters = Arc::clone(parameters);
    services::with(move |request| serve(&parameters, request))
}

fn list(parameters: &Parameters, request: ListRequest) -> ListReply {
    // Our names have no dots, so that depth and prefixes of results have no meaning.
    let wanted = |name: &str| {
        request.prefixes.is_empty()
            || request.prefixes.iter().any(|prefix| prefix.is_empty() || prefix == name)
    };
    let names = parameters.iter().map(|(declaration, _)| &*declaration.name);
    ListReply { names: names.filter(|name| wanted(name)).map(str::to_owned).collect(), prefixes: Vec::new() }
}

/// Whether a request asks for more names than there are: each may be answered with kilobytes, and a request holds many.
fn asks_too_much(parameters: &Parameters, request: &NamesRequest) -> bool {
    parameters.iter().count() < request.names.len()
}

fn get(parameters: &Parameters, request: NamesRequest) -> ValuesReply {
    if asks_too_much(parameters, &request) {
        return ValuesReply::default();
    }
    // As in rclcpp: one unknown name, and there are no values at all.
    let values: Option<Vec<ParameterValue>> =
        request.names.iter().map(|name| parameters.get(name).map(to_wire)).collect();
    ValuesReply { values: values.unwrap_or_default() }
}

fn get_types(parameters: &Parameters, request: NamesRequest) -> GetTypesReply {
    if asks_too_much(parameters, &request) {
        return GetTypesReply::default();
    }
    let types: Option<Vec<u8>> = request.names.iter().map(|name| parameters.get(name).map(kind)).collect();
    GetTypesReply { types: types.unwrap_or_default() }
}

fn describe(parameters: &Parameters, request: NamesRequest) -> DescribeReply {
    if asks_too_much(parameters, &request) {
        return DescribeReply::default();
    }
    let describe_one = |name: &String| {
        let (declaration, value) = parameters.iter().find(|(declaration, _)| declaration.name == *name)?;
        Some(Descriptor {
            name: name.clone(),
            kind: kind(value),
            description: declaration.description.to_owned(),
            read_only: declaration.read_only,
            integer_range: range(declaration, |value| matches!(value, Value::Integer(_)))
                .map(|(least, greatest)| (least as i64, greatest as i64, 0))
                .collect(),
            floating_point_range: range(declaration, |value| matches!(value, Value::Double(_)))
                .map(|(least, greatest)| (least, greatest, 0.0))
                .collect(),
            ..Descriptor::default()
        })
    };
    let descriptors: Option<Vec<Descriptor>> = request.names.iter().map(describe_one).collect();
    DescribeReply { descriptors: descriptors.unwrap_or_default() }
}

/// The range of a declaration whose values are of this kind.
fn range(declaration: &Declaration, is_of_kind: fn(&Value) -> bool) -> impl Iterator<Item = (f64, f64)> {
    declaration.range.filter(|_| is_of_kind(&declaration.default)).into_iter()
}

fn set(parameters: &ParameterStore, request: SetRequest) -> SetReply {
    let outcomes = parameters.set_each(&request.parameters, |wire| &wire.name, fitting);
    SetReply { results: outcomes.into_iter().map(result).collect() }
}

fn set_atomically(parameters: &ParameterStore, request: SetRequest) -> SetAtomicallyReply {
    let all = |trial: &mut Parameters| request.parameters.iter().try_for_each(|wire| set_wire(trial, wire));
    SetAtomicallyReply { result: result(parameters.change(all)) }
}

fn set_wire(parameters: &mut Parameters, wire: &WireParameter) -> Result<(), String> {
    let value = fitting(parameters, wire)?;
    parameters.set(&wire.name, value)
}

fn result(outcome: Result<(), String>) -> SetResult {
    SetResult { successful: outcome.is_ok(), reason: outcome.err().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::messages::{ByteOrder, decode, encode};
    use crate::ros2::node::NodeOptions;

    fn parameters() -> Parameters {
        NodeOptions::new(NodeName::new("/", "eye").unwrap()).parameters()
    }

    fn store() -> ParameterStore {
        ParameterStore::new(parameters())
    }

    fn wire(name: &str, value: &Value) -> WireParameter {
        WireParameter { name: name.to_owned(), value: to_wire(value) }
    }

    #[test]
    fn values_types_and_descriptions_are_told_for_known_names() {
        let parameters = parameters();
        let names = list(&parameters, ListRequest::default()).names;
        assert!(names.iter().any(|name| name == "prompt"));
        let ask =
            |names: &[&str]| NamesRequest { names: names.iter().map(|name| name.to_string()).collect() };
        assert_eq!(get(&parameters, ask(&["clip", "max_age"])).values.len(), 2);
        let too_many = || ask(&vec!["prompt"; names.len() + 1]);
        assert!(get(&parameters, too_many()).values.is_empty(), "a long request is no way to a huge reply");
        assert!(get_types(&parameters, too_many()).types.is_empty());
        assert!(describe(&parameters, too_many()).descriptors.is_empty());
        assert_eq!(get(&parameters, ask(&["clip", "nothing"])).values.len(), 0);
        assert_eq!(get_types(&parameters, ask(&["clip", "max_age", "prompt"])).types, [2, 3, 4]);
        let described = describe(&parameters, ask(&["clip", "prompt"])).descriptors;
        assert_eq!(described.iter().map(|d| d.read_only).collect::<Vec<_>>(), [true, false]);
        assert_eq!(described[0].integer_range, [(1, 1 << 30, 0)]);
        let rate = describe(&parameters, ask(&["max_rate"])).descriptors.remove(0);
        assert_eq!(rate.floating_point_range, [(0.0, 86_400.0, 0.0)]);
        assert!(!rate.description.is_empty() && rate.integer_range.is_empty() && !rate.read_only);
    }

    #[test]
    fn what_cannot_be_set_says_why_and_atomic_sets_are_all_or_nothing() {
        let parameters = store();
        let (prompt, clip) =
            (wire("prompt", &Value::Text("Clear?".into())), wire("clip", &Value::Integer(3)));
        let request = || SetRequest { parameters: vec![prompt.clone(), clip.clone()] };
        let together = set_atomically(&parameters, request()).result;
        assert!(!together.successful && together.reason.contains("read-only"), "{together:?}");
        assert_eq!(parameters.read(|parameters| parameters.text("prompt").to_owned()), "What do you see?");
        let each = set(&parameters, request()).results;
        assert_eq!(each.iter().map(|result| result.successful).collect::<Vec<_>>(), [true, false]);
        assert_eq!(parameters.read(|parameters| parameters.text("prompt").to_owned()), "Clear?");
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let parameters = store();
        let wires = [wire("prompt", &Value::Integer(3)), wire("max_age", &Value::Integer(3))];
        for parameter in wires {
            let each = set(&parameters, SetRequest { parameters: vec![parameter.clone()] }).results;
            assert!(!each[0].successful && each[0].reason.contains("{integer} is not allowed"), "{each:?}");
            let all = set_atomically(&parameters, SetRequest { parameters: vec![parameter] }).result;
            assert!(!all.successful, "{all:?}");
        }
        assert_eq!(parameters.read(|parameters| parameters.text("prompt").to_owned()), "What do you see?");
    }

    #[test]
    fn a_handler_answers_requests_and_nothing_else() {
        let shared = Arc::new(store());
        let handler = || reading(&shared, get);
        let request = encode(&NamesRequest { names: vec!["prompt".into()] });
        let reply = services::tests::called(handler(), &request).unwrap();
        let reply: ValuesReply = decode(&reply, ByteOrder::Little).unwrap();
        assert_eq!(reply.values[0].string_value, "What do you see?");
        assert_eq!(services::tests::called(handler(), &request[..6]), None);
    }
}
