//! Matrices of f32 for the CPU, in panels of columns, and their product with packed rows.
//!
//! A panel holds 32 outputs side by side for every input, so weights are read from memory in
//! one stream, and a row of outputs is computed in the lanes of a few registers. Each output
//! is summed over the inputs in their order whatever the number of rows, so a row's result
//! does not depend on its neighbours, nor on the number of threads.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::engine::EngineError;

/// Outputs of a panel.
const WIDTH: usize = 32;
/// Tasks a thread, so that one that is held up does not hold up the others.
const TASKS: usize = 2;

/// A matrix `[outputs, inputs]`.
#[derive(Debug)]
pub struct Panels {
    outputs: usize,
    inputs: usize,
    /// `[panel][input][output of the panel]`; the last panel is padded with zeros.
    data: Vec<f32>,
}

impl Panels {
    /// Packs a matrix whose rows `row` writes, in parallel.
    ///
    /// # Errors
    /// The first error of `row`.
    pub fn pack(
        outputs: usize,
        inputs: usize,
        row: impl Fn(usize, &mut [f32]) -> Result<(), EngineError> + Sync,
    ) -> Result<Self, EngineError> {
        let mut data = vec![0.0; outputs.div_ceil(WIDTH) * WIDTH * inputs];
        data.par_chunks_mut(inputs * WIDTH).enumerate().try_for_each_init(
            || vec![0.0; inputs],
            |scratch, (panel, data)| {
                let first = panel * WIDTH;
                for output in first..outputs.min(first + WIDTH) {
                    row(output, scratch)?;
                    let lane = output - first;
                    for (value, place) in scratch.iter().zip(data[lane..].iter_mut().step_by(WIDTH))
                    {
                        *place = *value;
                    }
                }
                Ok::<(), EngineError>(())
            },
        )?;
        Ok(Self { outputs, inputs, data })
    }

    /// Rows of the matrix: entries of a result row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Entries of a row that is multiplied.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes that are allocated.
    pub fn bytes(&self) -> u64 {
        (self.data.len() * size_of::<f32>()) as u64
    }

    /// Multiplies rows `[rows, inputs]` into `out`, `[rows, outputs]`.
    pub fn multiply(&self, rows: &[f32], out: &mut [f32]) {
        let panels = self.outputs.div_ceil(WIDTH);
        let tasks = (rayon::current_num_threads() * TASKS).min(panels);
        let tasks = Task::split(out, self.outputs, panels, tasks);
        let arch = pulp::Arch::new();
        tasks
            .into_par_iter()
            .for_each(|mut task| arch.dispatch(Product { matrix: self, rows, task: &mut task }));
    }
}

/// The work of one task.
struct Product<'a, 'b> {
    matrix: &'a Panels,
    rows: &'a [f32],
    task: &'a mut Task<'b>,
}

impl WithSimd for Product<'_, '_> {
    type Output = ();

    /// The sums of a tile of rows fill the registers, of which there are 32 with AVX-512 and
    /// NEON and 16 with AVX2.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match WIDTH / S::F32_LANES {
            2 => self.run::<S, 2>(simd, 8),
            4 => self.run::<S, 4>(simd, 3),
            8 => self.run::<S, 8>(simd, 3),
            _ => self.run_plain(),
        }
    }
}

impl Product<'_, '_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S, tile: usize) {
        let Panels { inputs, ref data, .. } = *self.matrix;
        for (index, panel) in self.task.panels.clone().enumerate() {
            let weights = &data[panel * inputs * WIDTH..][..inputs * WIDTH];
            let tiles = self.rows.chunks(tile * inputs).zip(self.task.rows.chunks_mut(tile));
            for (rows, out) in tiles {
                let column = index * WIDTH;
                match out.len() {
                    1 => multiply::<S, VECTORS, 1>(simd, weights, rows, out, column),
                    2 => multiply::<S, VECTORS, 2>(simd, weights, rows, out, column),
                    3 => multiply::<S, VECTORS, 3>(simd, weights, rows, out, column),
                    4 => multiply::<S, VECTORS, 4>(simd, weights, rows, out, column),
                    5 => multiply::<S, VECTORS, 5>(simd, weights, rows, out, column),
                    6 => multiply::<S, VECTORS, 6>(simd, weights, rows, out, column),
                    7 => multiply::<S, VECTORS, 7>(simd, weights, rows, out, column),
                    _ => multiply::<S, VECTORS, 8>(simd, weights, rows, out, column),
                }
            }
        }
    }

    /// For processors without vectors that pulp knows.
    #[inline(always)]
    fn run_plain(self) {
        let Panels { inputs, ref data, .. } = *self.matrix;
        for (index, panel) in self.task.panels.clone().enumerate() {
            let weights = data[panel * inputs * WIDTH..].as_chunks::<WIDTH>().0;
            for (row, out) in self.rows.chunks(inputs).zip(&mut self.task.rows) {
                let mut sums = [0.0; WIDTH];
                for (value, lanes) in row.iter().zip(weights) {
                    for (sum, weight) in sums.iter_mut().zip(lanes) {
                        *sum += value * weight;
                    }
                }
                write(&sums, out, index * WIDTH);
            }
        }
    }
}

/// Multiplies `ROWS` rows with one panel, whose width is `VECTORS` registers.
#[inline(always)]
fn multiply<S: Simd, const VECTORS: usize, const ROWS: usize>(
    simd: S,
    weights: &[f32],
    rows: &[f32],
    out: &mut [&mut [f32]],
    column: usize,
) {
    let inputs = rows.len() / ROWS;
    let weights = S::as_simd_f32s(weights).0.as_chunks::<VECTORS>().0;
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &rows[row * inputs..][..inputs]);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (input, weights) in weights[..inputs].iter().enumerate() {
        for row in 0..ROWS {
            let value = simd.splat_f32s(rows[row][input]);
            for vector in 0..VECTORS {
                let sum = &mut sums[row][vector];
                *sum = simd.mul_add_f32s(value, weights[vector], *sum);
            }
        }
    }
    for (sums, out) in sums.iter().zip(out) {
        write(pulp::bytemuck::cast_slice(sums), out, column);
    }
}

/// Writes the outputs of a panel; the last one may be narrower.
#[inline(always)]
fn write(sums: &[f32], out: &mut [f32], column: usize) {
    let out = &mut out[column..];
    let width = out.len().min(WIDTH);
    out[..width].copy_from_slice(&sums[..width]);
}

/// Some panels, and for every row the part of the result that they give.
struct Task<'a> {
    panels: Range<usize>,
    rows: Vec<&'a mut [f32]>,
}

impl<'a> Task<'a> {
    fn split(out: &'a mut [f32], outputs: usize, panels: usize, tasks: usize) -> Vec<Self> {
        let bounds = |task: usize| task * panels / tasks..(task + 1) * panels / tasks;
        let mut split: Vec<Self> =
            (0..tasks).map(|task| Self { panels: bounds(task), rows: Vec::new() }).collect();
        for mut row in out.chunks_mut(outputs) {
            for task in &mut split {
                let width = (task.panels.len() * WIDTH).min(row.len());
                let (part, rest) = row.split_at_mut(width);
                task.rows.push(part);
                row = rest;
            }
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(index: usize) -> f32 {
        (index as f32 * 0.7).sin()
    }

    fn matrix(outputs: usize, inputs: usize) -> Panels {
        Panels::pack(outputs, inputs, |row, out| {
            for (column, out) in out.iter_mut().enumerate() {
                *out = number(row * inputs + column);
            }
            Ok(())
        })
        .unwrap()
    }

    fn product(matrix: &Panels, rows: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; rows.len() / matrix.inputs() * matrix.outputs()];
        matrix.multiply(rows, &mut out);
        out
    }

    #[test]
    fn products_equal_the_plain_sum() {
        for (outputs, inputs, rows) in [(1, 1, 1), (33, 7, 3), (70, 40, 19), (32, 64, 8)] {
            let matrix = matrix(outputs, inputs);
            let values: Vec<f32> = (0..rows * inputs).map(|i| number(i + 5)).collect();
            let result = product(&matrix, &values);
            for (i, value) in result.iter().enumerate() {
                let (row, output) = (i / outputs, i % outputs);
                let plain: f32 = (0..inputs)
                    .map(|k| values[row * inputs + k] * number(output * inputs + k))
                    .sum();
                assert!((value - plain).abs() < 1e-4, "{value} is not {plain}");
            }
        }
    }

    #[test]
    fn a_row_gives_the_same_bits_with_any_neighbours() {
        let matrix = matrix(100, 300);
        let values: Vec<f32> = (0..21 * 300).map(number).collect();
        let together = product(&matrix, &values);
        for row in 0..21 {
            let alone = product(&matrix, &values[row * 300..(row + 1) * 300]);
            assert_eq!(alone, together[row * 100..(row + 1) * 100], "row {row}");
        }
    }
}
