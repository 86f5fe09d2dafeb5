//! Keys and values of the slots of one call, per layer `[slots, kv_heads, capacity, head_dim]`.

use candle_core::{DType, Device, Tensor};

use crate::engine::EngineError;
use crate::engine::runner::Cache;

/// What a cache is made of.
#[derive(Debug, Clone)]
pub struct CacheShape {
    /// Layers of the model.
    pub layers: usize,
    /// Key and value heads of a layer.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Element type.
    pub dtype: DType,
    /// Where it lies.
    pub device: Device,
}

impl CacheShape {
    /// Bytes that a slot of this many tokens takes.
    pub fn slot_bytes(&self, capacity: usize) -> u64 {
        let elements = 2 * self.layers * self.kv_heads * self.head_dim;
        (elements * self.dtype.size_in_bytes()) as u64 * capacity as u64
    }

    /// Places of keys and values are counted in 32 bits.
    fn check_places(&self, slots: usize, capacity: usize) -> Result<(), EngineError> {
        let places = slots.checked_mul(self.kv_heads).and_then(|n| n.checked_mul(capacity));
        match places {
            Some(places) if places < u32::MAX as usize => Ok(()),
            _ => Err(EngineError::OutOfMemory(format!(
                "{slots} slots of {capacity} tokens are too many; try a smaller batch size"
            ))),
        }
    }

    fn allocate(&self, slots: usize, capacity: usize) -> candle_core::Result<Tensor> {
        let shape = (slots, self.kv_heads, capacity, self.head_dim);
        Tensor::zeros(shape, self.dtype, &self.device)
    }
}

/// Keys and values of one layer.
#[derive(Debug)]
pub struct LayerCache {
    /// Keys.
    pub keys: Tensor,
    /// Values.
    pub values: Tensor,
}

/// The cache of the candle runner.
#[derive(Debug)]
pub struct CandleCache {
    shape: CacheShape,
    capacity: usize,
    /// Tokens that each slot holds.
    pub(super) lengths: Vec<usize>,
    /// Empty while there are no slots.
    pub(super) layers: Vec<LayerCache>,
}

impl CandleCache {
    pub(super) fn new(shape: CacheShape, capacity: usize) -> Self {
        Self { shape, capacity: capacity.max(1), lengths: Vec::new(), layers: Vec::new() }
    }

    /// The most tokens of a slot.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn resized(&self, old: Option<&Tensor>, slots: usize) -> candle_core::Result<Tensor> {
        let new = self.shape.allocate(slots, self.capacity)?;
        if let Some(old) = old {
            let kept = slots.min(self.lengths.len());
            new.slice_set(&old.narrow(0, 0, kept)?, 0, 0)?;
        }
        Ok(new)
    }
}

impl Cache for CandleCache {
    fn resize(&mut self, slots: usize) -> Result<(), EngineError> {
        if slots == self.lengths.len() {
            return Ok(());
        }
        self.shape.check_places(slots, self.capacity)?;
        if slots == 0 {
            self.layers.clear();
        } else {
            // layer by layer, so that only one layer is there twice
            for layer in 0..self.shape.layers {
                let old = self.layers.get(layer);
                let keys = self.resized(old.map(|old| &old.keys), slots)?;
                let values = self.resized(old.map(|old| &old.values), slots)?;
                let new = LayerCache { keys, values };
                match self.layers.get_mut(layer) {
                    Some(old) => *old = new,
                    None => self.layers.push(new),
                }
            }
        }
        self.lengths.resize(slots, 0);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.shape.slot_bytes(self.capacity) * self.lengths.len() as u64
    }
}
