//! What a verb reads and what it will write, looked at before the work begins, so that nothing is lost and nothing done in vain.
//!
//! An output that is one of the inputs is found by the identity of the file (device and inode), so that links, other spellings and
//! files inside a folder that is read are found too. A folder for frames is empty, or is emptied of frames because that was asked.

mod new;
mod whole;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::bail;

pub(super) use self::whole::CLIP_FILE;
use self::whole::{Whole, everything_in};
use super::{Usage, output};
use crate::install::{folder_of, free_bytes};

/// More files than any checkpoint or clip has; a folder of more is not searched to its end.
const FILES_MAX: usize = 1 << 20;

/// Device and inode.
type Identity = (u64, u64);

/// Everything that a verb reads and writes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    inputs: Vec<PathBuf>,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Output {
    option: &'static str,
    path: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A file, and as many bytes as are known to be needed.
    File { bytes: u64 },
    /// A folder of frames, and whether frames in it may go.
    Frames { overwrite: bool },
    /// A folder that comes whole into its place, and whether what such a folder holds may go.
    Whole { of: Whole, overwrite: bool },
    /// A folder that is new, or empty, and lies in nothing that is read.
    New,
    /// A folder of files of these names, and whether such may go; under a name that is a folder's lie frames.
    Files { names: &'static [&'static str], overwrite: bool },
}

impl Places {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Places::default()
    }

    /// Files and folders that are read.
    pub(crate) fn reads<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.inputs.extend(paths.into_iter().map(Into::into));
        self
    }

    /// A file that will be written, if it was asked for, of at least `bytes`.
    pub(crate) fn writes(mut self, option: &'static str, path: Option<&PathBuf>, bytes: u64) -> Self {
        let output = |path: &PathBuf| Output { option, path: path.clone(), kind: Kind::File { bytes } };
        self.outputs.extend(path.map(output));
        self
    }

    /// A folder that will hold frames, if it was asked for; with `overwrite`, frames that are there go.
    pub(crate) fn writes_frames(
        mut self,
        option: &'static str,
        path: Option<&PathBuf>,
        overwrite: bool,
    ) -> Self {
        let output = |path: &PathBuf| Output { option, path: path.clone(), kind: Kind::Frames { overwrite } };
        self.outputs.extend(path.map(output));
        self
    }

    /// A folder of ONNX files, if it was asked for; with `overwrite`, those that are there go.
    pub(crate) fn writes_onnx(
        mut self,
        option: &'static str,
        path: Option<&PathBuf>,
        overwrite: bool,
    ) -> Self {
        let kind = Kind::Whole { of: Whole::Onnx, overwrite };
        self.outputs.extend(path.map(|path| Output { option, path: path.clone(), kind }));
        self
    }

    /// A folder of clips; with `overwrite`, those that are there go.
    pub(crate) fn writes_clips(mut self, option: &'static str, path: &Path, overwrite: bool) -> Self {
        let kind = Kind::Whole { of: Whole::Clips, overwrite };
        self.outputs.push(Output { option, path: path.to_owned(), kind });
        self
    }

    /// A folder in which nothing lies yet, outside of everything that is read.
    pub(crate) fn writes_new(mut self, option: &'static str, path: &Path) -> Self {
        self.outputs.push(Output { option, path: path.to_owned(), kind: Kind::New });
        self
    }

    /// A folder that will hold files of these names, if it was asked for; with `overwrite`, those that are there go.
    pub(crate) fn writes_files(
        mut self,
        option: &'static str,
        path: Option<&PathBuf>,
        names: &'static [&'static str],
        overwrite: bool,
    ) -> Self {
        let kind = Kind::Files { names, overwrite };
        self.outputs.extend(path.map(|path| Output { option, path: path.clone(), kind }));
        self
    }

    /// Looks at all of it, and then removes the frames and files that may go.
    ///
    /// # Errors
    /// A [`Usage`] if an output is an input or another output, or a folder for frames or files is not empty; another error if a place
    /// cannot be written to, or the disk has no room for what is known.
    pub(crate) fn check(self) -> anyhow::Result<()> {
        let mut seen: HashMap<Identity, &Path> = HashMap::new();
        for input in &self.inputs {
            let mut n_left = FILES_MAX;
            note(input, input, &mut seen, &mut n_left);
        }
        let mut names = HashSet::new();
        let mut needed: HashMap<u64, u64> = HashMap::new();
        for output in &self.outputs {
            let Output { option, path, kind } = output;
            let shown = path.display();
            if let Some(input) = identity(path).and_then(|identity| seen.get(&identity)) {
                let input = input.display();
                let message = format!(
                    "{option} {shown} is a file that is read ({input}) and would be lost; name another"
                );
                return Err(Usage(message).into());
            }
            if !names.insert(absolute(path)) {
                return Err(Usage(format!("{option} {shown} is written twice; name another")).into());
            }
            match kind {
                Kind::File { bytes } => {
                    output.check_file()?;
                    let folder = folder_of(path);
                    check_writable(option, folder)?;
                    let device = fs::metadata(folder).map_or(0, |metadata| metadata.dev());
                    let needed = needed.entry(device).or_default();
                    *needed += bytes;
                    let free = free_bytes(folder).unwrap_or(u64::MAX);
                    if free < *needed {
                        let (needed, free) = (output::bytes(*needed), output::bytes(free));
                        bail!("{option} {shown}: {needed} are needed, the disk has {free} left");
                    }
                }
                Kind::Frames { overwrite } | Kind::Files { overwrite, .. } => {
                    output.check_folder(*overwrite, &seen)?;
                }
                Kind::New => new::check(option, path, &seen)?,
                Kind::Whole { of, overwrite } => {
                    let folder = absolute(path);
                    let inside = self.outputs.iter().find(|o| absolute(&o.path).parent() == Some(&folder));
                    if let Some(Output { option: other, path: inside, .. }) = inside {
                        let inside = inside.display();
                        let message =
                            format!("{option} {shown} is replaced whole, and {other} {inside} lies in it");
                        return Err(Usage(message).into());
                    }
                    output.check_whole(*of, *overwrite, &seen)?;
                }
            }
        }
        for output in &self.outputs {
            let old = match output.kind {
                Kind::Frames { overwrite: true } | Kind::Files { overwrite: true, .. } => output.own()?,
                Kind::Whole { overwrite: true, .. } => everything_in(&output.path),
                _ => continue,
            };
            for file in old {
                let is_folder = fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_dir());
                let removed = if is_folder { fs::remove_dir(&file) } else { fs::remove_file(&file) };
                removed.map_err(|error| anyhow::Error::from(error).context(file.display().to_string()))?;
            }
        }
        Ok(())
    }
}

impl Output {
    fn check_file(&self) -> anyhow::Result<()> {
        let Output { option, path, .. } = self;
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                bail!("{option} {} is a folder; name a file in it", path.display())
            }
            Ok(metadata) if !metadata.is_file() => {
                bail!("{option} {} is no regular file, and files are replaced whole", path.display())
            }
            _ => Ok(()),
        }
    }

    /// The files in a folder that are as those that will be written into it.
    fn own(&self) -> io::Result<Vec<PathBuf>> {
        let Kind::Files { names, .. } = self.kind else { return frames_in(&self.path) };
        let mut own = Vec::new();
        for path in names.iter().map(|name| self.path.join(name)) {
            if path.is_dir() {
                own.extend(frames_in(&path)?);
            } else if fs::symlink_metadata(&path).is_ok() {
                own.push(path);
            }
        }
        Ok(own)
    }

    fn check_folder(&self, overwrite: bool, inputs: &HashMap<Identity, &Path>) -> anyhow::Result<()> {
        let Output { option, path, kind } = self;
        let shown = path.display();
        let what = if matches!(kind, Kind::Files { .. }) { "files" } else { "frames" };
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => bail!("{option} {shown} is a file; name a folder"),
            Ok(_) => {
                check_writable(option, path)?;
                if overwrite {
                    for file in self.own()? {
                        if identity(&file).is_some_and(|identity| inputs.contains_key(&identity)) {
                            let file = file.display();
                            let message = format!("{option} {shown}: {file} is read and would be lost");
                            return Err(Usage(message).into());
                        }
                    }
                } else if fs::read_dir(path)?.flatten().any(|entry| !is_hidden(&entry.file_name())) {
                    let message = format!(
                        "{option} {shown} is not empty, and old {what} would lie among new ones; name another folder, or pass \
                         --overwrite to remove the {what} of an earlier run"
                    );
                    return Err(Usage(message).into());
                }
                Ok(())
            }
            // It will be made in the nearest folder that is there.
            Err(_) => {
                let there = path.ancestors().skip(1).find(|dir| dir.as_os_str().is_empty() || dir.exists());
                let there = there.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                check_writable(option, there)
            }
        }
    }

    fn check_whole(
        &self,
        of: Whole,
        overwrite: bool,
        inputs: &HashMap<Identity, &Path>,
    ) -> anyhow::Result<()> {
        let Output { option, path, .. } = self;
        let shown = path.display();
        let what = of.name();
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(Usage(format!("{option} {shown} is a file; name a folder")).into());
        }
        // It is made beside its place.
        check_writable(option, folder_of(path))?;
        let there = everything_in(path);
        if !overwrite && !there.is_empty() {
            let message = format!(
                "{option} {shown} is not empty; name another folder, or pass --overwrite to replace the {what} in it"
            );
            return Err(Usage(message).into());
        }
        if let Some(name) = of.stranger(path) {
            let message = format!(
                "{option} {shown} holds {name:?}, which is none of the {what} that are written; name another folder"
            );
            return Err(Usage(message).into());
        }
        let is_read = |file: &&PathBuf| identity(file).is_some_and(|identity| inputs.contains_key(&identity));
        match there.iter().find(is_read) {
            Some(file) => {
                let message = format!("{option} {shown}: {} is read and would be lost", file.display());
                Err(Usage(message).into())
            }
            None => Ok(()),
        }
    }
}

/// Whether `path` is a file, where `wanted` is read ("a model", "an engine"), or a folder in whose place it should stand.
///
/// # Errors
/// A [`Usage`] that says how a checkpoint becomes what is wanted.
pub(crate) fn is_file(path: &Path, wanted: &str) -> anyhow::Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    let shown = path.display();
    let is_checkpoint = ["config.json", "model_index.json"].iter().any(|name| path.join(name).is_file());
    let cure = match (is_checkpoint, wanted) {
        (true, "a model") => {
            format!("it is a checkpoint: perihelion export {shown} -o MODEL makes a model of it")
        }
        (true, _) => format!(
            "it is a checkpoint: perihelion export {shown} -o MODEL and perihelion build MODEL -o ENGINE make an engine of it"
        ),
        (false, _) => "name the file in it".to_owned(),
    };
    Err(Usage(format!("{shown} is a folder where {wanted} is read; {cure}")).into())
}

/// Notes the identity of a file, or of a folder and everything in it, as that of `input`.
fn note<'a>(path: &Path, input: &'a Path, seen: &mut HashMap<Identity, &'a Path>, n_left: &mut usize) {
    let Some(identity) = identity(path) else { return };
    // A folder that was seen is not entered again: links may lead in circles.
    if seen.insert(identity, input).is_some() || *n_left == 0 {
        return;
    }
    *n_left -= 1;
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        note(&entry.path(), input, seen, n_left);
    }
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The place by its folder's true name, whether or not something is there.
fn absolute(path: &Path) -> PathBuf {
    let folder = folder_of(path);
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join(path.file_name().unwrap_or_default())
}

/// Whether a file can be made in the folder.
fn check_writable(option: &str, folder: &Path) -> anyhow::Result<()> {
    match tempfile::tempfile_in(folder) {
        Ok(_) => Ok(()),
        // Some kernels' own folders say so of every file.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_dir() => {
            bail!("{option}: there is no folder {}; make it first", folder.display())
        }
        Err(error) => {
            bail!("{option}: no file can be made in {}: {}", folder.display(), system_words(&error))
        }
    }
}

/// What the system said, without the place that the library put around it.
fn system_words(error: &io::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Frames by the names that are given to them, in a folder and in the numbered folders in it.
fn frames_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut frames = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().as_encoded_bytes();
        let is_number = !stem.is_empty() && stem.iter().all(u8::is_ascii_digit);
        if is_number && path.is_dir() {
            frames.extend(frames_in(&path)?);
        } else if is_number && path.extension().is_some_and(|extension| extension == "png") {
            frames.push(path);
        }
    }
    Ok(frames)
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(places: Places) -> String {
        let error = places.check().expect_err("refused");
        assert!(error.is::<Usage>(), "{error}");
        error.to_string()
    }

    #[test]
    fn an_output_that_is_an_input_is_found_by_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("checkpoint/part")).unwrap();
        fs::write(at("checkpoint/part/model.safetensors"), b"weights").unwrap();
        fs::hard_link(at("checkpoint/part/model.safetensors"), at("hard")).unwrap();
        std::os::unix::fs::symlink(at("hard"), at("soft")).unwrap();
        std::os::unix::fs::symlink(at("checkpoint"), at("checkpoint/part/circle")).unwrap();
        let of = |output: PathBuf| Places::new().reads([at("checkpoint")]).writes("-o", Some(&output), 0);
        let spelled = at("checkpoint/../checkpoint/part/./model.safetensors");
        for output in [at("checkpoint/part/model.safetensors"), at("hard"), at("soft"), spelled] {
            assert!(refusal(of(output)).contains("would be lost"));
        }
        of(at("checkpoint/new.model")).check().unwrap();
        let twice = of(at("a")).writes("--gif", Some(&at("checkpoint/../a")), 0);
        assert!(refusal(twice).contains("written twice"));
    }

    #[test]
    fn frames_are_never_mixed_and_only_frames_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let frames = |overwrite| Places::new().writes_frames("--frames-out", Some(&out), overwrite);
        frames(false).check().unwrap();
        fs::create_dir_all(out.join("01")).unwrap();
        fs::write(out.join("notes.txt"), b"mine").unwrap();
        fs::write(out.join("0000.png"), b"old").unwrap();
        fs::write(out.join("01/0007.png"), b"old").unwrap();
        assert!(refusal(frames(false)).contains("--overwrite"));
        assert!(out.join("0000.png").exists());
        assert!(refusal(frames(true).reads([&out])).contains("would be lost"));
        assert!(refusal(frames(true).reads([out.join("01")])).contains("would be lost"));
        assert!(out.join("0000.png").exists());
        frames(true).check().unwrap();
        assert!(!out.join("0000.png").exists() && !out.join("01/0007.png").exists());
        assert!(out.join("notes.txt").exists());
    }

    #[test]
    fn only_a_written_model_is_replaced_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let onnx = |overwrite| Places::new().writes_onnx("--onnx", Some(&out), overwrite);
        onnx(false).check().unwrap();
        fs::create_dir(&out).unwrap();
        onnx(false).writes("-o", Some(&dir.path().join("a")), 0).check().unwrap();
        assert!(refusal(onnx(false).writes("-o", Some(&out.join("a")), 0)).contains("lies in it"));
        // A text alone may be anybody's.
        fs::write(out.join("README.md"), b"mine").unwrap();
        assert!(refusal(onnx(false)).contains("--overwrite"));
        assert!(refusal(onnx(true)).contains("README.md"));
        for name in ["weights.safetensors", "decode.onnx"] {
            fs::write(out.join(name), b"old").unwrap();
        }
        assert!(refusal(onnx(false)).contains("--overwrite"));
        assert!(refusal(onnx(true).reads([out.join("decode.onnx")])).contains("would be lost"));
        fs::write(out.join("notes.txt"), b"mine").unwrap();
        assert!(refusal(onnx(true)).contains("notes.txt"));
        assert_eq!(everything_in(&out).len(), 4);
        fs::remove_file(out.join("notes.txt")).unwrap();
        onnx(true).check().unwrap();
        assert!(everything_in(&out).is_empty());
        fs::write(dir.path().join("file"), b"").unwrap();
        let inside =
            |path: PathBuf| Places::new().writes_onnx("--onnx", Some(&path), false).check().unwrap_err();
        assert!(inside(dir.path().join("file")).to_string().contains("is a file"));
        assert!(inside(dir.path().join("file/in")).to_string().contains("no file can be made"));
        assert!(inside(dir.path().join("none/in")).to_string().contains("there is no folder"));
    }

    #[test]
    fn only_clips_are_replaced_by_clips() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("clips");
        let clips = |overwrite| Places::new().writes_clips("--output", &out, overwrite);
        clips(false).check().unwrap();
        fs::create_dir_all(out.join("000007")).unwrap();
        for name in ["000007/frame_000.png", "000007/clip.json", "000007/mine.txt", "notes.txt"] {
            fs::write(out.join(name), b"old").unwrap();
        }
        assert!(refusal(clips(false)).contains("--overwrite"));
        for mine in ["mine.txt", "notes.txt"] {
            assert!(refusal(clips(true)).contains(".txt"));
            drop([out.join(mine), out.join("000007").join(mine)].map(fs::remove_file));
        }
        assert!(refusal(clips(true).reads([out.join("000007")])).contains("would be lost"));
        assert!(out.join("000007/clip.json").exists());
        clips(true).check().unwrap();
        assert!(everything_in(&out).is_empty());
    }

    #[test]
    fn files_of_an_earlier_run_go_only_if_that_was_asked_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("record");
        let files = |overwrite| {
            Places::new().writes_files("--record", Some(&out), &["frames", "answers.jsonl"], overwrite)
        };
        files(false).check().unwrap();
        fs::create_dir_all(out.join("frames")).unwrap();
        for name in ["frames/00007.png", "frames/mine.txt", "answers.jsonl", "other.jsonl"] {
            fs::write(out.join(name), b"old").unwrap();
        }
        assert!(refusal(files(false)).contains("--overwrite"));
        assert!(refusal(files(true).reads([out.join("answers.jsonl")])).contains("would be lost"));
        assert!(out.join("frames/00007.png").exists());
        files(true).check().unwrap();
        let left = ["frames/00007.png", "frames/mine.txt", "answers.jsonl", "other.jsonl"];
        assert_eq!(left.map(|name| out.join(name).exists()), [false, true, false, true]);
    }

    #[test]
    fn places_that_cannot_take_a_file_are_said_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let check = |path: PathBuf, bytes: u64, part: &str| {
            let message = Places::new().writes("-o", Some(&path), bytes).check().unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("-o"), "{message}");
        };
        check(dir.path().to_owned(), 0, "is a folder");
        check(dir.path().join("none/a"), 0, "there is no folder");
        check(PathBuf::from("/dev/null"), 0, "no regular file");
        check(PathBuf::from("/proc/a"), 0, "no file can be made");
        check(dir.path().join("a"), 1 << 60, "the disk has");
    }
}
