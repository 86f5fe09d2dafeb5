//! Keeps what happened in a run: a pure fold over its events, without a clock and without I/O.
//!
//! It neither judges (that is [`super::verify`]) nor formats; every figure is a number or
//! absent.

mod load;
mod pass;
mod row;
mod serving;
mod timeline;

use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use load::{CpuShares, Load};
pub use pass::{Pass, PeakMemory};
pub use row::{RowRecord, RowState};
pub use serving::Serving;
pub use timeline::Timeline;

use super::event::{RunEvent, Stamp};
use crate::config::{LaneSpec, Mode, Plan};
use crate::provider::{Failure, FailureKind, ProviderInfo};

/// Everything known about a run so far.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// Zero of every time in the record.
    pub epoch: Instant,
    /// The lanes, in the order of the plan.
    pub lanes: Vec<LaneRecord>,
    /// Index of the lane that runs now.
    pub running: Option<usize>,
    /// What is being prepared, in a line for people.
    pub preparing: Option<String>,
    /// Notices of the providers, oldest first.
    pub notices: Vec<String>,
    /// Nothing follows.
    pub finished: bool,
    /// Index of the lane that agreement is measured against.
    pub reference: usize,
    rows: usize,
    /// A moment of the run, and what time it was then.
    clock: Option<(Duration, Timestamp)>,
}

/// One lane and its passes over the list.
#[derive(Debug, Clone)]
pub struct LaneRecord {
    /// As planned.
    pub spec: LaneSpec,
    /// What is behind its provider, once it is open.
    pub info: Option<ProviderInfo>,
    /// Where it stands.
    pub state: LaneState,
    /// One a repeat, in order; the last one may be running.
    pub passes: Vec<Pass>,
}

/// Where a lane stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneState {
    /// Not begun.
    Waiting,
    /// Its provider is being warmed up.
    WarmingUp,
    /// A pass is under way.
    Running,
    /// All rows of its last pass ended, some perhaps with a failure.
    Done,
    /// It ended early.
    Failed(Failure),
    /// The user stopped it.
    Cancelled,
}

impl LaneState {
    /// Where a lane stands after a pass that ended so.
    pub fn after(failure: Option<Failure>) -> Self {
        match failure {
            None => LaneState::Done,
            Some(failure) if failure.kind == FailureKind::Cancelled => LaneState::Cancelled,
            Some(failure) => LaneState::Failed(failure),
        }
    }
}

impl LaneRecord {
    /// The pass that runs, or the last one.
    pub fn pass(&self) -> Option<&Pass> {
        self.passes.last()
    }
}

impl Recorder {
    /// An empty record of this plan over `rows` prompts; times count from `epoch`.
    pub fn new(plan: &Plan, rows: usize, epoch: Instant) -> Self {
        let lanes = plan.lanes.iter().cloned().map(|spec| LaneRecord {
            spec,
            info: None,
            state: LaneState::Waiting,
            passes: Vec::new(),
        });
        let reference = plan.lanes.iter().position(|lane| lane.mode == Mode::Sequential);
        Self {
            epoch,
            lanes: lanes.collect(),
            running: None,
            preparing: None,
            notices: Vec::new(),
            finished: false,
            reference: reference.unwrap_or(0),
            rows,
            clock: None,
        }
    }

    /// Says what time it is now, so that passes know when they began.
    pub(super) fn begins_at(&mut self, now: Instant, time: Timestamp) {
        self.clock = Some((now.saturating_duration_since(self.epoch), time));
    }

    /// A moment of the run as a time of day, where that is known.
    fn time_of(&self, at: Duration) -> Option<Timestamp> {
        let (then, time) = self.clock?;
        time.checked_add(at.checked_sub(then)?).ok()
    }

    /// How many prompts the list has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Takes one event into the record.
    pub fn apply(&mut self, stamp: Stamp) {
        let at = stamp.at.saturating_duration_since(self.epoch);
        match stamp.event {
            RunEvent::Preparing(what) => self.preparing = Some(what),
            RunEvent::ProviderReady { lane, info } => {
                self.preparing = None;
                if let Some(lane) = self.lanes.get_mut(lane) {
                    lane.info = Some(info);
                }
            }
            RunEvent::WarmUp { lane } => self.set_state(lane, LaneState::WarmingUp),
            RunEvent::LaneStarted { lane, repeat } => {
                self.preparing = None;
                self.running = Some(lane);
                self.set_state(lane, LaneState::Running);
                self.start_pass(lane, repeat, at);
            }
            RunEvent::Provider(crate::provider::Event::Notice(text)) => self.notices.push(text),
            RunEvent::Provider(event) => {
                let Some(running) = self.running else { return };
                let ended =
                    self.lanes[running].passes.last_mut().and_then(|pass| pass.apply(at, event));
                if let Some(row) = ended {
                    self.compare(running, row);
                }
            }
            RunEvent::Probe(sample) => {
                if let Some(pass) = self.running_pass() {
                    pass.probe(at, sample);
                }
            }
            RunEvent::Lag(lags) => {
                if let Some(pass) = self.running_pass() {
                    pass.lags.merge(&lags);
                }
            }
            RunEvent::BatchSize(size) => {
                if let Some(pass) = self.running_pass() {
                    pass.set_batch_size(at, size);
                }
            }
            RunEvent::LaneFinished { failure } => {
                if let Some(pass) = self.running_pass() {
                    pass.finish(at, failure.clone());
                }
                if let Some(lane) = self.running.take() {
                    self.set_state(lane, LaneState::after(failure));
                }
            }
            RunEvent::RunFinished => {
                self.preparing = None;
                self.finished = true;
            }
        }
    }

    fn start_pass(&mut self, lane: usize, repeat: usize, at: Duration) {
        let (rows, began_at) = (self.rows, self.time_of(at));
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        match lane.passes.iter_mut().find(|pass| pass.repeat == repeat) {
            Some(resumed) => resumed.go_on(at),
            None => {
                let mut pass = Pass::new(repeat, rows, at, lane.spec.mode.batch_size());
                pass.began_at = began_at;
                lane.passes.push(pass);
            }
        }
    }

    fn running_pass(&mut self) -> Option<&mut Pass> {
        self.lanes[self.running?].passes.last_mut()
    }

    fn set_state(&mut self, lane: usize, state: LaneState) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.state = state;
        }
    }

    /// Lets failed rows run again in passes that have not come to their end, and counts anew;
    /// for records that were read from a journal.
    pub(super) fn reopen_failed(&mut self) {
        for pass in self.lanes.iter_mut().flat_map(|lane| &mut lane.passes) {
            pass.reopen_failed();
        }
    }

    /// When the last thing that is known happened, from the epoch of the run.
    pub fn last_moment(&self) -> Duration {
        let passes = self.lanes.iter().flat_map(|lane| &lane.passes);
        let ends = passes.map(|pass| pass.started + pass.finished.unwrap_or_default());
        ends.max().unwrap_or_default()
    }

    /// Notes whether a row that just ended equals its reference.
    pub(super) fn compare(&mut self, lane: usize, row: usize) {
        if lane == self.reference {
            return;
        }
        let reference = self.lanes[self.reference].pass().and_then(|pass| pass.rows.get(row));
        let Some(reference) = reference.filter(|row| row.state == RowState::Done) else { return };
        let text = reference.text.clone();
        if let Some(row) =
            self.lanes[lane].passes.last_mut().and_then(|pass| pass.rows.get_mut(row))
        {
            row.same_as_reference = (row.state == RowState::Done).then_some(row.text == text);
        }
    }
}
