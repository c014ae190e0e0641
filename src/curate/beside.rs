//! What holds beside a picture: the action that was last given, and the texts that were last said.

use std::rc::Rc;

use serde::Deserialize;

use super::parameters::{Format, Parameters};
use crate::ros2::messages::{
    ByteOrder, DecodeError, Float32MultiArray, HeaderView, Message, Text, Twist, decode, split_encapsulation,
};
use crate::ros2::transport::BagMessage;

const TWIST_STAMPED: &str = "geometry_msgs/msg/TwistStamped";
const TWIST_NAMES: [&str; 6] = ["linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z"];
/// No action has more columns.
pub(super) const COLUMNS_MAX: usize = 1024;
/// No text is longer.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 16;

/// What holds at an image.
#[derive(Clone, Debug, Default)]
pub(super) struct Beside {
    /// Empty before the first.
    pub(super) action: Rc<[f32]>,
    /// By name; none before the first.
    pub(super) said: Vec<(Rc<str>, Rc<str>)>,
}

impl Beside {
    /// From now on this text is what is said by this name.
    pub(super) fn say(&mut self, name: &str, text: &str) {
        match self.said.iter_mut().find(|(said, _)| **said == *name) {
            Some((_, said)) if **said == *text => {}
            Some((_, said)) => *said = text.into(),
            None => self.said.push((name.into(), text.into())),
        }
    }
}

/// Listens to a bag's topics.
pub(super) struct Hearing {
    pub(super) now: Beside,
    /// The topic of actions, with its type.
    actions: Option<(String, String)>,
    /// Topics of texts, with the texts' names.
    texts: Vec<(String, String)>,
    /// Names of an action's columns, once one has come.
    pub(super) action_names: Vec<String>,
    /// What cannot be heard, and messages that were refused, with what is wrong with the first.
    problems: Vec<String>,
    refused: u64,
    refused_first: Option<String>,
}

impl Hearing {
    /// Of a bag with these topics, of these types.
    pub(super) fn of(topics: &[(String, String)], parameters: &Parameters) -> Self {
        let mut hearing = Self {
            now: Beside::default(),
            actions: None,
            texts: Vec::new(),
            action_names: Vec::new(),
            problems: Vec::new(),
            refused: 0,
            refused_first: None,
        };
        if parameters.format != Format::LeRobot {
            return hearing;
        }
        let is_action =
            |ros_type: &str| [Twist::TYPE, TWIST_STAMPED, Float32MultiArray::TYPE].contains(&ros_type);
        let named = parameters.actions.as_ref();
        let is_wanted = |topic: &String| named.is_none_or(|named| named == topic);
        let found: Vec<_> = topics.iter().filter(|(topic, of)| is_action(of) && is_wanted(topic)).collect();
        match (&found[..], named) {
            ([one], _) => hearing.actions = Some((*one).clone()),
            ([], None) => {}
            ([], Some(topic)) => hearing.problems.push(format!("no actions on {topic}")),
            (several, _) => {
                let names: Vec<&str> = several.iter().map(|(topic, _)| &topic[..]).collect();
                let names = names.join(", ");
                hearing.problems.push(format!(
                    "no actions are taken of several topics, {names}: name one with --actions"
                ));
            }
        }
        for (name, topic) in &parameters.texts {
            match topics.iter().any(|(there, of)| there == topic && of == Text::TYPE) {
                true => hearing.texts.push((topic.clone(), name.clone())),
                false => hearing.problems.push(format!("no texts on {topic}")),
            }
        }
        hearing
    }

    pub(super) fn hear(&mut self, message: &BagMessage) {
        let BagMessage { topic, ros_type, data, .. } = message;
        let is_action = self.actions.as_ref().is_some_and(|(there, of)| there == topic && of == ros_type);
        let names: Vec<String> =
            self.texts.iter().filter(|(there, _)| there == topic).map(|(_, name)| name.clone()).collect();
        if !is_action && (names.is_empty() || *ros_type != Text::TYPE) {
            return;
        }
        let heard = match split_encapsulation(data) {
            None => Err("it is not in plain CDR".to_owned()),
            Some((order, body)) if is_action => self.hear_action(ros_type, order, body),
            Some((order, body)) => self.hear_text(&names, order, body),
        };
        if let Err(problem) = heard {
            self.refused += 1;
            self.refused_first.get_or_insert_with(|| format!("{topic}: {problem}"));
        }
    }

    fn hear_action(&mut self, ros_type: &str, order: ByteOrder, body: &[u8]) -> Result<(), String> {
        let malformed = |error: DecodeError| error.to_string();
        let (values, names) = match ros_type {
            Float32MultiArray::TYPE => {
                let values = first_row(decode(body, order).map_err(malformed)?)?;
                let names = (0..values.len()).map(|column| format!("action_{column}")).collect();
                (values, names)
            }
            _ => {
                let twist = match ros_type {
                    Twist::TYPE => decode(body, order).map_err(malformed)?,
                    _ => decode::<TwistStamped>(body, order).map_err(malformed)?.twist,
                };
                (components(&twist).to_vec(), TWIST_NAMES.map(str::to_owned).to_vec())
            }
        };
        if values.is_empty() || COLUMNS_MAX < values.len() {
            return Err(format!("an action of {} values", values.len()));
        }
        if !self.action_names.is_empty() && self.action_names.len() != values.len() {
            return Err(format!("{} values after one of {}", values.len(), self.action_names.len()));
        }
        if let Some(column) = values.iter().position(|value| !value.is_finite()) {
            return Err(format!("{} is not a finite number", names[column]));
        }
        self.action_names = names;
        self.now.action = values.into();
        Ok(())
    }

    fn hear_text(&mut self, names: &[String], order: ByteOrder, body: &[u8]) -> Result<(), String> {
        let text: Text = decode(body, order).map_err(|error| error.to_string())?;
        // What a node adds so that a message of odd length passes.
        let text = text.data.trim_end();
        if TEXT_BYTES_MAX < text.len() {
            return Err(format!("a text of {} bytes, at most {TEXT_BYTES_MAX} are taken", text.len()));
        }
        names.iter().for_each(|name| self.now.say(name, text));
        Ok(())
    }

    /// What of it could not be heard.
    pub(super) fn problem(&self) -> Option<String> {
        let refused = self.refused_first.as_ref().map(|first| {
            format!(
                "{} actions or texts were refused, and what held before went on; the first: {first}",
                self.refused
            )
        });
        let all: Vec<String> = self.problems.iter().cloned().chain(refused).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[derive(Deserialize)]
struct TwistStamped {
    #[expect(dead_code, reason = "it is passed over: an action holds from when it was heard")]
    header: HeaderView,
    twist: Twist,
}

fn components(twist: &Twist) -> [f32; 6] {
    let Twist { linear, angular } = twist;
    [linear.x, linear.y, linear.z, angular.x, angular.y, angular.z].map(|value| value as f32)
}

/// The action that is now, of a plan whose rows are steps; all of what has no rows.
fn first_row(array: Float32MultiArray) -> Result<Vec<f32>, String> {
    let Float32MultiArray { layout, mut data } = array;
    let mut data = data.split_off((layout.data_offset as usize).min(data.len()));
    if let [.., rows, columns] = &layout.dim[..] {
        let (rows, columns) = (rows.size as usize, columns.size as usize);
        if rows.checked_mul(columns) != Some(data.len()) {
            return Err(format!("its layout is {rows} by {columns} of {} values", data.len()));
        }
        data.truncate(columns);
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ros2::messages::{Layout, LayoutDimension, Time, Vector3, encapsulation, encode};

    fn parameters(texts: &[(&str, &str)], actions: Option<&str>) -> Parameters {
        let texts: BTreeMap<_, _> = texts.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        let text = serde_json::json!({
            "topics": [], "fps": 8.0, "cut": 0.0, "gap_s": 1.0, "still": 0.0, "still_s": 1.0, "dark": 0.0,
            "blurred": 1.0, "text": 1.0, "min_frames": 1, "max_frames": 9, "duplicate": 0.0, "duplicate_hue": 0.0,
            "shard_bytes": 1, "format": "lerobot", "actions": actions, "texts": texts,
        });
        serde_json::from_value(text).unwrap()
    }

    fn topics(topics: &[(&str, &str)]) -> Vec<(String, String)> {
        topics.iter().map(|(topic, of)| ((*topic).to_owned(), (*of).to_owned())).collect()
    }

    fn message(topic: &str, ros_type: &str, body: Vec<u8>) -> BagMessage {
        let data = [&encapsulation(ByteOrder::Little)[..], &body].concat();
        BagMessage { topic: topic.into(), ros_type: ros_type.into(), log_time_ns: 0, data }
    }

    fn twist(x: f64) -> Twist {
        Twist { linear: Vector3 { x, ..Vector3::default() }, ..Twist::default() }
    }

    #[test]
    fn the_last_good_action_holds() {
        let mut hearing = Hearing::of(&topics(&[("/cmd_vel", Twist::TYPE)]), &parameters(&[], None));
        assert!(hearing.now.action.is_empty());
        hearing.hear(&message("/other", Twist::TYPE, encode(&twist(9.0))));
        hearing.hear(&message("/cmd_vel", Twist::TYPE, encode(&twist(0.5))));
        hearing.hear(&message("/cmd_vel", Twist::TYPE, encode(&twist(f64::NAN))));
        hearing.hear(&message("/cmd_vel", Twist::TYPE, vec![0; 7]));
        assert_eq!(
            (&hearing.now.action[..], hearing.action_names[0].as_str()),
            (&[0.5, 0., 0., 0., 0., 0.][..], "linear.x")
        );
        let problem = hearing.problem().unwrap();
        assert!(
            problem.contains("2 actions or texts") && problem.contains("linear.x is not a finite"),
            "{problem}"
        );
        // With a stamp, as newer drivers send it.
        #[derive(serde::Serialize)]
        struct Stamped {
            header: HeaderView,
            twist: Twist,
        }
        let frame_id = crate::ros2::messages::ShortString::new("base").unwrap();
        let stamped = Stamped { header: HeaderView { stamp: Time::from_ns(5), frame_id }, twist: twist(2.0) };
        let mut hearing = Hearing::of(&topics(&[("/c", TWIST_STAMPED)]), &parameters(&[], None));
        hearing.hear(&message("/c", TWIST_STAMPED, encode(&stamped)));
        assert_eq!(hearing.now.action[0], 2.0);
    }

    #[test]
    fn of_a_plan_the_first_step_is_now() {
        let of = topics(&[("/a", Float32MultiArray::TYPE), ("/b", Float32MultiArray::TYPE)]);
        let undecided = Hearing::of(&of, &parameters(&[], None)).problem().unwrap();
        assert!(undecided.contains("/a, /b") && undecided.contains("--actions"), "{undecided}");
        let absent = Hearing::of(&of, &parameters(&[], Some("/c"))).problem().unwrap();
        assert!(absent.contains("no actions on /c"), "{absent}");
        let mut hearing = Hearing::of(&of, &parameters(&[], Some("/b")));
        let dim = |size| LayoutDimension { label: String::new(), size, stride: 0 };
        let mut plan = Float32MultiArray {
            layout: Layout { dim: vec![dim(2), dim(2)], data_offset: 1 },
            data: vec![9., 1., 2., 3., 4.],
        };
        hearing.hear(&message("/b", Float32MultiArray::TYPE, encode(&plan)));
        assert_eq!((&hearing.now.action[..], hearing.action_names.len()), (&[1., 2.][..], 2));
        plan.layout = Layout::default();
        hearing.hear(&message("/b", Float32MultiArray::TYPE, encode(&plan)));
        assert!(hearing.problem().unwrap().contains("5 values after one of 2"));
        plan.layout.data_offset = 99;
        hearing.hear(&message("/b", Float32MultiArray::TYPE, encode(&plan)));
        assert_eq!(hearing.now.action[..], [1., 2.]);
    }

    #[test]
    fn texts_hold_until_the_next() {
        let of = topics(&[("/prompt", Text::TYPE), ("/image", "sensor_msgs/msg/Image")]);
        let mut hearing = Hearing::of(&of, &parameters(&[("task", "/prompt"), ("answer", "/image")], None));
        assert!(hearing.problem().unwrap().contains("no texts on /image"));
        for text in ["push the cup  ", "push the cup", "stop"] {
            hearing.hear(&message("/prompt", Text::TYPE, encode(&Text { data: text.into() })));
        }
        let long = Text { data: "x".repeat(TEXT_BYTES_MAX + 1) };
        hearing.hear(&message("/prompt", Text::TYPE, encode(&long)));
        let said: Vec<_> = hearing.now.said.iter().map(|(name, text)| (&**name, &**text)).collect();
        assert_eq!(said, [("task", "stop")]);
        assert!(hearing.problem().unwrap().contains("65537 bytes"));
    }
}
