//! Phase: the gated half of the feed-forward part, each thread its own units of 32 columns.

use super::crew::{Ahead, Crew};
use super::multiply::{Input, Product, panels};
use super::prepare::Output;
use super::upcoming::{Errand, Upcoming};
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

/// What a thread works with.
struct Work<'a> {
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
        let input = Input::new(input, gated.forms, gated.blocks, rows);
        assert_eq!(out.columns, gated.outputs, "the result has another width");
        assert_eq!(gated.threads.len(), self.team.size(), "packed for another team");
        let out = Output::new(out);
        assert!(out.rows() >= rows, "the result has no room");
        let scratch = self.scratch.parts(Self::gate_scratch(rows));
        let kernels = self.kernels;
        let activate = match gated.activation {
            Activation::Silu => kernels.gate,
            Activation::Gelu => kernels.gelu_gate,
        };
        let bytes = gated.forms.map(|form| form.tile_bytes(gated.blocks));
        let pair = bytes[0] + bytes[1];
        let calls = 2 * panels(rows).len();
        let pieces = self.deal.begin(rows);
        let unit = |owner: usize, number: usize, work: &mut Work<'_>| {
            let Work { results, products, errand } = work;
            let (units, begin) = &gated.threads[owner];
            for half in 0..2 {
                let tiles = weights.tiles(owner, begin + (2 * number + half) * pair, pair);
                let next = tiles.as_ptr().wrapping_add(pair);
                for (at, rows) in panels(rows).enumerate() {
                    for (which, product) in products.iter_mut().enumerate() {
                        errand.step();
                        let ahead = Ahead::part(next, pair, 2 * at + which, calls);
                        let tile = tiles[which * bytes[0]..].as_ptr();
                        let (form, place) = (gated.forms[which], product.place());
                        // SAFETY: the tile is whole, and `input` was checked for these rows.
                        unsafe {
                            input.multiply(kernels, form, tile, rows.clone(), ahead, place);
                        }
                    }
                    let [gate, up] = products.each_ref().map(|product| product.0.as_ptr());
                    let result = results.wrapping_add(rows.start * BLOCK + half * COLUMNS);
                    // SAFETY: the products have these rows, and the scratch is this thread's and
                    // has 32 floats a row.
                    unsafe { activate(gate.cast(), up.cast(), rows.len(), result, BLOCK) };
                }
            }
            let at = units.start + number;
            // SAFETY: this unit of all rows belongs to whoever took it, and the scratch has them.
            unsafe { out.write_column(kernels, results.cast_const(), rows, at) };
        };
        self.team.run(&|thread| {
            let steps = gated.threads[thread].0.len() * 2 * calls;
            let mut work = Work {
                results: scratch.part(thread),
                products: [Product::new(), Product::new()],
                errand: Errand::new(upcoming, thread, steps),
            };
            for (owner, units) in pieces.take(thread, |owner| gated.threads[owner].0.len()) {
                units.for_each(|number| unit(owner, number, &mut work));
            }
        });
    }
}
