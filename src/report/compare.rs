//! Two or more reports side by side: what changed in how they were made, what it did to the
//! figures, and which outputs are not the same. Every report is compared with the first one;
//! lanes are matched by label.

mod changes;
mod figures;
mod outputs;
mod show;
mod turns;

use std::collections::HashMap;

use figures::Row;
pub use show::Form;

use super::{Lane, Report};
use crate::text::{shortened, visible};

/// Most lanes that are compared.
const MOST_LANES: usize = 200;

/// Several reports compared. Every text in it is safe to print.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// One a report, in words.
    pub(super) heads: Vec<Head>,
    /// What changed since the first report.
    pub(super) changed: Vec<String>,
    /// One a label.
    pub(super) lanes: Vec<Compared>,
}

/// One of the reports.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    /// `A`, `B`, …
    pub letter: String,
    /// When it was made, how it ended, of what plan and run.
    pub about: String,
}

/// One lane in all reports that have it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compared {
    pub label: String,
    /// What it ran on, where that changed.
    pub changed: Vec<String>,
    /// The letters of the reports that the figures are of.
    pub letters: Vec<String>,
    pub figures: Vec<Row>,
    /// How the ratios were made, where that is not the usual way.
    pub method: Vec<String>,
    /// Which outputs changed.
    pub outputs: Vec<String>,
}

/// Compares reports with the first of them.
pub fn compare(reports: &[Report]) -> Comparison {
    let heads = reports.iter().enumerate().map(|(place, report)| head(place, report)).collect();
    let Some((first, others)) = reports.split_first() else {
        return Comparison { heads, changed: Vec::new(), lanes: Vec::new() };
    };
    let several = others.len() > 1;
    let named = |place: usize, line: String| {
        if several { format!("{}: {line}", letter(place + 1)) } else { line }
    };
    let changed = others.iter().enumerate().flat_map(|(place, report)| {
        let lines = changes::of_runs(first, report).into_iter();
        lines.map(move |line| named(place, line)).collect::<Vec<_>>()
    });
    let mut changed: Vec<String> = changed.collect();
    let labels = labels(reports);
    let lanes = labels.iter().take(MOST_LANES).map(|label| compared(label, reports)).collect();
    if let Some(more @ 1..) = labels.len().checked_sub(MOST_LANES) {
        changed.push(format!("{more} more lanes are not compared"));
    }
    Comparison { heads, changed, lanes }
}

fn head(place: usize, report: &Report) -> Head {
    let plan = report.run.plan.get("name").and_then(|name| name.as_str()).unwrap_or_default();
    let (id, plan) = (safe(&report.run.id), safe(plan));
    let outcome = report.verdict.as_ref().map_or("not judged", |of| of.outcome.word());
    let about = format!(
        "{}  {outcome}  {plan}  {id}",
        report.run.started_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    Head { letter: letter(place), about }
}

/// `A` to `Z`, then by number.
fn letter(place: usize) -> String {
    match u8::try_from(place) {
        Ok(place @ 0..26) => char::from(b'A' + place).to_string(),
        Ok(_) | Err(_) => format!("#{}", place + 1),
    }
}

/// The labels of all lanes, in the order in which they first come.
fn labels(reports: &[Report]) -> Vec<&str> {
    let mut known = HashMap::new();
    let all = reports.iter().flat_map(|report| &report.lanes).map(|lane| lane.label.as_str());
    all.filter(|label| known.insert(*label, ()).is_none()).collect()
}

fn compared(label: &str, reports: &[Report]) -> Compared {
    let lanes: Vec<(usize, &Lane)> = reports
        .iter()
        .enumerate()
        .filter_map(|(place, report)| {
            Some((place, report.lanes.iter().find(|lane| lane.label == label)?))
        })
        .collect();
    let letters: Vec<String> = lanes.iter().map(|(place, _)| letter(*place)).collect();
    let mut of = Compared {
        label: safe(label),
        changed: Vec::new(),
        figures: Vec::new(),
        method: Vec::new(),
        outputs: Vec::new(),
        letters,
    };
    let Some(((_, first), others)) = lanes.split_first() else { return of };
    if others.is_empty() {
        of.changed.push(format!("only in {}", of.letters.join(", ")));
        return of;
    }
    if lanes.len() < reports.len() {
        of.changed.push(format!("only in {}", of.letters.join(", ")));
    }
    let mut in_turns = Vec::new();
    for (place, other) in others {
        let named = |line: String| match reports.len() {
            0..=2 => line,
            _ => format!("{}: {line}", letter(*place)),
        };
        of.changed.extend(changes::of_lanes(first, other).into_iter().map(named));
        of.outputs.extend(outputs::changed(first, other).into_iter().map(named));
        let pairs = turns::pairs(first, other);
        let told =
            |pairs: &Vec<_>| format!("run in turns: ratios of {} pairs of passes", pairs.len());
        of.method.extend(pairs.as_ref().map(told).map(named));
        in_turns.push(pairs);
    }
    let lanes: Vec<&Lane> = lanes.iter().map(|(_, lane)| *lane).collect();
    of.figures = figures::rows(&lanes, &in_turns);
    of
}

/// A text of a report on one line of a terminal.
fn safe(text: &str) -> String {
    shortened(&visible(text), 60)
}
