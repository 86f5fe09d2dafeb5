//! Models of Apple's MLX, batched by mlx-lm's `BatchGenerator` in a Python process.
//!
//! It turns requests into calls of the helper and the helper's events into the layer's. What
//! is computed when is the helper's business, see `helper.py`.

mod cached;
mod helper;
mod last_words;
mod lines;
mod message;
mod python;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use self::helper::Helper;
use self::message::{Ended, Hello, Memory, Ready, Reason, Step, Told};
use super::kv_count::KvCount;
use super::listing::of_bytes;
use super::{
    BatchSize, Batching, Event, Failure, FailureKind, FinishReason, ListedModel, Outlook, Provider,
    ProviderInfo, ProviderSpec, Request, ServerEvent, ServerMemory, ServerOptions, Sink, Support,
    TokenCounts, Usage,
};
use crate::prompts::printable;

/// A model in mlx-lm.
pub(super) struct Mlx {
    helper: Helper,
    info: ProviderInfo,
    weights: u64,
    /// Bytes of the KV caches of all calls under way.
    kv_bytes: Arc<AtomicU64>,
}

impl Mlx {
    /// Starts mlx-lm and loads the model, which mlx-lm fetches if it must.
    ///
    /// # Errors
    /// What is missing and the command that installs it; or why the model cannot be loaded.
    pub async fn open(
        spec: &ProviderSpec,
        progress: &(dyn Fn(String) + Send + Sync),
        cancel: CancellationToken,
    ) -> Result<Self, Failure> {
        check(spec, false)?;
        let program = python::program(spec);
        progress(format!("starting {}", program.display()));
        let starting = Helper::start(&program, &spec.model, progress);
        let (helper, hello, ready) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Failure::cancelled()),
            started = starting => started?,
        };
        if !ready.batches {
            let message = format!(
                "mlx-lm cannot batch {} models; serve it with mlx_lm.server and use --provider \
                 openai",
                ready.architecture
            );
            return Err(Failure::new(FailureKind::Unsupported, message));
        }
        let info = describe(spec, &hello, &ready);
        Ok(Self { helper, info, weights: ready.weights, kv_bytes: Arc::default() })
    }

    /// Runs rows as one call, as many at a time as `size` says.
    async fn call(
        &self,
        requests: Vec<Request>,
        size: BatchSize,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        for request in &requests {
            sink.send(Event::Submitted { row: request.row });
        }
        let mut sizes = size.subscribe();
        let mut call = self.helper.begin(&requests, *sizes.borrow_and_update())?;
        let mut rows = Rows {
            open: requests.iter().map(|request| request.row).collect(),
            kv: KvCount::new(sink.clone(), self.weights, self.kv_bytes.clone()),
            sink,
            device: self.info.device.clone(),
            peak: 0,
        };
        drop(requests);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Failure::cancelled()),
                heard = call.next() => {
                    let (at, told) = heard?;
                    if rows.take(at, told)? {
                        return Ok(());
                    }
                }
                Ok(()) = sizes.changed() => call.resize(*sizes.borrow_and_update()),
            }
        }
    }
}

#[async_trait]
impl Provider for Mlx {
    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    async fn generate(
        &self,
        request: Request,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        self.call(vec![request], BatchSize::new(1), sink, cancel).await
    }

    async fn batch_generate(
        &self,
        requests: Vec<Request>,
        batch_size: BatchSize,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        if requests.is_empty() {
            return Ok(());
        }
        self.call(requests, batch_size, sink, cancel).await
    }
}

/// The rows of a call that have not ended, and where their events go.
struct Rows {
    open: HashSet<usize>,
    sink: Sink,
    device: String,
    kv: KvCount,
    /// The most that MLX held, as last told.
    peak: u64,
}

impl Rows {
    /// Takes an event of the call; true for its last.
    fn take(&mut self, at: Instant, told: Told) -> Result<bool, Failure> {
        match told {
            Told::Step(step) => self.step(at, step).map(|()| false),
            Told::Done { .. } if self.open.is_empty() => Ok(true),
            Told::Done { .. } => {
                let open = self.open.len();
                Err(helper::protocol(format!("the mlx helper left {open} rows without an end")))
            }
            Told::Failed { kind, message, .. } => {
                Err(helper::failure(kind, &format!("mlx-lm failed: {message}")))
            }
            Told::Hello(_) | Told::Progress { .. } | Told::Ready(_) | Told::Error { .. } => {
                Err(helper::protocol("the mlx helper began anew in the middle of a call".into()))
            }
        }
    }

    fn step(&mut self, at: Instant, step: Step) -> Result<(), Failure> {
        let Step { rows, prefill, tokens, ended, memory, .. } = step;
        for (row, id, text) in tokens {
            self.check_open(row)?;
            self.sink.send_at(at, Event::Tokens { row, count: 1, ids: vec![id], text });
        }
        for end in ended {
            self.end(at, end)?;
        }
        if rows > 0 || prefill > 0 {
            self.sink.send_at(at, Event::Step { rows, prefill_tokens: prefill });
        }
        if let Some(memory) = memory {
            self.kv.set(memory.kv);
            self.count_all(memory);
        }
        Ok(())
    }

    fn end(&mut self, at: Instant, end: Ended) -> Result<(), Failure> {
        let (row, event) = match end {
            Ended::Refused { row, error } => {
                let message = printable(&error);
                let failure = Failure::new(FailureKind::InvalidRequest, message);
                (row, Event::Failed { row, failure })
            }
            Ended::Finished { row, text, prompt_tokens, output_tokens, reason } => {
                self.check_open(row)?;
                if !text.is_empty() {
                    self.sink.send_at(at, Event::Tokens { row, count: 0, ids: Vec::new(), text });
                }
                let usage = Usage {
                    prompt_tokens: Some(prompt_tokens),
                    output_tokens: Some(output_tokens),
                };
                let reason = match reason {
                    Reason::Stop => FinishReason::Stop,
                    Reason::Length => FinishReason::Length,
                };
                (row, Event::Finished { row, usage, reason })
            }
        };
        self.check_open(row)?;
        self.open.remove(&row);
        self.sink.send_at(at, event);
        Ok(())
    }

    fn check_open(&self, row: usize) -> Result<(), Failure> {
        if self.open.contains(&row) {
            return Ok(());
        }
        let message = format!("the mlx helper spoke of row {}, which is not under way", row + 1);
        Err(helper::protocol(message))
    }

    /// All that MLX holds: weights, caches, and what a forward pass needs in between.
    fn count_all(&mut self, memory: Memory) {
        if memory.peak <= self.peak {
            return;
        }
        self.peak = memory.peak;
        let gpu = (self.device != "cpu").then_some(memory.peak);
        let source = "mlx peak memory".into();
        let memory = ServerMemory { total: memory.peak, gpu, source };
        self.sink.send(Event::Server(ServerEvent::Memory(memory)));
    }
}

/// What can be known before the model is loaded: which Python and mlx-lm there are, and whether
/// the model is here.
///
/// # Errors
/// What is missing and the command that installs it, or why this cannot be a model.
pub(super) async fn look(spec: &ProviderSpec) -> Result<Outlook, Failure> {
    check(spec, false)?;
    let hello = Helper::hello(&python::program(spec)).await?;
    let version = |name: &str, version: &Option<String>| {
        version.as_deref().map(|version| printable(&format!("{name} {version}")))
    };
    let python = printable(&format!("python {} at {}", hello.python, hello.executable));
    let bytes = match Path::new(&spec.model).is_dir() {
        true => cached::weights_of(Path::new(&spec.model)).map(of_bytes),
        false => {
            let here = cached::models().into_iter().find(|model| model.name == spec.model);
            here.map(|model| model.facts.join(", "))
        }
    };
    let model = match &bytes {
        Some(bytes) => format!("✓ on this machine, {bytes}"),
        None => {
            format!("↓ mlx-lm fetches {} from the Hugging Face Hub first", printable(&spec.model))
        }
    };
    let versions = [version("mlx-lm", &hello.mlx_lm), version("mlx", &hello.mlx)];
    let lines = [Some(model)].into_iter().chain(versions).flatten().chain([python]);
    Ok(Outlook { here: bytes.is_some(), lines: lines.collect() })
}

/// The models that need not be fetched first.
pub(super) fn models() -> Vec<ListedModel> {
    cached::models()
}

/// Refuses what can be seen to be wrong without starting Python.
///
/// # Errors
/// No model or a folder without one, an option of other providers, or offline jobs.
pub(super) fn check(spec: &ProviderSpec, offline: bool) -> Result<(), Failure> {
    if let (true, Support::No { reason, instead }) = (offline, no_offline()) {
        let message = format!("mlx cannot run offline: {reason}; {instead}");
        return Err(Failure::new(FailureKind::Unsupported, message));
    }
    for (option, given) in [
        ("runner", spec.runner.is_some()),
        ("threads", spec.threads.is_some()),
        ("base_url", spec.base_url.is_some()),
        ("api_key_env", spec.api_key_env.is_some()),
        ("server", spec.server != ServerOptions::default()),
    ] {
        if given {
            let message = format!("mlx has no option {option}: leave it out");
            return Err(Failure::new(FailureKind::InvalidRequest, message));
        }
    }
    check_model(&spec.model).map_err(|reason| Failure::new(FailureKind::Model, reason))
}

/// Why this cannot be a model of mlx-lm: a folder, or a repository of the Hugging Face Hub.
fn check_model(model: &str) -> Result<(), String> {
    let path = Path::new(model);
    let shown = printable(model);
    let parts: Vec<_> = model.split('/').collect();
    let is_repository = parts.len() == 2 && !model.starts_with('.') && !parts.contains(&"");
    if path.is_dir() {
        return match path.join("config.json").is_file() {
            true => Ok(()),
            false => Err(format!(
                "{shown} is not a model folder: it has no config.json; mlx reads folders of \
                 config.json, *.safetensors and tokenizer.json"
            )),
        };
    }
    if path.is_file() {
        return Err(format!(
            "{shown} is a file, and mlx reads folders of safetensors; use --provider local for GGUF"
        ));
    }
    if is_repository {
        return Ok(());
    }
    let what = if model.is_empty() || model == ProviderSpec::default().model {
        "mlx needs a model of its own".to_owned()
    } else {
        format!("there is no folder {shown}")
    };
    Err(format!(
        "{what}: give --model a folder, or a repository of the Hugging Face Hub such as \
         mlx-community/Qwen3-0.6B-4bit"
    ))
}

fn describe(spec: &ProviderSpec, hello: &Hello, ready: &Ready) -> ProviderInfo {
    let known = |text: &str| Some(printable(text)).filter(|text| !text.is_empty());
    let details = [
        ("architecture", known(&ready.architecture)),
        ("parameters", Some(ready.parameters.to_string())),
        ("quantization", known(&ready.quantization)),
        ("runner", hello.mlx_lm.as_deref().and_then(|version| known(&format!("mlx-lm {version}")))),
        ("mlx", hello.mlx.as_deref().and_then(known)),
        ("python", known(&hello.python)),
        ("gpu", known(&ready.device_name).filter(|_| ready.device != "cpu")),
    ];
    ProviderInfo {
        provider: "mlx".into(),
        model: spec.model.clone(),
        model_sha256: None,
        device: printable(&ready.device),
        details: details
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
        batching: Batching::Native,
        offline: no_offline(),
        context_length: ready.context,
        token_counts: TokenCounts::Exact,
        price: None,
        batch_invariant: false,
    }
}

/// MLX runs here and now.
fn no_offline() -> Support {
    Support::No { reason: "mlx has no batch API".into(), instead: "use batched".into() }
}
