//! The backend layer: one trait, one stream of stamped events and one set of typed failures
//! for every provider.
//!
//! A provider turns requests into events. It does not know how a list is split into calls,
//! what is measured, or who is looking.

mod address;
mod anthropic;
mod batch_result;
pub mod budget;
mod delivery;
pub mod event;
mod exchange;
pub mod failure;
mod fingerprint;
mod framing;
mod http;
pub mod info;
pub mod job;
mod kv_count;
mod limits;
mod listing;
mod lmstudio;
mod load;
pub mod local;
mod mlx;
mod ndjson;
mod offline;
mod ollama;
mod openai;
pub mod price;
mod quota;
pub mod registry;
mod rejection;
pub mod request;
mod retry;
mod secret;
mod server;
pub mod spec;
mod sse;
mod window;

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use batch_result::events_of_result;
pub use budget::{Budget, Spending};
pub use event::{
    EngineMemory, Event, FinishReason, ServerEvent, ServerLoad, ServerMemory, ServerTimes, Sink,
    Stamped, Usage,
};
pub use failure::{Failure, FailureKind};
pub use info::{Batching, ProviderInfo, Support, TokenCounts, is_server_here};
pub use job::{JobCounts, JobEvent, JobKeeper, JobRecord};
pub use listing::ListedModel;
pub use price::{Price, Prices};
pub use registry::{OpenProvider, Outlook, Registry};
pub use request::{BatchSize, Request};
pub use spec::{MaxTokensField, ProviderSpec, ServerOptions};

use crate::probe::GpuSample;

/// Something that generates text for prompts.
///
/// Contract of both calls: a row that runs to its end gives exactly one [`Event::Finished`] or
/// [`Event::Failed`], and all events are in the sink before the call returns. A failed row is
/// not a failed call; the call itself fails only for a reason that concerns all of its rows.
/// Rows that have not ended when the call returns were interrupted or not begun, whatever it
/// returned. A cancelled call returns soon, with [`FailureKind::Cancelled`].
#[async_trait]
pub trait Provider: Send + Sync {
    /// What is behind this provider; constant over its life.
    fn info(&self) -> &ProviderInfo;

    /// What `batch_generate` does with prompts that are sent raw, or with the chat template:
    /// some servers batch only the former in one request.
    fn batching(&self, _raw: bool) -> Batching {
        self.info().batching.clone()
    }

    /// What the server behind this provider tells about its load now, where it tells anything.
    async fn load(&self) -> Option<ServerLoad> {
        None
    }

    /// Runs one row.
    ///
    /// # Errors
    /// A failure of the call as a whole.
    async fn generate(
        &self,
        request: Request,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure>;

    /// Runs many rows, `batch_size` of them at a time. The size is live: it is read again at
    /// every refill.
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`] where batching is not possible, with the reason and what
    /// to use instead; never a silent fallback.
    async fn batch_generate(
        &self,
        requests: Vec<Request>,
        batch_size: BatchSize,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure>;

    /// Runs many rows as one batch job in the provider's own time, and follows it to its end.
    /// What a later session needs is given to `keeper` before each step is taken; `jobs` is what
    /// earlier sessions kept of this list's jobs, and those that are not over are gone on with
    /// before anything new is submitted.
    ///
    /// Rows have neither a first text nor times of their own: they end when the results are here.
    /// A failed call ends no job: its rows stay open, and a later call finds it again. Cancelling
    /// ends the job at the provider and takes what it had finished.
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`] where there are no batch jobs, with the reason and what to use
    /// instead.
    async fn run_offline(
        &self,
        requests: Vec<Request>,
        jobs: Vec<JobRecord>,
        keeper: Arc<dyn JobKeeper>,
        sink: Sink,
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        let _ = (requests, jobs, keeper, sink, cancel);
        Err(no_offline(self.info()))
    }

    /// Memory of the device that computes, now, where no probe of the machine can read it and
    /// the provider can.
    fn device_memory(&self) -> Option<GpuSample> {
        None
    }
}

/// The failure of offline mode where there is none.
fn no_offline(info: &ProviderInfo) -> Failure {
    let why = match &info.offline {
        Support::No { reason, instead } => format!("{reason}; {instead}"),
        Support::Yes => "it has no batch jobs; use batched".to_owned(),
    };
    Failure::new(FailureKind::Unsupported, format!("{} cannot run offline: {why}", info.provider))
}
