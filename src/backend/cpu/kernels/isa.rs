//! Which instruction sets there are, and which one is used.

use std::fmt;

/// An instruction set that the kernels are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// The same and AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same and AVX512-VNNI.
    Avx512Vnni,
    /// The same and AVX512-BF16. With weights of bfloat16 it rounds activations to that too, so that it is never taken unasked.
    Avx512Bf16,
    /// AArch64 with Advanced SIMD.
    Neon,
    /// The same and its dot products.
    NeonDot,
}

/// Names another instruction set than the best one there is: for tests and measurements.
pub const ISA_VARIABLE: &str = "PERIHELION_ISA";

/// An instruction set was asked for that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsaError {
    /// No such name.
    #[error("{ISA_VARIABLE}: `{name}` is no instruction set; expected {}", list(&Isa::ALL))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// This machine lacks it.
    #[error("{isa}: this CPU lacks it; it has {}", list(available))]
    Unavailable {
        /// What was asked for.
        isa: Isa,
        /// What there is.
        available: Vec<Isa>,
    },
}

impl Isa {
    /// All there are, each before the better ones of its architecture.
    pub const ALL: [Isa; 8] = [
        Isa::Portable,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512,
        Isa::Avx512Vnni,
        Isa::Avx512Bf16,
        Isa::Neon,
        Isa::NeonDot,
    ];

    /// The best that this CPU has and that computes in f32, or the one that the environment variable [`ISA_VARIABLE`] names.
    ///
    /// # Errors
    /// If the variable names none, or one that this CPU lacks.
    pub fn detect() -> Result<Isa, IsaError> {
        match std::env::var(ISA_VARIABLE) {
            Ok(name) if !name.is_empty() => Isa::named(&name),
            _ => {
                let mut exact = Isa::available().into_iter().filter(|isa| !isa.rounds_activations());
                Ok(exact.next_back().expect("plain Rust is always there"))
            }
        }
    }

    /// Whether products with weights of bfloat16 are of activations that are rounded to it.
    pub fn rounds_activations(self) -> bool {
        self == Isa::Avx512Bf16
    }

    /// All that this CPU has, best last.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => Isa::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => Isa::Avx512.is_available() && is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Isa::Avx512Vnni.is_available() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => Isa::Neon.is_available() && std::arch::is_aarch64_feature_detected!("dotprod"),
            #[allow(unreachable_patterns, reason = "depends on the architecture")]
            _ => false,
        }
    }

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avx_vnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512_vnni",
            Isa::Avx512Bf16 => "avx512_bf16",
            Isa::Neon => "neon",
            Isa::NeonDot => "neon_dotprod",
        }
    }

    /// The one of that name.
    ///
    /// # Errors
    /// If there is none, or this CPU lacks it.
    pub fn named(name: &str) -> Result<Isa, IsaError> {
        let isa = Isa::ALL.into_iter().find(|isa| isa.name() == name);
        let isa = isa.ok_or_else(|| IsaError::Unknown { name: name.to_owned() })?;
        isa.checked()
    }

    /// This one, if the CPU has it.
    pub(super) fn checked(self) -> Result<Isa, IsaError> {
        if self.is_available() {
            Ok(self)
        } else {
            Err(IsaError::Unavailable { isa: self, available: Isa::available() })
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn list(all: &[Isa]) -> String {
    all.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}
