//! Submitting a job: once, whatever breaks on the way.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;

use super::super::budget::Reservation;
use super::super::retry::jitter;
use super::parts::{Part, Parts};
use super::{JobEvent, JobRecord, JobState, Offline, Payload, Submitted};
use crate::provider::{Event, Failure, FailureKind, Request};

/// How long a request that creates a job is waited for once the user wants to stop.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// Why a job could not be submitted, and whether there may be one all the same.
pub(super) type NotSubmitted = (Failure, bool);

impl Offline<'_> {
    /// Submits the jobs of a list, one after another, so that the vendor may run them side by
    /// side; what ends it early ends it for those behind.
    pub(super) async fn submit_all(
        &self,
        parts: &Parts<'_>,
    ) -> (Vec<Submitted>, Option<NotSubmitted>) {
        let mut submitted = Vec::new();
        for place in 0..parts.len() {
            let part = parts.part(place).map_err(|failure| (failure, false));
            let (failure, uncertain) = match async { self.submit_part(part?).await }.await {
                Ok(job) => {
                    submitted.push(job);
                    continue;
                }
                Err(not_submitted) => not_submitted,
            };
            if parts.len() > 1 {
                let (job, all) = (place + 1, parts.len());
                self.notice(format!("job {job} of {all} was not submitted: {failure}"));
            }
            return (submitted, Some((failure, uncertain)));
        }
        (submitted, None)
    }

    async fn submit_part(&self, part: Part) -> Result<Submitted, NotSubmitted> {
        let Part { mut job, payload, open } = part;
        let state = self.submit(&mut job, &payload).await?;
        Ok(Submitted { job, state, open })
    }

    /// Sets aside the most that the open rows can cost.
    pub(super) async fn reserve(
        &self,
        requests: &[Request],
    ) -> Result<Option<Reservation>, Failure> {
        let Some(spending) = requests.iter().find_map(|request| request.spending.as_ref()) else {
            return Ok(None);
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Failure::cancelled()),
            reserved = spending.reserve(requests) => reserved.map(Some),
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
        self.following.know(&id);
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
pub(super) fn random() -> String {
    let now = Timestamp::now().as_nanosecond();
    let number = RandomState::new().hash_one((now, std::process::id()));
    format!("{number:016x}")
}
