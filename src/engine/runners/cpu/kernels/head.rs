//! Phase: the output head, with the greedy choice made on the way.
//!
//! Where only the best token is wanted, logits are never stored: each thread keeps the best
//! value of every lane, and the winners are compared at the end. Ties go to the lowest id.

use std::ops::Range;

use super::crew::{Crew, Shared};
use super::many::Multiplier;
use super::multiply::{Input, Product, Tile, panels};
use super::near::Lines;
use super::rows::Best;
use super::table::Kernels;
use crate::engine::runners::cpu::activations::Activations;
use crate::engine::runners::cpu::form::COLUMNS;
use crate::engine::runners::cpu::pack::{Linear, Place};
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

impl Logits<'_> {
    /// No memory, where no row wants its logits.
    pub fn none() -> Self {
        Self { values: &mut [], stride: 0 }
    }
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
    /// `[thread][list][row]`: a lane keeps the first of equal values, so each list takes its tiles from
    /// left to right.
    best: Vec<Best>,
    rows: usize,
}

impl Winners {
    /// Begins anew, for so many rows and threads.
    pub(super) fn begin(&mut self, rows: usize, threads: usize) -> Lists {
        self.rows = rows;
        self.best.clear();
        self.best.resize(rows * threads * 2, Best::NONE);
        Lists { best: Shared::new(self.best.as_mut_ptr()), rows }
    }

    /// The greatest logit of a row.
    pub(super) fn greatest(&self, row: usize) -> f32 {
        let lists = self.best[row..].iter().step_by(self.rows);
        lists.flat_map(|best| best.values).fold(f32::NEG_INFINITY, f32::max)
    }

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

/// The lists of all threads, two for each.
#[derive(Clone, Copy)]
pub(super) struct Lists {
    best: Shared<Best>,
    rows: usize,
}

impl Lists {
    /// A thread's lists.
    ///
    /// # Safety
    /// The thread takes them once as long as they live, and the winners are not begun anew meanwhile.
    pub unsafe fn of<'a>(self, thread: usize) -> [&'a mut [Best]; 2] {
        let first = self.best.pointer().wrapping_add(thread * 2 * self.rows);
        // SAFETY: each thread has its own, side by side.
        [first, first.wrapping_add(self.rows)]
            .map(|list| unsafe { std::slice::from_raw_parts_mut(list, self.rows) })
    }
}

/// The head as its own kernels compute it, resolved for the threads of a phase.
#[derive(Clone, Copy)]
pub(super) struct Exact<'a> {
    kernels: &'static Kernels,
    task: Task<'a>,
    input: Input,
    logits: Shared<f32>,
    stride: usize,
}

impl<'a> Exact<'a> {
    /// Multiplies one row of `input` for each goal.
    pub fn new(crew: &Crew, task: Task<'a>, input: &Activations, logits: Logits<'_>) -> Self {
        let Task { linear, goals, .. } = task;
        let forms = linear.threads.iter().flatten().map(|segment| segment.form);
        let input = Input::new(crew.kernels, input, forms, linear.blocks, goals.len());
        let width = linear.columns.last().copied().unwrap_or(0);
        assert_eq!(linear.threads.len(), crew.team.size(), "packed for another team");
        let fits = |goal: &Goal| match goal {
            Goal::Best => true,
            Goal::Logits(row) => {
                logits.stride >= width && row * logits.stride + width <= logits.values.len()
            }
        };
        assert!(goals.iter().all(fits), "no room for the logits");
        let (kernels, stride) = (crew.kernels, logits.stride);
        Self { kernels, task, input, logits: Shared::new(logits.values.as_mut_ptr()), stride }
    }

    /// Writes what the kernels take a row's elements for, and zeros after them. Gives whether all are
    /// numbers.
    ///
    /// # Safety
    /// There is room for so many elements, which are no fewer than a row's.
    pub unsafe fn widen(&self, row: usize, to: *mut f32, elements: usize) -> bool {
        // a head is one matrix, and has one form
        let form = self.task.linear.threads.iter().flatten().map(|segment| segment.form).next();
        // SAFETY: the caller's promise, and the input was checked for the rows.
        form.is_some_and(|form| unsafe { self.input.widen(self.kernels, form, row, to, elements) })
    }

    /// A tile by its number among all, and whose it is.
    pub fn find(&self, number: usize) -> (usize, Place) {
        self.task.linear.find(number)
    }

    /// What a tile, which is `owner`'s, is read from.
    pub fn lines(&self, (owner, tile): (usize, Place)) -> Lines {
        Lines::part(self.weights(owner, tile), tile.bytes, 0, 1)
    }

    /// The address of a tile, which is `owner`'s.
    pub fn weights(&self, owner: usize, tile: Place) -> *const u8 {
        self.task.weights.tiles(owner, tile.offset, tile.bytes).as_ptr()
    }

    /// Multiplies rows with a tile that is `owner`'s, and has `best`, one for each of the rows, take their
    /// results.
    ///
    /// # Safety
    /// The kernels are those of this machine; the rows are the first ones of a panel, or one alone; nobody
    /// else has the tile for those that want their logits.
    #[inline(always)]
    pub unsafe fn multiply(
        &self,
        by: &mut Multiplier,
        product: &mut Product,
        (owner, tile): (usize, Place),
        rows: Range<usize>,
        ahead: Lines,
        best: &mut [Best],
    ) {
        let (form, weights, place) = (tile.form, self.weights(owner, tile), product.place());
        let ahead = [ahead, Lines::NONE];
        // SAFETY: the tile is whole, and the input was checked for these rows.
        unsafe { self.input.multiply(by, Tile { form, weights, place, ahead }, rows.clone()) };
        // columns that only fill the last tile are no tokens
        let tokens = self.task.vocabulary.saturating_sub(tile.column);
        if tokens < COLUMNS {
            let values = product.0.iter_mut();
            values.for_each(|values| values[tokens..].fill(f32::NEG_INFINITY));
        }
        let number = (tile.column / COLUMNS) as i32;
        // SAFETY: 16 values for each row. Of rows that want their logits nobody asks for the best.
        unsafe { (self.kernels.best)(product.0.as_ptr().cast(), number, best) };
        for (goal, values) in self.task.goals[rows].iter().zip(&product.0) {
            let Goal::Logits(row) = goal else { continue };
            let place = self.logits.pointer().wrapping_add(row * self.stride + tile.column);
            // SAFETY: room was checked, and these columns belong to whoever took this tile.
            unsafe { *place.cast::<[f32; COLUMNS]>() = *values };
        }
    }
}

impl Crew {
    /// Multiplies one row of `input` for each goal.
    pub fn head(
        &mut self,
        task: Task<'_>,
        input: &Activations,
        winners: &mut Winners,
        logits: Logits<'_>,
    ) {
        let (linear, rows) = (task.linear, task.goals.len());
        let exact = Exact::new(self, task, input, logits);
        let (lists, count) = (winners.begin(rows, self.team.size()), panels(rows).len());
        let (multipliers, pieces) = (self.multipliers(rows), self.deal.begin(rows, 1));
        self.team.run(&|thread| {
            // SAFETY: the thread takes both once, and the weights are borrowed.
            let (mut by, [own, others]) = unsafe { (multipliers.of(thread), lists.of(thread)) };
            let mut product = Product::new();
            for (owner, tiles) in pieces.take(thread, |owner| linear.tiles(owner)) {
                let best: &mut [Best] = if owner == thread { own } else { others };
                for tile in tiles.map(|tile| linear.tile(owner, tile)) {
                    let next = exact.weights(owner, tile).wrapping_add(tile.bytes);
                    for (at, rows) in panels(rows).enumerate() {
                        let (ahead, best) =
                            (Lines::part(next, tile.bytes, at, count), &mut best[rows.clone()]);
                        // SAFETY: whoever takes a tile has it alone.
                        unsafe {
                            exact.multiply(&mut by, &mut product, (owner, tile), rows, ahead, best);
                        }
                    }
                }
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
                    crew.head(task, &input, &mut winners, Logits { values: &mut [], stride });
                    let found = (0..goals.len()).map(|row| winners.winner(row));
                    assert!(found.into_iter().all(|token| token == Some(101)));
                }
            }
        }
    }
}
