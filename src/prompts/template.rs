//! Templates over records: `Summarize: {{ text }}`.
//!
//! The language is Jinja's, as minijinja implements it. Variables are all fields of the record,
//! and where the record has none of these names: `prompt` and `text` (the prompt), `index`
//! (from 0) and `id`. A variable that is not there is an error. Work and memory of one
//! rendering are bounded; other files cannot be included.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value;

use super::bounded;
use super::record::Record;
use super::{Content, Limits, PromptError};

/// Instructions, and 64-byte pieces of data, that one rendering may use.
const FUEL: u64 = 1_000_000;

/// The largest template, in bytes.
const MOST_BYTES: usize = 1 << 20;

const NAME: &str = "template";

/// A compiled template.
#[derive(Debug, Clone)]
pub struct Template {
    environment: Arc<Environment<'static>>,
}

impl Template {
    /// What the user wrote after `--template` or in a preset: a template where it has `{{` or
    /// `{%` in it, else the path of a file that holds one, relative to `base`.
    ///
    /// # Errors
    /// The file cannot be read, or the template is not valid.
    pub fn parse(written: &str, base: Option<&Path>) -> Result<Self, PromptError> {
        if written.contains("{{") || written.contains("{%") {
            return Self::compile("template", written);
        }
        let path = base.map_or_else(|| written.into(), |base| base.join(written));
        let shown = path.display().to_string();
        let file = File::open(&path).map_err(|error| {
            let reason = format!(
                "cannot be read: {error}; a template has {{{{ … }}}} in it, as in \
                 'Summarize: {{{{ text }}}}'"
            );
            PromptError::new(&shown, reason)
        })?;
        let limits = Limits { list_bytes: MOST_BYTES, ..Limits::default() };
        let content = bounded::read(&shown, file, &limits)?;
        Self::compile(&shown, bounded::text(&shown, &content)?)
    }

    /// Compiles a template; `shown` is what messages call it.
    ///
    /// # Errors
    /// The template is not valid; the error names its line.
    pub fn compile(shown: &str, source: &str) -> Result<Self, PromptError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(true);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| PromptError::at(shown, error.line().unwrap_or(1), words(&error)))?;
        Ok(Self { environment: Arc::new(environment) })
    }

    /// The prompt of a record.
    pub(super) fn render(&self, index: usize, id: &str, record: Record) -> Result<String, String> {
        let mut variables = record.fields;
        let text = record.content.as_ref().map(Content::display);
        let extra = [
            ("prompt", text.map(Value::from)),
            ("text", text.map(Value::from)),
            ("index", Some(Value::from(index))),
            ("id", Some(Value::from(id))),
        ];
        for (name, value) in extra {
            if let Some(value) = value.filter(|_| !variables.contains_key(name)) {
                variables.insert(name.to_owned(), value);
            }
        }
        let template = self.environment.get_template(NAME).expect("it was added by `compile`");
        template.render(Serde(&variables)).map_err(|error| {
            if error.kind() == ErrorKind::UndefinedError {
                let names: Vec<_> = variables.keys().map(String::as_str).collect();
                return undefined(&error, &names);
            }
            format!("template: {}", words(&error))
        })
    }
}

fn undefined(error: &minijinja::Error, names: &[&str]) -> String {
    let source = error.template_source().zip(error.range());
    let wanted = source.and_then(|(source, range)| source.get(range));
    format!(
        "template: {} in {}; the variables here are {}",
        words(error),
        wanted.map_or("the template".to_owned(), |text| format!("`{text}`")),
        names.join(", ")
    )
}

fn words(error: &minijinja::Error) -> String {
    let kind = error.kind().to_string();
    match error.kind() {
        ErrorKind::OutOfFuel => "rendering takes too long or makes too much text".to_owned(),
        _ => error.detail().map_or(kind.clone(), |detail| format!("{kind}: {detail}")),
    }
}
