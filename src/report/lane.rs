//! One lane of a report: what it was, what it measured, what was found, and its rows.

use serde::{Deserialize, Serialize};

use super::{Figures, Kept, OverTime, Spreads};
use crate::bench::verify::{Agreement, Canary, Integrity};
use crate::provider::{FailureKind, Price};

/// One lane. With several repeats its figures and rows are those of the pass with the median
/// output throughput (the lower one of two); integrity and agreement cover all passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// Unique in the run.
    pub label: String,
    /// `local`, `openai`, …
    pub provider: String,
    /// The model as the user would name it.
    pub model: String,
    /// Hash of the model file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
    /// `cpu`, `cuda:0`, `metal`, or the host of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Further facts about the provider: architecture, quantisation, runner, threads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
    /// `sequential`, `async`, `batched`, `batched_async`, `offline`.
    pub mode: String,
    /// As planned; see `batch_size_changes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Calls at once.
    pub in_flight: usize,
    /// How the provider batches: `native`, `prompt_array`, `window`, `offline`, `none`; absent
    /// where the lane does not batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batching: Option<String>,
    /// Where the lane stood when the report was written.
    pub state: LaneStatus,
    /// Why it ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<LaneFailure>,
    /// What was measured.
    #[serde(flatten)]
    pub figures: Figures,
    /// Output throughput over that of the first sequential lane with the same provider and
    /// model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speedup: Option<f64>,
    /// Medians over the repeats with their intervals; absent below two repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spreads>,
    /// How it kept the run's latency limits; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Kept>,
    /// The price that the cost is computed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// What the provider charges for the rows of all passes that ended well, US dollars; absent
    /// where the price or a count is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// The batch jobs of the reported pass; absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<BatchJob>,
    /// When the user changed the batch size in the reported pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batch_size_changes: Vec<BatchSizeChange>,
    /// Absent before the lane's first pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<Integrity>,
    /// Absent where no prompt expects a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Absent where the run was not greedy, and for a reference lane with one pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// Every pass, where there is more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<Repeat>,
    /// How the reported pass went; absent where it was read back from a journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_time: Option<OverTime>,
    /// In the order of the list; empty before the lane's first pass.
    pub rows: Vec<Row>,
}

/// A named fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Such as `quantisation`.
    pub name: String,
    /// Such as `Q4_1`.
    pub value: String,
}

/// Where a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneStatus {
    /// Not begun.
    Waiting,
    /// Its provider is being warmed up.
    WarmingUp,
    /// A pass is under way.
    Running,
    /// Its last pass came to its end.
    Done,
    /// It ended early.
    Failed,
    /// The user stopped it.
    Cancelled,
}

/// Why a lane or a pass ended early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneFailure {
    /// For branching.
    pub kind: FailureKind,
    /// For people.
    pub message: String,
}

/// A batch job at the provider. Its rows end together, when its results are here, so their times
/// are the job's; when their first tokens came is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchJob {
    /// The provider's id of it; absent where it was not created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// In the provider's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// When it was about to be submitted.
    pub submitted_at: jiff::Timestamp,
    /// Requests in it.
    pub requests: usize,
    /// Requests that ended well, as the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<usize>,
    /// Requests that did not, as the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<usize>,
    /// Its results were taken.
    pub over: bool,
}

/// A change of the batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchSizeChange {
    /// Seconds from the start of the pass.
    pub at_s: f64,
    /// The size from then on.
    pub batch_size: usize,
}

/// One pass of a lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// From 0.
    pub repeat: usize,
    /// The lane's figures and rows are those of this pass.
    pub reported: bool,
    /// When it began, RFC 3339; absent where that is not known, and where it was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<jiff::Timestamp>,
    /// When it ended; absent where it has not, or it is not known when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<jiff::Timestamp>,
    /// Why it ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<LaneFailure>,
    /// What was measured.
    #[serde(flatten)]
    pub figures: Figures,
}

/// One prompt within a lane. A row with neither `finish_reason` nor `error` was not run to its
/// end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Place in the list, from 0.
    pub index: usize,
    /// The user's own name for it.
    pub id: String,
    /// The prompt itself, or the last user message of a conversation.
    pub prompt: String,
    /// The output; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Tokens of the prompt, chat template included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<usize>,
    /// Generated tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<usize>,
    /// Why it ended: `stop`, `length`, `filter`, `tool`, or the provider's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Seconds from the start of the pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_s: Option<f64>,
    /// Submitted until the first non-empty text, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_s: Option<f64>,
    /// Submitted until ended, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e_s: Option<f64>,
    /// How often it was sent again; absent where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<usize>,
    /// Seconds that the user's own limits a minute held it back before it was sent, part of no
    /// other time; absent where they did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_s: Option<f64>,
    /// What the provider charges for it, US dollars; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// What went wrong; null where nothing did.
    pub error: Option<String>,
    /// The kind of what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<FailureKind>,
}

impl Row {
    /// Whether the row ended well.
    pub fn is_done(&self) -> bool {
        self.finish_reason.is_some() && self.error.is_none()
    }
}
