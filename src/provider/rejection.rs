//! What a server says when it refuses: error bodies of every shape that is about, turned into
//! typed failures. It does not decide whether to try again, it only says what the server said
//! about it.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::retry::{Again, asked_wait, asked_whether};
use super::{Failure, FailureKind};

/// A failed request, and what is known about sending it again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rejection {
    pub failure: Failure,
    pub again: Again,
    /// The server took the request, understood it and did nothing, as a status of 400 to 499 says;
    /// or nothing was sent.
    pub definite: bool,
}

/// An error as a server words it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    pub message: String,
    words: Vec<String>,
    is_anthropic: bool,
}

/// The longest text of a server that is passed on.
const LONGEST_TEXT: usize = 400;

/// Words by which vendors say that it is about money; waiting does not help.
const MONEY: &[&str] = &[
    "insufficient_quota",
    "billing_error",
    "billing_not_active",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
];

/// Words that name the kind whatever the status is; inside a stream there is no status.
const KINDS: &[(&str, FailureKind)] = &[
    ("authentication_error", FailureKind::Auth),
    ("permission_error", FailureKind::Auth),
    ("invalid_api_key", FailureKind::Auth),
    ("rate_limit_error", FailureKind::RateLimited),
    ("rate_limit_exceeded", FailureKind::RateLimited),
    ("slow_down", FailureKind::RateLimited),
    ("overloaded_error", FailureKind::Overloaded),
    ("overloaded", FailureKind::Overloaded),
    ("unavailable_error", FailureKind::Overloaded),
    ("timeout_error", FailureKind::Transport),
    ("model_not_found", FailureKind::Model),
    ("context_length_exceeded", FailureKind::InvalidRequest),
    ("exceed_context_size_error", FailureKind::InvalidRequest),
    ("request_too_large", FailureKind::InvalidRequest),
    ("validation", FailureKind::InvalidRequest),
    ("not_supported_error", FailureKind::Unsupported),
    ("invalid_request_error", FailureKind::InvalidRequest),
    ("BadRequestError", FailureKind::InvalidRequest),
];

impl Complaint {
    /// Reads an error out of a message, if there is one in it.
    pub fn find(value: &Value) -> Option<Self> {
        let error = value.get("error").filter(|error| !error.is_null());
        let is_anthropic = value.get("type").and_then(Value::as_str) == Some("error");
        let inner = match error {
            Some(error) => error,
            None if value.get("object").and_then(Value::as_str) == Some("error") => value,
            None if is_anthropic => value,
            None => return None,
        };
        let mut complaint = Self { is_anthropic, ..Self::default() };
        match inner {
            Value::String(text) => {
                complaint.message = plain(text);
                // TGI puts the kind beside its text
                complaint.word(value.get("error_type"));
            }
            inner => {
                let message = inner.get("message").or(inner.get("detail"));
                complaint.message = plain(&message.map_or(inner.to_string(), text_of));
                complaint.word(inner.get("code"));
                complaint.word(inner.get("type"));
                complaint.word(inner.get("details").and_then(|more| more.get("error_code")));
            }
        }
        Some(complaint)
    }

    /// Reads the body of a refused request; what is not JSON is quoted.
    fn of_body(body: &[u8]) -> Self {
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            let message = value.get("message").or(value.get("detail"));
            return Self::find(&value).unwrap_or_else(|| Self {
                message: plain(&message.map_or(value.to_string(), text_of)),
                ..Self::default()
            });
        }
        let text = String::from_utf8_lossy(body);
        let is_page = text.trim_start().starts_with('<');
        let message = if is_page { String::new() } else { plain(&text) };
        Self { message, ..Self::default() }
    }

    fn word(&mut self, value: Option<&Value>) {
        match value {
            Some(Value::String(word)) if !word.is_empty() => self.words.push(plain(word)),
            Some(Value::Number(code)) => self.words.push(code.to_string()),
            _ => {}
        }
    }

    fn is_money(&self) -> bool {
        self.words.iter().any(|word| MONEY.contains(&word.as_str()))
    }

    fn kind_by_word(&self) -> Option<FailureKind> {
        let of =
            |word: &String| KINDS.iter().find(|(known, _)| known == word).map(|(_, kind)| *kind);
        self.words.iter().find_map(of)
    }

    fn status(&self) -> Option<StatusCode> {
        let number = self.words.iter().find_map(|word| word.parse::<u16>().ok())?;
        StatusCode::from_u16(number).ok().filter(|status| status.as_u16() >= 400)
    }

    fn kind(&self, status: Option<StatusCode>) -> FailureKind {
        let text = self.message.to_lowercase();
        if text.contains("out of memory") || text.contains("more system memory") {
            return FailureKind::OutOfMemory;
        }
        if self.is_money() {
            return FailureKind::Auth;
        }
        let about_model = text.contains("model");
        match status.map(|status| status.as_u16()) {
            Some(401..=403) => FailureKind::Auth,
            Some(404) if about_model => FailureKind::Model,
            Some(404 | 405) => FailureKind::Protocol,
            Some(429) => FailureKind::RateLimited,
            Some(503 | 529) => FailureKind::Overloaded,
            Some(408 | 502 | 504) => FailureKind::Transport,
            Some(409) => FailureKind::Overloaded,
            Some(400..=499) => self.kind_by_word().unwrap_or(FailureKind::InvalidRequest),
            Some(300..=399) => FailureKind::Protocol,
            _ => self.kind_by_word().unwrap_or(FailureKind::Server),
        }
    }

    /// The failure of a request or a stream on `server`.
    pub fn failure(&self, server: &str, status: Option<StatusCode>) -> Failure {
        let status = status.or(self.status());
        let kind = self.kind(status);
        let what = match kind {
            FailureKind::Auth
                if self.is_money() || status == Some(StatusCode::PAYMENT_REQUIRED) =>
            {
                "says that the account's money or limit is used up"
            }
            FailureKind::Auth => "refused the key",
            FailureKind::RateLimited => "limits the rate of requests",
            FailureKind::Overloaded if self.message.to_lowercase().contains("loading") => {
                "is not ready yet"
            }
            FailureKind::Overloaded => "has no capacity now",
            FailureKind::Transport => "timed out",
            FailureKind::Model => "cannot serve the model",
            FailureKind::OutOfMemory => "has not enough memory",
            FailureKind::InvalidRequest => "refused the request",
            FailureKind::Unsupported => "does not support the request",
            FailureKind::Protocol => "has no such route: is the address right?",
            FailureKind::Server
            | FailureKind::SpendingLimit
            | FailureKind::Cancelled
            | FailureKind::Internal => "failed",
        };
        let mut words: Vec<String> =
            status.iter().map(|status| status.as_u16().to_string()).collect();
        words.extend(self.words.iter().filter(|word| word.parse::<u16>().is_err()).cloned());
        let mut message = format!("{server} {what}");
        if !words.is_empty() {
            message += &format!(" ({})", words.join(" "));
        }
        if !self.message.is_empty() {
            message += &format!(": {}", self.message);
        }
        Failure::new(kind, message)
    }
}

impl Rejection {
    /// A failure that would be the same the next time.
    pub fn never(failure: Failure) -> Self {
        Self { failure, again: Again::Never, definite: false }
    }

    /// A request that was answered with a status other than success.
    pub fn of_answer(server: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let complaint = Complaint::of_body(body);
        let mut failure = complaint.failure(server, Some(status));
        let wait = asked_wait(headers, jiff::Timestamp::now());
        failure.retry_after = wait;
        let usual = match status.as_u16() {
            // the monthly cap of a tier looks like this: no wait is named, and none helps
            429 if wait.is_none() && complaint.is_anthropic => false,
            408 | 409 | 429 => true,
            status => status >= 500,
        };
        let money = complaint.is_money() || status == StatusCode::PAYMENT_REQUIRED;
        let hopeless = money || failure.kind == FailureKind::OutOfMemory;
        let again = match (hopeless, asked_whether(headers).unwrap_or(usual)) {
            (true, _) | (_, false) => Again::Never,
            (false, true) => wait.map_or(Again::Backoff, Again::After),
        };
        let definite = status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT;
        Self { failure, again, definite }
    }
}

/// The text of a message that may be a string, FastAPI's list of faults, or anything.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(faults) => {
            let faults = faults.iter().map(|fault| match fault.get("msg") {
                Some(message) => text_of(message),
                None => fault.to_string(),
            });
            faults.collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

/// One line without control characters, not too long.
pub(super) fn plain(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(LONGEST_TEXT) {
        words.truncate(end);
        words.push('…');
    }
    words.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
