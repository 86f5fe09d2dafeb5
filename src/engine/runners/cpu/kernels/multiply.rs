//! Phase: rows times matrices, each thread its own output columns.

use std::ops::Range;

use super::crew::{Crew, Shared};
use super::many::Multiplier;
use super::near::Lines;
use super::table::Kernels;
use super::tile::TileCall;
use crate::engine::runners::cpu::activations::Activations;
use crate::engine::runners::cpu::form::{BLOCK, COLUMNS, Form};
use crate::engine::runners::cpu::matrix::Matrix;
use crate::engine::runners::cpu::pack::{self, Linear};
use crate::engine::runners::cpu::panel::{self, PANEL_ROWS};
use crate::engine::runners::cpu::weights::Weights;

/// What becomes of a product.
#[derive(Debug, Clone, Copy)]
pub enum Then<'a> {
    /// It is stored, with a bias where there is one; the bias is laid out like the outputs.
    Store(Option<&'a [f32]>),
    /// It is added to what is there.
    Add,
}

/// Rows of a tile's results that are kept near.
pub(super) const PRODUCT_ROWS: usize = 4 * PANEL_ROWS;

/// Results of a tile, `[row][column]`.
#[repr(C, align(64))]
pub(super) struct Product(pub [[f32; COLUMNS]; PRODUCT_ROWS]);

impl Product {
    pub fn new() -> Self {
        Self([[0.0; COLUMNS]; PRODUCT_ROWS])
    }
}

/// Where a kernel's results go.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub out: *mut f32,
    pub stride: usize,
    /// What is added to them, or null.
    pub base: *const f32,
    pub base_stride: usize,
}

/// A tile of weights, and what becomes of its products.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub form: Form,
    pub weights: *const u8,
    pub place: Place,
    /// What is brought near meanwhile.
    pub ahead: [Lines; 2],
}

impl Product {
    /// Where its rows are.
    pub fn place(&mut self) -> Place {
        self.place_of(0)
    }

    /// Where its rows from `row` on are.
    pub fn place_of(&mut self, row: usize) -> Place {
        let out = self.0[row..].as_mut_ptr().cast();
        Place { out, stride: COLUMNS, base: std::ptr::null(), base_stride: 0 }
    }
}

/// Input of a kernel, resolved to addresses once for a phase.
#[derive(Clone, Copy)]
pub(super) struct Input {
    records: *const u8,
    floats: *const f32,
    stride: usize,
    blocks: usize,
}

// SAFETY: it is only read, and the phase keeps the activations borrowed.
unsafe impl Send for Input {}
// SAFETY: as above.
unsafe impl Sync for Input {}

impl Input {
    /// Checks that the activations have what these forms read, for this many rows, with these kernels.
    pub fn new(
        kernels: &Kernels,
        input: &Activations,
        forms: impl IntoIterator<Item = Form>,
        blocks: usize,
        rows: usize,
    ) -> Self {
        let mut this =
            Self { records: std::ptr::null(), floats: std::ptr::null(), stride: 0, blocks };
        // of two shapes the rows may have been written in one
        let wanted = input.wanted(kernels.in_bf16());
        if let Some(panels) = input.panels.as_ref().filter(|_| wanted.panels) {
            assert!(panels.blocks == blocks && panels.rows() >= rows, "panels of another shape");
            this.records = panels.records.as_ptr();
        }
        if let Some(floats) = input.floats.as_ref().filter(|_| wanted.floats) {
            let wide = floats.stride() >= blocks * BLOCK;
            assert!(wide && floats.rows() >= rows, "rows of another shape");
            this.floats = floats.as_ptr();
            this.stride = floats.stride();
        }
        for form in forms {
            let missing = if kernels.reads_records(form) {
                this.records.is_null()
            } else {
                this.floats.is_null()
            };
            assert!(!missing, "activations are not in the shape that {form:?} reads");
        }
        this
    }

    /// Multiplies rows, which lie in one panel, with a tile: the first ones of the panel or, where they are
    /// not in bf16, one alone.
    ///
    /// Always inlined, as what it calls up to the kernel is: a call's fields, copied by two from where
    /// they were just stored one by one, are waited for until all results before have left the
    /// processor, which was 5 % of a prompt's time.
    ///
    /// # Safety
    /// Its weights are a tile of its form; the rows were checked by [`Input::new`]; its place is good
    /// for 16 columns of these rows.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub unsafe fn multiply(self, by: &mut Multiplier, tile: Tile, rows: Range<usize>) {
        // SAFETY: the caller and `new` vouch for the addresses, and panels are there as a whole.
        unsafe {
            let call = self.call(by, tile, rows.start);
            by.multiply(tile.form, &call, rows.len());
        }
    }

    /// Multiplies rows, which begin a panel, with one or two tiles for which [`Multiplier::pairs`]. What
    /// is brought near is the first one's, and asked for with the first rows of a tile.
    ///
    /// # Safety
    /// As for [`Input::multiply`].
    #[allow(unsafe_code)]
    pub unsafe fn multiply_together(self, by: &mut Multiplier, tiles: &[Tile], rows: Range<usize>) {
        let (first, last) = (tiles[0], tiles[tiles.len() - 1]);
        // SAFETY: the caller and `new` vouch for the addresses, and panels are there as a whole.
        unsafe {
            let calls = [self.call(by, first, rows.start), self.call(by, last, rows.start)];
            by.multiply_together(&[first.form, last.form], &calls[..tiles.len()], rows.len());
        }
    }

    /// Writes what kernels of this form take a row's elements for: `elements` of them, those beyond the
    /// input 0. Gives whether all are numbers.
    ///
    /// # Safety
    /// The row was checked by [`Input::new`], with these kernels and this form; there is room for so
    /// many elements, and they are no fewer than the input's.
    #[allow(unsafe_code)]
    #[allow(unsafe_op_in_unsafe_fn, reason = "one contract for the whole function")]
    pub unsafe fn widen(
        self,
        kernels: &Kernels,
        form: Form,
        row: usize,
        to: *mut f32,
        elements: usize,
    ) -> bool {
        let depth = self.blocks * BLOCK;
        std::ptr::write_bytes(to.add(depth), 0, elements - depth);
        if kernels.reads_records(form) {
            let mut numbers = true;
            for block in 0..self.blocks {
                let number = panel::first_record(row, self.blocks) + block * PANEL_ROWS;
                let record = self.records.add(number * kernels.record);
                numbers &= widen_record(record, &mut *to.add(block * BLOCK).cast());
            }
            return numbers;
        }
        std::ptr::copy_nonoverlapping(self.floats.add(row * self.stride), to, depth);
        let mut numbers = true;
        for value in std::slice::from_raw_parts(to, depth) {
            numbers &= value.to_bits() & f32::INFINITY.to_bits() != f32::INFINITY.to_bits();
        }
        numbers
    }

    /// A tile's call for rows from `row` on.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn call(self, by: &Multiplier, tile: Tile, row: usize) -> TileCall {
        // SAFETY: within what `new` has checked.
        let input = unsafe {
            if by.kernels().reads_records(tile.form) {
                self.records.add(panel::first_record(row, self.blocks) * by.kernels().record)
            } else {
                self.floats.add(row * self.stride).cast()
            }
        };
        TileCall {
            weights: tile.weights,
            blocks: self.blocks,
            input,
            input_stride: self.stride,
            out: tile.place.out,
            out_stride: tile.place.stride,
            base: tile.place.base,
            base_stride: tile.place.base_stride,
            ahead: tile.ahead,
        }
    }
}

/// Widens a record. What was no number among its elements is none in its header.
///
/// # Safety
/// It is one of bytes.
#[allow(unsafe_code)]
#[allow(unsafe_op_in_unsafe_fn, reason = "one contract for the whole function")]
unsafe fn widen_record(record: *const u8, to: &mut [f32; BLOCK]) -> bool {
    let [scale, scaled_sum] = *record.add(panel::SCALE).cast::<[f32; 2]>();
    let mut sum = 0;
    for (to, byte) in to.iter_mut().zip(&*record.cast::<[i8; BLOCK]>()) {
        *to = scale * f32::from(*byte);
        sum += i32::from(*byte);
    }
    scale * sum as f32 == scaled_sum
}

/// The rows of each panel.
pub(super) fn panels(rows: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    groups(rows, PANEL_ROWS)
}

/// So many rows at a time.
pub(super) fn groups(rows: usize, each: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    (0..rows).step_by(each).map(move |begin| begin..(begin + each).min(rows))
}

impl Crew {
    /// Multiplies the first `rows` rows of `input`.
    pub fn multiply(
        &mut self,
        linear: &Linear,
        weights: &Weights,
        input: &Activations,
        rows: usize,
        out: &mut Matrix,
        then: Then<'_>,
    ) {
        let forms = linear.threads.iter().flatten().map(|segment| segment.form);
        let input = Input::new(self.kernels, input, forms, linear.blocks, rows);
        let width = linear.columns.last().copied().unwrap_or(0);
        assert!(out.rows() >= rows && out.stride() >= width, "the result has no room");
        if let Then::Store(Some(bias)) = then {
            assert!(bias.len() >= width, "the bias is too short");
        }
        assert_eq!(linear.threads.len(), self.team.size(), "packed for another team");
        let phase = Phase {
            linear,
            weights,
            input,
            rows,
            stride: out.stride(),
            out: Shared::new(out.as_mut_ptr()),
            then,
        };
        let together = if self.kernels.pairs.is_some() { TOGETHER } else { 1 };
        let (multipliers, pieces) = (self.multipliers(rows), self.deal.begin(rows, together));
        self.team.run(&|thread| {
            // SAFETY: the thread takes one, and the weights are borrowed.
            let mut by = unsafe { multipliers.of(thread) };
            for (owner, tiles) in pieces.take(thread, |owner| linear.tiles(owner)) {
                // SAFETY: whoever takes tiles has their columns, and all was checked above.
                unsafe { phase.multiply(&mut by, owner, tiles) };
            }
        });
    }
}

/// Tiles that are multiplied together where [`Multiplier::pairs`].
const TOGETHER: usize = 2;

/// The phase, resolved for its threads.
struct Phase<'a> {
    linear: &'a Linear,
    weights: &'a Weights,
    input: Input,
    rows: usize,
    out: Shared<f32>,
    stride: usize,
    then: Then<'a>,
}

impl Phase<'_> {
    /// Multiplies all rows with some tiles of a thread.
    ///
    /// # Safety
    /// The input, the result and the bias are as [`Crew::multiply`] has checked them, and nobody else
    /// has these tiles.
    #[allow(unsafe_op_in_unsafe_fn, reason = "one contract for the whole function")]
    unsafe fn multiply(&self, by: &mut Multiplier, owner: usize, tiles: Range<usize>) {
        if by.pairs(self.linear.threads[owner].iter().map(|segment| segment.form)) {
            for first in tiles.clone().step_by(TOGETHER) {
                self.multiply_together(by, owner, first..tiles.end.min(first + TOGETHER));
            }
        } else {
            tiles.for_each(|tile| self.multiply_panels(by, owner, tile));
        }
    }

    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract of multiply")]
    unsafe fn multiply_panels(&self, by: &mut Multiplier, owner: usize, tile: usize) {
        let found = self.linear.tile(owner, tile);
        let count = panels(self.rows).len();
        for (at, rows) in panels(self.rows).enumerate() {
            let mut tile = self.tile(owner, found, rows.start);
            let next = tile.weights.wrapping_add(found.bytes);
            tile.ahead[0] = Lines::part(next, found.bytes, at, count);
            self.input.multiply(by, tile, rows);
        }
    }

    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract of multiply")]
    unsafe fn multiply_together(&self, by: &mut Multiplier, owner: usize, tiles: Range<usize>) {
        let found = [tiles.start, tiles.end - 1].map(|tile| self.linear.tile(owner, tile));
        let mut both = found.map(|found| self.tile(owner, found, 0));
        // the first one asks for those that come after both
        let next = both[1].weights.wrapping_add(found[1].bytes);
        both[0].ahead[0] = Lines::part(next, tiles.len() * found[1].bytes, 0, 1);
        self.input.multiply_together(by, &both[..tiles.len()], 0..self.rows);
    }

    /// A tile and what becomes of its products with the rows from `row` on.
    #[inline(always)]
    fn tile(&self, owner: usize, found: pack::Place, row: usize) -> Tile {
        let (out, stride) = (self.out.pointer(), self.stride);
        let out = out.wrapping_add(row * stride + found.column);
        let (base, base_stride) = match self.then {
            Then::Store(None) => (std::ptr::null(), 0),
            Then::Store(Some(bias)) => (bias[found.column..].as_ptr(), 0),
            Then::Add => (out.cast_const(), stride),
        };
        let weights = self.weights.tiles(owner, found.offset, found.bytes).as_ptr();
        let place = Place { out, stride, base, base_stride };
        Tile { form: found.form, weights, place, ahead: [Lines::NONE; 2] }
    }
}
