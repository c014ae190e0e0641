//! From what a person names to the files of a bag, or to what it is instead and how it becomes one.
//!
//! A bag is an `.mcap` file, or a directory as `ros2 bag record` leaves it: files that follow each other, named in order by its
//! `metadata.yaml`. A recorder that was killed has not written that; then all `.mcap` files of the directory are taken.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

const METADATA: &str = "metadata.yaml";
/// A list of some thousand files is not longer.
const METADATA_BYTES_MAX: u64 = 16 << 20;

#[derive(Deserialize)]
struct Metadata {
    rosbag2_bagfile_information: Information,
}

#[derive(Deserialize)]
struct Information {
    #[serde(default)]
    storage_identifier: String,
    relative_file_paths: Vec<String>,
    #[serde(default)]
    compression_mode: String,
}

/// The file or the folder that is a bag, where its description may be named for it: all that is read lies there.
pub fn root(path: &Path) -> &Path {
    match (path.file_name(), path.parent()) {
        (Some(name), Some(folder)) if name == METADATA => {
            if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            }
        }
        _ => path,
    }
}

/// The bag's files, in their order.
///
/// # Errors
/// What the path is instead, and what to do.
pub(super) fn of(path: &Path) -> Result<Vec<PathBuf>, String> {
    let root = root(path);
    let files = if root.is_dir() { in_directory(root)? } else { vec![path.to_owned()] };
    for file in &files {
        let what = what_is_it(file).map_err(|error| match path == file {
            true => error.to_string(),
            false => format!("its file {}: {error}", file.display()),
        })?;
        if let Some(what) = what {
            return Err(match path == file {
                true => what,
                false => format!("its file {}: {what}", file.display()),
            });
        }
    }
    Ok(files)
}

fn in_directory(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let metadata = dir.join(METADATA);
    let text = match File::open(&metadata) {
        Ok(file) => {
            let mut text = String::new();
            let read = file.take(METADATA_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|error| format!("its {METADATA}: {error}"))?;
            text
        }
        Err(_) => return without_metadata(dir),
    };
    let metadata: Metadata =
        serde_norway::from_str(&text).map_err(|error| format!("its {METADATA} is not rosbag2's: {error}"))?;
    let Information { storage_identifier, relative_file_paths, compression_mode } =
        metadata.rosbag2_bagfile_information;
    if storage_identifier == "sqlite3" {
        return Err(sqlite(dir));
    }
    if compression_mode.eq_ignore_ascii_case("message") {
        return Err(
            "its messages are compressed one by one; `ros2 bag convert` writes them as they were".to_owned()
        );
    }
    if relative_file_paths.is_empty() {
        return Err(format!("its {METADATA} names no file"));
    }
    let within = |name: &String| {
        let path = Path::new(name);
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        is_plain.then(|| dir.join(path)).ok_or_else(|| {
            format!("its {METADATA} names `{name}`, which does not lie in the directory of the bag")
        })
    };
    relative_file_paths.iter().map(within).collect()
}

fn without_metadata(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(dir).map_err(|error| error.to_string())?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let has = |extension: &str| files.iter().any(|file| file.extension().is_some_and(|e| e == extension));
    if !has("mcap") && has("db3") {
        return Err(sqlite(dir));
    }
    let has_packed = has("zstd");
    files.retain(|file| file.extension().is_some_and(|extension| extension == "mcap"));
    // `bag_2` comes before `bag_10`.
    files.sort_by_key(|file| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.rsplit('_').next().and_then(|n| n.parse::<u64>().ok());
        (number, name)
    });
    match files.is_empty() {
        true if has_packed => {
            Err("its files are compressed as a whole; `zstd -d FILE` unpacks each".to_owned())
        }
        true => Err(format!("it is a directory with neither {METADATA} nor an `.mcap` file in it")),
        false => Ok(files),
    }
}

/// What a file is, if it is no MCAP.
fn what_is_it(file: &Path) -> std::io::Result<Option<String>> {
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(file)?.is_file() {
        return Ok(Some("it is not a regular file".to_owned()));
    }
    let mut head = [0; 16];
    let n_read = File::open(file)?.take(16).read(&mut head)?;
    let starts = |with: &[u8]| head[..n_read].starts_with(with);
    let stem = file.with_extension("");
    Ok(if starts(b"\x89MCAP0\r\n") {
        None
    } else if starts(b"SQLite format 3") {
        Some(sqlite(file))
    } else if starts(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let (from, to) = (file.display(), stem.display());
        Some(format!("it is compressed as a whole; `zstd -d {from} -o {to}` unpacks it"))
    } else if starts(b"#ROSBAG V2.0") {
        let from = file.display();
        Some(format!("it is a bag of ROS 1; `mcap convert {from} OUT.mcap` makes one that is played here"))
    } else if [&b"\x89PNG"[..], b"\xff\xd8\xff", b"GIF8"].into_iter().any(starts) {
        Some("it is an image; `ask --image` takes it, and `--bag` an MCAP file".to_owned())
    } else {
        Some(format!(
            "it is no MCAP file: it starts with {:02x?}; expected a bag as `ros2 bag record -s mcap` writes it",
            &head[..n_read.min(8)]
        ))
    })
}

fn sqlite(path: &Path) -> String {
    let dir = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    format!(
        "it is stored in SQLite; `mcap convert IN.db3 OUT.mcap`, or `rosbags-convert --src {} --dst BAG --dst-storage mcap`, makes one \
         that is played here",
        dir.display()
    )
}
