//! Batch jobs at a vendor: submits the open rows as one job, or as several where they are more than
//! one takes, follows them to their ends, hands on their results. What a later process needs to
//! find a job is kept before each step is taken, so that none is ever submitted twice.
//!
//! How one vendor's jobs are spoken is behind [`JobApi`].

pub(super) mod anthropic;
mod follow;
mod listing;
mod multipart;
pub(super) mod openai;
mod parts;
mod results;
mod submit;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};
use jiff::Timestamp;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::http::Http;
use super::job::{JobCounts, JobEvent, JobKeeper, JobRecord};
use super::rejection::{Rejection, plain};
use super::retry::{Again, RetryPolicy, jitter};
use super::{Event, Failure, FailureKind, Request, Sink, Usage};
use crate::batch_file::ResultLine;
use results::Results;

/// How one vendor's batch jobs are spoken.
#[async_trait]
pub(super) trait JobApi: Send + Sync {
    /// How jobs of these requests are written.
    ///
    /// # Errors
    /// What cannot be in one list.
    fn format(&self, requests: &[&Request]) -> Result<Format, Failure>;

    /// A request under its `custom_id`, as it stands in a job.
    ///
    /// # Errors
    /// What the API cannot express.
    fn entry(&self, custom_id: &str, request: &Request) -> Result<Vec<u8>, Failure>;

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

/// How jobs are written, and what the vendor takes in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub vendor: &'static str,
    /// The route that the requests are for.
    pub endpoint: &'static str,
    /// What stands before the first request, between two and after the last.
    pub around: [&'static str; 3],
    pub most_requests: usize,
    pub most_bytes: usize,
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
    /// The most requests of a job, where that is to be less than the vendor takes.
    pub job_requests: Option<usize>,
    pub keeper: &'a dyn JobKeeper,
    pub sink: &'a Sink,
    pub cancel: &'a CancellationToken,
    pub following: Following,
}

/// What the jobs of one call share while they are followed side by side.
pub(super) struct Following {
    /// The vendor's ids of jobs that are known to be this run's.
    known: Mutex<HashSet<String>>,
    /// Those who may ask how a job stands.
    asking: Semaphore,
    /// Those who may take results, whose lines are all in memory.
    taking: Semaphore,
}

impl Default for Following {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            asking: Semaphore::new(ASKED_AT_ONCE),
            taking: Semaphore::new(TAKEN_AT_ONCE),
        }
    }
}

impl Following {
    fn know(&self, id: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    fn is_known(&self, id: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

/// A job at the vendor, and its rows.
struct Submitted {
    job: JobRecord,
    state: JobState,
    open: Open,
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
/// Jobs that are asked about at once.
const ASKED_AT_ONCE: usize = 8;
/// Jobs whose results are taken at once.
const TAKEN_AT_ONCE: usize = 2;
/// Errors of a job that are kept.
const MOST_ERRORS: usize = 1000;

impl Offline<'_> {
    /// Takes the results of earlier jobs that are not over, then submits what is still open.
    ///
    /// # Errors
    /// What ended it early; jobs that go on at the vendor are found again by a later call.
    pub async fn run(&self, requests: Vec<Request>, jobs: Vec<JobRecord>) -> Result<(), Failure> {
        let mut open: Open = requests.into_iter().map(|request| (request.row, request)).collect();
        jobs.iter().filter_map(|job| job.id.as_deref()).for_each(|id| self.following.know(id));
        self.go_on_with(jobs, &mut open).await?;
        self.unless_cancelled()?;
        if open.is_empty() {
            return Ok(());
        }
        let parts = self.parts(open)?;
        let reservation = self.reserve(parts.requests()).await?;
        let (submitted, stopped) = self.submit_all(&parts).await;
        let ends = join_all(submitted.into_iter().map(|job| self.to_its_results(job))).await;
        // what is not known counts as the most that it can be
        let uncertain = stopped.as_ref().is_some_and(|(_, uncertain)| *uncertain);
        if let Some(reservation) = reservation.filter(|_| !uncertain) {
            let used = ends.iter().map(|end| end.as_ref().copied().unwrap_or_default());
            reservation.settle(used.fold(Usage::ZERO, Usage::plus), None);
        }
        let failed = ends.into_iter().filter_map(Result::err);
        self.first(stopped.map(|(failure, _)| failure).into_iter().chain(failed))?;
        self.unless_cancelled()
    }

    /// Ends with the first of some failures; the others are told.
    fn first(&self, failures: impl IntoIterator<Item = Failure>) -> Result<(), Failure> {
        let mut failures = failures.into_iter();
        let Some(first) = failures.next() else { return Ok(()) };
        failures.for_each(|failure| self.notice(failure.to_string()));
        Err(first)
    }

    /// Follows the jobs of earlier sessions; rows that they leave open stay in `open`.
    async fn go_on_with(&self, jobs: Vec<JobRecord>, open: &mut Open) -> Result<(), Failure> {
        let spending = open.values().find_map(|request| request.spending.clone());
        let mut followed = Vec::new();
        for job in jobs.into_iter().filter(|job| !job.over) {
            let rows: Open =
                job.rows.iter().filter_map(|(row, _)| open.remove_entry(row)).collect();
            let most = spending.as_ref().map(|spending| spending.most_of(rows.values()));
            followed.push(async move { (most, self.go_on_with_one(job, rows).await) });
        }
        let mut failed = Vec::new();
        for (most, end) in join_all(followed).await {
            match end {
                Ok((left, used)) => {
                    open.extend(left);
                    spending.iter().zip(used).for_each(|(spending, used)| spending.spent(used));
                }
                Err(failure) => {
                    failed.push(failure);
                    // what is not known counts as the most that it can be
                    let budget = spending.iter().map(|spending| &spending.budget);
                    budget.zip(most).for_each(|(budget, most)| budget.spent_before(most));
                }
            }
        }
        self.first(failed)
    }

    /// Gives the rows that the job leaves open, and what it used if there was a job.
    async fn go_on_with_one(
        &self,
        mut job: JobRecord,
        mut rows: Open,
    ) -> Result<(Open, Option<Usage>), Failure> {
        let Some(ended) = self.attach(&mut job).await? else { return Ok((rows, None)) };
        let used = self.collect(&job, &ended, &mut rows).await?;
        Ok((rows, Some(used)))
    }

    /// Follows a job that was submitted, and takes its results.
    async fn to_its_results(&self, submitted: Submitted) -> Result<Usage, Failure> {
        let Submitted { mut job, state, mut open } = submitted;
        let ended = self.to_its_end(&mut job, state).await?;
        self.collect(&job, &ended, &mut open).await
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
    ) -> Result<Usage, Failure> {
        let Ended { state, by_user } = ended;
        let lines = self.results(state).await;
        let lines = lines.map_err(|failure| self.goes_on(failure, &state.id))?;
        let mut results = Results::new(job, state, self.sink, self.scrub);
        for (place, line) in lines.lines {
            results.take(&place, line, *by_user, open);
        }
        let used = results.finish(&lines.missing, *by_user, open);
        let (name, status) = (job.name.clone(), (self.scrub)(&state.status));
        self.keep(JobEvent::Over { name, status, counts: state.counts }).await?;
        Ok(used)
    }

    /// The lines of a job's results. Few jobs at once, since each may be large.
    async fn results(&self, state: &JobState) -> Result<Lines, Failure> {
        let _turn = self.following.taking.acquire().await;
        self.again(|| self.api.results(state)).await
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

/// The id of something that a server describes.
fn id_of(value: &Value) -> Result<String, Rejection> {
    checked_id(value.get("id").and_then(Value::as_str).unwrap_or_default())
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
