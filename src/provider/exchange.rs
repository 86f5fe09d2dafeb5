//! One request and its streamed answer: sends it, reads it through a decoder, sends it again
//! where that is allowed, and says what is left open when it fails.

use std::time::{Duration, Instant};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, Url};
use tokio_util::sync::CancellationToken;

use super::delivery::Delivery;
use super::framing::{Framing, TooLong};
use super::http::{Connection, Http};
use super::limits::{Allowed, Limits, Permit, Turn};
use super::quota::Quota;
use super::rejection::{Complaint, Rejection, plain};
use super::retry::{Again, RetryPolicy, jitter};
use super::{Event, Failure, FailureKind, ServerEvent, ServerOptions, Sink, Usage};

/// Sends requests to one server, within its limits.
#[derive(Debug)]
pub(super) struct Exchange {
    http: Http,
    server: String,
    policy: RetryPolicy,
    limits: Limits,
}

/// A request for some rows.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub url: Url,
    /// JSON.
    pub body: Vec<u8>,
    pub framing: Framing,
    /// Rows of the prompt list by their places in the request.
    pub rows: Vec<usize>,
    /// The most tokens that all rows together may generate.
    pub max_tokens: usize,
}

/// What the rows of a request used together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub usage: Usage,
    pub cached_tokens: Option<usize>,
}

/// Reads the messages of a stream.
pub(super) trait Decoder: Send {
    /// Takes one message and hands on what is in it.
    fn take(&mut self, message: &[u8], to: &mut Delivery<'_>) -> Result<Flow, Failure>;
}

/// Whether the stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// It does.
    More,
    /// The end marker was read.
    End,
}

/// The call of a provider that a request belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub sink: &'a Sink,
    pub cancel: &'a CancellationToken,
    /// When its rows were submitted.
    pub since: Instant,
}

/// A request that failed for good.
#[derive(Debug)]
pub(super) struct Broken {
    pub failure: Failure,
    /// Rows that have not ended.
    pub open: Vec<usize>,
    /// Text had arrived.
    pub has_text: bool,
}

/// The most bytes of one answer.
const STREAM_LIMIT: usize = 256 << 20;
/// How long the rest of a finished stream is waited for, so that its connection can be used
/// again.
const DRAIN: Duration = Duration::from_millis(100);
/// How often a request is refused before it loses its place to those that came later.
const TRIES_IN_PLACE: u32 = 3;

impl Exchange {
    pub fn new(http: Http, options: &ServerOptions) -> Self {
        let server = http.address().to_string();
        let quota = Quota::new(options.requests_per_minute, options.tokens_per_minute);
        let policy = RetryPolicy::new(options.retries);
        Self { http, server, policy, limits: Limits::new(quota) }
    }

    pub fn http(&self) -> &Http {
        &self.http
    }

    pub fn policy(&self) -> RetryPolicy {
        self.policy
    }

    /// Runs a request to its end. When it returns well, all of its rows have ended well.
    pub async fn run<D: Decoder>(
        &self,
        ask: &Ask,
        decoder: impl Fn() -> D,
        call: Call<'_>,
    ) -> Result<Used, Broken> {
        let mut delivery = Delivery::new(&ask.rows, &self.server, call.sink);
        let ended = tokio::select! {
            biased;
            () = call.cancel.cancelled() => Err(Failure::cancelled()),
            ended = self.attempts(ask, &decoder, &mut delivery, call) => ended,
        };
        match ended {
            Ok(()) => Ok(delivery.used()),
            Err(failure) => {
                let (open, has_text) = (delivery.open(), delivery.has_text());
                Err(Broken { failure, open, has_text })
            }
        }
    }

    async fn attempts<D: Decoder>(
        &self,
        ask: &Ask,
        decoder: &impl Fn() -> D,
        delivery: &mut Delivery<'_>,
        call: Call<'_>,
    ) -> Result<(), Failure> {
        let (mut retry, mut turn) = (0, self.limits.turn());
        loop {
            let permit = self.admit(ask, turn, retry, call).await;
            let ended = self.attempt(ask, decoder, delivery, call.sink).await;
            let Rejection { failure, again, .. } = match ended {
                Ok(()) => {
                    tell_allowed(permit.succeeded(), call.sink);
                    return Ok(());
                }
                Err(rejection) => rejection,
            };
            let wait = self.policy.wait(again, retry, jitter());
            let mut paused = None;
            if is_pressure(failure.kind) && again != Again::Never {
                paused = failure.retry_after.filter(|_| wait.is_some());
                tell_allowed(permit.pressed(paused), call.sink);
            } else {
                drop(permit);
            }
            let Some(wait) = wait else { return Err(failure) };
            if delivery.has_text() {
                return Err(not_again(failure));
            }
            tell_again(ask, &failure, wait, call.sink);
            // in a pause of all requests it waits in its place
            if paused.is_none_or(|paused| paused < wait) {
                tokio::time::sleep(wait).await;
            }
            retry += 1;
            // what is refused whatever happens does not hold up the others
            if retry.is_multiple_of(TRIES_IN_PLACE) {
                turn = self.limits.turn();
            }
        }
    }

    /// Waits until the request may be sent. What the user's own limits a minute have to do with
    /// it is told, since it is no time of the server's.
    async fn admit(&self, ask: &Ask, turn: Turn, retry: u32, call: Call<'_>) -> Permit<'_> {
        let permit = self.limits.acquire(turn, ask.tokens()).await;
        let held = match retry {
            // with such limits rows also wait behind others that were held
            0 if self.limits.has_quota() => permit.started().saturating_duration_since(call.since),
            _ => permit.held(),
        };
        if !held.is_zero() {
            for row in &ask.rows {
                call.sink.send(Event::Server(ServerEvent::Held { row: *row, wait: held }));
            }
        }
        permit
    }

    /// Sends the request; once more at once where its kept connection turns out to be closed.
    async fn attempt<D: Decoder>(
        &self,
        ask: &Ask,
        decoder: &impl Fn() -> D,
        delivery: &mut Delivery<'_>,
        sink: &Sink,
    ) -> Result<(), Rejection> {
        let first = self.send(ask, decoder(), delivery, Connection::Kept).await;
        match first {
            Err(Rejection { failure, again: Again::AtOnce, .. }) if self.policy.retries > 0 => {
                tell_again(ask, &failure, Duration::ZERO, sink);
                self.send(ask, decoder(), delivery, Connection::New).await
            }
            ended => ended,
        }
    }

    async fn send<D: Decoder>(
        &self,
        ask: &Ask,
        decoder: D,
        delivery: &mut Delivery<'_>,
        over: Connection,
    ) -> Result<(), Rejection> {
        let accept = ask.framing.content_type();
        let mut response = self.http.post(ask.url.clone(), ask.body.clone(), accept, over).await?;
        self.check_content_type(&response, ask.framing)?;
        let read = self.read(&mut response, ask.framing, decoder, delivery).await;
        if read.is_ok() {
            // the connection is free for the next request once its last bytes are taken
            let _ = tokio::time::timeout(DRAIN, response.chunk()).await;
        }
        read.map_err(|mut rejection| {
            rejection.failure.message = self.http.scrub(&rejection.failure.message);
            rejection
        })
    }

    async fn read<D: Decoder>(
        &self,
        response: &mut Response,
        framing: Framing,
        mut decoder: D,
        delivery: &mut Delivery<'_>,
    ) -> Result<(), Rejection> {
        let mut splitter = framing.splitter();
        let mut flow = Flow::More;
        let mut size = 0;
        loop {
            let chunk = response.chunk().await.map_err(|error| self.http.broken(&error))?;
            delivery.arrived(Instant::now());
            let mut take = |message: &[u8]| -> Result<(), Cut> {
                if flow == Flow::More {
                    flow = decoder.take(message, delivery)?;
                }
                Ok(())
            };
            let split = match &chunk {
                Some(bytes) => splitter.push(bytes, &mut take),
                None => splitter.finish(&mut take),
            };
            size += chunk.as_ref().map_or(0, |bytes| bytes.len());
            split.map_err(|cut| cut.rejection(delivery))?;
            if flow == Flow::End {
                return delivery.end().map_err(Rejection::never);
            }
            if chunk.is_none() {
                let what = "ended the stream without its end marker: the answer is cut";
                return Err(Rejection::never(delivery.protocol(what)));
            }
            if size > STREAM_LIMIT {
                let what = format!("sent more than {STREAM_LIMIT} bytes");
                return Err(Rejection::never(delivery.protocol(&what)));
            }
        }
    }

    fn check_content_type(&self, response: &Response, framing: Framing) -> Result<(), Rejection> {
        let header = response.headers().get(CONTENT_TYPE);
        let Some(given) = header.and_then(|value| value.to_str().ok()) else { return Ok(()) };
        let given = given.split(';').next().unwrap_or_default().trim();
        // a server may call its lines plain JSON
        let fits = given.eq_ignore_ascii_case(framing.content_type())
            || framing == Framing::Ndjson && given.to_ascii_lowercase().contains("json");
        if fits {
            return Ok(());
        }
        let message = format!(
            "{} answered {} where a stream of {} was asked for: is the address right?",
            self.server,
            plain(given),
            framing.content_type()
        );
        Err(Rejection::never(Failure::new(FailureKind::Protocol, message)))
    }
}

impl Ask {
    /// What a vendor counts when the request arrives: a prompt of about four bytes a token, and
    /// the most tokens it may generate.
    fn tokens(&self) -> usize {
        (self.body.len() / 4).saturating_add(self.max_tokens)
    }
}

fn tell_again(ask: &Ask, failure: &Failure, wait: Duration, sink: &Sink) {
    for row in &ask.rows {
        let (row, failure) = (*row, failure.clone());
        sink.send(Event::Server(ServerEvent::Retry { row, failure, wait }));
    }
}

fn tell_allowed(changed: Option<Allowed>, sink: &Sink) {
    if let Some(allowed) = changed {
        sink.send(Event::Server(ServerEvent::Allowed(allowed)));
    }
}

/// Why reading stops.
enum Cut {
    TooLong(TooLong),
    Failed(Failure),
}

impl From<TooLong> for Cut {
    fn from(error: TooLong) -> Self {
        Cut::TooLong(error)
    }
}

impl From<Failure> for Cut {
    fn from(failure: Failure) -> Self {
        Cut::Failed(failure)
    }
}

impl Cut {
    fn rejection(self, delivery: &Delivery<'_>) -> Rejection {
        let failure = match self {
            Cut::TooLong(error) => delivery.protocol(&format!("sent {error}")),
            Cut::Failed(failure) => failure,
        };
        let again = match is_pressure(failure.kind) || failure.kind == FailureKind::Server {
            true => Again::Backoff,
            false => Again::Never,
        };
        Rejection { failure, again, definite: false }
    }
}

/// Whether a failure means that the server wants fewer requests.
fn is_pressure(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::RateLimited | FailureKind::Overloaded)
}

fn not_again(mut failure: Failure) -> Failure {
    failure.message += "; not sent again, since text had arrived";
    failure
}

/// Reads a message as JSON; an error in it is a failure, whatever the status was.
pub(super) fn parse<'m, T: serde::Deserialize<'m>>(
    message: &'m [u8],
    delivery: &Delivery<'_>,
) -> Result<T, Failure> {
    serde_json::from_slice(message).map_err(|error| {
        if let Ok(value) = serde_json::from_slice(message)
            && let Some(complaint) = Complaint::find(&value)
        {
            return complaint.failure(delivery.server(), None);
        }
        let start: String = plain(&String::from_utf8_lossy(message)).chars().take(60).collect();
        delivery.protocol(&format!("sent what its format does not have ({error}): {start}"))
    })
}

#[cfg(test)]
mod tests;
