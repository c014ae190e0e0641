//! What is wrong for longer than a frame: with a camera's stamps, with what comes on its topic, with its rate, with the time
//! that answers get. Each is named once, with what was measured and what to do, shown in diagnostics while it lasts, and said to be
//! over.

use std::fmt::Write as _;
use std::time::Duration;

use super::cuts::Cuts;
use crate::frames::camera::Camera;
use crate::frames::listener::ListenerOptions;
use crate::frames::stamps::{StampFault, StampReport, TimedBy};
use crate::frames::stream::{Mixed, StreamReport};
use crate::ros2::diagnostics::Work;

/// A camera that gives less than this share of a clip's rate is too slow for it …
const SLOW: f64 = 0.95;
/// … until it gives this much.
const FAST_ENOUGH: f64 = 0.98;
/// So many frames without a companion, one after another, are more than a slow camera's turn.
const APART_MIN: u64 = 8;
/// What was not so for this long is over, in steady time.
const OVER_NS: i64 = 3_000_000_000;

/// Which one it is: of each there is one at a time, and another one is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What is wrong with the stamps, and by what frames are timed instead.
    Stamps(StampFault, TimedBy),
    Publishers,
    FrameIds,
    Sizes,
    Slow,
    Cut,
    Beyond,
    /// Which cameras are missing, by their places.
    Missing(u64),
    Apart,
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Concern {
    kind: Kind,
    text: String,
}

/// What is wrong with the images of a camera, whoever looks at them.
pub(super) fn of_camera(camera: &Camera, is_simulated: bool) -> Vec<Concern> {
    let has_no_time = is_simulated && camera.clock().now().ros_ns == 0;
    let topic = camera.topic();
    let mut concerns = Vec::new();
    let StampReport { fault, timed_by, way_ns } = camera.stamps();
    if let Some(fault) = fault {
        let clock = if has_no_time { Simulation::Silent } else { Simulation::of(is_simulated) };
        let [way_s, max_age_s] = [way_ns, camera.max_age_ns()].map(|ns| ns as f64 / 1e9);
        let text = of_stamps(topic, fault, timed_by, way_s, max_age_s, clock);
        concerns.push(Concern { kind: Kind::Stamps(fault, timed_by), text });
    }
    let StreamReport { mixed, .. } = camera.stream();
    concerns.extend(of_mixed(topic, &mixed));
    concerns
}

/// Whether the clock is a simulation's.
#[derive(Clone, Copy, PartialEq)]
enum Simulation {
    None,
    Ticks,
    /// It should be, and nothing ticks.
    Silent,
}

impl Simulation {
    fn of(is_simulated: bool) -> Self {
        if is_simulated { Self::Ticks } else { Self::None }
    }
}

fn of_stamps(
    topic: &str,
    fault: StampFault,
    timed_by: TimedBy,
    way_s: f64,
    max_age_s: f64,
    clock: Simulation,
) -> String {
    let apart = length(way_s.abs());
    let what = match fault {
        StampFault::Zero => "are zero".to_owned(),
        StampFault::Still => "stand still while images come, or move in coarse steps".to_owned(),
        StampFault::Backwards => "run backwards again and again".to_owned(),
        StampFault::Ahead => format!("lie {apart} ahead of this node's clock"),
        StampFault::Behind => format!("lie {apart} behind this node's clock"),
        StampFault::Late => {
            return format!(
                "images of {topic} are {apart} old when they come, by their stamps, and max_age is {}: nothing is \
                 made of them; raise max_age, or, if they are not old, set the clocks of camera and node (chrony, PTP)",
                length(max_age_s)
            );
        }
    };
    let so = match timed_by {
        TimedBy::Receipt => "clips, forecasts and ages go by receipt",
        TimedBy::Stamp => "ages go by receipt",
        TimedBy::Nothing => "images come in heaps too, so that no clip can be formed",
    };
    let cure = match (fault, clock) {
        (StampFault::Ahead | StampFault::Behind, Simulation::None) => {
            "set the clocks of camera and node (chrony, PTP), or use_sim_time where a simulation or a bag gives the time"
        }
        (StampFault::Ahead | StampFault::Behind, Simulation::Ticks) => {
            "let the camera take its stamps from the same /clock, or do without use_sim_time"
        }
        (StampFault::Ahead | StampFault::Behind, Simulation::Silent) => {
            "use_sim_time is set, and nothing ticks on /clock: start what does, or do without use_sim_time"
        }
        (StampFault::Backwards, _) => "let one camera send the topic, in the order of its stamps",
        _ => "let the camera's driver put the time of each image into header.stamp",
    };
    format!("stamps of {topic} {what}: {so}; {cure}")
}

fn of_mixed(topic: &str, mixed: &Mixed) -> Vec<Concern> {
    let Mixed { publishers_hz, frame_ids, sizes } = mixed;
    let sizes = listed(sizes.iter().map(|((width, height), hz)| (format!("{width}×{height} "), *hz)));
    let mut concerns = Vec::new();
    let mut push = |kind, text| concerns.push(Concern { kind, text });
    if !publishers_hz.is_empty() {
        let rates = listed(publishers_hz.iter().map(|hz| (String::new(), *hz)));
        let sizes = if sizes.is_empty() { String::new() } else { format!(", of sizes {sizes}") };
        let text = format!(
            "{} publishers send {topic} at once ({rates} images a second{sizes}), and their images come mixed: stop all \
             but one, or remap image to the topic of one camera",
            publishers_hz.len()
        );
        push(Kind::Publishers, text);
        return concerns;
    }
    if !frame_ids.is_empty() {
        let ids = listed(frame_ids.iter().map(|(id, hz)| (format!("{id:?} "), *hz)));
        let text = format!(
            "images of {} coordinate frames come mixed on {topic} ({ids} a second): remap image to the topic of one \
             camera",
            frame_ids.len()
        );
        push(Kind::FrameIds, text);
    }
    if !sizes.is_empty() {
        let text = format!(
            "images of several sizes come mixed on {topic} ({sizes} a second), and a clip is of one size: let the camera \
             keep to one"
        );
        push(Kind::Sizes, text);
    }
    concerns
}

/// What is wrong with a camera's rate for one engine, which may have been so before.
pub(super) fn of_rate(
    work: Work,
    listener: &ListenerOptions,
    rate_hz: Option<f64>,
    was_slow: bool,
) -> Option<Concern> {
    let (wanted_hz, rate_hz) = (listener.clip_rate_hz, rate_hz?);
    let least = if was_slow { FAST_ENOUGH } else { SLOW };
    let is_single = listener.clip_frames + listener.follow_frames == 1;
    if is_single || least * wanted_hz <= rate_hz {
        return None;
    }
    let possible = if rate_hz < 1.0 { (1000.0 * rate_hz).floor() / 1000.0 } else { rate_hz.floor() };
    let cure = match work {
        _ if possible == 0.0 => "ask about single images (--clip 1)".to_owned(),
        Work::Answers => format!("give --fps {possible} (parameter fps)"),
        Work::Forecasts => format!("export the engine with --fps {possible}"),
    };
    let text = format!(
        "the camera gives {rate_hz:.1} images a second, and a clip wants {wanted_hz}: {cure}, or a faster camera"
    );
    Some(Concern { kind: Kind::Slow, text })
}

/// What is wrong with the time that answers, or forecasts, get.
pub(super) fn of_cuts(work: Work, cuts: &Cuts) -> Option<Concern> {
    let (n_cut, n) = cuts.recent();
    if n_cut == 0 {
        return None;
    }
    let (many, cure) = match work {
        Work::Answers => ("answers", "fewer tokens (--max-tokens)"),
        Work::Forecasts => ("forecasts", "none of the frames (--latent-only)"),
    };
    let share = 100.0 * f64::from(n_cut) / f64::from(n);
    let text = format!(
        "{n_cut} of the last {n} {many} were cut at max_age ({share:.0} %), {} since the start: allow more time (max_age) \
         or {cure}",
        cuts.total()
    );
    Some(Concern { kind: Kind::Cut, text })
}

/// What of the robot's actions lies beyond what a checkpoint is trained for.
pub(super) fn of_actions(beyond: &str) -> Concern {
    let text = format!(
        "{beyond}: what is forecast of that is worth little; send actions in the checkpoint's units (`inspect` tells them)"
    );
    Concern { kind: Kind::Beyond, text }
}

/// A camera that sends nothing, while questions are to be about all.
pub(super) struct Missing<'a> {
    /// Its number among all.
    pub(super) number: usize,
    pub(super) name: &'a str,
    pub(super) topic: &'a str,
    pub(super) silence_s: f64,
}

/// What keeps a question about all cameras from being put: some are missing, and frames found no companion so many times, the last
/// of them so far away. One does not end the other.
pub(super) fn of_together(
    missing: &[Missing<'_>],
    (n_apart, apart): (u64, Duration),
    tolerance: Duration,
) -> Vec<Concern> {
    const OR_SO: f64 = 1e-3;
    let mut concerns = Vec::new();
    if !missing.is_empty() {
        let one = |Missing { name, topic, silence_s, .. }: &Missing<'_>| {
            format!("{name} ({topic}) has sent no image for {}", length(*silence_s))
        };
        let cameras: Vec<String> = missing.iter().map(one).collect();
        let text = format!(
            "no question is put, since it is to be about all cameras, and {}: mend it, or ask about each (ask_cameras)",
            cameras.join(" and ")
        );
        let which = missing.iter().fold(0, |which, camera| which | 1 << camera.number);
        concerns.push(Concern { kind: Kind::Missing(which), text });
    }
    if APART_MIN <= n_apart {
        let (apart_s, tolerance_s) = (apart.as_secs_f64(), tolerance.as_secs_f64());
        let text = format!(
            "no question is put, since the newest frames of the cameras were seen {apart_s:.3} s apart, and \
             camera_tolerance is {tolerance_s:.3} s: raise it to {:.3} or more, or set the cameras' clocks (chrony, PTP)",
            apart_s + OR_SO
        );
        concerns.push(Concern { kind: Kind::Apart, text });
    }
    concerns
}

impl Kind {
    /// What is said when it is over.
    fn over(self) -> &'static str {
        match self {
            Self::Stamps(..) => "the camera's stamps are right again",
            Self::Publishers => "one publisher sends the camera's images again",
            Self::FrameIds => "the camera's images are of one coordinate frame again",
            Self::Sizes => "the camera's images are of one size again",
            Self::Slow => "the camera is fast enough for a clip again",
            Self::Cut => "nothing is cut at max_age any more",
            Self::Beyond => "actions are within the checkpoint's limits again",
            Self::Missing(_) => "all cameras send images again",
            Self::Apart => "the frames of all cameras are near enough to each other again",
        }
    }

    /// Whether another one takes this one's place without this one being over.
    fn is_as(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// The concerns that stand, each with when it was last so.
#[derive(Debug, Default)]
pub(super) struct Standing(Vec<(Concern, i64)>);

impl Standing {
    /// Takes in what is wrong at `now_ns`, in steady time; returns what is to be said of it.
    pub(super) fn hear(&mut self, concerns: Vec<Concern>, now_ns: i64) -> Vec<(log::Level, String)> {
        let mut said = Vec::new();
        for concern in concerns {
            match self.0.iter_mut().find(|(known, _)| known.kind.is_as(concern.kind)) {
                Some(known) if known.0.kind == concern.kind => *known = (concern, now_ns),
                other => {
                    said.push((log::Level::Warn, concern.text.clone()));
                    match other {
                        Some(known) => *known = (concern, now_ns),
                        None => self.0.push((concern, now_ns)),
                    }
                }
            }
        }
        self.0.retain(|(concern, last_ns)| {
            let is_over = OVER_NS <= now_ns.saturating_sub(*last_ns);
            if is_over {
                said.push((log::Level::Info, concern.kind.over().to_owned()));
            }
            !is_over
        });
        said
    }

    pub(super) fn is_slow(&self) -> bool {
        self.0.iter().any(|(concern, _)| concern.kind == Kind::Slow)
    }

    /// What they are, as last measured.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(concern, _)| concern.text.clone())
    }
}

/// Says what is to be said, of a camera if it has a name.
pub(super) fn say(camera: Option<&str>, said: Vec<(log::Level, String)>) {
    for (level, text) in said {
        match camera {
            Some(camera) => log::log!(level, "camera {camera}: {text}"),
            None => log::log!(level, "{text}"),
        }
    }
}

/// `left 15.0 and right 4.9`, of as many as one reads.
fn listed(items: impl Iterator<Item = (String, f64)>) -> String {
    let items: Vec<(String, f64)> = items.collect();
    let shown = items.len().min(4);
    let mut text = String::new();
    for (i, (name, hz)) in items[..shown].iter().enumerate() {
        let between = if i == 0 {
            ""
        } else if i + 1 == items.len() {
            " and "
        } else {
            ", "
        };
        write!(text, "{between}{name}{hz:.1}").expect("a text grows");
    }
    if shown < items.len() {
        write!(text, " and {} more", items.len() - shown).expect("a text grows");
    }
    text
}

/// A length of time in words that fit it.
fn length(s: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3600.0;
    const DAY: f64 = 24.0 * HOUR;
    const YEAR: f64 = 365.25 * DAY;
    match s {
        s if s < 2.0 * MINUTE => format!("{s:.1} s"),
        s if s < 2.0 * HOUR => format!("{:.0} min", s / MINUTE),
        s if s < 2.0 * DAY => format!("{:.1} h", s / HOUR),
        s if s < 2.0 * YEAR => format!("{:.0} days", s / DAY),
        s => format!("{:.0} years", s / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn slow(text: &str) -> Concern {
        Concern { kind: Kind::Slow, text: text.to_owned() }
    }

    #[test]
    fn a_concern_is_said_once_and_when_it_is_over() {
        let mut standing = Standing::default();
        let mut said = Vec::new();
        // It comes and goes ten times a second, as a measure at its limit does.
        for i in 0..100 {
            let concerns = if i % 2 == 0 { vec![slow(&format!("{i} a second"))] } else { Vec::new() };
            said.extend(standing.hear(concerns, i * S / 10));
        }
        assert_eq!(said, [(log::Level::Warn, "0 a second".to_owned())]);
        assert_eq!(standing.texts().collect::<Vec<_>>(), ["98 a second"], "as last measured");
        assert_eq!(standing.hear(Vec::new(), 12 * S), []);
        let over = [(log::Level::Info, "the camera is fast enough for a clip again".to_owned())];
        assert_eq!(standing.hear(Vec::new(), 13 * S), over);
        assert_eq!((standing.hear(Vec::new(), 14 * S), standing.texts().count()), (vec![], 0));
    }

    #[test]
    fn another_verdict_on_the_stamps_takes_the_place_of_the_first() {
        let mut standing = Standing::default();
        let stamps = |fault, timed_by, text: &str| {
            vec![Concern { kind: Kind::Stamps(fault, timed_by), text: text.to_owned() }]
        };
        let mut texts = |concerns, now_ns| -> Vec<String> {
            standing.hear(concerns, now_ns).into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(texts(stamps(StampFault::Ahead, TimedBy::Receipt, "3 h"), 0), ["3 h"]);
        assert_eq!(texts(stamps(StampFault::Ahead, TimedBy::Receipt, "4 h"), 1), [""; 0]);
        assert_eq!(texts(stamps(StampFault::Still, TimedBy::Receipt, "still"), 2), ["still"]);
        assert_eq!(texts(stamps(StampFault::Still, TimedBy::Nothing, "heaps"), 3), ["heaps"]);
        assert_eq!(texts(Vec::new(), 4 * S), ["the camera's stamps are right again"]);
    }

    #[test]
    fn each_fault_of_stamps_has_its_measure_and_its_cure() {
        let check = |fault, timed_by, way_s, clock, expected: &str| {
            assert_eq!(of_stamps("/image", fault, timed_by, way_s, 2.0, clock), expected);
        };
        check(
            StampFault::Behind,
            TimedBy::Receipt,
            1.7e9,
            Simulation::None,
            "stamps of /image lie 54 years behind this node's clock: clips, forecasts and ages go by receipt; set the \
             clocks of camera and node (chrony, PTP), or use_sim_time where a simulation or a bag gives the time",
        );
        check(
            StampFault::Ahead,
            TimedBy::Stamp,
            -1.7e9,
            Simulation::Silent,
            "stamps of /image lie 54 years ahead of this node's clock: ages go by receipt; use_sim_time is set, and \
             nothing ticks on /clock: start what does, or do without use_sim_time",
        );
        check(
            StampFault::Zero,
            TimedBy::Nothing,
            9.0,
            Simulation::None,
            "stamps of /image are zero: images come in heaps too, so that no clip can be formed; let the camera's driver \
             put the time of each image into header.stamp",
        );
        check(
            StampFault::Late,
            TimedBy::Stamp,
            5.04,
            Simulation::None,
            "images of /image are 5.0 s old when they come, by their stamps, and max_age is 2.0 s: nothing is made of \
             them; raise max_age, or, if they are not old, set the clocks of camera and node (chrony, PTP)",
        );
    }

    #[test]
    fn a_camera_that_is_too_slow_is_told_with_a_rate_that_fits() {
        let options = |clip_frames| ListenerOptions {
            clip_frames,
            clip_rate_hz: 10.0,
            follow_frames: 0,
            pictures: clip_frames,
            max_age: Duration::from_secs(2),
        };
        let told = |rate_hz, was_slow| {
            of_rate(Work::Answers, &options(8), rate_hz, was_slow).map(|concern| concern.text)
        };
        let expected = "the camera gives 4.9 images a second, and a clip wants 10: give --fps 4 (parameter fps), or a \
                        faster camera";
        assert_eq!(told(Some(4.93), false).as_deref(), Some(expected));
        assert!(told(Some(0.37), false).is_some_and(|text| text.contains("--fps 0.37")));
        assert!(told(Some(0.05), false).is_some_and(|text| text.contains("--fps 0.05")));
        assert!(told(Some(0.0004), false).is_some_and(|text| text.contains("--clip 1")), "no rate of zero");
        assert_eq!([told(None, false), told(Some(9.6), false), told(Some(9.9), true)], [None, None, None]);
        assert!(told(Some(9.6), true).is_some(), "not over at the first better measure");
        assert_eq!(of_rate(Work::Answers, &options(1), Some(0.1), false), None, "single images have no rate");
        let forecast = of_rate(Work::Forecasts, &options(5), Some(5.0), false).unwrap();
        assert!(forecast.text.contains("export the engine with --fps 5"), "{}", forecast.text);
    }

    #[test]
    fn what_comes_mixed_is_told_with_its_rates() {
        let mut mixed = Mixed { sizes: vec![((640, 480), 15.0), ((320, 240), 4.93)], ..Mixed::default() };
        let texts = |mixed: &Mixed| -> Vec<String> {
            of_mixed("/image", mixed).into_iter().map(|concern| concern.text).collect()
        };
        let expected = "images of several sizes come mixed on /image (640×480 15.0 and 320×240 4.9 a second), and a clip \
                        is of one size: let the camera keep to one";
        assert_eq!(texts(&mixed), [expected]);
        mixed.frame_ids = vec![("left".to_owned(), 15.0), ("right".to_owned(), 4.9)];
        assert_eq!(texts(&mixed).len(), 2);
        assert!(texts(&mixed)[0].contains("(\"left\" 15.0 and \"right\" 4.9 a second)"));
        mixed.publishers_hz = vec![15.0, 4.93];
        let expected = "2 publishers send /image at once (15.0 and 4.9 images a second, of sizes 640×480 15.0 and 320×240 \
                        4.9), and their images come mixed: stop all but one, or remap image to the topic of one camera";
        assert_eq!(texts(&mixed), [expected], "one cause is one concern");
        assert_eq!(texts(&Mixed::default()), [""; 0]);
        let many = (0..6).map(|i| (format!("{i}: "), f64::from(i)));
        assert_eq!(listed(many), "0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0 and 2 more");
    }

    #[test]
    fn cameras_that_do_not_come_together_are_told_by_name() {
        let told = |missing: &[Missing<'_>], n_apart| {
            of_together(missing, (n_apart, Duration::from_millis(348)), Duration::from_millis(100))
        };
        assert_eq!([told(&[], 0), told(&[], 7)], [vec![], vec![]]);
        let expected = "no question is put, since the newest frames of the cameras were seen 0.348 s apart, and \
                        camera_tolerance is 0.100 s: raise it to 0.349 or more, or set the cameras' clocks (chrony, PTP)";
        assert_eq!(told(&[], 8)[0].text, expected);
        let missing = |number, name| Missing { number, name, topic: "/image", silence_s: 3.21 };
        let expected = "no question is put, since it is to be about all cameras, and rear (/image) has sent no image for 3.2 s \
                        and left (/image) has sent no image for 3.2 s: mend it, or ask about each (ask_cameras)";
        let both = told(&[missing(1, "rear"), missing(2, "left")], 0).remove(0);
        assert_eq!((both.text.as_str(), both.kind), (expected, Kind::Missing(0b110)));

        // A camera that dies has not found its companions.
        let mut standing = Standing::default();
        let mut said = |concerns, second| -> Vec<log::Level> {
            standing.hear(concerns, second * S).into_iter().map(|(level, _)| level).collect()
        };
        assert_eq!(said(told(&[], 8), 0), [log::Level::Warn]);
        assert_eq!(said(told(&[missing(1, "rear")], 8), 1), [log::Level::Warn]);
        for second in 2..10 {
            assert!(said(told(&[missing(1, "rear")], 8), second).is_empty(), "{second}");
        }
        assert_eq!(said(told(&[], 0), 13), [log::Level::Info; 2]);
    }

    #[test]
    fn cuts_are_told_with_count_and_share() {
        let mut cuts = Cuts::default();
        assert_eq!(of_cuts(Work::Answers, &cuts), None);
        for i in 0..20 {
            cuts.note(i % 4 == 0);
        }
        let text = of_cuts(Work::Answers, &cuts).unwrap().text;
        let expected = "4 of the last 16 answers were cut at max_age (25 %), 5 since the start: allow more time (max_age) or \
                        fewer tokens (--max-tokens)";
        assert_eq!(text, expected);
        (0..16).for_each(|_| cuts.note(false));
        assert_eq!((of_cuts(Work::Answers, &cuts), cuts.total()), (None, 5));
    }
}
