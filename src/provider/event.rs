//! What comes back from a provider: stamped events, and the sink that takes them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use super::{Failure, JobEvent};

/// An event and the moment it happened.
///
/// Stamped where it happens, before detokenising, formatting or waiting for anyone.
#[derive(Debug, Clone)]
pub struct Stamped<T> {
    /// When it happened.
    pub at: Instant,
    /// What happened.
    pub event: T,
}

/// Something that happened to a row or to the provider.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The row was handed to the model or written to the wire.
    Submitted {
        /// Index of the row in the prompt list.
        row: usize,
    },
    /// Tokens arrived for a row.
    Tokens {
        /// Index of the row in the prompt list.
        row: usize,
        /// How many tokens this event stands for; exact for local engines, 1 a delta elsewhere.
        count: usize,
        /// The token ids, where the provider knows them; else empty.
        ids: Vec<u32>,
        /// The text they add; may be empty while a character is incomplete.
        text: String,
    },
    /// The whole text of a row came at once: when its tokens were generated is not known, so the
    /// row has neither TTFT nor ITL.
    Answer {
        /// Index of the row in the prompt list.
        row: usize,
        /// Its tokens, as the provider counts them.
        count: usize,
        /// The text.
        text: String,
    },
    /// The row ended well.
    Finished {
        /// Index of the row in the prompt list.
        row: usize,
        /// Token counts.
        usage: Usage,
        /// Why it ended.
        reason: FinishReason,
    },
    /// The row ended with a failure.
    Failed {
        /// Index of the row in the prompt list.
        row: usize,
        /// What went wrong.
        failure: Failure,
    },
    /// One forward pass of a local engine.
    Step {
        /// Rows that got a token in this pass.
        rows: usize,
        /// Prompt tokens computed in this pass.
        prefill_tokens: usize,
    },
    /// The engine's own memory.
    Memory(EngineMemory),
    /// What a server did or told besides text.
    Server(ServerEvent),
    /// What happens to a batch job.
    Job(JobEvent),
    /// Something the user should know; it ends nothing.
    Notice(String),
}

/// What a server did or told besides text.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerEvent {
    /// A row will be sent again; no text of it had arrived.
    Retry {
        /// Index of the row in the prompt list.
        row: usize,
        /// Why.
        failure: Failure,
        /// After how long.
        wait: Duration,
    },
    /// A row was sent only now, because of the user's own limits a minute: its clock starts
    /// that much later.
    Held {
        /// Index of the row in the prompt list.
        row: usize,
        /// How long it was held back.
        wait: Duration,
    },
    /// The server's own times of a row; sent before the row ends.
    Times {
        /// Index of the row in the prompt list.
        row: usize,
        /// The times.
        times: ServerTimes,
    },
    /// Memory that the server holds for the model.
    Memory(ServerMemory),
    /// How many requests the server is given at once from now on, after it asked for less;
    /// absent where nothing limits them any more.
    Allowed(Option<usize>),
    /// What the server tells about its load.
    Load(ServerLoad),
}

/// The load of a server at one moment, as it says itself; unknown is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerLoad {
    /// Requests it works on.
    pub running: Option<usize>,
    /// Requests that wait for a slot.
    pub waiting: Option<usize>,
    /// Share of its KV cache that is in use, 0 to 1.
    pub kv_used: Option<f64>,
    /// Decoding steps since it started.
    pub steps: Option<f64>,
    /// Rows that these steps advanced, summed up.
    pub step_rows: Option<f64>,
    /// Such as `llama.cpp /metrics`.
    pub source: String,
}

/// How a server spent its time on a row, as it says itself; unknown is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerTimes {
    /// Loading the model, before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Duration>,
    /// Waiting for a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Duration>,
    /// Computing the part of the prompt that was not cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<Duration>,
    /// Generating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<Duration>,
    /// Prompt tokens that were taken from the server's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<usize>,
}

/// Memory that a server holds for a model, bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerMemory {
    /// All of it: weights, KV cache, buffers.
    pub total: u64,
    /// The part on GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u64>,
    /// Such as `ollama /api/ps`.
    pub source: String,
}

/// Token counts of a row; unknown is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, chat template included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<usize>,
    /// Generated tokens; an end-of-text token does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<usize>,
}

impl Usage {
    /// Of no row at all.
    pub(crate) const ZERO: Self = Self { prompt_tokens: Some(0), output_tokens: Some(0) };

    /// Both together; unknown where one of them is.
    pub(crate) fn plus(self, more: Self) -> Self {
        let add = |sum: Option<usize>, more: Option<usize>| Some(sum?.saturating_add(more?));
        Self {
            prompt_tokens: add(self.prompt_tokens, more.prompt_tokens),
            output_tokens: add(self.output_tokens, more.output_tokens),
        }
    }
}

/// Why a row ended, in one vocabulary for all providers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its text, or a stop string was met.
    Stop,
    /// `max_tokens` was reached, or the context is full.
    Length,
    /// Withheld by the provider's content filter.
    Filter,
    /// The model asked for a tool.
    Tool,
    /// Another reason, in the provider's own word.
    #[serde(untagged)]
    Other(String),
}

/// Memory held by a local engine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineMemory {
    /// Model weights.
    pub weights: u64,
    /// KV cache that is allocated now.
    pub kv: u64,
}

/// Where a provider puts its events. Sending never waits.
#[derive(Debug, Clone)]
pub struct Sink {
    sender: UnboundedSender<Stamped<Event>>,
}

impl Sink {
    /// A sink into this channel.
    pub fn new(sender: UnboundedSender<Stamped<Event>>) -> Self {
        Self { sender }
    }

    /// Sends an event that happens now.
    pub fn send(&self, event: Event) {
        self.send_at(Instant::now(), event);
    }

    /// Sends an event that happened at `at`.
    pub fn send_at(&self, at: Instant, event: Event) {
        // a closed channel means that nobody is interested any more: the call is being cancelled
        let _ = self.sender.send(Stamped { at, event });
    }
}
