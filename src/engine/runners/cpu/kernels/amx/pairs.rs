//! Products in bf16: one instruction multiplies 32 activations of 16 rows with as many weights of 16
//! columns, and adds up in f32.
//!
//! Four sums, of two tiles and two panels, hide how long each takes, and share what is loaded.
//! Activations pass the cache of the first level by, in which the weights of both tiles stay so.
//! Quantised weights go through memory, where they are bf16: what that takes, all rows of a phase share.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of Pairs")]

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::avx512::{self, Avx512};
use super::super::near::Lines;
use super::super::pairs::{PAIRS, Pairs, RECORD, spread_by_form};
use super::super::simd::Simd;
use super::super::table::Kernels;
use super::super::tile::{self, Ahead, Quants, Scales, TileCall};
use super::Shapes;
use crate::engine::runners::cpu::form::{BLOCK, COLUMNS, LINE};
use crate::engine::runners::cpu::panel::PANEL_ROWS;

/// All are 16 rows of 16 f32 or 32 bf16.
static SHAPES: Shapes = Shapes::new([64; 8], [16; 8]);

pub(super) unsafe fn begin() {
    SHAPES.give();
}

/// Rounds a row's blocks.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn round(x: *const f32, blocks: usize, record: *mut u8, stride: usize) {
    for block in 0..blocks {
        let x = x.add(block * BLOCK);
        let rounded = pack(_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(COLUMNS)));
        _mm512_storeu_si512(record.add(block * stride).cast(), rounded);
    }
}

/// Two vectors in bf16, one after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn pack(first: __m512, second: __m512) -> __m512i {
    // SAFETY: both are 64 bytes that may be anything.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(second, first)) }
}

/// Two vectors in bf16, an element of one beside that of the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pair(even: __m512, odd: __m512) -> __m512i {
    let order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0,
    );
    _mm512_permutexvar_epi16(order, pack(even, odd))
}

/// Weights of a block, `d * q + m`, where q is a number of few bits in a vector of them.
struct Affine {
    d: __m512,
    m: __m512,
}

/// How numbers of few bits become floats: these bits are one that is so much more than the numbers
/// which a mask leaves.
struct Kind {
    bits: i32,
    mask: i32,
    more: f32,
}

/// Nibbles at bit 16.
const NIBBLE: Kind = Kind { bits: 128f32.to_bits() as i32, mask: 15 << 16, more: 128.0 };
/// Bytes at bit 15, which have 128 added.
const BYTE: Kind = Kind { bits: 256f32.to_bits() as i32, mask: 255 << 15, more: 256.0 + 128.0 };

impl Affine {
    /// For numbers that are taken for more than they are.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(d: __m512, m: __m512, kind: &Kind) -> Self {
        Self { d, m: _mm512_fnmadd_ps(d, _mm512_set1_ps(kind.more), m) }
    }

    /// Of numbers that are where their kind has them.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn weights(&self, numbers: __m512i, kind: &Kind) -> __m512 {
        // (numbers & mask) | bits
        let (mask, bits) = (_mm512_set1_epi32(kind.mask), _mm512_set1_epi32(kind.bits));
        let floats = _mm512_ternarylogic_epi32::<0xea>(numbers, mask, bits);
        _mm512_fmadd_ps(_mm512_castsi512_ps(floats), self.d, self.m)
    }

    /// Two pairs of elements.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pairs(&self, [a, b, c, d]: [__m512i; 4], kind: &Kind) -> [__m512i; 2] {
        let first = pair(self.weights(a, kind), self.weights(b, kind));
        [first, pair(self.weights(c, kind), self.weights(d, kind))]
    }
}

/// Lanes turned to the left by so many bits, which brings one of their four bytes each to its place.
#[inline]
#[target_feature(enable = "avx512f")]
fn turned<const A: i32, const B: i32, const C: i32, const D: i32>(x: __m512i) -> [__m512i; 4] {
    [
        _mm512_rol_epi32::<A>(x),
        _mm512_rol_epi32::<B>(x),
        _mm512_rol_epi32::<C>(x),
        _mm512_rol_epi32::<D>(x),
    ]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c")]
unsafe fn spread<Q: Quants>(call: &TileCall, to: *mut u8) {
    let mut scales = Scales::new::<Q>(call);
    let mut ahead = Ahead::new(call);
    let mut weights = call.weights;
    for block in 0..call.blocks {
        ahead.step();
        let scales = scales.next::<Avx512, Q>();
        let to = to.add(block * PAIRS).cast::<__m512i>();
        if Q::NIBBLES {
            spread_nibbles(weights, scales, to);
        } else {
            spread_bytes::<Q>(weights, scales, to);
        }
        weights = weights.add(Q::FORM.block_bytes());
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn spread_nibbles(weights: *const u8, [d, m]: [__m512; 2], to: *mut __m512i) {
    let affine = Affine::new(d, m, &NIBBLE);
    for v in 0..4 {
        let x = _mm512_loadu_si512(weights.add(64 * v).cast());
        let low = affine.pairs(turned::<16, 8, 0, 24>(x), &NIBBLE);
        let high = affine.pairs(turned::<12, 4, 28, 20>(x), &NIBBLE);
        for (at, pairs) in [(0, low), (8, high)] {
            _mm512_storeu_si512(to.add(at + 2 * v), pairs[0]);
            _mm512_storeu_si512(to.add(at + 2 * v + 1), pairs[1]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn spread_bytes<Q: Quants>(
    weights: *const u8,
    [d, second_d_or_m]: [__m512; 2],
    to: *mut __m512i,
) {
    let zero = _mm512_setzero_ps();
    let halves = if Q::HALVES {
        [Affine::new(d, zero, &BYTE), Affine::new(second_d_or_m, zero, &BYTE)]
    } else {
        [Affine::new(d, second_d_or_m, &BYTE), Affine::new(d, second_d_or_m, &BYTE)]
    };
    for v in 0..8 {
        let x = _mm512_loadu_si512(weights.add(64 * v).cast());
        let pairs = halves[v / 4].pairs(turned::<15, 7, 31, 23>(x), &BYTE);
        _mm512_storeu_si512(to.add(2 * v), pairs[0]);
        _mm512_storeu_si512(to.add(2 * v + 1), pairs[1]);
    }
}

/// Sums of a panel and a tile.
const SQUARE: usize = PANEL_ROWS * COLUMNS;

/// Sums of two panels and two tiles.
#[repr(C, align(64))]
struct Sums([[f32; SQUARE]; 4]);

/// Where sums go.
#[repr(C)]
struct Corners {
    /// Those of a panel and tile, by panel and tile.
    places: [[*mut f32; 2]; 2],
    /// Bytes from a row to the next.
    stride: usize,
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
unsafe fn multiply(calls: &[TileCall], weights: [*const u8; 2], rows: usize) {
    const ROWS: usize = 2 * PANEL_ROWS;
    let (first, last) = (&calls[0], &calls[calls.len() - 1]);
    assert!(first.blocks > 0, "a matrix without inputs");
    let alike = first.out_stride == last.out_stride && calls.len() == 2;
    let plain = alike && first.base.is_null() && last.base.is_null();
    let mut ahead = to_ask_for(calls, weights);
    let mut sums = MaybeUninit::<Sums>::uninit();
    let sums: *mut f32 = sums.as_mut_ptr().cast();
    for at in (0..rows).step_by(ROWS) {
        let some = ROWS.min(rows - at);
        let panels = some.div_ceil(PANEL_ROWS);
        let input = first.input.add(at * first.blocks * RECORD);
        ask_for_results(calls, at..at + some);
        let now = std::mem::replace(&mut ahead, [Lines::NONE; 2]);
        if plain && some == panels * PANEL_ROWS {
            let stride = first.out_stride;
            let (row, next) = (at * stride, (at + PANEL_ROWS) * stride);
            let places = [
                [first.out.wrapping_add(row), last.out.wrapping_add(row)],
                [first.out.wrapping_add(next), last.out.wrapping_add(next)],
            ];
            let corners = Corners { places, stride: stride * size_of::<f32>() };
            add_up(first.blocks, input, weights, panels, now, &corners);
            continue;
        }
        let places = [[sums, sums.add(SQUARE)], [sums.add(2 * SQUARE), sums.add(3 * SQUARE)]];
        let corners = Corners { places, stride: COLUMNS * size_of::<f32>() };
        add_up(first.blocks, input, weights, panels, now, &corners);
        for (tile, call) in calls.iter().enumerate() {
            for row in 0..some {
                let sums = places[row / PANEL_ROWS][tile].add(row % PANEL_ROWS * COLUMNS);
                tile::finish::<Avx512>(call, at + row, Avx512::load(sums));
            }
        }
    }
}

/// What is asked for with the first rows, where the first call's weights are its own: what has made
/// pairs of others has asked already.
fn to_ask_for(calls: &[TileCall], weights: [*const u8; 2]) -> [Lines; 2] {
    let own = weights[0] == calls[0].weights;
    if own { calls[0].ahead } else { [Lines::NONE; 2] }
}

/// Asks for the lines that results of some rows are put into, where they are far from each other: they
/// were another core's before.
#[inline(always)]
unsafe fn ask_for_results(calls: &[TileCall], rows: Range<usize>) {
    for call in calls {
        if call.out_stride == COLUMNS {
            continue;
        }
        for row in rows.clone() {
            let place = call.out.wrapping_add(row * call.out_stride);
            _mm_prefetch::<_MM_HINT_ET0>(place.cast());
        }
    }
}

/// How many lines are asked for with each block; those that are left over are asked for here.
#[inline(always)]
fn with_each(lines: Lines, blocks: usize) -> usize {
    let each = lines.count / blocks;
    let first = each * blocks;
    let left = lines.count - first;
    Lines { address: lines.address.wrapping_add(first * LINE), count: left }.ask();
    each
}

/// Asks for some lines; `from` goes on to those after them. Labels differ from those of others.
macro_rules! ask {
    ($from:literal, $lines:literal, $begin:literal, $end:literal) => {
        concat!(
            concat!("mov {line}, {", $lines, "}\n"),
            "sub {line}, 1\n",
            concat!("jb ", $end, "f\n"),
            concat!($begin, ":\n"),
            concat!("prefetcht1 [{", $from, "}]\n"),
            concat!("add {", $from, "}, 64\n"),
            "sub {line}, 1\n",
            concat!("jae ", $begin, "b\n"),
            concat!($end, ":\n"),
        )
    };
}

/// The sums of two tiles with one or two panels; the tiles may be the same one, whose sums are then
/// stored twice.
#[inline]
unsafe fn add_up(
    blocks: usize,
    input: *const u8,
    weights: [*const u8; 2],
    panels: usize,
    ahead: [Lines; 2],
    corners: &Corners,
) {
    let each = [with_each(ahead[0], blocks), with_each(ahead[1], blocks)];
    if panels == 1 {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloaddt1 tmm4, [{a} + {row}]",
            "tileloadd tmm6, [{v} + {row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{w} + {row}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            ask!("p", "each_p", "3", "4"),
            ask!("q", "each_q", "5", "6"),
            "add {a}, 1024",
            "add {v}, 1024",
            "add {w}, 1024",
            "dec {blocks}",
            "jnz 2b",
            "mov {v}, [{corners}]",
            "mov {w}, [{corners} + 8]",
            "mov {row}, [{corners} + 32]",
            "tilestored [{v} + {row}], tmm0",
            "tilestored [{w} + {row}], tmm1",
            a = inout(reg) input => _,
            v = inout(reg) weights[0] => _,
            w = inout(reg) weights[1] => _,
            blocks = inout(reg) blocks => _,
            row = inout(reg) ROW => _,
            p = inout(reg) ahead[0].address => _,
            q = inout(reg) ahead[1].address => _,
            each_p = in(reg) each[0],
            each_q = in(reg) each[1],
            line = out(reg) _,
            corners = in(reg) corners,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
        return;
    }
    asm!(
        "tilezero tmm0",
        "tilezero tmm1",
        "tilezero tmm2",
        "tilezero tmm3",
        "2:",
        "tileloaddt1 tmm4, [{a} + {row}]",
        "tileloadd tmm6, [{v} + {row}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{w} + {row}]",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloaddt1 tmm5, [{b} + {row}]",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7",
        ask!("p", "each_p", "3", "4"),
        ask!("q", "each_q", "5", "6"),
        "add {a}, 1024",
        "add {b}, 1024",
        "add {v}, 1024",
        "add {w}, 1024",
        "dec {blocks}",
        "jnz 2b",
        "mov {a}, [{corners}]",
        "mov {b}, [{corners} + 8]",
        "mov {v}, [{corners} + 16]",
        "mov {w}, [{corners} + 24]",
        "mov {row}, [{corners} + 32]",
        "tilestored [{a} + {row}], tmm0",
        "tilestored [{b} + {row}], tmm1",
        "tilestored [{v} + {row}], tmm2",
        "tilestored [{w} + {row}], tmm3",
        a = inout(reg) input => _,
        b = inout(reg) input.wrapping_add(blocks * PANEL_ROWS * RECORD) => _,
        v = inout(reg) weights[0] => _,
        w = inout(reg) weights[1] => _,
        blocks = inout(reg) blocks => _,
        row = inout(reg) ROW => _,
        p = inout(reg) ahead[0].address => _,
        q = inout(reg) ahead[1].address => _,
        each_p = in(reg) each[0],
        each_q = in(reg) each[1],
        line = out(reg) _,
        corners = in(reg) corners,
        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
        options(nostack),
    );
}

/// Bytes of a row of a square.
const ROW: usize = 64;

// the templates say so in digits
const _: () = assert!(PAIRS == 1024 && PANEL_ROWS * RECORD == 1024 && LINE == 64);

static PAIRED: Pairs = Pairs { begin, end: super::end, spread: spread_by_form!(spread), multiply };

/// Their table.
pub(super) static KERNELS: Kernels =
    Kernels { pairs: Some(&PAIRED), quantise: round, record: RECORD, ..avx512::KERNELS };
