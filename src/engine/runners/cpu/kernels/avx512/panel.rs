//! The 16 rows of a whole panel.
//!
//! A block of weights is spread once for all of them, which with kernels of eight rows is done
//! twice. What is computed is what [`tile::quantised`] computes, in assembly: the compiler begins the
//! sums of more rows than it has registers for.
//!
//! A row's products with a block wait for one another, eight times as long as one takes. So all rows go
//! through a block side by side, and what the processor sees a few instructions ahead has enough to do:
//! four rows at a time filled a core of its own as well, and were a fifth slower on one whose other half
//! was at work, which leaves half of the window. The sums take half of the registers, and the totals of
//! the last rows are in memory.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of TileCall")]

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::Avx512;
use crate::engine::runners::cpu::kernels::many::{BYTES, SPREAD};
use crate::engine::runners::cpu::kernels::simd::{BEGIN, LANES, Simd};
use crate::engine::runners::cpu::kernels::tile::{self, Ahead, Quants, Scales, TileCall};
use crate::engine::runners::cpu::panel::{OFFSET, PANEL_ROWS, RECORD, RECORD_STRIDE, SCALE};

// the templates say so in digits; 36 is where the scale times the sum of the activations is
const _: () = assert!(RECORD == 48 && SCALE == 32 && OFFSET == 40);
const _: () = assert!(PANEL_ROWS == 16 && KEPT == 12);

/// Rows whose totals are kept in registers.
const KEPT: usize = 12;

/// Totals of the other rows, in memory.
type Stored = [__m512; PANEL_ROWS - KEPT];

/// What a block's sums are multiplied with, for the assembly to read: d, what is
/// [too much](tile::too_much), and m.
#[repr(C, align(64))]
struct Factors([__m512; 3]);

impl Factors {
    #[inline(always)]
    unsafe fn write(to: *mut Self, [d, m]: [__m512; 2]) {
        let to = to.cast();
        Avx512::store(to, d);
        Avx512::store(to.add(LANES), tile::too_much::<Avx512>(d));
        Avx512::store(to.add(2 * LANES), m);
    }
}

/// Where a block of a call is.
#[derive(Clone, Copy)]
struct Block {
    weights: *const u8,
    /// What was or is made of nibbles.
    spread: *mut u8,
    factors: *const Factors,
    record: *const u8,
}

/// Bytes of a block that was spread.
const SPREAD_BLOCK: usize = BYTES + size_of::<Factors>();
const _: () = assert!(SPREAD_BLOCK <= SPREAD);

/// What the assembly reads to begin with: where sums of nibbles begin, and a mask of low nibbles.
static CONSTANTS: [i32; 2] = [BEGIN, 0x0f0f_0f0f];

type Eight = (__m512i, __m512i, __m512i, __m512i, __m512i, __m512i, __m512i, __m512i);

/// Computes the rows of a panel, of a tile of bytes without halves.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn bytes<Q: Quants>(call: &TileCall) {
    const { assert!(!Q::NIBBLES, "nibbles are spread") };
    compute::<Q, false>(call, std::ptr::null_mut());
}

/// Computes the rows of a panel, of a tile of nibbles, and spreads them meanwhile: makes bytes of a block
/// and puts its factors after them.
///
/// # Safety
/// As [`SpreadFn`](tile::SpreadFn) says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn spread<Q: Quants>(call: &TileCall, to: *mut u8) {
    const { assert!(Q::NIBBLES, "bytes are not spread") };
    compute::<Q, false>(call, to);
}

/// Computes the rows of a panel with what [`spread`] made of a tile.
///
/// # Safety
/// As [`ManyKernel`](super::super::many::ManyKernel) says, for all rows of a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn spread_before(call: &TileCall, spread: *const u8, _: usize) {
    compute::<tile::U4, true>(call, spread.cast_mut());
}

/// The rows of a panel. Nibbles are spread, or were spread before.
#[inline(always)]
unsafe fn compute<Q: Quants, const BEFORE: bool>(call: &TileCall, mut spread: *mut u8) {
    const { assert!(!Q::HALVES && (Q::MIN || !Q::NIBBLES), "there is no such kernel") };
    // in two variables: what the assembly has an address of is written before it
    let mut kept = [Avx512::zero(); KEPT];
    let mut stored: Stored = [Avx512::zero(); PANEL_ROWS - KEPT];
    let mut weights = call.weights;
    let mut scales = Scales::new::<Q>(call);
    let mut record = call.input;
    let mut ahead = Ahead::new(call);
    let mut own = MaybeUninit::<Factors>::uninit();
    // rows of results that are far from each other
    let far = if call.out_stride == LANES { 0 } else { PANEL_ROWS };
    for block in 0..call.blocks {
        ahead.step();
        if block < far {
            ask_for_result(call, block);
        }
        let spread_factors = spread.wrapping_add(BYTES).cast();
        let factors = if Q::NIBBLES { spread_factors } else { own.as_mut_ptr() };
        if !BEFORE {
            Factors::write(factors, scales.next::<Avx512, Q>());
        }
        let block = Block { weights, spread, factors, record };
        add_block::<Q, BEFORE>(&mut kept, &mut stored, block);
        weights = weights.wrapping_add(Q::FORM.block_bytes());
        spread = spread.wrapping_add(SPREAD_BLOCK);
        record = record.add(RECORD_STRIDE);
    }
    for (row, total) in kept.iter().enumerate() {
        tile::finish::<Avx512>(call, row, *total);
    }
    for (row, total) in stored.iter().enumerate() {
        tile::finish::<Avx512>(call, KEPT + row, *total);
    }
}

/// Asks for the line that a row's results are put into: it was another core's before.
#[inline(always)]
unsafe fn ask_for_result(call: &TileCall, row: usize) {
    let place = call.out.wrapping_add(row * call.out_stride);
    _mm_prefetch::<_MM_HINT_ET0>(place.cast());
}

/// Something done for each of the rows whose totals are kept.
macro_rules! kept {
    ($line:ident $(, $argument:literal)*) => {
        concat!(
            $line!(0 $(, $argument)*), $line!(1 $(, $argument)*), $line!(2 $(, $argument)*),
            $line!(3 $(, $argument)*), $line!(4 $(, $argument)*), $line!(5 $(, $argument)*),
            $line!(6 $(, $argument)*), $line!(7 $(, $argument)*), $line!(8 $(, $argument)*),
            $line!(9 $(, $argument)*), $line!(10 $(, $argument)*), $line!(11 $(, $argument)*),
        )
    };
}

/// Something done for each of the last rows.
macro_rules! last {
    ($line:ident $(, $argument:literal)*) => {
        concat!(
            $line!(12 $(, $argument)*), $line!(13 $(, $argument)*), $line!(14 $(, $argument)*),
            $line!(15 $(, $argument)*),
        )
    };
}

/// Something done for each of the rows.
macro_rules! rows {
    ($($line:tt)*) => {
        concat!(kept!($($line)*), last!($($line)*))
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
        concat!("vmovdqa64 {s", $row, "}, {w0}\n")
    };
}

/// Adds four activations of a row times as many weights of each column.
macro_rules! dot {
    ($row:literal, $weights:literal, $at:literal) => {
        concat!(
            concat!("vpdpbusd {s", $row, "}, {", $weights, "}, "),
            concat!("dword ptr [{record} + ", $row, " * 48 + ", $at, "]{{1to16}}\n"),
        )
    };
}

/// Four bytes of each column, times four activations of all rows.
macro_rules! bytes {
    ($weights:literal, $at:literal) => {
        concat!(
            concat!("vmovdqu64 {", $weights, "}, zmmword ptr [{weights} + 16 * ", $at, "]\n"),
            rows!(dot, $weights, $at),
        )
    };
}

/// Low and high nibbles of four bytes of each column, which are put where they are spread. The high ones
/// are ready before the low ones' products are done.
macro_rules! nibbles {
    ($at:literal, $high:literal) => {
        concat!(
            concat!("vmovdqu64 {w0}, zmmword ptr [{weights} + 16 * ", $at, "]\n"),
            "vpandd {w1}, {mask}, {w0}\n",
            "vpsrld {w0}, {w0}, 4\n",
            "vpandd {w2}, {mask}, {w0}\n",
            concat!("vmovdqu64 zmmword ptr [{spread} + 16 * ", $at, "], {w1}\n"),
            concat!("vmovdqu64 zmmword ptr [{spread} + 16 * ", $high, "], {w2}\n"),
            rows!(dot, "w1", $at),
            rows!(dot, "w2", $high),
        )
    };
}

/// The beginnings of all rows' sums of nibbles.
macro_rules! begin {
    () => {
        concat!("vpbroadcastd {w0}, dword ptr [{constants}]\n", rows!(begin_nibbles))
    };
}

/// The products of a block of nibbles.
macro_rules! nibble_products {
    () => {
        concat!(
            begin!(),
            "vpbroadcastd {mask}, dword ptr [{constants} + 4]\n",
            nibbles!(0, 16),
            nibbles!(4, 20),
            nibbles!(8, 24),
            nibbles!(12, 28),
        )
    };
}

/// The products of a block of bytes.
macro_rules! byte_products {
    ($begin:expr) => {
        concat!(
            $begin,
            bytes!("w0", 0),
            bytes!("w1", 4),
            bytes!("w2", 8),
            bytes!("w0", 12),
            bytes!("w1", 16),
            bytes!("w2", 20),
            bytes!("w0", 24),
            bytes!("w1", 28),
        )
    };
}

/// A row's sums times d, without what is too much.
macro_rules! scale_sums {
    ($row:literal) => {
        concat!("vfmadd213ps {s", $row, "}, {w0}, {w1}\n")
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
            concat!("vfmadd231ps {t", $row, "}, {w2}, "),
            concat!("dword ptr [{record} + ", $row, " * 48 + 36]{{1to16}}\n"),
        )
    };
}

/// As [`add_scaled`], where the totals are in memory; the results are where the sums were.
macro_rules! add_scaled_stored {
    ($row:literal) => {
        concat!(
            concat!("vbroadcastss {w1}, dword ptr [{record} + ", $row, " * 48 + 32]\n"),
            concat!("vfmadd213ps {s", $row, "}, {w1}, "),
            concat!("zmmword ptr [{stored} + 64 * (", $row, " - 12)]\n"),
        )
    };
}

/// As [`add_minima`], to what [`add_scaled_stored`] gave.
macro_rules! add_minima_stored {
    ($row:literal) => {
        concat!(
            concat!("vfmadd231ps {s", $row, "}, {w2}, "),
            concat!("dword ptr [{record} + ", $row, " * 48 + 36]{{1to16}}\n"),
        )
    };
}

/// Puts the totals back.
macro_rules! store {
    ($row:literal) => {
        concat!("vmovaps zmmword ptr [{stored} + 64 * (", $row, " - 12)], {s", $row, "}\n")
    };
}

/// Reads d and what is too much.
macro_rules! read_factors {
    () => {
        "vmovups {w0}, zmmword ptr [{factors}]\nvmovups {w1}, zmmword ptr [{factors} + 64]\n"
    };
}

/// Reads m.
macro_rules! read_minima {
    () => {
        "vmovups {w2}, zmmword ptr [{factors} + 128]\n"
    };
}

/// The assembly of a block, which begins and ends as said.
macro_rules! block {
    (
        $kept:ident, $stored:ident, $block:ident, $weights:expr,
        $products:expr, $read:expr, $add:expr, $add_last:expr $(, $($more:tt)*)?
    ) => {{
        let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11] = $kept;
        // with `_` instead, they would be taken for registers of another size
        let (_s0, _s1, _s2, _s3, _s4, _s5, _s6, _s7): Eight;
        let (_s8, _s9, _s10, _s11, _s12, _s13, _s14, _s15): Eight;
        let (_w0, _w1, _w2): (__m512i, __m512i, __m512i);
        asm!(
            $products,
            read_factors!(),
            $read,
            rows!(scale_sums),
            kept!(add_scaled),
            last!(add_scaled_stored),
            $add,
            $add_last,
            last!(store),
            t0 = inout(zmm_reg) *t0, t1 = inout(zmm_reg) *t1, t2 = inout(zmm_reg) *t2,
            t3 = inout(zmm_reg) *t3, t4 = inout(zmm_reg) *t4, t5 = inout(zmm_reg) *t5,
            t6 = inout(zmm_reg) *t6, t7 = inout(zmm_reg) *t7, t8 = inout(zmm_reg) *t8,
            t9 = inout(zmm_reg) *t9, t10 = inout(zmm_reg) *t10, t11 = inout(zmm_reg) *t11,
            s0 = out(zmm_reg) _s0, s1 = out(zmm_reg) _s1,
            s2 = out(zmm_reg) _s2, s3 = out(zmm_reg) _s3,
            s4 = out(zmm_reg) _s4, s5 = out(zmm_reg) _s5,
            s6 = out(zmm_reg) _s6, s7 = out(zmm_reg) _s7,
            s8 = out(zmm_reg) _s8, s9 = out(zmm_reg) _s9,
            s10 = out(zmm_reg) _s10, s11 = out(zmm_reg) _s11,
            s12 = out(zmm_reg) _s12, s13 = out(zmm_reg) _s13,
            s14 = out(zmm_reg) _s14, s15 = out(zmm_reg) _s15,
            w0 = out(zmm_reg) _w0, w1 = out(zmm_reg) _w1, w2 = out(zmm_reg) _w2,
            stored = in(reg) $stored,
            factors = in(reg) $block.factors,
            weights = in(reg) $weights,
            record = in(reg) $block.record,
            $($($more)*,)?
            options(nostack),
        );
    }};
}

/// Adds a block's products to the totals of all rows.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn add_block<Q: Quants, const BEFORE: bool>(
    kept: &mut [__m512; KEPT],
    stored: &mut Stored,
    block: Block,
) {
    let _mask: __m512i;
    match (BEFORE, Q::NIBBLES, Q::MIN) {
        (true, _, _) => block!(
            kept, stored, block, block.spread, byte_products!(begin!()),
            read_minima!(), kept!(add_minima), last!(add_minima_stored),
            constants = in(reg) &CONSTANTS
        ),
        (false, true, _) => block!(
            kept, stored, block, block.weights, nibble_products!(),
            read_minima!(), kept!(add_minima), last!(add_minima_stored),
            mask = out(zmm_reg) _mask, constants = in(reg) &CONSTANTS, spread = in(reg) block.spread
        ),
        (false, false, true) => block!(
            kept,
            stored,
            block,
            block.weights,
            byte_products!(rows!(begin_bytes)),
            read_minima!(),
            kept!(add_minima),
            last!(add_minima_stored)
        ),
        (false, false, false) => block!(
            kept,
            stored,
            block,
            block.weights,
            byte_products!(rows!(begin_bytes)),
            "",
            "",
            ""
        ),
    }
}
