//! One MCAP file as a row of pieces, and its messages in the order of their log times.
//!
//! A piece is a chunk, or a message outside of any. Where they stand is in the file's index; a recording that was
//! interrupted has none, nor has one that was written without chunks: then the file is read through once. Chunks may overlap in
//! time, so that as many of them are in memory as hold messages of one moment.
//!
//! Why not the crate's own indexed reader: it needs an index, and does not compare the chunks' digests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use mcap::read::ChunkReader;
use mcap::records::{MessageHeader, Record, op};
use mcap::sans_io::summary_reader::{SummaryReadEvent, SummaryReader, SummaryReaderOptions};

/// No chunk or record of a sound bag is larger.
const RECORD_BYTES_MAX: u64 = 1 << 30;
/// Nor do messages of a sound bag wait for others of their time in more memory.
const WAITING_BYTES_MAX: usize = 1 << 30;

/// What a message takes while it waits: its body, and its place.
fn held_bytes(data: &[u8]) -> usize {
    data.len() + size_of::<((u64, u64), Recorded)>()
}

/// Opcode and length before every record.
const RECORD_HEAD_BYTES: u64 = 9;
/// The least that a message takes within its record.
const MESSAGE_HEAD_BYTES: u64 = 22;
const MAGIC: &[u8] = b"\x89MCAP0\r\n";

/// A topic of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Channel {
    pub(super) topic: String,
    pub(super) ros_type: String,
}

/// A message in its log time.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) log_time_ns: u64,
    pub(super) channel: u16,
    /// With its encapsulation.
    pub(super) data: Vec<u8>,
}

/// Why a file cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrackError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Mcap(#[from] mcap::McapError),
    #[error("{0}")]
    Damaged(String),
}

/// A run of bytes of the file that holds messages.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start_ns: u64,
    opcode: u8,
    /// Of the record's content.
    offset: u64,
    n_bytes: u64,
}

/// A file whose pieces are known. It is open while it is read: a bag may have more files than a process may open.
#[derive(Debug)]
pub(super) struct Track {
    path: PathBuf,
    file: Option<File>,
    channels: BTreeMap<u16, Channel>,
    pieces: Vec<Piece>,
    next: usize,
    waiting: BTreeMap<(u64, u64), Recorded>,
    waiting_bytes: usize,
    n_loaded: u64,
    content: Vec<u8>,
    /// Why the file ends before its end.
    cut: Option<String>,
}

impl Track {
    /// Opens a file. Chunks are looked at only where the file has no index.
    ///
    /// # Errors
    /// If it cannot be read, or is no MCAP.
    pub(super) fn open(path: &Path) -> Result<Self, TrackError> {
        let mut file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        let mut magic = [0; 8];
        file.read_exact(&mut magic)
            .map_err(|_| TrackError::Damaged("it is no MCAP file: it is too short".into()))?;
        if magic != *MAGIC {
            return Err(TrackError::Damaged("it is no MCAP file".into()));
        }
        let summary = read_summary(&mut file);
        let mut track = Self {
            path: path.to_owned(),
            file: Some(file),
            channels: BTreeMap::new(),
            pieces: Vec::new(),
            next: 0,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            n_loaded: 0,
            content: Vec::new(),
            cut: None,
        };
        match summary {
            Ok(Some(summary)) if !summary.chunk_indexes.is_empty() => {
                track.take_index(&summary, file_bytes)?
            }
            // Without chunks in its index, without an index, or without its end: what stands in it is found by reading.
            _ => track.scan(file_bytes)?,
        }
        track.pieces.sort_by_key(|piece| (piece.start_ns, piece.offset));
        track.file = None;
        Ok(track)
    }

    /// What it holds, by id.
    pub(super) fn channels(&self) -> &BTreeMap<u16, Channel> {
        &self.channels
    }

    /// Why it ends before its end, if it does.
    pub(super) fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// The next message.
    ///
    /// # Errors
    /// If the file cannot be read on.
    pub(super) fn next(&mut self) -> Result<Option<Recorded>, TrackError> {
        while let Some(piece) = self.pieces.get(self.next).copied() {
            if self.waiting.first_key_value().is_some_and(|((first_ns, _), _)| *first_ns < piece.start_ns) {
                break;
            }
            self.next += 1;
            self.load(piece)?;
        }
        let message = self.waiting.pop_first().map(|(_, message)| message);
        self.waiting_bytes -= message.as_ref().map_or(0, |message| held_bytes(&message.data));
        Ok(message)
    }

    fn load(&mut self, piece: Piece) -> Result<(), TrackError> {
        let mut content = std::mem::take(&mut self.content);
        self.read(piece.offset, piece.n_bytes, &mut content)?;
        let loaded = self.load_content(piece, &content);
        self.content = content;
        loaded
    }

    fn load_content(&mut self, piece: Piece, content: &[u8]) -> Result<(), TrackError> {
        match mcap::parse_record(piece.opcode, content)? {
            Record::Message { header, data } => self.hold(&header, data.into_owned())?,
            Record::Chunk { header, data } => {
                if RECORD_BYTES_MAX < header.uncompressed_size {
                    let n = header.uncompressed_size;
                    return Err(TrackError::Damaged(format!(
                        "a chunk says of itself that it takes {n} bytes"
                    )));
                }
                for record in ChunkReader::new(header, &data)? {
                    if let Record::Message { header, data } = record? {
                        self.hold(&header, data.into_owned())?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn hold(&mut self, header: &MessageHeader, data: Vec<u8>) -> Result<(), TrackError> {
        self.waiting_bytes += held_bytes(&data);
        if WAITING_BYTES_MAX < self.waiting_bytes {
            let n = WAITING_BYTES_MAX;
            return Err(TrackError::Damaged(format!(
                "chunks of more than {n} bytes say that they are of one time"
            )));
        }
        let MessageHeader { channel_id: channel, log_time: log_time_ns, .. } = *header;
        self.n_loaded += 1;
        self.waiting.insert((log_time_ns, self.n_loaded), Recorded { log_time_ns, channel, data });
        Ok(())
    }

    fn read(&mut self, offset: u64, n_bytes: u64, content: &mut Vec<u8>) -> Result<(), TrackError> {
        let file = match &mut self.file {
            Some(file) => file,
            closed => closed.insert(File::open(&self.path)?),
        };
        file.seek(SeekFrom::Start(offset))?;
        content.clear();
        // What was claimed is read, not reserved: a file that is shorter costs no memory.
        let n_read = file.take(n_bytes).read_to_end(content)?;
        if (n_read as u64) < n_bytes {
            let message = format!("it ends at byte {}, within a record", offset + n_read as u64);
            return Err(TrackError::Damaged(message));
        }
        Ok(())
    }

    fn take_index(&mut self, summary: &mcap::Summary, file_bytes: u64) -> Result<(), TrackError> {
        for (id, channel) in &summary.channels {
            let ros_type = channel.schema.as_ref().map_or_else(String::new, |schema| schema.name.clone());
            self.channels.insert(*id, Channel { topic: channel.topic.clone(), ros_type });
        }
        for index in &summary.chunk_indexes {
            let end = index.chunk_start_offset.checked_add(index.chunk_length);
            if index.chunk_length < RECORD_HEAD_BYTES || end.is_none_or(|end| file_bytes < end) {
                let (start, n) = (index.chunk_start_offset, index.chunk_length);
                let message =
                    format!("its index has a chunk of {n} bytes at byte {start}, beyond its {file_bytes}");
                return Err(TrackError::Damaged(message));
            }
            self.pieces.push(Piece {
                start_ns: index.message_start_time,
                opcode: op::CHUNK,
                offset: index.chunk_start_offset + RECORD_HEAD_BYTES,
                n_bytes: index.chunk_length - RECORD_HEAD_BYTES,
            });
        }
        Ok(())
    }

    /// Finds pieces and channels record by record.
    fn scan(&mut self, file_bytes: u64) -> Result<(), TrackError> {
        let mut schemas = BTreeMap::new();
        let (mut at, mut content) = (MAGIC.len() as u64, Vec::new());
        loop {
            if file_bytes < at + RECORD_HEAD_BYTES {
                self.cut = Some(format!("it ends at byte {file_bytes} without its closing records"));
                return Ok(());
            }
            self.read(at, RECORD_HEAD_BYTES, &mut content)?;
            let opcode = content[0];
            let n_bytes = u64::from_le_bytes(*content[1..].first_chunk().expect("nine bytes were read"));
            let offset = at + RECORD_HEAD_BYTES;
            let Some(end) = offset.checked_add(n_bytes).filter(|end| *end <= file_bytes) else {
                self.cut = Some(format!("it ends at byte {file_bytes}, within a record"));
                return Ok(());
            };
            if RECORD_BYTES_MAX < n_bytes {
                return Err(TrackError::Damaged(format!("the record at byte {at} takes {n_bytes} bytes")));
            }
            match opcode {
                op::MESSAGE => {
                    self.read(offset, n_bytes.min(MESSAGE_HEAD_BYTES), &mut content)?;
                    let Record::Message { header, .. } = mcap::parse_record(opcode, &content)? else {
                        continue;
                    };
                    self.pieces.push(Piece { start_ns: header.log_time, opcode, offset, n_bytes });
                }
                op::CHUNK => {
                    self.read(offset, n_bytes, &mut content)?;
                    let Record::Chunk { header, data } = mcap::parse_record(opcode, &content)? else {
                        continue;
                    };
                    self.pieces.push(Piece { start_ns: header.message_start_time, opcode, offset, n_bytes });
                    if header.uncompressed_size <= RECORD_BYTES_MAX {
                        for record in ChunkReader::new(header, &data)? {
                            self.learn(record?, &mut schemas);
                        }
                    }
                }
                op::SCHEMA | op::CHANNEL => {
                    self.read(offset, n_bytes, &mut content)?;
                    self.learn(mcap::parse_record(opcode, &content)?, &mut schemas);
                }
                op::DATA_END => return Ok(()),
                _ => {}
            }
            at = end;
        }
    }

    fn learn(&mut self, record: Record<'_>, schemas: &mut BTreeMap<u16, String>) {
        match record {
            Record::Schema { header, .. } => drop(schemas.insert(header.id, header.name)),
            Record::Channel(channel) => {
                let ros_type = schemas.get(&channel.schema_id).cloned().unwrap_or_default();
                self.channels.insert(channel.id, Channel { topic: channel.topic, ros_type });
            }
            _ => {}
        }
    }
}

fn read_summary(file: &mut File) -> Result<Option<mcap::Summary>, mcap::McapError> {
    let options = SummaryReaderOptions::default().with_record_length_limit(RECORD_BYTES_MAX as usize);
    let mut reader = SummaryReader::new_with_options(options);
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
