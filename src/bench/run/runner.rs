//! Runs the lanes of a plan one after another: lanes that share a device at the same time
//! would disturb each other's figures.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_util::sync::CancellationToken;

use super::lane::{self, Lane};
use super::purse::Purse;
use super::{Between, Controls, Job};
use crate::bench::event::{RunEvent, Stamp};
use crate::bench::journal::Journal;
use crate::bench::recorder::Recorder;
use crate::bench::turns::Turns;
use crate::config::Mode;
use crate::probe::Probe;
use crate::provider::{
    Failure, FailureKind, JobRecord, OpenProvider, Provider, ProviderInfo, ProviderSpec, Request,
    Sink, Spending, Stamped,
};
use crate::sampling::Sampling;

/// A provider that is ready, and what its requests are charged to.
type Opened = (Arc<dyn Provider>, Option<Spending>);

/// A provider that stays open for further lanes.
struct Open {
    spec: ProviderSpec,
    provider: Arc<dyn Provider>,
    /// Rows were run on it, or need not be.
    warm: bool,
}

/// A run in progress.
pub(super) struct Runner {
    job: Job,
    providers: Arc<dyn OpenProvider>,
    controls: Controls,
    open: Vec<Open>,
    purse: Purse,
    /// Providers that failed to open, each with the lane that needed it first.
    failed: Vec<(ProviderSpec, usize, FailureKind)>,
    /// Why no turns can be taken.
    no_turns: Option<Failure>,
    log: Log,
}

/// Where every event goes: the record that feeds the journal, then whoever drains the channel.
pub(super) struct Log {
    journal: Option<Journal>,
    pub recorder: Recorder,
    events: UnboundedSender<Stamp>,
    pub probe: Probe,
    /// Stops the run when its journal cannot be written.
    cancel: CancellationToken,
    /// Why the journal could not be written.
    pub lost: Option<Failure>,
}

impl Log {
    /// Takes an event that happens now.
    pub fn now(&mut self, event: RunEvent) {
        self.at(Stamped { at: Instant::now(), event });
    }

    /// Takes an event that happened earlier.
    pub fn at(&mut self, stamp: Stamp) {
        self.recorder.apply(stamp.clone());
        let written = match &mut self.journal {
            Some(journal) => journal.append(&stamp.event, &self.recorder),
            None => Ok(()),
        };
        // nobody may be listening any more: the run goes on for its journal
        let _ = self.events.send(stamp);
        if let Err(error) = written {
            self.journal = None;
            let message = format!(
                "the run's journal cannot be written: {error}; free some space and resume the run"
            );
            self.lost = Some(Failure::new(FailureKind::Internal, message));
            self.cancel.cancel();
        }
    }
}

impl Runner {
    pub fn new(
        job: Job,
        journal: Journal,
        recorder: Recorder,
        providers: Arc<dyn OpenProvider>,
        controls: Controls,
        events: UnboundedSender<Stamp>,
    ) -> Self {
        let log = Log {
            journal: Some(journal),
            recorder,
            events,
            probe: Probe::new(),
            cancel: controls.cancel.clone(),
            lost: None,
        };
        let purse = Purse::new(job.plan.max_cost_usd, &log.recorder);
        let (open, failed, no_turns) = (Vec::new(), Vec::new(), None);
        Self { job, providers, controls, open, failed, no_turns, purse, log }
    }

    /// Runs every lane, `repeats` times. Every second repeat runs the lanes in reverse order, so
    /// that a machine that becomes slower or faster favours none of them. With another run to take
    /// turns with, each pass is one.
    pub async fn run(mut self, turns: Option<Arc<Turns>>, mut between: Between) {
        let mut is_first = true;
        for repeat in 0..self.job.plan.repeats {
            let order = order(self.job.plan.lanes.len(), repeat);
            for (place, &lane) in order.iter().enumerate() {
                if self.is_done(lane, repeat) {
                    continue;
                }
                let turn = self.turn(turns.as_deref()).await;
                if !std::mem::take(&mut is_first) && !self.controls.cancel.is_cancelled() {
                    between(&self.log.recorder);
                }
                self.run_lane(lane, repeat, turn).await;
                self.close_unneeded(&order[place + 1..], repeat);
            }
        }
        self.log.now(RunEvent::RunFinished);
    }

    /// Whether an earlier session finished this pass.
    fn is_done(&self, lane: usize, repeat: usize) -> bool {
        let passes = &self.log.recorder.lanes[lane].passes;
        passes
            .iter()
            .any(|pass| pass.repeat == repeat && pass.finished.is_some() && pass.failure.is_none())
    }

    /// Waits for this run's turn, if it takes turns. Where they cannot be taken once, they are
    /// not tried again: the other run goes on alone, and every pass left fails with the reason.
    async fn turn(&mut self, turns: Option<&Turns>) -> Result<(), Failure> {
        let Some(turns) = turns else { return Ok(()) };
        if let Some(failure) = &self.no_turns {
            return Err(failure.clone());
        }
        let cancel = self.controls.cancel.clone();
        let waits = |line| self.log.now(RunEvent::Preparing(line));
        match turns.next(&cancel, waits).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::cancelled()),
            Err(error) => {
                turns.leave();
                let failure = Failure::new(FailureKind::Internal, format!("{error:#}"));
                Err(self.no_turns.insert(failure).clone())
            }
        }
    }

    async fn run_lane(&mut self, index: usize, repeat: usize, turn: Result<(), Failure>) {
        let opened = match turn {
            Ok(()) => self.provider(index).await,
            Err(failure) => Err(failure),
        };
        let (provider, spending) = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                self.log.now(RunEvent::LaneStarted { lane: index, repeat });
                self.log.now(RunEvent::LaneFinished { failure: Some(failure) });
                return;
            }
        };
        let spec = &self.job.plan.lanes[index];
        let size = spec.mode.batch_size().unwrap_or(1);
        self.controls.batch_size.set(size);
        self.log.now(RunEvent::LaneStarted { lane: index, repeat });
        let failure = match lane::check_support(spec.mode, &self.info(provider.as_ref(), spec.mode))
        {
            Err(failure) => Some(failure),
            Ok(()) if self.controls.cancel.is_cancelled() => Some(Failure::cancelled()),
            Ok(()) => {
                let lane = Lane {
                    provider,
                    mode: spec.mode,
                    on_error: self.job.plan.on_error,
                    batch_size: self.controls.batch_size.clone(),
                    cancel: self.controls.cancel.child_token(),
                    jobs: self.jobs(index, repeat),
                };
                let requests = self.requests(index, repeat, spending);
                lane.run(requests, &mut self.log).await
            }
        };
        let failure = self.log.lost.clone().or(failure);
        self.log.now(RunEvent::LaneFinished { failure });
    }

    /// The batch jobs of a lane that an earlier session left behind.
    fn jobs(&self, lane: usize, repeat: usize) -> Vec<JobRecord> {
        let mut passes = self.log.recorder.lanes[lane].passes.iter();
        let pass = passes.find(|pass| pass.repeat == repeat);
        pass.map(|pass| pass.jobs.clone()).unwrap_or_default()
    }

    /// The rows of a lane that an earlier session did not finish.
    fn requests(&self, lane: usize, repeat: usize, spending: Option<Spending>) -> Vec<Request> {
        let plan = &self.job.plan;
        let sampling = Arc::new(plan.sampling.clone());
        let passes = &self.log.recorder.lanes[lane].passes;
        let pass = passes.iter().find(|pass| pass.repeat == repeat);
        let open =
            |row: usize| pass.and_then(|pass| pass.rows.get(row)).is_none_or(|row| !row.ended());
        let rows = self.job.prompts.prompts.iter().enumerate().filter(|(row, _)| open(*row));
        rows.map(|(row, prompt)| Request {
            row,
            prompt: prompt.clone(),
            raw: plan.raw,
            sampling: sampling.clone(),
            spending: spending.clone(),
        })
        .collect()
    }

    /// The lane's provider, opened and warmed up when it is first needed, and what its requests
    /// are charged to.
    async fn provider(&mut self, lane: usize) -> Result<Opened, Failure> {
        let spec = self.job.plan.provider_of(lane).clone();
        let open = self.open.iter().position(|open| open.spec == spec);
        let provider = match open {
            Some(place) => self.open[place].provider.clone(),
            None => self.open_once(lane, &spec).await?,
        };
        let mode = self.job.plan.lanes[lane].mode;
        let info = self.info(provider.as_ref(), mode);
        let spending = self.purse.open(lane, &self.log.recorder.lanes[lane], &info, mode)?;
        self.log.now(RunEvent::ProviderReady { lane, info });
        // a batch job finds no cache warm, and a row of a warm-up costs the full price
        let is_job = mode == Mode::Offline;
        if !is_job && open.is_none_or(|place| !self.open[place].warm) {
            self.warm_up(lane, &provider, spending.clone()).await?;
        }
        match open {
            Some(place) => self.open[place].warm |= !is_job,
            None => self.open.push(Open { spec, provider: provider.clone(), warm: !is_job }),
        }
        Ok((provider, spending))
    }

    /// What is behind a provider, as far as this plan's prompts go.
    fn info(&self, provider: &dyn Provider, mode: Mode) -> ProviderInfo {
        let batching = provider.batching(self.job.plan.raw);
        let price = self.providers.price(provider.info());
        let price = match mode {
            Mode::Offline => price.and_then(|price| price.in_a_job()),
            _ => price,
        };
        ProviderInfo { batching, price, ..provider.info().clone() }
    }

    /// Opens a provider, unless it failed to open for an earlier lane and would fail again.
    async fn open_once(
        &mut self,
        lane: usize,
        spec: &ProviderSpec,
    ) -> Result<Arc<dyn Provider>, Failure> {
        if let Some((_, first, kind)) = self.failed.iter().find(|(failed, ..)| failed == spec) {
            let first = &self.job.plan.lanes[*first].label;
            let message = format!("not run: {} failed to open for lane {first}", spec.model);
            return Err(Failure::new(*kind, message));
        }
        let opened = self.open_provider(spec).await;
        if let Err(failure) = &opened
            && !may_pass(failure.kind)
        {
            self.failed.push((spec.clone(), lane, failure.kind));
        }
        opened
    }

    async fn open_provider(&mut self, spec: &ProviderSpec) -> Result<Arc<dyn Provider>, Failure> {
        let cancel = self.controls.cancel.clone();
        let (lines, mut told) = mpsc::unbounded_channel();
        let progress = move |line: String| {
            let _ = lines.send(line);
        };
        let providers = self.providers.clone();
        let mut opening = providers.open(spec, &progress, cancel.clone());
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Failure::cancelled()),
                Some(line) = told.recv() => self.log.now(RunEvent::Preparing(line)),
                opened = &mut opening => return opened,
            }
        }
    }

    /// Runs the first rows once, unmeasured: the first pass over a model pays for cold caches
    /// and lazy allocations.
    async fn warm_up(
        &mut self,
        lane: usize,
        provider: &Arc<dyn Provider>,
        spending: Option<Spending>,
    ) -> Result<(), Failure> {
        let plan = &self.job.plan;
        if plan.warmup == 0 || self.job.prompts.prompts.is_empty() {
            return Ok(());
        }
        let sampling = Arc::new(Sampling {
            max_tokens: plan.sampling.max_tokens.min(16),
            ..plan.sampling.clone()
        });
        let raw = plan.raw;
        let prompts: Vec<_> = self.job.prompts.prompts.iter().take(plan.warmup).cloned().collect();
        self.log.now(RunEvent::WarmUp { lane });
        for (row, prompt) in prompts.into_iter().enumerate() {
            let (sender, _unmeasured) = mpsc::unbounded_channel();
            let (sampling, spending) = (sampling.clone(), spending.clone());
            let request = Request { row, prompt, raw, sampling, spending };
            let cancel = self.controls.cancel.child_token();
            provider.generate(request, Sink::new(sender), cancel).await?;
        }
        Ok(())
    }

    /// Lets go of providers that no later lane needs: a model may be many gigabytes.
    fn close_unneeded(&mut self, later: &[usize], repeat: usize) {
        let plan = &self.job.plan;
        let more_repeats = repeat + 1 < plan.repeats;
        let later = |spec: &ProviderSpec| {
            more_repeats || later.iter().any(|lane| plan.provider_of(*lane) == spec)
        };
        self.open.retain(|open| later(&open.spec));
    }
}

/// The lanes in the order in which a repeat runs them.
fn order(lanes: usize, repeat: usize) -> Vec<usize> {
    if repeat.is_multiple_of(2) { (0..lanes).collect() } else { (0..lanes).rev().collect() }
}

/// Whether opening again may succeed without any change.
fn may_pass(kind: FailureKind) -> bool {
    match kind {
        FailureKind::RateLimited
        | FailureKind::Overloaded
        | FailureKind::Transport
        | FailureKind::Server
        | FailureKind::Cancelled => true,
        FailureKind::Auth
        | FailureKind::Protocol
        | FailureKind::InvalidRequest
        | FailureKind::Model
        | FailureKind::OutOfMemory
        | FailureKind::Unsupported
        | FailureKind::SpendingLimit
        | FailureKind::Internal => false,
    }
}

/// Whether a mode sends calls of many rows.
pub(super) fn is_batched(mode: Mode) -> bool {
    matches!(mode, Mode::Batched { .. } | Mode::BatchedAsync { .. })
}
