//! The table with a line a lane.

use super::{Page, escape};
use crate::bench::statistics::Spread;
use crate::report::{Figures, Lane, Report, remarks};
use crate::units::{self, UNKNOWN};

/// Most lanes in the table.
const MOST_LANES: usize = 60;

/// A column: its heading, and the cell of a lane.
type Column = (&'static str, fn(&Lane) -> String);

const COLUMNS: [Column; 11] = [
    ("lane", |lane| escape::cell(&lane.label)),
    ("output", |lane| mark(lane, lane.figures.output_tokens_per_s.map(units::throughput))),
    ("speedup", |lane| mark(lane, lane.speedup.map(|of| speedup(lane, of)))),
    ("TTFT p50", |lane| units::known(lane.figures.ttft_s.map(|of| of.p50), units::duration)),
    ("TTFT p95", |lane| units::known(lane.figures.ttft_s.map(|of| of.p95), units::duration)),
    ("ITL p50", |lane| mark(lane, lane.figures.itl_s.map(|of| units::duration(of.p50)))),
    ("e2e p50", |lane| units::known(lane.figures.e2e_s.map(|of| of.p50), units::duration)),
    ("occupancy", |lane| units::known(lane.figures.occupancy, units::percent)),
    ("peak memory", |lane| memory(&lane.figures)),
    ("order", order),
    ("agreement", agreement),
];

pub(super) fn lanes(report: &Report, page: &mut Page) {
    let row = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    page.line("");
    page.line(&row(COLUMNS.iter().map(|(heading, _)| (*heading).to_owned()).collect()));
    let rule = |place| if place == 0 { "---" } else { "--:" };
    page.line(&row((0..COLUMNS.len()).map(|place| rule(place).to_owned()).collect()));
    for lane in report.lanes.iter().take(MOST_LANES) {
        page.line(&row(COLUMNS.iter().map(|(_, cell)| cell(lane)).collect()));
    }
    if let Some(more @ 1..) = report.lanes.len().checked_sub(MOST_LANES) {
        page.line(&format!("\nand {more} more lanes"));
    }
    let told = report.lanes.iter().flat_map(|lane| {
        let label = escape::inline(&lane.label);
        let told = remarks(lane).into_iter();
        // remarks are made of our own words and of numbers
        told.map(move |remark| format!("{label}: {remark}"))
    });
    page.list(told.collect::<Vec<_>>().into_iter(), MOST_LANES);
}

/// The factor, with its interval where there are repeats.
fn speedup(lane: &Lane, factor: f64) -> String {
    let spread = lane.spread.and_then(|spread| spread.speedup);
    let of =
        |of: Spread| format!(" ({}–{})", units::significant(of.low), units::significant(of.high));
    format!("{}{}", units::ratio(factor), spread.map(of).unwrap_or_default())
}

/// Figures that are made of estimated token counts say so.
fn mark(lane: &Lane, figure: Option<String>) -> String {
    units::estimated(lane.figures.estimated(), figure.unwrap_or_else(|| UNKNOWN.to_owned()))
}

/// The figure that limits a batch: the GPU's where there is one, else the process's.
fn memory(figures: &Figures) -> String {
    let Some(peak) = figures.peak_memory_bytes else { return UNKNOWN.to_owned() };
    let named = [
        ("server", peak.server),
        ("gpu", peak.gpu),
        ("process", peak.process),
        ("engine", peak.engine),
    ];
    let known = named.iter().find_map(|(name, bytes)| bytes.map(|bytes| (name, bytes)));
    units::known(known, |(name, bytes)| format!("{name} {}", units::bytes(bytes)))
}

fn order(lane: &Lane) -> String {
    let Some(integrity) = &lane.integrity else { return UNKNOWN.to_owned() };
    let Figures { rows_ok, rows_total, .. } = lane.figures;
    match integrity.violations.len() {
        0 if integrity.passed => format!("✓ {rows_ok}/{rows_total}"),
        1 => "✗ 1 violation".into(),
        more => format!("✗ {more} violations"),
    }
}

fn agreement(lane: &Lane) -> String {
    let Some(found) = &lane.agreement else { return UNKNOWN.to_owned() };
    let counts = [
        (found.same, "same"),
        (found.diverged.len(), "diverged"),
        (found.swapped.len(), "swapped"),
    ];
    let told = counts.iter().filter(|(count, _)| *count > 0);
    told.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}
