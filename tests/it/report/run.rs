//! Tells a recorder what happened in a run, at times of the test's choice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use batchgen::bench::event::{RunEvent, Stamp};
use batchgen::bench::recorder::Recorder;
use batchgen::config::{OnError, Plan};
use batchgen::prompts::{Content, Prompt, PromptList};
use batchgen::provider::{
    Batching, Event, Failure, FailureKind, FinishReason, ProviderInfo, ProviderSpec, Support,
    TokenCounts, Usage,
};
use batchgen::report::{Gpu, Host, Report, RunFacts};
use batchgen::sampling::Sampling;

/// A run under way: its plan, its list, and what was recorded. Times are milliseconds.
pub struct Told {
    pub plan: Plan,
    pub list: PromptList,
    pub record: Recorder,
    pub info: ProviderInfo,
    /// Milliseconds from token to token.
    pub pace: u64,
    now: u64,
}

impl Told {
    /// A run of these lanes over these prompts.
    pub fn new(lanes: &[&str], prompts: &[&str]) -> Self {
        Self::of_list(lanes, prompts.iter().map(|text| ((*text).to_owned(), None)))
    }

    /// A run over prompts that each expect a word.
    pub fn canary(lanes: &[&str], words: &[&str]) -> Self {
        let prompt = |word: &&str| (format!("Repeat: {word}"), Some((*word).to_owned()));
        Self::of_list(lanes, words.iter().map(prompt))
    }

    fn of_list(
        lanes: &[&str],
        prompts: impl IntoIterator<Item = (String, Option<String>)>,
    ) -> Self {
        let prompt = |(index, (text, expect))| {
            let id = format!("row-{}", index + 1);
            Arc::new(Prompt { index, id, content: Content::Text(text), expect })
        };
        let prompts: Vec<_> = prompts.into_iter().enumerate().map(prompt).collect();
        let plan = plan(lanes);
        let record = Recorder::new(&plan, prompts.len(), Instant::now());
        let list = PromptList { name: "list.txt".into(), prompts };
        Self { plan, list, record, info: info(), pace: 10, now: 0 }
    }

    pub fn repeats(mut self, repeats: usize) -> Self {
        self.plan.repeats = repeats;
        self
    }

    /// An event this many milliseconds after the last one.
    pub fn event(&mut self, after: u64, event: RunEvent) {
        self.now += after;
        let at = self.record.epoch + Duration::from_millis(self.now);
        self.record.apply(Stamp { at, event });
    }

    pub fn provider(&mut self, after: u64, event: Event) {
        self.event(after, RunEvent::Provider(event));
    }

    pub fn start(&mut self, lane: usize, repeat: usize) {
        let info = self.info.clone();
        self.event(0, RunEvent::ProviderReady { lane, info });
        self.event(0, RunEvent::LaneStarted { lane, repeat });
    }

    pub fn submit(&mut self, row: usize) {
        self.provider(0, Event::Submitted { row });
    }

    /// A token a word, at the run's pace; then the row ends.
    pub fn output(&mut self, row: usize, text: &str) {
        let words: Vec<&str> = text.split_inclusive(' ').collect();
        for word in &words {
            let ids = vec![word.len() as u32];
            self.provider(self.pace, Event::Tokens { row, count: 1, ids, text: (*word).into() });
        }
        let tokens = words.len();
        let usage = Usage { prompt_tokens: Some(5), output_tokens: Some(tokens) };
        self.provider(0, Event::Finished { row, usage, reason: FinishReason::Stop });
    }

    pub fn fail(&mut self, row: usize, message: &str) {
        let failure = Failure::new(FailureKind::InvalidRequest, message);
        self.provider(5, Event::Failed { row, failure });
    }

    pub fn end(&mut self, failure: Option<Failure>) {
        self.event(0, RunEvent::LaneFinished { failure });
    }

    /// A whole pass whose rows have these outputs, one after another.
    pub fn pass(&mut self, lane: usize, repeat: usize, outputs: &[&str]) {
        self.start(lane, repeat);
        for (row, text) in outputs.iter().enumerate() {
            self.submit(row);
            self.output(row, text);
        }
        self.end(None);
    }

    pub fn report(&self) -> Report {
        Report::build(&facts(), &self.plan, &self.list, &self.record)
    }
}

pub fn plan(lanes: &[&str]) -> Plan {
    Plan {
        name: "quickstart".into(),
        prompts: "list.txt".into(),
        column: None,
        template: None,
        raw: false,
        provider: ProviderSpec::default(),
        sampling: Sampling::default(),
        lanes: lanes.iter().map(|lane| lane.parse().unwrap()).collect(),
        repeats: 1,
        warmup: 1,
        on_error: OnError::Continue,
        max_cost_usd: None,
    }
}

pub fn info() -> ProviderInfo {
    ProviderInfo {
        provider: "local".into(),
        model: "SmolLM2-135M-Instruct".into(),
        model_sha256: Some("b1".repeat(32)),
        device: "cpu".into(),
        details: vec![("quantisation".into(), "Q4_1".into())],
        batching: Batching::Native,
        offline: Support::No { reason: "no jobs".into(), instead: "batched".into() },
        context_length: Some(2048),
        token_counts: TokenCounts::Exact,
        price: None,
        batch_invariant: true,
    }
}

pub fn facts() -> RunFacts {
    RunFacts {
        id: "20261123-180038".into(),
        started_at: "2026-11-23T18:00:38Z".parse().unwrap(),
        finished_at: Some("2026-11-23T18:01:12.5Z".parse().unwrap()),
        version: "0.1.0".into(),
        host: Host {
            os: "Linux 6.1".into(),
            cpu: Some("Some CPU @ 2.10GHz".into()),
            cores: Some(2),
            memory_bytes: Some(8_350_000_000),
            gpus: vec![Gpu { name: "Some GPU".into(), memory_bytes: Some(24_000_000_000) }],
        },
        command: Some("batchgen-tui run --preset quickstart".into()),
    }
}

/// A run with most of what can happen: a sequential lane, a batched lane with repeats, a
/// changed batch size, steps, memory, a failed row, a diverged row, and a cancelled lane.
pub fn eventful() -> Told {
    let prompts = ["Name a river", "=1+1", "Say |hi|\nnow"];
    let mut told = Told::new(&["sequential", "batched:2", "async:2"], &prompts);
    told.pass(0, 0, &["The Nile flows north", "two", "hi | `now`"]);
    told.start(1, 0);
    for row in 0..3 {
        told.submit(row);
    }
    let memory = batchgen::provider::EngineMemory { weights: 100_000_000, kv: 2_000_000 };
    told.provider(0, Event::Memory(memory));
    told.provider(1, Event::Step { rows: 2, prefill_tokens: 9 });
    told.output(0, "The Rhine flows north");
    told.event(10, RunEvent::BatchSize(4));
    told.event(0, RunEvent::Probe(probe()));
    told.provider(1, Event::Step { rows: 1, prefill_tokens: 0 });
    told.output(2, "hi | `now`");
    told.fail(1, "the prompt is longer than the context of 2048 tokens\u{1b}[2J");
    told.provider(0, Event::Notice("the KV cache grew".into()));
    told.end(None);
    told.start(2, 0);
    told.submit(0);
    told.submit(1);
    told.output(0, "The Nile flows north");
    told.end(Some(Failure::cancelled()));
    told.event(0, RunEvent::RunFinished);
    told
}

fn probe() -> batchgen::probe::Sample {
    let reading = batchgen::probe::Reading { bytes: 182_000_000, source: "VmRSS".into() };
    batchgen::probe::Sample { process: Some(reading), ..Default::default() }
}
