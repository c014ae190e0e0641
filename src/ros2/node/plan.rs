//! The actions that forecasts are made for: what the robot is told to do now, or a plan of several steps.
//!
//! `cmd_vel` says what is done now; it is held for the whole horizon. `~/actions` is a plan whose rows are steps, the first for
//! the frame after the newest one, whenever the forecast is made; a shorter plan holds its last row. What was heard last
//! counts. Before anything was heard, all actions are zero.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::forecast_shape::ForecastShape;
use crate::frames::accounts::DropReason;
use crate::models::predict25::Actions;
use crate::ros2::messages::{ByteOrder, Float32MultiArray, Twist, decode};
use crate::ros2::transport::MessageSink;

/// Reads one column of a plan from a velocity.
type Component = fn(&Twist) -> f64;

/// The standing plan of an engine that takes actions.
pub(super) struct StandingPlan {
    width: usize,
    horizon: usize,
    names: Vec<String>,
    limits: Vec<[f32; 2]>,
    /// Where the columns stand in a `Twist`; none if one of them is no velocity.
    components: Option<Vec<Component>>,
    state: Mutex<State>,
    refused: AtomicU64,
}

struct State {
    /// `[horizon, width]`
    rows: Vec<f32>,
    source: String,
    /// What of them lies beyond its limits.
    beyond: Option<String>,
}

impl StandingPlan {
    /// None for an engine that takes no actions.
    pub(super) fn new(shape: &ForecastShape) -> Option<Arc<Self>> {
        let width = shape.action_names.len();
        let rows = vec![0.0; shape.horizon * width];
        let plan = Self {
            width,
            horizon: shape.horizon,
            names: shape.action_names.clone(),
            limits: shape.action_limits.clone(),
            components: shape.action_names.iter().map(|name| component(name)).collect(),
            state: Mutex::new(State { rows, source: "zeros: none heard yet".into(), beyond: None }),
            refused: AtomicU64::new(0),
        };
        (0 < width).then(|| Arc::new(plan))
    }

    /// Whether a `Twist` says all that the engine takes.
    pub(super) fn is_velocity(&self) -> bool {
        self.components.is_some()
    }

    /// Copies the rows into `rows`, and says where they are from.
    pub(super) fn read(&self, rows: &mut Vec<f32>) -> String {
        let state = self.state();
        rows.clone_from(&state.rows);
        state.source.clone()
    }

    /// Where the rows are from.
    pub(super) fn source(&self) -> String {
        self.state().source.clone()
    }

    /// What of the standing plan lies beyond what the checkpoint is trained for, and where it is from.
    pub(super) fn beyond(&self) -> Option<String> {
        let state = self.state();
        state.beyond.as_ref().map(|beyond| format!("{}: {beyond}", state.source))
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Takes the messages of `cmd_vel`.
    pub(super) fn velocity_sink(self: &Arc<Self>) -> MessageSink {
        self.sink("cmd_vel", Self::hear_velocity)
    }

    /// Takes the messages of `~/actions`.
    pub(super) fn plan_sink(self: &Arc<Self>) -> MessageSink {
        self.sink("actions", Self::hear_plan)
    }

    fn sink(
        self: &Arc<Self>,
        topic: &'static str,
        hear: fn(&Self, &[u8], ByteOrder) -> Result<(), String>,
    ) -> MessageSink {
        let plan = Arc::clone(self);
        Box::new(move |body: Result<(&[u8], ByteOrder), DropReason>| {
            let heard = body.map_err(|reason| reason.to_string());
            if let Err(problem) = heard.and_then(|(body, order)| hear(&plan, body, order)) {
                let refused = plan.refused.fetch_add(1, Relaxed) + 1;
                // At powers of two: a broken sender must not fill the log.
                if refused.is_power_of_two() {
                    log::warn!("{topic} refused ({refused} so far): {problem}; the plan stays as it was");
                }
            }
        })
    }

    fn hear_velocity(&self, body: &[u8], order: ByteOrder) -> Result<(), String> {
        let twist = decode::<Twist>(body, order).map_err(|error| error.to_string())?;
        let components = self.components.as_deref().unwrap_or_default();
        let row: Vec<f32> = components.iter().map(|component| component(&twist) as f32).collect();
        self.hold(&row, "cmd_vel".into())
    }

    fn hear_plan(&self, body: &[u8], order: ByteOrder) -> Result<(), String> {
        let Float32MultiArray { layout, data } = decode(body, order).map_err(|error| error.to_string())?;
        let data = data.get(layout.data_offset as usize..).ok_or("its offset lies beyond its data")?;
        if let [.., rows, columns] = &layout.dim[..] {
            let (rows, columns) = (rows.size as usize, columns.size as usize);
            if columns != self.width || rows.checked_mul(columns) != Some(data.len()) {
                return Err(format!(
                    "its layout is {rows} by {columns} of {} values; expected rows of {}",
                    data.len(),
                    self.width
                ));
            }
        }
        let n_rows = data.len() / self.width;
        self.hold(data, format!("plan of {n_rows} steps"))
    }

    fn hold(&self, rows: &[f32], source: String) -> Result<(), String> {
        check_rows(rows, self.width, self.horizon)?;
        let beyond = Actions::beyond(&self.names, &self.limits, rows);
        let mut state = self.state();
        hold_last(rows, self.width, &mut state.rows);
        (state.source, state.beyond) = (source, beyond);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether these are rows of so many actions, of steps that a forecast has.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check_rows(rows: &[f32], width: usize, horizon: usize) -> Result<(), String> {
    if rows.is_empty() || !rows.len().is_multiple_of(width) {
        return Err(format!("{} values are no whole rows of {width}", rows.len()));
    }
    let n_rows = rows.len() / width;
    if horizon < n_rows {
        return Err(format!("{n_rows} steps are more than the {horizon} of a forecast"));
    }
    match rows.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(format!("action {} of step {} is not a finite number", at % width, at / width)),
        None => Ok(()),
    }
}

/// Copies checked rows to those of a whole forecast; where they are fewer, their last is held.
pub(super) fn hold_last(rows: &[f32], width: usize, whole: &mut [f32]) {
    let last = &rows[rows.len() - width..];
    for (i, to) in whole.chunks_exact_mut(width).enumerate() {
        to.copy_from_slice(rows.get(i * width..(i + 1) * width).unwrap_or(last));
    }
}

/// Which part of a velocity an action of this name is: `linear.x` or, for a robot that drives, `linear`; `angular.z` or
/// `angular`; and the other axes by their full names.
fn component(name: &str) -> Option<Component> {
    Some(match name {
        "linear" | "linear.x" => |twist| twist.linear.x,
        "linear.y" => |twist| twist.linear.y,
        "linear.z" => |twist| twist.linear.z,
        "angular.x" => |twist| twist.angular.x,
        "angular.y" => |twist| twist.angular.y,
        "angular" | "angular.z" => |twist| twist.angular.z,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::messages::{Layout, LayoutDimension, Vector3, encode};

    fn plan(names: &[&str]) -> Arc<StandingPlan> {
        let action_names = names.iter().map(|name| (*name).to_owned()).collect();
        let action_limits = vec![[-1.0, 1.0]; names.len()];
        let (n_given, horizon, rate_hz, width, height) = (1, 3, 1.0, 1, 1);
        let shape = ForecastShape { n_given, horizon, rate_hz, width, height, action_names, action_limits };
        StandingPlan::new(&shape).unwrap()
    }

    fn rows(plan: &StandingPlan) -> (Vec<f32>, String) {
        let mut rows = Vec::new();
        let source = plan.read(&mut rows);
        (rows, source)
    }

    fn array(data: &[f32], dims: &[u32]) -> Vec<u8> {
        let dimension = |size: &u32| LayoutDimension { label: String::new(), size: *size, stride: 0 };
        let layout = Layout { dim: dims.iter().map(dimension).collect(), data_offset: 0 };
        encode(&Float32MultiArray { layout, data: data.to_vec() })
    }

    #[test]
    fn a_velocity_is_held_and_a_plan_holds_its_last_row() {
        let plan = plan(&["linear", "angular.z"]);
        assert!(plan.is_velocity());
        assert_eq!(rows(&plan), (vec![0.0; 6], "zeros: none heard yet".to_owned()));
        let twist = Twist {
            linear: Vector3 { x: 0.5, y: 9.0, z: 9.0 },
            angular: Vector3 { x: 9.0, y: 9.0, z: -1.0 },
        };
        plan.velocity_sink()(Ok((&encode(&twist), ByteOrder::Little)));
        assert_eq!(rows(&plan), ([0.5, -1.0].repeat(3), "cmd_vel".to_owned()));
        plan.plan_sink()(Ok((&array(&[1.0, 2.0, 3.0, 4.0], &[2, 2]), ByteOrder::Little)));
        assert_eq!(rows(&plan), (vec![1.0, 2.0, 3.0, 4.0, 3.0, 4.0], "plan of 2 steps".to_owned()));
        assert_eq!(plan.refused(), 0);
    }

    #[test]
    fn what_lies_beyond_its_limits_is_taken_and_told() {
        let plan = plan(&["linear", "angular"]);
        let mut hear = plan.plan_sink();
        hear(Ok((&array(&[1.0, 0.0, -3.0, 0.0], &[2, 2]), ByteOrder::Little)));
        assert_eq!(rows(&plan).0, [1.0, 0.0, -3.0, 0.0, -3.0, 0.0]);
        let told = "plan of 2 steps: linear is -3 in step 1, and the checkpoint takes -1 to 1";
        assert_eq!(plan.beyond().as_deref(), Some(told));
        hear(Ok((&array(&[1.0, 0.0], &[1, 2]), ByteOrder::Little)));
        assert_eq!((plan.beyond(), plan.refused()), (None, 0));
    }

    #[test]
    fn what_is_no_plan_is_counted_and_changes_nothing() {
        let plan = plan(&["linear", "angular"]);
        let before = rows(&plan);
        let mut sink = plan.plan_sink();
        let bad = [
            array(&[1.0; 3], &[]),
            array(&[], &[]),
            array(&[1.0; 8], &[]),
            array(&[1.0, f32::NAN], &[]),
            array(&[1.0, f32::INFINITY], &[]),
            array(&[1.0; 6], &[2, 3]),
            array(&[1.0; 4], &[u32::MAX, u32::MAX]),
            vec![1, 2, 3],
        ];
        for (i, body) in bad.iter().enumerate() {
            sink(Ok((body, ByteOrder::Little)));
            assert_eq!((plan.refused(), rows(&plan)), (i as u64 + 1, before.clone()));
        }
        let mut offset = Float32MultiArray { data: vec![1.0; 2], ..Float32MultiArray::default() };
        offset.layout.data_offset = 7;
        sink(Ok((&encode(&offset), ByteOrder::Little)));
        sink(Err(DropReason::Oversized));
        let nan = Twist { linear: Vector3 { x: f64::NAN, ..Vector3::default() }, ..Twist::default() };
        plan.velocity_sink()(Ok((&encode(&nan), ByteOrder::Little)));
        assert_eq!((plan.refused(), rows(&plan)), (bad.len() as u64 + 3, before));
    }

    #[test]
    fn hostile_bodies_are_refused_or_finite() {
        let plan = plan(&["linear", "angular"]);
        let whole = array(&[1.0; 6], &[3, 2]);
        let (mut hear, twist) = (plan.plan_sink(), encode(&Twist::default()));
        let mut velocity = plan.velocity_sink();
        for cut in 0..whole.len() {
            hear(Ok((&whole[..cut], ByteOrder::Little)));
            hear(Ok((&whole[..cut], ByteOrder::Big)));
            velocity(Ok((&twist[..cut.min(twist.len())], ByteOrder::Big)));
        }
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            hear(Ok((&flipped, ByteOrder::Little)));
            let (rows, _) = rows(&plan);
            assert!(rows.len() == 6 && rows.iter().all(|value| value.is_finite()), "bit {bit}: {rows:?}");
        }
        assert!(0 < plan.refused());
    }

    #[test]
    fn only_velocities_are_heard_as_such() {
        assert!(plan(&["linear.y", "angular.x", "angular"]).is_velocity());
        assert!(!plan(&["linear", "gripper"]).is_velocity());
        let shape = ForecastShape {
            n_given: 1,
            horizon: 3,
            rate_hz: 1.0,
            width: 1,
            height: 1,
            action_names: vec![],
            action_limits: Vec::new(),
        };
        assert!(StandingPlan::new(&shape).is_none());
    }
}
