//! The printable alphabet in which byte-level vocabularies write bytes.
//!
//! From GPT-2's `encoder.py` (`bytes_to_unicode`): printable Latin-1 characters stand for
//! themselves, the other 68 bytes for U+0100 onwards, in ascending order.

/// The byte that a character of the alphabet stands for.
pub(super) fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    match character {
        '!'..='~' | '¡'..='¬' | '®'..='ÿ' => u8::try_from(code).ok(),
        '\u{100}'..='\u{120}' => u8::try_from(code - 0x100).ok(),
        '\u{121}'..='\u{142}' => u8::try_from(code - 0x121 + 0x7f).ok(),
        '\u{143}' => Some(0xad),
        _ => None,
    }
}

/// The bytes of a token of a byte-level vocabulary; text outside the alphabet stands for
/// itself.
pub(super) fn decode(token: &str) -> Vec<u8> {
    token.chars().map(byte).collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_alphabet_has_one_character_for_every_byte() {
        let bytes: HashSet<u8> = ('\0'..='\u{200}').filter_map(byte).collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!(('\0'..='\u{200}').filter_map(byte).count(), 256);
    }

    #[test]
    fn the_alphabet_is_the_one_of_the_library() {
        let ours: HashSet<char> = ('\0'..='\u{200}').filter(|c| byte(*c).is_some()).collect();
        let theirs: HashSet<char> =
            tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
        assert_eq!(ours, theirs);
        assert_eq!(decode("Ġa"), b" a");
        assert_eq!(decode("ĊĉčĀ"), b"\n\t\r\0");
        assert_eq!(decode("ÃĹ"), "×".as_bytes());
    }

    #[test]
    fn a_token_with_a_character_outside_the_alphabet_stands_for_itself() {
        assert_eq!(decode("<a b>"), b"<a b>");
        assert_eq!(decode("日"), "日".as_bytes());
    }
}
