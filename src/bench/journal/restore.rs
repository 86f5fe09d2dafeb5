//! Reads a journal back, to go on with its run or to look at it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::line::{FORMAT, Header, JournalRow, Line, PassEnd, duration};
use super::{FILE, Journal, lock};
use crate::bench::recorder::{LaneState, Pass, Recorder, RowState};
use crate::bench::run::Job;
use crate::probe::Host;
use crate::provider::JobRecord;

/// The longest line that is read: a header holds a whole prompt list.
const LONGEST_LINE: u64 = 4 << 30;

/// A run as its journal tells it.
#[derive(Debug)]
pub struct Restored {
    /// The plan and the prompts.
    pub job: Job,
    /// The journal, open for what follows.
    pub journal: Journal,
    /// What was finished.
    pub recorder: Recorder,
}

impl Restored {
    /// Reads the journal in a run's folder. A torn last line, left by a killed process, is cut
    /// off.
    ///
    /// # Errors
    /// When there is no journal, or a line is damaged: the message names file and line.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("no run can be resumed from {}", path.display()))?;
        lock(&file, folder)?;
        let mut lines = Lines { reader: BufReader::new(file), number: 0, end: 0 };
        let Told { id, started_at, job, mut recorder, .. } = lines.fold(&path)?;
        let end = lines.end;
        let mut file = lines.reader.into_inner();
        file.set_len(end).and_then(|()| file.seek(SeekFrom::End(0)))?;
        recorder.reopen_failed();
        let folder = folder.to_owned();
        let journal = Journal { id, started_at, folder, file, lane: 0 };
        Ok(Self { job, journal, recorder })
    }
}

/// A run as its journal tells it, to be looked at: the file is neither held nor changed.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Name of the run.
    pub id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended, where its journal says so.
    pub finished_at: Option<Timestamp>,
    /// The version that ran it.
    pub version: String,
    /// The machine it ran on, where its journal says so.
    pub host: Option<Host>,
    /// The plan and the prompts.
    pub job: Job,
    /// What was finished. Rows that did not end were not run.
    pub recorder: Recorder,
    /// Another process, or this one, still writes it.
    pub under_way: bool,
}

/// The largest journal that is read to be looked at.
const MOST_BYTES: u64 = 1 << 30;

impl Recorded {
    /// Reads the journal in a run's folder.
    ///
    /// # Errors
    /// As [`Restored::open`], except that a run which is under way is read as far as it got.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let file = File::open(&path).with_context(|| format!("no run in {}", path.display()))?;
        let found = file.metadata().with_context(|| path.display().to_string())?;
        if !found.is_file() || found.len() > MOST_BYTES {
            bail!("{}: no plain file of at most 1 GiB", path.display());
        }
        let under_way = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        let mut lines = Lines { reader: BufReader::new(file), number: 0, end: 0 };
        let told = lines.fold(&path)?;
        let Told { id, started_at, finished_at, version, host, job, mut recorder } = told;
        for lane in &mut recorder.lanes {
            lane.passes.iter_mut().for_each(Pass::count);
            lane.passes.iter_mut().for_each(Pass::spread_tokens);
            if lane.passes.iter().any(|pass| pass.finished.is_none()) {
                lane.state = LaneState::Cancelled;
                lane.passes.iter_mut().for_each(Pass::close);
            }
        }
        let folder = folder.to_owned();
        Ok(Self { id, folder, started_at, finished_at, version, host, job, recorder, under_way })
    }
}

/// What the lines say.
struct Told {
    id: String,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    version: String,
    host: Option<Host>,
    job: Job,
    recorder: Recorder,
}

/// The whole lines of the file, and where they end.
struct Lines {
    reader: BufReader<File>,
    number: usize,
    end: u64,
}

impl Lines {
    /// Reads all of them into a record.
    fn fold(&mut self, path: &Path) -> anyhow::Result<Told> {
        let Some(Line::Run(header)) = self.next(path)? else {
            bail!("{}: the first line does not describe a run", path.display());
        };
        if header.format != FORMAT {
            bail!("{}: format \"{}\" is not {FORMAT}", path.display(), header.format);
        }
        let (id, started_at) = (header.id.clone(), header.started_at);
        let (version, host) = (header.version.clone(), header.host.clone());
        let job = checked_job(*header).with_context(|| path.display().to_string())?;
        let rows = job.prompts.prompts.len();
        let mut recorder = Recorder::new(&job.plan, rows, Instant::now());
        let mut finished_at = None;
        while let Some(line) = self.next(path)? {
            if let Line::RunFinishedAt(at) = &line {
                finished_at = Some(*at);
            }
            let number = self.number;
            take(&mut recorder, line)
                .with_context(|| format!("{}, line {number}", path.display()))?;
        }
        Ok(Told { id, started_at, finished_at, version, host, job, recorder })
    }

    fn next(&mut self, path: &Path) -> anyhow::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(LONGEST_LINE).read_until(b'\n', &mut bytes);
        read.with_context(|| format!("cannot read {}", path.display()))?;
        if bytes.last() != Some(&b'\n') {
            return Ok(None);
        }
        self.number += 1;
        self.end += bytes.len() as u64;
        let number = self.number;
        let line = serde_json::from_slice(&bytes)
            .with_context(|| format!("{}, line {number}: damaged", path.display()))?;
        Ok(Some(line))
    }
}

fn checked_job(header: Header) -> anyhow::Result<Job> {
    let job = header.job();
    job.plan.validate()?;
    let in_order = |(place, prompt): (usize, &std::sync::Arc<_>)| {
        let prompt: &crate::prompts::Prompt = prompt;
        prompt.index == place
    };
    if !job.prompts.prompts.iter().enumerate().all(in_order) {
        bail!("the prompts are out of order");
    }
    Ok(job)
}

fn take(recorder: &mut Recorder, line: Line) -> anyhow::Result<()> {
    match line {
        Line::Run(_) => bail!("a second description of the run"),
        Line::LaneStarted { lane, repeat } => {
            pass(recorder, lane, repeat)?;
        }
        Line::Job { lane, repeat, event } => {
            JobRecord::fold(&mut pass(recorder, lane, repeat)?.jobs, &event);
        }
        Line::Row(row) => take_row(recorder, *row)?,
        Line::LaneFinished(end) => take_end(recorder, *end)?,
        Line::RunFinished | Line::RunFinishedAt(_) => recorder.finished = true,
    }
    Ok(())
}

fn pass(recorder: &mut Recorder, lane: usize, repeat: usize) -> anyhow::Result<&mut Pass> {
    let rows = recorder.rows();
    let lane = recorder.lanes.get_mut(lane).context("no such lane in the plan")?;
    let place = match lane.passes.iter().position(|pass| pass.repeat == repeat) {
        Some(place) => place,
        None => {
            let size = lane.spec.mode.batch_size();
            lane.passes.push(Pass::new(repeat, rows, Duration::ZERO, size));
            lane.passes.len() - 1
        }
    };
    Ok(&mut lane.passes[place])
}

fn take_row(recorder: &mut Recorder, row: JournalRow) -> anyhow::Result<()> {
    let (lane, repeat, index) = (row.lane, row.repeat, row.row);
    let record = row.record().context("a time makes no sense")?;
    let pass = pass(recorder, lane, repeat)?;
    let Some(place) = pass.rows.get_mut(index) else { bail!("no such row in the list") };
    // a failed row may have been run again by a later session
    if place.state == RowState::Done {
        bail!("row {} is there twice", index + 1);
    }
    *place = record;
    recorder.compare(lane, index);
    Ok(())
}

fn take_end(recorder: &mut Recorder, end: PassEnd) -> anyhow::Result<()> {
    let wall = duration(end.wall_s).context("its time makes no sense")?;
    let at = |(at, size)| Some((duration(at)?, size));
    let sizes: Option<Vec<_>> = end.batch_sizes.into_iter().map(at).collect();
    let pass = pass(recorder, end.lane, end.repeat)?;
    pass.finished = Some(wall);
    pass.steps = end.steps;
    pass.prefill_tokens = end.prefill_tokens;
    pass.step_rows = end.step_rows;
    pass.peak = end.peak;
    pass.serving = end.serving;
    pass.lags = end.lags;
    pass.batch_sizes = sizes.context("the time of a batch size makes no sense")?;
    pass.violations = end.violations;
    pass.failure = end.failure.clone();
    pass.throughput = end.throughput.timeline();
    pass.steps_over_time = end.steps_over_time.timeline();
    pass.rows_over_time = end.rows_over_time.timeline();
    let at = |(at, bytes)| Some((duration(at)?, bytes));
    let memory: Option<Vec<_>> = end.memory.into_iter().map(at).collect();
    pass.memory = memory.context("the time of a memory reading makes no sense")?;
    pass.engine = end.engine;
    pass.began_at = end.began_at;
    if let Some(started) = end.started_s {
        pass.started = duration(started).context("its start makes no sense")?;
    }
    let lane = &mut recorder.lanes[end.lane];
    lane.info = end.info.or(lane.info.take());
    lane.state = LaneState::after(end.failure);
    Ok(())
}
