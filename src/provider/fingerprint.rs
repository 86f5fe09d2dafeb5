//! Finds out which server answers at an address that calls itself OpenAI-compatible, and what
//! it tells about itself.
//!
//! Only the vendor's own address is taken at its word; every other server is asked.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use super::address::Address;
use super::http::Http;
use super::rejection::plain;
use super::{Failure, FailureKind, ProviderSpec};

/// The servers whose ways are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    OpenAi,
    Anthropic,
    LlamaCpp,
    Vllm,
    SgLang,
    Tgi,
    MlxLm,
    Ollama,
    LmStudio,
    Unknown,
}

/// What is known about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub kind: Kind,
    /// Names of the models it lists, in its order.
    pub models: Vec<String>,
    /// Most tokens of a row, prompt and output together.
    pub context_length: Option<usize>,
    /// For the screen and the report.
    pub details: Vec<(String, String)>,
}

/// How long a server may load its model.
const MOST_LOADING: Duration = Duration::from_secs(300);
/// After how long it is asked again, where it does not say when.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A route that only one server has, and what its answer must have.
const ROUTES: &[(&str, Kind, &str)] = &[
    ("api/version", Kind::Ollama, "/version"),
    ("api/v1/models", Kind::LmStudio, "/models"),
    ("api/v0/models", Kind::LmStudio, "/data"),
    ("props", Kind::LlamaCpp, "/default_generation_settings"),
    ("get_server_info", Kind::SgLang, ""),
    ("info", Kind::Tgi, "/max_total_tokens"),
    ("version", Kind::Vllm, "/version"),
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::OpenAi => "OpenAI",
            Kind::Anthropic => "Anthropic",
            Kind::LlamaCpp => "llama.cpp",
            Kind::Vllm => "vLLM",
            Kind::SgLang => "SGLang",
            Kind::Tgi => "TGI",
            Kind::MlxLm => "mlx_lm",
            Kind::Ollama => "Ollama",
            Kind::LmStudio => "LM Studio",
            Kind::Unknown => "unknown",
        })
    }
}

impl Kind {
    /// The vendor whose own address this is.
    pub fn of_vendor(address: &Address) -> Option<Self> {
        let is_at = |domain: &str| {
            let above = address.host().strip_suffix(domain);
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        };
        match () {
            () if is_at("openai.com") => Some(Kind::OpenAi),
            () if is_at("anthropic.com") => Some(Kind::Anthropic),
            () => None,
        }
    }
}

impl Fingerprint {
    /// Asks the server.
    ///
    /// # Errors
    /// When it cannot be reached or refuses the key.
    pub async fn take(http: &Http) -> Result<Self, Failure> {
        let (list, header) = models(http).await?;
        let mut found = Self {
            kind: by_header(&header).unwrap_or(Kind::Unknown),
            models: names(&list),
            context_length: None,
            details: Vec::new(),
        };
        let mut facts = Value::Null;
        if let Some(vendor) = Kind::of_vendor(http.address()) {
            found.kind = vendor;
        } else if let Some((kind, answer)) = by_route(http, found.kind).await {
            (found.kind, facts) = (kind, answer);
        }
        found.details.push(("server".into(), found.kind.to_string()));
        found.read(&list, &facts);
        Ok(found)
    }

    /// Asks the server, and where it is not ready yet, again until it is.
    ///
    /// # Errors
    /// When it cannot be reached, refuses the key, or does not get ready.
    pub async fn of_ready(
        http: &Http,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        loop {
            match Self::take(http).await {
                Err(failure) if failure.kind == FailureKind::Overloaded => {
                    let wait = failure.retry_after.unwrap_or_default().max(ASK_AGAIN);
                    if started.elapsed() + wait > MOST_LOADING {
                        return Err(failure);
                    }
                    progress(format!("waiting: {failure}"));
                    tokio::time::sleep(wait).await;
                }
                taken => return taken,
            }
        }
    }

    /// The model that is named, else the first that the server lists.
    ///
    /// # Errors
    /// When none is named and the server gives no good reason to take one.
    pub fn choose_model(&self, spec: &ProviderSpec) -> Result<String, Failure> {
        if let Some(named) = spec.named_model() {
            return Ok(named.to_owned());
        }
        if self.kind == Kind::MlxLm {
            // the one it was started with; names in its list are of its cache folder
            return Ok("default_model".to_owned());
        }
        let missing = |what: &str| {
            let message = format!("no model is named and {what}: name one with --model");
            Failure::new(FailureKind::Model, message)
        };
        if matches!(self.kind, Kind::OpenAi | Kind::Anthropic) {
            return Err(missing("the vendor has many, each at its own price"));
        }
        let generates = |name: &&String| !name.to_lowercase().contains("embed");
        let first = self.models.iter().find(generates);
        first.cloned().ok_or_else(|| missing("the server lists none"))
    }

    /// Takes out of the answers what is worth a line.
    fn read(&mut self, list: &Value, facts: &Value) {
        let number = |at: &str| facts.pointer(at).and_then(Value::as_u64);
        let listed = |at: &str| list.pointer(at).and_then(Value::as_u64);
        let context = match self.kind {
            Kind::LlamaCpp => number("/default_generation_settings/n_ctx"),
            Kind::Vllm => listed("/data/0/max_model_len"),
            Kind::SgLang => number("/context_length").or(listed("/data/0/max_model_len")),
            Kind::Tgi => number("/max_total_tokens"),
            Kind::OpenAi
            | Kind::Anthropic
            | Kind::MlxLm
            | Kind::Ollama
            | Kind::LmStudio
            | Kind::Unknown => None,
        };
        self.context_length = context.and_then(|tokens| usize::try_from(tokens).ok());
        for (name, at) in [
            ("slots", "/total_slots"),
            ("slots", "/max_running_requests"),
            ("slots", "/max_concurrent_requests"),
            ("version", "/build_info"),
            ("version", "/version"),
            ("quantisation", "/model_ftype"),
        ] {
            match facts.pointer(at) {
                Some(Value::String(text)) => self.detail(name, plain(text)),
                Some(Value::Number(number)) => self.detail(name, number.to_string()),
                _ => {}
            }
        }
    }

    fn detail(&mut self, name: &str, text: String) {
        self.details.push((name.to_owned(), text));
    }
}

/// The list of models and the `Server` header; a server without a list has no models.
async fn models(http: &Http) -> Result<(Value, String), Failure> {
    use super::FailureKind::{Auth, Overloaded, Transport};
    match http.get(http.address().api("models")).await {
        Ok(answer) => {
            let server = answer.headers.get("server").and_then(|value| value.to_str().ok());
            let server = server.unwrap_or_default().to_owned();
            // mlx_lm without a cache folder answers success and nothing
            Ok((serde_json::from_slice(&answer.body).unwrap_or_default(), server))
        }
        // one that is still loading its model says so, and lists it later
        Err(refused) if matches!(refused.failure.kind, Auth | Overloaded | Transport) => {
            Err(refused.failure)
        }
        Err(_) => Ok((Value::Null, String::new())),
    }
}

fn names(list: &Value) -> Vec<String> {
    let models = list.get("data").and_then(Value::as_array).into_iter().flatten();
    let names = models.filter_map(|model| model.get("id").and_then(Value::as_str));
    names.map(str::to_owned).collect()
}

fn by_header(server: &str) -> Option<Kind> {
    match server {
        "llama.cpp" => Some(Kind::LlamaCpp),
        _ if server.starts_with("BaseHTTP") => Some(Kind::MlxLm),
        _ => None,
    }
}

/// Asks the routes by which servers differ, all at once; if the kind is known, only its own.
async fn by_route(http: &Http, known: Kind) -> Option<(Kind, Value)> {
    let asked = ROUTES.iter().filter(|(_, kind, _)| known == Kind::Unknown || known == *kind);
    let answers = asked.map(|(path, kind, must_have)| async move {
        let answer = http.get_json(http.address().at(path)).await.ok()?;
        answer.pointer(must_have)?;
        Some((*kind, answer))
    });
    // the order of the table decides: the last routes are the least telling
    join_all(answers).await.into_iter().flatten().next()
}
