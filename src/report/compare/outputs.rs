//! Which outputs of a lane are not the same in two reports.

use std::collections::HashMap;

use super::safe;
use crate::report::{Lane, Row};

/// Most row ids that are named.
const MOST_NAMED: usize = 8;

/// Compares rows that ended well in both; they are matched by id, or by place where an id is
/// not unique, and only where both have the same prompt.
pub(super) fn changed(a: &Lane, b: &Lane) -> Vec<String> {
    let matched = matched(a, b);
    let same_prompt = matched.iter().filter(|(ours, theirs)| ours.prompt == theirs.prompt);
    let done = same_prompt.filter(|(ours, theirs)| ours.is_done() && theirs.is_done());
    let pairs: Vec<&(&Row, &Row)> = done.collect();
    let differ = |pair: &&&(&Row, &Row)| pair.0.text != pair.1.text;
    let changed: Vec<&str> = pairs.iter().filter(differ).map(|pair| pair.0.id.as_str()).collect();
    let mut lines = vec![match (pairs.len(), changed.len()) {
        (0, _) => "outputs: none to compare".to_owned(),
        (of, 0) => format!("outputs: {of} of {of} the same"),
        (of, count) => format!("outputs: {count} of {of} changed: {}", named(&changed)),
    }];
    let left_out = a.rows.len().max(b.rows.len()).saturating_sub(pairs.len());
    if left_out > 0 {
        lines.push(format!("rows that are not done in both, or have another prompt: {left_out}"));
    }
    lines
}

fn matched<'a>(a: &'a Lane, b: &'a Lane) -> Vec<(&'a Row, &'a Row)> {
    let (ours, theirs) = (by_id(a), by_id(b));
    let pair = |(place, row): (usize, &'a Row)| {
        let unique = ours.get(row.id.as_str()).is_some_and(Option::is_some);
        let by_id = theirs.get(row.id.as_str()).copied().flatten().filter(|_| unique);
        let by_place = b.rows.get(place).filter(|other| other.id == row.id);
        Some((row, by_id.or(by_place)?))
    };
    a.rows.iter().enumerate().filter_map(pair).collect()
}

/// Rows by id; an id that is not unique has none.
fn by_id(lane: &Lane) -> HashMap<&str, Option<&Row>> {
    let mut rows: HashMap<&str, Option<&Row>> = HashMap::new();
    for row in &lane.rows {
        rows.entry(&row.id).and_modify(|first| *first = None).or_insert(Some(row));
    }
    rows
}

fn named(ids: &[&str]) -> String {
    let shown: Vec<String> = ids.iter().take(MOST_NAMED).map(|id| safe(id)).collect();
    match ids.len().saturating_sub(MOST_NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
