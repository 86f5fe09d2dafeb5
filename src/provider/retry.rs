//! When a failed request is sent again: what the server asked for, else exponential backoff.
//!
//! The constants are those of the vendors' own SDKs. A request whose stream has delivered text
//! is never sent again; that is decided where streams are read.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::HeaderMap;

/// What is known about sending a failed request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It would fail again.
    Never,
    /// Now, over a new connection: the server had closed the kept one, and saw nothing of it.
    AtOnce,
    /// After a wait of our own.
    Backoff,
    /// After the wait the server asks for.
    After(Duration),
}

/// How often, and how long between.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryPolicy {
    /// Most retries of a request.
    pub retries: u32,
    /// Most retries of a request that the server refused for now and named a wait for.
    pub told_to_wait: u32,
}

const DEFAULT_RETRIES: u32 = 2;
/// Many requests that share a limit are refused by turns: each may be more than twice.
const DEFAULT_TOLD_TO_WAIT: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);
/// A server that asks for more is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
const MOST_JITTER: f64 = 0.25;

impl RetryPolicy {
    /// The default is two retries, and eight where the server names the wait.
    pub fn new(retries: Option<u32>) -> Self {
        Self {
            retries: retries.unwrap_or(DEFAULT_RETRIES),
            told_to_wait: retries.unwrap_or(DEFAULT_TOLD_TO_WAIT),
        }
    }

    /// How long to wait before retry number `retry` (from 0), or `None` if there is none.
    /// `jitter` is in 0..=1.
    pub fn wait(self, again: Again, retry: u32, jitter: f64) -> Option<Duration> {
        let most = match again {
            Again::After(wait) if !wait.is_zero() => self.told_to_wait,
            Again::After(_) | Again::Backoff | Again::AtOnce | Again::Never => self.retries,
        };
        if retry >= most {
            return None;
        }
        match again {
            Again::Never => None,
            Again::After(wait) if wait > LONGEST_WAIT => None,
            Again::After(wait) if !wait.is_zero() => Some(wait),
            Again::After(_) | Again::Backoff | Again::AtOnce => {
                let wait = FIRST_WAIT.saturating_mul(1 << retry.min(16)).min(LONGEST_BACKOFF);
                Some(wait.mul_f64(1.0 - MOST_JITTER * jitter.clamp(0.0, 1.0)))
            }
        }
    }
}

/// A number in 0..1 that differs from call to call.
pub(super) fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0u8);
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// The wait that the headers ask for: `retry-after-ms`, else `retry-after` in seconds or as a
/// date.
pub(super) fn asked_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let seconds = |text: &str, unit: f64| {
        let number = text.trim().parse::<f64>().ok().filter(|number| *number >= 0.0)?;
        Duration::try_from_secs_f64(number * unit).ok()
    };
    if let Some(wait) = text("retry-after-ms").and_then(|text| seconds(text, 0.001)) {
        return Some(wait);
    }
    let text = text("retry-after")?;
    seconds(text, 1.0).or_else(|| {
        let until = DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
        Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
    })
}

/// What `x-should-retry` says.
pub(super) fn asked_whether(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn backoff_doubles_up_to_eight_seconds_less_up_to_a_quarter() {
        let policy = RetryPolicy::new(Some(9));
        let waits = |jitter: f64| {
            let waits = (0..6).map(|retry| policy.wait(Again::Backoff, retry, jitter).unwrap());
            waits.map(|wait| wait.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(waits(0.0), [500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(waits(1.0), [375, 750, 1500, 3000, 6000, 6000]);
    }

    #[test]
    fn the_servers_wait_is_honoured_unless_it_is_too_long() {
        let policy = RetryPolicy::new(None);
        let wait = |seconds| policy.wait(Again::After(Duration::from_secs(seconds)), 1, 0.0);
        assert_eq!(wait(120), Some(Duration::from_secs(120)));
        assert_eq!(wait(121), None);
        assert_eq!(wait(0), Some(Duration::from_secs(1)), "no wait at all means our own");
    }

    #[test]
    fn retries_end() {
        let policy = RetryPolicy::new(None);
        assert!(policy.wait(Again::Backoff, 1, 0.0).is_some());
        assert_eq!(policy.wait(Again::Backoff, 2, 0.0), None);
        let second = Duration::from_secs(1);
        assert_eq!(policy.wait(Again::After(second), 7, 0.0), Some(second));
        assert_eq!(policy.wait(Again::After(second), 8, 0.0), None);
        assert_eq!(policy.wait(Again::Never, 0, 0.0), None);
        assert_eq!(RetryPolicy::new(Some(0)).wait(Again::Backoff, 0, 0.0), None);
    }

    #[test]
    fn a_wait_may_be_a_number_or_a_date() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("3", Some(3.0)),
            ("0.25", Some(0.25)),
            ("Mon, 23 Nov 2026 10:00:30 GMT", Some(30.0)),
            ("Mon, 23 Nov 2026 09:00:00 GMT", Some(0.0)),
            ("-1", None),
            ("soon", None),
            ("1e99", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", HeaderValue::from_static(text));
            let wait = asked_wait(&headers, now).map(|wait| wait.as_secs_f64());
            assert_eq!(wait, seconds, "{text}");
        }
    }

    #[test]
    fn jitter_is_a_fraction_and_not_always_the_same() {
        let some: Vec<_> = (0..20).map(|_| jitter()).collect();
        assert!(some.iter().all(|jitter| (0.0..1.0).contains(jitter)));
        assert!(some.iter().any(|jitter| *jitter != some[0]));
    }
}
