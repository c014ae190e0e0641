//! A forecast that another node wants, until it is made. It takes turns with the standing one and is made of the newest clip, which stays
//! there for the standing one, so that all that this costs is time.

use std::time::{Duration, Instant};

use super::forecast_shape::ForecastShape;
use super::forecaster::Beside;
use super::plan::{check_rows, hold_last};
use super::term;
use crate::ros2::asks::{Ending, Ticket};
use crate::ros2::messages::{ImagineReply, ImagineRequest};

/// Bytes of a reply's frames at most: what is handed over to the network at once has room for them.
const FRAMES_BYTES_MAX: usize = 48 << 20;

/// A request whose turn is next.
pub(super) struct Wish {
    ticket: Ticket<ImagineRequest>,
    /// Its own actions, if it has any.
    rows: Option<Rows>,
    since: Instant,
}

/// The actions of a request.
pub(super) struct Rows {
    /// `[horizon, width]`
    pub(super) values: Vec<f32>,
    /// What is told of where they come from.
    pub(super) source: String,
}

impl Wish {
    /// Takes a request up, or ends it where no engine of this shape could serve it for the camera of this name, or `check` says so of its
    /// actions.
    pub(super) fn of(
        ticket: Ticket<ImagineRequest>,
        shape: &ForecastShape,
        camera: Option<&str>,
        check: impl FnOnce(Option<&[f32]>) -> Result<(), String>,
    ) -> Option<Self> {
        let understood = understood(ticket.request(), shape, camera).and_then(|rows| {
            check(rows.as_ref().map(|rows| &rows.values[..]))?;
            Ok(rows)
        });
        match understood {
            Ok(rows) => Some(Self { ticket, rows, since: Instant::now() }),
            Err(problem) => {
                ticket.end(Ending::failed(problem));
                None
            }
        }
    }

    /// While the standing forecast was made, it has not waited for a clip.
    pub(super) fn waits_anew(&mut self) {
        self.since = Instant::now();
    }

    /// Whether it goes on waiting for a clip on this topic; otherwise it is ended.
    pub(super) fn waits(self, max_age: Duration, shape: &ForecastShape, topic: &str) -> Option<Self> {
        let ForecastShape { n_given, rate_hz, .. } = *shape;
        let patience = term::patience(max_age).max(Duration::from_secs_f64(2.0 * n_given as f64 / rate_hz));
        if self.since.elapsed() < patience {
            return Some(self);
        }
        let seconds = patience.as_secs_f64();
        self.ticket.end(Ending::failed(format!(
            "no clip to forecast from ({n_given} frames, {rate_hz} a second) came on {topic} within {seconds} s"
        )));
        None
    }

    /// What the engine is to do otherwise than in its own forecasts.
    pub(super) fn beside(&self) -> Beside {
        let ImagineRequest { seed, want_frames, .. } = *self.ticket.request();
        Beside { seed: (seed != 0).then_some(seed), with_frames: want_frames }
    }

    /// Its own actions, if it has any.
    pub(super) fn rows(&self) -> Option<&Rows> {
        self.rows.as_ref()
    }

    /// Seconds from the newest frame's stamp to its end; 0 is the node's.
    pub(super) fn max_age_s(&self) -> f64 {
        self.ticket.request().max_age
    }

    /// Ends it, with the forecast or why there is none.
    pub(super) fn end(self, result: Result<ImagineReply, String>) {
        self.ticket.end(match result {
            Ok(reply) => Ending::Served(Box::new(reply)),
            Err(why) => Ending::failed(why),
        });
    }
}

/// The actions of a request that an engine of this shape could serve.
fn understood(
    request: &ImagineRequest,
    shape: &ForecastShape,
    camera: Option<&str>,
) -> Result<Option<Rows>, String> {
    let ForecastShape { horizon, width, height, action_names, .. } = shape;
    let ImagineRequest { actions, action_width, want_frames, camera: wanted, .. } = request;
    if !wanted.is_empty() && camera != Some(wanted) {
        let there = camera.unwrap_or("one without a name");
        return Err(format!("camera {wanted:?}: it is not forecast; that is {there}"));
    }
    let frames_bytes = horizon * width * height * 3;
    if *want_frames && FRAMES_BYTES_MAX < frames_bytes {
        return Err(format!(
            "want_frames: {horizon} frames of {width}×{height} are {frames_bytes} bytes, and a reply has at most \
             {FRAMES_BYTES_MAX}: ask without, or hear ~/forecast"
        ));
    }
    let n_actions = action_names.len();
    if actions.is_empty() && *action_width == 0 {
        return Ok(None);
    }
    if n_actions == 0 {
        return Err("actions: the engine takes none".to_owned());
    }
    let names = action_names.join(", ");
    if *action_width != 0 && *action_width as usize != n_actions {
        return Err(format!("action_width: expected {n_actions} ({names}), found {action_width}"));
    }
    if actions.is_empty() {
        return Ok(None);
    }
    check_rows(actions, n_actions, *horizon).map_err(|problem| format!("actions ({names}): {problem}"))?;
    let mut values = vec![0.0; horizon * n_actions];
    hold_last(actions, n_actions, &mut values);
    Ok(Some(Rows { values, source: format!("request of {} steps", actions.len() / n_actions) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(names: &[&str]) -> ForecastShape {
        let action_names = names.iter().map(|name| (*name).to_owned()).collect();
        ForecastShape {
            n_given: 1,
            horizon: 3,
            rate_hz: 1.0,
            width: 2,
            height: 1,
            action_names,
            action_limits: Vec::new(),
        }
    }

    #[test]
    fn fewer_rows_hold_their_last_and_none_are_the_nodes_own() {
        let driven = shape(&["linear", "angular"]);
        let rows = |actions: &[f32], action_width| {
            let request = ImagineRequest { actions: actions.to_vec(), action_width, ..Default::default() };
            understood(&request, &driven, None).unwrap().map(|rows| (rows.values, rows.source))
        };
        let held = Some((vec![1.0, 2.0, 3.0, 4.0, 3.0, 4.0], "request of 2 steps".to_owned()));
        assert_eq!(rows(&[1.0, 2.0, 3.0, 4.0], 0), held);
        assert_eq!(rows(&[1.0, 2.0, 3.0, 4.0], 2), held);
        assert_eq!([rows(&[], 0), rows(&[], 2)], [None, None]);
    }

    #[test]
    fn what_the_engine_has_no_place_for_is_named() {
        let driven = shape(&["linear", "angular"]);
        let large = ForecastShape { horizon: 76, width: 1280, height: 704, ..shape(&[]) };
        let actions = |actions: &[f32], action_width| ImagineRequest {
            actions: actions.to_vec(),
            action_width,
            ..ImagineRequest::default()
        };
        let camera = ImagineRequest { camera: "rear".into(), ..ImagineRequest::default() };
        let frames = ImagineRequest { want_frames: true, ..ImagineRequest::default() };
        for (request, shape, name, why) in [
            (actions(&[1.0; 3], 0), &driven, None, "3 values are no whole rows of 2"),
            (actions(&[1.0; 8], 2), &driven, None, "4 steps are more than the 3 of a forecast"),
            (actions(&[1.0; 6], 3), &driven, None, "action_width: expected 2 (linear, angular), found 3"),
            (actions(&[], u32::MAX), &driven, None, "action_width: expected 2"),
            (actions(&[1.0], 0), &shape(&[]), None, "actions: the engine takes none"),
            (actions(&[], 1), &shape(&[]), None, "actions: the engine takes none"),
            (camera.clone(), &driven, Some("front"), "it is not forecast; that is front"),
            (camera, &driven, None, "it is not forecast; that is one without a name"),
            (frames, &large, None, "76 frames of 1280×704 are 205455360 bytes"),
        ] {
            let found = understood(&request, shape, name).err().unwrap_or_default();
            assert!(found.contains(why), "{why}: {found}");
        }
        let unseen = ImagineRequest::default();
        assert!(understood(&unseen, &large, None).is_ok(), "without frames there is room");
    }
}
