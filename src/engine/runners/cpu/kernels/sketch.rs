//! Phase: the greatest logits, found by way of a [`Sketch`] of the head.
//!
//! Every row is multiplied with the sketch, which bounds the logits of each tile. Then each row
//! is multiplied with the tile of its greatest bound, and after that with all tiles whose bounds are
//! not less than what it found there: no other holds as great a logit. So the head's own kernels find what
//! they would find in all tiles, ties included; how many tiles they are given depends on the rows and
//! changes no result.
#![allow(unsafe_op_in_unsafe_fn, reason = "each function states its contract")]

use std::ops::Range;

use super::crew::{Crew, Shared};
use super::head::{Exact, Goal, Lists, Logits, Task, Winners};
use super::multiply::{Product, panels};
use super::near::Lines;
use super::rows::Best;
use super::team::share;
use crate::engine::EngineError;
use crate::engine::runners::cpu::activations::Activations;
use crate::engine::runners::cpu::form::COLUMNS;
use crate::engine::runners::cpu::kernels::buffer::Buffer;
use crate::engine::runners::cpu::pack::Linear;
use crate::engine::runners::cpu::panel::PANEL_ROWS;
use crate::engine::runners::cpu::sketch::{DEPTH, Shape, Sketch};

/// The greatest number that an element is rounded to where it has 16 bits: its high byte, times 256, and its
/// low one are then signed bytes.
pub(super) const MOST_FINE: f32 = 32_639.0;
/// What rounding leaves of an element at most, in its row's unit: a half, and what is rounded on the way.
const LEFT: f32 = 0.52;
/// Rows of a panel that reach a tile from which all of the panel are multiplied with it.
const MANY: usize = 4;
/// Tiles and panels whose bounds are computed together.
pub(super) const TOGETHER: usize = 2;
/// Bytes of a panel's elements in a square, `[row][element]`: one of each element, the low one where it
/// has two. The squares of high bytes come after those of all low ones.
pub(super) const ROUNDED: usize = PANEL_ROWS * DEPTH;

/// Bytes of a panel.
pub(super) fn panel_bytes(shape: Shape) -> usize {
    (shape.squares + shape.fine) * ROUNDED
}

/// The kernels.
pub(super) struct Sketches {
    /// Rows from which this is faster than all products of a quantised head. Of another, which has twice
    /// the bytes or more, it is so from the first row on.
    pub rows: usize,
    /// What a thread does before the first bound of a phase.
    pub begin: unsafe fn(),
    /// What it does after the last.
    pub end: unsafe fn(),
    pub round: RoundFn,
    pub bound: BoundFn,
}

/// Rounds a row to its place in its panel.
pub(super) type RoundFn = unsafe fn(&RoundCall) -> Rounded;

/// What is rounded.
///
/// # Safety
/// `row`, `order` and `factors` are as long as the shape is deep, and `order` has places of the row;
/// `arranged` is good for as many. `place` is that of a row in a panel that is there as a whole.
#[derive(Clone, Copy)]
pub(super) struct RoundCall {
    pub row: *const f32,
    pub shape: Shape,
    /// As [`Sketch`] has them.
    pub order: *const i32,
    pub factors: *const f32,
    /// Room for the row in its order.
    pub arranged: *mut f32,
    pub place: *mut u8,
}

/// A rounded row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounded {
    /// What the row is rounded to multiples of; 0 where it is not rounded.
    pub unit: f32,
    /// The length of the row in this unit.
    pub length: f32,
}

/// Writes the bounds of [`TOGETHER`] tiles for each row of as many panels, between [`Sketches::begin`]
/// and [`Sketches::end`].
pub(super) type BoundFn = unsafe fn(&BoundCall);

/// What is bounded.
///
/// # Safety
/// `tiles` are tiles of a sketch of this shape, `rows` has panels of it, one after the other; `lengths`
/// and `bounds` are good for their rows.
#[derive(Clone, Copy)]
pub(super) struct BoundCall {
    pub tiles: [*const u8; TOGETHER],
    pub shape: Shape,
    pub rows: *const u8,
    /// No less than the lengths of the rows were before they were rounded, in their units.
    pub lengths: *const f32,
    /// No less than the length of what rounding has left of a row, in its unit.
    pub left: f32,
    /// In the units of the rows.
    pub bounds: [*mut f32; TOGETHER],
    /// What is brought near meanwhile, each as long as a tile.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 asks"))]
    pub ahead: [*const u8; TOGETHER],
}

/// Memory for the bounds of some rows.
#[derive(Debug)]
pub struct Bounds {
    /// Rows, rounded up to [`TOGETHER`] panels.
    rows: usize,
    shape: Shape,
    tiles: usize,
    /// The rounded rows, panel by panel.
    rounded: Buffer<u8>,
    /// As [`BoundCall`] has them.
    lengths: Buffer<f32>,
    /// What the rows are rounded to multiples of; 0 where bounds tell nothing.
    units: Buffer<f32>,
    /// `[tile][row]`, in the units of the rows.
    bounds: Buffer<f32>,
    /// `[thread][panel]`: where each row's greatest bound is, of those that a thread computed.
    leaders: Vec<Best>,
    /// What each row has found, in its unit: a tile of a lesser bound holds nothing as great.
    found: Vec<f32>,
}

impl Bounds {
    /// Memory for so many rows.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn new(rows: usize, linear: &Linear, sketch: &Sketch) -> Result<Self, EngineError> {
        let rows = rows.next_multiple_of(TOGETHER * PANEL_ROWS);
        let panels = rows / PANEL_ROWS;
        let (shape, tiles) = (sketch.shape, linear.all_tiles());
        Ok(Self {
            rows,
            shape,
            tiles,
            rounded: Buffer::zeroed(panels * panel_bytes(shape))?,
            lengths: Buffer::zeroed(rows)?,
            units: Buffer::zeroed(rows)?,
            bounds: Buffer::zeroed(tiles * rows)?,
            leaders: vec![Best::NONE; linear.threads.len() * panels],
            found: vec![f32::NEG_INFINITY; rows],
        })
    }

    /// No less than the length of what rounding has left of a row.
    fn left(&self) -> f32 {
        LEFT * (self.shape.depth() as f32).sqrt()
    }

    /// The tile of a row's greatest bound.
    fn leader(&self, row: usize) -> usize {
        let (panel, lane) = (row / PANEL_ROWS, row % PANEL_ROWS);
        let threads = self.leaders[panel..].iter().step_by(self.rows / PANEL_ROWS);
        let mut leader = (f32::NEG_INFINITY, 0);
        for best in threads {
            if best.values[lane] > leader.0 {
                leader = (best.values[lane], best.tiles[lane] as usize);
            }
        }
        leader.1
    }

    /// What the rows have found, from what they were multiplied with.
    fn take_found(&mut self, rows: usize, winners: &Winners) {
        for (row, found) in self.found.iter_mut().enumerate().take(rows) {
            let unit = self.units[row];
            let greatest =
                if unit > 0.0 { winners.greatest(row) / unit } else { f32::NEG_INFINITY };
            // what was rounded here is less than what is taken away
            *found = greatest - greatest.abs() * 8.0 * f32::EPSILON;
        }
    }

    /// Whether a tile may hold what a row looks for: also where either is not a number.
    #[inline(always)]
    fn reaches(&self, tile: usize, row: usize) -> bool {
        let less = self.bounds[tile * self.rows + row] < self.found[row];
        !less
    }

    /// The rows that are multiplied with a tile, one by one or all of a panel: those that it may hold
    /// what they look for, and maybe others.
    fn reaching(&self, tile: usize, rows: usize) -> impl Iterator<Item = Range<usize>> {
        panels(rows).flat_map(move |panel| {
            let reaching = panel.clone().filter(move |row| self.reaches(tile, *row));
            let all = reaching.clone().count() >= MANY;
            let single = reaching.filter(move |_| !all).map(|row| row..row + 1);
            all.then_some(panel).into_iter().chain(single)
        })
    }

    /// The first of some tiles that may hold what one of the rows looks for.
    fn next(&self, mut tiles: Range<usize>, rows: usize) -> Option<usize> {
        tiles.find(|tile| {
            let bounds = &self.bounds[tile * self.rows..][..rows];
            let mut any = false;
            for (bound, found) in bounds.iter().zip(&self.found) {
                let less = bound < found;
                any |= !less;
            }
            any
        })
    }
}

impl Crew {
    /// Finds the best token of each row of `input`, all of which want that alone.
    pub fn best(
        &mut self,
        task: Task<'_>,
        sketch: &Sketch,
        input: &Activations,
        bounds: &mut Bounds,
        winners: &mut Winners,
    ) {
        let (linear, rows) = (task.linear, task.goals.len());
        let shape = (sketch.shape, linear.all_tiles());
        assert!(rows <= bounds.rows && shape == (bounds.shape, bounds.tiles), "other shapes");
        assert!(Shape::new(linear.blocks) == Some(sketch.shape), "the sketch of another matrix");
        let leaders = self.team.size() * bounds.rows / PANEL_ROWS;
        assert!(bounds.leaders.len() >= leaders, "bounds for another team");
        assert!(task.goals.iter().all(|goal| *goal == Goal::Best), "all logits are wanted");
        let exact = Exact::new(self, task, input, Logits::none());
        let lists = winners.begin(rows, self.team.size());
        self.round(&exact, sketch, rows, bounds);
        self.bound(linear, sketch, rows, bounds);
        self.lead(&exact, rows, bounds, lists);
        bounds.take_found(rows, winners);
        self.reach(&exact, rows, bounds, lists);
    }

    fn kernels_of_sketches(&self) -> &'static Sketches {
        self.kernels.sketches.expect("there are kernels for sketches")
    }

    /// Rounds the rows.
    fn round(&mut self, exact: &Exact<'_>, sketch: &Sketch, rows: usize, bounds: &mut Bounds) {
        let (kernels, threads) = (self.kernels_of_sketches(), self.team.size());
        let (shape, left) = (bounds.shape, bounds.left());
        let scratch = self.scratch.parts(2 * shape.depth());
        let rounded = Shared::new(bounds.rounded.as_mut_ptr());
        let lengths = Shared::new(bounds.lengths.as_mut_ptr());
        let units = Shared::new(bounds.units.as_mut_ptr());
        self.team.run(&|thread| {
            let wide = scratch.part(thread);
            for row in share(rows, thread, threads) {
                let panel = row / PANEL_ROWS * panel_bytes(shape);
                let call = RoundCall {
                    row: wide,
                    shape,
                    order: sketch.order.as_ptr(),
                    factors: sketch.factors.as_ptr(),
                    arranged: wide.wrapping_add(shape.depth()),
                    place: rounded.pointer().wrapping_add(panel + row % PANEL_ROWS * DEPTH),
                };
                // SAFETY: there are so many rows; this thread alone has this one, and the scratch.
                unsafe {
                    let numbers = exact.widen(row, wide, shape.depth());
                    let Rounded { unit, length } = (kernels.round)(&call);
                    *units.pointer().add(row) = if numbers { unit } else { 0.0 };
                    *lengths.pointer().add(row) = length + left;
                }
            }
        });
    }

    /// Makes room for rows that are rounded for this sketch.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn reserve_rounded(&mut self, sketch: &Sketch) -> Result<(), EngineError> {
        self.reserve(2 * sketch.shape.depth())
    }

    /// Bounds all tiles.
    fn bound(&mut self, linear: &Linear, sketch: &Sketch, rows: usize, bounds: &mut Bounds) {
        bounds.leaders.fill(Best::NONE);
        let (kernels, sketches) = (self.kernels, self.kernels_of_sketches());
        let panels = bounds.rows / PANEL_ROWS;
        let leaders = Shared::new(bounds.leaders.as_mut_ptr());
        let phase = Phase {
            sketch,
            left: bounds.left(),
            rows: rows.next_multiple_of(TOGETHER * PANEL_ROWS),
            stride: bounds.rows,
            rounded: &bounds.rounded,
            lengths: &bounds.lengths,
            bounds: Shared::new(bounds.bounds.as_mut_ptr()),
        };
        let pieces = self.deal.begin(rows, TOGETHER);
        self.team.run(&|thread| {
            let leaders = leaders.pointer().wrapping_add(thread * panels);
            // SAFETY: each thread has its own; the kernels are those of this machine.
            let leaders = unsafe {
                (sketches.begin)();
                std::slice::from_raw_parts_mut(leaders, phase.rows / PANEL_ROWS)
            };
            for (owner, tiles) in pieces.take(thread, |owner| linear.tiles(owner)) {
                let first = linear.tile(owner, tiles.start).column / COLUMNS;
                let end = first + tiles.len();
                for number in (first..end).step_by(TOGETHER) {
                    let both = [number, end.min(number + TOGETHER) - 1];
                    // SAFETY: whoever takes tiles has their bounds.
                    let bounds = unsafe { phase.bound(sketches.bound, both) };
                    for (number, bounds) in both.into_iter().zip(bounds) {
                        // SAFETY: there are as many bounds as leaders.
                        unsafe { (kernels.best)(bounds, number as i32, leaders) };
                    }
                }
            }
            // SAFETY: as above.
            unsafe { (sketches.end)() };
        });
    }

    /// Multiplies each row with the tile of its greatest bound.
    fn lead(&mut self, exact: &Exact<'_>, rows: usize, bounds: &Bounds, lists: Lists) {
        let (multipliers, threads) = (self.multipliers(1), self.team.size());
        self.team.run(&|thread| {
            // SAFETY: the thread takes both once, and the weights are borrowed.
            let (mut by, [_, best]) = unsafe { (multipliers.of(thread), lists.of(thread)) };
            let mut product = Product::new();
            for row in share(rows, thread, threads) {
                let (tile, row) = (exact.find(bounds.leader(row)), row..row + 1);
                let best = &mut best[row.clone()];
                // SAFETY: one row alone, which wants no logits.
                unsafe { exact.multiply(&mut by, &mut product, tile, row, Lines::NONE, best) };
            }
        });
    }

    /// Multiplies rows with the tiles whose bounds reach what they have found.
    fn reach(&mut self, exact: &Exact<'_>, rows: usize, bounds: &Bounds, lists: Lists) {
        let (multipliers, threads) = (self.multipliers(rows), self.team.size());
        self.team.run(&|thread| {
            // SAFETY: the thread takes both once, and the weights are borrowed.
            let (mut by, [best, _]) = unsafe { (multipliers.of(thread), lists.of(thread)) };
            let mut product = Product::new();
            let mine = share(bounds.tiles, thread, threads);
            let mut next = bounds.next(mine.clone(), rows);
            while let Some(number) = next {
                next = bounds.next(number + 1..mine.end, rows);
                let tile = exact.find(number);
                let mut ahead = next.map_or(Lines::NONE, |next| exact.lines(exact.find(next)));
                for some in bounds.reaching(number, rows) {
                    let best = &mut best[some.clone()];
                    // SAFETY: the first rows of a panel or one alone, which want no logits.
                    unsafe { exact.multiply(&mut by, &mut product, tile, some, ahead, best) };
                    ahead = Lines::NONE;
                }
            }
        });
    }
}

/// Bounds, resolved for their threads.
struct Phase<'a> {
    sketch: &'a Sketch,
    left: f32,
    /// Rows that are bounded.
    rows: usize,
    /// From the bounds of a tile to those of the next.
    stride: usize,
    rounded: &'a [u8],
    lengths: &'a [f32],
    bounds: Shared<f32>,
}

impl Phase<'_> {
    /// Bounds tiles, which may be the same one; gives where their bounds are.
    ///
    /// # Safety
    /// The machine has this kernel, which this thread has begun, and nobody else has these bounds.
    unsafe fn bound(&self, bound: BoundFn, numbers: [usize; TOGETHER]) -> [*const f32; TOGETHER] {
        let shape = self.sketch.shape;
        let tiles = numbers.map(|number| self.sketch.tile(number).as_ptr());
        let bounds = numbers.map(|number| self.bounds.pointer().add(number * self.stride));
        let mut ahead = tiles.map(|tile| tile.wrapping_add(TOGETHER * shape.tile_bytes()));
        for row in (0..self.rows).step_by(TOGETHER * PANEL_ROWS) {
            bound(&BoundCall {
                tiles,
                shape,
                rows: self.rounded[row / PANEL_ROWS * panel_bytes(shape)..].as_ptr(),
                lengths: self.lengths[row..].as_ptr(),
                left: self.left,
                bounds: bounds.map(|bounds| bounds.add(row)),
                ahead,
            });
            // once is enough
            ahead = tiles;
        }
        bounds.map(<*mut f32>::cast_const)
    }
}

#[cfg(test)]
mod tests;
