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
    /// From 0 to 1.
    kv_used: Option<&'static str>,
    source: &'static str,
}

const LLAMA_CPP: Names = Names {
    running: "llamacpp:requests_processing",
    waiting: "llamacpp:requests_deferred",
    kv_used: None,
    source: "llama.cpp /metrics",
};

const VLLM: Names = Names {
    running: "vllm:num_requests_running",
    waiting: "vllm:num_requests_waiting",
    kv_used: Some("vllm:kv_cache_usage_perc"),
    source: "vLLM /metrics",
};

const SGLANG: Names = Names {
    running: "sglang:num_running_reqs",
    waiting: "sglang:num_queue_reqs",
    kv_used: Some("sglang:token_usage"),
    source: "SGLang /metrics",
};

const TGI: Names = Names {
    running: "tgi_batch_current_size",
    waiting: "tgi_queue_size",
    kv_used: None,
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
    // a server with several engines has a figure for each
    let sum = |name: &str| read.get(name).map(|all| all.iter().sum::<f64>());
    let count = |name: &str| sum(name).filter(|n| *n >= 0.0).map(|n| n.round() as usize);
    let kv_used = names.kv_used.and_then(|name| read.get(name));
    let kv_used = kv_used.and_then(|all| all.iter().copied().reduce(f64::max));
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

fn of_slots(slots: &Value) -> Option<ServerLoad> {
    let busy = |slot: &&Value| slot.get("is_processing").and_then(Value::as_bool) == Some(true);
    Some(ServerLoad {
        running: Some(slots.as_array()?.iter().filter(busy).count()),
        source: "llama.cpp /slots".to_owned(),
        ..ServerLoad::default()
    })
}

/// The finite samples of an exporter's text by name, one a set of labels.
fn samples(text: &str) -> HashMap<&str, Vec<f64>> {
    let mut all: HashMap<&str, Vec<f64>> = HashMap::new();
    for line in text.lines().take(MOST_LINES).filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        // label values may hold blanks and braces, the value cannot
        let rest = rest.rsplit_once('}').map_or(rest, |(_, rest)| rest);
        let value = rest.split_whitespace().next().and_then(|value| value.parse::<f64>().ok());
        if let Some(value) = value.filter(|value| value.is_finite()) {
            all.entry(name).or_default().push(value);
        }
    }
    all
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
