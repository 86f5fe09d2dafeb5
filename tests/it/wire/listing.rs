//! What servers list, and servers that are not ready to.

use std::sync::atomic::{AtomicUsize, Ordering};

use batchgen::provider::{FailureKind, ListedModel, OpenProvider};
use serde_json::json;

use super::heard::{open, registry, spec};
use super::scripted::{Script, Scripted};

async fn listed(provider: &str, address: &str) -> Vec<(String, String)> {
    let models = registry().models(&spec(provider, address)).await.unwrap();
    let words = |model: ListedModel| (model.name, model.facts.join(", "));
    models.into_iter().map(words).collect()
}

fn pair(name: &str, facts: &str) -> (String, String) {
    (name.to_owned(), facts.to_owned())
}

#[tokio::test]
async fn every_server_lists_its_models_with_what_it_knows_of_them() {
    let server = Scripted::start(|request| match request.path.split('?').next().unwrap() {
        "/v1/models" => Script::json(
            200,
            &json!({"data": [
                {"id": "a", "max_model_len": 4096},
                {"id": "b", "meta": {"size": 100_000_000, "n_ctx_train": 2048}},
                {"id": "bad\u{1b}[2Jname"}, {"id": ""}, {"object": "no id"}, 7,
            ]}),
        ),
        "/api/tags" => Script::json(
            200,
            &json!({"models": [
                {"name": "m:latest", "size": 5_000_000_000_u64,
                 "details": {"parameter_size": "8B", "quantization_level": "Q4_K_M"}},
                {"name": "other"},
            ]}),
        ),
        "/api/ps" => Script::json(200, &json!({"models": [{"name": "m:latest"}]})),
        "/api/v1/models" => Script::json(
            200,
            &json!({"models": [
                {"type": "embedding", "key": "e", "loaded_instances": []},
                {"type": "llm", "key": "m", "format": "gguf",
                 "loaded_instances": [{"id": "m", "config": {"context_length": 2048}}]},
            ]}),
        ),
        _ => Script::json(404, &json!({"error": "not found"})),
    })
    .await;
    let address = &server.address;
    let both = [pair("a", "context 4096"), pair("b", "100 MB, context 2048")];
    assert_eq!(listed("openai", address).await, both);
    assert_eq!(listed("anthropic", address).await, both);
    let pulled = [pair("m:latest", "loaded, 8B, Q4_K_M, 5.00 GB"), pair("other", "")];
    assert_eq!(listed("ollama", address).await, pulled);
    let studio = [pair("e", "embeddings only"), pair("m", "loaded, gguf, context 2048")];
    assert_eq!(listed("lmstudio", address).await, studio);
}

#[tokio::test]
async fn a_list_that_comes_in_pages_is_read_to_its_end() {
    let asked = AtomicUsize::new(0);
    let server = Scripted::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Script::json(200, &json!({"data": [{"id": "a"}], "has_more": true, "last_id": "a"})),
        1 => Script::json(200, &json!({"data": [{"id": "b"}], "has_more": true, "last_id": "b"})),
        // a server that says the same for ever is not asked for ever
        _ => Script::json(200, &json!({"data": [{"id": "c"}], "has_more": true, "last_id": "b"})),
    })
    .await;
    let names = listed("anthropic", &server.address).await;
    assert_eq!(names, [pair("a", ""), pair("b", ""), pair("c", "")]);
    let paths: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths[1], "/v1/models?limit=1000&after_id=a");
}

#[tokio::test]
async fn a_server_without_a_list_says_so() {
    let server = Scripted::start(|_| Script::json(404, &json!({"error": "not found"}))).await;
    let failure = registry().models(&spec("openai", &server.address)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Protocol);
    assert!(failure.message.contains("has no list of models"), "{}", failure.message);
    let nobody = registry().models(&spec("ollama", "http://127.0.0.1:1")).await.unwrap_err();
    assert_eq!(nobody.kind, FailureKind::Transport);
    let unknown = registry().models(&spec("cloud", "")).await.unwrap_err();
    assert_eq!(unknown.kind, FailureKind::Unsupported);
}

#[tokio::test]
async fn a_server_that_is_still_loading_is_waited_for() {
    let asked = AtomicUsize::new(0);
    let server = Scripted::start(move |request| match request.path.as_str() {
        "/v1/models" if asked.fetch_add(1, Ordering::SeqCst) < 2 => Script::json(
            503,
            &json!({"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}),
        ),
        path => super::answer(path),
    })
    .await;
    let failure = registry().models(&spec("openai", &server.address)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Overloaded);
    assert!(failure.message.contains("is not ready yet (503 unavailable_error): Loading model"));
    let provider = open(&spec("openai", &server.address)).await.unwrap();
    assert_eq!(provider.info().model, "m", "asked again until it lists its models");
}
