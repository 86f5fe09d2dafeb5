//! Which words of a row's outputs differ from the reference, kept until a text changes.

use std::ops::Range;
use std::time::Duration;

use similar::{Algorithm, ChangeTag, TextDiff};

use crate::bench::recorder::{LaneRecord, Recorder, RowState};
use crate::tui::text::first_difference;

/// Longer texts are not compared word by word: all from the first difference on is marked.
const MOST_BYTES: usize = 100_000;

/// After this the rest of a text counts as different.
const PATIENCE: Duration = Duration::from_millis(40);

/// What differs in one row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Row, lane in focus, and the lengths of all texts that are done.
    of: (usize, usize, Vec<Option<usize>>),
    /// For each lane the byte ranges of its text that differ.
    ranges: Vec<Vec<Range<usize>>>,
    /// For each lane where its text begins to differ.
    first: Vec<Option<Place>>,
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Bytes before it.
    pub byte: usize,
    /// Characters before it.
    pub characters: usize,
}

impl Place {
    fn in_text(text: &str, byte: usize) -> Self {
        Self { byte, characters: text[..byte].chars().count() }
    }
}

impl Differences {
    /// The ranges of a lane's text that differ, in order.
    pub fn of_lane(&self, lane: usize) -> &[Range<usize>] {
        self.ranges.get(lane).map_or(&[], Vec::as_slice)
    }

    /// Where a lane's text begins to differ: from the reference, or for the reference from the
    /// first lane that differs from it.
    pub fn first(&self, lane: usize) -> Option<Place> {
        self.first.get(lane).copied().flatten()
    }

    /// Compares anew where a text has changed. The reference is compared with the lane in
    /// focus, or with the first one that differs.
    pub fn refresh(&mut self, record: &Recorder, row: usize, focus: usize) {
        let texts: Vec<Option<&str>> = record.lanes.iter().map(|lane| text(lane, row)).collect();
        let of = (row, focus, texts.iter().map(|text| text.map(str::len)).collect());
        if self.of == of {
            return;
        }
        let nothing = (vec![Vec::new(); texts.len()], vec![None; texts.len()]);
        (self.ranges, self.first) = nothing;
        self.of = of;
        let Some(reference) = texts.get(record.reference).copied().flatten() else { return };
        let mut facing: Option<usize> = None;
        for (lane, text) in texts.iter().enumerate() {
            let Some(text) = text.filter(|text| *text != reference) else { continue };
            let (ours, theirs) = differing(reference, text);
            self.ranges[lane] = theirs;
            if facing.is_none() || lane == focus {
                facing = Some(lane);
                self.ranges[record.reference] = ours;
            }
            // where rows are drawn at random, a difference is nothing to point at
            if !diverges(&record.lanes[lane], row) {
                continue;
            }
            let Some(at) = first_difference(text, reference) else { continue };
            let here = Some(Place::in_text(text, at));
            self.first[lane] = here;
            let known = self.first[record.reference];
            self.first[record.reference] = known.into_iter().chain(here).min();
        }
    }
}

/// A row's output, once it is done.
fn text(lane: &LaneRecord, row: usize) -> Option<&str> {
    let row = lane.pass()?.rows.get(row)?;
    (row.state == RowState::Done).then_some(row.text.as_str())
}

fn diverges(lane: &LaneRecord, row: usize) -> bool {
    let row = lane.pass().and_then(|pass| pass.rows.get(row));
    row.is_some_and(|row| row.same_as_reference == Some(false))
}

/// The ranges of both texts that the other one does not have.
fn differing(a: &str, b: &str) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    if a.len().max(b.len()) > MOST_BYTES {
        let rest =
            |text: &str, at: Option<usize>| at.map(|at| at..text.len()).into_iter().collect();
        let at = first_difference(a, b);
        return (rest(a, at), rest(b, at));
    }
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).timeout(PATIENCE).diff_words(a, b);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut in_a, mut in_b) = (0, 0);
    for change in diff.iter_all_changes() {
        let length = change.value().len();
        match change.tag() {
            ChangeTag::Equal => {
                in_a += length;
                in_b += length;
            }
            ChangeTag::Delete => {
                extend(&mut ours, in_a..in_a + length);
                in_a += length;
            }
            ChangeTag::Insert => {
                extend(&mut theirs, in_b..in_b + length);
                in_b += length;
            }
        }
    }
    (ours, theirs)
}

fn extend(ranges: &mut Vec<Range<usize>>, next: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if last.end == next.start => last.end = next.end,
        Some(_) | None => ranges.push(next),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words<'a>(text: &'a str, ranges: &[Range<usize>]) -> Vec<&'a str> {
        ranges.iter().map(|range| &text[range.clone()]).collect()
    }

    #[test]
    fn only_the_words_that_differ_are_marked() {
        let (a, b) = ("One, two, three, four, five.", "One, two, three, 四, five, six.");
        let (ours, theirs) = differing(a, b);
        assert_eq!(words(a, &ours), ["four,", "five."]);
        assert_eq!(words(b, &theirs), ["四, five,", "six."]);
    }

    #[test]
    fn a_huge_text_is_marked_from_the_first_difference_on() {
        let a = "x ".repeat(100_000);
        let b = format!("{}y", &a[..60_000]);
        let (ours, theirs) = differing(&a, &b);
        let ends = |ranges: &[Range<usize>]| -> Vec<(usize, usize)> {
            ranges.iter().map(|range| (range.start, range.end)).collect()
        };
        let (ours, theirs) = (ends(&ours), ends(&theirs));
        assert_eq!((ours, theirs), (vec![(60_000, 200_000)], vec![(60_000, 60_001)]));
    }

    proptest! {
        #[test]
        fn what_is_not_marked_is_the_same(a in "[ab\u{301}日 \n]{0,40}", b in "[ab\u{301}日 \n]{0,40}") {
            let (ours, theirs) = differing(&a, &b);
            let rest = |text: &str, ranges: &[Range<usize>]| {
                let mut rest = text.to_owned();
                for range in ranges.iter().rev() {
                    rest.replace_range(range.clone(), "");
                }
                rest
            };
            prop_assert_eq!(rest(&a, &ours), rest(&b, &theirs));
        }
    }
}
