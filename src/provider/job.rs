//! A batch job at a vendor: what is kept of it so that another process can find it again, and
//! what is told while it runs.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Failure;

/// What happens to a batch job. `name` is the program's own name for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEvent {
    /// It is about to be submitted.
    Planned {
        /// Unlike that of any other job.
        name: String,
        /// When.
        at: Timestamp,
        /// The rows and their `custom_id`s, in the order of the list.
        rows: Vec<(usize, String)>,
    },
    /// Its requests are at the vendor as a file.
    Uploaded {
        /// The job.
        name: String,
        /// The vendor's id of the file.
        file: String,
    },
    /// It exists.
    Created {
        /// The job.
        name: String,
        /// The vendor's id of it.
        id: String,
    },
    /// A later session follows it again.
    Attached {
        /// The job.
        name: String,
        /// How long ago it was submitted; where it is over, how long it took.
        ago: Duration,
    },
    /// How it stands.
    Status {
        /// The job.
        name: String,
        /// In the vendor's word.
        status: String,
        /// Where the vendor tells.
        counts: Option<JobCounts>,
    },
    /// The user wants it to end.
    CancelAsked {
        /// The job.
        name: String,
    },
    /// Its results were taken, and nothing more will come of it.
    Over {
        /// The job.
        name: String,
        /// In the vendor's word, or why there is no job.
        status: String,
        /// Where the vendor tells.
        counts: Option<JobCounts>,
    },
    /// Something in its results that no correct vendor sends.
    Violation {
        /// For people.
        what: String,
    },
}

/// How many requests of a job have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCounts {
    /// Requests of the job.
    pub total: usize,
    /// Those that ended well.
    pub completed: usize,
    /// Those that failed, expired or were cancelled.
    pub failed: usize,
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// The program's own name for it.
    pub name: String,
    /// When it was about to be submitted.
    pub planned_at: Timestamp,
    /// The rows and their `custom_id`s.
    pub rows: Vec<(usize, String)>,
    /// The vendor's id of the file with the requests, where there is one.
    pub file: Option<String>,
    /// The vendor's id of the job; absent where it is not known whether it was created.
    pub id: Option<String>,
    /// The user wants it to end.
    pub cancel_asked: bool,
    /// How it stands, in the vendor's word.
    pub status: Option<String>,
    /// How many requests ended, where the vendor tells.
    pub counts: Option<JobCounts>,
    /// Nothing more will come of it.
    pub over: bool,
}

/// The longest word of a vendor that is shown.
const LONGEST_STATUS: usize = 24;

/// Keeps what is known of a job where it survives the process.
#[async_trait]
pub trait JobKeeper: Send + Sync {
    /// Comes back when the event is on the disk.
    ///
    /// # Errors
    /// It could not be written: what follows from it must not be done.
    async fn keep(&self, event: JobEvent) -> Result<(), Failure>;
}

impl JobEvent {
    /// Whether a later session must know of it.
    pub fn is_kept(&self) -> bool {
        match self {
            JobEvent::Planned { .. }
            | JobEvent::Uploaded { .. }
            | JobEvent::Created { .. }
            | JobEvent::CancelAsked { .. }
            | JobEvent::Over { .. } => true,
            JobEvent::Attached { .. } | JobEvent::Status { .. } | JobEvent::Violation { .. } => {
                false
            }
        }
    }
}

impl JobRecord {
    /// A job that is about to be submitted.
    pub fn planned(name: String, planned_at: Timestamp, rows: Vec<(usize, String)>) -> Self {
        Self {
            name,
            planned_at,
            rows,
            file: None,
            id: None,
            cancel_asked: false,
            status: None,
            counts: None,
            over: false,
        }
    }

    /// How it stands, in a few words for people: `job in_progress 3/10, 1 failed`.
    pub fn words(&self) -> String {
        format!("job {}{}", self.standing(), of_requests(self.counts))
    }

    /// How the jobs of a list stand together: those that are not over, or all where all are.
    pub fn words_of(jobs: &[JobRecord]) -> Option<String> {
        let open: Vec<&JobRecord> = jobs.iter().filter(|job| !job.over).collect();
        let (told, otherwise) = match open.is_empty() {
            true => (jobs.iter().collect(), "over"),
            false => (open, "under way"),
        };
        let (first, rest) = told.split_first()?;
        if rest.is_empty() {
            return Some(first.words());
        }
        let same = rest.iter().all(|job| job.standing() == first.standing());
        let standing = if same { first.standing() } else { otherwise.to_owned() };
        let counts = told.iter().filter_map(|job| job.counts).reduce(JobCounts::plus);
        let total = told.iter().map(|job| job.rows.len()).sum();
        let counts = counts.map(|counts| JobCounts { total, ..counts });
        Some(format!("{} jobs {standing}{}", told.len(), of_requests(counts)))
    }

    fn standing(&self) -> String {
        let status = match (&self.status, &self.id) {
            (Some(status), _) => status.as_str(),
            (None, Some(_)) => "created",
            (None, None) => "being submitted",
        };
        status.chars().take(LONGEST_STATUS).collect()
    }

    /// Takes an event into the records of some jobs; one of a job that is not there is ignored.
    pub fn fold(jobs: &mut Vec<JobRecord>, event: &JobEvent) {
        if let JobEvent::Planned { name, at, rows } = event {
            jobs.push(Self::planned(name.clone(), *at, rows.clone()));
            return;
        }
        let Some(name) = event.name() else { return };
        let Some(job) = jobs.iter_mut().rev().find(|job| job.name == name) else { return };
        match event {
            JobEvent::Uploaded { file, .. } => job.file = Some(file.clone()),
            JobEvent::Created { id, .. } => job.id = Some(id.clone()),
            JobEvent::CancelAsked { .. } => job.cancel_asked = true,
            JobEvent::Status { status, counts, .. } | JobEvent::Over { status, counts, .. } => {
                job.status = Some(status.clone());
                job.counts = counts.or(job.counts);
                job.over = matches!(event, JobEvent::Over { .. });
            }
            JobEvent::Planned { .. } | JobEvent::Attached { .. } | JobEvent::Violation { .. } => {}
        }
    }
}

impl JobCounts {
    fn plus(self, more: Self) -> Self {
        Self {
            total: self.total.saturating_add(more.total),
            completed: self.completed.saturating_add(more.completed),
            failed: self.failed.saturating_add(more.failed),
        }
    }
}

fn of_requests(counts: Option<JobCounts>) -> String {
    let Some(JobCounts { total, completed, failed }) = counts else { return String::new() };
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!(" {completed}/{total}{failed}")
}

impl JobEvent {
    fn name(&self) -> Option<&str> {
        match self {
            JobEvent::Planned { name, .. }
            | JobEvent::Uploaded { name, .. }
            | JobEvent::Created { name, .. }
            | JobEvent::Attached { name, .. }
            | JobEvent::Status { name, .. }
            | JobEvent::CancelAsked { name }
            | JobEvent::Over { name, .. } => Some(name),
            JobEvent::Violation { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_its_events_said() {
        let name = "n".to_owned();
        let counts = Some(JobCounts { total: 2, completed: 1, failed: 1 });
        let at = Timestamp::UNIX_EPOCH;
        let rows = vec![(0, "a".to_owned()), (3, "b".to_owned())];
        let mut jobs = Vec::new();
        for event in [
            JobEvent::Uploaded { name: "unheard of".into(), file: "f".into() },
            JobEvent::Planned { name: name.clone(), at, rows: rows.clone() },
            JobEvent::Uploaded { name: name.clone(), file: "f".into() },
            JobEvent::Created { name: name.clone(), id: "i".into() },
            JobEvent::Status { name: name.clone(), status: "running".into(), counts },
            JobEvent::Over { name: name.clone(), status: "completed".into(), counts: None },
        ] {
            let text = serde_json::to_string(&event).unwrap();
            JobRecord::fold(&mut jobs, &serde_json::from_str(&text).unwrap());
        }
        let expected = JobRecord {
            file: Some("f".into()),
            id: Some("i".into()),
            status: Some("completed".into()),
            counts,
            over: true,
            ..JobRecord::planned(name, at, rows)
        };
        assert_eq!(jobs, [expected]);
        assert_eq!(jobs[0].words(), "job completed 1/2, 1 failed");
    }

    #[test]
    fn several_jobs_are_told_together_while_they_run() {
        let job = |status: Option<&str>, completed: Option<usize>, over: bool| {
            let rows = (0..10).map(|row| (row, row.to_string())).collect();
            let counts = completed.map(|completed| JobCounts { total: 10, completed, failed: 1 });
            let status = status.map(str::to_owned);
            let planned = JobRecord::planned("n".into(), Timestamp::UNIX_EPOCH, rows);
            JobRecord { status, counts, over, ..planned }
        };
        let told = |jobs: &[JobRecord]| JobRecord::words_of(jobs).unwrap_or_default();
        assert_eq!(told(&[]), "");
        let over = job(Some("completed"), Some(9), true);
        let running = job(Some("in_progress"), Some(4), false);
        let silent = job(Some("in_progress"), None, false);
        let new = job(None, None, false);
        assert_eq!(told(&[running.clone(), over.clone()]), "job in_progress 4/10, 1 failed");
        assert_eq!(told(&[over.clone(), over.clone()]), "2 jobs completed 18/20, 2 failed");
        let cancelled = job(Some("cancelled"), None, true);
        assert_eq!(told(&[cancelled, over.clone()]), "2 jobs over 9/20, 1 failed");
        assert_eq!(told(&[over, running.clone(), silent]), "2 jobs in_progress 4/20, 1 failed");
        assert_eq!(told(&[running, new.clone()]), "2 jobs under way 4/20, 1 failed");
        assert_eq!(told(&[new.clone(), new]), "2 jobs being submitted");
    }
}
