//! A block of weights times four rows, in assembly.
//!
//! The sums of four rows, two vectors of weights, one of activations and a product fill the
//! sixteen registers. The compiler, which may add integers in any order, begins all products
//! before it adds any, and so keeps half of the sums in memory. Here the order is written down.
//! What it computes is what [`nibble_sums`](super::super::tile::nibble_sums) and
//! [`byte_sums`](super::super::tile::byte_sums) compute.

use std::arch::asm;
use std::arch::x86_64::{__m256i, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_setzero_si256};

use super::Pair;
use crate::engine::runners::cpu::panel::RECORD;

/// Rows of a call.
pub(super) const ROWS: usize = 4;

// the templates say so in digits
const _: () = assert!(RECORD == 48);

/// Four activations of a row, at an offset in its record.
macro_rules! activations {
    ($row:literal, $at:literal) => {
        concat!("vbroadcastss {a}, dword ptr [{record} + ", $row, " * 48 + ", $at, "]\n")
    };
}

/// Begins a row's sums of 16 bits with nibbles times activations.
macro_rules! begin_row {
    ($row:literal, $at:literal) => {
        concat!(
            activations!($row, $at),
            concat!("vpmaddubsw {x", $row, "}, {w}, {a}\n"),
            concat!("vpmaddubsw {y", $row, "}, {v}, {a}\n"),
        )
    };
}

/// Adds nibbles times activations to a row's sums of 16 bits.
macro_rules! nibbles_row {
    ($row:literal, $at:literal) => {
        concat!(
            activations!($row, $at),
            "vpmaddubsw {p}, {w}, {a}\n",
            "vpmaddubsw {a}, {v}, {a}\n",
            concat!("vpaddw {x", $row, "}, {x", $row, "}, {p}\n"),
            concat!("vpaddw {y", $row, "}, {y", $row, "}, {a}\n"),
        )
    };
}

/// Adds bytes times activations to a row's sums: |weight| times the activation with its sign.
macro_rules! bytes_row {
    ($row:literal, $at:literal) => {
        concat!(
            activations!($row, $at),
            "vpsignb {p}, {a}, {w}\n",
            "vpsignb {a}, {a}, {v}\n",
            "vpmaddubsw {p}, {w_size}, {p}\n",
            "vpmaddubsw {a}, {v_size}, {a}\n",
            "vpmaddwd {p}, {p}, {one}\n",
            "vpmaddwd {a}, {a}, {one}\n",
            concat!("vpaddd {x", $row, "}, {x", $row, "}, {p}\n"),
            concat!("vpaddd {y", $row, "}, {y", $row, "}, {a}\n"),
        )
    };
}

/// All four rows with the activations at an offset.
macro_rules! rows {
    ($row:ident, $at:literal) => {
        concat!($row!(0, $at), $row!(1, $at), $row!(2, $at), $row!(3, $at))
    };
}

/// The low nibbles of 64 bytes of weights.
macro_rules! low {
    ($at:literal) => {
        concat!(
            concat!("vmovdqu {low}, ymmword ptr [{weights} + ", $at, "]\n"),
            concat!("vmovdqu {high}, ymmword ptr [{weights} + ", $at, " + 32]\n"),
            "vpand {w}, {low}, {mask}\n",
            "vpand {v}, {high}, {mask}\n",
        )
    };
}

/// The high nibbles of the same bytes.
macro_rules! high {
    () => {
        concat!(
            "vpsrlw {low}, {low}, 4\n",
            "vpsrlw {high}, {high}, 4\n",
            "vpand {w}, {low}, {mask}\n",
            "vpand {v}, {high}, {mask}\n",
        )
    };
}

/// 64 signed bytes of weights, and their sizes.
macro_rules! bytes {
    ($at:literal) => {
        concat!(
            concat!("vpxor {w}, {offset}, ymmword ptr [{weights} + ", $at, "]\n"),
            concat!("vpxor {v}, {offset}, ymmword ptr [{weights} + ", $at, " + 32]\n"),
            "vpabsb {w_size}, {w}\n",
            "vpabsb {v_size}, {v}\n",
        )
    };
}

/// Sums of 16 bits over a block of nibbles.
///
/// # Safety
/// This machine has AVX2; `weights` are those of a block, and `record` is the first of four.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn nibbles(weights: *const u8, record: *const u8) -> [Pair<__m256i>; ROWS] {
    let (x0, x1, x2, x3): (__m256i, __m256i, __m256i, __m256i);
    let (y0, y1, y2, y3): (__m256i, __m256i, __m256i, __m256i);
    // SAFETY: reads what the caller vouches for and writes registers only.
    unsafe {
        asm!(
            low!(0), rows!(begin_row, 0), high!(), rows!(nibbles_row, 16),
            low!(64), rows!(nibbles_row, 4), high!(), rows!(nibbles_row, 20),
            low!(128), rows!(nibbles_row, 8), high!(), rows!(nibbles_row, 24),
            low!(192), rows!(nibbles_row, 12), high!(), rows!(nibbles_row, 28),
            weights = in(reg) weights,
            record = in(reg) record,
            mask = in(ymm_reg) _mm256_set1_epi8(15),
            low = out(ymm_reg) _,
            high = out(ymm_reg) _,
            w = out(ymm_reg) _,
            v = out(ymm_reg) _,
            a = out(ymm_reg) _,
            p = out(ymm_reg) _,
            x0 = out(ymm_reg) x0, x1 = out(ymm_reg) x1, x2 = out(ymm_reg) x2, x3 = out(ymm_reg) x3,
            y0 = out(ymm_reg) y0, y1 = out(ymm_reg) y1, y2 = out(ymm_reg) y2, y3 = out(ymm_reg) y3,
            options(pure, readonly, nostack),
        );
    }
    [Pair(x0, y0), Pair(x1, y1), Pair(x2, y2), Pair(x3, y3)]
}

/// Sums of 32 bits over a block of signed bytes.
///
/// # Safety
/// As [`nibbles`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn bytes(weights: *const u8, record: *const u8) -> [Pair<__m256i>; ROWS] {
    let zero = _mm256_setzero_si256();
    let (mut x0, mut x1, mut x2, mut x3) = (zero, zero, zero, zero);
    let (mut y0, mut y1, mut y2, mut y3) = (zero, zero, zero, zero);
    // SAFETY: reads what the caller vouches for and writes registers only.
    unsafe {
        asm!(
            bytes!(0), rows!(bytes_row, 0), bytes!(64), rows!(bytes_row, 4),
            bytes!(128), rows!(bytes_row, 8), bytes!(192), rows!(bytes_row, 12),
            bytes!(256), rows!(bytes_row, 16), bytes!(320), rows!(bytes_row, 20),
            bytes!(384), rows!(bytes_row, 24), bytes!(448), rows!(bytes_row, 28),
            weights = in(reg) weights,
            record = in(reg) record,
            offset = in(ymm_reg) _mm256_set1_epi8(-128),
            one = in(ymm_reg) _mm256_set1_epi16(1),
            w = out(ymm_reg) _,
            v = out(ymm_reg) _,
            w_size = out(ymm_reg) _,
            v_size = out(ymm_reg) _,
            a = out(ymm_reg) _,
            p = out(ymm_reg) _,
            x0 = inout(ymm_reg) x0, x1 = inout(ymm_reg) x1,
            x2 = inout(ymm_reg) x2, x3 = inout(ymm_reg) x3,
            y0 = inout(ymm_reg) y0, y1 = inout(ymm_reg) y1,
            y2 = inout(ymm_reg) y2, y3 = inout(ymm_reg) y3,
            options(pure, readonly, nostack),
        );
    }
    [Pair(x0, y0), Pair(x1, y1), Pair(x2, y2), Pair(x3, y3)]
}
