//! What is sent to which server.

use std::sync::Arc;

use super::*;
use crate::prompts::Prompt;

fn request(row: usize, content: Content, sampling: Sampling) -> Request {
    let prompt = Prompt { index: row, id: String::new(), content, expect: None };
    let sampling = Arc::new(sampling);
    Request { row, prompt: Arc::new(prompt), raw: false, sampling, spending: None }
}

fn body(kind: Kind, model: &str) -> Body {
    Body::new(model.into(), kind, &ServerOptions::default())
}

fn chat(kind: Kind, model: &str, sampling: Sampling) -> Result<Value, Failure> {
    let written = body(kind, model).chat(&request(3, Content::Text("hi".into()), sampling))?;
    Ok(serde_json::from_slice(&written).unwrap())
}

fn everything() -> Sampling {
    Sampling {
        max_tokens: 7,
        temperature: 0.7,
        top_k: Some(40),
        top_p: Some(0.9),
        min_p: Some(0.05),
        seed: 11,
        stop: vec!["END".into()],
        ignore_eos: true,
    }
}

#[test]
fn every_parameter_reaches_a_server_that_takes_it() {
    let sent = chat(Kind::LlamaCpp, "m", everything()).unwrap();
    let expected = json!({
        "model": "m", "max_tokens": 7, "temperature": 0.7, "top_k": 40, "top_p": 0.9,
        "min_p": 0.05, "seed": 14, "stop": ["END"], "ignore_eos": true, "cache_prompt": false,
        "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "hi"}],
    });
    assert_eq!(sent, expected);
}

#[test]
fn greedy_text_needs_no_seed_and_no_filters() {
    let sent = chat(Kind::Unknown, "m", Sampling::default()).unwrap();
    let expected = json!({
        "model": "m", "max_tokens": 64, "temperature": 0.0, "stream": true,
        "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "hi"}],
    });
    assert_eq!(sent, expected);
}

#[test]
fn llama_cpp_is_told_that_there_is_no_filter() {
    let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
    let sent = chat(Kind::LlamaCpp, "m", sampling).unwrap();
    assert_eq!(
        (&sent["top_k"], &sent["top_p"], &sent["min_p"]),
        (&json!(0), &json!(1.0), &json!(0.0))
    );
}

#[test]
fn openai_gets_its_own_name_for_the_limit_and_its_reasoning_models_no_temperature() {
    let sent = chat(Kind::OpenAi, "gpt-4.1-mini", Sampling::default()).unwrap();
    assert_eq!(sent["max_completion_tokens"], 64);
    assert_eq!(sent["temperature"], 0.0);
    assert_eq!(sent["stream_options"]["include_obfuscation"], false);
    for model in ["o3-mini", "gpt-5-nano"] {
        let sent = chat(Kind::OpenAi, model, Sampling::default()).unwrap();
        assert_eq!(sent.get("temperature"), None, "{model}");
        assert!(body(Kind::OpenAi, model).details().is_some());
    }
    assert_eq!(body(Kind::OpenAi, "gpt-4.1-mini").details(), None);
}

#[test]
fn the_name_of_the_limit_can_be_chosen() {
    let field = Some(MaxTokensField::MaxCompletionTokens);
    let options = ServerOptions { max_tokens_field: field, ..ServerOptions::default() };
    let body = Body::new("m".into(), Kind::Unknown, &options);
    let written = body.chat(&request(0, Content::Text("hi".into()), Sampling::default())).unwrap();
    let sent: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!((sent.get("max_tokens"), &sent["max_completion_tokens"]), (None, &json!(64)));
}

#[test]
fn a_parameter_that_a_server_does_not_take_is_refused_and_named() {
    for (kind, sampling, named) in [
        (Kind::OpenAi, Sampling { top_k: Some(5), ..Sampling::default() }, "OpenAI takes no top_k"),
        (
            Kind::LmStudio,
            Sampling { min_p: Some(0.1), ..Sampling::default() },
            "LM Studio takes no min_p",
        ),
        (
            Kind::Tgi,
            Sampling { ignore_eos: true, ..Sampling::default() },
            "TGI takes no ignore_eos",
        ),
        (
            Kind::Unknown,
            Sampling { ignore_eos: true, ..Sampling::default() },
            "this server is not known to take ignore_eos",
        ),
    ] {
        let failure = chat(kind, "m", sampling).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unsupported);
        assert!(failure.message.starts_with(named), "{}", failure.message);
    }
}

#[test]
fn raw_prompts_go_as_one_string_or_as_an_array() {
    let requests: Vec<_> = ["a", "b"]
        .iter()
        .enumerate()
        .map(|(row, text)| request(row + 5, Content::Text((*text).into()), everything()))
        .collect();
    let written = |requests: &[Request]| -> Value {
        serde_json::from_slice(&body(Kind::Vllm, "m").completions(requests).unwrap()).unwrap()
    };
    let one = written(&requests[..1]);
    assert_eq!(
        (&one["prompt"], &one["stream_options"]),
        (&json!("a"), &json!({"include_usage": true}))
    );
    let two = written(&requests);
    assert_eq!((&two["prompt"], &two["seed"]), (&json!(["a", "b"]), &json!(16)));
    assert_eq!(two["stream_options"]["continuous_usage_stats"], true);
}

#[test]
fn a_conversation_keeps_its_roles() {
    let message =
        |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let content = Content::Messages(vec![message("system", "be brief"), message("user", "hi")]);
    let expected = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]);
    assert_eq!(messages(&content), expected);
}
