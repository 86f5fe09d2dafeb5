//! Splits a byte stream into the lines of newline-delimited JSON, byte-exact whatever the
//! chunking. Empty lines are skipped; it does not look into the others.

use memchr::memchr;

use super::framing::TooLong;

/// The incremental splitter.
#[derive(Debug)]
pub struct NdjsonSplitter {
    limit: usize,
    line: Vec<u8>,
}

impl NdjsonSplitter {
    /// A splitter that refuses lines of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new() }
    }

    /// Takes the next bytes and hands on every line that they complete.
    ///
    /// # Errors
    /// [`TooLong`], or the error of `take`; nothing should be pushed after either.
    pub fn push<E: From<TooLong>>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.line.is_empty() {
                self.check(line.len())?;
                hand_on(line, &mut take)?;
            } else {
                self.hold(line)?;
                hand_on(&self.line, &mut take)?;
                self.line.clear();
            }
            bytes = rest;
        }
        self.hold(bytes)?;
        Ok(())
    }

    /// Ends the stream; a last line needs no newline.
    ///
    /// # Errors
    /// The error of `take`.
    pub fn finish<E>(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        hand_on(&line, &mut take)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.check(self.line.len() + bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn check(&self, size: usize) -> Result<(), TooLong> {
        if size > self.limit { Err(TooLong { limit: self.limit }) } else { Ok(()) }
    }
}

fn hand_on<E>(line: &[u8], take: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().all(u8::is_ascii_whitespace) { Ok(()) } else { take(line) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut splitter = NdjsonSplitter::new(64);
        let mut lines = Vec::new();
        let mut take = |line: &[u8]| {
            lines.push(line.to_vec());
            Ok(())
        };
        for chunk in chunks {
            splitter.push(chunk, &mut take)?;
        }
        splitter.finish(&mut take)?;
        Ok(lines)
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_the_last_one_may_end_with_the_stream() {
        let text = "{\"a\":1}\r\n\n \n{\"b\":\"\u{2028}é\"}\n{}".as_bytes();
        let expected = ["{\"a\":1}", "{\"b\":\"\u{2028}é\"}", "{}"].map(|line| line.as_bytes());
        assert_eq!(lines(&[text]).unwrap(), expected);
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_the_limit() {
        let endless = [b'x'; 40];
        assert_eq!(lines(&[&endless[..]]).unwrap().len(), 1);
        assert_eq!(lines(&[&endless, &endless]), Err(TooLong { limit: 64 }));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            text in "([a-zé]{0,5}[\r\n ]{0,2}){0,12}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = text.as_bytes();
            let chunks = crate::provider::framing::cut(bytes, &cuts);
            prop_assert_eq!(lines(&chunks), lines(&[bytes]));
        }
    }
}
