//! Untrusted text in Markdown: it can neither end its cell or line, nor become HTML, a link, a
//! mention of a person or a reference to an issue.
//!
//! Text without anything special stays as it is; other text becomes code, where none of that is
//! looked for.

use crate::text::{shortened, visible};

/// Longest text in a table cell or a sentence, in characters.
const MOST_CHARS: usize = 60;

/// A text within a line.
pub(in crate::report) fn inline(text: &str) -> String {
    inline_up_to(text, MOST_CHARS)
}

/// A longer text within a line.
pub(in crate::report) fn inline_up_to(text: &str, most_chars: usize) -> String {
    let text = shortened(&visible(text), most_chars);
    if is_plain(&text) { text } else { code(&text) }
}

/// A quotation within a line: always as code, so that one sees where it begins and ends.
pub(in crate::report) fn quote(text: &str, most_chars: usize) -> String {
    code(&shortened(&visible(text), most_chars))
}

/// A text in a table cell. Backticks would not protect a `|` there, so special text is written
/// in character references within a code element.
pub(in crate::report) fn cell(text: &str) -> String {
    let text = shortened(&visible(text), MOST_CHARS);
    if is_plain(&text) {
        return text;
    }
    if text.trim().is_empty() {
        return BLANK.to_owned();
    }
    let reference = |c: char| match c.is_ascii_punctuation() {
        true => format!("&#{};", c as u32),
        false => c.to_string(),
    };
    format!("<code>{}</code>", text.chars().map(reference).collect::<String>())
}

/// A block of code; its lines stay.
pub(in crate::report) fn block(language: &str, text: &str) -> String {
    let lines = text.lines().map(visible).collect::<Vec<_>>().join("\n");
    let fence = "`".repeat(longest_run(&lines).max(2) + 1);
    format!("{fence}{language}\n{lines}\n{fence}")
}

const BLANK: &str = "(blank)";

fn code(text: &str) -> String {
    if text.trim().is_empty() {
        return BLANK.to_owned();
    }
    let fence = "`".repeat(longest_run(text) + 1);
    // a space at both ends is taken off by readers of Markdown
    let edge = |c: Option<char>| matches!(c, Some('`' | ' '));
    let pad = if edge(text.chars().next()) || edge(text.chars().next_back()) { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Whether Markdown, and what code hosts add to it, shows the text as it is.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || " -+/.,:;()'×%–…_".contains(c);
    let turned = ["  ", "://", "www.", "gh-", ": :", "--"];
    let lower = text.to_lowercase();
    // a colon within a word may be a scheme or an emoji
    let colon = text.split(':').skip(1).any(|rest| !rest.starts_with(' '));
    !text.is_empty()
        && underscores_are_within_words(text)
        && text.trim() == text
        && text.chars().all(plain)
        && !colon
        && !turned.iter().any(|sign| lower.contains(sign))
}

/// Elsewhere they begin and end emphasis.
fn underscores_are_within_words(text: &str) -> bool {
    let mut parts = text.split('_').peekable();
    let mut first = true;
    std::iter::from_fn(|| {
        let part = parts.next()?;
        let begins = first || part.starts_with(char::is_alphanumeric);
        let ends = parts.peek().is_none() || part.ends_with(char::is_alphanumeric);
        first = false;
        Some(begins && ends)
    })
    .all(|within| within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_and_special_text_becomes_code() {
        assert_eq!(inline("batched 16"), "batched 16");
        assert_eq!(inline("batched_async Q4_1"), "batched_async Q4_1");
        assert_eq!(inline("_a_"), "`_a_`");
        assert_eq!(inline("@everyone #1"), "`@everyone #1`");
        assert_eq!(inline("a `b` <c>"), "``a `b` <c>``");
        assert_eq!(inline("`"), "`` ` ``");
        assert_eq!(inline(" "), "(blank)");
        assert_eq!(inline("a\nb\u{1b}c"), "`a↵b␛c`");
        assert_eq!(inline("see www.example.org"), "`see www.example.org`");
    }

    #[test]
    fn a_cell_cannot_be_ended_from_within() {
        assert_eq!(cell("a|b\\|<i>"), "<code>a&#124;b&#92;&#124;&#60;i&#62;</code>");
    }

    #[test]
    fn a_block_of_code_cannot_be_ended_from_within() {
        assert_eq!(block("sh", "a\n```\nb"), "````sh\na\n```\nb\n````");
    }
}
