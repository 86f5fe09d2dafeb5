//! What a server tells about its load: requests that run and wait, the use of its KV cache, how
//! many rows its steps advance.
//!
//! The names of the metrics are those of the servers' own exporters. A server that does not
//! answer is not asked again and again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::ServerLoad;
use super::fingerprint::Kind;
use super::http::Http;

/// Asks one server.
#[derive(Debug)]
pub(super) struct LoadReader {
    http: Http,
    kind: Kind,
    failures: AtomicUsize,
}

/// The names under which a server's exporter has its figures.
struct Names {
    running: &'static str,
    waiting: &'static str,
    /// From 0 to 1; the newest name first.
    kv_used: &'static [&'static str],
    source: &'static str,
}

const LLAMA_CPP: Names = Names {
    running: "llamacpp:requests_processing",
    waiting: "llamacpp:requests_deferred",
    kv_used: &[],
    source: "llama.cpp /metrics",
};

const VLLM: Names = Names {
    running: "vllm:num_requests_running",
    waiting: "vllm:num_requests_waiting",
    kv_used: &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
    source: "vLLM /metrics",
};

const SGLANG: Names = Names {
    running: "sglang:num_running_reqs",
    waiting: "sglang:num_queue_reqs",
    kv_used: &["sglang:token_usage"],
    source: "SGLang /metrics",
};

const TGI: Names = Names {
    running: "tgi_batch_current_size",
    waiting: "tgi_queue_size",
    kv_used: &[],
    source: "TGI /metrics",
};

/// After so many failures in a row a server is not asked any more.
const MOST_FAILURES: usize = 3;
/// Of an exporter's text.
const MOST_LINES: usize = 20_000;

impl LoadReader {
    /// A reader for servers of a kind that tells its load.
    pub fn of(http: &Http, kind: Kind) -> Option<Self> {
        names(kind)?;
        Some(Self { http: http.clone(), kind, failures: AtomicUsize::new(0) })
    }

    /// Asks now; absent where the server does not tell.
    pub async fn read(&self) -> Option<ServerLoad> {
        if self.failures.load(Ordering::Relaxed) >= MOST_FAILURES {
            return None;
        }
        let load = match self.metrics().await {
            None if self.kind == Kind::LlamaCpp => self.slots().await,
            load => load,
        };
        match load {
            Some(_) => self.failures.store(0, Ordering::Relaxed),
            None => _ = self.failures.fetch_add(1, Ordering::Relaxed),
        }
        load
    }

    async fn metrics(&self) -> Option<ServerLoad> {
        let names = names(self.kind)?;
        let answer = self.http.get(self.http.address().at("metrics")).await.ok()?;
        of_metrics(&names, &String::from_utf8_lossy(&answer.body))
    }

    /// llama.cpp without `--metrics` still tells which slots are busy.
    async fn slots(&self) -> Option<ServerLoad> {
        let slots = self.http.get_json(self.http.address().at("slots")).await.ok()?;
        of_slots(&slots)
    }
}

fn names(kind: Kind) -> Option<Names> {
    match kind {
        Kind::LlamaCpp => Some(LLAMA_CPP),
        Kind::Vllm => Some(VLLM),
        Kind::SgLang => Some(SGLANG),
        Kind::Tgi => Some(TGI),
        Kind::OpenAi
        | Kind::Anthropic
        | Kind::MlxLm
        | Kind::Ollama
        | Kind::LmStudio
        | Kind::Unknown => None,
    }
}

fn of_metrics(names: &Names, text: &str) -> Option<ServerLoad> {
    let read = samples(text);
    let sum = |name: &str| read.get(name).map(|all| added_up(all));
    let count = |name: &str| sum(name).filter(|n| *n >= 0.0).map(|n| n.round() as usize);
    let kv_used = names.kv_used.iter().find_map(|name| read.get(name));
    let kv_used = kv_used.and_then(|all| all.iter().map(|sample| sample.value).reduce(f64::max));
    // the mean over the server's life, times its steps, is the sum
    let steps = sum("llamacpp:n_decode_total");
    let mean = sum("llamacpp:n_busy_slots_per_decode");
    let running = count(names.running)?;
    Some(ServerLoad {
        running: Some(running),
        waiting: count(names.waiting),
        kv_used: kv_used.filter(|used| (0.0..=1.5).contains(used)),
        steps,
        step_rows: steps.zip(mean).map(|(steps, mean)| steps * mean),
        source: names.source.to_owned(),
    })
}

/// The sum over engines, which each have a figure of their own. The processes of one engine
/// (`tp_rank`, `pp_rank`) tell the same figure, and so counts the largest of them; SGLang's
/// priorities are parts of the figure that names none.
fn added_up(all: &[Sample<'_>]) -> f64 {
    let mut engines: HashMap<String, f64> = HashMap::new();
    let has_total = all.iter().any(|sample| sample.label("priority") == Some(""));
    for sample in all {
        if has_total && sample.label("priority").is_some_and(|priority| !priority.is_empty()) {
            continue;
        }
        let others =
            sample.labels.iter().filter(|(name, _)| !matches!(*name, "tp_rank" | "pp_rank"));
        let engine: String = others.map(|(name, value)| format!("{name}={value}\n")).collect();
        let figure = engines.entry(engine).or_insert(sample.value);
        *figure = figure.max(sample.value);
    }
    engines.values().sum()
}

fn of_slots(slots: &Value) -> Option<ServerLoad> {
    let busy = |slot: &&Value| slot.get("is_processing").and_then(Value::as_bool) == Some(true);
    Some(ServerLoad {
        running: Some(slots.as_array()?.iter().filter(busy).count()),
        source: "llama.cpp /slots".to_owned(),
        ..ServerLoad::default()
    })
}

/// A figure of an exporter, with its labels.
#[derive(Debug, PartialEq)]
struct Sample<'t> {
    labels: Vec<(&'t str, &'t str)>,
    value: f64,
}

impl<'t> Sample<'t> {
    fn label(&self, name: &str) -> Option<&'t str> {
        self.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// The finite samples of an exporter's text by name, one a set of labels.
fn samples(text: &str) -> HashMap<&str, Vec<Sample<'_>>> {
    let mut all: HashMap<&str, Vec<Sample<'_>>> = HashMap::new();
    for line in text.lines().take(MOST_LINES).filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        // label values may hold blanks and braces, the value cannot
        let (inside, rest) = match rest.rsplit_once('}') {
            Some((inside, rest)) => (inside.trim_start_matches('{'), rest),
            None => ("", rest),
        };
        let value = rest.split_whitespace().next().and_then(|value| value.parse::<f64>().ok());
        if let Some(value) = value.filter(|value| value.is_finite()) {
            all.entry(name).or_default().push(Sample { labels: labels(inside), value });
        }
    }
    all
}

/// The labels of a sample: `name="value"`, separated by commas.
fn labels(mut text: &str) -> Vec<(&str, &str)> {
    let mut labels = Vec::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let escaped =
            |at: usize| rest[..at].chars().rev().take_while(|c| *c == '\\').count() % 2 == 1;
        let end = rest.match_indices('"').map(|(at, _)| at).find(|at| !escaped(*at));
        let Some(end) = end else { break };
        labels.push((name.trim_matches([',', ' ']), &rest[..end]));
        text = &rest[end + 1..];
    }
    labels
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn llama_cpps_metrics_give_requests_and_the_rows_of_its_steps() {
        let text = "# HELP llamacpp:requests_processing Number of requests processing.\n\
                    # TYPE llamacpp:requests_processing gauge\n\
                    llamacpp:requests_processing 4\nllamacpp:requests_deferred 2\n\
                    llamacpp:n_decode_total 100\nllamacpp:n_busy_slots_per_decode 2.5\n";
        let expected = ServerLoad {
            running: Some(4),
            waiting: Some(2),
            kv_used: None,
            steps: Some(100.0),
            step_rows: Some(250.0),
            source: "llama.cpp /metrics".into(),
        };
        assert_eq!(of_metrics(&LLAMA_CPP, text), Some(expected));
    }

    #[test]
    fn vllms_engines_are_added_up_and_the_fullest_cache_counts() {
        let text = "vllm:num_requests_running{engine=\"0\",model_name=\"a } b\"} 3.0\n\
                    vllm:num_requests_running{engine=\"1\",model_name=\"a } b\"} 2.0\n\
                    vllm:num_requests_waiting{engine=\"0\"} 0.0\n\
                    vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\n\
                    vllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n\
                    vllm:kv_cache_usage_perc{engine=\"2\"} NaN\n";
        let load = of_metrics(&VLLM, text).unwrap();
        assert_eq!((load.running, load.waiting), (Some(5), Some(0)));
        assert_eq!((load.kv_used, load.steps), (Some(0.75), None));
    }

    #[test]
    fn an_older_vllm_names_its_cache_after_the_gpu() {
        let text = "# HELP vllm:num_requests_running Number of requests in model execution batches.\n\
                    # TYPE vllm:num_requests_running gauge\n\
                    vllm:num_requests_running{model_name=\"Qwen/Qwen3-8B\"} 7.0\n\
                    vllm:num_requests_waiting{model_name=\"Qwen/Qwen3-8B\"} 1.0\n\
                    vllm:gpu_cache_usage_perc{model_name=\"Qwen/Qwen3-8B\"} 0.125\n\
                    vllm:prompt_tokens_total{model_name=\"Qwen/Qwen3-8B\"} 1.2345e+06\n";
        let load = of_metrics(&VLLM, text).unwrap();
        assert_eq!((load.running, load.waiting, load.kv_used), (Some(7), Some(1), Some(0.125)));
    }

    #[test]
    fn sglangs_priorities_and_the_processes_of_an_engine_are_not_added_up() {
        let text = "# TYPE sglang:num_running_reqs gauge\n\
                    sglang:num_running_reqs{model_name=\"m\",dp_rank=\"0\",priority=\"\",tp_rank=\"0\"} 5.0\n\
                    sglang:num_running_reqs{model_name=\"m\",dp_rank=\"0\",priority=\"\",tp_rank=\"1\"} 5.0\n\
                    sglang:num_running_reqs{model_name=\"m\",dp_rank=\"0\",priority=\"3\",tp_rank=\"0\"} 5.0\n\
                    sglang:num_running_reqs{model_name=\"m\",dp_rank=\"1\",priority=\"\",tp_rank=\"0\"} 2.0\n\
                    # TYPE sglang:num_queue_reqs gauge\n\
                    sglang:num_queue_reqs{model_name=\"m\"} 2826.0\n\
                    # TYPE sglang:token_usage gauge\n\
                    sglang:token_usage{model_name=\"m\"} 0.28\n\
                    sglang:time_to_first_token_seconds_bucket{le=\"+Inf\",model_name=\"m\"} 11008.0\n";
        let load = of_metrics(&SGLANG, text).unwrap();
        assert_eq!((load.running, load.waiting, load.kv_used), (Some(7), Some(2826), Some(0.28)));
    }

    #[test]
    fn tgis_batch_and_queue_are_its_load() {
        let text = "# TYPE tgi_queue_size gauge\ntgi_queue_size 3\n\
                    # TYPE tgi_batch_current_size gauge\ntgi_batch_current_size 12\n\
                    # TYPE tgi_batch_next_size histogram\n\
                    tgi_batch_next_size_bucket{le=\"+Inf\"} 40\ntgi_batch_next_size_sum 96\n\
                    tgi_batch_inference_duration_count{method=\"decode\"} 812\n";
        let load = of_metrics(&TGI, text).unwrap();
        assert_eq!((load.running, load.waiting, load.kv_used), (Some(12), Some(3), None));
        assert_eq!(load.source, "TGI /metrics");
    }

    #[test]
    fn labels_may_hold_quotes_commas_and_braces() {
        let read = labels(r#"a="x",b="q\"u, {o}",c="\\",d="#);
        assert_eq!(read, [("a", "x"), ("b", r#"q\"u, {o}"#), ("c", r"\\")]);
    }

    #[test]
    fn a_text_that_is_no_exporters_tells_nothing() {
        for text in ["", "<html>", "llamacpp:requests_processing", "a{b} c\n\u{0}"] {
            assert_eq!(of_metrics(&LLAMA_CPP, text), None, "{text:?}");
        }
    }

    #[test]
    fn busy_slots_are_requests_that_run() {
        let slots = json!([{"is_processing": true}, {"is_processing": false}, {"id": 2}]);
        assert_eq!(of_slots(&slots).unwrap().running, Some(1));
        assert_eq!(of_slots(&json!({"error": 501})), None);
    }
}
