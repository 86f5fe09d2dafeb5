//! The journal of a run: a JSON Lines file that grows by one line a finished row.
//!
//! A line is written whole and at once, so that a killed process loses nothing that was
//! finished; at the end of a lane the file is synced to the disk. A torn last line is ignored
//! by [`Restored::open`].

mod line;
mod restore;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;

use line::{Header, JournalRow, Line, PassEnd};
pub use restore::{Recorded, Restored};

use super::event::RunEvent;
use super::recorder::{LaneRecord, Recorder};
use super::run::Job;
use crate::provider::Event;

/// Name of the journal in a run's folder.
pub const FILE: &str = "journal.jsonl";

/// The journal of one run, open for writing.
#[derive(Debug)]
pub struct Journal {
    id: String,
    started_at: Timestamp,
    folder: PathBuf,
    file: File,
    /// The lane that runs now.
    lane: usize,
}

impl Journal {
    /// Makes the run's folder under `runs` and writes the plan and the prompts.
    ///
    /// # Errors
    /// When the folder or the file cannot be written.
    pub fn create(runs: &Path, job: &Job) -> anyhow::Result<Self> {
        let started_at = Timestamp::now();
        let (id, folder) = make_folder(runs, started_at)
            .with_context(|| format!("cannot make a folder for the run in {}", runs.display()))?;
        let path = folder.join(FILE);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        lock(&file, &folder)?;
        let mut journal = Self { id: id.clone(), started_at, folder, file, lane: 0 };
        journal
            .write(&Line::Run(Box::new(Header::new(id, started_at, job))))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(journal)
    }

    /// Name of the run.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When the run was started, by whichever session.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes what an event finished; `recorder` has taken the event already.
    ///
    /// # Errors
    /// When the file cannot be written, for example on a full disk.
    pub fn append(&mut self, event: &RunEvent, recorder: &Recorder) -> io::Result<()> {
        match event {
            RunEvent::LaneStarted { lane, repeat } => {
                self.lane = *lane;
                self.write(&Line::LaneStarted { lane: *lane, repeat: *repeat })
            }
            RunEvent::Provider(Event::Finished { row, .. } | Event::Failed { row, .. }) => {
                let pass = recorder.lanes.get(self.lane).and_then(LaneRecord::pass);
                let record = pass.and_then(|pass| Some((pass, pass.rows.get(*row)?)));
                let Some((pass, record)) = record else { return Ok(()) };
                let row = JournalRow::new(self.lane, pass.repeat, *row, record);
                self.write(&Line::Row(Box::new(row)))
            }
            RunEvent::Provider(Event::Job(event)) if event.is_kept() => {
                let pass = recorder.lanes.get(self.lane).and_then(LaneRecord::pass);
                let Some(repeat) = pass.map(|pass| pass.repeat) else { return Ok(()) };
                self.write(&Line::Job { lane: self.lane, repeat, event: event.clone() })?;
                self.file.sync_data()
            }
            RunEvent::LaneFinished { .. } => {
                let Some(lane) = recorder.lanes.get(self.lane) else { return Ok(()) };
                let Some(pass) = lane.pass() else { return Ok(()) };
                let end = PassEnd::new(self.lane, pass, lane.info.as_ref());
                self.write(&Line::LaneFinished(Box::new(end)))?;
                self.file.sync_data()
            }
            RunEvent::RunFinished => {
                self.write(&Line::RunFinishedAt(Timestamp::now()))?;
                self.file.sync_data()
            }
            RunEvent::Preparing(_)
            | RunEvent::ProviderReady { .. }
            | RunEvent::WarmUp { .. }
            | RunEvent::Provider(_)
            | RunEvent::Probe(_)
            | RunEvent::Lag(_)
            | RunEvent::BatchSize(_) => Ok(()),
        }
    }

    /// One write for the whole line: it is there or it is not.
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)
    }
}

/// Keeps other processes from writing the journal while this one does.
fn lock(file: &File, folder: &Path) -> anyhow::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            bail!("the run in {} is still under way: wait for it, or stop it", folder.display())
        }
        // some network file systems have no locks
        Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// A new folder named for the time, in UTC.
fn make_folder(runs: &Path, at: Timestamp) -> io::Result<(String, PathBuf)> {
    fs::create_dir_all(runs)?;
    let base = at.strftime("%Y%m%d-%H%M%S").to_string();
    for attempt in 1.. {
        let id = if attempt == 1 { base.clone() } else { format!("{base}-{attempt}") };
        let folder = runs.join(&id);
        match fs::create_dir(&folder) {
            Ok(()) => return Ok((id, folder)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many runs in this second"))
}
