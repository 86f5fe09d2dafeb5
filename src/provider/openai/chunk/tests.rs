//! Streams as servers send them, and what must come of them.

use tokio::sync::mpsc;

use super::*;
use crate::provider::{Event, FailureKind, ServerEvent, Sink};

/// The events of a stream for rows 10, 11, …, and how it ends.
fn decode(rows: usize, messages: &[&str]) -> (Vec<Event>, Result<Flow, Failure>) {
    let (sender, mut events) = mpsc::unbounded_channel();
    let sink = Sink::new(sender);
    let rows: Vec<_> = (10..10 + rows).collect();
    let mut delivery = Delivery::new(&rows, "host:1", &sink);
    let mut ended = Ok(Flow::More);
    for message in messages {
        ended = ChunkDecoder.take(message.as_bytes(), &mut delivery);
        if ended == Ok(Flow::End) {
            ended = delivery.end().map(|()| Flow::End);
        }
        if ended != Ok(Flow::More) {
            break;
        }
    }
    let mut all = Vec::new();
    while let Ok(stamp) = events.try_recv() {
        all.push(stamp.event);
    }
    (all, ended)
}

fn text(row: usize, text: &str) -> Event {
    Event::Tokens { row, count: 1, ids: Vec::new(), text: text.into() }
}

fn finished(
    row: usize,
    prompt: Option<usize>,
    output: Option<usize>,
    reason: FinishReason,
) -> Event {
    Event::Finished { row, usage: Usage { prompt_tokens: prompt, output_tokens: output }, reason }
}

#[test]
fn a_chat_stream_gives_its_text_its_counts_and_its_reason() {
    let (events, ended) = decode(
        1,
        &[
            r#"{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null,"obfuscation":"x"}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Hé"},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":" 🙂"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"completion_tokens_details":{"reasoning_tokens":0}}}"#,
            "[DONE]",
        ],
    );
    assert_eq!(ended, Ok(Flow::End));
    let expected =
        [text(10, "Hé"), text(10, " 🙂"), finished(10, Some(9), Some(3), FinishReason::Stop)];
    assert_eq!(events, expected);
}

#[test]
fn the_first_chunk_of_llama_cpp_has_null_content_and_its_last_one_has_timings() {
    let (events, ended) = decode(
        1,
        &[
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]}"#,
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"I"}}]}"#,
            r#"{"choices":[{"finish_reason":"length","index":0,"delta":{}}]}"#,
            r#"{"choices":[],"usage":{"completion_tokens":1,"prompt_tokens":32,"prompt_tokens_details":{"cached_tokens":2}},"timings":{"cache_n":2,"prompt_n":30,"prompt_ms":74.5,"predicted_n":1,"predicted_ms":21.0}}"#,
            "[DONE]",
        ],
    );
    assert_eq!(ended, Ok(Flow::End));
    let times = ServerTimes {
        prefill: Some(Duration::from_micros(74_500)),
        decode: Some(Duration::from_millis(21)),
        cached_tokens: Some(2),
        ..ServerTimes::default()
    };
    let expected = [
        text(10, "I"),
        Event::Server(ServerEvent::Times { row: 10, times }),
        finished(10, Some(32), Some(1), FinishReason::Length),
    ];
    assert_eq!(events, expected);
}

#[test]
fn the_choices_of_a_prompt_array_are_matched_by_index_and_end_on_their_own() {
    let (events, ended) = decode(
        2,
        &[
            "null",
            r#"{"choices":[{"text":" five","index":1,"finish_reason":null}]}"#,
            r#"{"choices":[{"text":" Paris","index":0,"finish_reason":null}]}"#,
            r#"{"choices":[{"text":"","index":1,"finish_reason":"length"}],"usage":{"completion_tokens":1,"prompt_tokens":7}}"#,
            r#"{"choices":[{"text":".","index":0,"finish_reason":null}]}"#,
            r#"{"choices":[{"text":"","index":0,"finish_reason":"stop"}],"usage":{"completion_tokens":2,"prompt_tokens":5}}"#,
            "[DONE]",
        ],
    );
    assert_eq!(ended, Ok(Flow::End));
    let expected = [
        text(11, " five"),
        text(10, " Paris"),
        finished(11, Some(7), Some(1), FinishReason::Length),
        text(10, "."),
        finished(10, Some(5), Some(2), FinishReason::Stop),
    ];
    assert_eq!(events, expected);
}

#[test]
fn counts_of_a_whole_array_are_nobodys() {
    let (events, ended) = decode(
        2,
        &[
            r#"{"choices":[{"text":"a","index":0,"finish_reason":"stop"},{"text":"b","index":1,"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"completion_tokens":9,"prompt_tokens":70}}"#,
            "[DONE]",
        ],
    );
    assert_eq!(ended, Ok(Flow::End));
    let end = |row| finished(row, None, None, FinishReason::Stop);
    assert_eq!(events, [text(10, "a"), text(11, "b"), end(10), end(11)]);
}

#[test]
fn reasoning_is_text_between_think_marks() {
    let (events, _) = decode(
        1,
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"Hm"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"reasoning":"m"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Yes"}}]}"#,
        ],
    );
    assert_eq!(events, [text(10, "<think>Hm"), text(10, "m"), text(10, "</think>Yes")]);
}

#[test]
fn what_is_not_a_chunk_is_a_typed_failure() {
    use FailureKind::*;
    for (messages, kind, part) in [
        (
            &[r#"{"error":{"message":"boom","type":"server_error","code":500}}"#][..],
            Server,
            "host:1 failed (500 server_error): boom",
        ),
        (&[r#"{"error":"no such thing"}"#], Server, "no such thing"),
        (&["<html>"], Protocol, "sent what its format does not have"),
        (&[r#"{"choices":[{"index":0,"delta":{"content":"cut"#], Protocol, "sent what its format"),
        (
            &[r#"{"choices":[{"index":3,"delta":{"content":"x"}}]}"#],
            Protocol,
            "answered prompt 4 of 1",
        ),
        (&[r#"{"choices":[{"index":0,"delta":{"content":7}}]}"#], Protocol, "invalid type"),
        (&["[DONE]"], Protocol, "ended the stream without an answer"),
    ] {
        let (_, ended) = decode(1, messages);
        let failure = ended.unwrap_err();
        assert_eq!(failure.kind, kind, "{messages:?}");
        assert!(failure.message.contains(part), "{}", failure.message);
    }
}

#[test]
fn every_reason_has_its_word() {
    let reason = |word: &str| {
        let chunk =
            format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{word}"}}]}}"#);
        let (events, _) = decode(1, &[&chunk, "[DONE]"]);
        match &events[0] {
            Event::Finished { reason, .. } => reason.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason("stop"), FinishReason::Stop);
    assert_eq!(reason("length"), FinishReason::Length);
    assert_eq!(reason("tool_calls"), FinishReason::Tool);
    assert_eq!(reason("content_filter"), FinishReason::Filter);
    assert_eq!(reason("weird"), FinishReason::Other("weird".into()));
    assert_eq!(reason(""), FinishReason::Other("not given".into()));
}
