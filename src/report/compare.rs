//! Two reports side by side, as text for a terminal: what changed in how they were made, what
//! it did to the figures, and which outputs are not the same. Lanes are matched by label.

mod changes;
mod outputs;

use std::collections::HashMap;
use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::{Figures, Lane, Report};
use crate::text::{shortened, visible};
use crate::units;

/// What changed from one report to the other. Every text in it is safe to print.
pub fn compare(a: &Report, b: &Report) -> String {
    let mut text = String::new();
    for (name, report) in [("A", a), ("B", b)] {
        let plan = report.run.plan.get("name").and_then(|name| name.as_str()).unwrap_or_default();
        let (id, plan) = (safe(&report.run.id), safe(plan));
        let outcome = report.verdict.as_ref().map_or("not judged", |of| of.outcome.word());
        let _ = writeln!(text, "{name}  {}  {outcome}  {plan}  {id}", report.run.started_at);
    }
    section(&mut text, "changed", &changes::of_runs(a, b));
    let theirs: HashMap<&str, &Lane> = by_label(b);
    for lane in &a.lanes {
        match theirs.get(lane.label.as_str()) {
            Some(other) => section(&mut text, &safe(&lane.label), &lane_lines(lane, other)),
            None => section(&mut text, &safe(&lane.label), &["only in A".to_owned()]),
        }
    }
    let ours = by_label(a);
    for lane in b.lanes.iter().filter(|lane| !ours.contains_key(lane.label.as_str())) {
        section(&mut text, &safe(&lane.label), &["only in B".to_owned()]);
    }
    text
}

fn by_label(report: &Report) -> HashMap<&str, &Lane> {
    report.lanes.iter().map(|lane| (lane.label.as_str(), lane)).collect()
}

/// A heading and indented lines; nothing without lines.
fn section(text: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{heading}");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

fn lane_lines(a: &Lane, b: &Lane) -> Vec<String> {
    let mut lines = changes::of_lanes(a, b);
    lines.extend(table(&figures(a, b)));
    lines.extend(outputs::changed(a, b));
    lines
}

/// A figure in both reports: its name, both values formatted, and B over A.
struct Compared {
    name: &'static str,
    a: String,
    b: String,
    factor: Option<f64>,
}

/// The figures that at least one of the lanes has.
fn figures(a: &Lane, b: &Lane) -> Vec<Compared> {
    type Figure = (&'static str, fn(&Figures) -> Option<f64>, fn(f64) -> String);
    let bytes: fn(f64) -> String = |bytes| units::bytes(bytes as u64);
    let all: [Figure; 8] = [
        ("throughput", |of| of.output_tokens_per_s, units::throughput),
        ("TTFT p50", |of| Some(of.ttft_s?.p50), units::duration),
        ("TTFT p95", |of| Some(of.ttft_s?.p95), units::duration),
        ("ITL p50", |of| Some(of.itl_s?.p50), units::duration),
        ("e2e p50", |of| Some(of.e2e_s?.p50), units::duration),
        ("memory, process", |of| Some(of.peak_memory_bytes?.process? as f64), bytes),
        ("memory, engine", |of| Some(of.peak_memory_bytes?.engine? as f64), bytes),
        ("memory, gpu", |of| Some(of.peak_memory_bytes?.gpu? as f64), bytes),
    ];
    let compared = all.into_iter().filter_map(|(name, read, format)| {
        let (in_a, in_b) = (read(&a.figures), read(&b.figures));
        in_a.or(in_b)?;
        let estimated = matches!(name, "throughput" | "ITL p50");
        let shown = |lane: &Lane, value| {
            units::estimated(estimated && lane.figures.estimated(), units::known(value, format))
        };
        let factor = in_b.zip(in_a).map(|(b, a)| b / a).filter(|factor| factor.is_finite());
        Some(Compared { name, a: shown(a, in_a), b: shown(b, in_b), factor })
    });
    compared.collect()
}

fn table(figures: &[Compared]) -> Vec<String> {
    if figures.is_empty() {
        return Vec::new();
    }
    let heading = ["", "A", "B", "B/A"].map(str::to_owned);
    let rows = figures.iter().map(|of| {
        [of.name.to_owned(), of.a.clone(), of.b.clone(), units::known(of.factor, units::ratio)]
    });
    let rows: Vec<[String; 4]> = [heading].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |row: &[String; 4]| {
        let mut line = pad(&row[0], widths[0], false);
        for column in 1..row.len() {
            line.push_str("   ");
            line.push_str(&pad(&row[column], widths[column], true));
        }
        line
    };
    rows.iter().map(line).collect()
}

fn pad(text: &str, width: usize, to_the_right: bool) -> String {
    let blank = " ".repeat(width.saturating_sub(text.width()));
    if to_the_right { format!("{blank}{text}") } else { format!("{text}{blank}") }
}

/// A text of a report on one line of a terminal.
fn safe(text: &str) -> String {
    shortened(&visible(text), 60)
}
