//! The token ids of a prompt: what the model is given, from what the user wrote.

use super::EngineError;
use super::chat_template::ChatTemplate;
use super::tokenizer::Tokenizer;
use crate::prompts::{Content, Message};

/// The token ids of a prompt.
///
/// A text becomes one user message where the model has a template; with `raw`, or without a
/// template, it is taken as it is. Special tokens that are written in a prompt are recognised.
/// The model's begin token comes first where its tokenizer adds one, and never twice.
///
/// # Errors
/// A conversation for a model without a template, a conversation that the template refuses,
/// and a prompt without any token.
pub fn encode_prompt(
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    content: &Content,
    raw: bool,
) -> Result<Vec<u32>, EngineError> {
    let ids = match (content, template) {
        (Content::Text(text), Some(template)) if !raw => {
            let message = Message { role: "user".into(), content: text.clone() };
            encode_messages(tokenizer, template, &[message])?
        }
        (Content::Text(text), _) => tokenizer.encode(text, true, true)?,
        (Content::Messages(messages), Some(template)) => {
            encode_messages(tokenizer, template, messages)?
        }
        (Content::Messages(_), None) => {
            return Err(EngineError::InvalidRequest(
                "the prompt is a conversation, but the model has no chat template; \
                 use plain text prompts or a model with a template"
                    .into(),
            ));
        }
    };
    if ids.is_empty() {
        return Err(EngineError::InvalidRequest(
            "the prompt is empty, and this model needs at least one token".into(),
        ));
    }
    Ok(ids)
}

fn encode_messages(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<Vec<u32>, EngineError> {
    let mut ids = tokenizer.encode(&template.render(messages)?, true, false)?;
    tokenizer.begin(&mut ids);
    Ok(ids)
}

#[cfg(test)]
mod tests;
