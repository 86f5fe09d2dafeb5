//! The kernels of one instruction set, as a table that is chosen once.

use super::heads::HeadsCall;
use super::rows::Best;
use super::simd::Simd;
use super::tile::{MAX_ROWS, TileFn};
use crate::engine::runners::cpu::form::{FORMS, Form};
use crate::engine::runners::cpu::panel::PANEL_ROWS;

/// Puts a position's key and value into their block.
pub(super) type KeepFn = unsafe fn(*const f32, *const f32, usize, *mut u8, usize);

/// Puts rows of activated gates times ups where its last two arguments say.
pub(super) type GateFn = unsafe fn(*const f32, *const f32, usize, *mut f32, usize);

/// The kernels of one instruction set; their contracts are with their definitions.
pub(super) struct Kernels {
    /// Most rows that a tile kernel is given.
    pub rows: usize,
    /// By form, in the order of [`FORMS`], and by the number of rows less 1.
    pub tiles: [&'static [TileFn]; FORMS.len()],
    pub norm: unsafe fn(*const f32, *const f32, usize, f32, *mut f32),
    pub quantise: unsafe fn(*const f32, usize, *mut u8, usize),
    pub gate: GateFn,
    pub gelu_gate: GateFn,
    pub rope: unsafe fn(*mut f32, *const f32, *const f32, usize, f32),
    pub best: unsafe fn(*const f32, i32, &mut [Best]),
    pub attend: unsafe fn(&HeadsCall),
    pub keep: KeepFn,
    /// [`Kernels::attend`] and [`Kernels::keep`] for keys and values in f32.
    pub attend_exactly: unsafe fn(&HeadsCall),
    pub keep_exactly: KeepFn,
}

impl Kernels {
    /// The kernel for this form and number of rows, [`Kernels::rows`] at most.
    pub fn tile(&self, form: Form, rows: usize) -> TileFn {
        self.tiles[form as usize][rows - 1]
    }
}

/// Compiles every kernel for an implementation of `Simd` with its target features: those of tiles
/// for each number of rows whose results fit the registers.
macro_rules! kernels {
    ($simd:ident, [$($features:literal)?], $rows:tt) => {
        mod entries {
            #![allow(unsafe_op_in_unsafe_fn)]
            use super::$simd;
            use super::super::heads::{self, Element, HeadsCall};
            use super::super::rows::{self, Best};
            use super::super::tile::{self, Dense, Quants, TileCall};

            $(#[target_feature(enable = $features)])?
            pub unsafe fn quantised<Q: Quants, const R: usize>(call: &TileCall) {
                tile::quantised::<$simd, Q, R>(call);
            }
            $(#[target_feature(enable = $features)])?
            pub unsafe fn dense<D: Dense, const R: usize>(call: &TileCall) {
                tile::dense::<$simd, D, R>(call);
            }
            $(#[target_feature(enable = $features)])?
            pub unsafe fn norm(x: *const f32, w: *const f32, n: usize, eps: f32, out: *mut f32) {
                rows::norm::<$simd>(x, w, n, eps, out);
            }
            $(#[target_feature(enable = $features)])?
            pub unsafe fn quantise(x: *const f32, blocks: usize, to: *mut u8, stride: usize) {
                rows::quantise::<$simd>(x, blocks, to, stride);
            }
            $(#[target_feature(enable = $features)])?
            pub unsafe fn gate(
                gate: *const f32,
                up: *const f32,
                rows: usize,
                out: *mut f32,
                stride: usize,
            ) {
                rows::gate::<$simd>(gate, up, rows, out, stride);
            }
            $(#[target_feature(enable = $features)])?
            pub unsafe fn gelu_gate(
                gate: *const f32,
                up: *const f32,
                rows: usize,
                out: *mut f32,
                stride: usize,
            ) {
                rows::gelu_gate::<$simd>(gate, up, rows, out, stride);
            }
            $(#[target_feature(enable = $features)])?
            pub unsafe fn rope(
                x: *mut f32,
                cos: *const f32,
                sin: *const f32,
                half: usize,
                factor: f32,
            ) {
                rows::rope::<$simd>(x, cos, sin, half, factor);
            }
            $(#[target_feature(enable = $features)])?
            pub unsafe fn best(values: *const f32, tile: i32, best: &mut [Best]) {
                rows::best::<$simd>(values, tile, best);
            }
            $(#[target_feature(enable = $features)])?
            pub unsafe fn attend<E: Element>(call: &HeadsCall) {
                heads::attend::<$simd, E>(call);
            }
            $(#[target_feature(enable = $features)])?
            pub unsafe fn keep<E: Element>(
                key: *const f32,
                value: *const f32,
                width: usize,
                block: *mut u8,
                place: usize,
            ) {
                heads::keep::<$simd, E>(key, value, width, block, place);
            }
        }

        const _: () = super::table::check::<$simd>(&$rows);

        /// The table of these kernels.
        pub(super) static KERNELS: super::table::Kernels = super::table::Kernels {
            rows: $rows.len(),
            tiles: [
                super::table::by_rows!(quantised, U4, $rows),
                super::table::by_rows!(quantised, U4Wide, $rows),
                super::table::by_rows!(quantised, U8, $rows),
                super::table::by_rows!(quantised, U8Min, $rows),
                super::table::by_rows!(quantised, U8MinWide, $rows),
                super::table::by_rows!(quantised, U8Halves, $rows),
                super::table::by_rows!(dense, F32, $rows),
                super::table::by_rows!(dense, F16, $rows),
                super::table::by_rows!(dense, Bf16, $rows),
            ],
            norm: entries::norm,
            quantise: entries::quantise,
            gate: entries::gate,
            gelu_gate: entries::gelu_gate,
            rope: entries::rope,
            best: entries::best,
            attend: entries::attend::<super::heads::Half>,
            keep: entries::keep::<super::heads::Half>,
            attend_exactly: entries::attend::<super::heads::Single>,
            keep_exactly: entries::keep::<super::heads::Single>,
        };
    };
}

/// The kernels of tiles are found by their number of rows, and rows never cross a panel.
pub(super) const fn check<S: Simd>(rows: &[usize]) {
    let mut place = 0;
    while place < rows.len() {
        assert!(rows[place] == place + 1, "a number of rows is missing");
        place += 1;
    }
    assert!(rows.len() <= MAX_ROWS && PANEL_ROWS.is_multiple_of(rows.len()));
    assert!(matches!(S::QUERIES, 1 | 6 | 12), "attention has kernels for these alone");
}

macro_rules! by_rows {
    ($kernel:ident, $form:ident, [$($rows:literal),*]) => {
        &[$(entries::$kernel::<super::tile::$form, $rows>),*]
    };
}

pub(super) use {by_rows, kernels};
