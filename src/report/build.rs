//! Makes a report from the record of a run.

use super::{
    BatchJob, BatchSizeChange, BatchSizes, Detail, Figures, Lane, LaneFailure, LaneStatus,
    OverTime, Repeat, Report, Row, Run, RunFacts, SCHEMA, audit, spread,
};
use crate::bench::journal::Recorded;
use crate::bench::recorder::{LaneRecord, LaneState, Pass, Recorder, RowRecord, RowState};
use crate::bench::verify::{
    Agreement, Canary, Integrity, LaneFindings, agreement, canary, integrity, verdict,
};
use crate::config::{Mode, Plan};
use crate::prompts::{Prompt, PromptList};
use crate::provider::{Failure, FinishReason, JobRecord, Price, ProviderInfo};

impl Report {
    /// The report of a past run, as its journal tells it.
    pub fn of_past(recorded: &Recorded) -> Self {
        let facts = RunFacts::of_past(recorded);
        Self::build(&facts, &recorded.job.plan, &recorded.job.prompts, &recorded.recorder)
    }

    /// The report of a run, complete or under way.
    pub fn build(facts: &RunFacts, plan: &Plan, list: &PromptList, record: &Recorder) -> Self {
        let mut lanes: Vec<Lane> = (0..record.lanes.len())
            .map(|place| Builder { plan, list, record, place }.lane())
            .collect();
        set_speedups(&mut lanes);
        let findings = lanes.iter().zip(&record.lanes).map(|(lane, of)| LaneFindings {
            label: &lane.label,
            state: &of.state,
            rows_failed: of.passes.iter().map(|pass| pass.failed).sum(),
            integrity: lane.integrity.as_ref(),
            agreement: lane.agreement.as_ref(),
            canary: lane.canary.as_ref(),
            must_agree: must_agree(record, of),
        });
        let verdict = Some(verdict(findings));
        spread::set(&mut lanes);
        let run = Run::of(facts, plan, list, record);
        let (schema, audit) = (SCHEMA.into(), Vec::new());
        let mut report = Self { schema, run, verdict, audit, batch_sizes: None, lanes };
        report.audit = audit::audit(&report, record);
        report.batch_sizes = BatchSizes::of(&report);
        report
    }
}

/// Makes one lane.
struct Builder<'a> {
    plan: &'a Plan,
    list: &'a PromptList,
    record: &'a Recorder,
    place: usize,
}

impl Builder<'_> {
    fn lane(&self) -> Lane {
        let of = &self.record.lanes[self.place];
        let info = of.info.as_ref();
        let price = info.and_then(|info| info.price.as_ref());
        let spec = of.spec.provider.as_ref().unwrap_or(&self.plan.provider);
        let reported = reported_pass(&of.passes);
        let (integrity, canary) = self.integrity(of);
        let (state, failure) = status(&of.state);
        Lane {
            label: of.spec.label.clone(),
            provider: info.map_or(&spec.provider, |info| &info.provider).clone(),
            model: info.map_or(&spec.model, |info| &info.model).clone(),
            model_sha256: info.and_then(|info| info.model_sha256.clone()),
            device: info.map(|info| info.device.clone()),
            details: info.map(details).unwrap_or_default(),
            mode: of.spec.mode.word().into(),
            batch_size: of.spec.mode.batch_size(),
            in_flight: of.spec.mode.in_flight(),
            batching: batching(of.spec.mode, info),
            state,
            failure,
            figures: match reported {
                Some(pass) => Figures::of(pass, info),
                None => Figures { rows_total: self.record.rows(), ..Figures::default() },
            },
            speedup: None,
            spread: None,
            slo: None,
            price: price.cloned(),
            cost_usd: cost(&of.passes, info),
            jobs: reported.map(jobs).unwrap_or_default(),
            batch_size_changes: reported.map(batch_size_changes).unwrap_or_default(),
            integrity,
            canary,
            agreement: self.agreement(of),
            repeats: repeats(of, reported),
            over_time: reported.and_then(OverTime::of),
            rows: reported.map(|pass| self.rows(pass, price)).unwrap_or_default(),
        }
    }

    /// Over all passes; absent before the first.
    fn integrity(&self, of: &LaneRecord) -> (Option<Integrity>, Option<Canary>) {
        let mut whole = None;
        let mut canaries = None;
        for pass in &of.passes {
            let named = |what: &String| match of.passes.len() {
                1 => what.clone(),
                _ => format!("repeat {}: {what}", pass.repeat + 1),
            };
            let whole = whole.get_or_insert(Integrity {
                passed: true,
                violations: Vec::new(),
                rows_missing: 0,
            });
            let found = integrity(pass);
            whole.rows_missing += found.rows_missing;
            found.violations.iter().for_each(|what| whole.violate(named(what)));
            let Some(found) = canary(pass, self.list) else { continue };
            found.violations.iter().for_each(|what| whole.violate(named(what)));
            let all = canaries.get_or_insert(Canary { checked: 0, own: 0, violations: Vec::new() });
            all.checked += found.checked;
            all.own += found.own;
            all.violations.extend(found.violations.iter().map(named));
        }
        (whole, canaries)
    }

    /// Against the reference lane's fullest pass, the first of equals, which is not compared
    /// with itself. Absent where no row could be compared.
    fn agreement(&self, of: &LaneRecord) -> Option<Agreement> {
        if !self.plan.sampling.is_greedy() {
            return None;
        }
        let reference = self.record.lanes.get(self.record.reference)?;
        let fullest = reference.passes.iter().rev().max_by_key(|pass| pass.done)?;
        let own = self.place == self.record.reference;
        let others = of.passes.iter().filter(|pass| !(own && pass.repeat == fullest.repeat));
        let others: Vec<&Pass> = others.collect();
        let mut found = agreement(&reference.spec.label, fullest, &others, self.list);
        let engine = |of: &LaneRecord| {
            of.info
                .as_ref()
                .map(|info| (info.provider.clone(), info.model.clone(), info.device.clone()))
        };
        if engine(reference) != engine(of) {
            found = found.between_engines(fullest, &others);
        }
        (found.compared() > 0).then_some(found)
    }

    fn rows(&self, pass: &Pass, price: Option<&Price>) -> Vec<Row> {
        let rows = self.list.prompts.iter().zip(&pass.rows);
        rows.map(|(prompt, row)| report_row(prompt, row, price)).collect()
    }
}

fn report_row(prompt: &Prompt, row: &RowRecord, price: Option<&Price>) -> Row {
    let done = row.state == RowState::Done;
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64());
    Row {
        index: prompt.index,
        id: prompt.id.clone(),
        prompt: prompt.content.display().to_owned(),
        text: (done || !row.text.is_empty()).then(|| row.text.clone()),
        prompt_tokens: row.usage.prompt_tokens,
        output_tokens: (done || row.output_tokens() > 0).then(|| row.output_tokens()),
        finish_reason: row.reason.as_ref().map(reason_word),
        submitted_s: seconds(row.submitted),
        ttft_s: seconds(row.ttft()),
        e2e_s: seconds(row.e2e()),
        retries: Some(row.retries).filter(|retries| *retries > 0),
        held_s: seconds(Some(row.held).filter(|held| !held.is_zero())),
        cost_usd: price.filter(|_| done).and_then(|price| row.cost(price)),
        error: row.failure.as_ref().map(|failure| failure.message.clone()),
        error_kind: row.failure.as_ref().map(|failure| failure.kind),
    }
}

/// Over all passes that have a row.
fn cost(passes: &[Pass], info: Option<&ProviderInfo>) -> Option<f64> {
    let price = info?.price.as_ref()?;
    let mut begun = passes.iter().filter(|pass| pass.done > 0).peekable();
    begun.peek()?;
    begun.map(|pass| pass.cost(price)).sum()
}

fn reason_word(reason: &FinishReason) -> String {
    match reason {
        FinishReason::Stop => "stop".into(),
        FinishReason::Length => "length".into(),
        FinishReason::Filter => "filter".into(),
        FinishReason::Tool => "tool".into(),
        FinishReason::Other(word) => word.clone(),
    }
}

fn status(state: &LaneState) -> (LaneStatus, Option<LaneFailure>) {
    match state {
        LaneState::Waiting => (LaneStatus::Waiting, None),
        LaneState::WarmingUp => (LaneStatus::WarmingUp, None),
        LaneState::Running => (LaneStatus::Running, None),
        LaneState::Done => (LaneStatus::Done, None),
        LaneState::Failed(failure) => (LaneStatus::Failed, Some(lane_failure(failure))),
        LaneState::Cancelled => (LaneStatus::Cancelled, None),
    }
}

fn lane_failure(failure: &Failure) -> LaneFailure {
    LaneFailure { kind: failure.kind, message: failure.message.clone() }
}

fn details(info: &ProviderInfo) -> Vec<Detail> {
    let detail =
        |(name, value): &(String, String)| Detail { name: name.clone(), value: value.clone() };
    info.details.iter().map(detail).collect()
}

fn batching(mode: Mode, info: Option<&ProviderInfo>) -> Option<String> {
    match mode {
        Mode::Sequential | Mode::Async { .. } => None,
        Mode::Batched { .. } | Mode::BatchedAsync { .. } => {
            info.map(|info| info.batching.word().to_owned())
        }
        Mode::Offline => Some("offline".into()),
    }
}

fn jobs(pass: &Pass) -> Vec<BatchJob> {
    let job = |job: &JobRecord| BatchJob {
        id: job.id.clone(),
        status: job.status.clone(),
        submitted_at: job.planned_at,
        requests: job.rows.len(),
        completed: job.counts.map(|counts| counts.completed),
        failed: job.counts.map(|counts| counts.failed),
        over: job.over,
    };
    pass.jobs.iter().map(job).collect()
}

fn batch_size_changes(pass: &Pass) -> Vec<BatchSizeChange> {
    let changes = pass.batch_sizes.iter().skip(1);
    changes
        .map(|(at, batch_size)| BatchSizeChange { at_s: at.as_secs_f64(), batch_size: *batch_size })
        .collect()
}

/// The pass with the median output throughput (the lower one of two) among those that came to
/// their end; where none did, the last one.
fn reported_pass(passes: &[Pass]) -> Option<&Pass> {
    let ended = passes.iter().filter(|pass| pass.finished.is_some() && pass.failure.is_none());
    let mut rated: Vec<(f64, &Pass)> = ended
        .map(|pass| (Figures::of(pass, None).output_tokens_per_s.unwrap_or(0.0), pass))
        .collect();
    rated.sort_by(|a, b| a.0.total_cmp(&b.0));
    let median = rated.len().checked_sub(1).map(|last| rated[last / 2].1);
    median.or(passes.last())
}

fn repeats(of: &LaneRecord, reported: Option<&Pass>) -> Vec<Repeat> {
    if of.passes.len() < 2 {
        return Vec::new();
    }
    let repeat = |pass: &Pass| Repeat {
        repeat: pass.repeat,
        reported: reported.is_some_and(|reported| reported.repeat == pass.repeat),
        started_at: pass.began_at,
        ended_at: pass.ended_at(),
        failure: pass.failure.as_ref().map(lane_failure),
        figures: Figures::of(pass, of.info.as_ref()),
    };
    of.passes.iter().map(repeat).collect()
}

fn set_speedups(lanes: &mut [Lane]) {
    let speedup = |lane: &Lane| {
        let base = &lanes[spread::base(lanes, lane)?];
        let factor = lane.figures.output_tokens_per_s? / base.figures.output_tokens_per_s?;
        factor.is_finite().then_some(factor)
    };
    let speedups: Vec<Option<f64>> = lanes.iter().map(speedup).collect();
    lanes.iter_mut().zip(speedups).for_each(|(lane, speedup)| lane.speedup = speedup);
}

/// Both run on the same batch-invariant provider, down to its details.
fn must_agree(record: &Recorder, of: &LaneRecord) -> bool {
    let reference = record.lanes.get(record.reference).and_then(|lane| lane.info.as_ref());
    of.info.as_ref().is_some_and(|info| info.batch_invariant && Some(info) == reference)
}
