//! One pass of a lane over the prompt list.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Load, RowRecord, RowState, Serving, Timeline};
use crate::bench::lag::Lags;
use crate::probe::Sample;
use crate::provider::{EngineMemory, Event, Failure, JobEvent, JobRecord, Price, ServerEvent};

/// What is known about one pass. Times count from its start, except [`Pass::started`].
#[derive(Debug, Clone)]
pub struct Pass {
    /// Which repeat of the lane, from 0.
    pub repeat: usize,
    /// When it began, from the epoch of the run.
    pub started: Duration,
    /// The time of day then; absent where that is not known, and after an interruption.
    pub began_at: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Duration>,
    /// One a prompt, in the order of the list.
    pub rows: Vec<RowRecord>,
    /// Rows that ended well.
    pub done: usize,
    /// Rows that ended with a failure.
    pub failed: usize,
    /// Tokens seen so far over all rows.
    pub output_tokens: usize,
    /// Forward passes that advanced at least one row.
    pub steps: usize,
    /// Prompt tokens that the engine computed; fewer than the prompts have where they share a
    /// beginning.
    pub prefill_tokens: usize,
    /// Tokens those passes made.
    pub step_rows: usize,
    /// Output tokens over time.
    pub throughput: Timeline,
    /// Forward passes over time.
    pub steps_over_time: Timeline,
    /// Rows that those passes advanced, over time.
    pub rows_over_time: Timeline,
    /// Total memory over time, bytes: the engine's where it is known, else the process's.
    pub memory: Vec<(Duration, u64)>,
    /// The engine's memory now.
    pub engine: Option<EngineMemory>,
    /// The last reading of the probe.
    pub probe: Sample,
    /// The highest readings.
    pub peak: PeakMemory,
    /// Processor time and energy.
    pub load: Load,
    /// What a server told besides.
    pub serving: Serving,
    /// How late the program's own loop was.
    pub lags: Lags,
    /// The batch size from each moment on.
    pub batch_sizes: Vec<(Duration, usize)>,
    /// Why it ended early.
    pub failure: Option<Failure>,
    /// Events that no correct provider sends, in words.
    pub violations: Vec<String>,
    /// Batch jobs that the rows were handed to, oldest first.
    pub jobs: Vec<JobRecord>,
    /// What is subtracted from event times; see [`Pass::go_on`].
    zero: Duration,
    /// What is added to event times: the time of earlier sessions.
    before: Duration,
}

/// Highest memory seen in a pass, bytes; absent where it could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeakMemory {
    /// Resident memory of this process.
    pub process: Option<u64>,
    /// Weights and KV cache of the engine.
    pub engine: Option<u64>,
    /// Used by this process on all GPUs, else used on them by anyone.
    pub gpu: Option<u64>,
    /// Held by the server for the model, as it says itself.
    #[serde(default)]
    pub server: Option<u64>,
    /// Where the figures come from.
    pub sources: Vec<String>,
}

/// Most points of memory kept; beyond it every second one goes.
const MOST_MEMORY_POINTS: usize = 2048;

impl Pass {
    pub(in crate::bench) fn new(
        repeat: usize,
        rows: usize,
        at: Duration,
        batch_size: Option<usize>,
    ) -> Self {
        Self {
            repeat,
            started: at,
            began_at: None,
            finished: None,
            rows: vec![RowRecord::default(); rows],
            done: 0,
            failed: 0,
            output_tokens: 0,
            steps: 0,
            prefill_tokens: 0,
            step_rows: 0,
            throughput: Timeline::default(),
            steps_over_time: Timeline::default(),
            rows_over_time: Timeline::default(),
            memory: Vec::new(),
            engine: None,
            probe: Sample::default(),
            peak: PeakMemory::default(),
            load: Load::default(),
            serving: Serving::default(),
            lags: Lags::default(),
            batch_sizes: batch_size.map(|size| (Duration::ZERO, size)).into_iter().collect(),
            failure: None,
            violations: Vec::new(),
            jobs: Vec::new(),
            zero: at,
            before: Duration::ZERO,
        }
    }

    /// Goes on with a pass of an earlier session: its clock continues where the last event of
    /// that session left it, so that the time between the sessions does not count.
    pub(super) fn go_on(&mut self, at: Duration) {
        let spent = self.finished.take().or_else(|| self.last_event()).unwrap_or_default();
        self.set_clock(at, spent);
        self.began_at = None;
        self.failure = None;
        for row in self.rows.iter_mut().filter(|row| !row.ended()) {
            *row = RowRecord::default();
        }
    }

    /// Makes the clock of the pass show `spent` at this moment of the run.
    fn set_clock(&mut self, at: Duration, spent: Duration) {
        self.zero = at.saturating_sub(spent);
        self.before = spent.saturating_sub(at);
    }

    /// As [`Pass::set_clock`], to a later time; what runs already runs no longer for it.
    fn put_forward(&mut self, at: Duration, spent: Duration) {
        let skipped = spent.saturating_sub(self.clock(at));
        for row in self.rows.iter_mut().filter(|row| row.state == RowState::Running) {
            row.submitted = row.submitted.map(|submitted| submitted.saturating_add(skipped));
        }
        self.set_clock(at, spent);
    }

    /// A moment of the run by the clock of the pass.
    fn clock(&self, at: Duration) -> Duration {
        at.saturating_add(self.before).saturating_sub(self.zero)
    }

    /// Lets failed rows run again unless the pass came to its end, and counts anew.
    pub(super) fn reopen_failed(&mut self) {
        let complete = self.finished.is_some() && self.failure.is_none();
        if !complete {
            for row in self.rows.iter_mut().filter(|row| row.state == RowState::Failed) {
                *row = RowRecord::default();
            }
        }
        self.count();
    }

    /// Counts anew what the rows say.
    pub(in crate::bench) fn count(&mut self) {
        let count = |state| self.rows.iter().filter(|row| row.state == state).count();
        self.done = count(RowState::Done);
        self.failed = count(RowState::Failed);
        self.output_tokens = self.rows.iter().map(RowRecord::output_tokens).sum();
    }

    /// Where tokens over time are not known, spreads those of each row evenly from its first to
    /// its last.
    pub(in crate::bench) fn spread_tokens(&mut self) {
        if !self.throughput.buckets().1.is_empty() {
            return;
        }
        for row in &self.rows {
            let Some(last) = row.last_token else { continue };
            let first = row.first_token.unwrap_or(last);
            let parts = row.counted.clamp(1, 64);
            for part in 0..parts {
                let share = (part as f64 + 0.5) / parts as f64;
                let at = first + last.saturating_sub(first).mul_f64(share);
                self.throughput.add(at, row.counted as f64 / parts as f64);
            }
        }
    }

    /// What did not end will not, since nobody goes on with it here.
    pub(in crate::bench) fn close(&mut self) {
        for row in self.rows.iter_mut().filter(|row| !row.ended()) {
            row.state = RowState::NotRun;
        }
        self.finished = self.finished.or_else(|| self.last_event()).or(Some(Duration::ZERO));
    }

    /// Time of the pass from its start until it ended, or until `now` (from the run's epoch).
    pub fn wall(&self, now: Duration) -> Duration {
        self.finished.unwrap_or_else(|| self.clock(now))
    }

    /// The time of day when it ended, where that is known.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.began_at?.checked_add(self.finished?).ok()
    }

    /// First submit to last finish; absent before a row has ended.
    pub fn span(&self) -> Option<Duration> {
        let first = self.rows.iter().filter_map(|row| row.submitted).min()?;
        let last = self.rows.iter().filter_map(|row| row.finished).max()?;
        last.checked_sub(first)
    }

    /// How often rows were sent again.
    pub fn retries(&self) -> usize {
        self.rows.iter().map(|row| row.retries).sum()
    }

    /// What the rows that ended well cost so far at this price; absent where a count of one
    /// of them is not known, and before the first.
    pub fn cost(&self, price: &Price) -> Option<f64> {
        let mut done = self.rows.iter().filter(|row| row.state == RowState::Done).peekable();
        done.peek()?;
        done.map(|row| row.cost(price)).sum()
    }

    /// The batch size now, where rows of a call are batched.
    pub fn batch_size(&self) -> Option<usize> {
        self.batch_sizes.last().map(|(_, size)| *size)
    }

    /// Mean rows per forward pass.
    pub fn mean_rows_per_step(&self) -> Option<f64> {
        (self.steps > 0).then(|| self.step_rows as f64 / self.steps as f64)
    }

    fn last_event(&self) -> Option<Duration> {
        self.rows.iter().filter_map(|row| row.finished.max(row.last_token)).max()
    }

    /// Takes a provider's event; gives the row that ended by it.
    pub(super) fn apply(&mut self, at: Duration, event: Event) -> Option<usize> {
        let at = match &event {
            // a job is older than the session that follows it
            Event::Job(JobEvent::Attached { ago, .. }) if *ago > self.clock(at) => {
                self.put_forward(at, *ago);
                *ago
            }
            _ => self.clock(at),
        };
        match event {
            Event::Submitted { row } => {
                let record = self.open_row(row, "submitted")?;
                record.state = RowState::Running;
                record.submitted.get_or_insert(at);
                None
            }
            Event::Tokens { row, count, ids, text } => {
                let offline = !self.jobs.is_empty();
                let record = self.open_row(row, "given tokens")?;
                record.counted += count;
                record.ids.extend(ids);
                // when the tokens of a batch job were generated is not known
                if !offline {
                    record.last_token = Some(at);
                }
                if !text.is_empty() && !offline {
                    record.first_token.get_or_insert(at);
                }
                record.text.push_str(&text);
                self.output_tokens += count;
                if !offline {
                    self.throughput.add(at, count as f64);
                }
                None
            }
            Event::Answer { row, count, text } => {
                let record = self.open_row(row, "given its answer")?;
                record.counted += count;
                record.text.push_str(&text);
                self.output_tokens += count;
                None
            }
            Event::Finished { row, usage, reason } => {
                let record = self.open_row(row, "finished")?;
                record.state = RowState::Done;
                record.finished = Some(at);
                record.usage = usage;
                record.reason = Some(reason);
                self.done += 1;
                Some(row)
            }
            Event::Failed { row, failure } => {
                let record = self.open_row(row, "failed")?;
                record.state = RowState::Failed;
                record.finished = Some(at);
                record.failure = Some(failure);
                self.failed += 1;
                Some(row)
            }
            Event::Step { rows, prefill_tokens } => {
                self.prefill_tokens += prefill_tokens;
                if rows > 0 {
                    self.steps += 1;
                    self.step_rows += rows;
                    self.steps_over_time.add(at, 1.0);
                    self.rows_over_time.add(at, rows as f64);
                }
                None
            }
            Event::Memory(memory) => {
                self.engine = Some(memory);
                raise(&mut self.peak.engine, Some(memory.weights + memory.kv));
                None
            }
            Event::Server(event) => {
                self.server(event);
                None
            }
            Event::Job(event) => {
                self.job(at, event);
                None
            }
            Event::Notice(_) => None,
        }
    }

    fn job(&mut self, at: Duration, event: JobEvent) {
        JobRecord::fold(&mut self.jobs, &event);
        match event {
            JobEvent::Violation { what } => self.violations.push(what),
            JobEvent::Attached { name, ago } => {
                let job = self.jobs.iter().find(|job| job.name == name);
                for (row, _) in job.map(|job| job.rows.clone()).unwrap_or_default() {
                    if let Some(record) = self.rows.get_mut(row).filter(|record| !record.ended()) {
                        record.state = RowState::Running;
                        record.submitted = Some(at.saturating_sub(ago));
                    }
                }
            }
            _ => {}
        }
    }

    /// How its batch jobs stand, in a few words; absent where there are none.
    pub fn job_words(&self) -> Option<String> {
        JobRecord::words_of(&self.jobs)
    }

    fn server(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Retry { row, .. } => {
                if let Some(record) = self.open_row(row, "sent again") {
                    record.retries += 1;
                }
            }
            ServerEvent::Held { row, wait } => {
                if let Some(record) = self.open_row(row, "held back") {
                    record.held += wait;
                    record.submitted = record.submitted.map(|at| at + wait);
                }
            }
            ServerEvent::Times { row, times } => {
                if let Some(record) = self.open_row(row, "timed by the server") {
                    record.server = Some(times);
                }
            }
            ServerEvent::Memory(memory) => {
                raise(&mut self.peak.server, Some(memory.total));
                self.source(&memory.source);
            }
            ServerEvent::Allowed(allowed) => self.serving.allow(allowed),
            ServerEvent::Load(load) => self.serving.take(load),
        }
    }

    /// The record of a row that may still change; a row that cannot is a violation.
    fn open_row(&mut self, row: usize, what: &str) -> Option<&mut RowRecord> {
        let total = self.rows.len();
        match self.rows.get_mut(row) {
            Some(record) if !record.ended() => Some(record),
            Some(_) => {
                self.violations.push(format!("row {} was {what} after it had ended", row + 1));
                None
            }
            None => {
                let place = row.saturating_add(1);
                self.violations.push(format!("row {place} of {total} was {what}: no such row"));
                None
            }
        }
    }

    pub(super) fn probe(&mut self, at: Duration, sample: Sample) {
        let at = self.clock(at);
        // a GPU that does not list this process holds nothing of it
        let own = sample.gpus.iter().filter_map(|gpu| gpu.this_process).reduce(u64::saturating_add);
        let used: Option<u64> = sample.gpus.iter().map(|gpu| gpu.used).sum();
        let gpu = own.or(used.filter(|_| !sample.gpus.is_empty()));
        let process = sample.process.as_ref().map(|reading| reading.bytes);
        raise(&mut self.peak.process, process);
        raise(&mut self.peak.gpu, gpu);
        let sources = sample.process.iter().map(|reading| &reading.source);
        for source in sources.chain(sample.gpus.iter().map(|gpu| &gpu.source)) {
            self.source(source);
        }
        if let Some(bytes) = gpu.or(process) {
            self.memory.push((at, bytes));
        }
        if self.memory.len() > MOST_MEMORY_POINTS {
            let mut keep = false;
            self.memory.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.load.take(at, &sample);
        self.probe = sample;
    }

    /// Notes where a figure of memory came from.
    fn source(&mut self, source: &str) {
        if !self.peak.sources.iter().any(|known| known == source) {
            self.peak.sources.push(source.to_owned());
        }
    }

    pub(super) fn set_batch_size(&mut self, at: Duration, size: usize) {
        if self.batch_size().is_some_and(|now| now != size) {
            self.batch_sizes.push((self.clock(at), size));
        }
    }

    pub(super) fn finish(&mut self, at: Duration, failure: Option<Failure>) {
        self.finished = Some(self.clock(at));
        self.failure = failure;
        for row in self.rows.iter_mut().filter(|row| !row.ended()) {
            row.state = RowState::NotRun;
        }
    }
}

fn raise(peak: &mut Option<u64>, now: Option<u64>) {
    *peak = (*peak).max(now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{FinishReason, Usage};

    /// Two jobs of an earlier session, of which the second is over, with a row each.
    #[test]
    fn jobs_of_different_ages_keep_their_own_times() {
        let seconds = Duration::from_secs;
        let ages = [("younger", 600), ("older", 3000)];
        for attached in [[0, 1], [1, 0]] {
            let mut pass = Pass::new(1, 2, Duration::ZERO, None);
            for (row, (name, _)) in ages.iter().enumerate() {
                let rows = vec![(row, row.to_string())];
                let at = Timestamp::UNIX_EPOCH;
                let planned = JobEvent::Planned { name: (*name).into(), at, rows };
                pass.apply(Duration::ZERO, Event::Job(planned));
            }
            for job in attached {
                let (name, ago) = (ages[job].0.into(), seconds(ages[job].1));
                pass.apply(seconds(1), Event::Job(JobEvent::Attached { name, ago }));
            }
            for (row, (_, age)) in ages.iter().enumerate() {
                let (usage, reason) = (Usage::default(), FinishReason::Stop);
                pass.apply(seconds(3), Event::Finished { row, usage, reason });
                let record = &pass.rows[row];
                let took = record.finished.unwrap().saturating_sub(record.submitted.unwrap());
                assert_eq!(took, seconds(age + 2), "{attached:?}, row {row}");
            }
        }
    }
}
