//! Products in bf16, where an instruction set multiplies that and adds up in f32.
//!
//! Activations and weights are rounded to bf16, and what is summed needs no scales: that is closer to
//! f32 than bytes are, though not than bf16 weights in f32, and other bits. A row's result depends on
//! the row alone here too. Weights that are bf16 are packed as this wants them, and a model of such
//! is computed so for all rows; quantised ones are made ready first, for the rows of prompts. Two
//! tiles are multiplied together, and each with all rows before the next two.
#![allow(unsafe_op_in_unsafe_fn, reason = "each function states its contract")]

use super::tile::{SpreadFn, TileCall};
use crate::engine::runners::cpu::form::{BLOCK, COLUMNS, FORMS};
use crate::engine::runners::cpu::panel::LARGEST_RECORD;

/// Bytes of a block's activations, which are bf16 one after the other.
pub(super) const RECORD: usize = BLOCK * 2;
/// Bytes of a block's weights: for each pair of its elements `[column][2]` in bf16.
pub(super) const PAIRS: usize = BLOCK * COLUMNS * 2;

const _: () = assert!(RECORD <= LARGEST_RECORD);

/// The kernels.
pub(super) struct Pairs {
    /// What a thread does before the first product of a phase.
    pub begin: unsafe fn(),
    /// What it does after the last.
    pub end: unsafe fn(),
    /// Makes pairs of a call's weights, [`PAIRS`] bytes a block, and asks for what it brings near: by
    /// form, in the order of [`FORMS`], for those that are quantised.
    pub spread: [Option<SpreadFn>; FORMS.len()],
    /// Multiplies so many rows as one or two calls say, which differ in their weights and results
    /// alone. The weights are the pairs of each; where they are the first call's own, what it brings near
    /// is asked for here.
    ///
    /// # Safety
    /// As [`TileCall`] says, between `begin` and `end`; all panels of the rows are there as a whole, and
    /// there are pairs for as many calls.
    pub multiply: unsafe fn(&[TileCall], [*const u8; 2], usize),
}

/// [`Pairs::spread`] of a function that is generic over the quantised forms.
macro_rules! spread_by_form {
    ($spread:ident) => {
        [
            Some($spread::<tile::U4>),
            Some($spread::<tile::U4Super>),
            Some($spread::<tile::U8>),
            Some($spread::<tile::U8Min>),
            Some($spread::<tile::U8MinSuper>),
            Some($spread::<tile::U8Halves>),
            None,
            None,
            None,
        ]
    };
}

pub(super) use spread_by_form;
