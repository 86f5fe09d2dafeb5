//! The figures of the lanes: the best of them in large type, then a table with a line a lane.

use super::markup::Html;
use crate::bench::statistics::Difference;
use crate::report::{Figures, Lane, Report};
use crate::text::shortened;
use crate::units::{self, UNKNOWN};

/// Most lanes in the table.
const MOST_LANES: usize = 100;

/// What is worth large type: the fastest lane, its gain, and whether the answers are the same.
pub(super) fn tiles(report: &Report, html: &mut Html) {
    let rate = |lane: &&Lane| lane.figures.output_tokens_per_s;
    let rated = report.lanes.iter().filter(|lane| rate(lane).is_some());
    let fastest =
        rated.max_by(|a, b| rate(a).unwrap_or_default().total_cmp(&rate(b).unwrap_or_default()));
    let Some(fastest) = fastest else { return };
    let label = shortened(&fastest.label, 40);
    html.raw("<div class=\"tiles\">");
    let throughput = units::known(fastest.figures.output_tokens_per_s, units::throughput);
    let throughput = units::estimated(fastest.figures.estimated(), throughput);
    tile(html, &throughput, &format!("output of {label}, the fastest lane"));
    if let Some(speedup) = fastest.speedup.filter(|_| report.lanes.len() > 1) {
        let base = report.lanes.iter().find(|lane| lane.mode == "sequential");
        let base = base.map_or("sequential", |lane| lane.label.as_str());
        let base = shortened(base, 40);
        let spread = fastest.spread.and_then(|spread| spread.speedup);
        let told = spread.map(|of| {
            let ends = format!("{} to {}", units::significant(of.low), units::ratio(of.high));
            match of.shows() {
                Difference::NotShown => format!(" ({ends}: no difference shown)"),
                Difference::Same => format!(" ({ends}: the same within 1 %)"),
                Difference::More | Difference::Less | Difference::TooFewRepeats => {
                    format!(" ({ends})")
                }
            }
        });
        let about = format!("the throughput of {base}{}", told.unwrap_or_default());
        tile(html, &units::ratio(speedup), &about);
    }
    if let Some(ttft) = fastest.figures.ttft_s {
        tile(html, &units::duration(ttft.p50), &format!("median TTFT of {label}"));
    }
    let (same, compared) = agreement(report);
    if compared > 0 {
        tile(html, &format!("{same} of {compared}"), "outputs equal to the reference lane's");
    }
    slo(report, html);
    html.raw("</div>\n");
}

fn slo(report: &Report, html: &mut Html) {
    if report.run.slo.is_none() {
        return;
    }
    let goodput = |lane: &Lane| lane.slo.map(|kept| kept.goodput_rows_per_s);
    let kept = report.lanes.iter().filter_map(|lane| Some((lane, goodput(lane)?)));
    if let Some((lane, goodput)) = kept.max_by(|a, b| a.1.total_cmp(&b.1)) {
        let label = shortened(&lane.label, 40);
        let about = format!("best goodput within the limits: {label}");
        tile(html, &units::rate(goodput, "rows/s"), &about);
    }
    if let Some(sizes) = report.batch_sizes {
        let size = units::known(sizes.largest_within_slo, |size| size.to_string());
        tile(html, &size, "largest batch size with 95 % of rows within the limits");
    }
}

fn tile(html: &mut Html, figure: &str, about: &str) {
    html.raw("<div class=\"tile\">");
    html.element("b", &[], figure);
    html.element("span", &[], about);
    html.raw("</div>");
}

/// Outputs that are the same as the reference's, and how many were compared.
fn agreement(report: &Report) -> (usize, usize) {
    let found = report.lanes.iter().filter_map(|lane| lane.agreement.as_ref());
    found.fold((0, 0), |(same, all), of| (same + of.same, all + of.compared()))
}

/// A column: its heading, and the cell of a lane.
type Column = (&'static str, fn(&Lane) -> String);

const COLUMNS: [Column; 17] = [
    ("rows", |lane| format!("{}/{}", lane.figures.rows_ok, lane.figures.rows_total)),
    ("output", |lane| estimate(lane, lane.figures.output_tokens_per_s.map(units::throughput))),
    ("speedup", |lane| units::known(lane.speedup, units::ratio)),
    ("rows/s", |lane| units::known(lane.figures.rows_per_s, units::significant)),
    ("time", |lane| units::known(lane.figures.wall_s, units::duration)),
    ("TTFT p50", |lane| units::known(lane.figures.ttft_s.map(|of| of.p50), units::duration)),
    ("p95", |lane| units::known(lane.figures.ttft_s.map(|of| of.p95), units::duration)),
    ("ITL p50", |lane| estimate(lane, lane.figures.itl_s.map(|of| units::duration(of.p50)))),
    ("p95", |lane| estimate(lane, lane.figures.itl_s.map(|of| units::duration(of.p95)))),
    ("e2e p50", |lane| units::known(lane.figures.e2e_s.map(|of| of.p50), units::duration)),
    ("p95", |lane| units::known(lane.figures.e2e_s.map(|of| of.p95), units::duration)),
    ("tokens", |lane| estimate(lane, Some(lane.figures.output_tokens.to_string()))),
    ("occupancy", |lane| units::known(lane.figures.occupancy, units::percent)),
    ("peak memory", |lane| memory(&lane.figures)),
    ("J/ktok", |lane| units::known(energy(lane), units::significant)),
    ("goodput", |lane| {
        units::known(lane.slo, |kept| units::rate(kept.goodput_rows_per_s, "rows/s"))
    }),
    ("same", same),
];

pub(super) fn table(report: &Report, html: &mut Html) {
    html.raw("\n<h2>All figures</h2>\n");
    html.raw("<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th>lane</th>");
    let lanes = || report.lanes.iter().take(MOST_LANES);
    let is_known = |(_, cell): &&Column| lanes().any(|lane| cell(lane) != UNKNOWN);
    let columns: Vec<&Column> = COLUMNS.iter().filter(is_known).collect();
    for (heading, _) in &columns {
        html.element("th", &[], heading);
    }
    html.raw("</tr></thead>\n<tbody>");
    for lane in lanes() {
        html.raw("<tr>");
        html.element("th", &[("scope", &"row")], &shortened(&lane.label, 60));
        for (_, cell) in &columns {
            html.element("td", &[], &cell(lane));
        }
        html.raw("</tr>\n");
    }
    html.raw("</tbody></table></div>\n");
    if let Some(more @ 1..) = report.lanes.len().checked_sub(MOST_LANES) {
        html.classed("p", "note", &format!("and {more} more lanes, in the JSON report"));
    }
    if report.lanes.iter().any(|lane| lane.figures.estimated()) {
        html.classed("p", "note", "≈ made of estimated token counts: the provider counts none");
    }
}

/// Figures that are made of estimated token counts say so.
fn estimate(lane: &Lane, figure: Option<String>) -> String {
    units::estimated(lane.figures.estimated(), figure.unwrap_or_else(|| UNKNOWN.to_owned()))
}

fn memory(figures: &Figures) -> String {
    let peak = figures.peak_memory_bytes;
    units::known(peak.and_then(|peak| peak.gpu.or(peak.process).or(peak.engine)), units::bytes)
}

fn energy(lane: &Lane) -> Option<f64> {
    lane.figures.energy.as_ref()?.joules_per_1000_output_tokens
}

fn same(lane: &Lane) -> String {
    let found = lane.agreement.as_ref();
    units::known(found, |found| format!("{}/{}", found.same, found.compared()))
}
