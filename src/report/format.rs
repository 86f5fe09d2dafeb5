//! The formats of a report.

use std::path::Path;

use super::{Report, csv, html, markdown};

/// A format of a report; the extension of the file chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Everything; the source of the others.
    Json,
    /// A row of the file for every row of every lane.
    Csv,
    /// A summary that fits a pull-request comment.
    Markdown,
    /// One page for a browser, with charts and outputs side by side.
    Html,
}

impl Format {
    /// The format that belongs to a path's extension, in any case.
    ///
    /// # Errors
    /// An extension that is no format of a report, with those that are.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let extension = path.extension().map(|extension| extension.to_string_lossy());
        match extension.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("json") => Ok(Format::Json),
            Some("csv") => Ok(Format::Csv),
            Some("md" | "markdown") => Ok(Format::Markdown),
            Some("html" | "htm") => Ok(Format::Html),
            Some(other) => anyhow::bail!("no report can be written as .{other}; {KNOWN}"),
            None => anyhow::bail!("the file name has no extension; {KNOWN}"),
        }
    }

    /// The report in this format.
    ///
    /// # Errors
    /// None that a report of this program can cause.
    pub fn render(self, report: &Report) -> anyhow::Result<Vec<u8>> {
        match self {
            Format::Json => json(report),
            Format::Csv => csv::render(report),
            Format::Markdown => Ok(markdown::render(report).into_bytes()),
            Format::Html => Ok(html::render(report).into_bytes()),
        }
    }
}

const KNOWN: &str = "the extension is the format, one of .json .csv .md .html";

fn json(report: &Report) -> anyhow::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(report)?;
    bytes.push(b'\n');
    Ok(bytes)
}
