//! The whole model, without tokenizer, sampling of logits and text: prompt and output tokens a
//! second by batch size.
//!
//! `cargo bench --bench model -- --model FILE [--runner cpu|candle] [--kernels avx2] [--threads 2]
//! [--batch 1,8,32,64] [--prompt 64] [--tokens 64] [--rounds 3] [--json]`
//!
//! Every row has a prompt of its own and all rows write the same number of tokens. Prompts are
//! read together, 512 tokens a pass, and timed apart from writing. A line of JSON for each round
//! and batch size, or a table of the best and the middle round with the time to load and the
//! memory of the process.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use batchgen::engine::loader::{CpuChoices, Kernels, LoadOptions, load};
use batchgen::engine::runner::{Answer, Answers, Cache, Row, Runner, Want};
use batchgen::engine::runners::AnyRunner;
use batchgen::engine::runners::cpu::kernels::isa::Isa;
use batchgen::engine::{ModelSource, Weights};
use batchgen::probe::{Probe, Reading};
use clap::Parser;

/// Prompt tokens of one pass.
const PREFILL: usize = 512;

/// Prompt and output tokens a second of a model.
#[derive(Parser)]
struct Arguments {
    /// A GGUF file
    #[arg(long, env = "BATCHGEN_TEST_MODEL")]
    model: Option<PathBuf>,
    /// cpu or candle
    #[arg(long, default_value = "cpu")]
    runner: String,
    /// The cpu runner's instruction set, of those of this machine; the fastest by default
    #[arg(long)]
    kernels: Option<String>,
    /// Threads; all cores by default
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_value = "1,8,32,64")]
    batch: Vec<usize>,
    /// Tokens of a prompt
    #[arg(long, default_value_t = 64)]
    prompt: usize,
    /// Tokens written for each row
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Repetitions
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one round gave, in tokens a second.
#[derive(Clone, Copy)]
struct Speed {
    prefill: f64,
    decode: f64,
    whole: f64,
}

fn main() {
    let arguments = Arguments::parse();
    let Some(model) = arguments.model.clone() else {
        return println!("nothing to do: name a --model");
    };
    let source = ModelSource::alone("bench", Weights::Gguf(model));
    let kernels = match (arguments.runner.as_str(), &arguments.kernels) {
        ("candle", _) => Kernels::Own,
        (_, None) => Kernels::Cpu,
        (_, Some(word)) => {
            let set = Isa::ALL.into_iter().find(|isa| isa.word() == word);
            Kernels::CpuWith(CpuChoices { isa: Some(set.unwrap()), exact: false })
        }
    };
    let options = LoadOptions { threads: arguments.threads, kernels, ..LoadOptions::default() };
    let begun = Instant::now();
    let loaded = load(&source, &options).unwrap();
    if !arguments.json {
        println!(
            "loaded in {:.0} ms, {:.1} MB of weights",
            begun.elapsed().as_secs_f64() * 1e3,
            loaded.runner.weight_bytes() as f64 / 1e6
        );
    }
    // the first pass touches fresh memory
    measure(&loaded.runner, 1, &arguments);
    let mut all: Vec<Vec<Speed>> = vec![Vec::new(); arguments.batch.len()];
    for _ in 0..arguments.rounds {
        for (speeds, batch) in all.iter_mut().zip(&arguments.batch) {
            let speed = measure(&loaded.runner, *batch, &arguments);
            if arguments.json {
                println!(
                    r#"{{"batch":{batch},"prefill":{:.1},"decode":{:.1},"whole":{:.1}}}"#,
                    speed.prefill, speed.decode, speed.whole
                );
            }
            speeds.push(speed);
        }
    }
    if !arguments.json {
        print_table(&arguments.batch, &all);
        print_memory();
    }
}

/// Of the whole process, whose model file is mapped.
fn print_memory() {
    let mut probe = Probe::new();
    let megabytes = |reading: Option<Reading>| match reading {
        None => "unknown".to_owned(),
        Some(reading) => format!("{:.0} MB", reading.bytes as f64 / 1e6),
    };
    let (now, most) = (megabytes(probe.sample().process), megabytes(probe.peak()));
    println!("resident memory {now}, the most there ever was {most}");
}

fn print_table(batches: &[usize], all: &[Vec<Speed>]) {
    println!("{:>6} {:>16} {:>16} {:>16}", "batch", "prompt tok/s", "output tok/s", "whole tok/s");
    println!("{:>6} {:>16} {:>16} {:>16}", "", "best, middle", "best, middle", "best, middle");
    for (batch, speeds) in batches.iter().zip(all) {
        let cell = |value: fn(&Speed) -> f64| {
            let mut values: Vec<f64> = speeds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            format!("{:.0}, {:.0}", values[values.len() - 1], values[values.len() / 2])
        };
        println!(
            "{batch:>6} {:>16} {:>16} {:>16}",
            cell(|speed| speed.prefill),
            cell(|speed| speed.decode),
            cell(|speed| speed.whole)
        );
    }
}

/// Reads and writes `batch` rows.
fn measure(runner: &AnyRunner, batch: usize, arguments: &Arguments) -> Speed {
    let (length, tokens) = (arguments.prompt, arguments.tokens);
    let mut cache = runner.new_cache(length + tokens).unwrap();
    cache.resize(batch).unwrap();
    let mut answers = Answers::default();
    let mut last = Vec::new();
    let begun = Instant::now();
    let slots: Vec<usize> = (0..batch).collect();
    for slots in slots.chunks((PREFILL / length).max(1)) {
        let rows: Vec<Row> = slots.iter().flat_map(|slot| prompt(*slot, length)).collect();
        runner.forward(&mut cache, &rows, &mut answers).unwrap();
        last.extend(answers.iter().map(token));
    }
    let prefill = begun.elapsed().as_secs_f64();
    let middle = Instant::now();
    let mut rows = Vec::new();
    for position in length..length + tokens - 1 {
        rows.clear();
        let next = last.iter().enumerate();
        rows.extend(next.map(|(slot, token)| Row {
            slot,
            position,
            token: *token,
            prompt: false,
            want: Want::Best,
        }));
        runner.forward(&mut cache, &rows, &mut answers).unwrap();
        last.clear();
        last.extend(answers.iter().map(token));
    }
    let decode = middle.elapsed().as_secs_f64();
    Speed {
        prefill: (batch * length) as f64 / prefill,
        decode: (batch * (tokens - 1)) as f64 / decode,
        whole: (batch * tokens) as f64 / (prefill + decode),
    }
}

fn prompt(slot: usize, length: usize) -> impl Iterator<Item = Row> {
    (0..length).map(move |position| Row {
        slot,
        position,
        token: ((slot * 7919 + position * 104_729 + 13) % 32_000) as u32,
        prompt: true,
        want: if position + 1 == length { Want::Best } else { Want::Nothing },
    })
}

fn token(answer: Answer<'_>) -> u32 {
    match answer {
        Answer::Best(Some(token)) => token,
        Answer::Best(None) | Answer::Logits(_) => panic!("no token"),
    }
}
