//! What is installed: Jetson Linux and JetPack, CUDA, TensorRT.
//!
//! Found is not loadable: whether TensorRT opens is what its backend says.

use serde::Serialize;

use super::Root;

/// Versions, each none where nothing tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Software {
    /// Jetson Linux: release and revision (`36.4.7`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jetson_linux: Option<String>,
    /// Package `nvidia-jetpack`, or else the generation that Jetson Linux belongs to (`6`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jetpack: Option<String>,
    /// CUDA's toolkit or runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// TensorRT's library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensorrt: Option<String>,
}

impl Software {
    /// Reads release files and the package database.
    pub fn read(root: &Root) -> Software {
        let packages = root.text("var/lib/dpkg/status").unwrap_or_default();
        let packages = Packages::of(&packages);
        let jetson_linux = root
            .line("etc/nv_tegra_release")
            .and_then(|line| release(&line))
            .or_else(|| packages.version("nvidia-l4t-core").map(|v| upstream(v).to_owned()));
        let jetpack = packages
            .version("nvidia-jetpack")
            .map(|v| v.split('+').next().unwrap_or(v).to_owned())
            .or_else(|| generation(jetson_linux.as_deref()?).map(str::to_owned));
        let cuda = root
            .text("usr/local/cuda/version.json")
            .and_then(|text| cuda_version(&text))
            .or_else(|| packages.version_of(|name| name.starts_with("cuda-cudart-1")));
        let tensorrt = packages.version_of(|name| {
            name.strip_prefix("libnvinfer").is_some_and(|rest| rest.parse::<u32>().is_ok())
        });
        Software { jetson_linux, jetpack, cuda, tensorrt }
    }

    /// The first number of Jetson Linux's version.
    pub fn jetson_linux_major(&self) -> Option<u32> {
        self.jetson_linux.as_deref()?.split('.').next()?.parse().ok()
    }
}

/// `# R36 (release), REVISION: 4.7, GCID: …` → `36.4.7`.
fn release(line: &str) -> Option<String> {
    let major = line.trim_start_matches(['#', ' ']).strip_prefix('R')?.split([' ', ',']).next()?;
    let revision = line.split("REVISION:").nth(1)?.split(',').next()?.trim();
    let is_version = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    (is_version(major) && is_version(revision)).then(|| format!("{major}.{revision}"))
}

/// The generation of JetPack that ships a Jetson Linux. Source: NVIDIA's JetPack archive.
fn generation(jetson_linux: &str) -> Option<&'static str> {
    match jetson_linux.split('.').next()? {
        "35" => Some("5"),
        "36" => Some("6"),
        "38" | "39" => Some("7"),
        _ => None,
    }
}

/// `{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}, …}`.
fn cuda_version(text: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(json.get("cuda")?.get("version")?.as_str()?.to_owned())
}

/// A package's version without Debian's revision and epoch: `10.3.0.30-1+cuda12.5` → `10.3.0.30`.
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.split(['-', '+']).next().unwrap_or(version)
}

/// Installed packages: paragraphs of `Package:`, `Status:` and `Version:` (deb822; `dpkg-query(1)`).
struct Packages<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Packages<'a> {
    fn of(status: &'a str) -> Self {
        let paragraph = |text: &'a str| {
            let field = |key: &str| {
                let mut lines = text.lines();
                lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": ").map(str::trim))
            };
            let is_installed = field("Status")?.ends_with(" installed");
            is_installed.then_some((field("Package")?, field("Version")?))
        };
        Packages(status.split("\n\n").filter_map(paragraph).collect())
    }

    fn version(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, version)| *version)
    }

    /// The upstream version of the last package whose name passes.
    fn version_of(&self, passes: impl Fn(&str) -> bool) -> Option<String> {
        let found = self.0.iter().rev().find(|(name, _)| passes(name));
        found.map(|(_, version)| upstream(version).to_owned())
    }
}

#[cfg(test)]
#[test]
fn versions_are_read_as_they_are_written() {
    let line = "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64";
    assert_eq!(release(line).as_deref(), Some("38.2.0"));
    for damaged in ["", "R", "# R36", "# R36 (release), REVISION:", "# Rx (release), REVISION: 4.7,"] {
        assert_eq!(release(damaged), None, "{damaged}");
    }
    assert_eq!(upstream("1:10.3.0.30-1+cuda12.5"), "10.3.0.30");
    let status = "Package: libnvinfer10\nStatus: install ok installed\nVersion: 10.3.0.30-1+cuda12.5\n\n\
                  Package: libnvinfer-bin\nStatus: install ok installed\nVersion: 9-1\n\n\
                  Package: nvidia-jetpack\nStatus: deinstall ok config-files\nVersion: 6.2+b77\n";
    let packages = Packages::of(status);
    assert_eq!(packages.version("nvidia-jetpack"), None);
    assert_eq!(packages.version_of(|name| name.starts_with("libnvinfer1")).as_deref(), Some("10.3.0.30"));
}
