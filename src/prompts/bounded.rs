//! Bounded reading of text: bytes up to a limit, checked to be UTF-8.

use std::io::{self, Read};

use super::options::bytes;
use super::{Limits, PromptError};

/// All bytes of a reader, refused beyond the limit without reading more.
pub(super) fn read(list: &str, reader: impl Read, limits: &Limits) -> Result<Vec<u8>, PromptError> {
    let mut content = Vec::new();
    let most = limits.list_bytes;
    reader
        .take((most as u64).saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|error| unreadable(list, &error))?;
    if content.len() > most {
        let reason = format!("larger than {}, the limit of a prompt list: split it", bytes(most));
        return Err(PromptError::new(list, reason));
    }
    Ok(content)
}

pub(super) fn unreadable(list: &str, error: &io::Error) -> PromptError {
    PromptError::new(list, format!("cannot be read: {error}"))
}

/// The bytes as text without its byte order mark; what is not UTF-8 is named by line and byte.
pub(super) fn text<'a>(list: &str, content: &'a [u8]) -> Result<&'a str, PromptError> {
    if content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]) {
        return Err(PromptError::at(list, 1, "this is UTF-16 text: save it as UTF-8"));
    }
    let text = std::str::from_utf8(content).map_err(|error| {
        let good = &content[..error.valid_up_to()];
        let line_start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = good.len() - line_start + 1;
        let bad = content[good.len()];
        let reason = format!(
            "not valid UTF-8: byte 0x{bad:02x} at byte {column} of the line (byte {} of the file); \
             save the file as UTF-8",
            good.len() + 1
        );
        PromptError::at(list, newlines(good) + 1, reason)
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// How many line ends there are.
pub(super) fn newlines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_utf8_is_named_by_file_line_and_byte() {
        let error = text("p.txt", b"good\nalso good\nba\xffd\n").unwrap_err();
        assert_eq!((error.list.as_str(), error.line), ("p.txt", Some(3)));
        assert!(error.reason.contains("byte 0xff at byte 3 of the line (byte 18"), "{error}");
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        assert_eq!(text("p", b"\xef\xbb\xbfhello").unwrap(), "hello");
    }

    #[test]
    fn utf16_is_named_as_such() {
        let error = text("p", b"\xff\xfeh\0i\0").unwrap_err();
        assert!(error.reason.contains("UTF-16"), "{error}");
    }

    #[test]
    fn an_endless_reader_is_refused_at_the_limit() {
        let limits = Limits { list_bytes: 1000, ..Limits::default() };
        let error = read("zero", io::repeat(0), &limits).unwrap_err();
        assert_eq!(
            error.to_string(),
            "zero: larger than 1000 bytes, the limit of a prompt list: split it"
        );
    }
}
