//! A call to the engine: its rows, how many of them at a time, and who is told.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::EngineError;
use crate::sampling::Sampling;

/// Rows that are generated together. Rows of one call share forward passes; different calls
/// take turns and are never fused.
pub struct Call {
    /// The rows; the order of their results does not depend on the order of the work.
    pub rows: Vec<CallRow>,
    /// Rows at a time, read again at every refill; at least 1.
    pub slots: Box<dyn Fn() -> usize + Send>,
    /// Told everything, on the engine's thread: it must not wait.
    pub observer: Box<dyn FnMut(CallEvent) + Send>,
    /// Stops the call before its next step.
    pub cancel: CancellationToken,
}

/// One row of a call.
pub struct CallRow {
    /// The caller's name for the row; also the key of its random numbers.
    pub row: usize,
    /// The prompt, at least one token, shorter than the context.
    pub prompt: Vec<u32>,
    /// How to choose tokens and when to end.
    pub sampling: Arc<Sampling>,
    /// Turns its tokens into text.
    pub text: Box<dyn RowText>,
}

/// The text of one row as its tokens come.
pub trait RowText: Send {
    /// Takes the next token.
    fn push(&mut self, id: u32) -> Pushed;

    /// The text that was held back, when the row ends without a stop string.
    fn finish(&mut self) -> String;
}

/// What a token added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Text that is certain now; may be empty.
    pub text: String,
    /// A stop string was met: the row ends.
    pub stopped: bool,
}

/// What happens in a call.
#[derive(Debug, Clone, PartialEq)]
pub enum CallEvent {
    /// A row got a token.
    Token {
        /// The row.
        row: usize,
        /// When it was chosen, before it was made into text.
        at: Instant,
        /// The token.
        id: u32,
        /// The text it adds.
        text: String,
    },
    /// A row ended well.
    Finished {
        /// The row.
        row: usize,
        /// When its last token was chosen.
        at: Instant,
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens generated, an end-of-text token not counted.
        output_tokens: usize,
        /// Why.
        reason: EndReason,
        /// Text that was held back until now.
        text: String,
    },
    /// A row failed; the others go on.
    Failed {
        /// The row.
        row: usize,
        /// Why.
        error: EngineError,
    },
    /// A forward pass was computed.
    Step {
        /// When it was done.
        at: Instant,
        /// Rows that got a token.
        rows: usize,
        /// Prompt tokens it computed.
        prefill_tokens: usize,
        /// Bytes of this call's KV cache.
        kv_bytes: u64,
    },
    /// The prompts of the call begin with the same tokens, which were computed once and are
    /// taken over by the rows that come after.
    SharedPrefix {
        /// Tokens that all prompts begin with.
        tokens: usize,
    },
    /// The call is over; rows without an end were interrupted or not begun.
    Ended(Result<(), EngineError>),
}

/// Why a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// An end-of-text token or a stop string.
    Stop,
    /// `max_tokens`, or the context is full.
    Length,
}
