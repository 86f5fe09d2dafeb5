//! The models that a provider could run, as its server or its folder lists them.

use serde_json::Value;

use super::http::Http;
use super::rejection::Rejection;
use super::{Failure, FailureKind};
use crate::text;
use crate::units;

/// A model that a provider could run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedModel {
    /// By which it is asked for; it can be shown as it is.
    pub name: String,
    /// What is known besides, a word or two each: its size, its context, whether it is loaded.
    pub facts: Vec<String>,
}

/// The most models that are listed.
const MOST_MODELS: usize = 10_000;
/// The most pages of a list that are asked for.
const MOST_PAGES: usize = 10;
/// The longest name and fact, characters.
const LONGEST_NAME: usize = 256;
const LONGEST_FACT: usize = 60;

impl ListedModel {
    /// A model of an untrusted list; none where the name cannot be shown.
    pub(super) fn new(name: &str, facts: impl IntoIterator<Item = String>) -> Option<Self> {
        let is_sound = !name.is_empty()
            && name.chars().count() <= LONGEST_NAME
            && text::visible(name) == name
            && name.trim() == name;
        let fact = |fact: String| text::shortened(&text::visible(&fact), LONGEST_FACT);
        let facts = facts.into_iter().filter(|fact| !fact.is_empty()).map(fact);
        is_sound.then(|| Self { name: name.to_owned(), facts: facts.collect() })
    }
}

/// The list at `models`, in the server's order; of a list that comes in pages, all of them.
///
/// # Errors
/// The server cannot be reached, refuses the key, or has no such list.
pub(super) async fn of_api(http: &Http, paged: bool) -> Result<Vec<ListedModel>, Failure> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let mut url = http.address().api("models");
        if paged {
            url.query_pairs_mut().append_pair("limit", "1000");
        }
        if let Some(after) = &after {
            url.query_pairs_mut().append_pair("after_id", after);
        }
        let answer = http.get(url).await.map_err(|refused| no_list(http, refused))?;
        // mlx_lm without a cache folder answers success and nothing
        let page: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let entries = page.get("data").and_then(Value::as_array).into_iter().flatten();
        all.extend(entries.filter_map(entry).take(MOST_MODELS - all.len()));
        let has_more = page.get("has_more").and_then(Value::as_bool) == Some(true);
        let last = page.get("last_id").and_then(Value::as_str).map(str::to_owned);
        match last.filter(|_| has_more && paged) {
            Some(last) if all.len() < MOST_MODELS && after.as_ref() != Some(&last) => {
                after = Some(last);
            }
            _ => break,
        }
    }
    Ok(all)
}

fn no_list(http: &Http, refused: Rejection) -> Failure {
    let failure = refused.failure;
    if !matches!(failure.kind, FailureKind::Protocol | FailureKind::Model) {
        return failure;
    }
    let message = format!("{} has no list of models: {failure}", http.address());
    Failure { message, ..failure }
}

/// An entry as the servers write it: each has facts of its own.
fn entry(entry: &Value) -> Option<ListedModel> {
    let number = |at: &str| entry.pointer(at).and_then(Value::as_u64);
    let text = |at: &str| entry.pointer(at).and_then(Value::as_str).map(str::to_owned);
    let name = text("/id")?;
    let context = number("/max_model_len").or(number("/meta/n_ctx"));
    let context = context.or(number("/meta/n_ctx_train")).map(in_context);
    let bytes = number("/meta/size").map(of_bytes);
    let shown = text("/display_name").filter(|shown| *shown != name);
    ListedModel::new(&name, [shown, bytes, context].into_iter().flatten())
}

/// A size as a fact.
pub(super) fn of_bytes(bytes: u64) -> String {
    units::bytes(bytes)
}

/// A context length as a fact.
pub(super) fn in_context(tokens: u64) -> String {
    format!("context {tokens}")
}
