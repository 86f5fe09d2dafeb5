//! Rows of f32, padded with zeros.

use super::form::BLOCK;
use super::kernels::buffer::Buffer;
use crate::engine::EngineError;

/// Rows of f32. What lies between a row's columns and the next row stays 0, so that loops need
/// no remainders.
#[derive(Debug)]
pub struct Matrix {
    data: Buffer<f32>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl Matrix {
    /// Zeros.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn zeros(rows: usize, columns: usize) -> Result<Self, EngineError> {
        let stride = padded_stride(columns);
        Ok(Self { data: Buffer::zeroed(rows * stride)?, rows, columns, stride })
    }

    /// Rows there is room for.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Elements from a row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// A row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.stride..][..self.columns]
    }

    /// A row, to be written.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.data[row * self.stride..][..self.columns]
    }

    /// Copies a row over another one.
    pub fn copy_row(&mut self, from: usize, to: usize) {
        let begin = from * self.stride;
        self.data.copy_within(begin..begin + self.columns, to * self.stride);
    }

    pub(super) fn as_ptr(&self) -> *const f32 {
        self.data.as_ptr()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.data.as_mut_ptr()
    }
}

/// Whole blocks, and not a multiple of a page: rows that far apart share cache sets.
pub fn padded_stride(columns: usize) -> usize {
    let stride = columns.next_multiple_of(BLOCK);
    if stride.is_multiple_of(1024) { stride + BLOCK } else { stride }
}
