//! Splits a byte stream into server-sent events, byte-exact whatever the chunking.
//!
//! It follows the WHATWG event stream format: lines end with CR, LF or CRLF, a line that begins
//! with a colon is a comment, several `data` lines join with LF. It works on bytes, since an
//! event may be cut inside a character. It knows nothing of what the data means.

use memchr::{memchr, memchr2};

use super::framing::TooLong;

/// One event. The format's default name is `message`; here it is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The last `event` field.
    pub name: &'a [u8],
    /// The `data` fields, joined with LF.
    pub data: &'a [u8],
}

/// The incremental splitter.
#[derive(Debug)]
pub struct SseSplitter {
    limit: usize,
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    begun: bool,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl SseSplitter {
    /// A splitter that refuses events and lines of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            after_cr: false,
            begun: false,
        }
    }

    /// Takes the next bytes and hands on every event that they complete.
    ///
    /// # Errors
    /// [`TooLong`], or the error of `take`; nothing should be pushed after either.
    pub fn push<E: From<TooLong>>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\r', b'\n', bytes) else {
                self.hold(bytes)?;
                return Ok(());
            };
            self.after_cr = bytes[end] == b'\r';
            self.end_line(&bytes[..end], &mut take)?;
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// Ends the stream. The format drops an event that its blank line does not end; servers
    /// that close right after their last line are common, so it is handed on here.
    ///
    /// # Errors
    /// As [`SseSplitter::push`].
    pub fn finish<E: From<TooLong>>(
        &mut self,
        mut take: impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.line.is_empty() {
            self.end_line(&[], &mut take)?;
        }
        self.dispatch(&mut take)
    }

    /// Keeps an unfinished line.
    fn hold(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.check(self.line.len() + bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn check(&self, more: usize) -> Result<(), TooLong> {
        let size = more + self.data.len() + self.name.len();
        if size > self.limit { Err(TooLong { limit: self.limit }) } else { Ok(()) }
    }

    fn end_line<E: From<TooLong>>(
        &mut self,
        rest: &[u8],
        take: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.line.is_empty() {
            self.check(rest.len())?;
            return self.whole_line(rest, take);
        }
        self.hold(rest)?;
        let mut line = std::mem::take(&mut self.line);
        self.whole_line(&line, take)?;
        line.clear();
        self.line = line;
        Ok(())
    }

    fn whole_line<E: From<TooLong>>(
        &mut self,
        mut line: &[u8],
        take: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(take);
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        self.field(field, value.strip_prefix(b" ").unwrap_or(value))?;
        Ok(())
    }

    fn field(&mut self, field: &[u8], value: &[u8]) -> Result<(), TooLong> {
        match field {
            b"data" => {
                self.check(value.len() + 1)?;
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => {
                self.name.clear();
                self.check(value.len())?;
                self.name.extend_from_slice(value);
            }
            // comments (an empty field name), `id`, `retry` and unknown fields say nothing here
            _ => {}
        }
        Ok(())
    }

    fn dispatch<E: From<TooLong>>(
        &mut self,
        take: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let has_data = std::mem::take(&mut self.has_data);
        let taken = match has_data {
            true => take(SseEvent { name: &self.name, data: &self.data }),
            false => Ok(()),
        };
        self.name.clear();
        self.data.clear();
        taken
    }
}

#[cfg(test)]
mod tests;
