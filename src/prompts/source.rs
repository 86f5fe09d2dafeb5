//! Where prompts come from, and how each source is read.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use super::bounded::{self, unreadable};
use super::built_in::BUILT_IN;
use super::list::ListBuilder;
use super::{LoadOptions, PromptError, PromptList, folder, json, lines, nearest, table};

/// Where prompts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptSource {
    /// A list that comes with the program.
    BuiltIn(&'static super::BuiltIn),
    /// A file or a folder.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl PromptSource {
    /// What the user wrote: `-`, the name of a built-in list, or a path, relative to `base`.
    /// A file that is called like a built-in list is reached as `./name`.
    pub fn parse(written: &str, base: Option<&Path>) -> Self {
        if written == "-" {
            return Self::Stdin;
        }
        if let Some(list) = BUILT_IN.iter().find(|list| list.name == written) {
            return Self::BuiltIn(list);
        }
        Self::Path(base.map_or_else(|| written.into(), |base| base.join(written)))
    }

    /// The name of the list: a file name or a built-in list's name.
    pub fn name(&self) -> String {
        match self {
            PromptSource::BuiltIn(list) => list.name.to_owned(),
            PromptSource::Path(path) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                name.to_string_lossy().into_owned()
            }
            PromptSource::Stdin => "stdin".to_owned(),
        }
    }
}

impl fmt::Display for PromptSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PromptSource::BuiltIn(list) => f.write_str(list.name),
            PromptSource::Path(path) => write!(f, "{}", path.display()),
            PromptSource::Stdin => f.write_str("stdin"),
        }
    }
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A prompt a line, or blocks between lines of `---`.
    Text,
    /// A JSON record a line.
    JsonLines,
    /// One JSON document.
    Json,
    /// Comma separated values.
    Csv,
    /// Tab separated values.
    Tsv,
}

impl Format {
    /// The format that the file's extension says; without one it is plain text.
    ///
    /// # Errors
    /// An extension that means nothing here.
    pub fn of(path: &Path) -> Result<Self, String> {
        let Some(extension) = path.extension() else { return Ok(Format::Text) };
        match extension.to_string_lossy().to_ascii_lowercase().as_str() {
            "txt" => Ok(Format::Text),
            "jsonl" | "ndjson" => Ok(Format::JsonLines),
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            "tsv" => Ok(Format::Tsv),
            other => Err(format!(
                "files of prompts end in .txt, .jsonl, .json, .csv or .tsv, not in .{other}: \
                 rename it to what it holds"
            )),
        }
    }

    /// What standard input holds: JSON Lines where its first line begins like a JSON object or
    /// is a JSON string, else plain text.
    fn of_stdin(text: &str) -> Self {
        let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let object = first.starts_with("{\"") || first == "{}";
        if object || serde_json::from_str::<String>(first).is_ok() {
            Format::JsonLines
        } else {
            Format::Text
        }
    }
}

/// Loads a prompt list.
///
/// # Errors
/// What is wrong, with the file and the line.
pub fn load(source: &PromptSource, options: &LoadOptions) -> Result<PromptList, PromptError> {
    match source {
        PromptSource::BuiltIn(list) => {
            load_bytes(list.name, list.format, list.content.as_bytes(), options)
        }
        PromptSource::Path(path) => load_path(path, options),
        PromptSource::Stdin => load_stdin(options),
    }
}

/// Loads a prompt list from its bytes.
///
/// # Errors
/// What is wrong, with `name` and the line.
pub fn load_bytes(
    name: &str,
    format: Format,
    content: &[u8],
    options: &LoadOptions,
) -> Result<PromptList, PromptError> {
    let mut list = ListBuilder::new(name, name, options);
    read(bounded::text(name, content)?, format, &mut list)?;
    Ok(list.finish())
}

fn read(text: &str, format: Format, list: &mut ListBuilder<'_>) -> Result<(), PromptError> {
    match format {
        Format::Text => lines::read(text, list),
        Format::JsonLines => json::read_lines(text, list),
        Format::Json => json::read_document(text, list),
        Format::Csv => table::read(text, b',', list),
        Format::Tsv => table::read(text, b'\t', list),
    }
}

fn load_path(path: &Path, options: &LoadOptions) -> Result<PromptList, PromptError> {
    let shown = path.display().to_string();
    let name = PromptSource::Path(path.to_owned()).name();
    let mut list = ListBuilder::new(&name, &shown, options);
    if path.is_dir() {
        folder::read(path, &mut list)?;
        return Ok(list.finish());
    }
    let file = File::open(path).map_err(|error| missing(path, &error))?;
    let format = Format::of(path).map_err(|reason| PromptError::new(&shown, reason))?;
    let content = bounded::read(&shown, file, &options.limits)?;
    read(bounded::text(&shown, &content)?, format, &mut list)?;
    Ok(list.finish())
}

/// A path that cannot be opened; it may be a built-in list's name, misspelt.
fn missing(path: &Path, error: &io::Error) -> PromptError {
    let shown = path.display().to_string();
    let mut problem = unreadable(&shown, error);
    if error.kind() == io::ErrorKind::NotFound && path.extension().is_none() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let names: Vec<_> = BUILT_IN.iter().map(|list| list.name).collect();
        let hint = match nearest(&name, names.iter().copied()) {
            Some(name) => format!("; did you mean the built-in list \"{name}\"?"),
            None => format!("; the built-in lists are {}", names.join(", ")),
        };
        problem.reason.push_str(&hint);
    }
    problem
}

fn load_stdin(options: &LoadOptions) -> Result<PromptList, PromptError> {
    let name = "stdin";
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let reason = "standard input is a terminal: pipe prompts into it, as in \
                      `batchgen-tui run --prompts - < prompts.txt`";
        return Err(PromptError::new(name, reason));
    }
    let content = bounded::read(name, stdin.lock(), &options.limits)?;
    let text = bounded::text(name, &content)?;
    load_bytes(name, Format::of_stdin(text), text.as_bytes(), options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_json_only_where_its_first_line_is() {
        let cases = [
            ("{\"prompt\": \"a\"}\n", Format::JsonLines),
            ("\n\n\"a string\"\n", Format::JsonLines),
            ("{\"broken\n", Format::JsonLines),
            ("\"Hello\" in French is\n", Format::Text),
            ("{name} is a placeholder\n", Format::Text),
            ("[1, 2]\n", Format::Text),
            ("", Format::Text),
        ];
        for (text, expected) in cases {
            assert_eq!(Format::of_stdin(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_name_is_a_built_in_list_and_a_path_is_a_path() {
        let source = |text| PromptSource::parse(text, Some(Path::new("/base")));
        assert!(
            matches!(source("quickstart"), PromptSource::BuiltIn(list) if list.name == "quickstart")
        );
        assert_eq!(source("./quickstart"), PromptSource::Path("/base/./quickstart".into()));
        assert_eq!(source("a.txt"), PromptSource::Path("/base/a.txt".into()));
        assert_eq!(source("/a.txt"), PromptSource::Path("/a.txt".into()));
        assert_eq!(source("-"), PromptSource::Stdin);
    }
}
