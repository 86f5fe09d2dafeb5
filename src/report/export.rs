//! Puts reports on the disk: the path is checked up front, the file replaced as a whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::{Format, Report};

/// A file that a report goes to. Making one checks everything that can be checked before a run,
/// so that a run is not lost to a mistyped path; nothing is left on the disk by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    path: PathBuf,
    target: PathBuf,
    format: Format,
}

impl Export {
    /// A report at this path; its extension is the format.
    ///
    /// # Errors
    /// An unknown extension, a missing or read-only folder, a path that is no plain file or may
    /// not be replaced.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot write a report to {}", shown(path));
        let format = Format::of(path).with_context(what)?;
        let target = target(path).with_context(what)?;
        temporary(&target).with_context(what)?;
        Ok(Self { path: path.to_owned(), target, format })
    }

    /// All reports of a run.
    ///
    /// # Errors
    /// As [`Export::open`], and two paths that are the same file.
    pub fn open_all<P: AsRef<Path>>(paths: &[P]) -> anyhow::Result<Vec<Self>> {
        let mut exports: Vec<Self> = Vec::new();
        for path in paths {
            let export = Self::open(path.as_ref())?;
            let twice = exports.iter().any(|other| other.target == export.target);
            ensure!(!twice, "two reports go to {}: name two files", shown(&export.path));
            exports.push(export);
        }
        Ok(exports)
    }

    /// Where it goes, as the user wrote it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the report. It may be written again and again, as a run goes on; whatever happens,
    /// the file holds either the previous report or this one, whole.
    ///
    /// # Errors
    /// A full disk, or a folder that has gone; the previous file is then untouched.
    pub fn write(&self, report: &Report) -> anyhow::Result<()> {
        let bytes = self.format.render(report)?;
        replace(&self.target, &bytes).with_context(|| failure(&self.path))
    }
}

/// Replaces a file as a whole: the new content is written beside it, forced to the disk, and
/// renamed into its place.
///
/// # Errors
/// A missing or read-only folder, a full disk; the previous file is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    target(path).and_then(|target| replace(&target, bytes)).with_context(|| failure(path))
}

fn failure(path: &Path) -> String {
    format!(
        "cannot write {}: what was there before is untouched; free some space or name a file \
         elsewhere",
        shown(path)
    )
}

fn shown(path: &Path) -> String {
    crate::text::visible(&path.display().to_string())
}

/// The file to replace: links are followed, so that a link stays one.
fn target(path: &Path) -> anyhow::Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(existing) => {
            let found = fs::metadata(&existing)?;
            ensure!(found.is_file(), "it exists and is not a plain file");
            ensure!(!found.permissions().readonly(), "the file is read-only");
            Ok(existing)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            ensure!(fs::symlink_metadata(path).is_err(), "it is a link to nowhere");
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let Some(name) = path.file_name() else { bail!("it names no file") };
            let folder = fs::canonicalize(folder)
                .with_context(|| format!("there is no folder {}: make it first", shown(folder)))?;
            ensure!(folder.is_dir(), "{} is not a folder", shown(&folder));
            Ok(folder.join(name))
        }
        Err(error) => Err(error.into()),
    }
}

/// An empty file beside the target, which is gone when it is dropped.
fn temporary(target: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
    let folder = target.parent().context("it names no file")?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".batchgen-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // a new file gets what the user's umask leaves, not the 0600 of temporary files
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder).with_context(|| format!("nothing can be made in {}", shown(folder)))
}

fn replace(target: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = temporary(target)?;
    fill(file.as_file_mut(), bytes)?;
    if let Ok(previous) = fs::metadata(target) {
        file.as_file().set_permissions(previous.permissions())?;
    }
    file.persist(target)?;
    sync_folder(target);
    Ok(())
}

fn fill(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// Forces the rename to the disk, where the system can; the file itself is whole in any case.
fn sync_folder(target: &Path) {
    #[cfg(unix)]
    if let Some(folder) = target.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = target;
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_an_error_when_bytes_are_written() {
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = super::fill(&mut full, b"report").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }
}
