//! Typed reading of GGUF metadata: what is absent is `None`, what is of another type or out of
//! range is an error that names the file and the key.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;

use crate::engine::EngineError;

/// The metadata of one GGUF file.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Metadata<'a> {
    path: &'a Path,
    entries: &'a HashMap<String, Value>,
}

impl<'a> Metadata<'a> {
    /// The metadata of the file at `path`.
    pub(in crate::engine) fn new(path: &'a Path, entries: &'a HashMap<String, Value>) -> Self {
        Self { path, entries }
    }

    /// An error about this file.
    pub(in crate::engine) fn damaged(&self, what: impl std::fmt::Display) -> EngineError {
        EngineError::Model(format!("{}: {what}", self.path.display()))
    }

    fn wrong_type(&self, key: &str, wanted: &str) -> EngineError {
        self.damaged(format!("metadata {key} is not {wanted}; the file is damaged"))
    }

    /// A string.
    pub(in crate::engine) fn text(&self, key: &str) -> Result<Option<&'a str>, EngineError> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong_type(key, "a string")),
        }
    }

    /// A truth value.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, EngineError> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong_type(key, "a truth value")),
        }
    }

    /// A token id below `tokens`.
    pub(super) fn id(&self, key: &str, tokens: usize) -> Result<Option<u32>, EngineError> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        let id = integer(value).ok_or_else(|| self.wrong_type(key, "an integer"))?;
        match u32::try_from(id) {
            Ok(known) if (known as usize) < tokens => Ok(Some(known)),
            _ => Err(self.damaged(format!(
                "metadata {key} is {id}, but the vocabulary has {tokens} tokens"
            ))),
        }
    }

    fn array(&self, key: &str) -> Result<Option<&'a [Value]>, EngineError> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(self.wrong_type(key, "an array")),
        }
    }

    /// An array, every element read by `read`.
    fn list<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, EngineError> {
        let Some(values) = self.array(key)? else { return Ok(None) };
        let list: Option<Vec<T>> = values.iter().map(read).collect();
        list.map(Some).ok_or_else(|| self.wrong_type(key, wanted))
    }

    /// An array of strings.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, EngineError> {
        self.list(key, "an array of strings", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An array of integers, one a token.
    pub(super) fn integers(
        &self,
        key: &str,
        tokens: usize,
    ) -> Result<Option<Vec<i64>>, EngineError> {
        let list = self.list(key, "an array of integers", integer)?;
        self.one_a_token(key, tokens, list)
    }

    /// An array of finite numbers, one a token.
    pub(super) fn numbers(
        &self,
        key: &str,
        tokens: usize,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        let list = self.list(key, "an array of finite numbers", number)?;
        self.one_a_token(key, tokens, list)
    }

    fn one_a_token<T>(
        &self,
        key: &str,
        tokens: usize,
        list: Option<Vec<T>>,
    ) -> Result<Option<Vec<T>>, EngineError> {
        match list {
            Some(list) if list.len() != tokens => Err(self.damaged(format!(
                "metadata {key} has {} entries for {tokens} tokens; the file is damaged",
                list.len()
            ))),
            list => Ok(list),
        }
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::U8(v) => Some(i64::from(*v)),
        Value::I8(v) => Some(i64::from(*v)),
        Value::U16(v) => Some(i64::from(*v)),
        Value::I16(v) => Some(i64::from(*v)),
        Value::U32(v) => Some(i64::from(*v)),
        Value::I32(v) => Some(i64::from(*v)),
        Value::U64(v) => i64::try_from(*v).ok(),
        Value::I64(v) => Some(*v),
        Value::F32(_) | Value::F64(_) | Value::Bool(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// Scores are written as floats, or as integers by a few converters.
fn number(value: &Value) -> Option<f32> {
    let number = match value {
        Value::F32(v) => *v,
        Value::I32(v) => *v as f32,
        _ => return None,
    };
    number.is_finite().then_some(number)
}
