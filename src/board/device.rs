//! What the devices that engines are built for can do at most: the figures of their data sheets, each with its source.

use serde::Serialize;

/// A figure, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its value; the field that holds it names the unit.
    pub value: f64,
    /// Where it stands, or how it follows.
    pub source: &'static str,
}

/// How many operations of a second, where numbers of one type are multiplied on the tensor cores and no zeros are skipped. A product
/// and its sum are two operations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Peak {
    /// As formats are named.
    pub format: &'static str,
    /// Operations a second.
    pub per_second: Figure,
}

/// A device, in its fastest power mode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Device {
    /// As options and recipes name it.
    pub name: &'static str,
    /// As NVIDIA names it.
    pub title: &'static str,
    /// The GPU's architecture, as CUDA names it.
    pub gpu_architecture: &'static str,
    /// Memory, which processor and GPU share, before firmware and system take theirs.
    pub memory_bytes: Figure,
    /// Bytes a second between memory and chip.
    pub bandwidth_bytes_per_second: Figure,
    /// What the GPU multiplies in. What is not listed, it does not have.
    pub peaks: &'static [Peak],
}

/// What the elements of matrices may be stored as on a device, and what products are then computed in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Storage {
    /// As options and recipes name it.
    pub name: &'static str,
    /// Bits of an element, with its share of a scale.
    pub bits: f64,
    /// The format whose peak bounds the products: of weights alone in few bits, products are in `f16`.
    pub products: &'static str,
}

/// All of them, from the finest to the coarsest. INT4 has a scale of 16 bits for each 128, NVFP4 one of 8 bits for each 16.
pub const STORAGES: &[Storage] = &[
    Storage { name: "f32", bits: 32.0, products: "f32" },
    Storage { name: "f16", bits: 16.0, products: "f16" },
    Storage { name: "bf16", bits: 16.0, products: "f16" },
    Storage { name: "int8", bits: 8.0, products: "int8" },
    Storage { name: "fp8", bits: 8.0, products: "fp8" },
    Storage { name: "nvfp4", bits: 4.5, products: "nvfp4" },
    Storage { name: "int4", bits: 4.125, products: "f16" },
];

impl Storage {
    /// The storage of that name.
    pub fn named(name: &str) -> Option<&'static Storage> {
        STORAGES.iter().find(|storage| storage.name == name)
    }

    /// The names of all of them, for messages.
    pub fn names() -> String {
        STORAGES.iter().map(|storage| storage.name).collect::<Vec<_>>().join(", ")
    }

    /// Bytes of so many elements.
    pub fn bytes(&self, elements: u64) -> f64 {
        elements as f64 * self.bits / 8.0
    }
}

const GIB: f64 = (1_u64 << 30) as f64;

const fn peak(format: &'static str, tera: f64, source: &'static str) -> Peak {
    Peak { format, per_second: Figure { value: tera * 1e12, source } }
}

/// The devices.
pub const DEVICES: &[Device] = &[
    Device {
        name: "orin-nano",
        title: "Jetson Orin Nano 8 GB (MAXN_SUPER)",
        gpu_architecture: "sm_87",
        memory_bytes: Figure { value: 8.0 * GIB, source: "NVIDIA Jetson Orin Nano Super data sheet" },
        bandwidth_bytes_per_second: Figure {
            value: 102e9,
            source: "NVIDIA Jetson Orin Nano Super data sheet: 102 GB/s",
        },
        peaks: &[
            peak("f16", 16.7, "half of int8, as 32 tensor cores at 1020 MHz give"),
            peak("int8", 33.5, "half of the data sheet's 67 sparse TOPS"),
        ],
    },
    Device {
        name: "orin-nx",
        title: "Jetson Orin NX 16 GB (MAXN_SUPER)",
        gpu_architecture: "sm_87",
        memory_bytes: Figure { value: 16.0 * GIB, source: "NVIDIA Jetson Orin NX series data sheet" },
        bandwidth_bytes_per_second: Figure {
            value: 102.4e9,
            source: "NVIDIA Jetson Orin NX series data sheet: 102.4 GB/s",
        },
        peaks: &[
            peak("f16", 19.2, "half of int8, as 32 tensor cores at 1173 MHz give"),
            peak(
                "int8",
                38.4,
                "32 tensor cores of 1024 operations a cycle at 1173 MHz; the DLA's are not counted",
            ),
        ],
    },
    Device {
        name: "agx-orin",
        title: "Jetson AGX Orin 64 GB (MAXN)",
        gpu_architecture: "sm_87",
        memory_bytes: Figure { value: 64.0 * GIB, source: "NVIDIA Jetson AGX Orin series data sheet" },
        bandwidth_bytes_per_second: Figure {
            value: 204.8e9,
            source: "NVIDIA Jetson AGX Orin series data sheet: 204.8 GB/s",
        },
        peaks: &[
            peak("f16", 42.5, "half of int8, as 64 tensor cores at 1300 MHz give"),
            peak("int8", 85.0, "half of the 170 sparse TOPS that NVIDIA's technical brief gives the GPU"),
        ],
    },
    Device {
        name: "thor",
        title: "Jetson AGX Thor (T5000, MAXN)",
        gpu_architecture: "sm_110",
        memory_bytes: Figure { value: 128.0 * GIB, source: "NVIDIA Jetson Thor series data sheet" },
        bandwidth_bytes_per_second: Figure {
            value: 273e9,
            source: "NVIDIA Jetson Thor series data sheet: 273 GB/s",
        },
        peaks: &[
            peak("f16", 258.0, "half of fp8, as in other chips of this generation; not in the data sheet"),
            peak("fp8", 517.0, "NVIDIA Jetson Thor series data sheet, dense"),
            peak("nvfp4", 1035.0, "half of the data sheet's 2070 sparse FP4 TFLOPS"),
        ],
    },
];

impl Device {
    /// The device of that name.
    pub fn named(name: &str) -> Option<&'static Device> {
        DEVICES.iter().find(|device| device.name == name)
    }

    /// The names of all devices, for messages.
    pub fn names() -> String {
        DEVICES.iter().map(|device| device.name).collect::<Vec<_>>().join(", ")
    }

    /// Operations a second with matrices that are stored so; none if it has no such products. (f32 runs beside the tensor cores.)
    pub fn peak(&self, storage: &Storage) -> Option<Figure> {
        self.peaks.iter().find(|peak| peak.format == storage.products).map(|peak| peak.per_second)
    }
}

#[cfg(test)]
#[test]
fn figures_agree_with_each_other() {
    for device in DEVICES {
        assert_eq!(Device::named(device.name), Some(device));
        // Each step down in bits doubles the peak.
        for pair in device.peaks.windows(2) {
            let ratio = pair[1].per_second.value / pair[0].per_second.value;
            assert!((1.95..2.05).contains(&ratio), "{}: {ratio}", device.name);
        }
    }
    assert_eq!(Device::named("orin"), None);
}
