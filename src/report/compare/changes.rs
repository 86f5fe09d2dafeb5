//! What changed in how two reports were made.

use std::collections::BTreeMap;

use serde_json::Value;

use super::safe;
use crate::report::{Lane, Report};
use crate::units::{self, UNKNOWN};

/// Most changes that are listed.
const MOST_CHANGES: usize = 24;

/// Changes of version, host and plan. The plan's lanes are left to [`of_lanes`]. What the changes
/// mean for comparing comes first.
pub(super) fn of_runs(a: &Report, b: &Report) -> Vec<String> {
    let mut all = Vec::new();
    let plan = |report: &Report, key: &str| report.run.plan.get(key).cloned();
    let work = ["prompts", "raw", "sampling"];
    if work.iter().any(|key| plan(a, key) != plan(b, key)) {
        all.push("not the same work: figures and outputs differ for that alone".to_owned());
    }
    if a.run.host != b.run.host {
        all.push("not the same machine: figures compare machines, not versions".to_owned());
    }
    all.extend(lines(&facts_of_run(a), &facts_of_run(b)));
    all
}

/// Changes of what a lane ran on, and how.
pub(super) fn of_lanes(a: &Lane, b: &Lane) -> Vec<String> {
    lines(&facts_of_lane(a), &facts_of_lane(b))
}

/// Facts by name, in words.
type Facts = BTreeMap<String, String>;

fn facts_of_run(report: &Report) -> Facts {
    let mut facts = Facts::from([("version".to_owned(), report.run.version.clone())]);
    flatten("host", &serde_json::to_value(&report.run.host).unwrap_or_default(), &mut facts);
    let mut plan = report.run.plan.clone();
    if let Some(plan) = plan.as_object_mut() {
        plan.remove("lanes");
    }
    flatten("plan", &plan, &mut facts);
    facts
}

fn facts_of_lane(lane: &Lane) -> Facts {
    let figure = |figure: Option<usize>| figure.map(|figure| figure.to_string());
    let named = [
        ("provider", Some(lane.provider.clone())),
        ("model", Some(lane.model.clone())),
        ("model_sha256", lane.model_sha256.clone()),
        ("device", lane.device.clone()),
        ("mode", Some(lane.mode.clone())),
        ("batch_size", figure(lane.batch_size)),
        ("in_flight", figure(Some(lane.in_flight))),
        ("batching", lane.batching.clone()),
        ("rows", figure(Some(lane.figures.rows_total))),
        ("rows failed", figure(Some(lane.figures.rows_failed))),
    ];
    let facts = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let details = lane.details.iter().map(|of| (format!("details.{}", of.name), of.value.clone()));
    facts.chain(details).collect()
}

/// The leaves of a value, by path.
fn flatten(path: &str, value: &Value, facts: &mut Facts) {
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(name, value)| flatten(&format!("{path}.{name}"), value, facts));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(place, item)| flatten(&format!("{path}[{place}]"), item, facts));
        }
        Value::String(text) => drop(facts.insert(path.to_owned(), text.clone())),
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => {
            let bytes = value.as_u64().filter(|_| path.ends_with("_bytes"));
            let shown = bytes.map_or_else(|| value.to_string(), units::bytes);
            facts.insert(path.to_owned(), shown);
        }
    }
}

fn lines(a: &Facts, b: &Facts) -> Vec<String> {
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| a.get(*name) != b.get(*name));
    let shown = |value: Option<&String>| value.map_or_else(|| UNKNOWN.to_owned(), |of| safe(of));
    let line = |name: &&String| {
        format!("{}: {} → {}", safe(name), shown(a.get(*name)), shown(b.get(*name)))
    };
    let mut lines: Vec<String> = names.iter().take(MOST_CHANGES).map(line).collect();
    if let Some(more @ 1..) = names.len().checked_sub(MOST_CHANGES) {
        lines.push(format!("and {more} more changes"));
    }
    lines
}
