//! Prompt lists: what the user loaded, in order.
//!
//! This module reads files and applies templates; it knows nothing of tokens or models.
//!
//! What a file holds is decided by its extension alone, never by its content:
//!
//! | source | prompts |
//! |---|---|
//! | `.txt` | one a line, blank lines are skipped; where a line is exactly `---`, the blocks between such lines are prompts of many lines |
//! | `.jsonl` | one a line: a string, or an object with `prompt`, `text` or `messages`, or a line of an OpenAI batch file (`custom_id` and `body`) |
//! | `.json` | an array of the same, or an object with such an array as `prompts` |
//! | `.csv`, `.tsv` | one a record below a header; the column is chosen, else `prompt`, `text`, or the only one |
//! | a folder | one a file, in the order of names |
//! | `-` | standard input: JSON Lines where its first line is a JSON object or string, else as `.txt` |
//! | a name | a list that comes with the program: [`BUILT_IN`] |
//!
//! Records may carry `id` (or `custom_id`, which must be unique) and `expect`, a word that the
//! answer should contain. A [`Template`] over any of them makes the prompt from all fields of
//! its record. [`Limits`] bound what is read.

mod bounded;
mod built_in;
mod error;
mod folder;
mod json;
mod lines;
mod list;
mod options;
mod record;
mod source;
mod table;
mod template;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use built_in::{BUILT_IN, BuiltIn};
pub use error::PromptError;
pub(crate) use error::{nearest, printable};
pub use options::{Limits, LoadOptions};
pub use source::{Format, PromptSource, load, load_bytes};
pub use template::Template;

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

    /// Bytes of all its texts.
    pub fn bytes(&self) -> usize {
        match self {
            Content::Text(text) => text.len(),
            Content::Messages(messages) => {
                messages.iter().map(|message| message.content.len()).sum()
            }
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

impl PromptList {
    /// How many prompts there are.
    pub fn len(&self) -> usize {
        self.prompts.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty()
    }
}
