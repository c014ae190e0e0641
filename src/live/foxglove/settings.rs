//! The node's parameters as Foxglove shows and sets them.

use serde_json::{Value as Json, json};

use super::words::Setting;
use crate::ros2::parameter_store::ParameterStore;
use crate::ros2::parameters::{Parameters, Value};

/// A parameter as it stands.
pub(super) fn told(name: &str, value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!({ "name": name, "value": value }),
        Value::Integer(value) => json!({ "name": name, "value": value }),
        // In JSON a whole number does not say that it may be another.
        Value::Double(value) => json!({ "name": name, "value": value, "type": "float64" }),
        Value::Text(value) => json!({ "name": name, "value": value }),
        Value::Texts(values) => json!({ "name": name, "value": values }),
    }
}

/// Those of these names, or all if there are none, as they stand.
pub(super) fn of_names(store: &ParameterStore, names: &[String]) -> Vec<Json> {
    let is_meant = |name: &str| names.is_empty() || names.iter().any(|one| one == name);
    store.read(|now| {
        let meant = now.iter().filter(|(declared, _)| is_meant(&declared.name));
        meant.map(|(declared, value)| told(&declared.name, value)).collect()
    })
}

/// Sets each by itself, if it may be; what is wrong with the others.
pub(super) fn set(store: &ParameterStore, settings: &[Setting]) -> Vec<String> {
    let outcomes = store.set_each(settings, |setting| &setting.name, value);
    outcomes.into_iter().filter_map(Result::err).collect()
}

/// The value in the type that its parameter was declared with.
fn value(parameters: &Parameters, Setting { name, value }: &Setting) -> Result<Value, String> {
    let declared = parameters.get(name).ok_or_else(|| format!("the node has no parameter '{name}'"))?;
    let fitting = match declared {
        Value::Bool(_) => value.as_bool().map(Value::Bool),
        Value::Integer(_) => value.as_i64().map(Value::Integer),
        Value::Double(_) => value.as_f64().map(Value::Double),
        Value::Text(_) => value.as_str().map(|text| Value::Text(text.to_owned())),
        Value::Texts(_) => {
            let texts =
                value.as_array().map(|values| values.iter().map(|text| text.as_str().map(str::to_owned)));
            texts.and_then(Iterator::collect).map(Value::Texts)
        }
    };
    fitting.ok_or_else(|| format!("parameter '{name}': expected a {}, found {value}", declared.type_name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::names::NodeName;
    use crate::ros2::node::NodeOptions;
    use crate::runtime::reason::AnswerSettings;

    #[test]
    fn parameters_are_set_in_their_own_types() {
        let answers = Some(AnswerSettings::default());
        let options = NodeOptions { answers, ..NodeOptions::new(NodeName::new("/", "eye").unwrap()) };
        let store = ParameterStore::new(options.parameters());
        let set = |name: &str, value: Json| {
            set(&store, &[Setting { name: name.to_owned(), value }]).pop().map_or(Ok(()), Err)
        };
        let of = |name: &str| of_names(&store, &[name.to_owned()]);
        set("max_rate", json!(5)).unwrap();
        assert_eq!(of("max_rate"), [json!({"name": "max_rate", "value": 5.0, "type": "float64"})]);
        set("prompt", json!("Who?")).unwrap();
        assert_eq!(of("prompt"), [json!({"name": "prompt", "value": "Who?"})]);
        for (name, value, word) in [
            ("max_rate", json!(-1), "max_rate"),
            ("max_rate", json!("5"), "expected a double"),
            ("prompt", json!(5), "expected a string"),
            ("prompt", json!(null), "expected a string"),
            ("choices", json!(["a", 1]), "expected a string_array"),
            ("nothing", json!(1), "no parameter 'nothing'"),
        ] {
            let refusal = set(name, value.clone()).unwrap_err();
            assert!(refusal.contains(word), "{name} {value}: {refusal}");
        }
        assert_eq!(of("max_rate"), [json!({"name": "max_rate", "value": 5.0, "type": "float64"})]);
        assert!(of("nothing").is_empty() && 10 < of_names(&store, &[]).len());
    }
}
