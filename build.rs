//! Compiles the C++ between TensorRT's classes and Rust, with feature `tensorrt` only.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "tensorrt")]
    shim::compile();
}

#[cfg(feature = "tensorrt")]
mod shim {
    use std::env;
    use std::path::{Path, PathBuf};

    const FOLDER: &str = "src/backend/tensorrt/shim";
    const FILES: [&str; 4] = ["shim.cc", "layers.cc", "read.cc", "runtime.cc"];
    /// Names the folder of `NvInfer.h`.
    const HEADERS: &str = "TENSORRT_INCLUDE_DIR";

    pub(crate) fn compile() {
        println!("cargo::rerun-if-changed={FOLDER}");
        for name in [HEADERS, "CUDA_HOME"] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .files(FILES.map(|file| format!("{FOLDER}/{file}")))
            .warnings(true)
            .extra_warnings(true);
        // As the system's, so that what they warn of is not counted as ours.
        for folder in [headers(), cuda_headers()] {
            build.flag("-isystem").flag(folder);
        }
        build.compile("perihelion_tensorrt");
    }

    /// Where TensorRT's headers are.
    fn headers() -> PathBuf {
        let places = match env::var_os(HEADERS) {
            Some(place) => vec![PathBuf::from(place)],
            None => {
                let target = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
                vec![format!("/usr/include/{target}-linux-gnu").into(), "/usr/include".into()]
            }
        };
        let found = places.iter().find(|place| place.join("NvInfer.h").is_file());
        found.cloned().unwrap_or_else(|| {
            panic!(
                "feature `tensorrt` needs TensorRT's headers: no NvInfer.h in {places:?}; install libnvinfer-dev, or name the folder \
                 in {HEADERS}"
            )
        })
    }

    /// Where CUDA's are, or two names of them.
    fn cuda_headers() -> PathBuf {
        let home = env::var_os("CUDA_HOME").unwrap_or_else(|| "/usr/local/cuda".into());
        let found = Path::new(&home).join("include");
        if found.join("cuda_runtime_api.h").is_file() {
            found
        } else {
            Path::new(FOLDER).join("without_cuda")
        }
    }
}
