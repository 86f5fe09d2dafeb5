//! The OpenAI and Anthropic providers against a real llama.cpp server: facts, counts, times,
//! prompt arrays, and every mode through the runner.

use std::sync::Arc;

use batchgen::bench::recorder::{LaneState, Recorder};
use batchgen::bench::{self, Job};
use batchgen::config::{LaneSpec, OnError, Plan};
use batchgen::prompts::{Content, Prompt, PromptList};
use batchgen::provider::{BatchSize, Batching, Event, FinishReason, ProviderSpec, ServerEvent};
use batchgen::sampling::Sampling;
use tokio_util::sync::CancellationToken;

use crate::conformance::llama;
use crate::headless::run_report;
use crate::servers::{LlamaServer, quickstart_model, require_or_skip};
use crate::wire::heard::{batch, one, open, registry, requests, spec};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

#[test]
fn the_server_is_recognised_and_its_slots_and_context_are_known() {
    let Some(llama) = llama() else { return };
    let provider = block_on(open(&spec("openai", &llama.url("")))).unwrap();
    let info = provider.info();
    assert!(info.model.ends_with("SmolLM2-135M-Instruct.Q4_1.gguf"), "{}", info.model);
    assert_eq!(info.context_length, Some(512));
    let detail = |name: &str| {
        let details = info.details.iter().find(|(known, _)| known == name);
        details.map(|(_, text)| text.as_str())
    };
    assert_eq!((detail("server"), detail("slots")), (Some("llama.cpp"), Some("4")));
    assert_eq!(detail("quantisation"), Some("Q4_1"));
    assert_eq!(provider.batching(false), Batching::Window);
    assert_eq!(provider.batching(true), Batching::PromptArray);
}

#[test]
fn the_base_url_may_end_with_its_version() {
    let Some(llama) = llama() else { return };
    for base in ["/v1", "/v1/", "/"] {
        for provider in ["openai", "anthropic"] {
            let heard = block_on(async {
                let provider = open(&spec(provider, &llama.url(base))).await.unwrap();
                one(&provider, "Say hi", Sampling { max_tokens: 2, ..Sampling::default() }).await
            });
            assert!(heard.finished(0).is_some(), "{provider} {base}: {heard:?}");
        }
    }
}

#[test]
fn counts_and_the_servers_own_times_come_with_the_row() {
    let Some(llama) = llama() else { return };
    let heard = block_on(async {
        let provider = open(&spec("openai", &llama.url(""))).await.unwrap();
        one(&provider, "Tell me a story.", Sampling { max_tokens: 8, ..Sampling::default() }).await
    });
    let (usage, reason) = heard.finished(0).unwrap();
    assert_eq!((usage.output_tokens, reason), (Some(8), FinishReason::Length));
    let times = heard.times(0).unwrap();
    assert!(times.prefill.is_some() && times.decode.is_some());
    assert_eq!(times.cached_tokens, Some(0), "the prompt cache is off");
    let first = heard.events.iter().find(|stamp| matches!(stamp.event, Event::Tokens { .. }));
    let submitted = heard.events[0].at;
    let ttft = first.unwrap().at - submitted;
    assert!(ttft >= times.prefill.unwrap(), "the first token comes after prefill");
}

#[test]
fn going_past_the_end_of_text_is_possible_where_the_server_can() {
    let Some(llama) = llama() else { return };
    let sampling = Sampling { max_tokens: 40, ignore_eos: true, ..Sampling::default() };
    let heard = block_on(async {
        let provider = open(&spec("openai", &llama.url(""))).await.unwrap();
        one(&provider, "Say hi", sampling).await
    });
    let (usage, reason) = heard.finished(0).unwrap();
    assert_eq!((usage.output_tokens, reason), (Some(40), FinishReason::Length));
}

#[test]
fn one_request_carries_a_batch_of_raw_prompts() {
    let Some(llama) = llama() else { return };
    let prompts = ["The capital of France is", "1 2 3 4 5", "Once upon a", "", "A B C D"];
    let sampling = Sampling { max_tokens: 3, ..Sampling::default() };
    let heard = block_on(async {
        let provider = open(&spec("openai", &llama.url(""))).await.unwrap();
        let mut rows = requests(&prompts, sampling);
        rows.iter_mut().for_each(|row| row.raw = true);
        batch(&provider, rows, BatchSize::new(4), CancellationToken::new()).await
    });
    assert_eq!(heard.called, Ok(()));
    assert!(heard.text(0).starts_with(" Paris"), "{}", heard.text(0));
    assert!(heard.text(1).contains('6'), "{}", heard.text(1));
    assert_eq!(heard.text(3), "", "nothing comes of nothing");
    let tokens = |row: usize| heard.finished(row).unwrap().0.output_tokens;
    assert_eq!([0, 1, 2, 3, 4].map(tokens), [Some(3), Some(3), Some(3), Some(0), Some(3)]);
    let timed = heard.server_events().filter(|event| matches!(event, ServerEvent::Times { .. }));
    assert_eq!(timed.count(), 5);
}

fn job(spec: ProviderSpec, rows: usize) -> Job {
    let prompts = (0..rows).map(|index| {
        let content = Content::Text(format!("Say the number {index}."));
        Arc::new(Prompt { index, id: format!("row-{}", index + 1), content, expect: None })
    });
    let lanes = ["sequential", "async:4", "batched:4", "batched_async:2x2"];
    let plan = Plan {
        name: "modes".into(),
        prompts: "numbers".into(),
        column: None,
        template: None,
        raw: false,
        provider: spec,
        sampling: Sampling { max_tokens: 4, ..Sampling::default() },
        lanes: lanes.iter().map(|lane| lane.parse::<LaneSpec>().unwrap()).collect(),
        repeats: 1,
        warmup: 1,
        on_error: OnError::Stop,
        max_cost_usd: None,
    };
    let prompts = PromptList { name: "numbers".into(), prompts: prompts.collect() };
    Job { plan, prompts: Arc::new(prompts) }
}

#[test]
fn every_mode_runs_through_the_runner_with_every_row_in_its_place() {
    let Some(llama) = llama() else { return };
    for provider in ["openai", "anthropic"] {
        let recorder: Recorder = block_on(async {
            let home = tempfile::tempdir().unwrap();
            let job = job(spec(provider, &llama.url("")), 9);
            let mut handle = bench::start(job, Arc::new(registry()), home.path()).unwrap();
            while let Some(stamp) = handle.events.recv().await {
                handle.recorder.apply(stamp);
            }
            handle.recorder
        });
        let texts = |lane: usize| -> Vec<String> {
            let pass = recorder.lanes[lane].pass().unwrap();
            pass.rows.iter().map(|row| row.text.clone()).collect()
        };
        let reference = texts(0);
        for lane in 0..4 {
            let record = &recorder.lanes[lane];
            assert_eq!(record.state, LaneState::Done, "{provider} {lane}");
            let pass = record.pass().unwrap();
            assert_eq!((pass.done, pass.failed, pass.violations.len()), (9, 0, 0));
            // batches change late digits on this server: most rows agree, and none is another's
            let same = texts(lane).iter().zip(&reference).filter(|(a, b)| a == b).count();
            assert!(same >= 6, "{provider} {lane}: {:?} {reference:?}", texts(lane));
        }
    }
}

#[test]
fn every_canary_comes_back_in_its_own_row_in_every_mode() {
    let Some(llama) = llama() else { return };
    for provider in ["openai", "anthropic"] {
        let home = tempfile::tempdir().unwrap();
        let url = llama.url("");
        let lanes = "sequential,async:4,batched:4,batched_async:2x2";
        let flags = ["--provider", provider, "--base-url", &url, "--lanes", lanes];
        let prompts = ["--prompts", "canary", "--max-tokens", "24"];
        let report = run_report(home.path(), &[&flags[..], &prompts[..]].concat());
        for lane in report["lanes"].as_array().unwrap() {
            assert_eq!(lane["integrity"]["passed"], true, "{}", lane["label"]);
            let canary = &lane["canary"];
            let all = canary["checked"].as_u64().unwrap();
            // the model may miss a word by itself; none may stand in another's row
            assert_eq!(canary["violations"].as_array().map(Vec::len), Some(0), "{canary}");
            assert!(canary["own"].as_u64().unwrap() * 10 >= all * 9, "{}: {canary}", lane["label"]);
            println!("{provider} {}: {} of {all}", lane["label"], canary["own"]);
        }
    }
}

#[test]
fn eight_requests_at_once_share_the_servers_steps() {
    let Some(model) = require_or_skip(quickstart_model()) else { return };
    let arguments = ["-np", "8", "-c", "4096", "-t", "2", "--metrics"];
    let Some(llama) = require_or_skip(LlamaServer::start(&model, &arguments)) else { return };
    let home = tempfile::tempdir().unwrap();
    let url = llama.url("");
    let flags = ["--provider", "openai", "--base-url", &url, "--lanes", "sequential,async:8"];
    let tokens = ["--max-tokens", "24", "--ignore-eos"];
    let report = run_report(home.path(), &[&flags[..], &tokens[..]].concat());
    let (sequential, concurrent) = (&report["lanes"][0], &report["lanes"][1]);
    println!(
        "async 8 over sequential: {:.2}×; agreement: {}",
        concurrent["speedup"].as_f64().unwrap(),
        concurrent["agreement"]["same"]
    );
    let rows = |lane: &serde_json::Value| lane["server"]["mean_rows_per_step"].as_f64().unwrap();
    assert!(rows(sequential) < 1.5, "{}", sequential["server"]);
    assert!(rows(concurrent) > 3.0, "{}", concurrent["server"]);
    assert!(concurrent["server"]["peak_running"].as_u64().unwrap() >= 6);
    assert_eq!(concurrent["server"]["source"], "llama.cpp /metrics");
    assert!(concurrent["client_lag"]["max_s"].is_number());
    assert_eq!(concurrent.get("cost_usd"), None, "nobody said what it costs");
}
