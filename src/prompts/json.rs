//! JSON: one document, or one record a line.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::PromptError;
use super::bounded::newlines;
use super::list::ListBuilder;
use super::options::bytes;
use super::record::Record;

/// Reads a record a line; blank lines are skipped.
pub(super) fn read_lines(text: &str, list: &mut ListBuilder<'_>) -> Result<(), PromptError> {
    for (place, line) in text.lines().enumerate() {
        if !line.trim().is_empty() {
            read_record(line, place + 1, list)?;
        }
    }
    Ok(())
}

/// Reads an array, or an object whose `prompts` is one.
pub(super) fn read_document(text: &str, list: &mut ListBuilder<'_>) -> Result<(), PromptError> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let most = list.limits().prompts;
    let mut parser = serde_json::Deserializer::from_str(text);
    let items = Items { most }
        .deserialize(&mut parser)
        .and_then(|items| parser.end().map(|()| items))
        .map_err(|error| list.error(error.line().max(1), invalid(&error)))?;
    let (mut line, mut counted) = (1, 0);
    for item in items {
        // the items are slices of the text, in its order
        let start = (item.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        line += newlines(&text.as_bytes()[counted..start]);
        counted = start;
        read_record(item.get(), line, list)?;
    }
    Ok(())
}

/// Reads the record that begins in this line.
fn read_record(json: &str, line: usize, list: &mut ListBuilder<'_>) -> Result<(), PromptError> {
    let most = list.limits().record_bytes;
    if json.len() > most {
        let reason = format!("the record has {} bytes, the limit is {}", json.len(), bytes(most));
        return Err(list.error(line, reason));
    }
    let value = serde_json::from_str(json)
        .map_err(|error| list.error(line + error.line().max(1) - 1, invalid(&error)))?;
    let record = Record::from_json(value, list.column(), list.has_template())
        .map_err(|reason| list.error(line, reason))?;
    list.push(line, record)
}

fn invalid(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match message.strip_suffix(&place) {
        Some(message) if error.is_data() => message.to_owned(),
        Some(message) => format!("not valid JSON: {message} at column {}", error.column()),
        None => format!("not valid JSON: {message}"),
    }
}

/// The items of the document as slices of it, so that a large file is not held twice.
struct Items {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Items {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of prompts, or an object with such an array as \"prompts\"")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_element()? {
            if found.len() == self.most {
                return Err(A::Error::custom(too_many(self.most)));
            }
            found.push(item);
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = fields.next_key::<String>()? {
            if key == "prompts" {
                found = Some(fields.next_value_seed(Items { most: self.most })?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        found.ok_or_else(|| {
            A::Error::custom("the object has no \"prompts\": write an array, or {\"prompts\": […]}")
        })
    }
}

pub(super) fn too_many(most: usize) -> String {
    format!("more than {most} prompts, the limit of a list: split it")
}
