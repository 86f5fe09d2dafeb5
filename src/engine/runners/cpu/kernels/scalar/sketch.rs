//! Bounds for logits as AMX computes them: see [`Sketches`].

use super::super::simd::{LANES, tree};
use super::super::sketch::{
    BoundCall, MOST_FINE, ROUNDED, RoundCall, Rounded, Sketches, TOGETHER, panel_bytes,
};
use super::nothing;
use crate::engine::runners::cpu::form::COLUMNS;
use crate::engine::runners::cpu::panel::PANEL_ROWS;
use crate::engine::runners::cpu::sketch::{DEPTH, LEAST, MOST, SQUARE, Tail};

unsafe fn round(call: &RoundCall) -> Rounded {
    let (shape, depth) = (call.shape, call.shape.depth());
    for at in 0..depth {
        let x = *call.row.add(*call.order.add(at) as usize);
        *call.arranged.add(at) = x * *call.factors.add(at);
    }
    let x = std::slice::from_raw_parts(call.arranged.cast_const(), depth);
    let greatest = |x: &[f32]| x.iter().fold(0.0, |greatest, x| f32::max(x.abs(), greatest));
    let (fine, coarse) = x.split_at(shape.fine * DEPTH);
    let (fine, coarse) = (greatest(fine), greatest(coarse));
    let has_unit = (LEAST..=1.0 / LEAST).contains(&f32::max(fine, coarse));
    let unit = if has_unit { f32::max(fine / MOST_FINE, coarse / MOST) } else { 0.0 };
    let factor = if has_unit { 1.0 / unit } else { 0.0 };
    let mut squares = [0.0f32; LANES];
    for (at, x) in x.iter().enumerate() {
        let number = (x * factor).round_ties_even();
        squares[at % LANES] = number.mul_add(number, squares[at % LANES]);
        let number = number as i32;
        let high = (number + 128) >> 8;
        let place = call.place.add(at / DEPTH * ROUNDED + at % DEPTH);
        *place = (number - 256 * high) as u8;
        if at < shape.fine * DEPTH {
            *place.add(shape.squares * ROUNDED) = high as u8;
        }
    }
    Rounded { unit, length: tree(squares, |a, b| a + b).sqrt() }
}

unsafe fn bound(call: &BoundCall) {
    for (tile, bounds) in call.tiles.into_iter().zip(call.bounds) {
        let tile = std::slice::from_raw_parts(tile, call.shape.tile_bytes());
        let tail = Tail::of(tile);
        for row in 0..TOGETHER * PANEL_ROWS {
            let mut greatest = f32::NEG_INFINITY;
            for column in 0..COLUMNS {
                let sum = product(call, tile, row, column) * tail.scales[column];
                greatest = f32::max(greatest, sum);
            }
            let left = call.left * tail.length;
            *bounds.add(row) = greatest + (*call.lengths.add(row)).mul_add(tail.error, left);
        }
    }
}

/// That of a row and a column, in their units.
unsafe fn product(call: &BoundCall, tile: &[u8], row: usize, column: usize) -> f32 {
    let shape = call.shape;
    let row = row / PANEL_ROWS * panel_bytes(shape) + row % PANEL_ROWS * DEPTH;
    let (mut low, mut high) = (0, 0);
    for at in 0..shape.depth() {
        let (square, k) = (at / DEPTH, at % DEPTH);
        let weight = tile[square * SQUARE + k / 4 * 4 * COLUMNS + 4 * column + k % 4];
        let weight = i32::from(weight as i8);
        let byte = call.rows.add(row + square * ROUNDED + k).cast::<i8>();
        low += weight * i32::from(*byte);
        if square < shape.fine {
            high += weight * i32::from(*byte.add(shape.squares * ROUNDED));
        }
    }
    (high as f32).mul_add(256.0, low as f32)
}

/// The table of these kernels.
pub(super) static SKETCHES: Sketches =
    Sketches { rows: 24, begin: nothing, end: nothing, round, bound };
