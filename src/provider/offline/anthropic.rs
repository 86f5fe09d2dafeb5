//! Anthropic's Message Batches: the requests are in the job, the results are one file.
//!
//! A job has no name there. One whose id was lost is looked for among the jobs of its time and
//! size, and known by the `custom_id`s in its results, which no other job has.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use serde_json::{Value, json};

use super::super::anthropic::Anthropic;
use super::super::http::Http;
use super::super::rejection::Rejection;
use super::listing::{Pages, enough};
use super::{
    Format, Found, JobApi, JobEnd, JobRecord, JobState, Lines, Payload, between, checked_id, id_of,
    protocol,
};
use crate::provider::job::JobCounts;
use crate::provider::{Failure, Request};

/// What Anthropic takes in one job.
const MOST_REQUESTS: usize = 100_000;
const MOST_BYTES: usize = 256_000_000;
const PAGES: Pages = Pages { after: "after_id", jobs: 1000, most: 100 };
/// How far the vendor's clock may be from this machine's, and how long a job may have taken to
/// arrive there.
const CLOCKS: SignedDuration = SignedDuration::from_secs(600);

/// Jobs on one server.
pub(in crate::provider) struct AnthropicJobs<'a> {
    pub http: &'a Http,
    pub api: &'a Anthropic,
}

#[async_trait]
impl JobApi for AnthropicJobs<'_> {
    fn format(&self, _requests: &[&Request]) -> Result<Format, Failure> {
        Ok(Format {
            vendor: "Anthropic",
            endpoint: "/v1/messages",
            around: ["{\"requests\":[", ",", "]}"],
            most_requests: MOST_REQUESTS,
            most_bytes: MOST_BYTES,
        })
    }

    fn entry(&self, custom_id: &str, request: &Request) -> Result<Vec<u8>, Failure> {
        let params = self.api.message(request)?;
        Ok(json!({"custom_id": custom_id, "params": params}).to_string().into_bytes())
    }

    async fn upload(&self, _name: &str, _payload: &Payload) -> Result<Option<String>, Rejection> {
        Ok(None)
    }

    async fn create(&self, _job: &JobRecord, payload: &Payload) -> Result<JobState, Rejection> {
        let body = payload.bytes.clone();
        state_of(&self.http.post_once(self.batches(""), "application/json", body).await?)
    }

    async fn state(&self, id: &str) -> Result<JobState, Rejection> {
        let url = self.batches(&format!("/{}", checked_id(id)?));
        state_of(&self.http.get_json(url).await?)
    }

    async fn cancel(&self, id: &str) -> Result<(), Rejection> {
        let url = self.batches(&format!("/{}/cancel", checked_id(id)?));
        self.http.post_once(url, "application/json", Vec::new()).await.map(drop)
    }

    async fn find(&self, job: &JobRecord) -> Result<Found, Rejection> {
        let mut candidates = Vec::new();
        let look = |jobs: &[Value]| {
            for found in jobs.iter().filter(|found| may_be(found, job)) {
                candidates.push(state_of(found)?);
            }
            let oldest = jobs.last().and_then(|last| at(last, "created_at"));
            Ok(enough(oldest.is_some_and(|at| at < earliest(job))))
        };
        PAGES.walk(self.http, &self.batches(""), look).await?;
        Ok(match candidates.is_empty() {
            true => Found::Nothing,
            false => Found::Perhaps(candidates),
        })
    }

    async fn results(&self, job: &JobState) -> Result<Lines, Rejection> {
        let mut all = Lines::default();
        // the address in the job is the vendor's own: a key goes nowhere but to this server
        let url = self.batches(&format!("/{}/results", checked_id(&job.id)?));
        super::read(self.http, url, &job.id, &mut all).await?;
        Ok(all)
    }
}

impl AnthropicJobs<'_> {
    fn batches(&self, rest: &str) -> Url {
        self.http.address().api(&format!("messages/batches{rest}"))
    }
}

fn at(value: &Value, name: &str) -> Option<Timestamp> {
    value.get(name)?.as_str()?.parse().ok()
}

fn earliest(job: &JobRecord) -> Timestamp {
    job.planned_at.checked_sub(CLOCKS).unwrap_or(Timestamp::MIN)
}

/// Whether a job has the time and the size of one that was about to be created. What cannot be
/// told stays a candidate.
fn may_be(found: &Value, job: &JobRecord) -> bool {
    let latest = job.planned_at.checked_add(CLOCKS).unwrap_or(Timestamp::MAX);
    let in_time = at(found, "created_at").is_none_or(|at| earliest(job) <= at && at <= latest);
    let total = sum(found);
    in_time && total.is_none_or(|total| total == job.rows.len())
}

/// Requests of a job, whatever became of them.
fn sum(batch: &Value) -> Option<usize> {
    let counts = batch.get("request_counts")?;
    let names = ["processing", "succeeded", "errored", "canceled", "expired"];
    names.iter().try_fold(0_usize, |sum, name| sum.checked_add(count(counts, name)?))
}

fn count(counts: &Value, name: &str) -> Option<usize> {
    usize::try_from(counts.get(name)?.as_u64()?).ok()
}

fn state_of(batch: &Value) -> Result<JobState, Rejection> {
    let status = batch.get("processing_status").and_then(Value::as_str);
    let Some(status) = status else {
        return Err(protocol("what describes a job has no processing_status".into()));
    };
    // each row says by itself what became of it
    let end = (status == "ended").then_some(match batch.get("cancel_initiated_at") {
        None | Some(Value::Null) => JobEnd::Completed,
        Some(_) => JobEnd::Cancelled,
    });
    Ok(JobState {
        id: id_of(batch)?,
        status: super::word(status),
        end,
        counts: counts(batch).filter(|_| end.is_some()),
        took: between(at(batch, "created_at"), at(batch, "ended_at")),
        files: Vec::new(),
        errors: Vec::new(),
    })
}

/// Only at the end: before it, the vendor says of all requests that they are being processed.
fn counts(batch: &Value) -> Option<JobCounts> {
    let counts = batch.get("request_counts")?;
    let completed = count(counts, "succeeded")?;
    let total = sum(batch)?;
    Some(JobCounts { total, completed, failed: total - completed })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::FailureKind;

    fn batch(status: &str, processing: usize, succeeded: usize, cancel: Value) -> Value {
        json!({
            "id": "msgbatch_1", "type": "message_batch", "processing_status": status,
            "created_at": "2026-11-23T10:00:00Z", "ended_at": "2026-11-23T10:01:30.5Z",
            "cancel_initiated_at": cancel, "results_url": "https://elsewhere.example/results",
            "request_counts": {"processing": processing, "succeeded": succeeded, "errored": 1,
                "canceled": 0, "expired": 1},
        })
    }

    #[test]
    fn a_job_has_counts_at_its_end_only() {
        let running = state_of(&batch("in_progress", 3, 0, Value::Null)).unwrap();
        assert_eq!((running.end, running.counts), (None, None));
        let ended = state_of(&batch("ended", 0, 3, Value::Null)).unwrap();
        assert_eq!(ended.end, Some(JobEnd::Completed));
        assert_eq!(ended.counts, Some(JobCounts { total: 5, completed: 3, failed: 2 }));
        assert_eq!(ended.took, Some(Duration::from_millis(90_500)));
        let cancelled = state_of(&batch("ended", 0, 3, json!("2026-11-23T10:01:00Z"))).unwrap();
        assert_eq!(cancelled.end, Some(JobEnd::Cancelled));
    }

    #[test]
    fn a_lost_job_is_looked_for_among_those_of_its_time_and_size() {
        let rows = (0..5).map(|row| (row, format!("c{row}"))).collect();
        let at = "2026-11-23T09:58:00Z".parse().unwrap();
        let job = JobRecord::planned("n".into(), at, rows);
        assert!(may_be(&batch("ended", 0, 3, Value::Null), &job));
        assert!(!may_be(&batch("ended", 0, 4, Value::Null), &job), "another size");
        let late = JobRecord { planned_at: "2026-11-23T10:30:00Z".parse().unwrap(), ..job.clone() };
        assert!(!may_be(&batch("ended", 0, 3, Value::Null), &late), "another time");
        assert!(may_be(&json!({"id": "x"}), &job), "what is not told cannot rule it out");
    }

    #[test]
    fn what_is_no_job_is_refused() {
        for value in [json!(null), json!({"id": "a"}), json!({"processing_status": "ended"})] {
            let failure = state_of(&value).unwrap_err().failure;
            assert_eq!(failure.kind, FailureKind::Protocol, "{value}");
        }
        let huge = json!({"processing": u64::MAX, "succeeded": u64::MAX, "errored": 0,
            "canceled": 0, "expired": 0});
        assert_eq!(sum(&json!({"request_counts": huge})), None);
    }
}
