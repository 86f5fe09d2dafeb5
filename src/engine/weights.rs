//! The tensors of a model's files: where they are, what shapes they must have, and how their
//! rows become f32.
//!
//! Files are mapped, so opening costs nothing and nothing is allocated before everything is
//! checked. This module does not arrange weights for computing; runners do.

mod inventory;
mod names;
mod widen;

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use super::EngineError;
use super::gguf::GgufFile;

pub use inventory::{Inventory, LayerTensors};
pub use names::Naming;
pub use widen::RowOrder;

/// A tensor in one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Its name in the file.
    pub name: String,
    /// How its elements are stored.
    pub dtype: GgmlDType,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    file: usize,
    range: Range<usize>,
}

impl StoredTensor {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|n| *n as u64).product()
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.range.len() as u64
    }

    /// Bytes in memory where quantised blocks stay as they are and everything else is f32.
    pub fn block_bytes(&self) -> u64 {
        match self.dtype {
            GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => self.elements() * 4,
            _ => self.bytes(),
        }
    }

    /// Where its bytes begin in its file.
    pub fn offset(&self) -> u64 {
        self.range.start as u64
    }

    /// Rows of a matrix, or 1.
    pub fn rows(&self) -> usize {
        if self.shape.len() > 1 { self.shape[0] } else { 1 }
    }

    /// Length of a row.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }
}

/// The open files of a model.
#[derive(Debug)]
pub struct TensorFiles {
    /// The file to name in messages.
    pub source: PathBuf,
    /// How the tensors are called.
    pub naming: Naming,
    maps: Vec<Mmap>,
    tensors: HashMap<String, StoredTensor>,
}

impl TensorFiles {
    /// The tensors of a GGUF file.
    pub fn from_gguf(file: GgufFile) -> Self {
        let (source, map, infos) = file.into_parts();
        let tensors = infos.into_iter().map(|(name, info)| {
            let (dtype, shape, range) = (info.dtype, info.shape, info.bytes);
            (name.clone(), StoredTensor { name, dtype, shape, file: 0, range })
        });
        Self { source, naming: Naming::Gguf, maps: vec![map], tensors: tensors.collect() }
    }

    /// Opens safetensors shards; `source` is the config.json they belong to.
    ///
    /// # Errors
    /// A shard cannot be read, is damaged, or holds elements of a type that is not supported.
    pub fn open_safetensors(source: &Path, shards: &[PathBuf]) -> Result<Self, EngineError> {
        let naming = Naming::HuggingFace;
        let mut files =
            Self { source: source.into(), naming, maps: Vec::new(), tensors: HashMap::new() };
        if shards.is_empty() {
            let message = format!("there are no safetensors files beside {}", source.display());
            return Err(EngineError::model(message));
        }
        for shard in shards {
            files.add_shard(shard)?;
        }
        Ok(files)
    }

    #[allow(unsafe_code)]
    fn add_shard(&mut self, path: &Path) -> Result<(), EngineError> {
        let failed = |error: &dyn std::fmt::Display| {
            let path = path.display();
            EngineError::model(format!(
                "{path} is not a usable safetensors file: {error}; download it again"
            ))
        };
        let file = File::open(path).map_err(|error| failed(&error))?;
        // SAFETY: the map is read-only and private to this value. A file that another program
        // shortens meanwhile ends this process, as with every program that maps its model.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| failed(&error))?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| failed(&error))?;
        let data = header + size_of::<u64>();
        for (name, info) in metadata.tensors() {
            let dtype = dense_type(info.dtype, &name, path)?;
            let range = data + info.data_offsets.0..data + info.data_offsets.1;
            let (shape, file) = (info.shape.clone(), self.maps.len());
            let tensor = StoredTensor { name: name.clone(), dtype, shape, file, range };
            if self.tensors.insert(name.clone(), tensor).is_some() {
                return Err(failed(&format!("the tensor {} occurs twice", name.escape_debug())));
            }
        }
        self.maps.push(map);
        Ok(())
    }

    /// A tensor by its name.
    pub fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    /// All tensors, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &StoredTensor> {
        self.tensors.values()
    }

    /// The contents of the first file; GGUF has no other.
    pub fn first_file(&self) -> &[u8] {
        self.maps.first().map_or(&[], |map| &map[..])
    }

    /// Gives back the memory that the files' pages take; what is read again comes from the files
    /// again.
    pub fn release(&self) {
        #[cfg(unix)]
        for map in &self.maps {
            #[allow(unsafe_code)]
            // SAFETY: the map is read-only, so its pages hold nothing but the file's bytes.
            let advised = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            // only advice: where it fails, the system takes the pages back when it needs them
            let _ = advised;
        }
    }

    /// The bytes of a tensor of these files.
    pub fn bytes(&self, tensor: &StoredTensor) -> &[u8] {
        &self.maps[tensor.file][tensor.range.clone()]
    }
}

fn dense_type(dtype: Dtype, name: &str, path: &Path) -> Result<GgmlDType, EngineError> {
    match dtype {
        Dtype::F32 => Ok(GgmlDType::F32),
        Dtype::F16 => Ok(GgmlDType::F16),
        Dtype::BF16 => Ok(GgmlDType::BF16),
        other => Err(EngineError::Unsupported {
            reason: format!(
                "{}: the tensor {} has the type {other:?}, which is not supported",
                path.display(),
                name.escape_debug()
            ),
            instead: "use safetensors in F32, F16 or BF16, or a GGUF file".into(),
        }),
    }
}
