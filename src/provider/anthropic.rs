//! Anthropic's messages, from the vendor or from a server that speaks them.
//!
//! The API version decides how the key is sent and whether sampling parameters may be: from
//! 2026-10-21 on the vendor refuses them even at their defaults.

mod event;

use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::address::Address;
use super::exchange::Ask;
use super::fingerprint::{Fingerprint, Kind};
use super::framing::Framing;
use super::http::{Http, KeyStyle};
use super::offline::JobApi;
use super::offline::anthropic::AnthropicJobs;
use super::openai::{check_options, has_jobs, messages, number, served};
use super::rejection::plain;
use super::server::{Dialect, Server, is_raw_text};
use super::{
    Failure, FailureKind, ListedModel, Provider, ProviderInfo, ProviderSpec, Request, listing,
};
use crate::prompts::Content;
use crate::sampling::Sampling;
use event::EventDecoder;

/// How this API is spoken to one server.
#[derive(Debug)]
pub(super) struct Anthropic {
    address: Address,
    model: String,
    takes_sampling: bool,
}

const VENDOR: &str = "https://api.anthropic.com";
const VENDOR_KEY: &str = "ANTHROPIC_API_KEY";
/// The first version with bearer keys and without sampling parameters.
const NEW_VERSION: &str = "2026-10-21";
/// What compatible servers speak.
const OLD_VERSION: &str = "2023-06-01";

/// Refuses what can be seen to be wrong without asking the server.
///
/// # Errors
/// What is wrong, and what to write instead.
pub(super) fn check(spec: &ProviderSpec, offline: bool) -> Result<(), Failure> {
    check_options(spec, offline)?;
    let address = Address::parse(spec.base_url.as_deref().unwrap_or(VENDOR))?;
    let version = version(spec, &address)?;
    connect(spec, address, &version).map(drop)
}

/// Reaches the server and finds out what it is.
///
/// # Errors
/// What failed, on what, and what to try.
pub(super) async fn open(
    spec: &ProviderSpec,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<Arc<dyn Provider>, Failure> {
    let address = Address::parse(spec.base_url.as_deref().unwrap_or(VENDOR))?;
    let version = version(spec, &address)?;
    let http = connect(spec, address, &version)?;
    http.warn_if_readable(progress);
    progress(format!("asking {}", http.address()));
    let mut found = Fingerprint::of_ready(&http, progress).await?;
    let model = found.choose_model(spec)?;
    let takes_sampling = version.as_str() < NEW_VERSION;
    found.details.push(("anthropic-version".into(), version));
    if !takes_sampling {
        let text = "greedy is not possible: this API version takes no temperature";
        found.details.push(("sampling".into(), text.into()));
    }
    let offline = has_jobs(found.kind, &http, "messages/batches").await;
    let info = ProviderInfo { offline, ..served("anthropic", &model, &http, &found) };
    let dialect = Anthropic { address: http.address().clone(), model, takes_sampling };
    Ok(Arc::new(Server::new(info, http, &spec.server, found.kind, dialect)))
}

/// The models that the server lists.
///
/// # Errors
/// The server cannot be reached, refuses the key, or has no list.
pub(super) async fn models(spec: &ProviderSpec) -> Result<Vec<ListedModel>, Failure> {
    let address = Address::parse(spec.base_url.as_deref().unwrap_or(VENDOR))?;
    let version = version(spec, &address)?;
    listing::of_api(&connect(spec, address, &version)?, true).await
}

/// The version to speak: a date, so that versions compare as text.
fn version(spec: &ProviderSpec, address: &Address) -> Result<String, Failure> {
    let vendor = Kind::of_vendor(address) == Some(Kind::Anthropic);
    let usual = if vendor { NEW_VERSION } else { OLD_VERSION };
    let version = spec.server.anthropic_version.as_deref().unwrap_or(usual);
    version.parse::<jiff::civil::Date>().map_err(|_| {
        let message = format!(
            "the anthropic_version \"{}\" is not a date such as {OLD_VERSION}",
            plain(version)
        );
        Failure::new(FailureKind::InvalidRequest, message)
    })?;
    Ok(version.to_owned())
}

fn connect(spec: &ProviderSpec, address: Address, version: &str) -> Result<Http, Failure> {
    let vendor_key = spec.base_url.is_none().then_some(VENDOR_KEY);
    let key = spec.api_key_env.as_deref().or(vendor_key);
    let style = if version < NEW_VERSION { KeyStyle::ApiKey } else { KeyStyle::Bearer };
    let value = HeaderValue::from_str(version)
        .map_err(|error| Failure::new(FailureKind::InvalidRequest, error.to_string()))?;
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("anthropic-version"), value);
    Http::new(spec, address, key, style, headers)
}

impl Dialect for Anthropic {
    type Decoder = EventDecoder;

    fn ask(&self, request: &Request) -> Result<Ask, Failure> {
        let mut body = self.message(request)?;
        body.insert("stream".into(), true.into());
        let body = serde_json::to_vec(&body)
            .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
        let (url, max_tokens) = (self.address.api("messages"), request.sampling.max_tokens);
        Ok(Ask { url, body, framing: Framing::Sse, rows: vec![request.row], max_tokens })
    }

    fn decoder(&self, _raw: bool, _framing: Framing) -> EventDecoder {
        EventDecoder::default()
    }

    fn jobs<'a>(&'a self, http: &'a Http) -> Option<Box<dyn JobApi + 'a>> {
        Some(Box::new(AnthropicJobs { http, api: self }))
    }
}

impl Anthropic {
    /// The body of a message, without a stream.
    pub fn message(&self, request: &Request) -> Result<Map<String, Value>, Failure> {
        if is_raw_text(request) {
            let message = "the messages API has no raw prompts: leave out --raw";
            return Err(Failure::new(FailureKind::Unsupported, message));
        }
        let mut body = self.parameters(&request.sampling)?;
        let (system, turns) = split_system(&request.prompt.content);
        if let Some(system) = system {
            body.insert("system".into(), system.into());
        }
        body.insert("messages".into(), messages(&turns));
        Ok(body)
    }

    fn parameters(&self, sampling: &Sampling) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        body.insert("model".into(), self.model.clone().into());
        body.insert("max_tokens".into(), sampling.max_tokens.into());
        let never = [("min_p", sampling.min_p.is_some()), ("ignore_eos", sampling.ignore_eos)];
        if let Some((name, _)) = never.iter().find(|(_, given)| *given) {
            return Err(unsupported(&format!("the messages API takes no {name}: leave it out")));
        }
        if self.takes_sampling {
            body.insert("temperature".into(), number(sampling.temperature));
            if let Some(top_k) = sampling.top_k {
                body.insert("top_k".into(), top_k.into());
            }
            if let Some(top_p) = sampling.top_p {
                body.insert("top_p".into(), number(top_p));
            }
        } else {
            refuse_sampling(sampling)?;
        }
        if !sampling.stop.is_empty() {
            body.insert("stop_sequences".into(), sampling.stop.clone().into());
        }
        Ok(body)
    }
}

/// The default temperature passes, since nobody asked for it; the provider's details say that
/// it is not sent.
fn refuse_sampling(sampling: &Sampling) -> Result<(), Failure> {
    let given = [
        ("temperature", !sampling.is_greedy()),
        ("top_k", sampling.top_k.is_some()),
        ("top_p", sampling.top_p.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(unsupported(&format!(
            "this API version takes no {name}: leave it out, or set anthropic_version to \
             {OLD_VERSION}"
        ))),
        None => Ok(()),
    }
}

fn unsupported(message: &str) -> Failure {
    Failure::new(FailureKind::Unsupported, message)
}

/// The system prompt stands beside the conversation here.
fn split_system(content: &Content) -> (Option<String>, Content) {
    let Content::Messages(all) = content else { return (None, content.clone()) };
    let (system, turns): (Vec<_>, Vec<_>) = all
        .iter()
        .cloned()
        .partition(|message| matches!(message.role.as_str(), "system" | "developer"));
    let texts: Vec<_> = system.into_iter().map(|message| message.content).collect();
    ((!texts.is_empty()).then(|| texts.join("\n\n")), Content::Messages(turns))
}
