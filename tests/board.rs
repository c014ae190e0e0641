//! Boards as they were recorded (`tests/fixtures/boards`), read and judged; trees that are damaged; a watch over one.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::{Path, PathBuf};

use perihelion::board::{Board, Device, Root, Watch};
use tempfile::TempDir;

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/boards").join(name)
}

fn board(name: &str) -> Board {
    Board::read(&Root::at(recorded(name))).expect("a Jetson")
}

/// The lines that have something to mend, by name.
fn to_mend(board: &Board) -> Vec<&'static str> {
    board.lines().into_iter().filter(|line| line.advice.is_some()).map(|line| line.name).collect()
}

fn value(board: &Board, name: &str) -> String {
    let line = board.lines().into_iter().find(|line| line.name == name);
    line.unwrap_or_else(|| panic!("no line `{name}`")).value
}

#[test]
fn an_orin_nano_with_everything_to_mend() {
    let board = board("orin-nano");
    let module = &board.module;
    assert_eq!((module.part.as_deref(), module.chip.as_str()), (Some("p3767-0005"), "tegra234"));
    assert_eq!((module.device, module.gpu_architecture), (Some("orin-nano"), Some("sm_87")));
    let software = &board.software;
    assert_eq!(software.jetson_linux.as_deref(), Some("36.4.7"));
    assert_eq!(software.jetpack.as_deref(), Some("6.2.1"));
    assert_eq!(software.cuda.as_deref(), Some("12.6.11"));
    assert_eq!(software.tensorrt.as_deref(), Some("10.3.0.30"));
    let mode = board.power_mode.as_ref().unwrap();
    assert_eq!((mode.now.id, mode.now.name.as_str()), (0, "15W"));
    assert_eq!(mode.uncapped().map(|mode| mode.id), Some(2), "MAXN_SUPER is not the last");
    assert_eq!(board.clocks.gpu.len(), 1, "the video engine's clock is none of the GPU's");
    assert_eq!(board.clocks.gpu[0].khz_max, Some(612_000));
    assert_eq!((board.memory.swap_bytes, board.memory.zram_bytes), (0, 6 * 650_188 * 1024));
    // A sensor that is switched off is no zone.
    assert_eq!(board.heat.zones.len(), 6);
    assert_eq!(
        board.heat.hottest().map(|zone| (zone.celsius, zone.celsius_slows)),
        Some((51.312, Some(99.0)))
    );
    let events: Vec<u64> = board.heat.over_current.iter().map(|counter| counter.events).collect();
    assert_eq!(events, [0, 0, 37]);
    // The sum of shunt voltages is no rail, and what VDD_IN carries is not counted twice.
    assert_eq!(board.rails.rails.len(), 3);
    assert_eq!(board.rails.watts, Some(4.984 * 1.48));
    assert_eq!(to_mend(&board), ["power mode", "clocks", "memory", "swap", "over-current events"]);
    let lines = board.lines();
    let of_mode = lines.iter().find(|line| line.name == "power mode").and_then(|line| line.advice.as_ref());
    assert!(of_mode.unwrap().remedy.starts_with("sudo nvpmodel -m 2"), "{of_mode:?}");
}

#[test]
fn an_agx_orin_that_is_too_hot() {
    let board = board("agx-orin");
    assert_eq!(board.module.device, Some("agx-orin"));
    assert!(board.clocks.all().all(|clock| clock.is_pinned()));
    assert_eq!(board.software.cuda.as_deref(), Some("12.6.68"), "without a version.json, the package tells");
    let watts = 19.92 * 1.232 + 19.928 * 0.4 + 5.056 * 1.16;
    assert!((board.rails.watts.unwrap() - watts).abs() < 1e-9, "{:?}", board.rails);
    assert_eq!(to_mend(&board), ["temperature", "throttling"]);
    assert_eq!(value(&board, "throttling"), "gpu-throttle-alert");
}

#[test]
fn a_thor_without_root() {
    let board = board("thor");
    assert_eq!((board.module.device, board.module.gpu_architecture), (Some("thor"), Some("sm_110")));
    assert_eq!(board.software.jetpack.as_deref(), Some("7"), "its meta package is not installed");
    assert_eq!(board.software.tensorrt.as_deref(), Some("10.13.3.9"));
    let gpu: Vec<&str> = board.clocks.gpu.iter().map(|clock| clock.name.as_str()).collect();
    assert_eq!(gpu, ["gpu-gpc-0"]);
    let cpu: Vec<&str> = board.clocks.cpu.iter().map(|clock| clock.name.as_str()).collect();
    assert_eq!(cpu[5..], ["cpu10", "cpu12"]);
    // A GPU that is switched off has no temperature, and no zone then.
    assert_eq!(board.heat.zones.len(), 4);
    assert_eq!(board.rails.watts_of, ["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"]);
    assert_eq!(value(&board, "over-current events"), "not told");
    assert_eq!(to_mend(&board), ["power mode", "clocks", "swap"]);
}

#[test]
fn every_recorded_module_is_a_device_of_its_architecture() {
    for name in ["orin-nano", "agx-orin", "thor"] {
        let module = board(name).module;
        let device = Device::named(module.device.unwrap()).unwrap();
        assert_eq!(module.gpu_architecture, Some(device.gpu_architecture), "{name}");
    }
}

#[test]
fn a_pc_is_no_jetson() {
    assert_eq!(Board::read(&Root::at(recorded("pc"))).map(|board| board.module), None);
    assert!(Watch::start(Root::at(recorded("pc"))).is_none());
    assert!(Board::read(&Root::at(recorded("there is none"))).is_none());
}

#[test]
fn damaged_trees_tell_less_and_break_nothing() {
    for name in ["orin-nano", "agx-orin", "thor"] {
        let (tree, files) = copied(name);
        assert!(40 < files.len(), "{name}: only {} files", files.len());
        for (i, file) in files.iter().enumerate() {
            let whole = fs::read(file).unwrap();
            let damages = [
                b"".as_slice(),
                b"\0\0\0",
                b"-",
                b"18446744073709551616\n",
                b"-9223372036854775808\n",
                b"9223372036854775807\n",
                b"\xff\xfe\xfd < POWER_MODEL ID=4294967296 NAME= >\n: \n\n=\n",
                &whole[..whole.len() / 2],
            ];
            // Every damage to one board; of the others each file is damaged once, in turn.
            let in_turn = [damages[i % damages.len()]];
            for damage in if name == "orin-nano" { &damages[..] } else { &in_turn[..] } {
                fs::write(file, damage).unwrap();
                if let Some(board) = Board::read(&Root::at(tree.path())) {
                    assert_eq!(board.lines().len(), 12);
                    serde_json::to_string(&board).unwrap();
                }
            }
            fs::write(file, whole).unwrap();
        }
    }
}

#[test]
fn a_watch_tells_what_happened_meanwhile() {
    let (tree, _) = copied("orin-nano");
    let watch = Watch::start(Root::at(tree.path())).unwrap();
    fs::write(tree.path().join("sys/class/hwmon/hwmon10/oc3_event_cnt"), "40\n").unwrap();
    fs::write(tree.path().join("sys/class/thermal/thermal_zone6/temp"), "97500\n").unwrap();
    fs::write(tree.path().join("sys/class/thermal/cooling_device4/cur_state"), "1\n").unwrap();
    fs::write(tree.path().join("sys/class/devfreq/17000000.gpu/cur_freq"), "408000000\n").unwrap();
    // The last reading is taken when it ends, so that no time need pass here.
    let record = watch.finish().unwrap();
    assert_eq!(record.power_mode.map(|mode| mode.name).as_deref(), Some("15W"));
    let events: Vec<u64> = record.over_current_events.iter().map(|counter| counter.events).collect();
    assert_eq!(events, [0, 0, 3]);
    assert_eq!((record.celsius_before, record.celsius_max), (Some(51.312), Some(97.5)));
    assert_eq!(record.throttled, ["gpu-throttle-alert"]);
    assert_eq!(record.clocks_before.gpu[0].khz, Some(306_000));
    assert_eq!(record.clocks_after.gpu[0].khz, Some(408_000));
    let (joules, watts) = (record.joules.unwrap(), 4.984 * 1.48);
    assert!((joules - record.seconds * watts).abs() < 1e-9, "{joules} J in {} s", record.seconds);
    assert_eq!(record.watts_of, ["VDD_IN"]);
}

/// A copy of a recorded tree that may be changed, and its files.
fn copied(name: &str) -> (TempDir, Vec<PathBuf>) {
    let (tree, mut files) = (tempfile::tempdir().unwrap(), Vec::new());
    collect(&recorded(name), &mut files);
    for file in &mut files {
        let to = tree.path().join(file.strip_prefix(recorded(name)).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&*file, &to).unwrap();
        *file = to;
    }
    (tree, files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
