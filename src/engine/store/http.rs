//! GET requests to the hub: redirects followed by hand, so that the token stays with the hub and
//! the headers of every hop are seen.
//!
//! Knows nothing of models or files.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, HeaderMap, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use super::name::Sha256;
use crate::web;

const MOST_REDIRECTS: usize = 10;

/// A client of one hub.
pub(super) struct Http {
    client: Client,
    endpoint: Url,
    token: Option<SecretString>,
}

/// Why a request brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HttpError {
    /// The server refused.
    Status {
        /// The HTTP status.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// No connection, or it broke.
    Connection(String),
    /// The answer is not what it should be.
    Protocol(String),
}

impl HttpError {
    /// Whether the same request may succeed a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Connection(_) => true,
            Self::Protocol(_) => false,
        }
    }
}

/// An answer whose body is still to be read.
pub(super) struct Answer {
    /// 200, 206 or 416.
    pub status: StatusCode,
    /// Hash of the whole file, where the hub said it in a header.
    pub sha256: Option<Sha256>,
    /// Where the body begins in the file, from `Content-Range`.
    pub start: Option<u64>,
    response: Response,
}

impl Answer {
    /// Bytes of the body, where the server says.
    pub(super) fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, HttpError> {
        self.response.chunk().await.map_err(connection)
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(super) async fn text(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(chunk.as_ref());
            if body.len() > limit {
                return Err(HttpError::Protocol(format!(
                    "the answer is larger than {limit} bytes"
                )));
            }
        }
        Ok(body)
    }
}

impl Http {
    /// A client of the hub at `endpoint`.
    pub(super) fn new(endpoint: &str, token: Option<SecretString>) -> Result<Self, String> {
        let endpoint = Url::parse(endpoint.trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                format!(
                    "HF_ENDPOINT {endpoint:?} is not a web address such as https://huggingface.co"
                )
            })?;
        let builder = web::client().map_err(|error| format!("no https client: {error}"))?;
        let mut builder =
            builder.connect_timeout(Duration::from_secs(15)).read_timeout(Duration::from_secs(60));
        if is_loopback(&endpoint) {
            builder = builder.no_proxy();
        }
        let client =
            builder.build().map_err(|error| format!("no https client: {}", chain(&error)))?;
        Ok(Self { client, endpoint, token })
    }

    /// Whether a token is sent.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The hub's address.
    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// An address on the hub: `parts` are escaped one by one.
    pub(super) fn url<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// Asks for `url` from byte `from` on.
    pub(super) async fn get(&self, url: &Url, from: u64) -> Result<Answer, HttpError> {
        let mut url = url.clone();
        let mut sha256 = None;
        for _ in 0..MOST_REDIRECTS {
            let response = self.ask(&url, from).await?;
            sha256 = sha256.or_else(|| linked_sha256(response.headers()));
            let status = response.status();
            if status.is_redirection() {
                url = target(&url, &response)?;
                continue;
            }
            let accepted = matches!(
                status,
                StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
            );
            if !accepted {
                let retry_after = retry_after(response.headers());
                return Err(HttpError::Status { status: status.as_u16(), retry_after });
            }
            let start = range_start(response.headers());
            return Ok(Answer { status, sha256, start, response });
        }
        Err(HttpError::Protocol(format!("more than {MOST_REDIRECTS} redirects")))
    }

    async fn ask(&self, url: &Url, from: u64) -> Result<Response, HttpError> {
        let mut request = self.client.get(url.clone());
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| url.origin() == self.endpoint.origin())
        {
            request = request.bearer_auth(token.expose_secret());
        }
        request.send().await.map_err(connection)
    }
}

/// Where a redirect goes; never from https to something weaker.
fn target(from: &Url, response: &Response) -> Result<Url, HttpError> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let url = location.and_then(|location| from.join(location).ok());
    url.filter(|url| url.scheme() == "https" || (url.scheme() == "http" && from.scheme() == "http"))
        .ok_or_else(|| HttpError::Protocol("a redirect that leads nowhere safe".to_owned()))
}

fn linked_sha256(headers: &HeaderMap) -> Option<Sha256> {
    let etag = headers.get("x-linked-etag")?.to_str().ok()?;
    Sha256::parse(etag.trim_start_matches("W/").trim_matches('"'))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// `N` of `Content-Range: bytes N-M/T`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Addresses stay out of messages: behind a redirect they carry signatures.
fn connection(error: reqwest::Error) -> HttpError {
    match web::distrusted(&error) {
        Some(problem) => HttpError::Protocol(problem),
        None => HttpError::Connection(chain(&error.without_url())),
    }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_is_no_web_address_is_refused() {
        for endpoint in ["", "huggingface.co", "ftp://x", "file:///etc"] {
            assert!(Http::new(endpoint, None).is_err(), "{endpoint:?}");
        }
    }

    #[test]
    fn parts_of_an_address_cannot_change_it() {
        let http = Http::new("https://hub.example/base/", None).unwrap();
        let url = http.url(["a", "b?c#d", "e/f"]);
        assert_eq!(url.as_str(), "https://hub.example/base/a/b%3Fc%23d/e%2Ff");
    }

    #[test]
    fn only_64_hexadecimal_digits_count_as_a_linked_hash() {
        let sha256 = "ab".repeat(32);
        for (etag, expected) in [
            (format!("\"{sha256}\""), Some(sha256.clone())),
            (format!("W/\"{sha256}\""), Some(sha256.clone())),
            ("\"abc\"".to_owned(), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-linked-etag", etag.parse().unwrap());
            assert_eq!(linked_sha256(&headers).map(|sha| sha.to_string()), expected);
        }
    }
}
