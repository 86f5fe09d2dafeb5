//! How a stream of bytes is split into messages: server-sent events, lines of JSON, or
//! one document that is the whole answer.

use super::ndjson::NdjsonSplitter;
use super::sse::SseSplitter;

/// A message larger than what any server has a reason to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of more than {limit} bytes")]
pub struct TooLong {
    /// The most bytes that are taken.
    pub limit: usize,
}

/// The kinds of stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// `text/event-stream`.
    Sse,
    /// `application/x-ndjson`.
    Ndjson,
    /// `application/json`: nothing streams, the whole answer is one message.
    Whole,
}

/// A splitter of each kind.
#[derive(Debug)]
pub(super) enum Splitter {
    Sse(SseSplitter),
    Ndjson(NdjsonSplitter),
    Whole(Vec<u8>),
}

/// The largest message taken from a server.
const MESSAGE_LIMIT: usize = 8 << 20;
/// The largest answer that comes whole, with the texts of all its rows.
const WHOLE_LIMIT: usize = 64 << 20;

impl Framing {
    pub fn splitter(self) -> Splitter {
        match self {
            Framing::Sse => Splitter::Sse(SseSplitter::new(MESSAGE_LIMIT)),
            Framing::Ndjson => Splitter::Ndjson(NdjsonSplitter::new(MESSAGE_LIMIT)),
            Framing::Whole => Splitter::Whole(Vec::new()),
        }
    }

    /// What the server is asked to send.
    pub fn content_type(self) -> &'static str {
        match self {
            Framing::Sse => "text/event-stream",
            Framing::Ndjson => "application/x-ndjson",
            Framing::Whole => "application/json",
        }
    }
}

impl Splitter {
    pub fn push<E: From<TooLong>>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Splitter::Sse(sse) => sse.push(bytes, |event| take(event.data)),
            Splitter::Ndjson(ndjson) => ndjson.push(bytes, take),
            Splitter::Whole(whole) if whole.len() + bytes.len() > WHOLE_LIMIT => {
                Err(TooLong { limit: WHOLE_LIMIT }.into())
            }
            Splitter::Whole(whole) => {
                whole.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    pub fn finish<E: From<TooLong>>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Splitter::Sse(sse) => sse.finish(|event| take(event.data)),
            Splitter::Ndjson(ndjson) => ndjson.finish(take),
            Splitter::Whole(whole) => take(&std::mem::take(whole)),
        }
    }
}

/// Cuts bytes at these places, for the tests of the splitters.
#[cfg(test)]
pub(super) fn cut<'a>(bytes: &'a [u8], cuts: &[proptest::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}
