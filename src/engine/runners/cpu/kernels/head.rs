//! Phase: the output head, with the greedy choice made on the way.
//!
//! Where only the best token is wanted, logits are never stored: each thread keeps the best
//! value of every lane, and the winners are compared at the end. Ties go to the lowest id.

use super::crew::{Ahead, Crew, Shared};
use super::multiply::{Input, Product, row_tiles};
use super::rows::Best;
use super::simd::LANES;
use crate::engine::runners::cpu::activations::Activations;
use crate::engine::runners::cpu::form::COLUMNS;
use crate::engine::runners::cpu::pack::Linear;
use crate::engine::runners::cpu::weights::Weights;

/// What a row wants of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The id of the greatest logit.
    Best,
    /// All logits, into this row of the memory for logits.
    Logits(usize),
}

/// Memory for logits: rows of `stride`, at least the vocabulary rounded up to 16.
#[derive(Debug)]
pub struct Logits<'a> {
    /// The rows.
    pub values: &'a mut [f32],
    /// From one row to the next.
    pub stride: usize,
}

/// The head and what is wanted of it.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The head.
    pub linear: &'a Linear,
    /// Where its tiles are.
    pub weights: &'a Weights,
    /// Its columns that are tokens.
    pub vocabulary: usize,
    /// One for each row.
    pub goals: &'a [Goal],
}

/// What threads have seen, kept so that a step allocates nothing.
#[derive(Debug, Default)]
pub struct Winners {
    /// `[thread][row]`.
    best: Vec<Best>,
    rows: usize,
}

impl Winners {
    /// The lowest id of a row's greatest logit; `None` where none is a number above minus
    /// infinity.
    pub fn winner(&self, row: usize) -> Option<u32> {
        let mut found = (f32::NEG_INFINITY, None);
        for best in self.best[row..].iter().step_by(self.rows) {
            for (lane, (value, tile)) in best.values.iter().zip(best.tiles).enumerate() {
                let id = tile as u32 * COLUMNS as u32 + lane as u32;
                let tie = *value == found.0 && found.1.is_some_and(|other| id < other);
                if *value > found.0 || tie {
                    found = (*value, Some(id));
                }
            }
        }
        found.1
    }
}

impl std::fmt::Debug for Best {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.values.iter().zip(&self.tiles)).finish()
    }
}

impl Crew {
    /// Multiplies one row of `input` for each goal.
    pub fn head(
        &mut self,
        task: &Task<'_>,
        input: &Activations,
        winners: &mut Winners,
        logits: Logits<'_>,
    ) {
        let Task { linear, weights, vocabulary, goals } = *task;
        let rows = goals.len();
        let forms = linear.threads.iter().flatten().map(|segment| segment.form);
        let input = Input::new(input, forms, linear.blocks, rows);
        let width = linear.columns.last().copied().unwrap_or(0);
        assert_eq!(linear.threads.len(), self.team.size(), "packed for another team");
        let fits = |goal: &Goal| match goal {
            Goal::Best => true,
            Goal::Logits(row) => row * logits.stride + width <= logits.values.len(),
        };
        assert!(goals.iter().all(fits) && logits.stride >= width, "no room for the logits");
        let (kernels, stride, threads) = (self.kernels, logits.stride, self.team.size());
        let none = Best { values: [f32::NEG_INFINITY; LANES], tiles: [0; LANES] };
        winners.rows = rows;
        winners.best.clear();
        winners.best.resize(rows * threads, none);
        let best = Shared::new(winners.best.as_mut_ptr());
        let logits = Shared::new(logits.values.as_mut_ptr());
        let count = rows.div_ceil(kernels.rows);
        self.team.run(&|thread| {
            // SAFETY: each thread has its own rows of the winners.
            let best =
                unsafe { std::slice::from_raw_parts_mut(best.pointer().add(thread * rows), rows) };
            let mut product = Product::new();
            for segment in &linear.threads[thread] {
                let bytes = segment.form.tile_bytes(linear.blocks);
                for tile in 0..segment.tiles {
                    let offset = segment.offset + tile * bytes;
                    let tile_weights = weights.tiles(thread, offset, bytes).as_ptr();
                    let next = tile_weights.wrapping_add(bytes);
                    let column = segment.column + tile * COLUMNS;
                    for (at, rows) in row_tiles(rows, kernels.rows).enumerate() {
                        let ahead = Ahead::part(next, bytes, at, count);
                        // SAFETY: the tile is whole, and `input` was checked for these rows.
                        unsafe {
                            input.multiply(
                                kernels,
                                segment.form,
                                tile_weights,
                                rows.clone(),
                                ahead,
                                product.place(),
                            );
                        }
                        // columns that only fill the last tile are no tokens
                        let tokens = vocabulary.saturating_sub(column);
                        if tokens < COLUMNS {
                            let values = product.0.iter_mut();
                            values.for_each(|values| values[tokens..].fill(f32::NEG_INFINITY));
                        }
                        let number = (column / COLUMNS) as i32;
                        let values = product.0.as_ptr().cast();
                        // SAFETY: 16 values for each row; kernels of this machine. Of rows that
                        // want their logits nobody asks for the best.
                        unsafe { (kernels.best)(values, number, &mut best[rows.clone()]) };
                        for (goal, values) in goals[rows].iter().zip(&product.0) {
                            let Goal::Logits(place) = goal else { continue };
                            let place = place * stride + column;
                            let place = logits.pointer().wrapping_add(place);
                            // SAFETY: room was checked, and these columns belong to this thread
                            // alone.
                            unsafe { *place.cast::<[f32; COLUMNS]>() = *values };
                        }
                    }
                }
            }
        });
    }
}
