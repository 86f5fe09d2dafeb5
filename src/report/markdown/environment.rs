//! Where it ran, on what, and how to repeat it.

use serde_json::Value;

use super::{Page, escape};
use crate::probe::Host;
use crate::report::{Lane, Report};
use crate::units;

/// Most providers and GPUs that are named.
const MOST_NAMED: usize = 8;
/// Longest command line, in characters.
const MOST_COMMAND: usize = 2000;

pub(super) fn section(report: &Report, page: &mut Page) {
    page.folded("Environment");
    let mut facts = vec![run(report), host(&report.run.host)];
    let mut providers: Vec<String> = Vec::new();
    for lane in &report.lanes {
        let provider = provider(lane);
        if !providers.contains(&provider) {
            providers.push(provider);
        }
    }
    providers.truncate(MOST_NAMED);
    facts.extend(providers);
    facts.extend(sampling(&report.run.plan));
    facts.extend(memory_source(report));
    let most = facts.len();
    page.list(facts.into_iter(), most);
    page.end_folded();
    if let Some(command) = &report.run.command {
        let command = crate::text::shortened(command, MOST_COMMAND);
        page.line(&format!("\nRepeat it:\n\n{}", escape::block("sh", &command)));
    }
}

fn run(report: &Report) -> String {
    let run = &report.run;
    let (version, id) = (escape::inline(&run.version), escape::inline(&run.id));
    format!("batchgen {version}, run {id}, started {}", run.started_at)
}

fn host(host: &Host) -> String {
    let mut facts = vec![escape::inline(&host.os)];
    facts.extend(host.cpu.as_deref().map(escape::inline));
    facts.extend(host.cores.map(|cores| match cores {
        1 => "1 core".to_owned(),
        _ => format!("{cores} cores"),
    }));
    facts.extend(host.memory_bytes.map(|bytes| format!("{} memory", units::bytes(bytes))));
    facts.extend(host.gpus.iter().take(MOST_NAMED).map(|gpu| {
        let memory = gpu.memory_bytes.map(|bytes| format!(" {}", units::bytes(bytes)));
        format!("{}{}", escape::inline(&gpu.name), memory.unwrap_or_default())
    }));
    facts.join(", ")
}

fn provider(lane: &Lane) -> String {
    let mut facts =
        vec![format!("{}: {}", escape::inline(&lane.provider), escape::inline(&lane.model))];
    facts.extend(lane.device.as_deref().map(|device| format!("on {}", escape::inline(device))));
    facts.extend(lane.details.iter().take(MOST_NAMED).map(|detail| {
        format!("{} {}", escape::inline(&detail.name), escape::inline(&detail.value))
    }));
    let hash = lane.model_sha256.as_deref();
    facts.extend(hash.map(|hash| format!("sha256 {}", escape::quote(hash, 64))));
    facts.join(", ")
}

fn sampling(plan: &Value) -> Option<String> {
    let sampling = plan.get("sampling")?;
    let temperature = sampling.get("temperature")?.as_f64()?;
    let chosen = match temperature {
        0.0 => "greedy".to_owned(),
        warm => format!("temperature {warm}, seed {}", sampling.get("seed")?.as_u64()?),
    };
    let tokens = sampling.get("max_tokens")?.as_u64()?;
    let past = sampling.get("ignore_eos").and_then(Value::as_bool).unwrap_or_default();
    let past = if past { ", going on past the end of the text" } else { "" };
    let repeats = match plan.get("repeats").and_then(Value::as_u64) {
        Some(repeats @ 2..) => format!(", the median of {repeats} repeats by output throughput"),
        Some(_) | None => String::new(),
    };
    Some(format!("up to {tokens} tokens, {chosen}{past}{repeats}"))
}

fn memory_source(report: &Report) -> Option<String> {
    let source = report.lanes.iter().find_map(|lane| lane.figures.memory_source.as_deref())?;
    Some(format!("memory from {}", escape::inline_up_to(source, 200)))
}
