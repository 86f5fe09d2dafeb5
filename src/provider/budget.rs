//! A spending limit: a request is sent only if it cannot take the run past the limit, even if
//! it uses every token it may.
//!
//! While other requests are under way and might turn out cheaper, a request that does not fit
//! waits for them; when none is, it is refused, and so the run stops before the limit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Failure, FailureKind, Price, Request, Usage};

/// The money of a run, US dollars.
#[derive(Debug)]
pub struct Budget {
    limit: f64,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    spent: f64,
    reserved: f64,
    under_way: usize,
}

/// A budget, and the price at which a lane draws on it.
#[derive(Debug, Clone)]
pub struct Spending {
    /// Shared by all lanes.
    pub budget: Arc<Budget>,
    /// Of the lane's model.
    pub price: Price,
}

/// The most that a request can cost; dropped without [`Reservation::settle`], all of it counts
/// as spent.
#[derive(Debug)]
pub(super) struct Reservation {
    spending: Spending,
    amount: f64,
    settled: bool,
}

/// Tokens that a chat template may add to a prompt, at most.
const TEMPLATE_TOKENS: usize = 256;

impl Budget {
    /// At most so many dollars.
    pub fn new(limit: f64) -> Self {
        Self { limit, state: Mutex::default(), freed: Notify::new() }
    }

    /// Counts money that an earlier session spent.
    pub fn spent_before(&self, amount: f64) {
        self.state().spent += amount;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // the sums are whole after every statement: a panic elsewhere cannot spoil them
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the amount, or says whether waiting for others may help.
    fn take(&self, amount: f64) -> Result<(), Short> {
        let mut state = self.state();
        if state.spent + state.reserved + amount <= self.limit {
            state.reserved += amount;
            state.under_way += 1;
            return Ok(());
        }
        Err(Short { may_wait: state.under_way > 0, spent: state.spent })
    }

    fn settle(&self, reserved: f64, spent: f64) {
        let mut state = self.state();
        state.reserved -= reserved;
        state.spent += spent;
        state.under_way -= 1;
        drop(state);
        self.freed.notify_waiters();
    }
}

/// Why an amount cannot be taken.
struct Short {
    may_wait: bool,
    spent: f64,
}

impl Spending {
    /// Sets aside the most that some rows can cost together.
    ///
    /// # Errors
    /// [`FailureKind::SpendingLimit`] where that would take the run past its limit.
    pub(super) async fn reserve(&self, requests: &[Request]) -> Result<Reservation, Failure> {
        let amount = self.most_of(requests);
        loop {
            // registered before asking, so that no settling is missed in between
            let freed = self.budget.freed.notified();
            match self.budget.take(amount) {
                Ok(()) => break,
                Err(short) if short.may_wait => freed.await,
                Err(short) => return Err(self.refuse(amount, short.spent)),
            }
        }
        Ok(Reservation { spending: self.clone(), amount, settled: false })
    }

    /// Counts what was submitted in an earlier session; an unknown cost counts as nothing, since
    /// nobody can tell it.
    pub(super) fn spent(&self, usage: Usage) {
        let cost = self.price.cost(usage, None);
        self.budget.spent_before(cost.unwrap_or(0.0));
    }

    /// The most that some rows can cost together.
    pub(super) fn most_of<'r>(&self, requests: impl IntoIterator<Item = &'r Request>) -> f64 {
        requests.into_iter().map(|request| self.most(request)).sum()
    }

    /// The most that a row can cost: a token stands for one byte at least.
    fn most(&self, request: &Request) -> f64 {
        let content = &request.prompt.content;
        let bytes = match content {
            crate::prompts::Content::Text(text) => text.len(),
            crate::prompts::Content::Messages(messages) => {
                let of =
                    |message: &crate::prompts::Message| message.content.len() + TEMPLATE_TOKENS;
                messages.iter().map(of).sum()
            }
        };
        let usage = Usage {
            prompt_tokens: Some(bytes + TEMPLATE_TOKENS),
            output_tokens: Some(request.sampling.max_tokens),
        };
        self.price.cost(usage, None).unwrap_or(f64::INFINITY)
    }

    fn refuse(&self, amount: f64, spent: f64) -> Failure {
        let limit = self.budget.limit;
        let message = format!(
            "the spending limit of ${limit} stops the run: ${spent:.6} are spent, and the next \
             request may cost up to ${amount:.6}; raise it with --max-cost, or lower --max-tokens"
        );
        Failure::new(FailureKind::SpendingLimit, message)
    }
}

impl Reservation {
    /// Gives back what was not spent; an unknown cost counts as all of it.
    pub fn settle(mut self, usage: Usage, cached_tokens: Option<usize>) {
        let cost = self.spending.price.cost(usage, cached_tokens);
        self.settled = true;
        self.spending.budget.settle(self.amount, cost.unwrap_or(self.amount));
    }

    /// Gives back everything: the server took no request.
    pub fn release(mut self) {
        self.settled = true;
        self.spending.budget.settle(self.amount, 0.0);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.settled {
            self.spending.budget.settle(self.amount, self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompts::{Content, Prompt};
    use crate::sampling::Sampling;

    /// A dollar a generated token; prompts are free.
    fn spending(limit: f64) -> Spending {
        let date = jiff::civil::date(2026, 11, 1);
        let price = Price { input: 0.0, cached_input: None, output: 1e6, batch: None, date };
        Spending { budget: Arc::new(Budget::new(limit)), price }
    }

    fn request(max_tokens: usize) -> Request {
        let prompt =
            Prompt { index: 0, id: "1".into(), content: Content::Text("hi".into()), expect: None };
        Request {
            row: 0,
            prompt: Arc::new(prompt),
            raw: false,
            sampling: Arc::new(Sampling { max_tokens, ..Sampling::default() }),
            spending: None,
        }
    }

    fn used(tokens: usize) -> Usage {
        Usage { prompt_tokens: Some(1), output_tokens: Some(tokens) }
    }

    #[tokio::test]
    async fn a_request_that_could_pass_the_limit_is_not_sent() {
        let spending = spending(10.0);
        spending.reserve(&[request(6)]).await.unwrap().settle(used(5), None);
        let failure = spending.reserve(&[request(6)]).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::SpendingLimit);
        assert!(failure.message.contains("$5.000000 are spent"), "{}", failure.message);
        spending.reserve(&[request(2), request(3)]).await.unwrap().settle(used(5), None);
        assert!(spending.reserve(&[request(1)]).await.is_err());
    }

    #[tokio::test]
    async fn a_request_waits_for_others_that_may_turn_out_cheaper() {
        let spending = spending(10.0);
        let first = spending.reserve(&[request(8)]).await.unwrap();
        let requests = [request(8)];
        let second = spending.reserve(&requests);
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        first.settle(used(1), None);
        second.await.unwrap().release();
    }

    #[tokio::test]
    async fn what_a_cancelled_request_cost_is_not_known_and_counts_in_full() {
        let spending = spending(10.0);
        drop(spending.reserve(&[request(8)]).await.unwrap());
        assert!(spending.reserve(&[request(3)]).await.is_err());
        spending.budget.spent_before(2.0);
        assert!(spending.reserve(&[request(1)]).await.is_err());
    }
}
