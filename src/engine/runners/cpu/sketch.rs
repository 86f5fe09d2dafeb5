//! A copy of the head in bytes, with one scale for each column: quick to multiply, and with a bound for
//! how far its products are from those of the head.
//!
//! A column is `w = s * (q + r)`: s its scale, q bytes, r what rounding left, at most a half. A row of
//! activations is likewise `x = a * (X + e)`, with X of 8 bits, and of 16 where elements stand out. Then
//! `w·x` is within `s |r| |x| + s |q| |a e|` of `s a q·X`, by the inequality of Cauchy and Schwarz, and
//! lengths of vectors are all that must be known. What the head's own kernels round, in whatever order and
//! with whatever scales, is at most so many parts of 2^23 of `(|d q| + |m|)·|x|`, and so of the product of
//! these lengths.

use std::array::from_fn;

use rayon::prelude::*;

use super::form::{BLOCK, COLUMNS, LINE};
use super::kernels::buffer::Buffer;
use super::pack::Linear;
use super::unpack::{Elements, Lanes};
use super::weights::Weights;
use crate::engine::EngineError;

/// Elements of the depth that are multiplied at once.
pub const DEPTH: usize = 64;
/// Bytes of so many elements of all columns, `[element / 4][column][4]`.
pub const SQUARE: usize = DEPTH * COLUMNS;
/// Bytes of what comes after a tile's squares: [`Tail`].
const TAIL: usize = 2 * LINE;
/// The greatest byte.
pub const MOST: f32 = 127.0;
/// Rows and columns are rounded whose greatest element is no less than this and no more than its inverse:
/// of others, products may be no normal numbers.
pub const LEAST: f32 = 1e-15;
/// The greatest depth, through which sums of products of bytes are no more than an i32 holds.
const DEEPEST: usize = 1 << 16;

/// What comes after a tile's squares.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Tail {
    /// The columns' scales.
    pub scales: Lanes,
    /// The greatest `s |r|` of its columns, and what kernels may round; the whole length of a column
    /// that is too small to be rounded, and infinite for one that is too large or not of numbers.
    pub error: f32,
    /// The greatest `s |q|`.
    pub length: f32,
}

/// The sketch of a matrix: of each tile its squares and its tail.
#[derive(Debug)]
pub struct Sketch {
    memory: Buffer<u8>,
    /// The squares of each tile.
    pub shape: Shape,
    /// Which element of the depth comes where; where there is none, those after the last.
    pub order: Vec<i32>,
    /// What each element of a row is multiplied with; those of a column are divided by it.
    pub factors: Vec<f32>,
}

/// The squares of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// All of them.
    pub squares: usize,
    /// The first of them, of elements that stand out in rows, which have 16 bits there; the others have 8.
    pub fine: usize,
}

impl Shape {
    /// For a depth of so many blocks; `None` for one that has no sketch.
    pub fn new(blocks: usize) -> Option<Self> {
        let squares = (blocks * BLOCK).div_ceil(DEPTH);
        let fits = (1..=DEEPEST / DEPTH).contains(&squares);
        fits.then_some(Self { squares, fine: squares.div_ceil(8) })
    }

    /// Elements of the depth.
    pub fn depth(self) -> usize {
        self.squares * DEPTH
    }

    /// Bytes of a tile.
    pub fn tile_bytes(self) -> usize {
        self.squares * SQUARE + TAIL
    }
}

impl Sketch {
    /// Bytes of that of a matrix; `None` where it has none.
    pub fn bytes(linear: &Linear) -> Option<u64> {
        let shape = Shape::new(linear.blocks)?;
        Some((linear.all_tiles() * shape.tile_bytes()) as u64)
    }

    /// That of a matrix, which has one, and whose input is a norm with these weights.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn new(linear: &Linear, weights: &Weights, norm: &[f32]) -> Result<Self, EngineError> {
        let shape = Shape::new(linear.blocks).expect("a depth that has a sketch");
        let sizes = sizes(linear, weights);
        let (order, factors) = arrange(&sizes, norm, shape);
        let mut memory = Buffer::zeroed(linear.all_tiles() * shape.tile_bytes())?;
        let tiles = memory.par_chunks_exact_mut(shape.tile_bytes()).enumerate();
        tiles.for_each_init(Vec::new, |elements, (number, place)| {
            read(linear, weights, number, elements);
            draw(elements, &order, &factors, place);
        });
        Ok(Self { memory, shape, order, factors })
    }

    /// A tile, by the number of its first column divided by 16.
    pub fn tile(&self, number: usize) -> &[u8] {
        let bytes = self.shape.tile_bytes();
        &self.memory[number * bytes..][..bytes]
    }
}

/// Reads a tile, by its number among all.
fn read(linear: &Linear, weights: &Weights, number: usize, elements: &mut Vec<Elements>) {
    let (owner, tile) = linear.find(number);
    let bytes = weights.tiles(owner, tile.offset, tile.bytes);
    elements.resize(linear.blocks, Elements::ZERO);
    for (at, block) in elements.iter_mut().enumerate() {
        block.read(tile.form, bytes, linear.blocks, at);
    }
}

/// How large the elements of columns are at each place of the depth, from some of the tiles.
fn sizes(linear: &Linear, weights: &Weights) -> Vec<f32> {
    const ONE_IN: usize = 16;
    let mut elements = Vec::new();
    let mut squares = vec![0.0; linear.blocks * BLOCK];
    for number in (0..linear.all_tiles()).step_by(ONE_IN) {
        read(linear, weights, number, &mut elements);
        let rows = elements.iter().flat_map(|block| &block.weights);
        for (square, row) in squares.iter_mut().zip(rows) {
            *square += row.iter().map(|weight| weight * weight).sum::<f32>();
        }
    }
    squares.iter().map(|square| square.sqrt()).collect()
}

/// Puts first what stands out in rows, and makes columns more even.
///
/// What a trained model makes large in its rows it mostly makes large in its head too: elements are taken
/// to stand out by the product of the norm's weight and the size of columns.
fn arrange(sizes: &[f32], norm: &[f32], shape: Shape) -> (Vec<i32>, Vec<f32>) {
    let stands_out = |at: &i32| -> f32 {
        let at = *at as usize;
        let size = sizes.get(at).zip(norm.get(at)).map_or(0.0, |(size, norm)| size * norm.abs());
        if size.is_nan() { 0.0 } else { size }
    };
    let mut order: Vec<i32> = (0..shape.depth() as i32).collect();
    order.sort_by(|a, b| stands_out(b).total_cmp(&stands_out(a)));
    let mean = sizes.iter().sum::<f32>() / sizes.len().max(1) as f32;
    let factor = |at: &i32| {
        let size = sizes.get(*at as usize).map_or(1.0, |size| size / mean);
        if size.is_finite() { size.clamp(1e-3, 1e3).sqrt() } else { 1.0 }
    };
    let factors = order.iter().map(factor).collect();
    (order, factors)
}

/// Draws a tile.
fn draw(elements: &[Elements], order: &[i32], factors: &[f32], place: &mut [u8]) {
    let row = |at: usize| {
        let (from, factor) = (order[at] as usize, 1.0 / factors[at]);
        let block = elements.get(from / BLOCK).unwrap_or(&Elements::ZERO);
        (&block.weights[from % BLOCK], &block.sizes[from % BLOCK], factor)
    };
    let mut largest = [0.0; COLUMNS];
    for at in 0..order.len() {
        let (weights, _, factor) = row(at);
        for (largest, weight) in largest.iter_mut().zip(weights) {
            *largest = f32::max((weight * factor).abs(), *largest);
        }
    }
    let drawn = largest.map(|largest| (LEAST..=1.0 / LEAST).contains(&largest));
    let units: Lanes = from_fn(|column| if drawn[column] { MOST / largest[column] } else { 0.0 });
    let (squares, tail) = place.split_at_mut(place.len() - TAIL);
    let mut sums = Sums::default();
    for (first, place) in (0..order.len()).step_by(4).zip(squares.chunks_exact_mut(4 * COLUMNS)) {
        let mut words = [0; COLUMNS];
        for i in 0..4 {
            let (weights, sizes, factor) = row(first + i);
            sums.round(weights, sizes, &units.map(|unit| unit * factor), 8 * i, &mut words);
        }
        for (bytes, word) in place.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
    }
    let scales = from_fn(|column| if drawn[column] { largest[column] / MOST } else { 0.0 });
    Tail::new(scales, &sums, elements, order.len()).write(tail);
}

/// Of each column, in units of its scale.
#[derive(Debug, Default)]
struct Sums {
    /// The squares of what rounding leaves.
    errors: Lanes,
    /// Those of the bytes.
    bytes: Lanes,
    /// Those of the sizes of what weights are made of.
    sizes: Lanes,
}

impl Sums {
    /// Rounds an element of each column, and puts its byte into its column's word, so many bits up.
    #[inline(always)]
    fn round(
        &mut self,
        weights: &Lanes,
        sizes: &Lanes,
        factors: &Lanes,
        bits: usize,
        words: &mut [u32; COLUMNS],
    ) {
        /// Added to a number of few bits, it leaves the nearest integer in the lowest ones.
        const NEAREST: f32 = 12_582_912.0;
        for column in 0..COLUMNS {
            let exact = weights[column] * factors[column];
            let nearest = exact + NEAREST;
            words[column] |= (nearest.to_bits() & 255) << bits;
            let byte = nearest - NEAREST;
            let size = sizes[column] * factors[column];
            self.errors[column] += (exact - byte) * (exact - byte);
            self.bytes[column] += byte * byte;
            self.sizes[column] += size * size;
        }
    }
}

impl Tail {
    fn new(scales: Lanes, sums: &Sums, elements: &[Elements], depth: usize) -> Self {
        let mut tail = Self { scales, ..Self::default() };
        // what kernels round, and what is rounded here beside it; each element once, and some more
        let rounding = (depth + 64) as f32 * f32::EPSILON;
        // the sums themselves are rounded with each element
        let slack = 1.0 + 2.0 * depth as f32 * f32::EPSILON;
        for (column, scale) in scales.into_iter().enumerate() {
            let error = sums.errors[column].sqrt() + rounding * sums.sizes[column].sqrt();
            let length = sums.bytes[column].sqrt();
            let (error, length) = (scale * error * slack, scale * length * slack);
            if scale > 0.0 && error.is_finite() && length.is_finite() {
                tail.error = tail.error.max(error);
                tail.length = tail.length.max(length);
            } else {
                tail.scales[column] = 0.0;
                tail.error = tail.error.max(whole_length(elements, column));
            }
        }
        tail
    }

    fn write(&self, place: &mut [u8]) {
        let values = self.scales.iter().chain([&self.error, &self.length]);
        for (place, value) in place.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *place = value.to_le_bytes();
        }
    }

    /// That of a tile.
    pub fn of(tile: &[u8]) -> Self {
        let values = tile[tile.len() - TAIL..].as_chunks::<4>().0;
        let value = |at: usize| f32::from_le_bytes(values[at]);
        Self { scales: from_fn(value), error: value(COLUMNS), length: value(COLUMNS + 1) }
    }
}

/// No less than the length of a column that is not rounded, and of what kernels may round of it.
fn whole_length(elements: &[Elements], column: usize) -> f32 {
    /// More than enough for products that are no normal numbers, with rows that are rounded.
    const LEAST_LENGTH: f32 = 1e-25;
    let sizes = || elements.iter().flat_map(|block| block.sizes.iter().map(|row| row[column]));
    let greatest = sizes().fold(0.0, f32::max);
    if greatest > 1.0 / LEAST || sizes().any(f32::is_nan) {
        f32::INFINITY
    } else if greatest == 0.0 {
        0.0
    } else {
        // factors are at least a 32nd
        32.0 * greatest * ((elements.len() * BLOCK) as f32).sqrt() + LEAST_LENGTH
    }
}
