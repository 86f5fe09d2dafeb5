//! One description of a decoder, whatever file it came from.
//!
//! It is read from GGUF keys or from a config.json. A setting that this engine does not know
//! is refused by its name rather than ignored: a model computed wrongly still writes fluent
//! text. This module does not look at weights.

mod config;
mod keys;

use std::fmt;
use std::path::Path;

use super::EngineError;

pub use config::read as from_config;
pub use keys::read as from_gguf;

/// The architectures that can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2 and 3, SmolLM2, Mistral.
    Llama,
    /// Llama with biases on q, k and v.
    Qwen2,
    /// Llama with norms on the heads of q and k.
    Qwen3,
    /// Gemma 3, text only: norms on the heads of q and k, and after attention and feed-forward;
    /// GELU; scaled embeddings; layers that see a window between those that see everything.
    Gemma3,
    /// Phi-3, through candle-transformers.
    Phi3,
}

impl Architecture {
    /// The name as GGUF and Hugging Face write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
        }
    }

    /// Recognises a name of GGUF (`general.architecture`) or config.json (`model_type`).
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "llama" | "mistral" => Self::Llama,
            "qwen2" => Self::Qwen2,
            "qwen3" => Self::Qwen3,
            "gemma3" | "gemma3_text" => Self::Gemma3,
            "phi3" => Self::Phi3,
            _ => return None,
        })
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Everything about a decoder but its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoder {
    /// Its family.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Width of the gated feed-forward part.
    pub ffn: usize,
    /// Added under the root of RMSNorm.
    pub norm_eps: f64,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Whether q, k and v have biases; `None` where only the tensors tell.
    pub qkv_bias: Option<bool>,
    /// Whether the heads of q and k are normalised.
    pub qk_norm: bool,
    /// A token sees this many tokens, itself included; in the layers that are not global.
    pub sliding_window: Option<usize>,
    /// Layers that see everything between those that see a window.
    pub global_layers: Option<GlobalLayers>,
    /// Queries are multiplied by this; one over the root of the head's width where it is `None`.
    pub query_scale: Option<f64>,
    /// Whether the output head is the embedding; `None` where only the tensors tell.
    pub tied: Option<bool>,
    /// Entries of the vocabulary; `None` where only the embedding's shape tells.
    pub vocab: Option<usize>,
    /// Positions the model was made for.
    pub context: usize,
}

/// Which layers see everything, where the others see a window.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalLayers {
    /// Every this many layers one does: layers `every - 1`, `2 * every - 1` and on.
    pub every: usize,
    /// Base of the frequencies of the other layers.
    pub local_theta: f64,
}

/// Rotary position embedding over the two halves of a head (the layout of Hugging Face).
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Change of the frequencies.
    pub scaling: RopeScaling,
}

/// How the frequencies of [`Rope`] are changed for long contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency divided by the factor.
    Linear(f64),
    /// Llama 3.1: long wavelengths divided, short ones kept, a blend between.
    Llama3 {
        /// Divides the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low` are divided in full.
        low: f64,
        /// Wavelengths below `original_context / high` are kept.
        high: f64,
        /// The context the model was first trained for.
        original_context: usize,
    },
}

impl Rope {
    /// The frequencies of a head's pairs, in radians a position, `head_dim / 2` of them.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        let exponent = |i: usize| 2.0 * i as f64 / head_dim as f64;
        let plain = (0..head_dim / 2).map(|i| 1.0 / self.theta.powf(exponent(i)));
        plain.map(|frequency| self.scaling.apply(frequency) as f32).collect()
    }
}

impl RopeScaling {
    fn apply(&self, frequency: f64) -> f64 {
        match *self {
            Self::None => frequency,
            Self::Linear(factor) => frequency / factor,
            Self::Llama3 { factor, low, high, original_context } => {
                let turns = original_context as f64 * frequency / std::f64::consts::TAU;
                let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - keep) * frequency / factor + keep * frequency
            }
        }
    }
}

impl Decoder {
    /// Whether a layer sees a window only.
    pub fn is_local(&self, layer: usize) -> bool {
        let global =
            self.global_layers.as_ref().map(|layers| (layer + 1).is_multiple_of(layers.every));
        self.sliding_window.is_some() && !global.unwrap_or(false)
    }

    /// What the frequencies of a layer that sees a window only follow from.
    pub fn local_rope(&self) -> Rope {
        match &self.global_layers {
            None => self.rope.clone(),
            Some(layers) => Rope { theta: layers.local_theta, scaling: RopeScaling::None },
        }
    }

    /// Refuses sizes that do not fit together; `source` is the file to name.
    fn validate(self, source: &Path) -> Result<Self, EngineError> {
        let Self { heads, kv_heads, head_dim, context, .. } = self;
        let problem = if self.hidden == 0 || self.layers == 0 || self.ffn == 0 || context == 0 {
            Some("one of its sizes is 0".to_string())
        } else if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
            Some(format!("{heads} heads cannot share {kv_heads} key-value heads"))
        } else if head_dim == 0 || head_dim % 2 != 0 {
            Some(format!("a head is {head_dim} wide"))
        } else if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            Some(format!("the norm's epsilon is {}", self.norm_eps))
        } else if let Some(theta) = self.bad_rope_base() {
            Some(format!("the rope base is {theta}"))
        } else if self.global_layers.as_ref().is_some_and(|layers| layers.every == 0) {
            Some("no layer is global".to_string())
        } else if self.query_scale.is_some_and(|scale| !(scale > 0.0 && scale <= 1.0)) {
            Some("the scale of its queries is not in 0..1".to_string())
        } else {
            self.too_large().map(|what| format!("{what} is absurdly large"))
        };
        match problem {
            None => Ok(self),
            Some(problem) => {
                Err(EngineError::model(format!("{} is damaged: {problem}", source.display())))
            }
        }
    }

    fn bad_rope_base(&self) -> Option<f64> {
        let local = self.global_layers.as_ref().map(|layers| layers.local_theta);
        let bases = [Some(self.rope.theta), local].into_iter().flatten();
        bases.into_iter().find(|theta| !(*theta > 1.0 && theta.is_finite()))
    }

    /// Keeps products of sizes far from overflow.
    fn too_large(&self) -> Option<&'static str> {
        const LIMIT: usize = 1 << 24;
        let sizes = [
            (self.hidden, "the hidden size"),
            (self.layers, "the number of layers"),
            (self.heads, "the number of heads"),
            (self.head_dim, "the head size"),
            (self.ffn, "the feed-forward size"),
            (self.vocab.unwrap_or(1), "the vocabulary"),
            (self.context >> 8, "the context"),
        ];
        sizes.into_iter().find(|(size, _)| *size > LIMIT).map(|(_, name)| name)
    }
}

fn unsupported(source: &Path, reason: impl fmt::Display) -> EngineError {
    EngineError::Unsupported {
        reason: format!("{}: {reason}", source.display()),
        instead:
            "use a llama, mistral, qwen2, qwen3, gemma3 or phi3 model without it, or serve this \
                  model with another program and use one of the HTTP providers"
                .into(),
    }
}

fn unknown_architecture(source: &Path, word: &str) -> EngineError {
    let word: String = word.chars().take(64).collect();
    EngineError::Unsupported {
        reason: format!(
            "{}: the architecture \"{}\" is not supported",
            source.display(),
            word.escape_debug()
        ),
        instead:
            "use a llama, mistral, qwen2, qwen3, gemma3 or phi3 model, or serve this model with \
                  another program and use one of the HTTP providers"
                .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_frequencies_fall_from_one_by_the_base() {
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::None };
        assert_eq!(rope.frequencies(4), vec![1.0, 0.01]);
    }

    #[test]
    fn linear_scaling_divides_every_frequency() {
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::Linear(4.0) };
        assert_eq!(rope.frequencies(4), vec![0.25, 0.0025]);
    }

    #[test]
    fn llama3_scaling_keeps_short_and_divides_long_wavelengths() {
        let scaling =
            RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 8192 };
        assert_eq!(scaling.apply(1.0), 1.0);
        assert_eq!(scaling.apply(1e-5), 1e-5 / 8.0);
        let between = scaling.apply(2e-3);
        assert!(between > 2e-3 / 8.0 && between < 2e-3);
    }
}
