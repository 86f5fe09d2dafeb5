//! Prompts to ids, over the small vocabularies of the tokenizer's tests.

use candle_core::quantized::gguf_file::Value;

use super::*;
use crate::engine::tokenizer::samples;

const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}";

fn ids(content: Content, template: Option<&str>, raw: bool) -> Result<Vec<u32>, EngineError> {
    let tokenizer = samples::byte_level(&[("tokenizer.ggml.add_bos_token", Value::Bool(true))]);
    let template = template.map(|text| {
        let bos = tokenizer.bos_text().unwrap_or_default();
        ChatTemplate::new(text.into(), bos, "").unwrap()
    });
    encode_prompt(&tokenizer, template.as_ref(), &content, raw)
}

fn text(text: &str) -> Content {
    Content::Text(text.into())
}

fn conversation(contents: &[&str]) -> Content {
    let message = |content: &&str| Message { role: "user".into(), content: (*content).into() };
    Content::Messages(contents.iter().map(message).collect())
}

fn expected(words: &str) -> Vec<u32> {
    samples::byte_level(&[]).encode(words, true, false).unwrap()
}

#[test]
fn a_text_is_one_user_message_where_there_is_a_template() {
    assert_eq!(ids(text("ab"), Some(TEMPLATE), false), Ok(expected("<s>[ab]")));
    assert_eq!(ids(text("ab"), Some(TEMPLATE), true), Ok(expected("<s>ab")));
    assert_eq!(ids(text("ab"), None, false), Ok(expected("<s>ab")));
}

#[test]
fn the_begin_token_comes_once_whether_or_not_the_template_writes_it() {
    let without = TEMPLATE.replace("{{ bos_token }}", "");
    assert_eq!(ids(text("ab"), Some(&without), false), Ok(expected("<s>[ab]")));
    assert_eq!(ids(text("ab"), Some(TEMPLATE), false), Ok(expected("<s>[ab]")));
}

#[test]
fn a_conversation_needs_a_template_even_when_texts_are_raw() {
    let messages = conversation(&["a", "b"]);
    assert_eq!(ids(messages.clone(), Some(TEMPLATE), true), Ok(expected("<s>[a][b]")));
    let error = ids(messages, None, false).unwrap_err();
    assert!(
        matches!(&error, EngineError::InvalidRequest(reason) if reason.contains("no chat template"))
    );
}

#[test]
fn a_prompt_without_a_token_is_refused() {
    let tokenizer = samples::byte_level(&[]);
    let error = encode_prompt(&tokenizer, None, &text(""), true).unwrap_err();
    assert!(matches!(&error, EngineError::InvalidRequest(reason) if reason.contains("empty")));
}
