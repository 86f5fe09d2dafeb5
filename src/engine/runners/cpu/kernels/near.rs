//! Cache lines asked for before they are read, on x86-64 and aarch64.
//!
//! Any address may be given: nothing is read, and where nothing is mapped nothing happens.

use std::ops::Range;

use crate::engine::runners::cpu::form::LINE;

/// Cache lines that lie one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    pub address: *const u8,
    pub count: usize,
}

impl Lines {
    pub const NONE: Self = Self { address: std::ptr::null(), count: 0 };

    /// Part `at` of `parts` of so many bytes.
    pub fn part(address: *const u8, bytes: usize, at: usize, parts: usize) -> Self {
        let count = bytes.div_ceil(LINE).div_ceil(parts);
        Self { address: address.wrapping_add(at * count * LINE), count }
    }

    /// Asks for all of them in the cache of the second level.
    #[inline(always)]
    pub fn ask(self) {
        for line in 0..self.count {
            second_level(self.address.wrapping_add(line * LINE));
        }
    }

    /// The share of `some` of `all`.
    #[inline(always)]
    pub fn share(self, some: &Range<usize>, all: usize) -> Self {
        let (first, last) = (self.count * some.start / all, self.count * some.end / all);
        Self { address: self.address.wrapping_add(first * LINE), count: last - first }
    }
}

/// Asks for a line in the cache of the first level, for what is read soon.
#[inline(always)]
pub(super) fn first_level(address: *const u8) {
    ask::<1>(address);
}

/// Asks for a line in the cache of the second level, for what is read after much else has been: in
/// the first level it would take the place of what is being read.
#[inline(always)]
pub(super) fn second_level(address: *const u8) {
    ask::<2>(address);
}

/// Bytes of the cache of the second level that a core has, maybe with others, where the processor
/// tells.
pub(super) fn second_level_bytes() -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        use std::sync::LazyLock;

        // a virtual machine takes microseconds to ask
        static BYTES: LazyLock<Option<usize>> = LazyLock::new(|| {
            const CACHES: u32 = 0x8000_0006;
            let told = __cpuid(0x8000_0000).eax >= CACHES;
            let kilobytes = told.then(|| __cpuid(CACHES).ecx >> 16)?;
            (kilobytes > 0).then_some(kilobytes as usize * 1024)
        });
        *BYTES
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

#[inline(always)]
fn ask<const LEVEL: usize>(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        match LEVEL {
            1 => _mm_prefetch::<_MM_HINT_T0>(address.cast()),
            _ => _mm_prefetch::<_MM_HINT_T1>(address.cast()),
        }
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: every aarch64 has it.
    unsafe {
        std::arch::asm!(
            "prfm pldl{level}keep, [{address}]",
            level = const LEVEL,
            address = in(reg) address.addr(),
            options(nostack, nomem, preserves_flags),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the lines, from the address 64,000 on.
    fn numbers(lines: Lines) -> Range<usize> {
        let first = (lines.address.addr() - 64_000) / LINE;
        first..first + lines.count
    }

    #[test]
    fn parts_and_shares_of_lines_join() {
        let begin = std::ptr::without_provenance::<u8>(64_000);
        let parts = [0, 1, 2].map(|at| numbers(Lines::part(begin, 8 * LINE - 10, at, 3)));
        assert_eq!(parts, [0..3, 3..6, 6..9]);
        let all = Lines { address: begin, count: 22 };
        let shares = [0..8, 8..13].map(|some| numbers(all.share(&some, 13)));
        assert_eq!(shares, [0..13, 13..22]);
        assert_eq!(numbers(all.share(&(0..16), 16)), 0..22);
    }
}
