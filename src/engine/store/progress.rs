//! What the store says while it works; how that looks is up to the caller.

use std::path::PathBuf;

/// Receives what the store says; it is called often and must return at once.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// One thing the store says while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A source is tried now.
    Trying {
        /// For people: which source, and how.
        source: String,
    },
    /// Another process fetches into the same folder.
    Waiting {
        /// The folder.
        folder: PathBuf,
    },
    /// Bytes arrived. `done` and `total` are those of the whole model.
    Downloading {
        /// The file that is being fetched.
        file: String,
        /// Bytes so far, those of an earlier attempt included.
        done: u64,
        /// All bytes, where they are known.
        total: Option<u64>,
    },
    /// A file is unpacked or its hash is checked.
    Verifying {
        /// The file.
        file: String,
    },
    /// A source failed; the next one is tried, if there is one.
    Failed {
        /// The source.
        source: String,
        /// Why.
        reason: String,
    },
}
