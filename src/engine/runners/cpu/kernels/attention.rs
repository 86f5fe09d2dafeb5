//! Phase: attention, each thread its own pairs of slot and key-value head.
//!
//! A unit of work has all rows of one slot and all query heads of one key-value head: it turns
//! keys and queries, keeps keys and values, and computes the heads. Prompts and single tokens
//! take the same path.

use super::buffer::Buffer;
use super::crew::{Crew, Shared};
use super::heads::{HeadsCall, POSITIONS};
use super::prepare::Norm;
use super::table::Kernels;
use crate::engine::runners::cpu::form::BLOCK;
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

    /// Scratch memory that [`Crew::attend`] needs.
    pub fn scratch(&self, capacity: usize) -> usize {
        let scores = self.group() * capacity.next_multiple_of(POSITIONS);
        (2 * self.group() + 2) * self.width() + scores
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
    /// Number of rows.
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
    /// The units, and where each thread's begin and end.
    pub units: &'a [Unit],
    /// One more than there are threads.
    pub bounds: &'a [usize],
    /// Positions that a slot has room for.
    pub capacity: usize,
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
    /// The keys of the next unit.
    next: *const u8,
}

impl Crew {
    /// Computes a layer's attention; `caches` are the slots, `out` takes the heads of each row.
    pub fn attend(
        &mut self,
        heads: Heads,
        layer: &Layer<'_>,
        inputs: &Inputs<'_>,
        caches: &mut [Buffer<u8>],
        bases: &mut Vec<usize>,
        out: &mut Matrix,
    ) {
        let Inputs { qkv, columns, angles, units, bounds, capacity } = *inputs;
        let bytes = heads.cache_bytes(capacity);
        let kv_end = heads.kv * heads.dim;
        assert!(
            columns[0] + heads.queries * heads.dim <= qkv.columns()
                && columns[1..].iter().all(|column| column + kv_end <= qkv.columns())
                && angles.columns() >= heads.dim
                && out.columns() >= heads.queries * heads.dim,
            "shapes differ"
        );
        let cache_needed = (layer.layer + 1) * heads.kv * bytes;
        assert!(bounds.len() == self.team.size() + 1, "units for another team");
        for unit in units {
            let end = unit.row + unit.rows;
            assert!(
                unit.head < heads.kv
                    && end <= qkv.rows().min(angles.rows()).min(out.rows())
                    && unit.position + unit.rows <= capacity
                    && caches[unit.slot].len() >= cache_needed,
                "a unit outside of its memory"
            );
        }
        // addresses as numbers: they are shared with the threads for this phase only
        bases.clear();
        bases.extend(caches.iter_mut().map(|cache| cache.as_mut_ptr().expose_provenance()));
        let bases: &[usize] = bases;
        let kernels = self.kernels;
        let scratch = self.scratch.parts(heads.scratch(capacity));
        let (out, out_stride) = (Shared::new(out.as_mut_ptr()), out.stride());
        self.team.run(&|thread| {
            let mine = &units[bounds[thread]..bounds[thread + 1]];
            let blocks = |unit: &Unit| {
                let offset = (layer.layer * heads.kv + unit.head) * bytes;
                std::ptr::with_exposed_provenance_mut::<u8>(bases[unit.slot]).wrapping_add(offset)
            };
            for (number, unit) in mine.iter().enumerate() {
                let place = Place {
                    kernels,
                    heads,
                    layer,
                    inputs,
                    unit: *unit,
                    blocks: blocks(unit),
                    next: mine.get(number + 1).map_or(std::ptr::null(), |unit| blocks(unit)),
                    scratch: scratch.part(thread),
                    out: out.pointer(),
                    out_stride,
                };
                // SAFETY: everything was checked above, and no two units share a slot and head,
                // so this thread alone touches these blocks and these columns of these rows.
                unsafe { place.compute() };
            }
        });
    }
}

impl Place<'_> {
    /// # Safety
    /// As [`Crew::attend`] has checked it.
    #[allow(unsafe_op_in_unsafe_fn, reason = "one contract for the whole function")]
    unsafe fn compute(&self) {
        let width = self.heads.width();
        let group = self.heads.group();
        let key = self.scratch;
        let value = key.add(width);
        let queries = value.add(width);
        let results = queries.add(group * width);
        let scores = results.add(group * width);
        let (attend, keep) = if self.heads.exact {
            (self.kernels.attend_exactly, self.kernels.keep_exactly)
        } else {
            (self.kernels.attend, self.kernels.keep)
        };
        let block_bytes = self.heads.cache_bytes(POSITIONS);
        for at in 0..self.unit.rows {
            let (row, position) = (self.unit.row + at, self.unit.position + at);
            let qkv = self.inputs.qkv.row(row);
            let [q, k, v] = self.inputs.columns;
            let dim = self.heads.dim;
            self.load(&qkv[k + self.unit.head * dim..][..dim], key);
            self.load(&qkv[v + self.unit.head * dim..][..dim], value);
            self.turn(key, row, 1, 1.0);
            let block = self.blocks.add(position / POSITIONS * block_bytes);
            keep(key, value, width, block, position % POSITIONS);
            for h in 0..group {
                let head = self.unit.head * group + h;
                let query = queries.add(h * width);
                self.load(&qkv[q + head * dim..][..dim], query);
                self.turn(query, row, 0, self.layer.scale);
            }
            let end = position + 1;
            let start = self.layer.window.map_or(0, |window| end.saturating_sub(window));
            attend(&HeadsCall {
                queries,
                heads: group,
                width,
                blocks: self.blocks,
                start,
                end,
                scores,
                scores_stride: self.inputs.capacity.next_multiple_of(POSITIONS),
                out: results,
                // the next row of this unit reads the same keys
                next: if at + 1 < self.unit.rows { self.blocks } else { self.next },
            });
            for h in 0..group {
                let head = self.unit.head * group + h;
                let out = self.out.add(row * self.out_stride + head * dim);
                std::ptr::copy_nonoverlapping(results.add(h * width), out, dim);
            }
        }
    }

    /// Copies a head and pads it with zeros.
    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract of compute")]
    unsafe fn load(&self, head: &[f32], to: *mut f32) {
        std::ptr::copy_nonoverlapping(head.as_ptr(), to, head.len());
        for at in head.len()..self.heads.width() {
            *to.add(at) = 0.0;
        }
    }

    /// Normalises a head where the layer does, and turns it by the row's angles.
    #[allow(unsafe_op_in_unsafe_fn, reason = "the contract of compute")]
    unsafe fn turn(&self, head: *mut f32, row: usize, which: usize, factor: f32) {
        let half = self.heads.dim / 2;
        if let Some(norms) = &self.layer.norms {
            let norm = norms[which];
            (self.kernels.norm)(head, norm.weight.as_ptr(), self.heads.dim, norm.eps, head);
        }
        let angles = self.inputs.angles.row(row);
        (self.kernels.rope)(head, angles.as_ptr(), angles[half..].as_ptr(), half, factor);
    }
}
