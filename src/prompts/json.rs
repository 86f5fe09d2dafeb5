//! JSON: one document, or one record a line.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::PromptError;
use super::bounded::newlines;
use super::list::ListBuilder;
use super::options::bytes;
use super::record::Record;

const DOCUMENT: &str =
    "a .json list is an array of prompts, or an object with such an array as \"prompts\"";

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
    let mut cursor = Cursor { text, at: 0 };
    let result = cursor.document(list);
    let (mut line, mut counted) = (1, 0);
    let mut line_at = |at: usize| {
        line += newlines(&text.as_bytes()[counted..at]);
        counted = at;
        line
    };
    match result {
        Ok(items) => items
            .into_iter()
            .try_for_each(|item| read_record(&text[item.clone()], line_at(item.start), list)),
        Err(fault) => Err(list.error(line_at(fault.at.min(text.len())), fault.reason)),
    }
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
        Some(message) => format!("not valid JSON: {message} at column {}", error.column()),
        None => format!("not valid JSON: {message}"),
    }
}

/// Walks over a document and finds its records as slices, so that none of it is held twice and
/// each record has its line.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// What is wrong with a document, and at which byte.
struct Fault {
    at: usize,
    reason: String,
}

impl Cursor<'_> {
    /// The records of the whole document.
    fn document(&mut self, list: &ListBuilder<'_>) -> Result<Vec<Range<usize>>, Fault> {
        let most = list.limits().prompts;
        let items = match self.peek() {
            Some(b'[') => self.array(most)?,
            Some(b'{') => self.object(most)?,
            _ => return Err(self.fault(DOCUMENT)),
        };
        match self.peek() {
            None => Ok(items),
            Some(_) => Err(self.fault("not valid JSON: something follows the end of the document")),
        }
    }

    fn array(&mut self, most: usize) -> Result<Vec<Range<usize>>, Fault> {
        let mut items = Vec::new();
        self.expect(b'[', DOCUMENT)?;
        if self.take(b']') {
            return Ok(items);
        }
        loop {
            if items.len() == most {
                return Err(self.fault(&too_many(most)));
            }
            items.push(self.value()?);
            if self.take(b']') {
                return Ok(items);
            }
            self.expect(b',', "not valid JSON: `,` or `]` is missing after a record")?;
        }
    }

    /// The records in the object's `prompts`.
    fn object(&mut self, most: usize) -> Result<Vec<Range<usize>>, Fault> {
        let mut found = None;
        self.expect(b'{', DOCUMENT)?;
        let mut ended = self.take(b'}');
        while !ended {
            let key = self.key()?;
            self.expect(b':', "not valid JSON: `:` is missing after a key")?;
            if key == "prompts" {
                found = Some(self.array(most)?);
            } else {
                self.value()?;
            }
            ended = self.take(b'}');
            if !ended {
                self.expect(b',', "not valid JSON: `,` or `}` is missing after a value")?;
            }
        }
        found.ok_or_else(|| Fault {
            at: 0,
            reason: "the object has no \"prompts\": write an array, or {\"prompts\": […]}".into(),
        })
    }

    fn key(&mut self) -> Result<String, Fault> {
        let range = self.value()?;
        serde_json::from_str(&self.text[range.clone()]).map_err(|_| Fault {
            at: range.start,
            reason: "not valid JSON: a key must be a string".into(),
        })
    }

    /// Steps over one value of any kind.
    fn value(&mut self) -> Result<Range<usize>, Fault> {
        self.peek();
        let start = self.at;
        let rest = &self.text[start..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(IgnoredAny)) => self.at = start + values.byte_offset(),
            Some(Err(error)) => {
                let lines = rest.split_inclusive('\n').take(error.line().max(1) - 1);
                let at = start + lines.map(str::len).sum::<usize>();
                return Err(Fault { at, reason: invalid(&error) });
            }
            None => return Err(self.fault("not valid JSON: the document ends too soon")),
        }
        Ok(start..self.at)
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
        self.at += blank.count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, otherwise: &str) -> Result<(), Fault> {
        if self.take(byte) { Ok(()) } else { Err(self.fault(otherwise)) }
    }

    fn fault(&self, reason: &str) -> Fault {
        Fault { at: self.at, reason: reason.to_owned() }
    }
}

pub(super) fn too_many(most: usize) -> String {
    format!("more than {most} prompts, the limit of a list: split it")
}
