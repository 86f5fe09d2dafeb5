//! A tokenizer for the tiny models: one word a token, `w0` to `w49`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::tiny_models::VOCAB;

/// Puts the tokenizer beside a model.
pub fn write(folder: &Path) {
    let words: Map<String, Value> = (0..VOCAB).map(|id| (format!("w{id}"), id.into())).collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"},
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}
