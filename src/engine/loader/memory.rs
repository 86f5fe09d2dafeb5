//! What weights need in memory, and what there is.

use std::path::Path;

use sysinfo::System;

use crate::engine::EngineError;
use crate::engine::weights::{Inventory, StoredTensor, TensorFiles};

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
        let available = available().unwrap_or(u64::MAX).saturating_sub(RESERVE);
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

/// What can be allocated now; unknown on systems that sysinfo does not know.
fn available() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    // the free memory of a control group leaves out what its page cache could give back
    let group = system.cgroup_limits();
    let group = group.map(|limits| limits.total_memory.saturating_sub(limits.rss));
    Some(system.available_memory().min(group.unwrap_or(u64::MAX)))
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
