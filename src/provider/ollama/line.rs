//! The lines of a streamed answer of Ollama.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::provider::delivery::Delivery;
use crate::provider::exchange::{Decoder, Flow, parse};
use crate::provider::rejection::{Complaint, plain};
use crate::provider::{Failure, FinishReason, ServerTimes, Usage};

/// Reads lines; the end marker is `"done": true`.
#[derive(Debug)]
pub(super) struct LineDecoder;

#[derive(Deserialize)]
struct Line {
    /// Of `/api/chat`.
    message: Option<Message>,
    /// Of `/api/generate`.
    response: Option<String>,
    thinking: Option<String>,
    #[serde(default)]
    done: bool,
    error: Option<Value>,
    // only the last line has what follows; durations are nanoseconds, and zeros are left out
    done_reason: Option<String>,
    total_duration: Option<u64>,
    load_duration: Option<u64>,
    prompt_eval_count: Option<usize>,
    prompt_eval_duration: Option<u64>,
    eval_count: Option<usize>,
    eval_duration: Option<u64>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    thinking: Option<String>,
}

impl Decoder for LineDecoder {
    fn take(&mut self, message: &[u8], to: &mut Delivery<'_>) -> Result<Flow, Failure> {
        let line: Line = parse(message, to)?;
        if line.error.is_some() {
            let value = parse::<Value>(message, to)?;
            let complaint = Complaint::find(&value).unwrap_or_default();
            return Err(complaint.failure(to.server(), None));
        }
        if !line.done && line.message.is_none() && line.response.is_none() {
            return Err(to.protocol("sent a line that is neither text nor an end"));
        }
        to.seen(0)?;
        if line.done {
            to.usage(0, line.usage())?;
            to.times(0, line.times())?;
        }
        let (content, thinking) = match line.message {
            Some(message) => (message.content, message.thinking),
            None => (line.response, line.thinking),
        };
        thinking.map_or(Ok(()), |text| to.reasoning(0, text))?;
        content.map_or(Ok(()), |text| to.content(0, text))?;
        if !line.done {
            return Ok(Flow::More);
        }
        line.done_reason.map_or(Ok(()), |word| to.reason(0, finish_reason(&word)))?;
        Ok(Flow::End)
    }
}

impl Line {
    fn usage(&self) -> Usage {
        // a count of 0 is left out, and some who speak this API write it for what they do not know
        let known = |count: Option<usize>| count.filter(|count| *count > 0);
        Usage {
            prompt_tokens: known(self.prompt_eval_count),
            output_tokens: known(self.eval_count),
        }
    }

    /// Waiting for a slot is in none of the server's parts: it is what they leave over.
    fn times(&self) -> ServerTimes {
        let known = |time: Option<u64>| time.filter(|time| *time > 0).map(Duration::from_nanos);
        let parts = [self.load_duration, self.prompt_eval_duration, self.eval_duration];
        let parts = parts.iter().flatten().fold(0, |sum: u64, part| sum.saturating_add(*part));
        let has_parts = self.eval_duration.is_some_and(|decode| decode > 0);
        let queue = self.total_duration.filter(|_| has_parts).map(|all| all.saturating_sub(parts));
        ServerTimes {
            load: known(self.load_duration),
            queue: known(queue),
            prefill: known(self.prompt_eval_duration),
            decode: known(self.eval_duration),
            cached_tokens: None,
        }
    }
}

fn finish_reason(word: &str) -> FinishReason {
    match word {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        other => FinishReason::Other(plain(other)),
    }
}
