//! How many requests a server is given at once when it asks for less: additive increase,
//! multiplicative decrease, and a pause of all requests where the server names a wait.
//!
//! The user's own limits a minute hold besides. Without them and without pressure nothing is
//! limited here; the caller's own number in flight applies.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::quota::Quota;

/// The limits of one server, shared by all requests to it.
#[derive(Debug, Default)]
pub(super) struct Limits {
    state: Mutex<State>,
    has_quota: bool,
    freed: Notify,
}

/// A request under way; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    limits: &'a Limits,
    started: Instant,
    held: Duration,
}

/// What is known about the pressure; pure, and the clock is an argument.
#[derive(Debug, Default)]
struct State {
    quota: Quota,
    in_flight: usize,
    /// Requests allowed at once; absent while the server never complained.
    allowed: Option<f64>,
    /// Requests at once when the server complained first: with so many again, the limit goes.
    ceiling: f64,
    lowered_at: Option<Instant>,
    paused_until: Option<Instant>,
}

/// Whether another request may start.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    Now,
    At(Instant),
    /// When the user's own limits a minute allow it.
    ByQuota(Instant),
    WhenFreed,
}

/// How many requests are allowed at once from now on; absent where nothing limits them.
pub(super) type Allowed = Option<usize>;

impl State {
    fn start(&mut self, tokens: usize, now: Instant) -> Start {
        match self.paused_until {
            Some(until) if until > now => Start::At(until),
            _ if self.allowed.is_some_and(|allowed| self.in_flight as f64 >= allowed.floor()) => {
                Start::WhenFreed
            }
            _ => match self.quota.take(tokens, now) {
                Ok(()) => Start::Now,
                Err(later) => Start::ByQuota(later),
            },
        }
    }

    /// One more request at once for about every round of successes; gives what is allowed if
    /// that changed.
    fn succeeded(&mut self) -> Option<Allowed> {
        let before = self.allowed?;
        let after = before + 1.0 / before;
        self.allowed = (after < self.ceiling).then_some(after);
        let now = self.allowed.map(|allowed| allowed as usize);
        (now != Some(before as usize)).then_some(now)
    }

    /// Halves what is allowed, once for all requests that were under way together; gives the
    /// new number if it is lower.
    fn pressed(
        &mut self,
        started: Instant,
        wait: Option<Duration>,
        now: Instant,
    ) -> Option<Allowed> {
        if let Some(until) = wait.and_then(|wait| now.checked_add(wait)) {
            self.paused_until = self.paused_until.max(Some(until));
        }
        if self.lowered_at.is_some_and(|lowered| started <= lowered) {
            return None;
        }
        self.lowered_at = Some(now);
        let before = self
            .allowed
            .map_or(self.in_flight as f64, |allowed| allowed.min(self.in_flight.max(1) as f64));
        let after = (before / 2.0).floor().max(1.0);
        if self.allowed.is_none() {
            self.ceiling = before;
        }
        self.allowed = Some(after);
        (after < before).then_some(Some(after as usize))
    }
}

impl Limits {
    /// Limits that begin with the user's own.
    pub fn new(quota: Quota) -> Self {
        let has_quota = quota.is_limited();
        let state = Mutex::new(State { quota, ..State::default() });
        Self { state, has_quota, freed: Notify::new() }
    }

    /// Whether the user limits what is sent in a minute.
    pub fn has_quota(&self) -> bool {
        self.has_quota
    }

    /// Waits until a request of so many tokens may start.
    pub async fn acquire(&self, tokens: usize) -> Permit<'_> {
        let mut held = Duration::ZERO;
        loop {
            let now = Instant::now();
            let start = {
                let mut state = self.state();
                let start = state.start(tokens, now);
                if start == Start::Now {
                    state.in_flight += 1;
                }
                start
            };
            match start {
                Start::Now => return Permit { limits: self, started: now, held },
                Start::At(until) => tokio::time::sleep_until(until.into()).await,
                Start::ByQuota(until) => {
                    tokio::time::sleep_until(until.into()).await;
                    held += now.elapsed();
                }
                Start::WhenFreed => self.freed.notified().await,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // the state is whole after every statement: a panic elsewhere cannot spoil it
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// When the request was let go.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// How long the user's own limits held it back.
    pub fn held(&self) -> Duration {
        self.held
    }

    /// The server served the request; gives what is allowed at once if that was raised.
    pub fn succeeded(self) -> Option<Allowed> {
        let raised = self.limits.state().succeeded();
        self.limits.freed.notify_one();
        raised
    }

    /// The server asked for less; gives what is allowed at once if that was lowered.
    pub fn pressed(self, wait: Option<Duration>) -> Option<Allowed> {
        self.limits.state().pressed(self.started, wait, Instant::now())
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.limits.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        drop(state);
        self.limits.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_halves_once_a_round_and_success_adds_one_a_round() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let mut state = State { in_flight: 16, ..State::default() };
        assert_eq!(state.start(1, at(1)), Start::Now);
        assert_eq!(state.pressed(at(1), None, at(2)), Some(Some(8)));
        assert_eq!(state.pressed(at(1), None, at(3)), None, "of the same round");
        assert_eq!(state.start(1, at(3)), Start::WhenFreed);
        state.in_flight = 8;
        assert_eq!(state.pressed(at(4), None, at(5)), Some(Some(4)));
        state.in_flight = 4;
        let raised: Vec<_> = (0..5).filter_map(|_| state.succeeded()).collect();
        assert_eq!(raised, [Some(5)]);
        assert_eq!(state.start(1, at(6)), Start::Now);
    }

    #[test]
    fn with_as_many_requests_as_before_the_limit_is_gone() {
        let zero = Instant::now();
        let mut state = State { in_flight: 3, ..State::default() };
        assert_eq!(state.pressed(zero, None, zero), Some(Some(1)));
        let raised: Vec<_> = (0..9).filter_map(|_| state.succeeded()).collect();
        assert_eq!(raised, [Some(2), None]);
    }

    #[test]
    fn at_least_one_request_is_always_allowed() {
        let zero = Instant::now();
        let mut state = State { in_flight: 1, ..State::default() };
        assert_eq!(state.pressed(zero, None, zero), None, "it was one already");
        state.in_flight = 0;
        assert_eq!(state.start(1, zero), Start::Now);
    }

    #[test]
    fn a_wait_that_the_server_names_holds_all_requests() {
        let zero = Instant::now();
        let until = zero + Duration::from_secs(7);
        let mut state = State { in_flight: 2, ..State::default() };
        state.pressed(zero, Some(Duration::from_secs(7)), zero);
        state.in_flight = 0;
        assert_eq!(state.start(1, zero), Start::At(until));
        assert_eq!(state.start(1, until), Start::Now);
    }

    #[tokio::test]
    async fn a_waiting_request_starts_when_another_ends() {
        let limits = Limits::default();
        limits.state().allowed = Some(1.0);
        let first = limits.acquire(1).await;
        let waiting = limits.acquire(1);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let _ = first.succeeded();
        let _ = waiting.await.succeeded();
        assert_eq!(limits.state().in_flight, 0);
    }
}
