//! Phase: rows times matrices, each thread its own output columns.

use std::ops::Range;

use super::crew::{Crew, Shared};
use super::many::Multiplier;
use super::near::Lines;
use super::tile::TileCall;
use crate::engine::runners::cpu::activations::Activations;
use crate::engine::runners::cpu::form::{COLUMNS, Form};
use crate::engine::runners::cpu::matrix::Matrix;
use crate::engine::runners::cpu::pack::Linear;
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

/// A tile of results, `[row][column]`.
#[repr(C, align(64))]
pub(super) struct Product(pub [[f32; COLUMNS]; PANEL_ROWS]);

impl Product {
    pub fn new() -> Self {
        Self([[0.0; COLUMNS]; PANEL_ROWS])
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

impl Product {
    pub fn place(&mut self) -> Place {
        let out = self.0.as_mut_ptr().cast();
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
    /// Checks that the activations have what these forms read, for this many rows.
    pub fn new(
        input: &Activations,
        forms: impl IntoIterator<Item = Form>,
        blocks: usize,
        rows: usize,
    ) -> Self {
        let mut this =
            Self { records: std::ptr::null(), floats: std::ptr::null(), stride: 0, blocks };
        if let Some(panels) = &input.panels {
            assert!(panels.blocks == blocks && panels.rows() >= rows, "panels of another shape");
            this.records = panels.records.as_ptr();
        }
        if let Some(floats) = &input.floats {
            let wide = floats.stride() >= blocks * crate::engine::runners::cpu::form::BLOCK;
            assert!(wide && floats.rows() >= rows, "rows of another shape");
            this.floats = floats.as_ptr();
            this.stride = floats.stride();
        }
        for form in forms {
            let missing =
                if form.is_quantised() { this.records.is_null() } else { this.floats.is_null() };
            assert!(!missing, "activations are not in the shape that {form:?} reads");
        }
        this
    }

    /// Multiplies rows, which lie in one panel, with a tile.
    ///
    /// Always inlined, as what it calls up to the kernel is: a call's fields, copied by two from where
    /// they were just stored one by one, are waited for until all results before have left the
    /// processor, which was 5 % of a prompt's time.
    ///
    /// # Safety
    /// `weights` is a tile of `form`; the rows were checked by [`Input::new`]; `place` is good for
    /// 16 columns of these rows.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub unsafe fn multiply(
        self,
        by: &mut Multiplier,
        form: Form,
        weights: *const u8,
        rows: Range<usize>,
        ahead: [Lines; 2],
        place: Place,
    ) {
        // SAFETY: within what `new` has checked.
        let input = unsafe {
            if form.is_quantised() {
                self.records.add(panel::first_record(rows.start, self.blocks))
            } else {
                self.floats.add(rows.start * self.stride).cast()
            }
        };
        let call = TileCall {
            weights,
            blocks: self.blocks,
            input,
            input_stride: self.stride,
            out: place.out,
            out_stride: place.stride,
            base: place.base,
            base_stride: place.base_stride,
            ahead,
        };
        // SAFETY: the caller and `new` vouch for the addresses, and panels are there as a whole.
        unsafe { by.multiply(form, &call, rows.len()) }
    }
}

/// The rows of each panel.
pub(super) fn panels(rows: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    let begins = (0..rows).step_by(PANEL_ROWS);
    begins.map(move |begin| begin..(begin + PANEL_ROWS).min(rows))
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
        let input = Input::new(input, forms, linear.blocks, rows);
        let width = linear.columns.last().copied().unwrap_or(0);
        assert!(out.rows() >= rows && out.stride() >= width, "the result has no room");
        if let Then::Store(Some(bias)) = then {
            assert!(bias.len() >= width, "the bias is too short");
        }
        assert_eq!(linear.threads.len(), self.team.size(), "packed for another team");
        let stride = out.stride();
        let out = Shared::new(out.as_mut_ptr());
        let count = panels(rows).len();
        let (multipliers, pieces) = (self.multipliers(rows), self.deal.begin(rows));
        let multiply = |by: &mut Multiplier, owner: usize, tile: usize| {
            let tile = linear.tile(owner, tile);
            let tile_weights = weights.tiles(owner, tile.offset, tile.bytes).as_ptr();
            let next = tile_weights.wrapping_add(tile.bytes);
            for (at, rows) in panels(rows).enumerate() {
                let out = out.pointer().wrapping_add(rows.start * stride + tile.column);
                let (base, base_stride) = match then {
                    Then::Store(None) => (std::ptr::null(), 0),
                    Then::Store(Some(bias)) => (bias[tile.column..].as_ptr(), 0),
                    Then::Add => (out.cast_const(), stride),
                };
                let ahead = [Lines::part(next, tile.bytes, at, count), Lines::NONE];
                // SAFETY: the tile is whole, and `input` was checked for these rows. These 16
                // columns of these rows exist, and they belong to whoever took this tile; the
                // bias is as long as the result is wide.
                unsafe {
                    let place = Place { out, stride, base, base_stride };
                    input.multiply(by, tile.form, tile_weights, rows, ahead, place);
                }
            }
        };
        self.team.run(&|thread| {
            // SAFETY: the thread takes one, and the weights are borrowed.
            let mut by = unsafe { multipliers.of(thread) };
            for (owner, tiles) in pieces.take(thread, |owner| linear.tiles(owner)) {
                tiles.for_each(|tile| multiply(&mut by, owner, tile));
            }
        });
    }
}
