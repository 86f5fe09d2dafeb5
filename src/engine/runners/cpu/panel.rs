//! Activations in panels: int8 with a scale for each row and block of 32, for quantised weights, or bf16.
//!
//! Rows lie in panels of 16. In a panel, records follow each other as `[block][row]`, so that
//! the rows of a tile kernel are neighbours. A record has 48 bytes: 32 int8, the scale (f32),
//! the scale times their sum (f32), where the sum of their products with bytes begins (i32:
//! that of any sum, less 128 times the sum of the activations), and -128 times the sum of their first
//! half (i32).
//!
//! Of rows that are computed in bf16 a record is 32 numbers in bf16, and nothing else.

use super::form::BLOCK;
use super::kernels::buffer::Buffer;
use crate::engine::EngineError;

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;
/// Bytes of a record.
pub const RECORD: usize = 48;
/// Most bytes of a record: of one in bf16.
pub const LARGEST_RECORD: usize = 64;
/// Where the scale is in a record.
pub const SCALE: usize = 32;
/// Where the beginning of a sum is.
pub const OFFSET: usize = 40;
/// Where -128 times the sum of the first half is.
pub const HALF_OFFSET: usize = 44;

/// Rows in panels.
#[derive(Debug)]
pub struct Panels {
    pub(super) records: Buffer<u8>,
    rows: usize,
    /// Blocks of a row.
    pub blocks: usize,
}

impl Panels {
    /// Room for `rows` of up to `columns`.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn new(rows: usize, columns: usize) -> Result<Self, EngineError> {
        let rows = rows.next_multiple_of(PANEL_ROWS);
        let blocks = columns.div_ceil(BLOCK);
        Ok(Self { records: Buffer::zeroed(rows * blocks * LARGEST_RECORD)?, rows, blocks })
    }

    /// Rows there is room for.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// The number of a row's first record; the next ones follow [`PANEL_ROWS`] apart.
pub fn first_record(row: usize, blocks: usize) -> usize {
    (row / PANEL_ROWS) * blocks * PANEL_ROWS + row % PANEL_ROWS
}

/// From a row's record to that of its next block.
pub const RECORD_STRIDE: usize = PANEL_ROWS * RECORD;
