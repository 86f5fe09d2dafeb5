//! Requests and tokens a minute: never more in any 60 seconds than the user allows.
//!
//! Vendors count a request's prompt and its token limit when it is sent, so that is what is
//! counted here, not what came of it. Pure: the clock is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What may be sent in a minute, and what was sent in the last one.
#[derive(Debug)]
pub(super) struct Quota {
    window: Duration,
    requests: Option<usize>,
    tokens: Option<usize>,
    sent: VecDeque<(Instant, usize)>,
    sent_tokens: usize,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Quota {
    /// At most so many requests and tokens a minute, where a limit is given.
    pub fn new(requests: Option<usize>, tokens: Option<usize>) -> Self {
        Self::within(MINUTE, requests, tokens)
    }

    /// At most so many within any window of this length.
    pub fn within(window: Duration, requests: Option<usize>, tokens: Option<usize>) -> Self {
        Self { window, requests, tokens, sent: VecDeque::new(), sent_tokens: 0 }
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.requests.is_some() || self.tokens.is_some()
    }

    /// Takes a request of so many tokens, or says when to ask again. A request that is larger
    /// than the limit itself goes alone.
    pub fn take(&mut self, tokens: usize, now: Instant) -> Result<(), Instant> {
        if !self.is_limited() {
            return Ok(());
        }
        self.forget(now);
        let fits = self.requests.is_none_or(|most| self.sent.len() < most)
            && self.tokens.is_none_or(|most| self.sent_tokens.saturating_add(tokens) <= most);
        match self.sent.front() {
            Some((oldest, _)) if !fits => Err(*oldest + self.window),
            _ => {
                self.sent.push_back((now, tokens));
                self.sent_tokens = self.sent_tokens.saturating_add(tokens);
                Ok(())
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, tokens)) = self.sent.front().copied()
            && now.saturating_duration_since(at) >= self.window
        {
            self.sent.pop_front();
            self.sent_tokens = self.sent_tokens.saturating_sub(tokens);
        }
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self::new(None, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of some requests is sent, in seconds, if each asks as soon as it may.
    fn sent(mut quota: Quota, requests: &[usize]) -> Vec<u64> {
        let zero = Instant::now();
        let mut now = zero;
        let times = requests.iter().map(|tokens| {
            while let Err(later) = quota.take(*tokens, now) {
                assert!(later > now);
                now = later;
            }
            now.duration_since(zero).as_secs()
        });
        times.collect()
    }

    #[test]
    fn no_minute_has_more_requests_than_allowed() {
        assert_eq!(sent(Quota::new(Some(2), None), &[1; 5]), [0, 0, 60, 60, 120]);
    }

    #[test]
    fn no_minute_has_more_tokens_than_allowed_unless_one_request_does() {
        let quota = Quota::new(None, Some(100));
        assert_eq!(sent(quota, &[60, 40, 1, 99, 500, 1]), [0, 0, 60, 60, 120, 180]);
    }

    #[test]
    fn without_limits_nothing_waits_and_nothing_is_kept() {
        let mut quota = Quota::default();
        for _ in 0..9 {
            assert_eq!(quota.take(usize::MAX, Instant::now()), Ok(()));
        }
        assert!(quota.sent.is_empty());
    }
}
