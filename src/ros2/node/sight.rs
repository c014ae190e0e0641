//! A node's cameras, with who listens to each: the one that is forecast, and all that are asked about.

use std::sync::Arc;

use super::board::{Board, Summary};
use super::cameras::CamerasError;
use super::concerns;
use super::gaze::{Eye, summary};
use super::image_topics::ImageTopic;
use super::onlooker::View;
use super::options::NodeOptions;
use crate::frames::accounts::Accounts;
use crate::frames::camera::Camera;
use crate::frames::clock::Clock;
use crate::frames::listener::ListenerOptions;

/// What each engine did, if it was there.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// About questions.
    pub answers: Option<Summary>,
    /// About forecasts.
    pub forecasts: Option<Summary>,
    /// Frames that were decoded, each for all engines.
    pub n_decoded: u64,
    /// What became of each camera's frames, in their order.
    pub cameras: Vec<CameraReport>,
}

/// What became of a camera's frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraReport {
    /// What it is called, if it has a name.
    pub name: Option<String>,
    /// In questions, if it was asked about.
    pub answers: Option<Accounts>,
    /// In forecasts, if it was forecast.
    pub forecasts: Option<Accounts>,
}

/// The cameras of a node, and who looks at them.
pub(super) struct Sight {
    pub(super) images: Vec<ImageTopic>,
    pub(super) cameras: Vec<Arc<Camera>>,
    /// The number of the camera whose frames are forecast.
    pub(super) forecast: usize,
    /// Of that one, if there is who forecasts.
    pub(super) forecasts: Vec<Eye>,
    /// Of each camera, if there is who answers.
    pub(super) answers: Vec<Eye>,
    /// Of each camera that an engine looks at, if someone looks on.
    pub(super) onlooker: Vec<View>,
}

impl Sight {
    /// Claims the cameras' buffers.
    pub(super) fn open(
        options: &NodeOptions,
        clock: &Arc<Clock>,
        forecasts: Option<ListenerOptions>,
        answers: bool,
    ) -> Result<Self, CamerasError> {
        let (images, forecast) = (options.image_topics()?, options.cameras.forecast_index());
        let together = options.cameras.are_asked_together().then(|| Arc::new(Board::new()));
        let (mut cameras, mut forecast_eyes, mut answer_eyes) = (Vec::new(), Vec::new(), Vec::new());
        let mut views = Vec::new();
        for (i, image) in images.iter().enumerate() {
            let forecasts = forecasts.filter(|_| i == forecast);
            let answers = answers.then(|| options.answer_listener());
            let is_looked_at = forecasts.is_some() || answers.is_some();
            let onlooker =
                options.onlooker.get().filter(|_| is_looked_at).map(|_| options.onlooker_listener());
            let listeners: Vec<ListenerOptions> =
                forecasts.into_iter().chain(answers).chain(onlooker).collect();
            let camera = Arc::new(Camera::new(options.camera(image), clock, &listeners));
            let mut listeners = camera.listeners().iter();
            let mut eye = |board| {
                let listener = Arc::clone(listeners.next().expect("each engine has a listener"));
                Eye { name: image.camera.clone(), listener, board }
            };
            forecast_eyes.extend(forecasts.map(|_| eye(Arc::new(Board::new()))));
            let board = || together.clone().unwrap_or_else(|| Arc::new(Board::new()));
            answer_eyes.extend(answers.map(|_| eye(board())));
            if let (Some(_), Some(listener)) = (onlooker, camera.listeners().last()) {
                views.push(View {
                    name: image.camera.clone(),
                    camera: Arc::clone(&camera),
                    is_forecast: forecasts.is_some(),
                    listener: Arc::clone(listener),
                });
            }
            cameras.push(camera);
        }
        if 1 < images.len() && forecasts.is_some() {
            log::info!("forecasts are of camera {}", cameras[forecast].name());
        }
        Ok(Self {
            images,
            cameras,
            forecast,
            forecasts: forecast_eyes,
            answers: answer_eyes,
            onlooker: views,
        })
    }

    /// Says what was done, and returns it.
    pub(super) fn report(&self) -> Report {
        let of = |what: &str, eyes: &[Eye]| {
            for Eye { name, listener, .. } in eyes {
                let of_camera = name.as_ref().map_or_else(String::new, |name| format!(" about {name}"));
                log::info!("{what}{of_camera}: {}", listener.accounts());
            }
            summary(eyes)
        };
        let (answers, forecasts) = (of("answers", &self.answers), of("forecasts", &self.forecasts));
        let cameras = self.images.iter().enumerate().map(|(i, image)| CameraReport {
            name: image.camera.clone(),
            answers: self.answers.get(i).map(|eye| eye.listener.accounts()),
            forecasts: self
                .forecasts
                .first()
                .filter(|_| i == self.forecast)
                .map(|eye| eye.listener.accounts()),
        });
        let cameras = cameras.collect();
        let mut n_decoded = 0;
        for (image, camera) in self.images.iter().zip(&self.cameras) {
            let listeners = camera.listeners();
            if !listeners.is_empty() && listeners.iter().all(|one| one.accounts().received == 0) {
                let text = format!("no image came on {}", camera.topic());
                concerns::say(image.camera.as_deref(), vec![(log::Level::Warn, text)]);
            }
            log::info!("camera {}: {} frames decoded", camera.name(), camera.n_decoded());
            n_decoded += camera.n_decoded();
        }
        Report { answers, forecasts, n_decoded, cameras }
    }
}
