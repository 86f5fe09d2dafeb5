//! The lines of a journal.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bench::lag::Lags;
use crate::bench::recorder::{Pass, PeakMemory, RowRecord, RowState, Serving, Timeline};
use crate::bench::run::Job;
use crate::config::Plan;
use crate::probe::Host;
use crate::prompts::{Prompt, PromptList};
use crate::provider::{
    EngineMemory, Failure, FinishReason, JobEvent, ProviderInfo, ServerTimes, Usage,
};

/// The format's name and version.
pub(super) const FORMAT: &str = "batchgen-journal/1";

/// A time of a run: no more than some thirty years, so that times can be added.
pub(super) fn duration(seconds: f64) -> Option<Duration> {
    let seconds = (0.0..1e9).contains(&seconds).then_some(seconds)?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The first line.
    Run(Box<Header>),
    /// A pass began.
    LaneStarted { lane: usize, repeat: usize },
    /// Something happened to a batch job that a later session must know.
    Job { lane: usize, repeat: usize, event: JobEvent },
    /// A row ended.
    Row(Box<JournalRow>),
    /// A pass ended.
    LaneFinished(Box<PassEnd>),
    /// The run ended, as earlier versions wrote it.
    RunFinished,
    /// The run ended, at this time.
    RunFinishedAt(Timestamp),
}

/// What the run is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub format: String,
    pub id: String,
    pub version: String,
    /// The machine; earlier versions did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    pub started_at: Timestamp,
    pub plan: Plan,
    pub list: String,
    pub prompts: Vec<Prompt>,
}

impl Header {
    pub fn new(id: String, started_at: Timestamp, job: &Job) -> Self {
        Self {
            format: FORMAT.into(),
            id,
            version: env!("CARGO_PKG_VERSION").into(),
            host: Some(crate::probe::host()),
            started_at,
            plan: job.plan.clone(),
            list: job.prompts.name.clone(),
            prompts: job.prompts.prompts.iter().map(|prompt| Prompt::clone(prompt)).collect(),
        }
    }

    pub fn job(self) -> Job {
        let prompts = self.prompts.into_iter().map(std::sync::Arc::new).collect();
        Job { plan: self.plan, prompts: PromptList { name: self.list, prompts }.into() }
    }
}

/// A row that ended; times in seconds from the start of its pass.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JournalRow {
    pub lane: usize,
    pub repeat: usize,
    pub row: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    submitted_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_token_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_token_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_s: Option<f64>,
    text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ids: Vec<u32>,
    counted: usize,
    #[serde(flatten)]
    usage: Usage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<ServerTimes>,
    #[serde(default, skip_serializing_if = "is_zero")]
    retries: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl JournalRow {
    pub fn new(lane: usize, repeat: usize, row: usize, record: &RowRecord) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Self {
            lane,
            repeat,
            row,
            submitted_s: seconds(record.submitted),
            first_token_s: seconds(record.first_token),
            last_token_s: seconds(record.last_token),
            finished_s: seconds(record.finished),
            text: record.text.clone(),
            ids: record.ids.clone(),
            counted: record.counted,
            usage: record.usage,
            server: record.server,
            retries: record.retries,
            held_s: seconds(Some(record.held).filter(|held| !held.is_zero())),
            reason: record.reason.clone(),
            failure: record.failure.clone(),
        }
    }

    /// The record of the row, or `None` if its times make no sense.
    pub fn record(self) -> Option<RowRecord> {
        let time = |seconds: Option<f64>| match seconds {
            None => Some(None),
            Some(seconds) => duration(seconds).map(Some),
        };
        Some(RowRecord {
            state: if self.failure.is_some() { RowState::Failed } else { RowState::Done },
            submitted: time(self.submitted_s)?,
            first_token: time(self.first_token_s)?,
            last_token: time(self.last_token_s)?,
            finished: time(self.finished_s)?,
            text: self.text,
            ids: self.ids,
            counted: self.counted,
            usage: self.usage,
            server: self.server,
            retries: self.retries,
            held: time(self.held_s)?.unwrap_or_default(),
            reason: self.reason,
            failure: self.failure,
            same_as_reference: None,
        })
    }
}

/// What a pass has beyond its rows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PassEnd {
    pub lane: usize,
    pub repeat: usize,
    pub wall_s: f64,
    pub steps: usize,
    /// See [`Pass::prefill_tokens`].
    #[serde(default)]
    pub prefill_tokens: usize,
    pub step_rows: usize,
    pub peak: PeakMemory,
    #[serde(default)]
    pub serving: Serving,
    #[serde(default)]
    pub lags: Lags,
    /// (seconds, batch size) from each moment on.
    pub batch_sizes: Vec<(f64, usize)>,
    /// When it began, seconds from the start of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_s: Option<f64>,
    /// See [`Pass::began_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Timestamp>,
    /// Output tokens over time.
    #[serde(default, skip_serializing_if = "Buckets::is_empty")]
    pub throughput: Buckets,
    /// Forward passes over time.
    #[serde(default, skip_serializing_if = "Buckets::is_empty")]
    pub steps_over_time: Buckets,
    /// Rows that those passes advanced, over time.
    #[serde(default, skip_serializing_if = "Buckets::is_empty")]
    pub rows_over_time: Buckets,
    /// (seconds, bytes) of memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<(f64, u64)>,
    /// The engine's memory at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineMemory>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<ProviderInfo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<String>,
}

/// A quantity over time.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Buckets {
    /// Width of a bucket, seconds.
    width_s: f64,
    sums: Vec<f64>,
}

impl Buckets {
    fn of(timeline: &Timeline) -> Self {
        let (width, sums) = timeline.buckets();
        Self { width_s: width.as_secs_f64(), sums: sums.to_vec() }
    }

    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    pub fn timeline(self) -> Timeline {
        let width = duration(self.width_s).unwrap_or_default();
        if self.is_empty() { Timeline::default() } else { Timeline::of_buckets(width, self.sums) }
    }
}

impl PassEnd {
    pub fn new(lane: usize, pass: &Pass, info: Option<&ProviderInfo>) -> Self {
        let sizes = pass.batch_sizes.iter().map(|(at, size)| (at.as_secs_f64(), *size));
        Self {
            lane,
            repeat: pass.repeat,
            wall_s: pass.finished.unwrap_or_default().as_secs_f64(),
            steps: pass.steps,
            prefill_tokens: pass.prefill_tokens,
            step_rows: pass.step_rows,
            peak: pass.peak.clone(),
            serving: pass.serving.clone(),
            lags: pass.lags.clone(),
            batch_sizes: sizes.collect(),
            started_s: Some(pass.started.as_secs_f64()),
            began_at: pass.began_at,
            throughput: Buckets::of(&pass.throughput),
            steps_over_time: Buckets::of(&pass.steps_over_time),
            rows_over_time: Buckets::of(&pass.rows_over_time),
            memory: pass.memory.iter().map(|(at, bytes)| (at.as_secs_f64(), *bytes)).collect(),
            engine: pass.engine,
            info: info.cloned(),
            failure: pass.failure.clone(),
            violations: pass.violations.clone(),
        }
    }
}
