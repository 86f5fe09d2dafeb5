//! The local provider: the engine behind the backend layer.
//!
//! It turns requests into token ids and calls, and the engine's events into the layer's. What
//! is computed when is the engine's business.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::kv_count::KvCount;
use super::{
    BatchSize, Batching, Event, Failure, FailureKind, FinishReason, ListedModel, Provider,
    ProviderInfo, ProviderSpec, Request, Sink, Support, TokenCounts, Usage, listing,
};
use crate::engine::EngineError;
use crate::engine::call::{Call, CallEvent, CallRow, EndReason};
use crate::engine::loader::{CpuChoices, Kernels, LoadOptions, ModelDescription};
use crate::engine::model::Model;
use crate::engine::runners::cpu::kernels::isa::Isa;
use crate::engine::store::{Progress, Status, Store};
use crate::probe::GpuSample;

/// The models of the catalogue, then those that were fetched besides.
pub(super) fn models(store: &Store) -> Vec<ListedModel> {
    let of_catalogue = store.catalogue().entries().iter().filter_map(|entry| {
        let (state, bytes) = match store.status(&entry.name) {
            Status::Ready { bytes, .. } => ("here", bytes),
            Status::Fetchable { bytes, .. } => ("to fetch", bytes),
            Status::Unknown { .. } => return None,
        };
        let facts = [Some(state.to_owned()), bytes.map(listing::of_bytes)].into_iter().flatten();
        ListedModel::new(&entry.name, facts)
    });
    let others = store.kept().into_iter().filter_map(|kept| {
        ListedModel::new(&kept.name, ["here".to_owned(), listing::of_bytes(kept.bytes)])
    });
    of_catalogue.chain(others).collect()
}

/// A model on this machine.
pub struct Local {
    model: Arc<Model>,
    info: ProviderInfo,
    /// Bytes of the KV caches of all calls under way.
    kv_bytes: Arc<AtomicU64>,
}

impl Local {
    /// Finds the model, fetches it if need be, and loads it.
    ///
    /// # Errors
    /// What failed, on what, and what to try.
    pub async fn open(
        spec: &ProviderSpec,
        store: &Store,
        progress: &(dyn Fn(String) + Send + Sync),
        cancel: CancellationToken,
    ) -> Result<Self, Failure> {
        let lines = ProgressLines::default();
        let tell = |step: Progress| lines.of(step).into_iter().for_each(progress);
        let source = store.resolve(&spec.model, &tell, &cancel).await?;
        progress(format!("loading {}", spec.model));
        let options = load_options(spec)?;
        let sha256 = source.sha256.clone();
        let loading = tokio::task::spawn_blocking(move || Model::load(&source, &options));
        let model = loading.await.map_err(|error| {
            Failure::new(FailureKind::Internal, format!("loading the model failed: {error}"))
        })??;
        let info = describe(spec, &model, sha256);
        Ok(Self { model: Arc::new(model), info, kv_bytes: Arc::default() })
    }

    /// Runs rows as one call, `slots` of them at a time.
    async fn call(
        &self,
        requests: Vec<Request>,
        slots: Box<dyn Fn() -> usize + Send>,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        for request in &requests {
            sink.send(Event::Submitted { row: request.row });
        }
        let rows = self.encode(requests, &sink).await?;
        let (ended, end) = oneshot::channel();
        let mut translator = Translator {
            kv: KvCount::new(sink.clone(), self.model.weight_bytes(), self.kv_bytes.clone()),
            sink,
            ended: Some(ended),
        };
        let observer = Box::new(move |event| translator.take(event));
        self.model.submit(Call { rows, slots, observer, cancel })?;
        match end.await {
            Ok(result) => Ok(result?),
            // the engine's thread is gone and took the call with it
            Err(oneshot::error::RecvError { .. }) => Err(self.model.gone().into()),
        }
    }

    /// Prompts to token ids, away from the async threads: a list may be long.
    async fn encode(&self, requests: Vec<Request>, sink: &Sink) -> Result<Vec<CallRow>, Failure> {
        let model = self.model.clone();
        let sink = sink.clone();
        let encoding = tokio::task::spawn_blocking(move || {
            let rows = requests.into_iter().filter_map(|request| {
                let row = request.row;
                match model.encode(&request.prompt.content, request.raw) {
                    Ok(prompt) => {
                        let text = model.text(&request.sampling);
                        Some(CallRow { row, prompt, sampling: request.sampling, text })
                    }
                    Err(error) => {
                        sink.send(Event::Failed { row, failure: error.into() });
                        None
                    }
                }
            });
            rows.collect()
        });
        encoding.await.map_err(|error| {
            Failure::new(FailureKind::Internal, format!("tokenising the prompts failed: {error}"))
        })
    }
}

#[async_trait]
impl Provider for Local {
    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    async fn generate(
        &self,
        request: Request,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        self.call(vec![request], Box::new(|| 1), sink, cancel).await
    }

    async fn batch_generate(
        &self,
        requests: Vec<Request>,
        batch_size: BatchSize,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        if let Batching::Unsupported { reason, instead } = &self.info.batching {
            return Err(Failure::new(FailureKind::Unsupported, format!("{reason}; {instead}")));
        }
        self.call(requests, Box::new(move || batch_size.get()), sink, cancel).await
    }

    fn device_memory(&self) -> Option<GpuSample> {
        let memory = self.model.device_memory()?;
        Some(GpuSample {
            name: self.info.device.clone(),
            total: Some(memory.recommended),
            used: None,
            this_process: Some(memory.allocated),
            source: "metal currentAllocatedSize".into(),
        })
    }
}

/// Turns the engine's events of one call into the layer's.
struct Translator {
    sink: Sink,
    kv: KvCount,
    ended: Option<oneshot::Sender<Result<(), EngineError>>>,
}

impl Translator {
    fn take(&mut self, event: CallEvent) {
        match event {
            CallEvent::Token { row, at, id, text } => {
                self.sink.send_at(at, Event::Tokens { row, count: 1, ids: vec![id], text });
            }
            CallEvent::Finished { row, at, prompt_tokens, output_tokens, reason, text } => {
                if !text.is_empty() {
                    self.sink.send_at(at, Event::Tokens { row, count: 0, ids: Vec::new(), text });
                }
                let usage = Usage {
                    prompt_tokens: Some(prompt_tokens),
                    output_tokens: Some(output_tokens),
                };
                let reason = match reason {
                    EndReason::Stop => FinishReason::Stop,
                    EndReason::Length => FinishReason::Length,
                };
                self.sink.send_at(at, Event::Finished { row, usage, reason });
            }
            CallEvent::Failed { row, error } => {
                self.sink.send(Event::Failed { row, failure: error.into() });
            }
            CallEvent::Step { at, rows, prefill_tokens, kv_bytes } => {
                self.sink.send_at(at, Event::Step { rows, prefill_tokens });
                self.kv.set(kv_bytes);
            }
            // the lane's figures say how many prompt tokens were computed
            CallEvent::SharedPrefix { tokens: _ } => {}
            CallEvent::Ended(result) => {
                self.kv.set(0);
                if let Some(ended) = self.ended.take() {
                    // nobody waits when the whole call was dropped
                    let _ = ended.send(result);
                }
            }
        }
    }
}

/// What the store says, in lines for people: a download tells every twentieth of itself.
#[derive(Default)]
struct ProgressLines {
    twentieths: Mutex<Option<(String, u64)>>,
}

impl ProgressLines {
    fn of(&self, step: Progress) -> Option<String> {
        match step {
            Progress::Trying { source } => Some(format!("fetching from {source}")),
            Progress::Waiting { folder } => {
                Some(format!("waiting for another process that fetches into {}", folder.display()))
            }
            Progress::Verifying { file } => Some(format!("verifying {file}")),
            Progress::Failed { source, reason } => Some(format!("{source} failed: {reason}")),
            Progress::Downloading { file, done, total } => {
                let part = total.map_or(done / 10_000_000, |total| done * 20 / total.max(1));
                let now = Some((file, part));
                let mut last = self.twentieths.lock().unwrap_or_else(PoisonError::into_inner);
                if *last == now {
                    return None;
                }
                let file = now.as_ref().map_or("", |(file, _)| file.as_str());
                let megabytes = |bytes: u64| bytes as f64 / 1e6;
                let line = match total {
                    Some(total) => format!(
                        "downloading {file}: {:.0} of {:.0} MB",
                        megabytes(done),
                        megabytes(total)
                    ),
                    None => format!("downloading {file}: {:.0} MB", megabytes(done)),
                };
                *last = now;
                Some(line)
            }
        }
    }
}

/// Refuses what can be seen to be wrong without loading anything.
///
/// # Errors
/// An unknown runner or model, or offline jobs.
pub fn check(spec: &ProviderSpec, store: &Store, offline: bool) -> Result<(), Failure> {
    load_options(spec)?;
    if let Status::Unknown { reason } = store.status(&spec.model) {
        return Err(Failure::new(FailureKind::Model, reason));
    }
    match (offline, no_offline()) {
        (true, Support::No { reason, instead }) => {
            let message = format!("local cannot run offline: {reason}; {instead}");
            Err(Failure::new(FailureKind::Unsupported, message))
        }
        (true, Support::Yes) | (false, _) => Ok(()),
    }
}

fn no_offline() -> Support {
    Support::No { reason: "a local model has no batch API".into(), instead: "use batched".into() }
}

fn load_options(spec: &ProviderSpec) -> Result<LoadOptions, Failure> {
    let invalid = |message: String| Failure::new(FailureKind::InvalidRequest, message);
    let kernels = match spec.runner.as_deref() {
        None => Kernels::Best,
        Some("cpu") => Kernels::Cpu,
        Some("candle") => Kernels::Own,
        Some(other) => match other.strip_prefix("cpu:") {
            Some(word) => {
                let isa = Some(instruction_set(word).map_err(invalid)?);
                Kernels::CpuWith(CpuChoices { isa, exact: false })
            }
            None => {
                let runners = "runners: cpu, cpu:SET with an instruction set, candle";
                return Err(invalid(format!("there is no runner \"{other}\"; {runners}")));
            }
        },
    };
    let threads = match spec.threads.map(NonZeroUsize::new) {
        Some(None) => return Err(invalid("threads is 0: it must be at least 1".into())),
        Some(threads) => threads,
        None => None,
    };
    Ok(LoadOptions { threads, kernels, ..LoadOptions::default() })
}

/// The instruction set of this name.
fn instruction_set(word: &str) -> Result<Isa, String> {
    Isa::ALL.into_iter().find(|isa| isa.word() == word).ok_or_else(|| {
        let sets: Vec<&str> = Isa::ALL.iter().map(|isa| isa.word()).collect();
        format!("there is no instruction set \"{word}\"; sets: {}", sets.join(", "))
    })
}

fn describe(spec: &ProviderSpec, model: &Model, sha256: Option<String>) -> ProviderInfo {
    let description = model.description();
    let batching = match model.max_slots() {
        Some(1) => Batching::Unsupported {
            reason: format!(
                "{} runs through candle-transformers, which computes one row at a time",
                description.architecture
            ),
            instead: "use sequential or async, or a llama, qwen2, qwen3 or gemma3 model".into(),
        },
        Some(_) | None => Batching::Native,
    };
    ProviderInfo {
        provider: "local".into(),
        model: spec.model.clone(),
        model_sha256: sha256,
        device: description.device.clone(),
        details: details(description, spec),
        batching,
        offline: no_offline(),
        context_length: Some(description.context_length),
        token_counts: TokenCounts::Exact,
        price: None,
        batch_invariant: description.batch_invariant,
    }
}

fn details(description: &ModelDescription, spec: &ProviderSpec) -> Vec<(String, String)> {
    let mut details = vec![
        ("architecture", description.architecture.clone()),
        ("parameters", description.parameters.to_string()),
        ("quantization", description.quantization.clone()),
        ("runner", description.runner.clone()),
    ];
    match &description.team {
        Some((set, threads)) => {
            details.extend([("kernels", set.clone()), ("threads", threads.to_string())]);
        }
        None => details.extend(spec.threads.map(|threads| ("threads", threads.to_string()))),
    }
    details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let kind = match &error {
            EngineError::Model(_) => FailureKind::Model,
            EngineError::InvalidRequest(_) => FailureKind::InvalidRequest,
            EngineError::OutOfMemory(_) => FailureKind::OutOfMemory,
            EngineError::Unsupported { .. } => FailureKind::Unsupported,
            EngineError::Transport(_) => FailureKind::Transport,
            EngineError::Cancelled => FailureKind::Cancelled,
            EngineError::Internal(_) => FailureKind::Internal,
        };
        Failure::new(kind, error.to_string())
    }
}
