//! One pass of one lane: splits its rows into calls and keeps `in_flight` of them going.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::runner::{Log, is_batched};
use crate::bench::event::RunEvent;
use crate::bench::lag::LagMeter;
use crate::config::{Mode, OnError};
use crate::probe::Sample;
use crate::provider::{
    BatchSize, Batching, Event, Failure, FailureKind, JobEvent, JobKeeper, JobRecord, Provider,
    ProviderInfo, Request, ServerEvent, ServerLoad, Sink, Stamped, Support, is_server_here,
};

/// How often memory is read.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// How often a server is asked about its load.
const LOAD_EVERY: Duration = Duration::from_millis(500);

/// How often events are taken. Each carries the moment at which it happened, so that it loses
/// nothing by waiting; waking up for every token would take a core from a local engine some
/// thousand times a second.
const DRAIN_EVERY: Duration = Duration::from_millis(5);

/// A lane that is about to run.
pub(super) struct Lane {
    pub provider: Arc<dyn Provider>,
    pub mode: Mode,
    pub on_error: OnError,
    pub batch_size: BatchSize,
    pub cancel: CancellationToken,
    /// Batch jobs of earlier sessions.
    pub jobs: Vec<JobRecord>,
}

/// Keeps what happens to batch jobs in the journal, through the loop that owns it.
struct Keeper {
    events: mpsc::UnboundedSender<Kept>,
}

/// An event that must be on the disk before its sender goes on, and where that is told.
type Kept = (JobEvent, oneshot::Sender<Result<(), Failure>>);

#[async_trait]
impl JobKeeper for Keeper {
    async fn keep(&self, event: JobEvent) -> Result<(), Failure> {
        let lost = || Failure::new(FailureKind::Internal, "the run is not being recorded any more");
        let (done, kept) = oneshot::channel();
        self.events.send((event, done)).map_err(|_| lost())?;
        kept.await.map_err(|_| lost())?
    }
}

/// A call that ended: the rows it had, and how.
type CallEnd = (Vec<usize>, Result<(), Failure>);

/// What is known about the lane's end.
#[derive(Default)]
struct Outcome {
    failure: Option<Failure>,
    ended: HashSet<usize>,
}

/// Refuses a mode that the provider cannot do: never a silent fallback.
pub(super) fn check_support(mode: Mode, info: &ProviderInfo) -> Result<(), Failure> {
    let refused = |reason: &str, instead: &str| {
        let message = format!("{} cannot run {}: {reason}; {instead}", info.provider, mode.word());
        Err(Failure::new(FailureKind::Unsupported, message))
    };
    match (mode, &info.batching, &info.offline) {
        (Mode::Offline, _, Support::No { reason, instead }) => refused(reason, instead),
        (mode, Batching::Unsupported { reason, instead }, _) if is_batched(mode) => {
            refused(reason, instead)
        }
        _ => Ok(()),
    }
}

impl Lane {
    /// Runs the requests; gives the reason when it ended early.
    pub async fn run(self, requests: Vec<Request>, log: &mut Log) -> Option<Failure> {
        let (sender, mut events) = mpsc::unbounded_channel();
        let sink = Sink::new(sender);
        let mut waiting = split(requests, self.mode).into_iter();
        let mut calls: FuturesUnordered<BoxFuture<'static, CallEnd>> = FuturesUnordered::new();
        let (events_to_keep, mut to_keep) = mpsc::unbounded_channel();
        let keeper: Arc<dyn JobKeeper> = Arc::new(Keeper { events: events_to_keep });
        let mut outcome = Outcome::default();
        let mut sizes = self.batch_size.subscribe();
        let mut probe = tokio::time::interval(PROBE_EVERY);
        probe.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut drain = tokio::time::interval(DRAIN_EVERY);
        drain.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ask = tokio::time::interval(LOAD_EVERY);
        ask.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut loads: FuturesUnordered<BoxFuture<'static, Option<ServerLoad>>> =
            FuturesUnordered::new();
        let lag = LagMeter::start();
        loop {
            while calls.len() < self.mode.in_flight() && !self.cancel.is_cancelled() {
                let Some(rows) = waiting.next() else { break };
                calls.push(self.call(rows, sink.clone(), keeper.clone()));
            }
            tokio::select! {
                biased;
                Some(end) = calls.next() => {
                    self.drain(&mut events, &mut outcome, log);
                    self.end_call(end, &mut outcome, log);
                }
                Some(kept) = to_keep.recv() => {
                    // what happened before it is written before it
                    self.drain(&mut events, &mut outcome, log);
                    keep(kept, log);
                }
                _ = drain.tick() => self.drain(&mut events, &mut outcome, log),
                Ok(()) = sizes.changed() => {
                    let size = *sizes.borrow_and_update();
                    if is_batched(self.mode) {
                        log.now(RunEvent::BatchSize(size));
                    }
                }
                _ = probe.tick() => {
                    let sample = self.sample(log);
                    log.now(RunEvent::Probe(sample));
                    log.now(RunEvent::Lag(lag.take()));
                }
                _ = ask.tick(), if loads.is_empty() => {
                    let provider = self.provider.clone();
                    loads.push(Box::pin(async move { provider.load().await }));
                }
                Some(load) = loads.next() => take_load(load, log),
                // `calls.next()` is always ready when there are none: the lane is over
                else => break,
            }
            if calls.is_empty() && (waiting.len() == 0 || self.cancel.is_cancelled()) {
                break;
            }
        }
        // what was used up to the end, also by a lane that is shorter than an interval
        let sample = self.sample(log);
        log.now(RunEvent::Probe(sample));
        log.now(RunEvent::Lag(lag.take()));
        if outcome.failure.is_none() && self.cancel.is_cancelled() {
            return Some(Failure::cancelled());
        }
        outcome.failure
    }

    /// What the machine's probe reads, and what the provider alone can read of its device.
    fn sample(&self, log: &mut Log) -> Sample {
        let mut sample = log.probe.sample();
        let info = self.provider.info();
        if !info.may_use_gpus() {
            sample.gpus.clear();
        } else if is_server_here(&info.device) {
            // the memory is the server's, and not this process's
            sample.gpus.iter_mut().for_each(|gpu| gpu.this_process = None);
        }
        sample.gpus.extend(self.provider.device_memory());
        sample
    }

    fn call(
        &self,
        mut requests: Vec<Request>,
        sink: Sink,
        keeper: Arc<dyn JobKeeper>,
    ) -> BoxFuture<'static, CallEnd> {
        let provider = self.provider.clone();
        let cancel = self.cancel.clone();
        let size = self.batch_size.clone();
        let batched = is_batched(self.mode);
        let jobs = (self.mode == Mode::Offline).then(|| self.jobs.clone());
        Box::pin(async move {
            let rows = requests.iter().map(|request| request.row).collect();
            if let Some(jobs) = jobs {
                let called = provider.run_offline(requests, jobs, keeper, sink, cancel).await;
                return (rows, called);
            }
            let result = match (batched, requests.pop()) {
                (false, Some(request)) => provider.generate(request, sink, cancel).await,
                (true, Some(last)) => {
                    requests.push(last);
                    provider.batch_generate(requests, size, sink, cancel).await
                }
                (_, None) => Ok(()),
            };
            (rows, result)
        })
    }

    fn drain(
        &self,
        events: &mut UnboundedReceiver<Stamped<Event>>,
        outcome: &mut Outcome,
        log: &mut Log,
    ) {
        while let Ok(stamp) = events.try_recv() {
            self.take(stamp, outcome, log);
        }
    }

    fn take(&self, stamp: Stamped<Event>, outcome: &mut Outcome, log: &mut Log) {
        match &stamp.event {
            Event::Finished { row, .. } => {
                outcome.ended.insert(*row);
            }
            Event::Failed { row, failure } => {
                outcome.ended.insert(*row);
                self.failed(&in_row(*row, failure), outcome);
            }
            Event::Submitted { .. }
            | Event::Tokens { .. }
            | Event::Answer { .. }
            | Event::Step { .. }
            | Event::Memory(_)
            | Event::Server(_)
            | Event::Job(_)
            | Event::Notice(_) => {}
        }
        log.at(Stamped { at: stamp.at, event: RunEvent::Provider(stamp.event) });
    }

    /// A failed call fails its rows where each is a call of its own or the lane goes on;
    /// otherwise it fails the lane, and its open rows were not run.
    fn end_call(&self, (rows, result): CallEnd, outcome: &mut Outcome, log: &mut Log) {
        let Err(failure) = result else { return };
        if failure.kind == FailureKind::Cancelled {
            return;
        }
        if self.mode == Mode::Offline {
            // the job may go on at the vendor: its rows have not failed, and resuming asks for them
            outcome.failure.get_or_insert(failure);
            return;
        }
        if rows.len() == 1 || self.on_error == OnError::Continue {
            for row in rows.into_iter().filter(|row| !outcome.ended.contains(row)) {
                let failure = failure.clone();
                log.now(RunEvent::Provider(Event::Failed { row, failure }));
            }
        }
        self.failed(&failure, outcome);
    }

    /// Fail fast: the first failure cancels the lane. What is at a vendor as a job is under way as
    /// a whole: cancelling it would throw away what was waited for.
    fn failed(&self, failure: &Failure, outcome: &mut Outcome) {
        if self.on_error == OnError::Continue || self.cancel.is_cancelled() {
            return;
        }
        if self.mode == Mode::Offline {
            outcome.failure.get_or_insert_with(|| failure.clone());
        } else {
            outcome.failure = Some(failure.clone());
            self.cancel.cancel();
        }
    }
}

fn keep((event, done): Kept, log: &mut Log) {
    log.now(RunEvent::Provider(Event::Job(event)));
    // a provider that does not wait for it was cancelled
    let _ = done.send(log.lost.clone().map_or(Ok(()), Err));
}

fn take_load(load: Option<ServerLoad>, log: &mut Log) {
    if let Some(load) = load {
        log.now(RunEvent::Provider(Event::Server(ServerEvent::Load(load))));
    }
}

/// The failure of a lane by one of its rows.
fn in_row(row: usize, failure: &Failure) -> Failure {
    let message = format!("row {}: {}", row + 1, failure.message);
    Failure { message, ..failure.clone() }
}

/// The calls of a lane, each with its rows in the order of the list.
fn split(requests: Vec<Request>, mode: Mode) -> Vec<Vec<Request>> {
    let rows = mode.rows_per_call(requests.len());
    let mut calls = Vec::with_capacity(requests.len().div_ceil(rows));
    let mut requests = requests.into_iter().peekable();
    while requests.peek().is_some() {
        calls.push(requests.by_ref().take(rows).collect());
    }
    calls
}
