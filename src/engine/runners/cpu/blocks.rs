//! The blocks of GGUF files as numbers: `w = d * q + m` for 32 elements at a time.
//!
//! Formats: <https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h>; what they mean is
//! in `ggml-quants.c` there, `dequantize_row_*`.

use candle_core::quantized::GgmlDType;
use half::{bf16, f16};

use super::form::{BLOCK, Form, SUPER};

/// 32 elements of a row: `w[i] = d[i / 16] * q[i] + m`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    /// 0 to 15 in formats of nibbles, otherwise signed.
    pub q: [i8; BLOCK],
    /// Scales of the two halves.
    pub d: [f32; 2],
    /// Added to every element.
    pub m: f32,
}

impl Block {
    /// The elements, rounded as candle and ggml round them.
    pub fn widen(&self, out: &mut [f32]) {
        for (i, (out, q)) in out.iter_mut().zip(self.q).enumerate() {
            *out = self.d[i / 16] * f32::from(q) + self.m;
        }
    }
}

/// What the scales of a block of a super-block are made of: the first is `factors[0] * steps[0]`;
/// the second, d of the second half or m, `factors[1] * steps[1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuperScales {
    /// Of the super-block.
    pub factors: [f16; 2],
    /// Of the block.
    pub steps: [i8; 2],
}

impl SuperScales {
    /// The scales, exactly.
    fn scales(self) -> [f32; 2] {
        std::array::from_fn(|i| self.factors[i].to_f32() * f32::from(self.steps[i]))
    }
}

/// The form that this type is packed in without rounding; `None` for types without one, which
/// are widened to f32.
pub fn form(dtype: GgmlDType) -> Option<Form> {
    Some(match dtype {
        GgmlDType::Q4_0 | GgmlDType::Q4_1 => Form::U4,
        GgmlDType::Q4K => Form::U4Super,
        GgmlDType::Q5_0 | GgmlDType::Q8_0 => Form::U8,
        GgmlDType::Q5_1 => Form::U8Min,
        GgmlDType::Q5K => Form::U8MinSuper,
        GgmlDType::Q6K => Form::U8Halves,
        GgmlDType::F32 => Form::F32,
        GgmlDType::F16 => Form::F16,
        GgmlDType::BF16 => Form::Bf16,
        GgmlDType::Q2K | GgmlDType::Q3K | GgmlDType::Q8_1 | GgmlDType::Q8K => return None,
    })
}

/// Block number `at` of a row stored as `dtype`, which is one of the quantised types that have
/// a [`form`].
pub fn block(dtype: GgmlDType, row: &[u8], at: usize) -> Option<Block> {
    Some(match dtype {
        GgmlDType::Q4_0 => {
            let block: &[u8; 18] = record(row, at)?;
            let d = half(block, 0);
            Block { q: nibbles(&block[2..]), d: [d; 2], m: -8.0 * d }
        }
        GgmlDType::Q4_1 => {
            let block: &[u8; 20] = record(row, at)?;
            Block { q: nibbles(&block[4..]), d: [half(block, 0); 2], m: half(block, 2) }
        }
        GgmlDType::Q5_0 => {
            let block: &[u8; 22] = record(row, at)?;
            let q = with_fifth_bits(nibbles(&block[6..]), &block[2..6]).map(|q| q - 16);
            Block { q, d: [half(block, 0); 2], m: 0.0 }
        }
        GgmlDType::Q5_1 => {
            let block: &[u8; 24] = record(row, at)?;
            let q = with_fifth_bits(nibbles(&block[8..]), &block[4..8]);
            Block { q, d: [half(block, 0); 2], m: half(block, 2) }
        }
        GgmlDType::Q8_0 => {
            let block: &[u8; 34] = record(row, at)?;
            let q = std::array::from_fn(|i| block[2 + i] as i8);
            Block { q, d: [half(block, 0); 2], m: 0.0 }
        }
        GgmlDType::Q4K => q4k(record(row, at / SUPER)?, at % SUPER),
        GgmlDType::Q5K => q5k(record(row, at / SUPER)?, at % SUPER),
        GgmlDType::Q6K => q6k(record(row, at / SUPER)?, at % SUPER),
        _ => return None,
    })
}

/// What the scales of block `at` are made of in a type that has super-blocks.
pub fn super_scales(dtype: GgmlDType, row: &[u8], at: usize) -> Option<SuperScales> {
    let (superblock, at) = (at / SUPER, at % SUPER);
    Some(match dtype {
        GgmlDType::Q4K => scale_and_min(record::<144>(row, superblock)?, at),
        GgmlDType::Q5K => scale_and_min(record::<176>(row, superblock)?, at),
        GgmlDType::Q6K => two_scales(record(row, superblock)?, at),
        _ => return None,
    })
}

/// Element `at` of a row stored as a dense type.
pub fn element(dtype: GgmlDType, row: &[u8], at: usize) -> Option<f32> {
    Some(match dtype {
        GgmlDType::F32 => f32::from_le_bytes(*record(row, at)?),
        GgmlDType::F16 => f16::from_le_bytes(*record(row, at)?).to_f32(),
        GgmlDType::BF16 => bf16::from_le_bytes(*record(row, at)?).to_f32(),
        _ => return None,
    })
}

fn record<const N: usize>(row: &[u8], at: usize) -> Option<&[u8; N]> {
    row.as_chunks::<N>().0.get(at)
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16_at(bytes, at).to_f32()
}

fn f16_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Sixteen low halves, then sixteen high ones.
fn nibbles(bytes: &[u8]) -> [i8; BLOCK] {
    let mut q = [0; BLOCK];
    for i in 0..BLOCK / 2 {
        q[i] = (bytes[i] & 15) as i8;
        q[i + BLOCK / 2] = (bytes[i] >> 4) as i8;
    }
    q
}

/// Bit i of `bits` is the fifth bit of element i.
fn with_fifth_bits(mut q: [i8; BLOCK], bits: &[u8]) -> [i8; BLOCK] {
    for (i, q) in q.iter_mut().enumerate() {
        *q |= ((bits[i / 8] >> (i % 8) & 1) << 4) as i8;
    }
    q
}

/// The nibbles of block `at` of the eight in a super-block: two blocks share 32 bytes.
fn shared_nibbles(bytes: &[u8], at: usize) -> [i8; BLOCK] {
    let (bytes, shift) = (&bytes[at / 2 * 32..], at % 2 * 4);
    std::array::from_fn(|i| (bytes[i] >> shift & 15) as i8)
}

/// The scale and the minimum, which is subtracted, of block `at` of a Q4_K or Q5_K super-block: 6
/// bits each in 12 bytes.
fn scale_and_min(superblock: &[u8], at: usize) -> SuperScales {
    let scales = &superblock[4..16];
    let (scale, min) = if at < 4 {
        (scales[at] & 63, scales[at + 4] & 63)
    } else {
        let low = scales[at + 4];
        ((low & 15) | (scales[at - 4] >> 6) << 4, (low >> 4) | (scales[at] >> 6) << 4)
    };
    SuperScales {
        factors: [f16_at(superblock, 0), -f16_at(superblock, 2)],
        steps: [scale as i8, min as i8],
    }
}

/// The scales of both halves of block `at` of a Q6_K super-block.
fn two_scales(superblock: &[u8; 210], at: usize) -> SuperScales {
    let steps = [0, 1].map(|half| superblock[192 + 2 * at + half] as i8);
    SuperScales { factors: [f16_at(superblock, 208); 2], steps }
}

fn scaled(superblock: &[u8], q: [i8; BLOCK], at: usize) -> Block {
    let [d, m] = scale_and_min(superblock, at).scales();
    Block { q, d: [d; 2], m }
}

fn q4k(superblock: &[u8; 144], at: usize) -> Block {
    scaled(superblock, shared_nibbles(&superblock[16..], at), at)
}

fn q5k(superblock: &[u8; 176], at: usize) -> Block {
    let mut q = shared_nibbles(&superblock[48..], at);
    for (q, bits) in q.iter_mut().zip(&superblock[16..48]) {
        *q |= ((bits >> at & 1) << 4) as i8;
    }
    scaled(superblock, q, at)
}

fn q6k(superblock: &[u8; 210], at: usize) -> Block {
    let (half_at, quarter) = (at / 4, at % 4);
    let low = &superblock[64 * half_at + 32 * (quarter % 2)..];
    let high = &superblock[128 + 32 * half_at..];
    let q = std::array::from_fn(|i| {
        let low = low[i] >> (quarter / 2 * 4) & 15;
        let high = high[i] >> (2 * quarter) & 3;
        (low | high << 4) as i8 - 32
    });
    Block { q, d: two_scales(superblock, at).scales(), m: 0.0 }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use candle_core::CpuStorage;
    use proptest::prelude::*;

    use super::*;

    const TYPES: [GgmlDType; 8] = [
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ];

    /// Places of f16 scales in a record, which must be numbers to be compared.
    fn scale_places(dtype: GgmlDType) -> &'static [usize] {
        match dtype {
            GgmlDType::Q4_1 | GgmlDType::Q5_1 | GgmlDType::Q4K | GgmlDType::Q5K => &[0, 2],
            GgmlDType::Q6K => &[208],
            _ => &[0],
        }
    }

    fn candle(dtype: GgmlDType, bytes: &[u8], count: usize) -> Vec<f32> {
        match dtype.from_data(Cow::Borrowed(bytes)).dequantize(count).unwrap() {
            CpuStorage::F32(values) => values,
            _ => panic!("no f32"),
        }
    }

    proptest! {
        #[test]
        fn every_type_means_what_candle_reads_in_it(
            which in 0..TYPES.len(),
            mut bytes in prop::collection::vec(any::<u8>(), 2 * 1024),
            scales in prop::collection::vec(-4.0f32..4.0, 64),
        ) {
            let dtype = TYPES[which];
            let (size, elements) = (dtype.type_size(), dtype.block_size());
            let records = 8.min(bytes.len() / size);
            for record in 0..records {
                for (i, place) in scale_places(dtype).iter().enumerate() {
                    let scale = f16::from_f32(scales[2 * record + i]).to_le_bytes();
                    bytes[record * size + place..][..2].copy_from_slice(&scale);
                }
            }
            let bytes = &bytes[..records * size];
            let expected = candle(dtype, bytes, records * elements);
            let mut actual = vec![0.0; expected.len()];
            for (at, out) in actual.chunks_mut(BLOCK).enumerate() {
                block(dtype, bytes, at).unwrap().widen(out);
            }
            for (actual, expected) in actual.iter().zip(&expected) {
                // Q4_0 as d * q - 8 d is rounded once more than d * (q - 8)
                let slack = 1e-6 * expected.abs().max(64.0);
                prop_assert!((actual - expected).abs() <= slack, "{actual} {expected}");
            }
            if !matches!(dtype, GgmlDType::Q4_0) {
                prop_assert_eq!(actual, expected);
            }
        }
    }

    #[test]
    fn blocks_beyond_the_row_are_none() {
        assert_eq!(block(GgmlDType::Q4_1, &[0; 20], 1), None);
        assert_eq!(element(GgmlDType::F16, &[0; 3], 1), None);
    }
}
