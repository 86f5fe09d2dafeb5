//! Makes a conversation into the text a model was trained on, by the model's own template.
//!
//! Templates are written for the Python engine that `transformers` uses; this module gives them
//! the functions and settings they find there. Tokens are [`super::tokenizer`]'s.

mod functions;

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, context};
use serde_json::Value as Json;

use super::tokenizer::{Metadata, Tokenizer, read_json};
use super::{EngineError, ModelSource};
use crate::prompts::Message;

/// The largest template that is read; the largest published ones have 30 kB.
const MOST_TEMPLATE_BYTES: usize = 1 << 20;

/// What one rendering may cost: instructions, and bytes by 64.
const FUEL: u64 = 4_000_000;

/// The name of the only template in its environment.
const NAME: &str = "chat template";

/// The chat template of a model.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The template of `source`: chat_template.jinja, else the one in tokenizer_config.json,
    /// else the one in the GGUF metadata. `None` if the model has none.
    ///
    /// # Errors
    /// A template is there but cannot be read or has an error.
    pub fn load(
        source: &ModelSource,
        gguf: Option<&HashMap<String, gguf_file::Value>>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, EngineError> {
        let path = source.weights.path();
        let text = match source.chat_template.as_deref().map(read_template).transpose()? {
            Some(text) => Some(text),
            None => match source.tokenizer_config.as_deref().map(configured).transpose()?.flatten()
            {
                Some(text) => Some(text),
                None => gguf
                    .map(|entries| Metadata::new(path, entries).text("tokenizer.chat_template"))
                    .transpose()?
                    .flatten()
                    .map(str::to_owned),
            },
        };
        let bos = tokenizer.bos_text().unwrap_or_default();
        let eos = tokenizer.eos_text().unwrap_or_default();
        let new = |text: String| {
            Self::new(text, bos, eos)
                .map_err(|error| EngineError::Model(format!("{}: {error}", path.display())))
        };
        text.map(new).transpose()
    }

    /// A template from its text, for a model with these begin and end tokens.
    ///
    /// # Errors
    /// The text is too long or not a template.
    pub fn new(text: String, bos: &str, eos: &str) -> Result<Self, EngineError> {
        if text.len() > MOST_TEMPLATE_BYTES {
            return Err(EngineError::Model(format!(
                "the chat template has {} bytes; {MOST_TEMPLATE_BYTES} can be used",
                text.len()
            )));
        }
        let mut environment = environment();
        environment.add_template_owned(NAME, text).map_err(|error| {
            EngineError::Model(format!("the chat template has an error: {}", reason(&error)))
        })?;
        Ok(Self { environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The text of a conversation, ending where the model's answer begins.
    ///
    /// # Errors
    /// The template refuses the conversation (many want turns to alternate), fails, or does
    /// not come to an end.
    pub fn render(&self, messages: &[Message]) -> Result<String, EngineError> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => &message.role, content => &message.content })
            .collect();
        let context = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => &self.bos,
            eos_token => &self.eos,
            tools => (),
            documents => (),
        };
        let rendered =
            self.environment.get_template(NAME).and_then(|template| template.render(context));
        rendered.map_err(|error| {
            EngineError::InvalidRequest(format!(
                "the model's chat template does not take this conversation: {}",
                reason(&error)
            ))
        })
    }
}

/// The settings of `transformers` (`utils/chat_template_utils.py`).
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("the delimiters are the default ones"),
    );
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    functions::add(&mut environment);
    environment
}

/// One line of what went wrong and where.
fn reason(error: &minijinja::Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{detail} (line {line} of the template)"),
        None => detail,
    }
}

fn read_template(path: &Path) -> Result<String, EngineError> {
    let failed = |error: std::io::Error| {
        EngineError::Model(format!("{}: it cannot be read: {error}", path.display()))
    };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MOST_TEMPLATE_BYTES as u64 {
        return Err(EngineError::Model(format!(
            "{}: the chat template has {length} bytes; {MOST_TEMPLATE_BYTES} can be used",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// The template in a tokenizer_config.json: a string, or the one named "default" of a list.
fn configured(path: &Path) -> Result<Option<String>, EngineError> {
    let config: Json = read_json(path)?;
    let named_default = |entry: &&Json| entry.get("name").and_then(Json::as_str) == Some("default");
    let template = match config.get("chat_template") {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) => Some(text.as_str()),
        Some(Json::Array(list)) if list.iter().find(named_default).is_none() => return Ok(None),
        Some(Json::Array(list)) => list
            .iter()
            .find(named_default)
            .and_then(|entry| entry.get("template"))
            .and_then(Json::as_str),
        Some(_) => None,
    };
    template.map(|text| Some(text.to_owned())).ok_or_else(|| {
        EngineError::Model(format!(
            "{}: chat_template is neither a text nor a list of named templates",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests;
