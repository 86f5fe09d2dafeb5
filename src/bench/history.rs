//! Past runs on the disk: which there are, what each was, and deleting one.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::journal::{self, Recorded};

/// The folders of all runs, the newest first. Their names are times.
///
/// # Errors
/// A folder that is there and cannot be read.
pub fn folders(runs: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(format!("cannot read {}", runs.display())),
    };
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort_by(|a, b| b.cmp(a));
    Ok(folders)
}

/// Reads a run.
///
/// # Errors
/// A journal that is missing or damaged: file, line, reason.
pub fn read(folder: &Path) -> anyhow::Result<Recorded> {
    Recorded::read(folder)
}

/// Deletes the folder of a run with all that is in it.
///
/// # Errors
/// When it is not a run's own folder under `runs`, or is under way, or cannot be deleted.
pub fn delete(runs: &Path, folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    let what = || format!("{shown} was not deleted");
    let found = fs::symlink_metadata(folder).with_context(what)?;
    ensure!(found.is_dir(), "{shown} was not deleted: it is no folder");
    let parent = folder.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned()));
    let runs = runs.canonicalize().with_context(what)?;
    ensure!(parent == Some(runs), "{shown} was not deleted: it is not in the folder of all runs");
    if let Ok(file) = File::open(folder.join(journal::FILE))
        && matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    {
        bail!("{shown} was not deleted: the run is under way, stop it first");
    }
    fs::remove_dir_all(folder).with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_run_is_first_and_no_folder_is_no_run() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(folders(&home.path().join("none")).unwrap(), Vec::<PathBuf>::new());
        for name in ["20260101-000000", "20261231-000000", "20260601-000000"] {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        fs::write(home.path().join("note.txt"), "").unwrap();
        let names: Vec<_> = folders(home.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["20261231-000000", "20260601-000000", "20260101-000000"]);
    }

    #[test]
    fn only_a_runs_own_folder_is_deleted() {
        let home = tempfile::tempdir().unwrap();
        let runs = home.path().join("runs");
        let run = runs.join("a");
        fs::create_dir_all(run.join("inner")).unwrap();
        fs::write(home.path().join("file"), "").unwrap();
        for folder in [
            home.path().to_owned(),
            runs.clone(),
            run.join("inner"),
            runs.join("missing"),
            home.path().join("file"),
            run.join(".."),
        ] {
            assert!(delete(&runs, &folder).is_err(), "{}", folder.display());
        }
        delete(&runs, &run).unwrap();
        assert!(!run.exists() && runs.exists());
    }

    #[test]
    fn a_run_that_is_under_way_is_not_deleted() {
        let home = tempfile::tempdir().unwrap();
        let run = home.path().join("a");
        fs::create_dir(&run).unwrap();
        let file = File::create(run.join(journal::FILE)).unwrap();
        file.lock().unwrap();
        let error = delete(home.path(), &run).unwrap_err().to_string();
        assert!(error.contains("under way"), "{error}");
    }
}
