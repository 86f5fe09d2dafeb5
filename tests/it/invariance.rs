//! The CPU runner's promise: a row's bits do not depend on its neighbours, their order, the
//! chunks its prompt is read in, the number of threads or the instruction set; what AMX computes in bf16
//! has the bits of plain Rust that does so.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use batchgen::engine::loader::{CpuChoices, Kernels, LoadOptions, load};
use batchgen::engine::runner::{Answer, Answers, Cache, Row, Runner, Want};
use batchgen::engine::runners::cpu::kernels::isa::Isa;
use batchgen::engine::runners::{AnyCache, AnyRunner};
use batchgen::engine::source::ModelSource;
use candle_core::quantized::GgmlDType;
use proptest::prelude::*;
use tempfile::tempdir;

use crate::servers::{quickstart_model, require_or_skip};
use crate::tiny_models::{Tiny, VOCAB, source};

const ROWS: usize = 36;
const CAPACITY: usize = 80;

/// The tokens of a row, and how many of them are its prompt.
fn row_tokens(row: usize) -> (Vec<u32>, usize) {
    let prompt = 1 + (row * 29) % 61;
    let tokens = (0..prompt + 1 + row % 7).map(|i| ((row * 31 + i * 17 + i * i) % VOCAB) as u32);
    (tokens.collect(), prompt)
}

/// How the rows go through the runner.
#[derive(Debug, Clone)]
struct Schedule {
    /// Rows at a time.
    slots: usize,
    /// Prompt tokens of a row in a pass.
    chunk: usize,
    /// The rows in the order in which they take slots.
    order: Vec<usize>,
    /// Whether prompts are said to be prompts.
    prompts: bool,
}

impl Schedule {
    fn new(slots: usize, chunk: usize) -> Self {
        Self { slots, chunk, order: (0..ROWS).collect(), prompts: true }
    }
}

/// The bits of the logits after every token, by row and position.
type Bits = HashMap<(usize, usize), Vec<u32>>;

/// Ragged continuous batching over given tokens: free slots take the next row, every slot reads
/// a chunk of its prompt or one token more.
fn run(runner: &AnyRunner, schedule: &Schedule) -> Bits {
    let mut cache = runner.new_cache(CAPACITY).unwrap();
    cache.resize(schedule.slots).unwrap();
    let mut waiting = schedule.order.iter().copied();
    let mut slots: Vec<Option<(usize, usize)>> = vec![None; schedule.slots];
    let (mut bits, mut answers) = (Bits::new(), Answers::default());
    loop {
        let (mut rows, mut fed) = (Vec::new(), Vec::new());
        for (slot, place) in slots.iter_mut().enumerate() {
            if place.is_none() {
                *place = waiting.next().map(|row| (row, 0));
            }
            let Some((row, position)) = place else { continue };
            let (tokens, prompt) = row_tokens(*row);
            let count = if *position < prompt { schedule.chunk.min(prompt - *position) } else { 1 };
            for (at, token) in tokens.iter().enumerate().skip(*position).take(count) {
                let (token, prompt) = (*token, schedule.prompts && at < prompt);
                rows.push(Row { slot, position: at, token, prompt, want: Want::Logits });
                fed.push((*row, at));
            }
            *position += count;
            if *position == tokens.len() {
                *place = None;
            }
        }
        if rows.is_empty() {
            return bits;
        }
        runner.forward(&mut cache, &rows, &mut answers).unwrap();
        for (place, answer) in fed.into_iter().zip(answers.iter()) {
            let Answer::Logits(logits) = answer else { panic!("logits were wanted") };
            bits.insert(place, logits.iter().map(|logit| logit.to_bits()).collect());
        }
    }
}

fn options(threads: usize, choices: CpuChoices) -> LoadOptions {
    LoadOptions {
        threads: NonZeroUsize::new(threads),
        kernels: Kernels::CpuWith(choices),
        ..LoadOptions::default()
    }
}

fn cpu(source: &ModelSource, threads: usize, isa: Option<Isa>) -> AnyRunner {
    load(source, &options(threads, CpuChoices { isa, exact: false })).unwrap().runner
}

fn assert_same(expected: &Bits, actual: &Bits, what: &str) {
    assert_eq!(expected.len(), actual.len(), "{what}");
    for (place, bits) in expected {
        assert!(bits == &actual[place], "{what}: row {}, position {}", place.0, place.1);
    }
}

/// Every way to run a model against one row at a time with whole prompts, by the machine's best
/// instruction set and by one that computes in bf16.
fn assert_invariant(source: &ModelSource) {
    [None, Some(Isa::ScalarAmx)].into_iter().for_each(|isa| assert_invariant_by(source, isa));
    assert_same_on_every_instruction_set(source);
}

fn assert_invariant_by(source: &ModelSource, isa: Option<Isa>) {
    let runner = cpu(source, 2, isa);
    let alone = run(&runner, &Schedule::new(1, CAPACITY));
    for slots in [2, 3, 8, 17, 32] {
        let batched = run(&runner, &Schedule::new(slots, CAPACITY));
        assert_same(&alone, &batched, &format!("{slots} at a time"));
    }
    for chunk in [1, 7, 64] {
        for slots in [1, 9] {
            let chunked = run(&runner, &Schedule::new(slots, chunk));
            assert_same(&alone, &chunked, &format!("chunks of {chunk}, {slots} at a time"));
        }
    }
    let order = (0..ROWS).map(|row| (row * 7 + 5) % ROWS).collect();
    let permuted = run(&runner, &Schedule { order, ..Schedule::new(8, 16) });
    assert_same(&alone, &permuted, "permuted");
    for threads in [1, 3] {
        let other = run(&cpu(source, threads, isa), &Schedule::new(8, 16));
        assert_same(&alone, &other, &format!("{threads} threads"));
    }
}

/// Against plain Rust, whether rows are said to be of prompts or not; without bf16 that is all the same.
fn assert_same_on_every_instruction_set(source: &ModelSource) {
    let schedules = [true, false].map(|prompts| Schedule { prompts, ..Schedule::new(8, 16) });
    let run = |isa| schedules.each_ref().map(|schedule| run(&cpu(source, 2, Some(isa)), schedule));
    let (plain, in_bf16) = (run(Isa::Scalar), run(Isa::ScalarAmx));
    assert_same(&plain[0], &plain[1], "prompts or not");
    for isa in Isa::accelerated() {
        let expected = if isa.has_bf16() { &in_bf16 } else { &plain };
        for (expected, actual) in expected.iter().zip(run(isa)) {
            assert_same(expected, &actual, isa.word());
        }
    }
}

/// A llama whose head, down projections and other matrices have these types.
fn mixed(types: [GgmlDType; 3]) -> (tempfile::TempDir, ModelSource) {
    let folder = tempdir().unwrap();
    let [head, down, others] = types;
    let dtype = |name: &str| match name {
        "lm_head.weight" => head,
        _ if name.contains("down_proj") => down,
        _ => others,
    };
    let path = folder.path().join("tiny.gguf");
    let source = Tiny::llama(2, false).write_mixed_gguf(path, dtype);
    (folder, source)
}

/// Whether prompts, and all else, are computed in bf16 where an instruction set does that.
fn assert_in_bf16(source: &ModelSource, [prompts, answers]: [bool; 2]) {
    let run = |isa, prompts| {
        run(&cpu(source, 2, Some(isa)), &Schedule { prompts, ..Schedule::new(8, 16) })
    };
    let in_bf16 = [true, false].map(|prompts| run(Isa::ScalarAmx, prompts));
    assert_eq!(in_bf16[0] != run(Isa::Scalar, true), prompts);
    assert_eq!(in_bf16[1] != run(Isa::Scalar, false), answers);
    assert_eq!(in_bf16[0] == in_bf16[1], prompts == answers);
}

#[test]
fn what_is_computed_in_bf16_follows_from_the_weights() {
    use GgmlDType::{BF16, F16, F32, Q4_1, Q5_0, Q5_1, Q8_0};
    for (types, in_bf16) in [
        ([Q4_1; 3], [true, false]),
        ([Q5_0; 3], [true, false]),
        ([Q5_1; 3], [true, false]),
        ([Q8_0; 3], [true, false]),
        ([BF16; 3], [true, true]),
        ([F16; 3], [false, false]),
        ([F32; 3], [false, false]),
        // the head is not
        ([BF16, F16, F16], [false, false]),
        ([Q8_0, BF16, BF16], [true, true]),
        ([BF16, Q4_1, Q4_1], [true, false]),
        ([BF16, F16, BF16], [true, true]),
        // one that is quantised has what else is there wait for prompts
        ([BF16, Q8_0, BF16], [true, false]),
    ] {
        assert_in_bf16(&mixed(types).1, in_bf16);
    }
}

#[test]
fn models_of_several_types_give_the_same_bits_however_they_are_run() {
    use GgmlDType::{BF16, F32, Q4_1, Q8_0};
    for types in [
        [Q8_0, BF16, BF16],
        [BF16, Q4_1, Q4_1],
        [BF16, F32, BF16],
        [BF16, Q8_0, BF16],
        [F32, BF16, Q4_1],
    ] {
        assert_invariant(&mixed(types).1);
    }
}

fn gguf(tiny: &Tiny, dtype: GgmlDType) -> (tempfile::TempDir, ModelSource) {
    let folder = tempdir().unwrap();
    let source = tiny.write_gguf(folder.path().join("tiny.gguf"), dtype);
    (folder, source)
}

#[test]
fn a_llama_in_q4_1_gives_the_same_bits_however_it_is_run() {
    assert_invariant(&gguf(&Tiny::llama(2, true), GgmlDType::Q4_1).1);
}

#[test]
fn a_qwen2_in_q5_0_gives_the_same_bits_however_it_is_run() {
    assert_invariant(&gguf(&Tiny::qwen2(), GgmlDType::Q5_0).1);
}

#[test]
fn a_qwen3_in_q8_0_gives_the_same_bits_however_it_is_run() {
    assert_invariant(&gguf(&Tiny::qwen3(), GgmlDType::Q8_0).1);
}

#[test]
fn a_gemma3_in_q5_1_gives_the_same_bits_however_it_is_run() {
    assert_invariant(&gguf(&Tiny::gemma3(), GgmlDType::Q5_1).1);
}

#[test]
fn a_model_in_half_precision_gives_the_same_bits_however_it_is_run() {
    for dtype in [GgmlDType::F16, GgmlDType::BF16] {
        assert_invariant(&gguf(&Tiny::llama(1, false), dtype).1);
        // heads that are whole blocks
        assert_invariant(&gguf(&Tiny::qwen3(), dtype).1);
    }
}

#[test]
fn a_prefix_that_was_taken_over_gives_the_bits_of_one_that_was_computed() {
    for (isa, dtype) in [
        (None, GgmlDType::Q8_0),
        (Some(Isa::ScalarAmx), GgmlDType::Q8_0),
        (Some(Isa::ScalarAmx), GgmlDType::BF16),
    ] {
        let (_folder, source) = gguf(&Tiny::gemma3(), dtype);
        assert_prefixes_can_be_taken_over(&cpu(&source, 2, isa));
    }
}

fn assert_prefixes_can_be_taken_over(runner: &AnyRunner) {
    let tokens: Vec<u32> = (0..60).map(|i| (i * i + 7 * i) % VOCAB as u32).collect();
    let row = |slot| {
        move |(position, token): (usize, &u32)| Row {
            slot,
            position,
            token: *token,
            prompt: true,
            want: Want::Logits,
        }
    };
    let mut answers = Answers::default();
    let mut pass = |cache: &mut AnyCache, rows: &[Row]| -> Vec<Vec<f32>> {
        runner.forward(cache, rows, &mut answers).unwrap();
        let logits = answers.iter().map(|answer| match answer {
            Answer::Logits(logits) => logits.to_vec(),
            Answer::Best(_) => panic!("logits were wanted"),
        });
        logits.collect()
    };
    let mut cache = runner.new_cache(CAPACITY).unwrap();
    cache.resize(3).unwrap();
    let computed: Vec<Row> = tokens.iter().enumerate().map(row(0)).collect();
    let expected = pass(&mut cache, &computed);
    for prefix in [1, 31, 32, 45] {
        // another row's tokens are in the slot before
        let other: Vec<Row> = tokens.iter().rev().enumerate().map(row(2)).collect();
        pass(&mut cache, &other);
        for slot in [2, 0] {
            assert!(cache.copy_prefix(0, slot, prefix));
            let rest: Vec<Row> = tokens.iter().enumerate().skip(prefix).map(row(slot)).collect();
            assert!(pass(&mut cache, &rest) == expected[prefix..], "{prefix} into {slot}");
        }
    }
    assert!(!cache.copy_prefix(1, 2, 1), "slot 1 holds nothing");
    assert!(!cache.copy_prefix(0, 9, 1), "there is no slot 9");
}

#[test]
fn logits_stay_close_to_exact_ones() {
    // int8 activations: about half a percent of rounding in each matrix; with weights in bf16 at most
    // to bf16
    for (dtype, bound) in [
        (GgmlDType::Q4_0, 0.03),
        (GgmlDType::Q4_1, 0.03),
        (GgmlDType::Q5_0, 0.03),
        (GgmlDType::Q5_1, 0.03),
        (GgmlDType::Q8_0, 0.03),
        (GgmlDType::BF16, 0.01),
    ] {
        let (_folder, source) = gguf(&Tiny::llama(2, false), dtype);
        let exact = load(&source, &options(2, CpuChoices { isa: None, exact: true })).unwrap();
        let schedule = Schedule::new(8, 16);
        let exact = run(&exact.runner, &schedule);
        let (mut off, mut size) = (0.0f64, 0.0f64);
        for (place, bits) in [None, Some(Isa::ScalarAmx)]
            .into_iter()
            .flat_map(|isa| run(&cpu(&source, 2, isa), &schedule))
        {
            for (actual, expected) in bits.into_iter().zip(&exact[&place]) {
                let (actual, expected) = (f32::from_bits(actual), f32::from_bits(*expected));
                off += f64::from(actual - expected).powi(2);
                size += f64::from(expected).powi(2);
            }
        }
        assert!((off / size).sqrt() < bound, "{dtype:?}: off by {}", (off / size).sqrt());
    }
}

#[test]
fn the_best_token_is_the_greatest_logit_and_unwanted_rows_change_nothing() {
    let (_folder, source) = gguf(&Tiny::llama(2, true), GgmlDType::Q4_1);
    unwanted_rows_change_nothing(&cpu(&source, 3, None));
    for dtype in [GgmlDType::Q4_1, GgmlDType::BF16] {
        let (_folder, source) = gguf(&Tiny::llama(2, true), dtype);
        unwanted_rows_change_nothing(&cpu(&source, 2, Some(Isa::ScalarAmx)));
    }
    let candle = LoadOptions { kernels: Kernels::Own, ..LoadOptions::default() };
    unwanted_rows_change_nothing(&load(&source, &candle).unwrap().runner);
}

fn unwanted_rows_change_nothing(runner: &AnyRunner) {
    let few = vec![Want::Best, Want::Nothing, Want::Logits, Want::Best];
    // more than go through the layers together, 128: of the second part nothing is wanted. Where
    // prompts, which are two of three, go by themselves and 512 together, nothing of the second part
    // of either
    let kinds = [Want::Nothing, Want::Logits, Want::Best, Want::Logits, Want::Nothing];
    let prompt = |row: usize| !row.is_multiple_of(3);
    let unwanted = |row: usize| {
        let part = if prompt(row) { row >= 768 } else { (384..768).contains(&row) };
        part || (128..256).contains(&row)
    };
    let want = |row: usize| if unwanted(row) { Want::Nothing } else { kinds[row % 5] };
    let many = (0..800).map(want).collect();
    // and where all go together, 512 of them
    let more = (0..800).map(|row| if row < 512 { kinds[row % 5] } else { Want::Nothing }).collect();
    for wants in [vec![Want::Logits; 4], vec![Want::Nothing; 4], few, many, more] {
        let pass = |wants: &[Want]| {
            let mut cache = runner.new_cache(CAPACITY).unwrap();
            cache.resize(wants.len()).unwrap();
            let row = |slot| {
                let (token, prompt) = ((slot % VOCAB) as u32, prompt(slot));
                Row { slot, position: 0, token, prompt, want: wants[slot] }
            };
            let rows: Vec<Row> = (0..wants.len()).map(row).collect();
            let mut answers = Answers::default();
            runner.forward(&mut cache, &rows, &mut answers).unwrap();
            answers
        };
        let logits = pass(&vec![Want::Logits; wants.len()]);
        let logits: Vec<Answer<'_>> = logits.iter().collect();
        let answers = pass(&wants);
        let wanted: Vec<usize> = (0..wants.len()).filter(|row| wants[*row].anything()).collect();
        assert_eq!(answers.iter().count(), wanted.len());
        for (row, answer) in wanted.into_iter().zip(answers.iter()) {
            let Answer::Logits(expected) = logits[row] else { panic!("logits were wanted") };
            match answer {
                Answer::Logits(logits) => assert_eq!(logits, expected, "row {row}"),
                Answer::Best(best) => {
                    let greatest = expected.iter().copied().fold(f32::MIN, f32::max);
                    let first = expected.iter().position(|logit| *logit == greatest);
                    assert_eq!(best.map(|id| id as usize), first, "row {row}");
                }
            }
        }
    }
}

#[test]
fn many_rows_that_want_the_best_token_alone_get_the_greatest_of_all_logits() {
    // so many find it by way of a sketch of the head where an instruction set has that
    for (isa, dtype) in [None, Some(Isa::ScalarAmx)]
        .into_iter()
        .flat_map(|isa| [GgmlDType::Q4_1, GgmlDType::BF16, GgmlDType::F32].map(|it| (isa, it)))
    {
        let (_folder, source) = gguf(&Tiny::llama(2, true), dtype);
        let runner = cpu(&source, 2, isa);
        let pass = |want| {
            let mut cache = runner.new_cache(CAPACITY).unwrap();
            cache.resize(50).unwrap();
            let row = |slot: usize| {
                let (token, prompt) = ((slot * 7 % VOCAB) as u32, slot.is_multiple_of(3));
                Row { slot, position: 0, token, prompt, want }
            };
            let mut answers = Answers::default();
            runner
                .forward(&mut cache, &(0..50).map(row).collect::<Vec<_>>(), &mut answers)
                .unwrap();
            answers
        };
        let (logits, best) = (pass(Want::Logits), pass(Want::Best));
        for (row, (logits, best)) in logits.iter().zip(best.iter()).enumerate() {
            let (Answer::Logits(logits), Answer::Best(best)) = (logits, best) else {
                panic!("not what was wanted")
            };
            let greatest = logits.iter().copied().fold(f32::MIN, f32::max);
            let first = logits.iter().position(|logit| *logit == greatest);
            assert_eq!(best.map(|id| id as usize), first, "{isa:?}, {dtype:?}, row {row}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_schedule_gives_the_bits_of_one_row_at_a_time(
        slots in 1usize..40,
        chunk in 1usize..70,
        order in Just((0..ROWS).collect::<Vec<_>>()).prop_shuffle(),
        threads in 1usize..4,
    ) {
        let schedule = Schedule { slots, chunk, order, prompts: true };
        for (isa, dtype) in [
            (None, GgmlDType::Q4_1),
            (None, GgmlDType::BF16),
            (Some(Isa::ScalarAmx), GgmlDType::BF16),
        ] {
            let (_folder, source) = gguf(&Tiny::llama(2, true), dtype);
            let alone = run(&cpu(&source, 1, isa), &Schedule::new(1, CAPACITY));
            assert_same(&alone, &run(&cpu(&source, threads, isa), &schedule), "any schedule");
        }
    }
}

// --- the real model ---

/// Some tokens of a real vocabulary, different for every row.
fn real_prompt(row: usize) -> Vec<u32> {
    (0..5 + (row * 13) % 40).map(|i| ((row * 7919 + i * 104_729 + 13) % 49_000) as u32).collect()
}

/// The greedy continuation of each row, this many at a time.
fn greedy(runner: &AnyRunner, rows: usize, slots: usize, tokens: usize) -> Vec<Vec<u32>> {
    let mut outputs = Vec::new();
    for group in (0..rows).collect::<Vec<_>>().chunks(slots) {
        let mut cache = runner.new_cache(64 + tokens).unwrap();
        cache.resize(group.len()).unwrap();
        let mut answers = Answers::default();
        let prompts: Vec<Vec<u32>> = group.iter().map(|row| real_prompt(*row)).collect();
        let mut rows: Vec<Row> = Vec::new();
        for (slot, prompt) in prompts.iter().enumerate() {
            rows.extend(prompt.iter().enumerate().map(|(position, token)| {
                let last = position + 1 == prompt.len();
                let want = if last { Want::Best } else { Want::Nothing };
                Row { slot, position, token: *token, prompt: true, want }
            }));
        }
        let mut written: Vec<Vec<u32>> = vec![Vec::new(); group.len()];
        for step in 0..tokens {
            runner.forward(&mut cache, &rows, &mut answers).unwrap();
            rows.clear();
            for (slot, answer) in answers.iter().enumerate() {
                let Answer::Best(Some(token)) = answer else { panic!("no token") };
                written[slot].push(token);
                let position = prompts[slot].len() + step;
                rows.push(Row { slot, position, token, prompt: false, want: Want::Best });
            }
        }
        outputs.extend(written);
    }
    outputs
}

#[test]
fn smollm2_writes_the_same_tokens_one_row_at_a_time_and_32_at_a_time() {
    let Some(path) = require_or_skip(quickstart_model()) else { return };
    let source = source(batchgen::engine::Weights::Gguf(path));
    let runner = cpu(&source, 2, None);
    let alone = greedy(&runner, 32, 1, 24);
    assert_eq!(alone, greedy(&runner, 32, 32, 24));
    // where prompts are computed in bf16 they may write another text
    let sets = Isa::accelerated().filter(|isa| !isa.has_bf16());
    let texts: Vec<_> = sets.map(|isa| greedy(&cpu(&source, 1, Some(isa)), 8, 8, 24)).collect();
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(Isa::best().has_bf16() || texts.iter().all(|text| *text == alone[..8]));
}

#[test]
fn smollm2_mostly_chooses_the_tokens_that_exact_arithmetic_chooses() {
    let Some(path) = require_or_skip(quickstart_model()) else { return };
    let source = source(batchgen::engine::Weights::Gguf(path));
    let exact = load(&source, &options(2, CpuChoices { isa: None, exact: true })).unwrap().runner;
    // the exact runner writes, the other one is asked at every token what it would write
    let outputs = greedy(&exact, 8, 8, 32);
    let quantised = cpu(&source, 2, None);
    let (mut same, mut all) = (0, 0);
    for (row, output) in outputs.iter().enumerate() {
        let prompt = real_prompt(row);
        let tokens: Vec<u32> = prompt.iter().chain(output).copied().collect();
        let rows = tokens.iter().enumerate().map(|(position, token)| {
            let want = if position + 1 < prompt.len() { Want::Nothing } else { Want::Best };
            Row { slot: 0, position, token: *token, prompt: position < prompt.len(), want }
        });
        let rows: Vec<Row> = rows.take(tokens.len() - 1).collect();
        let mut cache = quantised.new_cache(tokens.len()).unwrap();
        cache.resize(1).unwrap();
        let mut answers = Answers::default();
        quantised.forward(&mut cache, &rows, &mut answers).unwrap();
        for (answer, token) in answers.iter().zip(output) {
            same += usize::from(answer == Answer::Best(Some(*token)));
            all += 1;
        }
    }
    println!("rounded and exact arithmetic choose the same token {same} times of {all}");
    assert!(same * 100 >= all * 90, "the same token only {same} times of {all}");
}
