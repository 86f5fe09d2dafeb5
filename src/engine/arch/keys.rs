//! The description of a decoder from the keys of a GGUF file.

use std::path::Path;

use candle_core::quantized::gguf_file::Value;

use super::{
    Architecture, Decoder, GlobalLayers, Rope, RopeScaling, unknown_architecture, unsupported,
};
use crate::engine::EngineError;
use crate::engine::gguf::Metadata;

/// Keys under the architecture's prefix that are read below, or that say nothing about the
/// computation.
const KNOWN: &[&str] = &[
    "attention.causal",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "tensor_data_layout",
    "vocab_size",
];

/// Reads the description of the model in a GGUF file; `source` is the file to name.
///
/// # Errors
/// An architecture or a setting that is not supported, or a missing or absurd value.
pub fn read(metadata: &Metadata, source: &Path) -> Result<Decoder, EngineError> {
    let Some(Value::String(word)) = metadata.get("general.architecture") else {
        let message = format!("{} names no architecture (general.architecture)", source.display());
        return Err(EngineError::model(message));
    };
    let architecture =
        Architecture::parse(word).ok_or_else(|| unknown_architecture(source, word))?;
    refuse_split(metadata, source)?;
    let keys = Keys { metadata, source, prefix: word };
    keys.refuse_unknown()?;
    keys.refuse_unlike("expert_count", 0.0)?;
    keys.refuse_unlike("expert_used_count", 0.0)?;
    keys.refuse_unlike("attention.causal", 1.0)?;
    keys.refuse_unlike("rope.scaling.attn_factor", 1.0)?;
    if architecture != Architecture::Gemma3 {
        keys.refuse_present(&["attention.sliding_window_pattern", "rope.freq_base_swa"])?;
    }
    keys.decoder(architecture)?.validate(source)
}

/// A model in several GGUF files has the keys in the first and tensors in all of them.
fn refuse_split(metadata: &Metadata, source: &Path) -> Result<(), EngineError> {
    match metadata.get("split.count").and_then(scalar) {
        Some(parts) if parts > 1.0 => Err(EngineError::Unsupported {
            reason: format!("{} is one of {parts} parts of a model", source.display()),
            instead: "join the parts with llama.cpp's llama-gguf-split --merge".into(),
        }),
        _ => Ok(()),
    }
}

struct Keys<'a> {
    metadata: &'a Metadata,
    source: &'a Path,
    prefix: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&self.name(key))
    }

    fn refuse_unknown(&self) -> Result<(), EngineError> {
        let prefix = format!("{}.", self.prefix);
        let mut unknown: Vec<&str> = self
            .metadata
            .keys()
            .filter(|key| key.strip_prefix(&prefix).is_some_and(|rest| !KNOWN.contains(&rest)))
            .map(String::as_str)
            .collect();
        unknown.sort_unstable();
        match unknown.first() {
            None => Ok(()),
            Some(key) => {
                let key = key.escape_debug();
                Err(unsupported(self.source, format!("the setting {key} is not supported")))
            }
        }
    }

    /// Refuses keys that only another architecture has.
    fn refuse_present(&self, keys: &[&str]) -> Result<(), EngineError> {
        match keys.iter().find(|key| self.get(key).is_some()) {
            None => Ok(()),
            Some(key) => {
                let name = self.name(key);
                Err(unsupported(self.source, format!("the setting {name} is not supported")))
            }
        }
    }

    /// Refuses a key whose value is anything but `neutral`.
    fn refuse_unlike(&self, key: &str, neutral: f64) -> Result<(), EngineError> {
        match self.number(key)? {
            Some(value) if value != neutral => {
                let name = self.name(key);
                Err(unsupported(self.source, format!("{name} = {value} is not supported")))
            }
            _ => Ok(()),
        }
    }

    fn bad(&self, key: &str) -> EngineError {
        let name = self.name(key);
        EngineError::model(format!("{}: {name} has an unusable value", self.source.display()))
    }

    /// A number; one number for every layer counts as that number where all are equal.
    fn number(&self, key: &str) -> Result<Option<f64>, EngineError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Value::Array(values) = value else {
            return scalar(value).map(Some).ok_or_else(|| self.bad(key));
        };
        let numbers: Option<Vec<f64>> = values.iter().map(scalar).collect();
        let numbers = numbers.filter(|n| !n.is_empty()).ok_or_else(|| self.bad(key))?;
        if numbers.iter().any(|n| *n != numbers[0]) {
            let name = self.name(key);
            let reason = format!("{name} differs between layers, which is not supported");
            return Err(unsupported(self.source, reason));
        }
        Ok(Some(numbers[0]))
    }

    fn size(&self, key: &str) -> Result<Option<usize>, EngineError> {
        match self.number(key)? {
            None => Ok(None),
            Some(n) if n >= 0.0 && n <= f64::from(u32::MAX) && n.fract() == 0.0 => {
                Ok(Some(n as usize))
            }
            Some(_) => Err(self.bad(key)),
        }
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, EngineError> {
        value.ok_or_else(|| {
            let name = self.name(key);
            EngineError::model(format!("{}: the key {name} is missing", self.source.display()))
        })
    }

    fn required_size(&self, key: &str) -> Result<usize, EngineError> {
        self.required(key, self.size(key)?)
    }

    fn decoder(&self, architecture: Architecture) -> Result<Decoder, EngineError> {
        let hidden = self.required_size("embedding_length")?;
        let heads = self.required_size("attention.head_count")?;
        let head_dim = self.head_dim(hidden, heads)?;
        let eps = self.number("attention.layer_norm_rms_epsilon")?;
        Ok(Decoder {
            architecture,
            hidden,
            layers: self.required_size("block_count")?,
            heads,
            kv_heads: self.size("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            ffn: self.required_size("feed_forward_length")?,
            norm_eps: self.required("attention.layer_norm_rms_epsilon", eps)?,
            rope: Rope {
                theta: self.number("rope.freq_base")?.unwrap_or(10_000.0),
                scaling: self.rope_scaling()?,
            },
            qkv_bias: (architecture == Architecture::Qwen2).then_some(true),
            qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Gemma3),
            sliding_window: self.size("attention.sliding_window")?.filter(|window| *window > 0),
            global_layers: match architecture {
                Architecture::Gemma3 => Some(self.global_layers()?),
                _ => None,
            },
            query_scale: None,
            tied: None,
            vocab: self.size("vocab_size")?,
            context: self.required_size("context_length")?,
        })
    }

    /// What llama.cpp assumes of gemma3 where the file does not say it.
    fn global_layers(&self) -> Result<GlobalLayers, EngineError> {
        Ok(GlobalLayers {
            every: self.size("attention.sliding_window_pattern")?.unwrap_or(6),
            local_theta: self.number("rope.freq_base_swa")?.unwrap_or(10_000.0),
        })
    }

    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize, EngineError> {
        let derived = hidden.checked_div(heads).filter(|size| size * heads == hidden);
        let head_dim = self.size("attention.key_length")?.or(derived).unwrap_or(0);
        for key in ["attention.value_length", "rope.dimension_count"] {
            if self.size(key)?.is_some_and(|size| size != head_dim) {
                let name = self.name(key);
                let reason = format!("{name} unlike the head size {head_dim} is not supported");
                return Err(unsupported(self.source, reason));
            }
        }
        Ok(head_dim)
    }

    fn rope_scaling(&self) -> Result<RopeScaling, EngineError> {
        let factor = self.number("rope.scaling.factor")?.filter(|factor| *factor != 0.0);
        let kind = match self.get("rope.scaling.type") {
            None if factor.is_some() => "linear",
            None => "none",
            Some(Value::String(kind)) => kind.as_str(),
            Some(_) => return Err(self.bad("rope.scaling.type")),
        };
        match (kind, factor) {
            ("none", _) | ("linear", None) => Ok(RopeScaling::None),
            ("linear", Some(factor)) if factor > 0.0 => Ok(RopeScaling::Linear(factor)),
            ("linear", Some(_)) => Err(self.bad("rope.scaling.factor")),
            (kind, _) => {
                let kind: String = kind.chars().take(64).collect();
                let name = self.name("rope.scaling.type");
                let reason = format!("{name} = \"{}\" is not supported", kind.escape_debug());
                Err(unsupported(self.source, reason))
            }
        }
    }
}

fn scalar(value: &Value) -> Option<f64> {
    Some(match value {
        Value::U8(n) => f64::from(*n),
        Value::I8(n) => f64::from(*n),
        Value::U16(n) => f64::from(*n),
        Value::I16(n) => f64::from(*n),
        Value::U32(n) => f64::from(*n),
        Value::I32(n) => f64::from(*n),
        Value::U64(n) => *n as f64,
        Value::I64(n) => *n as f64,
        Value::F32(n) => f64::from(*n),
        Value::F64(n) => *n,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::String(_) | Value::Array(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smollm() -> Metadata {
        let sizes = [
            ("block_count", 30),
            ("context_length", 8192),
            ("embedding_length", 576),
            ("feed_forward_length", 1536),
            ("attention.head_count", 9),
            ("attention.head_count_kv", 3),
            ("rope.dimension_count", 64),
        ];
        let mut metadata = Metadata::new();
        metadata.insert("general.architecture".into(), Value::String("llama".into()));
        for (key, size) in sizes {
            metadata.insert(format!("llama.{key}"), Value::U32(size));
        }
        metadata.insert("llama.rope.freq_base".into(), Value::F32(100_000.0));
        metadata.insert("llama.attention.layer_norm_rms_epsilon".into(), Value::F32(1e-5));
        metadata
    }

    fn read_with(key: &str, value: Value) -> Result<Decoder, String> {
        let mut metadata = smollm();
        metadata.insert(key.into(), value);
        read(&metadata, Path::new("m.gguf")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_keys_of_smollm2_give_its_description() {
        let decoder = read(&smollm(), Path::new("m.gguf")).unwrap();
        let expected = Decoder {
            architecture: Architecture::Llama,
            hidden: 576,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            ffn: 1536,
            norm_eps: f64::from(1e-5f32),
            rope: Rope { theta: 100_000.0, scaling: RopeScaling::None },
            qkv_bias: None,
            qk_norm: false,
            sliding_window: None,
            global_layers: None,
            query_scale: None,
            tied: None,
            vocab: None,
            context: 8192,
        };
        assert_eq!(decoder, expected);
    }

    #[test]
    fn gemma3_has_a_global_layer_after_every_five_with_a_window() {
        let mut metadata = Metadata::new();
        metadata.insert("general.architecture".into(), Value::String("gemma3".into()));
        let rename = |key: &str| key.replace("llama.", "gemma3.");
        let keys = smollm().into_iter().filter(|(key, _)| key.starts_with("llama."));
        metadata.extend(keys.map(|(key, value)| (rename(&key), value)));
        metadata.insert("gemma3.attention.sliding_window".into(), Value::U32(512));
        let decoder = read(&metadata, Path::new("m.gguf")).unwrap();
        let local: Vec<bool> = (4..8).map(|layer| decoder.is_local(layer)).collect();
        assert_eq!(local, [true, false, true, true]);
        assert_eq!((decoder.rope.theta, decoder.local_rope().theta), (100_000.0, 10_000.0));
        metadata.insert("gemma3.attention.sliding_window_pattern".into(), Value::U32(0));
        assert!(read(&metadata, Path::new("m.gguf")).is_err());
    }

    #[test]
    fn a_setting_that_is_not_known_is_refused_by_name() {
        let refused = read_with("llama.attention.clamp_kqv", Value::F32(8.0)).unwrap_err();
        assert!(refused.contains("llama.attention.clamp_kqv"), "{refused}");
    }

    #[test]
    fn experts_are_refused_and_zero_experts_are_not() {
        assert!(read_with("llama.expert_count", Value::U32(0)).is_ok());
        let refused = read_with("llama.expert_count", Value::U32(8)).unwrap_err();
        assert!(refused.contains("llama.expert_count = 8"), "{refused}");
    }

    #[test]
    fn rope_scaling_is_linear_or_refused() {
        let mut metadata = smollm();
        metadata.insert("llama.rope.scaling.type".into(), Value::String("linear".into()));
        metadata.insert("llama.rope.scaling.factor".into(), Value::F32(4.0));
        let decoder = read(&metadata, Path::new("m.gguf")).unwrap();
        assert_eq!(decoder.rope.scaling, RopeScaling::Linear(4.0));
        let refused = read_with("llama.rope.scaling.type", Value::String("yarn".into()));
        assert!(refused.unwrap_err().contains("\"yarn\""));
    }

    #[test]
    fn an_unknown_architecture_is_refused_by_name() {
        let refused = read_with("general.architecture", Value::String("mamba".into()));
        assert!(refused.unwrap_err().contains("\"mamba\""));
    }

    #[test]
    fn equal_numbers_for_every_layer_are_one_number_and_others_are_refused() {
        let heads = |numbers: [u32; 2]| Value::Array(numbers.map(Value::U32).to_vec());
        let same = read_with("llama.attention.head_count_kv", heads([3, 3])).unwrap();
        assert_eq!(same.kv_heads, 3);
        let refused = read_with("llama.attention.head_count_kv", heads([3, 9])).unwrap_err();
        assert!(refused.contains("differs between layers"), "{refused}");
    }

    #[test]
    fn a_part_of_a_split_model_is_refused_with_what_to_do() {
        assert!(read_with("split.count", Value::U16(1)).is_ok());
        let refused = read_with("split.count", Value::U16(3)).unwrap_err();
        assert!(refused.contains("one of 3 parts"), "{refused}");
    }

    #[test]
    fn absurd_sizes_are_damage() {
        for (key, value) in [
            ("llama.attention.head_count_kv", Value::U32(2)),
            ("llama.attention.head_count", Value::U32(0)),
            ("llama.block_count", Value::U32(u32::MAX)),
            ("llama.embedding_length", Value::I32(-5)),
            ("llama.feed_forward_length", Value::String("many".into())),
        ] {
            assert!(read_with(key, value).is_err(), "{key} was accepted");
        }
    }
}
