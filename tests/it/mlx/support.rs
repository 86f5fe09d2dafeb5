//! Opening the provider, running calls, and gathering what comes of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batchgen::prompts::{Content, Prompt};
use batchgen::provider::{
    BatchSize, Event, Failure, FinishReason, OpenProvider, Provider, ProviderSpec, Registry,
    Request, ServerEvent, Sink, Stamped, Usage,
};
use batchgen::sampling::Sampling;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_util::sync::CancellationToken;

/// What came of a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    pub ids: Vec<u32>,
    pub text: String,
    pub end: Option<Result<(Usage, FinishReason), Failure>>,
}

impl Output {
    /// Why it ended.
    pub fn reason(&self) -> FinishReason {
        self.end.clone().unwrap().unwrap().1
    }
}

/// What came of calls.
#[derive(Default)]
pub struct Outcome {
    pub rows: BTreeMap<usize, Output>,
    /// Rows of every step.
    pub steps: Vec<usize>,
    pub prefill_tokens: usize,
    /// Memory of the caches, whenever it changed.
    pub kv: Vec<u64>,
    pub weights: u64,
    /// The most that MLX held.
    pub peak: Option<u64>,
    pub time: Duration,
}

impl Outcome {
    /// The texts in the order of the rows.
    pub fn texts(&self) -> Vec<&str> {
        self.rows.values().map(|row| row.text.as_str()).collect()
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub fn greedy(max_tokens: usize) -> Sampling {
    Sampling { max_tokens, ..Sampling::default() }
}

pub fn request(row: usize, content: Content, sampling: &Sampling) -> Request {
    let prompt = Prompt { index: row, id: format!("row-{}", row + 1), content, expect: None };
    let sampling = Arc::new(sampling.clone());
    Request { row, prompt: Arc::new(prompt), raw: false, sampling, spending: None }
}

/// One request a text.
pub fn requests(texts: &[&str], sampling: &Sampling) -> Vec<Request> {
    let texts = texts.iter().enumerate();
    texts.map(|(row, text)| request(row, Content::Text((*text).into()), sampling)).collect()
}

/// Opens the provider as a run does.
pub async fn open(model: &str, python: &Path) -> Result<Arc<dyn Provider>, Failure> {
    let spec = ProviderSpec {
        provider: "mlx".into(),
        model: model.into(),
        python: Some(python.to_str().unwrap().into()),
        ..ProviderSpec::default()
    };
    let models = tempfile::tempdir().unwrap();
    let registry = Registry::new(models.path().into(), &models.path().join("none.toml")).unwrap();
    let progress = |line: String| assert!(!line.contains(char::is_control), "{line:?}");
    registry.open(&spec, &progress, CancellationToken::new()).await
}

/// Runs rows as one call.
pub async fn batch(
    provider: &dyn Provider,
    requests: Vec<Request>,
    size: usize,
) -> (Outcome, Result<(), Failure>) {
    let (sender, events) = mpsc::unbounded_channel();
    let cancel = CancellationToken::new();
    let started = Instant::now();
    let size = BatchSize::new(size);
    let result = provider.batch_generate(requests, size, Sink::new(sender), cancel).await;
    let mut outcome = gather(events);
    outcome.time = started.elapsed();
    (outcome, result)
}

/// Runs each row as a call of its own, one after the other.
pub async fn sequential(provider: &dyn Provider, requests: Vec<Request>) -> Outcome {
    let started = Instant::now();
    let mut all = Outcome::default();
    for request in requests {
        let (sender, events) = mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        provider.generate(request, Sink::new(sender), cancel).await.unwrap();
        all.rows.extend(gather(events).rows);
    }
    all.time = started.elapsed();
    all
}

/// Folds events; a row that is not open does not get any.
pub fn gather(mut events: UnboundedReceiver<Stamped<Event>>) -> Outcome {
    let mut outcome = Outcome::default();
    while let Ok(Stamped { event, .. }) = events.try_recv() {
        outcome.take(event);
    }
    outcome
}

impl Outcome {
    fn take(&mut self, event: Event) {
        match event {
            Event::Submitted { row } => {
                assert_eq!(self.rows.insert(row, Output::default()), None);
            }
            Event::Tokens { row, ids, text, .. } => {
                let output = self.rows.get_mut(&row).unwrap();
                assert_eq!(output.end, None);
                output.ids.extend(ids);
                output.text.push_str(&text);
            }
            Event::Finished { row, usage, reason } => self.end(row, Ok((usage, reason))),
            Event::Failed { row, failure } => self.end(row, Err(failure)),
            Event::Step { rows, prefill_tokens } => {
                self.steps.push(rows);
                self.prefill_tokens += prefill_tokens;
            }
            Event::Memory(memory) => {
                self.weights = memory.weights;
                self.kv.push(memory.kv);
            }
            Event::Server(ServerEvent::Memory(memory)) => self.peak = Some(memory.total),
            Event::Answer { .. } | Event::Server(_) | Event::Job(_) | Event::Notice(_) => {}
        }
    }

    fn end(&mut self, row: usize, end: Result<(Usage, FinishReason), Failure>) {
        let before = self.rows.get_mut(&row).unwrap().end.replace(end);
        assert_eq!(before, None);
    }
}
