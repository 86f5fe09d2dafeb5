//! The prompt list picker: the built-in lists, and the files of a folder.
//!
//! Folders are read elsewhere; this is what was read and where the selection is.

use std::path::{Path, PathBuf};

use super::input::TextInput;

/// File names that can be prompt lists end in these.
const LIST_EXTENSIONS: [&str; 6] = ["txt", "jsonl", "json", "csv", "tsv", "md"];

/// A line of the picker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A list in the program or in the user's config folder.
    BuiltIn {
        /// Its name.
        name: String,
        /// One line about it.
        description: String,
    },
    /// The folder above.
    Parent,
    /// A folder in the folder that is shown.
    Folder(String),
    /// A file in the folder that is shown.
    File {
        /// Its name.
        name: String,
        /// Bytes.
        size: u64,
    },
}

/// What the picker shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picker {
    /// A path typed by hand; it wins over the selection.
    pub typed: TextInput,
    /// The folder that is shown.
    pub folder: PathBuf,
    /// All lines.
    pub entries: Vec<Entry>,
    /// Index into the entries.
    pub selected: usize,
    /// Why the folder cannot be shown.
    pub error: Option<String>,
    built_in: usize,
}

impl Picker {
    /// The built-in lists; the folder's files follow with [`Picker::show`].
    pub fn new(built_in: &[(String, String)], folder: PathBuf) -> Self {
        let entries: Vec<Entry> = built_in
            .iter()
            .map(|(name, description)| Entry::BuiltIn {
                name: name.clone(),
                description: description.clone(),
            })
            .collect();
        Self {
            typed: TextInput::default(),
            folder,
            built_in: entries.len(),
            entries,
            selected: 0,
            error: None,
        }
    }

    /// Shows what a folder holds, or why it cannot be read.
    pub fn show(&mut self, folder: PathBuf, content: Result<Vec<Entry>, String>) {
        self.entries.truncate(self.built_in);
        let moved = folder != self.folder;
        self.folder = folder;
        if self.folder.parent().is_some() {
            self.entries.push(Entry::Parent);
        }
        match content {
            Ok(entries) => {
                self.error = None;
                self.entries.extend(entries);
            }
            Err(error) => self.error = Some(error),
        }
        if moved {
            self.selected = self.built_in;
        }
        self.selected = self.selected.min(self.entries.len().saturating_sub(1));
    }

    /// Moves the selection.
    pub fn step(&mut self, by: isize) {
        let last = self.entries.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
    }

    /// The selected line.
    pub fn entry(&self) -> Option<&Entry> {
        self.entries.get(self.selected)
    }
}

/// Folders and possible prompt lists in a folder, folders first, each in name order; hidden
/// ones are left out.
///
/// # Errors
/// Why the folder cannot be read.
pub fn read_folder(folder: &Path) -> Result<Vec<Entry>, String> {
    let entries = folder
        .read_dir()
        .map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let mut folders = Vec::new();
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // follows links, so a link to a folder is a folder
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if name.starts_with('.') {
            continue;
        }
        if metadata.is_dir() {
            folders.push(name);
        } else if metadata.is_file() && is_list(&name) {
            files.push((name, metadata.len()));
        }
    }
    folders.sort();
    files.sort();
    let files = files.into_iter().map(|(name, size)| Entry::File { name, size });
    Ok(folders.into_iter().map(Entry::Folder).chain(files).collect())
}

fn is_list(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        LIST_EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_shows_folders_first_and_only_possible_lists() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("zoo")).unwrap();
        for name in ["b.txt", "a.JSONL", ".hidden.txt", "picture.png"] {
            std::fs::write(folder.path().join(name), "12").unwrap();
        }
        let entries = read_folder(folder.path()).unwrap();
        let file = |name: &str| Entry::File { name: name.into(), size: 2 };
        assert_eq!(entries, [Entry::Folder("zoo".into()), file("a.JSONL"), file("b.txt")]);
    }

    #[test]
    fn a_folder_that_cannot_be_read_says_why_and_leaves_a_way_up() {
        let gone = PathBuf::from("/no/such/folder");
        let error = read_folder(&gone).unwrap_err();
        assert!(error.starts_with("/no/such/folder cannot be read: "), "{error}");
        let mut picker = Picker::new(&[("quickstart".into(), "varied".into())], PathBuf::from("/"));
        picker.show(gone, Err(error));
        assert_eq!(picker.entry(), Some(&Entry::Parent));
        picker.step(100);
        picker.step(-100);
        assert_eq!(picker.selected, 0);
    }
}
