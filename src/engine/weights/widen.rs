//! Rows of stored tensors as f32.

use std::borrow::Cow;

use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;
use half::{bf16, f16};

use super::{StoredTensor, TensorFiles};
use crate::engine::EngineError;

/// The order of a matrix's rows in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As they are used.
    Plain,
    /// llama.cpp's order of q and k rows of llama: the two halves of a head of this width are
    /// interleaved, so that its rope can turn neighbours.
    Interleaved {
        /// Width of a head.
        head_dim: usize,
    },
}

impl RowOrder {
    /// Where the row that is used as number `row` is in the file.
    pub fn stored(self, row: usize) -> usize {
        match self {
            Self::Plain => row,
            Self::Interleaved { head_dim } => {
                let (head, within) = (row / head_dim, row % head_dim);
                let (half, pair) = (within / (head_dim / 2), within % (head_dim / 2));
                head * head_dim + 2 * pair + half
            }
        }
    }
}

impl TensorFiles {
    /// The stored bytes of a row, in file order.
    pub fn row_bytes(&self, tensor: &StoredTensor, row: usize) -> &[u8] {
        let length = tensor.columns() / tensor.dtype.block_size() * tensor.dtype.type_size();
        &self.bytes(tensor)[row * length..(row + 1) * length]
    }

    /// Widens a row, in file order, into `out`, which is as long as the row.
    ///
    /// # Errors
    /// Never for a type that opening accepted.
    pub fn widen_row(
        &self,
        tensor: &StoredTensor,
        row: usize,
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        widen(tensor.dtype, self.row_bytes(tensor, row), out)
    }

    /// A whole tensor as f32, in file order.
    ///
    /// # Errors
    /// Never for a type that opening accepted.
    pub fn widen_all(&self, tensor: &StoredTensor) -> Result<Vec<f32>, EngineError> {
        let mut values = vec![0.0; tensor.rows() * tensor.columns()];
        widen(tensor.dtype, self.bytes(tensor), &mut values)?;
        Ok(values)
    }

    /// A vector as f32, its elements put in order.
    ///
    /// # Errors
    /// Never for a type that opening accepted.
    pub fn widen_vector(
        &self,
        tensor: &StoredTensor,
        order: RowOrder,
    ) -> Result<Vec<f32>, EngineError> {
        let mut stored = vec![0.0; tensor.columns()];
        self.widen_row(tensor, 0, &mut stored)?;
        Ok((0..stored.len()).map(|i| stored[order.stored(i)]).collect())
    }
}

fn widen(dtype: GgmlDType, bytes: &[u8], out: &mut [f32]) -> Result<(), EngineError> {
    match dtype {
        // by bytes: safetensors files do not align their tensors
        GgmlDType::F32 => fill(out, bytes, f32::from_le_bytes),
        GgmlDType::F16 => fill(out, bytes, |b| f16::from_le_bytes(b).to_f32()),
        GgmlDType::BF16 => fill(out, bytes, |b| bf16::from_le_bytes(b).to_f32()),
        quantised => {
            // GGUF aligns its tensors, and every block type to its own size
            let blocks = quantised.from_data(Cow::Borrowed(bytes));
            match blocks.dequantize(out.len())? {
                CpuStorage::F32(values) => out.copy_from_slice(&values),
                _ => return Err(EngineError::Internal("dequantising gave no f32".into())),
            }
        }
    }
    Ok(())
}

fn fill<const N: usize>(out: &mut [f32], bytes: &[u8], value: impl Fn([u8; N]) -> f32) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = value(*bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_taken_from_both_halves_of_each_head() {
        let order = RowOrder::Interleaved { head_dim: 4 };
        let stored: Vec<usize> = (0..8).map(|row| order.stored(row)).collect();
        assert_eq!(stored, [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn dense_types_widen_exactly_from_unaligned_bytes() {
        let numbers = [1.5f32, -2.0, 0.25];
        let mut out = [0.0; 3];
        let mut bytes = vec![0u8];
        bytes.extend(numbers.iter().flat_map(|n| bf16::from_f32(*n).to_le_bytes()));
        widen(GgmlDType::BF16, &bytes[1..], &mut out).unwrap();
        assert_eq!(out, numbers);
    }
}
