//! Text out of tokens as they come, one row at a time.
//!
//! A character may be spread over several tokens; it is held back until it is whole, so that
//! the pieces put together are exactly [`Tokenizer::decode`] of all the tokens.

use super::tokenizer::Tokenizer;

/// What one row has generated and not yet given out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detokenizer {
    /// The beginning of a character, at most three bytes between calls.
    pending: Vec<u8>,
}

impl Detokenizer {
    /// The detokenizer of a new row.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text that is certain after one more token; empty while a character is incomplete.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        self.push_bytes(tokenizer.piece(id))
    }

    /// What was held back, now that nothing follows: an incomplete character is U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let certain = self.pending.len() - incomplete_tail(&self.pending);
        let rest = self.pending.split_off(certain);
        let ready = std::mem::replace(&mut self.pending, rest);
        String::from_utf8(ready)
            .unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned())
    }
}

/// How many bytes at the end may still become a character.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(_) => return 0,
            Err(error) => match error.error_len() {
                None => return rest.len() - error.valid_up_to(),
                Some(invalid) => rest = &rest[error.valid_up_to() + invalid..],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn streamed(pieces: &[Vec<u8>]) -> Vec<String> {
        let mut detokenizer = Detokenizer::new();
        let mut texts: Vec<String> =
            pieces.iter().map(|piece| detokenizer.push_bytes(piece)).collect();
        texts.push(detokenizer.finish());
        texts
    }

    #[test]
    fn a_character_is_given_out_when_it_is_whole() {
        let pieces = [b"a\xf0".to_vec(), b"\x9f\x98".to_vec(), b"\x80 b".to_vec()];
        assert_eq!(streamed(&pieces), ["a", "", "😀 b", ""]);
    }

    #[test]
    fn an_invalid_byte_becomes_a_replacement_once_it_is_certain() {
        assert_eq!(streamed(&[b"\xe2\x82".to_vec(), b"x".to_vec()]), ["", "\u{fffd}x", ""]);
        assert_eq!(streamed(&[b"\xff".to_vec()]), ["\u{fffd}", ""]);
        assert_eq!(streamed(&[b"\xe2\x82".to_vec()]), ["", "\u{fffd}"]);
    }

    #[test]
    fn a_real_replacement_character_is_not_held_back() {
        assert_eq!(streamed(&["\u{fffd}".as_bytes().to_vec()]), ["\u{fffd}", ""]);
    }

    proptest! {
        #[test]
        fn the_pieces_together_are_the_whole_decoded(
            pieces in proptest::collection::vec(
                proptest::collection::vec(
                    prop_oneof![
                        any::<u8>(),
                        proptest::sample::select(b"a \xe2\x82\xac\xf0\x9f\x98\x80\xed\xa0".to_vec()),
                    ],
                    0..4,
                ),
                0..24,
            )
        ) {
            let whole = String::from_utf8_lossy(&pieces.concat()).into_owned();
            prop_assert_eq!(streamed(&pieces).concat(), whole);
        }

        #[test]
        fn at_most_three_bytes_are_held_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut detokenizer = Detokenizer::new();
            detokenizer.push_bytes(&bytes);
            prop_assert!(detokenizer.pending.len() <= 3);
        }
    }
}
