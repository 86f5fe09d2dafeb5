//! A provider behind a server: the same for every API; a [`Dialect`] says how one is spoken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::exchange::{Ask, Broken, Call, Decoder, Exchange};
use super::fingerprint::Kind;
use super::framing::Framing;
use super::http::Http;
use super::load::LoadReader;
use super::offline::{Following, JobApi, Offline};
use super::{
    BatchSize, Batching, Event, Failure, FailureKind, JobKeeper, JobRecord, Provider, ProviderInfo,
    Request, ServerEvent, ServerLoad, ServerMemory, ServerOptions, Sink, Support, window,
};
use crate::prompts::Content;

/// How one API is spoken.
pub(super) trait Dialect: Send + Sync {
    /// Reads its streams.
    type Decoder: Decoder;

    /// The request for one row.
    ///
    /// # Errors
    /// Where the API cannot express what is asked.
    fn ask(&self, request: &Request) -> Result<Ask, Failure>;

    /// A decoder for the answer to a request, raw or not, that comes in this framing.
    fn decoder(&self, raw: bool, framing: Framing) -> Self::Decoder;

    /// Whether one request may carry many raw prompts, or many conversations.
    fn has_prompt_arrays(&self, raw: bool) -> bool {
        let _ = raw;
        false
    }

    /// The request for many prompts, all of them raw or none.
    ///
    /// # Errors
    /// Where the API cannot express what is asked.
    fn ask_many(&self, requests: &[Request]) -> Result<Ask, Failure> {
        let _ = requests;
        Err(Failure::new(FailureKind::Unsupported, "this API takes one prompt a request"))
    }

    /// Its batch jobs, where it has them.
    fn jobs<'a>(&'a self, http: &'a Http) -> Option<Box<dyn JobApi + 'a>> {
        let _ = http;
        None
    }

    /// Memory the server holds for the model, as far as it is known.
    fn memory(&self) -> Option<ServerMemory> {
        None
    }
}

/// A provider behind a server.
#[derive(Debug)]
pub(super) struct Server<D> {
    info: ProviderInfo,
    exchange: Exchange,
    load: Option<LoadReader>,
    dialect: D,
    /// The most requests of a batch job, where the user gave one.
    job_requests: Option<usize>,
}

impl<D: Dialect> Server<D> {
    pub fn new(
        info: ProviderInfo,
        http: Http,
        options: &ServerOptions,
        kind: Kind,
        dialect: D,
    ) -> Self {
        let load = LoadReader::of(&http, kind);
        let exchange = Exchange::new(http, options);
        Self { info, exchange, load, dialect, job_requests: options.job_requests }
    }

    /// Runs one row; a failure of its own stays with it.
    async fn one(&self, request: Request, call: Call<'_>) -> Result<(), Failure> {
        let ended = match self.dialect.ask(&request) {
            Ok(ask) => self.send(&ask, std::slice::from_ref(&request), call).await,
            Err(failure) => Err(unsent(failure, std::slice::from_ref(&request))),
        };
        ended.or_else(|broken| end_rows(broken, call.sink))
    }

    /// Sends a request within the run's spending limit, and runs it to its end.
    async fn send(&self, ask: &Ask, requests: &[Request], call: Call<'_>) -> Result<(), Broken> {
        let raw = requests.iter().any(is_raw_text);
        let decoder = || self.dialect.decoder(raw, ask.framing);
        let Some(spending) = requests.first().and_then(|request| request.spending.as_ref()) else {
            return self.exchange.run(ask, decoder, call).await.map(drop);
        };
        let reserved = tokio::select! {
            biased;
            () = call.cancel.cancelled() => Err(Failure::cancelled()),
            reserved = spending.reserve(requests) => reserved,
        };
        let reservation = reserved.map_err(|failure| unsent(failure, requests))?;
        let ended = self.exchange.run(ask, decoder, call).await;
        match &ended {
            Ok(used) => reservation.settle(used.usage, used.cached_tokens),
            Err(broken) if broken.has_text || broken.failure.kind == FailureKind::Cancelled => {
                drop(reservation);
            }
            Err(_) => reservation.release(),
        }
        ended.map(drop)
    }

    /// Runs the requests as arrays of up to `batch_size` prompts, one array after another.
    async fn arrays(
        &self,
        requests: Vec<Request>,
        batch_size: &BatchSize,
        call: Call<'_>,
    ) -> Result<(), Failure> {
        let mut waiting = VecDeque::from(requests);
        while !waiting.is_empty() {
            let size = batch_size.get().min(waiting.len());
            let array: Vec<_> = waiting.drain(..size).collect();
            let ask = self.dialect.ask_many(&array)?;
            let Err(broken) = self.send(&ask, &array, call).await else { continue };
            let refused = broken.failure.kind == FailureKind::InvalidRequest && size > 1;
            if !refused {
                end_rows(broken, call.sink)?;
                continue;
            }
            // one bad prompt spoils the request of all: its neighbours must not pay for it
            let text = format!("{}; its {size} prompts are sent one by one", broken.failure);
            call.sink.send(Event::Notice(text));
            let open = array.into_iter().filter(|request| broken.open.contains(&request.row));
            self.window(open.collect(), batch_size, call).await?;
        }
        Ok(())
    }

    async fn window(
        &self,
        requests: Vec<Request>,
        batch_size: &BatchSize,
        call: Call<'_>,
    ) -> Result<(), Failure> {
        window::run(requests, batch_size, call.cancel, |request| self.one(request, call)).await
    }

    fn tell_memory(&self, sink: &Sink) {
        if let Some(memory) = self.dialect.memory() {
            sink.send(Event::Server(ServerEvent::Memory(memory)));
        }
    }
}

#[async_trait]
impl<D: Dialect> Provider for Server<D> {
    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    fn batching(&self, raw: bool) -> Batching {
        if self.dialect.has_prompt_arrays(raw) { Batching::PromptArray } else { Batching::Window }
    }

    async fn load(&self) -> Option<ServerLoad> {
        self.load.as_ref()?.read().await
    }

    async fn generate(
        &self,
        request: Request,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        self.tell_memory(&sink);
        let call = Call { sink: &sink, cancel: &cancel, since: Instant::now() };
        sink.send_at(call.since, Event::Submitted { row: request.row });
        self.one(request, call).await
    }

    async fn batch_generate(
        &self,
        requests: Vec<Request>,
        batch_size: BatchSize,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        self.tell_memory(&sink);
        let call = Call { sink: &sink, cancel: &cancel, since: Instant::now() };
        for request in &requests {
            sink.send_at(call.since, Event::Submitted { row: request.row });
        }
        let arrays = [true, false].map(|raw| self.dialect.has_prompt_arrays(raw));
        if arrays == [false, false] {
            return self.window(requests, &batch_size, call).await;
        }
        let [raw_arrays, chat_arrays] = arrays;
        let asked_raw = requests.iter().any(|request| request.raw);
        let (raw, others): (Vec<_>, Vec<_>) = requests.into_iter().partition(is_raw_text);
        if asked_raw && !chat_arrays && !others.is_empty() {
            let text = format!("{} conversations are sent one a request", others.len());
            sink.send(Event::Notice(text));
        }
        for (rows, as_arrays) in [(raw, raw_arrays), (others, chat_arrays)] {
            match as_arrays {
                true => self.arrays(rows, &batch_size, call).await?,
                false => self.window(rows, &batch_size, call).await?,
            }
        }
        Ok(())
    }

    async fn run_offline(
        &self,
        requests: Vec<Request>,
        jobs: Vec<JobRecord>,
        keeper: Arc<dyn JobKeeper>,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        let http = self.exchange.http();
        let (Support::Yes, Some(api)) = (&self.info.offline, self.dialect.jobs(http)) else {
            return Err(super::no_offline(&self.info));
        };
        let server = http.address().to_string();
        let offline = Offline {
            api: &*api,
            server: &server,
            scrub: &|text| http.scrub(text),
            policy: self.exchange.policy(),
            job_requests: self.job_requests,
            keeper: &*keeper,
            sink: &sink,
            cancel: &cancel,
            following: Following::default(),
        };
        offline.run(requests, jobs).await
    }
}

/// Whether a row is sent without the chat template.
pub(super) fn is_raw_text(request: &Request) -> bool {
    request.raw && matches!(request.prompt.content, Content::Text(_))
}

/// The failure of a request that was not sent.
fn unsent(failure: Failure, requests: &[Request]) -> Broken {
    let open = requests.iter().map(|request| request.row).collect();
    Broken { failure, open, has_text: false }
}

/// Ends the open rows of a failed request, or the call if all rows would fail so.
fn end_rows(broken: Broken, sink: &Sink) -> Result<(), Failure> {
    let Broken { failure, open, has_text: _ } = broken;
    match failure.kind {
        FailureKind::Cancelled
        | FailureKind::Auth
        | FailureKind::Model
        | FailureKind::SpendingLimit
        | FailureKind::Unsupported => Err(failure),
        FailureKind::RateLimited
        | FailureKind::Overloaded
        | FailureKind::Transport
        | FailureKind::Protocol
        | FailureKind::Server
        | FailureKind::InvalidRequest
        | FailureKind::OutOfMemory
        | FailureKind::Internal => {
            for row in open {
                sink.send(Event::Failed { row, failure: failure.clone() });
            }
            Ok(())
        }
    }
}
