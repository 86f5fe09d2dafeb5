//! The chunks of a streamed chat or text completion, with the variations of the servers.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::provider::delivery::Delivery;
use crate::provider::exchange::{Decoder, Flow, parse};
use crate::provider::rejection::{Complaint, plain};
use crate::provider::{Failure, FinishReason, ServerTimes, Usage};

/// Reads chunks; the end marker is `[DONE]`.
#[derive(Debug)]
pub(in crate::provider) struct ChunkDecoder;

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Counts>,
    /// llama.cpp's own.
    timings: Option<Timings>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: usize,
    delta: Option<Delta>,
    text: Option<String>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    /// vLLM, SGLang, llama.cpp, DeepSeek.
    reasoning_content: Option<String>,
    /// mlx_lm, Ollama, newer vLLM.
    reasoning: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: Option<usize>,
    completion_tokens: Option<usize>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<usize>,
}

#[derive(Deserialize)]
struct Timings {
    cache_n: Option<usize>,
    prompt_ms: Option<f64>,
    predicted_ms: Option<f64>,
}

impl Decoder for ChunkDecoder {
    fn take(&mut self, message: &[u8], to: &mut Delivery<'_>) -> Result<Flow, Failure> {
        if message == b"[DONE]" {
            return Ok(Flow::End);
        }
        // llama.cpp begins the stream of a prompt array with `null`
        let Some(chunk) = parse::<Option<Chunk>>(message, to)? else { return Ok(Flow::More) };
        if chunk.error.is_some() {
            return Err(failure(message, to)?);
        }
        let times = chunk.times();
        let usage = chunk.usage.map(|counts| Usage {
            prompt_tokens: counts.prompt_tokens,
            output_tokens: counts.completion_tokens,
        });
        let choices = chunk.choices.unwrap_or_default();
        // counts beside one choice are that choice's, else they are the whole request's
        match (choices.first().map(|choice| choice.index), choices.len()) {
            (Some(place), 1) => {
                usage.map_or(Ok(()), |usage| to.usage(place, usage))?;
                times.map_or(Ok(()), |times| to.times(place, times))?;
            }
            _ => {
                usage.map_or(Ok(()), |usage| to.usage_of_request(usage))?;
                times.map_or(Ok(()), |times| to.times_of_request(times))?;
            }
        }
        for choice in choices {
            choice.deliver(to)?;
        }
        Ok(Flow::More)
    }
}

impl Choice {
    fn deliver(self, to: &mut Delivery<'_>) -> Result<(), Failure> {
        let place = self.index;
        to.seen(place)?;
        let delta = self.delta.unwrap_or_default();
        if let Some(text) = delta.reasoning_content.or(delta.reasoning) {
            to.reasoning(place, text)?;
        }
        for text in [delta.content, delta.refusal, self.text].into_iter().flatten() {
            to.content(place, text)?;
        }
        match self.finish_reason {
            Some(word) if !word.is_empty() => to.reason(place, finish_reason(&word)),
            _ => Ok(()),
        }
    }
}

impl Chunk {
    fn times(&self) -> Option<ServerTimes> {
        let milliseconds = |value: Option<f64>| {
            value.and_then(|value| Duration::try_from_secs_f64(value / 1000.0).ok())
        };
        let cached = self.usage.as_ref().and_then(|usage| usage.prompt_tokens_details.as_ref());
        let cached = cached.and_then(|details| details.cached_tokens);
        match &self.timings {
            Some(timings) => Some(ServerTimes {
                prefill: milliseconds(timings.prompt_ms),
                decode: milliseconds(timings.predicted_ms),
                cached_tokens: timings.cache_n.or(cached),
                ..ServerTimes::default()
            }),
            None => cached.map(|tokens| ServerTimes {
                cached_tokens: Some(tokens),
                ..ServerTimes::default()
            }),
        }
    }
}

/// The failure that a message is.
pub(super) fn failure(message: &[u8], to: &Delivery<'_>) -> Result<Failure, Failure> {
    let value = parse::<Value>(message, to)?;
    let complaint = Complaint::find(&value).unwrap_or_default();
    Ok(complaint.failure(to.server(), None))
}

pub(super) fn finish_reason(word: &str) -> FinishReason {
    match word {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::Tool,
        "content_filter" => FinishReason::Filter,
        other => FinishReason::Other(plain(other)),
    }
}

#[cfg(test)]
mod tests;
