//! The packed weights of a model.

use super::kernels::buffer::Buffer;
use super::pack::Layout;
use crate::engine::EngineError;

/// Packed weights, in the order in which each thread reads them.
#[derive(Debug)]
pub struct Weights {
    memory: Buffer<u8>,
    begins: Vec<usize>,
}

impl Weights {
    /// Packs what was laid out.
    ///
    /// # Errors
    /// The system gives no memory, or a tensor cannot be read.
    pub fn pack(layout: &Layout<'_>) -> Result<Self, EngineError> {
        Ok(Self { memory: layout.pack()?, begins: layout.begins() })
    }

    /// `length` bytes of a thread's weights.
    pub fn tiles(&self, thread: usize, offset: usize, length: usize) -> &[u8] {
        &self.memory[self.begins[thread] + offset..][..length]
    }

    /// Bytes of all weights.
    pub fn bytes(&self) -> u64 {
        self.memory.bytes()
    }
}
