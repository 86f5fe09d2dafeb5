//! Keys and values of the slots of one call.
//!
//! A slot is one piece of memory: for each layer and key-value head the blocks of 32 positions,
//! from position 0. It is reserved in full and taken by the system as it is written. Memory that
//! was written once is used again by the next call: taking it anew costs a page fault for every
//! few positions, a tenth of the time of a prompt.

use std::sync::{Arc, Mutex, PoisonError};

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
    pool: Pool,
}

/// Memory of slots that are no more, for those to come.
#[derive(Debug, Clone, Default)]
pub struct Pool(Arc<Mutex<Vec<Buffer<u8>>>>);

/// Bytes that are kept for calls to come.
const MOST_KEPT: u64 = 256 << 20;

impl Pool {
    /// Memory of at least this many bytes, and not of many more; what it holds is left from
    /// before.
    fn take(&self, bytes: usize) -> Result<Buffer<u8>, EngineError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Buffer<u8>| (bytes..=bytes.saturating_mul(2)).contains(&buffer.len());
        match kept.iter().position(fits) {
            Some(at) => Ok(kept.swap_remove(at)),
            None => {
                // of another size, so of another kind of call: not to be held beside the new
                kept.clear();
                Buffer::zeroed(bytes)
            }
        }
    }

    fn give(&self, buffers: impl IntoIterator<Item = Buffer<u8>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes: u64 = kept.iter().map(Buffer::bytes).sum();
        for buffer in buffers {
            bytes += buffer.bytes();
            if bytes > MOST_KEPT {
                break;
            }
            kept.push(buffer);
        }
    }
}

impl Drop for CpuCache {
    fn drop(&mut self) {
        self.pool.give(self.slots.drain(..));
    }
}

impl CpuCache {
    /// A cache without slots.
    pub fn new(heads: &Heads, layers: usize, capacity: usize, pool: Pool) -> Self {
        let slot_bytes = slot_bytes(heads, layers, capacity);
        let (slots, lengths) = (Vec::new(), Vec::new());
        Self { slots, lengths, capacity, slot_bytes, heads: *heads, pool }
    }
}

/// Bytes that a slot of this many tokens takes.
pub fn slot_bytes(heads: &Heads, layers: usize, capacity: usize) -> usize {
    heads.cache_bytes(capacity) * heads.kv * layers
}

impl Cache for CpuCache {
    fn resize(&mut self, slots: usize) -> Result<(), EngineError> {
        while self.slots.len() < slots {
            self.slots.push(self.pool.take(self.slot_bytes)?);
        }
        self.pool.give(self.slots.drain(slots..));
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
        self.slots.iter().map(Buffer::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_call_that_ended_is_used_by_the_next_one() {
        let heads = Heads { queries: 2, kv: 1, dim: 32, exact: false };
        let pool = Pool::default();
        let cache = |capacity: usize| {
            let mut cache = CpuCache::new(&heads, 1, capacity, pool.clone());
            cache.resize(3).unwrap();
            cache
        };
        let places = |cache: &CpuCache| {
            let mut places: Vec<_> = cache.slots.iter().map(|slot| slot.as_ptr()).collect();
            places.sort_unstable();
            places
        };
        let mut first = cache(64);
        let all = places(&first);
        first.resize(1).unwrap();
        drop(first);
        let second = cache(40);
        assert_eq!(places(&second), all);
        assert_eq!(second.bytes(), 3 * heads.cache_bytes(64) as u64);
        drop(second);
        // much longer rows: nothing of the old is held beside the new
        let long = cache(4096);
        assert!(pool.0.lock().unwrap().is_empty());
        drop(long);
        assert_eq!(pool.0.lock().unwrap().len(), 3);
    }
}
