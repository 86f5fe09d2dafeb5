//! How a user names a provider in flags, presets and plans. Holds no secret: only the name of
//! the environment variable a key is read from.

use serde::{Deserialize, Serialize};

/// A provider and its model, as written in a preset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSpec {
    /// `local`, later `openai`, `anthropic`, `ollama`, `lmstudio`, `mlx`.
    pub provider: String,
    /// A catalogue name, a hub repository, a folder, a file, or a server's model name.
    pub model: String,
    /// Address of a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Name of the environment variable that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// The local engine's runner; `candle` today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// Threads of the local engine; default: the physical cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
}

impl Default for ProviderSpec {
    fn default() -> Self {
        Self {
            provider: "local".into(),
            model: "smollm2-135m-instruct".into(),
            base_url: None,
            api_key_env: None,
            runner: None,
            threads: None,
        }
    }
}
