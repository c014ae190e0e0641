//! The synthetic camera: rendered frames as `sensor_msgs/Image`.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::stage::{PAUSE_FRAMES, Stage, Take};
use crate::ros2::messages::{HeaderView, ImageView, Message, ShortString, Time, encode};
use crate::ros2::transport::{Delivery, Publisher, Transport, TransportError};
use crate::scenes::{FRAME_BYTES, Rng, SIZE};

/// Frames of a live scene: five clips of eight.
const SCENE_FRAMES: usize = 12;

/// Publishes frames to one topic.
pub(super) struct Camera {
    publisher: Box<dyn Publisher>,
    rgb: Vec<u8>,
    frame_id: ShortString<255>,
    encoding: ShortString<63>,
    sent: u64,
}

impl Camera {
    /// # Errors
    /// If the topic cannot be announced.
    pub(super) fn open(transport: &dyn Transport, topic: &str) -> Result<Self, TransportError> {
        Ok(Self {
            publisher: transport.advertise(topic, ImageView::TYPE, Delivery::BestEffort)?,
            rgb: vec![0; FRAME_BYTES],
            frame_id: ShortString::new("demo_camera").expect("it is short"),
            encoding: ShortString::new("rgb8").expect("it is short"),
            sent: 0,
        })
    }

    /// Frames that were published.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Publishes the frame that is shown as number `shown`.
    pub(super) fn show(&mut self, take: &Take, shown: usize, stamp_ns: i64) {
        take.render(shown, &mut self.rgb);
        self.publish(stamp_ns);
    }

    /// Publishes a frame of packed RGB.
    pub(super) fn show_frame(&mut self, rgb: &[u8], stamp_ns: i64) {
        self.rgb.copy_from_slice(rgb);
        self.publish(stamp_ns);
    }

    /// A frame that the transport does not take is lost, as at any camera.
    fn publish(&mut self, stamp_ns: i64) {
        let header = HeaderView { stamp: Time::from_ns(stamp_ns), frame_id: self.frame_id };
        let (side, step) = (SIZE as u32, 3 * SIZE as u32);
        let image = ImageView {
            header,
            height: side,
            width: side,
            encoding: self.encoding,
            is_bigendian: 0,
            step,
            data: &self.rgb,
        };
        match self.publisher.publish(encode(&image)) {
            Ok(()) => self.sent += 1,
            Err(error) => log::warn!("the camera's frame was not taken: {error}"),
        }
    }

    /// Shows one scene after another, each frame at its time, until `stop` is set or `duration` has passed.
    ///
    /// Frames are stamped with the time at which they are due, so that a busy machine makes them old and not uneven.
    /// `on_scene` hears of each scene when its first frame is due.
    pub(super) fn play(
        &mut self,
        stage: &Mutex<Stage>,
        seed: u64,
        now_ns: impl Fn() -> i64,
        duration: Duration,
        stop: &AtomicBool,
        mut on_scene: impl FnMut(u64),
    ) {
        let period_ns = stage.lock().unwrap_or_else(PoisonError::into_inner).period_ns();
        let mut rng = Rng::new(seed);
        let (begun, begun_ns) = (Instant::now(), now_ns());
        let mut due_ns = 0;
        while due_ns < i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) {
            let take = Arc::new(Take::draw(&mut rng, SCENE_FRAMES));
            if !wait_until(begun + Duration::from_nanos(due_ns as u64), stop) {
                return;
            }
            let scene = Arc::clone(&take);
            on_scene(stage.lock().unwrap_or_else(PoisonError::into_inner).enter(scene, begun_ns + due_ns));
            for shown in 0..take.n_frames() {
                if !wait_until(begun + Duration::from_nanos(due_ns as u64), stop) {
                    return;
                }
                self.show(&take, shown, begun_ns + due_ns);
                due_ns += period_ns;
            }
            due_ns += PAUSE_FRAMES as i64 * period_ns;
        }
    }
}

/// Sleeps until then; false if `stop` was set meanwhile.
fn wait_until(then: Instant, stop: &AtomicBool) -> bool {
    const GLANCE: Duration = Duration::from_millis(50);
    loop {
        let left = then.saturating_duration_since(Instant::now());
        if stop.load(Relaxed) || left.is_zero() {
            return !stop.load(Relaxed);
        }
        std::thread::sleep(left.min(GLANCE));
    }
}
