//! The end of a headless run in a few lines on standard output: a line a lane, the verdict, its
//! reasons.

use std::fmt::Write;

use crate::bench::verify::{Finding, Outcome};
use crate::report::{self, Lane, Report, Weight};
use crate::text::visible;
use crate::units;

const HEADER: [&str; 9] =
    ["lane", "rows", "throughput", "speedup", "TTFT p50", "TTFT p95", "ITL p50", "memory", "same"];

/// The summary of a report.
pub fn summary(report: &Report) -> String {
    let mut text = table(&report.lanes);
    text += &batch_sizes(report);
    for lane in &report.lanes {
        for remark in report::remarks(lane) {
            let _ = writeln!(text, "  {}: {}", visible(&lane.label), visible(&remark));
        }
    }
    let Some(verdict) = &report.verdict else { return text };
    let word = match verdict.outcome {
        Outcome::Verified => "verified: every row ended once, in its place",
        Outcome::Incomplete => "incomplete",
        Outcome::Failed => "failed",
    };
    let _ = writeln!(text, "\n{word}");
    let findings = verdict.failures.iter().chain(&verdict.incomplete).chain(&verdict.information);
    for Finding { lane, message, .. } in findings {
        let _ = writeln!(text, "  {}: {}", visible(lane), visible(message));
    }
    for doubt in report.audit.iter().filter(|doubt| doubt.weight == Weight::Warning) {
        let lane = doubt.lane.as_deref().map(|lane| format!("{}: ", visible(lane)));
        let _ = writeln!(text, "  ! {}{}", lane.unwrap_or_default(), visible(&doubt.message));
    }
    text
}

/// What the batch sizes show, where there are several.
fn batch_sizes(report: &Report) -> String {
    let mut text = String::new();
    let Some(sizes) = report.batch_sizes else { return text };
    if let Some(words) = report::knee_words(report) {
        let _ = writeln!(text, "\n{words}");
    }
    if report.run.slo.is_some() {
        let size = units::known(sizes.largest_within_slo, |size| size.to_string());
        let _ = writeln!(text, "largest batch size with 95 % of rows within the limits: {size}");
    }
    text
}

/// What is wrong, a line each; nothing where nothing is.
pub fn failures(report: &Report) -> String {
    let failures = report.verdict.iter().flat_map(|verdict| &verdict.failures);
    let lines = failures.map(|Finding { lane, message, .. }| {
        format!("error: {}: {}\n", visible(lane), visible(message))
    });
    lines.collect()
}

fn table(lanes: &[Lane]) -> String {
    let rows: Vec<[String; 9]> = lanes.iter().map(cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADER[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let mut text = line(HEADER.map(str::to_owned).as_ref(), &widths);
    for row in &rows {
        text += &line(row, &widths);
    }
    text
}

/// The first column to the left, figures to the right.
fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let _ = match place {
            0 => write!(line, "{cell:<width$}"),
            _ => write!(line, "  {cell:>width$}"),
        };
    }
    line.push('\n');
    line
}

fn cells(lane: &Lane) -> [String; 9] {
    let figures = &lane.figures;
    let estimate = |text| units::estimated(figures.estimated(), text);
    let peak = figures.peak_memory_bytes;
    let memory = peak.and_then(|peak| peak.server.or(peak.gpu).or(peak.process).or(peak.engine));
    let same = lane
        .agreement
        .as_ref()
        .map(|agreement| format!("{}/{}", agreement.same, agreement.compared()));
    [
        visible(&lane.label),
        format!("{}/{}", figures.rows_ok, figures.rows_total),
        estimate(units::known(figures.output_tokens_per_s, units::throughput)),
        units::known(lane.speedup, units::ratio),
        units::known(figures.ttft_s.map(|ttft| ttft.p50), units::duration),
        units::known(figures.ttft_s.map(|ttft| ttft.p95), units::duration),
        estimate(units::known(figures.itl_s.map(|itl| itl.p50), units::duration)),
        units::known(memory, units::bytes),
        units::known(same, |same| same),
    ]
}
