//! All providers by name, and how one is opened from what the user wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::local::{self, Local};
use super::mlx::{self, Mlx};
use super::{
    Failure, FailureKind, ListedModel, Price, Prices, Provider, ProviderInfo, ProviderSpec,
};
use super::{anthropic, lmstudio, ollama, openai};
use crate::engine::store::{Catalogue, Store};

/// Names of all providers.
pub const NAMES: &[&str] = &["local", "openai", "anthropic", "ollama", "lmstudio", "mlx"];

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

    /// The models that a provider could run, as its server or its folder lists them.
    ///
    /// # Errors
    /// The server cannot be reached, refuses the key, or has no list.
    async fn models(&self, spec: &ProviderSpec) -> Result<Vec<ListedModel>, Failure> {
        let _ = spec;
        Ok(Vec::new())
    }

    /// What can be known of a provider that is costly to open, before it is.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    async fn look(&self, spec: &ProviderSpec) -> Result<Outlook, Failure> {
        let _ = spec;
        Ok(Outlook::default())
    }

    /// What the tokens of an open provider cost, where that is known.
    fn price(&self, info: &ProviderInfo) -> Option<Price> {
        let _ = info;
        None
    }
}

/// What is known of a provider before it is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// The model need not be fetched first.
    pub here: bool,
    /// Facts, one a line.
    pub lines: Vec<String>,
}

/// The providers of this program.
#[derive(Debug, Clone)]
pub struct Registry {
    store: Store,
    prices: Prices,
}

impl Registry {
    /// Providers over the models under `models`, with the user's catalogue file, if there is
    /// one, laid over the built-in catalogue.
    ///
    /// # Errors
    /// A damaged catalogue file.
    pub fn new(models: PathBuf, catalogue: &Path) -> Result<Self, Failure> {
        let catalogue = Catalogue::with_user_file(catalogue)?;
        let prices = Prices::default();
        Ok(Self { store: Store::new(models, catalogue), prices })
    }

    /// The same providers, with what their tokens cost.
    #[must_use]
    pub fn with_prices(self, prices: Prices) -> Self {
        Self { prices, ..self }
    }

    /// Refuses what can be seen to be wrong without opening anything, so that a run is not
    /// begun in vain.
    ///
    /// # Errors
    /// An unknown provider, runner or local model, an address or a key that cannot be, or
    /// offline jobs where there are none.
    pub fn check(&self, spec: &ProviderSpec, offline: bool) -> Result<(), Failure> {
        let name = spec.provider.as_str();
        if name != "mlx" && spec.python.is_some() {
            let message = format!("python is for the mlx provider: leave it out for {name}");
            return Err(Failure::new(FailureKind::InvalidRequest, message));
        }
        if name != "openai" && spec.server.batch_route == Some(true) {
            let message = format!(
                "batch_route is for vLLM, over the openai provider: leave it out for {name}"
            );
            return Err(Failure::new(FailureKind::InvalidRequest, message));
        }
        if !matches!(name, "openai" | "anthropic") && spec.server.job_requests.is_some() {
            let message = format!(
                "job_requests is for the batch jobs of openai and anthropic: leave it out for {name}"
            );
            return Err(Failure::new(FailureKind::InvalidRequest, message));
        }
        match name {
            "local" => local::check(spec, &self.store, offline),
            "openai" => openai::check(spec, offline),
            "anthropic" => anthropic::check(spec, offline),
            "ollama" => openai::check_at(spec, offline, ollama::ADDRESS, None),
            "lmstudio" => openai::check_at(spec, offline, lmstudio::ADDRESS, None),
            "mlx" => mlx::check(spec, offline),
            other => Err(unknown(other)),
        }
    }
}

#[async_trait]
impl OpenProvider for Registry {
    async fn open(
        &self,
        spec: &ProviderSpec,
        progress: &(dyn Fn(String) + Send + Sync),
        cancel: CancellationToken,
    ) -> Result<Arc<dyn Provider>, Failure> {
        match spec.provider.as_str() {
            "local" => Ok(Arc::new(Local::open(spec, &self.store, progress, cancel).await?)),
            "openai" => openai::open(spec, progress).await,
            "anthropic" => anthropic::open(spec, progress).await,
            "ollama" => ollama::open(spec, progress).await,
            "lmstudio" => lmstudio::open(spec, progress).await,
            "mlx" => Ok(Arc::new(Mlx::open(spec, progress, cancel).await?)),
            other => Err(unknown(other)),
        }
    }

    async fn models(&self, spec: &ProviderSpec) -> Result<Vec<ListedModel>, Failure> {
        match spec.provider.as_str() {
            "local" => Ok(local::models(&self.store)),
            "openai" => openai::models(spec).await,
            "anthropic" => anthropic::models(spec).await,
            "ollama" => ollama::list(spec).await,
            "lmstudio" => lmstudio::list(spec).await,
            "mlx" => Ok(mlx::models()),
            other => Err(unknown(other)),
        }
    }

    async fn look(&self, spec: &ProviderSpec) -> Result<Outlook, Failure> {
        match spec.provider.as_str() {
            "mlx" => mlx::look(spec).await,
            _ => Ok(Outlook::default()),
        }
    }

    fn price(&self, info: &ProviderInfo) -> Option<Price> {
        self.prices.find(&info.device, &info.model).cloned()
    }
}

fn unknown(provider: &str) -> Failure {
    let known = NAMES.join(", ");
    let message = format!("there is no provider \"{provider}\"; providers: {known}");
    Failure::new(FailureKind::Unsupported, message)
}
