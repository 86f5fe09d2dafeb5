//! The input of a matrix: rows as f32, in panels (quantised, or in bf16 where an instruction set multiplies
//! that), or both, as its weights ask.

use super::matrix::Matrix;
use super::panel::Panels;
use crate::engine::EngineError;

/// In which shapes a matrix wants its input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// In panels: quantised or, where they are computed so, in bf16.
    pub panels: bool,
    /// As f32.
    pub floats: bool,
}

impl Wanted {
    /// All that either wants.
    fn or(self, other: Self) -> Self {
        Self { panels: self.panels || other.panels, floats: self.floats || other.floats }
    }
}

/// Rows that a matrix is multiplied with.
#[derive(Debug)]
pub struct Activations {
    wanted: Wanted,
    in_bf16: Wanted,
    /// As f32.
    pub floats: Option<Matrix>,
    /// Quantised or in bf16.
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
        Self::of_both(rows, columns, wanted, wanted)
    }

    /// Room for rows that are wanted otherwise where they are computed in bf16.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn of_both(
        rows: usize,
        columns: usize,
        wanted: Wanted,
        in_bf16: Wanted,
    ) -> Result<Self, EngineError> {
        let either = wanted.or(in_bf16);
        Ok(Self {
            wanted,
            in_bf16,
            floats: either.floats.then(|| Matrix::zeros(rows, columns)).transpose()?,
            panels: either.panels.then(|| Panels::new(rows, columns)).transpose()?,
            columns,
        })
    }

    /// In which shapes its rows are wanted, in bf16 or not.
    pub fn wanted(&self, in_bf16: bool) -> Wanted {
        if in_bf16 { self.in_bf16 } else { self.wanted }
    }
}
