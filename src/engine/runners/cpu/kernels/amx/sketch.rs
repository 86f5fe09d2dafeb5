//! Bounds for logits: one instruction multiplies 64 bytes of 16 rows with as many of 16 columns, and
//! adds up through the whole depth.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of its type")]

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::avx512::Avx512;
use super::super::simd::Simd;
use super::super::sketch::{
    BoundCall, MOST_FINE, ROUNDED, RoundCall, Rounded, Sketches, TOGETHER, panel_bytes,
};
use super::pairs;
use crate::engine::runners::cpu::form::COLUMNS;
use crate::engine::runners::cpu::panel::PANEL_ROWS;
use crate::engine::runners::cpu::sketch::{DEPTH, LEAST, MOST, SQUARE, Tail};

/// Vectors of a row's elements in a square.
const VECTORS: usize = DEPTH / COLUMNS;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
unsafe fn round(call: &RoundCall) -> Rounded {
    let fine = call.shape.fine * VECTORS;
    let largest = arrange(call, 0..fine);
    let others = arrange(call, fine..call.shape.squares * VECTORS);
    let has_unit = (LEAST..=1.0 / LEAST).contains(&f32::max(largest, others));
    let unit = if has_unit { f32::max(largest / MOST_FINE, others / MOST) } else { 0.0 };
    let factor = _mm512_set1_ps(if has_unit { 1.0 / unit } else { 0.0 });
    let mut sum = _mm512_setzero_ps();
    for v in 0..call.shape.squares * VECTORS {
        let x = _mm512_loadu_ps(call.arranged.add(v * COLUMNS));
        let numbers = _mm512_cvtps_epi32(_mm512_mul_ps(x, factor));
        let floats = _mm512_cvtepi32_ps(numbers);
        sum = _mm512_fmadd_ps(floats, floats, sum);
        let place = call.place.add(v / VECTORS * ROUNDED + v % VECTORS * COLUMNS);
        _mm_storeu_si128(place.cast(), _mm512_cvtepi32_epi8(numbers));
        if v < fine {
            // what is left when the low byte, which is signed, is taken away
            let high = _mm512_srai_epi32::<8>(_mm512_add_epi32(numbers, _mm512_set1_epi32(128)));
            let place = place.add(call.shape.squares * ROUNDED);
            _mm_storeu_si128(place.cast(), _mm512_cvtepi32_epi8(high));
        }
    }
    Rounded { unit, length: Avx512::sum(sum).sqrt() }
}

/// Arranges some vectors of a row; gives the greatest size of their elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
unsafe fn arrange(call: &RoundCall, vectors: Range<usize>) -> f32 {
    let mut greatest = _mm512_setzero_ps();
    for v in vectors {
        let order = _mm512_loadu_si512(call.order.add(v * COLUMNS).cast());
        let x = _mm512_i32gather_ps::<4>(order, call.row);
        let x = _mm512_mul_ps(x, _mm512_loadu_ps(call.factors.add(v * COLUMNS)));
        _mm512_storeu_ps(call.arranged.add(v * COLUMNS), x);
        greatest = _mm512_max_ps(greatest, _mm512_abs_ps(x));
    }
    Avx512::greatest(greatest)
}

/// Products of a panel with a tile.
const PRODUCTS: usize = PANEL_ROWS * COLUMNS;

/// The products of each tile with each panel: those of its bytes, and those of high ones.
#[repr(C, align(64))]
struct Sums([[[[i32; PRODUCTS]; TOGETHER]; TOGETHER]; 2]);

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
unsafe fn bound(call: &BoundCall) {
    let mut sums = MaybeUninit::<Sums>::uninit();
    let sums: *mut i32 = sums.as_mut_ptr().cast();
    multiply(call, sums);
    for tile in 0..TOGETHER {
        let tail = call.tiles[tile].add(call.shape.squares * SQUARE);
        let tail = &*tail.cast::<Tail>();
        let scales = _mm512_loadu_ps(tail.scales.as_ptr());
        let error = _mm512_set1_ps(tail.error);
        let left = _mm512_set1_ps(call.left * tail.length);
        for panel in 0..TOGETHER {
            let greatest = greatest(sums.add((TOGETHER * tile + panel) * PRODUCTS), scales);
            let lengths = _mm512_loadu_ps(call.lengths.add(panel * PANEL_ROWS));
            let bounds = _mm512_add_ps(greatest, _mm512_fmadd_ps(lengths, error, left));
            _mm512_storeu_ps(call.bounds[tile].add(panel * PANEL_ROWS), bounds);
        }
    }
}

/// The greatest product of each row of a panel, times the scales of the columns.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn greatest(sums: *const i32, scales: __m512) -> __m512 {
    let mut rows = [_mm512_setzero_ps(); PANEL_ROWS];
    for (number, row) in rows.iter_mut().enumerate() {
        let low = sums.add(number * COLUMNS);
        let high = low.add(TOGETHER * TOGETHER * PRODUCTS);
        let low = _mm512_cvtepi32_ps(Avx512::load_int(low));
        let high = _mm512_cvtepi32_ps(Avx512::load_int(high));
        let sum = _mm512_fmadd_ps(high, _mm512_set1_ps(256.0), low);
        *row = _mm512_mul_ps(sum, scales);
    }
    // halves of two rows beside each other, then of four, and so on, until each has a lane
    let mut fours = [_mm512_setzero_ps(); 4];
    for (number, four) in fours.iter_mut().enumerate() {
        let first = max_of_halves(rows[4 * number], rows[4 * number + 1]);
        let second = max_of_halves(rows[4 * number + 2], rows[4 * number + 3]);
        let (first, second) = (_mm512_castps_pd(first), _mm512_castps_pd(second));
        let low = _mm512_castpd_ps(_mm512_unpacklo_pd(first, second));
        *four = _mm512_max_ps(low, _mm512_castpd_ps(_mm512_unpackhi_pd(first, second)));
    }
    let first = max_of_lanes(fours[0], fours[1]);
    let second = max_of_lanes(fours[2], fours[3]);
    max_of_lanes(first, second)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn max_of_halves(a: __m512, b: __m512) -> __m512 {
    _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b))
}

/// Even and odd lanes of 128 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn max_of_lanes(a: __m512, b: __m512) -> __m512 {
    _mm512_max_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b))
}

/// The products of two tiles with two panels, and what is brought near.
#[inline]
unsafe fn multiply(call: &BoundCall, sums: *mut i32) {
    let (squares, fine) = (call.shape.squares, call.shape.fine);
    let rows = [call.rows, call.rows.add(panel_bytes(call.shape))];
    let high = [rows[0].add(squares * ROUNDED), rows[1].add(squares * ROUNDED)];
    let high_sums = sums.add(TOGETHER * TOGETHER * PRODUCTS);
    // what is here is asked for as well as anything
    multiply_squares(call.tiles, high, fine, call.tiles, high_sums);
    multiply_squares(call.tiles, rows, squares, call.ahead, sums);
}

/// Some squares of them.
#[inline(always)]
unsafe fn multiply_squares(
    tiles: [*const u8; TOGETHER],
    rows: [*const u8; TOGETHER],
    squares: usize,
    ahead: [*const u8; TOGETHER],
    sums: *mut i32,
) {
    asm!(
        "tilezero tmm0",
        "tilezero tmm1",
        "tilezero tmm2",
        "tilezero tmm3",
        "2:",
        "tileloaddt1 tmm4, [{v} + {row}]",
        "tileloadd tmm6, [{a} + {row}]",
        "tdpbssd tmm0, tmm6, tmm4",
        "prefetcht1 [{m}]",
        "prefetcht1 [{m} + 64]",
        "prefetcht1 [{m} + 128]",
        "prefetcht1 [{m} + 192]",
        "prefetcht1 [{m} + 256]",
        "prefetcht1 [{m} + 320]",
        "prefetcht1 [{m} + 384]",
        "prefetcht1 [{m} + 448]",
        "tileloadd tmm7, [{b} + {row}]",
        "tdpbssd tmm1, tmm7, tmm4",
        "prefetcht1 [{m} + 512]",
        "prefetcht1 [{m} + 576]",
        "prefetcht1 [{m} + 640]",
        "prefetcht1 [{m} + 704]",
        "prefetcht1 [{m} + 768]",
        "prefetcht1 [{m} + 832]",
        "prefetcht1 [{m} + 896]",
        "prefetcht1 [{m} + 960]",
        "tileloaddt1 tmm5, [{w} + {row}]",
        "tdpbssd tmm2, tmm6, tmm5",
        "prefetcht1 [{n}]",
        "prefetcht1 [{n} + 64]",
        "prefetcht1 [{n} + 128]",
        "prefetcht1 [{n} + 192]",
        "prefetcht1 [{n} + 256]",
        "prefetcht1 [{n} + 320]",
        "prefetcht1 [{n} + 384]",
        "prefetcht1 [{n} + 448]",
        "tdpbssd tmm3, tmm7, tmm5",
        "prefetcht1 [{n} + 512]",
        "prefetcht1 [{n} + 576]",
        "prefetcht1 [{n} + 640]",
        "prefetcht1 [{n} + 704]",
        "prefetcht1 [{n} + 768]",
        "prefetcht1 [{n} + 832]",
        "prefetcht1 [{n} + 896]",
        "prefetcht1 [{n} + 960]",
        "add {a}, 1024",
        "add {b}, 1024",
        "add {v}, 1024",
        "add {w}, 1024",
        "add {m}, 1024",
        "add {n}, 1024",
        "dec {squares}",
        "jnz 2b",
        "tilestored [{sums} + {row}], tmm0",
        "tilestored [{sums} + {row} + 1024], tmm1",
        "tilestored [{sums} + {row} + 2048], tmm2",
        "tilestored [{sums} + {row} + 3072], tmm3",
        a = inout(reg) rows[0] => _,
        b = inout(reg) rows[1] => _,
        v = inout(reg) tiles[0] => _,
        w = inout(reg) tiles[1] => _,
        m = inout(reg) ahead[0] => _,
        n = inout(reg) ahead[1] => _,
        squares = inout(reg) squares => _,
        row = in(reg) DEPTH,
        sums = in(reg) sums,
        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
        options(nostack),
    );
}

// the template says so in digits
const _: () = assert!(SQUARE == 1024 && ROUNDED == 1024 && DEPTH == 64 && TOGETHER == 2);

/// The kernels.
pub(super) static SKETCHES: Sketches =
    Sketches { rows: 24, begin: pairs::begin, end: super::end, round, bound };
