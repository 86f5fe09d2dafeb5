//! How many requests a server is given at once when it asks for less: additive increase,
//! multiplicative decrease, and a pause of all requests where the server names a wait.
//!
//! The user's own limits a minute hold besides. Without them and without pressure nothing is
//! limited here; the caller's own number in flight applies. Of those that wait, whoever asked first
//! starts first, one that the server refused among them: else many requests under one
//! limit overtake each other, and an unlucky one is refused until it fails.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::quota::Quota;

/// The limits of one server, shared by all requests to it.
#[derive(Debug, Default)]
pub(super) struct Limits {
    state: Mutex<State>,
    has_quota: bool,
    /// Somebody may start now who could not before.
    freed: Notify,
    turns: AtomicU64,
}

/// A request's place in the queue, which it keeps when it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

/// A request that waits; dropping it lets the next one look.
struct Waiting<'a> {
    limits: &'a Limits,
    turn: Turn,
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
    waiting: BTreeSet<Turn>,
    /// The first that waits is held by the user's own limits, and with it all behind it.
    by_quota: bool,
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
    /// Whether this one may start; it is among those that wait.
    fn start_in_turn(&mut self, turn: Turn, tokens: usize, now: Instant) -> Start {
        match self.waiting.first() {
            Some(first) if *first < turn => Start::WhenFreed,
            _ => self.start(tokens, now),
        }
    }

    fn start(&mut self, tokens: usize, now: Instant) -> Start {
        let start = match self.paused_until {
            Some(until) if until > now => Start::At(until),
            _ if self.allowed.is_some_and(|allowed| self.in_flight as f64 >= allowed.floor()) => {
                Start::WhenFreed
            }
            _ => self.quota.take(tokens, now).map_or_else(Start::ByQuota, |()| Start::Now),
        };
        self.by_quota = matches!(start, Start::ByQuota(_));
        start
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
        Self { state, has_quota, ..Self::default() }
    }

    /// Whether the user limits what is sent in a minute.
    pub fn has_quota(&self) -> bool {
        self.has_quota
    }

    /// A place behind all that have one.
    pub fn turn(&self) -> Turn {
        Turn(self.turns.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until a request of so many tokens may start.
    pub async fn acquire(&self, turn: Turn, tokens: usize) -> Permit<'_> {
        let mut held = Duration::ZERO;
        let _waiting = Waiting::enter(self, turn);
        loop {
            // it hears what happens from here on
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            let now = Instant::now();
            let (start, by_quota) = {
                let mut state = self.state();
                let start = state.start_in_turn(turn, tokens, now);
                if start == Start::Now {
                    state.in_flight += 1;
                }
                (start, state.by_quota)
            };
            match start {
                Start::Now => return Permit { limits: self, started: now, held },
                Start::At(until) => tokio::time::sleep_until(until.into()).await,
                Start::ByQuota(until) => {
                    tokio::time::sleep_until(until.into()).await;
                    held += now.elapsed();
                }
                Start::WhenFreed => {
                    freed.await;
                    held += if by_quota { now.elapsed() } else { Duration::ZERO };
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // the state is whole after every statement: a panic elsewhere cannot spoil it
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Waiting<'a> {
    fn enter(limits: &'a Limits, turn: Turn) -> Self {
        limits.state().waiting.insert(turn);
        Self { limits, turn }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.limits.state().waiting.remove(&self.turn);
        self.limits.freed.notify_waiters();
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
        // that it is over, and others may start, is told when it is dropped
        self.limits.state().succeeded()
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
        self.limits.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

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
        let first = limits.acquire(limits.turn(), 1).await;
        let mut waiting = pin!(limits.acquire(limits.turn(), 1));
        assert!(poll!(&mut waiting).is_pending());
        let _ = first.succeeded();
        let _ = waiting.await.succeeded();
        assert_eq!(limits.state().in_flight, 0);
    }

    #[tokio::test]
    async fn a_refused_request_goes_before_those_that_came_later() {
        let limits = Limits::default();
        limits.state().allowed = Some(1.0);
        let turns = [limits.turn(), limits.turn(), limits.turn()];
        let refused = limits.acquire(turns[0], 1).await;
        let mut second = pin!(limits.acquire(turns[1], 1));
        let mut third = pin!(limits.acquire(turns[2], 1));
        assert!(poll!(&mut third).is_pending() && poll!(&mut second).is_pending());
        let _ = refused.pressed(None);
        let again = limits.acquire(turns[0], 1).await;
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        drop(again);
        assert!(poll!(&mut third).is_pending(), "there is room, but it is not its turn");
        let second = second.await;
        assert!(poll!(&mut third).is_pending());
        drop(second);
        drop(third.await);
        let state = limits.state();
        assert_eq!((state.in_flight, state.waiting.len()), (0, 0));
    }

    #[tokio::test]
    async fn one_that_gives_up_waiting_holds_nobody_back() {
        let limits = Limits::default();
        limits.state().allowed = Some(1.0);
        let first = limits.acquire(limits.turn(), 1).await;
        let mut gone = Box::pin(limits.acquire(limits.turn(), 1));
        let mut next = pin!(limits.acquire(limits.turn(), 1));
        assert!(poll!(&mut gone).is_pending() && poll!(&mut next).is_pending());
        drop(first);
        assert!(poll!(&mut next).is_pending());
        drop(gone);
        let next = tokio::time::timeout(Duration::from_secs(5), next).await;
        drop(next.expect("it is woken"));
        assert!(limits.state().waiting.is_empty());
    }
}
