//! Names that reach the file system, the hub or a command line, checked once when they are read.

use std::fmt;

use serde::Deserialize;

/// A repository on the hub: `owner/name`, `owner/name@revision`, `owner/name:choice`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct HubName {
    /// `owner/name`.
    pub repository: String,
    /// A branch, tag or commit; `main` where none is named.
    pub revision: Option<String>,
    /// A GGUF file of the repository, or a word of its name such as `Q4_K_M`.
    pub choice: Option<String>,
}

impl HubName {
    /// The revision asked for.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// Reads a name as the user writes it; the hub's own web addresses are understood too.
    ///
    /// # Errors
    /// Says which part cannot be a hub name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = ["https://huggingface.co/", "huggingface.co/", "hf.co/"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        let (rest, choice) = split_off(rest, ':');
        let (repository, revision) = split_off(rest, '@');
        let sound = match repository.split_once('/') {
            Some((owner, name)) => is_hub_word(owner) && is_hub_word(name),
            None => false,
        };
        if !sound {
            return Err(format!("{text:?} is not a hub repository such as owner/name"));
        }
        if let Some(revision) = revision.filter(|revision| !is_repository_path(revision)) {
            return Err(format!("{revision:?} cannot be a revision of {repository}"));
        }
        if let Some(choice) = choice.filter(|choice| !is_repository_path(choice)) {
            return Err(format!("{choice:?} cannot be a file of {repository}"));
        }
        Ok(Self {
            repository: repository.to_owned(),
            revision: revision.map(str::to_owned),
            choice: choice.map(str::to_owned),
        })
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(choice) = &self.choice {
            write!(f, ":{choice}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for HubName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

/// A sha256 in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Sha256(String);

impl Sha256 {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let sound = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        sound.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Sha256 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "a sha256 has 64 hexadecimal digits".to_owned())
    }
}

/// A word that is safe as a file name and as an argument of a command: letters, digits, `.`, `_`,
/// `-` and `+`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PlainWord(String);

impl PlainWord {
    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlainWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PlainWord {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
        let starts = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if starts && text.len() <= 128 && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(format!("{text:?} is not a plain name (letters, digits, `.`, `_`, `-`, `+`)"))
        }
    }
}

/// Whether `text` names one file in one folder on every platform: no separators, no `..`, no
/// control characters, no leading dot.
pub(super) fn is_plain_file(text: &str) -> bool {
    let forbidden = |c: char| c.is_control() || "/\\:*?\"<>|%".contains(c);
    !text.is_empty() && text.len() <= 200 && !text.starts_with('.') && !text.contains(forbidden)
}

/// Whether `text` is a relative path inside a repository whose every part is a plain file name.
pub(super) fn is_repository_path(text: &str) -> bool {
    text.len() <= 400 && text.split('/').all(is_plain_file)
}

/// One folder name for a path of a repository: `/` becomes `%2F`, which no part may contain.
pub(super) fn as_folder(path: &str) -> String {
    path.replace('/', "%2F")
}

fn split_off(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    }
}

/// An owner or a repository name on the hub.
fn is_hub_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty()
        && text.len() <= 96
        && !text.starts_with(['.', '-'])
        && !text.contains("..")
        && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_name_takes_a_revision_and_a_choice() {
        let name = HubName::parse("Qwen/Qwen3-0.6B-GGUF@refs/pr/1:Q8_0").unwrap();
        let expected = HubName {
            repository: "Qwen/Qwen3-0.6B-GGUF".to_owned(),
            revision: Some("refs/pr/1".to_owned()),
            choice: Some("Q8_0".to_owned()),
        };
        assert_eq!(name, expected);
        assert_eq!(name.to_string(), "Qwen/Qwen3-0.6B-GGUF@refs/pr/1:Q8_0");
        assert_eq!(HubName::parse("https://huggingface.co/a/b").unwrap().to_string(), "a/b");
    }

    #[test]
    fn names_that_could_leave_the_folder_or_the_url_are_refused() {
        for name in [
            "",
            "a",
            "a/",
            "/a",
            "a/b/c",
            "../b",
            "a/..",
            "a/b@",
            "a/b:",
            "a/b@../x",
            "a/b:../x",
            "a/b:/etc/passwd",
            "a/b:c\\d",
            "a/b@x?y",
            "a b/c",
            "a/b:x\u{1b}[2J",
            ".a/b",
            "-a/b",
            "a/b:x%2fy",
        ] {
            assert!(HubName::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_sha256_is_64_hexadecimal_digits() {
        assert!(Sha256::parse(&"aB".repeat(32)).is_some());
        assert!(Sha256::parse("ab").is_none());
        assert!(Sha256::parse(&"zz".repeat(32)).is_none());
    }
}
