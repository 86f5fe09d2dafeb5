//! Which tensors a decoder needs, and the check that the files have exactly those.

use std::collections::HashSet;

use super::names::Part;
use super::{StoredTensor, TensorFiles};
use crate::engine::EngineError;
use crate::engine::arch::{Architecture, Decoder};

const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Every tensor of a decoder, with the shapes checked.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// `[vocabulary, hidden]`.
    pub embedding: StoredTensor,
    /// `[vocabulary, hidden]`; `None` where it is the embedding.
    pub head: Option<StoredTensor>,
    /// `[hidden]`.
    pub norm: StoredTensor,
    /// GGUF's form of rope scaling: each frequency is divided by its factor, `[head_dim / 2]`.
    pub rope_factors: Option<StoredTensor>,
    /// The layers; empty for architectures that candle-transformers runs.
    pub layers: Vec<LayerTensors>,
    /// Elements of all tensors.
    pub parameters: u64,
}

/// The tensors of a layer; matrices are `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub struct LayerTensors {
    /// `[hidden]`.
    pub attention_norm: StoredTensor,
    /// q, k and v.
    pub qkv: [StoredTensor; 3],
    /// Biases of q, k and v.
    pub qkv_bias: Option<[StoredTensor; 3]>,
    /// Norms of the heads of q and k, `[head_dim]`.
    pub qk_norm: Option<[StoredTensor; 2]>,
    /// `[hidden, heads * head_dim]`.
    pub output: StoredTensor,
    /// `[hidden]`.
    pub ffn_norm: StoredTensor,
    /// After attention and after the feed-forward part, `[hidden]` each.
    pub post_norms: Option<[StoredTensor; 2]>,
    /// Gate and up, `[ffn, hidden]`.
    pub gate_up: [StoredTensor; 2],
    /// `[hidden, ffn]`.
    pub down: StoredTensor,
}

impl Inventory {
    /// Finds and checks the tensors of `decoder`.
    ///
    /// # Errors
    /// A tensor is missing, has another shape, or is one that this engine knows nothing of.
    pub fn take(files: &TensorFiles, decoder: &Decoder) -> Result<Self, EngineError> {
        let mut search = Search { files, decoder, used: HashSet::new() };
        let inventory = search.everything()?;
        search.refuse_unused()?;
        Ok(inventory)
    }

    /// The size of the vocabulary.
    pub fn vocab(&self) -> usize {
        self.embedding.rows()
    }
}

struct Search<'a> {
    files: &'a TensorFiles,
    decoder: &'a Decoder,
    used: HashSet<&'a str>,
}

impl Search<'_> {
    fn everything(&mut self) -> Result<Inventory, EngineError> {
        let (naming, hidden) = (self.files.naming, self.decoder.hidden);
        let embedding = self.embedding()?;
        let head = self.head(embedding.rows())?;
        let norm = self.find(naming.norm(), &[hidden])?;
        let rope_factors = match self.files.get(ROPE_FACTORS) {
            Some(_) => Some(self.find(ROPE_FACTORS, &[self.decoder.head_dim / 2])?),
            None => None,
        };
        let mut layers = Vec::new();
        for layer in 0..self.decoder.layers {
            match self.decoder.architecture {
                Architecture::Phi3 => self.check_phi3_layer(layer)?,
                Architecture::Llama
                | Architecture::Qwen2
                | Architecture::Qwen3
                | Architecture::Gemma3 => {
                    layers.push(self.layer(layer)?);
                }
            }
        }
        let parameters = self.files.iter().map(StoredTensor::elements).sum();
        Ok(Inventory { embedding, head, norm, rope_factors, layers, parameters })
    }

    /// The vocabulary has as many entries as the embedding has rows: a config.json must agree,
    /// a GGUF file may name the size before padding.
    fn embedding(&mut self) -> Result<StoredTensor, EngineError> {
        let name = self.files.naming.embedding();
        let found = self.files.get(name).map(StoredTensor::rows);
        let rows = match (self.decoder.vocab, found) {
            (Some(vocab), Some(rows)) if self.files.naming == super::Naming::Gguf => {
                vocab.max(rows)
            }
            (Some(vocab), _) => vocab,
            (None, found) => found.unwrap_or(1),
        };
        self.find(name, &[rows, self.decoder.hidden])
    }

    fn head(&mut self, vocab: usize) -> Result<Option<StoredTensor>, EngineError> {
        let name = self.files.naming.head();
        let present = self.files.get(name).is_some();
        let tied = self.decoder.tied.unwrap_or(!present);
        let shape = [vocab, self.decoder.hidden];
        match (tied, present) {
            (true, false) => Ok(None),
            // some exports write the tied head a second time
            (true, true) => self.find(name, &shape).map(|_| None),
            (false, _) => self.find(name, &shape).map(Some),
        }
    }

    fn layer(&mut self, layer: usize) -> Result<LayerTensors, EngineError> {
        let Decoder { hidden, heads, kv_heads, head_dim, ffn, .. } = *self.decoder;
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        let gemma = self.decoder.architecture == Architecture::Gemma3;
        let ffn_norm = if gemma { Part::PreFfnNorm } else { Part::FfnNorm };
        Ok(LayerTensors {
            attention_norm: self.part(layer, Part::AttentionNorm, &[hidden])?,
            qkv: [
                self.part(layer, Part::Q, &[q, hidden])?,
                self.part(layer, Part::K, &[kv, hidden])?,
                self.part(layer, Part::V, &[kv, hidden])?,
            ],
            qkv_bias: self.qkv_bias(layer, q, kv)?,
            qk_norm: match self.decoder.qk_norm {
                false => None,
                true => Some([
                    self.part(layer, Part::QNorm, &[head_dim])?,
                    self.part(layer, Part::KNorm, &[head_dim])?,
                ]),
            },
            output: self.part(layer, Part::Output, &[hidden, q])?,
            ffn_norm: self.part(layer, ffn_norm, &[hidden])?,
            post_norms: match gemma {
                false => None,
                true => Some([
                    self.part(layer, Part::PostAttentionNorm, &[hidden])?,
                    self.part(layer, Part::PostFfnNorm, &[hidden])?,
                ]),
            },
            gate_up: [
                self.part(layer, Part::Gate, &[ffn, hidden])?,
                self.part(layer, Part::Up, &[ffn, hidden])?,
            ],
            down: self.part(layer, Part::Down, &[hidden, ffn])?,
        })
    }

    fn qkv_bias(
        &mut self,
        layer: usize,
        q: usize,
        kv: usize,
    ) -> Result<Option<[StoredTensor; 3]>, EngineError> {
        let present = self.files.get(&self.files.naming.part(layer, Part::QBias)).is_some();
        if !self.decoder.qkv_bias.unwrap_or(present) {
            return Ok(None);
        }
        Ok(Some([
            self.part(layer, Part::QBias, &[q])?,
            self.part(layer, Part::KBias, &[kv])?,
            self.part(layer, Part::VBias, &[kv])?,
        ]))
    }

    /// candle-transformers reads these tensors itself.
    fn check_phi3_layer(&mut self, layer: usize) -> Result<(), EngineError> {
        let Decoder { hidden, heads, kv_heads, head_dim, ffn, .. } = *self.decoder;
        let q = heads * head_dim;
        self.part(layer, Part::AttentionNorm, &[hidden])?;
        self.part(layer, Part::Qkv, &[q + 2 * kv_heads * head_dim, hidden])?;
        self.part(layer, Part::Output, &[hidden, q])?;
        self.part(layer, Part::FfnNorm, &[hidden])?;
        self.part(layer, Part::GateUp, &[2 * ffn, hidden])?;
        self.part(layer, Part::Down, &[hidden, ffn])?;
        Ok(())
    }

    fn part(
        &mut self,
        layer: usize,
        part: Part,
        shape: &[usize],
    ) -> Result<StoredTensor, EngineError> {
        self.find(&self.files.naming.part(layer, part), shape)
    }

    fn find(&mut self, name: &str, shape: &[usize]) -> Result<StoredTensor, EngineError> {
        let files = self.files;
        let source = files.source.display();
        let Some(tensor) = files.get(name) else {
            let message = format!("{source}: the tensor {name} is missing; download it again");
            return Err(EngineError::model(message));
        };
        if tensor.shape != shape {
            return Err(EngineError::model(format!(
                "{source}: the tensor {name} has the shape {:?}, its configuration asks for \
                 {shape:?}; use files that belong together",
                tensor.shape
            )));
        }
        self.used.insert(&tensor.name);
        Ok(tensor.clone())
    }

    /// A tensor that nothing uses is a part of the model that would be left out.
    fn refuse_unused(&self) -> Result<(), EngineError> {
        let naming = self.files.naming;
        let unused = self.files.iter().map(|tensor| tensor.name.as_str());
        let unused = unused.filter(|name| !self.used.contains(name) && !naming.is_ignored(name));
        match unused.min() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(EngineError::Unsupported {
                    reason: format!(
                        "{}: the tensor {} has no place in the architecture {}",
                        self.files.source.display(),
                        name.escape_debug(),
                        self.decoder.architecture
                    ),
                    instead: "use a model without it, or serve this model with another program \
                              and use one of the HTTP providers"
                        .into(),
                })
            }
        }
    }
}
