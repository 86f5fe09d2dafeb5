//! The events of a streamed message.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use crate::provider::delivery::Delivery;
use crate::provider::exchange::{Decoder, Flow, parse};
use crate::provider::rejection::{Complaint, plain};
use crate::provider::{Failure, FinishReason, ServerTimes, Usage};

/// Reads events; the end marker is `message_stop`. Events and deltas it does not know are
/// skipped, as the API asks of its clients.
#[derive(Debug, Default)]
pub(in crate::provider) struct EventDecoder {
    counts: Counts,
}

#[derive(Deserialize)]
struct Message<'m> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'m, str>>,
    message: Option<Start>,
    delta: Option<Delta>,
    usage: Option<Counts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Start {
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Delta {
    text: Option<String>,
    thinking: Option<String>,
    stop_reason: Option<String>,
}

/// Each count replaces the one before.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct Counts {
    input_tokens: Option<usize>,
    cache_creation_input_tokens: Option<usize>,
    cache_read_input_tokens: Option<usize>,
    output_tokens: Option<usize>,
}

impl Decoder for EventDecoder {
    fn take(&mut self, message: &[u8], to: &mut Delivery<'_>) -> Result<Flow, Failure> {
        let event: Message<'_> = parse(message, to)?;
        if event.error.is_some() {
            let value = parse::<Value>(message, to)?;
            let complaint = Complaint::find(&value).unwrap_or_default();
            return Err(complaint.failure(to.server(), None));
        }
        match event.kind.as_deref() {
            Some("message_start") => {
                to.seen(0)?;
                self.counts.replace(event.message.and_then(|start| start.usage));
            }
            Some("content_block_delta") => {
                let Some(delta) = event.delta else { return Ok(Flow::More) };
                delta.thinking.map_or(Ok(()), |text| to.reasoning(0, text))?;
                delta.text.map_or(Ok(()), |text| to.content(0, text))?;
            }
            Some("message_delta") => {
                self.counts.replace(event.usage);
                if let Some(word) = event.delta.and_then(|delta| delta.stop_reason) {
                    to.reason(0, finish_reason(&word))?;
                }
            }
            Some("message_stop") => {
                self.counts.tell(to)?;
                return Ok(Flow::End);
            }
            _ => {}
        }
        Ok(Flow::More)
    }
}

impl Counts {
    fn replace(&mut self, newer: Option<Counts>) {
        let Some(newer) = newer else { return };
        self.input_tokens = newer.input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens =
            newer.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens =
            newer.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.output_tokens = newer.output_tokens.or(self.output_tokens);
    }

    /// The whole prompt is what was computed, what was put into the cache and what was read
    /// from it.
    fn tell(self, to: &mut Delivery<'_>) -> Result<(), Failure> {
        let cached = self.cache_read_input_tokens;
        let prompt = self.input_tokens.map(|computed| {
            computed + self.cache_creation_input_tokens.unwrap_or(0) + cached.unwrap_or(0)
        });
        to.usage(0, Usage { prompt_tokens: prompt, output_tokens: self.output_tokens })?;
        match cached {
            Some(_) => to.times(0, ServerTimes { cached_tokens: cached, ..ServerTimes::default() }),
            None => Ok(()),
        }
    }
}

fn finish_reason(word: &str) -> FinishReason {
    match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::Tool,
        "refusal" => FinishReason::Filter,
        other => FinishReason::Other(plain(other)),
    }
}
