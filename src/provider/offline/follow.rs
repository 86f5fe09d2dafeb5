//! Following a job: asking how it stands until it is over, ending it for the user, finding one
//! whose id was lost.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::retry::jitter;
use super::{Ended, Found, JobEvent, JobRecord, JobState, Offline};
use crate::provider::{Failure, FailureKind};

/// The first wait between two questions.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest one; a job takes minutes to hours.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a vendor may be out of reach: the job goes on meanwhile.
const LONGEST_OUTAGE: Duration = Duration::from_secs(3600);
/// Where a vendor's clock or this machine's makes a job older than any is, it is so old.
const LONGEST_JOB: Duration = Duration::from_secs(60 * 86_400);
/// How long a cancelled job is waited for.
const LAST_MOMENTS: Duration = Duration::from_secs(20);

impl Offline<'_> {
    /// Goes on with a job of an earlier session, to its end; nothing if it was never created.
    pub(super) async fn attach(&self, job: &mut JobRecord) -> Result<Option<Ended>, Failure> {
        let state = match job.id.clone() {
            Some(id) => {
                self.notice(format!("going on with job {id} at {}", self.server));
                self.ask(&id).await?
            }
            None => match self.look_for(job).await? {
                Some(state) => {
                    self.created(job, &state).await?;
                    state
                }
                None => {
                    self.notice(format!("the job {} was never created", job.name));
                    let (name, status) = (job.name.clone(), "not created".to_owned());
                    self.keep(JobEvent::Over { name, status, counts: None }).await?;
                    return Ok(None);
                }
            },
        };
        let since = Duration::try_from(Timestamp::now().duration_since(job.planned_at));
        let over = state.end.is_some();
        let ago = state.took.filter(|_| over).or(since.ok()).unwrap_or_default().min(LONGEST_JOB);
        self.tell(JobEvent::Attached { name: job.name.clone(), ago });
        self.to_its_end(job, state).await.map(Some)
    }

    /// Asks until it is over.
    pub(super) async fn to_its_end(
        &self,
        job: &mut JobRecord,
        mut state: JobState,
    ) -> Result<Ended, Failure> {
        // jobs of one list do not ask in step
        let mut wait = FIRST_WAIT.mul_f64(1.0 + jitter());
        loop {
            let (name, status) = (job.name.clone(), (self.scrub)(&state.status));
            self.tell(JobEvent::Status { name, status, counts: state.counts });
            if state.end.is_some() {
                let by_user = job.cancel_asked;
                return Ok(Ended { state, by_user });
            }
            let next = async {
                tokio::time::sleep(wait).await;
                self.ask(&state.id).await
            };
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return self.stop(job, state).await,
                next = next => state = next?,
            }
            wait = (wait * 3 / 2).min(LONGEST_WAIT);
        }
    }

    /// How a job stands; a vendor that is out of reach is waited for.
    async fn ask(&self, id: &str) -> Result<JobState, Failure> {
        let mut down: Option<Instant> = None;
        let mut wait = FIRST_WAIT;
        loop {
            let asked = {
                let _turn = self.following.asking.acquire().await;
                self.api.state(id).await
            };
            let rejection = match asked {
                Ok(state) => return Ok(state),
                Err(rejection) => rejection,
            };
            let may_pass = matches!(
                rejection.failure.kind,
                FailureKind::Transport
                    | FailureKind::Overloaded
                    | FailureKind::RateLimited
                    | FailureKind::Server
            );
            if down.is_none() && may_pass {
                self.notice(format!("{}; asking again", rejection.failure));
            }
            let since = *down.get_or_insert_with(Instant::now);
            if !may_pass || since.elapsed() > LONGEST_OUTAGE {
                return Err(self.goes_on(rejection.failure, id));
            }
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(self.goes_on(Failure::cancelled(), id)),
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Ends a job for the user, and takes what it has finished if that comes soon.
    async fn stop(&self, job: &mut JobRecord, mut state: JobState) -> Result<Ended, Failure> {
        let (name, id) = (job.name.clone(), state.id.clone());
        self.keep(JobEvent::CancelAsked { name: name.clone() }).await?;
        job.cancel_asked = true;
        self.notice(format!("cancelling job {id} at {}", self.server));
        let begun = Instant::now();
        let asked = tokio::time::timeout(LAST_MOMENTS, self.again(|| self.api.cancel(&state.id)));
        if let Ok(Err(failure)) = asked.await {
            // it may have ended meanwhile, which shows below
            self.notice(format!("job {id} was not cancelled: {failure}"));
        }
        while begun.elapsed() < LAST_MOMENTS {
            if let Ok(now) = self.api.state(&id).await {
                let (name, status) = (name.clone(), (self.scrub)(&now.status));
                self.tell(JobEvent::Status { name, status, counts: now.counts });
                state = now;
            }
            if state.end.is_some() {
                return Ok(Ended { state, by_user: true });
            }
            tokio::time::sleep(FIRST_WAIT).await;
        }
        self.notice(format!(
            "{} is still cancelling job {id}: resuming this run takes what it has finished",
            self.server
        ));
        Err(Failure::cancelled())
    }

    /// Looks for a job whose id is not known.
    pub(super) async fn look_for(&self, job: &JobRecord) -> Result<Option<JobState>, Failure> {
        let stopped = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(LAST_MOMENTS).await;
        };
        tokio::select! {
            found = self.search(job) => found,
            () = stopped => Err(Failure::cancelled()),
        }
    }

    async fn search(&self, job: &JobRecord) -> Result<Option<JobState>, Failure> {
        let mut candidates = match self.again(|| self.api.find(job)).await? {
            Found::Nothing => return Ok(None),
            Found::This(state) => return Ok(Some(*state)),
            Found::Perhaps(candidates) => candidates,
        };
        candidates.retain(|candidate| !self.following.is_known(&candidate.id));
        if candidates.is_empty() {
            return Ok(None);
        }
        let own: HashSet<&str> = job.rows.iter().map(|(_, id)| id.as_str()).collect();
        let count = candidates.len();
        self.notice(format!(
            "{count} jobs at {} may be the one that was being created: their results tell",
            self.server
        ));
        for candidate in candidates {
            let id = candidate.id.clone();
            let over = self.wait_for(candidate).await?;
            let lines = self.results(&over).await.map_err(|mut failure| {
                failure.message += &format!(
                    "; whether job {id} is the one that was being created is not known: look \
                         at it there, and start a new run if it is not"
                );
                failure
            })?;
            let mut named = lines.lines.iter().filter_map(|(_, line)| line.as_ref().ok());
            if named.any(|line| own.contains(line.custom_id.as_str())) {
                return Ok(Some(over));
            }
        }
        Ok(None)
    }

    /// Waits for the end of a job that may be somebody else's.
    async fn wait_for(&self, mut state: JobState) -> Result<JobState, Failure> {
        let mut wait = FIRST_WAIT;
        while state.end.is_none() {
            tokio::time::sleep(wait).await;
            wait = (wait * 3 / 2).min(LONGEST_WAIT);
            state = self.ask(&state.id).await?;
        }
        Ok(state)
    }
}
