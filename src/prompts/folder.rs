//! A folder of text files: a prompt a file, in the order of their names.
//!
//! Folders in it and hidden files are left out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::bounded::{self, unreadable};
use super::list::ListBuilder;
use super::record::Record;
use super::{Limits, PromptError};

pub(super) fn read(folder: &Path, list: &mut ListBuilder<'_>) -> Result<(), PromptError> {
    list.refuse_column()?;
    let files = files(folder).map_err(|error| unreadable(list.name(), &error))?;
    let mut left = list.limits().list_bytes;
    for path in files {
        let shown = path.display().to_string();
        let file = File::open(&path).map_err(|error| unreadable(&shown, &error))?;
        let content = bounded::read(&shown, file, &Limits { list_bytes: left, ..*list.limits() })?;
        left -= content.len();
        let text = bounded::text(&shown, &content)?.replace("\r\n", "\n");
        let id = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let record = Record { id, ..Record::text(text.trim_end_matches('\n')) };
        list.push(1, record).map_err(|error| PromptError { list: shown, line: None, ..error })?;
    }
    Ok(())
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        // through symbolic links; pipes and devices are left out, reading them might never end
        if !hidden && fs::metadata(entry.path()).is_ok_and(|data| data.is_file()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
