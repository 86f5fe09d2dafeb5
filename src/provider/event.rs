//! What comes back from a provider: stamped events, and the sink that takes them.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use super::Failure;

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
    /// Something the user should know; it ends nothing.
    Notice(String),
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
