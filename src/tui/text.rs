//! Text from models, servers and files on its way to the screen: made harmless, and cut or
//! wrapped by the columns it takes.
//!
//! Control characters become symbols, invisible and direction-changing characters are dropped
//! or shown, so nothing here can move the cursor or shift a column. This module knows nothing
//! of styles.

use std::borrow::Cow;
use std::iter::Peekable;

use unicode_segmentation::{GraphemeCursor, GraphemeIndices, UnicodeSegmentation};
use unicode_width::UnicodeWidthStr;

use crate::text::{is_invisible, symbol};

/// Columns a tab character takes in wrapped text.
const TAB: &str = "    ";

/// The most characters of one grapheme that reach the terminal; the rest is piled-up marks.
const MOST_MARKS: usize = 8;

/// One grapheme as it is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster<'a> {
    /// Byte offset in the original text.
    pub at: usize,
    /// What is drawn; harmless.
    pub shown: Cow<'a, str>,
    /// Columns it takes.
    pub width: usize,
}

/// The graphemes of a text in a form that is safe to draw, line breaks as `↵`.
pub fn clusters(text: &str) -> impl Iterator<Item = Cluster<'_>> {
    text.grapheme_indices(true).map(|(at, grapheme)| cluster(at, grapheme))
}

/// One grapheme on one line.
fn cluster(at: usize, grapheme: &str) -> Cluster<'_> {
    let shown = match grapheme {
        "\n" | "\r\n" => Cow::Borrowed("↵"),
        "\t" => Cow::Borrowed(" "),
        other => harmless(other),
    };
    let width = shown.width();
    Cluster { at, shown, width }
}

fn harmless(grapheme: &str) -> Cow<'_, str> {
    if matches!(grapheme.as_bytes(), [0x20..0x7f]) {
        return Cow::Borrowed(grapheme);
    }
    // terminals disagree on the width of what nobody sees
    let seen = grapheme.chars().take(MOST_MARKS).filter(|c| !is_invisible(*c));
    let mut shown: String = seen.map(symbol).collect();
    if shown.is_empty() {
        return Cow::Borrowed("");
    }
    if shown.width() == 0 {
        // a mark without a letter to sit on
        shown.insert(0, '◌');
    }
    if shown == grapheme { Cow::Borrowed(grapheme) } else { Cow::Owned(shown) }
}

/// The whole text on one line, harmless.
pub fn one_line(text: &str) -> String {
    clusters(text).map(|cluster| cluster.shown).collect()
}

/// Columns the text takes on one line.
pub fn width(text: &str) -> usize {
    clusters(text).map(|cluster| cluster.width).sum()
}

/// The text on one line of at most `columns`, ended by `…` where something was cut. Reads no
/// more of the text than it shows.
pub fn fit(text: &str, columns: usize) -> String {
    let mut shown = String::new();
    let mut used = 0;
    // where to cut if the text turns out too long: the last place that leaves room for `…`
    let mut cut = 0;
    for cluster in clusters(text) {
        if used + cluster.width > columns {
            shown.truncate(cut);
            if columns > 0 {
                shown.push('…');
            }
            return shown;
        }
        shown.push_str(&cluster.shown);
        used += cluster.width;
        if used < columns {
            cut = shown.len();
        }
    }
    shown
}

/// What follows the first `columns` of a text on one line.
pub fn after(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let next = clusters(text).find(|cluster| {
        used += cluster.width;
        used > columns
    });
    next.map_or("", |cluster| &text[cluster.at..])
}

/// [`fit`], filled up with spaces to exactly `columns`.
pub fn column(text: &str, columns: usize) -> String {
    let mut shown = fit(text, columns);
    let used = shown.width();
    shown.extend(std::iter::repeat_n(' ', columns.saturating_sub(used)));
    shown
}

/// The end of a text on one line of at most `columns`, begun by `…` where something was cut.
/// Reads no more of the text than it shows.
pub fn fit_end(text: &str, columns: usize) -> String {
    let mut end: Vec<Cluster> = Vec::new();
    let mut used = 0;
    for (at, grapheme) in text.grapheme_indices(true).rev() {
        let cluster = cluster(at, grapheme);
        if used + cluster.width > columns {
            // room for the mark of the cut
            while used >= columns.max(1) {
                used -= end.pop().map_or(used, |cluster| cluster.width);
            }
            let cut = if columns > 0 { "…" } else { "" };
            let end = end.iter().rev().map(|cluster| cluster.shown.as_ref());
            return std::iter::once(cut).chain(end).collect();
        }
        used += cluster.width;
        end.push(cluster);
    }
    end.iter().rev().map(|cluster| cluster.shown.as_ref()).collect()
}

/// As many of the pieces as fit into `columns`, with `gap` between them; never half a piece.
pub fn pieces<'a>(pieces: impl IntoIterator<Item = &'a str>, gap: &str, columns: usize) -> String {
    let mut line = String::new();
    for piece in pieces {
        let gap = if line.is_empty() { "" } else { gap };
        if line.width() + gap.width() + piece.width() > columns {
            break;
        }
        line.push_str(gap);
        line.push_str(piece);
    }
    line
}

/// All pieces, on as many lines of `columns` as they take; never half a piece.
pub fn flow<'a>(
    pieces: impl IntoIterator<Item = &'a str>,
    gap: &str,
    columns: usize,
) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces {
        match lines.last_mut() {
            Some(line) if line.width() + gap.width() + piece.width() <= columns => {
                line.push_str(gap);
                line.push_str(piece);
            }
            Some(_) | None => lines.push(piece.to_owned()),
        }
    }
    lines
}

/// One line of wrapped text.
pub type WrappedLine<'a> = Vec<Cluster<'a>>;

/// The text broken into lines of at most `columns`, at spaces where there are any. At most
/// `most` lines are made, so a huge text costs no more than what is looked at.
pub fn wrap(text: &str, columns: usize, most: usize) -> Vec<WrappedLine<'_>> {
    wrapped_from(text, 0, columns).take(most).map(|(_, line)| line).collect()
}

/// The lines of a wrapped text from the one on that begins at this byte, each with the byte that it
/// begins with.
pub fn wrapped_from(
    text: &str,
    from: usize,
    columns: usize,
) -> impl Iterator<Item = (usize, WrappedLine<'_>)> {
    let rest = text.get(from..).unwrap_or("");
    Wrap {
        graphemes: rest.grapheme_indices(true).peekable(),
        from,
        start: from,
        line: Vec::new(),
        used: 0,
        columns: columns.max(2),
    }
}

/// Breaks a text into lines.
struct Wrap<'a> {
    graphemes: Peekable<GraphemeIndices<'a>>,
    /// Where the graphemes begin in the text.
    from: usize,
    /// Where the line under way begins in the text.
    start: usize,
    line: WrappedLine<'a>,
    used: usize,
    columns: usize,
}

impl<'a> Wrap<'a> {
    /// Ends the line under way; the next one begins at `start` with `rest`.
    fn end(&mut self, start: usize, rest: WrappedLine<'a>) -> (usize, WrappedLine<'a>) {
        self.used = rest.iter().map(|cluster| cluster.width).sum();
        (std::mem::replace(&mut self.start, start), std::mem::replace(&mut self.line, rest))
    }
}

impl<'a> Iterator for Wrap<'a> {
    type Item = (usize, WrappedLine<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(&(at, grapheme)) = self.graphemes.peek() {
            let at = self.from + at;
            let after = at + grapheme.len();
            let is_break = grapheme == "\n" || grapheme == "\r\n";
            let shown = if grapheme == "\t" { Cow::Borrowed(TAB) } else { harmless(grapheme) };
            let width = shown.width().min(self.columns);
            let fits = self.used + width <= self.columns;
            // a space that does not fit is the line break
            if is_break || (!fits && grapheme == " ") {
                self.graphemes.next();
                return Some(self.end(after, Vec::new()));
            }
            if !fits {
                // what does not fit is looked at again on the next line
                let rest = split_at_space(&mut self.line);
                let start = rest.first().map_or(at, |cluster| cluster.at);
                return Some(self.end(start, rest));
            }
            self.graphemes.next();
            self.used += width;
            self.line.push(Cluster { at, shown, width });
        }
        (!self.line.is_empty()).then(|| self.end(self.start, Vec::new()))
    }
}

/// Takes what follows the last space off the line; nothing where there is no space.
fn split_at_space<'a>(line: &mut WrappedLine<'a>) -> WrappedLine<'a> {
    match line.iter().rposition(|cluster| cluster.shown == " ") {
        Some(space) if space > 0 => {
            let rest = line.split_off(space + 1);
            line.pop();
            rest
        }
        Some(_) | None => Vec::new(),
    }
}

/// Byte offset of the first grapheme in `text` that `other` does not have at the same place;
/// `None` where they are equal.
pub fn first_difference(text: &str, other: &str) -> Option<usize> {
    if text == other {
        return None;
    }
    let mut at = common_bytes(text.as_bytes(), other.as_bytes());
    while !(is_boundary(text, at) && is_boundary(other, at)) {
        at -= 1;
    }
    Some(at)
}

/// How many bytes two texts begin with alike.
fn common_bytes(a: &[u8], b: &[u8]) -> usize {
    /// Compared as a whole, which is many times faster than byte by byte.
    const BLOCK: usize = 4096;
    let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK)).take_while(|(a, b)| a == b);
    let same: usize = blocks.map(|(block, _)| block.len()).sum();
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

/// Whether a grapheme of the text begins at this byte, or the text ends there.
fn is_boundary(text: &str, at: usize) -> bool {
    text.is_char_boundary(at)
        && GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_harmful(c: char) -> bool {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    }

    #[test]
    fn escape_sequences_are_shown_as_symbols() {
        assert_eq!(one_line("\u{1b}[2Jhi\r\u{7}\u{9b}31m"), "␛[2Jhi␍␇\u{fffd}31m");
    }

    #[test]
    fn line_breaks_and_tabs_stay_on_one_line() {
        assert_eq!(one_line("a\nb\r\nc\td"), "a↵b↵c d");
    }

    #[test]
    fn direction_changes_are_visible_and_zero_width_is_dropped() {
        assert_eq!(one_line("a\u{202e}b\u{200b}c\u{feff}"), "a⇄bc");
    }

    #[test]
    fn a_mark_without_a_letter_gets_a_circle() {
        assert_eq!(one_line("\u{301}x"), "◌\u{301}x");
    }

    #[test]
    fn fit_counts_columns_not_characters() {
        assert_eq!(fit("日本語テキスト", 7), "日本語…");
        assert_eq!(fit("日本語", 6), "日本語");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn what_is_scrolled_away_is_counted_in_columns() {
        assert_eq!(after("日本語", 2), "本語");
        assert_eq!(after("日本語", 3), "本語");
        assert_eq!((after("abc", 0), after("abc", 3), after("", 2)), ("abc", "", ""));
    }

    #[test]
    fn fit_end_keeps_the_end() {
        assert_eq!(fit_end("/home/someone/report.json", 12), "…report.json");
        assert_eq!(fit_end("short", 12), "short");
    }

    #[test]
    fn pieces_flow_onto_the_next_line() {
        assert_eq!(flow(["12 MB", "345 MB", "6 MB"], ", ", 13), ["12 MB, 345 MB", "6 MB"]);
    }

    #[test]
    fn pieces_are_never_cut() {
        assert_eq!(pieces(["12 MB", "345 MB"], "  ", 10), "12 MB");
        assert_eq!(pieces(["12 MB", "345 MB"], "  ", 13), "12 MB  345 MB");
    }

    fn lines(text: &str, columns: usize) -> Vec<String> {
        let lines = wrap(text, columns, usize::MAX);
        lines.iter().map(|line| line.iter().map(|c| c.shown.as_ref()).collect()).collect()
    }

    #[test]
    fn text_wraps_at_spaces_and_keeps_its_own_line_breaks() {
        assert_eq!(
            lines("the quick brown fox\n\njumps", 10),
            ["the quick", "brown fox", "", "jumps"]
        );
        assert_eq!(lines("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(lines("a bc\td", 4), ["a", "bc", "    ", "d"]);
    }

    #[test]
    fn the_first_difference_is_found_between_characters() {
        assert_eq!(first_difference("naïve", "naïve"), None);
        assert_eq!(first_difference("naïve x", "naïve y"), Some("naïve ".len()));
        assert_eq!(first_difference("abc", "ab"), Some(2));
        assert_eq!(first_difference("ab", "abc"), Some(2));
    }

    proptest! {
        #[test]
        fn the_first_difference_is_that_of_the_graphemes(
            start in "[ab\u{301}🇫🇷\r\n日]{0,6}",
            a in "[ab\u{301}🇫🇷\r\n日]{0,6}",
            b in "[ab\u{301}🇫🇷\r\n日]{0,6}",
        ) {
            let (a, b) = (format!("{start}{a}"), format!("{start}{b}"));
            let same = a.graphemes(true).zip(b.graphemes(true)).take_while(|(a, b)| a == b);
            let same: usize = same.map(|(grapheme, _)| grapheme.len()).sum();
            prop_assert_eq!(first_difference(&a, &b), (a != b).then_some(same));
        }

        #[test]
        fn nothing_harmful_reaches_the_screen(text in any::<String>(), columns in 0usize..60) {
            for shown in [one_line(&text), fit(&text, columns), fit_end(&text, columns)] {
                prop_assert!(!shown.chars().any(is_harmful), "{shown:?}");
            }
            for line in wrap(&text, columns, usize::MAX) {
                prop_assert!(!line.iter().any(|c| c.shown.chars().any(is_harmful)));
            }
        }

        #[test]
        fn nothing_is_wider_than_its_place(text in "[\\PC\u{0}-\u{a0}\u{300}-\u{303}日本🇫]{0,40}", columns in 2usize..60) {
            prop_assert!(fit(&text, columns).width() <= columns);
            prop_assert!(fit_end(&text, columns).width() <= columns);
            prop_assert_eq!(column(&text, columns).width(), columns);
            for line in wrap(&text, columns, usize::MAX) {
                let used: usize = line.iter().map(|cluster| cluster.width).sum();
                prop_assert!(used <= columns);
            }
        }

        #[test]
        fn wrapping_loses_nothing_but_spaces_and_line_breaks(text in "[a-z \\n]{0,80}", columns in 2usize..20) {
            let kept: String = lines(&text, columns).concat().replace(' ', "");
            let expected: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            prop_assert_eq!(kept, expected);
        }
    }
}
