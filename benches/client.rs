//! How fast this program is as a client: a server in a process of its own streams one token a
//! chunk over 256 connections, and the runner receives, parses, stamps and records them.
//!
//! Two figures: the most tokens a second, and how far the client's TTFT is from the server's own
//! clock at 10,000 tokens a second.
//!
//! ```sh
//! cargo bench --bench client
//! ```

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark may end with a panic")]

#[path = "client/server.rs"]
mod server;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use batchgen::bench::recorder::{Pass, RowState};
use batchgen::bench::{self, Job};
use batchgen::config::{LaneSpec, Mode, OnError, Plan};
use batchgen::prompts::{Content, Prompt, PromptList};
use batchgen::provider::{ProviderSpec, Registry, ServerOptions};
use batchgen::sampling::Sampling;

const STREAMS: usize = 256;
/// What the client must reach.
const LEAST_TOKENS_PER_S: f64 = 120_000.0;
const MOST_TTFT_ERROR: Duration = Duration::from_millis(2);

/// One measurement.
struct Load {
    rows: usize,
    tokens: usize,
    /// Time between the tokens of a stream; none is as fast as the client takes them.
    pause: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|word| word == "serve") {
        return server::serve();
    }
    // `cargo test --benches` asks for a quick look only
    let quick = arguments.iter().any(|word| word == "--test");
    throughput(quick);
    accuracy(quick);
}

fn throughput(quick: bool) {
    let tokens = if quick { 20 } else { 4000 };
    let load = Load { rows: STREAMS, tokens, pause: Duration::ZERO };
    let server = Server::start(&load);
    let started = Instant::now();
    let pass = run(&server, &load);
    let span = pass.span().unwrap().as_secs_f64();
    let all = (load.rows * load.tokens) as f64;
    let rate = all / span;
    println!(
        "throughput: {all} tokens over {STREAMS} streams in {span:.2} s: {rate:.0} tokens/s \
         (at least {LEAST_TOKENS_PER_S}); with set-up {:.2} s; {}",
        started.elapsed().as_secs_f64(),
        lag(&pass)
    );
    assert!(quick || rate >= LEAST_TOKENS_PER_S, "the client is too slow");
}

fn accuracy(quick: bool) {
    let tokens = if quick { 10 } else { 120 };
    let rounds = if quick { 2 } else { 5 };
    // with 128 ms until the first token on average, 256 streams give 10,000 tokens a second
    let pause = Duration::from_micros(24_500);
    let load = Load { rows: STREAMS * rounds, tokens, pause };
    let server = Server::start(&load);
    let pass = run(&server, &load);
    let span = pass.span().unwrap().as_secs_f64();
    let rate = (load.rows * load.tokens) as f64 / span;
    let error = |row: usize| {
        let record = &pass.rows[row];
        let told = record.server.unwrap().prefill.unwrap();
        record.ttft().unwrap().abs_diff(told)
    };
    let all = sorted((0..load.rows).map(error));
    // the first rows of all streams begin in the same instant, which no real load does
    let steady = sorted((STREAMS..load.rows).map(error));
    let p = |times: &[Duration], share: f64| {
        let place = ((times.len() as f64 * share).ceil() as usize).max(1) - 1;
        times[place]
    };
    println!(
        "accuracy: {rate:.0} tokens/s; TTFT against the server's clock: p50 {:?}, p99 {:?} (at \
         most {MOST_TTFT_ERROR:?}), max {:?}; with the {STREAMS} rows that begin at once p99 \
         {:?}; {}",
        p(&steady, 0.5),
        p(&steady, 0.99),
        p(&steady, 1.0),
        p(&all, 0.99),
        lag(&pass)
    );
    assert!(quick || p(&steady, 0.99) < MOST_TTFT_ERROR, "the client's clock is off");
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}

fn lag(pass: &Pass) -> String {
    format!("loop lag p99 {:?}", pass.lags.quantile(0.99).unwrap_or_default())
}

/// Runs the load through the runner, as a headless run does, and gives the lane's record.
fn run(server: &Server, load: &Load) -> Pass {
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let models = home.path().join("models");
        let registry = Registry::new(models, Path::new("no catalogue")).unwrap();
        let job = job(&server.address, load);
        let mut handle = bench::start(job, Arc::new(registry), home.path()).unwrap();
        while let Some(stamp) = handle.events.recv().await {
            handle.recorder.apply(stamp);
        }
        let lane = &handle.recorder.lanes[0];
        let pass = lane.pass().unwrap().clone();
        assert_eq!(pass.done, load.rows, "{:?}", lane.state);
        let whole = |row: usize| {
            let record = &pass.rows[row];
            record.state == RowState::Done && record.counted == load.tokens
        };
        assert!((0..load.rows).all(whole), "tokens are missing");
        pass
    })
}

fn job(address: &str, load: &Load) -> Job {
    let prompts = (0..load.rows).map(|index| {
        let content = Content::Text(format!("prompt {index}"));
        Arc::new(Prompt { index, id: format!("row-{}", index + 1), content, expect: None })
    });
    let provider = ProviderSpec {
        provider: "openai".into(),
        model: "m".into(),
        base_url: Some(address.to_owned()),
        server: ServerOptions { retries: Some(0), ..ServerOptions::default() },
        ..ProviderSpec::default()
    };
    let plan = Plan {
        name: "client".into(),
        prompts: "numbers".into(),
        column: None,
        template: None,
        raw: false,
        provider,
        sampling: Sampling { max_tokens: load.tokens, ..Sampling::default() },
        lanes: vec![LaneSpec::new(Mode::Async { in_flight: STREAMS })],
        repeats: 1,
        warmup: 1,
        on_error: OnError::Stop,
        max_cost_usd: None,
    };
    let prompts = PromptList { name: "numbers".into(), prompts: prompts.collect() };
    Job { plan, prompts: Arc::new(prompts) }
}

/// The server's process; it ends with this value.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(load: &Load) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["serve", &load.tokens.to_string(), &load.pause.as_micros().to_string()]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
