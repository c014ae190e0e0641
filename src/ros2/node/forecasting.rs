//! Predict's role: compares the frames that came with the forecast made before, forecasts from the newest clip, and publishes
//! both while they are made. In between it forecasts what others want.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::answerer::Outcome;
use super::board::{Delivered, Notes};
use super::concerns::of_actions;
use super::forecaster::{Forecaster, Glimpse, Look};
use super::gaze::{Eye, Gaze, Wanted};
use super::imagining::Wish;
use super::occasion::{AskWhen, Occasion};
use super::options::{ask_period_ns, max_age};
use super::plan::StandingPlan;
use super::planning::Planning;
use super::screen::{Made, PublishedSurprise, Screen};
use super::term::Term;
use super::turns::{Role, Turns};
use super::watch::Watched;
use super::{Audience, NodeError, Said, Stage, time_left};
use crate::frames::accounts::DropReason;
use crate::frames::clock::Moment;
use crate::frames::frame::Received;
use crate::frames::listener::Verdict;
use crate::ros2::asks::{Asks, Attendance, Attending};
use crate::ros2::diagnostics::{Level, Status, Work};
use crate::ros2::messages::{Float32MultiArray, ImageMessage, ImagineReply, ImagineRequest, Message, Twist};
use crate::ros2::parameter_store::SharedParameters;
use crate::ros2::transport::Delivery;

pub(super) struct Forecasting<'a> {
    gaze: Gaze,
    screen: Screen<'a>,
    plan: Option<Arc<StandingPlan>>,
    planning: Option<Arc<Planning>>,
    occasion: Option<Arc<Occasion>>,
    parameters: SharedParameters,
    /// The plan's rows for the forecast being made.
    rows: Vec<f32>,
    forecaster: &'a mut dyn Forecaster,
    audience: &'a Audience<'a>,
    asks: &'a Asks,
    /// What another node wants, whose turn is next.
    wish: Option<Wish>,
    /// Where images come from.
    image_topic: String,
    /// Last, so that those who wait are told when all else is.
    _attending: Attending<'a, ImagineRequest>,
}

/// Who hears how far what came lies from what was expected.
struct Ears<'e, 'a> {
    eye: &'e Eye,
    screen: &'e Screen<'e>,
    occasion: Option<&'e Occasion>,
    parameters: &'e SharedParameters,
    audience: &'e Audience<'a>,
}

impl Ears<'_, '_> {
    /// Tells it of a frame that came so many frames after a clip; returns how many messages were not taken.
    fn hear(&self, came: &Received, ahead: usize, latent: Option<f32>, pixels: Option<f32>) -> u64 {
        let Self { eye: Eye { listener, board, .. }, screen, occasion, parameters, audience } = self;
        let surprise = PublishedSurprise { stamp_ns: came.seen_ns, ahead, latent, pixels };
        listener.compared(came.place);
        board.surprised(latent, pixels);
        if let (Some(occasion), Some(latent)) = (occasion, latent) {
            occasion.surprised(latent);
        }
        let limit = parameters.read(AskWhen::of).surprise;
        if latent.is_some_and(|latent| limit < f64::from(latent)) {
            audience.recording.surprised(came.receipt);
        }
        let unpublished = screen.compare(&surprise, came);
        audience.hears(Said::Surprise(&surprise));
        unpublished
    }
}

impl<'a> Forecasting<'a> {
    /// Announces the topics.
    pub(super) fn open(
        stage: &Stage<'a>,
        forecaster: &'a mut dyn Forecaster,
        (camera, eye): (usize, Eye),
    ) -> Result<(Turns<'a>, Watched<'a>), NodeError> {
        let Stage { transport, options, topics, parameters, occasion, audience, asks, lenses } = stage;
        let asks: &'a Asks = asks;
        forecaster.begin();
        let shape = forecaster.shape().clone();
        let plan = StandingPlan::new(&shape);
        if let Some(plan) = &plan {
            let names = shape.action_names.join(", ");
            let (reliable, sink) = (Delivery::Reliable, plan.plan_sink());
            transport.subscribe(&topics.actions, Float32MultiArray::TYPE, reliable, sink)?;
            if plan.is_velocity() {
                // Best effort, so that writers of either kind match: the next velocity comes soon.
                let sink = plan.velocity_sink();
                transport.subscribe(&topics.cmd_vel, Twist::TYPE, Delivery::BestEffort, sink)?;
                log::info!("actions ({names}) from {} and {}", topics.actions, topics.cmd_vel);
            } else {
                log::info!("actions ({names}) from {}; they are no velocity", topics.actions);
            }
        }
        let planning = Planning::open(*transport, topics, &shape)?;
        let ear = Arc::clone(&eye.listener);
        let image_topic = options.image_topics()?.swap_remove(camera).topic;
        let role = Self {
            screen: Screen::open(
                *transport,
                topics,
                (&eye.listener, &lenses[camera]),
                &shape,
                audience.recording.goes_on(),
            )?,
            gaze: Gaze::new(vec![eye.clone()], &options.cameras),
            plan: plan.clone(),
            planning: planning.clone(),
            occasion: occasion.clone(),
            parameters: Arc::clone(parameters),
            rows: Vec::new(),
            forecaster,
            audience,
            asks,
            wish: None,
            image_topic,
            _attending: asks.wishes.attended(Attendance::There, move || ear.nudge()),
        };
        let (limits, actions) = (Arc::clone(parameters), plan.clone());
        let detail = move |notes: &Notes, status: &mut Status| {
            let limit = |name: &str| limits.read(|parameters| parameters.double(name) as f32);
            detail(notes, limit("surprise_warn"), limit("surprise_error"), status);
            if let Some(plan) = &plan {
                status.figures.push(("actions", plan.source()));
                status.figures.push(("actions_refused", plan.refused().to_string()));
            }
            if let Some(planning) = &planning {
                let [ranked, refused] = planning.counts();
                status.figures.push(("plans_ranked", ranked.to_string()));
                status.figures.push(("plans_refused", refused.to_string()));
            }
            let [made, failed] = asks.wishes.counts();
            status.figures.push(("forecast_beside", format!("made {made}, failed {failed}")));
        };
        let forming_s = shape.n_given as f64 / shape.rate_hz;
        let detail = Box::new(detail);
        let worry = move || actions.as_ref().and_then(|plan| plan.beyond()).map(|beyond| of_actions(&beyond));
        let watched = Watched::new(Work::Forecasts, (options, parameters), forming_s, (camera, &eye), detail)
            .with_worry(Box::new(worry));
        let parameters = Arc::clone(parameters);
        let period_ns = Box::new(move || parameters.read(ask_period_ns));
        Ok((Turns::new(Box::new(role), period_ns), watched))
    }
}

impl Role for Forecasting<'_> {
    fn gaze(&mut self) -> &mut Gaze {
        &mut self.gaze
    }

    fn glance(&self) {
        if let Some(planning) = &self.planning {
            planning.tell_refusals();
        }
    }

    fn serve(&mut self, frames: &[Received], began: Moment, stop: &AtomicBool) -> Verdict {
        let Self { gaze, screen, plan, occasion, parameters, rows, audience, .. } = self;
        audience.recording.used(frames);
        let eye = &gaze.eyes()[0];
        let Eye { listener, board, .. } = eye;
        let ears = Ears { eye, screen, occasion: occasion.as_deref(), parameters, audience };
        let actions = plan.as_ref().map(|plan| plan.read(rows));
        let clock = listener.clock();
        let newest = frames.last().expect("a clip has at least one frame");
        let is_late = || clock.runs() && newest.deadline_steady_ns <= clock.now().steady_ns;
        let (mut n_shown, mut is_cut, mut unpublished) = (0, false, 0);
        let mut info = screen.info(newest);
        let mut tell = |glimpse: Glimpse<'_>| match glimpse {
            Glimpse::Surprise { frame, ahead, latent, pixels } => {
                unpublished += ears.hear(&frames[frame], ahead, latent, pixels);
            }
            Glimpse::Frame { .. } if is_cut || is_late() => is_cut = true,
            Glimpse::Frame { ahead, rgb } => {
                unpublished += screen.show(newest, ahead, rgb, info.as_mut());
                if let Some(onlooker) = audience.onlooker.get() {
                    onlooker.foresees(ahead, rgb);
                }
                n_shown = ahead;
            }
        };
        let look = Look {
            frames,
            plan: actions.is_some().then_some(&rows[..]),
            beside: None,
            deadline: clock.runs().then(|| Instant::now() + time_left(newest, began)),
            stop,
        };
        let outcome = self.forecaster.look(&look, &mut tell);
        let verdict = match outcome {
            // Frames that were shown in time need their report, even a moment later.
            Outcome::Made(_) if n_shown == 0 && is_late() => Verdict::Dropped(DropReason::MadeTooLate),
            Outcome::Made(mut forecast) => {
                forecast.is_cut |= is_cut;
                let ended = clock.now();
                let given = &frames[frames.len() - self.forecaster.shape().n_given..];
                let age = newest.age(clock, ended);
                let actions = actions.as_deref();
                let made = Made { forecast: &forecast, actions, given, n_frames: n_shown, began };
                let (published, is_lost) = screen.report(&made, age);
                let camera_ns = ended.steady_ns.saturating_sub(newest.receipt.steady_ns);
                board.forecast(&published);
                board.delivered(&Delivered {
                    age_ms: published.age_ms,
                    taken_ms: published.forecast_ms,
                    camera_to_publishing_ms: camera_ns as f64 / 1e6,
                    stamp_suspect: age.is_suspect,
                    is_cut: published.is_cut,
                    unpublished: u64::from(is_lost),
                    now: ended,
                });
                audience.hears(Said::Forecast(&published));
                Verdict::Served
            }
            other => board.verdict(other, &gaze.names()),
        };
        board.unpublished(unpublished);
        if !matches!(verdict, Verdict::Rejected(..)) {
            self.rank_plans(frames, stop);
        }
        self.wish.iter_mut().for_each(Wish::waits_anew);
        verdict
    }

    fn guest(&mut self) -> Option<Wanted> {
        let (waiting, max_age) = (self.wish.take(), self.parameters.read(max_age));
        let shape = self.forecaster.shape();
        self.wish = waiting.and_then(|wish| wish.waits(max_age, shape, &self.image_topic));
        while self.wish.is_none() {
            let ticket = self.asks.wishes.next()?;
            let check = |rows: Option<&[f32]>| self.forecaster.check_beside(rows);
            self.wish = Wish::of(ticket, shape, self.gaze.eyes()[0].name.as_deref(), check);
        }
        Some(Wanted::Lent)
    }

    fn serve_guest(
        &mut self,
        frames: &[Received],
        began: Moment,
        stop: &AtomicBool,
        _alive: &mut dyn FnMut(),
    ) -> Verdict {
        let Self { gaze, screen, plan, occasion, parameters, rows, audience, wish, .. } = self;
        let wish = wish.take().expect("it was told of a moment ago");
        audience.recording.used(frames);
        let eye = &gaze.eyes()[0];
        let ears = Ears { eye, screen, occasion: occasion.as_deref(), parameters, audience };
        let newest = frames.last().expect("a clip has at least one frame");
        let (clock, term) = (gaze.clock(), Term::of(wish.max_age_s(), gaze, newest));
        let standing = plan.as_ref().map(|plan| plan.read(rows));
        let (plan, source) = match (wish.rows(), &standing) {
            (Some(own), _) => (Some(&own.values[..]), Some(&own.source)),
            (None, Some(source)) => (Some(&rows[..]), Some(source)),
            (None, None) => (None, None),
        };
        let (mut shown, mut is_cut, mut unpublished) = (Vec::new(), false, 0);
        let mut tell = |glimpse: Glimpse<'_>| match glimpse {
            // Whoever looks, what came is compared with what was expected.
            Glimpse::Surprise { frame, ahead, latent, pixels } => {
                unpublished += ears.hear(&frames[frame], ahead, latent, pixels);
            }
            Glimpse::Frame { .. } if is_cut || term.is_over(clock) => is_cut = true,
            Glimpse::Frame { ahead, rgb } => {
                shown.push(ImageMessage::from(&screen.image(newest, ahead, rgb)));
            }
        };
        let (beside, deadline) = (Some(wish.beside()), term.deadline(clock, began));
        let outcome = self.forecaster.look(&Look { frames, plan, beside, deadline, stop }, &mut tell);
        eye.board.unpublished(unpublished);
        let too_late = Verdict::Dropped(DropReason::MadeTooLate);
        let (result, verdict) = match outcome {
            Outcome::Made(_) if shown.is_empty() && term.is_over(clock) => {
                (Err("max_age had passed when the forecast ended".to_owned()), too_late)
            }
            Outcome::Made(mut forecast) => {
                forecast.is_cut |= is_cut;
                let given = &frames[frames.len() - self.forecaster.shape().n_given..];
                let (actions, n_frames) = (source.map(String::as_str), shown.len());
                let made = Made { forecast: &forecast, actions, given, n_frames, began };
                let forecast = screen.message(&made, newest.age(clock, clock.now()), term.max_age_ns);
                (Ok(ImagineReply { error: String::new(), forecast, frames: shown }), Verdict::Served)
            }
            Outcome::Expired => {
                (Err("max_age had passed before there was anything to see".to_owned()), too_late)
            }
            Outcome::Stopped => {
                (Err("the node has stopped answering".to_owned()), Verdict::Dropped(DropReason::Stopped))
            }
            Outcome::Rejected { frame, reason, message } => {
                (Err(format!("the image: {message}")), Verdict::Rejected(frame, reason))
            }
            Outcome::Failed(message) => (Err(message), Verdict::Dropped(DropReason::EngineFailed)),
        };
        wish.end(result);
        verdict
    }
}

impl Forecasting<'_> {
    /// Serves the request that waits, if one does, with the clip that was looked at.
    fn rank_plans(&mut self, frames: &[Received], stop: &AtomicBool) {
        let Some(planning) = self.planning.as_ref().filter(|_| !stop.load(Relaxed)) else { return };
        let Some(request) = planning.take() else { return };
        let clock = self.gaze.clock();
        let given = &frames[frames.len() - self.forecaster.shape().n_given..];
        // Where time stands still a ranking does not depend on how fast the machine is.
        let deadline = clock.runs().then(|| Instant::now() + Duration::from_millis(request.budget_ms));
        let result = self.forecaster.plan(&request, given, deadline, stop);
        let newest = given.last().expect("a clip has at least one frame");
        planning.tell(&request, result, given, newest.age(clock, clock.now()));
    }
}

/// What diagnostics say of forecasts alone.
fn detail(notes: &Notes, warn: f32, error: f32, status: &mut Status) {
    let foresight = &notes.foresight;
    status.alarm = foresight.peak.and_then(|peak| {
        let beyond = |limit: f32, level| {
            (0.0 < limit && limit < peak).then(|| (level, format!("surprise {peak:.3} is beyond {limit:.3}")))
        };
        beyond(error, Level::Error).or_else(|| beyond(warn, Level::Warn))
    });
    let shown = |value: Option<f32>| value.map_or_else(String::new, |value| format!("{value:.4}"));
    status.figures.extend([
        ("surprise", shown(foresight.latent)),
        ("surprise_peak", shown(foresight.peak)),
        ("surprise_pixels", shown(foresight.pixels)),
        ("surprise_warn", warn.to_string()),
        ("surprise_error", error.to_string()),
        ("forecasts", notes.published.to_string()),
        ("forecasts_cut", notes.cuts.total().to_string()),
        ("step_ms", foresight.step_ms.map_or_else(String::new, |step_ms| format!("{step_ms:.1}"))),
    ]);
}
