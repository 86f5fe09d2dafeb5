//! Repositories of the Hugging Face Hub: what is in one, which files are needed, and fetching
//! them.
//!
//! The API: `GET /api/models/OWNER/NAME/revision/REV?blobs=true` lists the files with sizes and
//! LFS hashes, `GET /OWNER/NAME/resolve/COMMIT/PATH` gives one (docs of huggingface_hub).

use std::collections::HashSet;
use std::path::Path;

use secrecy::SecretString;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::cache::{Fetched, Manifest};
use super::download::{Download, Problem, Wanted};
use super::http::{Http, HttpError};
use super::local;
use super::name::{HubName, Sha256, is_repository_path};
use super::progress::{OnProgress, Progress};
use super::weights::{self, INDEX, LARGEST_INDEX};
use crate::engine::EngineError;

const OFFICIAL: &str = "https://huggingface.co";

/// Files that a loader reads beside safetensors.
const COMPANIONS: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"];

const LARGEST_LISTING: usize = 32 << 20;
const MOST_FILES: usize = 100_000;
const LARGEST_COMPANION: u64 = 128 << 20;
const LARGEST_WEIGHTS: u64 = 1 << 40;

/// Where the hub is and who asks. The token is never printed.
#[derive(Debug, Clone)]
pub struct Hub {
    endpoint: String,
    token: Option<SecretString>,
}

impl Hub {
    /// The hub at `endpoint`, with a token of the user's.
    pub fn new(endpoint: impl Into<String>, token: Option<SecretString>) -> Self {
        Self { endpoint: endpoint.into(), token }
    }

    /// The hub that `HF_ENDPOINT` names, else the official one, with the token of `HF_TOKEN`.
    pub fn from_env() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| OFFICIAL.to_owned());
        let token = set("HF_TOKEN").map(|token| SecretString::from(token.trim().to_owned()));
        Self::new(endpoint, token)
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

#[derive(Deserialize)]
struct Listing {
    sha: Option<String>,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: Option<String>,
    size: Option<u64>,
}

/// One fetch of one repository into one folder.
pub(super) struct Fetch<'a> {
    http: Http,
    name: &'a HubName,
    folder: &'a Path,
    progress: OnProgress<'a>,
    cancel: &'a CancellationToken,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        hub: &Hub,
        name: &'a HubName,
        folder: &'a Path,
        progress: OnProgress<'a>,
        cancel: &'a CancellationToken,
    ) -> Result<Self, EngineError> {
        let http = Http::new(&hub.endpoint, hub.token.clone()).map_err(EngineError::Transport)?;
        Ok(Self { http, name, folder, progress, cancel })
    }

    /// Brings the files that are needed, and the manifest when all are there.
    pub(super) async fn run(&self) -> Result<(), EngineError> {
        let repository = self.listing().await?;
        let mut fetched: Vec<Fetched> = Vec::new();
        let wanted = self.wanted(&repository, &mut fetched).await?;
        self.clear_others(&wanted);
        let total = wanted.iter().map(|file| file.bytes).sum::<Option<u64>>();
        let mut before: u64 = fetched.iter().map(|file| file.bytes).sum();
        for file in &wanted {
            if fetched.iter().any(|landed| landed.name == file.name) {
                continue;
            }
            let landed = self.file(file, before, total).await?;
            before += landed.bytes;
            fetched.push(landed);
        }
        let name = self.name.to_string();
        Manifest { name, commit: repository.commit, files: fetched }.write(self.folder)
    }

    async fn listing(&self) -> Result<Repository, EngineError> {
        let (owner, name) = self.name.repository.split_once('/').unwrap_or_default();
        let revision = self.name.revision();
        let mut url = self.http.url(["api", "models", owner, name, "revision", revision]);
        url.set_query(Some("blobs=true"));
        let fetch = async { self.http.get(&url, 0).await?.text(LARGEST_LISTING).await };
        let body = self.cancel.run_until_cancelled(fetch).await.ok_or(EngineError::Cancelled)?;
        let body = body.map_err(|error| self.explain(None, error))?;
        let listing: Listing = serde_json::from_slice(&body).map_err(|error| {
            EngineError::Transport(format!("the answer is not a listing of the hub: {error}"))
        })?;
        if listing.siblings.len() > MOST_FILES {
            return Err(EngineError::Transport(format!("it lists more than {MOST_FILES} files")));
        }
        Ok(Repository::from(listing))
    }

    /// The files that are needed. An index is fetched to know the shards, and noted in `fetched`.
    async fn wanted(
        &self,
        repository: &Repository,
        fetched: &mut Vec<Fetched>,
    ) -> Result<Vec<Wanted>, EngineError> {
        let paths = repository.paths();
        let model = EngineError::Model;
        if let Some(choice) = &self.name.choice {
            let file = weights::chosen_gguf(&paths, choice).map_err(model)?;
            return Ok(vec![self.want(repository, &file, LARGEST_WEIGHTS).map_err(model)?]);
        }
        let top: Vec<String> = paths.iter().filter(|path| !path.contains('/')).cloned().collect();
        let has = |wanted: &str| top.iter().any(|name| name == wanted);
        let shards = if has(INDEX) {
            Some(self.indexed_shards(repository, fetched).await?)
        } else {
            weights::shards_of_names(&top).map_err(model)?
        };
        let Some(shards) = shards else {
            let file = weights::default_gguf(&paths).map_err(model)?;
            let file = file.ok_or_else(|| model(NO_WEIGHTS.to_owned()))?;
            return Ok(vec![self.want(repository, &file, LARGEST_WEIGHTS).map_err(model)?]);
        };
        let companions = COMPANIONS.into_iter().filter(|name| has(name));
        let small = std::iter::once("config.json").chain(companions);
        let index = has(INDEX).then_some((INDEX, LARGEST_INDEX));
        small
            .map(|name| (name, LARGEST_COMPANION))
            .chain(index)
            .chain(shards.iter().map(|name| (name.as_str(), LARGEST_WEIGHTS)))
            .map(|(name, limit)| self.want(repository, name, limit).map_err(model))
            .collect()
    }

    async fn indexed_shards(
        &self,
        repository: &Repository,
        fetched: &mut Vec<Fetched>,
    ) -> Result<Vec<String>, EngineError> {
        let model = EngineError::Model;
        let index = self.want(repository, INDEX, LARGEST_INDEX).map_err(model)?;
        fetched.push(self.file(&index, 0, index.bytes).await?);
        let json = local::read_limited(&self.folder.join(INDEX), LARGEST_INDEX).map_err(model)?;
        weights::shards_of_index(&json).map_err(model)
    }

    /// A file of the repository, by its path.
    fn want(&self, repository: &Repository, path: &str, limit: u64) -> Result<Wanted, String> {
        let file = repository.files.iter().find(|file| file.path == path);
        let file = file.ok_or_else(|| format!("{path} is missing in the repository"))?;
        let commit = repository.commit.as_deref().unwrap_or(self.name.revision());
        let base = self.name.repository.split('/').chain(["resolve", commit]);
        Ok(Wanted {
            path: path.to_owned(),
            url: self.http.url(base.chain(path.split('/'))),
            name: weights::file_name(path).to_owned(),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            limit,
        })
    }

    async fn file(
        &self,
        wanted: &Wanted,
        before: u64,
        total: Option<u64>,
    ) -> Result<Fetched, EngineError> {
        let on_bytes = |bytes: u64| {
            let file = wanted.name.clone();
            (self.progress)(Progress::Downloading { file, done: before + bytes, total });
        };
        let on_verify = || (self.progress)(Progress::Verifying { file: wanted.name.clone() });
        let download = Download {
            http: &self.http,
            folder: self.folder,
            wanted,
            on_bytes: &on_bytes,
            on_verify: &on_verify,
            cancel: self.cancel,
        };
        download.run().await.map_err(|problem| match problem {
            Problem::Http(error) => self.explain(Some(&wanted.path), error),
            Problem::Content(text) => EngineError::Transport(text),
            Problem::Here(error) => error,
        })
    }

    /// Removes what an earlier fetch of another commit left, so that the folder holds one model.
    fn clear_others(&self, wanted: &[Wanted]) {
        let keep: HashSet<String> =
            wanted.iter().flat_map(|file| [file.name.clone(), file.part()]).collect();
        let entries = std::fs::read_dir(self.folder).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != ".lock" && !keep.contains(&name) {
                // What cannot be removed does no harm unless it is a model, which the reader refuses.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// What a failed request means, and what to try.
    fn explain(&self, file: Option<&str>, error: HttpError) -> EngineError {
        let repository = &self.name.repository;
        let endpoint = self.http.endpoint().as_str().trim_end_matches('/');
        let what = file.map(|file| format!("{file}: ")).unwrap_or_default();
        EngineError::Transport(match error {
            HttpError::Status { status: 401 | 403, .. } if self.http.has_token() => format!(
                "{what}the hub refuses the token in HF_TOKEN, or there is no such repository: check the name, and accept the model's terms at {endpoint}/{repository} with the token's account"
            ),
            HttpError::Status { status: 401 | 403, .. } => format!(
                "{what}the hub asks for a token, or there is no such repository: check the name; for a gated model accept its terms at {endpoint}/{repository} and set HF_TOKEN to a token of yours"
            ),
            HttpError::Status { status: 404, .. } => format!(
                "{what}the hub at {endpoint} has no such file, repository or revision {:?}: check the name",
                self.name.revision()
            ),
            HttpError::Status { status: 429, retry_after } => {
                let wait = retry_after.map_or_else(
                    || "a few minutes".to_owned(),
                    |wait| format!("{} s", wait.as_secs()),
                );
                format!(
                    "{what}the hub has had too many requests from here: try again in {wait}, or set HF_TOKEN"
                )
            }
            HttpError::Status { status, .. } => {
                format!("{what}the hub answered with status {status}: try again")
            }
            HttpError::Connection(text) => format!("{what}{endpoint} cannot be reached: {text}"),
            HttpError::Protocol(text) => format!("{what}{endpoint}: {text}"),
        })
    }
}

const NO_WEIGHTS: &str =
    "the repository has neither safetensors nor GGUF files: choose a repository that has";

/// What a repository holds.
struct Repository {
    commit: Option<String>,
    files: Vec<RepositoryFile>,
}

struct RepositoryFile {
    path: String,
    bytes: Option<u64>,
    sha256: Option<Sha256>,
}

impl Repository {
    fn paths(&self) -> Vec<String> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }
}

impl From<Listing> for Repository {
    /// Paths that could leave the folder are dropped: none of them is a file that is needed.
    fn from(listing: Listing) -> Self {
        let is_commit = |sha: &String| {
            (7..=64).contains(&sha.len()) && sha.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let files = listing.siblings.into_iter().filter(|file| is_repository_path(&file.rfilename));
        let files = files.map(|file| {
            let (size, sha256) = match file.lfs {
                Some(lfs) => (lfs.size, lfs.sha256),
                None => (None, None),
            };
            RepositoryFile {
                path: file.rfilename,
                bytes: size.or(file.size),
                sha256: sha256.as_deref().and_then(Sha256::parse),
            }
        });
        Self { commit: listing.sha.filter(is_commit), files: files.collect() }
    }
}
