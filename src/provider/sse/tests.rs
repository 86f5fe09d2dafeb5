//! The splitter against the format's rules, and against itself under any chunking.

use proptest::prelude::*;

use super::*;
use crate::provider::framing::cut;

fn events(chunks: &[&[u8]]) -> Result<Vec<(String, String)>, TooLong> {
    let mut splitter = SseSplitter::new(64);
    let mut events = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut take = |event: SseEvent<'_>| {
        events.push((text(event.name), text(event.data)));
        Ok(())
    };
    for chunk in chunks {
        splitter.push(chunk, &mut take)?;
    }
    splitter.finish(&mut take)?;
    Ok(events)
}

fn data(text: &str) -> Vec<String> {
    events(&[text.as_bytes()]).unwrap().into_iter().map(|(_, data)| data).collect()
}

#[test]
fn lines_end_with_lf_cr_or_crlf() {
    for end in ["\n", "\r", "\r\n"] {
        let text = ["data: a", "", "data: b", "data: c", "", ""].join(end);
        assert_eq!(data(&text), ["a", "b\nc"], "{end:?}");
    }
}

#[test]
fn comments_and_unknown_fields_are_skipped_and_do_not_end_an_event() {
    assert_eq!(
        data(": keepalive 31/32\n\n:\n\ndata: a\n: x\nid: 7\nretry: 9\ndata: b\n\n"),
        ["a\nb"]
    );
}

#[test]
fn one_space_after_the_colon_belongs_to_the_format_and_a_second_to_the_data() {
    assert_eq!(data("data:a\n\ndata:  b\n\ndata\n\ndata:\n\n"), ["a", " b", "", ""]);
}

#[test]
fn the_name_of_an_event_is_its_own() {
    let text = b"event: error\ndata: x\n\ndata: y\n\nevent: ping\n\ndata: z\n\n";
    let named = |name: &str, data: &str| (name.to_owned(), data.to_owned());
    assert_eq!(events(&[text]).unwrap(), [named("error", "x"), named("", "y"), named("", "z")]);
}

#[test]
fn a_byte_order_mark_at_the_start_is_not_data() {
    assert_eq!(data("\u{feff}data: a\n\ndata: \u{feff}\n\n"), ["a", "\u{feff}"]);
}

#[test]
fn an_event_at_the_end_of_the_stream_needs_no_blank_line() {
    assert_eq!(data("data: a\n\ndata: [DONE]"), ["a", "[DONE]"]);
    assert_eq!(data("data: a\n\n"), ["a"]);
}

#[test]
fn an_event_without_an_end_is_refused_at_the_limit_by_one_line_or_by_many() {
    let long = format!("data: {}", "x".repeat(80));
    assert_eq!(events(&[long.as_bytes()]), Err(TooLong { limit: 64 }));
    let many = "data: 0123456789\n".repeat(9);
    assert_eq!(events(&[many.as_bytes()]), Err(TooLong { limit: 64 }));
    let comments = ": 0123456789\n".repeat(99);
    assert_eq!(events(&[comments.as_bytes()]), Ok(Vec::new()));
}

#[test]
fn an_event_cut_inside_a_character_keeps_the_character() {
    let text = "data: naïve 🙂\n\n".as_bytes();
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(events(&bytes).unwrap(), [(String::new(), "naïve 🙂".to_owned())]);
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_events(
        text in "((data|event|:|id)?:? ?[aé🙂]{0,3}(\r|\n|\r\n){0,3}){0,12}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let bytes = text.as_bytes();
        prop_assert_eq!(events(&cut(bytes, &cuts)), events(&[bytes]));
    }

    #[test]
    fn what_is_written_is_read(
        messages in prop::collection::vec("[a-zé🙂 :]{0,8}(\n[a-z:]{0,4}){0,2}", 0..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut text = String::new();
        for message in &messages {
            for line in message.split('\n') {
                text += &format!("data: {line}\n");
            }
            text += "\n";
        }
        let read = events(&cut(text.as_bytes(), &cuts)).unwrap();
        prop_assert_eq!(read.into_iter().map(|(_, data)| data).collect::<Vec<_>>(), messages);
    }
}
