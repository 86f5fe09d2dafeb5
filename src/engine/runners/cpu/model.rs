//! The decoder's weights, arranged for the kernels.

use std::sync::Arc;

use super::activations::Wanted;
use super::blocks;
use super::form::{BLOCK, Form};
use super::kernels::attention::Heads;
use super::kernels::gate::Activation;
use super::kernels::prepare::Norm;
use super::pack::{Gated, Layout, Linear, Part, Source};
use super::weights::Weights;
use crate::engine::EngineError;
use crate::engine::arch::{Architecture, Decoder};
use crate::engine::weights::{
    Inventory, LayerTensors, Naming, RowOrder, StoredTensor, TensorFiles,
};

/// A decoder with its weights.
#[derive(Debug)]
pub struct Model {
    /// Sizes of attention.
    pub heads: Heads,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the gated part.
    pub ffn: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Added under the root of RMSNorm.
    pub norm_eps: f32,
    /// A token sees this many tokens.
    pub window: Option<usize>,
    /// Queries are multiplied by this.
    pub query_scale: f32,
    /// Angles of the rope's pairs, a position.
    pub frequencies: Vec<f32>,
    /// Those of the layers that see a window, where they are others.
    pub local_frequencies: Option<Vec<f32>>,
    /// Embeddings are multiplied by this.
    pub embedding_scale: Option<f32>,
    /// The layers.
    pub layers: Vec<Layer>,
    /// The last norm.
    pub norm: Vec<f32>,
    /// The output head.
    pub head: Linear,
    /// All packed weights.
    pub weights: Weights,
    /// In which shapes the inputs are wanted.
    pub wanted: WantedInputs,
    /// In which shapes they are where they are computed in bf16.
    pub wanted_in_bf16: WantedInputs,
    /// In which shapes the head's is, which is computed alike for all rows and never in bf16.
    pub wanted_by_head: Wanted,
    embedding: Embedding,
}

/// A layer; vectors are padded with zeros to whole blocks.
#[derive(Debug)]
pub struct Layer {
    /// Before attention.
    pub attention_norm: Vec<f32>,
    /// q, k and v.
    pub qkv: Linear,
    /// Their biases, laid out like the outputs.
    pub bias: Option<Vec<f32>>,
    /// Norms of the heads of q and k.
    pub head_norms: Option<[Vec<f32>; 2]>,
    /// Whether a token sees the window only.
    pub local: bool,
    /// Norms of what attention and the feed-forward part add to the stream.
    pub post_norms: Option<[Vec<f32>; 2]>,
    /// From the heads back to the stream.
    pub output: Linear,
    /// Before the feed-forward part.
    pub ffn_norm: Vec<f32>,
    /// Gate and up.
    pub gated: Gated,
    /// Back to the stream.
    pub down: Linear,
}

/// In which shapes the inputs of all matrices of a kind are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WantedInputs {
    /// Of q, k, v, gate and up.
    pub normed: Wanted,
    /// Of the output of attention.
    pub attended: Wanted,
    /// Of down.
    pub gated: Wanted,
}

impl WantedInputs {
    /// Whether a matrix wants panels.
    pub fn any_panels(&self) -> bool {
        [self.normed, self.attended, self.gated].iter().any(|wanted| wanted.panels)
    }
}

impl Wanted {
    /// What a form wants, if those of `in_panels` are multiplied with panels.
    fn add(&mut self, form: Form, in_panels: fn(Form) -> bool) {
        self.panels |= in_panels(form);
        self.floats |= !in_panels(form);
    }

    fn add_all(&mut self, linear: &Linear, in_panels: fn(Form) -> bool) {
        let segments = linear.threads.iter().flatten();
        segments.for_each(|segment| self.add(segment.form, in_panels));
    }
}

/// What a model is built from.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// The decoder.
    pub decoder: &'a Decoder,
    /// Its tensors.
    pub inventory: &'a Inventory,
    /// The files they are in.
    pub files: &'a Arc<TensorFiles>,
    /// Everything in f32, nothing quantised.
    pub exact: bool,
    /// Threads that will compute.
    pub threads: usize,
}

impl<'a> Build<'a> {
    /// Packs the weights.
    ///
    /// # Errors
    /// Memory failures, or a tensor that cannot be read.
    pub fn run(self) -> Result<Model, EngineError> {
        let Decoder { hidden, ffn, heads, kv_heads, head_dim, .. } = *self.decoder;
        let source = Source { files: self.files, exact: self.exact };
        let mut layout = Layout::new(source, self.threads);
        let layers = self.inventory.layers.iter().enumerate();
        let layers = layers.map(|(number, layer)| self.layer(number, layer, &mut layout));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let stored = self.inventory.head.as_ref().unwrap_or(&self.inventory.embedding);
        let head = layout.linear(&[plain(stored)]);
        let mut wanted_by_head = Wanted::default();
        wanted_by_head.add_all(&head, Form::is_quantised);
        Ok(Model {
            heads: Heads { queries: heads, kv: kv_heads, dim: head_dim, exact: self.exact },
            hidden,
            ffn,
            vocabulary: self.inventory.vocab(),
            norm_eps: self.decoder.norm_eps as f32,
            window: self.decoder.sliding_window,
            query_scale: match self.decoder.query_scale {
                None => 1.0 / (head_dim as f32).sqrt(),
                Some(scale) => scale as f32,
            },
            frequencies: self.frequencies()?,
            local_frequencies: self
                .decoder
                .global_layers
                .as_ref()
                .map(|_| self.decoder.local_rope().frequencies(head_dim)),
            embedding_scale: self.is_gemma().then(|| (hidden as f32).sqrt()),
            norm: self.norm(&self.inventory.norm)?,
            weights: Weights::pack(&layout)?,
            wanted: wanted(&layers, Form::is_quantised),
            wanted_in_bf16: wanted(&layers, Form::has_pairs),
            wanted_by_head,
            layers,
            head,
            embedding: Embedding {
                files: Arc::clone(self.files),
                tensor: self.inventory.embedding.clone(),
            },
        })
    }

    fn is_gemma(&self) -> bool {
        self.decoder.architecture == Architecture::Gemma3
    }

    fn layer(
        &self,
        number: usize,
        layer: &'a LayerTensors,
        layout: &mut Layout<'a>,
    ) -> Result<Layer, EngineError> {
        let [q, k, v] = &layer.qkv;
        let order = self.qk_order();
        let [gate, up] = &layer.gate_up;
        let activation = if self.is_gemma() { Activation::Gelu } else { Activation::Silu };
        let qkv = layout.linear(&[Part { tensor: q, order }, Part { tensor: k, order }, plain(v)]);
        Ok(Layer {
            attention_norm: self.norm(&layer.attention_norm)?,
            local: self.decoder.is_local(number),
            post_norms: match &layer.post_norms {
                None => None,
                Some([attention, ffn]) => Some([self.norm(attention)?, self.norm(ffn)?]),
            },
            bias: match &layer.qkv_bias {
                None => None,
                Some(biases) => Some(self.bias(biases, &qkv)?),
            },
            qkv,
            head_norms: match &layer.qk_norm {
                None => None,
                Some([q, k]) => Some([self.norm(q)?, self.norm(k)?]),
            },
            output: layout.linear(&[plain(&layer.output)]),
            ffn_norm: self.norm(&layer.ffn_norm)?,
            gated: layout.gated([plain(gate), plain(up)], activation),
            down: layout.linear(&[plain(&layer.down)]),
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

    fn bias(&self, biases: &[StoredTensor; 3], qkv: &Linear) -> Result<Vec<f32>, EngineError> {
        let mut joined = vec![0.0; qkv.columns.last().copied().unwrap_or(0)];
        let orders = [self.qk_order(), self.qk_order(), RowOrder::Plain];
        for ((bias, order), column) in biases.iter().zip(orders).zip(&qkv.columns) {
            let values = self.files.widen_vector(bias, order)?;
            joined[*column..column + values.len()].copy_from_slice(&values);
        }
        Ok(joined)
    }

    /// A norm's weights. Those of gemma3 count from 1, which GGUF's converter has added.
    fn norm(&self, tensor: &StoredTensor) -> Result<Vec<f32>, EngineError> {
        let mut values = self.files.widen_vector(tensor, RowOrder::Plain)?;
        if self.is_gemma() && self.files.naming == Naming::HuggingFace {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        values.resize(values.len().next_multiple_of(BLOCK), 0.0);
        Ok(values)
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
}

fn plain(tensor: &StoredTensor) -> Part<'_> {
    Part { tensor, order: RowOrder::Plain }
}

fn wanted(layers: &[Layer], in_panels: fn(Form) -> bool) -> WantedInputs {
    let mut wanted = WantedInputs::default();
    for layer in layers {
        wanted.normed.add_all(&layer.qkv, in_panels);
        layer.gated.forms.iter().for_each(|form| wanted.normed.add(*form, in_panels));
        wanted.attended.add_all(&layer.output, in_panels);
        wanted.gated.add_all(&layer.down, in_panels);
    }
    wanted
}

/// The rows of the embedding, read from the mapped file as they are needed.
#[derive(Debug)]
struct Embedding {
    files: Arc<TensorFiles>,
    tensor: StoredTensor,
}

impl Model {
    /// Widens a token's embedding into `out`, which is as long as the stream is wide.
    ///
    /// # Errors
    /// A token outside of the vocabulary.
    pub fn embed(&self, token: u32, out: &mut [f32]) -> Result<(), EngineError> {
        if token as usize >= self.vocabulary {
            return Err(EngineError::Internal(format!(
                "the token {token} is outside the vocabulary of {}",
                self.vocabulary
            )));
        }
        let Embedding { files, tensor } = &self.embedding;
        let row = files.row_bytes(tensor, token as usize);
        match blocks::form(tensor.dtype) {
            None => files.widen_row(tensor, token as usize, out)?,
            Some(form) => widen(form, tensor, row, out).ok_or_else(|| {
                EngineError::Internal(format!("the tensor {} ends early", tensor.name))
            })?,
        }
        if let Some(scale) = self.embedding_scale {
            out.iter_mut().for_each(|value| *value *= scale);
        }
        Ok(())
    }

    /// A token of this layer sees so many tokens, or all where there is no window.
    pub fn window_of(&self, layer: &Layer) -> Option<usize> {
        self.window.filter(|_| layer.local)
    }

    /// RMSNorm with these weights.
    pub fn normed_by<'a>(&self, weight: &'a [f32]) -> Norm<'a> {
        Norm { weight, eps: self.norm_eps }
    }
}

fn widen(form: Form, tensor: &StoredTensor, row: &[u8], out: &mut [f32]) -> Option<()> {
    if form.is_quantised() {
        for (at, out) in out.chunks_mut(BLOCK).enumerate() {
            blocks::block(tensor.dtype, row, at)?.widen(out);
        }
    } else {
        for (at, out) in out.iter_mut().enumerate() {
            *out = blocks::element(tensor.dtype, row, at)?;
        }
    }
    Some(())
}
