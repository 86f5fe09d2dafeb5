//! A provider that says the same words at a set pace, and the services of a workbench over it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use batchgen::bench::Job;
use batchgen::bench::run::{RunHandle, start};
use batchgen::config::Plan;
use batchgen::prompts::PromptList;
use batchgen::provider::{
    BatchSize, Event, Failure, FailureKind, FinishReason, OpenProvider, Provider, ProviderInfo,
    ProviderSpec, Request, Sink, Usage,
};
use batchgen::tui::app::{ExportRequest, Reply};
use batchgen::tui::form::{ModelFacts, Preset, PromptQuery, PromptTokens, TokenQuery};
use batchgen::tui::services::Services;
use tokio_util::sync::CancellationToken;

use super::fixture;

/// Says `words` words a row, one every `gap`.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    pub words: usize,
    pub gap: Duration,
    /// Its thread panics in the middle of the first row.
    pub panics: bool,
}

struct Scripted {
    info: ProviderInfo,
    script: Script,
}

#[async_trait]
impl Provider for Scripted {
    fn info(&self) -> &ProviderInfo {
        &self.info
    }

    async fn generate(
        &self,
        request: Request,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        let row = request.row;
        sink.send(Event::Submitted { row });
        for word in 0..self.script.words {
            if cancel.is_cancelled() {
                return Err(Failure::cancelled());
            }
            if !self.script.gap.is_zero() {
                tokio::time::sleep(self.script.gap).await;
            }
            let text = format!("word{word} ");
            sink.send(Event::Tokens { row, count: 1, ids: vec![word as u32], text });
            if self.script.panics {
                return Err(panic_elsewhere());
            }
        }
        let usage = Usage { prompt_tokens: Some(3), output_tokens: Some(self.script.words) };
        sink.send(Event::Finished { row, usage, reason: FinishReason::Stop });
        Ok(())
    }

    async fn batch_generate(
        &self,
        requests: Vec<Request>,
        _batch_size: BatchSize,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        for request in requests {
            self.generate(request, sink.clone(), cancel.clone()).await?;
        }
        Ok(())
    }
}

/// What a defect in an engine's own thread looks like from outside.
fn panic_elsewhere() -> Failure {
    let thread = std::thread::Builder::new().name("engine".into());
    let ended = thread.spawn(|| panic!("the engine fell over")).unwrap().join();
    assert!(ended.is_err());
    Failure::new(FailureKind::Internal, "internal error: the engine's thread panicked")
}

#[async_trait]
impl OpenProvider for Script {
    async fn open(
        &self,
        _spec: &ProviderSpec,
        progress: &(dyn Fn(String) + Send + Sync),
        _cancel: CancellationToken,
    ) -> Result<Arc<dyn Provider>, Failure> {
        progress("loading the script".into());
        Ok(Arc::new(Scripted { info: fixture::info(), script: *self }))
    }
}

/// A workbench over a script; runs are kept under `runs`.
pub struct ScriptedServices {
    pub script: Script,
    pub runs: PathBuf,
    pub prompts: usize,
}

impl Services for ScriptedServices {
    fn prompts(&self, _query: &PromptQuery) -> anyhow::Result<PromptList> {
        Ok(Arc::unwrap_or_clone(fixture::prompts(self.prompts)))
    }

    fn model(&self, _spec: &ProviderSpec) -> anyhow::Result<ModelFacts> {
        Ok(ModelFacts { here: true, lines: vec!["a script".into()] })
    }

    fn tokens(&self, query: &TokenQuery) -> Option<PromptTokens> {
        Some(PromptTokens { rows: query.prompts.prompts.iter().map(|_| Some(3)).collect() })
    }

    fn preset(&self, _name: &str) -> anyhow::Result<Preset> {
        anyhow::bail!("there is none")
    }

    fn start(&self, plan: Plan, prompts: Arc<PromptList>) -> anyhow::Result<RunHandle> {
        start(Job { plan, prompts }, Arc::new(self.script), &self.runs)
    }

    fn keep_paste(&self, _text: &str) -> anyhow::Result<PathBuf> {
        anyhow::bail!("nothing is kept here")
    }

    fn keep_theme(&self, _name: &str) -> anyhow::Result<()> {
        anyhow::bail!("nothing is kept here")
    }

    fn runs(&self) -> PathBuf {
        self.runs.clone()
    }

    fn export(&self, request: &ExportRequest) -> Reply {
        Reply::Exported(request.path.display().to_string())
    }
}
