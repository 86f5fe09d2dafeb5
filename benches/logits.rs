//! The logits after every token of a text, for comparing engines: `benches/quality.py` calls it.
//!
//! `cargo bench --bench logits -- --model FILE --tokens IDS --out LOGITS [--exact] [--answers]`
//!
//! IDS holds token ids between white space; LOGITS becomes `[tokens, vocabulary]` of f32, little
//! endian. `--exact` computes everything in f32, `--answers` as tokens that were chosen.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{File, read_to_string};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use batchgen::engine::loader::{CpuChoices, Kernels, LoadOptions, load};
use batchgen::engine::runner::{Answer, Answers, Cache, Row, Runner, Want};
use batchgen::engine::{ModelSource, Weights};
use clap::Parser;

/// Logits of a text
#[derive(Parser)]
struct Arguments {
    /// A GGUF file
    #[arg(long, requires_all = ["tokens", "out"])]
    model: Option<PathBuf>,
    /// The file of token ids
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// The file to write
    #[arg(long)]
    out: Option<PathBuf>,
    /// Everything in f32
    #[arg(long)]
    exact: bool,
    /// As tokens that were chosen are computed, and not as prompts
    #[arg(long)]
    answers: bool,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let Arguments { model, tokens, out, exact, answers, .. } = Arguments::parse();
    let (Some(model), Some(tokens), Some(out)) = (model, tokens, out) else {
        return println!("nothing to do: name a --model, its --tokens and where to write --out");
    };
    let text = read_to_string(tokens).unwrap();
    let tokens: Vec<u32> = text.split_whitespace().map(|id| id.parse().unwrap()).collect();
    let kernels = Kernels::CpuWith(CpuChoices { isa: None, exact });
    let options = LoadOptions { kernels, ..LoadOptions::default() };
    let runner = load(&ModelSource::alone("bench", Weights::Gguf(model)), &options).unwrap().runner;
    let mut cache = runner.new_cache(tokens.len()).unwrap();
    cache.resize(1).unwrap();
    let (mut given, mut out) = (Answers::default(), BufWriter::new(File::create(out).unwrap()));
    let rows = tokens.iter().enumerate();
    let rows: Vec<Row> = rows
        .map(|(position, token)| {
            let (token, prompt) = (*token, !answers);
            Row { slot: 0, position, token, prompt, want: Want::Logits }
        })
        .collect();
    for rows in rows.chunks(64) {
        runner.forward(&mut cache, rows, &mut given).unwrap();
        for answer in given.iter() {
            let Answer::Logits(logits) = answer else { panic!("logits were wanted") };
            logits.iter().for_each(|logit| out.write_all(&logit.to_le_bytes()).unwrap());
        }
    }
    out.flush().unwrap();
}
