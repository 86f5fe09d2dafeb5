//! The input of a matrix: rows as f32, quantised, or both, as its weights ask.

use super::matrix::Matrix;
use super::panel::Panels;
use crate::engine::EngineError;

/// In which shapes a matrix wants its input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Quantised.
    pub panels: bool,
    /// As f32.
    pub floats: bool,
}

/// Rows that a matrix is multiplied with.
#[derive(Debug)]
pub struct Activations {
    /// As f32.
    pub floats: Option<Matrix>,
    /// Quantised.
    pub panels: Option<Panels>,
    /// Elements of a row.
    pub columns: usize,
}

impl Activations {
    /// Room for rows.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn new(rows: usize, columns: usize, wanted: Wanted) -> Result<Self, EngineError> {
        Ok(Self {
            floats: wanted.floats.then(|| Matrix::zeros(rows, columns)).transpose()?,
            panels: wanted.panels.then(|| Panels::new(rows, columns)).transpose()?,
            columns,
        })
    }
}
