//! What one layer of the configuration says: flags, a preset or the user's settings. Whatever
//! a layer leaves out is taken from the layer below.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{LaneSpec, OnError};
use crate::provider::{ProviderSpec, ServerOptions};
use crate::sampling::Sampling;

/// Everything that a layer may say about how a list is run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer {
    /// The provider and its model.
    pub provider: ProviderLayer,
    /// The parameters of generation.
    pub sampling: SamplingLayer,
    /// The lanes, in order.
    pub lanes: Option<Vec<LaneEntry>>,
    /// Text prompts go to the model as they are.
    pub raw: Option<bool>,
    /// How often every lane runs.
    pub repeats: Option<usize>,
    /// Rows that are run before the first lane, unmeasured.
    pub warmup: Option<usize>,
    /// What a failed row does to its lane.
    pub on_error: Option<OnError>,
    /// The most the run may cost, US dollars.
    pub max_cost_usd: Option<f64>,
}

/// A provider as far as a layer names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderLayer {
    /// `local`, …
    #[serde(rename = "provider", alias = "name")]
    pub name: Option<String>,
    /// A catalogue name, a hub repository, a folder, a file, or a server's model name.
    pub model: Option<String>,
    /// Address of a server.
    pub base_url: Option<String>,
    /// Name of the environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// The local engine's runner.
    pub runner: Option<String>,
    /// Threads of the local engine.
    pub threads: Option<usize>,
    /// How a server is spoken to.
    #[serde(default)]
    pub server: ServerOptions,
    /// The Python that runs mlx-lm, or the folder of its virtual environment.
    pub python: Option<String>,
}

/// Parameters of generation as far as a layer names them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are those of `Sampling`, and documented there")]
pub struct SamplingLayer {
    pub max_tokens: Option<usize>,
    pub temperature: Option<f32>,
    pub top_k: Option<usize>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub seed: Option<u64>,
    pub stop: Option<Vec<String>>,
    pub ignore_eos: Option<bool>,
}

/// A lane as a layer names it: `"batched:16"`, `"async:8@openai"`, or a table with `mode`, `label` and `provider`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneEntry {
    /// The lane.
    pub lane: LaneSpec,
    /// What its provider has different from the plan's.
    pub provider: ProviderLayer,
}

impl Layer {
    /// What holds where nobody says anything. The rest of the defaults are those of the types.
    pub fn defaults() -> Self {
        Self { provider: ProviderLayer::of(&ProviderSpec::default()), ..Self::default() }
    }

    /// This layer over another: what it says wins.
    pub fn over(self, below: Self) -> Self {
        Self {
            provider: self.provider.over(below.provider),
            sampling: self.sampling.over(below.sampling),
            lanes: self.lanes.or(below.lanes),
            raw: self.raw.or(below.raw),
            repeats: self.repeats.or(below.repeats),
            warmup: self.warmup.or(below.warmup),
            on_error: self.on_error.or(below.on_error),
            max_cost_usd: self.max_cost_usd.or(below.max_cost_usd),
        }
    }
}

impl ProviderLayer {
    /// This layer over another. A layer that names another provider takes nothing from below:
    /// a model, an address or a key belongs to the provider it was written for.
    pub fn over(self, below: Self) -> Self {
        let other = self.name.is_some() && self.name != below.name;
        let below = if other { Self::default() } else { below };
        Self {
            name: self.name.or(below.name),
            model: self.model.or(below.model),
            base_url: self.base_url.or(below.base_url),
            api_key_env: self.api_key_env.or(below.api_key_env),
            runner: self.runner.or(below.runner),
            threads: self.threads.or(below.threads),
            server: self.server.over(below.server),
            python: self.python.or(below.python),
        }
    }

    /// The whole of a provider as a layer.
    pub fn of(spec: &ProviderSpec) -> Self {
        let ProviderSpec {
            provider,
            model,
            base_url,
            api_key_env,
            runner,
            threads,
            server,
            python,
        } = spec.clone();
        let (name, model) = (Some(provider), Some(model));
        Self { name, model, base_url, api_key_env, runner, threads, server, python }
    }

    /// The provider, where the rest is a default.
    pub fn spec(self) -> ProviderSpec {
        let ProviderLayer { name, model, base_url, api_key_env, runner, threads, server, python } =
            self.over(Self::of(&ProviderSpec::default()));
        ProviderSpec {
            provider: name.unwrap_or_default(),
            // only the local provider has a model of its own; the others ask for one
            model: model.unwrap_or_default(),
            base_url,
            api_key_env,
            runner,
            threads,
            server,
            python,
        }
    }
}

impl SamplingLayer {
    /// This layer over another: what it says wins.
    pub fn over(self, below: Self) -> Self {
        Self {
            max_tokens: self.max_tokens.or(below.max_tokens),
            temperature: self.temperature.or(below.temperature),
            top_k: self.top_k.or(below.top_k),
            top_p: self.top_p.or(below.top_p),
            min_p: self.min_p.or(below.min_p),
            seed: self.seed.or(below.seed),
            stop: self.stop.or(below.stop),
            ignore_eos: self.ignore_eos.or(below.ignore_eos),
        }
    }

    /// All parameters, where the rest is a default.
    pub fn sampling(self) -> Sampling {
        let default = Sampling::default();
        Sampling {
            max_tokens: self.max_tokens.unwrap_or(default.max_tokens),
            temperature: self.temperature.unwrap_or(default.temperature),
            top_k: self.top_k.or(default.top_k),
            top_p: self.top_p.or(default.top_p),
            min_p: self.min_p.or(default.min_p),
            seed: self.seed.unwrap_or(default.seed),
            stop: self.stop.unwrap_or(default.stop),
            ignore_eos: self.ignore_eos.unwrap_or(default.ignore_eos),
        }
    }
}

impl From<LaneSpec> for LaneEntry {
    fn from(lane: LaneSpec) -> Self {
        Self { lane, provider: ProviderLayer::default() }
    }
}

impl LaneEntry {
    /// The lane of a plan whose provider is `plan`.
    pub fn spec(self, plan: &ProviderLayer) -> LaneSpec {
        let own = (self.provider != ProviderLayer::default())
            .then(|| self.provider.over(plan.clone()).spec());
        LaneSpec { provider: own.or(self.lane.provider), ..self.lane }
    }
}

/// A lane written as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneTable {
    mode: String,
    label: Option<String>,
    #[serde(default)]
    provider: ProviderLayer,
}

impl<'de> Deserialize<'de> for LaneEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LaneVisitor)
    }
}

struct LaneVisitor;

impl<'de> Visitor<'de> for LaneVisitor {
    type Value = LaneEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a lane such as \"batched:16\", or a table with mode, label and provider")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<LaneEntry, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LaneEntry, A::Error> {
        let table = LaneTable::deserialize(MapAccessDeserializer::new(map))?;
        let mut lane: LaneSpec = table.mode.parse().map_err(de::Error::custom)?;
        lane.label = table.label.unwrap_or(lane.label);
        if lane.label.trim().is_empty() {
            return Err(de::Error::custom("the lane's label is empty"));
        }
        Ok(LaneEntry { lane, provider: table.provider })
    }
}
