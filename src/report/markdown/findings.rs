//! What was found: the reasons of the verdict, and the rows behind them.

use super::{Page, escape};
use crate::bench::verify::Finding;
use crate::report::{Lane, Report, Row, Weight};

/// Most findings of a kind.
const MOST_FINDINGS: usize = 12;
/// Most rows of a kind that are shown, over all lanes.
const MOST_ROWS: usize = 20;
/// Longest message, in characters.
const MOST_MESSAGE: usize = 240;
/// Longest quotation of an output, in characters.
const MOST_QUOTE: usize = 100;

/// Why the verdict is what it is.
pub(super) fn reasons(report: &Report, page: &mut Page) {
    let Some(verdict) = &report.verdict else { return };
    let mut items = Vec::new();
    for (sign, findings) in
        [("✗", &verdict.failures), ("◌", &verdict.incomplete), ("ℹ", &verdict.information)]
    {
        items.extend(findings.iter().take(MOST_FINDINGS).map(|found| reason(sign, found)));
        if let Some(more @ 1..) = findings.len().checked_sub(MOST_FINDINGS) {
            items.push(format!("{sign} and {more} more"));
        }
    }
    let warnings = report.audit.iter().filter(|doubt| doubt.weight == Weight::Warning);
    items.extend(warnings.take(MOST_FINDINGS).map(|doubt| {
        let lane = doubt.lane.as_deref().map(|lane| format!("{}: ", escape::inline(lane)));
        let message = escape::inline_up_to(&doubt.message, MOST_MESSAGE);
        format!("⚠ {}{message}", lane.unwrap_or_default())
    }));
    let all = items.len();
    page.list(items.into_iter(), all);
}

fn reason(sign: &str, found: &Finding) -> String {
    let lane = escape::inline(&found.lane);
    format!("{sign} {lane}: {}", escape::inline_up_to(&found.message, MOST_MESSAGE))
}

/// The rows that differ or failed, folded away.
pub(super) fn details(report: &Report, page: &mut Page) {
    folded("Outputs that differ", differing(report), page);
    folded("Rows that failed", failed(report), page);
}

fn folded(summary: &str, items: Vec<String>, page: &mut Page) {
    if items.is_empty() {
        return;
    }
    page.folded(summary);
    page.list(items.into_iter(), MOST_ROWS);
    page.end_folded();
}

fn differing(report: &Report) -> Vec<String> {
    let mut items = Vec::new();
    for lane in &report.lanes {
        let Some(found) = &lane.agreement else { continue };
        items.extend(found.swapped.iter().map(|at| {
            let (row, other) = (id(lane, at.row), id(lane, at.equals_row));
            format!("{}, {row}: holds the output of {other}", escape::inline(&lane.label))
        }));
        items.extend(found.diverged.iter().map(|at| {
            let place = match at.at_token {
                Some(token) => format!("token {}", token + 1),
                None => format!("character {}", at.at + 1),
            };
            let (label, row) = (escape::inline(&lane.label), id(lane, at.row));
            let reference = escape::quote(&at.reference, MOST_QUOTE);
            let text = escape::quote(&at.text, MOST_QUOTE);
            format!("{label}, {row}, from {place}: {reference} → {text}")
        }));
    }
    items
}

fn failed(report: &Report) -> Vec<String> {
    let failures = report.lanes.iter().flat_map(|lane| {
        let error = |row: &'_ Row| row.error.clone();
        lane.rows.iter().filter_map(move |row| Some((lane, row, error(row)?)))
    });
    let item = |(lane, row, error): (&Lane, &Row, String)| {
        let (label, id) = (escape::inline(&lane.label), escape::inline(&row.id));
        format!("{label}, {id}: {}", escape::inline_up_to(&error, MOST_MESSAGE))
    };
    failures.map(item).collect()
}

/// The row's own name.
fn id(lane: &Lane, index: usize) -> String {
    match lane.rows.get(index) {
        Some(row) => escape::inline(&row.id),
        None => format!("row {}", index.saturating_add(1)),
    }
}
