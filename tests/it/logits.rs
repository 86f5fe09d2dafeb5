//! Our decoder against candle-transformers' own models, which compute one row at a time.

use std::num::NonZeroUsize;

use batchgen::engine::loader::{CpuChoices, Kernels, LoadOptions, Loaded, load};
use batchgen::engine::runner::{Answer, Answers, Cache, Row, Runner, Want};
use batchgen::engine::runners::{AnyCache, AnyRunner};
use batchgen::engine::source::ModelSource;
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{gemma3, llama, phi3, qwen2, qwen3};
use tempfile::tempdir;

use crate::tiny_models::{
    CONTEXT, EPS, FFN, GEMMA_WINDOW, HEADS, HIDDEN, LLAMA3_CONTEXT, LOCAL_THETA, THETA, Tiny, VOCAB,
};

const TOLERANCE: f32 = 1e-4;

/// The CPU runner without rounding.
const EXACT: Kernels = Kernels::CpuWith(CpuChoices { isa: None, exact: true });

/// Token sequences of different lengths.
fn sequences() -> Vec<Vec<u32>> {
    let sequence = |index: usize, length: usize| {
        (0..length).map(|i| ((index * 31 + i * 17 + i * i) % VOCAB) as u32).collect()
    };
    [9, 1, 40, 23, 14, 70].into_iter().enumerate().map(|(i, n)| sequence(i, n)).collect()
}

// --- the oracle ---

/// Gives the logits after one token at a position.
type Step = Box<dyn FnMut(&Tensor, usize) -> candle_core::Result<Tensor>>;

/// The logits after every token, by candle-transformers.
fn oracle(tiny: &Tiny, tokens: &[u32]) -> Vec<Vec<f32>> {
    let weights = VarBuilder::from_tensors(tiny.tensors.clone(), DType::F32, &Device::Cpu);
    let mut step: Step = match tiny.architecture {
        "llama" => {
            let config = llama_config(tiny);
            let model = llama::Llama::load(weights, &config).unwrap();
            let mut cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
            Box::new(move |tokens, position| model.forward(tokens, position, &mut cache))
        }
        "qwen2" => {
            let mut model = qwen2::ModelForCausalLM::new(&qwen2_config(tiny), weights).unwrap();
            Box::new(move |tokens, position| model.forward(tokens, position))
        }
        "qwen3" => {
            let mut model = qwen3::ModelForCausalLM::new(&qwen3_config(tiny), weights).unwrap();
            Box::new(move |tokens, position| model.forward(tokens, position))
        }
        "gemma3_text" => {
            let mut model = gemma3::Model::new(false, &gemma3_config(tiny), weights).unwrap();
            Box::new(move |tokens, position| model.forward(tokens, position))
        }
        "phi3" => {
            let mut model = phi3::Model::new(&phi3_config(tiny), weights).unwrap();
            Box::new(move |tokens, position| model.forward(tokens, position))
        }
        other => panic!("no oracle for {other}"),
    };
    let logits = tokens.iter().enumerate().map(|(position, token)| {
        let token = Tensor::new(&[[*token]], &Device::Cpu).unwrap();
        step(&token, position).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    });
    logits.collect()
}

fn llama_config(tiny: &Tiny) -> llama::Config {
    llama::Config {
        hidden_size: HIDDEN,
        intermediate_size: FFN,
        vocab_size: VOCAB,
        num_hidden_layers: tiny.layers,
        num_attention_heads: HEADS,
        num_key_value_heads: tiny.kv_heads,
        use_flash_attn: false,
        rms_norm_eps: EPS,
        rope_theta: THETA,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: tiny.llama3.then_some(llama::Llama3RopeConfig {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: LLAMA3_CONTEXT,
            rope_type: llama::Llama3RopeType::Llama3,
        }),
        max_position_embeddings: CONTEXT,
        tie_word_embeddings: tiny.tied,
    }
}

fn qwen2_config(tiny: &Tiny) -> qwen2::Config {
    qwen2::Config {
        vocab_size: VOCAB,
        hidden_size: HIDDEN,
        intermediate_size: FFN,
        num_hidden_layers: tiny.layers,
        num_attention_heads: HEADS,
        num_key_value_heads: tiny.kv_heads,
        max_position_embeddings: CONTEXT,
        sliding_window: CONTEXT,
        max_window_layers: tiny.layers,
        tie_word_embeddings: tiny.tied,
        rope_theta: f64::from(THETA),
        rms_norm_eps: EPS,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}

fn qwen3_config(tiny: &Tiny) -> qwen3::Config {
    qwen3::Config {
        vocab_size: VOCAB,
        hidden_size: HIDDEN,
        intermediate_size: FFN,
        num_hidden_layers: tiny.layers,
        num_attention_heads: HEADS,
        head_dim: tiny.head_dim,
        attention_bias: false,
        num_key_value_heads: tiny.kv_heads,
        max_position_embeddings: CONTEXT,
        sliding_window: None,
        max_window_layers: tiny.layers,
        tie_word_embeddings: tiny.tied,
        rope_theta: f64::from(THETA),
        rms_norm_eps: EPS,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}

fn gemma3_config(tiny: &Tiny) -> gemma3::Config {
    gemma3::Config {
        attention_bias: false,
        head_dim: tiny.head_dim,
        hidden_activation: Activation::GeluPytorchTanh,
        hidden_size: HIDDEN,
        intermediate_size: FFN,
        num_attention_heads: HEADS,
        num_hidden_layers: tiny.layers,
        num_key_value_heads: tiny.kv_heads,
        rms_norm_eps: EPS,
        rope_theta: f64::from(tiny.theta()),
        rope_local_base_freq: f64::from(LOCAL_THETA),
        vocab_size: VOCAB,
        final_logit_softcapping: None,
        attn_logit_softcapping: None,
        query_pre_attn_scalar: tiny.head_dim,
        sliding_window: GEMMA_WINDOW,
        sliding_window_pattern: 6,
        max_position_embeddings: CONTEXT,
    }
}

fn phi3_config(tiny: &Tiny) -> phi3::Config {
    phi3::Config {
        vocab_size: VOCAB,
        hidden_act: Activation::Silu,
        hidden_size: HIDDEN,
        intermediate_size: FFN,
        num_hidden_layers: tiny.layers,
        num_attention_heads: HEADS,
        num_key_value_heads: tiny.kv_heads,
        rms_norm_eps: EPS,
        rope_theta: f64::from(THETA),
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: CONTEXT,
        original_max_position_embeddings: None,
        partial_rotary_factor: None,
        tie_word_embeddings: tiny.tied,
    }
}

// --- driving a runner ---

/// What a forward pass does with a slot.
#[derive(Clone, Copy)]
enum Move {
    /// Gives the slot a sequence and feeds its first tokens.
    Start { slot: usize, sequence: usize, tokens: usize },
    /// Feeds the next tokens of the slot's sequence.
    Feed { slot: usize, tokens: usize },
}
use Move::{Feed, Start};

/// A runner, its cache and what its slots hold.
struct Drive<'a> {
    runner: &'a AnyRunner,
    cache: AnyCache,
    sequences: Vec<Vec<u32>>,
    /// Sequence and next position of each slot.
    slots: Vec<(usize, usize)>,
    /// Sequence, position and logits of every row so far.
    seen: Vec<(usize, usize, Vec<f32>)>,
}

impl<'a> Drive<'a> {
    fn new(runner: &'a AnyRunner, slots: usize) -> Self {
        let mut cache = runner.new_cache(80).unwrap();
        cache.resize(slots).unwrap();
        let (sequences, seen) = (sequences(), Vec::new());
        Self { runner, cache, sequences, slots: vec![(0, 0); slots], seen }
    }

    fn resize(&mut self, slots: usize) {
        self.cache.resize(slots).unwrap();
        self.slots.resize(slots, (0, 0));
    }

    fn pass(&mut self, moves: &[Move]) {
        let mut rows = Vec::new();
        let mut fed = Vec::new();
        for step in moves {
            let (slot, tokens) = match *step {
                Start { slot, sequence, tokens } => {
                    self.slots[slot] = (sequence, 0);
                    (slot, tokens)
                }
                Feed { slot, tokens } => (slot, tokens),
            };
            let (sequence, first) = self.slots[slot];
            for position in first..first + tokens {
                let token = self.sequences[sequence][position];
                rows.push(Row { slot, position, token, prompt: true, want: Want::Logits });
                fed.push((sequence, position));
            }
            self.slots[slot].1 += tokens;
        }
        let mut answers = Answers::default();
        self.runner.forward(&mut self.cache, &rows, &mut answers).unwrap();
        let logits = all_logits(&answers);
        assert_eq!(logits.len(), rows.len());
        for ((sequence, position), logits) in fed.into_iter().zip(logits) {
            self.seen.push((sequence, position, logits));
        }
    }
}

/// The logits of rows that all wanted them.
fn all_logits(answers: &Answers) -> Vec<Vec<f32>> {
    let logits = answers.iter().map(|answer| match answer {
        Answer::Logits(logits) => logits.to_vec(),
        Answer::Best(_) => panic!("a row wanted its best token alone"),
    });
    logits.collect()
}

/// Every sequence in one slot, a token at a time.
fn one_row_at_a_time(runner: &AnyRunner) -> Vec<(usize, usize, Vec<f32>)> {
    let mut drive = Drive::new(runner, 1);
    for sequence in 0..drive.sequences.len() {
        drive.pass(&[Start { slot: 0, sequence, tokens: 1 }]);
        for _ in 1..drive.sequences[sequence].len() {
            drive.pass(&[Feed { slot: 0, tokens: 1 }]);
        }
    }
    drive.seen
}

/// Ragged prompts, chunked prefill beside decoding, idle slots, refilled slots, more and fewer
/// slots, and slots in any order.
fn ragged(runner: &AnyRunner) -> Vec<(usize, usize, Vec<f32>)> {
    let mut drive = Drive::new(runner, 3);
    drive.pass(&[
        Start { slot: 0, sequence: 0, tokens: 8 },
        Start { slot: 1, sequence: 1, tokens: 1 },
        Start { slot: 2, sequence: 2, tokens: 10 },
    ]);
    drive.pass(&[Feed { slot: 2, tokens: 1 }, Feed { slot: 0, tokens: 1 }]);
    drive.pass(&[Start { slot: 0, sequence: 3, tokens: 5 }, Feed { slot: 2, tokens: 1 }]);
    drive.resize(5);
    drive.pass(&[
        Start { slot: 4, sequence: 4, tokens: 1 },
        Feed { slot: 0, tokens: 7 },
        Start { slot: 1, sequence: 5, tokens: 30 },
        Feed { slot: 2, tokens: 1 },
    ]);
    drive.pass(&[4, 0, 1, 2].map(|slot| Feed { slot, tokens: 1 }));
    drive.pass(&[1, 4].map(|slot| Feed { slot, tokens: 1 }));
    drive.resize(2);
    for _ in 0..5 {
        drive.pass(&[0, 1].map(|slot| Feed { slot, tokens: 1 }));
    }
    drive.pass(&[Feed { slot: 1, tokens: 33 }]);
    drive.seen
}

fn options(kernels: Kernels) -> LoadOptions {
    LoadOptions { kernels, threads: NonZeroUsize::new(2), ..LoadOptions::default() }
}

fn assert_close(seen: &[(usize, usize, Vec<f32>)], tiny: &Tiny, what: &str) {
    let expected: Vec<_> = sequences().iter().map(|tokens| oracle(tiny, tokens)).collect();
    for (sequence, position, logits) in seen {
        let expected = &expected[*sequence][*position];
        let worst = distance(logits, expected);
        assert!(
            worst < TOLERANCE,
            "{what}: sequence {sequence}, position {position}: off by {worst}"
        );
    }
}

/// The largest difference of two rows of logits.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn assert_follows_oracle(source: &ModelSource, tiny: &Tiny, options: &LoadOptions) {
    let Loaded { runner, description, .. } = load(source, options).unwrap();
    assert_eq!(description.vocabulary, VOCAB);
    let what = format!("{} {:?}", description.architecture, options.kernels);
    assert_close(&one_row_at_a_time(&runner), tiny, &format!("{what}, single rows"));
    assert_close(&ragged(&runner), tiny, &format!("{what}, ragged"));
}

fn assert_safetensors_follow(tiny: &Tiny) {
    let folder = tempdir().unwrap();
    let source = tiny.write_safetensors(folder.path());
    for kernels in [Kernels::Own, Kernels::Candle, EXACT] {
        assert_follows_oracle(&source, tiny, &options(kernels));
    }
}

fn assert_gguf_follows(tiny: &Tiny, dtype: GgmlDType) {
    let folder = tempdir().unwrap();
    let source = tiny.write_gguf(folder.path().join("tiny.gguf"), dtype);
    for kernels in [Kernels::Own, EXACT] {
        assert_follows_oracle(&source, &tiny.rounded(dtype), &options(kernels));
    }
}

#[test]
fn llama_with_grouped_heads_and_a_tied_head_equals_the_oracle() {
    assert_safetensors_follow(&Tiny::llama(2, true));
}

#[test]
fn llama_with_as_many_key_heads_and_its_own_head_equals_the_oracle() {
    assert_safetensors_follow(&Tiny::llama(HEADS, false));
}

#[test]
fn llama_with_llama3_rope_scaling_equals_the_oracle() {
    let (scaled, plain) = (Tiny::llama3(), Tiny::llama(2, false));
    let last = |tiny| oracle(tiny, &sequences()[2]).pop().unwrap();
    assert!(distance(&last(&scaled), &last(&plain)) > 10.0 * TOLERANCE);
    assert_safetensors_follow(&scaled);
}

#[test]
fn qwen2_with_biases_equals_the_oracle() {
    assert_safetensors_follow(&Tiny::qwen2());
}

#[test]
fn qwen3_with_normed_heads_equals_the_oracle() {
    assert_safetensors_follow(&Tiny::qwen3());
    // no multiple of what a norm reads at a time: a head must end before the next one
    assert_safetensors_follow(&Tiny::qwen3_with_heads_of(24));
}

#[test]
fn gguf_llama_in_f32_is_put_back_in_order_and_equals_the_oracle() {
    assert_gguf_follows(&Tiny::llama(2, true), GgmlDType::F32);
}

#[test]
fn gguf_llama_in_blocks_equals_the_oracle_on_the_rounded_weights() {
    assert_gguf_follows(&Tiny::llama(2, false), GgmlDType::Q8_0);
    assert_gguf_follows(&Tiny::llama(2, true), GgmlDType::Q4_1);
}

#[test]
fn gguf_llama_with_stored_rope_factors_equals_llama3_scaling() {
    assert_gguf_follows(&Tiny::llama3(), GgmlDType::F32);
}

#[test]
fn gguf_qwen2_and_qwen3_equal_the_oracle() {
    assert_gguf_follows(&Tiny::qwen2(), GgmlDType::F32);
    assert_gguf_follows(&Tiny::qwen3(), GgmlDType::Q8_0);
}

#[test]
fn half_precision_safetensors_equal_the_oracle_on_the_rounded_weights() {
    for (dtype, word) in [(DType::BF16, "BF16"), (DType::F16, "F16")] {
        let mut tiny = Tiny::llama(2, true);
        for tensor in tiny.tensors.values_mut() {
            *tensor = tensor.to_dtype(dtype).unwrap();
        }
        let folder = tempdir().unwrap();
        let source = tiny.write_safetensors(folder.path());
        for tensor in tiny.tensors.values_mut() {
            *tensor = tensor.to_dtype(DType::F32).unwrap();
        }
        for kernels in [Kernels::Own, EXACT] {
            assert_follows_oracle(&source, &tiny, &options(kernels));
        }
        let description = load(&source, &LoadOptions::default()).unwrap().description;
        assert_eq!(description.quantization, word);
    }
}

#[test]
fn gemma3_with_local_and_global_layers_equals_the_oracle() {
    let tiny = Tiny::gemma3();
    let folder = tempdir().unwrap();
    let safetensors = tiny.write_safetensors(folder.path());
    assert_follows_oracle(&safetensors, &tiny, &options(EXACT));
    for dtype in [GgmlDType::F32, GgmlDType::Q8_0] {
        let gguf = tiny.write_gguf(folder.path().join("tiny.gguf"), dtype);
        assert_follows_oracle(&gguf, &tiny.rounded(dtype), &options(EXACT));
    }
    let refused = load(&safetensors, &options(Kernels::Own)).err().unwrap().to_string();
    assert!(refused.contains("gemma3") && refused.contains("--runner cpu"), "{refused}");
}

#[test]
fn a_model_too_large_for_f32_keeps_its_blocks_and_stays_close() {
    let folder = tempdir().unwrap();
    let tiny = Tiny::llama(2, false);
    let source = tiny.write_gguf(folder.path().join("tiny.gguf"), GgmlDType::Q8_0);
    let widened = load(&source, &options(Kernels::Own)).unwrap().runner;
    let limit = widened.weight_bytes() / 2;
    let limited = LoadOptions { memory_limit: Some(limit), ..options(Kernels::Own) };
    let blocks = load(&source, &limited).unwrap().runner;
    assert!(blocks.weight_bytes() <= limit, "{} bytes", blocks.weight_bytes());
    // candle rounds the rows to 8 bits here
    for (exact, rounded) in ragged(&widened).iter().zip(ragged(&blocks)) {
        assert!(distance(&exact.2, &rounded.2) < 0.2);
    }
}

#[test]
fn a_row_gives_the_same_bits_alone_and_in_a_batch_with_one_thread_and_with_two() {
    let folder = tempdir().unwrap();
    let source = Tiny::qwen3().write_safetensors(folder.path());
    for kernels in [Kernels::Own, Kernels::Cpu, EXACT] {
        let runner = load(&source, &options(kernels)).unwrap().runner;
        let one_thread = LoadOptions { threads: NonZeroUsize::new(1), ..options(kernels) };
        let other = load(&source, &one_thread).unwrap().runner;
        let alone = one_row_at_a_time(&runner);
        for batched in [ragged(&runner), ragged(&other)] {
            for (sequence, position, logits) in batched {
                let same = alone.iter().find(|seen| (seen.0, seen.1) == (sequence, position));
                assert!(same.unwrap().2 == logits, "sequence {sequence}, position {position}");
            }
        }
    }
}

#[test]
fn a_token_sees_a_sliding_window_of_tokens_and_no_more() {
    // with one layer, the last row of a window is as if the tokens before it had not been
    const WINDOW: usize = 6;
    let folder = tempdir().unwrap();
    let windowed = Tiny::mistral(WINDOW).write_safetensors(folder.path());
    let full_folder = tempdir().unwrap();
    let full = Tiny { window: None, ..Tiny::mistral(WINDOW) };
    let full = full.write_safetensors(full_folder.path());
    let full = load(&full, &options(Kernels::Own)).unwrap().runner;
    let tokens = &sequences()[3];
    let last = tokens.len() - 1;
    let expected = feed(&full, &tokens[last + 1 - WINDOW..], 1).pop().unwrap();
    let unwindowed = feed(&full, tokens, tokens.len()).pop().unwrap();
    assert!(distance(&expected, &unwindowed) > 10.0 * TOLERANCE);
    for kernels in [Kernels::Own, Kernels::Candle, EXACT] {
        let windowed = load(&windowed, &options(kernels)).unwrap().runner;
        for chunk in [1, tokens.len()] {
            let seen = feed(&windowed, tokens, chunk).pop().unwrap();
            let off = distance(&seen, &expected);
            assert!(off < TOLERANCE, "{kernels:?}, chunks of {chunk}: off by {off}");
        }
    }
}

/// The logits of every chunk's last token.
fn feed(runner: &AnyRunner, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
    let mut cache = runner.new_cache(CONTEXT).unwrap();
    cache.resize(1).unwrap();
    let mut all = Vec::new();
    for (index, tokens) in tokens.chunks(chunk).enumerate() {
        let rows: Vec<Row> = (0..tokens.len())
            .map(|i| Row {
                slot: 0,
                position: index * chunk + i,
                token: tokens[i],
                prompt: true,
                want: if i + 1 == tokens.len() { Want::Logits } else { Want::Nothing },
            })
            .collect();
        let mut answers = Answers::default();
        runner.forward(&mut cache, &rows, &mut answers).unwrap();
        all.extend(all_logits(&answers));
    }
    all
}

#[test]
fn phi3_equals_candle_transformers_from_safetensors_and_gguf() {
    let tiny = Tiny::phi3();
    let folder = tempdir().unwrap();
    let safetensors = tiny.write_safetensors(folder.path());
    let gguf = tiny.write_gguf(folder.path().join("tiny.gguf"), GgmlDType::F32);
    for source in [safetensors, gguf] {
        let Loaded { runner, description, .. } = load(&source, &LoadOptions::default()).unwrap();
        assert_eq!(description.runner, "candle-transformers");
        assert_eq!(runner.max_slots(), Some(1));
        assert_close(&one_row_at_a_time(&runner), &tiny, "phi3, single rows");
        let mut drive = Drive::new(&runner, 1);
        drive.pass(&[Start { slot: 0, sequence: 2, tokens: 7 }]);
        drive.pass(&[Feed { slot: 0, tokens: 20 }]);
        drive.pass(&[Start { slot: 0, sequence: 3, tokens: 12 }]);
        let mut other = Drive::new(&runner, 1);
        other.pass(&[Start { slot: 0, sequence: 0, tokens: 3 }]);
        drive.pass(&[Feed { slot: 0, tokens: 2 }]);
        other.pass(&[Feed { slot: 0, tokens: 1 }]);
        assert_close(&drive.seen, &tiny, "phi3, chunks and a refill");
        assert_close(&other.seen, &tiny, "phi3, two calls in turns");
    }
}

#[test]
fn phi3_refuses_a_second_slot_and_says_what_to_use() {
    let folder = tempdir().unwrap();
    let source = Tiny::phi3().write_safetensors(folder.path());
    let runner = load(&source, &LoadOptions::default()).unwrap().runner;
    let refused = runner.new_cache(8).unwrap().resize(2).unwrap_err().to_string();
    assert!(refused.contains("sequential or the async mode"), "{refused}");
}

#[test]
fn rows_that_break_the_contract_are_errors() {
    for (tiny, slots) in [(Tiny::llama(2, true), 2), (Tiny::phi3(), 1)] {
        let folder = tempdir().unwrap();
        let source = tiny.write_safetensors(folder.path());
        let runner = load(&source, &LoadOptions::default()).unwrap().runner;
        let mut cache = runner.new_cache(4).unwrap();
        cache.resize(slots).unwrap();
        let want = Want::Logits;
        let row = |slot, position, token| Row { slot, position, token, prompt: true, want };
        for bad in [row(9, 0, 0), row(0, 3, 0), row(0, 4, 0), row(0, 0, VOCAB as u32)] {
            let mut answers = Answers::default();
            assert!(runner.forward(&mut cache, &[bad], &mut answers).is_err(), "{bad:?}");
        }
        let mut answers = Answers::default();
        runner.forward(&mut cache, &[row(0, 0, 1)], &mut answers).unwrap();
        assert_eq!(all_logits(&answers)[0].len(), VOCAB);
        assert!(cache.bytes() > 0);
    }
}
