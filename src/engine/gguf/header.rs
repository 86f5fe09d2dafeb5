//! Reading a GGUF header from bytes that nobody vouches for.
//!
//! Every count and length is checked against what is left of the file before anything is
//! allocated for it, so damaged bytes end in an error, never in a panic or a huge allocation.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;

use super::{Metadata, TensorInfo};
use crate::engine::EngineError;

const MAGIC: &[u8] = b"GGUF";
const DEFAULT_ALIGNMENT: usize = 32;
/// Far above real files, which have some fifty keys and some thousand tensors.
const MAX_ENTRIES: u64 = 1 << 16;
/// Elements of all arrays together; real vocabularies stay below two million. A value takes
/// 32 bytes in memory, so this also bounds what a file of one-byte elements can allocate.
const MAX_ELEMENTS: usize = 4 << 20;
const MAX_DEPTH: usize = 4;
const MAX_DIMENSIONS: u32 = 4;

/// A sound header.
#[derive(Debug)]
pub(super) struct Header {
    pub metadata: Metadata,
    pub tensors: HashMap<String, TensorInfo>,
}

/// Why a header was not accepted.
#[derive(Debug)]
pub(super) enum Problem {
    /// The bytes are not what the format says.
    Damaged(String),
    /// The file is sound, but of a kind that cannot be read here.
    Unsupported(String),
}

impl Problem {
    pub fn explain(self, path: &Path) -> EngineError {
        let path = path.display();
        match self {
            Self::Damaged(reason) => EngineError::model(format!(
                "{path} is not a usable GGUF file: {reason}; download it again"
            )),
            Self::Unsupported(reason) => EngineError::Unsupported {
                reason: format!("{path}: {reason}"),
                instead: "use a file in F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or \
                          Q2_K to Q6_K"
                    .into(),
            },
        }
    }
}

fn damaged<T>(reason: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Damaged(reason.into()))
}

/// Reads the header of a file whose whole contents are `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<Header, Problem> {
    let mut cursor = Cursor { bytes, at: 0, elements: 0 };
    read_magic(&mut cursor)?;
    let tensor_count = cursor.count("tensors", 24)?;
    let key_count = cursor.count("keys", 13)?;

    let mut metadata = Metadata::new();
    for _ in 0..key_count {
        let key = cursor.string("a key")?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind, &key, 0)?;
        if metadata.insert(key.clone(), value).is_some() {
            return damaged(format!("the key {} occurs twice", quoted(&key)));
        }
    }
    let mut declared = Vec::new();
    for _ in 0..tensor_count {
        declared.push(Declared::read(&mut cursor)?);
    }
    let alignment = alignment(&metadata)?;
    let data_start = cursor.at.next_multiple_of(alignment);
    let tensors = place(declared, data_start, alignment, bytes.len())?;
    Ok(Header { metadata, tensors })
}

fn read_magic(cursor: &mut Cursor<'_>) -> Result<(), Problem> {
    if cursor.take(4)? != MAGIC {
        return damaged("it does not begin with the letters GGUF");
    }
    match cursor.u32()? {
        2 | 3 => Ok(()),
        1 => Err(Problem::Unsupported("GGUF version 1 is not supported".into())),
        version if version.swap_bytes() < 100 => {
            Err(Problem::Unsupported("big-endian GGUF is not supported".into()))
        }
        version => damaged(format!("its version is {version}")),
    }
}

fn alignment(metadata: &Metadata) -> Result<usize, Problem> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match value.to_u64() {
        Ok(n) if n.is_power_of_two() && (8..=1 << 20).contains(&n) => {
            usize::try_from(n).or_else(|_| damaged("its alignment is too large"))
        }
        _ => damaged("general.alignment is not a power of two between 8 and 1048576"),
    }
}

/// A tensor as the header declares it, before it is checked against the file.
struct Declared {
    name: String,
    dtype: GgmlDType,
    shape: Vec<usize>,
    size: usize,
    offset: u64,
}

impl Declared {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Problem> {
        let name = cursor.string("a tensor's name")?;
        let rank = cursor.u32()?;
        if rank == 0 || rank > MAX_DIMENSIONS {
            return damaged(format!("the tensor {} has {rank} dimensions", quoted(&name)));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            let dimension = cursor.u64()?;
            match usize::try_from(dimension) {
                Ok(n) if n > 0 => shape.push(n),
                _ => return damaged(format!("{} has a dimension of {dimension}", quoted(&name))),
            }
        }
        shape.reverse();
        let dtype = tensor_type(cursor.u32()?, &name)?;
        let offset = cursor.u64()?;
        let Some(size) = byte_size(dtype, &shape) else {
            return damaged(format!(
                "the tensor {} cannot have the shape {shape:?} in {dtype:?}",
                quoted(&name)
            ));
        };
        Ok(Self { name, dtype, shape, size, offset })
    }
}

/// Bytes of a tensor, or `None` where its shape overflows or does not fill whole blocks.
fn byte_size(dtype: GgmlDType, shape: &[usize]) -> Option<usize> {
    let block = dtype.block_size();
    let columns = shape.last()?;
    if columns % block != 0 {
        return None;
    }
    let elements = shape.iter().try_fold(1usize, |product, n| product.checked_mul(*n))?;
    (elements / block).checked_mul(dtype.type_size())
}

fn place(
    declared: Vec<Declared>,
    data_start: usize,
    alignment: usize,
    file_size: usize,
) -> Result<HashMap<String, TensorInfo>, Problem> {
    let mut tensors = HashMap::new();
    for Declared { name, dtype, shape, size, offset } in declared {
        let begin = usize::try_from(offset).ok().and_then(|offset| data_start.checked_add(offset));
        let range = begin.and_then(|begin| Some(begin..begin.checked_add(size)?));
        let Some(bytes) = range else {
            return damaged(format!("the tensor {} lies at offset {offset}", quoted(&name)));
        };
        if bytes.start % alignment != 0 {
            return damaged(format!("the tensor {} is not aligned", quoted(&name)));
        }
        if bytes.end > file_size {
            return damaged(format!(
                "it is truncated: the tensor {} ends at byte {}, the file at {file_size}",
                quoted(&name),
                bytes.end
            ));
        }
        if tensors.insert(name.clone(), TensorInfo { dtype, shape, bytes }).is_some() {
            return damaged(format!("the tensor {} occurs twice", quoted(&name)));
        }
    }
    Ok(tensors)
}

/// Numbers of `enum ggml_type`. Q8_1 and Q8_K are for activations; candle cannot widen them.
fn tensor_type(number: u32, name: &str) -> Result<GgmlDType, Problem> {
    Ok(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        other => {
            let kind = foreign_type(other)
                .map_or_else(|| format!("number {other}"), |word| word.to_string());
            return Err(Problem::Unsupported(format!(
                "the tensor {} has the type {kind}, which is not supported",
                quoted(name)
            )));
        }
    })
}

fn foreign_type(number: u32) -> Option<&'static str> {
    Some(match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return None,
    })
}

/// The fewest bytes that a value of this type takes in a file.
fn smallest_value(kind: u32) -> usize {
    match kind {
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        _ => 1,
    }
}

/// Untrusted text, shortened and without control characters, for a message.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    format!("\"{}\"", short.escape_debug())
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Array elements read so far.
    elements: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        if length > self.left() {
            return damaged("it is truncated: it ends inside its header");
        }
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of entries that take at least `least` bytes each.
    fn count(&mut self, what: &str, least: u64) -> Result<u64, Problem> {
        let count = self.u64()?;
        if count > MAX_ENTRIES || count * least > self.left() as u64 {
            return damaged(format!("it declares {count} {what}"));
        }
        Ok(count)
    }

    fn string(&mut self, what: &str) -> Result<String, Problem> {
        let length = self.u64()?;
        match usize::try_from(length) {
            Ok(length) if length <= self.left() => {
                Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
            }
            _ => damaged(format!("{what} is {length} bytes long, more than the file")),
        }
    }

    fn value(&mut self, kind: u32, key: &str, depth: usize) -> Result<Value, Problem> {
        Ok(match kind {
            0 => Value::U8(u8::from_le_bytes(self.array()?)),
            1 => Value::I8(i8::from_le_bytes(self.array()?)),
            2 => Value::U16(u16::from_le_bytes(self.array()?)),
            3 => Value::I16(i16::from_le_bytes(self.array()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.array()?)),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::String(self.string(key)?),
            9 => self.values(key, depth)?,
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.array()?)),
            12 => Value::F64(f64::from_le_bytes(self.array()?)),
            other => {
                return damaged(format!("the key {} has the value type {other}", quoted(key)));
            }
        })
    }

    fn values(&mut self, key: &str, depth: usize) -> Result<Value, Problem> {
        if depth >= MAX_DEPTH {
            return damaged(format!("the key {} holds arrays in arrays", quoted(key)));
        }
        let kind = self.u32()?;
        let length = self.u64()?;
        let too_long = || damaged(format!("the key {} has {length} elements", quoted(key)));
        let Ok(count) = usize::try_from(length) else { return too_long() };
        let least = smallest_value(kind);
        if count > self.left() / least || count > MAX_ELEMENTS - self.elements {
            return too_long();
        }
        self.elements += count;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.value(kind, key, depth + 1)?);
        }
        Ok(Value::Array(values))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor as Buffer;

    use candle_core::quantized::{QTensor, gguf_file};
    use candle_core::{Device, Tensor};
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<u8> {
        let tensor = Tensor::arange(0f32, 128., &Device::Cpu).unwrap().reshape((4, 32)).unwrap();
        let tensor = QTensor::quantize(&tensor, GgmlDType::Q4_1).unwrap();
        let name = Value::String("tiny".into());
        let list = Value::Array(vec![Value::String("a".into()), Value::String("b".into())]);
        let mut buffer = Buffer::new(Vec::new());
        let metadata = [("general.name", &name), ("tokenizer.list", &list)];
        gguf_file::write(&mut buffer, &metadata, &[("weight", &tensor)]).unwrap();
        buffer.into_inner()
    }

    #[test]
    fn a_sound_header_gives_its_keys_and_tensors() {
        let bytes = sample();
        let header = read(&bytes).unwrap();
        assert_eq!(header.metadata["general.name"].to_string().unwrap(), "tiny");
        let tensor = &header.tensors["weight"];
        assert_eq!((tensor.dtype, tensor.shape.as_slice()), (GgmlDType::Q4_1, &[4, 32][..]));
        assert_eq!(tensor.bytes.len(), 4 * 20);
    }

    #[test]
    fn an_alignment_of_zero_is_damage() {
        let mut buffer = Buffer::new(Vec::new());
        gguf_file::write(&mut buffer, &[("general.alignment", &Value::U32(0))], &[]).unwrap();
        assert!(matches!(read(&buffer.into_inner()), Err(Problem::Damaged(_))));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample();
        let end = read(&bytes).unwrap().tensors["weight"].bytes.end;
        for length in 0..end {
            assert!(read(&bytes[..length]).is_err(), "{length} bytes were accepted");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_change_of_bytes_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = sample();
            for (place, byte) in changes {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _ = read(&bytes);
        }

        #[test]
        fn no_numbers_panic(at in 8usize..160, number in any::<u64>()) {
            let mut bytes = sample();
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            let _ = read(&bytes);
        }
    }
}
