//! Judges what a run did: integrity and agreement, two separate claims, and the verdict on both.
//!
//! Pure functions over the record of a run. They neither measure nor format, and they are
//! quick: texts are compared by hash, so that 100,000 rows take well under a second.

mod agreement;
mod canary;
mod integrity;
mod verdict;

pub use agreement::{Agreement, Divergence, Swapped, agreement};
pub use canary::{Canary, canary};
pub use integrity::{Integrity, integrity};
pub use verdict::{Finding, FindingKind, LaneFindings, Outcome, Verdict, verdict};

/// Row numbers for people, from 1, neighbours joined: `3, 5-9, 12 and 40 more`.
fn row_list(rows: &[usize]) -> String {
    const MOST_RANGES: usize = 8;
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut named = 0;
    for &row in rows {
        let full = ranges.len() == MOST_RANGES;
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == row => *last = row,
            Some(_) if full => break,
            Some(_) | None => ranges.push((row, row)),
        }
        named += 1;
    }
    let texts = ranges.iter().map(|(first, last)| match last - first {
        0 => format!("{}", first + 1),
        _ => format!("{}-{}", first + 1, last + 1),
    });
    let list = texts.collect::<Vec<_>>().join(", ");
    if named < rows.len() { format!("{list} and {} more", rows.len() - named) } else { list }
}

#[cfg(test)]
mod tests {
    use super::row_list;

    #[test]
    fn row_lists_count_from_one_join_neighbours_and_stay_short() {
        assert_eq!(row_list(&[2]), "3");
        assert_eq!(row_list(&[0, 1, 2, 6, 8, 9]), "1-3, 7, 9-10");
        let odd: Vec<usize> = (0..100).map(|row| row * 2).collect();
        assert_eq!(row_list(&odd), "1, 3, 5, 7, 9, 11, 13, 15 and 92 more");
    }
}
