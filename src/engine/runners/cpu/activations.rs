//! The input of a matrix: rows as f32, quantised (those of prompts in bf16, where an instruction set
//! multiplies it), or both, as its weights ask.

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
    of_prompts: Wanted,
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
        Self::of_both(rows, columns, wanted, wanted)
    }

    /// Room for rows that are wanted otherwise where they are of prompts, which have an arithmetic of
    /// their own.
    ///
    /// # Errors
    /// The system gives no memory.
    pub fn of_both(
        rows: usize,
        columns: usize,
        wanted: Wanted,
        of_prompts: Wanted,
    ) -> Result<Self, EngineError> {
        let either = wanted.or(of_prompts);
        Ok(Self {
            wanted,
            of_prompts,
            floats: either.floats.then(|| Matrix::zeros(rows, columns)).transpose()?,
            panels: either.panels.then(|| Panels::new(rows, columns)).transpose()?,
            columns,
        })
    }

    /// In which shapes its rows are wanted; those of prompts, where they are.
    pub fn wanted(&self, prompts: bool) -> Wanted {
        if prompts { self.of_prompts } else { self.wanted }
    }
}
