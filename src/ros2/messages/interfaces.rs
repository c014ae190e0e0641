//! What the text of a service or an action implies: the types that ROS makes of it, each as a text of its own.

use std::borrow::Cow;

use super::definitions::{FILES, SERVICES, TYPES};

/// What stands between the parts of a service's or an action's text.
const PARTING: &str = "---\n";

/// The text of a type that is written, or is made of one that is.
pub(super) fn text(name: &str) -> Option<Cow<'static, str>> {
    if let Some((.., text)) = TYPES.iter().find(|(known, ..)| *known == name) {
        return Some(Cow::Borrowed(text));
    }
    if service(name).is_some() {
        return Some(Cow::Owned(format!(
            "{name}_Request request_message\n{name}_Response response_message\n{name}_Event event_message\n"
        )));
    }
    if action(name).is_some() {
        return Some(Cow::Owned(format!(
            "{name}_Goal goal\n{name}_Result result\n{name}_Feedback feedback\n{name}_SendGoal send_goal_service\n\
             {name}_GetResult get_result_service\n{name}_FeedbackMessage feedback_message\n"
        )));
    }
    let (whole, part) = name.rsplit_once('_')?;
    if let Some([request, response]) = service(whole) {
        return match part {
            "Request" => Some(request),
            "Response" => Some(response),
            "Event" => Some(Cow::Owned(format!(
                "service_msgs/msg/ServiceEventInfo info\n{whole}_Request[<=1] request\n{whole}_Response[<=1] response\n"
            ))),
            _ => None,
        };
    }
    let [goal, result, feedback] = action(whole)?;
    match part {
        "Goal" => Some(Cow::Borrowed(goal)),
        "Result" => Some(Cow::Borrowed(result)),
        "Feedback" => Some(Cow::Borrowed(feedback)),
        "FeedbackMessage" => Some(Cow::Owned(format!("{GOAL_ID}{whole}_Feedback feedback\n"))),
        _ => None,
    }
}

/// How a type is written, and its text; empty if it is made of another's.
pub(super) fn source(name: &str) -> (&'static str, String) {
    if let Some((.., text)) = TYPES.iter().find(|(known, ..)| *known == name) {
        return ("msg", (*text).to_owned());
    }
    if let Some((_, request, response)) = SERVICES.iter().find(|(known, ..)| *known == name) {
        return ("srv", format!("{request}{PARTING}{response}"));
    }
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((_, text)) if name.contains("/srv/") => ("srv", (*text).to_owned()),
        Some((_, text)) => ("action", (*text).to_owned()),
        None => ("implicit", String::new()),
    }
}

const GOAL_ID: &str = "unique_identifier_msgs/UUID goal_id\n";

/// The fields of a service's request and response.
fn service(name: &str) -> Option<[Cow<'static, str>; 2]> {
    if let Some((_, request, response)) = SERVICES.iter().find(|(known, ..)| *known == name) {
        return Some([Cow::Borrowed(request), Cow::Borrowed(response)]);
    }
    if let Some((_, text)) = FILES.iter().find(|(known, _)| *known == name && known.contains("/srv/")) {
        return text.split_once(PARTING).map(|(request, response)| [request.into(), response.into()]);
    }
    let (whole, part) = name.rsplit_once('_')?;
    action(whole)?;
    match part {
        "SendGoal" => Some([
            format!("{GOAL_ID}{whole}_Goal goal\n").into(),
            "bool accepted\nbuiltin_interfaces/Time stamp\n".into(),
        ]),
        "GetResult" => Some([GOAL_ID.into(), format!("int8 status\n{whole}_Result result\n").into()]),
        _ => None,
    }
}

/// The fields of an action's goal, result and feedback.
fn action(name: &str) -> Option<[&'static str; 3]> {
    let (_, text) = FILES.iter().find(|(known, _)| *known == name && known.contains("/action/"))?;
    let mut parts = text.split(PARTING);
    Some([parts.next()?, parts.next()?, parts.next()?])
}
