//! The demo from the command line: the real program, its checkpoint, DDS on the loopback interface.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("demo").args(arguments);
    for variable in ["ROS_DOMAIN_ID", "ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_DISTRO"] {
        command.env_remove(variable);
    }
    command.output().expect("the program starts")
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{errors}"))
}

fn figure(json: &Value, pointer: &str) -> u64 {
    json.pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("{pointer} is no number in {json}"))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the record is there");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[test]
fn a_live_camera_is_answered_and_every_frame_accounted_for() {
    let json = json(&demo(&["--seconds", "6", "--json"]));
    assert!(0 < figure(&json, "/answers/scored"));
    assert_eq!(json["frames"]["is_balanced"], true);
    let parts = ["answered", "clip_members", "dropped", "in_flight"];
    let sum: u64 = parts.iter().map(|part| figure(&json, &format!("/frames/{part}"))).sum();
    assert_eq!(figure(&json, "/frames/received"), sum);
    assert_eq!(figure(&json, "/frames/answered"), figure(&json, "/answers/published"));
    assert!(
        figure(&json, "/frames/received") + figure(&json, "/frames/lost") <= figure(&json, "/frames/sent")
    );
    assert_eq!(figure(&json, "/latency/age_ms/count"), figure(&json, "/answers/heard"));
    assert!(json["latency"]["ttft_ms"]["p50"].as_f64().is_some_and(|ms| 0.0 < ms));
    for answer in json["log"].as_array().unwrap() {
        assert_eq!(answer["is_right"], answer["answer"] == answer["truth"]);
    }
}

#[test]
fn a_course_is_recorded_question_by_question() {
    let dir = tempfile::tempdir().unwrap();
    let json = json(&demo(&["--scenes", "2", "--record", dir.path().to_str().unwrap(), "--json"]));
    let (questions, answers) =
        (lines(&dir.path().join("questions.jsonl")), lines(&dir.path().join("answers.jsonl")));
    assert_eq!(answers.len() as u64, figure(&json, "/answers/scored"));
    assert!((14..=18).contains(&answers.len()), "seven to nine kinds of questions about each scene");
    for (question, answer) in questions.iter().zip(&answers) {
        assert_eq!(question["id"], answer["id"]);
        assert!(!answer["tokens"].as_array().unwrap().is_empty());
        let video = question["video"].as_array().unwrap();
        assert_eq!(video.len(), 8);
        assert!(video.iter().all(|file| dir.path().join(file.as_str().unwrap()).is_file()));
    }
    // The model is right about it in a hundred of a hundred.
    assert_eq!(json["accuracy"]["count"]["right"], 2);
}

#[test]
fn a_wrong_command_line_is_told_from_a_failure() {
    assert_eq!(demo(&["--seconds", "-1"]).status.code(), Some(2));
    assert_eq!(demo(&["--scenes", "2"]).status.code(), Some(2), "a course is recorded");
    let missing = demo(&["--checkpoint", "no/such/directory"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no/such/directory"));
}
