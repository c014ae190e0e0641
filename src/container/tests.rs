//! What is written is read; what is cut, flipped or forged is refused.

use std::fs;
use std::os::unix::fs::FileExt;

use super::*;

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    words: Vec<String>,
}

fn content() -> Content {
    Content { words: vec!["one".into(), "naïve".into()] }
}

/// A small model file, and the directory it lies in.
fn written() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.model");
    let mut writer = Writer::create(&path, Kind::Model).unwrap();
    writer.add("text", b"hello").unwrap();
    let mut section = writer.section("numbers").unwrap();
    section.put(&[1, 2, 3]).unwrap();
    section.align(64).unwrap();
    assert_eq!(section.len(), 64);
    section.put(&[4; 5000]).unwrap();
    section.finish();
    writer.add("empty", b"").unwrap();
    writer.finish(&content()).unwrap();
    (dir, path)
}

#[test]
fn sections_and_content_come_back() {
    let (dir, path) = written();
    let container = Container::open(&path, Kind::Model).unwrap();
    assert_eq!(container.section("text").unwrap(), b"hello");
    assert_eq!(container.section("numbers").unwrap()[62..66], [0, 0, 4, 4]);
    assert_eq!(container.section("empty").unwrap(), b"");
    assert_eq!(container.content::<Content>().unwrap(), content());
    assert!(container.sections().iter().all(|s| s.offset.is_multiple_of(ALIGNMENT)));
    let mut last = (0, 0);
    container.verify(|done, total| last = (done, total)).unwrap();
    assert_eq!(last, (5069, 5069));
    assert_eq!(container.file_bytes(), fs::metadata(&path).unwrap().len());
    assert_eq!(Kind::of_file(&path).unwrap(), Some(Kind::Model));
    assert_eq!(Kind::of_file(dir.path()).unwrap(), None);

    let message = container.section("weights").unwrap_err().to_string();
    assert!(message.contains("`weights`, found text, numbers, empty"), "{message}");
    assert!(matches!(container.content::<Vec<u8>>(), Err(ContainerError::Manifest { .. })));
    let message = Container::open(&path, Kind::Engine).unwrap_err().to_string();
    assert!(message.contains("expected an engine, found a model; `perihelion build"), "{message}");
}

#[test]
fn one_content_makes_one_file() {
    let ((_a, a), (_b, b)) = (written(), written());
    assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
}

#[test]
fn every_truncation_is_refused() {
    let (dir, path) = written();
    let whole = fs::read(&path).unwrap();
    let cut = dir.path().join("cut.model");
    // Every length near a boundary of the layout and in the manifest, and steps through the rest.
    let manifest = whole.len() - 1200..whole.len();
    let lengths = (0..200).chain((200..whole.len()).step_by(97)).chain(manifest);
    for length in lengths.chain([4095, 4096, 4097]) {
        fs::write(&cut, &whole[..length]).unwrap();
        let message = Container::open(&cut, Kind::Model).expect_err("cut").to_string();
        assert!(message.contains("cut.model: "), "{length}: {message}");
    }
    let mut longer = whole.clone();
    longer.push(b' ');
    fs::write(&cut, longer).unwrap();
    assert!(Container::open(&cut, Kind::Model).is_err());
}

#[test]
fn every_flipped_bit_of_header_and_manifest_is_refused_and_in_a_section_found_by_verify() {
    let (dir, path) = written();
    let whole = fs::read(&path).unwrap();
    let container = Container::open(&path, Kind::Model).unwrap();
    let manifest = container.header.manifest();
    let flipped = dir.path().join("flipped.model");
    fs::write(&flipped, &whole).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&flipped).unwrap();
    for at in (0..ALIGNMENT).chain(manifest) {
        // All bits where something stands, one where there should be zeros.
        let bits = if whole[at] == 0 && 80 < at { 1 } else { 8 };
        for bit in 0..bits {
            file.write_all_at(&[whole[at] ^ 1 << bit], at as u64).unwrap();
            let message = Container::open(&flipped, Kind::Model).expect_err("flipped").to_string();
            let names_it = ["should", "expected"].iter().any(|word| message.contains(word));
            assert!(names_it, "byte {at}, bit {bit}: {message}");
        }
        file.write_all_at(&whole[at..=at], at as u64).unwrap();
    }
    for section in container.sections().iter().filter(|s| 0 < s.bytes) {
        let mut bytes = whole.clone();
        bytes[section.offset + section.bytes - 1] ^= 1;
        fs::write(&flipped, &bytes).unwrap();
        let message =
            Container::open(&flipped, Kind::Model).unwrap().verify(|_, _| ()).unwrap_err().to_string();
        assert!(message.contains(&format!("section `{}`", section.name)), "{message}");
    }
}

/// A file whose header and digest are right, with any manifest.
fn forge(path: &Path, manifest: &str) {
    let header = Header {
        kind: Kind::Model,
        manifest_offset: 8192,
        manifest_bytes: manifest.len() as u64,
        manifest_sha256: Sha256::digest(manifest).into(),
    };
    let mut bytes = header.to_bytes();
    bytes.resize(8192, 0);
    bytes.extend(manifest.as_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn lying_manifests_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("forged.model");
    let section = |name: &str, offset: &str, bytes: &str| {
        let sha256 = "0".repeat(64);
        format!(r#"{{"name":"{name}","offset":{offset},"bytes":{bytes},"sha256":"{sha256}"}}"#)
    };
    let check = |sections: &[String], expected: &str| {
        forge(&path, &format!(r#"{{"sections":[{}],"content":0}}"#, sections.join(",")));
        let message = match Container::open(&path, Kind::Model) {
            Ok(_) => "opened".into(),
            Err(e) => e.to_string(),
        };
        assert!(message.contains(expected), "{message} lacks {expected}");
    };
    check(&[section("a", "4096", "4096")], "opened");
    check(&[section("a", "4096", "4097")], "before the manifest");
    check(&[section("a", "4096", "18446744073709551615")], "before the manifest");
    check(&[section("a", "0", "1")], "from byte 4096 on");
    check(&[section("a", "4100", "1")], "multiple of 4096");
    check(&[section("a", "4096", "10"), section("b", "4096", "1")], "from byte 4106 on");
    check(&[section("a", "4096", "0"), section("a", "4096", "0")], "two are `a`");
    check(&[section("a", "-1", "0")], "manifest");
    check(&[section("a", "4096", "1e30")], "manifest");
    forge(&path, "[]");
    assert!(matches!(Container::open(&path, Kind::Model), Err(ContainerError::Manifest { .. })));
}

#[test]
fn nothing_is_left_behind_and_the_old_file_stays_until_the_new_is_whole() {
    let (dir, path) = written();
    let before = fs::read(&path).unwrap();
    let mut writer = Writer::create(&path, Kind::Model).unwrap();
    writer.add("text", b"another").unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(fs::read(&path).unwrap(), before);

    // A directory cannot be replaced by a file.
    let taken = dir.path().join("taken");
    fs::create_dir(&taken).unwrap();
    let writer = Writer::create(&taken, Kind::Engine).unwrap();
    assert!(matches!(writer.finish(&content()), Err(ContainerError::Io { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);

    let missing = dir.path().join("missing").join("a.model");
    assert!(matches!(Writer::create(&missing, Kind::Model), Err(ContainerError::Io { .. })));
    assert!(matches!(Container::open(dir.path(), Kind::Model), Err(ContainerError::Io { .. })));
}
