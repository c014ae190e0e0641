//! Errands in memory, with engines that rank plans by their place or by what the table itself would do.

use std::sync::Mutex;

use serde_json::{Map, Value, json};

use super::*;
use crate::camera::{Decoder, FrameSize};
use crate::demo::tests::Hall;
use crate::frames::clock::Clock;
use crate::frames::frame::Received;
use crate::ros2::node::{Forecast, ForecastShape, Glimpse, Look, Outcome, PlanRequest, Plans, ScoreRequest};

/// Ranks a plan first by a closure: of the clip's newest frame, the goal image and the plans.
struct Ranks<F>(ForecastShape, F);

impl<F> Ranks<F> {
    fn new(best: F) -> Self {
        let action_names = ["x", "y"].map(str::to_owned).to_vec();
        let shape = ForecastShape {
            n_given: 5,
            horizon: 8,
            rate_hz: FPS,
            width: SIZE,
            height: SIZE,
            action_names,
            action_limits: Vec::new(),
        };
        Ranks(shape, best)
    }
}

impl<F: FnMut(&[u8], &[u8], &[Vec<f32>]) -> Option<usize> + Send> Forecaster for Ranks<F> {
    fn shape(&self) -> &ForecastShape {
        &self.0
    }

    fn look(&mut self, _: &Look<'_>, _: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> {
        // As long as several frames take to come.
        std::thread::sleep(std::time::Duration::from_millis(40));
        Outcome::Made(Forecast { latent_only: true, ..Forecast::default() })
    }

    fn plan(
        &mut self,
        request: &PlanRequest,
        given: &[Received],
        _: Option<std::time::Instant>,
        _: &AtomicBool,
    ) -> Result<Map<String, Value>, String> {
        let Plans::Given(plans) = &request.plans else { return Err("plans were drawn".to_owned()) };
        let ScoreRequest::Goal { image, blur } = &request.score else { return Err("no goal".to_owned()) };
        let mut goal = vec![0; FRAME_BYTES];
        let file = base64::decode(image).unwrap();
        let size = Decoder::new().decode("png", &file, &mut goal).unwrap();
        assert_eq!(size, FrameSize { width: SIZE, height: SIZE });
        assert!(0.0 < *blur, "near misses count");
        let newest = given.last().unwrap().frame.data();
        let best = (self.1)(newest, &goal, plans).ok_or("it has no mind to")?;
        let members = json!({ "candidates": [{ "candidate": best }], "total_ms": 2.5 });
        Ok(members.as_object().unwrap().clone())
    }
}

fn run(
    n_starts: u64,
    best: impl FnMut(&[u8], &[u8], &[Vec<f32>]) -> Option<usize> + Send,
) -> anyhow::Result<Report> {
    let hall = Hall::new(Clock::simulated());
    let mut imagined = |given: &[Vec<u8>], plan: &[[f64; 2]]| {
        assert_eq!(given.len(), 5);
        Ok(vec![given[4].clone(); plan.len()])
    };
    let (stop, mut heard) = (AtomicBool::new(false), Vec::new());
    let report = play(hall.graph(), n_starts, &mut Ranks::new(best), &mut imagined, &stop, &mut |start| {
        heard.push(start.number());
    })?;
    assert_eq!(heard, (1..=n_starts).collect::<Vec<_>>());
    Ok(report)
}

#[test]
fn whoever_takes_the_first_plan_does_as_well_as_chance() {
    let report = run(4, |_, _, plans| {
        assert_eq!((plans.len(), plans[0].len()), (CANDIDATES, 16));
        assert!(plans.iter().flatten().all(|action| (-1.0..=1.0).contains(action)));
        Some(0)
    });
    let report = report.unwrap();
    report.verdict().unwrap();
    for start in &report.log {
        assert_eq!(start.arrived_s, start.arrived_by_random_plans_s);
    }
    assert_eq!((report.starts, report.plan_ms.p50, report.shown.len()), (4, Some(2.5), SHOWN));
    assert!(report.frames.is_balanced && 0 < report.frames.sent);
    assert_eq!(
        report.clips_sent_again, 0,
        "a node that forecasts slowly is asked about the clip that it is shown"
    );
}

#[test]
fn a_plan_that_comes_near_the_wishes_brings_the_ball_to_its_goal() {
    // The table of the errand under way, followed by the plans that were chosen.
    let table = Mutex::new((0, Errand::draw(Split::HeldOut, 0)));
    let report = run(3, |newest, _, plans| {
        let (index, errand) = &mut *table.lock().unwrap();
        let shows = |errand: &Errand| {
            let mut rgb = vec![0; FRAME_BYTES];
            errand.look.render(&errand.start, 4, SIZE, &mut rgb);
            rgb == newest
        };
        // Another errand has begun.
        let next = Errand::draw(Split::HeldOut, *index + 1);
        if shows(&next) {
            (*index, *errand) = (*index + 1, next);
        }
        let wish = errand.wish(&errand.start);
        let after = |plan: &[f32]| {
            let mut table = errand.start.clone();
            for row in plan.chunks(2) {
                table.step([0, 1].map(|k| f64::from(row[k]) * SPEED_MAX));
            }
            table
        };
        let miss = |plan: &Vec<f32>| {
            let table = after(plan);
            let away = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
            away(table.objects[0].position, wish.objects[0].position)
                + away(table.pusher.unwrap().position, wish.pusher.unwrap().position)
        };
        let best = (0..plans.len()).min_by(|a, b| miss(&plans[*a]).total_cmp(&miss(&plans[*b]))).unwrap();
        errand.start = after(&plans[best]);
        Some(best)
    });
    let report = report.unwrap();
    // The table itself does not always find a way among 64 plans a second.
    assert!(2 <= report.arrived && report.arrived_by_random_plans == 0, "{:?}", report.log);
    let page = report.page();
    assert_eq!(page.matches("<h3>start ").count(), 3, "a card for each");
    assert!(page.contains(". 64 plans ranked"), "sentences are apart");
    let arrived = format!("from {} of 3 held-out starts", report.arrived);
    assert!(report.lines()[0].contains(&arrived), "{:?}", report.lines());
    let picture = shown::sheet(&report.shown);
    assert!(!picture.rgb().is_empty());
}

#[test]
fn a_node_that_ranks_nothing_is_an_error_with_its_reason() {
    let refused = run(1, |_, _, _| None).unwrap_err();
    assert!(refused.to_string().contains("it has no mind to"), "{refused}");
}
