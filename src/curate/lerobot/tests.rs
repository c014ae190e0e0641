//! What is written is what is read, and what is damaged is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::info::data_files;
use super::{Sets, TASKS_FILE, read};
use crate::camera::{FrameSize, png};
use crate::curate::came::{Came, Told};
use crate::curate::error::CurateError;
use crate::curate::parameters::Parameters;
use crate::curate::record::{Clip, Said, Stream, TASK};

const SIZE: FrameSize = FrameSize { width: 24, height: 16 };

fn parameters(shard_bytes: u64) -> Parameters {
    let text = json!({
        "topics": [], "fps": 8.0, "cut": 0.0, "gap_s": 1.0, "still": 0.0, "still_s": 1.0, "dark": 0.0, "blurred": 1.0,
        "text": 1.0, "min_frames": 1, "max_frames": 9, "duplicate": 0.0, "duplicate_hue": 0.0,
        "shard_bytes": shard_bytes, "format": "lerobot",
    });
    serde_json::from_value(text).unwrap()
}

fn pixels(seed: usize) -> Vec<u8> {
    let noise = |i: usize| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 7) as u8;
    (0..SIZE.rgb_bytes()).map(noise).collect()
}

/// A record's folder with a clip of `n` frames, each with `columns` actions.
fn clip(folder: &Path, first: usize, n: usize, columns: usize) -> Clip {
    let files = (first..first + n).map(|at| {
        let name = format!("{at:08}.png");
        fs::write(folder.join(&name), png(&pixels(at), SIZE)).unwrap();
        name
    });
    let files: Vec<String> = files.collect();
    let text = json!({
        "first": first, "last": first + n - 1, "stamps_ns": (0..n).map(|at| 125_000_000 * (first + at)).collect::<Vec<_>>(),
        "width": SIZE.width, "height": SIZE.height, "begins": "start",
        "measured": { "light_min": 1.0, "blur_max": 0.0, "text_max": 0.0, "jump_max": 0.0 },
        "files": files, "hashes": [],
    });
    let mut clip: Clip = serde_json::from_value(text).unwrap();
    if 0 < columns {
        clip.actions =
            (0..n).map(|at| (0..columns).map(|c| (first + at) as f32 - c as f32 / 3.0).collect()).collect();
    }
    let said = [(0, "push the cup"), (n / 2, "")].map(|(from, text)| Said { from, text: text.to_owned() });
    clip.said = BTreeMap::from([(TASK.to_owned(), said.to_vec())]);
    clip
}

/// A data set of these clips.
fn written(dir: &Path, lengths: &[usize], columns: usize, shard_bytes: u64) -> PathBuf {
    let from = dir.join("from");
    fs::create_dir(&from).unwrap();
    let stream = Stream {
        topic: "/hand/image_raw".into(),
        frames: 0,
        damaged: 0,
        damaged_first: Vec::new(),
        clips: Vec::new(),
        dropped: Vec::new(),
        action_names: (0..columns).map(|c| format!("joint {c}")).collect(),
    };
    let mut sets = Sets::begin(dir, "lerobot", &parameters(shard_bytes));
    let mut first = 0;
    for n in lengths {
        sets.episode(&from, &stream, &clip(&from, first, *n, columns)).unwrap();
        first += n;
    }
    let told = sets.end().unwrap();
    assert_eq!(told.len(), 1);
    dir.join(&told[0].place)
}

/// An image that was read.
#[derive(Debug, PartialEq)]
struct Seen {
    topic: String,
    stamp_ns: i64,
    rgb: Option<Vec<u8>>,
    begins: bool,
    action: Vec<f32>,
    task: Option<String>,
}

fn seen(root: &Path) -> (Vec<Seen>, Result<Told, CurateError>) {
    let mut all = Vec::new();
    let told = read(root, &parameters(1), &mut |came: Came<'_>| {
        let task =
            came.beside.said.iter().find(|(name, _)| **name == *TASK).map(|(_, text)| text.to_string());
        all.push(Seen {
            topic: came.topic.to_owned(),
            stamp_ns: came.stamp_ns,
            rgb: came.picture.ok().map(|pixels| pixels.rgb.to_vec()),
            begins: came.begins,
            action: came.beside.action.to_vec(),
            task,
        });
        Ok(())
    });
    (all, told)
}

#[test]
fn what_is_written_is_read() {
    for (lengths, columns, shard_bytes, n_files) in
        [(&[5usize, 3][..], 2, 1 << 20, 1), (&[5, 3, 4], 1, 4000, 3), (&[230, 2], 0, 1 << 30, 1)]
    {
        let dir = tempfile::tempdir().unwrap();
        let root = written(dir.path(), lengths, columns, shard_bytes);
        assert_eq!(data_files(&root).unwrap().len(), n_files);
        let (all, told) = seen(&root);
        let told = told.unwrap();
        assert_eq!((told.problem, told.action_names.len()), (None, columns));
        let mut expected = Vec::new();
        for n in lengths {
            let first = expected.len();
            expected.extend((0..*n).map(|at| Seen {
                topic: "observation.images.hand".into(),
                stamp_ns: 125_000_000 * (first + at) as i64,
                rgb: Some(pixels(first + at)),
                begins: at == 0,
                action: (0..columns).map(|c| (first + at) as f32 - c as f32 / 3.0).collect(),
                task: Some(if at < n / 2 { "push the cup" } else { "" }.into()),
            }));
        }
        assert!(all == expected, "{lengths:?}");
    }
}

#[test]
fn the_same_clips_are_the_same_bytes() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let roots = dirs.each_ref().map(|dir| written(dir.path(), &[5, 3], 2, 4000));
    for file in super::files(&roots[0]).unwrap() {
        let name = file.strip_prefix(&roots[0]).unwrap();
        assert!(fs::read(&file).unwrap() == fs::read(roots[1].join(name)).unwrap(), "{}", name.display());
    }
}

#[test]
fn what_is_damaged_is_told_and_nothing_worse() {
    let dir = tempfile::tempdir().unwrap();
    let root = written(dir.path(), &[3, 2], 2, 1 << 20);
    let (whole, _) = seen(&root);
    for file in [root.join(TASKS_FILE), data_files(&root).unwrap()[0].clone()] {
        let bytes = fs::read(&file).unwrap();
        let mut n_told = 0;
        // Cut anywhere it lacks its end.
        for n in (0..bytes.len()).step_by(97) {
            fs::write(&file, &bytes[..n]).unwrap();
            let (_, told) = seen(&root);
            let problem = told.unwrap().problem.unwrap();
            assert!(problem.contains(".parquet") && problem.contains("cut"), "{n}: {problem}");
        }
        // Flipped bits: pixels, numbers, sizes, offsets, types.
        for at in 0..bytes.len() {
            for bit in [0x01, 0x40, 0x80] {
                let mut damaged = bytes.clone();
                damaged[at] ^= bit;
                fs::write(&file, &damaged).unwrap();
                let (all, told) = seen(&root);
                assert!(all.len() <= 2 * whole.len(), "byte {at}: {} images", all.len());
                n_told += usize::from(told.unwrap().problem.is_some());
            }
        }
        assert!(0 < n_told);
        fs::write(&file, &bytes).unwrap();
    }
    assert!(seen(&root).0 == whole);
}
