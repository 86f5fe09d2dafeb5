//! The results of a job, in any order, become the ends of its rows.

use std::collections::{HashMap, HashSet};

use super::{JobEnd, JobError, JobRecord, JobState, Open};
use crate::batch_file::ResultLine;
use crate::prompts::printable;
use crate::provider::job::JobEvent;
use crate::provider::{Event, Failure, FailureKind, Sink, Usage, events_of_result};

/// Takes the results of one job.
pub(super) struct Results<'a> {
    rows: HashMap<&'a str, usize>,
    /// The place of each row in the job, from 1: its line in the file of requests.
    places: HashMap<usize, usize>,
    seen: HashSet<usize>,
    state: &'a JobState,
    sink: &'a Sink,
    scrub: &'a (dyn Fn(&str) -> String + Sync),
    used: Usage,
}

impl<'a> Results<'a> {
    pub fn new(
        job: &'a JobRecord,
        state: &'a JobState,
        sink: &'a Sink,
        scrub: &'a (dyn Fn(&str) -> String + Sync),
    ) -> Self {
        let rows = job.rows.iter().map(|(row, id)| (id.as_str(), *row)).collect();
        let places =
            job.rows.iter().enumerate().map(|(place, (row, _))| (*row, place + 1)).collect();
        Self { rows, places, seen: HashSet::new(), state, sink, scrub, used: Usage::ZERO }
    }

    /// Takes a line. What is no result of this job is a violation, as is a second one of a row.
    /// Rows that the user's own cancelling ended stay open.
    pub fn take(
        &mut self,
        place: &str,
        line: Result<ResultLine, String>,
        by_user: bool,
        open: &mut Open,
    ) {
        let ResultLine { custom_id, outcome } = match line {
            Ok(line) => line,
            Err(reason) => return self.violate(&format!("{place}: {reason}")),
        };
        let Some(row) = self.rows.get(custom_id.as_str()).copied() else {
            let what =
                format!("{place}: the job has no request with the custom_id \"{custom_id}\"");
            return self.violate(&what);
        };
        if !self.seen.insert(row) {
            return self.violate(&format!("{place}: \"{custom_id}\" came twice"));
        }
        // a row that ended in an earlier session, just before the program was killed
        if !open.contains_key(&row) {
            return;
        }
        if let Ok(answer) = &outcome {
            self.used = self.used.plus(Usage {
                prompt_tokens: answer.prompt_tokens,
                output_tokens: answer.output_tokens,
            });
        }
        let events: Vec<Event> =
            events_of_result(row, outcome).into_iter().map(|event| self.scrubbed(event)).collect();
        let cancelled = events.iter().any(|event| {
            matches!(event, Event::Failed { failure, .. } if failure.kind == FailureKind::Cancelled)
        });
        if cancelled && by_user {
            return;
        }
        open.remove(&row);
        for event in events {
            self.sink.send(if cancelled { at_the_vendor(event) } else { event });
        }
    }

    /// Ends the rows that got no result; gives what the answers to open rows used together.
    pub fn finish(self, missing: &[String], by_user: bool, open: &mut Open) -> Usage {
        if !by_user {
            let without: Vec<usize> =
                open.keys().copied().filter(|row| self.places.contains_key(row)).collect();
            for row in without {
                open.remove(&row);
                let failure = self.without_result(row, missing);
                self.sink.send(Event::Failed { row, failure });
            }
        }
        self.used
    }

    fn violate(&self, what: &str) {
        let what = printable(&(self.scrub)(what));
        self.sink.send(Event::Job(JobEvent::Violation { what }));
    }

    fn scrubbed(&self, event: Event) -> Event {
        match event {
            Event::Failed { row, mut failure } => {
                failure.message = (self.scrub)(&failure.message);
                Event::Failed { row, failure }
            }
            other => other,
        }
    }

    /// Why a row has no result.
    fn without_result(&self, row: usize, missing: &[String]) -> Failure {
        let JobState { id, end, errors, .. } = self.state;
        let place = self.places.get(&row).copied();
        let own = errors.iter().find(|error| error.line.is_some() && error.line == place);
        let (kind, message) = match end {
            _ if !missing.is_empty() => {
                let files = missing.join(", ");
                let what = format!("the results of job {id} are not there any more: {files}");
                (FailureKind::Server, what)
            }
            Some(JobEnd::Expired) => {
                (FailureKind::Server, format!("job {id} expired before this row was run"))
            }
            Some(JobEnd::Cancelled) => {
                let what = format!("job {id} was cancelled at the vendor before this row was run");
                (FailureKind::Server, what)
            }
            Some(JobEnd::Failed) => {
                let told: Vec<&JobError> = match own {
                    Some(own) => vec![own],
                    None => errors.iter().take(3).collect(),
                };
                let kind = told.first().map_or(FailureKind::Server, |error| kind(&error.code));
                let words = told.iter().map(|error| (self.scrub)(&error.words()));
                let words: Vec<String> = words.collect();
                let why =
                    if words.is_empty() { "without a reason".into() } else { words.join("; ") };
                (kind, format!("job {id} failed: {why}"))
            }
            Some(JobEnd::Completed) | None => {
                (FailureKind::Protocol, format!("job {id} ended without a result for this row"))
            }
        };
        Failure::new(kind, message)
    }
}

impl JobError {
    fn words(&self) -> String {
        let at = self.line.map(|line| format!(" in line {line}")).unwrap_or_default();
        match (self.code.as_str(), self.message.as_str()) {
            ("", message) => format!("{message}{at}"),
            (code, "") => format!("{code}{at}"),
            (code, message) => format!("{message} ({code}{at})"),
        }
    }
}

/// The kind of a job's failure by the vendor's code.
fn kind(code: &str) -> FailureKind {
    match code {
        "token_limit_exceeded" | "rate_limit_exceeded" => FailureKind::RateLimited,
        "invalid_json_line"
        | "duplicate_custom_id"
        | "url_mismatch"
        | "model_mismatch"
        | "empty_file"
        | "too_many_tasks"
        | "invalid_request_error"
        | "mismatched_model" => FailureKind::InvalidRequest,
        "model_not_found" => FailureKind::Model,
        _ => FailureKind::Server,
    }
}

/// Nobody here cancelled it.
fn at_the_vendor(event: Event) -> Event {
    match event {
        Event::Failed { row, failure } => {
            let message = format!("{}, by somebody else", failure.message);
            Event::Failed { row, failure: Failure::new(FailureKind::Server, message) }
        }
        other => other,
    }
}
