//! vLLM's `/v1/chat/completions/batch`: many conversations in one request, and one answer that
//! comes whole. It is used only where the user asks for it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::chunk::{ChunkDecoder, failure, finish_reason};
use crate::provider::delivery::Delivery;
use crate::provider::exchange::{Decoder, Flow, parse};
use crate::provider::fingerprint::Kind;
use crate::provider::framing::Framing;
use crate::provider::http::Http;
use crate::provider::{Failure, FailureKind};

/// The route, below the version.
pub(super) const PATH: &str = "chat/completions/batch";

/// Refuses a server that has no such route.
///
/// # Errors
/// The server has none, or could not be asked.
pub(super) async fn require(kind: Kind, http: &Http) -> Result<(), Failure> {
    if !matches!(kind, Kind::Vllm | Kind::Unknown) {
        return Err(none(&format!("{} is {kind}, which", http.address())));
    }
    // a request without conversations: the route refuses it, and generates nothing
    match http.ask(http.address().api(PATH), &json!({})).await {
        Err(refused) if refused.failure.kind == FailureKind::InvalidRequest => Ok(()),
        Err(refused) if !refused.definite || refused.failure.kind == FailureKind::Auth => {
            Err(refused.failure)
        }
        Ok(_) | Err(_) => Err(none(&http.address().to_string())),
    }
}

fn none(server: &str) -> Failure {
    let message = format!(
        "{server} has no route /v1/{PATH}, which batch_route asks for: leave it out, and batched \
         sends a window of single requests; with --raw prompt arrays need no such route"
    );
    Failure::new(FailureKind::Unsupported, message)
}

/// Reads streams of chunks, and whole answers.
#[derive(Debug)]
pub(in crate::provider) enum AnyDecoder {
    Chunks(ChunkDecoder),
    Whole,
}

impl AnyDecoder {
    pub fn of(framing: Framing) -> Self {
        match framing {
            Framing::Sse | Framing::Ndjson => AnyDecoder::Chunks(ChunkDecoder),
            Framing::Whole => AnyDecoder::Whole,
        }
    }
}

impl Decoder for AnyDecoder {
    fn take(&mut self, message: &[u8], to: &mut Delivery<'_>) -> Result<Flow, Failure> {
        match self {
            AnyDecoder::Chunks(chunks) => chunks.take(message, to),
            AnyDecoder::Whole => deliver(message, to),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    choices: Option<Vec<Choice>>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    index: usize,
    message: Message,
    finish_reason: Option<String>,
    /// What was generated, in vLLM's own count.
    token_ids: Option<Vec<u32>>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    reasoning: Option<String>,
}

/// Hands on the texts once every conversation is found to have exactly one, with its count.
fn deliver(message: &[u8], to: &mut Delivery<'_>) -> Result<Flow, Failure> {
    let answer: Answer = parse(message, to)?;
    if answer.error.is_some() {
        return Err(failure(message, to)?);
    }
    let mut answers = BTreeMap::new();
    for choice in answer.choices.unwrap_or_default() {
        let place = choice.index;
        to.seen(place)?;
        let Some(tokens) = choice.token_ids else {
            let what = "answered without token_ids, which it was asked for: how many tokens each \
                        answer has is not known; leave batch_route out";
            return Err(to.protocol(what));
        };
        let answer = (choice.message.text(), tokens.len(), choice.finish_reason);
        if answers.insert(place, answer).is_some() {
            return Err(to.protocol(&format!("answered prompt {} twice", place + 1)));
        }
    }
    to.complete()?;
    for (place, (text, tokens, reason)) in answers {
        to.answer(place, text, tokens)?;
        if let Some(word) = reason {
            to.reason(place, finish_reason(&word))?;
        }
    }
    Ok(Flow::End)
}

impl Message {
    fn text(self) -> String {
        let content = self.content.unwrap_or_default();
        match self.reasoning.filter(|text| !text.is_empty()) {
            Some(reasoning) => format!("<think>{reasoning}</think>{content}"),
            None => content,
        }
    }
}
