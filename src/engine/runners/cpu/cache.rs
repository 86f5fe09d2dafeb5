//! Keys and values of the slots of one call.
//!
//! A slot is one piece of memory: for each layer and key-value head the blocks of 32 positions,
//! from position 0. It is reserved in full and taken by the system as it is written.

use super::kernels::attention::Heads;
use super::kernels::buffer::Buffer;
use crate::engine::EngineError;
use crate::engine::runner::Cache;

/// The slots of one call.
#[derive(Debug)]
pub struct CpuCache {
    pub(super) slots: Vec<Buffer<u8>>,
    /// Tokens that every slot holds.
    pub(super) lengths: Vec<usize>,
    pub(super) capacity: usize,
    slot_bytes: usize,
    heads: Heads,
}

impl CpuCache {
    /// A cache without slots.
    pub fn new(heads: &Heads, layers: usize, capacity: usize) -> Self {
        let slot_bytes = slot_bytes(heads, layers, capacity);
        Self { slots: Vec::new(), lengths: Vec::new(), capacity, slot_bytes, heads: *heads }
    }
}

/// Bytes that a slot of this many tokens takes.
pub fn slot_bytes(heads: &Heads, layers: usize, capacity: usize) -> usize {
    heads.cache_bytes(capacity) * heads.kv * layers
}

impl Cache for CpuCache {
    fn resize(&mut self, slots: usize) -> Result<(), EngineError> {
        while self.slots.len() < slots {
            self.slots.push(Buffer::zeroed(self.slot_bytes)?);
        }
        self.slots.truncate(slots);
        self.lengths.resize(slots, 0);
        Ok(())
    }

    /// Copies whole blocks; what they hold beyond the prefix is written before it is read.
    fn copy_prefix(&mut self, from: usize, to: usize, tokens: usize) -> bool {
        if self.lengths.get(from).is_none_or(|length| *length < tokens) || to >= self.slots.len() {
            return false;
        }
        if let Ok([source, target]) = self.slots.get_disjoint_mut([from, to]) {
            let region = self.heads.cache_bytes(self.capacity);
            let used = self.heads.cache_bytes(tokens);
            let regions = source.chunks_exact(region).zip(target.chunks_exact_mut(region));
            regions.for_each(|(source, target)| target[..used].copy_from_slice(&source[..used]));
        }
        self.lengths[to] = tokens;
        true
    }

    fn bytes(&self) -> u64 {
        (self.slots.len() * self.slot_bytes) as u64
    }
}
