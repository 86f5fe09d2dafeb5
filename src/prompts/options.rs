//! How a list is to be read.

use super::Template;

/// What the user may say about reading a list.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The column of a table, or the field of JSON records, that holds the prompt.
    pub column: Option<String>,
    /// Makes each prompt from the fields of its record.
    pub template: Option<Template>,
    /// Bounds of what is read.
    pub limits: Limits,
}

/// Bounds of a prompt list. What is larger is refused, and the error says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file or of all files of a folder, and of all prompts together: 1 GiB.
    pub list_bytes: usize,
    /// Bytes of one JSON record with all of its fields: 16 MiB.
    pub record_bytes: usize,
    /// Bytes of one prompt: 4 MiB.
    pub prompt_bytes: usize,
    /// Prompts of a list: 10 million.
    pub prompts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            list_bytes: 1 << 30,
            record_bytes: 16 << 20,
            prompt_bytes: 4 << 20,
            prompts: 10_000_000,
        }
    }
}

/// A number of bytes for people: `4 MiB`, `17 bytes`.
pub(super) fn bytes(count: usize) -> String {
    match count {
        count if count > 0 && count.is_multiple_of(1 << 30) => format!("{} GiB", count >> 30),
        count if count > 0 && count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        count => format!("{count} bytes"),
    }
}
