//! A run on the screen: the recorder, the figures drawn from it, and where the user looks.

mod differences;
mod figures;
mod filter;
mod lines;
mod search;
mod sweep;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use differences::{Differences, Place};
use figures::Base;
pub use figures::{Figures, SizeChange};
pub use filter::Filter;
use lines::{Lines, Wrapping};
pub use search::Search;
pub use sweep::SweepView;

use super::notices::{Level, Notices};
use crate::bench::event::{RunEvent, Stamp};
use crate::bench::recorder::{LaneRecord, LaneState, Recorder, RowRecord, RowState};
use crate::config::Plan;
use crate::prompts::PromptList;
use crate::provider::Event;
use crate::report::RunFacts;

/// Figures of a running lane are computed at most this often, for every 10,000 rows of the list:
/// what they cost grows with the rows, and is to stay a hundredth of a core.
const FIGURES_EVERY: Duration = Duration::from_millis(250);

/// However many rows there are.
const FIGURES_AT_LEAST_EVERY: Duration = Duration::from_secs(2);

/// Where a run begins.
#[derive(Debug, Clone)]
pub struct RunStart {
    /// Name of the run.
    pub id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// When it was started.
    pub started_at: jiff::Timestamp,
    /// Empty, or what an earlier session finished.
    pub recorder: Recorder,
}

/// A run that was started from here.
#[derive(Debug, Clone)]
pub struct Session {
    /// Name of the run.
    pub id: String,
    /// Its folder, where its journal grows.
    pub folder: PathBuf,
    /// When it was started.
    pub started_at: jiff::Timestamp,
    /// What runs.
    pub plan: Plan,
    /// Over which prompts.
    pub prompts: Arc<PromptList>,
    /// What happened so far.
    pub recorder: Recorder,
    /// One a lane.
    pub figures: Vec<Figures>,
    /// The lane the user looks at, where only one fits.
    pub lane: usize,
    /// The selected row.
    pub row: usize,
    /// First row of the table that is visible.
    pub top: usize,
    /// The selection follows the newest row.
    pub follow: bool,
    /// Lines that the Row view is scrolled by.
    pub scroll: usize,
    /// The user asked to stop.
    pub stopping: bool,
    /// The channel closed: nothing follows, whether the run said so or not.
    pub closed: bool,
    /// What the Sweep screen shows, where the run is a sweep.
    pub sweep: Option<SweepView>,
    /// Which rows the table shows.
    pub filter: Filter,
    /// The rows that the table shows, where not all.
    shown: Option<Vec<usize>>,
    /// What is looked for in prompts and outputs.
    pub search: Search,
    /// What differs in the selected row.
    pub differences: Differences,
    /// Where the lines of the selected row's outputs begin.
    lines: Lines,
    /// The batch size that was asked for and that the run has not told yet.
    asked: Option<usize>,
    /// A past run that is played again.
    pub replay: bool,
    /// What the journal of a past run tells of it.
    pub past: Option<RunFacts>,
    /// When the last event came.
    pub last_event: Duration,
    newest: usize,
    notices_taken: usize,
    computed: Option<Instant>,
    /// Nothing has happened since the figures of a run that is over were computed.
    settled: bool,
}

/// The output of a row, or why there is none.
pub fn shown_text(record: &RowRecord) -> &str {
    match (&record.failure, record.state) {
        (Some(failure), RowState::Failed) if record.text.is_empty() => &failure.message,
        _ => &record.text,
    }
}

impl Session {
    /// The state of a run that has just been started, or goes on from what its recorder holds.
    pub fn new(handle: RunStart, plan: Plan, prompts: Arc<PromptList>) -> Self {
        let RunStart { id, folder, started_at, recorder } = handle;
        let figures = recorder.lanes.iter().map(|_| Figures::default()).collect();
        let notices_taken = recorder.notices.len();
        let sweep = crate::bench::sweep::is_sweep(&plan).then(SweepView::new);
        Self {
            id,
            folder,
            started_at,
            plan,
            prompts,
            recorder,
            figures,
            lane: 0,
            row: 0,
            top: 0,
            follow: true,
            scroll: 0,
            stopping: false,
            closed: false,
            sweep,
            filter: Filter::All,
            shown: None,
            search: Search::default(),
            differences: Differences::default(),
            lines: Lines::default(),
            asked: None,
            replay: false,
            past: None,
            last_event: Duration::ZERO,
            newest: 0,
            notices_taken,
            computed: None,
            settled: false,
        }
    }

    /// Whether something may still happen.
    pub fn running(&self) -> bool {
        !self.recorder.finished && !self.closed
    }

    /// The lane that runs now.
    pub fn running_lane(&self) -> Option<&LaneRecord> {
        self.recorder.lanes.get(self.recorder.running?)
    }

    /// The batch size of the lane that runs now, where it has one.
    pub fn live_batch_size(&self) -> Option<usize> {
        let lane = self.running_lane().filter(|_| self.running())?;
        lane.spec.mode.batch_size()?;
        lane.pass()?.batch_size()
    }

    /// The batch size that a key changes: keys come faster than the run can tell what they did.
    /// `None` where the lane that runs has none.
    pub fn ask_batch_size(&mut self, change: fn(usize) -> usize) -> Option<usize> {
        let now = self.live_batch_size()?;
        self.asked = Some(change(self.asked.unwrap_or(now)).max(1));
        self.asked
    }

    /// Takes one event of the run.
    pub fn apply(&mut self, stamp: Stamp, notices: &mut Notices) {
        self.last_event = stamp.at.saturating_duration_since(self.recorder.epoch);
        self.settled = false;
        self.see(&stamp.event, notices);
        self.recorder.apply(stamp);
        for text in &self.recorder.notices[self.notices_taken..] {
            notices.add(Level::Warning, text.clone());
        }
        self.notices_taken = self.recorder.notices.len();
        if self.follow {
            self.row = self.newest;
        }
    }

    /// What the screen itself makes of an event.
    fn see(&mut self, event: &RunEvent, notices: &mut Notices) {
        match event {
            RunEvent::BatchSize(size) => self.asked = self.asked.filter(|asked| asked != size),
            RunEvent::LaneStarted { lane, .. } => {
                self.newest = 0;
                self.asked = None;
                // lanes that are passed over by a stop are nothing to look at
                if self.follow && !self.stopping {
                    self.lane = *lane;
                }
            }
            RunEvent::Provider(Event::Tokens { row, .. } | Event::Answer { row, .. })
                if *row < self.recorder.rows() =>
            {
                self.newest = self.newest.max(*row);
            }
            RunEvent::Provider(Event::Failed { row, failure }) => {
                let lane = self.running_lane().map_or("", |lane| &lane.spec.label);
                notices.add(
                    Level::Error,
                    format!("{lane}, row {}: {}", row.saturating_add(1), failure.message),
                );
            }
            RunEvent::LaneFinished { failure: Some(failure) } if !self.stopping => {
                let lane = self.running_lane().map_or("run", |lane| &lane.spec.label);
                notices.add(Level::Error, format!("{lane}: {}", failure.message));
            }
            _ => {}
        }
    }

    /// The channel closed. A run that had not said it was over broke off.
    pub fn close(&mut self, notices: &mut Notices) {
        self.closed = true;
        self.settled = false;
        if !self.recorder.finished {
            notices.add(
                Level::Error,
                "the run broke off without a word: what was finished is kept; export it, or run again",
            );
        }
    }

    /// Computes the figures anew where they may have changed and are old enough.
    pub fn refresh(&mut self, now: Instant) {
        let rows = u32::try_from(self.recorder.rows() / 10_000).unwrap_or(u32::MAX);
        let every = FIGURES_EVERY.saturating_mul(rows.max(1)).min(FIGURES_AT_LEAST_EVERY);
        let young = self.computed.is_some_and(|at| now.duration_since(at) < every);
        if self.settled || (young && self.running()) {
            return;
        }
        self.settled = !self.running();
        self.computed = Some(now);
        self.shown = self.filter.rows(&self.recorder);
        let elapsed = now.saturating_duration_since(self.recorder.epoch);
        let reference = self.recorder.reference;
        // the reference first: the others' speedup needs its figure
        let others = (0..self.figures.len()).filter(|lane| *lane != reference);
        for lane in std::iter::once(reference).chain(others) {
            let base = self.figures.get(reference).and_then(|figures| figures.tokens_per_s);
            let base = if lane == reference { Base::Itself } else { Base::Other(base) };
            let Some(record) = self.recorder.lanes.get(lane) else { continue };
            if self.figures[lane].is_final(&record.state) {
                continue;
            }
            let rows = self.recorder.rows();
            self.figures[lane] = Figures::of(record, rows, elapsed, &self.plan, base);
        }
        if let Some(sweep) = &mut self.sweep {
            sweep.refresh(&self.recorder);
        }
    }

    /// Moves the selected row and stops following.
    pub fn select(&mut self, row: usize) {
        self.follow = false;
        self.row = row.min(self.recorder.rows().saturating_sub(1));
        self.scroll = 0;
    }

    /// Follows the newest row, in the lane that runs.
    pub fn follow(&mut self) {
        self.follow = true;
        self.row = self.newest;
        self.lane = self.recorder.running.unwrap_or(self.lane);
    }

    /// Shows other rows in the table.
    pub fn next_filter(&mut self) {
        self.filter = self.filter.next();
        self.shown = self.filter.rows(&self.recorder);
        self.top = 0;
        if let Some(first) = self.shown.as_ref().and_then(|shown| shown.first()) {
            self.select(*first);
        }
    }

    /// How many rows the table shows.
    pub fn shown_rows(&self) -> usize {
        self.shown.as_ref().map_or(self.recorder.rows(), Vec::len)
    }

    /// The row at a place of the table.
    pub fn row_at(&self, place: usize) -> Option<usize> {
        match &self.shown {
            Some(shown) => shown.get(place).copied(),
            None => Some(place).filter(|row| *row < self.recorder.rows()),
        }
    }

    /// The place of the selected row in the table; the first where it is not shown.
    pub fn place(&self) -> usize {
        let place = |shown: &Vec<usize>| shown.iter().position(|row| *row == self.row);
        self.shown.as_ref().map_or(Some(self.row), place).unwrap_or(0)
    }

    /// Selects the row at a place of the table.
    pub fn select_place(&mut self, place: usize) {
        let last = self.shown_rows().saturating_sub(1);
        if let Some(row) = self.row_at(place.min(last)) {
            self.select(row);
        }
    }

    /// Scrolls the table so that the selected row is among `visible` rows.
    pub fn keep_in_sight(&mut self, visible: usize) {
        let visible = visible.max(1);
        let place = self.place();
        if place < self.top {
            self.top = place;
        } else if place >= self.top + visible {
            self.top = place + 1 - visible;
        }
        self.top = self.top.min(self.shown_rows().saturating_sub(visible));
    }

    /// Brings what differs in the selected row up to date.
    pub fn compare_row(&mut self) {
        self.differences.refresh(&self.recorder, self.row, self.lane);
    }

    /// Finds the first `wanted` lines of the selected row's outputs, for these lanes with their
    /// columns; how many lines the longest has, as far as they were found.
    pub fn find_lines(&mut self, lanes: &[(usize, usize)], wanted: usize) -> usize {
        for (lane, columns) in lanes {
            let wrapping = self.wrapping(*lane, *columns);
            let Some(row) = self.recorder.lanes.get(*lane).and_then(LaneRecord::pass) else {
                continue;
            };
            let Some(row) = row.rows.get(self.row) else { continue };
            self.lines.find(*lane, wrapping, shown_text(row), wanted);
        }
        lanes.iter().map(|(lane, _)| self.lines.count(*lane)).max().unwrap_or(0)
    }

    /// The byte that a line of the selected row's output begins with; absent behind the last line
    /// that was found.
    pub fn line_start(&self, lane: usize, columns: usize, line: usize) -> Option<usize> {
        let found = self.lines.start(lane, self.wrapping(lane, columns), line);
        found.or_else(|| (line == 0).then_some(0))
    }

    /// The line of the selected row's output that holds a byte, as far as lines were found.
    pub fn line_of(&self, lane: usize, columns: usize, at: usize) -> Option<usize> {
        self.lines.line_of(lane, self.wrapping(lane, columns), at)
    }

    fn wrapping(&self, lane: usize, columns: usize) -> Wrapping {
        let passes = self.recorder.lanes.get(lane).map_or(0, |lane| lane.passes.len());
        Wrapping { row: self.row, passes, columns }
    }

    /// The next row, or the one before, whose prompt or any output has the text that is looked
    /// for; around the end.
    pub fn found(&self, forward: bool) -> Option<usize> {
        let rows = self.recorder.rows();
        if self.search.is_empty() || rows == 0 {
            return None;
        }
        let holds = |row: &usize| {
            let prompt = self.prompts.prompts.get(*row).map(|prompt| prompt.content.display());
            let passes = self.recorder.lanes.iter().filter_map(LaneRecord::pass);
            let texts = passes.filter_map(|pass| Some(pass.rows.get(*row)?.text.as_str()));
            prompt.into_iter().chain(texts).any(|text| self.search.is_in(text))
        };
        let around = |step: usize| {
            if forward { (self.row + step) % rows } else { (self.row + rows - step) % rows }
        };
        (1..=rows).map(around).find(holds)
    }

    /// Whether any lane's output of this row differs from the reference's.
    pub fn diverges(&self, row: usize) -> bool {
        self.recorder
            .lanes
            .iter()
            .filter_map(LaneRecord::pass)
            .any(|pass| pass.rows.get(row).is_some_and(|row| row.same_as_reference == Some(false)))
    }

    /// The next row that diverges, or the one before.
    pub fn divergence(&self, forward: bool) -> Option<usize> {
        if forward {
            (self.row + 1..self.recorder.rows()).find(|row| self.diverges(*row))
        } else {
            (0..self.row).rev().find(|row| self.diverges(*row))
        }
    }

    /// Where a lane's text of the selected row begins to differ, as [`Session::compare_row`] found it.
    pub fn first_difference(&self, lane: usize) -> Option<usize> {
        Some(self.differences.first(lane)?.byte)
    }

    /// Where an output of the selected row has what is looked for.
    pub fn first_found(&self, lane: usize) -> Option<usize> {
        let row = self.recorder.lanes.get(lane)?.pass()?.rows.get(self.row)?;
        Some(self.search.places(&row.text, 1).first()?.start)
    }

    /// In one word or two, how the run stands.
    pub fn status(&self) -> &'static str {
        let lanes = &self.recorder.lanes;
        let any = |state: fn(&LaneState) -> bool| lanes.iter().any(|lane| state(&lane.state));
        if self.running() {
            return if self.stopping { "stopping" } else { "running" };
        }
        if !self.recorder.finished {
            "broken off"
        } else if any(|state| matches!(state, LaneState::Failed(_))) {
            "failed"
        } else if any(|state| matches!(state, LaneState::Cancelled | LaneState::Waiting)) {
            "stopped"
        } else {
            "done"
        }
    }
}
