//! Building the runner: stored tensors become the layers of the decoder.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Tensor};
use rayon::ThreadPool;

use super::attention::Heads;
use super::linear::Linear;
use super::panels::Panels;
use super::{CandleRunner, Embedding, Layer};
use crate::engine::EngineError;
use crate::engine::arch::{Architecture, Decoder};
use crate::engine::weights::{
    Inventory, LayerTensors, Naming, RowOrder, StoredTensor, TensorFiles,
};

/// The form in which weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// f32 in panels, on the CPU.
    Panels,
    /// Tensors of this type, computed by candle's own operations.
    Dense(DType),
    /// Blocks as in the file, computed by candle's own operations on the CPU.
    Quantized,
}

/// What a runner is built from.
pub struct Build<'a> {
    /// The decoder.
    pub decoder: &'a Decoder,
    /// Its tensors.
    pub inventory: &'a Inventory,
    /// The files they are in.
    pub files: &'a Arc<TensorFiles>,
    /// How weights are kept.
    pub form: Form,
    /// Where it computes.
    pub device: Device,
    /// Computes on the CPU.
    pub pool: Arc<ThreadPool>,
}

impl Build<'_> {
    /// Reads the weights.
    ///
    /// # Errors
    /// Memory or device failures.
    pub fn run(&self) -> Result<CandleRunner, EngineError> {
        self.pool.install(|| self.runner())
    }

    fn runner(&self) -> Result<CandleRunner, EngineError> {
        let Decoder { heads, kv_heads, head_dim, sliding_window, .. } = *self.decoder;
        let layers = self.inventory.layers.iter().map(|layer| self.layer(layer));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let (embedding, head) = self.ends()?;
        let weights = layers.iter().flat_map(|layer| {
            [&layer.qkv, &layer.output, &layer.gate_up, &layer.down].map(Linear::bytes)
        });
        let table = match &embedding {
            Embedding::File { .. } => 0,
            Embedding::Table(table) => tensor_bytes(table),
        };
        let weight_bytes = weights.sum::<u64>() + head.as_ref().map_or(0, Linear::bytes) + table;
        Ok(CandleRunner {
            heads: Heads { queries: heads, kv: kv_heads, dim: head_dim, window: sliding_window },
            norm_eps: self.decoder.norm_eps as f32,
            frequencies: self.frequencies()?,
            embedding,
            layers,
            norm: self.vector(&self.inventory.norm)?,
            head,
            vocab: self.inventory.vocab(),
            hidden: self.decoder.hidden,
            weight_bytes,
            dtype: self.dtype(),
            device: self.device.clone(),
            tensors_only: self.form != Form::Panels && self.form != Form::Quantized,
            pool: Arc::clone(&self.pool),
        })
    }

    /// The type of activations and caches.
    fn dtype(&self) -> DType {
        match self.form {
            Form::Panels | Form::Quantized => DType::F32,
            Form::Dense(dtype) => dtype,
        }
    }

    fn frequencies(&self) -> Result<Vec<f32>, EngineError> {
        let mut frequencies = self.decoder.rope.frequencies(self.decoder.head_dim);
        if let Some(factors) = &self.inventory.rope_factors {
            let factors = self.files.widen_vector(factors, RowOrder::Plain)?;
            for (frequency, factor) in frequencies.iter_mut().zip(factors) {
                *frequency /= factor;
            }
        }
        Ok(frequencies)
    }

    /// The embedding and the head. A device holds a tied table once; the CPU reads embedding
    /// rows from the file.
    fn ends(&self) -> Result<(Embedding, Option<Linear>), EngineError> {
        let stored = &self.inventory.embedding;
        let head = self.inventory.head.as_ref();
        match self.form {
            Form::Dense(_) => {
                let table = self.dense(&[(stored, RowOrder::Plain)])?;
                let head = head.map(|head| self.linear(&[(head, RowOrder::Plain)]));
                Ok((Embedding::Table(table), head.transpose()?))
            }
            Form::Panels | Form::Quantized => {
                let head = self.linear(&[(head.unwrap_or(stored), RowOrder::Plain)])?;
                let (files, tensor) = (Arc::clone(self.files), stored.clone());
                Ok((Embedding::File { files, tensor }, Some(head)))
            }
        }
    }

    fn layer(&self, layer: &LayerTensors) -> Result<Layer, EngineError> {
        let plain = |tensor| (tensor, RowOrder::Plain);
        let [q, k, v] = &layer.qkv;
        let order = self.qk_order();
        let [gate, up] = &layer.gate_up;
        Ok(Layer {
            attention_norm: self.vector(&layer.attention_norm)?,
            qkv: self.linear(&[(q, order), (k, order), plain(v)])?,
            qkv_bias: layer.qkv_bias.as_ref().map(|bias| self.bias(bias)).transpose()?,
            qk_norm: match &layer.qk_norm {
                None => None,
                Some([q, k]) => Some([self.vector(q)?, self.vector(k)?]),
            },
            output: self.linear(&[plain(&layer.output)])?,
            ffn_norm: self.vector(&layer.ffn_norm)?,
            gate_up: self.linear(&[plain(gate), plain(up)])?,
            down: self.linear(&[plain(&layer.down)])?,
        })
    }

    /// llama.cpp's converter reorders q and k for the architecture it calls llama only.
    fn qk_order(&self) -> RowOrder {
        let reordered = self.decoder.architecture == Architecture::Llama;
        match self.files.naming {
            Naming::Gguf if reordered => RowOrder::Interleaved { head_dim: self.decoder.head_dim },
            Naming::Gguf | Naming::HuggingFace => RowOrder::Plain,
        }
    }

    fn bias(&self, [q, k, v]: &[StoredTensor; 3]) -> Result<Tensor, EngineError> {
        let order = self.qk_order();
        let mut values = self.files.widen_vector(q, order)?;
        values.extend(self.files.widen_vector(k, order)?);
        values.extend(self.files.widen_vector(v, RowOrder::Plain)?);
        self.tensor(values, &[q.columns() + k.columns() + v.columns()])
    }

    fn vector(&self, tensor: &StoredTensor) -> Result<Tensor, EngineError> {
        self.tensor(self.files.widen_vector(tensor, RowOrder::Plain)?, &[tensor.columns()])
    }

    fn tensor(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor, EngineError> {
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        Ok(tensor.to_dtype(self.dtype())?.to_device(&self.device)?)
    }

    /// Matrices of one width, one below the other.
    fn linear(&self, parts: &[(&StoredTensor, RowOrder)]) -> Result<Linear, EngineError> {
        match self.form {
            Form::Panels => {
                let (outputs, inputs) = joined_shape(parts);
                let row = |row: usize, out: &mut [f32]| self.row(parts, row, out);
                Ok(Linear::Panels(Panels::pack(outputs, inputs, row)?))
            }
            Form::Dense(_) => Ok(Linear::Dense(self.dense(parts)?)),
            Form::Quantized => {
                let parts = parts.iter().map(|(tensor, order)| self.quantized(tensor, *order));
                Ok(Linear::Quantized(parts.collect::<Result<_, _>>()?))
            }
        }
    }

    /// A row of joined matrices, in the order of use.
    fn row(
        &self,
        parts: &[(&StoredTensor, RowOrder)],
        mut row: usize,
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        for (tensor, order) in parts {
            if row < tensor.rows() {
                return self.files.widen_row(tensor, order.stored(row), out);
            }
            row -= tensor.rows();
        }
        Err(EngineError::Internal("a row past the end of its matrices".into()))
    }

    fn dense(&self, parts: &[(&StoredTensor, RowOrder)]) -> Result<Tensor, EngineError> {
        let (outputs, inputs) = joined_shape(parts);
        let mut values = vec![0.0; outputs * inputs];
        for (row, out) in values.chunks_mut(inputs).enumerate() {
            self.row(parts, row, out)?;
        }
        self.tensor(values, &[outputs, inputs])
    }

    fn quantized(&self, tensor: &StoredTensor, order: RowOrder) -> Result<QMatMul, EngineError> {
        let bytes = match order {
            RowOrder::Plain => Cow::Borrowed(self.files.bytes(tensor)),
            RowOrder::Interleaved { .. } => {
                let rows = (0..tensor.rows()).map(|row| order.stored(row));
                let rows: Vec<&[u8]> = rows.map(|row| self.files.row_bytes(tensor, row)).collect();
                Cow::Owned(rows.concat())
            }
        };
        let storage = QStorage::from_data(bytes, &self.device, tensor.dtype)?;
        let tensor = QTensor::new(storage, tensor.shape.as_slice())?;
        Ok(QMatMul::from_qtensor(tensor)?)
    }
}

fn joined_shape(parts: &[(&StoredTensor, RowOrder)]) -> (usize, usize) {
    let outputs = parts.iter().map(|(tensor, _)| tensor.rows()).sum();
    (outputs, parts.first().map_or(0, |(tensor, _)| tensor.columns()))
}

pub(super) fn tensor_bytes(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}
