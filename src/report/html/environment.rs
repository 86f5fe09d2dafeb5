//! Where it ran, on what, and how to repeat it.

use super::markup::Html;
use crate::report::{Lane, Report};
use crate::text::shortened;
use crate::units;

/// Most facts of a kind.
const MOST: usize = 12;
/// Longest fact, in characters.
const LONGEST: usize = 300;
/// Longest command line, in characters.
const MOST_COMMAND: usize = 8000;

pub(super) fn section(report: &Report, html: &mut Html) {
    html.raw("\n<h2>Where it ran</h2>\n<section class=\"card\"><dl>");
    let run = &report.run;
    fact(html, "run", &run.id);
    fact(html, "started", &run.started_at.to_string());
    match run.finished_at {
        Some(at) => fact(html, "finished", &at.to_string()),
        None => fact(html, "finished", "still under way when this was written"),
    }
    fact(html, "version", &run.version);
    fact(html, "system", &run.host.os);
    if let Some(cpu) = &run.host.cpu {
        let cores = run.host.cores.map(|cores| format!(", {cores} usable")).unwrap_or_default();
        fact(html, "processor", &format!("{cpu}{cores}"));
    }
    if let Some(bytes) = run.host.memory_bytes {
        fact(html, "memory", &units::bytes(bytes));
    }
    for gpu in run.host.gpus.iter().take(MOST) {
        let memory = gpu.memory_bytes.map(|bytes| format!(", {}", units::bytes(bytes)));
        fact(html, "GPU", &format!("{}{}", gpu.name, memory.unwrap_or_default()));
    }
    if let Some(list) = &run.prompt_list {
        fact(html, "prompts", list);
    }
    fact(html, "sampling", &plan_facts(report, "sampling"));
    for provider in providers(report).iter().take(MOST) {
        fact(html, "provider", provider);
    }
    let source = report.lanes.iter().find_map(|lane| lane.figures.memory_source.as_deref());
    if let Some(source) = source {
        fact(html, "memory from", source);
    }
    for notice in run.notices.iter().take(MOST) {
        fact(html, "notice", notice);
    }
    html.raw("</dl></section>");
    if let Some(command) = &run.command {
        html.raw("\n<h2>Repeat it</h2>\n");
        html.element("pre", &[], &shortened(command, MOST_COMMAND));
    }
}

fn fact(html: &mut Html, name: &str, value: &str) {
    html.element("dt", &[], name);
    html.element("dd", &[], &shortened(value, LONGEST));
}

/// The fields of an object of the plan, in words.
fn plan_facts(report: &Report, key: &str) -> String {
    let fields = report.run.plan.get(key).and_then(|value| value.as_object());
    let field = |(name, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::Null => None,
        serde_json::Value::Array(items) if items.is_empty() => None,
        value => Some(format!("{name} {value}")),
    };
    let facts: Vec<String> = fields.into_iter().flatten().filter_map(field).collect();
    if facts.is_empty() { units::UNKNOWN.to_owned() } else { facts.join(", ") }
}

/// The providers of the lanes, each once.
fn providers(report: &Report) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for lane in &report.lanes {
        let provider = provider(lane);
        if !all.contains(&provider) {
            all.push(provider);
        }
    }
    all
}

fn provider(lane: &Lane) -> String {
    let mut facts = vec![format!("{}: {}", lane.provider, shortened(&lane.model, 80))];
    facts.extend(lane.device.as_ref().map(|device| format!("on {device}")));
    let details = lane.details.iter().take(MOST);
    facts.extend(details.map(|detail| format!("{} {}", detail.name, detail.value)));
    facts.extend(lane.model_sha256.as_ref().map(|hash| format!("sha256 {hash}")));
    facts.join(", ")
}
