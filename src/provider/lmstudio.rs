//! LM Studio: generation over its OpenAI route, facts about models over its native one.
//!
//! The native API says which models are loaded and how many requests the server really runs at
//! once; `/api/v1` is asked first, the older `/api/v0` second.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::fingerprint::{Fingerprint, Kind};
use super::http::Http;
use super::listing::{ListedModel, in_context};
use super::openai::{Body, build, connect, no_jobs, reach};
use super::rejection::plain;
use super::{Failure, FailureKind, Provider, ProviderSpec};

/// Where it listens unless told otherwise.
pub(super) const ADDRESS: &str = "http://127.0.0.1:1234";

/// A model as either API describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    name: String,
    /// Names of its loaded copies.
    instances: Vec<String>,
    generates: bool,
    loaded: bool,
    context_length: Option<usize>,
    slots: Option<usize>,
    quantisation: Option<String>,
    format: Option<String>,
}

/// Reaches the server and finds the model.
///
/// # Errors
/// What failed, on what, and what to try.
pub(super) async fn open(
    spec: &ProviderSpec,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<Arc<dyn Provider>, Failure> {
    let http = reach(spec, ADDRESS, None, progress)?;
    let models = models(&http).await?;
    let model = choose(models, spec)?;
    if !model.loaded {
        progress(format!("{} is not loaded: the first request will load it", plain(&model.name)));
    }
    let found = Fingerprint {
        kind: Kind::LmStudio,
        models: Vec::new(),
        context_length: model.context_length,
        details: model.details(),
    };
    let body = Body::new(model.name, Kind::LmStudio, &spec.server);
    Ok(Arc::new(build("lmstudio", spec, http, found, body, no_jobs("LM Studio"))))
}

/// The models that are downloaded, loaded or not.
///
/// # Errors
/// The server cannot be reached, or is no LM Studio.
pub(super) async fn list(spec: &ProviderSpec) -> Result<Vec<ListedModel>, Failure> {
    let models = models(&connect(spec, ADDRESS, None)?).await?;
    let listed = models.iter().filter_map(|model| {
        let context = model.context_length.map(|tokens| in_context(tokens as u64));
        let loaded = model.loaded.then(|| "loaded".to_owned());
        let other = (!model.generates).then(|| "embeddings only".to_owned());
        let kinds = [model.quantisation.clone(), model.format.clone()];
        let facts = [loaded, other].into_iter().chain(kinds).chain([context]).flatten();
        ListedModel::new(&model.name, facts)
    });
    Ok(listed.collect())
}

async fn models(http: &Http) -> Result<Vec<Model>, Failure> {
    let get = async |path: &str| http.get_json(http.address().at(path)).await;
    let first = match get("api/v1/models").await {
        Ok(list) => return Ok(read_v1(&list)),
        Err(refused) => refused.failure,
    };
    if matches!(first.kind, FailureKind::Transport | FailureKind::Auth) {
        return Err(first);
    }
    let list = get("api/v0/models").await.map_err(|_| {
        let message = format!("{} does not answer as LM Studio does: {first}", http.address());
        Failure::new(FailureKind::Protocol, message)
    })?;
    Ok(read_v0(&list))
}

/// The model that is named, else a loaded one, else the first one.
fn choose(models: Vec<Model>, spec: &ProviderSpec) -> Result<Model, Failure> {
    let Some(named) = spec.named_model() else {
        let usable = || models.iter().filter(|model| model.generates);
        let model = usable().find(|model| model.loaded).or_else(|| usable().next());
        return model.cloned().ok_or_else(|| {
            let message = "LM Studio has no model: download one there first";
            Failure::new(FailureKind::Model, message)
        });
    };
    let is_it = |model: &Model| model.name == named || model.instances.iter().any(|id| id == named);
    let known = models.into_iter().find(is_it);
    let known = known.ok_or_else(|| {
        let message = format!("LM Studio has no model \"{}\": download it there", plain(named));
        Failure::new(FailureKind::Model, message)
    })?;
    Ok(Model { name: named.to_owned(), ..known })
}

impl Model {
    fn details(&self) -> Vec<(String, String)> {
        let loaded = if self.loaded { "yes" } else { "no, the first request loads it" };
        let mut details = vec![
            ("server".to_owned(), Kind::LmStudio.to_string()),
            ("loaded".to_owned(), loaded.to_owned()),
        ];
        let slots = self.slots.map(|slots| slots.to_string());
        for (name, text) in
            [("slots", &slots), ("quantisation", &self.quantisation), ("format", &self.format)]
        {
            details.extend(text.iter().map(|text| (name.to_owned(), plain(text))));
        }
        details
    }
}

fn read_v1(list: &Value) -> Vec<Model> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(rename = "type")]
        kind: Option<String>,
        key: String,
        quantization: Option<Quantization>,
        #[serde(default)]
        loaded_instances: Vec<Instance>,
        max_context_length: Option<usize>,
        format: Option<String>,
    }
    #[derive(Deserialize)]
    struct Quantization {
        name: Option<String>,
    }
    #[derive(Deserialize)]
    struct Instance {
        id: String,
        config: Option<Config>,
    }
    #[derive(Deserialize)]
    struct Config {
        context_length: Option<usize>,
        parallel: Option<usize>,
    }
    entries::<Entry>(list, "models")
        .map(|entry| {
            let config = entry.loaded_instances.first().and_then(|one| one.config.as_ref());
            Model {
                generates: entry.kind.is_none_or(|kind| kind == "llm"),
                loaded: !entry.loaded_instances.is_empty(),
                context_length: config
                    .and_then(|config| config.context_length)
                    .or(entry.max_context_length),
                slots: config.and_then(|config| config.parallel),
                quantisation: entry.quantization.and_then(|quantization| quantization.name),
                format: entry.format,
                instances: entry.loaded_instances.iter().map(|one| one.id.clone()).collect(),
                name: entry.key,
            }
        })
        .collect()
}

fn read_v0(list: &Value) -> Vec<Model> {
    #[derive(Deserialize)]
    struct Entry {
        id: String,
        #[serde(rename = "type")]
        kind: Option<String>,
        quantization: Option<String>,
        compatibility_type: Option<String>,
        state: Option<String>,
        loaded_context_length: Option<usize>,
        max_context_length: Option<usize>,
    }
    entries::<Entry>(list, "data")
        .map(|entry| Model {
            generates: entry.kind.is_none_or(|kind| kind != "embeddings"),
            loaded: entry.state.is_some_and(|state| state == "loaded"),
            context_length: entry.loaded_context_length.or(entry.max_context_length),
            slots: None,
            quantisation: entry.quantization,
            format: entry.compatibility_type,
            instances: Vec::new(),
            name: entry.id,
        })
        .collect()
}

/// The entries of a list that can be read.
fn entries<T: for<'de> Deserialize<'de>>(list: &Value, name: &str) -> impl Iterator<Item = T> {
    let entries = list.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok())
}
