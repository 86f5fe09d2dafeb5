//! The providers against servers that others wrote to break clients: llmock with its quotas, its
//! faults and its verdict on the client, and aimock's Ollama.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use batchgen::provider::{BatchSize, FailureKind, ServerEvent};
use batchgen::sampling::Sampling;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::servers::{free_port, http_client, node_program, python_program, require_or_skip};
use crate::wire::heard::{Heard, batch, open, requests, spec};

/// A mock server; it ends with this value.
pub struct Mock {
    process: Child,
    pub address: String,
    client: reqwest::Client,
}

impl Mock {
    /// llmock with these arguments.
    pub fn llmock(arguments: &[&str]) -> Option<Self> {
        let program = require_or_skip(python_program(&["llmock==0.2.2"], "llmock"))?;
        let mut command = Command::new(program);
        command.args(["serve", "--log-level", "warning"]).args(arguments);
        // not a route of the API: a fault injected there would be blamed on the client
        Some(Self::start(command, "--port", "/_llmock/verdict"))
    }

    /// aimock, which answers a prompt with "say" in it.
    pub fn aimock(fixtures: PathBuf) -> Option<Self> {
        let program = require_or_skip(node_program("@copilotkit/aimock@1.43.0", "llmock"))?;
        let mut command = Command::new(program);
        command.args(["--log-level", "silent", "--chunk-size", "4", "--fixtures"]).arg(fixtures);
        Some(Self::start(command, "--port", "/api/tags"))
    }

    fn start(mut command: Command, port_flag: &str, ready: &str) -> Self {
        let port = free_port().unwrap();
        command.args([port_flag, &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let client = http_client().build().unwrap();
        let mock = Self { process, address: format!("http://127.0.0.1:{port}"), client };
        let started = Instant::now();
        block_on(async {
            let url = format!("{}{ready}", mock.address);
            while mock.client.get(&url).send().await.is_err() {
                assert!(started.elapsed() < Duration::from_secs(60), "the mock does not start");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        mock
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}{path}", self.address)).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// llmock's own judgement of the client.
    async fn verdict(&self) -> Value {
        self.get("/_llmock/verdict").await
    }

    /// Runs `rows` prompts, `at_once` at a time.
    async fn run(&self, provider: &str, rows: usize, at_once: usize, retries: u32) -> Heard {
        // each vendor has a path of its own there
        let path = if provider == "anthropic" { "/anthropic" } else { "" };
        let mut spec = spec(provider, &format!("{}{path}", self.address));
        spec.model = "gpt-4o".into();
        spec.server.retries = Some(retries);
        let opened = open(&spec).await.unwrap();
        let prompts: Vec<String> = (0..rows).map(|row| format!("say number {row}")).collect();
        let sampling = Sampling { max_tokens: 16, ..Sampling::default() };
        let rows = requests(&prompts, sampling);
        batch(&opened, rows, BatchSize::new(at_once), CancellationToken::new()).await
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let limit = Duration::from_secs(120);
        tokio::time::timeout(limit, future).await.expect("nothing may hang")
    })
}

#[test]
fn a_quota_is_respected_by_the_servers_own_verdict_and_every_row_is_served() {
    // the bucket is full at the start: 40 requests of 60, then one a second
    for provider in ["openai", "anthropic"] {
        let Some(mock) = Mock::llmock(&["--rpm", "60"]) else { return };
        block_on(async {
            let heard = mock.run(provider, 63, 8, 8).await;
            assert_eq!((heard.called.clone(), heard.failures().len()), (Ok(()), 0));
            assert!((0..63).all(|row| heard.finished(row).is_some()));
            let retried =
                heard.server_events().any(|event| matches!(event, ServerEvent::Retry { .. }));
            assert!(retried, "the quota was never reached");
            let verdict = mock.verdict().await;
            assert_eq!(verdict["passed"], true, "{verdict}");
            assert_eq!(verdict["errors"], 0, "{verdict}");
        });
    }
}

#[test]
fn the_users_own_limit_keeps_the_server_from_ever_refusing() {
    let Some(mock) = Mock::llmock(&["--rpm", "60"]) else { return };
    block_on(async {
        let mut spec = spec("openai", &mock.address);
        spec.model = "gpt-4o".into();
        spec.server.requests_per_minute = Some(18);
        let opened = open(&spec).await.unwrap();
        let prompts: Vec<String> = (0..25).map(|row| format!("say number {row}")).collect();
        let rows = requests(&prompts, Sampling::default());
        let cancel = CancellationToken::new();
        let call = batch(&opened, rows, BatchSize::new(8), cancel.clone());
        let stop = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            cancel.cancel();
        };
        let (heard, ()) = tokio::join!(call, stop);
        let finished = (0..25).filter(|row| heard.finished(*row).is_some()).count();
        assert_eq!(finished, 18, "the others wait for the minute to pass");
        assert!(heard.server_events().all(|event| !matches!(event, ServerEvent::Retry { .. })));
    });
}

#[test]
fn refusals_that_pass_are_tried_again_and_those_that_do_not_are_not() {
    let rates = ["--error-rate", "503=0.2", "--error-rate", "529=0.1", "--error-rate", "500=0.1"];
    let Some(mock) = Mock::llmock(&rates) else { return };
    block_on(async {
        let heard = mock.run("openai", 20, 4, 9).await;
        assert_eq!((heard.called.clone(), heard.failures().len()), (Ok(()), 0));
        let verdict = mock.verdict().await;
        assert_eq!(verdict["errors"], 0, "{verdict}");
    });
    let Some(mock) = Mock::llmock(&["--error-rate", "401=1.0"]) else { return };
    block_on(async {
        let mut spec = spec("openai", &mock.address);
        spec.model = "gpt-4o".into();
        let failure = match open(&spec).await {
            Err(failure) => failure,
            Ok(_) => panic!("a refused key was not told"),
        };
        assert_eq!(failure.kind, FailureKind::Auth);
    });
}

#[test]
fn broken_streams_end_as_typed_failures_and_never_hang() {
    for (fault, kinds) in [
        ("truncate", &[FailureKind::Protocol, FailureKind::Transport][..]),
        ("disconnect", &[FailureKind::Transport, FailureKind::Protocol]),
        ("malformed", &[FailureKind::Protocol]),
        ("stall", &[FailureKind::Transport]),
    ] {
        let fault_rate = format!("{fault}=1.0");
        let arguments = ["--stream-fault", &fault_rate, "--stream-stall-seconds", "30"];
        let Some(mock) = Mock::llmock(&arguments) else { return };
        block_on(async {
            let mut spec = spec("openai", &mock.address);
            spec.model = "gpt-4o".into();
            spec.server.idle_timeout_s = Some(2);
            let opened = open(&spec).await.unwrap();
            let rows = requests(&["say one", "say two"], Sampling::default());
            let heard = batch(&opened, rows, BatchSize::new(2), CancellationToken::new()).await;
            for row in 0..2 {
                let failure = heard.failed(row).unwrap_or_else(|| panic!("{fault}: {heard:?}"));
                assert!(kinds.contains(&failure.kind), "{fault}: {failure:?}");
            }
        });
    }
}

#[test]
fn ollamas_lines_from_a_server_that_imitates_it_are_read_to_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = folder.path().join("fixtures.json");
    let text = "naïve 🙂 words of a fixture";
    let content = json!({"fixtures": [
        {"match": {"userMessage": "say"}, "response": {"content": text}},
    ]});
    std::fs::write(&fixtures, content.to_string()).unwrap();
    let Some(mock) = Mock::aimock(fixtures) else { return };
    block_on(async {
        let heard = mock.run("ollama", 12, 4, 0).await;
        assert_eq!((heard.called.clone(), heard.failures().len()), (Ok(()), 0));
        for row in 0..12 {
            assert_eq!(heard.text(row), text);
            let (usage, _) = heard.finished(row).unwrap();
            assert_eq!(usage.output_tokens, None, "its counts of 0 are not counts");
        }
    });
}
