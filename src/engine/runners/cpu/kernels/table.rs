//! The kernels of one instruction set, as a table that is chosen once.

use super::heads::HeadsCall;
use super::many::Many;
use super::pairs::Pairs;
use super::rows::Best;
use super::simd::Simd;
use super::sketch::Sketches;
use super::tile::{TileCall, TileFn};
use crate::engine::runners::cpu::form::{FORMS, Form};
use crate::engine::runners::cpu::panel::PANEL_ROWS;

/// Least rows that a kernel for any number of them is given.
pub(super) const QUAD: usize = 4;

/// A kernel for one form and any rows of one panel.
pub(super) type QuadsFn = unsafe fn(&TileCall, usize);

/// Puts a position's key and value into their block.
pub(super) type KeepFn = unsafe fn(*const f32, *const f32, usize, *mut u8, usize);

/// Puts rows of activated gates times ups where its last two arguments say.
pub(super) type GateFn = unsafe fn(*const f32, *const f32, usize, *mut f32, usize);

/// The kernels of one instruction set; their contracts are with their definitions.
pub(super) struct Kernels {
    /// By form, in the order of [`FORMS`], and by the number of rows less 1.
    pub tiles: [&'static [TileFn]; FORMS.len()],
    /// By form, where there is one: for [`QUAD`] rows and more. Then `tiles` has those for fewer.
    pub quads: [Option<QuadsFn>; FORMS.len()],
    /// By form, where there is one and none of the above: for all rows of a panel.
    pub panel: [Option<TileFn>; FORMS.len()],
    /// Other ways for many rows, that for the most rows first.
    pub many: &'static [&'static Many],
    /// Another arithmetic, for the rows of prompts and for weights in bf16, where there is one.
    pub bf16: Option<&'static Kernels>,
    /// What multiplies all forms that have pairs, where it is none of the above.
    pub pairs: Option<&'static Pairs>,
    /// What finds the best tokens of many rows by way of a sketch, where there is that.
    pub sketches: Option<&'static Sketches>,
    /// Bytes of what [`Kernels::quantise`] makes of a block.
    pub record: usize,
    pub norm: unsafe fn(*const f32, *const f32, usize, f32, *mut f32),
    pub quantise: unsafe fn(*const f32, usize, *mut u8, usize),
    pub gate: GateFn,
    pub gelu_gate: GateFn,
    pub rope: unsafe fn(*const f32, *const f32, *const f32, usize, f32, *mut f32),
    pub best: unsafe fn(*const f32, i32, &mut [Best]),
    pub attend: unsafe fn(&HeadsCall),
    pub keep: KeepFn,
    /// [`Kernels::attend`] and [`Kernels::keep`] for keys and values in f32.
    pub attend_exactly: unsafe fn(&HeadsCall),
    pub keep_exactly: KeepFn,
}

impl Kernels {
    /// Whether they multiply in bf16 whatever has pairs.
    #[inline(always)]
    pub fn in_bf16(&self) -> bool {
        self.pairs.is_some()
    }

    /// Whether tiles of this form are multiplied with records of activations, and not with floats.
    #[inline(always)]
    pub fn reads_records(&self, form: Form) -> bool {
        if self.in_bf16() { form.has_pairs() } else { form.is_quantised() }
    }

    /// The other way to multiply in a phase of this many rows, where there is one.
    pub fn many(&self, rows: usize) -> Option<&'static Many> {
        self.many.iter().copied().find(|many| rows >= many.rows)
    }

    /// Multiplies `rows` rows, which lie in one panel, with a tile.
    ///
    /// # Safety
    /// As [`TileCall`] says, for so many rows, on a machine that has these kernels.
    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract is that of TileCall")]
    #[inline(always)]
    pub unsafe fn multiply(&self, form: Form, call: &TileCall, rows: usize) {
        if let Some(multiply) = self.quads[form as usize].filter(|_| rows >= QUAD) {
            return multiply(call, rows);
        }
        if let Some(multiply) = self.panel[form as usize].filter(|_| rows == PANEL_ROWS) {
            return multiply(call);
        }
        let tiles = self.tiles[form as usize];
        let mut done = 0;
        while done < rows {
            let some = tiles.len().min(rows - done);
            tiles[some - 1](&call.part(form, done..done + some, rows));
            done += some;
        }
    }
}

/// Compiles every kernel for an implementation of `Simd` with its target features: those of tiles
/// for each number of rows whose results fit the registers, and `$few` instead for the forms that
/// may have `quads`. Kernels that the instruction set has of its own are named last.
macro_rules! kernels {
    ($simd:ident, $features:tt, $rows:tt) => {
        kernels!($simd, $features, $rows, {});
    };
    ($simd:ident, $features:tt, $rows:tt, $own:tt) => {
        kernels!($simd, $features, $rows, $rows, $own);
    };
    ($simd:ident, [$($features:literal)?], $rows:tt, $few:tt, {$($name:ident: $own:expr),*}) => {
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
                x: *const f32,
                cos: *const f32,
                sin: *const f32,
                half: usize,
                factor: f32,
                out: *mut f32,
            ) {
                rows::rope::<$simd>(x, cos, sin, half, factor, out);
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
        const _: () = super::table::check::<$simd>(&$few);

        /// The table of these kernels.
        pub(super) static KERNELS: super::table::Kernels =
            super::table::Kernels { $($name: $own,)* ..COMPILED };

        const COMPILED: super::table::Kernels = super::table::Kernels {
            tiles: [
                super::table::by_rows!(quantised, U4, $few),
                super::table::by_rows!(quantised, U4Super, $few),
                super::table::by_rows!(quantised, U8, $few),
                super::table::by_rows!(quantised, U8Min, $few),
                super::table::by_rows!(quantised, U8MinSuper, $few),
                super::table::by_rows!(quantised, U8Halves, $rows),
                super::table::by_rows!(dense, F32, $rows),
                super::table::by_rows!(dense, F16, $rows),
                super::table::by_rows!(dense, Bf16, $rows),
            ],
            quads: [None; crate::engine::runners::cpu::form::FORMS.len()],
            panel: [None; crate::engine::runners::cpu::form::FORMS.len()],
            many: &[],
            bf16: None,
            pairs: None,
            sketches: None,
            record: crate::engine::runners::cpu::panel::RECORD,
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

/// The kernels of tiles are found by their number of rows.
pub(super) const fn check<S: Simd>(rows: &[usize]) {
    let mut place = 0;
    while place < rows.len() {
        assert!(rows[place] == place + 1, "a number of rows is missing");
        place += 1;
    }
    assert!(!rows.is_empty() && rows.len() <= PANEL_ROWS);
    assert!(matches!(S::QUERIES, 1 | 6 | 12), "attention has kernels for these alone");
}

macro_rules! by_rows {
    ($kernel:ident, $form:ident, [$($rows:literal),*]) => {
        &[$(entries::$kernel::<super::tile::$form, $rows>),*]
    };
}

pub(super) use {by_rows, kernels};
