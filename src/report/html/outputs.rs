//! The outputs of the lanes side by side, with the words that differ.
//!
//! Rows that differ or failed come first and open; rows that are the same in every lane hold
//! their text once. What goes beyond the limits is counted and left to the JSON report.

use super::markup::Html;
use super::words;
use crate::report::{Lane, Report, Row};
use crate::text::shortened;

/// Most rows that differ or failed.
const MOST_NOTABLE: usize = 300;
/// Most rows that are the same everywhere.
const MOST_PLAIN: usize = 200;
/// Rows that stand open without being clicked at.
const MOST_OPEN: usize = 12;
/// Rows in one folded group of those that are the same everywhere.
const PAGE: usize = 50;
/// Longest prompt and longest output, in characters.
const MOST_CHARS: usize = 4000;
/// Most lanes side by side.
const MOST_LANES: usize = 12;
/// Bytes of the page after which no further row is written.
const MOST_BYTES: usize = 8 << 20;

pub(super) fn section(report: &Report, html: &mut Html) {
    let lanes: Vec<&Lane> = report.lanes.iter().filter(|lane| !lane.rows.is_empty()).collect();
    let Some(rows) = lanes.iter().map(|lane| lane.rows.len()).max() else { return };
    let reference = reference(report, &lanes);
    let table = Table { lanes, reference };
    let (plain, notable): (Vec<usize>, Vec<usize>) =
        (0..rows).partition(|row| table.is_plain(*row));
    html.raw("\n<h2>Outputs</h2>\n");
    chips(html, rows, notable.len(), &table);
    let limit = html.len() + MOST_BYTES;
    let mut shown = 0;
    for (place, row) in notable.iter().take(MOST_NOTABLE).enumerate() {
        if html.len() > limit {
            break;
        }
        table.row(*row, place < MOST_OPEN, html);
        shown += 1;
    }
    left_out(html, notable.len() - shown, "rows that differ or failed");
    let shown = table.plain(&plain, limit, html);
    left_out(html, plain.len() - shown, "rows that are the same in every lane");
}

fn chips(html: &mut Html, rows: usize, notable: usize, table: &Table<'_>) {
    html.raw("<ul class=\"chips\">");
    html.element("li", &[], &format!("{rows} rows"));
    if table.lanes.len() > 1 {
        html.element("li", &[], &format!("{notable} differ or failed"));
        html.raw("<li>only in this lane: <ins>marked</ins></li>");
        html.raw("<li>only in the reference: <del>struck out</del></li>");
    }
    if table.lanes.len() > MOST_LANES {
        html.element("li", &[], &format!("the first {MOST_LANES} lanes are shown"));
    }
    html.raw("</ul>\n");
}

fn left_out(html: &mut Html, rows: usize, what: &str) {
    if rows > 0 {
        let text = format!("{rows} more {what} are not on this page; all are in the JSON report");
        html.classed("p", "note", &text);
    }
}

/// The lane that the others are compared with: the one agreement names, else the first.
fn reference(report: &Report, lanes: &[&Lane]) -> usize {
    let named = report.lanes.iter().find_map(|lane| lane.agreement.as_ref());
    let place = named.and_then(|of| lanes.iter().position(|lane| lane.label == of.reference));
    place.unwrap_or(0)
}

struct Table<'a> {
    lanes: Vec<&'a Lane>,
    reference: usize,
}

impl<'a> Table<'a> {
    /// Whether a row ended well in every lane, with the same text.
    fn is_plain(&self, row: usize) -> bool {
        let first = self.lanes[self.reference].rows.get(row);
        let same = |lane: &&Lane| {
            let other = lane.rows.get(row);
            other.is_some_and(Row::is_done) && other.map(|of| &of.text) == first.map(|of| &of.text)
        };
        self.lanes.iter().all(same)
    }

    /// The row in whichever lane has it.
    fn any(&self, row: usize) -> Option<&'a Row> {
        self.lanes.iter().find_map(|lane| lane.rows.get(row))
    }

    fn row(&self, row: usize, open: bool, html: &mut Html) {
        let Some(of) = self.any(row) else { return };
        html.raw(if open { "<details open>" } else { "<details>" });
        summary(of, &self.state(row), html);
        html.raw("<div class=\"inside\">");
        html.classed("p", "out prompt", &cut(&of.prompt));
        html.raw("<div class=\"side\">");
        // the reference to the left of what is compared with it
        let others = (0..self.lanes.len().min(MOST_LANES)).filter(|lane| *lane != self.reference);
        for lane in std::iter::once(self.reference).chain(others) {
            self.output(lane, row, html);
        }
        html.raw("</div></div></details>\n");
    }

    fn state(&self, row: usize) -> (&'static str, String) {
        let rows = || self.lanes.iter().filter_map(|lane| lane.rows.get(row));
        let failed = rows().filter(|row| row.error.is_some()).count();
        let open = rows().filter(|row| !row.is_done() && row.error.is_none()).count();
        match (failed, open) {
            (0, 0) => ("state warn", "differs".into()),
            (0, open) => ("state warn", format!("not run in {open} of {}", self.lanes.len())),
            (failed, _) => ("state bad", format!("failed in {failed} of {}", self.lanes.len())),
        }
    }

    fn output(&self, lane: usize, row: usize, html: &mut Html) {
        let of = self.lanes[lane];
        let expected = self.lanes[self.reference].rows.get(row).filter(|row| row.is_done());
        html.raw("<section>");
        let label = shortened(&of.label, 60);
        let Some(record) = of.rows.get(row) else {
            html.element("h4", &[], &label);
            html.raw("<p class=\"note\">no such row</p></section>");
            return;
        };
        let expected = expected.and_then(|row| row.text.as_deref());
        let is_reference = lane == self.reference;
        let same = record.is_done() && record.text.as_deref() == expected;
        html.element(
            "h4",
            &[],
            &match (is_reference, same) {
                (true, _) => format!("{label} (reference)"),
                (false, true) => format!("{label} = same"),
                (false, false) => label,
            },
        );
        match (&record.error, &record.text) {
            (Some(error), _) => html.classed("p", "worse", &cut(error)),
            (None, None) => html.raw("<p class=\"note\">not run</p>"),
            (None, Some(_)) if same && !is_reference => {}
            (None, Some(text)) => {
                html.raw("<p class=\"out\" dir=\"auto\">");
                match expected.filter(|_| !is_reference && record.is_done()) {
                    Some(expected) => marked(expected, text, html),
                    None => html.text(&cut(text)),
                }
                html.raw("</p>");
            }
        }
        html.raw("</section>");
    }

    /// Rows that are the same everywhere, in folded groups; gives how many were written.
    fn plain(&self, rows: &[usize], limit: usize, html: &mut Html) -> usize {
        let mut shown = 0;
        for group in rows[..rows.len().min(MOST_PLAIN)].chunks(PAGE) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { break };
            if html.len() > limit {
                break;
            }
            html.raw("<details><summary>");
            let lanes = if self.lanes.len() > 1 { ", the same in every lane" } else { "" };
            let text = match group.len() {
                1 => format!("row {}{lanes}", first + 1),
                count => format!("{count} rows from {} to {}{lanes}", first + 1, last + 1),
            };
            html.text(&text);
            html.raw("</summary><div class=\"inside\">");
            for row in group {
                let Some(of) = self.any(*row) else { continue };
                html.raw("<details>");
                summary(of, &("state", String::new()), html);
                html.raw("<div class=\"inside\">");
                html.classed("p", "out prompt", &cut(&of.prompt));
                html.classed("p", "out", &cut(of.text.as_deref().unwrap_or_default()));
                html.raw("</div></details>\n");
                shown += 1;
            }
            html.raw("</div></details>\n");
        }
        shown
    }
}

fn summary(row: &Row, (class, state): &(&'static str, String), html: &mut Html) {
    html.raw("<summary>");
    html.classed("span", "id", &shortened(&row.id, 40));
    html.text(&shortened(row.prompt.trim(), 90).replace('\n', " "));
    if !state.is_empty() {
        html.classed("span", class, state);
    }
    html.raw("</summary>");
}

fn marked(expected: &str, text: &str, html: &mut Html) {
    let fits = |text: &str| text.chars().nth(words::MOST_CHARS).is_none();
    if fits(expected) && fits(text) {
        words::difference(expected, text, html);
    } else {
        html.text(&cut(text));
    }
}

/// A text of bounded length that says how much is missing.
fn cut(text: &str) -> String {
    let whole = text.chars().count();
    match whole.checked_sub(MOST_CHARS) {
        None | Some(0) => text.to_owned(),
        Some(more) => {
            let kept: String = text.chars().take(MOST_CHARS).collect();
            format!("{kept}… ({more} more characters in the JSON report)")
        }
    }
}
