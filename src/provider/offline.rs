//! Batch jobs at a vendor: submits the open rows as one job, follows it to its end, hands on its
//! results. What a later process needs to find the job is kept before each step is taken, so
//! that none is ever submitted twice.
//!
//! How one vendor's jobs are spoken is behind [`JobApi`].

pub(super) mod anthropic;
mod follow;
mod multipart;
pub(super) mod openai;
mod results;
mod submit;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reqwest::Url;
use tokio_util::sync::CancellationToken;

use super::http::Http;
use super::job::{JobCounts, JobEvent, JobKeeper, JobRecord};
use super::rejection::{Rejection, plain};
use super::retry::{Again, RetryPolicy, jitter};
use super::{Event, Failure, FailureKind, Request, Sink};
use crate::batch_file::ResultLine;
use results::Results;

/// How one vendor's batch jobs are spoken.
#[async_trait]
pub(super) trait JobApi: Send + Sync {
    /// The requests, each under its `custom_id`, as they are sent.
    ///
    /// # Errors
    /// What the API cannot express, or more than it takes in one job.
    fn payload(&self, requests: &[(&str, &Request)]) -> Result<Payload, Failure>;

    /// Brings the requests there, where that is a step of its own; gives the file's id.
    async fn upload(&self, name: &str, payload: &Payload) -> Result<Option<String>, Rejection>;

    /// Creates the job.
    async fn create(&self, job: &JobRecord, payload: &Payload) -> Result<JobState, Rejection>;

    /// How it stands.
    async fn state(&self, id: &str) -> Result<JobState, Rejection>;

    /// Asks for its end; what was finished stays.
    async fn cancel(&self, id: &str) -> Result<(), Rejection>;

    /// Looks for a job that may have been created before its id could be kept.
    async fn find(&self, job: &JobRecord) -> Result<Found, Rejection>;

    /// The results of a job that is over.
    async fn results(&self, job: &JobState) -> Result<Lines, Rejection>;
}

/// The requests of a job as they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    pub bytes: Vec<u8>,
    /// The route that they are for.
    pub endpoint: &'static str,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobState {
    pub id: String,
    /// In the vendor's word.
    pub status: String,
    /// How it ended; absent while it has not.
    pub end: Option<JobEnd>,
    pub counts: Option<JobCounts>,
    /// From its creation to its end, by the vendor's clock.
    pub took: Option<Duration>,
    /// The vendor's ids of the files with its results.
    pub files: Vec<String>,
    /// What was wrong with it.
    pub errors: Vec<JobError>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobEnd {
    Completed,
    Failed,
    Expired,
    Cancelled,
}

/// Something that was wrong with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobError {
    pub code: String,
    /// Fit to be shown.
    pub message: String,
    /// Of the file with the requests, from 1.
    pub line: Option<usize>,
}

/// What became of looking for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It was not created.
    Nothing,
    /// This is it.
    This(Box<JobState>),
    /// It is one of these or none; only their results can tell.
    Perhaps(Vec<JobState>),
}

/// The lines of all results.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Where each stands, for people, and what it says.
    pub lines: Vec<(String, Result<ResultLine, String>)>,
    /// Files that the vendor names and does not have.
    pub missing: Vec<String>,
}

/// Rows that have not ended, in the order of the list.
type Open = BTreeMap<usize, Request>;

/// What is needed to run rows as jobs.
pub(super) struct Offline<'a> {
    pub api: &'a dyn JobApi,
    /// Host and port, for people.
    pub server: &'a str,
    /// Takes keys out of texts of the server.
    pub scrub: &'a (dyn Fn(&str) -> String + Sync),
    pub policy: RetryPolicy,
    pub keeper: &'a dyn JobKeeper,
    pub sink: &'a Sink,
    pub cancel: &'a CancellationToken,
}

/// A job that is over, and whether the user ended it.
struct Ended {
    state: JobState,
    by_user: bool,
}

/// The longest id that is taken from a server.
const LONGEST_ID: usize = 200;
/// The longest status.
const LONGEST_WORD: usize = 30;
/// Errors of a job that are kept.
const MOST_ERRORS: usize = 1000;

impl Offline<'_> {
    /// Takes the results of earlier jobs that are not over, then submits what is still open.
    ///
    /// # Errors
    /// What ended it early; a job that goes on at the vendor is found again by a later call.
    pub async fn run(&self, requests: Vec<Request>, jobs: Vec<JobRecord>) -> Result<(), Failure> {
        let mut open: Open = requests.into_iter().map(|request| (request.row, request)).collect();
        for mut job in jobs.into_iter().filter(|job| !job.over) {
            if let Some(ended) = self.attach(&mut job).await? {
                let spending = open.values().find_map(|request| request.spending.clone());
                let results = self.collect(&job, &ended, &mut open).await?;
                if let Some(spending) = spending {
                    spending.spent(results.used);
                }
            }
        }
        if open.is_empty() {
            return self.unless_cancelled();
        }
        self.unless_cancelled()?;
        let (mut job, payload) = self.plan(&open)?;
        let reservation = self.reserve(&open).await?;
        let state = match self.submit(&mut job, &payload).await {
            Ok(state) => state,
            Err((failure, created)) => {
                if !created && let Some(reservation) = reservation {
                    reservation.release();
                }
                return Err(failure);
            }
        };
        drop(payload);
        let ended = self.to_its_end(&mut job, state).await?;
        let results = self.collect(&job, &ended, &mut open).await?;
        if let Some(reservation) = reservation {
            match results.used {
                Some(used) => reservation.settle(used, None),
                None => drop(reservation),
            }
        }
        self.unless_cancelled()
    }

    fn unless_cancelled(&self) -> Result<(), Failure> {
        if self.cancel.is_cancelled() { Err(Failure::cancelled()) } else { Ok(()) }
    }

    /// Takes the results of a job into its rows.
    async fn collect(
        &self,
        job: &JobRecord,
        ended: &Ended,
        open: &mut Open,
    ) -> Result<results::Taken, Failure> {
        let Ended { state, by_user } = ended;
        let lines = self.again(|| self.api.results(state)).await;
        let lines = lines.map_err(|failure| self.goes_on(failure, &state.id))?;
        let mut results = Results::new(job, state, self.sink, self.scrub);
        for (place, line) in lines.lines {
            results.take(&place, line, *by_user, open);
        }
        let taken = results.finish(&lines.missing, *by_user, open);
        let (name, status) = (job.name.clone(), (self.scrub)(&state.status));
        self.keep(JobEvent::Over { name, status, counts: state.counts }).await?;
        Ok(taken)
    }

    async fn keep(&self, event: JobEvent) -> Result<(), Failure> {
        self.keeper.keep(event).await
    }

    fn tell(&self, event: JobEvent) {
        self.sink.send(Event::Job(event));
    }

    fn notice(&self, text: String) {
        self.sink.send(Event::Notice(text));
    }

    /// Asks again where that can help.
    async fn again<'f, T>(
        &self,
        ask: impl Fn() -> BoxFuture<'f, Result<T, Rejection>> + Send + Sync,
    ) -> Result<T, Failure> {
        let mut retry = 0;
        loop {
            let Rejection { failure, again, .. } = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(rejection) => rejection,
            };
            let Some(wait) = self.policy.wait(again, retry, jitter()) else { return Err(failure) };
            tokio::time::sleep(wait).await;
            retry += 1;
        }
    }

    /// A failure that ends nothing at the vendor.
    fn goes_on(&self, mut failure: Failure, id: &str) -> Failure {
        failure.message += &format!(
            "; the job {id} is still at {}: go on with it by resuming this run",
            self.server
        );
        failure
    }
}

/// Refuses a job that is larger than its vendor takes, before anything is sent.
fn check_size(
    vendor: &str,
    requests: usize,
    most_requests: usize,
    bytes: usize,
    most_bytes: usize,
) -> Result<(), Failure> {
    if requests <= most_requests && bytes <= most_bytes {
        return Ok(());
    }
    let what = format!(
        "{vendor} takes at most {most_requests} requests and {most_bytes} bytes in one job, and \
         this one has {requests} and {bytes}: split the list into several"
    );
    Err(Failure::new(FailureKind::InvalidRequest, what))
}

/// Reads a file of results; one that is not there any more is noted.
async fn read(http: &Http, url: Url, name: &str, all: &mut Lines) -> Result<(), Rejection> {
    let mut lines = Vec::new();
    let mut take = |line: &[u8]| {
        let place = format!("{name}:{}", lines.len() + 1);
        lines.push((place, ResultLine::parse(line)));
    };
    match http.get_lines(url, &mut take).await {
        Ok(()) => all.lines.append(&mut lines),
        Err(rejection) if is_gone(&rejection) => {
            all.lines.append(&mut lines);
            all.missing.push(format!("{name}: {}", rejection.failure));
        }
        Err(rejection) => return Err(rejection),
    }
    Ok(())
}

/// Whether it was refused in a way that no second question changes.
fn is_gone(rejection: &Rejection) -> bool {
    use FailureKind::{InvalidRequest, Model, Protocol};
    rejection.again == Again::Never
        && matches!(rejection.failure.kind, InvalidRequest | Model | Protocol)
}

/// An id of a server, which becomes part of addresses.
fn checked_id(id: &str) -> Result<String, Rejection> {
    let plain_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let good = !id.is_empty()
        && id.len() <= LONGEST_ID
        && id.chars().all(plain_char)
        && !id.chars().all(|c| c == '.');
    if good {
        return Ok(id.to_owned());
    }
    let start: String = plain(id).chars().take(60).collect();
    Err(protocol(format!("the server names something \"{start}\", which is no id")))
}

fn protocol(message: String) -> Rejection {
    Rejection::never(Failure::new(FailureKind::Protocol, message))
}

/// A status as vendors write it; anything else is not repeated.
fn word(status: &str) -> String {
    let good = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '-');
    match !status.is_empty() && status.len() <= LONGEST_WORD && status.chars().all(good) {
        true => status.to_owned(),
        false => "unknown".to_owned(),
    }
}

/// Time between two moments of the vendor's clock.
fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<Duration> {
    Duration::try_from(to?.duration_since(from?)).ok()
}
