//! Packed weights, multiplied with unit vectors, against what the file's rows are when widened.

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};

use super::*;
use crate::engine::gguf::GgufFile;
use crate::engine::runners::cpu::activations::{Activations, Wanted};
use crate::engine::runners::cpu::kernels::crew::Crew;
use crate::engine::runners::cpu::kernels::isa::Isa;
use crate::engine::runners::cpu::kernels::multiply::Then;
use crate::engine::runners::cpu::matrix::Matrix;
use crate::engine::runners::cpu::unpack::Elements;
use crate::engine::runners::cpu::weights::Weights;

const INPUTS: usize = 512;
const OUTPUTS: [usize; 3] = [40, 8, 16];

const TYPES: [GgmlDType; 13] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

fn files(dtypes: [GgmlDType; 3]) -> TensorFiles {
    let value = |i, n| ((n * n * 7 + n * 13 + i) % 201) as f32 / 100.0 - 1.0;
    matrices(INPUTS, [0, 1, 2].map(|i| (dtypes[i], OUTPUTS[i])), value)
}

/// Matrices of these types and outputs, `m0` and on, as a file has them; the element with a number has
/// the value that its matrix gives it.
pub(in crate::engine::runners::cpu) fn matrices(
    inputs: usize,
    kinds: impl IntoIterator<Item = (GgmlDType, usize)>,
    value: impl Fn(usize, usize) -> f32,
) -> TensorFiles {
    let tensors: Vec<(String, QTensor)> = kinds
        .into_iter()
        .enumerate()
        .map(|(i, (dtype, outputs))| {
            let values: Vec<f32> = (0..outputs * inputs).map(|n| value(i, n)).collect();
            let tensor = Tensor::from_vec(values, (outputs, inputs), &Device::Cpu).unwrap();
            (format!("m{i}"), QTensor::quantize(&tensor, dtype).unwrap())
        })
        .collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    gguf_file::write(&mut std::fs::File::create(&path).unwrap(), &[], &tensors).unwrap();
    TensorFiles::from_gguf(GgufFile::open(&path).unwrap())
}

/// The joined matrix, `[outputs][inputs]`, by multiplying unit vectors.
fn columns(
    files: &TensorFiles,
    threads: usize,
    exact: bool,
    order: RowOrder,
) -> (Linear, Vec<Vec<f32>>) {
    let tensors: Vec<&StoredTensor> =
        (0..3).map(|i| files.get(&format!("m{i}")).unwrap()).collect();
    let mut layout = Layout::new(Source { files, exact }, threads);
    let parts: Vec<Part<'_>> = tensors.iter().map(|tensor| Part { tensor, order }).collect();
    let linear = layout.linear(&parts);
    let weights = Weights::pack(&layout).unwrap();
    let width = *linear.columns.last().unwrap();
    let mut units = Matrix::zeros(INPUTS, INPUTS).unwrap();
    (0..INPUTS).for_each(|k| units.row_mut(k)[k] = 1.0);
    let mut input =
        Activations::new(INPUTS, INPUTS, Wanted { panels: true, floats: true }).unwrap();
    let mut out = Matrix::zeros(INPUTS, width).unwrap();
    let mut crew = Crew::new(threads, Isa::best()).unwrap();
    crew.reserve_spread(INPUTS).unwrap();
    crew.take(&units, INPUTS, &mut input);
    crew.multiply(&linear, &weights, &input, INPUTS, &mut out, Then::Store(None));
    let rows = (0..width).map(|n| (0..INPUTS).map(|k| out.row(k)[n]).collect());
    let rows = rows.collect();
    (linear, rows)
}

#[test]
fn every_type_is_packed_without_loss() {
    for (number, dtype) in TYPES.into_iter().enumerate() {
        let mixed = [dtype, TYPES[(number + 1) % TYPES.len()], dtype];
        let files = files(mixed);
        for (threads, exact) in [(1, false), (2, false), (3, true)] {
            let order = RowOrder::Interleaved { head_dim: 8 };
            let (linear, packed) = columns(&files, threads, exact, order);
            for (i, outputs) in OUTPUTS.into_iter().enumerate() {
                let tensor = files.get(&format!("m{i}")).unwrap();
                let mut expected = vec![0.0; INPUTS];
                for row in 0..outputs {
                    files.widen_row(tensor, order.stored(row), &mut expected).unwrap();
                    for (actual, expected) in packed[linear.columns[i] + row].iter().zip(&expected)
                    {
                        // a unit vector's 1 is 127 steps of 1/127, and 8 d may be added and taken away
                        let off = (actual - expected).abs();
                        assert!(off < 1e-5, "{dtype:?} {actual} {expected}");
                    }
                }
            }
        }
    }
}

#[test]
fn blocks_that_are_not_full_are_filled_with_zeros() {
    const INPUTS: usize = BLOCK + 1;
    for dtype in [GgmlDType::F32, GgmlDType::F16, GgmlDType::BF16] {
        let files = matrices(INPUTS, [(dtype, 20)], |_, at| (at % 89) as f32 - 40.0);
        let tensor = files.get("m0").unwrap();
        let mut layout = Layout::new(Source { files: &files, exact: false }, 1);
        let linear = layout.linear(&[Part { tensor, order: RowOrder::Plain }]);
        let weights = Weights::pack(&layout).unwrap();
        let mut expected = vec![0.0; INPUTS];
        for row in 0..2 * COLUMNS {
            expected.fill(0.0);
            if row < 20 {
                files.widen_row(tensor, row, &mut expected).unwrap();
            }
            let (tile, mut elements) = (linear.tile(0, row / COLUMNS), Elements::ZERO);
            let bytes = weights.tiles(0, tile.offset, tile.bytes);
            for k in 0..2 * BLOCK {
                elements.read(tile.form, bytes, linear.blocks, k / BLOCK);
                let weight = elements.weights[k % BLOCK][row % COLUMNS];
                assert_eq!(weight, expected.get(k).copied().unwrap_or(0.0), "{dtype:?} {row} {k}");
            }
        }
    }
}

#[test]
fn the_bytes_that_are_announced_are_those_that_are_packed() {
    let files = files([GgmlDType::Q4_1, GgmlDType::Q6K, GgmlDType::F16]);
    for exact in [false, true] {
        let source = Source { files: &files, exact };
        let tensors: Vec<&StoredTensor> =
            (0..3).map(|i| files.get(&format!("m{i}")).unwrap()).collect();
        let mut layout = Layout::new(source, 2);
        for tensor in &tensors {
            layout.linear(&[Part { tensor, order: RowOrder::Plain }]);
        }
        let announced: u64 = tensors.iter().map(|tensor| source.bytes(tensor)).sum();
        assert_eq!(announced, Weights::pack(&layout).unwrap().bytes());
    }
}
