//! The instruction sets and which of them this machine has.

use super::scalar;
use super::table::Kernels;

/// An instruction set that kernels exist for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 with VNNI.
    Avx512,
    /// AVX2 with FMA, F16C and AVX-VNNI.
    AvxVnni,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// NEON with dot products.
    NeonDot,
    /// NEON.
    Neon,
    /// Plain Rust.
    Scalar,
}

impl Isa {
    /// All, the fastest first.
    pub const ALL: [Self; 6] =
        [Self::Avx512, Self::AvxVnni, Self::Avx2, Self::NeonDot, Self::Neon, Self::Scalar];

    /// The fastest one of this machine.
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Scalar)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        self.table().is_some()
    }

    /// Its name on the screen and in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::NeonDot => "neon-dotprod",
            Self::Neon => "neon",
            Self::Scalar => "scalar",
        }
    }

    /// Its kernels, where this machine has it.
    pub(super) fn table(self) -> Option<&'static Kernels> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => super::avx512::is_available().then_some(&super::avx512::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => super::avx_vnni::is_available().then_some(&super::avx_vnni::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => super::avx2::is_available().then_some(&super::avx2::KERNELS),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => super::dotprod::is_available().then_some(&super::dotprod::KERNELS),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(&super::neon::KERNELS),
            Self::Scalar => Some(&scalar::KERNELS),
            #[allow(unreachable_patterns, reason = "the sets of other architectures")]
            Self::Avx512 | Self::AvxVnni | Self::Avx2 | Self::NeonDot | Self::Neon => None,
        }
    }
}
