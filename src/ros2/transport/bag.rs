//! A transport that plays a bag: an MCAP file as `ros2 bag record` and `rosbags` write it.
//!
//! Messages come in log time order through the file's index, one chunk in memory at a time. As fast as possible, every
//! message waits for the node and log time is the only time; paced, they come at the rate at which they were recorded,
//! as from a live camera. What the node publishes can be written to a second bag with the same log times, so that two
//! runs can be compared byte by byte.
//!
//! Why not a map of the file: the reader asks for whole chunks, so that plain reads are as fast and need no `unsafe`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mcap::sans_io::indexed_reader::{IndexedReadEvent, IndexedReader, IndexedReaderOptions};
use mcap::sans_io::summary_reader::{SummaryReadEvent, SummaryReader};

use super::subscriptions::Subscriptions;
use super::{
    Delivery, ImageTransport, MessageSink, PublishError, Publisher, Pump, TopicSeen, Transport,
    TransportError,
};
use crate::frames::accounts::DropReason;
use crate::frames::camera::Camera;
use crate::frames::clock::Clock;
use crate::ros2::messages::{split_encapsulation, with_encapsulation};

/// No chunk or record of a sound bag is larger.
const RECORD_BYTES_MAX: usize = 1 << 30;

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
    summary: mcap::Summary,
    player: Mutex<Option<Player>>,
    recorder: Option<Arc<Mutex<Recorder>>>,
    stop: AtomicBool,
}

struct Player {
    file: File,
    reader: IndexedReader,
    chunk: Vec<u8>,
    /// Log and wall time of the first message, when paced.
    start: Option<(u64, Instant)>,
}

struct Recorder {
    writer: mcap::Writer<BufWriter<File>>,
    sequence: u32,
}

impl Bag {
    /// Opens a bag, and a second one to record in if `record_to` is given.
    ///
    /// # Errors
    /// If the file cannot be read, is no MCAP, or has no index.
    pub fn open(path: &Path, pace: Pace, record_to: Option<&Path>) -> Result<Self, TransportError> {
        let bad = |problem: String| TransportError::Bag { path: path.display().to_string(), problem };
        if path.is_dir() {
            return Err(bad("it is a directory; expected the `.mcap` file in it".into()));
        }
        let mut file = File::open(path).map_err(|error| bad(error.to_string()))?;
        if let Some(other) = other_than_mcap(&mut file).map_err(|error| bad(error.to_string()))? {
            return Err(bad(other.into()));
        }
        let summary = read_summary(&mut file).map_err(|error| bad(error.to_string()))?;
        let summary = summary.ok_or_else(|| {
            bad("it has no summary; `mcap recover` writes one for an interrupted recording".into())
        })?;
        if summary.chunk_indexes.is_empty() {
            return Err(bad(
                "it has no chunk index; expected a bag as `ros2 bag record -s mcap` writes it".into()
            ));
        }
        let recorder = record_to.map(Recorder::create).transpose()?;
        let clock = match pace {
            Pace::AsFastAsPossible => Clock::stepped(),
            Pace::Times(_) => Clock::shifted(),
        };
        let shared = Shared {
            path: path.to_owned(),
            pace,
            clock: Arc::new(clock),
            subscriptions: Subscriptions::default(),
            summary,
            player: Mutex::new(None),
            recorder: recorder.map(|recorder| Arc::new(Mutex::new(recorder))),
            stop: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared), thread: Mutex::new(None) })
    }

    /// Ends the recording. Without this the second bag has no index.
    ///
    /// # Errors
    /// If the last of it cannot be written.
    pub fn finish(&self) -> Result<(), TransportError> {
        let Some(recorder) = &self.shared.recorder else { return Ok(()) };
        let finished = recorder.lock().unwrap_or_else(PoisonError::into_inner).writer.finish();
        finished.map(drop).map_err(|error| self.shared.bad(error))
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
        if player.is_none() {
            match self.open_player() {
                Ok(opened) => *player = Some(opened),
                Err(error) => {
                    log::error!("{error}");
                    return false;
                }
            }
        }
        self.step(player.as_mut().expect("opened above")).unwrap_or_else(|error| {
            log::error!("{}; what follows cannot be played", self.bad(error));
            false
        })
    }

    /// Delivers messages until one was wanted, or says that there are no more.
    fn step(&self, player: &mut Player) -> Result<bool, mcap::McapError> {
        while let Some(event) = player.reader.next_event() {
            match event? {
                IndexedReadEvent::ReadChunkRequest { offset, length } => {
                    player.chunk.resize(length, 0);
                    player.file.seek(SeekFrom::Start(offset))?;
                    player.file.read_exact(&mut player.chunk)?;
                    player.reader.insert_chunk_record_data(offset, &player.chunk)?;
                }
                IndexedReadEvent::Message { header, data } => {
                    let Some(channel) = self.summary.channels.get(&header.channel_id) else { continue };
                    if !self.subscriptions.wants(&channel.topic) {
                        continue;
                    }
                    self.reach(&mut player.start, header.log_time);
                    let ros_type = channel.schema.as_ref().map_or("", |schema| schema.name.as_str());
                    let body = split_encapsulation(data).map(|(order, body)| (body, order));
                    self.subscriptions.deliver(&channel.topic, ros_type, body.ok_or(DropReason::Malformed));
                    return Ok(true);
                }
            }
        }
        Ok(false)
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

    fn open_player(&self) -> Result<Player, TransportError> {
        let options = IndexedReaderOptions::new().with_record_length_limit(RECORD_BYTES_MAX);
        let reader =
            IndexedReader::new_with_options(&self.summary, options).map_err(|error| self.bad(error))?;
        let file = File::open(&self.path).map_err(|error| self.bad(error))?;
        Ok(Player { file, reader, chunk: Vec::new(), start: None })
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
        topic: &str,
        ros_type: &'static str,
        _delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        let Some(recorder) = &self.shared.recorder else { return Ok(Box::new(Discarding)) };
        let channel = recorder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add_channel(topic, ros_type)
            .map_err(|error| self.shared.bad(error))?;
        Ok(Box::new(Recording {
            recorder: Arc::clone(recorder),
            clock: Arc::clone(&self.shared.clock),
            channel,
        }))
    }

    fn graph(&self) -> Vec<TopicSeen> {
        let seen = |channel: &mcap::Channel<'_>| TopicSeen {
            name: channel.topic.clone(),
            ros_type: channel.schema.as_ref().map_or_else(String::new, |schema| schema.name.clone()),
            publishers: 1,
            subscribers: 0,
        };
        let mut topics: Vec<_> = self.shared.summary.channels.values().map(|channel| seen(channel)).collect();
        topics.sort();
        topics
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

struct Recording {
    recorder: Arc<Mutex<Recorder>>,
    clock: Arc<Clock>,
    channel: u16,
}

impl Publisher for Recording {
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError> {
        let log_time = u64::try_from(self.clock.now().ros_ns).unwrap_or(0);
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = recorder.sequence;
        recorder.sequence = sequence.wrapping_add(1);
        let header = mcap::records::MessageHeader {
            channel_id: self.channel,
            sequence,
            log_time,
            publish_time: log_time,
        };
        recorder.writer.write_to_known_channel(&header, &with_encapsulation(&body)).map_err(|error| {
            log::error!("recording: {error}");
            PublishError::Closed
        })
    }
}

impl Recorder {
    fn create(path: &Path) -> Result<Self, TransportError> {
        let bad = |problem: String| TransportError::Bag { path: path.display().to_string(), problem };
        let file = File::create(path).map_err(|error| bad(error.to_string()))?;
        let options = mcap::WriteOptions::new().profile("ros2").library("perihelion");
        let writer = options.create(BufWriter::new(file)).map_err(|error| bad(error.to_string()))?;
        Ok(Self { writer, sequence: 0 })
    }

    fn add_channel(&mut self, topic: &str, ros_type: &str) -> Result<u16, mcap::McapError> {
        // Players find the definition by the name: all of our types are ROS's own.
        let schema = self.writer.add_schema(ros_type, "ros2msg", &[])?;
        self.writer.add_channel(schema, topic, "cdr", &BTreeMap::new())
    }
}

/// What a file is that is no MCAP, as far as its first bytes tell, and how it becomes one.
fn other_than_mcap(file: &mut File) -> std::io::Result<Option<&'static str>> {
    const KNOWN: [(&[u8], &str); 8] = [
        (
            b"SQLite format 3\0",
            "it is a bag in SQLite (`.db3`); `mcap convert IN.db3 OUT.mcap` makes one that is played here",
        ),
        (
            b"#ROSBAG V2.0",
            "it is a bag of ROS 1; `mcap convert IN.bag OUT.mcap` makes one that is played here",
        ),
        (b"\x28\xb5\x2f\xfd", "it is compressed as a whole; `zstd -d FILE` gives the bag"),
        (b"\x89PNG", "it is an image; `ask --image` takes it"),
        (b"\xff\xd8\xff", "it is an image; `ask --image` takes it"),
        (b"GIF8", "it is an image; `ask --image` takes it"),
        (b"rosbag2_bagfile", "it is the description of a bag; name the `.mcap` file beside it"),
        (b"", "it is no MCAP file; expected a bag as `ros2 bag record -s mcap` writes it"),
    ];
    const MAGIC: &[u8] = b"\x89MCAP0\r\n";
    let mut beginning = Vec::new();
    file.by_ref().take(16).read_to_end(&mut beginning)?;
    file.rewind()?;
    if beginning.starts_with(MAGIC) {
        return Ok(None);
    }
    Ok(KNOWN.iter().find(|(mark, _)| beginning.starts_with(mark)).map(|(_, words)| *words))
}

fn read_summary(file: &mut File) -> Result<Option<mcap::Summary>, mcap::McapError> {
    let mut reader = SummaryReader::new_with_options(
        mcap::sans_io::summary_reader::SummaryReaderOptions::default()
            .with_record_length_limit(RECORD_BYTES_MAX),
    );
    while let Some(event) = reader.next_event() {
        match event? {
            SummaryReadEvent::ReadRequest(n) => {
                let n_read = file.read(reader.insert(n))?;
                reader.notify_read(n_read);
            }
            SummaryReadEvent::SeekRequest(to) => {
                let position = file.seek(to)?;
                reader.notify_seeked(position);
            }
        }
    }
    Ok(reader.finish())
}
