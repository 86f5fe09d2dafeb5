//! OpenAI's Batch API: the requests go there as a file, the results come back as one or two.

use std::ops::ControlFlow;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::http::Http;
use super::super::openai::Body;
use super::super::rejection::{Rejection, plain};
use super::super::server::is_raw_text;
use super::listing::{Pages, enough};
use super::multipart::form;
use super::{
    Format, Found, JobApi, JobEnd, JobError, JobRecord, JobState, Lines, Payload, between,
    checked_id, id_of, protocol,
};
use crate::batch_file::{Endpoint, request_line};
use crate::provider::job::JobCounts;
use crate::provider::{Failure, FailureKind, Request};

/// What OpenAI takes in one job.
const MOST_REQUESTS: usize = 50_000;
const MOST_BYTES: usize = 200_000_000;
/// Under this name the program's own name of a job stands in its metadata.
const NAME: &str = "batchgen_job";
const PAGES: Pages = Pages { after: "after", jobs: 100, most: 200 };
/// How far the vendor's clock may be from this machine's, seconds.
const CLOCKS: i64 = 3600;

/// Jobs on one server.
pub(in crate::provider) struct OpenAiJobs<'a> {
    pub http: &'a Http,
    pub body: &'a Body,
}

#[async_trait]
impl JobApi for OpenAiJobs<'_> {
    fn format(&self, requests: &[&Request]) -> Result<Format, Failure> {
        let raw = requests.iter().filter(|request| is_raw_text(request)).count();
        if raw > 0 && raw < requests.len() {
            let what = "raw texts and conversations cannot be in one job: leave out --raw, or put \
                        the conversations into a list of their own";
            return Err(Failure::new(FailureKind::Unsupported, what));
        }
        let endpoint = if raw > 0 { Endpoint::Completions } else { Endpoint::Chat };
        Ok(Format {
            vendor: "OpenAI",
            endpoint: endpoint.path(),
            around: [""; 3],
            most_requests: MOST_REQUESTS,
            most_bytes: MOST_BYTES,
        })
    }

    fn entry(&self, custom_id: &str, request: &Request) -> Result<Vec<u8>, Failure> {
        let (endpoint, body) = match is_raw_text(request) {
            true => (Endpoint::Completions, self.body.completion_of_job(request)?),
            false => (Endpoint::Chat, self.body.chat_of_job(request)?),
        };
        Ok(request_line(custom_id, endpoint, body))
    }

    async fn upload(&self, name: &str, payload: &Payload) -> Result<Option<String>, Rejection> {
        let filename = format!("{name}.jsonl");
        let fields = [("purpose", "batch")];
        let (content, body) = form(&fields, &filename, "application/jsonl", &payload.bytes);
        let url = self.http.address().api("files");
        let file = self.http.post_once(url, &content, body).await?;
        id_of(&file).map(Some)
    }

    async fn create(&self, job: &JobRecord, payload: &Payload) -> Result<JobState, Rejection> {
        let body = json!({
            "input_file_id": job.file,
            "endpoint": payload.endpoint,
            "completion_window": "24h",
            "metadata": {NAME: job.name},
        });
        let (url, body) = (self.http.address().api("batches"), body.to_string().into_bytes());
        state_of(&self.http.post_once(url, "application/json", body).await?)
    }

    async fn state(&self, id: &str) -> Result<JobState, Rejection> {
        let url = self.http.address().api(&format!("batches/{}", checked_id(id)?));
        state_of(&self.http.get_json(url).await?)
    }

    async fn cancel(&self, id: &str) -> Result<(), Rejection> {
        let url = self.http.address().api(&format!("batches/{}/cancel", checked_id(id)?));
        self.http.post_once(url, "application/json", Vec::new()).await.map(drop)
    }

    async fn find(&self, job: &JobRecord) -> Result<Found, Rejection> {
        let oldest = job.planned_at.as_second() - CLOCKS;
        let name = |job: &Value| Some(job.get("metadata")?.get(NAME)?.as_str()?.to_owned());
        let mut found = Found::Nothing;
        let look = |jobs: &[Value]| {
            if let Some(this) =
                jobs.iter().find(|job_there| name(job_there).as_ref() == Some(&job.name))
            {
                found = Found::This(Box::new(state_of(this)?));
                return Ok(ControlFlow::Break(()));
            }
            let created = jobs.last().and_then(|last| last.get("created_at")?.as_i64());
            Ok(enough(created.is_some_and(|at| at < oldest)))
        };
        PAGES.walk(self.http, &self.http.address().api("batches"), look).await?;
        Ok(found)
    }

    async fn results(&self, job: &JobState) -> Result<Lines, Rejection> {
        let mut all = Lines::default();
        for file in &job.files {
            let url = self.http.address().api(&format!("files/{}/content", checked_id(file)?));
            super::read(self.http, url, file, &mut all).await?;
        }
        Ok(all)
    }
}

fn state_of(batch: &Value) -> Result<JobState, Rejection> {
    let word = |name: &str| batch.get(name).and_then(Value::as_str);
    let Some(status) = word("status") else {
        return Err(protocol("what describes a job has no status".into()));
    };
    let end = match status {
        "completed" => Some(JobEnd::Completed),
        "failed" => Some(JobEnd::Failed),
        "expired" => Some(JobEnd::Expired),
        "cancelled" => Some(JobEnd::Cancelled),
        _ => None,
    };
    let at = |name: &str| Timestamp::from_second(batch.get(name)?.as_i64()?).ok();
    let ends = ["completed_at", "failed_at", "expired_at", "cancelled_at"];
    let files = ["output_file_id", "error_file_id"].into_iter().filter_map(word);
    Ok(JobState {
        id: id_of(batch)?,
        status: super::word(status),
        end,
        counts: counts(batch),
        took: between(at("created_at"), ends.into_iter().find_map(at)),
        files: files.map(checked_id).collect::<Result<_, _>>()?,
        errors: errors(batch),
    })
}

/// All 0 while the job is being validated, which is not known and not 0.
fn counts(batch: &Value) -> Option<JobCounts> {
    let counts = batch.get("request_counts")?;
    let count = |name: &str| usize::try_from(counts.get(name)?.as_u64()?).ok();
    let (total, completed, failed) = (count("total")?, count("completed")?, count("failed")?);
    (total > 0).then_some(JobCounts { total, completed, failed })
}

fn errors(batch: &Value) -> Vec<JobError> {
    let list = batch.get("errors").and_then(|errors| errors.get("data")).and_then(Value::as_array);
    let error = |error: &Value| {
        let text = |name: &str| plain(error.get(name).and_then(Value::as_str).unwrap_or_default());
        let line = error.get("line").and_then(Value::as_u64);
        JobError {
            code: text("code"),
            message: text("message"),
            line: line.and_then(|line| usize::try_from(line).ok()),
        }
    };
    list.into_iter().flatten().take(super::MOST_ERRORS).map(error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_with_its_counts_files_errors_and_time() {
        let batch = json!({
            "id": "batch_1", "status": "failed", "created_at": 100, "failed_at": 130,
            "output_file_id": null, "error_file_id": "file-e",
            "request_counts": {"total": 3, "completed": 1, "failed": 2},
            "errors": {"object": "list", "data": [
                {"code": "duplicate_custom_id", "message": "\u{1b}[2Jtwice", "line": 2, "param": null},
            ]},
        });
        let expected = JobState {
            id: "batch_1".into(),
            status: "failed".into(),
            end: Some(JobEnd::Failed),
            counts: Some(JobCounts { total: 3, completed: 1, failed: 2 }),
            took: Some(std::time::Duration::from_secs(30)),
            files: vec!["file-e".into()],
            errors: vec![JobError {
                code: "duplicate_custom_id".into(),
                message: "[2Jtwice".into(),
                line: Some(2),
            }],
        };
        assert_eq!(state_of(&batch).unwrap(), expected);
    }

    #[test]
    fn a_status_of_tomorrow_is_no_end_and_counts_of_nothing_are_not_known() {
        let batch = json!({"id": "b", "status": "warm\u{1b}ing", "created_at": -5,
            "request_counts": {"total": 0, "completed": 0, "failed": 0}});
        let state = state_of(&batch).unwrap();
        assert_eq!((state.end, state.counts, state.took), (None, None, None));
        assert_eq!(state.status, "unknown");
        assert!(state.files.is_empty() && state.errors.is_empty());
    }

    #[test]
    fn what_is_no_job_is_refused_and_no_id_leads_elsewhere() {
        let long = "x".repeat(300);
        for (batch, part) in [
            (json!({}), "no status"),
            (json!([1]), "no status"),
            (json!({"status": 1, "id": "b"}), "no status"),
            (json!({"status": "completed"}), "no id"),
            (json!({"status": "completed", "id": "../files"}), "no id"),
            (json!({"status": "completed", "id": ".."}), "no id"),
            (json!({"status": "completed", "id": "a?b"}), "no id"),
            (json!({"status": "completed", "id": long}), "no id"),
            (json!({"status": "completed", "id": "b", "output_file_id": "a/b"}), "no id"),
        ] {
            let rejection = state_of(&batch).unwrap_err();
            assert_eq!(rejection.failure.kind, FailureKind::Protocol);
            assert!(rejection.failure.message.contains(part), "{batch}: {rejection:?}");
        }
    }
}
