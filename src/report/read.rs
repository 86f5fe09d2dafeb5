//! Reads a report back. The file is not trusted: its size is limited and its texts never reach
//! an error message raw.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::{Report, SCHEMA};
use crate::text::visible;

/// The largest report that is read: 512 MiB, some 500,000 rows of ordinary length.
pub const MOST_REPORT_BYTES: u64 = 1 << 29;

/// Reads a report of this version from a JSON file.
///
/// # Errors
/// A file that cannot be read, is too large, is damaged, or is not a report of this version.
pub fn read(path: &Path) -> anyhow::Result<Report> {
    let shown = visible(&path.display().to_string());
    let bytes = bytes(path).with_context(|| format!("cannot read the report {shown}"))?;
    parse(&bytes).with_context(|| format!("{shown} cannot be used"))
}

fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path)?;
    let found = file.metadata()?;
    ensure!(found.is_file(), "it is not a plain file");
    let limit = MOST_REPORT_BYTES;
    ensure!(found.len() <= limit, "it has {} bytes, more than the limit of {limit}", found.len());
    let mut bytes = Vec::with_capacity(found.len() as usize);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= limit, "it has more bytes than the limit of {limit}");
    Ok(bytes)
}

/// What every version of a report has.
#[derive(Deserialize)]
struct Head {
    schema: Option<serde_json::Value>,
}

fn parse(bytes: &[u8]) -> anyhow::Result<Report> {
    let head: Head = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
    match head.schema.as_ref().and_then(|schema| schema.as_str()) {
        Some(SCHEMA) => {}
        Some(other) if other.starts_with("batchgen-report/") => bail!(
            "it is a report of schema \"{}\" and this version reads \"{SCHEMA}\"; use the \
             version that wrote it",
            visible(other)
        ),
        Some(_) | None => bail!(
            "it is no report: its \"schema\" is not \"{SCHEMA}\"; name a .json file that \
             --report wrote"
        ),
    }
    serde_json::from_slice(bytes).map_err(|error| damaged(&error))
}

fn damaged(error: &serde_json::Error) -> anyhow::Error {
    let what = crate::text::shortened(&visible(&error.to_string()), 300);
    anyhow::anyhow!("the report is damaged: {what}; run it again, or take another copy")
}
