//! What is asked: a question, which is answered, or a wish, for which a forecast is made. Each is known by its request.

use serde::{Deserialize, Serialize};

use crate::ros2::messages::{AskReply, AskRequest, ImagineReply, ImagineRequest};

/// Bytes of a prompt at most, as the parameter has it, and of the name of a camera.
const PROMPT_BYTES_MAX: usize = 16 << 10;
const CAMERA_BYTES_MAX: usize = 255;
/// Seconds at most, beyond which a number is a slip; 0 is the node's.
const MAX_AGE_S: (f64, f64) = (1e-3, 86_400.0);

/// A kind of request.
pub(in crate::ros2) trait Kind: Send + for<'a> Deserialize<'a> + 'static {
    /// What there is for it in the end.
    type Reply: Default + Serialize + Send + 'static;

    /// The type of its service.
    const SERVICE: &'static str;
    /// What several of them are called.
    const SEVERAL: &'static str;
    /// What engines say that do nothing of the kind.
    const MUTE: &'static str;
    /// What becomes of one that ends without what it asks for.
    const UNSERVED: &'static str;

    /// Says what is wrong with it, whoever would serve it.
    fn check(&self) -> Result<(), String>;

    /// Puts the reason into a reply that ends without what was asked for, or short of it because whoever asked wanted no more.
    fn give_reason(reply: &mut Self::Reply, why: String, is_canceled: bool);
}

impl Kind for AskRequest {
    type Reply = AskReply;

    const SERVICE: &'static str = "perihelion_msgs/srv/Ask";
    const SEVERAL: &'static str = "questions";
    const MUTE: &'static str = "no engine of this node answers questions";
    const UNSERVED: &'static str = "a question of another node has no answer";

    fn check(&self) -> Result<(), String> {
        let Self { prompt, camera, choices, max_age, .. } = self;
        check_text("prompt", prompt, PROMPT_BYTES_MAX)?;
        check_text("camera", camera, CAMERA_BYTES_MAX)?;
        // How many, and how long, the parameter of this name says.
        choices.iter().try_for_each(|choice| check_text("choices", choice, PROMPT_BYTES_MAX))?;
        check_max_age(*max_age)
    }

    fn give_reason(reply: &mut AskReply, why: String, is_canceled: bool) {
        reply.error = why;
        if is_canceled {
            "canceled".clone_into(&mut reply.finish_reason);
        }
    }
}

impl Kind for ImagineRequest {
    type Reply = ImagineReply;

    const SERVICE: &'static str = "perihelion_msgs/srv/Imagine";
    const SEVERAL: &'static str = "forecasts";
    const MUTE: &'static str = "no engine of this node forecasts";
    const UNSERVED: &'static str = "a forecast that another node wants was not made";

    fn check(&self) -> Result<(), String> {
        // What a row is, and how many there may be, the engine says.
        if let Some(at) = self.actions.iter().position(|value| !value.is_finite()) {
            return Err(format!("actions: value {at} is not a finite number"));
        }
        check_text("camera", &self.camera, CAMERA_BYTES_MAX)?;
        check_max_age(self.max_age)
    }

    fn give_reason(reply: &mut ImagineReply, why: String, _is_canceled: bool) {
        reply.error = why;
    }
}

fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    match text.len() {
        n if bytes_max < n => Err(format!("{what}: expected at most {bytes_max} bytes, found {n}")),
        _ if text.contains('\0') => Err(format!("{what}: it has a NUL in it")),
        _ => Ok(()),
    }
}

fn check_max_age(max_age: f64) -> Result<(), String> {
    let (least, most) = MAX_AGE_S;
    match max_age {
        0.0 => Ok(()),
        age if (least..=most).contains(&age) => Ok(()),
        age => Err(format!("max_age: expected 0, or {least} to {most} seconds, found {age}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD_AGES: [f64; 5] = [f64::NAN, -1.0, f64::INFINITY, 1e-9, 1e9];

    #[test]
    fn what_no_question_can_be_is_named() {
        let wrong = |request: AskRequest| request.check().unwrap_err();
        let long = "x".repeat(PROMPT_BYTES_MAX + 1);
        assert!(
            wrong(AskRequest { prompt: long.clone(), ..AskRequest::default() })
                .starts_with("prompt: expected")
        );
        assert!(wrong(AskRequest { prompt: "a\0b".into(), ..AskRequest::default() }).contains("NUL"));
        assert!(wrong(AskRequest { camera: long.clone(), ..AskRequest::default() }).starts_with("camera"));
        assert!(wrong(AskRequest { choices: vec![long], ..AskRequest::default() }).starts_with("choices"));
        for max_age in BAD_AGES {
            assert!(
                wrong(AskRequest { max_age, ..AskRequest::default() }).starts_with("max_age"),
                "{max_age}"
            );
        }
        let prompt = "x".repeat(PROMPT_BYTES_MAX);
        assert_eq!(AskRequest { prompt, max_age: 3.0, ..AskRequest::default() }.check(), Ok(()));
    }

    #[test]
    fn what_no_wish_can_be_is_named() {
        let wrong = |request: ImagineRequest| request.check().unwrap_err();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let found = wrong(ImagineRequest { actions: vec![0.0, value], ..ImagineRequest::default() });
            assert_eq!(found, "actions: value 1 is not a finite number");
        }
        let camera = "x".repeat(CAMERA_BYTES_MAX + 1);
        assert!(
            wrong(ImagineRequest { camera, ..ImagineRequest::default() }).starts_with("camera: expected")
        );
        assert!(wrong(ImagineRequest { camera: "\0".into(), ..ImagineRequest::default() }).contains("NUL"));
        for max_age in BAD_AGES {
            let found = wrong(ImagineRequest { max_age, ..ImagineRequest::default() });
            assert!(found.starts_with("max_age"), "{max_age}");
        }
        let actions = vec![f32::MAX, -0.0];
        assert_eq!(
            ImagineRequest { actions, seed: u64::MAX, max_age: 3.0, ..ImagineRequest::default() }.check(),
            Ok(())
        );
    }
}
