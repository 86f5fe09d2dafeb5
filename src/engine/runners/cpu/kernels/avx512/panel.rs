//! The 16 rows of a whole panel.
//!
//! A block of weights is spread once for all of them, which with kernels of eight rows is done
//! twice. Their totals take half of the registers and the weights eight, so four rows at a time go
//! through a block. What is computed is what [`tile::quantised`] computes, in assembly: the compiler
//! begins the sums of more rows than it has registers for.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of TileCall")]

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Avx512, spread_nibbles};
use crate::engine::runners::cpu::kernels::simd::{LANES, Products, Simd};
use crate::engine::runners::cpu::kernels::tile::{self, Ahead, Quants, Scales, TileCall};
use crate::engine::runners::cpu::panel::{OFFSET, PANEL_ROWS, RECORD, SCALE};

// the templates say so in digits; 36 is where the scale times the sum of the activations is
const _: () = assert!(RECORD == 48 && SCALE == 32 && OFFSET == 40);
const _: () = assert!(PANEL_ROWS.is_multiple_of(FOUR));

/// Rows that go through a block together.
const FOUR: usize = 4;

/// A block of weights as all rows are multiplied with it.
struct Block {
    weights: [__m512i; 8],
    d: __m512,
    too_much: __m512,
    m: __m512,
    /// Where sums of nibbles begin.
    begin: __m512i,
}

/// Computes the rows of a panel, of a quantised tile without halves.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn quantised<Q: Quants>(call: &TileCall) {
    const { assert!(!Q::HALVES && (Q::MIN || !Q::NIBBLES), "there is no such kernel") };
    let mut totals = [[Avx512::zero(); FOUR]; PANEL_ROWS / FOUR];
    let mut weights = call.weights;
    let mut scales = Scales::new::<Q>(call);
    let mut record = call.input;
    let mut ahead = Ahead::new(call);
    // rows of results that are far from each other
    let far = if call.out_stride == LANES { 0 } else { PANEL_ROWS };
    for block in 0..call.blocks {
        ahead.step();
        if block < far {
            ask_for_result(call, block);
        }
        let [d, m] = scales.next::<Avx512, Q>();
        let too_much = tile::too_much::<Avx512>(d);
        let begin = Avx512::begin_nibbles();
        let block = Block { weights: spread::<Q>(weights), d, too_much, m, begin };
        for four in &mut totals {
            add_four::<Q>(four, &block, record);
            record = record.add(FOUR * RECORD);
        }
        weights = weights.add(Q::FORM.block_bytes());
    }
    for (row, total) in totals.as_flattened().iter().enumerate() {
        tile::finish::<Avx512>(call, row, *total);
    }
}

/// Asks for the line that a row's results are put into: it was another core's before.
#[inline(always)]
unsafe fn ask_for_result(call: &TileCall, row: usize) {
    let place = call.out.wrapping_add(row * call.out_stride);
    _mm_prefetch::<_MM_HINT_ET0>(place.cast());
}

/// A block's weights, a byte each.
#[inline(always)]
unsafe fn spread<Q: Quants>(from: *const u8) -> [__m512i; 8] {
    if Q::NIBBLES {
        return spread_nibbles(from);
    }
    let mut weights = [_mm512_setzero_si512(); 8];
    for (v, weights) in weights.iter_mut().enumerate() {
        *weights = Avx512::load_weights(from.add(64 * v));
    }
    weights
}

/// Something done for each of four rows.
macro_rules! rows {
    ($line:ident $(, $argument:literal)*) => {
        concat!(
            $line!(0 $(, $argument)*),
            $line!(1 $(, $argument)*),
            $line!(2 $(, $argument)*),
            $line!(3 $(, $argument)*),
        )
    };
}

/// A row's sums begin with four bytes, which are at an offset in its record.
macro_rules! begin_bytes {
    ($row:literal) => {
        concat!("vpbroadcastd {s", $row, "}, dword ptr [{record} + ", $row, " * 48 + 40]\n")
    };
}

/// The sums of all rows begin alike.
macro_rules! begin_nibbles {
    ($row:literal) => {
        concat!("vmovdqa64 {s", $row, "}, {begin}\n")
    };
}

/// Adds four activations of a row times as many weights of each column.
macro_rules! dot {
    ($row:literal, $weights:literal, $at:literal) => {
        concat!(
            concat!("vpdpbusd {s", $row, "}, {w", $weights, "}, "),
            concat!("dword ptr [{record} + ", $row, " * 48 + ", $at, "]{{1to16}}\n"),
        )
    };
}

/// The products of a block.
macro_rules! products {
    () => {
        concat!(
            rows!(dot, 0, 0),
            rows!(dot, 1, 4),
            rows!(dot, 2, 8),
            rows!(dot, 3, 12),
            rows!(dot, 4, 16),
            rows!(dot, 5, 20),
            rows!(dot, 6, 24),
            rows!(dot, 7, 28),
        )
    };
}

/// A row's sums times d, without what is too much.
macro_rules! scale_sums {
    ($row:literal) => {
        concat!("vfmadd213ps {s", $row, "}, {d}, {too_much}\n")
    };
}

/// Adds them, times the row's scale, to its totals.
macro_rules! add_scaled {
    ($row:literal) => {
        concat!(
            concat!("vfmadd231ps {t", $row, "}, {s", $row, "}, "),
            concat!("dword ptr [{record} + ", $row, " * 48 + 32]{{1to16}}\n"),
        )
    };
}

/// Adds minima times the sum of the row's activations.
macro_rules! add_minima {
    ($row:literal) => {
        concat!(
            concat!("vfmadd231ps {t", $row, "}, {m}, "),
            concat!("dword ptr [{record} + ", $row, " * 48 + 36]{{1to16}}\n"),
        )
    };
}

/// The assembly of four rows, which begins and ends as said.
macro_rules! four_rows {
    ($totals:ident, $block:ident, $record:ident, $begin:expr, $end:expr $(, $($more:tt)*)?) => {{
        let [t0, t1, t2, t3] = $totals;
        // with `_` instead, they would be taken for registers of another size
        let (_s0, _s1, _s2, _s3): (__m512, __m512, __m512, __m512);
        let [w0, w1, w2, w3, w4, w5, w6, w7] = $block.weights;
        asm!(
            $begin,
            products!(),
            rows!(scale_sums),
            rows!(add_scaled),
            $end,
            t0 = inout(zmm_reg) *t0, t1 = inout(zmm_reg) *t1,
            t2 = inout(zmm_reg) *t2, t3 = inout(zmm_reg) *t3,
            s0 = out(zmm_reg) _s0, s1 = out(zmm_reg) _s1,
            s2 = out(zmm_reg) _s2, s3 = out(zmm_reg) _s3,
            w0 = in(zmm_reg) w0, w1 = in(zmm_reg) w1, w2 = in(zmm_reg) w2, w3 = in(zmm_reg) w3,
            w4 = in(zmm_reg) w4, w5 = in(zmm_reg) w5, w6 = in(zmm_reg) w6, w7 = in(zmm_reg) w7,
            d = in(zmm_reg) $block.d,
            too_much = in(zmm_reg) $block.too_much,
            record = in(reg) $record,
            $($($more)*,)?
            options(pure, readonly, nostack),
        );
    }};
}

/// Adds a block's products with four rows to their totals.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn add_four<Q: Quants>(totals: &mut [__m512; FOUR], block: &Block, record: *const u8) {
    match (Q::NIBBLES, Q::MIN) {
        (true, _) => four_rows!(
            totals, block, record, rows!(begin_nibbles), rows!(add_minima),
            begin = in(zmm_reg) block.begin, m = in(zmm_reg) block.m
        ),
        (false, true) => four_rows!(
            totals, block, record, rows!(begin_bytes), rows!(add_minima),
            m = in(zmm_reg) block.m
        ),
        (false, false) => four_rows!(totals, block, record, rows!(begin_bytes), ""),
    }
}
