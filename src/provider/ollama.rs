//! Ollama over its native API: its own counts and times, and the memory of the loaded model.
//!
//! The model is loaded when the provider is opened, so that no row pays for it. Options that
//! would make the server load the model again (`num_ctx` and the like) are never sent.

mod line;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::address::Address;
use super::exchange::Ask;
use super::fingerprint::{Fingerprint, Kind};
use super::framing::Framing;
use super::http::Http;
use super::listing::ListedModel;
use super::openai::{connect, messages, number, reach, seed, served};
use super::rejection::plain;
use super::server::{Dialect, Server, is_raw_text};
use super::{Failure, FailureKind, Provider, ProviderSpec, Request, ServerMemory};
use crate::units;
use line::LineDecoder;

/// How this API is spoken to one server.
#[derive(Debug)]
struct Ollama {
    address: Address,
    model: String,
    memory: Option<ServerMemory>,
}

/// Where it listens unless told otherwise.
pub(super) const ADDRESS: &str = "http://127.0.0.1:11434";

/// Reaches the server and loads the model.
///
/// # Errors
/// What failed, on what, and what to try.
pub(super) async fn open(
    spec: &ProviderSpec,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<Arc<dyn Provider>, Failure> {
    let http = reach(spec, ADDRESS, None, progress)?;
    let mut found = identify(&http).await?;
    let model = found.choose_model(spec)?;
    progress(format!("loading {} on {}", plain(&model), http.address()));
    let load = load(&http, &model).await?;
    let memory = read_loaded(&http, &model, &mut found).await?;
    if let Some(seconds) = load {
        found.details.push(("load time".into(), format!("{seconds:.1} s")));
    }
    let info = served("ollama", &model, &http, &found);
    let dialect = Ollama { address: http.address().clone(), model, memory };
    Ok(Arc::new(Server::new(info, http, &spec.server, found.kind, dialect)))
}

/// The models that are pulled, loaded or not.
///
/// # Errors
/// The server cannot be reached, or is no Ollama.
pub(super) async fn list(spec: &ProviderSpec) -> Result<Vec<ListedModel>, Failure> {
    let http = connect(spec, ADDRESS, None)?;
    let get = async |path: &str| {
        http.get_json(http.address().at(path)).await.map_err(|refused| refused.failure)
    };
    let pulled = get("api/tags").await?;
    let loaded = optional(get("api/ps").await)?.unwrap_or_default();
    let loaded: Vec<&str> = entries(&loaded).filter_map(name).collect();
    let listed = entries(&pulled).filter_map(|entry| {
        let text = |at: &str| entry.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let name = name(entry)?;
        let is_loaded = loaded.contains(&name).then(|| "loaded".to_owned());
        let bytes = entry.get("size").and_then(Value::as_u64).map(units::bytes);
        let kinds = [text("/details/parameter_size"), text("/details/quantization_level")];
        let facts = [is_loaded].into_iter().chain(kinds).chain([bytes]).flatten();
        ListedModel::new(name, facts)
    });
    Ok(listed.collect())
}

/// The models of a list.
fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.get("models").and_then(Value::as_array).into_iter().flatten()
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("name").and_then(Value::as_str)
}

/// Version and models. Servers that only imitate this API may lack the version.
async fn identify(http: &Http) -> Result<Fingerprint, Failure> {
    let get = async |path: &str| {
        http.get_json(http.address().at(path)).await.map_err(|refused| refused.failure)
    };
    let tags = get("api/tags").await?;
    let version = optional(get("api/version").await)?;
    let names = entries(&tags).filter_map(name);
    let mut details = vec![("server".to_owned(), Kind::Ollama.to_string())];
    let version = version.as_ref().and_then(|version| version.get("version")?.as_str());
    details.extend(version.map(|version| ("version".to_owned(), plain(version))));
    let models = names.map(str::to_owned).collect();
    Ok(Fingerprint { kind: Kind::Ollama, models, context_length: None, details })
}

/// Loads the model; gives the seconds that took, if the server says.
async fn load(http: &Http, model: &str) -> Result<Option<f64>, Failure> {
    // a request without a prompt only loads
    let body = json!({"model": model, "stream": false});
    let answer = http.ask(http.address().at("api/generate"), &body).await;
    let answer = optional(answer.map_err(|refused| refused.failure))?;
    let nanoseconds = answer.and_then(|answer| answer.get("load_duration")?.as_f64());
    Ok(nanoseconds.filter(|time| *time > 0.0).map(|nanoseconds| nanoseconds / 1e9))
}

/// An answer that a server may lack: none where it does not know the route or the request.
fn optional(answer: Result<Value, Failure>) -> Result<Option<Value>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failure)
            if matches!(failure.kind, FailureKind::Protocol | FailureKind::InvalidRequest) =>
        {
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// What the server tells about the model it has loaded.
async fn read_loaded(
    http: &Http,
    model: &str,
    found: &mut Fingerprint,
) -> Result<Option<ServerMemory>, Failure> {
    let url = http.address().at("api/ps");
    let list = optional(http.get_json(url).await.map_err(|refused| refused.failure))?;
    let Some(list) = list else { return Ok(None) };
    let loaded = entries(&list);
    let tagged = format!("{model}:latest");
    let is_it = |entry: &&Value| {
        let names = [entry.get("name"), entry.get("model")];
        names.iter().any(|name| name.is_some_and(|name| name == model || *name == tagged))
    };
    let Some(entry) = loaded.into_iter().find(is_it) else { return Ok(None) };
    let context = entry.get("context_length").and_then(Value::as_u64);
    found.context_length = context.and_then(|tokens| usize::try_from(tokens).ok());
    for (name, at) in [
        ("architecture", "/details/family"),
        ("parameters", "/details/parameter_size"),
        ("quantisation", "/details/quantization_level"),
        ("digest", "/digest"),
    ] {
        if let Some(text) =
            entry.pointer(at).and_then(Value::as_str).filter(|text| !text.is_empty())
        {
            found.details.push((name.into(), plain(text)));
        }
    }
    let bytes = |name: &str| entry.get(name).and_then(Value::as_u64);
    Ok(bytes("size").map(|total| ServerMemory {
        total,
        gpu: bytes("size_vram"),
        source: "ollama /api/ps".into(),
    }))
}

impl Dialect for Ollama {
    type Decoder = LineDecoder;

    fn ask(&self, request: &Request) -> Result<Ask, Failure> {
        let mut body = Map::new();
        body.insert("model".into(), self.model.clone().into());
        body.insert("stream".into(), true.into());
        // else the server cuts a long prompt without a word
        body.insert("truncate".into(), false.into());
        body.insert("options".into(), options(request)?);
        let path = if is_raw_text(request) {
            body.insert("prompt".into(), request.prompt.content.display().into());
            body.insert("raw".into(), true.into());
            "api/generate"
        } else {
            body.insert("messages".into(), messages(&request.prompt.content));
            "api/chat"
        };
        let body = serde_json::to_vec(&body)
            .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
        let (url, max_tokens) = (self.address.at(path), request.sampling.max_tokens);
        Ok(Ask { url, body, framing: Framing::Ndjson, rows: vec![request.row], max_tokens })
    }

    fn decoder(&self, _raw: bool, _framing: Framing) -> LineDecoder {
        LineDecoder
    }

    fn memory(&self) -> Option<ServerMemory> {
        self.memory.clone()
    }
}

/// The server has its own defaults for filters and for punishing repetition: absent means none
/// of that here, so it is said.
fn options(request: &Request) -> Result<Value, Failure> {
    let sampling = &*request.sampling;
    if sampling.ignore_eos {
        let message = "Ollama takes no ignore_eos: leave it out";
        return Err(Failure::new(FailureKind::Unsupported, message));
    }
    let mut options = json!({
        "num_predict": sampling.max_tokens,
        "temperature": number(sampling.temperature),
        "top_k": sampling.top_k.unwrap_or(0),
        "top_p": number(sampling.top_p.unwrap_or(1.0)),
        "min_p": number(sampling.min_p.unwrap_or(0.0)),
        "repeat_penalty": 1.0,
    });
    if !sampling.is_greedy() {
        options["seed"] = seed(sampling, request.row).into();
    }
    if !sampling.stop.is_empty() {
        options["stop"] = sampling.stop.clone().into();
    }
    Ok(options)
}
