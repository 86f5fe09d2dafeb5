//! The files of a model on this machine: what the store gives and the loaders read.

use std::path::{Path, PathBuf};

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    /// The name the user gave: a catalogue name, a hub repository, a path.
    pub name: String,
    /// Its weights.
    pub weights: Weights,
    /// A tokenizer.json beside them; GGUF files also carry a vocabulary of their own.
    pub tokenizer: Option<PathBuf>,
    /// A tokenizer_config.json beside them (special tokens, chat template).
    pub tokenizer_config: Option<PathBuf>,
    /// A chat_template.jinja beside them; it wins over other templates.
    pub chat_template: Option<PathBuf>,
    /// A generation_config.json beside them (end-of-text ids).
    pub generation_config: Option<PathBuf>,
    /// Hash of the weight file, where it is known.
    pub sha256: Option<String>,
}

impl ModelSource {
    /// Weights with nothing beside them.
    pub fn alone(name: impl Into<String>, weights: Weights) -> Self {
        Self {
            name: name.into(),
            weights,
            tokenizer: None,
            tokenizer_config: None,
            chat_template: None,
            generation_config: None,
            sha256: None,
        }
    }
}

/// The weights of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weights {
    /// One GGUF file.
    Gguf(PathBuf),
    /// A config.json with one or more safetensors shards, in name order.
    Safetensors {
        /// config.json.
        config: PathBuf,
        /// The shards.
        shards: Vec<PathBuf>,
    },
}

impl Weights {
    /// The file to name in messages.
    pub fn path(&self) -> &Path {
        match self {
            Weights::Gguf(path) => path,
            Weights::Safetensors { config, .. } => config,
        }
    }
}
