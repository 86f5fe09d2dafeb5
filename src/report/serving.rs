//! What a lane's server told, what the client's own loop added, and both in words.

use serde::{Deserialize, Serialize};

use super::{BatchJob, Figures, Lane};
use crate::bench::recorder::{Pass, Serving};
use crate::provider::ProviderInfo;
use crate::units;

/// The longest id or status that is repeated.
const LONGEST_WORD: usize = 80;

/// A server's load while a lane ran, as it told itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerFigures {
    /// Most requests it worked on at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_running: Option<usize>,
    /// Most requests that waited for a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_waiting: Option<usize>,
    /// The most of its KV cache that was in use, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_kv_used: Option<f64>,
    /// Rows that one of its steps advanced, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_rows_per_step: Option<f64>,
    /// The fewest requests it was given at once after it had asked for less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fewest_in_flight: Option<usize>,
    /// Where the load comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// How late the program's own loop ran, seconds. Times that were taken by it may be that much
/// too long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClientLag {
    /// 99 % of the time it was not later.
    pub p99_s: f64,
    /// The latest it was.
    pub max_s: f64,
}

/// The share of a latency from which on lag is told.
const TELLING_SHARE: f64 = 0.05;
/// Less is never told: timers are no finer.
const TELLING_LAG_S: f64 = 0.001;

impl ServerFigures {
    /// What is known; absent where nothing is.
    pub(super) fn of(serving: &Serving) -> Option<Self> {
        let figures = Self {
            peak_running: serving.most_running,
            peak_waiting: serving.most_waiting,
            peak_kv_used: serving.most_kv_used,
            mean_rows_per_step: serving.mean_rows_per_step(),
            fewest_in_flight: serving.fewest_allowed,
            source: serving.source.clone(),
        };
        let known = figures.source.is_some() || figures.fewest_in_flight.is_some();
        known.then_some(figures)
    }
}

impl ClientLag {
    /// The lag of a pass whose times were taken by the loop; a local engine takes its own.
    pub(super) fn of(pass: &Pass, info: Option<&ProviderInfo>) -> Option<Self> {
        if info?.provider == "local" {
            return None;
        }
        let p99_s = pass.lags.quantile(0.99)?.as_secs_f64();
        Some(Self { p99_s, max_s: pass.lags.max()?.as_secs_f64() })
    }
}

impl Figures {
    /// The client's lag, where it is large enough to show in the latencies.
    pub fn telling_lag(&self) -> Option<ClientLag> {
        let lag = self.client_lag?;
        let medians = [self.ttft_s, self.itl_s].into_iter().flatten().map(|times| times.p50);
        let shortest = medians.reduce(f64::min)?;
        (lag.p99_s > TELLING_LAG_S && lag.p99_s > shortest * TELLING_SHARE).then_some(lag)
    }
}

/// What is worth a line about a lane beyond its figures: retries, the server's load, lag, cost.
pub fn remarks(lane: &Lane) -> Vec<String> {
    let figures = &lane.figures;
    let mut remarks = Vec::new();
    match figures.retries {
        0 => {}
        1 => remarks.push("1 request was sent again".to_owned()),
        more => remarks.push(format!("{more} requests were sent again")),
    }
    remarks.extend(figures.server.as_ref().and_then(server));
    remarks.extend(lane.jobs.iter().map(job));
    if let Some(lag) = figures.telling_lag() {
        remarks.push(format!(
            "this program's own loop was late by {} at p99, {} at most: latencies may be that \
             much too long",
            units::duration(lag.p99_s),
            units::duration(lag.max_s)
        ));
    }
    remarks.extend(lane.cost_usd.map(|cost| {
        let what = if lane.jobs.is_empty() { "prices" } else { "batch prices" };
        let date = lane.price.as_ref().map(|price| format!(" at {what} of {}", price.date));
        format!("cost {}{}", units::usd(cost), date.unwrap_or_default())
    }));
    remarks
}

fn job(job: &BatchJob) -> String {
    let BatchJob { id, status, requests, completed, failed, .. } = job;
    let id = id.as_deref().map_or("without an id", plain);
    let status = status.as_deref().map(|status| format!(", {}", plain(status)));
    let counts = completed.zip(*failed).map(|(completed, failed)| {
        format!(": {completed} of {requests} completed, {failed} failed, as the provider says")
    });
    let counts = counts.unwrap_or_else(|| format!(": {requests} requests"));
    let open = if job.over { "" } else { "; its results were not taken" };
    let status = status.unwrap_or_default();
    format!("batch job {id}{status}{counts}; e2e is the job's time{open}")
}

/// A word of a server that can mean nothing in any format; another is not repeated.
fn plain(word: &str) -> &str {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    if word.len() <= LONGEST_WORD && word.chars().all(good) { word } else { "unknown" }
}

fn server(figures: &ServerFigures) -> Option<String> {
    let mut facts = Vec::new();
    facts.extend(figures.peak_running.map(|n| format!("up to {n} requests at once")));
    facts.extend(figures.peak_waiting.filter(|n| *n > 0).map(|n| format!("up to {n} waiting")));
    facts.extend(figures.mean_rows_per_step.map(|rows| format!("{rows:.1} rows a step")));
    let kv = figures.peak_kv_used.map(|used| format!("KV cache up to {}", units::percent(used)));
    facts.extend(kv);
    facts.extend(figures.fewest_in_flight.map(|n| format!("asked for less: {n} at once")));
    (!facts.is_empty()).then(|| format!("the server: {}", facts.join(", ")))
}
