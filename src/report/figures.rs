//! The figures of one pass over the list.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ClientLag, ServerFigures};
use crate::bench::recorder::{Pass, PeakMemory, RowRecord, RowState};
use crate::bench::statistics::Summary;
use crate::provider::{ProviderInfo, TokenCounts};

/// What one pass measured. Times are seconds; summaries are over the rows that ended well.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Prompts in the list.
    pub rows_total: usize,
    /// Rows that ended well.
    pub rows_ok: usize,
    /// Rows that ended with a failure.
    pub rows_failed: usize,
    /// Prompt tokens of the rows that ended well, where all of them are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<usize>,
    /// Output tokens of the rows that ended, well or not.
    #[serde(default)]
    pub output_tokens: usize,
    /// Whether the token counts are exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_counts: Option<TokenCounts>,
    /// First submit to last finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_s: Option<f64>,
    /// Output tokens over `wall_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s: Option<f64>,
    /// Rows that ended well over `wall_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_per_s: Option<f64>,
    /// Submitted until the first non-empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_s: Option<Summary>,
    /// Mean time between the tokens of a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub itl_s: Option<Summary>,
    /// Submitted until ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e_s: Option<Summary>,
    /// Rows that a forward pass advanced, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_rows_per_step: Option<f64>,
    /// `mean_rows_per_step` over the batch size; over its time-weighted mean where it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupancy: Option<f64>,
    /// Prompt tokens that a local engine computed; fewer than `prompt_tokens` where the prompts
    /// of a call begin with the same tokens, which are computed once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_prompt_tokens: Option<usize>,
    /// Highest memory seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<PeakBytes>,
    /// How often a request was sent again; absent where none was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: usize,
    /// What the server told about its load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerFigures>,
    /// How late the program's own loop was, where that loop takes the times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_lag: Option<ClientLag>,
    /// Where the memory figures come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_source: Option<String>,
    /// Energy of the machine meanwhile, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
}

/// Energy that processors and GPUs used during a pass, by whichever program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Over all meters.
    pub joules: f64,
    /// Over the output tokens of the pass, times 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules_per_1000_output_tokens: Option<f64>,
    /// The meters.
    pub sources: Vec<String>,
}

/// Highest memory seen, bytes; absent where it could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeakBytes {
    /// Resident memory of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<u64>,
    /// Weights and KV cache of the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<u64>,
    /// Used on the GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u64>,
    /// Held by the server for the model, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<u64>,
}

impl Figures {
    /// The figures of a pass on this provider.
    pub fn of(pass: &Pass, info: Option<&ProviderInfo>) -> Self {
        let wall_s = pass.span().map(|span| span.as_secs_f64());
        let per_second =
            |count: usize| wall_s.map(|wall| count as f64 / wall).filter(|rate| rate.is_finite());
        // without a row there is no rate, and not one of 0
        let output_tokens = ended(pass).map(RowRecord::output_tokens).sum();
        let rows_ok = done(pass).count();
        Self {
            rows_total: pass.rows.len(),
            rows_ok,
            rows_failed: ended(pass).count() - rows_ok,
            prompt_tokens: prompt_tokens(pass),
            output_tokens,
            token_counts: info.map(|info| token_counts(pass, info)),
            wall_s,
            output_tokens_per_s: per_second(output_tokens).filter(|_| rows_ok > 0),
            rows_per_s: per_second(rows_ok).filter(|_| rows_ok > 0),
            ttft_s: summary(pass, RowRecord::ttft),
            itl_s: summary(pass, RowRecord::itl),
            e2e_s: summary(pass, RowRecord::e2e),
            mean_rows_per_step: pass.mean_rows_per_step(),
            occupancy: occupancy(pass),
            computed_prompt_tokens: Some(pass.prefill_tokens).filter(|tokens| *tokens > 0),
            peak_memory_bytes: PeakBytes::of(&pass.peak),
            energy: energy(pass, output_tokens),
            retries: pass.retries(),
            server: ServerFigures::of(&pass.serving),
            client_lag: ClientLag::of(pass, info),
            memory_source: Some(pass.peak.sources.join(", ")).filter(|text| !text.is_empty()),
        }
    }

    /// Whether the token counts are estimates.
    pub fn estimated(&self) -> bool {
        self.token_counts == Some(TokenCounts::Estimated)
    }
}

impl PeakBytes {
    fn of(peak: &PeakMemory) -> Option<Self> {
        let PeakMemory { process, engine, gpu, server, sources: _ } = peak;
        let bytes = Self { process: *process, engine: *engine, gpu: *gpu, server: *server };
        (bytes != Self::default()).then_some(bytes)
    }
}

fn energy(pass: &Pass, output_tokens: usize) -> Option<Energy> {
    let (joules, sources) = pass.load.joules()?;
    let per_token = (output_tokens > 0).then(|| joules * 1e3 / output_tokens as f64);
    Some(Energy { joules, joules_per_1000_output_tokens: per_token, sources })
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn done(pass: &Pass) -> impl Iterator<Item = &RowRecord> {
    pass.rows.iter().filter(|row| row.state == RowState::Done)
}

fn ended(pass: &Pass) -> impl Iterator<Item = &RowRecord> {
    pass.rows.iter().filter(|row| row.ended())
}

/// A sum over some of the rows would be taken for all of them, so one unknown makes it unknown.
fn prompt_tokens(pass: &Pass) -> Option<usize> {
    done(pass).next()?;
    done(pass).map(|row| row.usage.prompt_tokens).sum()
}

/// Exact only where the provider counts exactly and gave its count for every finished row.
fn token_counts(pass: &Pass, info: &ProviderInfo) -> TokenCounts {
    match info.token_counts {
        TokenCounts::Exact if done(pass).all(|row| row.usage.output_tokens.is_some()) => {
            TokenCounts::Exact
        }
        TokenCounts::Exact | TokenCounts::Estimated => TokenCounts::Estimated,
    }
}

fn summary(pass: &Pass, time: fn(&RowRecord) -> Option<Duration>) -> Option<Summary> {
    Summary::of(done(pass).filter_map(time).map(|time| time.as_secs_f64()))
}

fn occupancy(pass: &Pass) -> Option<f64> {
    let size = mean_batch_size(pass)?;
    Some(pass.mean_rows_per_step()? / size).filter(|share| share.is_finite())
}

/// The batch size, weighted by how long it held between first submit and last finish.
fn mean_batch_size(pass: &Pass) -> Option<f64> {
    let start = pass.rows.iter().filter_map(|row| row.submitted).min()?;
    let end = pass.rows.iter().filter_map(|row| row.finished).max()?;
    let (_, first) = pass.batch_sizes.first()?;
    let until = pass.batch_sizes.iter().skip(1).map(|(at, _)| *at).chain([end]);
    let mut weighted = 0.0;
    let mut total = 0.0;
    for ((from, size), until) in pass.batch_sizes.iter().zip(until) {
        let held = until.clamp(start, end.max(start)).saturating_sub((*from).max(start));
        weighted += held.as_secs_f64() * *size as f64;
        total += held.as_secs_f64();
    }
    Some(if total > 0.0 { weighted / total } else { *first as f64 })
}
