//! Where the lines of the outputs of a row begin, kept so that neither a frame nor a key wraps a
//! long text from its start again.

use super::super::text;

/// The most lines of one output that can be scrolled through.
const MOST_LINES: usize = 20_000;

/// The lines of one row's outputs; one entry a lane.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    lanes: Vec<LaneLines>,
}

/// Which text was wrapped, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wrapping {
    /// The row.
    pub row: usize,
    /// Passes of the lane: a new one has new texts.
    pub passes: usize,
    /// Columns.
    pub columns: usize,
}

#[derive(Debug, Clone, Default)]
struct LaneLines {
    of: Wrapping,
    /// Bytes of the text.
    length: usize,
    /// Byte offsets.
    starts: Vec<usize>,
    /// Nothing follows the last line.
    whole: bool,
}

impl Lines {
    /// Finds the first `wanted` lines of a lane's text. A text of the same row only ever grows.
    pub fn find(&mut self, lane: usize, of: Wrapping, text: &str, wanted: usize) {
        if self.lanes.len() <= lane {
            self.lanes.resize_with(lane + 1, LaneLines::default);
        }
        let lines = &mut self.lanes[lane];
        if lines.of != of || text.len() < lines.length {
            *lines = LaneLines { of, ..LaneLines::default() };
        }
        let grown = text.len() > lines.length;
        lines.length = text.len();
        if (lines.whole && !grown) || lines.starts.len() >= wanted.min(MOST_LINES) {
            return;
        }
        // what was the last line may go on
        let from = lines.starts.pop().unwrap_or(0);
        let room = wanted.min(MOST_LINES) - lines.starts.len();
        let mut found = text::wrapped_from(text, from, of.columns).map(|(start, _)| start);
        lines.starts.extend(found.by_ref().take(room));
        lines.whole = lines.starts.len() < wanted.min(MOST_LINES);
    }

    /// How many lines were found.
    pub fn count(&self, lane: usize) -> usize {
        self.lanes.get(lane).map_or(0, |lines| lines.starts.len())
    }

    /// The line that holds a byte, as far as lines were found.
    pub fn line_of(&self, lane: usize, of: Wrapping, at: usize) -> Option<usize> {
        let lines = self.lanes.get(lane).filter(|lines| lines.of == of)?;
        lines.starts.partition_point(|start| *start <= at).checked_sub(1)
    }

    /// The byte that a line begins with, where it was found for this wrapping.
    pub fn start(&self, lane: usize, of: Wrapping, line: usize) -> Option<usize> {
        let lines = self.lanes.get(lane).filter(|lines| lines.of == of)?;
        lines.starts.get(line).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_growing_text_are_those_of_the_whole_text() {
        let text = "the quick brown fox\n\njumps over\tthe lazy dog and on and on ".repeat(4);
        let of = Wrapping { row: 3, passes: 1, columns: 9 };
        let whole: Vec<usize> = text::wrapped_from(&text, 0, 9).map(|(start, _)| start).collect();
        let mut lines = Lines::default();
        for (place, (end, _)) in text.char_indices().enumerate() {
            lines.find(1, of, &text[..end], if place % 3 == 0 { 2 } else { usize::MAX });
        }
        lines.find(1, of, &text, usize::MAX);
        let found: Vec<usize> =
            (0..lines.count(1)).filter_map(|line| lines.start(1, of, line)).collect();
        assert_eq!(found, whole);
        assert_eq!(lines.start(1, Wrapping { columns: 8, ..of }, 0), None);
        lines.find(1, Wrapping { row: 4, ..of }, "a", usize::MAX);
        assert_eq!(lines.count(1), 1);
    }

    #[test]
    fn no_more_lines_are_found_than_were_asked_for() {
        let mut lines = Lines::default();
        let of = Wrapping { row: 0, passes: 1, columns: 10 };
        lines.find(0, of, &"x".repeat(1_000_000), 7);
        assert_eq!(lines.count(0), 7);
        lines.find(0, of, &"x".repeat(1_000_000), usize::MAX);
        assert_eq!(lines.count(0), MOST_LINES);
    }
}
