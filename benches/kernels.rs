//! The CPU runner's phases at the sizes of a small model: products by weight type and number of
//! rows, and attention by length.
//!
//! `cargo bench --bench kernels`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use batchgen::engine::gguf::GgufFile;
use batchgen::engine::runners::cpu::activations::{Activations, Wanted};
use batchgen::engine::runners::cpu::kernels::attention::{Heads, Inputs, Layer, Results, Unit};
use batchgen::engine::runners::cpu::kernels::buffer::Buffer;
use batchgen::engine::runners::cpu::kernels::crew::Crew;
use batchgen::engine::runners::cpu::kernels::isa::Isa;
use batchgen::engine::runners::cpu::kernels::multiply::Then;
use batchgen::engine::runners::cpu::matrix::Matrix;
use batchgen::engine::runners::cpu::pack::{Layout, Part, Source};
use batchgen::engine::runners::cpu::weights::Weights;
use batchgen::engine::weights::{RowOrder, TensorFiles};
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const INPUTS: usize = 576;
const OUTPUTS: usize = 1536;
const ROWS: [usize; 7] = [1, 3, 4, 8, 13, 32, 128];
const TYPES: [GgmlDType; 5] =
    [GgmlDType::Q4_1, GgmlDType::Q8_0, GgmlDType::Q6K, GgmlDType::BF16, GgmlDType::F32];

/// One matrix of this type; blocks of 256 ask for an input that is their multiple.
fn files(dtype: GgmlDType) -> TensorFiles {
    let inputs = INPUTS.next_multiple_of(dtype.block_size());
    let values: Vec<f32> =
        (0..OUTPUTS * inputs).map(|i| ((i * 7919) % 201) as f32 / 100.0 - 1.0).collect();
    let tensor = Tensor::from_vec(values, (OUTPUTS, inputs), &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let tensor = QTensor::quantize(&tensor, dtype).unwrap();
    let mut file = std::fs::File::create(&path).unwrap();
    gguf_file::write(&mut file, &[], &[("m", &tensor)]).unwrap();
    TensorFiles::from_gguf(GgufFile::open(&path).unwrap())
}

/// The instruction sets of this machine; plain Rust only where there is no other.
fn sets() -> impl Iterator<Item = Isa> {
    Isa::accelerated().chain([Isa::Scalar].into_iter().filter(|plain| *plain == Isa::best()))
}

/// One thread, the weights in its caches: what the kernel itself can do.
fn products(criterion: &mut Criterion) {
    for dtype in TYPES {
        let files = files(dtype);
        let tensor = files.get("m").unwrap();
        let mut layout = Layout::new(Source { files: &files, exact: false }, 1);
        let linear = layout.linear(&[Part { tensor, order: RowOrder::Plain }]);
        let weights = Weights::pack(&layout).unwrap();
        for (isa, in_bf16) in sets().flat_map(|isa| [(isa, false), (isa, true)]) {
            let mut crew = Crew::new(1, isa).unwrap();
            if in_bf16 && !crew.has_bf16() {
                continue;
            }
            let what = if in_bf16 { "bf16" } else { "product" };
            let mut group = criterion.benchmark_group(format!("{what}/{}", isa.word()));
            crew.reserve_spread(tensor.columns()).unwrap();
            crew.compute_in_bf16(in_bf16);
            for rows in ROWS.into_iter().chain(in_bf16.then_some(512)) {
                let input = activations(&mut crew, rows, tensor.columns());
                let mut out = Matrix::zeros(rows, OUTPUTS).unwrap();
                let products = rows * tensor.columns() * OUTPUTS;
                group.throughput(Throughput::Elements(products as u64));
                group.bench_function(BenchmarkId::new(format!("{dtype:?}"), rows), |bencher| {
                    bencher.iter(|| {
                        let input = black_box(&input);
                        crew.multiply(&linear, &weights, input, rows, &mut out, Then::Store(None));
                    });
                });
            }
        }
    }
}

/// Some rows of any numbers.
fn activations(crew: &mut Crew, rows: usize, inputs: usize) -> Activations {
    let mut values = Matrix::zeros(rows, inputs).unwrap();
    for row in 0..rows {
        let row = values.row_mut(row).iter_mut().enumerate();
        row.for_each(|(i, value)| *value = (i % 17) as f32 - 8.0);
    }
    let wanted = Wanted { panels: true, floats: true };
    let mut input = Activations::new(rows, inputs, wanted).unwrap();
    crew.take(&values, rows, &mut input);
    input
}

/// One row of one slot: 9 query heads over 3 key-value heads of 64.
fn attention(criterion: &mut Criterion) {
    sets().for_each(|isa| attention_by(isa, criterion));
}

fn attention_by(isa: Isa, criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("attention/{}", isa.word()));
    let heads = Heads { queries: 9, kv: 3, dim: 64, exact: false };
    let mut crew = Crew::new(1, isa).unwrap();
    for length in [128, 1024, 4096] {
        let qkv = Matrix::zeros(1, (9 + 3 + 3) * 64).unwrap();
        let (angles, mut out) = (Matrix::zeros(1, 64).unwrap(), Matrix::zeros(1, 9 * 64).unwrap());
        let unit = |head| Unit { slot: 0, head, row: 0, rows: 1, position: length - 1 };
        let units: Vec<Unit> = (0..3).map(unit).collect();
        let inputs = Inputs {
            qkv: &qkv,
            columns: [0, 576, 768],
            angles: &angles,
            units: &units,
            bounds: &[0, 3],
            several: false,
            capacity: length,
        };
        let layer = Layer { layer: 0, norms: None, window: None, scale: 0.125 };
        let mut slots = [Buffer::zeroed(heads.cache_bytes(length) * heads.kv).unwrap()];
        let mut bases = Vec::new();
        crew.reserve(heads.scratch(length)).unwrap();
        group.throughput(Throughput::Bytes(slots[0].bytes()));
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter(|| {
                let results = Results { heads: &mut out, attended: None };
                crew.attend(heads, &layer, black_box(&inputs), &mut slots, &mut bases, results);
            });
        });
    }
}

criterion_group!(benches, products, attention);
criterion_main!(benches);
