//! Calls a provider and keeps what it said.

use std::sync::Arc;

use batchgen::prompts::{Content, Prompt};
use batchgen::provider::{
    BatchSize, Event, Failure, FinishReason, OpenProvider, Provider, ProviderSpec, Registry,
    Request, ServerEvent, ServerTimes, Sink, Stamped, Usage,
};
use batchgen::sampling::Sampling;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a call said.
#[derive(Debug)]
pub struct Heard {
    pub events: Vec<Stamped<Event>>,
    pub called: Result<(), Failure>,
}

/// A spec of a provider at an address, with no model named.
pub fn spec(provider: &str, address: &str) -> ProviderSpec {
    ProviderSpec {
        provider: provider.into(),
        model: String::new(),
        base_url: Some(address.into()),
        ..ProviderSpec::default()
    }
}

/// The registry, without a model of its own.
pub fn registry() -> Registry {
    let nowhere = std::env::temp_dir().join("batchgen-no-models");
    Registry::new(nowhere.clone(), &nowhere.join("models.toml")).unwrap()
}

pub async fn open(spec: &ProviderSpec) -> Result<Arc<dyn Provider>, Failure> {
    registry().open(spec, &|_| {}, CancellationToken::new()).await
}

/// A request a prompt, in order.
pub fn requests<C: Into<Content> + Clone>(prompts: &[C], sampling: Sampling) -> Vec<Request> {
    let sampling = Arc::new(sampling);
    let requests = prompts.iter().cloned().enumerate().map(|(index, content)| Request {
        row: index,
        prompt: Arc::new(Prompt {
            index,
            id: format!("row-{}", index + 1),
            content: content.into(),
            expect: None,
        }),
        raw: false,
        sampling: sampling.clone(),
        spending: None,
    });
    requests.collect()
}

/// One row.
pub async fn one(provider: &Arc<dyn Provider>, prompt: &str, sampling: Sampling) -> Heard {
    let request = requests(&[prompt], sampling).remove(0);
    let (sender, receiver) = mpsc::unbounded_channel();
    let called = provider.generate(request, Sink::new(sender), CancellationToken::new()).await;
    Heard::new(receiver, called)
}

/// A batch.
pub async fn batch(
    provider: &Arc<dyn Provider>,
    requests: Vec<Request>,
    size: BatchSize,
    cancel: CancellationToken,
) -> Heard {
    let (sender, receiver) = mpsc::unbounded_channel();
    let called = provider.batch_generate(requests, size, Sink::new(sender), cancel).await;
    Heard::new(receiver, called)
}

impl Heard {
    fn new(
        mut receiver: mpsc::UnboundedReceiver<Stamped<Event>>,
        called: Result<(), Failure>,
    ) -> Self {
        let mut events = Vec::new();
        while let Ok(stamp) = receiver.try_recv() {
            events.push(stamp);
        }
        Self { events, called }
    }

    fn find<T>(&self, read: impl Fn(&Event) -> Option<T>) -> Option<T> {
        self.events.iter().find_map(|stamp| read(&stamp.event))
    }

    pub fn text(&self, of: usize) -> String {
        let texts = self.events.iter().filter_map(|stamp| match &stamp.event {
            Event::Tokens { row, text, .. } | Event::Answer { row, text, .. } if *row == of => {
                Some(text.as_str())
            }
            _ => None,
        });
        texts.collect()
    }

    pub fn finished(&self, of: usize) -> Option<(Usage, FinishReason)> {
        self.find(|event| match event {
            Event::Finished { row, usage, reason } if *row == of => Some((*usage, reason.clone())),
            _ => None,
        })
    }

    pub fn failed(&self, of: usize) -> Option<&Failure> {
        self.failures().into_iter().find(|(row, _)| *row == of).map(|(_, failure)| failure)
    }

    pub fn failures(&self) -> Vec<(usize, &Failure)> {
        let failures = self.events.iter().filter_map(|stamp| match &stamp.event {
            Event::Failed { row, failure } => Some((*row, failure)),
            _ => None,
        });
        failures.collect()
    }

    pub fn server_events(&self) -> impl Iterator<Item = &ServerEvent> {
        self.events.iter().filter_map(|stamp| match &stamp.event {
            Event::Server(event) => Some(event),
            _ => None,
        })
    }

    pub fn times(&self, of: usize) -> Option<ServerTimes> {
        self.server_events().find_map(|event| match event {
            ServerEvent::Times { row, times } if *row == of => Some(*times),
            _ => None,
        })
    }

    pub fn notices(&self) -> Vec<&str> {
        let notices = self.events.iter().filter_map(|stamp| match &stamp.event {
            Event::Notice(text) => Some(text.as_str()),
            _ => None,
        });
        notices.collect()
    }

    /// Whether a row was submitted first, ended last and once, and its stamps do not go back.
    pub fn is_in_order(&self, of: usize) -> bool {
        let mut own = self.events.iter().filter_map(|stamp| {
            let (row, step) = match &stamp.event {
                Event::Submitted { row } => (*row, 0),
                Event::Tokens { row, .. } | Event::Answer { row, .. } => (*row, 1),
                Event::Finished { row, .. } | Event::Failed { row, .. } => (*row, 2),
                _ => return None,
            };
            (row == of).then_some((stamp.at, step))
        });
        let own: Vec<_> = own.by_ref().collect();
        let steps: Vec<_> = own.iter().map(|(_, step)| *step).collect();
        let (Some(0), Some(2)) = (steps.first(), steps.last()) else { return false };
        let middle = steps[1..steps.len() - 1].iter().all(|step| *step == 1);
        middle && own.windows(2).all(|pair| pair[0].0 <= pair[1].0)
    }
}

/// Sets an environment variable for this process. Every test has variables of its own.
#[allow(unsafe_code)]
pub fn set_env(name: &str, value: &str) {
    // SAFETY: on Linux the standard library serialises its own readers and writers of the
    // environment, and nothing else in this test binary reads it directly
    unsafe { std::env::set_var(name, value) };
}
