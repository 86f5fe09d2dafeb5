//! The same front for programs without an async runtime.

use tokio::runtime::{Builder, Runtime};

use super::{BatchOptions, Response};
use crate::prompts::Content;
use crate::provider::{Failure, FailureKind, ProviderInfo, ProviderSpec};
use crate::sampling::Sampling;

/// A [`super::Client`] with a runtime of its own. Not for use inside an async runtime.
pub struct Client {
    runtime: Runtime,
    inner: super::Client,
}

impl Client {
    /// See [`super::Client::open`].
    ///
    /// # Errors
    /// What failed, on what, and what to try.
    pub fn open(spec: &ProviderSpec) -> Result<Self, Failure> {
        let runtime = runtime()?;
        let inner = runtime.block_on(super::Client::open(spec))?;
        Ok(Self { runtime, inner })
    }

    /// What is behind this client.
    pub fn info(&self) -> &ProviderInfo {
        self.inner.info()
    }

    /// See [`super::Client::generate`].
    ///
    /// # Errors
    /// The failure of the prompt or of the provider.
    pub fn generate(
        &self,
        prompt: impl Into<Content>,
        sampling: &Sampling,
    ) -> Result<Response, Failure> {
        self.runtime.block_on(self.inner.generate(prompt, sampling))
    }

    /// See [`super::Client::batch_generate`].
    ///
    /// # Errors
    /// The first failure.
    pub fn batch_generate<C: Into<Content>>(
        &self,
        prompts: impl IntoIterator<Item = C>,
        options: &BatchOptions,
    ) -> Result<Vec<Response>, Failure> {
        self.runtime.block_on(self.inner.batch_generate(prompts, options))
    }

    /// See [`super::Client::batch_generate_each`].
    ///
    /// # Errors
    /// Only what concerns the whole list.
    pub fn batch_generate_each<C: Into<Content>>(
        &self,
        prompts: impl IntoIterator<Item = C>,
        options: &BatchOptions,
    ) -> Result<Vec<Result<Response, Failure>>, Failure> {
        self.runtime.block_on(self.inner.batch_generate_each(prompts, options))
    }
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::new(FailureKind::Internal, format!("cannot start an async runtime: {error}"))
    })
}
