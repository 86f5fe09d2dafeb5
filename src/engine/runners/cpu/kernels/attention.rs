//! Phase: attention, each thread its own pairs of slot and key-value head.
//!
//! A unit of work has a few rows of one slot and all query heads of one key-value head: it turns
//! queries, computes the heads and takes them over for the matrix that reads them. Where every slot
//! has one row, the unit turns and keeps its key and value too; the rows of prompts look at each
//! other's keys and values, so these are kept by a phase of their own first.

use super::buffer::Buffer;
use super::crew::{Crew, Shared};
use super::deal::Pieces;
use super::heads::{HeadsCall, POSITIONS, TILE};
use super::near;
use super::prepare::{Norm, Output};
use super::table::Kernels;
use crate::engine::runners::cpu::activations::Activations;
use crate::engine::runners::cpu::form::{BLOCK, LINE};
use crate::engine::runners::cpu::matrix::Matrix;

/// Sizes of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key-value heads; divides `queries`.
    pub kv: usize,
    /// Width of a head; even.
    pub dim: usize,
    /// Keys and values in f32 instead of f16.
    pub exact: bool,
}

impl Heads {
    /// Query heads that share a key-value head.
    pub fn group(&self) -> usize {
        self.queries / self.kv
    }

    /// Width of a head, padded for the kernels.
    fn width(&self) -> usize {
        self.dim.next_multiple_of(BLOCK)
    }

    /// Bytes of the keys and values of a key-value head for this many positions.
    pub fn cache_bytes(&self, positions: usize) -> usize {
        let element = if self.exact { 4 } else { 2 };
        positions.div_ceil(POSITIONS) * POSITIONS * 2 * self.width() * element
    }

    /// Where the keys and values of a layer's key-value head begin in a slot of this capacity.
    pub(super) fn offset(&self, layer: usize, head: usize, capacity: usize) -> usize {
        (layer * self.kv + head) * self.cache_bytes(capacity)
    }

    /// Rows of a slot that are computed together.
    pub fn tile_rows(&self) -> usize {
        (TILE / self.group()).max(1)
    }

    /// Scratch memory that [`Crew::attend`] needs.
    pub fn scratch(&self, capacity: usize) -> usize {
        let queries = self.group() * self.tile_rows();
        2 * queries.max(1) * self.width() + queries * capacity.next_multiple_of(POSITIONS)
    }
}

/// Rows of one slot and one key-value head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The slot.
    pub slot: usize,
    /// The key-value head.
    pub head: usize,
    /// The first row.
    pub row: usize,
    /// Number of rows, at most [`Heads::tile_rows`].
    pub rows: usize,
    /// Position of the first row.
    pub position: usize,
}

/// One layer's attention.
#[derive(Debug)]
pub struct Layer<'a> {
    /// Its number.
    pub layer: usize,
    /// Norms of the heads of q and k.
    pub norms: Option<[Norm<'a>; 2]>,
    /// A token sees this many tokens, itself included.
    pub window: Option<usize>,
    /// Queries are multiplied by this.
    pub scale: f32,
}

/// Everything attention reads beside the cache.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// q, k and v of each row, beginning at these columns.
    pub qkv: &'a Matrix,
    /// Where q, k and v begin.
    pub columns: [usize; 3],
    /// Cosines and sines of each row, `[row][2][dim / 2]`.
    pub angles: &'a Matrix,
    /// The units, and where each thread's begin and end. Each row and head is in one of them.
    pub units: &'a [Unit],
    /// Whether a slot has several rows.
    pub several: bool,
    /// One more than there are threads.
    pub bounds: &'a [usize],
    /// Positions that a slot has room for.
    pub capacity: usize,
}

impl Inputs<'_> {
    /// Checks that all that units read and write is there; gives the rows.
    fn check(
        &self,
        heads: &Heads,
        layer: &Layer<'_>,
        caches: &[Buffer<u8>],
        out: &Matrix,
    ) -> usize {
        let Inputs { qkv, columns, angles, units, capacity, .. } = *self;
        let kv_end = heads.kv * heads.dim;
        assert!(
            columns[0] + heads.queries * heads.dim <= qkv.columns()
                && columns[1..].iter().all(|column| column + kv_end <= qkv.columns())
                && angles.columns() >= heads.dim
                && out.columns() >= heads.queries * heads.dim,
            "shapes differ"
        );
        let cache_needed = heads.offset(layer.layer + 1, 0, capacity);
        let ends = units.iter().map(|unit| {
            let end = unit.row + unit.rows;
            assert!(
                unit.head < heads.kv
                    && (1..=heads.tile_rows()).contains(&unit.rows)
                    && (self.several || unit.rows == 1)
                    && end <= qkv.rows().min(angles.rows()).min(out.rows())
                    && unit.position + unit.rows <= capacity
                    && caches[unit.slot].len() >= cache_needed,
                "a unit outside of its memory"
            );
            end
        });
        ends.max().unwrap_or(0)
    }

    /// Asks for what a unit reads of its rows: keys and values where it keeps them, queries where it
    /// computes heads. Other threads have just written most of it.
    fn ask_for(&self, heads: &Heads, unit: &Unit, keeps: bool, computes: bool) {
        let [q, k, v] = self.columns;
        let queries = if computes { heads.group() } else { 0 };
        let kept = usize::from(keeps);
        let (first, dim) = (unit.head * heads.dim, heads.dim);
        let parts = [(q + first * heads.group(), queries), (k + first, kept), (v + first, kept)];
        for row in unit.row..unit.row + unit.rows {
            let row = self.qkv.row(row);
            for (begin, count) in parts {
                let lines = row[begin..begin + count * dim].chunks(LINE / size_of::<f32>());
                lines.for_each(|line| near::first_level(line.as_ptr().cast()));
            }
        }
    }
}

/// Where attention puts what it computes.
#[derive(Debug)]
pub struct Results<'a> {
    /// The heads of each row.
    pub heads: &'a mut Matrix,
    /// Them as a matrix reads them, where one does next.
    pub attended: Option<&'a mut Activations>,
}

/// Attention of one unit, resolved to addresses.
struct Place<'a> {
    kernels: &'static Kernels,
    heads: Heads,
    layer: &'a Layer<'a>,
    inputs: &'a Inputs<'a>,
    unit: Unit,
    /// The blocks of this slot, layer and head.
    blocks: *mut u8,
    scratch: *mut f32,
    out: *mut f32,
    out_stride: usize,
    /// Takes over heads where they are whole blocks.
    attended: Option<Output>,
    /// The keys of the next unit.
    next: *const u8,
}

impl Crew {
    /// Computes a layer's attention; `caches` are the slots.
    pub fn attend(
        &mut self,
        heads: Heads,
        layer: &Layer<'_>,
        inputs: &Inputs<'_>,
        caches: &mut [Buffer<u8>],
        bases: &mut Vec<usize>,
        results: Results<'_>,
    ) {
        let Results { heads: out, mut attended } = results;
        let Inputs { units, bounds, capacity, .. } = *inputs;
        assert!(bounds.len() == self.team.size() + 1, "units for another team");
        let rows = inputs.check(&heads, layer, caches, out);
        let whole = heads.dim == heads.width();
        let takes = attended.as_deref_mut().filter(|_| whole).map(|attended| {
            assert!(attended.columns == heads.queries * heads.dim, "shapes differ");
            let attended = Output::new(attended, self.kernels);
            assert!(attended.rows() >= rows, "the result has no room");
            attended
        });
        // addresses as numbers: they are shared with the threads for this phase only
        bases.clear();
        bases.extend(caches.iter_mut().map(|cache| cache.as_mut_ptr().expose_provenance()));
        let bases: &[usize] = bases;
        let kernels = self.kernels;
        let scratch = self.scratch.parts(heads.scratch(capacity));
        let (result, out_stride) = (Shared::new(out.as_mut_ptr()), out.stride());
        let blocks = |unit: &Unit| {
            let offset = heads.offset(layer.layer, unit.head, capacity);
            std::ptr::with_exposed_provenance_mut::<u8>(bases[unit.slot]).wrapping_add(offset)
        };
        let of = |thread: usize| &units[bounds[thread]..bounds[thread + 1]];
        let work = |pieces: Pieces<'_>, thread: usize, keeps: bool, computes: bool| {
            let taken = pieces.take(thread, |owner| of(owner).len());
            let taken = taken.flat_map(|(owner, numbers)| numbers.map(move |at| (owner, at)));
            for (owner, number) in taken {
                let unit = &of(owner)[number];
                let next = of(owner).get(number + 1);
                if let Some(next) = next {
                    inputs.ask_for(&heads, next, keeps, computes);
                }
                let place = Place {
                    kernels,
                    heads,
                    layer,
                    inputs,
                    unit: *unit,
                    blocks: blocks(unit),
                    next: next.map_or(std::ptr::null(), |unit| blocks(unit)),
                    scratch: scratch.part(thread),
                    out: result.pointer(),
                    out_stride,
                    attended: takes,
                };
                // SAFETY: everything was checked above. No two units share a row and a head, so
                // whoever took this one alone writes these positions and these columns of these
                // rows. What other units have written to these blocks was written by a phase
                // before, unless no slot has several rows: then no two units share blocks. Where heads
                // are whole blocks, the blocks of `attended` that it writes are no other's either.
                unsafe {
                    if keeps {
                        place.keep();
                    }
                    if computes {
                        place.compute();
                    }
                }
            }
        };
        if inputs.several {
            let pieces = self.deal.begin(units.len(), 1);
            self.team.run(&|thread| work(pieces, thread, true, false));
        }
        let pieces = self.deal.begin(units.len(), 1);
        self.team.run(&|thread| work(pieces, thread, !inputs.several, true));
        if let Some(attended) = attended.filter(|_| !whole) {
            self.take(out, rows, attended);
        }
    }
}

impl Place<'_> {
    /// Turns and keeps the keys and values of the rows.
    ///
    /// # Safety
    /// As [`Crew::attend`] has checked it.
    #[allow(unsafe_op_in_unsafe_fn, reason = "one contract for the whole function")]
    unsafe fn keep(&self) {
        let (width, dim) = (self.heads.width(), self.heads.dim);
        let (key, copy) = (self.scratch, self.scratch.add(width));
        let exact = self.heads.exact;
        let keep = if exact { self.kernels.keep_exactly } else { self.kernels.keep };
        let [_, k, v] = self.inputs.columns.map(|column| column + self.unit.head * dim);
        for at in 0..self.unit.rows {
            let (row, position) = (self.unit.row + at, self.unit.position + at);
            let qkv = self.inputs.qkv.row(row);
            self.turn(&qkv[k..][..dim], key, row, 1, 1.0);
            let value = self.padded(qkv[v..][..dim].as_ptr(), copy);
            let block = position / POSITIONS * self.heads.cache_bytes(POSITIONS);
            keep(key, value, width, self.blocks.add(block), position % POSITIONS);
        }
    }

    /// Computes the heads of the rows.
    ///
    /// # Safety
    /// As [`Crew::attend`] has checked it.
    #[allow(unsafe_op_in_unsafe_fn, reason = "one contract for the whole function")]
    unsafe fn compute(&self) {
        let (width, dim, group) = (self.heads.width(), self.heads.dim, self.heads.group());
        let Unit { head, row, rows, position, .. } = self.unit;
        let queries = self.scratch;
        let results = queries.add(rows * group * width);
        let first = head * group * dim;
        for at in 0..rows {
            let from = &self.inputs.qkv.row(row + at)[self.inputs.columns[0] + first..];
            for (h, from) in from.chunks_exact(dim).take(group).enumerate() {
                let query = queries.add((at * group + h) * width);
                self.turn(from, query, row + at, 0, self.layer.scale);
            }
        }
        // heads that are padded have no room among those of others
        let place = self.out.add(row * self.out_stride + first);
        let (out, out_stride) =
            if dim == width { (place, self.out_stride) } else { (results, group * width) };
        let exact = self.heads.exact;
        let attend = if exact { self.kernels.attend_exactly } else { self.kernels.attend };
        attend(&HeadsCall {
            queries,
            rows,
            heads: group,
            width,
            blocks: self.blocks,
            end: position + 1,
            window: self.layer.window.unwrap_or(usize::MAX),
            scores: results.add(rows * group * width),
            scores_stride: self.inputs.capacity.next_multiple_of(POSITIONS),
            out,
            out_stride,
            next: self.next,
        });
        if dim == width {
            if let Some(attended) = self.attended {
                for at in 0..rows {
                    let (heads, blocks) = (place.add(at * self.out_stride), group * dim / BLOCK);
                    attended.write(self.kernels, heads, row + at, first / BLOCK, blocks);
                }
            }
            return;
        }
        for at in 0..rows {
            for h in 0..group {
                let result = results.add((at * group + h) * width);
                let place = place.add(at * self.out_stride + h * dim);
                std::ptr::copy_nonoverlapping(result, place, dim);
            }
        }
    }

    /// The head itself where it needs no padding, otherwise a padded copy.
    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract of compute")]
    unsafe fn padded(&self, head: *const f32, copy: *mut f32) -> *const f32 {
        if self.heads.dim == self.heads.width() {
            return head;
        }
        std::ptr::copy_nonoverlapping(head, copy, self.heads.dim);
        self.pad(copy);
        copy.cast_const()
    }

    /// Puts zeros after a head.
    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract of compute")]
    unsafe fn pad(&self, head: *mut f32) {
        for at in self.heads.dim..self.heads.width() {
            *head.add(at) = 0.0;
        }
    }

    /// Normalises a head where the layer does, turns it by the row's angles and pads it.
    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract of compute")]
    unsafe fn turn(&self, head: &[f32], to: *mut f32, row: usize, which: usize, factor: f32) {
        let half = self.heads.dim / 2;
        let mut from = head.as_ptr();
        if let Some(norms) = &self.layer.norms {
            let norm = norms[which];
            // it reads whole blocks
            from = self.padded(from, to);
            (self.kernels.norm)(from, norm.weight.as_ptr(), self.heads.dim, norm.eps, to);
            from = to.cast_const();
        }
        let angles = self.inputs.angles.row(row);
        (self.kernels.rope)(from, angles.as_ptr(), angles[half..].as_ptr(), half, factor, to);
        self.pad(to);
    }
}
