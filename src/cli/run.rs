//! Headless runs: start or resume one, follow it to its end, judge it, write its reports.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::exit::Exit;
use super::output::Output;
use super::progress::Progress;
use super::signals::Signals;
use crate::bench::journal::{Journal, Restored};
use crate::bench::run::Between;
use crate::bench::turns::Turns;
use crate::bench::{self, Job, RunHandle};
use crate::provider::OpenProvider;
use crate::report::{Report, RunFacts};

/// What a headless run needs besides its job.
pub struct Headless {
    /// How providers are opened.
    pub providers: Arc<dyn OpenProvider>,
    /// Where reports go, and what is asked of them.
    pub output: Output,
    /// The command line that repeats the run.
    pub command: Option<String>,
}

impl Headless {
    /// Runs a job to its end, in turns with another run if there are any.
    ///
    /// # Errors
    /// When the run's folder or a report cannot be written.
    pub async fn run(&self, job: Job, runs: &Path, turns: Option<Turns>) -> anyhow::Result<Exit> {
        if job.prompts.prompts.is_empty() {
            eprintln!("the prompt list {} is empty: there is nothing to run", job.prompts.name);
            return Ok(Exit::Done);
        }
        let between = |journal: &Journal| self.between(&job, journal);
        let providers = self.providers.clone();
        let handle = bench::run::start_with(job.clone(), providers, runs, turns, between)?;
        self.follow(job, handle).await
    }

    /// Goes on with a run that was interrupted.
    ///
    /// # Errors
    /// When a report cannot be written.
    pub async fn resume(&self, restored: Restored) -> anyhow::Result<Exit> {
        let job = restored.job.clone();
        let between = self.between(&job, &restored.journal);
        self.follow(job, bench::run::resume(restored, self.providers.clone(), between)).await
    }

    /// Writes the reports of what was finished after each pass, so that a crash leaves them.
    fn between(&self, job: &Job, journal: &Journal) -> Between {
        if self.output.exports.is_empty() {
            return Box::new(|_| ());
        }
        let facts = self.facts(journal.id().to_owned(), journal.started_at());
        let (job, exports, slo) = (job.clone(), self.output.exports.clone(), self.output.gates.slo);
        Box::new(move |recorder| {
            let report = Report::build(&facts, &job.plan, &job.prompts, recorder).within(slo);
            // what cannot be written now is tried again, and told, at the end
            exports.iter().for_each(|export| drop(export.write(&report)));
        })
    }

    fn facts(&self, id: String, started_at: Timestamp) -> RunFacts {
        RunFacts {
            id,
            started_at,
            finished_at: None,
            version: env!("CARGO_PKG_VERSION").into(),
            host: crate::probe::host(),
            command: self.command.clone(),
        }
    }

    async fn follow(&self, job: Job, mut handle: RunHandle) -> anyhow::Result<Exit> {
        let mut progress = Progress::new(self.output.quiet);
        progress.note(&format!("run {}", handle.id));
        let interrupted = drain(&mut handle, &mut progress).await?;
        let facts = RunFacts {
            finished_at: Some(Timestamp::now()),
            ..self.facts(handle.id.clone(), handle.started_at)
        };
        let report = Report::build(&facts, &job.plan, &job.prompts, &handle.recorder);
        let report = report.within(self.output.gates.slo);
        self.output.write(&report)?;
        let exit = self.output.tell(&report, &mut std::io::stdout())?;
        if interrupted {
            eprintln!("interrupted; go on with: batchgen-tui resume {}", handle.id);
        }
        Ok(if interrupted { Exit::Interrupted } else { exit })
    }
}

/// Follows a run until it is over. Gives whether it was interrupted: the first signal stops the
/// run and keeps what was finished, the second ends the program at once.
async fn drain(handle: &mut RunHandle, progress: &mut Progress) -> anyhow::Result<bool> {
    let mut signals = Signals::listen()?;
    let mut interrupted = false;
    loop {
        tokio::select! {
            biased;
            () = signals.next() => stop(handle, progress, &mut interrupted),
            stamp = handle.events.recv() => {
                let Some(stamp) = stamp else { return Ok(interrupted) };
                let event = stamp.event.clone();
                handle.recorder.apply(stamp);
                progress.follow(&event, &handle.recorder);
            }
        }
    }
}

fn stop(handle: &RunHandle, progress: &mut Progress, interrupted: &mut bool) {
    if std::mem::replace(interrupted, true) {
        std::process::exit(130);
    }
    progress.note("stopping; what was finished is kept (once more to leave at once)");
    handle.controls.stop();
}
