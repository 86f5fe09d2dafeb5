//! GGUF files: opening, metadata and tensor infos, with the data mapped into memory.
//!
//! The header is untrusted: it is read within limits, and every tensor is checked to lie in
//! the file before anybody looks at it. This module does not interpret what the keys mean.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod header;

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use memmap2::Mmap;

use super::EngineError;

/// Keys and values of a GGUF header.
pub type Metadata = HashMap<String, Value>;

/// A tensor of a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// How its elements are stored.
    pub dtype: GgmlDType,
    /// Outermost dimension first: a matrix is `[rows, columns]`.
    pub shape: Vec<usize>,
    /// Where its bytes are in the file.
    pub bytes: Range<usize>,
}

/// An open GGUF file whose header is sound.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    tensors: HashMap<String, TensorInfo>,
}

impl GgufFile {
    /// Opens and maps a file and checks its header.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or holds a tensor of a type that cannot be read.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let failed = |error: std::io::Error| {
            EngineError::model(format!("cannot open the model file {}: {error}", path.display()))
        };
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the map is read-only and private to this value. A file that another program
        // shortens meanwhile ends this process, as with every program that maps its model.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let header = header::read(&map).map_err(|problem| problem.explain(path))?;
        let header::Header { metadata, tensors } = header;
        Ok(Self { path: path.to_path_buf(), map, metadata, tensors })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keys and values of the header.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Gives the keys and values away; they are then empty here.
    pub fn take_metadata(&mut self) -> Metadata {
        std::mem::take(&mut self.metadata)
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &HashMap<String, TensorInfo> {
        &self.tensors
    }

    /// The path, the mapped file and its tensors.
    pub(super) fn into_parts(self) -> (PathBuf, Mmap, HashMap<String, TensorInfo>) {
        (self.path, self.map, self.tensors)
    }
}
