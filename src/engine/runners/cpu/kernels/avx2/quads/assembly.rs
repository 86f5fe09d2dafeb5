//! A spread block times one to four rows.
//!
//! Registers 0 to 3 hold the sums of columns 0 to 7 of each row, 4 to 7 those of columns 8 to 15,
//! 8 to 11 weights, then d and what is too much, then minima, 12 and 13 activations and products,
//! 15 ones. The compiler, which may add integers in any order, begins all products before it adds any,
//! and so keeps half of the sums in memory. Here the order is written down.

use std::arch::asm;
use std::mem::offset_of;

use super::Spread;
use crate::engine::runners::cpu::form::COLUMNS;
use crate::engine::runners::cpu::kernels::tile::Quants;
use crate::engine::runners::cpu::panel::{RECORD, SCALE};

// the templates say so in digits
const _: () = assert!(RECORD == 48 && SCALE == 32 && size_of::<[f32; COLUMNS]>() == 64);

/// Four bytes at an offset in a row's record, in all places of register 12.
macro_rules! broadcast {
    ($row:literal, $at:literal) => {
        concat!("vbroadcastss ymm12, dword ptr [{record} + ", $row, " * 48 + ", $at, "]\n")
    };
}

/// Two vectors of weights.
macro_rules! weights {
    ($first:literal, $second:literal, $at:literal) => {
        concat!(
            concat!("vmovdqa ymm", $first, ", ymmword ptr [{spread} + ", $at, "]\n"),
            concat!("vmovdqa ymm", $second, ", ymmword ptr [{spread} + ", $at, " + 32]\n"),
        )
    };
}

/// Begins a row's sums of 16 bits with nibbles times activations.
macro_rules! begin_nibbles {
    ($row:literal, $x:literal, $y:literal, $at:literal) => {
        concat!(
            broadcast!($row, $at),
            concat!("vpmaddubsw ymm", $x, ", ymm8, ymm12\n"),
            concat!("vpmaddubsw ymm", $y, ", ymm9, ymm12\n"),
        )
    };
}

/// Adds nibbles times activations to a row's sums of 16 bits: over a block 16 products of at most
/// 15 * 127 for each sum.
macro_rules! add_nibbles {
    ($row:literal, $x:literal, $y:literal, $at:literal) => {
        concat!(
            broadcast!($row, $at),
            "vpmaddubsw ymm13, ymm8, ymm12\n",
            "vpmaddubsw ymm12, ymm9, ymm12\n",
            concat!("vpaddw ymm", $x, ", ymm", $x, ", ymm13\n"),
            concat!("vpaddw ymm", $y, ", ymm", $y, ", ymm12\n"),
        )
    };
}

/// Adds neighbouring sums of 16 bits.
macro_rules! end_nibbles {
    ($row:literal, $x:literal, $y:literal) => {
        concat!(
            concat!("vpmaddwd ymm", $x, ", ymm", $x, ", ymmword ptr [{spread} + {ones}]\n"),
            concat!("vpmaddwd ymm", $y, ", ymm", $y, ", ymmword ptr [{spread} + {ones}]\n"),
        )
    };
}

/// Bytes times activations, in registers 13 and 12: |weight| times the activation with its sign,
/// at most 2 * 128 * 127, which fits in 16 bits until it is widened.
macro_rules! byte_products {
    ($row:literal, $at:literal) => {
        concat!(
            broadcast!($row, $at),
            "vpsignb ymm13, ymm12, ymm8\n",
            "vpsignb ymm12, ymm12, ymm9\n",
            "vpmaddubsw ymm13, ymm10, ymm13\n",
            "vpmaddubsw ymm12, ymm11, ymm12\n",
        )
    };
}

/// Begins a row's sums with bytes times activations.
macro_rules! begin_bytes {
    ($row:literal, $x:literal, $y:literal, $at:literal) => {
        concat!(
            byte_products!($row, $at),
            concat!("vpmaddwd ymm", $x, ", ymm13, ymm15\n"),
            concat!("vpmaddwd ymm", $y, ", ymm12, ymm15\n"),
        )
    };
}

/// Adds bytes times activations to a row's sums.
macro_rules! add_bytes {
    ($row:literal, $x:literal, $y:literal, $at:literal) => {
        concat!(
            byte_products!($row, $at),
            "vpmaddwd ymm13, ymm13, ymm15\n",
            "vpmaddwd ymm12, ymm12, ymm15\n",
            concat!("vpaddd ymm", $x, ", ymm", $x, ", ymm13\n"),
            concat!("vpaddd ymm", $y, ", ymm", $y, ", ymm12\n"),
        )
    };
}

/// Sums times d, without what is too much.
macro_rules! scale_sums {
    ($row:literal, $x:literal, $y:literal) => {
        concat!(
            concat!("vpaddd ymm", $x, ", ymm", $x, ", ymmword ptr [{spread} + {begin}]\n"),
            concat!("vpaddd ymm", $y, ", ymm", $y, ", ymmword ptr [{spread} + {begin}]\n"),
            concat!("vfmadd213ps ymm", $x, ", ymm8, ymm10\n"),
            concat!("vfmadd213ps ymm", $y, ", ymm9, ymm11\n"),
        )
    };
}

/// Times the activations' scale, and the totals added.
macro_rules! add_totals {
    ($row:literal, $x:literal, $y:literal, $at:literal) => {
        concat!(
            broadcast!($row, $at),
            concat!("vfmadd213ps ymm", $x, ", ymm12, ymmword ptr [{totals} + ", $row, " * 64]\n"),
            concat!(
                "vfmadd213ps ymm",
                $y,
                ", ymm12, ymmword ptr [{totals} + ",
                $row,
                " * 64 + 32]\n"
            ),
        )
    };
}

/// The sum of the activations times m added.
macro_rules! add_min {
    ($row:literal, $x:literal, $y:literal, $at:literal) => {
        concat!(
            broadcast!($row, $at),
            concat!("vfmadd231ps ymm", $x, ", ymm12, ymm10\n"),
            concat!("vfmadd231ps ymm", $y, ", ymm12, ymm11\n"),
        )
    };
}

/// A row's totals put back.
macro_rules! store_totals {
    ($row:literal, $x:literal, $y:literal) => {
        concat!(
            concat!("vmovaps ymmword ptr [{totals} + ", $row, " * 64], ymm", $x, "\n"),
            concat!("vmovaps ymmword ptr [{totals} + ", $row, " * 64 + 32], ymm", $y, "\n"),
        )
    };
}

/// A template for each of some rows.
macro_rules! rows {
    (1, $row:ident $(, $at:literal)?) => {
        $row!(0, 0, 4 $(, $at)?)
    };
    (2, $row:ident $(, $at:literal)?) => {
        concat!(rows!(1, $row $(, $at)?), $row!(1, 1, 5 $(, $at)?))
    };
    (3, $row:ident $(, $at:literal)?) => {
        concat!(rows!(2, $row $(, $at)?), $row!(2, 2, 6 $(, $at)?))
    };
    (4, $row:ident $(, $at:literal)?) => {
        concat!(rows!(3, $row $(, $at)?), $row!(3, 3, 7 $(, $at)?))
    };
}

/// Rows times the nibbles at an offset.
macro_rules! nibbles {
    ($rows:tt, $row:ident, $weights:literal, $at:literal) => {
        concat!(weights!(8, 9, $weights), rows!($rows, $row, $at))
    };
}

/// The sums of nibbles.
macro_rules! nibble_sums {
    ($rows:tt) => {
        concat!(
            nibbles!($rows, begin_nibbles, 0, 0),
            nibbles!($rows, add_nibbles, 64, 16),
            nibbles!($rows, add_nibbles, 128, 4),
            nibbles!($rows, add_nibbles, 192, 20),
            nibbles!($rows, add_nibbles, 256, 8),
            nibbles!($rows, add_nibbles, 320, 24),
            nibbles!($rows, add_nibbles, 384, 12),
            nibbles!($rows, add_nibbles, 448, 28),
            rows!($rows, end_nibbles),
        )
    };
}

/// Rows times the bytes at an offset.
macro_rules! bytes {
    ($rows:tt, $row:ident, $weights:literal, $sizes:literal, $at:literal) => {
        concat!(weights!(8, 9, $weights), weights!(10, 11, $sizes), rows!($rows, $row, $at))
    };
}

/// The sums of bytes.
macro_rules! byte_sums {
    ($rows:tt) => {
        concat!(
            "vmovdqa ymm15, ymmword ptr [{spread} + {ones}]\n",
            bytes!($rows, begin_bytes, 0, 64, 0),
            bytes!($rows, add_bytes, 128, 192, 4),
            bytes!($rows, add_bytes, 256, 320, 8),
            bytes!($rows, add_bytes, 384, 448, 12),
            bytes!($rows, add_bytes, 512, 576, 16),
            bytes!($rows, add_bytes, 640, 704, 20),
            bytes!($rows, add_bytes, 768, 832, 24),
            bytes!($rows, add_bytes, 896, 960, 28),
        )
    };
}

/// Sums times d and the activations' scales, added to the totals.
macro_rules! totals {
    ($rows:tt) => {
        concat!(
            weights!(8, 9, "{d}"),
            weights!(10, 11, "{too_much}"),
            rows!($rows, scale_sums),
            rows!($rows, add_totals, 32),
        )
    };
}

/// Minima times the sums of activations, added too.
macro_rules! minima {
    ($rows:tt) => {
        concat!(weights!(10, 11, "{m}"), rows!($rows, add_min, 36))
    };
}

/// The totals put back.
macro_rules! end {
    ($rows:tt) => {
        rows!($rows, store_totals)
    };
}

/// A kernel of these templates, with the fields of [`Spread`] that they name.
macro_rules! kernel {
    (($record:ident, $spread:ident, $totals:ident), [$($template:expr),*], [$($field:ident),*]) => {
        asm!(
            $($template),*,
            record = in(reg) $record,
            spread = in(reg) $spread,
            totals = in(reg) $totals,
            $($field = const offset_of!(Spread, $field),)*
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
            out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm15") _,
            options(nostack),
        )
    };
}

/// The kernels for a number of rows.
macro_rules! kernels {
    ($name:ident, $rows:tt) => {
        pub(super) mod $name {
            use super::*;

            /// Adds a block to the totals of these rows.
            ///
            /// # Safety
            /// This machine has AVX2 and FMA; `record` and `totals` are the first ones of as many
            /// rows, and `spread` is a block of this form.
            #[inline]
            #[target_feature(enable = "avx2,fma")]
            pub(in super::super) unsafe fn add<Q: Quants>(
                record: *const u8,
                spread: *const Spread,
                totals: *mut [f32; COLUMNS],
            ) {
                match (Q::NIBBLES, Q::MIN) {
                    (true, _) => kernel!(
                        (record, spread, totals),
                        [nibble_sums!($rows), totals!($rows), minima!($rows), end!($rows)],
                        [d, too_much, m, ones, begin]
                    ),
                    (false, true) => kernel!(
                        (record, spread, totals),
                        [byte_sums!($rows), totals!($rows), minima!($rows), end!($rows)],
                        [d, too_much, m, ones, begin]
                    ),
                    (false, false) => kernel!(
                        (record, spread, totals),
                        [byte_sums!($rows), totals!($rows), end!($rows)],
                        [d, too_much, ones, begin]
                    ),
                }
            }
        }
    };
}

kernels!(one, 1);
kernels!(two, 2);
kernels!(three, 3);
kernels!(four, 4);
