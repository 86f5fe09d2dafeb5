//! The description of a decoder from a config.json of Hugging Face.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    Architecture, Decoder, GlobalLayers, Rope, RopeScaling, unknown_architecture, unsupported,
};
use crate::engine::EngineError;

/// A config.json is a few kilobytes; more than this is something else.
const MAX_BYTES: u64 = 4 << 20;

/// Keys that are read below.
const READ: &[&str] = &[
    "architectures",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "max_window_layers",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "original_max_position_embeddings",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "tie_word_embeddings",
    "use_sliding_window",
    "vocab_size",
];

/// Keys that are read for gemma3 alone.
const GEMMA: &[&str] = &[
    "_sliding_window_pattern",
    "query_pre_attn_scalar",
    "rope_local_base_freq",
    "sliding_window_pattern",
];

/// Keys that say nothing about the computation of logits.
const HARMLESS: &[&str] = &[
    "attention_dropout",
    // transformers has these architectures itself since their code was beside the weights
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "initializer_range",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "max_length",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "resid_pdrop",
    "return_dict",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// Keys that would change the computation, with the only value that is supported. `null` is
/// supported for all of them.
const NEUTRAL: &[(&str, Neutral)] = &[
    ("attention_bias", Neutral::False),
    ("hidden_act", Neutral::Silu),
    ("is_decoder", Neutral::True),
    ("mlp_bias", Neutral::False),
    ("partial_rotary_factor", Neutral::One),
    ("quantization_config", Neutral::Absent),
    ("rope_interleaved", Neutral::False),
    ("use_mrope", Neutral::False),
    ("use_qk_norm", Neutral::False),
];

#[derive(Clone, Copy)]
enum Neutral {
    False,
    True,
    One,
    Silu,
    Absent,
}

impl Neutral {
    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::False => value == &Value::Bool(false),
            Self::True => value.is_boolean(),
            Self::One => value.as_f64() == Some(1.0),
            Self::Silu => matches!(value.as_str(), Some("silu" | "swish")),
            Self::Absent => false,
        }
    }
}

/// Reads a config.json.
///
/// # Errors
/// The file cannot be read, an architecture or a setting is not supported, or a value is
/// missing or absurd.
pub fn read(path: &Path) -> Result<Decoder, EngineError> {
    let failed = |reason: String| {
        EngineError::model(format!("cannot read the model's {}: {reason}", path.display()))
    };
    let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(failed(format!("it is {size} bytes long")));
    }
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let map: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    describe(&map, path)
}

fn describe(map: &Map<String, Value>, source: &Path) -> Result<Decoder, EngineError> {
    let config = Config { map, source };
    let architecture = config.architecture()?;
    config.refuse_unknown(architecture)?;
    config.decoder(architecture)?.validate(source)
}

fn is_gelu(value: &Value) -> bool {
    value.as_str() == Some("gelu_pytorch_tanh")
}

struct Config<'a> {
    map: &'a Map<String, Value>,
    source: &'a Path,
}

impl<'a> Config<'a> {
    /// A value that is there and not null.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn refuse<T>(&self, key: &str) -> Result<T, EngineError> {
        let value = self.map.get(key).unwrap_or(&Value::Null).to_string();
        let short: String = value.chars().take(64).collect();
        let reason = match short.starts_with(['{', '[']) {
            true => format!("the setting {} is not supported", key.escape_debug()),
            false => format!("{} = {} is not supported", key.escape_debug(), short),
        };
        Err(unsupported(self.source, reason))
    }

    fn bad<T>(&self, key: &str) -> Result<T, EngineError> {
        let message = format!("{}: {key} is missing or unusable", self.source.display());
        Err(EngineError::model(message))
    }

    fn architecture(&self) -> Result<Architecture, EngineError> {
        let Some(word) = self.get("model_type").and_then(Value::as_str) else {
            return self.bad("model_type");
        };
        let architecture =
            Architecture::parse(word).ok_or_else(|| unknown_architecture(self.source, word))?;
        let classes = self.get("architectures").and_then(Value::as_array);
        for class in classes.into_iter().flatten().filter_map(Value::as_str) {
            if !class.ends_with("ForCausalLM") {
                return Err(unknown_architecture(self.source, class));
            }
        }
        Ok(architecture)
    }

    fn refuse_unknown(&self, architecture: Architecture) -> Result<(), EngineError> {
        let gemma = architecture == Architecture::Gemma3;
        for (key, value) in self.map.iter().filter(|(_, value)| !value.is_null()) {
            let key = key.as_str();
            if gemma && (GEMMA.contains(&key) || (key == "hidden_activation" && is_gelu(value))) {
                continue;
            }
            if READ.contains(&key) || HARMLESS.contains(&key) || key.starts_with('_') {
                continue;
            }
            match NEUTRAL.iter().find(|(name, _)| *name == key) {
                Some((_, neutral)) if neutral.accepts(value) => {}
                Some(_) | None => return self.refuse(key),
            }
        }
        Ok(())
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, EngineError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(n) => Ok(Some(n as usize)),
                None => self.bad(key),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize, EngineError> {
        match self.optional_size(key)? {
            Some(n) => Ok(n),
            None => self.bad(key),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, EngineError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.bad(key),
        }
    }

    fn decoder(&self, architecture: Architecture) -> Result<Decoder, EngineError> {
        let hidden = self.size("hidden_size")?;
        let heads = self.size("num_attention_heads")?;
        let head_dim = match self.optional_size("head_dim")? {
            Some(head_dim) => head_dim,
            None if heads > 0 && hidden % heads == 0 => hidden / heads,
            None => return self.bad("head_dim"),
        };
        let Some(norm_eps) = self.get("rms_norm_eps").and_then(Value::as_f64) else {
            return self.bad("rms_norm_eps");
        };
        let layers = self.size("num_hidden_layers")?;
        Ok(Decoder {
            architecture,
            hidden,
            layers,
            heads,
            kv_heads: self.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            ffn: self.size("intermediate_size")?,
            norm_eps,
            rope: self.rope()?,
            global_layers: match architecture {
                Architecture::Gemma3 => Some(self.global_layers(layers)?),
                _ => None,
            },
            query_scale: match self.get("query_pre_attn_scalar") {
                None => None,
                Some(scalar) => match scalar.as_f64().filter(|scalar| *scalar >= 1.0) {
                    Some(scalar) => Some(1.0 / scalar.sqrt()),
                    None => return self.bad("query_pre_attn_scalar"),
                },
            },
            qkv_bias: Some(architecture == Architecture::Qwen2),
            qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Gemma3),
            sliding_window: self.sliding_window(architecture, layers)?,
            tied: Some(
                self.flag("tie_word_embeddings")?.unwrap_or(architecture == Architecture::Gemma3),
            ),
            vocab: Some(self.size("vocab_size")?),
            context: self.size("max_position_embeddings")?,
        })
    }

    /// The window, where every layer has it. Qwen gives it to the layers from
    /// `max_window_layers` on, newer files list the kinds of the layers.
    fn sliding_window(
        &self,
        architecture: Architecture,
        layers: usize,
    ) -> Result<Option<usize>, EngineError> {
        let window = self.optional_size("sliding_window")?.filter(|window| *window > 0);
        if architecture == Architecture::Gemma3 {
            return Ok(window);
        }
        if let Some(kinds) = self.get("layer_types").and_then(Value::as_array) {
            return match kinds.first().and_then(Value::as_str) {
                _ if kinds.iter().any(|kind| kind != &kinds[0]) => self.refuse("layer_types"),
                Some("full_attention") => Ok(None),
                Some("sliding_attention") if window.is_some() => Ok(window),
                _ => self.refuse("layer_types"),
            };
        }
        if !matches!(architecture, Architecture::Qwen2 | Architecture::Qwen3) {
            return Ok(window);
        }
        if !self.flag("use_sliding_window")?.unwrap_or(false) {
            return Ok(None);
        }
        match self.optional_size("max_window_layers")? {
            Some(first) if first >= layers => Ok(None),
            Some(0) => Ok(window),
            _ => self.refuse("max_window_layers"),
        }
    }

    /// Every how many layers one is global: named, or found in the list of the layers' kinds.
    fn global_layers(&self, layers: usize) -> Result<GlobalLayers, EngineError> {
        let named = match self.optional_size("sliding_window_pattern")? {
            Some(every) => Some(every),
            None => self.optional_size("_sliding_window_pattern")?,
        };
        let kinds = self.get("layer_types").and_then(Value::as_array);
        let is_global = |kind: &Value| kind.as_str() == Some("full_attention");
        let first = kinds.map(|kinds| kinds.iter().position(is_global).unwrap_or(layers) + 1);
        let every = first.or(named).unwrap_or(6);
        let fits = |(layer, kind): (usize, &Value)| {
            is_global(kind) == (layer + 1).is_multiple_of(every)
                && matches!(kind.as_str(), Some("full_attention" | "sliding_attention"))
        };
        if kinds.is_some_and(|kinds| !kinds.iter().enumerate().all(fits)) {
            return self.refuse("layer_types");
        }
        let local_theta = self.get("rope_local_base_freq").map_or(Some(10_000.0), Value::as_f64);
        match local_theta {
            Some(local_theta) => Ok(GlobalLayers { every, local_theta }),
            None => self.bad("rope_local_base_freq"),
        }
    }

    fn rope(&self) -> Result<Rope, EngineError> {
        // transformers 5 moved the base into an object with the scaling
        let parameters = self.get("rope_parameters").and_then(Value::as_object);
        let theta = parameters.and_then(|map| map.get("rope_theta")).or(self.get("rope_theta"));
        let theta = match theta {
            None => 10_000.0,
            Some(value) => match value.as_f64() {
                Some(theta) => theta,
                None => return self.bad("rope_theta"),
            },
        };
        let key = if parameters.is_some() { "rope_parameters" } else { "rope_scaling" };
        let scaling = match self.get(key) {
            None => RopeScaling::None,
            Some(Value::Object(map)) => self.rope_scaling(key, map)?,
            Some(_) => return self.bad(key),
        };
        Ok(Rope { theta, scaling })
    }

    fn rope_scaling(
        &self,
        key: &str,
        map: &Map<String, Value>,
    ) -> Result<RopeScaling, EngineError> {
        const KNOWN: &[&str] = &[
            "factor",
            "high_freq_factor",
            "low_freq_factor",
            "original_max_position_embeddings",
            "rope_theta",
            "rope_type",
            "type",
        ];
        if let Some(unknown) = map.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            let reason = format!("the setting {key}.{} is not supported", unknown.escape_debug());
            return Err(unsupported(self.source, reason));
        }
        let number = |name: &str| map.get(name).and_then(Value::as_f64).filter(|n| *n > 0.0);
        let kind = map.get("rope_type").or(map.get("type")).and_then(Value::as_str);
        match kind {
            Some("default") | None => Ok(RopeScaling::None),
            Some("linear") => match number("factor") {
                Some(factor) => Ok(RopeScaling::Linear(factor)),
                None => self.bad(key),
            },
            Some("llama3") => {
                let low = number("low_freq_factor");
                let high = number("high_freq_factor");
                let original = number("original_max_position_embeddings");
                match (number("factor"), low, high, original) {
                    (Some(factor), Some(low), Some(high), Some(original)) if high > low => {
                        let original_context = original as usize;
                        Ok(RopeScaling::Llama3 { factor, low, high, original_context })
                    }
                    _ => self.bad(key),
                }
            }
            Some(kind) => {
                let kind: String = kind.chars().take(64).collect();
                let reason =
                    format!("{key} of the type \"{}\" is not supported", kind.escape_debug());
                Err(unsupported(self.source, reason))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn llama() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "hidden_act": "silu",
            "hidden_size": 576,
            "intermediate_size": 1536,
            "is_llama_config": true,
            "max_position_embeddings": 8192,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": 9,
            "num_hidden_layers": 30,
            "num_key_value_heads": 3,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_interleaved": false,
            "rope_scaling": null,
            "rope_theta": 100000,
            "tie_word_embeddings": true,
            "torch_dtype": "bfloat16",
            "transformers.js_config": {"kv_cache_dtype": {}},
            "use_cache": true,
            "vocab_size": 49152
        })
    }

    fn describe_with(changes: Value) -> Result<Decoder, String> {
        let mut config = llama();
        let map = config.as_object_mut().unwrap();
        map.extend(changes.as_object().unwrap().clone());
        describe(map, Path::new("config.json")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_config_of_smollm2_gives_its_description() {
        let expected = Decoder {
            architecture: Architecture::Llama,
            hidden: 576,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            ffn: 1536,
            norm_eps: 1e-5,
            rope: Rope { theta: 100_000.0, scaling: RopeScaling::None },
            qkv_bias: Some(false),
            qk_norm: false,
            sliding_window: None,
            global_layers: None,
            query_scale: None,
            tied: Some(true),
            vocab: Some(49152),
            context: 8192,
        };
        assert_eq!(describe_with(json!({})), Ok(expected));
    }

    #[test]
    fn llama3_scaling_is_read_in_the_old_and_the_new_place() {
        let scaling = json!({
            "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"
        });
        let old = describe_with(json!({"rope_scaling": scaling})).unwrap();
        let mut moved = scaling.clone();
        moved["rope_theta"] = json!(100_000);
        let new = describe_with(json!({"rope_theta": null, "rope_parameters": moved})).unwrap();
        assert_eq!(old, new);
        assert_eq!(
            old.rope.scaling,
            RopeScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original_context: 8192 }
        );
    }

    #[test]
    fn settings_that_change_the_computation_are_refused_by_name() {
        for (key, value) in [
            ("quantization_config", json!({"quant_method": "gptq"})),
            ("hidden_act", json!("gelu")),
            ("attention_bias", json!(true)),
            ("num_local_experts", json!(8)),
            ("logit_scale", json!(0.5)),
            ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
            ("layer_types", json!(["full_attention", "sliding_attention"])),
        ] {
            let refused = describe_with(json!({key: value})).unwrap_err();
            assert!(refused.contains(key), "{key}: {refused}");
        }
    }

    #[test]
    fn the_window_of_mistral_is_read_and_that_of_qwen_only_where_it_is_used() {
        let mistral = json!({"model_type": "mistral", "sliding_window": 4096});
        assert_eq!(describe_with(mistral).unwrap().sliding_window, Some(4096));
        let unused = json!({
            "model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": false,
            "max_window_layers": 21
        });
        assert_eq!(describe_with(unused).unwrap().sliding_window, None);
        let mixed = json!({
            "model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": true,
            "max_window_layers": 21
        });
        assert!(describe_with(mixed).unwrap_err().contains("max_window_layers"));
    }

    #[test]
    fn the_settings_of_gemma3_are_read_and_those_of_its_kin_refused() {
        let gemma = json!({
            "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"],
            "hidden_act": null, "hidden_activation": "gelu_pytorch_tanh", "num_hidden_layers": 12,
            "sliding_window": 512, "rope_local_base_freq": 10000.0, "rope_theta": 1000000.0,
            "query_pre_attn_scalar": 256, "final_logit_softcapping": null,
            "_sliding_window_pattern": 6, "tie_word_embeddings": null,
        });
        let decoder = describe_with(gemma.clone()).unwrap();
        assert_eq!((decoder.query_scale, decoder.sliding_window), (Some(1.0 / 16.0), Some(512)));
        assert_eq!(decoder.tied, Some(true));
        let global: Vec<usize> = (0..12).filter(|layer| !decoder.is_local(*layer)).collect();
        assert_eq!(global, [5, 11]);
        for (key, value) in [
            ("final_logit_softcapping", json!(30.0)),
            ("hidden_activation", json!("relu")),
            ("layer_types", json!(["full_attention", "sliding_attention", "sliding_attention"])),
        ] {
            let mut changed = gemma.clone();
            changed[key] = value;
            assert!(describe_with(changed).unwrap_err().contains(key));
        }
        assert!(describe_with(json!({"query_pre_attn_scalar": 64})).is_err());
    }

    #[test]
    fn another_head_than_a_language_model_is_refused() {
        let refused = describe_with(json!({"architectures": ["LlamaForSequenceClassification"]}));
        assert!(refused.unwrap_err().contains("LlamaForSequenceClassification"));
    }
}
