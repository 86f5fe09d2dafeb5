//! One list of checks that every provider must pass, over real model text.
//!
//! The local engine and mlx-lm run SmolLM2 themselves.
//! OpenAI's and Anthropic's APIs are those of a real llama.cpp server; Ollama's, LM Studio's and
//! vLLM's are spoken by a façade in front of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use batchgen::client::{BatchOptions, Client};
use batchgen::provider::{
    BatchSize, Failure, FailureKind, FinishReason, JobEvent, JobKeeper, Provider, ProviderSpec,
    Request, Sink,
};
use batchgen::sampling::Sampling;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::mlx::model::smollm2;
use crate::servers::{LlamaServer, http_client, mlx_python, quickstart_model, require_or_skip};
use crate::wire::facade::{Facade, Of};
use crate::wire::heard::{batch, open, requests, spec};

/// A provider under test.
#[derive(Debug, Clone, Copy)]
struct Target {
    provider: &'static str,
    facade: Option<Of>,
    raw: bool,
    seeds: bool,
    /// Unlike any other in these tests: tells its requests apart on the shared server.
    long: usize,
}

/// A provider that is open; over the server they share, or with a model of its own.
struct Bench {
    target: Target,
    llama: Option<String>,
    provider: Arc<dyn Provider>,
}

/// One at a time of those that generate here.
static TURN: Mutex<()> = Mutex::new(());

/// The server lives as long as one test uses it.
static SHARED: Mutex<Weak<LlamaServer>> = Mutex::new(Weak::new());

pub fn llama() -> Option<Arc<LlamaServer>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return Some(running);
    }
    let model = require_or_skip(quickstart_model())?;
    let arguments = ["-np", "4", "-c", "2048", "-t", "2"];
    let server = Arc::new(require_or_skip(LlamaServer::start(&model, &arguments))?);
    *shared = Arc::downgrade(&server);
    Some(server)
}

/// A provider that generates in a process of its own here; none where it is behind a server.
fn here(target: Target) -> Result<Option<ProviderSpec>, String> {
    let model = |path: PathBuf| ProviderSpec {
        provider: target.provider.into(),
        model: path.to_str().unwrap().into(),
        ..ProviderSpec::default()
    };
    Ok(match target.provider {
        "local" => Some(model(quickstart_model()?)),
        "mlx" => {
            let python = Some(mlx_python()?.to_str().unwrap().into());
            Some(ProviderSpec { python, ..model(smollm2()?) })
        }
        _ => None,
    })
}

fn check(target: Target, case: impl AsyncFnOnce(Bench)) {
    let Some(here) = require_or_skip(here(target)) else { return };
    if let Some(spec) = here {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        return run(async {
            let provider = open(&spec).await.unwrap();
            within_limit(case(Bench { target, llama: None, provider })).await;
        });
    }
    let Some(server) = llama() else { return };
    let llama = server.url("");
    run(async {
        let facade = match target.facade {
            Some(of) => Some(Facade::start(of, &llama).await),
            None => None,
        };
        let address = facade.as_ref().map_or(&llama, |facade| &facade.address);
        let mut spec = spec(target.provider, address);
        spec.server.batch_route = (target.facade == Some(Of::Vllm)).then_some(true);
        let provider = open(&spec).await.unwrap();
        within_limit(case(Bench { target, llama: Some(llama.clone()), provider })).await;
    });
}

async fn within_limit(case: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(300), case).await.expect("nothing may hang");
}

fn run(case: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(case);
}

impl Bench {
    fn requests(&self, prompts: &[String], sampling: Sampling) -> Vec<Request> {
        let mut requests = requests(prompts, sampling);
        requests.iter_mut().for_each(|request| request.raw = self.target.raw);
        requests
    }

    async fn text(&self, prompt: &str, sampling: Sampling) -> (String, usize, FinishReason) {
        let requests = self.requests(&[prompt.to_owned()], sampling);
        let heard =
            batch(&self.provider, requests, BatchSize::new(1), CancellationToken::new()).await;
        let (usage, reason) = heard.finished(0).unwrap_or_else(|| panic!("{heard:?}"));
        (heard.text(0), usage.output_tokens.unwrap(), reason)
    }

    /// Slots of the server that generate for a request with this token limit.
    async fn busy(&self, max_tokens: usize) -> usize {
        let url = format!("{}/slots", self.llama.as_ref().unwrap());
        let client = http_client().build().unwrap();
        let body = client.get(url).send().await.unwrap().bytes().await.unwrap();
        let slots: Vec<Value> = serde_json::from_slice(&body).unwrap();
        let is_it = |slot: &&Value| {
            slot["is_processing"] == true && slot["params"]["n_predict"] == max_tokens
        };
        slots.iter().filter(is_it).count()
    }
}

fn greedy(max_tokens: usize) -> Sampling {
    Sampling { max_tokens, ..Sampling::default() }
}

/// Prompts whose lengths in tokens are known relative to each other.
fn counted(count: usize) -> Vec<String> {
    (0..count).map(|row| format!("Say{}", " word".repeat(1 + row % 10))).collect()
}

async fn one_ten_and_a_hundred_prompts_are_answered_in_order(bench: Bench) {
    let mut base = None;
    for count in [1, 10, 100] {
        let requests = bench.requests(&counted(count), greedy(2));
        let heard =
            batch(&bench.provider, requests, BatchSize::new(8), CancellationToken::new()).await;
        assert_eq!(heard.called, Ok(()));
        for row in 0..count {
            assert!(heard.is_in_order(row), "row {row}");
            let (usage, _) = heard.finished(row).unwrap();
            assert!(usage.output_tokens.unwrap() <= 2);
            // vLLM's route has one count for the prompts of all conversations
            if bench.target.facade == Some(Of::Vllm) {
                continue;
            }
            // the server's own count of the prompt says whose answer this is
            let prompt = usage.prompt_tokens.unwrap();
            let base = *base.get_or_insert(prompt);
            assert_eq!(prompt, base + row % 10, "row {row} of {count}");
        }
    }
}

async fn an_empty_list_is_done_at_once(bench: Bench) {
    let heard =
        batch(&bench.provider, Vec::new(), BatchSize::new(4), CancellationToken::new()).await;
    assert_eq!(heard.called, Ok(()));
    assert_eq!(heard.finished(0), None);
}

async fn a_bad_prompt_in_the_middle_fails_alone_or_stops_the_list(bench: Bench) {
    let mut prompts = counted(5);
    // more than the context of the server's slots, or the model's own
    let behind = bench.llama.is_some();
    prompts[2] = "word ".repeat(if behind { 900 } else { 9000 });
    let client = Client::new(bench.provider.clone());
    let options = BatchOptions {
        sampling: greedy(2),
        batch_size: BatchSize::new(2),
        raw: bench.target.raw,
        ..BatchOptions::default()
    };
    let each = client.batch_generate_each(prompts.clone(), &options).await.unwrap();
    for (row, result) in each.iter().enumerate() {
        match (row, result) {
            (2, Err(failure)) => {
                assert_eq!(failure.kind, FailureKind::InvalidRequest);
                let why = if behind { "exceeds the available context" } else { "context" };
                assert!(failure.message.contains(why), "{failure}");
            }
            (_, Ok(response)) => assert_eq!(response.index, row),
            (row, other) => panic!("row {row}: {other:?}"),
        }
    }
    let failure = client.batch_generate(prompts, &options).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidRequest);
}

async fn a_call_cancelled_in_mid_stream_frees_its_slots(bench: Bench) {
    let long = bench.target.long;
    let prompts: Vec<_> =
        (0..2).map(|row| format!("Count slowly from {row} to one hundred:")).collect();
    let requests = bench.requests(&prompts, greedy(long));
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let call = batch(&bench.provider, requests, BatchSize::new(2), cancel);
    let watch = async {
        if bench.llama.is_none() {
            tokio::time::sleep(Duration::from_millis(500)).await;
            return stop.cancel();
        }
        while bench.busy(long).await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let (heard, ()) = tokio::join!(call, watch);
    assert_eq!(heard.called, Err(Failure::cancelled()));
    if bench.llama.is_none() {
        // and there is room for the next call
        assert_eq!(bench.text("Say one word.", greedy(2)).await.1, 2);
        return;
    }
    for _ in 0..100 {
        if bench.busy(long).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server still generates for a call that was cancelled");
}

async fn the_parameters_of_a_row_reach_the_model(bench: Bench) {
    let prompt = match bench.target.raw {
        true => "Once upon a time there was a fox who",
        false => "Tell me a story about a fox.",
    };
    let (whole, tokens, reason) = bench.text(prompt, greedy(12)).await;
    assert_eq!((tokens, reason), (12, FinishReason::Length), "max_tokens: {whole}");
    let word = whole.split_whitespace().nth(2).unwrap().to_owned();
    let before = &whole[..whole.find(&word).unwrap()];
    let stopped = Sampling { stop: vec![word.clone()], ..greedy(12) };
    let (text, _, reason) = bench.text(prompt, stopped).await;
    assert_eq!((text.trim_end(), reason), (before.trim_end(), FinishReason::Stop), "stop: {word}");

    let warm = |seed| Sampling { temperature: 1.5, seed, ..greedy(10) };
    let mut texts = Vec::new();
    for seed in [1, 2, 3, 1] {
        texts.push(bench.text(prompt, warm(seed)).await.0);
    }
    let differs = texts[..3].iter().any(|text| !whole.starts_with(text.as_str()));
    assert!(differs, "temperature: {texts:?}");
    if bench.target.seeds {
        assert!(texts[0] != texts[1] || texts[1] != texts[2], "seed: {texts:?}");
        // other requests in the server's batch may change late digits, so not all of it
        let same = texts[0].chars().zip(texts[3].chars()).take_while(|(a, b)| a == b).count();
        assert!(same >= 4, "seed: {texts:?}");
    }
}

async fn text_in_any_script_goes_there_and_back(bench: Bench) {
    let prompts = [
        "Répète : naïve",
        "漢字を書いて",
        "🙂🙃👩‍👩‍👧",
        "שלום \u{202e}abc",
        "tab\tquote\"back\\slash\u{0}nul",
    ];
    let prompts: Vec<_> = prompts.map(str::to_owned).into();
    let requests = bench.requests(&prompts, greedy(6));
    let heard = batch(&bench.provider, requests, BatchSize::new(3), CancellationToken::new()).await;
    assert_eq!(heard.called, Ok(()));
    for row in 0..prompts.len() {
        assert!(heard.finished(row).is_some(), "row {row}: {:?}", heard.failed(row));
    }
}

async fn offline_is_refused_where_there_are_no_batch_jobs(bench: Bench) {
    let requests = bench.requests(&counted(2), greedy(2));
    let (sender, mut events) = mpsc::unbounded_channel();
    let (keeper, cancel) = (Arc::new(NoJob), CancellationToken::new());
    let called =
        bench.provider.run_offline(requests, Vec::new(), keeper, Sink::new(sender), cancel);
    let failure = called.await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsupported);
    assert!(failure.message.contains("cannot run offline"), "{failure}");
    let behind = bench.llama.is_some();
    let why =
        if behind { "has no batch jobs; use batched" } else { "has no batch API; use batched" };
    assert!(failure.message.contains(why), "{failure}");
    assert!(events.try_recv().is_err(), "no row was submitted");
}

/// There is nothing to keep.
struct NoJob;

#[async_trait::async_trait]
impl JobKeeper for NoJob {
    async fn keep(&self, event: JobEvent) -> Result<(), Failure> {
        panic!("{event:?} where there are no jobs");
    }
}

/// Every check for every target.
macro_rules! conformance {
    ($checks:tt: $($name:ident = $target:expr;)*) => {
        $(conformance!(@one $name, $target, $checks);)*
    };
    (@one $name:ident, $target:expr, [$($check:ident),* $(,)?]) => {
        mod $name {
            use super::*;
            $(#[test]
            fn $check() {
                check($target, super::$check);
            })*
        }
    };
}

conformance! {
    [
        one_ten_and_a_hundred_prompts_are_answered_in_order,
        an_empty_list_is_done_at_once,
        a_bad_prompt_in_the_middle_fails_alone_or_stops_the_list,
        a_call_cancelled_in_mid_stream_frees_its_slots,
        the_parameters_of_a_row_reach_the_model,
        text_in_any_script_goes_there_and_back,
        offline_is_refused_where_there_are_no_batch_jobs,
    ]:
    local = Target { provider: "local", facade: None, raw: false, seeds: true, long: 4000 };
    local_raw = Target { provider: "local", facade: None, raw: true, seeds: true, long: 4000 };
    // its chat template is in mlx/real.rs: reading templates for a hundred prompts takes minutes here
    mlx = Target { provider: "mlx", facade: None, raw: true, seeds: true, long: 4000 };
    openai = Target { provider: "openai", facade: None, raw: false, seeds: true, long: 301 };
    openai_raw = Target { provider: "openai", facade: None, raw: true, seeds: true, long: 302 };
    anthropic = Target { provider: "anthropic", facade: None, raw: false, seeds: false, long: 303 };
    ollama = Target { provider: "ollama", facade: Some(Of::Ollama), raw: false, seeds: true, long: 304 };
    vllm_batch_route = Target { provider: "openai", facade: Some(Of::Vllm), raw: false, seeds: true, long: 306 };
    lmstudio = Target { provider: "lmstudio", facade: Some(Of::LmStudio), raw: false, seeds: true, long: 305 };
}
