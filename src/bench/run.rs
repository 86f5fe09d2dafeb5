//! A run: start it, drain its events, change its batch size, stop it.
//!
//! The runner splits the list into calls and keeps some of them going; there is no executor
//! per mode. Producers never wait for whoever drains the events.

mod lane;
mod purse;
mod runner;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_util::sync::CancellationToken;

use super::event::Stamp;
use super::journal::{Journal, Restored};
use super::recorder::Recorder;
use super::turns::Turns;
use crate::config::Plan;
use crate::prompts::PromptList;
use crate::provider::{BatchSize, OpenProvider};

/// What to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// The plan, validated.
    pub plan: Plan,
    /// The list.
    pub prompts: Arc<PromptList>,
}

/// A run that was started. Dropping it does not stop the run; [`Controls::stop`] does.
#[derive(Debug)]
pub struct RunHandle {
    /// Name of the run, also the name of its folder.
    pub id: String,
    /// When it was started, also by an earlier session.
    pub started_at: Timestamp,
    /// The run's folder, where its journal grows.
    pub folder: PathBuf,
    /// Where the record begins: empty, or what an earlier session finished. Apply the events
    /// to it.
    pub recorder: Recorder,
    /// Everything that happens; the channel closes after
    /// [`RunFinished`](super::event::RunEvent::RunFinished).
    pub events: UnboundedReceiver<Stamp>,
    /// How to steer it.
    pub controls: Controls,
    /// The last turn lasts until this is dropped, so that the other run's does not begin while
    /// reports of this one are written.
    pub turns: Option<Arc<Turns>>,
}

/// Steers a run from outside.
#[derive(Debug, Clone)]
pub struct Controls {
    cancel: CancellationToken,
    batch_size: BatchSize,
}

impl Controls {
    /// Controls of something that only follows [`Controls::stop`].
    pub(super) fn of_cancel(cancel: CancellationToken) -> Self {
        Self { cancel, batch_size: BatchSize::new(1) }
    }

    /// Stops the run soon; what was finished is kept.
    pub fn stop(&self) {
        self.cancel.cancel();
    }

    /// Changes the batch size of the running lane; it is followed at the next refill. Lanes
    /// without a batch size are not touched, and each lane begins with its own.
    pub fn set_batch_size(&self, size: usize) {
        self.batch_size.set(size);
    }
}

/// Called between two passes with what was recorded so far; the next pass begins when it has
/// returned, so that whatever it does disturbs no measurement.
pub type Between = Box<dyn FnMut(&Recorder) + Send>;

/// Starts a run in the background of the current tokio runtime. Its folder is made under
/// `runs`.
///
/// # Errors
/// When the journal cannot be created.
pub fn start(job: Job, providers: Arc<dyn OpenProvider>, runs: &Path) -> anyhow::Result<RunHandle> {
    start_with(job, providers, runs, None, |_| Box::new(|_| ()))
}

/// As [`start`], in turns with another run if there are any; `between` is made once the name of
/// the run is known.
///
/// # Errors
/// When the journal cannot be created.
pub fn start_with(
    job: Job,
    providers: Arc<dyn OpenProvider>,
    runs: &Path,
    turns: Option<Turns>,
    between: impl FnOnce(&Journal) -> Between,
) -> anyhow::Result<RunHandle> {
    let journal = Journal::create(runs, &job)?;
    let recorder = Recorder::new(&job.plan, job.prompts.prompts.len(), Instant::now());
    let between = between(&journal);
    Ok(spawn(Restored { job, journal, recorder }, providers, turns, between))
}

/// Goes on with a run that an earlier session did not finish.
pub fn resume(restored: Restored, providers: Arc<dyn OpenProvider>, between: Between) -> RunHandle {
    spawn(restored, providers, None, between)
}

fn spawn(
    run: Restored,
    providers: Arc<dyn OpenProvider>,
    turns: Option<Turns>,
    between: Between,
) -> RunHandle {
    let Restored { job, journal, mut recorder } = run;
    let (now, time) = moment();
    recorder.begins_at(now, time);
    let turns = turns.map(Arc::new);
    let (sender, events) = mpsc::unbounded_channel();
    let controls = Controls { cancel: CancellationToken::new(), batch_size: BatchSize::new(1) };
    let handle = RunHandle {
        id: journal.id().to_owned(),
        started_at: journal.started_at(),
        folder: journal.folder().to_owned(),
        recorder: recorder.clone(),
        events,
        controls: controls.clone(),
        turns: turns.clone(),
    };
    let runner = runner::Runner::new(job, journal, recorder, providers, controls, sender);
    tokio::spawn(runner.run(turns, between));
    handle
}

/// A moment by both clocks; it is read again where something came between the two.
fn moment() -> (Instant, Timestamp) {
    let read = || (Instant::now(), Timestamp::now());
    let mut moments = std::iter::repeat_with(read).take(10);
    moments.find(|(now, _)| now.elapsed() < CLOCKS_APART).unwrap_or_else(read)
}

/// How far apart two clocks may be read for one moment.
const CLOCKS_APART: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
