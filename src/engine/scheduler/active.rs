//! A call under way: its waiting rows, its slots and its cache.

use std::collections::VecDeque;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::slot::{Progress, Slot};
use super::{SchedulerOptions, refuse};
use crate::engine::call::{Call, CallEvent, CallRow};
use crate::engine::error::EngineError;
use crate::engine::runner::{Answers, Cache, Row, Runner, Want};

/// A call that was admitted.
pub(super) struct ActiveCall<C> {
    /// Longest prompt first.
    waiting: VecDeque<CallRow>,
    slots: Vec<Option<Slot>>,
    cache: C,
    capacity: usize,
    wanted: Box<dyn Fn() -> usize + Send>,
    observer: Box<dyn FnMut(CallEvent) + Send>,
    cancel: CancellationToken,
    packed: Vec<Row>,
    prefix: Prefix,
    /// Of the step under way; reused.
    events: Vec<CallEvent>,
}

impl<C: Cache> ActiveCall<C> {
    /// Checks the rows and makes a cache for them; `None` when nothing is left to run.
    pub fn admit<R: Runner<Cache = C>>(
        call: Call,
        runner: &R,
        options: &SchedulerOptions,
    ) -> Option<Self> {
        let Call { rows, slots: wanted, mut observer, cancel } = call;
        let mut fit = Vec::with_capacity(rows.len());
        for row in rows {
            match check(&row, options) {
                Ok(()) => fit.push(row),
                Err(error) => observer(CallEvent::Failed { row: row.row, error }),
            }
        }
        let Some(capacity) = fit.iter().map(|row| needed(row, options)).max() else {
            refuse(observer, Ok(()));
            return None;
        };
        let prefix = if options.share_prefixes { Prefix::of(&fit) } else { Prefix::None };
        fit.sort_by_key(|row| std::cmp::Reverse(row.prompt.len()));
        match runner.new_cache(capacity) {
            Ok(cache) => Some(Self {
                waiting: fit.into(),
                slots: Vec::new(),
                cache,
                capacity,
                wanted,
                observer,
                cancel,
                packed: Vec::new(),
                prefix,
                events: Vec::new(),
            }),
            Err(error) => {
                refuse(observer, Err(error));
                None
            }
        }
    }

    /// Computes one step; `false` when the call is over.
    pub fn step<R: Runner<Cache = C>>(
        &mut self,
        runner: &R,
        options: &SchedulerOptions,
        answers: &mut Answers,
    ) -> Result<bool, EngineError> {
        if self.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        self.refill(runner, options)?;
        let prefill_tokens = self.pack(options.prefill_tokens.max(1));
        if self.packed.is_empty() {
            return Ok(false);
        }
        runner.forward(&mut self.cache, &self.packed, answers)?;
        let at = Instant::now();
        let rows = self.packed.iter().filter(|row| row.want.anything()).count();
        let kv_bytes = self.cache.bytes();
        self.events.push(CallEvent::Step { at, rows, prefill_tokens, kv_bytes });
        self.share_prefix();
        self.choose_tokens(runner, answers);
        let taken = self.take_tokens(at, options);
        // all at once: whoever listens wakes up once a step, and not once a token
        self.events.drain(..).for_each(&mut self.observer);
        taken.map(|()| true)
    }

    /// Tells the observer that the call is over.
    pub fn end(mut self, result: Result<(), EngineError>) {
        (self.observer)(CallEvent::Ended(result));
    }

    /// Follows the wanted number of slots and fills the free ones.
    fn refill<R: Runner>(
        &mut self,
        runner: &R,
        options: &SchedulerOptions,
    ) -> Result<(), EngineError> {
        let busy = self.slots.iter().flatten().count();
        let most = runner.max_slots().unwrap_or(usize::MAX);
        let wanted = (self.wanted)().clamp(1, most);
        let used = self.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let size = wanted.min(busy + self.waiting.len()).max(used);
        if size > self.slots.len() {
            self.check_memory(size - self.slots.len(), runner, options)?;
        }
        if size != self.slots.len() {
            self.cache.resize(size)?;
            self.slots.resize_with(size, || None);
        }
        let places = self.slots.iter_mut().enumerate().take(wanted);
        for (place, slot) in places.filter(|(_, slot)| slot.is_none()) {
            *slot = self.waiting.pop_front().map(Slot::new);
            if let (Prefix::Shared(tokens), Some(slot)) = (self.prefix, slot.as_mut())
                && self.cache.copy_prefix(0, place, tokens)
            {
                slot.skip(tokens);
            }
        }
        Ok(())
    }

    /// Once the first slot has computed the prefix, the others take it over. The first slot then
    /// holds it for as long as the call lasts: whatever row it is given begins with it.
    fn share_prefix(&mut self) {
        let Prefix::Awaited(tokens) = self.prefix else { return };
        if !matches!(self.slots.first(), Some(Some(slot)) if slot.holds(tokens)) {
            return;
        }
        self.prefix = Prefix::Shared(tokens);
        for (place, slot) in self.slots.iter_mut().enumerate().skip(1) {
            let Some(slot) = slot else { continue };
            if !self.cache.copy_prefix(0, place, tokens) {
                self.prefix = Prefix::None;
                return;
            }
            slot.skip(tokens);
        }
        self.events.push(CallEvent::SharedPrefix { tokens });
    }

    fn check_memory<R: Runner>(
        &self,
        more: usize,
        runner: &R,
        options: &SchedulerOptions,
    ) -> Result<(), EngineError> {
        let slot = runner.slot_bytes(self.capacity);
        let needed = slot.saturating_mul(more as u64);
        match (options.available_memory)() {
            Some(available) if needed > available => {
                let megabytes = |bytes: u64| bytes / 1_000_000;
                Err(EngineError::OutOfMemory(format!(
                    "a batch of {} rows of {} tokens needs {} MB more for its KV cache and {} MB \
                     are available; try a batch size of {} or a smaller max_tokens",
                    self.slots.len() + more,
                    self.capacity,
                    megabytes(needed),
                    megabytes(available),
                    (self.slots.len() as u64 + available / slot.max(1)).max(1),
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Packs the next step: first the decoding slots, then prompts up to `budget` tokens. Gives
    /// the number of prompt tokens.
    fn pack(&mut self, budget: usize) -> usize {
        self.packed.clear();
        let mut left = budget;
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            let waits = place > 0 && matches!(self.prefix, Prefix::Awaited(_));
            if slot.decodes() || (left > 0 && !waits) {
                left -= slot.pack(place, left, &mut self.packed);
            }
        }
        budget - left
    }

    /// Chooses a token for every slot that was given an answer. Searching logits takes long enough
    /// to be shared among threads; it depends on nothing but the slot.
    fn choose_tokens<R: Runner>(&mut self, runner: &R, answers: &Answers) {
        let rows = self.packed.iter().filter(|row| row.want.anything());
        for (number, row) in rows.clone().enumerate() {
            if let Some(Some(slot)) = self.slots.get_mut(row.slot) {
                slot.answer = Some(number);
            }
        }
        let choose = |slot: &mut Option<Slot>| {
            if let Some(slot) = slot {
                slot.choose(answers);
            }
        };
        if rows.filter(|row| row.want == Want::Logits).nth(1).is_some() {
            runner.each(&mut self.slots, choose);
        } else {
            self.slots.iter_mut().for_each(choose);
        }
    }

    /// Goes on with the tokens that were chosen.
    fn take_tokens(&mut self, at: Instant, options: &SchedulerOptions) -> Result<(), EngineError> {
        for place in self.packed.iter().filter(|row| row.want.anything()).map(|row| row.slot) {
            let slot = self.slots.get_mut(place).and_then(Option::as_mut);
            let Some(progress) = slot.and_then(|slot| slot.advance(at, options)) else {
                let defect = "the runner gave fewer answers than were wanted";
                return Err(EngineError::Internal(defect.into()));
            };
            match progress {
                Progress::Goes(event) => self.events.push(event),
                Progress::Over(token, end) => {
                    self.events.extend(token);
                    self.events.push(end);
                    self.slots[place] = None;
                }
            }
        }
        Ok(())
    }
}

/// The tokens that all prompts of a call begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    /// Too few to share, or the cache cannot.
    None,
    /// The first slot is about to compute them, the others wait for that.
    Awaited(usize),
    /// The first slot holds them.
    Shared(usize),
}

/// Fewer tokens are not worth a step that computes one slot alone.
const SHORTEST_PREFIX: usize = 8;

impl Prefix {
    fn of(rows: &[CallRow]) -> Self {
        let Some((first, others)) = rows.split_first() else { return Self::None };
        let common = others.iter().fold(first.prompt.len(), |most, row| {
            let pairs = first.prompt.iter().zip(&row.prompt).take(most);
            pairs.take_while(|(a, b)| a == b).count()
        });
        // the last token of a prompt is computed for its logits
        let shortest = rows.iter().map(|row| row.prompt.len()).min().unwrap_or(0);
        match common.min(shortest.saturating_sub(1)) {
            tokens if others.is_empty() || tokens < SHORTEST_PREFIX => Self::None,
            tokens => Self::Awaited(tokens),
        }
    }
}

fn check(row: &CallRow, options: &SchedulerOptions) -> Result<(), EngineError> {
    let tokens = row.prompt.len();
    if tokens == 0 {
        return Err(EngineError::InvalidRequest("the prompt has no tokens".into()));
    }
    if tokens >= options.context_length {
        return Err(EngineError::InvalidRequest(format!(
            "the prompt has {tokens} tokens and the model's context is {}: shorten the prompt or \
             use a model with a longer context",
            options.context_length
        )));
    }
    Ok(())
}

/// Tokens a row may come to.
fn needed(row: &CallRow, options: &SchedulerOptions) -> usize {
    row.prompt.len().saturating_add(row.sampling.max_tokens).min(options.context_length)
}
