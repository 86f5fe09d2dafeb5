//! Our own decoder over candle's tensors, on the CPU and on GPUs.
//!
//! Rows of all slots are packed: every linear layer is one product over `[rows, hidden]`, and
//! only attention looks at slots. On the CPU a row's result does not depend on the rows beside
//! it, bit for bit. This module does not read files and does not choose tokens.

pub mod attention;
pub mod cache;

mod activation;
mod batch;
mod build;
mod lanes;
mod linear;
mod panels;

use std::sync::Arc;

use candle_core::{CpuStorage, DType, Device, Layout, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::rope;
use rayon::ThreadPool;

use self::attention::{Attention, Heads};
use self::batch::Segment;
use self::cache::{CacheShape, CandleCache, LayerCache};
use self::linear::Linear;
use super::super::EngineError;
use super::super::runner::{Answers, Row, Runner};
use super::super::weights::{StoredTensor, TensorFiles};

pub use build::{Build, Form};

/// A decoder with its weights.
pub struct CandleRunner {
    heads: Heads,
    norm_eps: f32,
    frequencies: Vec<f32>,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: Tensor,
    /// `None` where the embedding's table is the head.
    head: Option<Linear>,
    vocab: usize,
    hidden: usize,
    weight_bytes: u64,
    dtype: DType,
    device: Device,
    tensors_only: bool,
    /// Sizes the threads of the CPU.
    pool: Arc<ThreadPool>,
}

struct Layer {
    attention_norm: Tensor,
    qkv: Linear,
    qkv_bias: Option<Tensor>,
    qk_norm: Option<[Tensor; 2]>,
    output: Linear,
    ffn_norm: Tensor,
    gate_up: Linear,
    down: Linear,
}

enum Embedding {
    /// Rows are widened from the mapped file as they are needed.
    File { files: Arc<TensorFiles>, tensor: StoredTensor },
    /// `[vocabulary, hidden]` on the device.
    Table(Tensor),
}

/// What all layers of a forward pass share.
struct Pass {
    attention: Attention,
    cos: Tensor,
    sin: Tensor,
    /// Rows of a layer's cache, seen as `[slots * kv_heads * capacity, head_dim]`, that the new
    /// keys and values go to.
    places: Tensor,
}

impl Runner for CandleRunner {
    type Cache = CandleCache;

    fn new_cache(&self, capacity: usize) -> Result<CandleCache, EngineError> {
        Ok(CandleCache::new(self.cache_shape(), capacity))
    }

    fn forward(
        &self,
        cache: &mut CandleCache,
        rows: &[Row],
        answers: &mut Answers,
    ) -> Result<(), EngineError> {
        answers.from_logits(rows, self.vocab, |logits| self.advance(cache, rows, logits))
    }

    fn vocabulary(&self) -> usize {
        self.vocab
    }

    fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    fn slot_bytes(&self, capacity: usize) -> u64 {
        self.cache_shape().slot_bytes(capacity)
    }
}

impl CandleRunner {
    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn advance(
        &self,
        cache: &mut CandleCache,
        rows: &[Row],
        logits: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        if rows.is_empty() {
            return Ok(());
        }
        if let Some(row) = rows.iter().find(|row| row.token as usize >= self.vocab) {
            let message =
                format!("the token {} is outside the vocabulary of {}", row.token, self.vocab);
            return Err(EngineError::Internal(message));
        }
        let segments = batch::segments(rows, &cache.lengths, cache.capacity())?;
        self.pool.install(|| self.compute(cache, rows, &segments, logits))?;
        for segment in segments {
            cache.lengths[segment.slot] = segment.start + segment.rows;
        }
        Ok(())
    }

    fn cache_shape(&self) -> CacheShape {
        CacheShape {
            layers: self.layers.len(),
            kv_heads: self.heads.kv,
            head_dim: self.heads.dim,
            dtype: self.dtype,
            device: self.device.clone(),
        }
    }

    fn compute(
        &self,
        cache: &CandleCache,
        rows: &[Row],
        segments: &[Segment],
        logits: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        let pass = self.pass(cache, rows, segments)?;
        let wanted: Vec<u32> = (0u32..)
            .zip(rows)
            .filter(|(_, row)| row.want.anything())
            .map(|(index, _)| index)
            .collect();
        let mut x = self.embed(rows)?;
        for (number, (layer, cache)) in self.layers.iter().zip(&cache.layers).enumerate() {
            let mut heads = self.attend(layer, &x, cache, &pass)?;
            if number + 1 == self.layers.len() && wanted.len() < rows.len() {
                // of the others nobody asks for more than the last layer's keys and values
                if wanted.is_empty() {
                    return Ok(());
                }
                let wanted = Tensor::new(wanted.as_slice(), &self.device)?;
                (x, heads) = (x.index_select(&wanted, 0)?, heads.index_select(&wanted, 0)?);
            }
            x = self.feed_forward(layer, &x, &heads)?;
        }
        self.project(&x, logits)?;
        Ok(())
    }

    fn pass(
        &self,
        cache: &CandleCache,
        rows: &[Row],
        segments: &[Segment],
    ) -> candle_core::Result<Pass> {
        let device = &self.device;
        let (cos, sin) = batch::rope_tables(rows, &self.frequencies, self.dtype, device)?;
        let attention = Attention::plan(self.heads, segments, device, self.tensors_only)?;
        let Heads { kv, dim, .. } = self.heads;
        let capacity = cache.capacity();
        let places: Vec<u32> = rows
            .iter()
            .flat_map(|row| (0..kv).map(|head| (row.slot * kv + head) * capacity + row.position))
            .flat_map(|place| std::iter::repeat_n(place as u32, dim))
            .collect();
        let places = Tensor::from_vec(places, (rows.len() * kv, dim), device)?;
        Ok(Pass { attention, cos, sin, places })
    }

    fn embed(&self, rows: &[Row]) -> Result<Tensor, EngineError> {
        match &self.embedding {
            Embedding::File { files, tensor } => {
                let mut values = vec![0.0; rows.len() * self.hidden];
                for (row, out) in rows.iter().zip(values.chunks_mut(self.hidden)) {
                    files.widen_row(tensor, row.token as usize, out)?;
                }
                let shape = (rows.len(), self.hidden);
                Ok(Tensor::from_vec(values, shape, &self.device)?.to_dtype(self.dtype)?)
            }
            Embedding::Table(table) => {
                let tokens: Vec<u32> = rows.iter().map(|row| row.token).collect();
                Ok(table.index_select(&Tensor::new(tokens, &self.device)?, 0)?)
            }
        }
    }

    /// What comes after a layer's heads.
    fn feed_forward(
        &self,
        layer: &Layer,
        x: &Tensor,
        heads: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let x = (x + layer.output.forward(heads)?)?;
        let normed = rms_norm(&x, &layer.ffn_norm, self.norm_eps)?;
        let gated = activation::gated(&layer.gate_up.forward(&normed)?)?;
        x + layer.down.forward(&gated)?
    }

    /// A layer's heads.
    fn attend(
        &self,
        layer: &Layer,
        x: &Tensor,
        cache: &LayerCache,
        pass: &Pass,
    ) -> candle_core::Result<Tensor> {
        let Heads { queries, kv, dim, .. } = self.heads;
        let rows = x.dim(0)?;
        let normed = rms_norm(x, &layer.attention_norm, self.norm_eps)?;
        let mut qkv = layer.qkv.forward(&normed)?;
        if let Some(bias) = &layer.qkv_bias {
            qkv = qkv.broadcast_add(bias)?;
        }
        let part = |first: usize, heads: usize| {
            qkv.narrow(1, first * dim, heads * dim)?.reshape((rows, heads, 1, dim))
        };
        let (mut q, mut k) = (part(0, queries)?, part(queries, kv)?);
        if let Some([q_norm, k_norm]) = &layer.qk_norm {
            q = rms_norm(&q.contiguous()?, q_norm, self.norm_eps)?;
            k = rms_norm(&k.contiguous()?, k_norm, self.norm_eps)?;
        }
        let q = rope(&q.contiguous()?, &pass.cos, &pass.sin)?;
        let k = rope(&k.contiguous()?, &pass.cos, &pass.sin)?;
        let v = part(queries + kv, kv)?.contiguous()?;
        store(&cache.keys, &k, &pass.places)?;
        store(&cache.values, &v, &pass.places)?;
        pass.attention.forward(&q.reshape((rows, queries, dim))?, cache)
    }

    /// Logits of rows.
    fn project(&self, x: &Tensor, logits: &mut Vec<f32>) -> candle_core::Result<()> {
        let normed = rms_norm(x, &self.norm, self.norm_eps)?;
        match (&self.head, &self.embedding) {
            (Some(head), _) => head.forward_into(&normed, logits),
            (None, Embedding::Table(table)) => {
                Linear::Dense(table.clone()).forward_into(&normed, logits)
            }
            (None, Embedding::File { .. }) => candle_core::bail!("the model has no head"),
        }
    }
}

/// Writes `[rows, kv_heads, 1, head_dim]` to their places in a layer's cache.
fn store(cache: &Tensor, new: &Tensor, places: &Tensor) -> candle_core::Result<()> {
    let dim = cache.dim(3)?;
    let cache = cache.reshape((cache.elem_count() / dim, dim))?;
    cache.scatter_set(places, &new.reshape(places.dims())?, 0)
}

/// The f32 elements of a contiguous tensor on the CPU.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((begin, end)) => Ok(&storage.as_slice::<f32>()?[begin..end]),
        None => candle_core::bail!("the tensor is not contiguous"),
    }
}
