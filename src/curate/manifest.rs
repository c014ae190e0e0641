//! The manifest: where every clip came from and why it is there, and what was left out and why.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::bucket::Bucket;
use super::parameters::Parameters;
use super::record::{Begins, Damaged, Measured, Reason};
use super::source_kind::SourceKind;

/// The manifest's file.
pub const MANIFEST_FILE: &str = "manifest.json";
pub(super) const SCHEMA: &str = "perihelion-curated-1";

/// `manifest.json`.
#[derive(Debug, Serialize)]
pub(super) struct Manifest<'a> {
    pub(super) schema: &'static str,
    /// SHA-256 of the clips' digests, in hexadecimal, a line each.
    pub(super) digest: String,
    pub(super) parameters: &'a Parameters,
    pub(super) totals: Totals,
    pub(super) sources: Vec<SourceLine<'a>>,
    pub(super) clips: Vec<ClipLine<'a>>,
    pub(super) dropped: Vec<DroppedLine<'a>>,
    pub(super) shards: Vec<Shard>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) datasets: Vec<DataSet>,
}

/// What was kept, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Sources of different content.
    pub sources: u64,
    /// Images in them.
    pub frames: u64,
    /// Images in clips.
    pub kept_frames: u64,
    /// Clips.
    pub clips: u64,
    /// Images that could not be decoded.
    pub damaged: u64,
    /// What was left out, by reason.
    pub dropped: BTreeMap<&'static str, Count>,
}

/// Stretches, and the frames in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Stretches.
    pub stretches: u64,
    /// Their frames.
    pub frames: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct SourceLine<'a> {
    pub(super) name: &'a str,
    /// Other names of the same content.
    pub(super) also: Vec<&'a str>,
    pub(super) kind: SourceKind,
    pub(super) sha256: &'a str,
    pub(super) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<&'a str>,
    pub(super) streams: Vec<StreamLine<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct StreamLine<'a> {
    pub(super) topic: &'a str,
    pub(super) frames: u64,
    pub(super) damaged: u64,
    pub(super) damaged_first: &'a [Damaged],
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ClipLine<'a> {
    pub(super) clip: String,
    /// Its folder, or the shard or the data set that it is in.
    pub(super) place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) episode: Option<Episode>,
    pub(super) source: &'a str,
    pub(super) topic: &'a str,
    /// Its first and last frame by their numbers in the stream, from 0.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) frames: usize,
    pub(super) first_stamp_ns: i64,
    pub(super) last_stamp_ns: i64,
    pub(super) fps: f64,
    #[serde(flatten)]
    pub(super) bucket: Bucket,
    pub(super) begins: Begins,
    /// Its frames nearest to the thresholds, all of which it keeps.
    pub(super) measured: Measured,
    /// Of its frames' files, one after the other.
    pub(super) sha256: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct DroppedLine<'a> {
    pub(super) source: &'a str,
    pub(super) topic: &'a str,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) frames: u64,
    pub(super) first_stamp_ns: i64,
    pub(super) last_stamp_ns: i64,
    pub(super) reason: Reason,
    pub(super) value: f32,
    pub(super) threshold: f32,
    /// The clip that a duplicate is one of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) like: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Shard {
    pub(super) place: String,
    #[serde(flatten)]
    pub(super) bucket: Bucket,
    pub(super) clips: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// What a clip is in its data set.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Episode {
    pub(super) index: usize,
    /// The data set's rate.
    pub(super) fps: Value,
    /// How far a stamp lies from the time that the rate says, at most.
    pub(super) stamps_off_s: f64,
}

/// A data set of LeRobot's.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DataSet {
    pub(super) place: String,
    /// The feature that holds the frames.
    pub(super) camera: String,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) fps: Value,
    /// Names of an action's columns.
    pub(super) actions: Vec<String>,
    pub(super) episodes: usize,
    pub(super) frames: usize,
    pub(super) files: Vec<DataFile>,
}

/// A file of a data set's frames.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DataFile {
    pub(super) place: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}
