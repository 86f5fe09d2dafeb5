//! Architectures of candle-transformers, one row at a time: phi3.
//!
//! Its models take one position for a whole batch, so a cache has one slot. The weights are
//! shared: a cache is a clone of a model that never computed anything.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use candle_core::quantized::gguf_file::{Content, TensorInfo, Value, VersionedMagic};
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{phi3, quantized_phi3};
use rayon::ThreadPool;

use super::super::EngineError;
use super::super::arch::{Decoder, RopeScaling};
use super::super::runner::{Answers, Cache, Row, Runner};
use super::super::weights::{Inventory, Naming, StoredTensor, TensorFiles};

/// What a runner is made from.
pub struct Inputs<'a> {
    /// The decoder, accepted by [`check`].
    pub decoder: &'a Decoder,
    /// Its tensors.
    pub inventory: &'a Inventory,
    /// The files they are in.
    pub files: &'a TensorFiles,
    /// The type of dense weights.
    pub dtype: DType,
    /// Where it computes.
    pub device: Device,
    /// Computes on the CPU.
    pub pool: Arc<ThreadPool>,
}

/// Refuses settings that candle-transformers would compute wrongly.
///
/// # Errors
/// A setting that is not supported.
pub fn check(decoder: &Decoder, naming: Naming) -> Result<(), EngineError> {
    let problem = if decoder.rope.scaling != RopeScaling::None {
        "rope scaling"
    } else if decoder.heads * decoder.head_dim != decoder.hidden {
        "a head size other than hidden size / heads"
    } else if naming == Naming::Gguf && decoder.rope.theta != 10_000.0 {
        "a GGUF file with a rope base other than 10000"
    } else {
        return Ok(());
    };
    Err(EngineError::Unsupported {
        reason: format!("{problem} is not supported for the architecture phi3"),
        instead: "use a phi3 model without it, such as the 4k variants".into(),
    })
}

/// The most tokens of a row: candle-transformers leaves out the sliding window of phi3, so
/// rows end where one would begin to matter.
pub fn context_length(decoder: &Decoder) -> usize {
    decoder.sliding_window.map_or(decoder.context, |window| decoder.context.min(window))
}

/// A model of candle-transformers.
pub struct TransformersRunner {
    model: Model,
    vocab: usize,
    weight_bytes: u64,
    /// Bytes of the keys and values of a token.
    token_bytes: u64,
    /// Tokens that a slot is allocated for, where that is fixed.
    allocated: Option<usize>,
    device: Device,
    pool: Arc<ThreadPool>,
}

/// Cloning shares the weights and, before the first forward pass, nothing else.
#[derive(Clone)]
enum Model {
    Phi3(phi3::Model),
    QuantizedPhi3(quantized_phi3::ModelWeights),
}

impl Model {
    /// The logits after the last of `tokens`.
    fn forward(&mut self, tokens: &Tensor, position: usize) -> candle_core::Result<Tensor> {
        match self {
            Self::Phi3(model) => model.forward(tokens, position),
            Self::QuantizedPhi3(model) => model.forward(tokens, position),
        }
    }
}

impl TransformersRunner {
    /// Reads the weights.
    ///
    /// # Errors
    /// Memory or device failures.
    pub fn load(inputs: &Inputs<'_>) -> Result<Self, EngineError> {
        let decoder = inputs.decoder;
        let (model, element, allocated) = match inputs.files.naming {
            Naming::Gguf => (quantized_phi3(inputs)?, DType::F32, Some(context_length(decoder))),
            Naming::HuggingFace => (dense_phi3(inputs)?, inputs.dtype, None),
        };
        let elements = 2 * decoder.layers * decoder.kv_heads * decoder.head_dim;
        Ok(Self {
            model,
            vocab: inputs.inventory.vocab(),
            weight_bytes: weight_bytes(inputs.files, inputs.inventory, inputs.dtype),
            token_bytes: (elements * element.size_in_bytes()) as u64,
            allocated,
            device: inputs.device.clone(),
            pool: Arc::clone(&inputs.pool),
        })
    }
}

/// Bytes that the weights take in memory. Quantised blocks stay as they are in the file, with
/// the embedding widened beside them; everything else gets the type `dtype`.
pub fn weight_bytes(files: &TensorFiles, inventory: &Inventory, dtype: DType) -> u64 {
    match files.naming {
        Naming::Gguf => {
            let blocks: u64 = files.iter().map(StoredTensor::block_bytes).sum();
            blocks + inventory.embedding.elements() * 4
        }
        Naming::HuggingFace => inventory.parameters * dtype.size_in_bytes() as u64,
    }
}

fn dense_phi3(inputs: &Inputs<'_>) -> Result<Model, EngineError> {
    let mut tensors = HashMap::new();
    for stored in inputs.files.iter() {
        let values = inputs.files.widen_all(stored)?;
        let tensor = Tensor::from_vec(values, stored.shape.as_slice(), &Device::Cpu)?;
        let tensor = tensor.to_dtype(inputs.dtype)?.to_device(&inputs.device)?;
        tensors.insert(stored.name.clone(), tensor);
    }
    let decoder = inputs.decoder;
    let config = phi3::Config {
        vocab_size: inputs.inventory.vocab(),
        hidden_act: Activation::Silu,
        hidden_size: decoder.hidden,
        intermediate_size: decoder.ffn,
        num_hidden_layers: decoder.layers,
        num_attention_heads: decoder.heads,
        num_key_value_heads: decoder.kv_heads,
        rms_norm_eps: decoder.norm_eps,
        rope_theta: decoder.rope.theta,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: context_length(decoder),
        original_max_position_embeddings: None,
        partial_rotary_factor: None,
        tie_word_embeddings: inputs.inventory.head.is_none(),
    };
    let weights = VarBuilder::from_tensors(tensors, inputs.dtype, &inputs.device);
    Ok(Model::Phi3(phi3::Model::new(&config, weights)?))
}

fn quantized_phi3(inputs: &Inputs<'_>) -> Result<Model, EngineError> {
    let mut reader = Cursor::new(inputs.files.first_file());
    let content = Content {
        magic: VersionedMagic::GgufV3,
        metadata: phi3_keys(inputs.decoder),
        tensor_infos: tensor_infos(inputs),
        // offsets are counted from the beginning of the file
        tensor_data_offset: 0,
    };
    let model =
        quantized_phi3::ModelWeights::from_gguf(false, content, &mut reader, &inputs.device)?;
    Ok(Model::QuantizedPhi3(model))
}

/// The keys that candle-transformers reads, in the types that it expects.
fn phi3_keys(decoder: &Decoder) -> HashMap<String, Value> {
    let sizes = [
        ("attention.head_count", decoder.heads),
        ("attention.head_count_kv", decoder.kv_heads),
        ("block_count", decoder.layers),
        ("context_length", context_length(decoder)),
        ("embedding_length", decoder.hidden),
        ("feed_forward_length", decoder.ffn),
        ("rope.dimension_count", decoder.head_dim),
    ];
    let mut keys: HashMap<String, Value> = sizes
        .into_iter()
        .map(|(key, size)| (format!("phi3.{key}"), Value::U32(size as u32)))
        .collect();
    let eps = Value::F32(decoder.norm_eps as f32);
    keys.insert("phi3.attention.layer_norm_rms_epsilon".into(), eps);
    keys
}

fn tensor_infos(inputs: &Inputs<'_>) -> HashMap<String, TensorInfo> {
    let info = |tensor: &StoredTensor| TensorInfo {
        ggml_dtype: tensor.dtype,
        shape: Shape::from(tensor.shape.as_slice()),
        offset: tensor.offset(),
    };
    let mut infos: HashMap<String, TensorInfo> =
        inputs.files.iter().map(|tensor| (tensor.name.clone(), info(tensor))).collect();
    if inputs.inventory.head.is_none() {
        infos.insert("output.weight".into(), info(&inputs.inventory.embedding));
    }
    infos
}

impl Runner for TransformersRunner {
    type Cache = TransformersCache;

    fn new_cache(&self, capacity: usize) -> Result<TransformersCache, EngineError> {
        Ok(TransformersCache { slot: None, slot_bytes: self.slot_bytes(capacity), capacity })
    }

    fn forward(
        &self,
        cache: &mut TransformersCache,
        rows: &[Row],
        answers: &mut Answers,
    ) -> Result<(), EngineError> {
        self.check_rows(cache, rows)?;
        answers.from_logits(rows, self.vocab, |logits| {
            let Some(slot) = &mut cache.slot else { return Ok(()) };
            self.pool.install(|| {
                // a pass gives the logits of its last row alone
                rows.split_inclusive(|row| row.want.anything())
                    .try_for_each(|rows| self.advance(slot, rows, logits))
            })
        })
    }

    fn vocabulary(&self) -> usize {
        self.vocab
    }

    fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    fn slot_bytes(&self, capacity: usize) -> u64 {
        self.token_bytes * self.allocated.unwrap_or(capacity) as u64
    }

    fn max_slots(&self) -> Option<usize> {
        Some(1)
    }
}

impl TransformersRunner {
    fn check_rows(&self, cache: &TransformersCache, rows: &[Row]) -> Result<(), EngineError> {
        let mut next = cache.slot.as_ref().map_or(0, |slot| slot.length);
        for (index, row) in rows.iter().enumerate() {
            let continues = row.position == next || (index == 0 && row.position == 0);
            let sound = row.slot == 0
                && cache.slot.is_some()
                && continues
                && row.position < cache.capacity
                && (row.token as usize) < self.vocab;
            if !sound {
                let Row { slot, position, token, .. } = row;
                return Err(EngineError::Internal(format!(
                    "row {index} (slot {slot}, position {position}, token {token}) cannot be \
                     computed"
                )));
            }
            next = row.position + 1;
        }
        Ok(())
    }

    /// Computes rows of which at most the last wants logits.
    fn advance(
        &self,
        slot: &mut Slot,
        rows: &[Row],
        logits: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        if first.position == 0 {
            slot.model = None;
        }
        let model = slot.model.get_or_insert_with(|| self.model.clone());
        let tokens: Vec<u32> = rows.iter().map(|row| row.token).collect();
        let tokens = Tensor::new(tokens, &self.device)?.unsqueeze(0)?;
        let result = model.forward(&tokens, first.position)?;
        if last.want.anything() {
            let result = result.flatten_all()?.to_dtype(DType::F32)?;
            logits.extend(result.to_vec1::<f32>()?);
        }
        slot.length = last.position + 1;
        Ok(())
    }
}

/// The one slot of a call.
pub struct TransformersCache {
    slot: Option<Slot>,
    slot_bytes: u64,
    capacity: usize,
}

/// A model whose keys and values are those of the tokens so far.
#[derive(Default)]
struct Slot {
    model: Option<Model>,
    length: usize,
}

impl Cache for TransformersCache {
    fn resize(&mut self, slots: usize) -> Result<(), EngineError> {
        match slots {
            0 => self.slot = None,
            1 => {
                self.slot.get_or_insert_default();
            }
            _ => {
                return Err(EngineError::Unsupported {
                    reason: "candle-transformers computes one row at a time".into(),
                    instead: "use the sequential or the async mode".into(),
                });
            }
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let computed = self.slot.as_ref().is_some_and(|slot| slot.model.is_some());
        if computed { self.slot_bytes } else { 0 }
    }
}
