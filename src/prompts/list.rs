//! Grows a list from records: numbers and names them, applies the template, keeps the limits.

use std::collections::HashMap;
use std::sync::Arc;

use super::json::too_many;
use super::options::bytes;
use super::record::Record;
use super::{Content, Limits, LoadOptions, Prompt, PromptError, PromptList};

pub(super) struct ListBuilder<'a> {
    list: PromptList,
    /// The list in messages: the path, where [`PromptList::name`] is only a file name.
    shown: String,
    options: &'a LoadOptions,
    /// Lines of the unique ids.
    unique: HashMap<String, usize>,
    bytes: usize,
}

impl<'a> ListBuilder<'a> {
    pub fn new(name: &str, shown: &str, options: &'a LoadOptions) -> Self {
        Self {
            list: PromptList { name: name.to_owned(), prompts: Vec::new() },
            shown: shown.to_owned(),
            options,
            unique: HashMap::new(),
            bytes: 0,
        }
    }

    /// The list as messages call it.
    pub fn name(&self) -> &str {
        &self.shown
    }

    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    pub fn column(&self) -> Option<&str> {
        self.options.column.as_deref()
    }

    pub fn has_template(&self) -> bool {
        self.options.template.is_some()
    }

    /// An error in this line of the list.
    pub fn error(&self, line: usize, reason: impl Into<String>) -> PromptError {
        PromptError::at(&self.shown, line, reason)
    }

    /// Adds the record that begins in this line.
    pub fn push(&mut self, line: usize, record: Record) -> Result<(), PromptError> {
        self.add(line, record).map_err(|reason| self.error(line, reason))
    }

    pub fn finish(self) -> PromptList {
        self.list
    }

    fn add(&mut self, line: usize, mut record: Record) -> Result<(), String> {
        let index = self.list.prompts.len();
        if index == self.limits().prompts {
            return Err(too_many(index));
        }
        let id = record.id.take().unwrap_or_else(|| format!("row-{}", index + 1));
        if record.unique {
            if let Some(earlier) = self.unique.insert(id.clone(), line) {
                return Err(format!(
                    "custom_id \"{id}\" is already the one of line {earlier}: make it unique"
                ));
            }
        }
        let expect = record.expect.take();
        let content = match &self.options.template {
            Some(template) => Content::Text(template.render(index, &id, record)?),
            None => record.content.ok_or("there is no prompt")?,
        };
        self.admit(&content)?;
        self.list.prompts.push(Arc::new(Prompt { index, id, content, expect }));
        Ok(())
    }

    fn admit(&mut self, content: &Content) -> Result<(), String> {
        let Limits { prompt_bytes, list_bytes, .. } = *self.limits();
        let size = content.bytes();
        if size > prompt_bytes {
            return Err(format!(
                "the prompt has {size} bytes, the limit is {}",
                bytes(prompt_bytes)
            ));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > list_bytes {
            return Err(format!(
                "the prompts together are larger than {}, the limit of a list: split it",
                bytes(list_bytes)
            ));
        }
        match content {
            Content::Text(text) if text.trim().is_empty() => {
                Err("the prompt is empty: fill it or take it out".to_owned())
            }
            Content::Text(_) | Content::Messages(_) => Ok(()),
        }
    }
}
