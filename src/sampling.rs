//! The parameters of generation: one set for a whole prompt list.
//!
//! Per-prompt parameters are out of scope; use several runs.

use serde::{Deserialize, Serialize};

/// How the next token is chosen, and when a row ends.
///
/// Defaults: 64 tokens, greedy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// The most tokens a row may generate; at least 1.
    pub max_tokens: usize,
    /// 0 is greedy: the most probable token, ties to the lowest id.
    pub temperature: f32,
    /// Keep only the `top_k` most probable tokens; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Keep the smallest set of tokens whose probability reaches `top_p`, in (0, 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Keep tokens at least `min_p` times as probable as the best one, in [0, 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Seed of the run; each row draws from its own stream keyed by (seed, row).
    pub seed: u64,
    /// Strings that end a row; they are not part of its text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Generate exactly `max_tokens`, going on past the model's end-of-text tokens.
    pub ignore_eos: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            max_tokens: 64,
            temperature: 0.0,
            top_k: None,
            top_p: None,
            min_p: None,
            seed: 0,
            stop: Vec::new(),
            ignore_eos: false,
        }
    }
}

/// A sampling parameter outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {value}: {range}")]
pub struct SamplingError {
    /// The parameter's name as it is written in a preset.
    pub field: &'static str,
    /// The value that was given.
    pub value: String,
    /// What it must be.
    pub range: &'static str,
}

impl Sampling {
    /// Whether the output is determined by the logits alone.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Checks every parameter against its range.
    ///
    /// # Errors
    /// The first parameter outside its range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let fail = |field, value: String, range| Err(SamplingError { field, value, range });
        if self.max_tokens == 0 {
            return fail("max_tokens", "0".into(), "it must be at least 1");
        }
        if !(0.0..=100.0).contains(&self.temperature) {
            let value = self.temperature.to_string();
            return fail("temperature", value, "it must be between 0 and 100");
        }
        if self.top_k == Some(0) {
            return fail("top_k", "0".into(), "it must be at least 1");
        }
        if let Some(p) = self.top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return fail("top_p", p.to_string(), "it must be above 0 and at most 1");
        }
        if let Some(p) = self.min_p.filter(|p| !(0.0..=1.0).contains(p)) {
            return fail("min_p", p.to_string(), "it must be between 0 and 1");
        }
        if self.stop.iter().any(String::is_empty) {
            return fail("stop", "\"\"".into(), "a stop string must not be empty");
        }
        Ok(())
    }
}
