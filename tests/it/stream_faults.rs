//! Streams that break: every fault ends as a typed failure, and none hangs.

use std::time::{Duration, Instant};

use batchgen::provider::{BatchSize, Event, Failure, FailureKind, FinishReason, ServerOptions};
use batchgen::sampling::Sampling;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::wire::answer;
use crate::wire::heard::{Heard, batch, one, open, requests, spec};
use crate::wire::scripted::{Script, Scripted};

/// How an API sends a token, its end, and an error in mid-stream.
struct Api {
    provider: &'static str,
    path: &'static str,
    content_type: &'static str,
    token: &'static str,
    /// All that comes after the tokens.
    end: &'static [&'static str],
    error: &'static str,
}

const APIS: [Api; 3] = [
    Api {
        provider: "openai",
        path: "/v1/chat/completions",
        content_type: "text/event-stream",
        token: "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"tok \"}}]}\n\n",
        end: &[
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: [DONE]\n\n",
        ],
        error: "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\",\"code\":500}}\n\n",
    },
    Api {
        provider: "anthropic",
        path: "/v1/messages",
        content_type: "text/event-stream",
        token: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
                \"delta\":{\"type\":\"text_delta\",\"text\":\"tok \"}}\n\n",
        end: &[
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
            "data: {\"type\":\"message_stop\"}\n\n",
        ],
        error: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\
                \"message\":\"boom\"}}\n\n",
    },
    Api {
        provider: "ollama",
        path: "/api/chat",
        content_type: "application/x-ndjson",
        token: "{\"message\":{\"role\":\"assistant\",\"content\":\"tok \"},\"done\":false}\n",
        end: &["{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n"],
        error: "{\"error\":\"boom\"}\n",
    },
];

/// What one row says when its stream goes so, without retries.
async fn stream_of(api: &Api, script: Script) -> Heard {
    let heard = tokio::time::timeout(Duration::from_secs(20), async {
        let (server, options) = serve(api, script).await;
        let mut spec = spec(api.provider, &server.address);
        spec.server = options;
        let provider = open(&spec).await.unwrap();
        one(&provider, "hi", Sampling::default()).await
    });
    heard.await.expect("no fault may hang")
}

async fn serve(api: &Api, script: Script) -> (Scripted, ServerOptions) {
    let path = api.path;
    let server = Scripted::start(move |request| match request.path.as_str() {
        asked if asked == path => script.clone(),
        "/api/generate" => Script::json(200, &json!({"done": true, "done_reason": "load"})),
        other => answer(other),
    });
    let options =
        ServerOptions { retries: Some(0), idle_timeout_s: Some(1), ..ServerOptions::default() };
    (server.await, options)
}

fn start(api: &Api) -> Script {
    Script::stream(api.content_type)
}

#[track_caller]
fn failure<'h>(heard: &'h Heard, api: &Api, kind: FailureKind, part: &str) -> &'h Failure {
    assert_eq!(heard.called, Ok(()), "{}", api.provider);
    assert_eq!(heard.finished(0), None, "{}", api.provider);
    let failure = heard.failed(0).expect("the row fails");
    assert_eq!(failure.kind, kind, "{}: {}", api.provider, failure.message);
    assert!(failure.message.contains(part), "{}: {}", api.provider, failure.message);
    failure
}

#[tokio::test]
async fn a_clean_end_without_the_end_marker_is_a_cut_answer() {
    for api in &APIS {
        let heard = stream_of(api, start(api).send(api.token).send(api.token)).await;
        assert_eq!(heard.text(0), "tok tok ");
        failure(&heard, api, FailureKind::Protocol, "ended the stream without its end marker");
    }
}

#[tokio::test]
async fn a_reset_connection_fails_its_row_and_what_came_is_kept() {
    for api in &APIS {
        let script = start(api).send(api.token).wait(Duration::from_millis(50)).reset();
        let heard = stream_of(api, script).await;
        assert_eq!(heard.text(0), "tok ");
        failure(&heard, api, FailureKind::Transport, "broke");
    }
}

#[tokio::test]
async fn garbage_in_mid_stream_is_a_protocol_failure() {
    for api in &APIS {
        for garbage in
            ["data: {\"choi\n\n{\"mess\n", "data: \u{1b}[2J\n\n\u{1b}[2J\n", "data: 7\n\n7\n"]
        {
            let heard = stream_of(api, start(api).send(api.token).send(garbage)).await;
            let failure = failure(&heard, api, FailureKind::Protocol, "sent what its format");
            assert!(!failure.message.contains('\u{1b}'));
        }
    }
}

#[tokio::test]
async fn an_error_in_mid_stream_is_the_rows_failure() {
    for api in &APIS {
        let heard = stream_of(api, start(api).send(api.token).send(api.error)).await;
        assert_eq!(heard.text(0), "tok ");
        failure(&heard, api, FailureKind::Server, "boom");
    }
}

#[tokio::test]
async fn a_slow_drip_is_read_to_its_end() {
    for api in &APIS {
        let mut script = start(api);
        for text in [api.token, api.token].iter().chain(api.end) {
            // longer together than the longest silence that is allowed
            script = script.wait(Duration::from_millis(400)).send(text);
        }
        let heard = stream_of(api, script).await;
        assert_eq!(heard.text(0), "tok tok ");
        assert_eq!(heard.finished(0).unwrap().1, FinishReason::Stop);
    }
}

#[tokio::test]
async fn silence_ends_at_the_idle_timeout_before_and_after_the_first_token() {
    for api in &APIS {
        for script in
            [Script::default().hang(), start(api).hang(), start(api).send(api.token).hang()]
        {
            let began = Instant::now();
            let heard = stream_of(api, script).await;
            failure(&heard, api, FailureKind::Transport, "sent nothing for 1 s");
            assert!(began.elapsed() < Duration::from_secs(5));
        }
    }
}

#[tokio::test]
async fn a_stream_without_counts_leaves_them_unknown_and_the_tokens_are_counted() {
    for api in &APIS {
        let script =
            api.end.iter().fold(start(api).send(api.token), |script, end| script.send(end));
        let heard = stream_of(api, script).await;
        let (usage, reason) = heard.finished(0).unwrap();
        assert_eq!((usage.output_tokens, usage.prompt_tokens), (None, None), "{}", api.provider);
        assert_eq!(reason, FinishReason::Stop);
        let counted: usize = heard
            .events
            .iter()
            .map(|stamp| match stamp.event {
                Event::Tokens { count, .. } => count,
                _ => 0,
            })
            .sum();
        assert_eq!(counted, 1);
    }
}

#[tokio::test]
async fn an_answer_that_is_no_stream_says_what_it_is() {
    for api in &APIS {
        let page = Script::answer(200, &[("content-type", "text/html")], "<html>log in</html>");
        let heard = stream_of(api, page).await;
        failure(&heard, api, FailureKind::Protocol, "answered text/html where a stream");
    }
}

#[tokio::test]
async fn a_message_without_an_end_is_refused_at_a_limit() {
    for api in &APIS {
        let mut script = start(api).send("data: ");
        for _ in 0..9 {
            script = script.send(&"x".repeat(1 << 20));
        }
        let heard = stream_of(api, script).await;
        failure(&heard, api, FailureKind::Protocol, "a message of more than 8388608 bytes");
    }
}

#[tokio::test]
async fn a_stream_that_has_delivered_text_is_never_sent_again() {
    for api in &APIS {
        let script = start(api).send(api.token).wait(Duration::from_millis(50)).reset();
        let (server, _) = serve(api, script).await;
        let provider = open(&spec(api.provider, &server.address)).await.unwrap();
        let heard = one(&provider, "hi", Sampling::default()).await;
        failure(&heard, api, FailureKind::Transport, "not sent again, since text had arrived");
        assert_eq!(server.asked(api.path), 1);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_first_token_is_tried_again() {
    for api in &APIS {
        let broken = std::sync::atomic::AtomicBool::new(false);
        let (path, whole) = (
            api.path,
            api.end.iter().fold(start(api).send(api.token), |script, end| script.send(end)),
        );
        let cut = start(api).reset();
        let server = Scripted::start(move |request| match request.path.as_str() {
            asked if asked == path => {
                match broken.swap(true, std::sync::atomic::Ordering::SeqCst) {
                    false => cut.clone(),
                    true => whole.clone(),
                }
            }
            "/api/generate" => Script::json(200, &json!({"done": true})),
            other => answer(other),
        });
        let server = server.await;
        let provider = open(&spec(api.provider, &server.address)).await.unwrap();
        let heard = one(&provider, "hi", Sampling::default()).await;
        assert_eq!(heard.text(0), "tok ", "{}", api.provider);
        assert!(heard.finished(0).is_some());
        assert_eq!(server.asked(api.path), 2);
    }
}

#[tokio::test]
async fn a_cancelled_call_ends_soon_and_closes_its_connections() {
    for api in &APIS {
        let (server, options) = serve(api, start(api).send(api.token).hang()).await;
        let mut spec = spec(api.provider, &server.address);
        spec.server = ServerOptions { idle_timeout_s: None, ..options };
        let provider = open(&spec).await.unwrap();
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            stop.cancel();
        });
        let began = Instant::now();
        let rows = requests(&["a", "b", "c", "d"], Sampling::default());
        let heard = batch(&provider, rows, BatchSize::new(3), cancel).await;
        assert!(began.elapsed() < Duration::from_secs(3));
        assert_eq!(heard.called, Err(Failure::cancelled()));
        assert!((0..4).all(|row| heard.finished(row).is_none() && heard.failed(row).is_none()));
        assert_eq!((0..4).filter(|row| heard.text(*row) == "tok ").count(), 3);
        for _ in 0..100 {
            if server.left() == 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(server.left(), 3, "{}", api.provider);
    }
}
