//! AVX-512 with AMX: one instruction multiplies a block of weights with the 16 rows of a panel; what is
//! computed in bf16 has kernels of its own, [`pairs`].
//!
//! A block of a tile is laid out as the instruction wants it: 4 consecutive elements of each of
//! 16 columns to a vector of 64 bytes. Its sums come back through memory, and what is done with
//! them is done as in [`tile::quantised`], so the bits are the same. For fewer rows, for blocks
//! whose halves have scales of their own and for all else the kernels are those of AVX-512.
//!
//! AMX's own name for the registers that it multiplies is tiles; here they are called squares,
//! as a tile is something else.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of ManyKernel")]

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::avx512::{self, Avx512};
use super::many::{BYTES, Many, ManyKernel, Spreads};
use super::near;
use super::simd::{Products, Simd};
use super::table::Kernels;
use super::tile::{self, Ahead, Quants, Scales, TileCall};
use crate::engine::runners::cpu::form::COLUMNS;
use crate::engine::runners::cpu::panel::{self, PANEL_ROWS, RECORD, RECORD_STRIDE};

mod pairs;
mod sketch;

/// Whether this machine has it, and the system lets this process use it.
pub(super) fn is_available() -> bool {
    avx512::is_available()
        && is_x86_feature_detected!("avx512bf16")
        && multiplies_squares()
        && system::allows_squares()
}

/// Whether the processor has squares and multiplies those of bytes and of bf16.
fn multiplies_squares() -> bool {
    const SQUARES: u32 = 1 << 24;
    const OF_BYTES: u32 = 1 << 25;
    const OF_BF16: u32 = 1 << 22;
    const ALL: u32 = SQUARES | OF_BYTES | OF_BF16;
    // a processor with AVX-512 has leaf 7
    __cpuid_count(7, 0).edx & ALL == ALL
}

#[cfg(target_os = "linux")]
mod system {
    /// Asks for the room that squares take in what is saved of a thread; it may be asked again. See
    /// <https://docs.kernel.org/arch/x86/xstate.html>.
    pub fn allows_squares() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: two numbers are handed over and no memory.
        let answer =
            unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
        answer == 0
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    /// How other systems are asked is not known here.
    pub fn allows_squares() -> bool {
        false
    }
}

/// The shapes of the squares, of which there are eight.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// So many bytes a row, and so many rows.
    const fn new(bytes: [u16; 8], each: [u8; 8]) -> Self {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        let mut number = 0;
        while number < 8 {
            (row_bytes[number], rows[number]) = (bytes[number], each[number]);
            number += 1;
        }
        Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    }

    /// Gives this thread's squares these shapes.
    unsafe fn give(&self) {
        asm!("ldtilecfg [{}]", in(reg) &raw const *self, options(nostack, preserves_flags));
    }
}

/// 0 to 5: 16 rows of 16 sums. 6: 16 rows of 32 activations. 7: a block of weights.
static SHAPES: Shapes =
    Shapes::new([64, 64, 64, 64, 64, 64, 32, 64], [16, 16, 16, 16, 16, 16, 16, 8]);

unsafe fn begin() {
    SHAPES.give();
}

/// Gives the squares back, so that nothing is saved of them when threads change.
unsafe fn end() {
    asm!("tilerelease", options(nostack, preserves_flags));
}

/// Blocks that are multiplied before their sums are added up. While squares are at work AVX-512 has
/// half its speed, and the first sums take a hundred cycles to come; with many blocks, they drive
/// the activations out of the first level of cache.
const GROUP: usize = 6;

/// Sums of a group.
#[repr(C, align(64))]
struct Sums([[[i32; COLUMNS]; PANEL_ROWS]; GROUP]);

/// Rows of a panel from which this is faster.
const PANEL_LEAST: usize = 12;

/// Computes rows of a quantised tile without halves, whose weights are bytes at `weights`.
///
/// # Safety
/// As [`ManyKernel`] says, on a machine that has AMX, in a thread whose squares have their shapes.
unsafe fn quantised<Q: Quants>(call: &TileCall, weights: *const u8, rows: usize) {
    match rows {
        12 => fixed::<Q, 12>(call, weights),
        13 => fixed::<Q, 13>(call, weights),
        14 => fixed::<Q, 14>(call, weights),
        15 => fixed::<Q, 15>(call, weights),
        16 => fixed::<Q, 16>(call, weights),
        _ => unreachable!("{rows} rows, and not {PANEL_LEAST} to {PANEL_ROWS}"),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn fixed<Q: Quants, const R: usize>(call: &TileCall, weights: *const u8) {
    const { assert!(!Q::HALVES && R <= PANEL_ROWS, "there is no such kernel") };
    let mut sums = MaybeUninit::<Sums>::uninit();
    let sums: *mut i32 = sums.as_mut_ptr().cast();
    let mut totals = [Avx512::zero(); R];
    let mut scales = Scales::new::<Q>(call);
    let mut ahead = Ahead::new(call);
    for first in (0..call.blocks).step_by(GROUP) {
        let blocks = first..call.blocks.min(first + GROUP);
        for _ in blocks.clone() {
            ahead.step();
        }
        let (record, weights) = (call.input.add(first * RECORD_STRIDE), weights.add(first * BYTES));
        if blocks.len() == GROUP {
            multiply_group(weights, record, sums);
        } else {
            for at in 0..blocks.len() {
                let record = record.add(at * RECORD_STRIDE);
                multiply(weights.add(at * BYTES), record, sums.add(at * SUMS));
            }
        }
        for block in blocks {
            let record = call.input.add(block * RECORD_STRIDE);
            ask(record.wrapping_add(GROUP * RECORD_STRIDE));
            let scales = scales.next::<Avx512, Q>();
            add_up::<Q, R>(&mut totals, sums.add((block - first) * SUMS), scales, record);
        }
    }
    for (row, total) in totals.iter().enumerate() {
        tile::finish::<Avx512>(call, row, *total);
    }
}

/// Asks for the records of a block, which a square would have to wait for.
#[inline(always)]
fn ask(records: *const u8) {
    for line in 0..RECORD_STRIDE / 64 {
        near::first_level(records.wrapping_add(line * 64));
    }
}

/// Sums of a block.
const SUMS: usize = PANEL_ROWS * COLUMNS;

/// Makes bytes of blocks of nibbles.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn spread(call: &TileCall, to: *mut u8) {
    for block in 0..call.blocks {
        let (weights, to) = (call.weights.add(block * BYTES / 2), to.add(block * BYTES));
        for (v, weights) in avx512::spread_nibbles(weights).iter().enumerate() {
            _mm512_storeu_si512(to.add(64 * v).cast(), *weights);
        }
    }
}

/// Multiplies a block of bytes with the rows of a panel.
macro_rules! product {
    ($block:literal) => {
        concat!(
            concat!("tileloadd tmm6, [{record} + {record_stride} + ", $block, " * 768]\n"),
            concat!("tileloadd tmm7, [{weights} + {stride} + ", $block, " * 512]\n"),
            concat!("tilezero tmm", $block, "\n"),
            concat!("tdpbsud tmm", $block, ", tmm6, tmm7\n"),
        )
    };
}

/// Stores its sums.
macro_rules! store {
    ($block:literal) => {
        concat!("tilestored [{sums} + {stride} + ", $block, " * 1024], tmm", $block, "\n")
    };
}

/// The assembly of some blocks, all of whose products come before their sums are stored.
macro_rules! blocks {
    ($weights:ident, $record:ident, $sums:ident, $($block:literal)*) => {
        asm!(
            $(product!($block),)*
            $(store!($block),)*
            record = in(reg) $record,
            record_stride = in(reg) RECORD,
            weights = in(reg) $weights,
            sums = in(reg) $sums,
            stride = in(reg) size_of::<[i32; COLUMNS]>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, preserves_flags),
        )
    };
}

// the templates say so in digits
const _: () = assert!(RECORD_STRIDE == 768 && BYTES == 512 && SUMS == 256 && GROUP == 6);

/// The sums of a block of bytes times the rows of a panel.
#[inline(always)]
unsafe fn multiply(weights: *const u8, record: *const u8, sums: *mut i32) {
    blocks!(weights, record, sums, 0);
}

/// Those of a group of blocks.
#[inline(always)]
unsafe fn multiply_group(weights: *const u8, record: *const u8, sums: *mut i32) {
    blocks!(weights, record, sums, 0 1 2 3 4 5);
}

/// Adds a block's sums to the totals, times the scales of their rows and columns.
#[inline(always)]
unsafe fn add_up<Q: Quants, const R: usize>(
    totals: &mut [__m512; R],
    sums: *const i32,
    scales: [__m512; 2],
    record: *const u8,
) {
    for (r, total) in totals.iter_mut().enumerate() {
        let record = record.add(r * RECORD);
        let begin = if Q::NIBBLES {
            Avx512::begin_nibbles()
        } else {
            Avx512::begin_bytes(*record.add(panel::OFFSET).cast::<i32>())
        };
        let sum = _mm512_add_epi32(Avx512::load_int(sums.add(r * COLUMNS)), begin);
        let (sums, total) = ([[sum], [sum]], std::array::from_mut(total));
        tile::add_scaled::<Avx512, Q, 1>(total, sums, scales, record.add(panel::SCALE));
    }
}

/// Many rows.
static MANY: Many = Many {
    rows: 3 * PANEL_ROWS,
    panel_rows: PANEL_LEAST,
    around: Some([begin, end]),
    kernels: [
        Some(ManyKernel { spread: Spreads::Before(spread), multiply: quantised::<tile::U4> }),
        Some(ManyKernel { spread: Spreads::Before(spread), multiply: quantised::<tile::U4Super> }),
        Some(ManyKernel { spread: Spreads::Never, multiply: quantised::<tile::U8> }),
        Some(ManyKernel { spread: Spreads::Never, multiply: quantised::<tile::U8Min> }),
        Some(ManyKernel { spread: Spreads::Never, multiply: quantised::<tile::U8MinSuper> }),
        None,
        None,
        None,
        None,
    ],
};

/// The table of these kernels.
pub(super) static KERNELS: Kernels = Kernels {
    many: &[&MANY, &avx512::MANY],
    bf16: Some(&pairs::KERNELS),
    sketches: Some(&sketch::SKETCHES),
    ..avx512::KERNELS
};
