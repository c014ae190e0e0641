//! A transport that plays a bag: an MCAP file as `ros2 bag record` and `rosbags` write it.
//!
//! Messages come in log time order, file after file, one chunk in memory at a time. As fast as possible, every
//! message waits for the node and log time is the only time; paced, they come at the rate at which they were recorded,
//! as from a live camera. What the node publishes goes nowhere; a recorder before this transport
//! ([`Recorded`](crate::ros2::recorder::Recorded)) writes it to a second bag with the same log times.
//!
//! Why not a map of the file: the reader asks for whole chunks, so that plain reads are as fast and need no `unsafe`.

mod files;
mod reading;
mod track;
mod writing;

pub use self::files::root as bag_root;
pub use self::reading::{BagMessage, BagReader, bag_files};
pub use self::writing::BagWriter;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::track::{Channel, Track};
use super::subscriptions::Subscriptions;
use super::{
    Delivery, ImageTransport, MessageSink, PublishError, Publisher, Pump, TopicSeen, Transport,
    TransportError,
};
use crate::frames::accounts::DropReason;
use crate::frames::camera::Camera;
use crate::frames::clock::Clock;
use crate::ros2::messages::split_encapsulation;

/// How fast a bag is played.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Every message as soon as the node asks for it.
    AsFastAsPossible,
    /// At this multiple of the recorded rate.
    Times(f64),
}

/// A bag being played.
pub struct Bag {
    shared: Arc<Shared>,
    /// Plays a paced bag; started by the first [`Transport::pump`].
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    pace: Pace,
    clock: Arc<Clock>,
    subscriptions: Subscriptions,
    topics: Vec<Channel>,
    player: Mutex<Player>,
    stop: AtomicBool,
    /// Why the bag ended before its end.
    broken: Mutex<Option<String>>,
}

struct Player {
    /// The files that are left, the playing one first.
    tracks: VecDeque<(PathBuf, Track)>,
    /// Log and wall time of the first message, when paced.
    start: Option<(u64, Instant)>,
}

impl Bag {
    /// Opens a bag.
    ///
    /// # Errors
    /// If it cannot be read, or is something else; the message says what, and what to do.
    pub fn open(path: &Path, pace: Pace) -> Result<Self, TransportError> {
        let tracks = reading::open_tracks(path)?;
        let topics = reading::channels_of(&tracks);
        let clock = match pace {
            Pace::AsFastAsPossible => Clock::stepped(),
            Pace::Times(_) => Clock::shifted(),
        };
        let shared = Shared {
            path: path.to_owned(),
            pace,
            clock: Arc::new(clock),
            subscriptions: Subscriptions::default(),
            topics,
            player: Mutex::new(Player { tracks, start: None }),
            stop: AtomicBool::new(false),
            broken: Mutex::new(None),
        };
        Ok(Self { shared: Arc::new(shared), thread: Mutex::new(None) })
    }

    /// Says whether it was played to its end.
    ///
    /// # Errors
    /// If it ended for another reason than its end.
    pub fn finish(&self) -> Result<(), TransportError> {
        let broken = self.shared.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        broken.map_or(Ok(()), |why| Err(self.shared.bad(why)))
    }
}

impl Drop for Bag {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            if thread.join().is_err() {
                log::error!("the thread that played the bag has panicked");
            }
        }
    }
}

impl Shared {
    fn bad(&self, problem: impl ToString) -> TransportError {
        TransportError::Bag { path: self.path.display().to_string(), problem: problem.to_string() }
    }

    /// Delivers the next message that someone wants; false at the end, or where the bag cannot be read on.
    fn play_one(&self) -> bool {
        let mut player = self.player.lock().unwrap_or_else(PoisonError::into_inner);
        let Player { tracks, start } = &mut *player;
        while let Some((file, track)) = tracks.front_mut() {
            match track.next() {
                Ok(Some(message)) => {
                    let Some(channel) = track.channels().get(&message.channel) else { continue };
                    if !self.subscriptions.wants(&channel.topic) {
                        continue;
                    }
                    self.reach(start, message.log_time_ns);
                    let body = split_encapsulation(&message.data).map(|(order, body)| (body, order));
                    let body = body.ok_or(DropReason::Malformed);
                    self.subscriptions.deliver(&channel.topic, &channel.ros_type, body);
                    return true;
                }
                Ok(None) => {
                    if let Some(cut) = track.cut() {
                        let message = format!(
                            "{}: {cut}: the recording was interrupted; all before was played",
                            file.display()
                        );
                        self.end_early(message);
                    }
                    tracks.pop_front();
                }
                Err(error) => {
                    self.end_early(format!("{}: {error}; what follows cannot be played", file.display()));
                    tracks.clear();
                }
            }
        }
        false
    }

    fn end_early(&self, why: String) {
        log::error!("{why}");
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// Moves time to `log_time_ns`, waiting for it where the bag is paced.
    fn reach(&self, start: &mut Option<(u64, Instant)>, log_time_ns: u64) {
        if let Pace::Times(rate) = self.pace {
            let (first_ns, began) = *start.get_or_insert_with(|| (log_time_ns, Instant::now()));
            let due = Duration::from_nanos(log_time_ns.saturating_sub(first_ns)).div_f64(rate);
            while !self.stop.load(Relaxed) && began.elapsed() < due {
                std::thread::park_timeout(due.saturating_sub(began.elapsed()));
            }
        }
        self.clock.set(i64::try_from(log_time_ns).unwrap_or(i64::MAX));
    }
}

impl Transport for Bag {
    fn clock(&self) -> &Arc<Clock> {
        &self.shared.clock
    }

    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        self.shared.subscriptions.add_images(transport, camera);
        Ok(())
    }

    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        _delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        self.shared.subscriptions.add_messages(topic, ros_type, sink);
        Ok(())
    }

    fn advertise(
        &self,
        _topic: &str,
        _ros_type: &'static str,
        _delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        Ok(Box::new(Discarding))
    }

    fn graph(&self) -> Vec<TopicSeen> {
        let seen = |Channel { topic, ros_type }: &Channel| TopicSeen {
            name: topic.clone(),
            ros_type: ros_type.clone(),
            publishers: 1,
            subscribers: 0,
        };
        self.shared.topics.iter().map(seen).collect()
    }

    fn pump(&self) -> Pump {
        if self.shared.pace == Pace::AsFastAsPossible {
            return if self.shared.play_one() { Pump::Delivered } else { Pump::Ended };
        }
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = thread.get_or_insert_with(|| {
            let shared = Arc::clone(&self.shared);
            let play = move || {
                let mut is_more = true;
                while is_more && !shared.stop.load(Relaxed) {
                    is_more = shared.play_one();
                }
            };
            std::thread::Builder::new().name("bag".into()).spawn(play).expect("the system can start a thread")
        });
        if thread.is_finished() { Pump::Ended } else { Pump::Live }
    }
}

struct Discarding;

impl Publisher for Discarding {
    fn publish(&self, _body: Vec<u8>) -> Result<(), PublishError> {
        Ok(())
    }
}
