//! What goes over the wire: bodies, headers, addresses, keys, retries; against a scripted
//! server that keeps what it was sent.

mod batch_route;
#[cfg(target_os = "linux")]
mod certificates;
mod connections;
pub mod facade;
pub mod heard;
mod listing;
pub mod scripted;

use std::time::Duration;

use batchgen::prompts::{Content, Message};
use batchgen::provider::{
    BatchSize, Batching, Event, FailureKind, FinishReason, ServerEvent, ServerOptions, Support,
    TokenCounts, Usage,
};
use batchgen::sampling::Sampling;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use heard::{batch, one, open, requests, spec};
use scripted::{Recorded, Script, Scripted};

/// Headers of an answer.
type Headers = &'static [(&'static str, &'static str)];

/// A short answer of each API to "hi".
pub fn answer(path: &str) -> Script {
    match path {
        "/v1/chat/completions" => Script::sse(&[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"naïve "}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"🙂"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
            "[DONE]",
        ]),
        "/v1/completions" => Script::sse(&[
            r#"{"choices":[{"index":0,"text":"naïve "}]}"#,
            r#"{"choices":[{"index":0,"text":"🙂","finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
            "[DONE]",
        ]),
        "/v1/messages" => Script::sse(&[
            r#"{"type":"message_start","message":{"usage":{"input_tokens":2,"cache_read_input_tokens":7,"cache_creation_input_tokens":null,"output_tokens":1}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"naïve "}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"x"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"🙂"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#,
            r#"{"type":"something_new","of":"2027"}"#,
            r#"{"type":"message_stop"}"#,
        ]),
        "/api/chat" => Script::ndjson(&[
            r#"{"model":"m","message":{"role":"assistant","content":"naïve "},"done":false}"#,
            r#"{"model":"m","message":{"role":"assistant","content":"🙂"},"done":false}"#,
            r#"{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":1000,"load_duration":100,"prompt_eval_count":9,"prompt_eval_duration":200,"eval_count":2,"eval_duration":300}"#,
        ]),
        "/api/generate" => Script::ndjson(&[
            r#"{"model":"m","response":"naïve ","done":false}"#,
            r#"{"model":"m","response":"🙂","done":true,"done_reason":"stop","prompt_eval_count":9,"eval_count":2}"#,
        ]),
        "/v1/models" => Script::json(200, &json!({"data": [{"id": "embed-1"}, {"id": "m"}]})),
        "/api/version" => Script::json(200, &json!({"version": "0.99.1"})),
        "/api/tags" => Script::json(200, &json!({"models": [{"name": "m:latest"}]})),
        "/api/ps" => Script::json(
            200,
            &json!({"models": [{
                "name": "m:latest", "size": 5000, "size_vram": 3000, "context_length": 4096,
                "digest": "abc", "details": {"family": "llama", "quantization_level": "Q4_1"},
            }]}),
        ),
        "/api/v1/models" => Script::json(
            200,
            &json!({"models": [
                {"type": "embedding", "key": "e", "loaded_instances": []},
                {"type": "llm", "key": "cold", "loaded_instances": [], "max_context_length": 9},
                {"type": "llm", "key": "m", "format": "gguf", "quantization": {"name": "Q4_1", "bits_per_weight": 4},
                 "loaded_instances": [{"id": "m:2", "config": {"context_length": 2048, "parallel": 4}}],
                 "max_context_length": 8192},
            ]}),
        ),
        _ => Script::json(404, &json!({"error": "not found"})),
    }
}

/// As [`answer`], but `/api/generate` without a prompt only loads, and only the provider's own
/// routes are there.
fn server_of(provider: &'static str) -> impl Fn(&Recorded) -> Script {
    move |request| {
        let path = request.path.as_str();
        let own = match provider {
            "ollama" => path.starts_with("/api/") && path != "/api/v1/models",
            "lmstudio" => path.starts_with("/v1/") || path == "/api/v1/models",
            _ => path.starts_with("/v1/"),
        };
        match own {
            true if path == "/api/generate" && request.body.get("prompt").is_none() => {
                Script::json(
                    200,
                    &json!({"done": true, "done_reason": "load", "load_duration": 2e9}),
                )
            }
            true => answer(path),
            false => Script::json(404, &json!({"error": "not found"})),
        }
    }
}

const PROVIDERS: [&str; 4] = ["openai", "anthropic", "ollama", "lmstudio"];

#[tokio::test]
async fn every_provider_reads_its_answer_and_its_counts() {
    for provider in PROVIDERS {
        let server = Scripted::start(server_of(provider)).await;
        let opened = open(&spec(provider, &server.address)).await.unwrap();
        let heard = one(&opened, "hi", Sampling::default()).await;
        assert_eq!(heard.called, Ok(()), "{provider}");
        assert_eq!(heard.text(0), "naïve 🙂", "{provider}");
        let usage = Usage { prompt_tokens: Some(9), output_tokens: Some(2) };
        assert_eq!(heard.finished(0), Some((usage, FinishReason::Stop)), "{provider}");
        assert!(heard.is_in_order(0), "{provider}: {:?}", heard.events);
    }
}

#[tokio::test]
async fn a_stream_that_comes_byte_by_byte_gives_the_same_text() {
    for provider in PROVIDERS {
        let whole = server_of(provider);
        let server = Scripted::start(move |request| match request.path.as_str() {
            path if path.ends_with("models") || path.starts_with("/api/v") => whole(request),
            _ => whole(request).byte_by_byte(),
        });
        let server = server.await;
        let opened = open(&spec(provider, &server.address)).await.unwrap();
        let heard = one(&opened, "hi", Sampling::default()).await;
        assert_eq!((heard.text(0).as_str(), &heard.called), ("naïve 🙂", &Ok(())), "{provider}");
    }
}

#[tokio::test]
async fn every_parameter_reaches_the_wire_under_its_own_name() {
    let sampling = Sampling {
        max_tokens: 7,
        temperature: 0.7,
        top_k: Some(40),
        top_p: Some(0.9),
        seed: 11,
        stop: vec!["END".into()],
        ..Sampling::default()
    };
    let messages = json!([{"role": "user", "content": "naïve 漢字 \"🙂\"\n\u{1}"}]);
    let expected = [
        (
            "openai",
            "/v1/chat/completions",
            json!({
                "model": "m", "max_tokens": 7, "temperature": 0.7, "top_k": 40, "top_p": 0.9,
                "seed": 11, "stop": ["END"], "stream": true,
                "stream_options": {"include_usage": true}, "messages": messages,
            }),
        ),
        (
            "anthropic",
            "/v1/messages",
            json!({
                "model": "m", "max_tokens": 7, "stream": true, "temperature": 0.7, "top_k": 40,
                "top_p": 0.9, "stop_sequences": ["END"], "messages": messages,
            }),
        ),
        (
            "ollama",
            "/api/chat",
            json!({
                "model": "m:latest", "stream": true, "truncate": false, "options": {
                    "num_predict": 7, "temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.0,
                    "repeat_penalty": 1.0, "seed": 11, "stop": ["END"],
                }, "messages": messages,
            }),
        ),
        (
            "lmstudio",
            "/v1/chat/completions",
            json!({
                "model": "m", "max_tokens": 7, "temperature": 0.7, "top_k": 40, "top_p": 0.9,
                "repeat_penalty": 1.0, "seed": 11, "stop": ["END"], "stream": true,
                "stream_options": {"include_usage": true}, "messages": messages,
            }),
        ),
    ];
    for (provider, path, body) in expected {
        let server = Scripted::start(server_of(provider)).await;
        let opened = open(&spec(provider, &server.address)).await.unwrap();
        one(&opened, "naïve 漢字 \"🙂\"\n\u{1}", sampling.clone()).await;
        let sent = server.requests();
        let sent = sent.last().unwrap();
        assert_eq!((sent.path.as_str(), &sent.body), (path, &body), "{provider}");
        assert_eq!(sent.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn raw_prompts_go_to_the_routes_without_a_template() {
    for (provider, path, prompt) in [
        ("openai", "/v1/completions", json!("once upon")),
        ("lmstudio", "/v1/completions", json!("once upon")),
        ("ollama", "/api/generate", json!("once upon")),
    ] {
        let server = Scripted::start(server_of(provider)).await;
        let opened = open(&spec(provider, &server.address)).await.unwrap();
        let mut raw = requests(&["once upon"], Sampling::default());
        raw[0].raw = true;
        let heard = batch(&opened, raw, BatchSize::new(1), CancellationToken::new()).await;
        assert_eq!(heard.text(0), "naïve 🙂", "{provider}");
        let sent = server.requests();
        let sent = sent.last().unwrap();
        assert_eq!((sent.path.as_str(), &sent.body["prompt"]), (path, &prompt), "{provider}");
    }
    let server = Scripted::start(server_of("anthropic")).await;
    let opened = open(&spec("anthropic", &server.address)).await.unwrap();
    let mut raw = requests(&["once upon"], Sampling::default());
    raw[0].raw = true;
    let heard = batch(&opened, raw, BatchSize::new(1), CancellationToken::new()).await;
    let failure = heard.called.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsupported);
    assert_eq!(failure.message, "the messages API has no raw prompts: leave out --raw");
}

#[tokio::test]
async fn a_system_message_stands_beside_the_conversation_for_anthropic() {
    let server = Scripted::start(server_of("anthropic")).await;
    let opened = open(&spec("anthropic", &server.address)).await.unwrap();
    let message =
        |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let talk = Content::Messages(vec![message("system", "be brief"), message("user", "hi")]);
    let conversation = requests(&[talk], Sampling::default());
    batch(&opened, conversation, BatchSize::new(1), CancellationToken::new()).await;
    let sent = server.requests();
    let body = &sent.last().unwrap().body;
    assert_eq!(body["system"], "be brief");
    assert_eq!(body["messages"], json!([{"role": "user", "content": "hi"}]));
}

#[tokio::test]
async fn the_anthropic_version_decides_about_the_key_and_about_sampling() {
    // safe: no other test reads or writes this variable
    let key = ("BATCHGEN_TEST_WIRE_ANTHROPIC_KEY", "sk-ant-wire-secret");
    heard::set_env(key.0, key.1);
    for (version, header, value, sampling_sent) in [
        (None, "x-api-key", "sk-ant-wire-secret", true),
        (Some("2023-06-01"), "x-api-key", "sk-ant-wire-secret", true),
        (Some("2026-10-21"), "authorization", "Bearer sk-ant-wire-secret", false),
    ] {
        let server = Scripted::start(server_of("anthropic")).await;
        let mut spec = spec("anthropic", &server.address);
        spec.api_key_env = Some(key.0.into());
        spec.server.anthropic_version = version.map(str::to_owned);
        let opened = open(&spec).await.unwrap();
        one(&opened, "hi", Sampling::default()).await;
        let sent = server.requests();
        let sent = sent.last().unwrap();
        assert_eq!(sent.header(header), Some(value), "{version:?}");
        let both = sent.header("x-api-key").is_some() && sent.header("authorization").is_some();
        assert!(!both, "exactly one header carries the key");
        assert_eq!(sent.header("anthropic-version"), Some(version.unwrap_or("2023-06-01")));
        assert_eq!(sent.body.get("temperature").is_some(), sampling_sent);
        let warm = Sampling { temperature: 0.5, ..Sampling::default() };
        let heard = one(&opened, "hi", warm).await;
        assert_eq!(heard.called.is_ok(), sampling_sent, "a temperature is never dropped silently");
    }
}

#[tokio::test]
async fn facts_about_the_server_are_in_its_info() {
    let ollama = Scripted::start(server_of("ollama")).await;
    let opened = open(&spec("ollama", &ollama.address)).await.unwrap();
    let info = opened.info();
    assert_eq!((info.provider.as_str(), info.model.as_str()), ("ollama", "m:latest"));
    assert_eq!((info.context_length, info.token_counts), (Some(4096), TokenCounts::Exact));
    assert!(matches!(info.offline, Support::No { .. }));
    let detail = |name: &str| {
        let details = &info.details;
        details.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
    };
    assert_eq!(detail("version").as_deref(), Some("0.99.1"));
    assert_eq!(detail("quantisation").as_deref(), Some("Q4_1"));
    assert_eq!(detail("load time").as_deref(), Some("2.0 s"));
    let heard = one(&opened, "hi", Sampling::default()).await;
    let memory = heard.server_events().find_map(|event| match event {
        ServerEvent::Memory(memory) => Some((memory.total, memory.gpu)),
        _ => None,
    });
    assert_eq!(memory, Some((5000, Some(3000))));
    let times = heard.times(0).unwrap();
    let nanos = |time: Option<Duration>| time.map(|time| time.as_nanos());
    assert_eq!((nanos(times.load), nanos(times.queue)), (Some(100), Some(400)));

    let studio = Scripted::start(server_of("lmstudio")).await;
    let opened = open(&spec("lmstudio", &studio.address)).await.unwrap();
    let info = opened.info();
    assert_eq!((info.model.as_str(), info.context_length), ("m", Some(2048)), "the loaded one");
    let expected = [
        ("server", "LM Studio"),
        ("loaded", "yes"),
        ("slots", "4"),
        ("quantisation", "Q4_1"),
        ("format", "gguf"),
    ];
    let expected: Vec<_> = expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    assert_eq!(info.details, expected);
}

#[tokio::test]
async fn an_older_lm_studio_answers_over_its_older_api() {
    let server = Scripted::start(|request| match request.path.as_str() {
        "/api/v0/models" => Script::json(
            200,
            &json!({"object": "list", "data": [
                {"id": "cold", "type": "llm", "state": "not-loaded", "max_context_length": 10},
                {"id": "m", "type": "vlm", "state": "loaded", "quantization": "4bit",
                 "compatibility_type": "mlx", "max_context_length": 32768},
            ]}),
        ),
        path if path.starts_with("/v1/") => answer(path),
        _ => Script::json(404, &json!({"error": "Unexpected endpoint or method"})),
    });
    let server = server.await;
    let opened = open(&spec("lmstudio", &server.address)).await.unwrap();
    assert_eq!((opened.info().model.as_str(), opened.info().context_length), ("m", Some(32768)));
    let mut other = spec("lmstudio", &server.address);
    other.model = "missing".into();
    let failure = open(&other).await.err().unwrap();
    assert_eq!(failure.kind, FailureKind::Model);
}

#[tokio::test]
async fn the_first_model_that_generates_is_taken_if_none_is_named() {
    let server = Scripted::start(server_of("openai")).await;
    let opened = open(&spec("openai", &server.address)).await.unwrap();
    assert_eq!(opened.info().model, "m");
    assert_eq!(opened.info().details[0], ("server".to_owned(), "unknown".to_owned()));
    assert_eq!(
        (opened.batching(false), opened.batching(true)),
        (Batching::Window, Batching::Window)
    );
    let none = Scripted::start(|_| Script::json(404, &json!({"error": "x"}))).await;
    let failure = open(&spec("openai", &none.address)).await.err().unwrap();
    assert_eq!(failure.kind, FailureKind::Model);
    assert_eq!(
        failure.message,
        "no model is named and the server lists none: name one with --model"
    );
}

#[tokio::test]
async fn servers_are_told_apart_by_what_only_they_answer() {
    for (path, body, name) in [
        (
            "/props",
            json!({"default_generation_settings": {"n_ctx": 512}, "total_slots": 4}),
            "llama.cpp",
        ),
        ("/version", json!({"version": "0.32.0"}), "vLLM"),
        ("/get_server_info", json!({"context_length": 99}), "SGLang"),
        ("/info", json!({"max_total_tokens": 99}), "TGI"),
        ("/api/version", json!({"version": "0.1"}), "Ollama"),
        ("/api/v0/models", json!({"data": []}), "LM Studio"),
    ] {
        let server = Scripted::start(move |request| match request.path.as_str() {
            "/v1/models" => answer("/v1/models"),
            asked if asked == path => Script::json(200, &body),
            _ => Script::json(404, &json!({"error": "not found"})),
        });
        let server = server.await;
        let opened = open(&spec("openai", &server.address)).await.unwrap();
        assert_eq!(opened.info().details[0].1, name);
        let arrays = matches!(name, "llama.cpp" | "vLLM" | "SGLang");
        assert_eq!(opened.batching(true) == Batching::PromptArray, arrays, "{name}");
    }
}

#[tokio::test]
async fn the_key_is_sent_and_shown_nowhere() {
    let (name, key) = ("BATCHGEN_TEST_WIRE_KEY", "sk-wire-very-secret");
    heard::set_env(name, key);
    for provider in PROVIDERS {
        let own = server_of(provider);
        let server = Scripted::start(move |request| match request.body["messages"].is_null() {
            true => own(request),
            // a server that quotes the key
            false => Script::json(400, &json!({"error": {"message": format!("no {key} here")}})),
        });
        let server = server.await;
        let mut spec = spec(provider, &server.address);
        spec.api_key_env = Some(name.into());
        spec.server.header_env = [("x-extra".to_owned(), name.to_owned())].into();
        let opened = open(&spec).await.unwrap();
        let heard = one(&opened, "hi", Sampling::default()).await;
        let sent = server.requests();
        let sent = sent.last().unwrap();
        let header = if provider == "anthropic" { "x-api-key" } else { "authorization" };
        assert!(sent.header(header).unwrap().ends_with(key), "{provider}");
        assert_eq!(sent.header("x-extra"), Some(key));
        let failure = heard.failed(0).unwrap();
        assert!(failure.message.contains("no [BATCHGEN_TEST_WIRE_KEY] here"), "{failure:?}");
        let shown = format!(
            "{:?} {:?} {} {}",
            heard.events,
            opened.info(),
            serde_json::to_string(opened.info()).unwrap(),
            serde_json::to_string(&spec).unwrap(),
        );
        assert!(!shown.contains("very-secret"), "{provider}: {shown}");
    }
}

#[tokio::test]
async fn a_missing_key_is_named_before_anything_is_sent() {
    let server = Scripted::start(server_of("openai")).await;
    let mut spec = spec("openai", &server.address);
    spec.api_key_env = Some("BATCHGEN_TEST_WIRE_NO_SUCH_KEY".into());
    let failure = open(&spec).await.err().unwrap();
    assert_eq!(failure.kind, FailureKind::Auth);
    assert!(failure.message.contains("BATCHGEN_TEST_WIRE_NO_SUCH_KEY is not set"));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_never_carries_the_key_to_another_host() {
    let (name, key) = ("BATCHGEN_TEST_WIRE_REDIRECT_KEY", "sk-wire-redirected");
    heard::set_env(name, key);
    let other = Scripted::start(server_of("openai")).await;
    for status in [301, 302, 307, 308] {
        let to = format!("{}/v1/chat/completions", other.address);
        let server = Scripted::start(move |request| match request.path.as_str() {
            "/v1/chat/completions" => Script::redirect(status, &to),
            path => answer(path),
        });
        let server = server.await;
        let mut spec = spec("openai", &server.address);
        spec.api_key_env = Some(name.into());
        let opened = open(&spec).await.unwrap();
        let heard = one(&opened, "hi", Sampling::default()).await;
        let failure = heard.failed(0).unwrap();
        assert_eq!(failure.kind, FailureKind::Protocol);
        assert!(failure.message.contains("redirects to http"), "{}", failure.message);
    }
    assert!(other.requests().is_empty());
}

/// A server whose chat fails with these statuses and headers, one after another, then answers.
async fn failing(failures: &'static [(u16, Headers, &'static str)]) -> Scripted {
    let left = std::sync::Mutex::new(failures.iter());
    Scripted::start(move |request| match request.path.as_str() {
        "/v1/chat/completions" => match left.lock().unwrap().next() {
            Some((status, headers, body)) => Script::answer(*status, headers, body),
            None => answer("/v1/chat/completions"),
        },
        path => answer(path),
    })
    .await
}

#[tokio::test]
async fn a_request_that_may_be_sent_again_is_and_each_retry_is_told() {
    let server = failing(&[
        (
            429,
            &[("retry-after-ms", "30")],
            r#"{"error":{"message":"slow","code":"rate_limit_exceeded"}}"#,
        ),
        (503, &[("retry-after", "0.05")], "busy"),
    ])
    .await;
    let opened = open(&spec("openai", &server.address)).await.unwrap();
    let heard = one(&opened, "hi", Sampling::default()).await;
    assert_eq!(heard.text(0), "naïve 🙂");
    let retries: Vec<_> = heard
        .server_events()
        .filter_map(|event| match event {
            ServerEvent::Retry { row, failure, wait } => Some((*row, failure.kind, *wait)),
            _ => None,
        })
        .collect();
    let milliseconds = Duration::from_millis;
    let expected = [
        (0, FailureKind::RateLimited, milliseconds(30)),
        (0, FailureKind::Overloaded, milliseconds(50)),
    ];
    assert_eq!(retries, expected);
    assert_eq!(server.asked("/v1/chat/completions"), 3);
}

#[tokio::test]
async fn a_request_that_may_not_be_sent_again_fails_at_once() {
    let money = r#"{"error":{"message":"no credit","type":"insufficient_quota"}}"#;
    let cases: [(u16, Headers, &str, FailureKind); 5] = [
        (429, &[("retry-after", "0.01")], money, FailureKind::Auth),
        (429, &[("x-should-retry", "false")], "", FailureKind::RateLimited),
        (429, &[("retry-after", "500")], "", FailureKind::RateLimited),
        (400, &[], "", FailureKind::InvalidRequest),
        (401, &[], "", FailureKind::Auth),
    ];
    for (status, headers, body, kind) in cases {
        let server = Scripted::start(move |request| match request.path.as_str() {
            "/v1/chat/completions" => Script::answer(status, headers, body),
            path => answer(path),
        });
        let server = server.await;
        let opened = open(&spec("openai", &server.address)).await.unwrap();
        let heard = one(&opened, "hi", Sampling::default()).await;
        let failure = heard.failed(0).cloned().or(heard.called.err()).unwrap();
        assert_eq!(failure.kind, kind, "{}", failure.message);
        assert_eq!(server.asked("/v1/chat/completions"), 1, "{}", failure.message);
    }
}

#[tokio::test]
async fn retries_end_and_their_number_can_be_chosen() {
    for (retries, asked) in [(Some(0), 1), (Some(1), 2)] {
        let server = failing(&[(503, &[], ""), (503, &[], ""), (503, &[], "")]).await;
        let mut spec = spec("openai", &server.address);
        spec.server = ServerOptions { retries, ..ServerOptions::default() };
        let opened = open(&spec).await.unwrap();
        let heard = one(&opened, "hi", Sampling::default()).await;
        assert_eq!(heard.failed(0).unwrap().kind, FailureKind::Overloaded);
        assert_eq!(server.asked("/v1/chat/completions"), asked);
    }
}

#[tokio::test]
async fn the_number_of_requests_at_once_falls_under_pressure_and_rises_again() {
    // more than three at once are too many for this server
    let server = Scripted::start_with(|request, running| match request.path.as_str() {
        "/v1/chat/completions" if running > 3 => {
            Script::answer(429, &[("retry-after-ms", "20")], "")
        }
        "/v1/chat/completions" => answer("/v1/chat/completions").after(Duration::from_millis(10)),
        path => answer(path),
    })
    .await;
    let mut spec = spec("openai", &server.address);
    spec.server.retries = Some(6);
    let opened = open(&spec).await.unwrap();
    let rows: Vec<_> = (0..40).map(|row| format!("prompt {row}")).collect();
    let texts: Vec<&str> = rows.iter().map(String::as_str).collect();
    let all = requests(&texts, Sampling::default());
    let heard = batch(&opened, all, BatchSize::new(16), CancellationToken::new()).await;
    assert_eq!(heard.called, Ok(()));
    assert!((0..40).all(|row| heard.finished(row).is_some()), "{:?}", heard.failures());
    let told: Vec<_> = heard
        .server_events()
        .filter_map(|event| match event {
            ServerEvent::Allowed(allowed) => Some(*allowed),
            _ => None,
        })
        .collect();
    assert_eq!(told[0], Some(8), "{told:?}");
    assert!(told.windows(2).any(|two| two[1] > two[0]), "{told:?}");
    let refused = server.asked("/v1/chat/completions") - 40;
    assert!(refused < 40, "{refused} requests were refused");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_what_to_try() {
    let mut spec = spec("openai", "http://127.0.0.1:1");
    spec.model = "m".into();
    let failure = open(&spec).await.err().unwrap();
    assert_eq!(failure.kind, FailureKind::Transport);
    assert!(failure.message.starts_with("cannot reach 127.0.0.1:1: "), "{}", failure.message);
    assert!(failure.message.ends_with("is the server running?"), "{}", failure.message);
}

#[tokio::test]
async fn a_bad_prompt_in_an_array_does_not_spoil_its_neighbours() {
    let server =
        Scripted::start(|request| match (request.path.as_str(), &request.body["prompt"]) {
            ("/props", _) => Script::json(200, &json!({"default_generation_settings": {}})),
            ("/v1/completions", Value::Array(prompts)) if prompts.contains(&json!("bad")) => {
                Script::json(400, &json!({"error": {"message": "too long"}}))
            }
            ("/v1/completions", Value::Array(prompts)) => {
                let choice = |place| {
                    format!(
                        r#"{{"choices":[{{"index":{place},"text":"ok","finish_reason":"stop"}}]}}"#
                    )
                };
                let mut chunks: Vec<_> = (0..prompts.len()).rev().map(choice).collect();
                chunks.push("[DONE]".into());
                Script::sse(&chunks.iter().map(String::as_str).collect::<Vec<_>>())
            }
            ("/v1/completions", prompt) if prompt == "bad" => {
                Script::json(400, &json!({"error": {"message": "too long"}}))
            }
            (path, _) if path.starts_with("/api/") => Script::answer(404, &[], ""),
            (path, _) => answer(path),
        });
    let server = server.await;
    let opened = open(&spec("openai", &server.address)).await.unwrap();
    let mut rows = requests(&["a", "b", "c", "bad", "d"], Sampling::default());
    rows.iter_mut().for_each(|row| row.raw = true);
    let heard = batch(&opened, rows, BatchSize::new(3), CancellationToken::new()).await;
    assert_eq!(heard.called, Ok(()));
    let texts: Vec<_> = (0..5).map(|row| heard.text(row)).collect();
    assert_eq!(texts, ["ok", "ok", "ok", "", "naïve 🙂"]);
    assert_eq!(heard.failed(3).unwrap().kind, FailureKind::InvalidRequest);
    assert_eq!(heard.failures().len(), 1);
    assert!(heard.notices()[0].ends_with("its 2 prompts are sent one by one"));
    let sizes: Vec<_> = server
        .requests()
        .iter()
        .filter(|request| request.path == "/v1/completions")
        .map(|request| request.body["prompt"].as_array().map_or(1, Vec::len))
        .collect();
    assert_eq!(sizes, [3, 2, 1, 1]);
}

#[tokio::test]
async fn every_row_of_a_batch_is_submitted_when_the_call_is_made() {
    let server = Scripted::start(server_of("openai")).await;
    let opened = open(&spec("openai", &server.address)).await.unwrap();
    let rows = requests(&["a", "b", "c"], Sampling::default());
    let heard = batch(&opened, rows, BatchSize::new(1), CancellationToken::new()).await;
    let first: Vec<_> = heard.events.iter().take(3).map(|stamp| stamp.event.clone()).collect();
    let expected: Vec<_> = (0..3).map(|row| Event::Submitted { row }).collect();
    assert_eq!(first, expected);
}
