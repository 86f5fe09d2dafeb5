//! Past runs: which there are, what is known of each, which are marked.
//!
//! It reads no file; what others found out is put in here.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::app::Screen;
use super::form::Finding;
use super::session::Session;
use crate::bench::history;
use crate::bench::journal::Recorded;
use crate::report::{self, Form, Report, RunFacts};

/// The list of past runs.
#[derive(Debug, Clone)]
pub struct History {
    /// The newest first.
    pub runs: Vec<PastRun>,
    /// Index of the run in focus.
    pub selected: usize,
    /// Folders of the marked runs.
    pub marked: Vec<PathBuf>,
    /// The run that is being looked at: one after another.
    pub looking: Option<PathBuf>,
    /// Whether the list is known.
    pub state: Finding<()>,
    /// The screen to go back to.
    pub from: Screen,
}

/// A run on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRun {
    /// Its folder.
    pub folder: PathBuf,
    /// What it was.
    pub facts: Finding<PastFacts>,
}

/// What a past run was.
#[derive(Debug, Clone, PartialEq)]
pub struct PastFacts {
    /// When it was started.
    pub started_at: jiff::Timestamp,
    /// The preset's name, or the list's.
    pub name: String,
    /// The model.
    pub model: String,
    /// Prompts in the list.
    pub rows: usize,
    /// How it ended, in a word.
    pub status: &'static str,
    /// Seconds from its start to the last thing that happened.
    pub took: f64,
    /// The lanes: label, output tokens per second, against the reference.
    pub lanes: Vec<(String, Option<f64>, Option<f64>)>,
    /// Rows that differ from the reference, over all lanes.
    pub differ: usize,
}

impl Default for History {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            selected: 0,
            marked: Vec::new(),
            looking: None,
            state: Finding::Asked,
            from: Screen::Setup,
        }
    }
}

impl History {
    /// Takes the list of folders; what is known of them stays.
    pub fn list(&mut self, folders: Vec<PathBuf>) {
        let known = std::mem::take(&mut self.runs);
        let facts = |folder: &Path| {
            let run = known.iter().find(|run| run.folder == folder);
            // a run that was under way may have ended since
            let settled = run.filter(|run| match &run.facts {
                Finding::Known(facts) => facts.status != "under way",
                Finding::Asked | Finding::Failed(_) => false,
            });
            settled.map_or(Finding::Asked, |run| run.facts.clone())
        };
        self.runs =
            folders.into_iter().map(|folder| PastRun { facts: facts(&folder), folder }).collect();
        self.marked.retain(|marked| self.runs.iter().any(|run| run.folder == *marked));
        self.state = Finding::Known(());
        self.selected = self.selected.min(self.runs.len().saturating_sub(1));
    }

    /// Takes what a run was.
    pub fn learn(&mut self, folder: &Path, facts: Result<PastFacts, String>) {
        self.looking = None;
        if let Some(run) = self.runs.iter_mut().find(|run| run.folder == folder) {
            run.facts = facts.map_or_else(Finding::Failed, Finding::Known);
        }
    }

    /// The first of these runs of which nothing is known.
    pub fn next_unknown(&self, visible: Range<usize>) -> Option<&Path> {
        let runs = self.runs.iter().skip(visible.start).take(visible.len());
        let mut unknown = runs.filter(|run| run.facts == Finding::Asked);
        Some(&unknown.next()?.folder)
    }

    /// The run in focus.
    pub fn run(&self) -> Option<&PastRun> {
        self.runs.get(self.selected)
    }

    /// Marks the run in focus, or no longer.
    pub fn mark(&mut self) {
        let Some(folder) = self.run().map(|run| run.folder.clone()) else { return };
        match self.marked.iter().position(|marked| *marked == folder) {
            Some(place) => drop(self.marked.remove(place)),
            None => self.marked.push(folder),
        }
    }

    /// Whether a run is marked.
    pub fn is_marked(&self, run: &PastRun) -> bool {
        self.marked.contains(&run.folder)
    }

    /// A run is no longer there.
    pub fn forget(&mut self, folder: &Path) {
        self.runs.retain(|run| run.folder != folder);
        self.marked.retain(|marked| marked != folder);
        self.selected = self.selected.min(self.runs.len().saturating_sub(1));
    }
}

/// What a run was, as its journal tells it.
pub fn facts(recorded: Recorded) -> PastFacts {
    let under_way = recorded.under_way;
    let took = recorded.recorder.last_moment().as_secs_f64();
    let session = Session::of_past(recorded);
    let lanes =
        session.recorder.lanes.iter().zip(&session.figures).map(|(lane, figures)| {
            (lane.spec.label.clone(), figures.tokens_per_s, figures.speedup)
        });
    PastFacts {
        started_at: session.started_at,
        name: session.plan.name.clone(),
        model: session.plan.provider.model.clone(),
        rows: session.recorder.rows(),
        status: if under_way { "under way" } else { session.status() },
        took,
        lanes: lanes.collect(),
        differ: session.figures.iter().map(|figures| figures.differ).sum(),
    }
}

/// Compares the runs, the first one being what the others are compared with, as text.
///
/// # Errors
/// Fewer than two runs, or one that cannot be read.
pub fn compare(folders: &[PathBuf]) -> anyhow::Result<String> {
    ensure!(folders.len() >= 2, "a comparison needs two runs: mark another one");
    let reports: Vec<Report> = folders
        .iter()
        .map(|folder| {
            let recorded = history::read(folder).with_context(|| name(folder))?;
            Ok(Report::of_past(&recorded))
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(report::compare(&reports).render(Form::Text))
}

/// A run's name: that of its folder.
pub fn name(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Session {
    /// The state of a run that is over, as it was when it ended.
    pub fn of_past(recorded: Recorded) -> Self {
        let last = recorded.recorder.last_moment();
        let past = RunFacts::of_past(&recorded);
        let start = super::session::RunStart {
            id: recorded.id,
            folder: recorded.folder,
            started_at: recorded.started_at,
            recorder: recorded.recorder,
        };
        let mut session = Self::new(start, recorded.job.plan, recorded.job.prompts);
        session.past = Some(past);
        session.last_event = last;
        session.follow = false;
        session.closed = true;
        let now = session.recorder.epoch + last;
        session.refresh(now);
        session
    }
}
