//! Weights in the order in which each thread reads them.
//!
//! All matrices of a model share one piece of memory: thread 0's tiles of the first matrix, of
//! the second and so on, then thread 1's. Each thread so reads its weights from one end to the
//! other, and what it needs next is always what lies next. Packing happens once, in parallel.
//! This module does not compute.

use std::ops::Range;

use candle_core::quantized::GgmlDType;
use half::f16;
use rayon::prelude::*;

use super::blocks::{self, Block, SuperScales};
use super::form::{BLOCK, COLUMNS, Form, SUPER};
use super::kernels::buffer::Buffer;
use super::kernels::gate::Activation;
use super::kernels::team::share;
use crate::engine::EngineError;
use crate::engine::weights::{RowOrder, StoredTensor, TensorFiles};

/// Where the weights are and how exactly they are kept.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The files.
    pub files: &'a TensorFiles,
    /// Everything in f32, computed in f32.
    pub exact: bool,
}

/// A matrix of the files, `[outputs, inputs]`.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its tensor.
    pub tensor: &'a StoredTensor,
    /// The order of its rows.
    pub order: RowOrder,
}

impl Source<'_> {
    /// How a tensor is packed.
    pub fn form(&self, tensor: &StoredTensor) -> Form {
        let form = blocks::form(tensor.dtype).unwrap_or(Form::F32);
        let whole_blocks = tensor.columns().is_multiple_of(BLOCK);
        if self.exact || (form.is_quantised() && !whole_blocks) { Form::F32 } else { form }
    }
}

impl Source<'_> {
    /// Bytes that a tensor takes when it is packed.
    pub fn bytes(&self, tensor: &StoredTensor) -> u64 {
        let blocks = tensor.columns().div_ceil(BLOCK);
        let tiles = tensor.rows().div_ceil(COLUMNS) as u64;
        tiles * self.form(tensor).tile_bytes(blocks) as u64
    }
}

/// Tiles of one matrix that one thread computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// How they are stored.
    pub form: Form,
    /// The output column of the first one.
    pub column: usize,
    /// Their number.
    pub tiles: usize,
    /// Where they begin in the memory.
    pub offset: usize,
}

/// One or more matrices over the same input, their outputs side by side. Each matrix's outputs
/// begin at a multiple of 16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    /// Blocks of an input row.
    pub blocks: usize,
    /// Where each matrix's outputs begin, and where the last one's end.
    pub columns: Vec<usize>,
    /// The tiles of each thread.
    pub threads: Vec<Vec<Segment>>,
}

/// One tile of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// How it is stored.
    pub form: Form,
    /// Its first output column.
    pub column: usize,
    /// Where it is in the memory of its thread.
    pub offset: usize,
    /// Its length.
    pub bytes: usize,
}

impl Linear {
    /// How many tiles a thread has.
    pub fn tiles(&self, thread: usize) -> usize {
        self.threads[thread].iter().map(|segment| segment.tiles).sum()
    }

    /// A tile of a thread, by its number.
    ///
    /// # Panics
    /// When the thread has no such tile.
    pub fn tile(&self, thread: usize, mut number: usize) -> Place {
        let within = self.threads[thread].iter().find(|segment| {
            let found = number < segment.tiles;
            number -= if found { 0 } else { segment.tiles };
            found
        });
        let Segment { form, column, offset, .. } = *within.expect("the thread has this tile");
        let bytes = form.tile_bytes(self.blocks);
        let (column, offset) = (column + number * COLUMNS, offset + number * bytes);
        Place { form, column, offset, bytes }
    }
}

impl Linear {
    /// How many tiles all threads have.
    pub fn all_tiles(&self) -> usize {
        self.columns.last().copied().unwrap_or(0) / COLUMNS
    }

    /// The tile with this number among all, from left to right, and whose it is.
    ///
    /// # Panics
    /// When there is no such tile.
    pub fn find(&self, mut number: usize) -> (usize, Place) {
        let owner = (0..self.threads.len()).find(|owner| {
            let tiles = self.tiles(*owner);
            let found = number < tiles;
            number -= if found { 0 } else { tiles };
            found
        });
        let owner = owner.expect("the matrix has this tile");
        (owner, self.tile(owner, number))
    }
}

/// Gate and up: tiles in the order gate, up, gate, up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gated {
    /// Blocks of an input row.
    pub blocks: usize,
    /// Columns of the result.
    pub outputs: usize,
    /// How gate and up are stored.
    pub forms: [Form; 2],
    /// What is done to the gate.
    pub activation: Activation,
    /// The units of 32 columns of each thread, and where they begin in the memory.
    pub threads: Vec<(Range<usize>, usize)>,
}

/// Lays matrices out, one call for each in the order of use.
#[derive(Debug)]
pub struct Layout<'a> {
    source: Source<'a>,
    /// Each thread's tiles in order.
    threads: Vec<Vec<Tile<'a>>>,
    /// The bytes of them.
    lengths: Vec<usize>,
}

/// A tile to be packed.
#[derive(Debug, Clone, Copy)]
struct Tile<'a> {
    part: Part<'a>,
    form: Form,
    number: usize,
    bytes: usize,
}

impl<'a> Layout<'a> {
    /// A layout without matrices.
    pub fn new(source: Source<'a>, threads: usize) -> Self {
        Self { source, threads: vec![Vec::new(); threads], lengths: vec![0; threads] }
    }

    /// Joins matrices.
    pub fn linear(&mut self, parts: &[Part<'a>]) -> Linear {
        let inputs = parts.first().map_or(0, |part| part.tensor.columns());
        let mut linear =
            Linear { blocks: inputs.div_ceil(BLOCK), columns: vec![0], threads: Vec::new() };
        for part in parts {
            let end = linear.columns.last().copied().unwrap_or(0);
            linear.columns.push(end + part.tensor.rows().next_multiple_of(COLUMNS));
        }
        let all = linear.columns.last().copied().unwrap_or(0) / COLUMNS;
        let count = self.threads.len();
        for thread in 0..count {
            let mine = share(all, thread, count);
            let segments = parts.iter().zip(linear.columns.windows(2)).filter_map(|(part, at)| {
                let (begin, end) = (at[0] / COLUMNS, at[1] / COLUMNS);
                let tiles = mine.start.max(begin)..mine.end.min(end);
                let within = tiles.start.saturating_sub(begin)..tiles.end.saturating_sub(begin);
                (!tiles.is_empty()).then(|| Segment {
                    form: self.source.form(part.tensor),
                    column: tiles.start * COLUMNS,
                    tiles: tiles.len(),
                    offset: self.add(thread, *part, within, linear.blocks),
                })
            });
            let segments: Vec<Segment> = segments.collect();
            linear.threads.push(segments);
        }
        linear
    }

    /// Joins gate and up.
    pub fn gated(&mut self, [gate, up]: [Part<'a>; 2], activation: Activation) -> Gated {
        let outputs = gate.tensor.rows();
        let blocks = gate.tensor.columns().div_ceil(BLOCK);
        let forms = [gate, up].map(|part| self.source.form(part.tensor));
        let units = outputs.div_ceil(BLOCK);
        let count = self.threads.len();
        let threads = (0..count).map(|thread| {
            let mine = share(units, thread, count);
            let begin = self.lengths[thread];
            for tile in 2 * mine.start..2 * mine.end {
                self.add(thread, gate, tile..tile + 1, blocks);
                self.add(thread, up, tile..tile + 1, blocks);
            }
            (mine, begin)
        });
        let threads = threads.collect();
        Gated { blocks, outputs, forms, activation, threads }
    }

    /// Adds tiles to a thread; gives the offset of the first one.
    fn add(&mut self, thread: usize, part: Part<'a>, tiles: Range<usize>, blocks: usize) -> usize {
        let form = self.source.form(part.tensor);
        let bytes = form.tile_bytes(blocks);
        let begin = self.lengths[thread];
        self.lengths[thread] += tiles.len() * bytes;
        let tiles = tiles.map(|number| Tile { part, form, number, bytes });
        self.threads[thread].extend(tiles);
        begin
    }

    /// Bytes of all weights.
    pub fn bytes(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Where each thread's weights begin; the offsets of segments count from there.
    pub fn begins(&self) -> Vec<usize> {
        let mut end = 0;
        let begins = self.lengths.iter().map(|length| {
            end += length;
            end - length
        });
        begins.collect()
    }

    /// Packs everything.
    ///
    /// # Errors
    /// The system gives no memory, or a tensor cannot be read.
    pub fn pack(&self) -> Result<Buffer<u8>, EngineError> {
        let mut memory = Buffer::zeroed(self.bytes())?;
        let mut rest = &mut memory[..];
        let mut places = Vec::new();
        for tile in self.threads.iter().flatten() {
            let (place, after) = rest.split_at_mut(tile.bytes);
            places.push((tile, place));
            rest = after;
        }
        let files = self.source.files;
        places.into_par_iter().try_for_each(|(tile, place)| tile.pack(files, place))?;
        Ok(memory)
    }
}

impl Tile<'_> {
    fn pack(&self, files: &TensorFiles, place: &mut [u8]) -> Result<(), EngineError> {
        let (tensor, order) = (self.part.tensor, self.part.order);
        let begin = self.number * COLUMNS;
        let rows = begin..(begin + COLUMNS).min(tensor.rows());
        let mut wide = Vec::new();
        for (column, row) in rows.enumerate() {
            let bytes = files.row_bytes(tensor, order.stored(row));
            let packed = match (self.form, tensor.dtype) {
                (form, dtype) if form.is_quantised() => {
                    pack_quantised(form, dtype, bytes, column, place)
                }
                (Form::F16, _) => pack_halves(bytes, column, place),
                (Form::Bf16, _) => pack_pairs(bytes, column, place),
                _ => {
                    wide.resize(tensor.columns(), 0.0);
                    files.widen_row(tensor, order.stored(row), &mut wide)?;
                    pack_floats(&wide, column, place)
                }
            };
            packed.ok_or_else(|| {
                EngineError::Internal(format!("the tensor {} ends early", tensor.name))
            })?;
        }
        Ok(())
    }
}

/// Puts a row of quantised blocks into a column of a tile.
fn pack_quantised(
    form: Form,
    dtype: GgmlDType,
    row: &[u8],
    column: usize,
    tile: &mut [u8],
) -> Option<()> {
    let blocks = row.len() / dtype.type_size() * dtype.block_size() / BLOCK;
    let (quants, scales) = tile.split_at_mut(blocks * form.block_bytes());
    let (scales, factors) = scales.split_at_mut(blocks * form.scale_bytes());
    let scales = scales.chunks_exact_mut(form.scale_bytes());
    for (at, (quants, scales)) in
        quants.chunks_exact_mut(form.block_bytes()).zip(scales).enumerate()
    {
        let block = blocks::block(dtype, row, at)?;
        pack_quants(form, &block, column, quants);
        if form.has_super_blocks() {
            let parts = blocks::super_scales(dtype, row, at)?;
            let factors = &mut factors[at / SUPER * form.factor_bytes()..];
            pack_super_scales(parts, column, scales, factors);
        } else {
            pack_scales(form, &block, column, scales);
        }
    }
    Some(())
}

fn pack_quants(form: Form, block: &Block, column: usize, quants: &mut [u8]) {
    let q = &block.q;
    for (v, vector) in quants.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let place = &mut vector[4 * column..4 * column + 4];
        for (i, byte) in place.iter_mut().enumerate() {
            *byte = match form {
                Form::U4 | Form::U4Super => q[4 * v + i] as u8 | (q[16 + 4 * v + i] as u8) << 4,
                _ => (q[4 * v + i] as u8).wrapping_add(128),
            };
        }
    }
}

fn pack_scales(form: Form, block: &Block, column: usize, scales: &mut [u8]) {
    put_half(scales, column, f16::from_f32(block.d[0]));
    if form != Form::U8 {
        put_half(scales, COLUMNS + column, f16::from_f32(block.m));
    }
}

fn pack_super_scales(parts: SuperScales, column: usize, steps: &mut [u8], factors: &mut [u8]) {
    for row in 0..2 {
        let place = row * COLUMNS + column;
        steps[place] = parts.steps[row] as u8;
        put_half(factors, place, parts.factors[row]);
    }
}

/// Puts number `place` of a row of f16.
fn put_half(row: &mut [u8], place: usize, value: f16) {
    row[place * 2..][..2].copy_from_slice(&value.to_le_bytes());
}

fn pack_halves(row: &[u8], column: usize, tile: &mut [u8]) -> Option<()> {
    for (element, place) in row.as_chunks::<2>().0.iter().zip(tile.chunks_mut(COLUMNS * 2)) {
        place.get_mut(column * 2..column * 2 + 2)?.copy_from_slice(element);
    }
    Some(())
}

/// Puts neighbouring elements side by side; after the last one of an odd number comes a 0.
fn pack_pairs(row: &[u8], column: usize, tile: &mut [u8]) -> Option<()> {
    for (pair, place) in row.chunks(4).zip(tile.chunks_mut(COLUMNS * 4)) {
        place.get_mut(column * 4..)?[..pair.len()].copy_from_slice(pair);
    }
    Some(())
}

fn pack_floats(row: &[f32], column: usize, tile: &mut [u8]) -> Option<()> {
    for (element, place) in row.iter().zip(tile.chunks_mut(COLUMNS * 4)) {
        place.get_mut(column * 4..column * 4 + 4)?.copy_from_slice(&element.to_le_bytes());
    }
    Some(())
}

#[cfg(test)]
pub(super) mod tests;
