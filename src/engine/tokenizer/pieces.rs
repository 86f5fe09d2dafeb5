//! The bytes of every token, in one allocation.

use super::byte_alphabet;

/// How a vocabulary writes the bytes of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// In the printable alphabet of byte-level BPE.
    ByteLevel,
    /// As text with `▁` for a space, and `<0x0A>` for single bytes.
    SentencePiece,
}

impl Spelling {
    /// The bytes of a normal token.
    pub(super) fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            Spelling::ByteLevel => byte_alphabet::decode(token),
            Spelling::SentencePiece => match byte_token(token) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
        }
    }
}

/// The byte that a token such as `<0x0A>` stands for.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let hexadecimal = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hexadecimal.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// The bytes of every token.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Where each piece ends in `bytes`.
    ends: Vec<usize>,
}

impl Pieces {
    /// Adds the piece of the next id.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        self.ends.push(self.bytes.len());
    }

    /// The piece of an id; nothing for an id that has none.
    pub(super) fn get(&self, id: u32) -> &[u8] {
        let index = id as usize;
        let Some(end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..*end]
    }

    /// The number of ids.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_found_by_id_and_unknown_ids_have_none() {
        let mut pieces = Pieces::default();
        for piece in ["ab", "", "c"] {
            pieces.push(piece.as_bytes());
        }
        let all: Vec<&[u8]> = (0..4).map(|id| pieces.get(id)).collect();
        assert_eq!(all, [b"ab".as_slice(), b"", b"c", b""]);
        assert_eq!(pieces.get(u32::MAX), b"");
        assert_eq!(pieces.len(), 3);
    }

    #[test]
    fn only_two_hexadecimal_digits_make_a_byte_token() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0xfF>"), Some(255));
        for other in ["<0x0>", "<0x000>", "<0x+1>", "0x0A", "<0x0A", "<0xéa>"] {
            assert_eq!(byte_token(other), None, "{other}");
        }
    }

    #[test]
    fn each_spelling_gives_the_bytes_that_a_token_means() {
        assert_eq!(Spelling::ByteLevel.bytes("Ġthe"), b" the");
        assert_eq!(Spelling::SentencePiece.bytes("▁the▁"), b" the ");
        assert_eq!(Spelling::SentencePiece.bytes("<0xE2>"), [0xe2]);
    }
}
