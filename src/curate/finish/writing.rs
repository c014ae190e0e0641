//! Clips as folders of frames, as samples in shards, or as episodes of data sets.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::container::hex;
use crate::curate::bucket::Bucket;
use crate::curate::encoded::{extension, read_stored};
use crate::curate::error::CurateError;
use crate::curate::lerobot::Sets;
use crate::curate::manifest::{ClipLine, DataSet, Episode, Shard};
use crate::curate::parameters::{Format, Parameters};
use crate::curate::record::{Clip, Stream};

/// What is said of a clip beside its frames, as `scenes` names it.
const CLIP_FILE: &str = "clip.json";

/// A set that is being written.
pub(super) struct Writing {
    out: PathBuf,
    format: Format,
    shard_bytes: u64,
    may_link: bool,
    open: Option<Open>,
    shards: Vec<Shard>,
    sets: Sets,
}

/// Where a clip has come to lie.
pub(super) struct Placed {
    pub(super) place: String,
    /// Of its frames' files, one after the other.
    pub(super) sha256: String,
    pub(super) episode: Option<Episode>,
}

/// A shard that is being written.
struct Open {
    tar: tar::Builder<BufWriter<Digesting>>,
    path: PathBuf,
    bucket: Bucket,
    clips: u64,
    bytes: u64,
}

impl Open {
    /// Adds a member whose bytes follow from its name and content alone: no owner, no time.
    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), CurateError> {
        let mut header = tar::Header::new_ustar();
        let named = header.set_path(name);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        let added = named.and_then(|()| self.tar.append(&header, bytes));
        added.map_err(CurateError::at(&self.path))
    }
}

/// Bytes that a member of a tar file takes.
fn member_bytes(bytes: u64) -> u64 {
    const BLOCK: u64 = 512;
    BLOCK + bytes.next_multiple_of(BLOCK)
}

/// A file whose digest is taken as it is written.
struct Digesting {
    file: File,
    digest: Sha256,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.digest.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Writing {
    pub(super) fn begin(out: &Path, parameters: &Parameters, may_link: bool) -> Result<Self, CurateError> {
        let Parameters { format, shard_bytes, .. } = *parameters;
        let sets = Sets::begin(out, folder_of(format), parameters);
        let (out, shards) = (out.to_owned(), Vec::new());
        let writing = Self { out, format, shard_bytes, may_link, open: None, shards, sets };
        let folder = writing.out.join(writing.folder());
        fs::create_dir(&folder).map_err(CurateError::at(&folder))?;
        Ok(writing)
    }

    fn folder(&self) -> &'static str {
        folder_of(self.format)
    }

    /// Writes a clip. Those of one data set come one after the other.
    pub(super) fn clip(
        &mut self,
        from: &Path,
        stream: &Stream,
        clip: &Clip,
        line: &ClipLine<'_>,
    ) -> Result<Placed, CurateError> {
        let described = serde_json::to_vec_pretty(&json!({
            "fps": line.fps, "source": line.source, "topic": line.topic, "first": line.first, "last": line.last,
            "stamps_ns": clip.stamps_ns,
        }));
        let described = described.expect("these are texts and numbers");
        let (place, sha256) = match self.format {
            Format::Frames => self.frames(from, clip, line, &described)?,
            Format::WebDataset => self.sample(from, clip, line, &described)?,
            Format::LeRobot => {
                let (place, sha256, episode) = self.sets.episode(from, stream, clip)?;
                return Ok(Placed { place, sha256, episode: Some(episode) });
            }
        };
        Ok(Placed { place, sha256, episode: None })
    }

    fn frames(
        &self,
        from: &Path,
        clip: &Clip,
        line: &ClipLine<'_>,
        described: &[u8],
    ) -> Result<(String, String), CurateError> {
        let place = format!("{}/{}", self.folder(), line.clip);
        let folder = self.out.join(&place);
        fs::create_dir(&folder).map_err(CurateError::at(&folder))?;
        let mut digest = Sha256::new();
        for (frame, name) in clip.files.iter().enumerate() {
            let (stored, bytes) = read_stored(from, name)?;
            digest.update(&bytes);
            let to = folder.join(format!("frame_{frame:03}.{}", extension(name)));
            // Another file system has no links to this one.
            if !(self.may_link && fs::hard_link(&stored, &to).is_ok()) {
                fs::write(&to, &bytes).map_err(CurateError::at(&to))?;
            }
        }
        let file = folder.join(CLIP_FILE);
        fs::write(&file, described).map_err(CurateError::at(&file))?;
        Ok((place, hex(&digest.finalize())))
    }

    fn sample(
        &mut self,
        from: &Path,
        clip: &Clip,
        line: &ClipLine<'_>,
        described: &[u8],
    ) -> Result<(String, String), CurateError> {
        let mut sample_bytes = member_bytes(described.len() as u64);
        for name in &clip.files {
            let path = from.join(name);
            sample_bytes += member_bytes(fs::metadata(&path).map_err(CurateError::at(&path))?.len());
        }
        let is_full = |open: &Open| {
            open.bucket != line.bucket || self.shard_bytes < open.bytes.saturating_add(sample_bytes)
        };
        if self.open.as_ref().is_some_and(is_full) {
            self.close()?;
        }
        if self.open.is_none() {
            self.open = Some(self.next(&line.bucket)?);
        }
        let Some(open) = &mut self.open else { unreachable!("just opened") };
        let mut digest = Sha256::new();
        for (frame, name) in clip.files.iter().enumerate() {
            let (_, bytes) = read_stored(from, name)?;
            digest.update(&bytes);
            let member = format!("{}.{frame:04}.{}", line.clip, extension(name));
            open.add(&member, &bytes)?;
        }
        open.add(&format!("{}.json", line.clip), described)?;
        open.clips += 1;
        open.bytes += sample_bytes;
        let place = format!("{}/{:06}.tar", self.folder(), self.shards.len());
        Ok((place, hex(&digest.finalize())))
    }

    fn next(&self, bucket: &Bucket) -> Result<Open, CurateError> {
        let path = self.out.join(format!("{}/{:06}.tar", self.folder(), self.shards.len()));
        let file = File::create_new(&path).map_err(CurateError::at(&path))?;
        let tar = tar::Builder::new(BufWriter::new(Digesting { file, digest: Sha256::new() }));
        Ok(Open { tar, path, bucket: bucket.clone(), clips: 0, bytes: 0 })
    }

    fn close(&mut self) -> Result<(), CurateError> {
        let Some(Open { tar, path, bucket, clips, .. }) = self.open.take() else { return Ok(()) };
        let place = format!("{}/{:06}.tar", self.folder(), self.shards.len());
        let whole = tar.into_inner().and_then(|out| out.into_inner().map_err(|error| error.into_error()));
        let Digesting { file, digest } = whole.map_err(CurateError::at(&path))?;
        let bytes = file.metadata().map_err(CurateError::at(&path))?.len();
        self.shards.push(Shard { place, bucket, clips, bytes, sha256: hex(&digest.finalize()) });
        Ok(())
    }

    /// Ends the last shard or data set, and tells all.
    pub(super) fn end(mut self) -> Result<(Vec<Shard>, Vec<DataSet>), CurateError> {
        self.close()?;
        Ok((self.shards, self.sets.end()?))
    }
}

/// Where clips lie.
fn folder_of(format: Format) -> &'static str {
    match format {
        Format::Frames => "frames",
        Format::WebDataset => "shards",
        Format::LeRobot => "lerobot",
    }
}
