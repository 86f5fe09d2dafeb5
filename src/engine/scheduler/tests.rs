//! The scheduler over a runner whose next token is a checksum of everything before it, so that
//! a wrong slot, position or order changes the output.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::{Scheduler, SchedulerOptions};
use crate::engine::EngineError;
use crate::engine::call::{Call, CallEvent, CallRow, EndReason, Pushed, RowText};
use crate::engine::runner::{Answers, Cache, Row, Runner};
use crate::sampling::Sampling;

const VOCABULARY: u32 = 97;
const END: u32 = 96;

#[derive(Default)]
struct Checksums {
    steps: RefCell<Vec<Vec<Row>>>,
    fail_at_step: Option<usize>,
}

struct Sequences(Vec<Vec<u32>>);

impl Cache for Sequences {
    fn resize(&mut self, slots: usize) -> Result<(), EngineError> {
        self.0.resize_with(slots, Vec::new);
        Ok(())
    }

    fn copy_prefix(&mut self, from: usize, to: usize, tokens: usize) -> bool {
        self.0[to] = self.0[from][..tokens].to_vec();
        true
    }

    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

fn next_token(sequence: &[u32]) -> u32 {
    let sum = sequence
        .iter()
        .fold(17u32, |sum, token| sum.wrapping_mul(31).wrapping_add(*token).rotate_left(5));
    sum % (VOCABULARY - 1)
}

impl Runner for Checksums {
    type Cache = Sequences;

    fn new_cache(&self, _capacity: usize) -> Result<Sequences, EngineError> {
        Ok(Sequences(Vec::new()))
    }

    fn forward(
        &self,
        cache: &mut Sequences,
        rows: &[Row],
        answers: &mut Answers,
    ) -> Result<(), EngineError> {
        let step = self.steps.borrow().len();
        if self.fail_at_step == Some(step) {
            return Err(EngineError::OutOfMemory("planted".into()));
        }
        self.steps.borrow_mut().push(rows.to_vec());
        answers.from_logits(rows, VOCABULARY as usize, |logits| {
            for row in rows {
                let sequence = &mut cache.0[row.slot];
                if row.position == 0 {
                    sequence.clear();
                }
                assert_eq!(sequence.len(), row.position, "slot {} skips positions", row.slot);
                sequence.push(row.token);
                if row.want.anything() {
                    let mut one = vec![0.0; VOCABULARY as usize];
                    one[next_token(sequence) as usize] = 1.0;
                    logits.extend(one);
                }
            }
            Ok(())
        })
    }

    fn vocabulary(&self) -> usize {
        VOCABULARY as usize
    }

    fn weight_bytes(&self) -> u64 {
        0
    }

    fn slot_bytes(&self, capacity: usize) -> u64 {
        capacity as u64
    }
}

struct Words;

impl RowText for Words {
    fn push(&mut self, id: u32) -> Pushed {
        Pushed { text: format!("{id} "), stopped: id == 13 }
    }

    fn finish(&mut self) -> String {
        String::new()
    }
}

fn options() -> SchedulerOptions {
    SchedulerOptions {
        prefill_tokens: 16,
        share_prefixes: true,
        context_length: 64,
        end_ids: vec![END],
        available_memory: || None,
    }
}

type Events = Arc<Mutex<Vec<CallEvent>>>;

fn prompt(row: usize) -> Vec<u32> {
    (0..1 + (row * 7) % 23).map(|place| ((row * 11 + place) % 90) as u32).collect()
}

fn call(rows: impl IntoIterator<Item = usize>, slots: Arc<AtomicUsize>) -> (Call, Events) {
    let sampling = Arc::new(Sampling { max_tokens: 9, ..Sampling::default() });
    let rows = rows.into_iter().map(|row| CallRow {
        row,
        prompt: prompt(row),
        sampling: sampling.clone(),
        text: Box::new(Words),
    });
    let events = Events::default();
    let seen = events.clone();
    let call = Call {
        rows: rows.collect(),
        slots: Box::new(move || slots.load(Ordering::Relaxed)),
        observer: Box::new(move |event| seen.lock().unwrap().push(event)),
        cancel: CancellationToken::new(),
    };
    (call, events)
}

/// What a row must give, from the definition alone.
fn expected(row: usize) -> Vec<u32> {
    let mut sequence = prompt(row);
    let mut output = Vec::new();
    while output.len() < 9 {
        let token = next_token(&sequence);
        sequence.push(token);
        output.push(token);
        if token == 13 {
            break;
        }
    }
    output
}

fn outputs(events: &Events) -> HashMap<usize, Vec<u32>> {
    let mut outputs: HashMap<usize, Vec<u32>> = HashMap::new();
    for event in events.lock().unwrap().iter() {
        if let CallEvent::Token { row, id, .. } = event {
            outputs.entry(*row).or_default().push(*id);
        }
    }
    outputs
}

fn finish(scheduler: &mut Scheduler<Checksums>) {
    while !scheduler.is_idle() {
        scheduler.step();
    }
}

fn size(slots: usize) -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(slots))
}

#[test]
fn every_row_gets_its_own_output_at_every_batch_size_and_prefill_budget() {
    for slots in [1, 2, 3, 8, 17, 40] {
        for prefill_tokens in [1, 7, 16, 1000] {
            let options = SchedulerOptions { prefill_tokens, ..options() };
            let mut scheduler = Scheduler::new(Checksums::default(), options);
            let (call, events) = call(0..30, size(slots));
            scheduler.add(call);
            finish(&mut scheduler);
            let outputs = outputs(&events);
            for row in 0..30 {
                assert_eq!(outputs[&row], expected(row), "row {row}, {slots} slots");
            }
            assert_eq!(events.lock().unwrap().last(), Some(&CallEvent::Ended(Ok(()))));
        }
    }
}

/// 30 prompts that begin with the same ten tokens, their outputs and the prompt tokens computed.
fn with_a_common_beginning(
    options: SchedulerOptions,
    slots: &Arc<AtomicUsize>,
    mut watch: impl FnMut(usize),
) -> (HashMap<usize, Vec<u32>>, usize, bool) {
    let mut scheduler = Scheduler::new(Checksums::default(), options);
    let (mut call, events) = call(0..30, slots.clone());
    for row in &mut call.rows {
        row.prompt.splice(0..0, 40..50);
    }
    scheduler.add(call);
    for step in 0.. {
        if scheduler.is_idle() {
            break;
        }
        watch(step);
        scheduler.step();
    }
    let seen = events.lock().unwrap().clone();
    let computed = seen.iter().map(|event| match event {
        CallEvent::Step { prefill_tokens, .. } => *prefill_tokens,
        _ => 0,
    });
    let shared = seen.contains(&CallEvent::SharedPrefix { tokens: 10 });
    (outputs(&events), computed.sum(), shared)
}

#[test]
fn a_common_beginning_of_all_prompts_is_computed_once_and_changes_nothing() {
    let alone = SchedulerOptions { share_prefixes: false, ..options() };
    let (expected, all, shared) = with_a_common_beginning(alone, &size(1), |_| {});
    assert!(!shared);
    for slots in [1, 2, 8, 40] {
        for prefill_tokens in [1, 7, 1000] {
            let options = SchedulerOptions { prefill_tokens, ..options() };
            let (outputs, computed, shared) =
                with_a_common_beginning(options, &size(slots), |_| {});
            assert_eq!(outputs, expected, "{slots} slots, {prefill_tokens} tokens a step");
            assert_eq!((all - computed, shared), (29 * 10, true));
        }
    }
    let slots = size(8);
    let change = |step: usize| slots.store([8, 1, 3, 20][step / 5 % 4], Ordering::Relaxed);
    let (outputs, computed, _) = with_a_common_beginning(options(), &slots, change);
    assert_eq!((outputs, all - computed), (expected, 29 * 10));
}

#[test]
fn a_step_never_packs_more_prompt_tokens_than_the_budget() {
    let mut scheduler = Scheduler::new(Checksums::default(), options());
    let (call, events) = call(0..20, size(8));
    scheduler.add(call);
    finish(&mut scheduler);
    for event in events.lock().unwrap().iter() {
        if let CallEvent::Step { prefill_tokens, .. } = event {
            assert!(*prefill_tokens <= 16);
        }
    }
}

#[test]
fn the_batch_size_can_change_while_it_runs_and_outputs_do_not() {
    let slots = size(2);
    let mut scheduler = Scheduler::new(Checksums::default(), options());
    let (call, events) = call(0..40, slots.clone());
    scheduler.add(call);
    let mut widest = 0;
    for step in 0.. {
        if scheduler.is_idle() {
            break;
        }
        slots.store([2, 9, 1, 5][(step / 5) % 4], Ordering::Relaxed);
        scheduler.step();
    }
    for event in events.lock().unwrap().iter() {
        if let CallEvent::Step { rows, .. } = event {
            widest = widest.max(*rows);
        }
    }
    let outputs = outputs(&events);
    for row in 0..40 {
        assert_eq!(outputs[&row], expected(row), "row {row}");
    }
    assert!(widest > 5, "the raised size was followed: {widest}");
}

#[test]
fn calls_take_turns_and_are_never_fused() {
    let mut scheduler = Scheduler::new(Checksums::default(), options());
    let calls: Vec<_> = (0..4).map(|row| call([row], size(8))).collect();
    let mut seen = Vec::new();
    for (call, events) in calls {
        scheduler.add(call);
        seen.push(events);
    }
    for _ in 0..4 {
        scheduler.step();
    }
    for events in &seen {
        let steps = events.lock().unwrap();
        assert_eq!(steps.iter().filter(|e| matches!(e, CallEvent::Step { .. })).count(), 1);
    }
    finish(&mut scheduler);
    for (row, events) in seen.iter().enumerate() {
        assert_eq!(outputs(events)[&row], expected(row));
    }
}

#[test]
fn a_finished_slot_is_refilled_in_the_very_next_step() {
    let mut scheduler = Scheduler::new(Checksums::default(), options());
    let (call, events) = call(0..30, size(4));
    scheduler.add(call);
    finish(&mut scheduler);
    let events = events.lock().unwrap();
    let ended = |event: &CallEvent| matches!(event, CallEvent::Finished { .. });
    let total = events.iter().filter(|event| ended(event)).count();
    assert_eq!(total, 30);
    // as long as rows wait, every step has all four slots either decoding or reading a prompt
    let steps = scheduler.runner.steps.borrow();
    let mut begun = 0;
    for step in steps.iter() {
        begun += step.iter().filter(|row| row.position == 0).count();
        let mut slots: Vec<_> = step.iter().map(|row| row.slot).collect();
        slots.dedup();
        let budget_spent = step.iter().filter(|row| !row.want.anything()).count() >= 12;
        assert!(slots.len() == 4 || begun == 30 || budget_spent, "{step:?}");
    }
}

#[test]
fn a_cancelled_call_ends_before_its_next_step_and_others_go_on() {
    let mut scheduler = Scheduler::new(Checksums::default(), options());
    let (first, first_events) = call(0..10, size(2));
    let (second, second_events) = call(10..12, size(2));
    let cancel = first.cancel.clone();
    scheduler.add(first);
    scheduler.add(second);
    scheduler.step();
    cancel.cancel();
    finish(&mut scheduler);
    let ended = CallEvent::Ended(Err(EngineError::Cancelled));
    assert_eq!(first_events.lock().unwrap().last(), Some(&ended));
    assert_eq!(outputs(&second_events)[&11], expected(11));
}

#[test]
fn a_prompt_as_long_as_the_context_fails_alone() {
    let mut scheduler = Scheduler::new(Checksums::default(), options());
    let (mut call, events) = call(0..3, size(2));
    call.rows[1].prompt = vec![1; 64];
    scheduler.add(call);
    finish(&mut scheduler);
    let events = events.lock().unwrap();
    assert!(events.iter().any(|event| matches!(
        event,
        CallEvent::Failed { row: 1, error: EngineError::InvalidRequest(message) }
            if message.contains("64")
    )));
    assert_eq!(events.iter().filter(|e| matches!(e, CallEvent::Finished { .. })).count(), 2);
}

#[test]
fn a_row_that_fills_the_context_ends_with_length() {
    let mut scheduler = Scheduler::new(Checksums::default(), options());
    let (mut call, events) = call([0], size(1));
    call.rows[0].prompt = vec![1; 60];
    scheduler.add(call);
    finish(&mut scheduler);
    let events = events.lock().unwrap();
    assert!(events.iter().any(|event| matches!(
        event,
        CallEvent::Finished { output_tokens: 4, reason: EndReason::Length, .. }
    )));
}

#[test]
fn a_runner_that_fails_ends_its_call_with_the_error() {
    let runner = Checksums { fail_at_step: Some(2), ..Checksums::default() };
    let mut scheduler = Scheduler::new(runner, options());
    let (call, events) = call(0..3, size(2));
    scheduler.add(call);
    finish(&mut scheduler);
    let error = EngineError::OutOfMemory("planted".into());
    assert_eq!(events.lock().unwrap().last(), Some(&CallEvent::Ended(Err(error))));
}

#[test]
fn a_batch_that_does_not_fit_in_memory_says_what_would() {
    let options = SchedulerOptions { available_memory: || Some(100), ..options() };
    let mut scheduler = Scheduler::new(Checksums::default(), options);
    let (call, events) = call(0..30, size(16));
    scheduler.add(call);
    finish(&mut scheduler);
    let events = events.lock().unwrap();
    let Some(CallEvent::Ended(Err(EngineError::OutOfMemory(message)))) = events.last() else {
        panic!("{events:?}");
    };
    assert!(message.contains("a batch of 16 rows"), "{message}");
    assert!(message.contains("try a batch size of 3"), "{message}");
}

#[test]
fn end_tokens_end_a_row_unless_they_are_ignored() {
    // the vocabulary's end token is never the checksum's choice, so make one that is
    let end = expected(3)[2];
    for (ignore_eos, tokens) in [(false, 2), (true, 9)] {
        let options = SchedulerOptions { end_ids: vec![end], ..options() };
        let mut scheduler = Scheduler::new(Checksums::default(), options);
        let (mut call, events) = call([3], size(1));
        let sampling = Sampling { max_tokens: 9, ignore_eos, ..Sampling::default() };
        call.rows[0].sampling = Arc::new(sampling);
        scheduler.add(call);
        finish(&mut scheduler);
        let events = events.lock().unwrap();
        let finished = events.iter().find_map(|event| match event {
            CallEvent::Finished { output_tokens, .. } => Some(*output_tokens),
            _ => None,
        });
        assert_eq!(finished, Some(tokens));
    }
}
