//! Bytes of the KV caches of all calls under way, told whenever a call's own part changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{EngineMemory, Event, Sink};

/// One call's part of the caches; dropping it takes the part away.
#[derive(Debug)]
pub(super) struct KvCount {
    sink: Sink,
    weights: u64,
    /// Bytes of the caches of all calls.
    total: Arc<AtomicU64>,
    /// Bytes of this call's cache, as last counted in `total`.
    own: u64,
}

impl KvCount {
    /// A call without a cache yet, of a model whose weights take so many bytes.
    pub fn new(sink: Sink, weights: u64, total: Arc<AtomicU64>) -> Self {
        Self { sink, weights, total, own: 0 }
    }

    /// This call's cache now has so many bytes.
    pub fn set(&mut self, bytes: u64) {
        if bytes == self.own {
            return;
        }
        let change = bytes.wrapping_sub(self.own);
        let kv = self.total.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        self.own = bytes;
        self.sink.send(Event::Memory(EngineMemory { weights: self.weights, kv }));
    }
}

impl Drop for KvCount {
    fn drop(&mut self) {
        self.set(0);
    }
}
