//! Tiny models with pseudo-random weights, written as safetensors or GGUF.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use batchgen::engine::source::{ModelSource, Weights};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use serde_json::{Map, json};

pub const VOCAB: usize = 50;
pub const HIDDEN: usize = 64;
pub const FFN: usize = 96;
pub const HEADS: usize = 4;
pub const CONTEXT: usize = 256;
pub const THETA: f32 = 10_000.0;
/// Base of the frequencies of gemma3's layers with a window; GGUF files do not say it.
pub const LOCAL_THETA: f32 = 10_000.0;
/// Tokens that those layers see.
pub const GEMMA_WINDOW: usize = 12;
pub const EPS: f64 = 1e-5;
/// The wavelengths of a head of 16 straddle what this context keeps and divides.
pub const LLAMA3_CONTEXT: usize = 64;

/// A tiny model.
#[derive(Clone)]
pub struct Tiny {
    pub architecture: &'static str,
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub tied: bool,
    pub llama3: bool,
    pub window: Option<usize>,
    pub tensors: HashMap<String, Tensor>,
}

impl Tiny {
    pub fn llama(kv_heads: usize, tied: bool) -> Self {
        Self::new("llama", kv_heads, 16, tied)
    }

    pub fn llama3() -> Self {
        Self { llama3: true, ..Self::llama(2, false) }
    }

    pub fn qwen2() -> Self {
        Self::new("qwen2", 2, 16, true)
    }

    /// Its heads together are wider than its hidden size, as in the real ones.
    pub fn qwen3() -> Self {
        Self::qwen3_with_heads_of(32)
    }

    pub fn qwen3_with_heads_of(head_dim: usize) -> Self {
        Self::new("qwen3", 2, head_dim, false)
    }

    /// Its sixth layer sees everything, the others a window.
    pub fn gemma3() -> Self {
        let mut tiny = Self::new("gemma3_text", 2, 32, true);
        tiny.window = Some(GEMMA_WINDOW);
        tiny
    }

    pub fn mistral(window: usize) -> Self {
        let mut tiny = Self::new("mistral", 2, 16, false);
        tiny.window = Some(window);
        tiny.keep_one_layer();
        tiny
    }

    pub fn phi3() -> Self {
        Self::new("phi3", 2, 16, false)
    }

    fn new(architecture: &'static str, kv_heads: usize, head_dim: usize, tied: bool) -> Self {
        let mut tiny = Self {
            architecture,
            layers: if architecture == "gemma3_text" { 6 } else { 2 },
            kv_heads,
            head_dim,
            tied,
            llama3: false,
            window: None,
            tensors: HashMap::new(),
        };
        tiny.fill();
        tiny
    }

    pub fn theta(&self) -> f32 {
        if self.is_gemma() { 100.0 * LOCAL_THETA } else { THETA }
    }

    fn is_gemma(&self) -> bool {
        self.architecture == "gemma3_text"
    }

    fn keep_one_layer(&mut self) {
        self.layers = 1;
        self.tensors.retain(|name, _| !name.starts_with("model.layers.1."));
    }

    fn fill(&mut self) {
        let (q, kv) = (HEADS * self.head_dim, self.kv_heads * self.head_dim);
        self.matrix("model.embed_tokens.weight", VOCAB, HIDDEN);
        if !self.tied {
            self.matrix("lm_head.weight", VOCAB, HIDDEN);
        }
        self.vector("model.norm.weight", HIDDEN, if self.is_gemma() { 0.0 } else { 1.0 });
        for layer in 0..self.layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            // gemma3 adds 1 to its norms
            let middle = if self.is_gemma() { 0.0 } else { 1.0 };
            self.vector(&name("input_layernorm.weight"), HIDDEN, middle);
            self.vector(&name("post_attention_layernorm.weight"), HIDDEN, middle);
            if self.is_gemma() {
                self.vector(&name("pre_feedforward_layernorm.weight"), HIDDEN, middle);
                self.vector(&name("post_feedforward_layernorm.weight"), HIDDEN, middle);
            }
            self.matrix(&name("self_attn.o_proj.weight"), HIDDEN, q);
            self.matrix(&name("mlp.down_proj.weight"), HIDDEN, FFN);
            if self.architecture == "phi3" {
                self.matrix(&name("self_attn.qkv_proj.weight"), q + 2 * kv, HIDDEN);
                self.matrix(&name("mlp.gate_up_proj.weight"), 2 * FFN, HIDDEN);
                continue;
            }
            self.matrix(&name("mlp.gate_proj.weight"), FFN, HIDDEN);
            self.matrix(&name("mlp.up_proj.weight"), FFN, HIDDEN);
            for (part, width) in [("q", q), ("k", kv), ("v", kv)] {
                self.matrix(&name(&format!("self_attn.{part}_proj.weight")), width, HIDDEN);
                if self.architecture == "qwen2" {
                    self.vector(&name(&format!("self_attn.{part}_proj.bias")), width, 0.0);
                }
            }
            if self.architecture == "qwen3" || self.is_gemma() {
                self.vector(&name("self_attn.q_norm.weight"), self.head_dim, middle);
                self.vector(&name("self_attn.k_norm.weight"), self.head_dim, middle);
            }
        }
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) {
        let scale = 1.5 / (columns as f32).sqrt();
        let values: Vec<f32> = noise(name).take(rows * columns).map(|x| x * scale).collect();
        let tensor = Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap();
        self.tensors.insert(name.into(), tensor);
    }

    fn vector(&mut self, name: &str, length: usize, middle: f32) {
        let values: Vec<f32> = noise(name).take(length).map(|x| middle + 0.3 * x).collect();
        let tensor = Tensor::from_vec(values, length, &Device::Cpu).unwrap();
        self.tensors.insert(name.into(), tensor);
    }

    /// The same model with its matrices rounded as this type rounds them.
    pub fn rounded(&self, dtype: GgmlDType) -> Self {
        let mut rounded = self.clone();
        for tensor in rounded.tensors.values_mut().filter(|tensor| tensor.rank() == 2) {
            let blocks = QTensor::quantize(tensor, dtype).unwrap();
            *tensor = blocks.dequantize(&Device::Cpu).unwrap();
        }
        rounded
    }

    pub fn config(&self) -> serde_json::Value {
        let mut config = json!({
            "hidden_act": "silu",
            "hidden_size": HIDDEN,
            "intermediate_size": FFN,
            "max_position_embeddings": CONTEXT,
            "model_type": self.architecture,
            "num_attention_heads": HEADS,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": EPS,
            "rope_theta": self.theta(),
            "sliding_window": self.window,
            "tie_word_embeddings": self.tied,
            "vocab_size": VOCAB,
        });
        let more = config.as_object_mut().unwrap();
        if self.architecture == "qwen3" {
            more.insert("head_dim".into(), json!(self.head_dim));
        }
        if self.is_gemma() {
            more.remove("hidden_act");
            more.extend([
                ("head_dim".into(), json!(self.head_dim)),
                ("hidden_activation".into(), json!("gelu_pytorch_tanh")),
                ("query_pre_attn_scalar".into(), json!(self.head_dim)),
                ("rope_local_base_freq".into(), json!(LOCAL_THETA)),
                ("sliding_window_pattern".into(), json!(6)),
            ]);
        }
        if self.llama3 {
            let scaling = json!({
                "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": LLAMA3_CONTEXT, "rope_type": "llama3",
            });
            more.insert("rope_scaling".into(), scaling);
        }
        config
    }

    /// Writes config.json and one shard into `folder`.
    pub fn write_safetensors(&self, folder: &Path) -> ModelSource {
        let config = folder.join("config.json");
        let shard = folder.join("model.safetensors");
        std::fs::write(&config, self.config().to_string()).unwrap();
        candle_core::safetensors::save(&self.tensors, &shard).unwrap();
        source(Weights::Safetensors { config, shards: vec![shard] })
    }

    /// Writes a GGUF file as llama.cpp's converter does, matrices in this type.
    pub fn write_gguf(&self, path: PathBuf, dtype: GgmlDType) -> ModelSource {
        self.write_mixed_gguf(path, |_| dtype)
    }

    /// The same with a type for each matrix, by its name.
    pub fn write_mixed_gguf(
        &self,
        path: PathBuf,
        dtype: impl Fn(&str) -> GgmlDType,
    ) -> ModelSource {
        let mut tensors: Vec<(String, QTensor)> = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let dtype = if tensor.rank() == 2 { dtype(name) } else { GgmlDType::F32 };
                let tensor = self.reordered(name, tensor);
                let added = if self.is_gemma() && tensor.rank() == 1 { 1.0 } else { 0.0 };
                let tensor = (tensor + added).unwrap();
                (self.gguf_name(name), QTensor::quantize(&tensor, dtype).unwrap())
            })
            .collect();
        if self.llama3 {
            let factors = Tensor::new(llama3_factors(self.head_dim), &Device::Cpu).unwrap();
            let factors = QTensor::quantize(&factors, GgmlDType::F32).unwrap();
            tensors.push(("rope_freqs.weight".into(), factors));
        }
        let metadata = self.gguf_keys();
        let metadata: Vec<(&str, &Value)> =
            metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut file = std::fs::File::create(&path).unwrap();
        gguf_file::write(&mut file, &metadata, &tensors).unwrap();
        source(Weights::Gguf(path))
    }

    /// llama.cpp interleaves the halves of the heads of q and k of llama.
    fn reordered(&self, name: &str, tensor: &Tensor) -> Tensor {
        let is_qk = name.contains("q_proj.weight") || name.contains("k_proj.weight");
        if self.architecture != "llama" || !is_qk {
            return tensor.clone();
        }
        let (rows, columns) = tensor.dims2().unwrap();
        let heads = (rows / self.head_dim, 2, self.head_dim / 2, columns);
        let split = tensor.reshape(heads).unwrap().transpose(1, 2).unwrap();
        split.contiguous().unwrap().reshape((rows, columns)).unwrap()
    }

    fn gguf_name(&self, name: &str) -> String {
        let name = match self.is_gemma() {
            false => name.replace("post_attention_layernorm", "ffn_norm"),
            true => name
                .replace("post_attention_layernorm", "post_attention_norm")
                .replace("pre_feedforward_layernorm", "ffn_norm")
                .replace("post_feedforward_layernorm", "post_ffw_norm"),
        };
        gguf_name(&name)
    }

    pub fn gguf_keys(&self) -> Vec<(String, Value)> {
        let sizes = [
            ("attention.head_count", HEADS),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("block_count", self.layers),
            ("context_length", CONTEXT),
            ("embedding_length", HIDDEN),
            ("feed_forward_length", FFN),
            ("rope.dimension_count", self.head_dim),
        ];
        let arch = self.architecture.trim_end_matches("_text");
        let mut keys = vec![("general.architecture".into(), Value::String(arch.into()))];
        keys.extend(sizes.map(|(key, n)| (format!("{arch}.{key}"), Value::U32(n as u32))));
        keys.push((format!("{arch}.rope.freq_base"), Value::F32(self.theta())));
        let eps = Value::F32(EPS as f32);
        keys.push((format!("{arch}.attention.layer_norm_rms_epsilon"), eps));
        if let Some(window) = self.window {
            let window = Value::U32(window as u32);
            keys.push((format!("{arch}.attention.sliding_window"), window));
        }
        keys
    }
}

pub fn source(weights: Weights) -> ModelSource {
    ModelSource::alone("tiny", weights)
}

/// Writes a config.json with some keys changed.
pub fn change_config(path: &Path, changes: Map<String, serde_json::Value>) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut config: Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    config.extend(changes);
    std::fs::write(path, serde_json::Value::Object(config).to_string()).unwrap();
}

/// Numbers in -1..1 that depend on the name alone.
fn noise(name: &str) -> impl Iterator<Item = f32> {
    let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

/// What each frequency is divided by, as llama.cpp's converter computes it.
fn llama3_factors(head_dim: usize) -> Vec<f32> {
    let (factor, low, high, context) = (8.0, 1.0, 4.0, LLAMA3_CONTEXT as f32);
    let frequencies = (0..head_dim / 2).map(|i| THETA.powf(-2.0 * i as f32 / head_dim as f32));
    let factors = frequencies.map(|frequency| {
        let wavelength = std::f32::consts::TAU / frequency;
        if wavelength < context / high {
            1.0
        } else if wavelength > context / low {
            factor
        } else {
            let smooth = (context / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    });
    factors.collect()
}

fn gguf_name(name: &str) -> String {
    let names = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("self_attn.qkv_proj", "attn_qkv"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_up_proj", "ffn_up"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    names.iter().fold(name.to_string(), |name, (from, to)| name.replace(from, to))
}
