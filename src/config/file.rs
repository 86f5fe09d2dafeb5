//! Configuration files: TOML with every unknown key refused, and errors that name file, line
//! and key.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::Fault;
use crate::prompts::{nearest, printable};

/// The largest configuration file, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// A configuration file that cannot be used. Its text is safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, or the name of what is embedded.
    pub file: String,
    /// The line, from 1, where one is to blame.
    pub line: Option<usize>,
    /// What is wrong, with the key, and what to try.
    pub reason: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.file))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", printable(&self.reason))
    }
}

/// The text of a file; `None` where there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let fail =
        |reason: String| ConfigError { file: path.display().to_string(), line: None, reason };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(format!("cannot be read: {error}"))),
    };
    let mut content = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(|error| fail(format!("cannot be read: {error}")))?;
    if content.len() as u64 > MOST_BYTES {
        return Err(fail("larger than 1 MiB, the limit of a configuration file".into()));
    }
    let text = String::from_utf8(content).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError { line: Some(line), ..fail("not valid UTF-8: save the file as UTF-8".into()) }
    })?;
    Ok(Some(text))
}

/// Reads TOML; `file` is what messages call it.
pub(super) fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let span = error.span();
        ConfigError {
            file: file.to_owned(),
            line: span.as_ref().map(|span| line_of(text, span)),
            reason: words(text, error.message(), span),
        }
    })
}

/// The error of a value that TOML allows and we do not, with the line it stands in.
pub(super) fn fault(file: &str, text: &str, fault: Fault) -> ConfigError {
    let line = DeTable::parse(text)
        .ok()
        .and_then(|table| span_of(table.get_ref(), &fault.path))
        .map(|span| line_of(text, &span));
    ConfigError { file: file.to_owned(), line, reason: fault.reason }
}

/// Where the value of a key of the file itself is.
pub(super) fn span_of_key(text: &str, key: &str) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    Some(table.get_ref().get(key)?.span())
}

/// Where the value of a key is, or of the innermost key on the way to it that is there.
fn span_of(table: &DeTable<'_>, path: &[&str]) -> Option<Range<usize>> {
    let (key, rest) = path.split_first()?;
    let value: &Spanned<DeValue<'_>> = table.get(*key)?;
    let inner = match value.get_ref() {
        DeValue::Table(table) => span_of(table, rest),
        DeValue::Array(items) => items.iter().find_map(|item| match item.get_ref() {
            DeValue::Table(table) => span_of(table, rest),
            _ => None,
        }),
        _ => None,
    };
    inner.or(Some(value.span()))
}

pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = &text.as_bytes()[..span.start.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The parser's words, with the key it speaks of and a guess at what was meant.
fn words(text: &str, message: &str, span: Option<Range<usize>>) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown field") => {
            let hint = match nearest(unknown, known.iter().copied()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("the keys here are {}", known.join(", ")),
            };
            format!("unknown key \"{unknown}\"; {hint}")
        }
        _ => match span.and_then(|span| key_before(text, span.start)) {
            Some(key) => format!("{key}: {message}"),
            None => message.to_owned(),
        },
    }
}

/// The key whose value begins here, where it stands in the same line.
fn key_before(text: &str, at: usize) -> Option<&str> {
    let before = text.get(..at)?;
    let line = before.rsplit('\n').next()?;
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    (!key.is_empty() && !key.starts_with('#')).then_some(key)
}
