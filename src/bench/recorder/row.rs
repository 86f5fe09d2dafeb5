//! One row: a prompt within a pass of a lane.

use std::time::Duration;

use crate::provider::{Failure, FinishReason, Price, ServerTimes, Usage};

/// What is known about a row. Times count from the start of its pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowRecord {
    /// Where it stands.
    pub state: RowState,
    /// When it was handed to the model or written to the wire.
    pub submitted: Option<Duration>,
    /// How long the user's own limits a minute held it back before; part of none of its times.
    pub held: Duration,
    /// When its first non-empty text came.
    pub first_token: Option<Duration>,
    /// When its last token came.
    pub last_token: Option<Duration>,
    /// When it ended, well or not.
    pub finished: Option<Duration>,
    /// The output so far.
    pub text: String,
    /// The token ids, where the provider knows them.
    pub ids: Vec<u32>,
    /// Tokens counted from events, for when the provider gives no usage.
    pub counted: usize,
    /// The provider's own counts.
    pub usage: Usage,
    /// How the server spent its time on it, as it says itself.
    pub server: Option<ServerTimes>,
    /// How often it was sent again.
    pub retries: usize,
    /// Why it ended.
    pub reason: Option<FinishReason>,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// Whether its text equals the reference lane's; absent while either is not done.
    pub same_as_reference: Option<bool>,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowState {
    /// Not submitted.
    #[default]
    Waiting,
    /// Submitted.
    Running,
    /// Ended well.
    Done,
    /// Ended with a failure.
    Failed,
    /// Its pass ended first.
    NotRun,
}

impl RowRecord {
    /// Whether the row has ended.
    pub fn ended(&self) -> bool {
        matches!(self.state, RowState::Done | RowState::Failed)
    }

    /// Submitted until the first non-empty text.
    pub fn ttft(&self) -> Option<Duration> {
        self.first_token?.checked_sub(self.submitted?)
    }

    /// Submitted until ended.
    pub fn e2e(&self) -> Option<Duration> {
        self.finished?.checked_sub(self.submitted?)
    }

    /// Mean time between tokens; absent below two tokens, and for rows that were not run here.
    pub fn itl(&self) -> Option<Duration> {
        self.submitted?;
        let gaps = u32::try_from(self.output_tokens().checked_sub(1)?).ok()?;
        self.last_token?.checked_sub(self.first_token?)?.checked_div(gaps)
    }

    /// What it cost at this price; absent where a count is not known.
    pub fn cost(&self, price: &Price) -> Option<f64> {
        price.cost(self.usage, self.server.and_then(|times| times.cached_tokens))
    }

    /// Generated tokens: the provider's count where it gives one, else those seen.
    pub fn output_tokens(&self) -> usize {
        self.usage.output_tokens.unwrap_or(self.counted)
    }
}
