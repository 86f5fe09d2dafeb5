//! Reads a journal back, to go on with its run or to look at it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::line::{FORMAT, Header, JournalRow, Line, PassEnd};
use super::{FILE, Journal, lock};
use crate::bench::recorder::{LaneState, Pass, Recorder, RowState};
use crate::bench::run::Job;

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
        let Some(Line::Run(header)) = lines.next(&path)? else {
            bail!("{}: the first line does not describe a run", path.display());
        };
        if header.format != FORMAT {
            bail!("{}: format \"{}\" is not {FORMAT}", path.display(), header.format);
        }
        let (id, started_at) = (header.id.clone(), header.started_at);
        let job = checked_job(*header).with_context(|| path.display().to_string())?;
        let rows = job.prompts.prompts.len();
        let mut recorder = Recorder::new(&job.plan, rows, Instant::now());
        while let Some(line) = lines.next(&path)? {
            let number = lines.number;
            take(&mut recorder, line)
                .with_context(|| format!("{}, line {number}", path.display()))?;
        }
        let end = lines.end;
        let mut file = lines.reader.into_inner();
        file.set_len(end).and_then(|()| file.seek(SeekFrom::End(0)))?;
        recorder.reopen_failed();
        let folder = folder.to_owned();
        let journal = Journal { id, started_at, folder, file, lane: 0 };
        Ok(Self { job, journal, recorder })
    }
}

/// The whole lines of the file, and where they end.
struct Lines {
    reader: BufReader<File>,
    number: usize,
    end: u64,
}

impl Lines {
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
        Line::Row(row) => take_row(recorder, *row)?,
        Line::LaneFinished(end) => take_end(recorder, *end)?,
        Line::RunFinished => recorder.finished = true,
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
    let wall = Duration::try_from_secs_f64(end.wall_s).context("its time makes no sense")?;
    let at = |(at, size)| Some((Duration::try_from_secs_f64(at).ok()?, size));
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
    let lane = &mut recorder.lanes[end.lane];
    lane.info = end.info.or(lane.info.take());
    lane.state = LaneState::after(end.failure);
    Ok(())
}
