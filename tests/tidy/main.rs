//! Rules about the code that the compiler does not know: rows, sizes, headers, where `unsafe` may live.

mod circles;

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest row first. A module names only modules of lower rows, and itself.
const ROWS: &[&[&str]] = &[
    &["tensor", "bounded", "install", "mapped", "board", "supervisor"],
    &["scenes", "checkpoint", "container", "drawing"],
    &["camera"],
    &["graph"],
    &["models"],
    &["backend"],
    &["quantize"],
    &["model"],
    &["export", "merge", "onnx"],
    &["engine"],
    &["frames"],
    &["runtime"],
    &["quality"],
    &["ros2"],
    &["live"],
    &["report"],
    &["distill", "curate"],
    &["cli"],
    &["demo"],
    &["command"],
    &["main", "lib"],
];

/// Folders and files in which `unsafe` is expected, each for a reason that it gives.
const UNSAFE_PLACES: &[&str] = &[
    "src/mapped.rs",
    "src/backend/cpu/arena.rs",
    "src/backend/tensorrt/shim/ffi.rs",
    "src/backend/tensorrt/shim/opened.rs",
    "src/backend/tensorrt/shim/running.rs",
    "src/backend/tensorrt/driver/cuda.rs",
    "src/backend/tensorrt/driver/memory.rs",
    "src/ros2/transport/dds/sockets.rs",
    "src/ros2/transport/walled/ring.rs",
    "src/backend/cpu/pool.rs",
    "src/backend/cpu/pool/board.rs",
    "src/backend/cpu/kernels/",
    "src/backend/cuda/nvrtc.rs",
];

/// Files over the limit, with the length they may not grow past. This list only shrinks.
const LONG_FILES: &[(&str, usize)] = &[];
const LINES_MAX: usize = 400;

/// Words that would tie the project to one machine or one way of working.
const NOT_OURS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("debian", ".org"),
];

#[test]
fn the_code_is_tidy() {
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    assert!(40 < files.len(), "found only {} files: is this the package's root?", files.len());
    let problems: Vec<String> = files.iter().flat_map(|path| check(path)).collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    let read = |path: &PathBuf| {
        (
            path.to_str().expect("our paths are UTF-8").to_owned(),
            fs::read_to_string(path).expect("listed a moment ago"),
        )
    };
    let problems = circles::circles(&files.iter().map(read).collect::<Vec<_>>());
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn the_rules_catch_what_they_are_for() {
    let broken = |name: &str, text: &str, expected: &str| {
        let problems = check_text(name, text);
        assert!(problems.iter().any(|p| p.contains(expected)), "{name}: {problems:?} lacks {expected:?}");
    };
    broken("src/graph/a.rs", "use crate::tensor;", "does not say what it is");
    broken("src/graph/a.rs", "//! A.\nuse crate::runtime::Reason;", "must not import `runtime`");
    broken("src/graph/a.rs", "//! A.\nfn f() { unsafe { g() } }", "`unsafe`");
    broken("src/graph/a.rs", "//! A.\nuse super::super::tensor;", "`super::super`");
    broken("src/backend/cpu/a.rs", "//! A.\nuse crate::backend::tensorrt::Shim;", "never name each other");
    broken("src/graph/a.rs", &format!("//! A.\n{}", "\n".repeat(LINES_MAX + 1)), "lines");
    assert_eq!(check_text("src/runtime/a.rs", "//! A.\nuse crate::graph::Network;"), Vec::<String>::new());
}

#[test]
fn nothing_names_a_machine_or_a_registry() {
    let mut files = vec![
        PathBuf::from("README.md"),
        "ARCHITECTURE.md".into(),
        "CHANGELOG.md".into(),
        "Cargo.toml".into(),
        "build.rs".into(),
        ".ci/run".into(),
    ];
    for folder in ["src", "benches", "jetson", "engines", "calibration", "tests"] {
        collect_all(Path::new(folder), &mut files);
    }
    let texts = files.iter().filter_map(|f| Some((f, fs::read_to_string(f).ok()?)));
    let problems: Vec<String> = texts
        .flat_map(|(file, text)| {
            NOT_OURS
                .iter()
                .filter(|word| text.contains(**word))
                .map(|word| format!("{}: names {word}", file.display()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

fn check(path: &Path) -> Vec<String> {
    let name = path.to_str().expect("our paths are UTF-8");
    check_text(name, &fs::read_to_string(path).expect("listed a moment ago"))
}

fn check_text(name: &str, text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().expect("split yields one");
    let lines_max = LONG_FILES.iter().find(|(n, _)| *n == name).map_or(LINES_MAX, |(_, max)| *max);
    let module = name["src/".len()..].split(['/', '.']).next().expect("split yields one");

    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push(format!("{name}: does not say what it is (`//!`)"));
    }
    if lines_max < code.lines().count() {
        problems.push(format!("{name}: {} lines, over {lines_max}", code.lines().count()));
    }
    let uses_unsafe = ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|u| code.contains(u));
    if uses_unsafe && !UNSAFE_PLACES.iter().any(|place| name.starts_with(place)) {
        problems.push(format!("{name}: `unsafe` outside {UNSAFE_PLACES:?}"));
    }
    if code.contains("super::super") {
        problems.push(format!("{name}: `super::super` hides which row is meant"));
    }
    for (this, other) in [("cpu", "tensorrt"), ("tensorrt", "cpu")] {
        if name.starts_with(&format!("src/backend/{this}")) && code.contains(&format!("backend::{other}")) {
            problems.push(format!("{name}: backends never name each other"));
        }
    }
    for other in code.split("crate::").skip(1).map(ident) {
        if other != module && row(module) <= row(other) {
            problems.push(format!("{name}: `{module}` must not import `{other}`"));
        }
    }
    problems
}

fn row(module: &str) -> usize {
    let row = ROWS.iter().position(|row| row.contains(&module));
    row.unwrap_or_else(|| panic!("`{module}` has no row in tests/tidy/main.rs"))
}

fn ident(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut all = Vec::new();
    collect_all(dir, &mut all);
    files.extend(all.into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")));
}

fn collect_all(dir: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|why| panic!("{}: {why}", dir.display()));
    for entry in entries {
        let path = entry.expect("readable").path();
        if path.is_dir() { collect_all(&path, files) } else { files.push(path) }
    }
}
