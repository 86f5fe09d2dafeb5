//! The scheduler over the real CPU runner: whatever happens to a call while it runs, a row's
//! logits are the bits that it gets alone.
//!
//! The batch size changes from step to step, prompts are cut by any budget, what they have in
//! common is computed once or by every row, rows come in any order, some are sampled, and any
//! number of threads computes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use batchgen::engine::EngineError;
use batchgen::engine::call::{Call, CallEvent, CallRow, Pushed, RowText};
use batchgen::engine::loader::{Kernels, LoadOptions, load};
use batchgen::engine::runner::{Answer, Answers, Cache, Row, Runner, Want};
use batchgen::engine::runners::{AnyCache, AnyRunner};
use batchgen::engine::scheduler::{Scheduler, SchedulerOptions};
use batchgen::engine::source::ModelSource;
use batchgen::sampling::Sampling;
use candle_core::quantized::GgmlDType;
use proptest::prelude::*;
use tempfile::tempdir;
use tokio_util::sync::CancellationToken;

use crate::tiny_models::{Tiny, VOCAB};

const ROWS: usize = 14;

/// The bits of the logits after each sequence of tokens.
type Bits = HashMap<Vec<u32>, Vec<u32>>;

/// A runner that notes all logits it gives.
struct Noting {
    runner: AnyRunner,
    bits: Arc<std::sync::Mutex<Bits>>,
    answers: RefCell<Answers>,
}

/// A cache, and the tokens that its slots hold.
struct Noted {
    cache: AnyCache,
    slots: Vec<Vec<u32>>,
}

impl Cache for Noted {
    fn resize(&mut self, slots: usize) -> Result<(), EngineError> {
        self.slots.resize_with(slots, Vec::new);
        self.cache.resize(slots)
    }

    fn copy_prefix(&mut self, from: usize, to: usize, tokens: usize) -> bool {
        let copied = self.cache.copy_prefix(from, to, tokens);
        if copied {
            self.slots[to] = self.slots[from][..tokens].to_vec();
        }
        copied
    }

    fn bytes(&self) -> u64 {
        self.cache.bytes()
    }
}

impl Runner for Noting {
    type Cache = Noted;

    fn new_cache(&self, capacity: usize) -> Result<Noted, EngineError> {
        Ok(Noted { cache: self.runner.new_cache(capacity)?, slots: Vec::new() })
    }

    fn forward(
        &self,
        cache: &mut Noted,
        rows: &[Row],
        answers: &mut Answers,
    ) -> Result<(), EngineError> {
        let all = |row: &Row| Row {
            want: if row.want.anything() { Want::Logits } else { Want::Nothing },
            ..*row
        };
        let asked: Vec<Row> = rows.iter().map(all).collect();
        let mut given = self.answers.borrow_mut();
        self.runner.forward(&mut cache.cache, &asked, &mut given)?;
        answers.from_logits(rows, self.vocabulary(), |logits| {
            let mut given = given.iter();
            for row in rows {
                let sequence = &mut cache.slots[row.slot];
                sequence.truncate(row.position);
                sequence.push(row.token);
                if !row.want.anything() {
                    continue;
                }
                let Some(Answer::Logits(values)) = given.next() else {
                    panic!("logits were wanted")
                };
                logits.extend_from_slice(values);
                let bits: Vec<u32> = values.iter().map(|logit| logit.to_bits()).collect();
                let before = self.bits.lock().unwrap().insert(sequence.clone(), bits.clone());
                assert!(before.is_none_or(|before| before == bits), "two answers to one row");
            }
            Ok(())
        })
    }

    fn vocabulary(&self) -> usize {
        self.runner.vocabulary()
    }

    fn weight_bytes(&self) -> u64 {
        self.runner.weight_bytes()
    }

    fn slot_bytes(&self, capacity: usize) -> u64 {
        self.runner.slot_bytes(capacity)
    }
}

struct NoText;

impl RowText for NoText {
    fn push(&mut self, _id: u32) -> Pushed {
        Pushed::default()
    }

    fn finish(&mut self) -> String {
        String::new()
    }
}

/// How a call is run.
#[derive(Debug, Clone)]
struct Run {
    /// The batch size at each step, over and over.
    sizes: Vec<usize>,
    /// Prompt tokens of a step.
    budget: usize,
    share: bool,
    order: Vec<usize>,
    threads: usize,
}

/// A row: its prompt, of which the first `common` tokens are those of all, and its sampling.
fn row(row: usize, common: usize) -> CallRow {
    let own = (0..1 + (row * 7) % 19).map(|i| ((row * 11 + i * i + 3) % VOCAB) as u32);
    let prompt = (0..common).map(|i| ((i * 5 + 1) % VOCAB) as u32).chain(own).collect();
    let sampling = Sampling {
        max_tokens: 2 + (row * 5) % 9,
        temperature: if row.is_multiple_of(3) { 0.8 } else { 0.0 },
        ..Sampling::default()
    };
    CallRow { row, prompt, sampling: Arc::new(sampling), text: Box::new(NoText) }
}

/// The bits of all rows, and how many rows a step ever computed.
fn run(source: &ModelSource, common: usize, run: &Run) -> (Bits, usize) {
    let options = LoadOptions {
        threads: NonZeroUsize::new(run.threads),
        kernels: Kernels::Cpu,
        ..LoadOptions::default()
    };
    let bits = Arc::new(std::sync::Mutex::new(Bits::new()));
    let runner = Noting {
        runner: load(source, &options).unwrap().runner,
        bits: Arc::clone(&bits),
        answers: RefCell::default(),
    };
    let mut scheduler = Scheduler::new(
        runner,
        SchedulerOptions {
            prefill_tokens: run.budget,
            share_prefixes: run.share,
            context_length: 128,
            end_ids: vec![7],
            available_memory: || None,
        },
    );
    let (sizes, step) = (run.sizes.clone(), AtomicUsize::new(0));
    let (ended, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (ends, widest) = (Arc::clone(&ended), Arc::clone(&most));
    scheduler.add(Call {
        rows: run.order.iter().map(|number| row(*number, common)).collect(),
        slots: Box::new(move || sizes[step.fetch_add(1, Ordering::Relaxed) % sizes.len()]),
        observer: Box::new(move |event| match event {
            CallEvent::Finished { .. } => _ = ends.fetch_add(1, Ordering::Relaxed),
            CallEvent::Step { rows, .. } => _ = widest.fetch_max(rows, Ordering::Relaxed),
            CallEvent::Failed { row, error } => panic!("row {row}: {error}"),
            CallEvent::Ended(result) => result.unwrap(),
            CallEvent::Token { .. } | CallEvent::SharedPrefix { .. } => {}
        }),
        cancel: CancellationToken::new(),
    });
    while !scheduler.is_idle() {
        scheduler.step();
    }
    assert_eq!(ended.load(Ordering::Relaxed), ROWS);
    let bits = bits.lock().unwrap().clone();
    (bits, most.load(Ordering::Relaxed))
}

/// One row at a time, nothing shared, whole prompts.
fn alone(source: &ModelSource, common: usize) -> Bits {
    let order = (0..ROWS).collect();
    let (bits, widest) =
        run(source, common, &Run { sizes: vec![1], budget: 512, share: false, order, threads: 1 });
    assert_eq!(widest, 1);
    bits
}

fn tiny(tiny: &Tiny, dtype: GgmlDType) -> (tempfile::TempDir, ModelSource) {
    let folder = tempdir().unwrap();
    let source = tiny.write_gguf(folder.path().join("tiny.gguf"), dtype);
    (folder, source)
}

#[test]
fn a_batch_that_shrinks_and_grows_gives_the_bits_of_one_row_at_a_time() {
    let (_folder, source) = tiny(&Tiny::gemma3(), GgmlDType::Q8_0);
    let alone = alone(&source, 20);
    for share in [false, true] {
        let sizes = vec![9, 9, 9, 1, 1, 4, 14, 2, 7, 7, 7, 3];
        let order = (0..ROWS).rev().collect();
        let (bits, widest) = run(&source, 20, &Run { sizes, budget: 24, share, order, threads: 2 });
        assert!(widest > 4, "only {widest} rows were ever together");
        assert!(bits == alone, "sharing: {share}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_happens_to_a_call_its_rows_get_the_bits_they_get_alone(
        sizes in prop::collection::vec(1usize..ROWS + 3, 1..30),
        budget in 1usize..60,
        share in any::<bool>(),
        common in prop::sample::select(vec![0usize, 5, 9, 33]),
        order in Just((0..ROWS).collect::<Vec<_>>()).prop_shuffle(),
        threads in 1usize..4,
    ) {
        let (_folder, source) = tiny(&Tiny::llama(2, true), GgmlDType::Q4_1);
        let changed = Run { sizes, budget, share, order, threads };
        let (bits, _) = run(&source, common, &changed);
        prop_assert!(bits == alone(&source, common), "{:?}, {} in common", changed, common);
    }
}
