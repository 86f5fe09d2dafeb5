//! Models that are damaged or cannot be run: a clear error each, and no panic.

use std::collections::HashMap;
use std::path::PathBuf;

use batchgen::engine::EngineError;
use batchgen::engine::loader::{LoadOptions, load};
use batchgen::engine::source::{ModelSource, Weights};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use serde_json::json;
use tempfile::{TempDir, tempdir};

use crate::tiny_models::{Tiny, change_config, source};

fn refusal(source: &ModelSource) -> EngineError {
    match load(source, &LoadOptions::default()) {
        Ok(_) => panic!("the model was accepted"),
        Err(error) => error,
    }
}

#[track_caller]
fn assert_says(error: &EngineError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "\"{word}\" is not in: {text}");
    }
}

/// A sound GGUF file and its bytes.
fn gguf() -> (TempDir, PathBuf, Vec<u8>) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    Tiny::llama(2, true).write_gguf(path.clone(), GgmlDType::Q4_1);
    let bytes = std::fs::read(&path).unwrap();
    (folder, path, bytes)
}

fn refusal_of_gguf(bytes: &[u8]) -> EngineError {
    let folder = tempdir().unwrap();
    let path = folder.path().join("changed.gguf");
    std::fs::write(&path, bytes).unwrap();
    refusal(&source(Weights::Gguf(path)))
}

fn find(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
}

#[test]
fn a_truncated_gguf_file_is_said_to_be_truncated() {
    let (_folder, _path, bytes) = gguf();
    for length in [0, 3, 20, 200, bytes.len() / 2, bytes.len() - 40] {
        let error = refusal_of_gguf(&bytes[..length]);
        assert!(matches!(error, EngineError::Model(_)), "{length} bytes: {error}");
        assert_says(&error, &["changed.gguf", "download it again"]);
    }
    assert_says(&refusal_of_gguf(&bytes[..bytes.len() / 2]), &["truncated"]);
}

#[test]
fn absurd_counts_in_a_gguf_file_are_refused() {
    let (_folder, _path, bytes) = gguf();
    for (at, what) in [(8, "tensors"), (16, "keys")] {
        let mut changed = bytes.clone();
        changed[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_says(&refusal_of_gguf(&changed), &["declares", what]);
    }
    let mut changed = bytes.clone();
    changed[24..32].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    assert_says(&refusal_of_gguf(&changed), &["more than the file"]);
}

#[test]
fn dimensions_that_overflow_are_refused() {
    let (_folder, _path, bytes) = gguf();
    let name = "output_norm.weight";
    let at = find(&bytes, name) + name.len() + 4;
    for dimension in [0, u64::MAX, 1 << 62] {
        let mut changed = bytes.clone();
        changed[at..at + 8].copy_from_slice(&dimension.to_le_bytes());
        assert_says(&refusal_of_gguf(&changed), &["changed.gguf", name]);
    }
}

#[test]
fn an_unknown_tensor_type_is_refused_by_name() {
    let (_folder, _path, bytes) = gguf();
    let name = "output_norm.weight";
    let at = find(&bytes, name) + name.len() + 4 + 8;
    for (number, word) in [(23u32, "IQ4_XS"), (4, "number 4"), (999, "number 999")] {
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(&number.to_le_bytes());
        let error = refusal_of_gguf(&changed);
        assert!(matches!(error, EngineError::Unsupported { .. }), "{error}");
        assert_says(&error, &[name, word, "use a file in"]);
    }
}

#[test]
fn an_unknown_architecture_is_refused_by_name() {
    let (_folder, _path, bytes) = gguf();
    let at = find(&bytes, "general.architecture") + "general.architecture".len() + 12;
    let mut changed = bytes;
    changed[at..at + 5].copy_from_slice(b"mamba");
    let error = refusal_of_gguf(&changed);
    assert!(matches!(error, EngineError::Unsupported { .. }), "{error}");
    assert_says(&error, &["mamba", "llama, mistral, qwen2, qwen3, gemma3 or phi3"]);
}

#[test]
fn a_missing_file_is_named() {
    let error = refusal(&source(Weights::Gguf("nowhere/model.gguf".into())));
    assert_says(&error, &["nowhere/model.gguf"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_change_of_a_gguf_file_panics(
        changes in prop::collection::vec((0usize..2600, any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (_folder, path, mut bytes) = gguf();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let _ = load(&source(Weights::Gguf(path)), &LoadOptions::default());
    }
}

/// Writes a tiny llama whose tensors were changed.
fn safetensors(change: impl FnOnce(&mut HashMap<String, Tensor>)) -> (TempDir, ModelSource) {
    let folder = tempdir().unwrap();
    let mut tiny = Tiny::llama(2, false);
    change(&mut tiny.tensors);
    let source = tiny.write_safetensors(folder.path());
    (folder, source)
}

#[test]
fn a_wrong_shape_is_refused_with_both_shapes() {
    let name = "model.layers.1.mlp.up_proj.weight";
    let (_folder, source) = safetensors(|tensors| {
        let wrong = Tensor::zeros((95, 64), DType::F32, &Device::Cpu).unwrap();
        tensors.insert(name.into(), wrong);
    });
    assert_says(&refusal(&source), &[name, "[95, 64]", "[96, 64]"]);
}

#[test]
fn a_missing_tensor_is_refused_by_name() {
    for name in ["model.layers.0.self_attn.k_proj.weight", "lm_head.weight", "model.norm.weight"] {
        let (_folder, source) = safetensors(|tensors| {
            tensors.remove(name);
        });
        assert_says(&refusal(&source), &[name, "missing"]);
    }
}

#[test]
fn a_tensor_that_the_architecture_has_no_place_for_is_refused_by_name() {
    let name = "model.layers.0.self_attn.q_proj.bias";
    let (_folder, source) = safetensors(|tensors| {
        tensors.insert(name.into(), Tensor::zeros(64, DType::F32, &Device::Cpu).unwrap());
    });
    assert_says(&refusal(&source), &[name, "no place"]);
}

#[test]
fn elements_of_a_type_that_is_not_supported_are_refused_by_name() {
    let (_folder, source) = safetensors(|tensors| {
        let wrong = Tensor::zeros(64, DType::F64, &Device::Cpu).unwrap();
        tensors.insert("model.norm.weight".into(), wrong);
    });
    assert_says(&refusal(&source), &["model.norm.weight", "F64"]);
}

#[test]
fn truncated_safetensors_are_refused_by_path() {
    let (folder, source) = safetensors(|_| {});
    let shard = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&shard).unwrap();
    for length in [0, 5, 100, bytes.len() - 1] {
        std::fs::remove_file(&shard).unwrap();
        std::fs::write(&shard, &bytes[..length]).unwrap();
        assert_says(&refusal(&source), &["model.safetensors", "download it again"]);
    }
}

#[test]
fn settings_of_a_config_that_cannot_be_computed_are_refused_by_name() {
    for (key, value) in [
        ("model_type", json!("gpt_neox")),
        ("quantization_config", json!({"quant_method": "awq"})),
        ("hidden_act", json!("relu")),
        ("num_key_value_heads", json!(3)),
        ("hidden_size", json!(-1)),
        ("vocab_size", json!("many")),
    ] {
        let (folder, source) = safetensors(|_| {});
        let changes = [(key.to_string(), value)].into_iter().collect();
        change_config(&folder.path().join("config.json"), changes);
        let error = refusal(&source);
        assert_says(&error, &["config.json"]);
    }
    let (folder, source) = safetensors(|_| {});
    std::fs::write(folder.path().join("config.json"), "{not json").unwrap();
    assert_says(&refusal(&source), &["config.json"]);
}

#[test]
fn weights_that_do_not_fit_are_refused_with_what_they_need_and_what_there_is() {
    let (_folder, source) = safetensors(|_| {});
    let options = LoadOptions { memory_limit: Some(1000), ..LoadOptions::default() };
    let error = load(&source, &options).err().unwrap();
    assert!(matches!(error, EngineError::OutOfMemory(_)), "{error}");
    assert_says(&error, &["need 1 MB", "1 MB are available"]);
}

#[test]
fn phi3_with_rope_scaling_is_refused_before_it_is_computed_wrongly() {
    let folder = tempdir().unwrap();
    let source = Tiny::phi3().write_safetensors(folder.path());
    let scaling = json!({"rope_type": "linear", "factor": 2.0});
    let changes = [("rope_scaling".to_string(), scaling)].into_iter().collect();
    change_config(&folder.path().join("config.json"), changes);
    assert_says(&refusal(&source), &["rope scaling", "phi3"]);
}
