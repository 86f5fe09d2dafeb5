//! All providers by name, and how one is opened from what the user wrote.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Failure, FailureKind, Provider, ProviderSpec};

/// Opens providers. The registry does it for real; tests bring their own.
#[async_trait]
pub trait OpenProvider: Send + Sync {
    /// Opens a provider: fetches and loads a model, or reaches a server. `progress` is told
    /// lines for people.
    ///
    /// # Errors
    /// What failed, on what, and what to try.
    async fn open(
        &self,
        spec: &ProviderSpec,
        progress: &(dyn Fn(String) + Send + Sync),
        cancel: CancellationToken,
    ) -> Result<Arc<dyn Provider>, Failure>;
}

/// The providers of this program.
#[derive(Debug, Clone, Default)]
pub struct Registry;

#[async_trait]
impl OpenProvider for Registry {
    async fn open(
        &self,
        spec: &ProviderSpec,
        _progress: &(dyn Fn(String) + Send + Sync),
        _cancel: CancellationToken,
    ) -> Result<Arc<dyn Provider>, Failure> {
        let message = format!("there is no provider \"{}\"; providers: local", spec.provider);
        Err(Failure::new(FailureKind::Unsupported, message))
    }
}
