//! The report as one HTML page that needs nothing else: no network, no script, charts as inline
//! SVG, light and dark as the reader's system is.
//!
//! The verdict comes first, then what was measured, the outputs side by side, the method, the
//! environment and the command that repeats the run. However many rows a report has, the page
//! stays of a size that opens: rows beyond a limit are counted and left to the JSON. Texts
//! cannot become markup; see [`markup`].

mod chart;
mod charts;
mod comparison;
mod distribution;
mod environment;
mod figures;
mod markup;
mod outputs;
mod sweep;
mod verdict;
mod words;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::{Report, method};
pub(super) use comparison::comparison;
use markup::Html;

const STYLE: &str = include_str!("html/style.css");

/// The report as a page.
pub(super) fn render(report: &Report) -> String {
    page(&title(report), |html| {
        verdict::header(report, html);
        figures::tiles(report, html);
        charts::section(report, html);
        figures::table(report, html);
        outputs::section(report, html);
        how(report, html);
        environment::section(report, html);
    })
}

/// A page with this title.
fn page(title: &str, fill: impl FnOnce(&mut Html)) -> String {
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.open(
        "meta",
        &[("http-equiv", &"Content-Security-Policy"), ("content", &content_policy())],
    );
    html.raw("\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.raw("<meta name=\"referrer\" content=\"no-referrer\">\n");
    html.element("title", &[], title);
    html.raw("\n<style>");
    html.raw(STYLE);
    html.raw("</style>\n</head>\n<body>\n<main>\n");
    fill(&mut html);
    html.raw("\n<footer>batchgen-tui ");
    html.text(env!("CARGO_PKG_VERSION"));
    html.raw(" · everything on this page, and every row, is in the JSON report</footer>\n");
    html.raw("</main>\n</body>\n</html>\n");
    html.finish()
}

/// Nothing is loaded and nothing is run; the one style is known by its hash.
fn content_policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

/// What the run is called.
fn title(report: &Report) -> String {
    let name = report.run.plan.get("name").and_then(|name| name.as_str());
    name.unwrap_or(&report.run.id).to_owned()
}

fn how(report: &Report, html: &mut Html) {
    html.raw("\n<h2>How it was measured</h2>\n<section class=\"card\"><dl>");
    for (term, meaning) in method::terms(report) {
        html.element("dt", &[], term);
        html.element("dd", &[], &meaning);
    }
    html.raw("</dl></section>");
}
