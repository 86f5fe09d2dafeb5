//! Ragged continuous batching: which tokens go into which forward pass.
//!
//! A call has up to `slots()` slots. Every step packs one row for each decoding slot and
//! chunks of the prompts that are being read, up to a budget. A finished slot is refilled at
//! once, longest prompt first. Calls take turns, one step each. The scheduler does not know
//! what the numbers mean: that is the runner's business, and text is the caller's.

mod active;
mod slot;

use std::collections::VecDeque;

use active::ActiveCall;

use super::call::{Call, CallEvent};
use super::error::EngineError;
use super::runner::{Answers, Runner};

/// Limits of the scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// Most prompt tokens computed in one step, beside the decoding rows.
    pub prefill_tokens: usize,
    /// Whether tokens that all prompts of a call begin with are computed once.
    pub share_prefixes: bool,
    /// Tokens of prompt and output a row may have.
    pub context_length: usize,
    /// Tokens that end a row.
    pub end_ids: Vec<u32>,
    /// Memory that may be used for KV caches now, bytes; `None` where it is not known.
    pub available_memory: fn() -> Option<u64>,
}

/// The calls under way and whose turn it is.
pub struct Scheduler<R: Runner> {
    runner: R,
    options: SchedulerOptions,
    calls: VecDeque<ActiveCall<R::Cache>>,
    answers: Answers,
}

impl<R: Runner> Scheduler<R> {
    /// A scheduler without calls.
    pub fn new(runner: R, options: SchedulerOptions) -> Self {
        Self { runner, options, calls: VecDeque::new(), answers: Answers::default() }
    }

    /// Whether nothing is left to do.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes a call. Rows that cannot be run fail at once; a call that cannot be run ends.
    pub fn add(&mut self, call: Call) {
        if let Some(call) = ActiveCall::admit(call, &self.runner, &self.options) {
            self.calls.push_back(call);
        }
    }

    /// Computes one step of the call whose turn it is.
    pub fn step(&mut self) {
        let Some(mut call) = self.calls.pop_front() else { return };
        match call.step(&self.runner, &self.options, &mut self.answers) {
            Ok(true) => self.calls.push_back(call),
            Ok(false) => call.end(Ok(())),
            Err(error) => call.end(Err(error)),
        }
    }

    /// Ends every call with this error.
    pub fn abort(&mut self, error: &EngineError) {
        for call in self.calls.drain(..) {
            call.end(Err(error.clone()));
        }
    }
}

/// Sends the end of a call that was never begun.
fn refuse(mut observer: Box<dyn FnMut(CallEvent) + Send>, result: Result<(), EngineError>) {
    observer(CallEvent::Ended(result));
}

#[cfg(test)]
mod tests;
