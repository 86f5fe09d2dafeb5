//! Causal attention of packed rows over the caches of their slots.
//!
//! On the CPU a loop over rows and key-value heads: nothing is padded, so a row's result does
//! not depend on its neighbours. Elsewhere candle's operations, in a number that does not grow
//! with the decoding slots.

mod cpu;
mod tensors;

use candle_core::{Device, Result, Tensor};

use super::batch::Segment;
use super::cache::LayerCache;

/// The sizes of attention.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key and value heads.
    pub kv: usize,
    /// Width of a head.
    pub dim: usize,
    /// A token sees this many tokens, itself included.
    pub window: Option<usize>,
}

impl Heads {
    /// The first position that the token at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }
}

/// Attention of one batch, prepared once for all layers.
pub enum Attention {
    /// By slices on the CPU.
    Cpu(cpu::Plan),
    /// By candle's operations.
    Tensors(tensors::Plan),
}

impl Attention {
    /// Prepares attention for rows in these segments. `tensors` asks for candle's own
    /// operations on the CPU too.
    ///
    /// # Errors
    /// Memory or device failures.
    pub fn plan(
        heads: Heads,
        segments: &[Segment],
        device: &Device,
        tensors: bool,
    ) -> Result<Self> {
        if tensors || !device.is_cpu() {
            Ok(Self::Tensors(tensors::Plan::new(heads, segments, device)?))
        } else {
            Ok(Self::Cpu(cpu::Plan::new(heads, segments)))
        }
    }

    /// Attends with queries `[rows, heads, head_dim]`; gives `[rows, heads * head_dim]`.
    ///
    /// # Errors
    /// Memory or device failures.
    pub fn forward(&self, queries: &Tensor, cache: &LayerCache) -> Result<Tensor> {
        match self {
            Self::Cpu(plan) => queries.apply_op3_no_bwd(&cache.keys, &cache.values, plan),
            Self::Tensors(plan) => plan.forward(queries, cache),
        }
    }
}
