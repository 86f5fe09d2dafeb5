//! Phase: the output head, with the greedy choice made on the way.
//!
//! Where only the best token is wanted, logits are never stored: each thread keeps the best
//! value of every lane, and the winners are compared at the end. Ties go to the lowest id.

use super::crew::{Crew, Shared};
use super::many::Multiplier;
use super::multiply::{Input, Product, Tile, panels};
use super::near::Lines;
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
    /// `[thread][own tiles, those of others][row]`: a lane keeps the first of equal values, so
    /// each list takes its tiles from left to right.
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
        let input = Input::new(self.kernels, input, forms, linear.blocks, rows);
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
        winners.best.resize(rows * threads * 2, none);
        let best = Shared::new(winners.best.as_mut_ptr());
        let logits = Shared::new(logits.values.as_mut_ptr());
        let count = panels(rows).len();
        let (multipliers, pieces) = (self.multipliers(rows), self.deal.begin(rows, 1));
        let multiply = |by: &mut Multiplier,
                        product: &mut Product,
                        owner: usize,
                        tile: usize,
                        best: &mut [Best]| {
            let found = linear.tile(owner, tile);
            let tile_weights = weights.tiles(owner, found.offset, found.bytes).as_ptr();
            let next = tile_weights.wrapping_add(found.bytes);
            for (at, rows) in panels(rows).enumerate() {
                let ahead = [Lines::part(next, found.bytes, at, count), Lines::NONE];
                let (form, weights, place) = (found.form, tile_weights, product.place());
                let tile = Tile { form, weights, place, ahead };
                // SAFETY: the tile is whole, and `input` was checked for these rows.
                unsafe { input.multiply(by, tile, rows.clone()) };
                // columns that only fill the last tile are no tokens
                let tokens = vocabulary.saturating_sub(found.column);
                if tokens < COLUMNS {
                    let values = product.0.iter_mut();
                    values.for_each(|values| values[tokens..].fill(f32::NEG_INFINITY));
                }
                let number = (found.column / COLUMNS) as i32;
                let values = product.0.as_ptr().cast();
                // SAFETY: 16 values for each row; kernels of this machine. Of rows that want
                // their logits nobody asks for the best.
                unsafe { (kernels.best)(values, number, &mut best[rows.clone()]) };
                for (goal, values) in goals[rows].iter().zip(&product.0) {
                    let Goal::Logits(place) = goal else { continue };
                    let place = logits.pointer().wrapping_add(place * stride + found.column);
                    // SAFETY: room was checked, and these columns belong to whoever took this
                    // tile.
                    unsafe { *place.cast::<[f32; COLUMNS]>() = *values };
                }
            }
        };
        self.team.run(&|thread| {
            let first = best.pointer().wrapping_add(thread * 2 * rows);
            // SAFETY: each thread has its own rows of the winners.
            let best = unsafe { std::slice::from_raw_parts_mut(first, 2 * rows) };
            let (own, others) = best.split_at_mut(rows);
            let mut product = Product::new();
            // SAFETY: the thread takes one, and the weights are borrowed.
            let mut by = unsafe { multipliers.of(thread) };
            for (owner, tiles) in pieces.take(thread, |owner| linear.tiles(owner)) {
                let best: &mut [Best] = if owner == thread { own } else { others };
                tiles.for_each(|tile| multiply(&mut by, &mut product, owner, tile, best));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::GgmlDType;

    use super::*;
    use crate::engine::runners::cpu::activations::Wanted;
    use crate::engine::runners::cpu::kernels::isa::Isa;
    use crate::engine::runners::cpu::matrix::Matrix;
    use crate::engine::runners::cpu::pack::tests::matrices;
    use crate::engine::runners::cpu::pack::{Layout, Part, Source};
    use crate::engine::weights::{RowOrder, TensorFiles};

    const VOCABULARY: usize = 900;
    const INPUTS: usize = 32;

    /// Every token's logit is equal but for those of `greatest`, which are equal too.
    fn files(greatest: [usize; 3]) -> TensorFiles {
        let value = |token| if greatest.contains(&token) { 1.0f32 } else { 0.5 };
        matrices(INPUTS, [(GgmlDType::Q8_0, VOCABULARY)], |_, at| value(at / INPUTS))
    }

    #[test]
    fn the_lowest_of_equal_tokens_wins_whichever_threads_compute_them() {
        let files = files([837, 101, 533]);
        let tensor = files.get("m0").unwrap();
        for threads in [1, 2, 3] {
            let mut layout = Layout::new(Source { files: &files, exact: false }, threads);
            let linear = layout.linear(&[Part { tensor, order: RowOrder::Plain }]);
            let weights = Weights::pack(&layout).unwrap();
            let mut crew = Crew::new(threads, Isa::best()).unwrap();
            for goals in [&[Goal::Best; 1][..], &[Goal::Best; 9]] {
                let ones = Matrix::zeros(goals.len(), INPUTS).map(|mut ones| {
                    (0..goals.len()).for_each(|row| ones.row_mut(row).fill(1.0));
                    ones
                });
                let wanted = Wanted { panels: true, floats: true };
                let mut input = Activations::new(goals.len(), INPUTS, wanted).unwrap();
                crew.take(&ones.unwrap(), goals.len(), &mut input);
                let task =
                    Task { linear: &linear, weights: &weights, vocabulary: VOCABULARY, goals };
                let mut winners = Winners::default();
                for _ in 0..300 {
                    let stride = VOCABULARY.next_multiple_of(COLUMNS);
                    crew.head(&task, &input, &mut winners, Logits { values: &mut [], stride });
                    let found = (0..goals.len()).map(|row| winners.winner(row));
                    assert!(found.into_iter().all(|token| token == Some(101)));
                }
            }
        }
    }
}
