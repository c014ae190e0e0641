//! What a node that is configured more than once keeps of its parameters.

use super::options::NodeOptions;
use crate::ros2::parameters::Parameters;

impl NodeOptions {
    /// Takes over what was set while the node ran; what is fixed, or not declared any more, stays as it is here. Its first question stays
    /// the one that an empty prompt restores: the one that stands is among the parameters.
    pub fn take_over(&mut self, now: &Parameters) {
        let first = self.prompt.clone();
        let mut parameters = self.parameters();
        // What nobody set is as the engine that is here has it, which may be another than before.
        for (name, value) in now.set_ones() {
            // Of an engine that was here before.
            let _ = parameters.set(name, value.clone());
        }
        self.read(&parameters);
        self.prompt = first;
    }
}

#[cfg(test)]
#[test]
fn what_was_set_stays_and_what_is_fixed_is_as_it_was_started() {
    use crate::ros2::names::NodeName;
    use crate::ros2::parameters::Value;
    use crate::runtime::reason::AnswerSettings;

    let bare = NodeOptions::new(NodeName::new("/", "eye").unwrap());
    let mut now = bare.parameters();
    now.set("max_rate", Value::Double(5.0)).unwrap();
    now.set("prompt", Value::Text("Clear?".into())).unwrap();
    let mut configured = NodeOptions {
        clip_frames: 8,
        prompt: "What?".into(),
        answers: Some(AnswerSettings::default()),
        ..bare
    };
    configured.take_over(&now);
    assert_eq!(
        (configured.max_rate_hz, configured.prompt.as_str(), configured.clip_frames),
        (5.0, "What?", 8)
    );
    now.add(configured.parameters());
    assert_eq!((now.integer("max_tokens"), now.double("max_rate"), now.integer("clip")), (256, 5.0, 8));
    assert_eq!(now.text("prompt"), "Clear?");
    // Another engine has other defaults; only what was set is taken over.
    now.set("top_k", Value::Integer(7)).unwrap();
    let mut answers = AnswerSettings { tokens_max: 64, ..AnswerSettings::default() };
    answers.sampling.top_k = 50;
    let mut other = NodeOptions { answers: Some(answers), ..configured.clone() };
    other.take_over(&now);
    let taken = other.answers.as_ref().map(|answers| (answers.tokens_max, answers.sampling.top_k));
    assert_eq!(taken, Some((64, 7)));
    now.add(other.parameters());
    assert_eq!((now.integer("max_tokens"), now.integer("top_k")), (64, 7));
    // Whoever says the very default means it.
    now.set("max_tokens", Value::Integer(64)).unwrap();
    now.add(configured.parameters());
    assert_eq!(now.integer("max_tokens"), 64);
    let mut active = configured.clone();
    now.set("prompt", Value::Text("Where?".into())).unwrap();
    now.set("max_age", Value::Double(0.5)).unwrap();
    active.take_over(&now);
    assert_eq!((active.max_age.as_millis(), active.prompt.as_str(), active.clip_frames), (500, "What?", 8));
}
