//! One file from the hub to a folder: resumed, verified, landed whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{StatusCode, Url};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::cache::{self, Fetched};
use super::http::{Answer, Http, HttpError};
use super::name::Sha256;
use crate::engine::EngineError;

/// Attempts in a row that bring nothing new.
const ATTEMPTS: u32 = 4;

/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A file that is wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Its path in the repository, for messages.
    pub path: String,
    /// Where it is.
    pub url: Url,
    /// Its name in the folder.
    pub name: String,
    /// Its size, where the hub lists it.
    pub bytes: Option<u64>,
    /// Its hash, where the hub lists it.
    pub sha256: Option<Sha256>,
    /// The most bytes it may have.
    pub limit: u64,
}

impl Wanted {
    /// Where its bytes gather; the hash in the name keeps another version's bytes apart.
    pub(super) fn part(&self) -> String {
        let tag = self.sha256.as_ref().and_then(|sha256| sha256.as_str().get(..12));
        format!(".{}.{}.part", self.name, tag.unwrap_or("unknown"))
    }
}

/// Why a file did not arrive.
#[derive(Debug)]
pub(super) enum Problem {
    /// The server or the way to it.
    Http(HttpError),
    /// What arrived is not what was announced.
    Content(String),
    /// This machine, or the caller.
    Here(EngineError),
}

impl From<HttpError> for Problem {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

/// The download of one file.
pub(super) struct Download<'a> {
    /// The hub.
    pub http: &'a Http,
    /// Where the file lands.
    pub folder: &'a Path,
    /// The file.
    pub wanted: &'a Wanted,
    /// Is told the bytes of this file so far.
    pub on_bytes: &'a (dyn Fn(u64) + Send + Sync),
    /// Is told when the hash is being checked.
    pub on_verify: &'a (dyn Fn() + Send + Sync),
    /// Stops it; what arrived stays for the next time.
    pub cancel: &'a CancellationToken,
}

impl Download<'_> {
    /// Fetches the file, unless it is there already.
    pub(super) async fn run(&self) -> Result<Fetched, Problem> {
        if let Some(landed) = self.landed().await {
            return Ok(landed);
        }
        let mut part = Part::open(self.folder, self.wanted).await.map_err(Problem::Here)?;
        let result = self.fill_and_verify(&mut part).await;
        // Without this, bytes that were taken from the network may not reach the disk.
        let _ = part.file.flush().await;
        if let Err(Problem::Content(_)) = result {
            let _ = tokio::fs::remove_file(&part.path).await;
        }
        let fetched = result?;
        cache::land(&part.path, self.folder, &self.wanted.name).map_err(Problem::Here)?;
        Ok(fetched)
    }

    /// The file, if an earlier attempt landed it and its hash is as listed.
    async fn landed(&self) -> Option<Fetched> {
        let expected = self.wanted.sha256.as_ref()?;
        let path = self.folder.join(&self.wanted.name);
        let bytes = tokio::fs::metadata(&path).await.ok()?.len();
        let sha256 = hash(&path).await.ok()?;
        let name = self.wanted.name.clone();
        (sha256 == expected.as_str()).then_some(Fetched { name, bytes, sha256 })
    }

    async fn fill_and_verify(&self, part: &mut Part) -> Result<Fetched, Problem> {
        loop {
            let linked = self.fill(part).await?;
            let expected = self.wanted.sha256.as_ref().or(linked.as_ref());
            (self.on_verify)();
            let sha256 = hash(&part.path).await.map_err(|error| part.disk(&error))?;
            match expected {
                Some(expected) if expected.as_str() != sha256 => {
                    if std::mem::replace(&mut part.resumed, false) {
                        part.reset().await?;
                        continue;
                    }
                    let path = &self.wanted.path;
                    return Err(Problem::Content(format!(
                        "{path}: its sha256 is {sha256}, the hub lists {expected}: the file was damaged on the way, try again"
                    )));
                }
                Some(_) | None => {}
            }
            let name = self.wanted.name.clone();
            return Ok(Fetched { name, bytes: part.bytes, sha256 });
        }
    }

    /// Gathers all bytes over as many connections as it takes.
    async fn fill(&self, part: &mut Part) -> Result<Option<Sha256>, Problem> {
        let mut linked = None;
        let mut most = part.bytes;
        let mut failures = 0;
        while self.wanted.bytes != Some(part.bytes) || part.bytes == 0 {
            let error = match self.attempt(part, &mut linked).await {
                Ok(()) => break,
                Err(Problem::Http(error)) if error.may_pass() => error,
                Err(problem) => return Err(problem),
            };
            failures = if part.bytes > most { 1 } else { failures + 1 };
            most = most.max(part.bytes);
            if failures == ATTEMPTS {
                return Err(error.into());
            }
            self.wait(failures, &error).await?;
        }
        part.file.flush().await.map_err(|error| part.disk(&error))?;
        Ok(linked)
    }

    async fn wait(&self, failures: u32, error: &HttpError) -> Result<(), Problem> {
        let asked = match error {
            HttpError::Status { retry_after, .. } => *retry_after,
            HttpError::Connection(_) | HttpError::Protocol(_) => None,
        };
        let wait = asked.unwrap_or(Duration::from_millis(125) * 2_u32.pow(failures));
        let pause = tokio::time::sleep(wait.min(LONGEST_WAIT));
        self.cancel.run_until_cancelled(pause).await.ok_or(Problem::Here(EngineError::Cancelled))
    }

    /// One connection: appends what it brings.
    async fn attempt(&self, part: &mut Part, linked: &mut Option<Sha256>) -> Result<(), Problem> {
        let request = self.http.get(&self.wanted.url, part.bytes);
        let cancelled = || Problem::Here(EngineError::Cancelled);
        let mut answer = self.cancel.run_until_cancelled(request).await.ok_or_else(cancelled)??;
        self.place(&answer, part).await?;
        *linked = answer.sha256.take();
        let expected = self.expected(&answer, part)?;
        loop {
            let chunk = self.cancel.run_until_cancelled(answer.chunk()).await;
            let Some(chunk) = chunk.ok_or_else(cancelled)?? else { break };
            part.append(chunk.as_ref(), expected.unwrap_or(self.wanted.limit)).await?;
            (self.on_bytes)(part.bytes);
        }
        match expected {
            Some(expected) if part.bytes < expected => {
                let text = format!("the connection ended after {} of {expected} bytes", part.bytes);
                Err(HttpError::Connection(text).into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Puts the part where the answer's body begins.
    async fn place(&self, answer: &Answer, part: &mut Part) -> Result<(), Problem> {
        match answer.status {
            StatusCode::PARTIAL_CONTENT if answer.start == Some(part.bytes) => Ok(()),
            // The whole file from its beginning: this server does not resume.
            StatusCode::OK => part.reset().await,
            status => {
                part.reset().await?;
                let text = format!("the server cannot resume (status {})", status.as_u16());
                Err(HttpError::Connection(text).into())
            }
        }
    }

    /// Bytes of the whole file, on which the hub and this server must agree.
    fn expected(&self, answer: &Answer, part: &Part) -> Result<Option<u64>, Problem> {
        let announced = answer.length().map(|length| length.saturating_add(part.bytes));
        let path = &self.wanted.path;
        let expected = match (self.wanted.bytes, announced) {
            (Some(listed), Some(announced)) if listed != announced => {
                return Err(Problem::Content(format!(
                    "{path}: the hub lists {listed} bytes, the server sends {announced}: try again, or name a revision"
                )));
            }
            (listed, announced) => listed.or(announced),
        };
        if expected.is_some_and(|expected| expected > self.wanted.limit) {
            let limit = self.wanted.limit;
            return Err(Problem::Content(format!("{path}: is larger than {limit} bytes")));
        }
        Ok(expected)
    }
}

/// The bytes that have arrived.
struct Part {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Some of them came in an earlier attempt of another time.
    resumed: bool,
}

impl Part {
    async fn open(folder: &Path, wanted: &Wanted) -> Result<Self, EngineError> {
        let path = folder.join(wanted.part());
        let fail = |error: std::io::Error| cache::disk(&path, &error);
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(false);
        let mut file = options.open(&path).await.map_err(fail)?;
        let mut bytes = file.metadata().await.map_err(fail)?.len();
        let too_long = wanted.bytes.is_some_and(|whole| bytes > whole);
        if wanted.sha256.is_none() || too_long {
            file.set_len(0).await.map_err(fail)?;
            bytes = 0;
        }
        file.seek(std::io::SeekFrom::Start(bytes)).await.map_err(fail)?;
        Ok(Self { resumed: bytes > 0, path, file, bytes })
    }

    async fn reset(&mut self) -> Result<(), Problem> {
        self.file.flush().await.map_err(|error| self.disk(&error))?;
        self.file.set_len(0).await.map_err(|error| self.disk(&error))?;
        self.file.rewind().await.map_err(|error| self.disk(&error))?;
        self.bytes = 0;
        self.resumed = false;
        Ok(())
    }

    async fn append(&mut self, chunk: &[u8], limit: u64) -> Result<(), Problem> {
        let bytes = self.bytes.saturating_add(chunk.len() as u64);
        if bytes > limit {
            let text = format!("{}: more than {limit} bytes arrive", self.path.display());
            return Err(Problem::Content(text));
        }
        self.file.write_all(chunk).await.map_err(|error| self.disk(&error))?;
        self.bytes = bytes;
        Ok(())
    }

    fn disk(&self, error: &std::io::Error) -> Problem {
        Problem::Here(cache::disk(&self.path, error))
    }
}

async fn hash(path: &Path) -> std::io::Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || cache::sha256_of(&path))
        .await
        .map_err(std::io::Error::other)?
}
