//! The head of the page: what was run, and what came of it.

use super::markup::Html;
use crate::bench::verify::{Finding, Outcome};
use crate::report::{Report, Weight};
use crate::text::shortened;

/// Most findings of a kind.
const MOST_FINDINGS: usize = 30;
/// Longest message, in characters.
const MOST_MESSAGE: usize = 400;

pub(super) fn header(report: &Report, html: &mut Html) {
    html.raw("<header>\n");
    html.classed("p", "kicker", "batchgen report");
    html.element("h1", &[], &super::title(report));
    html.classed("p", "soft", &about(report));
    html.raw("</header>\n");
    let (class, word, meaning) = match report.verdict.as_ref().map(|verdict| verdict.outcome) {
        Some(Outcome::Verified) => (
            "verdict verified",
            "✓ Verified",
            "Every row of every lane ended once, in its place; nothing speaks against the outputs.",
        ),
        Some(Outcome::Incomplete) => (
            "verdict incomplete",
            "◌ Incomplete",
            "Nothing speaks against what was run, but not everything was run.",
        ),
        Some(Outcome::Failed) => ("verdict failed", "✗ Failed", "Something is wrong:"),
        None => ("verdict", "Not judged", "The report has no verdict."),
    };
    html.open("section", &[("class", &class), ("aria-label", &"verdict")]);
    html.classed("strong", "word", word);
    html.element("p", &[], meaning);
    reasons(report, html);
    html.raw("</section>\n");
    doubts(report, html);
}

/// What may have disturbed the figures.
fn doubts(report: &Report, html: &mut Html) {
    if report.audit.is_empty() {
        return;
    }
    html.raw("<ul class=\"reasons doubts\">");
    for doubt in report.audit.iter().take(MOST_FINDINGS) {
        let class = match doubt.weight {
            Weight::Warning => "warn",
            Weight::Note => "info",
        };
        let lane = doubt.lane.as_deref().map(|lane| format!("{}: ", shortened(lane, 60)));
        let message = shortened(&doubt.message, MOST_MESSAGE);
        html.classed("li", class, &format!("{}{message}", lane.unwrap_or_default()));
    }
    html.raw("</ul>\n");
}

fn about(report: &Report) -> String {
    let first = report.lanes.first();
    let counted = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    let mut facts = vec![
        counted(first.map_or(0, |lane| lane.figures.rows_total), "prompt"),
        counted(report.lanes.len(), "lane"),
    ];
    let mut models: Vec<&str> = report.lanes.iter().map(|lane| lane.model.as_str()).collect();
    models.dedup();
    facts.extend(models.iter().take(3).map(|model| shortened(model, 60)));
    facts.extend(first.and_then(|lane| lane.device.clone()).map(|device| shortened(&device, 40)));
    facts.push(report.run.started_at.strftime("%-d %B %Y, %H:%M UTC").to_string());
    facts.join(" · ")
}

fn reasons(report: &Report, html: &mut Html) {
    let Some(verdict) = &report.verdict else { return };
    let kinds =
        [("bad", &verdict.failures), ("open", &verdict.incomplete), ("info", &verdict.information)];
    if kinds.iter().all(|(_, findings)| findings.is_empty()) {
        return;
    }
    html.raw("<ul class=\"reasons\">");
    for (class, findings) in kinds {
        findings.iter().take(MOST_FINDINGS).for_each(|finding| reason(class, finding, html));
        if let Some(more @ 1..) = findings.len().checked_sub(MOST_FINDINGS) {
            html.classed("li", class, &format!("and {more} more"));
        }
    }
    html.raw("</ul>");
}

fn reason(class: &'static str, finding: &Finding, html: &mut Html) {
    let lane = shortened(&finding.lane, 60);
    html.classed("li", class, &format!("{lane}: {}", shortened(&finding.message, MOST_MESSAGE)));
}
