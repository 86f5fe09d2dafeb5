//! What weights need in memory, and what there is.

use std::path::Path;

use crate::engine::EngineError;
use crate::engine::weights::{Inventory, StoredTensor, TensorFiles};
use crate::probe;

/// What stays free for caches, activations and everybody else.
const RESERVE: u64 = 256 << 20;

/// Bytes that the weights of our own decoder take in memory, by form. Rows of an untied
/// embedding are read from the file and take nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Everything as f32.
    pub f32: u64,
    /// Quantised blocks as in the file, everything else as f32.
    pub blocks: u64,
}

impl Needs {
    pub fn of(files: &TensorFiles, inventory: &Inventory) -> Self {
        let embedding = inventory.head.as_ref().map(|_| inventory.embedding.name.as_str());
        let held = || files.iter().filter(|tensor| Some(tensor.name.as_str()) != embedding);
        Self {
            f32: held().map(|tensor| tensor.elements() * 4).sum(),
            blocks: held().map(StoredTensor::block_bytes).sum(),
        }
    }
}

/// What weights may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes.
    pub bytes: u64,
}

impl Budget {
    /// What the machine, or the control group this process runs in, has available now.
    pub fn read(limit: Option<u64>) -> Self {
        let available = probe::available_memory().unwrap_or(u64::MAX).saturating_sub(RESERVE);
        Self { bytes: available.min(limit.unwrap_or(u64::MAX)) }
    }

    /// Refuses weights that do not fit.
    pub fn check(self, needed: u64, source: &Path) -> Result<(), EngineError> {
        if needed <= self.bytes {
            return Ok(());
        }
        Err(EngineError::OutOfMemory(format!(
            "the weights of {} need {} and {} are available; use a smaller model or a stronger \
             quantisation of it",
            source.display(),
            megabytes(needed),
            megabytes(self.bytes)
        )))
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
