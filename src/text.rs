//! Untrusted text on its way to people: one line, nothing that moves a cursor or turns the
//! direction of what follows.

/// The text on one line: control characters as their symbols, line breaks as `↵`, characters
/// that change the direction of text as `⇄`.
pub fn visible(text: &str) -> String {
    text.replace("\r\n", "\n").chars().map(symbol).collect()
}

/// The beginning of a text, `…` where it was cut.
pub fn shortened(text: &str, most_chars: usize) -> String {
    match text.char_indices().nth(most_chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What stands for a character that could steer a terminal or a page: a control character, a line
/// break, a change of direction. All others stand for themselves.
pub fn symbol(c: char) -> char {
    match c {
        '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' => '↵',
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '␡',
        '\u{80}'..='\u{9f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => '\u{fffd}',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            '⇄'
        }
        other => other,
    }
}

/// Characters that are not seen by themselves: soft hyphen, joiners, fillers, variation selectors,
/// tags. Some scripts need them, so they are kept where columns do not count.
pub fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        assert_eq!(visible("a\u{1b}[2J\r\nb\tc\u{9b}m\u{202e}d\u{7}"), "a␛[2J↵b␉c\u{fffd}m⇄d␇");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("äöü", 3), "äöü");
    }
}
