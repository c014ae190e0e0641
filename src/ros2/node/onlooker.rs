//! Someone who looks on from outside of the graph: sees what the camera shows, and hears everything as it is published.
//!
//! Calls come from the node's own threads, which wait for them: whoever looks on takes shared references, or copies what is small, and
//! does the rest in threads of its own. A frame that it holds on to is one of those that were claimed for it.

use std::fmt;
use std::sync::Arc;

use super::Said;
use super::forecast_shape::ForecastShape;
use crate::frames::camera::Camera;
use crate::frames::frame::Received;
use crate::frames::listener::Listener;
use crate::ros2::parameter_store::SharedParameters;
use crate::runtime::reason::Place;

/// Looks at a node and hears it.
pub trait Onlooker: Send + Sync {
    /// A node is there, whatever it does.
    fn meets(&self, node: Acquaintance);

    /// The state of a managed node, as ROS calls it.
    fn is_in(&self, state: &'static str);

    /// Engines look at cameras from now on.
    fn begins(&self, scene: Scene);

    /// Something was published; an answer with the frame that it is about, and what is where in it. That one frame may be held on to,
    /// until another comes or the engines look no more.
    fn hears(&self, said: Said<'_>, seen: Option<(&Received, &[Place])>);

    /// A frame of a forecast whose report is still to come, `[height, width, 3]`, so many frames after its clip, from 1.
    fn foresees(&self, ahead: usize, rgb: &[u8]);

    /// The engines look no more: everything of [`Onlooker::begins`] is to be let go of.
    fn ends(&self);
}

/// What a node is, whatever it does.
#[derive(Clone)]
pub struct Acquaintance {
    /// The full name.
    pub name: String,
    /// What it was told.
    pub parameters: SharedParameters,
    /// The question that an empty one restores.
    pub first_prompt: String,
}

/// A camera that is looked at, and the place of its newest frame for whoever looks on.
#[derive(Clone)]
pub struct View {
    /// What the camera is called, if it has a name.
    pub name: Option<String>,
    /// The camera.
    pub camera: Arc<Camera>,
    /// Whether forecasts are of it.
    pub is_forecast: bool,
    /// Where its frames arrive.
    pub listener: Arc<Listener>,
}

/// What engines look at, and with which accounts.
#[derive(Clone)]
pub struct Scene {
    /// The cameras that an engine looks at.
    pub cameras: Vec<View>,
    /// Of the engine that answers, one for each camera that it looks at; none if there is no such engine.
    pub answers: Vec<Arc<Listener>>,
    /// Of the engine that forecasts.
    pub forecasts: Vec<Arc<Listener>>,
    /// What it forecasts.
    pub foreseen: Option<ForecastShape>,
}

impl Scene {
    /// The camera to be shown where one is: that of the forecasts, so that they stand beside what came; otherwise the first.
    pub fn shown(&self) -> Option<&View> {
        self.cameras.iter().find(|view| view.is_forecast).or(self.cameras.first())
    }
}

/// Who looks on, if anybody does.
#[derive(Clone, Default)]
pub struct OnlookerOption(Option<Arc<dyn Onlooker>>);

impl OnlookerOption {
    /// This one does.
    pub fn new(onlooker: Arc<dyn Onlooker>) -> Self {
        Self(Some(onlooker))
    }

    /// Who it is.
    pub fn get(&self) -> Option<&dyn Onlooker> {
        self.0.as_deref()
    }

    /// Lets it meet a node.
    pub(in crate::ros2) fn meet(&self, name: &str, first_prompt: &str, parameters: &SharedParameters) {
        if let Some(onlooker) = self.get() {
            let (name, first_prompt) = (name.to_owned(), first_prompt.to_owned());
            onlooker.meets(Acquaintance { name, parameters: Arc::clone(parameters), first_prompt });
        }
    }
}

impl PartialEq for OnlookerOption {
    /// Whether the same one looks on.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl fmt::Debug for OnlookerOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "someone" } else { "nobody" })
    }
}

/// Says that the engines look no more when it goes.
pub(super) struct LookingOn<'a>(pub(super) &'a dyn Onlooker);

impl Drop for LookingOn<'_> {
    fn drop(&mut self) {
        self.0.ends();
    }
}
