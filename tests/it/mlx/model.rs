//! SmolLM2 as mlx-lm reads it: the quickstart model's GGUF file taken apart into safetensors.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Tensor};
use serde_json::json;

use crate::servers::{Lock, quickstart_model, target};

/// A folder with the model, made once.
///
/// # Errors
/// There is no quickstart model.
pub fn smollm2() -> Result<PathBuf, String> {
    let gguf = quickstart_model()?;
    let folder = target().join("test-models").join("smollm2-safetensors");
    fs::create_dir_all(target().join("test-models")).map_err(|error| error.to_string())?;
    let _lock = Lock::take(&folder.with_extension("lock"))?;
    if !folder.exists() {
        let making = folder.with_extension("part");
        fs::create_dir_all(&making).map_err(|error| error.to_string())?;
        write(&gguf, &making);
        fs::rename(&making, &folder).map_err(|error| error.to_string())?;
    }
    Ok(folder)
}

fn write(gguf: &Path, folder: &Path) {
    let mut file = File::open(gguf).unwrap();
    let content = Content::read(&mut file).unwrap();
    let tensors: HashMap<String, Tensor> = content
        .tensor_infos
        .keys()
        .map(|name| {
            let tensor = content.tensor(&mut file, name, &Device::Cpu).unwrap();
            let tensor = in_order(name, tensor.dequantize(&Device::Cpu).unwrap());
            (safetensors_name(name), tensor.to_dtype(DType::BF16).unwrap())
        })
        .collect();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    let write = |name: &str, json: serde_json::Value| {
        fs::write(folder.join(name), json.to_string()).unwrap();
    };
    write("config.json", config(&content));
    write("tokenizer.json", tokenizer(&content));
    write(
        "tokenizer_config.json",
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "clean_up_tokenization_spaces": false,
            "chat_template": content.metadata["tokenizer.chat_template"].to_string().unwrap(),
        }),
    );
}

fn number(content: &Content, key: &str) -> u32 {
    content.metadata[&format!("llama.{key}")].to_u32().unwrap()
}

/// llama.cpp interleaves the halves of the heads of q and k; here they follow each other.
fn in_order(name: &str, tensor: Tensor) -> Tensor {
    if !name.contains("attn_q.") && !name.contains("attn_k.") {
        return tensor;
    }
    let (rows, columns) = tensor.dims2().unwrap();
    let split = tensor.reshape((rows / 64, 32, 2, columns)).unwrap().transpose(1, 2).unwrap();
    split.contiguous().unwrap().reshape((rows, columns)).unwrap()
}

fn safetensors_name(name: &str) -> String {
    let name = match name.strip_prefix("blk.") {
        Some(rest) => format!("model.layers.{rest}"),
        None => format!("model.{name}"),
    };
    [
        ("token_embd", "embed_tokens"),
        ("output_norm", "norm"),
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_", "self_attn."),
        ("ffn_", "mlp."),
        ("self_attn.q.", "self_attn.q_proj."),
        ("self_attn.k.", "self_attn.k_proj."),
        ("self_attn.v.", "self_attn.v_proj."),
        ("mlp.gate.", "mlp.gate_proj."),
        ("mlp.up.", "mlp.up_proj."),
        ("mlp.down.", "mlp.down_proj."),
    ]
    .into_iter()
    .fold(name, |name, (gguf, safetensors)| name.replace(gguf, safetensors))
}

fn config(content: &Content) -> serde_json::Value {
    let number = |key| number(content, key);
    json!({
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": number("attention.head_count"),
        "num_key_value_heads": number("attention.head_count_kv"),
        "max_position_embeddings": number("context_length"),
        "vocab_size": number("vocab_size"),
        "rms_norm_eps": 1e-5,
        "rope_theta": 100_000.0,
        "tie_word_embeddings": true,
        "eos_token_id": 2,
    })
}

fn strings(content: &Content, key: &str) -> Vec<String> {
    let list = content.metadata[&format!("tokenizer.ggml.{key}")].to_vec().unwrap();
    list.iter().map(|text| text.to_string().unwrap().clone()).collect()
}

fn tokenizer(content: &Content) -> serde_json::Value {
    let tokens = strings(content, "tokens");
    let types = content.metadata["tokenizer.ggml.token_type"].to_vec().unwrap();
    let is_special = |kind: &Value| matches!(kind, Value::I32(3));
    let special = tokens.iter().zip(types).enumerate().filter(|(_, (_, kind))| is_special(kind));
    let special = special.map(|(id, (text, _))| {
        json!({
            "id": id, "content": text, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    });
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "added_tokens": special.collect::<Vec<_>>(),
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": true}, byte_level],
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": tokens.iter().enumerate().map(|(id, text)| (text.clone(), id.into()))
                .collect::<serde_json::Map<_, _>>(),
            "merges": strings(content, "merges"),
        },
    })
}
