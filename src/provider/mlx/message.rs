//! What the helper is asked and what it tells: one JSON object a line.

use serde::{Deserialize, Serialize};

use crate::prompts::{Content, Message};
use crate::provider::Request;
use crate::sampling::Sampling;

/// The version of these messages; the helper names it in its first line.
pub(super) const PROTOCOL: u32 = 1;

/// Number of a call, unique in the life of a helper.
pub(super) type CallId = u64;

/// What the helper is asked.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Ask<'a> {
    /// Load this folder or hub repository; once.
    Load { model: &'a str },
    /// A call begins; as many rows as this follow.
    Start { call: CallId, batch_size: usize, rows: usize, sampling: &'a Sampling },
    /// A row of a call: a text or a conversation.
    Row {
        call: CallId,
        row: usize,
        raw: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        messages: Option<&'a [Message]>,
    },
    /// The batch size of a call is another one now.
    Size { call: CallId, batch_size: usize },
    /// Nobody waits for a call any more.
    Cancel { call: CallId },
}

impl<'a> Ask<'a> {
    /// A row of a call.
    pub fn of_row(call: CallId, request: &'a Request) -> Self {
        let (text, messages) = match &request.prompt.content {
            Content::Text(text) => (Some(text.as_str()), None),
            Content::Messages(messages) => (None, Some(messages.as_slice())),
        };
        Ask::Row { call, row: request.row, raw: request.raw, text, messages }
    }
}

/// What the helper tells.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Told {
    /// Its first line: what it is.
    Hello(Hello),
    /// Something for people, while the model is loaded.
    Progress { line: String },
    /// The model is loaded.
    Ready(Ready),
    /// The model is not loaded, and never will be.
    Error { kind: ErrorKind, message: String },
    /// One forward pass of a call.
    Step(Step),
    /// All rows of a call have ended.
    Done { call: CallId },
    /// A call failed as a whole.
    Failed { call: CallId, kind: ErrorKind, message: String },
}

/// What a helper is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Version of Python.
    pub python: String,
    /// The path of Python.
    pub executable: String,
    /// Whether that Python is a virtual environment's.
    pub venv: bool,
    /// Version of mlx-lm, where it is installed.
    pub mlx_lm: Option<String>,
    /// Version of MLX, where it is installed.
    pub mlx: Option<String>,
}

/// Facts about the model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Ready {
    /// `metal`, `cuda` or `cpu`.
    pub device: String,
    /// Of the GPU; may be empty.
    pub device_name: String,
    /// Such as `llama`; may be empty.
    pub architecture: String,
    /// How many weights there are.
    pub parameters: u64,
    /// For people.
    pub quantization: String,
    /// Bytes of the weights.
    pub weights: u64,
    /// Most tokens of prompt and output together.
    pub context: Option<usize>,
    /// Whether mlx-lm can batch this model.
    pub batches: bool,
}

/// Why something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ErrorKind {
    /// mlx-lm or a library of it cannot be imported.
    Import,
    /// There is not enough memory.
    Memory,
    /// The model cannot be loaded or run.
    Model,
}

/// One forward pass.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Step {
    /// Whose rows these are.
    pub call: CallId,
    /// Rows that got a token.
    pub rows: usize,
    /// Prompt tokens that were computed.
    pub prefill: usize,
    /// Row, token and the text it adds.
    pub tokens: Vec<(usize, u32, String)>,
    /// Rows that ended in this step.
    pub ended: Vec<Ended>,
    /// Memory of MLX, where it changed.
    pub memory: Option<Memory>,
}

/// The end of a row.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Ended {
    /// It could not be begun.
    Refused { row: usize, error: String },
    /// It ended well.
    Finished {
        row: usize,
        /// Text that was held back until now.
        text: String,
        prompt_tokens: usize,
        output_tokens: usize,
        reason: Reason,
    },
}

/// Why a row ended, in mlx-lm's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    /// The end of the text, or a stop string.
    Stop,
    /// `max_tokens`, or the context is full.
    Length,
}

/// Memory of MLX, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Memory {
    /// KV cache of the call.
    pub kv: u64,
    /// All that is allocated.
    pub active: u64,
    /// The most that was allocated since the first of the calls under way began.
    pub peak: u64,
}
