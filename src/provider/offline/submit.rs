//! Submitting a job: once, whatever breaks on the way.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;

use super::super::budget::Reservation;
use super::super::retry::jitter;
use super::{JobEvent, JobRecord, JobState, Offline, Open, Payload};
use crate::batch_file::custom_ids_of_job;
use crate::provider::{Event, Failure, FailureKind, Request};

/// How long a request that creates a job is waited for once the user wants to stop.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// Why a job could not be submitted, and whether there may be one all the same.
type NotSubmitted = (Failure, bool);

impl Offline<'_> {
    /// A job for the open rows, under names of its own.
    pub(super) fn plan(&self, open: &Open) -> Result<(JobRecord, Payload), Failure> {
        let ending = random();
        let requests: Vec<&Request> = open.values().collect();
        let prompts: Vec<_> = requests.iter().map(|request| &*request.prompt).collect();
        let ids = custom_ids_of_job(&prompts, &ending[..8]);
        let named: Vec<_> = ids.iter().map(String::as_str).zip(requests).collect();
        let payload = self.api.payload(&named)?;
        let rows = named.iter().map(|(id, request)| (request.row, (*id).to_owned())).collect();
        Ok((JobRecord::planned(format!("batchgen-{ending}"), Timestamp::now(), rows), payload))
    }

    /// Sets aside the most that the open rows can cost.
    pub(super) async fn reserve(&self, open: &Open) -> Result<Option<Reservation>, Failure> {
        let Some(spending) = open.values().find_map(|request| request.spending.as_ref()) else {
            return Ok(None);
        };
        let requests: Vec<Request> = open.values().cloned().collect();
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Failure::cancelled()),
            reserved = spending.reserve(&requests) => reserved.map(Some),
        }
    }

    /// Submits it. Everything that a later process needs to find it is kept first.
    pub(super) async fn submit(
        &self,
        job: &mut JobRecord,
        payload: &Payload,
    ) -> Result<JobState, NotSubmitted> {
        let (name, at, rows) = (job.name.clone(), job.planned_at, job.rows.clone());
        self.keep(JobEvent::Planned { name, at, rows }).await.map_err(|lost| (lost, false))?;
        for (row, _) in &job.rows {
            self.sink.send(Event::Submitted { row: *row });
        }
        let uploaded = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Failure::cancelled()),
            file = self.again(|| self.api.upload(&job.name, payload)) => file,
        };
        job.file = match uploaded {
            Ok(file) => file,
            Err(failure) => return Err((self.given_up(job, failure).await, false)),
        };
        if let Some(file) = job.file.clone() {
            let event = JobEvent::Uploaded { name: job.name.clone(), file };
            self.keep(event).await.map_err(|lost| (lost, false))?;
        }
        let state = tokio::select! {
            created = self.create(job, payload) => created?,
            () = self.out_of_time() => {
                let what = "stopped while the job was being created";
                let stopped = Failure::new(FailureKind::Cancelled, what);
                return Err((uncertain(stopped), true));
            }
        };
        self.created(job, &state).await.map_err(|lost| (lost, true))?;
        Ok(state)
    }

    /// Keeps the id of a job.
    pub(super) async fn created(
        &self,
        job: &mut JobRecord,
        state: &JobState,
    ) -> Result<(), Failure> {
        let (name, id) = (job.name.clone(), state.id.clone());
        job.id = Some(id.clone());
        self.notice(format!("job {id} at {}: {} requests", self.server, job.rows.len()));
        self.keep(JobEvent::Created { name, id }).await
    }

    async fn out_of_time(&self) {
        self.cancel.cancelled().await;
        tokio::time::sleep(LAST_MOMENTS).await;
    }

    /// Creates the job. A request that broke may have arrived: before another is sent, the job
    /// is looked for.
    async fn create(&self, job: &JobRecord, payload: &Payload) -> Result<JobState, NotSubmitted> {
        let mut retry = 0;
        loop {
            let rejection = match self.api.create(job, payload).await {
                Ok(state) => return Ok(state),
                Err(rejection) => rejection,
            };
            let wait = self.policy.wait(rejection.again, retry, jitter());
            if rejection.definite && wait.is_none() {
                return Err((self.given_up(job, rejection.failure).await, false));
            }
            tokio::time::sleep(wait.unwrap_or(Duration::from_secs(1))).await;
            if !rejection.definite {
                match self.look_for(job).await {
                    Ok(Some(state)) => return Ok(state),
                    Ok(None) if wait.is_some() => {}
                    Ok(None) | Err(_) => return Err((uncertain(rejection.failure), true)),
                }
            }
            retry += 1;
        }
    }

    /// Notes that there is no job, so that nobody looks for it.
    async fn given_up(&self, job: &JobRecord, failure: Failure) -> Failure {
        let (name, status) = (job.name.clone(), "not created".to_owned());
        match self.keep(JobEvent::Over { name, status, counts: None }).await {
            Ok(()) => failure,
            Err(lost) => lost,
        }
    }
}

fn uncertain(mut failure: Failure) -> Failure {
    failure.message += "; whether the job was created is not known: resuming this run looks for it \
                        and submits it only if it is not there";
    failure
}

/// 16 hexadecimal digits that nobody else has.
fn random() -> String {
    let now = Timestamp::now().as_nanosecond();
    let number = RandomState::new().hash_one((now, std::process::id()));
    format!("{number:016x}")
}
