//! Small vocabularies for tests.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::quantized::gguf_file::Value;
use serde::Deserialize;

use super::Tokenizer;
use super::byte_alphabet;
use crate::engine::{EngineError, ModelSource, Weights};

/// Metadata of a GGUF file.
pub(in crate::engine) type Entries = HashMap<String, Value>;

/// A model in a GGUF file without anything beside it.
pub(in crate::engine) fn gguf_source() -> ModelSource {
    ModelSource::alone("sample", Weights::Gguf(PathBuf::from("sample.gguf")))
}

pub(super) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(texts.into_iter().map(|text| Value::String(text.into())).collect())
}

pub(super) fn integers(numbers: impl IntoIterator<Item = i32>) -> Value {
    Value::Array(numbers.into_iter().map(Value::I32).collect())
}

/// The tokens of the byte-level sample: `<s>`, `</s>`, `<unk>`, `<tool>`, every byte, and a few
/// words.
pub(super) fn byte_level_tokens() -> Vec<String> {
    let special = ["<s>", "</s>", "<unk>", "<tool>"].map(String::from);
    let bytes = ('\0'..='\u{200}').filter(|c| byte_alphabet::byte(*c).is_some()).map(String::from);
    let words = ["ab", "Ġa", "Ġab"].map(String::from);
    special.into_iter().chain(bytes).chain(words).collect()
}

/// Metadata of a byte-level vocabulary.
pub(super) fn byte_level_entries() -> Entries {
    let tokens = byte_level_tokens();
    let types = (0..tokens.len()).map(|id| match id {
        0 | 1 => 3,
        2 => 2,
        3 => 4,
        _ => 1,
    });
    let entries = [
        ("tokenizer.ggml.model", Value::String("gpt2".into())),
        ("tokenizer.ggml.pre", Value::String("smollm".into())),
        ("tokenizer.ggml.token_type", integers(types)),
        ("tokenizer.ggml.tokens", texts(tokens.iter().map(String::as_str))),
        ("tokenizer.ggml.merges", texts(["a b", "Ġ a", "Ġ ab", "a b"])),
        ("tokenizer.ggml.bos_token_id", Value::U32(0)),
        ("tokenizer.ggml.eos_token_id", Value::U32(1)),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The tokenizer of these entries.
pub(super) fn load(entries: &Entries) -> Result<Tokenizer, EngineError> {
    Tokenizer::load(&gguf_source(), Some(entries))
}

/// A byte-level tokenizer with further metadata.
pub(in crate::engine) fn byte_level(further: &[(&str, Value)]) -> Tokenizer {
    let mut entries = byte_level_entries();
    entries.extend(further.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    load(&entries).unwrap()
}

/// A vocabulary trained with SentencePiece (BPE, byte fallback) and its own tokens of a few
/// lines: `fixtures/sentencepiece.json`.
#[derive(Deserialize)]
pub(super) struct Trained {
    pub(super) tokens: Vec<String>,
    pub(super) scores: Vec<f32>,
    pub(super) types: Vec<i32>,
    pub(super) lines: Vec<(String, Vec<u32>)>,
}

impl Trained {
    pub(super) fn read() -> Self {
        serde_json::from_str(include_str!("fixtures/sentencepiece.json")).unwrap()
    }

    /// The GGUF metadata of this vocabulary.
    pub(super) fn entries(&self) -> Entries {
        let scores = self.scores.iter().copied().map(Value::F32).collect();
        let entries = [
            ("tokenizer.ggml.model", Value::String("llama".into())),
            ("tokenizer.ggml.tokens", texts(self.tokens.iter().map(String::as_str))),
            ("tokenizer.ggml.scores", Value::Array(scores)),
            ("tokenizer.ggml.token_type", integers(self.types.iter().copied())),
            ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
        ];
        entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
