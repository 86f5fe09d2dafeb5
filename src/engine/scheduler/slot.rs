//! A place in the batch: one row between its first prompt token and its last output token.

use std::time::Instant;

use crate::engine::call::{CallEvent, CallRow, EndReason};
use crate::engine::error::EngineError;
use crate::engine::runner::{Answers, Row, Want};
use crate::engine::sampler::Sampler;

use super::SchedulerOptions;

/// A row that occupies a slot.
pub(super) struct Slot {
    row: CallRow,
    sampler: Sampler,
    /// Prompt tokens computed.
    computed: usize,
    /// The last token chosen; it is computed in the next step.
    last: Option<u32>,
    produced: usize,
    /// Which of the step's answers is this slot's, until a token is chosen from it.
    pub answer: Option<usize>,
    /// The token chosen in the step under way.
    chosen: Option<Result<u32, EngineError>>,
}

/// What a chosen token did to its row.
pub(super) enum Progress {
    /// The row goes on.
    Goes(CallEvent),
    /// The row is over; the token's own event, if it has one, comes first.
    Over(Option<CallEvent>, CallEvent),
}

impl Slot {
    pub fn new(row: CallRow) -> Self {
        let sampler = Sampler::new(&row.sampling, row.row);
        Self { row, sampler, computed: 0, last: None, produced: 0, answer: None, chosen: None }
    }

    /// Takes the first tokens of the prompt for computed.
    pub fn skip(&mut self, tokens: usize) {
        self.computed = self.computed.max(tokens);
    }

    /// Whether this many tokens of the prompt are computed.
    pub fn holds(&self, tokens: usize) -> bool {
        self.computed >= tokens
    }

    /// Whether the next step is the next token, and not a part of the prompt.
    pub fn decodes(&self) -> bool {
        self.last.is_some()
    }

    /// Packs what this slot wants computed next: its last token, or up to `budget` tokens of
    /// its prompt. Gives the number of prompt tokens.
    pub fn pack(&mut self, slot: usize, budget: usize, rows: &mut Vec<Row>) -> usize {
        if let Some(token) = self.last {
            let position = self.row.prompt.len() + self.produced - 1;
            let want = self.sampler.wants();
            rows.push(Row { slot, position, token, prompt: false, want });
            return 0;
        }
        let end = self.row.prompt.len().min(self.computed.saturating_add(budget));
        for position in self.computed..end {
            let last = position + 1 == self.row.prompt.len();
            let want = if last { self.sampler.wants() } else { Want::Nothing };
            let token = self.row.prompt[position];
            rows.push(Row { slot, position, token, prompt: true, want });
        }
        let packed = end - self.computed;
        self.computed = end;
        packed
    }

    /// Chooses the next token from its answer, if it was given one; [`Slot::advance`] takes it.
    pub fn choose(&mut self, answers: &Answers) {
        let answer = self.answer.take().and_then(|number| answers.get(number));
        self.chosen = answer.map(|answer| self.sampler.choose(answer));
    }

    /// Goes on with the token that was chosen, at `at`; `None` where none was.
    pub fn advance(&mut self, at: Instant, options: &SchedulerOptions) -> Option<Progress> {
        let row = self.row.row;
        Some(match self.chosen.take()? {
            Ok(id) => self.take(id, at, options),
            Err(error) => Progress::Over(None, CallEvent::Failed { row, error }),
        })
    }

    fn take(&mut self, id: u32, at: Instant, options: &SchedulerOptions) -> Progress {
        if !self.row.sampling.ignore_eos && options.end_ids.contains(&id) {
            return Progress::Over(None, self.finish(at, EndReason::Stop, true));
        }
        self.produced += 1;
        self.last = Some(id);
        let row = self.row.row;
        let pushed = self.row.text.push(id);
        let token = CallEvent::Token { row, at, id, text: pushed.text };
        let used = self.row.prompt.len() + self.produced;
        if pushed.stopped {
            Progress::Over(Some(token), self.finish(at, EndReason::Stop, false))
        } else if self.produced >= self.row.sampling.max_tokens || used >= options.context_length {
            Progress::Over(Some(token), self.finish(at, EndReason::Length, true))
        } else {
            Progress::Goes(token)
        }
    }

    /// The end of this row; `flush` gives out text that was held back for a stop string.
    fn finish(&mut self, at: Instant, reason: EndReason, flush: bool) -> CallEvent {
        let row = self.row.row;
        let text = if flush { self.row.text.finish() } else { String::new() };
        CallEvent::Finished {
            row,
            at,
            prompt_tokens: self.row.prompt.len(),
            output_tokens: self.produced,
            reason,
            text,
        }
    }
}
