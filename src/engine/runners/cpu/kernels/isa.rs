//! The instruction sets and which of them this machine has.

use super::scalar;
use super::table::Kernels;

/// An instruction set that kernels exist for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 with VNNI and BF16, and AMX for bytes and bf16.
    Amx,
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
    /// Plain Rust that computes what AMX does.
    ScalarAmx,
}

impl Isa {
    /// All, in the order in which they are preferred.
    pub const ALL: [Self; 8] = [
        Self::Amx,
        Self::Avx512,
        Self::AvxVnni,
        Self::Avx2,
        Self::NeonDot,
        Self::Neon,
        Self::Scalar,
        Self::ScalarAmx,
    ];

    /// Those of this machine besides plain Rust, in the order in which they are preferred.
    pub fn accelerated() -> impl Iterator<Item = Self> {
        let plain = [Self::Scalar, Self::ScalarAmx];
        Self::ALL.into_iter().filter(move |isa| !plain.contains(isa) && isa.is_available())
    }

    /// The preferred one of this machine.
    pub fn best() -> Self {
        Self::accelerated().next().unwrap_or(Self::Scalar)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        self.table().is_some()
    }

    /// Whether it computes in bf16 too: prompts, and weights in bf16.
    pub fn has_bf16(self) -> bool {
        self.table().is_some_and(|table| table.bf16.is_some())
    }

    /// Its name on the screen and in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::NeonDot => "neon-dotprod",
            Self::Neon => "neon",
            Self::Scalar => "scalar",
            Self::ScalarAmx => "scalar-amx",
        }
    }

    /// Its kernels, where this machine has it.
    pub(super) fn table(self) -> Option<&'static Kernels> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx => super::amx::is_available().then_some(&super::amx::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => super::avx512::is_available().then_some(&super::avx512::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => super::avx_vnni::is_available().then_some(&super::avx_vnni::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => super::avx2::is_available().then_some(&super::avx2::KERNELS),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::NeonDot => super::dotprod::is_available().then_some(&super::dotprod::KERNELS),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon => Some(&super::neon::KERNELS),
            Self::Scalar => Some(&scalar::KERNELS),
            Self::ScalarAmx => Some(&scalar::LIKE_AMX),
            #[allow(unreachable_patterns, reason = "the sets of other architectures")]
            Self::Amx | Self::Avx512 | Self::AvxVnni | Self::Avx2 | Self::NeonDot | Self::Neon => {
                None
            }
        }
    }
}
