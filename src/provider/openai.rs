//! OpenAI and every server that speaks its chat completions: llama.cpp, vLLM, SGLang, TGI,
//! LM Studio, Ollama, mlx_lm and proxies.
//!
//! Prompts go to `/v1/chat/completions`; raw prompts to `/v1/completions`, many in one request
//! where the server is known to take that. Where the user asks for it, the conversations of a
//! batch go to vLLM's `/v1/chat/completions/batch`, many in one request. Which parameters are sent is decided by the
//! server's fingerprint.

mod batch_route;
mod body;
mod chunk;

use std::sync::Arc;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::address::Address;
use super::exchange::Ask;
use super::fingerprint::{Fingerprint, Kind};
use super::framing::Framing;
use super::http::{Http, KeyStyle};
use super::offline::JobApi;
use super::offline::openai::OpenAiJobs;
use super::server::{Dialect, Server, is_raw_text};
use super::{
    Batching, Failure, FailureKind, ListedModel, Provider, ProviderInfo, ProviderSpec, Request,
    Support, TokenCounts, listing,
};
use batch_route::AnyDecoder;
pub(super) use body::{Body, messages, number, seed};

/// How this API is spoken to one server.
#[derive(Debug)]
pub(super) struct OpenAi {
    address: Address,
    body: Body,
    prompt_array: bool,
    batch_route: bool,
}

const VENDOR: &str = "https://api.openai.com/v1";
const VENDOR_KEY: &str = "OPENAI_API_KEY";

/// Refuses what can be seen to be wrong without asking the server.
///
/// # Errors
/// What is wrong, and what to write instead.
pub(super) fn check(spec: &ProviderSpec, offline: bool) -> Result<(), Failure> {
    check_at(spec, offline, VENDOR, Some(VENDOR_KEY))
}

/// As [`check`], for a provider whose servers listen at `default`.
pub(super) fn check_at(
    spec: &ProviderSpec,
    offline: bool,
    default: &str,
    default_key: Option<&str>,
) -> Result<(), Failure> {
    check_options(spec, offline)?;
    connect(spec, default, default_key).map(drop)
}

/// Reaches the server and finds out what it is.
///
/// # Errors
/// What failed, on what, and what to try.
pub(super) async fn open(
    spec: &ProviderSpec,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<Arc<dyn Provider>, Failure> {
    let http = reach(spec, VENDOR, Some(VENDOR_KEY), progress)?;
    let mut found = Fingerprint::of_ready(&http, progress).await?;
    let model = found.choose_model(spec)?;
    if spec.server.batch_route == Some(true) {
        batch_route::require(found.kind, &http).await?;
    }
    let body = Body::new(model, found.kind, &spec.server);
    found.details.extend(body.details());
    let offline = has_jobs(found.kind, &http, "batches").await;
    Ok(Arc::new(build("openai", spec, http, found, body, offline)))
}

/// The models that the server lists.
///
/// # Errors
/// The server cannot be reached, refuses the key, or has no list.
pub(super) async fn models(spec: &ProviderSpec) -> Result<Vec<ListedModel>, Failure> {
    listing::of_api(&connect(spec, VENDOR, Some(VENDOR_KEY))?, false).await
}

/// The client of a spec whose key goes into a bearer header.
pub(super) fn connect(
    spec: &ProviderSpec,
    default: &str,
    default_key: Option<&str>,
) -> Result<Http, Failure> {
    let address = Address::parse(spec.base_url.as_deref().unwrap_or(default))?;
    // a vendor's key is for the vendor: it goes to another address only if the user says so
    let vendor_key = default_key.filter(|_| spec.base_url.is_none());
    let key = spec.api_key_env.as_deref().or(vendor_key);
    Http::new(spec, address, key, KeyStyle::Bearer, HeaderMap::new())
}

/// As [`connect`], and says whom it is about to ask.
pub(super) fn reach(
    spec: &ProviderSpec,
    default: &str,
    default_key: Option<&str>,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<Http, Failure> {
    let http = connect(spec, default, default_key)?;
    http.warn_if_readable(progress);
    progress(format!("asking {}", http.address()));
    Ok(http)
}

/// What no server takes.
pub(super) fn check_options(spec: &ProviderSpec, offline: bool) -> Result<(), Failure> {
    let name = &spec.provider;
    let local = [("runner", spec.runner.is_some()), ("threads", spec.threads.is_some())];
    if let Some((option, _)) = local.iter().find(|(_, given)| *given) {
        let message = format!("{option} is for the local provider: leave it out for {name}");
        return Err(Failure::new(FailureKind::InvalidRequest, message));
    }
    let jobs = match name.as_str() {
        "openai" | "anthropic" => Support::Yes,
        other => no_jobs(other),
    };
    match (offline, jobs) {
        (true, Support::No { reason, instead }) => {
            let message = format!("{name} cannot run offline: {reason}; {instead}");
            Err(Failure::new(FailureKind::Unsupported, message))
        }
        (true, Support::Yes) | (false, _) => Ok(()),
    }
}

/// What a server without batch jobs says.
pub(super) fn no_jobs(server: &str) -> Support {
    Support::No {
        reason: format!("{server} has no batch jobs"),
        instead: "use batched, or export-batch for an engine that reads batch files".into(),
    }
}

/// Whether a server has batch jobs. One that is not known is given the chance; one that is known
/// to have none may be imitated by another that has, so it is asked for its list.
pub(super) async fn has_jobs(kind: Kind, http: &Http, list: &str) -> Support {
    match kind {
        Kind::OpenAi | Kind::Anthropic | Kind::Unknown => Support::Yes,
        Kind::LlamaCpp
        | Kind::Vllm
        | Kind::SgLang
        | Kind::Tgi
        | Kind::MlxLm
        | Kind::Ollama
        | Kind::LmStudio => match http.get_json(http.address().api(list)).await {
            Ok(answer) if answer.get("data").is_some_and(Value::is_array) => Support::Yes,
            Ok(_) | Err(_) => no_jobs(&kind.to_string()),
        },
    }
}

/// A provider over what was found.
pub(super) fn build(
    name: &str,
    spec: &ProviderSpec,
    http: Http,
    found: Fingerprint,
    body: Body,
    offline: Support,
) -> Server<OpenAi> {
    let info = ProviderInfo { offline, ..served(name, body.model(), &http, &found) };
    let takes_arrays =
        matches!(found.kind, Kind::OpenAi | Kind::LlamaCpp | Kind::Vllm | Kind::SgLang);
    let dialect = OpenAi {
        address: http.address().clone(),
        body,
        prompt_array: spec.server.prompt_array.unwrap_or(takes_arrays),
        batch_route: spec.server.batch_route == Some(true),
    };
    Server::new(info, http, &spec.server, found.kind, dialect)
}

/// The facts of a provider behind a server.
pub(super) fn served(name: &str, model: &str, http: &Http, found: &Fingerprint) -> ProviderInfo {
    ProviderInfo {
        provider: name.to_owned(),
        model: model.to_owned(),
        model_sha256: None,
        device: http.address().to_string(),
        details: found.details.clone(),
        batching: Batching::Window,
        offline: no_jobs(name),
        context_length: found.context_length,
        token_counts: TokenCounts::Exact,
        price: None,
        batch_invariant: false,
    }
}

impl Dialect for OpenAi {
    type Decoder = AnyDecoder;

    fn ask(&self, request: &Request) -> Result<Ask, Failure> {
        let (path, body) = if is_raw_text(request) {
            ("completions", self.body.completions(std::slice::from_ref(request))?)
        } else {
            ("chat/completions", self.body.chat(request)?)
        };
        Ok(self.to(path, body, std::slice::from_ref(request), Framing::Sse))
    }

    fn decoder(&self, _raw: bool, framing: Framing) -> AnyDecoder {
        AnyDecoder::of(framing)
    }

    fn has_prompt_arrays(&self, raw: bool) -> bool {
        if raw { self.prompt_array } else { self.batch_route }
    }

    fn ask_many(&self, requests: &[Request]) -> Result<Ask, Failure> {
        if requests.iter().all(is_raw_text) {
            let body = self.body.completions(requests)?;
            return Ok(self.to("completions", body, requests, Framing::Sse));
        }
        let body = self.body.conversations(requests)?;
        Ok(self.to(batch_route::PATH, body, requests, Framing::Whole))
    }

    fn jobs<'a>(&'a self, http: &'a Http) -> Option<Box<dyn JobApi + 'a>> {
        Some(Box::new(OpenAiJobs { http, body: &self.body }))
    }
}

impl OpenAi {
    fn to(&self, path: &str, body: Vec<u8>, requests: &[Request], framing: Framing) -> Ask {
        let rows = requests.iter().map(|request| request.row).collect();
        let max_tokens = requests.iter().map(|request| request.sampling.max_tokens);
        let max_tokens = max_tokens.fold(0, usize::saturating_add);
        Ask { url: self.address.api(path), body, framing, rows, max_tokens }
    }
}
