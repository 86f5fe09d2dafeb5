//! How a stream of bytes is split into messages: server-sent events or lines of JSON.

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
}

/// A splitter of either kind.
#[derive(Debug)]
pub(super) enum Splitter {
    Sse(SseSplitter),
    Ndjson(NdjsonSplitter),
}

/// The largest message taken from a server.
const MESSAGE_LIMIT: usize = 8 << 20;

impl Framing {
    pub fn splitter(self) -> Splitter {
        match self {
            Framing::Sse => Splitter::Sse(SseSplitter::new(MESSAGE_LIMIT)),
            Framing::Ndjson => Splitter::Ndjson(NdjsonSplitter::new(MESSAGE_LIMIT)),
        }
    }

    /// What the server is asked to send.
    pub fn content_type(self) -> &'static str {
        match self {
            Framing::Sse => "text/event-stream",
            Framing::Ndjson => "application/x-ndjson",
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
        }
    }

    pub fn finish<E: From<TooLong>>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Splitter::Sse(sse) => sse.finish(|event| take(event.data)),
            Splitter::Ndjson(ndjson) => ndjson.finish(take),
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
