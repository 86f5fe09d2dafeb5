//! What a step costs beside its forward pass: choosing tokens, turning them into text and telling
//! whoever listens, by batch size and sampling.
//!
//! `cargo bench --bench steps -- --model FILE [--batch 1,8,32] [--tokens 64] [--rounds 3]
//! [--random]`
//!
//! The whole engine runs, scheduler, sampler, detokenizer and stop strings included. Prompts are 64
//! tokens of benches/quality.txt, which overlap; with `--random` 64 tokens in any order, after which
//! the model is sure of nothing, which is the most work for top-p. A step's events carry the moment
//! at which its forward pass was done; what passes from then until they are handed out is the cost.
//! Of the rounds the one with the middle share is printed.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use batchgen::engine::call::{Call, CallEvent, CallRow};
use batchgen::engine::loader::{Kernels, LoadOptions};
use batchgen::engine::model::Model;
use batchgen::engine::{ModelSource, Weights};
use batchgen::prompts::Content;
use batchgen::sampling::Sampling;
use clap::Parser;
use tokio_util::sync::CancellationToken;

/// What a step costs beside its forward pass.
#[derive(Parser)]
struct Arguments {
    /// A GGUF file
    #[arg(long, env = "BATCHGEN_TEST_MODEL")]
    model: Option<PathBuf>,
    /// Batch sizes
    #[arg(long, value_delimiter = ',', default_value = "1,8,32")]
    batch: Vec<usize>,
    /// Tokens written for each row
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Repetitions
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Prompts of tokens in any order instead of text
    #[arg(long)]
    random: bool,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

/// Of all steps that gave tokens but the first, which reads prompts.
#[derive(Clone, Copy, Default)]
struct Steps {
    count: u32,
    /// From the end of one forward pass to the end of the next.
    whole: Duration,
    /// From the end of a forward pass to the last of its events.
    beside: Duration,
}

impl Steps {
    fn share(&self) -> f64 {
        self.beside.as_secs_f64() / self.whole.as_secs_f64()
    }
}

fn main() {
    let arguments = Arguments::parse();
    let Some(model) = arguments.model.clone() else {
        return println!("nothing to do: name a --model");
    };
    let source = ModelSource::alone("bench", Weights::Gguf(model));
    let options = LoadOptions { kernels: Kernels::Cpu, ..LoadOptions::default() };
    let model = Model::load(&source, &options).unwrap();
    let greedy = Sampling { max_tokens: arguments.tokens, ignore_eos: true, ..Sampling::default() };
    let warm = Sampling { temperature: 0.8, ..greedy.clone() };
    let kinds = [
        ("greedy", greedy.clone()),
        ("greedy, a stop string", Sampling { stop: vec!["\u{1f600}".into()], ..greedy }),
        ("temperature 0.8", warm.clone()),
        ("top-k 40", Sampling { top_k: Some(40), ..warm.clone() }),
        ("top-p 0.9", Sampling { top_p: Some(0.9), ..warm.clone() }),
        ("top-k 40, top-p 0.9", Sampling { top_k: Some(40), top_p: Some(0.9), ..warm }),
    ];
    let prompts = if arguments.random { random() } else { text(&model) };
    println!("{:24} {:>5} {:>12} {:>14} {:>7}", "", "batch", "step, us", "beside it, us", "share");
    for batch in &arguments.batch {
        for (name, sampling) in &kinds {
            let mut rounds: Vec<Steps> = (0..arguments.rounds)
                .map(|_| measure(&model, &prompts, *batch, sampling))
                .collect();
            rounds.sort_by(|a, b| a.share().total_cmp(&b.share()));
            let steps = rounds[rounds.len() / 2];
            let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(steps.count);
            println!(
                "{name:24} {batch:>5} {:>12.0} {:>14.1} {:>6.2}%",
                each(steps.whole),
                each(steps.beside),
                100.0 * steps.share()
            );
        }
    }
}

/// Tokens that prompts are taken from: a text.
fn text(model: &Model) -> Vec<u32> {
    let text = include_str!("quality.txt").to_owned();
    model.encode(&Content::Text(text), true).unwrap()
}

/// As [`text`], without any sense.
fn random() -> Vec<u32> {
    (0..1000).map(|i| (i * 104_729 + 13) % 32_000).collect()
}

/// Rows that begin at places of their own in `tokens`.
fn measure(model: &Model, tokens: &[u32], batch: usize, sampling: &Sampling) -> Steps {
    let sampling = Arc::new(sampling.clone());
    let rows = (0..batch).map(|row| CallRow {
        row,
        prompt: tokens.iter().copied().cycle().skip(row * 29).take(64).collect(),
        sampling: Arc::clone(&sampling),
        text: model.text(&sampling),
    });
    let (ended, end) = mpsc::channel();
    let (mut steps, mut last, mut prompts) = (Steps::default(), None::<Instant>, false);
    // when the events of a step begin to come, its tokens are chosen and its text is made
    let observer = move |event| match event {
        CallEvent::Step { at, prefill_tokens, .. } => {
            if let (Some(last), false) = (last, prompts || prefill_tokens > 0) {
                steps.count += 1;
                steps.whole += at - last;
                steps.beside += at.elapsed();
            }
            (last, prompts) = (Some(at), prefill_tokens > 0);
        }
        CallEvent::Failed { row, error } => panic!("row {row}: {error}"),
        CallEvent::Ended(result) => {
            result.unwrap();
            ended.send(steps).unwrap();
        }
        CallEvent::Token { .. } | CallEvent::Finished { .. } | CallEvent::SharedPrefix { .. } => {}
    };
    let call = Call {
        rows: rows.collect(),
        slots: Box::new(move || batch),
        observer: Box::new(observer),
        cancel: CancellationToken::new(),
    };
    model.submit(call).unwrap();
    end.recv().unwrap()
}
