//! The library's own front: `generate` and `batch_generate` over any provider, for people who
//! just want their list processed.
//!
//! Results are in prompt order whatever the completion order was; the first failure ends the
//! call ([`Client::batch_generate`]) or stays with its prompt
//! ([`Client::batch_generate_each`]). Nothing is measured, recorded or written here.

pub mod blocking;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::paths::Paths;
use crate::prompts::{Content, Message, Prompt};
use crate::provider::{
    BatchSize, Event, Failure, FailureKind, FinishReason, OpenProvider, Provider, ProviderInfo,
    ProviderSpec, Registry, Request, Sink, Stamped, Usage,
};
use crate::sampling::Sampling;

/// A provider and its model, ready to generate. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    provider: Arc<dyn Provider>,
}

/// How a list is generated: one set of parameters for all of it.
#[derive(Debug, Clone)]
pub struct BatchOptions {
    /// How tokens are chosen, and when a row ends.
    pub sampling: Sampling,
    /// Rows generated at a time; may be changed while the call runs.
    pub batch_size: BatchSize,
    /// Send text prompts as they are, without the model's chat template.
    pub raw: bool,
    /// Stops the call.
    pub cancel: CancellationToken,
}

impl Default for BatchOptions {
    /// Greedy, 64 tokens, 16 rows at a time, with the chat template.
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            batch_size: BatchSize::new(16),
            raw: false,
            cancel: CancellationToken::new(),
        }
    }
}

/// What a prompt gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Place of its prompt in the list, from 0.
    pub index: usize,
    /// The generated text.
    pub text: String,
    /// Token counts.
    pub usage: Usage,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// From submission to the first text; absent if there was none.
    pub ttft: Option<Duration>,
    /// From submission to the end.
    pub e2e: Duration,
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Content::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Content::Text(text)
    }
}

impl From<Vec<Message>> for Content {
    fn from(messages: Vec<Message>) -> Self {
        Content::Messages(messages)
    }
}

impl Client {
    /// Opens a provider: loads a model, fetching it first if need be.
    ///
    /// # Errors
    /// What failed, on what, and what to try.
    pub async fn open(spec: &ProviderSpec) -> Result<Self, Failure> {
        let paths = Paths::of_user()
            .map_err(|error| Failure::new(FailureKind::Internal, format!("{error:#}")))?;
        let registry = Registry::new(paths.models(), &paths.catalogue())?;
        let provider = registry.open(spec, &|_| {}, CancellationToken::new()).await?;
        Ok(Self::new(provider))
    }

    /// A client over a provider of your own.
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self { provider }
    }

    /// What is behind this client.
    pub fn info(&self) -> &ProviderInfo {
        self.provider.info()
    }

    /// Generates for one prompt.
    ///
    /// # Errors
    /// The failure of the prompt or of the provider.
    pub async fn generate(
        &self,
        prompt: impl Into<Content>,
        sampling: &Sampling,
    ) -> Result<Response, Failure> {
        let options = BatchOptions { sampling: sampling.clone(), ..BatchOptions::default() };
        let mut requests = requests([prompt], &options)?;
        let Some(request) = requests.pop() else { return Err(not_run()) };
        let (sink, collector) = Collector::new(1);
        let cancel = options.cancel.clone();
        let called = self.provider.generate(request, sink, cancel).await;
        collector.results(called).pop().unwrap_or_else(|| Err(not_run()))
    }

    /// Generates for a list, `batch_size` prompts at a time, and gives the responses in prompt
    /// order. Fails fast: the first failure cancels the rest.
    ///
    /// # Errors
    /// The first failure; [`FailureKind::Unsupported`] where
    /// this provider cannot batch, with the reason and what to use instead.
    pub async fn batch_generate<C: Into<Content>>(
        &self,
        prompts: impl IntoIterator<Item = C>,
        options: &BatchOptions,
    ) -> Result<Vec<Response>, Failure> {
        let cancel = options.cancel.child_token();
        let (failed, results) = self.run(prompts, options, cancel, true).await?;
        match failed {
            Some(failure) => Err(failure),
            None => results.into_iter().collect(),
        }
    }

    /// As [`Client::batch_generate`], but a failure stays with its prompt and the others go on.
    ///
    /// # Errors
    /// Only what concerns the whole list, such as parameters outside their range.
    pub async fn batch_generate_each<C: Into<Content>>(
        &self,
        prompts: impl IntoIterator<Item = C>,
        options: &BatchOptions,
    ) -> Result<Vec<Result<Response, Failure>>, Failure> {
        let cancel = options.cancel.child_token();
        Ok(self.run(prompts, options, cancel, false).await?.1)
    }

    async fn run<C: Into<Content>>(
        &self,
        prompts: impl IntoIterator<Item = C>,
        options: &BatchOptions,
        cancel: CancellationToken,
        fail_fast: bool,
    ) -> Result<(Option<Failure>, Vec<Result<Response, Failure>>), Failure> {
        let requests = requests(prompts, options)?;
        if requests.is_empty() {
            return Ok((None, Vec::new()));
        }
        let (sink, mut collector) = Collector::new(requests.len());
        let size = options.batch_size.clone();
        let call = self.provider.batch_generate(requests, size, sink, cancel.clone());
        tokio::pin!(call);
        let mut failed = None;
        let called = loop {
            tokio::select! {
                called = &mut call => break called,
                Some(failure) = collector.next_failure() => {
                    if fail_fast && failed.is_none() {
                        failed = Some(failure);
                        cancel.cancel();
                    }
                }
            }
        };
        Ok((failed, collector.results(called)))
    }
}

fn requests<C: Into<Content>>(
    prompts: impl IntoIterator<Item = C>,
    options: &BatchOptions,
) -> Result<Vec<Request>, Failure> {
    let invalid = |error: crate::sampling::SamplingError| {
        Failure::new(FailureKind::InvalidRequest, error.to_string())
    };
    options.sampling.validate().map_err(invalid)?;
    let sampling = Arc::new(options.sampling.clone());
    let requests = prompts.into_iter().enumerate().map(|(index, content)| Request {
        row: index,
        prompt: Arc::new(Prompt {
            index,
            id: format!("row-{}", index + 1),
            content: content.into(),
            expect: None,
        }),
        raw: options.raw,
        sampling: sampling.clone(),
        spending: None,
    });
    Ok(requests.collect())
}

fn not_run() -> Failure {
    Failure::new(FailureKind::Internal, "the row was never run")
}

/// Puts events together into responses.
struct Collector {
    events: mpsc::UnboundedReceiver<Stamped<Event>>,
    rows: Vec<Partial>,
}

/// A row whose end has not been seen.
#[derive(Default)]
struct Partial {
    submitted: Option<Instant>,
    first: Option<Instant>,
    text: String,
    end: Option<Result<(Usage, FinishReason, Instant), Failure>>,
}

impl Collector {
    fn new(rows: usize) -> (Sink, Self) {
        let (sender, events) = mpsc::unbounded_channel();
        let rows = (0..rows).map(|_| Partial::default()).collect();
        (Sink::new(sender), Self { events, rows })
    }

    /// Takes events until one is a failure; pending for ever when there are no more events.
    async fn next_failure(&mut self) -> Option<Failure> {
        while let Some(stamp) = self.events.recv().await {
            if let Some(failure) = self.take(stamp) {
                return Some(failure);
            }
        }
        None
    }

    fn take(&mut self, Stamped { at, event }: Stamped<Event>) -> Option<Failure> {
        match event {
            Event::Submitted { row } => self.rows.get_mut(row)?.submitted = Some(at),
            Event::Tokens { row, text, .. } => {
                let row = self.rows.get_mut(row)?;
                if !text.is_empty() {
                    row.first.get_or_insert(at);
                }
                row.text.push_str(&text);
            }
            Event::Answer { row, text, .. } => self.rows.get_mut(row)?.text.push_str(&text),
            Event::Finished { row, usage, reason } => {
                self.rows.get_mut(row)?.end = Some(Ok((usage, reason, at)));
            }
            Event::Failed { row, failure } => {
                self.rows.get_mut(row)?.end = Some(Err(failure.clone()));
                return Some(failure);
            }
            Event::Step { .. }
            | Event::Memory(_)
            | Event::Server(_)
            | Event::Job(_)
            | Event::Notice(_) => {}
        }
        None
    }

    /// One result a row; rows without an end get the failure of the call.
    fn results(mut self, called: Result<(), Failure>) -> Vec<Result<Response, Failure>> {
        while let Ok(stamp) = self.events.try_recv() {
            self.take(stamp);
        }
        let open = called.err().unwrap_or_else(not_run);
        let rows = self.rows.into_iter().enumerate();
        rows.map(|(index, row)| row.response(index, &open)).collect()
    }
}

impl Partial {
    fn response(self, index: usize, open: &Failure) -> Result<Response, Failure> {
        let (usage, finish_reason, end) = self.end.unwrap_or_else(|| Err(open.clone()))?;
        let submitted = self.submitted.unwrap_or(end);
        let since = |at: Instant| at.saturating_duration_since(submitted);
        let (ttft, e2e) = (self.first.map(since), since(end));
        Ok(Response { index, text: self.text, usage, finish_reason, ttft, e2e })
    }
}
