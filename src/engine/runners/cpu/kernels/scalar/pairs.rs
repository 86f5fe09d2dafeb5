//! Products in bf16 as AMX computes them, bit for bit: see [`Pairs`].

use half::bf16;

use super::super::pairs::{PAIRS, Pairs, RECORD, spread_by_form};
use super::super::table::Kernels;
use super::super::tile::{self, Quants, Scales, TileCall};
use super::{Scalar, nothing};
use crate::engine::runners::cpu::form::{BLOCK, COLUMNS};
use crate::engine::runners::cpu::panel::{self, PANEL_ROWS};

/// To the nearest bf16, even ones on ties; numbers too small to be normal are 0.
fn rounded(x: f32) -> bf16 {
    bf16::from_f32(normal(x))
}

/// A number, or 0 for one that is too small to be normal.
fn normal(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0f32.copysign(x) } else { x }
}

unsafe fn round(x: *const f32, blocks: usize, record: *mut u8, stride: usize) {
    for block in 0..blocks {
        let x = x.add(block * BLOCK).cast::<[f32; BLOCK]>().read_unaligned();
        record.add(block * stride).cast::<[bf16; BLOCK]>().write_unaligned(x.map(rounded));
    }
}

unsafe fn spread<Q: Quants>(call: &TileCall, to: *mut u8) {
    /// What numbers are taken for more than they are, until d and m have made weights of them.
    const NIBBLE: f32 = 128.0;
    const BYTE: f32 = 256.0 + 128.0;
    let more = if Q::NIBBLES { NIBBLE } else { BYTE };
    let mut scales = Scales::new::<Q>(call);
    for block in 0..call.blocks {
        let quants = call.weights.add(block * Q::FORM.block_bytes());
        let [first, second] = scales.next::<Scalar, Q>();
        for (k, column) in (0..BLOCK * COLUMNS).map(|at| (at / COLUMNS, at % COLUMNS)) {
            let vector = if Q::NIBBLES { k % 16 / 4 } else { k / 4 };
            let byte = *quants.add(64 * vector + 4 * column + k % 4);
            let number = if Q::NIBBLES { byte >> (k / 16 * 4) & 15 } else { byte };
            let less = if Q::NIBBLES { 0.0 } else { 128.0 };
            let (d, m) = match Q::HALVES {
                true => (if k < BLOCK / 2 { first } else { second }[column], 0.0),
                false => (first[column], second[column]),
            };
            let m = (-d).mul_add(more, m);
            let weight = (f32::from(number) - less + more).mul_add(d, m);
            let place = block * PAIRS + (k / 2 * COLUMNS + column) * 4 + k % 2 * 2;
            to.add(place).cast::<bf16>().write_unaligned(rounded(weight));
        }
    }
}

unsafe fn multiply(calls: &[TileCall], weights: [*const u8; 2], rows: usize) {
    for (call, weights) in calls.iter().zip(weights) {
        for row in 0..rows {
            let mut totals = [0.0; COLUMNS];
            for block in 0..call.blocks {
                let record = panel::first_record(row, call.blocks) + block * PANEL_ROWS;
                let record = call.input.add(record * RECORD);
                add_block(&mut totals, record.cast(), weights.add(block * PAIRS).cast());
            }
            for (at, total) in totals.iter_mut().enumerate() {
                if !call.base.is_null() {
                    *total += *call.base.add(row * call.base_stride + at);
                }
                *call.out.add(row * call.out_stride + at) = *total;
            }
        }
    }
}

/// Adds a block's products: its even and its odd elements are summed by themselves.
unsafe fn add_block(
    totals: &mut [f32; COLUMNS],
    record: *const [[bf16; 2]; BLOCK / 2],
    weights: *const [[[bf16; 2]; COLUMNS]; BLOCK / 2],
) {
    let (record, weights) = (record.read_unaligned(), weights.read_unaligned());
    let widened = |x: bf16| normal(x.to_f32());
    for (column, total) in totals.iter_mut().enumerate() {
        let mut sums = [0.0f32; 2];
        for (x, weights) in record.iter().zip(&weights) {
            for (odd, sum) in sums.iter_mut().enumerate() {
                let (x, weight) = (widened(x[odd]), widened(weights[column][odd]));
                *sum = normal(x.mul_add(weight, *sum));
            }
        }
        *total = normal(*total + normal(sums[0] + sums[1]));
    }
}

static PAIRED: Pairs =
    Pairs { begin: nothing, end: nothing, spread: spread_by_form!(spread), multiply };

/// Their table.
pub(super) static KERNELS: Kernels =
    Kernels { pairs: Some(&PAIRED), quantise: round, record: RECORD, ..super::KERNELS };
