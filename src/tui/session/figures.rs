//! The figures of a lane, computed from its record a few times a second.

use std::time::Duration;

use crate::bench::recorder::{LaneRecord, LaneState, Pass, RowRecord};
use crate::bench::statistics::Summary;
use crate::bench::verify::integrity;
use crate::config::Plan;
use crate::provider::{JobRecord, TokenCounts};
use crate::text::visible;
use crate::{report, units};

/// Changes of the batch size that are closer together are told as one.
const ONE_CHANGE: Duration = Duration::from_secs(1);

/// What is shown of a lane. Seconds and bytes; unknown is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Output throughput.
    pub tokens_per_s: Option<f64>,
    /// Against the reference lane.
    pub speedup: Option<f64>,
    /// Submitted until first text.
    pub ttft: Option<Summary>,
    /// Mean time between the tokens of a row.
    pub itl: Option<Summary>,
    /// Submitted until ended.
    pub e2e: Option<Summary>,
    /// Held by the server for the model.
    pub server_bytes: Option<u64>,
    /// This process now, or at its highest once the lane has ended.
    pub process_bytes: Option<u64>,
    /// KV cache now, or at its highest.
    pub kv_bytes: Option<u64>,
    /// GPU memory at its highest.
    pub gpu_bytes: Option<u64>,
    /// Rows that ended.
    pub ended: usize,
    /// Rows that failed.
    pub failed: usize,
    /// Rows equal to the reference lane's.
    pub same: usize,
    /// Rows that differ from the reference lane's.
    pub differ: usize,
    /// What is wrong with the order: rows that ended twice, that are missing, that do not exist.
    pub violations: usize,
    /// Time of the pass so far.
    pub elapsed: f64,
    /// Estimated time until the end of the pass.
    pub left: Option<f64>,
    /// Share that is done, 0 to 1.
    pub progress: f64,
    /// What a server tells, what it cost, and what the program itself adds, in words.
    pub served: Vec<String>,
    /// The last change of the batch size.
    pub change: Option<SizeChange>,
    /// Token counts are estimates.
    pub estimated: bool,
    state: Option<LaneState>,
}

/// A change of the batch size, and what it did to the throughput.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SizeChange {
    /// The size before.
    pub from: usize,
    /// The size after.
    pub to: usize,
    /// Tokens per second from the change before, or from the start, until this one.
    pub before: Option<f64>,
    /// Tokens per second since.
    pub after: Option<f64>,
}

/// What a lane's throughput is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Base {
    /// It is the reference.
    Itself,
    /// The reference lane's throughput.
    Other(Option<f64>),
}

impl Figures {
    /// Whether these are the last figures of a lane in this state.
    pub(super) fn is_final(&self, state: &LaneState) -> bool {
        let ended = match state {
            LaneState::Waiting | LaneState::WarmingUp | LaneState::Running => false,
            LaneState::Done | LaneState::Failed(_) | LaneState::Cancelled => true,
        };
        ended && self.state.as_ref() == Some(state)
    }

    /// The figures of a lane at `now`, counted from the epoch of the run.
    pub(super) fn of(
        lane: &LaneRecord,
        rows: usize,
        now: Duration,
        plan: &Plan,
        base: Base,
    ) -> Self {
        let Some(pass) = lane.pass() else {
            return Self { state: Some(lane.state.clone()), ..Self::default() };
        };
        let tokens_per_s = throughput(pass, now);
        let base = match base {
            Base::Itself => tokens_per_s,
            Base::Other(throughput) => throughput,
        };
        let elapsed = pass.wall(now).as_secs_f64();
        let progress = progress(pass, rows, plan);
        Self {
            tokens_per_s,
            speedup: tokens_per_s.zip(base).filter(|(_, base)| *base > 0.0).map(|(a, b)| a / b),
            ttft: summary(pass, RowRecord::ttft),
            itl: summary(pass, RowRecord::itl),
            e2e: summary(pass, RowRecord::e2e),
            server_bytes: pass.peak.server,
            process_bytes: process_bytes(pass),
            kv_bytes: kv_bytes(pass),
            gpu_bytes: pass.peak.gpu,
            ended: pass.done + pass.failed,
            failed: pass.failed,
            same: agreeing(pass, true),
            differ: agreeing(pass, false),
            violations: integrity(pass).violations.len(),
            elapsed,
            left: time_left(pass, elapsed, progress),
            progress,
            served: served(lane, pass),
            change: last_change(pass, now),
            estimated: lane
                .info
                .as_ref()
                .is_some_and(|info| info.token_counts == TokenCounts::Estimated),
            state: Some(lane.state.clone()),
        }
    }
}

/// The cost, the server's load and what it asks for, retries, and lag that shows in latencies.
fn served(lane: &LaneRecord, pass: &Pass) -> Vec<String> {
    let Some(info) = lane.info.as_ref().filter(|info| info.provider != "local") else {
        return Vec::new();
    };
    let serving = &pass.serving;
    let mut facts = Vec::new();
    facts.extend(pass.job_words().map(|words| visible(&words)));
    facts.extend(info.price.as_ref().and_then(|price| pass.cost(price)).map(units::usd));
    facts.extend(serving.allowed.map(|allowed| format!("≤{allowed} at once")));
    facts.extend(Some(pass.retries()).filter(|n| *n > 0).map(|n| format!("{n} sent again")));
    if let Some(load) = serving.load.as_ref().filter(|_| pass.finished.is_none()) {
        facts.extend(load.running.map(|n| format!("serving {n}")));
        facts.extend(load.waiting.filter(|n| *n > 0).map(|n| format!("waiting {n}")));
        facts.extend(load.kv_used.map(|used| format!("kv {}", units::percent(used))));
    }
    let lag = report::Figures::of(pass, Some(info)).telling_lag();
    facts.extend(lag.map(|lag| format!("lag {}", units::duration(lag.p99_s))));
    facts
}

/// Output tokens over the time from the first submit until now, or until the last finish.
fn throughput(pass: &Pass, now: Duration) -> Option<f64> {
    let first = pass.rows.iter().filter_map(|row| row.submitted).min()?;
    let span = match pass.finished {
        Some(_) => pass.span()?,
        None => pass.wall(now).checked_sub(first)?,
    };
    let seconds = span.as_secs_f64();
    let tokens: usize = pass.rows.iter().map(RowRecord::output_tokens).sum();
    (seconds > 0.0 && tokens > 0).then(|| tokens as f64 / seconds)
}

/// Keys that follow each other at once are one change, from the size before the first of them.
fn last_change(pass: &Pass, now: Duration) -> Option<SizeChange> {
    let sizes = &pass.batch_sizes;
    let (at, to) = *sizes.last()?;
    let mut first = sizes.len() - 1;
    while first > 1 && sizes[first].0.saturating_sub(sizes[first - 1].0) < ONE_CHANGE {
        first -= 1;
    }
    let (earlier, from) = *sizes.get(first.checked_sub(1)?)?;
    (from != to).then(|| SizeChange {
        from,
        to,
        before: pass.throughput.rate_between(earlier, sizes[first].0),
        after: pass.throughput.rate_between(at, pass.wall(now)),
    })
}

fn summary(pass: &Pass, time: fn(&RowRecord) -> Option<Duration>) -> Option<Summary> {
    Summary::of(pass.rows.iter().filter_map(time).map(|time| time.as_secs_f64()))
}

fn process_bytes(pass: &Pass) -> Option<u64> {
    let now = || pass.probe.process.as_ref().map(|reading| reading.bytes);
    if pass.finished.is_some() { pass.peak.process } else { now() }
}

fn kv_bytes(pass: &Pass) -> Option<u64> {
    let engine = pass.engine?;
    match pass.finished {
        Some(_) => Some(pass.peak.engine?.saturating_sub(engine.weights)),
        None => Some(engine.kv),
    }
}

fn agreeing(pass: &Pass, same: bool) -> usize {
    pass.rows.iter().filter(|row| row.same_as_reference == Some(same)).count()
}

/// The share of rows that ended, or of the most tokens there can be, whichever is more.
fn progress(pass: &Pass, rows: usize, plan: &Plan) -> f64 {
    if rows == 0 || pass.finished.is_some() {
        return 1.0;
    }
    let most = rows as f64 * plan.sampling.max_tokens as f64;
    let in_jobs: usize = pass.jobs.iter().map(|job| ended_at_vendor(job, pass)).sum();
    let by_rows = (pass.done + pass.failed).saturating_add(in_jobs) as f64 / rows as f64;
    by_rows.max(pass.output_tokens as f64 / most).min(1.0)
}

/// Rows of a job that ended at the vendor and whose results are not here yet.
fn ended_at_vendor(job: &JobRecord, pass: &Pass) -> usize {
    let Some(counts) = job.counts.filter(|_| !job.over) else { return 0 };
    let rows = job.rows.iter().filter_map(|(row, _)| pass.rows.get(*row));
    let here = rows.filter(|row| row.ended()).count();
    counts.completed.saturating_add(counts.failed).min(job.rows.len()).saturating_sub(here)
}

/// At the speed so far. Nothing is said of the first moments.
fn time_left(pass: &Pass, elapsed: f64, progress: f64) -> Option<f64> {
    let known = pass.finished.is_none() && elapsed > 0.5 && progress > 0.01;
    known.then(|| elapsed * (1.0 - progress) / progress)
}
