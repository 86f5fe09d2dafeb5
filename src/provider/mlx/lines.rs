//! Lines of a pipe, each of a limited length.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Reads lines and gives up on one that is too long.
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    most: usize,
}

/// Why there is no next line.
#[derive(Debug)]
pub(super) enum NoLine {
    /// The pipe ended.
    End,
    /// The line has more than this many bytes.
    TooLong(usize),
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Lines of at most `most` bytes.
    pub fn new(reader: R, most: usize) -> Self {
        Self { reader, line: Vec::new(), most }
    }

    /// The next line, without its end. What came before a call was dropped is not lost.
    pub async fn next(&mut self) -> Result<Vec<u8>, NoLine> {
        loop {
            // a pipe that breaks has ended
            let bytes = self.reader.fill_buf().await.unwrap_or_default();
            if bytes.is_empty() {
                // a torn last line is not a line
                return Err(NoLine::End);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = end.unwrap_or(bytes.len());
            if self.line.len() + part > self.most {
                return Err(NoLine::TooLong(self.most));
            }
            self.line.extend_from_slice(&bytes[..part]);
            self.reader.consume(end.map_or(part, |end| end + 1));
            if end.is_some() {
                return Ok(std::mem::take(&mut self.line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_put_together_from_pieces_and_a_torn_one_is_none() {
        let reader = tokio::io::BufReader::with_capacity(3, &b"abcdefg\n\nhi\ntorn"[..]);
        let mut lines = Lines::new(reader, 7);
        for expected in ["abcdefg", "", "hi"] {
            assert_eq!(lines.next().await.unwrap(), expected.as_bytes());
        }
        assert!(matches!(lines.next().await, Err(NoLine::End)));
    }

    #[tokio::test]
    async fn a_line_above_the_limit_is_refused_before_it_is_kept() {
        let reader = tokio::io::BufReader::with_capacity(3, &b"abcdefgh\n"[..]);
        let mut lines = Lines::new(reader, 7);
        assert!(matches!(lines.next().await, Err(NoLine::TooLong(7))));
        assert!(lines.line.len() <= 7);
    }
}
