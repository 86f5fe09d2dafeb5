//! The numbers in a packed tile, for what is computed of them once: in plain Rust, a lane for each
//! column.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::form::{BLOCK, COLUMNS, Form, SUPER};

/// A number for each column of a tile.
pub type Lanes = [f32; COLUMNS];

/// A block of all columns of a tile.
#[derive(Debug, Clone, Copy)]
pub struct Elements {
    /// `d * q + m`.
    pub weights: [Lanes; BLOCK],
    /// The sizes of what is added up to them: `|d * q| + |m|`.
    pub sizes: [Lanes; BLOCK],
}

impl Elements {
    /// Room for them.
    pub const ZERO: Self =
        Self { weights: [[0.0; COLUMNS]; BLOCK], sizes: [[0.0; COLUMNS]; BLOCK] };

    /// Reads block `at` of a tile of so many blocks.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn read(&mut self, form: Form, tile: &[u8], blocks: usize, at: usize) {
        if form.is_quantised() {
            self.read_quantised(form, tile, blocks, at);
        } else {
            self.read_dense(form, &tile[at * form.block_bytes()..][..form.block_bytes()]);
        }
    }

    fn read_dense(&mut self, form: Form, rows: &[u8]) {
        if form == Form::Bf16 {
            for (at, bytes) in rows.as_chunks::<2>().0.iter().enumerate() {
                let (pair, column) = (at / 2 / COLUMNS, at / 2 % COLUMNS);
                self.weights[2 * pair + at % 2][column] = bf16::from_le_bytes(*bytes).to_f32();
            }
        } else {
            for (k, row) in rows.chunks_exact(form.block_bytes() / BLOCK).enumerate() {
                self.weights[k] = if form == Form::F16 { halves(row) } else { floats(row) };
            }
        }
        self.sizes = self.weights.map(|row| row.map(f32::abs));
    }

    fn read_quantised(&mut self, form: Form, tile: &[u8], blocks: usize, at: usize) {
        let quants = &tile[at * form.block_bytes()..][..form.block_bytes()];
        let nibbles = matches!(form, Form::U4 | Form::U4Super);
        let (d, m) = scales(form, tile, blocks, at);
        for (v, vector) in quants.chunks_exact(4 * COLUMNS).enumerate() {
            let mut words = [0u32; COLUMNS];
            for (word, bytes) in words.iter_mut().zip(vector.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            for i in 0..4 {
                let byte = words.map(|word| (word >> (8 * i) & 255) as i32);
                let k = 4 * v + i;
                if nibbles {
                    self.put(k, byte.map(|byte| byte & 15), &d[0], &m);
                    self.put(k + BLOCK / 2, byte.map(|byte| byte >> 4), &d[1], &m);
                } else {
                    self.put(k, byte.map(|byte| byte - 128), &d[2 * k / BLOCK], &m);
                }
            }
        }
    }

    fn put(&mut self, k: usize, q: [i32; COLUMNS], d: &Lanes, m: &Lanes) {
        let (weights, sizes) = (&mut self.weights[k], &mut self.sizes[k]);
        for column in 0..COLUMNS {
            let product = d[column] * q[column] as f32;
            weights[column] = product + m[column];
            sizes[column] = product.abs() + m[column].abs();
        }
    }
}

/// d of both halves of a block, and m, which is 0 where the form has none.
fn scales(form: Form, tile: &[u8], blocks: usize, at: usize) -> ([Lanes; 2], Lanes) {
    let first = blocks * form.block_bytes() + at * form.scale_bytes();
    let zero = [0.0; COLUMNS];
    let rows = if form.has_super_blocks() {
        let factors = blocks * (form.block_bytes() + form.scale_bytes());
        let factors = &tile[factors + at / SUPER * form.factor_bytes()..];
        [0, 1].map(|row| {
            let steps = &tile[first + row * COLUMNS..][..COLUMNS];
            let mut scales = halves(&factors[row * 2 * COLUMNS..]);
            scales.iter_mut().zip(steps).for_each(|(scale, step)| *scale *= f32::from(*step as i8));
            scales
        })
    } else {
        let second = if form == Form::U8 { zero } else { halves(&tile[first + 2 * COLUMNS..]) };
        [halves(&tile[first..]), second]
    };
    if form == Form::U8Halves { (rows, zero) } else { ([rows[0]; 2], rows[1]) }
}

/// The first 16 f32 of these bytes.
fn floats(bytes: &[u8]) -> Lanes {
    let mut lanes = [0.0; COLUMNS];
    for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *lane = f32::from_le_bytes(*bytes);
    }
    lanes
}

/// The first 16 f16 of these bytes.
fn halves(bytes: &[u8]) -> Lanes {
    let mut halves = [f16::ZERO; COLUMNS];
    for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *half = f16::from_le_bytes(*bytes);
    }
    let mut lanes = [0.0; COLUMNS];
    halves.convert_to_f32_slice(&mut lanes);
    lanes
}
