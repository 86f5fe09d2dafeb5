//! vLLM's batch route: one request for many conversations, and what must not pass for its answer.

use batchgen::provider::{
    BatchSize, Batching, FailureKind, FinishReason, Provider, ProviderSpec, Usage,
};
use batchgen::sampling::Sampling;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use super::answer;
use super::facade::{Facade, Of};
use super::heard::{Heard, batch, open, requests, spec};
use super::scripted::{Recorded, Script, Scripted};
use crate::conformance;
use crate::headless::run_report;

const ROUTE: &str = "/v1/chat/completions/batch";

fn asking(address: &str) -> ProviderSpec {
    let mut spec = spec("openai", address);
    spec.server.batch_route = Some(true);
    spec
}

/// vLLM, whose batch route answers conversations so.
async fn vllm(answers: impl Fn(&Recorded) -> Script + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |request| match request.path.as_str() {
        ROUTE if !request.body["messages"].is_null() => answers(request),
        _ => beside_the_route(request),
    })
    .await
}

/// What vLLM says elsewhere, and to the question whether there is such a route.
fn beside_the_route(request: &Recorded) -> Script {
    match request.path.as_str() {
        "/version" => Script::json(200, &json!({"version": "0.32.0"})),
        "/v1/models" | "/v1/chat/completions" => answer(&request.path),
        ROUTE => Script::json(400, &json!({"error": {"message": "messages: Field required"}})),
        _ => Script::json(404, &json!({"detail": "Not Found"})),
    }
}

fn choice(index: usize, text: &str) -> Value {
    let message = json!({"role": "assistant", "content": text});
    json!({"index": index, "message": message, "finish_reason": "stop", "token_ids": [5, 6, 2]})
}

async fn three(provider: &Arc<dyn Provider>) -> Heard {
    let rows = requests(&["a", "b", "c"], Sampling::default());
    batch(provider, rows, BatchSize::new(3), CancellationToken::new()).await
}

#[tokio::test]
async fn the_conversations_of_a_batch_go_in_one_request_and_are_matched_by_index() {
    let server = vllm(|_| {
        let choices = [choice(2, "C"), choice(0, "A"), choice(1, "B")];
        Script::json(200, &json!({"choices": choices, "usage": {"completion_tokens": 9}}))
    })
    .await;
    let provider = open(&asking(&server.address)).await.unwrap();
    assert_eq!(provider.batching(false), Batching::PromptArray);
    let heard = three(&provider).await;
    assert_eq!(heard.called, Ok(()));
    assert_eq!([0, 1, 2].map(|row| heard.text(row)), ["A", "B", "C"]);
    let usage = Usage { prompt_tokens: None, output_tokens: Some(3) };
    for row in 0..3 {
        assert_eq!(heard.finished(row), Some((usage, FinishReason::Stop)));
        assert!(heard.is_in_order(row));
    }
    // the question whether there is such a route, and the batch
    assert_eq!(server.asked(ROUTE), 2);
    let sent = server.requests().pop().unwrap().body;
    let user = |text: &str| json!([{"role": "user", "content": text}]);
    assert_eq!(sent["messages"], json!([user("a"), user("b"), user("c")]));
    assert_eq!((&sent["stream"], &sent["return_token_ids"]), (&Value::Null, &json!(true)));
}

#[tokio::test]
async fn a_missing_a_doubled_or_a_foreign_index_fails_all_rows_and_hands_on_no_text() {
    let cases = [
        (vec![0, 2], "without an answer to prompt 2 of 3"),
        (vec![0, 1, 1, 2], "answered prompt 2 twice"),
        (vec![0, 1, 2, 3], "answered prompt 4 of 3"),
        (vec![], "without an answer to prompt 1 of 3"),
    ];
    for (places, what) in cases {
        let choices: Vec<_> = places.iter().map(|place| choice(*place, "x")).collect();
        let body = json!({"choices": choices});
        let server = vllm(move |_| Script::json(200, &body)).await;
        let heard = three(&open(&asking(&server.address)).await.unwrap()).await;
        for row in 0..3 {
            let failure = heard.failed(row).unwrap();
            assert_eq!(failure.kind, FailureKind::Protocol);
            assert!(failure.message.contains(what), "{}", failure.message);
            assert_eq!(heard.text(row), "");
        }
        assert_eq!(server.asked(ROUTE), 2, "it is not sent again");
    }
}

#[tokio::test]
async fn an_answer_whose_tokens_nobody_counted_is_refused_and_not_counted_as_one() {
    let server = vllm(|_| {
        let mut uncounted = choice(1, "B");
        uncounted.as_object_mut().unwrap().remove("token_ids");
        let choices = [choice(0, "A"), uncounted, choice(2, "C")];
        Script::json(200, &json!({"choices": choices}))
    })
    .await;
    let heard = three(&open(&asking(&server.address)).await.unwrap()).await;
    let failure = heard.failed(1).unwrap();
    assert_eq!(failure.kind, FailureKind::Protocol);
    assert!(failure.message.contains("token_ids"), "{}", failure.message);
    assert_eq!([0, 1, 2].map(|row| heard.text(row)), ["", "", ""]);
}

#[tokio::test]
async fn a_conversation_that_is_refused_fails_alone_in_the_servers_words() {
    let refused = || {
        let error = json!({"message": "the conversation is too long", "type": "BadRequestError"});
        Script::json(400, &json!({"error": error}))
    };
    let server = Scripted::start(move |request| match request.path.as_str() {
        ROUTE => refused(),
        "/v1/chat/completions" if request.body["messages"][0]["content"] == "b" => refused(),
        _ => beside_the_route(request),
    })
    .await;
    let heard = three(&open(&asking(&server.address)).await.unwrap()).await;
    assert!(heard.finished(0).is_some() && heard.finished(2).is_some());
    let failure = heard.failed(1).unwrap();
    assert!(failure.message.contains("the conversation is too long"), "{}", failure.message);
    // the question whether there is such a route, and the batch; then one request a conversation
    assert_eq!((server.asked(ROUTE), server.asked("/v1/chat/completions")), (2, 3));
}

#[test]
fn a_run_over_real_text_has_every_answer_at_its_prompt_and_no_first_token_times() {
    let Some(llama) = conformance::llama() else { return };
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let facade = runtime.block_on(Facade::start(Of::Vllm, &llama.url("")));
    let report = run_report(
        home.path(),
        &[
            "--provider=openai",
            &format!("--base-url={}", facade.address),
            "--batch-route",
            "--prompts=canary",
            "--lanes=sequential,batched:4",
            "--max-tokens=12",
            "--warmup=0",
        ],
    );
    let [alone, batched] = [0, 1].map(|lane| &report["lanes"][lane]);
    for lane in [alone, batched] {
        assert_eq!(lane["integrity"]["passed"], true, "{lane}");
        assert_eq!(lane["rows_ok"], 32);
    }
    assert_eq!((alone.get("batching"), &batched["batching"]), (None, &json!("prompt_array")));
    assert!(alone["ttft_s"]["p50"].as_f64().unwrap() > 0.0);
    assert_eq!((batched.get("ttft_s"), batched.get("itl_s")), (None, None));
    assert!(batched["output_tokens"].as_u64().unwrap() > 0, "{batched}");
    drop(runtime);
}

#[tokio::test]
async fn an_error_that_comes_as_a_success_fails_the_rows_in_the_servers_words() {
    let error = json!({"message": "the engine \u{1b}[2J died", "type": "InternalServerError"});
    let body = json!({"error": error, "choices": [choice(0, "A")]});
    let server = vllm(move |_| Script::json(200, &body)).await;
    let heard = three(&open(&asking(&server.address)).await.unwrap()).await;
    for row in 0..3 {
        let failure = heard.failed(row).unwrap();
        assert!(failure.message.contains("the engine [2J died"), "{}", failure.message);
        assert_eq!(heard.text(row), "");
    }
}

#[tokio::test]
async fn raw_prompts_go_as_arrays_beside_the_route() {
    let server = Scripted::start(|request| match request.path.as_str() {
        "/v1/completions" => Script::sse(&[
            r#"{"choices":[{"index":1,"text":"B","finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":0,"text":"A","finish_reason":"stop"}]}"#,
            "[DONE]",
        ]),
        _ => beside_the_route(request),
    })
    .await;
    let provider = open(&asking(&server.address)).await.unwrap();
    let mut rows = requests(&["a", "b"], Sampling::default());
    rows.iter_mut().for_each(|request| request.raw = true);
    let heard = batch(&provider, rows, BatchSize::new(2), CancellationToken::new()).await;
    assert_eq!([0, 1].map(|row| heard.text(row)), ["A", "B"]);
    assert_eq!(server.requests().pop().unwrap().body["prompt"], json!(["a", "b"]));
    assert_eq!(server.asked(ROUTE), 1, "the route is for conversations");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_a_failure_and_not_kept() {
    let server = vllm(|_| {
        let long = "x".repeat(70 << 20);
        Script::json(200, &json!({"choices": [choice(0, &long), choice(1, "B"), choice(2, "C")]}))
    })
    .await;
    let heard = three(&open(&asking(&server.address)).await.unwrap()).await;
    let failure = heard.failed(0).unwrap();
    assert_eq!(failure.kind, FailureKind::Protocol, "{}", failure.message);
    assert_eq!(heard.text(0), "");
}

#[tokio::test]
async fn a_server_without_the_route_is_refused_before_a_run_with_what_to_do_instead() {
    let server = Scripted::start(|request| match request.path.as_str() {
        "/v1/models" => answer("/v1/models"),
        "/version" => Script::json(200, &json!({"version": "0.8.0"})),
        _ => Script::json(404, &json!({"detail": "Not Found"})),
    })
    .await;
    let failure = open(&asking(&server.address)).await.err().unwrap();
    assert_eq!(failure.kind, FailureKind::Unsupported);
    assert!(failure.message.contains("leave it out"), "{}", failure.message);
    let plain = open(&spec("openai", &server.address)).await.unwrap();
    assert_eq!(plain.batching(false), Batching::Window);
}
