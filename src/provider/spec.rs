//! How a user names a provider in flags, presets and plans. Holds no secret: only the name of
//! the environment variable a key is read from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A provider and its model, as written in a preset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSpec {
    /// `local`, `openai`, `anthropic`, `ollama`, `lmstudio` or `mlx`.
    pub provider: String,
    /// A catalogue name, a hub repository, a folder, a file, or a server's model name; empty
    /// for a server's first model.
    pub model: String,
    /// Address of a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Name of the environment variable that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// The local engine's runner, `cpu` or `candle`; by default `cpu`, and on a GPU `candle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// Threads of the local engine; default: the physical cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// How a server is spoken to, where its own ways are not right.
    #[serde(skip_serializing_if = "ServerOptions::is_default")]
    pub server: ServerOptions,
    /// The Python that runs mlx-lm, or the folder of its virtual environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
}

/// How a server is spoken to; what is absent is found out from the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerOptions {
    /// How often a failed request is sent again, if no text of it had arrived; default 2, and 8
    /// where the server names how long to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Longest silence of the server in seconds; default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_s: Option<u64>,
    /// Most requests in any 60 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<usize>,
    /// Most tokens in any 60 seconds: prompts and the most tokens of their rows, when sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<usize>,
    /// `max_tokens` or `max_completion_tokens`, for OpenAI-compatible servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_field: Option<MaxTokensField>,
    /// Whether one request may carry many raw prompts, for OpenAI-compatible servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_array: Option<bool>,
    /// Whether `batched` sends the conversations of a batch in one request, over vLLM's
    /// `/v1/chat/completions/batch`; nothing streams then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_route: Option<bool>,
    /// The most requests in one batch job of `offline`; a longer list is several jobs. The vendor's
    /// own limit where this is absent or higher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_requests: Option<usize>,
    /// The `anthropic-version` header; from `2026-10-21` on the key is sent as a bearer token
    /// and sampling parameters are not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anthropic_version: Option<String>,
    /// Further headers: each name with the environment variable that holds its value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header_env: BTreeMap<String, String>,
}

/// The name under which the token limit is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// What nearly every compatible server knows.
    MaxTokens,
    /// What OpenAI's reasoning models insist on.
    MaxCompletionTokens,
}

impl ProviderSpec {
    /// Whether it is a server that is reached over HTTP; the others generate on this machine.
    pub fn is_server(&self) -> bool {
        !matches!(self.provider.as_str(), "local" | "mlx")
    }

    /// The model if one is named; the default is a model of the local engine and names none
    /// on a server.
    pub(super) fn named_model(&self) -> Option<&str> {
        let named = !self.model.is_empty() && self.model != Self::default().model;
        named.then_some(&*self.model)
    }
}

impl ServerOptions {
    /// These options over others: what these say wins.
    pub fn over(self, below: Self) -> Self {
        let mut header_env = below.header_env;
        header_env.extend(self.header_env);
        Self {
            retries: self.retries.or(below.retries),
            idle_timeout_s: self.idle_timeout_s.or(below.idle_timeout_s),
            requests_per_minute: self.requests_per_minute.or(below.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.or(below.tokens_per_minute),
            max_tokens_field: self.max_tokens_field.or(below.max_tokens_field),
            prompt_array: self.prompt_array.or(below.prompt_array),
            batch_route: self.batch_route.or(below.batch_route),
            job_requests: self.job_requests.or(below.job_requests),
            anthropic_version: self.anthropic_version.or(below.anthropic_version),
            header_env,
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
            server: ServerOptions::default(),
            python: None,
        }
    }
}
