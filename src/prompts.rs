//! Prompt lists: what the user loaded, in order.
//!
//! This module reads files and applies templates; it knows nothing of tokens or models.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One prompt of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// Place in the list, from 0.
    pub index: usize,
    /// The user's own name for it (`custom_id`, file name), else `"row-<index + 1>"`.
    pub id: String,
    /// What is sent to the model.
    pub content: Content,
    /// A word the answer should contain; canary lists give each prompt its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// What is sent to the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// One user message where the model has a chat template, else plain text.
    Text(String),
    /// A conversation.
    Messages(Vec<Message>),
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text of the message.
    pub content: String,
}

impl Content {
    /// One line of text for lists and reports: the prompt itself, or the last user message.
    pub fn display(&self) -> &str {
        match self {
            Content::Text(text) => text,
            Content::Messages(messages) => messages
                .iter()
                .rev()
                .find(|message| message.role == "user")
                .or(messages.last())
                .map_or("", |message| &message.content),
        }
    }
}

/// What the user loaded, in order. Duplicated prompts are legal; so is an empty list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptList {
    /// A file name or the name of a built-in list.
    pub name: String,
    /// The prompts; `prompts[i].index == i`.
    pub prompts: Vec<Arc<Prompt>>,
}
