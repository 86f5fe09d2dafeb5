//! One case for each shape of error body, with what must come of it.

use std::time::Duration;

use reqwest::header::HeaderValue;

use super::*;

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Rejection {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    Rejection::of_answer("host:1", status, &map, body.as_bytes())
}

/// Headers of an answer.
type Headers = &'static [(&'static str, &'static str)];

#[test]
fn every_shape_of_error_body_becomes_a_typed_failure() {
    use FailureKind::*;
    let cases = [
        // OpenAI
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            Auth,
            "host:1 refused the key (401 invalid_api_key invalid_request_error): Incorrect API key provided",
        ),
        (
            400,
            r#"{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            InvalidRequest,
            "host:1 refused the request (400 context_length_exceeded invalid_request_error): too long",
        ),
        (
            404,
            r#"{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","code":"model_not_found"}}"#,
            Model,
            "host:1 cannot serve the model (404 model_not_found invalid_request_error): The model `x` does not exist",
        ),
        (
            429,
            r#"{"error":{"message":"no credit","type":"insufficient_quota","code":"credit_balance_exhausted"}}"#,
            Auth,
            "host:1 says that the account's money or limit is used up (429 credit_balance_exhausted insufficient_quota): no credit",
        ),
        // llama.cpp: a number as the code
        (
            400,
            r#"{"error":{"code":400,"message":"request (931 tokens) exceeds the available context size","type":"exceed_context_size_error"}}"#,
            InvalidRequest,
            "host:1 refused the request (400 exceed_context_size_error): request (931 tokens) exceeds the available context size",
        ),
        (
            503,
            r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
            Overloaded,
            "host:1 is not ready yet (503 unavailable_error): Loading model",
        ),
        // Anthropic
        (
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded","details":{"error_code":"x"}},"request_id":"req_1"}"#,
            Overloaded,
            "host:1 has no capacity now (529 overloaded_error x): Overloaded",
        ),
        (
            402,
            r#"{"type":"error","error":{"type":"billing_error","message":"pay"}}"#,
            Auth,
            "host:1 says that the account's money or limit is used up (402 billing_error): pay",
        ),
        // Ollama, mlx_lm: a string
        (
            404,
            r#"{"error":"model \"x\" not found, try pulling it first"}"#,
            Model,
            "host:1 cannot serve the model (404): model \"x\" not found, try pulling it first",
        ),
        (
            500,
            r#"{"error":"model requires more system memory (9 GiB) than is available"}"#,
            OutOfMemory,
            "host:1 has not enough memory (500): model requires more system memory (9 GiB) than is available",
        ),
        // TGI
        (
            429,
            r#"{"error":"Model is overloaded","error_type":"overloaded"}"#,
            RateLimited,
            "host:1 limits the rate of requests (429 overloaded): Model is overloaded",
        ),
        // FastAPI
        (
            422,
            r#"{"detail":[{"loc":["body","messages"],"msg":"Field required","type":"missing"}]}"#,
            InvalidRequest,
            "host:1 refused the request (422): Field required",
        ),
        // old vLLM
        (
            400,
            r#"{"object":"error","message":"bad","type":"BadRequestError","param":null,"code":400}"#,
            InvalidRequest,
            "host:1 refused the request (400 BadRequestError): bad",
        ),
        // not JSON
        (
            404,
            "Not Found",
            Protocol,
            "host:1 has no such route: is the address right? (404): Not Found",
        ),
        (
            413,
            "<html><body>too large</body></html>",
            InvalidRequest,
            "host:1 refused the request (413)",
        ),
        (500, "", Server, "host:1 failed (500)"),
        (502, "bad\u{1b}[31m gateway\n", Transport, "host:1 timed out (502): bad [31m gateway"),
    ];
    for (status, body, kind, message) in cases {
        let failure = answer(status, &[], body).failure;
        assert_eq!((failure.kind, failure.message.as_str()), (kind, message));
    }
}

#[test]
fn an_error_inside_a_stream_is_typed_by_its_words() {
    for (message, kind) in [
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            FailureKind::Overloaded,
        ),
        (r#"{"error":{"code":500,"message":"boom","type":"server_error"}}"#, FailureKind::Server),
        (r#"{"error":{"message":"slow","code":429}}"#, FailureKind::RateLimited),
        (r#"{"error":"an error was encountered while running the model"}"#, FailureKind::Server),
    ] {
        let value = serde_json::from_str(message).unwrap();
        assert_eq!(Complaint::find(&value).unwrap().failure("h", None).kind, kind, "{message}");
    }
    for message in [r#"{"choices":[],"error":null}"#, r#"{"type":"ping"}"#, "null", "[1]"] {
        assert_eq!(Complaint::find(&serde_json::from_str(message).unwrap()), None, "{message}");
    }
}

#[test]
fn what_the_server_says_about_trying_again_is_kept() {
    let anthropic = r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#;
    let money = r#"{"error":{"message":"x","type":"insufficient_quota"}}"#;
    let seconds = Duration::from_secs;
    let cases: [(u16, Headers, &str, Again); 10] = [
        (429, &[], "", Again::Backoff),
        (429, &[("retry-after", "7")], "", Again::After(seconds(7))),
        (
            429,
            &[("retry-after", "7"), ("retry-after-ms", "1500")],
            "",
            Again::After(Duration::from_millis(1500)),
        ),
        (429, &[("x-should-retry", "false"), ("retry-after", "7")], "", Again::Never),
        (400, &[("x-should-retry", "true")], "", Again::Backoff),
        (400, &[], "", Again::Never),
        (500, &[], "", Again::Backoff),
        (529, &[("retry-after", "2")], "", Again::After(seconds(2))),
        (429, &[], anthropic, Again::Never),
        (429, &[("retry-after", "7"), ("x-should-retry", "true")], money, Again::Never),
    ];
    for (status, headers, body, again) in cases {
        assert_eq!(answer(status, headers, body).again, again, "{status} {headers:?} {body}");
    }
    assert_eq!(answer(429, &[("retry-after", "7")], "").failure.retry_after, Some(seconds(7)));
}

#[test]
fn a_long_text_of_a_server_is_cut_and_its_control_characters_are_gone() {
    let text = plain(&format!("a\x1b]0;title\x07b\n{}", "é".repeat(1000)));
    assert!(text.starts_with("a ]0;title b é"), "{text}");
    assert_eq!(text.chars().count(), LONGEST_TEXT + 1);
}
