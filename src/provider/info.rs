//! What is behind a provider: model, device, abilities.

use serde::{Deserialize, Serialize};

use super::Price;
use super::address::Address;

/// Constant facts about a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProviderInfo {
    /// `local`, `openai`, …
    pub provider: String,
    /// The model as the user would name it.
    pub model: String,
    /// Hash of the model file, where there is one.
    pub model_sha256: Option<String>,
    /// `cpu`, `cuda:0`, `metal`, or the host of a server.
    pub device: String,
    /// Further facts worth a line on the screen and in the report: architecture, quantisation,
    /// runner, threads.
    pub details: Vec<(String, String)>,
    /// What `batch_generate` does here.
    pub batching: Batching,
    /// Whether offline batch jobs exist here.
    pub offline: Support,
    /// Most tokens of prompt and output together.
    pub context_length: Option<usize>,
    /// Whether token counts come from the tokenizer or the server, or are estimated.
    pub token_counts: TokenCounts,
    /// What its tokens cost, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Whether a greedy row is bit for bit the same whatever it is batched with, so that a
    /// divergence is a defect and not information.
    pub batch_invariant: bool,
}

impl ProviderInfo {
    /// Whether it may hold memory of this machine's GPUs. One that computes on the processor, or
    /// on another machine, does not, and what other programs hold there is not its own.
    pub fn may_use_gpus(&self) -> bool {
        let is_server =
            matches!(self.provider.as_str(), "openai" | "anthropic" | "ollama" | "lmstudio");
        self.device != "cpu" && (!is_server || is_server_here(&self.device))
    }
}

/// Whether a provider's device is a server on this machine.
pub fn is_server_here(device: &str) -> bool {
    let is_here =
        |address: Address| address.is_loopback() || matches!(address.host(), "0.0.0.0" | "[::]");
    Address::parse(device).is_ok_and(is_here)
}

/// What `batch_generate` means for a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batching {
    /// Rows share one forward pass; a finished row's slot is refilled at once.
    Native,
    /// One HTTP request carries many prompts.
    PromptArray,
    /// Many single requests at once.
    Window,
    /// Refused.
    Unsupported {
        /// Why.
        reason: String,
        /// What to use instead.
        instead: String,
    },
}

impl Batching {
    /// The word for screens and reports.
    pub fn word(&self) -> &'static str {
        match self {
            Batching::Native => "native",
            Batching::PromptArray => "prompt_array",
            Batching::Window => "window",
            Batching::Unsupported { .. } => "none",
        }
    }
}

/// Whether something can be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// It can.
    Yes,
    /// It cannot.
    No {
        /// Why.
        reason: String,
        /// What to use instead.
        instead: String,
    },
}

/// Where token counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenCounts {
    /// Counted by the tokenizer or reported by the server.
    Exact,
    /// Estimated from the number of deltas.
    Estimated,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_here_at_a_loopback_address_only() {
        for (device, here) in [
            ("127.0.0.1:8080", true),
            ("localhost:11434", true),
            ("0.0.0.0:8080", true),
            ("[::1]:1234/path", true),
            ("api.openai.com", false),
            ("localhost.example.com", false),
            ("cpu", false),
            ("cuda:0", false),
        ] {
            assert_eq!(is_server_here(device), here, "{device}");
        }
    }
}
