//! The report's audit of itself: what may have disturbed its figures, and which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Lane, Report};
use crate::bench::recorder::{LaneRecord, Recorder};
use crate::bench::statistics::FEWEST;
use crate::provider::is_server_here;
use crate::units;

/// Share of the machine that other programs may use unnoticed.
const QUIET: f64 = 0.1;
/// Share of the machine that a hypervisor may take unnoticed.
const UNSTOLEN: f64 = 0.02;
/// Processors that this program may use itself while it measures a server.
const OWN_CORES: f64 = 0.8;
/// Rows from which a 99th percentile is more than the largest value.
const ROWS_FOR_P99: usize = 100;
/// Rows from which a 95th percentile is more than the largest value.
const ROWS_FOR_P95: usize = 20;
/// A pass below this length is mostly beginning and end, seconds.
const SHORT: f64 = 2.0;
/// Difference of output tokens between lanes that is told.
const UNEVEN: f64 = 0.05;

/// Something that may have disturbed figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// What it is about.
    pub kind: DoubtKind,
    /// How grave it is.
    pub weight: Weight,
    /// The lane; absent where it is about the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// What was seen and what it may have done to which figure.
    pub message: String,
}

/// How grave a doubt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Something disturbed the run.
    Warning,
    /// A limit of what the run can show.
    Note,
}

/// What a doubt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoubtKind {
    /// Other programs used the processors.
    BusyMachine,
    /// A hypervisor took processor time.
    StolenTime,
    /// Processors were throttled.
    Throttled,
    /// This program used much processor time while it measured a server.
    ClientLoad,
    /// The loop that takes events was late.
    ClientLag,
    /// The server has fewer slots than rows were sent at once.
    FewSlots,
    /// Rows were sent again after a failure.
    Retried,
    /// The user's own limits a minute held rows back.
    HeldBack,
    /// Prompts came from a server's cache.
    CachedPrompts,
    /// Lanes made different numbers of tokens.
    UnevenWork,
    /// Nothing was run before the first lane.
    NoWarmUp,
    /// The batch size was changed by hand.
    BatchSizeChanged,
    /// A pass was very short.
    ShortPass,
    /// There are too few rows for a tail.
    FewRows,
    /// There are too few repeats for an interval.
    FewRepeats,
}

/// Looks for doubts, the grave ones first.
pub(super) fn audit(report: &Report, record: &Recorder) -> Vec<Doubt> {
    let mut doubts = Doubts { all: Vec::new() };
    for (lane, of) in report.lanes.iter().zip(&record.lanes) {
        load(lane, of, &mut doubts);
        server(lane, of, &mut doubts);
        if !lane.batch_size_changes.is_empty() {
            let message = "the batch size was changed while it ran: its figures are of no single \
                           size";
            doubts.of(lane, DoubtKind::BatchSizeChanged, Weight::Warning, message.into());
        }
        if let Some(wall) = lane.figures.wall_s.filter(|wall| *wall < SHORT && *wall > 0.0) {
            let told = units::duration(wall);
            let message = format!(
                "took only {told}: beginning and end weigh heavily in its throughput; use more \
                 prompts or tokens"
            );
            doubts.of(lane, DoubtKind::ShortPass, Weight::Note, message);
        }
    }
    let mut doubts = Doubts { all: folded(doubts.all) };
    uneven(report, &mut doubts);
    run(report, &mut doubts);
    doubts.all.sort_by_key(|doubt| doubt.weight == Weight::Note);
    doubts.all
}

/// What was seen in several lanes is told once, with the first of them.
fn folded(all: Vec<Doubt>) -> Vec<Doubt> {
    let mut told: Vec<(Doubt, usize)> = Vec::new();
    for doubt in all {
        match told.iter_mut().find(|(first, _)| first.kind == doubt.kind) {
            Some((_, lanes)) => *lanes += 1,
            None => told.push((doubt, 1)),
        }
    }
    let fold = |(doubt, lanes): (Doubt, usize)| match (&doubt.lane, lanes) {
        (Some(lane), 2..) => {
            let message = format!("in {lanes} lanes, the first of them {lane}: {}", doubt.message);
            Doubt { lane: None, message, ..doubt }
        }
        (Some(_) | None, _) => doubt,
    };
    told.into_iter().map(fold).collect()
}

struct Doubts {
    all: Vec<Doubt>,
}

impl Doubts {
    fn of(&mut self, lane: &Lane, kind: DoubtKind, weight: Weight, message: String) {
        self.all.push(Doubt { kind, weight, lane: Some(lane.label.clone()), message });
    }

    fn of_run(&mut self, kind: DoubtKind, weight: Weight, message: String) {
        self.all.push(Doubt { kind, weight, lane: None, message });
    }
}

/// What the processors did, in the pass where it was worst.
fn load(lane: &Lane, of: &LaneRecord, doubts: &mut Doubts) {
    let shares: Vec<_> = of.passes.iter().filter_map(|pass| pass.load.cpu()).collect();
    let worst = |read: fn(&crate::bench::recorder::CpuShares) -> f64| {
        shares.iter().map(read).fold(0.0, f64::max)
    };
    let others = worst(|of| of.others);
    // a server on this machine is another program too, and the one that is measured
    if others > QUIET && !lane.device.as_deref().is_some_and(is_server_here) {
        let message = format!(
            "other programs used {} of the machine meanwhile: throughput may be too low, TTFT and \
             ITL too high",
            units::percent(others)
        );
        doubts.of(lane, DoubtKind::BusyMachine, Weight::Warning, message);
    }
    let stolen = worst(|of| of.stolen);
    if stolen > UNSTOLEN {
        let message = format!(
            "the hypervisor took {} of the machine for others: throughput may be too low, tails \
             too long",
            units::percent(stolen)
        );
        doubts.of(lane, DoubtKind::StolenTime, Weight::Warning, message);
    }
    let throttled: u64 = shares.iter().filter_map(|of| of.throttled).sum();
    if throttled > 0 {
        let message = format!(
            "processors were throttled {throttled} times for heat or power: later lanes may look \
             slower than they are"
        );
        doubts.of(lane, DoubtKind::Throttled, Weight::Warning, message);
    }
    if lane.provider == "local" {
        return;
    }
    let own = worst(|of| of.own_cores);
    if own > OWN_CORES {
        let message = format!(
            "this program itself used {} processors: times may hold its own work, and a server on \
             the same machine had less",
            units::significant(own)
        );
        doubts.of(lane, DoubtKind::ClientLoad, Weight::Warning, message);
    }
    if let Some(lag) = lane.figures.telling_lag() {
        let message = format!(
            "this program's own loop was late by {} at p99, {} at most: TTFT and ITL may be too \
             long by as much",
            units::duration(lag.p99_s),
            units::duration(lag.max_s)
        );
        doubts.of(lane, DoubtKind::ClientLag, Weight::Warning, message);
    }
}

fn server(lane: &Lane, of: &LaneRecord, doubts: &mut Doubts) {
    let slots = lane.details.iter().find(|detail| detail.name == "slots");
    let slots = slots.and_then(|detail| detail.value.parse::<usize>().ok());
    let at_once = lane.in_flight.saturating_mul(lane.batch_size.unwrap_or(1));
    if let Some(slots) = slots.filter(|slots| *slots < at_once) {
        let message = format!(
            "up to {at_once} rows were sent at once and the server has {slots} slots: the rest \
             waited there, which is part of their TTFT and e2e"
        );
        doubts.of(lane, DoubtKind::FewSlots, Weight::Warning, message);
    }
    let rows = || of.passes.iter().flat_map(|pass| &pass.rows);
    let again = rows().filter(|row| row.retries > 0).count();
    if again > 0 {
        let message = format!(
            "{again} rows were sent again after a failure: their TTFT and e2e hold the time until \
             then, and throughput is too low"
        );
        doubts.of(lane, DoubtKind::Retried, Weight::Warning, message);
    }
    let held = || rows().map(|row| row.held.as_secs_f64()).filter(|held| *held > 0.0);
    if held().count() > 0 {
        let message = format!(
            "the limits a minute held {} rows back, up to {}: that is not part of their TTFT and \
             e2e, and throughput is that of the limits",
            held().count(),
            units::duration(held().fold(0.0, f64::max))
        );
        doubts.of(lane, DoubtKind::HeldBack, Weight::Note, message);
    }
    let cached: usize = rows().filter_map(|row| row.server?.cached_tokens).sum();
    if cached > 0 {
        let message = format!(
            "{cached} prompt tokens came from the server's cache: TTFT is shorter than for \
             prompts it has not seen"
        );
        doubts.of(lane, DoubtKind::CachedPrompts, Weight::Warning, message);
    }
}

/// Lanes over one list that made different numbers of tokens did not do the same work.
fn uneven(report: &Report, doubts: &mut Doubts) {
    let mut models: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let whole = |lane: &&Lane| lane.figures.rows_ok == lane.figures.rows_total;
    for lane in report.lanes.iter().filter(whole) {
        let tokens = lane.figures.output_tokens;
        let (least, most) = models.entry(&lane.model).or_insert((tokens, tokens));
        (*least, *most) = ((*least).min(tokens), (*most).max(tokens));
    }
    for (least, most) in models.into_values() {
        if most > 0 && (most - least) as f64 > UNEVEN * most as f64 {
            let message = format!(
                "lanes made between {least} and {most} output tokens: they did not do the same \
                 work, so compare their throughput and not their time; --ignore-eos makes every \
                 row as long"
            );
            doubts.of_run(DoubtKind::UnevenWork, Weight::Note, message);
        }
    }
}

fn run(report: &Report, doubts: &mut Doubts) {
    let number = |key: &str| report.run.plan.get(key).and_then(serde_json::Value::as_u64);
    if number("warmup") == Some(0) {
        let message = "nothing was run before the first lane: its first rows paid for cold caches";
        doubts.of_run(DoubtKind::NoWarmUp, Weight::Warning, message.into());
    }
    let rows = report.lanes.iter().map(|lane| lane.figures.rows_ok).max().unwrap_or(0);
    if (1..ROWS_FOR_P99).contains(&rows) {
        let which = if rows < ROWS_FOR_P95 { "p95 and p99 are" } else { "p99 is" };
        let message = format!("{rows} rows: {which} little more than the largest value");
        doubts.of_run(DoubtKind::FewRows, Weight::Note, message);
    }
    if number("repeats").is_some_and(|repeats| repeats < FEWEST as u64) {
        let message = format!(
            "fewer than {FEWEST} repeats: no figure has an interval, and a busy moment may be \
             taken for a difference; use --repeats {FEWEST} or more to compare closely"
        );
        doubts.of_run(DoubtKind::FewRepeats, Weight::Note, message);
    }
}
