//! The report as Markdown that fits a pull-request comment: the verdict, a table with a line a
//! lane, what differs, and how to repeat it.
//!
//! Every list is cut and counted, so that the text stays below the 65,536 characters of a
//! comment whatever is in the report. Texts of users, models and servers go through
//! [`escape`]; nothing else is taken from them.

mod environment;
pub(super) mod escape;
mod findings;
mod table;

use std::fmt::Write;

use super::Report;
use crate::bench::verify::Outcome;
use crate::units;

/// The report as Markdown.
pub(super) fn render(report: &Report) -> String {
    let mut page = Page::default();
    page.line(&headline(report));
    findings::reasons(report, &mut page);
    table::lanes(report, &mut page);
    findings::details(report, &mut page);
    environment::section(report, &mut page);
    page.text
}

/// Lines of Markdown.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    /// A list of its own: the first `most` items, then how many there are besides.
    fn list(&mut self, items: impl ExactSizeIterator<Item = String>, most: usize) {
        let more = items.len().saturating_sub(most);
        if items.len() > 0 {
            self.line("");
        }
        items.take(most).for_each(|item| self.line(&format!("- {item}")));
        if more > 0 {
            self.line(&format!("- and {more} more"));
        }
    }

    /// Opens a part that is folded away.
    fn folded(&mut self, summary: &str) {
        self.line(&format!("\n<details><summary>{summary}</summary>"));
    }

    fn end_folded(&mut self) {
        self.line("\n</details>");
    }
}

fn headline(report: &Report) -> String {
    let verdict = match report.verdict.as_ref().map(|verdict| verdict.outcome) {
        Some(Outcome::Verified) => "✓ verified",
        Some(Outcome::Incomplete) => "◌ incomplete",
        Some(Outcome::Failed) => "✗ failed",
        None => "not judged",
    };
    let rows = report.lanes.first().map_or(0, |lane| lane.figures.rows_total);
    let counted = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    let name = report.run.plan.get("name").and_then(|name| name.as_str());
    let name = name.map_or_else(|| units::UNKNOWN.to_owned(), escape::inline);
    let (rows, lanes) = (counted(rows, "prompt"), counted(report.lanes.len(), "lane"));
    format!("### {verdict}: {name}, {rows}, {lanes}")
}
