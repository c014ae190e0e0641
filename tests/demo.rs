//! The demo from the command line: the real program, its checkpoint, DDS on the loopback interface.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use image::{Rgb, RgbImage};
use perihelion::scenes::{FRAME_BYTES, Rng, SIZE, Scene, SceneOptions};
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
    let pictures = tempfile::tempdir().unwrap();
    let json = json(&demo(&["--seconds", "6", "--json", "--pictures", pictures.path().to_str().unwrap()]));
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
        match answer["iou"].as_f64() {
            Some(iou) => {
                assert_eq!(
                    (&answer["task"], &answer["is_right"]),
                    (&"where".into(), &Value::Bool(0.5 <= iou))
                );
                assert!(answer["answer"] != answer["truth"] || iou == 1.0, "{answer}");
            }
            None => assert_eq!(answer["is_right"], answer["answer"] == answer["truth"]),
        }
    }
    if let Some(boxes) = json.get("boxes") {
        let of_boxes = |answer: &&Value| answer["task"] == "where";
        let boxed: Vec<&Value> = json["log"].as_array().unwrap().iter().filter(of_boxes).collect();
        let mean =
            boxed.iter().map(|answer| answer["iou"].as_f64().unwrap()).sum::<f64>() / boxed.len() as f64;
        assert!((boxes["mean_iou"].as_f64().unwrap() - mean).abs() < 1e-9, "{boxes}");
        assert_eq!(
            (figure(boxes, "/right"), boxes["asked"].as_u64()),
            (figure(&json, "/accuracy/where/right"), Some(boxed.len() as u64))
        );
    }
    assert_eq!(json["report"], pictures.path().join("report.html").to_str().unwrap());
    stands_alone(&pictures.path().join("report.html"), &json);
    assert!(0 < figure(&json, "/live_forecasts/published"), "the same node forecasts");
    assert_eq!(json["live_forecasts"]["frames"]["is_balanced"], true);
    forecasts_are_told(&json["forecast"], pictures.path());
    errands_are_told(&json["robot"], 3, pictures.path());
}

/// The course of the errands is the same on every machine whose products are; that the model brings a ball home is measured by README's
/// command over a hundred starts.
fn errands_are_told(robot: &Value, starts: u64, pictures: &Path) {
    assert_eq!((figure(robot, "/starts"), figure(robot, "/starts_asked")), (starts, starts));
    let log = robot["log"].as_array().unwrap();
    for (key, count) in [("arrived_s", "/arrived"), ("arrived_by_random_plans_s", "/arrived_by_random_plans")]
    {
        let arrived: Vec<f64> = log.iter().filter_map(|start| start[key].as_f64()).collect();
        assert_eq!(arrived.len() as u64, figure(robot, count), "{robot}");
        assert!(arrived.iter().all(|s| 0.0 < *s && *s <= robot["seconds_max"].as_f64().unwrap()));
    }
    assert_eq!(robot["frames"]["is_balanced"], true);
    assert!(starts <= figure(robot, "/plan_ms/count"), "each start has plans ranked");
    let picture = pictures.join("robot.png");
    assert_eq!(robot["file"], picture.to_str().unwrap());
    let (width, height) = image::open(&picture).unwrap().into_rgb8().dimensions();
    assert!(
        108 + 134 <= width
            && (width - 108).is_multiple_of(134)
            && height.is_multiple_of(starts.min(3) as u32)
    );
}

#[test]
fn the_robots_errands_alone_are_told_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (pictures, page) = (dir.path().join("pictures"), dir.path().join("page.html"));
    let [told, shown] = [&pictures, &page].map(|path| path.to_str().unwrap());
    let robot = json(&demo(&["--starts", "2", "--json", "--pictures", told, "--report", shown]));
    errands_are_told(&robot, 2, &pictures);
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<h3>start ").count(), 2);
    for foreign in ["<script", "http://", "https://"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
}

/// A page with everything in it and nothing from elsewhere.
fn stands_alone(page: &Path, json: &Value) {
    let html = std::fs::read_to_string(page).unwrap();
    for foreign in ["<script", "<link", "http://", "https://", "@import", "src=\"/", "url(/"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
    for answer in json["log"].as_array().unwrap().iter().take(20) {
        let said = answer["answer"].as_str().unwrap();
        assert!(html.contains(&format!("<bdi>{said}</bdi>")), "{said}");
    }
    for part in ["Age when published", "Surprise in latent space", "what came", "data:image/png;base64,"] {
        assert!(html.contains(part), "{part}");
    }
    // As many marks as answers: every scene of so short a demo is shown.
    let marks = html.matches("class=\"mark-right\"").count() + html.matches("class=\"mark-wrong\"").count();
    assert_eq!(marks as u64, figure(json, "/answers/scored"));
}

fn forecasts_are_told(forecast: &Value, pictures: &Path) {
    let number = |pointer: &str| forecast.pointer(pointer).and_then(Value::as_f64).unwrap();
    assert!(number("/held_psnr_db") + 2.0 < number("/psnr_db"), "{forecast}");
    for measure in ["latent", "pixels"] {
        let of = |course: &str| number(&format!("/surprise/{course}/{measure}"));
        assert!(
            0.0 < of("quiet") && of("quiet") < of("threshold") && of("threshold") < of("jump"),
            "{forecast}"
        );
    }
    let files: Vec<&Path> =
        forecast["files"].as_array().unwrap().iter().map(|file| Path::new(file.as_str().unwrap())).collect();
    assert_eq!(files, [pictures.join("forecast.png"), pictures.join("surprise.png")]);
    let [sheet, plot] = [0, 1].map(|i| image::open(files[i]).unwrap().into_rgb8());

    // Three scenes of four rows, five frames each, every camera pixel a square of three; the first row is what was given.
    assert_eq!(sheet.dimensions(), (1098, 2538));
    let frame_at = |left: u32, top: u32| -> Vec<u8> {
        let places = (0..SIZE as u32).flat_map(|y| (0..SIZE as u32).map(move |x| (x, y)));
        places.flat_map(|(x, y)| sheet.get_pixel(left + 3 * x + 1, top + 3 * y + 1).0).collect()
    };
    let mut rng = Rng::new(1);
    for number in 0..3 {
        let scene =
            Scene::draw(&mut rng, SceneOptions { n_frames: 13, horizon: 0, ..SceneOptions::default() });
        let rendered = |frame: usize| {
            let mut rgb = vec![0; FRAME_BYTES];
            scene.render(frame, &mut rgb);
            rgb
        };
        let row_top = |row: u32| number * 846 + if row == 0 { 21 } else { 42 + row * 198 };
        for column in 0..5 {
            let left = 108 + 198 * column;
            assert_eq!(frame_at(left, row_top(0)), rendered(column as usize), "past");
            let ahead = [1, 2, 4, 6, 8][column as usize];
            let (forecast, came) = (frame_at(left, row_top(1)), frame_at(left, row_top(2)));
            assert_eq!(came, rendered(4 + ahead), "what came");
            let difference: Vec<u8> = forecast.iter().zip(&came).map(|(a, b)| a.abs_diff(*b)).collect();
            assert_eq!(frame_at(left, row_top(3)), difference);
        }
    }

    assert_eq!(plot.dimensions(), (900, 520));
    let share = |color: [u8; 3]| count(&plot, Rgb(color)) as f64 / f64::from(900 * 520);
    assert!(0.5 < share([255; 3]) && share([255; 3]) < 0.99, "there is something on white");
    for color in [[200, 30, 30], [30, 110, 180], [220, 120, 20]] {
        assert!(0.001 < share(color), "threshold and both courses are drawn, {color:?}");
    }
}

fn count(picture: &RgbImage, color: Rgb<u8>) -> usize {
    picture.pixels().filter(|pixel| **pixel == color).count()
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

/// The demo on a terminal of its own, until it ends or, with `until`, an interrupt at the first line that has it. Its lines.
fn on_a_terminal(
    arguments: &str,
    environment: &[(&str, &str)],
    mut until: Option<&str>,
) -> (Option<i32>, Vec<String>) {
    let command = format!("{} demo {arguments} 2>/dev/null", env!("CARGO_BIN_EXE_perihelion"));
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    script.env("TERM", "xterm").env_remove("NO_COLOR").envs(environment.iter().copied());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script starts");
    let mut keyboard = child.stdin.take().unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap().trim_end().to_owned();
        if until.take_if(|word| line.contains(*word)).is_some() {
            keyboard.write_all(b"\x03").unwrap();
        }
        lines.push(line);
    }
    (child.wait().unwrap().code(), lines)
}

fn without_colors(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or(part, |(_, rest)| rest))
}

#[test]
fn a_terminal_has_colors_a_legend_lines_that_fit_and_the_report_first_and_last() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("r.html");
    let arguments = format!("--seconds 4 --report {}", report.display());
    let (code, lines) = on_a_terminal(&arguments, &[], None);
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(lines[0].contains(report.to_str().unwrap()), "{}", lines[0]);
    assert_eq!(lines.last().unwrap(), &format!("report: {}", report.display()));
    assert!(report.is_file());
    let plain: Vec<String> = lines.iter().map(|line| without_colors(line)).collect();
    let paths = |line: &&String| line.contains('/');
    for line in plain.iter().filter(|line| !paths(line)) {
        assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
    }
    for word in ["scene", "task", "age", "took", "right", "surprise"] {
        assert!(
            plain.iter().any(|line| line.starts_with(&format!("  {word:<9} "))),
            "{word} is not explained"
        );
    }
    let is_answer = |line: &&String| line.contains("right") && line.contains('→');
    let colored = lines.iter().filter(is_answer).collect::<Vec<_>>();
    assert!(!colored.is_empty() && colored.iter().all(|line| line.contains("\x1b[32m")), "{lines:#?}");
}

#[test]
fn an_interrupted_demo_writes_what_there_is_without_colors_where_none_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("r.html");
    let arguments = format!("--seconds 600 --report {}", report.display());
    let (_, lines) = on_a_terminal(&arguments, &[("NO_COLOR", "1")], Some("→"));
    assert!(lines.iter().all(|line| !line.contains('\x1b')), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), &format!("report: {}", report.display()));
    let html = std::fs::read_to_string(&report).unwrap();
    assert!(html.contains("The demo was interrupted") && html.contains("<bdi>"), "{html}");
}

#[test]
fn old_files_do_not_lie_among_new_ones_and_a_place_that_cannot_be_written_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("old/frames")).unwrap();
    for name in ["old/frames/00000.png", "old/answers.jsonl", "old/mine.txt"] {
        std::fs::write(at(name), b"old").unwrap();
    }
    let old = at("old");
    let old = old.to_str().unwrap();
    for arguments in [&["--scenes", "1", "--record", old][..], &["--seconds", "1", "--pictures", old]] {
        let refused = demo(arguments);
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("not empty") && stderr.contains("--overwrite"), "{stderr}");
    }
    let json = json(&demo(&["--scenes", "1", "--record", old, "--overwrite", "--json"]));
    assert_eq!(lines(&at("old/answers.jsonl")).len() as u64, figure(&json, "/answers/scored"));
    assert!(image::open(at("old/frames/00000.png")).is_ok() && at("old/mine.txt").exists());
    assert_eq!(json["report"], at("old/report.html").to_str().unwrap());
    assert!(std::fs::read_to_string(at("old/report.html")).unwrap().contains("simulated time"));
    for (place, words) in [(at("none/r.html"), "there is no folder"), (dir.path().to_owned(), "is a folder")]
    {
        let failed = demo(&["--seconds", "1", "--report", place.to_str().unwrap()]);
        let stderr = String::from_utf8_lossy(&failed.stderr);
        assert_eq!(failed.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(words) && !stderr.contains("exporting"), "{stderr}");
    }
}

#[test]
fn a_wrong_command_line_is_told_from_a_failure() {
    assert_eq!(demo(&["--seconds", "-1"]).status.code(), Some(2));
    assert_eq!(demo(&["--scenes", "2"]).status.code(), Some(2), "a course is recorded");
    let missing = demo(&["--checkpoint", "no/such/directory"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no/such/directory"));
    let missing = demo(&["--predict-checkpoint", "no/such/forecasts"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no/such/forecasts"));
}
