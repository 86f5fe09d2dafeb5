//! A fetched model's folder: its manifest, the lock over it, and how files land in it.
//!
//! A folder counts as fetched only when its manifest is there, which is written last, and every
//! file has the size the manifest says.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::Digest;
use tokio_util::sync::CancellationToken;

use super::local;
use super::name::is_plain_file;
use super::progress::{OnProgress, Progress};
use crate::engine::{EngineError, ModelSource, Weights};

/// File name of the manifest.
pub(super) const MANIFEST: &str = "batchgen-model.json";

const LARGEST_MANIFEST: u64 = 1 << 20;

/// What was fetched, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// What to call it: `owner/name@revision:choice`, or the wheel.
    pub name: String,
    /// The commit of the hub repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The files beside the manifest.
    pub files: Vec<Fetched>,
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fetched {
    /// File name.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// Hash of what is on the disk.
    pub sha256: String,
}

impl Manifest {
    /// The manifest of a folder that is complete.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let json = local::read_limited(&folder.join(MANIFEST), LARGEST_MANIFEST).ok()?;
        let manifest: Self = serde_json::from_slice(&json).ok()?;
        let whole = manifest.files.iter().all(|file| {
            is_plain_file(&file.name)
                && std::fs::metadata(folder.join(&file.name))
                    .is_ok_and(|meta| meta.is_file() && meta.len() == file.bytes)
        });
        (whole && !manifest.files.is_empty()).then_some(manifest)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Makes the folder count as fetched.
    pub(super) fn write(&self, folder: &Path) -> Result<(), EngineError> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| EngineError::Internal(format!("manifest: {error}")))?;
        land_bytes(folder, MANIFEST, &json)
    }

    /// The files that no longer have the hash they were fetched with.
    pub(super) fn damaged(&self, folder: &Path) -> Vec<&Fetched> {
        let sound = |file: &Fetched| {
            sha256_of(&folder.join(&file.name)).is_ok_and(|sha256| sha256 == file.sha256)
        };
        self.files.iter().filter(|file| !sound(file)).collect()
    }
}

/// The model of a folder that is complete; `Ok(None)` where it is not.
pub(super) fn open(name: &str, folder: &Path) -> Result<Option<ModelSource>, EngineError> {
    let Some(manifest) = Manifest::of(folder) else {
        return Ok(None);
    };
    let mut model = local::open(name, folder)?;
    let weights = match &model.weights {
        Weights::Gguf(path) => Some(path),
        Weights::Safetensors { shards, .. } => shards.first().filter(|_| shards.len() == 1),
    };
    let file = weights.and_then(|path| path.file_name()).map(|file| file.to_string_lossy());
    model.sha256 = file.and_then(|file| {
        let fetched = manifest.files.iter().find(|fetched| fetched.name == file)?;
        Some(fetched.sha256.clone())
    });
    Ok(Some(model))
}

/// Keeps other processes from fetching into a folder, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock of `folder`, which is created.
    pub(super) async fn take(
        folder: &Path,
        progress: OnProgress<'_>,
        cancel: &CancellationToken,
    ) -> Result<Self, EngineError> {
        let fail = |error: std::io::Error| {
            let folder = folder.display();
            EngineError::model(format!(
                "{folder}: cannot be written ({error}): make the folder writable, or set BATCHGEN_HOME to another"
            ))
        };
        std::fs::create_dir_all(folder).map_err(fail)?;
        let file = File::create(folder.join(".lock")).map_err(fail)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                // A file system without locks: the rename at the end still keeps files whole.
                Err(TryLockError::Error(_)) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => {}
            }
            if !std::mem::replace(&mut told, true) {
                progress(Progress::Waiting { folder: folder.to_owned() });
            }
            let pause = tokio::time::sleep(Duration::from_millis(100));
            cancel.run_until_cancelled(pause).await.ok_or(EngineError::Cancelled)?;
        }
    }
}

/// Gives a written temporary file its name, so that it is there whole or not at all.
pub(super) fn land(part: &Path, folder: &Path, name: &str) -> Result<(), EngineError> {
    let target = folder.join(name);
    let renamed = File::open(part)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(part, &target));
    renamed.map_err(|error| disk(&target, &error))?;
    // The rename itself must reach the disk; where folders cannot be synced it still happened.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Writes a small file whole or not at all.
pub(super) fn land_bytes(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
    let fail = |error: std::io::Error| disk(&folder.join(name), &error);
    let mut part = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    part.write_all(bytes).and_then(|()| part.as_file().sync_all()).map_err(fail)?;
    part.persist(folder.join(name)).map_err(|error| fail(error.error))?;
    Ok(())
}

/// A failure to write a file of the store.
pub(super) fn disk(path: &Path, error: &std::io::Error) -> EngineError {
    EngineError::model(format!("{}: cannot be written: {error}", path.display()))
}

/// Hash of a file in lower-case hexadecimal.
pub(super) fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}
