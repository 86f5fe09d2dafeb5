//! Phase: the gated half of the feed-forward part, each thread its own units of 32 columns.

use std::ops::Range;

use super::crew::Crew;
use super::many::Multiplier;
use super::multiply::{Input, PRODUCT_ROWS, Product, Tile, groups, panels};
use super::near::Lines;
use super::prepare::Output;
use super::table::{GateFn, Kernels};
use super::upcoming::{self, Errand, Upcoming};
use crate::engine::runners::cpu::activations::Activations;
use crate::engine::runners::cpu::form::{BLOCK, COLUMNS};
use crate::engine::runners::cpu::pack::Gated;
use crate::engine::runners::cpu::weights::Weights;

/// What is done to the gate before it is multiplied with up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    #[default]
    Silu,
    /// GELU, approximated with tanh.
    Gelu,
}

/// The phase, resolved for its threads.
struct Phase<'a> {
    kernels: &'static Kernels,
    activate: GateFn,
    gated: &'a Gated,
    weights: &'a Weights,
    input: Input,
    rows: usize,
    out: Output,
}

/// What a thread works with.
struct Work<'a> {
    by: Multiplier,
    /// 32 floats a row.
    results: *mut f32,
    products: [Product; 2],
    errand: Errand<'a>,
}

impl Crew {
    /// Scratch memory that [`Crew::gate`] needs.
    pub fn gate_scratch(rows: usize) -> usize {
        rows * BLOCK
    }

    /// `out = activation(gate(input)) * up(input)` for the first `rows` rows; what is upcoming is
    /// brought near meanwhile.
    pub fn gate(
        &mut self,
        gated: &Gated,
        weights: &Weights,
        input: &Activations,
        rows: usize,
        out: &mut Activations,
        upcoming: Option<Upcoming<'_>>,
    ) {
        let input = Input::new(self.kernels, input, gated.forms, gated.blocks, rows);
        let threads = self.team.size();
        assert_eq!(out.columns, gated.outputs, "the result has another width");
        assert_eq!(gated.threads.len(), threads, "packed for another team");
        assert!(upcoming.is_none_or(|it| it.bounds.len() == threads + 1), "units for another team");
        let kernels = self.kernels;
        let out = Output::new(out, kernels);
        assert!(out.rows() >= rows, "the result has no room");
        let activate = match gated.activation {
            Activation::Silu => kernels.gate,
            Activation::Gelu => kernels.gelu_gate,
        };
        let phase = Phase { kernels, activate, gated, weights, input, rows, out };
        let upcoming = upcoming.filter(|_| upcoming::ASKS);
        let scratch = self.scratch.parts(Self::gate_scratch(rows));
        let (multipliers, pieces) = (self.multipliers(rows), self.deal.begin(rows, 1));
        let steps = if kernels.pairs.is_some() { 2 } else { phase.products() };
        self.team.run(&|thread| {
            let units = |owner: usize| gated.threads[owner].0.len();
            // SAFETY: the thread takes one, and the weights are borrowed.
            let by = unsafe { multipliers.of(thread) };
            let mut work = Work {
                by,
                results: scratch.part(thread),
                products: [Product::new(), Product::new()],
                errand: Errand::new(upcoming, thread, units(thread) * steps),
            };
            for (owner, numbers) in pieces.take(thread, units) {
                // SAFETY: each unit comes once, and the scratch of this thread has all rows.
                numbers.for_each(|number| unsafe { phase.compute(owner, number, &mut work) });
            }
        });
    }
}

impl Phase<'_> {
    /// Products of a unit: two halves of gate and up for each panel.
    fn products(&self) -> usize {
        4 * panels(self.rows).len()
    }

    /// Computes a unit.
    ///
    /// # Safety
    /// No other thread computes this unit, and `work` has room for all rows.
    #[allow(unsafe_op_in_unsafe_fn, reason = "one contract for the whole function")]
    unsafe fn compute(&self, owner: usize, number: usize, work: &mut Work<'_>) {
        let Gated { forms, threads, .. } = self.gated;
        let (units, begin) = &threads[owner];
        let bytes = forms.map(|form| form.tile_bytes(self.gated.blocks));
        let pair = bytes[0] + bytes[1];
        for half in 0..2 {
            let tiles = self.weights.tiles(owner, begin + (2 * number + half) * pair, pair);
            let tiles = [&tiles[..bytes[0]], &tiles[bytes[0]..]];
            if work.by.pairs(*forms) {
                self.compute_together(tiles, half, work);
            } else {
                self.compute_panels(tiles, half, work);
            }
        }
        let results = work.results.cast_const();
        self.out.write_column(self.kernels, results, self.rows, units.start + number);
    }

    /// Computes half of a unit, from a tile of gate and one of up.
    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract of compute")]
    unsafe fn compute_panels(&self, tiles: [&[u8]; 2], half: usize, work: &mut Work<'_>) {
        let pair = tiles[0].len() + tiles[1].len();
        let next = tiles[0].as_ptr().wrapping_add(pair);
        let mut at = 0;
        for group in groups(self.rows, PRODUCT_ROWS) {
            for (which, tile) in tiles.iter().enumerate() {
                for rows in panels(group.len()) {
                    let ahead = Lines::part(next, pair, at, self.products() / 2);
                    let ahead = [ahead, work.errand.step()];
                    at += 1;
                    let form = self.gated.forms[which];
                    let place = work.products[which].place_of(rows.start);
                    let tile = Tile { form, weights: tile.as_ptr(), place, ahead };
                    let rows = group.start + rows.start..group.start + rows.end;
                    // the tile is whole, and `input` was checked for these rows
                    self.input.multiply(&mut work.by, tile, rows);
                }
            }
            self.activate(group, half, work);
        }
    }

    /// Computes half of a unit where both tiles are multiplied together.
    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract of compute")]
    unsafe fn compute_together(&self, tiles: [&[u8]; 2], half: usize, work: &mut Work<'_>) {
        let pair = tiles[0].len() + tiles[1].len();
        let next = tiles[0].as_ptr().wrapping_add(pair);
        let mut ahead = [Lines::part(next, pair, 0, 1), work.errand.step()];
        for rows in groups(self.rows, PRODUCT_ROWS) {
            let mut tiles = [0, 1].map(|which| {
                let (form, place) = (self.gated.forms[which], work.products[which].place());
                Tile { form, weights: tiles[which].as_ptr(), place, ahead: [Lines::NONE; 2] }
            });
            // once is enough
            tiles[0].ahead = std::mem::replace(&mut ahead, [Lines::NONE; 2]);
            // the tiles are whole, and `input` was checked for these rows
            self.input.multiply_together(&mut work.by, &tiles, rows.clone());
            self.activate(rows, half, work);
        }
    }

    /// Makes results of the products of some rows.
    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract of compute")]
    #[inline(always)]
    unsafe fn activate(&self, rows: Range<usize>, half: usize, work: &Work<'_>) {
        // the products have these rows, and the results 32 floats a row
        let [gate, up] = work.products.each_ref().map(|product| product.0.as_ptr());
        let result = work.results.wrapping_add(rows.start * BLOCK + half * COLUMNS);
        (self.activate)(gate.cast(), up.cast(), rows.len(), result, BLOCK);
    }
}
