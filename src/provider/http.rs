//! A thin layer over the HTTP client: addresses, keys, timeouts, size limits, typed failures.
//!
//! It follows no redirect: no model server needs one, and a key must never reach another host.
//! It knows nothing of what is asked or answered.

use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use super::address::Address;
use super::framing::TooLong;
use super::ndjson::NdjsonSplitter;
use super::rejection::{Rejection, plain};
use super::retry::Again;
use super::secret::Secret;
use super::{Failure, FailureKind, ProviderSpec};
use crate::web;

/// A server that can be spoken to. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Http {
    clients: Arc<Clients>,
    address: Address,
    secrets: Vec<Secret>,
    idle_timeout: Duration,
}

/// One client that keeps connections for the next request, and one that never does.
#[derive(Debug)]
struct Clients {
    kept: Client,
    new: OnceLock<Client>,
    headers: HeaderMap,
    /// The server closed a connection that it had let us keep. Where a new one costs next to
    /// nothing, none is kept from then on.
    closes: AtomicBool,
}

/// Over which connection a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// One that an earlier request left, where there is one.
    Kept,
    /// A new one.
    New,
}

/// How a key is put into a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyStyle {
    /// `Authorization: Bearer …`
    Bearer,
    /// `x-api-key: …`
    ApiKey,
}

/// A whole answer, of success.
#[derive(Debug)]
pub(super) struct Answer {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// For the short questions about a server.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: usize = 16 << 20;
const ERROR_LIMIT: usize = 64 << 10;
/// The longest line of a file of results.
const LINE_LIMIT: usize = 64 << 20;
/// The largest file of results.
const LINES_LIMIT: usize = 2 << 30;

impl Http {
    /// A client for the server of a spec. `key_env` names the variable of the key, if there
    /// is one; `headers` are sent with every request.
    pub fn new(
        spec: &ProviderSpec,
        address: Address,
        key_env: Option<&str>,
        style: KeyStyle,
        mut headers: HeaderMap,
    ) -> Result<Self, Failure> {
        let mut secrets = Vec::new();
        if let Some(name) = key_env {
            let secret = Secret::from_env(name)?;
            let (header, prefix) = match style {
                KeyStyle::Bearer => (reqwest::header::AUTHORIZATION, "Bearer "),
                KeyStyle::ApiKey => (HeaderName::from_static("x-api-key"), ""),
            };
            headers.insert(header, secret.header(prefix)?);
            secrets.push(secret);
        }
        for (header, name) in &spec.server.header_env {
            let secret = Secret::from_env(name)?;
            headers.insert(header_name(header)?, secret.header("")?);
            secrets.push(secret);
        }
        let seconds = spec.server.idle_timeout_s.map(Duration::from_secs);
        let idle_timeout = seconds.unwrap_or(IDLE_TIMEOUT);
        let kept = client(&address, &headers, idle_timeout, Connection::Kept)?;
        let (new, closes) = (OnceLock::new(), AtomicBool::new(false));
        let clients = Arc::new(Clients { kept, new, headers, closes });
        Ok(Self { clients, address, secrets, idle_timeout })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Says so if a key would travel where anybody on the way can read it.
    pub fn warn_if_readable(&self, progress: &(dyn Fn(String) + Send + Sync)) {
        let address = &self.address;
        if !self.secrets.is_empty() && address.is_plain() && !address.is_loopback() {
            progress(format!("the key goes to {address} unencrypted: use https if you can"));
        }
    }

    /// Gets a JSON document.
    pub async fn get_json(&self, url: Url) -> Result<Value, Rejection> {
        let answer = self.get(url.clone()).await?;
        self.parse(&url, &answer.body)
    }

    /// Posts a JSON document and takes the whole answer, which may take its time. It may begin
    /// something that must not be begun twice, so it goes over a connection that is surely open.
    pub async fn ask(&self, url: Url, body: &Value) -> Result<Value, Rejection> {
        let request = self.client(Connection::New)?.post(url.clone()).json(body);
        let answer = self.whole(request, self.idle_timeout, Connection::New).await?;
        self.parse(&url, &answer.body)
    }

    /// Posts a body of any type once, over a connection of its own, whatever breaks, and takes the
    /// whole answer, a JSON document.
    pub async fn post_once(
        &self,
        url: Url,
        content: &str,
        body: Vec<u8>,
    ) -> Result<Value, Rejection> {
        let over = Connection::New;
        let request = self.client(over)?.post(url.clone()).header(CONTENT_TYPE, content);
        let answer = self.whole(request.body(body), self.idle_timeout, over).await?;
        self.parse(&url, &answer.body)
    }

    /// Gets a file of lines, which may be long and take its time. Blank lines are skipped.
    pub async fn get_lines(
        &self,
        url: Url,
        take: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<(), Rejection> {
        let request = self.client(Connection::New)?.get(url);
        let mut response = self.send(request, self.idle_timeout, Connection::New).await?;
        let mut splitter = NdjsonSplitter::new(LINE_LIMIT);
        let mut take = |line: &[u8]| {
            take(line);
            Ok(())
        };
        let mut size = 0;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            size += chunk.len();
            let split = match size > LINES_LIMIT {
                true => Err(TooLong { limit: LINES_LIMIT }),
                false => splitter.push(&chunk, &mut take),
            };
            split.map_err(|error| self.too_long(error))?;
        }
        splitter.finish(take).map_err(|error: TooLong| self.too_long(error))
    }

    fn too_long(&self, error: TooLong) -> Rejection {
        let what = format!("{} sent results with {error}", self.address);
        Rejection::never(Failure::new(FailureKind::Protocol, what))
    }

    /// Gets anything.
    pub async fn get(&self, url: Url) -> Result<Answer, Rejection> {
        match self.get_over(url.clone(), Connection::Kept).await {
            Err(Rejection { again: Again::AtOnce, .. }) => {
                self.get_over(url, Connection::New).await
            }
            got => got,
        }
    }

    async fn get_over(&self, url: Url, over: Connection) -> Result<Answer, Rejection> {
        let request = self.client(over)?.get(url).timeout(ASK_TIMEOUT);
        self.whole(request, ASK_TIMEOUT, over).await
    }

    fn parse(&self, url: &Url, body: &[u8]) -> Result<Value, Rejection> {
        serde_json::from_slice(body).map_err(|error| {
            let what = format!("{} sent no JSON for {}: {error}", self.address, url.path());
            Rejection::never(Failure::new(FailureKind::Protocol, what))
        })
    }

    /// Posts a JSON body and gives the answer once its head is there and says success. Where the
    /// server closed a kept connection instead of answering, [`Again::AtOnce`].
    pub async fn post(
        &self,
        url: Url,
        body: Vec<u8>,
        accept: &str,
        over: Connection,
    ) -> Result<Response, Rejection> {
        let json = HeaderValue::from_static("application/json");
        let request = self.client(over)?.post(url).header(CONTENT_TYPE, json);
        let request = request.header("accept", accept).body(body);
        self.send(request, self.idle_timeout, over).await
    }

    fn client(&self, over: Connection) -> Result<&Client, Rejection> {
        let clients = &self.clients;
        if over == Connection::Kept && !clients.closes.load(Ordering::Relaxed) {
            return Ok(&clients.kept);
        }
        if let Some(client) = clients.new.get() {
            return Ok(client);
        }
        let made = client(&self.address, &clients.headers, self.idle_timeout, Connection::New);
        let made = made.map_err(Rejection::never)?;
        Ok(clients.new.get_or_init(|| made))
    }

    async fn send(
        &self,
        request: RequestBuilder,
        wait: Duration,
        over: Connection,
    ) -> Result<Response, Rejection> {
        let response = request.send().await.map_err(|error| {
            let mut rejection = self.broken_after(&error, wait);
            if over == Connection::Kept && is_closed_before_answer(&error) {
                self.clients.closes.fetch_or(self.address.is_plain(), Ordering::Relaxed);
                rejection.again = Again::AtOnce;
            }
            rejection
        })?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refused(response).await)
        }
    }

    async fn whole(
        &self,
        request: RequestBuilder,
        wait: Duration,
        over: Connection,
    ) -> Result<Answer, Rejection> {
        let mut response = self.send(request, wait, over).await?;
        let mut body = Vec::new();
        let broken = |error: reqwest::Error| self.broken_after(&error, wait);
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                let what = format!("{} answered more than {ANSWER_LIMIT} bytes", self.address);
                return Err(Rejection::never(Failure::new(FailureKind::Protocol, what)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { headers: std::mem::take(response.headers_mut()), body })
    }

    /// The failure of an answer that is not success.
    async fn refused(&self, mut response: Response) -> Rejection {
        let status = response.status();
        if status.is_redirection() {
            return self.redirected(status, response.headers());
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > ERROR_LIMIT {
                body.truncate(ERROR_LIMIT);
                break;
            }
        }
        let server = self.address.to_string();
        let mut rejection = Rejection::of_answer(&server, status, response.headers(), &body);
        rejection.failure.message = self.scrub(&rejection.failure.message);
        rejection
    }

    fn redirected(&self, status: StatusCode, headers: &HeaderMap) -> Rejection {
        let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).map(plain);
        let to = to.map_or_else(|| "another address".to_owned(), |to| self.scrub(&to));
        let what = format!(
            "{} redirects to {to} ({}): redirects are not followed, so that no key reaches \
             another host; give the final address",
            self.address,
            status.as_u16()
        );
        Rejection::never(Failure::new(FailureKind::Protocol, what))
    }

    /// The failure of a connection that broke, or was never there.
    pub fn broken(&self, error: &reqwest::Error) -> Rejection {
        self.broken_after(error, self.idle_timeout)
    }

    fn broken_after(&self, error: &reqwest::Error, waited: Duration) -> Rejection {
        let server = &self.address;
        if let Some(problem) = web::distrusted(error) {
            let what = format!("cannot trust {server}: {}", self.scrub(&plain(&problem)));
            let failure = Failure::new(FailureKind::Auth, what);
            // nothing was sent
            return Rejection { failure, again: Again::Never, definite: true };
        }
        let cause = self.scrub(&plain(&root_cause(error)));
        let (message, again) = if error.is_connect() && error.is_timeout() {
            let seconds = CONNECT_TIMEOUT.as_secs();
            (format!("cannot reach {server} within {seconds} s"), Again::Backoff)
        } else if error.is_connect() {
            (format!("cannot reach {server}: {cause}; is the server running?"), Again::Backoff)
        } else if error.is_timeout() {
            (format!("{server} sent nothing for {} s", waited.as_secs()), Again::Never)
        } else {
            (format!("the connection to {server} broke: {cause}"), Again::Backoff)
        };
        let failure = Failure::new(FailureKind::Transport, message);
        Rejection { failure, again, definite: false }
    }

    /// Takes keys out of a text.
    pub fn scrub(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| secret.scrub(&text))
    }
}

fn client(
    address: &Address,
    headers: &HeaderMap,
    idle: Duration,
    connection: Connection,
) -> Result<Client, Failure> {
    let builder = web::client().map_err(|error| unusable(&error.to_string()))?;
    let mut builder = builder
        .default_headers(headers.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(idle)
        .tcp_nodelay(true);
    if connection == Connection::New {
        builder = builder.pool_max_idle_per_host(0);
    }
    if address.is_loopback() {
        // a proxy between this machine and itself would only be measured along
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| unusable(&root_cause(&error)))
}

fn unusable(cause: &str) -> Failure {
    Failure::new(FailureKind::Internal, format!("cannot set up the HTTP client: {cause}"))
}

/// Whether the server closed the connection before the first byte of an answer, as it does with
/// one that it had let us keep for a while.
fn is_closed_before_answer(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    if error.is_connect() || error.is_timeout() {
        return false;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        let by_system = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let by_hyper = error.downcast_ref::<hyper::Error>();
        let closed = by_hyper
            .is_some_and(|error| error.is_incomplete_message() || error.is_closed())
            || matches!(
                by_system,
                Some(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
            );
        if closed {
            return true;
        }
        cause = error.source();
    }
    false
}

fn header_name(name: &str) -> Result<HeaderName, Failure> {
    name.parse().map_err(|_| {
        let message = format!("\"{}\" is not the name of a header", plain(name));
        Failure::new(FailureKind::InvalidRequest, message)
    })
}

/// What the last link of the chain of causes says; the first ones only say that a request failed.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = None;
    while let Some(error) = cause {
        text = Some(error.to_string());
        cause = error.source();
    }
    text.unwrap_or_else(|| {
        if error.is_body() { "the body was cut".into() } else { "no cause given".into() }
    })
}
