//! The seam between scheduling and arithmetic: a runner computes packed rows over a cache.
//!
//! The weights belong to the runner and are shared; every call owns a cache, so rows of
//! different calls are never fused.

use super::EngineError;

/// One token of one slot, to be computed in a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The slot of the cache this token belongs to.
    pub slot: usize,
    /// Its place in the slot's sequence, from 0.
    pub position: usize,
    /// The token id.
    pub token: u32,
    /// Whether the logits after this token are needed.
    pub want_logits: bool,
}

/// Computes forward passes.
pub trait Runner: Send + 'static {
    /// Keys and values of the slots of one call.
    type Cache: Cache;

    /// A cache for sequences of up to `capacity` tokens, without slots.
    ///
    /// # Errors
    /// Memory or device failures.
    fn new_cache(&self, capacity: usize) -> Result<Self::Cache, EngineError>;

    /// Computes `rows`, which are packed and never padded. Rows of one slot are consecutive
    /// and in ascending positions, each slot continues at the position after its last computed
    /// one, and position 0 begins the slot anew. `logits` is cleared and then holds the f32
    /// logits of the rows that want them, in their order: `[wanted, vocabulary]`.
    ///
    /// # Errors
    /// Memory or device failures; the cache is then unusable.
    fn forward(
        &self,
        cache: &mut Self::Cache,
        rows: &[Row],
        logits: &mut Vec<f32>,
    ) -> Result<(), EngineError>;

    /// Entries of a logits row.
    fn vocabulary(&self) -> usize;

    /// Bytes of the weights.
    fn weight_bytes(&self) -> u64;

    /// Bytes that one slot of `capacity` tokens takes.
    fn slot_bytes(&self, capacity: usize) -> u64;

    /// The most slots a cache may have; `None` is no limit but memory.
    fn max_slots(&self) -> Option<usize> {
        None
    }
}

/// Keys and values of the slots of one call.
pub trait Cache {
    /// Changes the number of slots. Slots below `slots` keep their contents.
    ///
    /// # Errors
    /// Memory or device failures.
    fn resize(&mut self, slots: usize) -> Result<(), EngineError>;

    /// Bytes that are allocated now.
    fn bytes(&self) -> u64;
}
