//! Products in bf16: the definition in plain Rust against the numbers themselves, and the kernels of a
//! machine that has them against the definition, bit for bit.

use std::ops::Range;

use candle_core::quantized::GgmlDType;

use super::*;
use crate::engine::runners::cpu::activations::{Activations, Wanted};
use crate::engine::runners::cpu::kernels::crew::Crew;
use crate::engine::runners::cpu::kernels::gate::Activation;
use crate::engine::runners::cpu::kernels::multiply::Then;
use crate::engine::runners::cpu::matrix::Matrix;
use crate::engine::runners::cpu::pack::tests::matrices;
use crate::engine::runners::cpu::pack::{Layout, Part, Source};
use crate::engine::runners::cpu::weights::Weights;
use crate::engine::weights::{RowOrder, TensorFiles};

/// The forms that have pairs.
const PAIRED: [Form; 7] =
    [Form::U4, Form::U4Super, Form::U8, Form::U8Min, Form::U8MinSuper, Form::U8Halves, Form::Bf16];

/// The definition.
fn definition() -> &'static Kernels {
    Isa::ScalarAmx.table().and_then(|table| table.bf16).expect("plain Rust has it")
}

/// The kernels of this machine, where it has them.
fn of_this_machine() -> impl Iterator<Item = &'static Kernels> {
    others().filter_map(|(_, kernels)| kernels.bf16)
}

/// Panels of rows.
fn panels(kernels: &Kernels, x: &[f32], blocks: usize) -> Vec<u8> {
    let rows = x.len() / BLOCK / blocks;
    let mut panels = vec![0; rows.next_multiple_of(PANEL_ROWS) * blocks * kernels.record];
    for (row, x) in x.chunks_exact(blocks * BLOCK).enumerate() {
        let at = panel::first_record(row, blocks) * kernels.record;
        let stride = PANEL_ROWS * kernels.record;
        // SAFETY: the row and its records have these blocks.
        unsafe { (kernels.quantise)(x.as_ptr(), blocks, panels[at..].as_mut_ptr(), stride) };
    }
    panels
}

/// The results of tiles, `[tile][row][column]` with something between the rows, all begun with ones.
fn products(
    kernels: &'static Kernels,
    tiles: &[(Form, &[u8])],
    input: &[u8],
    blocks: usize,
    rows: usize,
    base: Option<(&[f32], usize)>,
) -> Vec<Vec<u32>> {
    const WIDE: usize = COLUMNS + 3;
    let mut outs = vec![vec![1.0f32; rows * WIDE]; tiles.len()];
    let (base, base_stride) = base.map_or((std::ptr::null(), 0), |base| (base.0.as_ptr(), base.1));
    let calls: Vec<TileCall> = tiles
        .iter()
        .zip(&mut outs)
        .map(|((_, tile), out)| TileCall {
            weights: tile.as_ptr(),
            blocks,
            input: input.as_ptr(),
            input_stride: 0,
            out: out.as_mut_ptr(),
            out_stride: WIDE,
            base,
            base_stride,
            ahead: [3, 40].map(|count| Lines { address: tile.as_ptr(), count }),
        })
        .collect();
    let forms: Vec<Form> = tiles.iter().map(|(form, _)| *form).collect();
    let mut place = vec![0u8; Room::bytes(blocks)];
    let room = Room { place: place.as_mut_ptr(), blocks };
    // SAFETY: the tiles are whole, and the input, the results and the base have these rows.
    unsafe {
        let mut by = Multiplier::new(kernels, rows, room);
        // another tile first, whose weights are not taken for these
        let other: Vec<u8> = tiles[0].1.iter().map(|byte| byte ^ 1).collect();
        let mut nowhere = vec![0.0; rows * WIDE];
        let out = nowhere.as_mut_ptr();
        let call = TileCall { weights: other.as_ptr(), out, ..calls[0] };
        by.multiply_together(&forms[..1], &[call], rows);
        by.multiply_together(&forms, &calls, rows);
        // and once more, with weights that are there
        by.multiply_together(&forms, &calls, rows);
    }
    outs.iter().map(|out| out.iter().map(|x| x.to_bits()).collect()).collect()
}

#[test]
fn products_in_bf16_are_those_of_the_numbers() {
    for form in PAIRED {
        let (blocks, rows) = (2 * SUPER + 4, 2);
        let tile = tile(form, blocks, 5);
        let x = floats(9, rows * blocks * BLOCK);
        let input = panels(definition(), &x, blocks);
        let product = &products(definition(), &[(form, &tile)], &input, blocks, rows, None)[0];
        for (row, x) in x.chunks(blocks * BLOCK).enumerate() {
            for column in 0..COLUMNS {
                let product = f32::from_bits(product[row * (COLUMNS + 3) + column]);
                let element = |k: usize| element(form, &tile, blocks, column, k);
                let expected: f64 = (0..x.len()).map(|k| f64::from(x[k]) * element(k)).sum();
                let size: f64 = (0..x.len()).map(|k| (f64::from(x[k]) * element(k)).abs()).sum();
                let off = (f64::from(product) - expected).abs();
                // two numbers that are rounded to eight bits
                assert!(off < size / 256.0, "{form:?}: {off} of {size}");
            }
        }
    }
}

#[test]
fn a_machine_that_multiplies_bf16_gives_the_bits_of_the_definition() {
    for (blocks, seed) in [(1, 1), (SUPER + 1, 2), (18, 3)] {
        for rows in [1, 2, 15, 16, 17, 31, 32, 33, 48, 64, 70] {
            let x = floats(seed, rows * blocks * BLOCK);
            let added = floats(seed + 1, rows * (COLUMNS + 1));
            let (bias, base) = (Some((&added[..], 0)), Some((&added[..], COLUMNS + 1)));
            let others = PAIRED.iter().cycle().skip(rows % PAIRED.len());
            let twice = [(&Form::Bf16, &Form::Bf16)];
            for (form, second) in PAIRED.iter().zip(others).chain(twice) {
                let (form, second) = (*form, *second);
                let tiles = [tile(form, blocks, seed + 2), tile(second, blocks, seed + 3)];
                let both = [(form, &tiles[0][..]), (second, &tiles[1][..])];
                let one = &both[..1];
                for (tiles, base) in [(&both[..], None), (one, None), (&both, bias), (one, base)] {
                    let run = |kernels: &'static Kernels| {
                        let input = panels(kernels, &x, blocks);
                        products(kernels, tiles, &input, blocks, rows, base)
                    };
                    for kernels in of_this_machine() {
                        let told = format!("{form:?}, {second:?}, {rows} rows, {blocks} blocks");
                        assert!(run(kernels) == run(definition()), "{told}");
                    }
                }
            }
        }
    }
}

#[test]
fn odd_numbers_are_rounded_to_bf16_as_the_definition_says() {
    let edges = [0.0, -0.0, 1e-45, -1e-39, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, 1e38];
    let ties = [1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), -1.0 - 2f32.powi(-8), 256.5];
    let mut x = floats(4, 3 * BLOCK);
    x[..edges.len()].copy_from_slice(&edges);
    x[40..40 + ties.len()].copy_from_slice(&ties);
    for kernels in of_this_machine() {
        assert_eq!(panels(kernels, &x, 3), panels(definition(), &x, 3));
    }
}

/// Puts numbers into a column of a tile of bf16, from element `k` on.
fn put_column(tile: &mut [u8], column: usize, k: usize, numbers: &[f32]) {
    for (k, number) in (k..).zip(numbers) {
        let at = 2 * (k / 2 * 2 * COLUMNS + 2 * column + k % 2);
        tile[at..at + 2].copy_from_slice(&half::bf16::from_f32(*number).to_le_bytes());
    }
}

#[test]
fn odd_numbers_are_multiplied_as_the_definition_says() {
    const LEAST: f32 = f32::MIN_POSITIVE;
    // products and sums of these are beside what is too small or too large, and beside nothing
    let odd: [f32; 16] = [
        0.0,
        1e-45,
        LEAST / 2.0,
        LEAST,
        1.5 * LEAST,
        -1.25 * LEAST,
        1e-30,
        -1e-20,
        1e-18,
        1.0,
        1.0 - 1.0 / 256.0,
        0.5,
        1e20,
        -3e38,
        f32::INFINITY,
        f32::NAN,
    ];
    let blocks = 2;
    let mut tile = vec![0; Form::Bf16.tile_bytes(blocks)];
    let rotated = |by: usize| -> Vec<f32> { (0..4).map(|at| odd[(by + at * by) % 16]).collect() };
    for column in 0..COLUMNS {
        // in both sums of a block, and in two blocks
        put_column(&mut tile, column, 4, &rotated(column));
        put_column(&mut tile, column, BLOCK + 7, &rotated(15 - column));
    }
    let rows = 256;
    let mut x = vec![0.0; rows * blocks * BLOCK];
    for (row, x) in x.chunks_mut(blocks * BLOCK).enumerate() {
        x[4..8].copy_from_slice(&rotated(row % 16));
        x[BLOCK + 7..BLOCK + 11].copy_from_slice(&rotated(row / 16));
    }
    let run = |kernels: &'static Kernels| {
        let input = panels(kernels, &x, blocks);
        let bits = products(kernels, &[(Form::Bf16, &tile)], &input, blocks, rows, None).remove(0);
        // what is not a number may be so in several ways
        let numbers = bits.into_iter().map(f32::from_bits);
        numbers.map(|x| if x.is_nan() { None } else { Some(x.to_bits()) }).collect::<Vec<_>>()
    };
    let all = run(definition());
    assert!(all.iter().flatten().any(|bits| (1..100).contains(&(bits >> 23 & 255))), "small ones");
    for kernels in of_this_machine() {
        assert!(run(kernels) == all);
    }
}

#[test]
fn a_row_in_bf16_does_not_depend_on_the_rows_beside_it() {
    let blocks = SUPER;
    let x = floats(1, 40 * blocks * BLOCK);
    let kernels = || of_this_machine().chain([definition()]);
    for (kernels, form) in
        kernels().flat_map(|kernels| [Form::U4, Form::Bf16].map(|form| (kernels, form)))
    {
        let tile = tile(form, blocks, 2);
        let run = |x: &[f32]| {
            let input = panels(kernels, x, blocks);
            let rows = x.len() / BLOCK / blocks;
            products(kernels, &[(form, &tile)], &input, blocks, rows, None).remove(0)
        };
        let alone: Vec<u32> = x.chunks(blocks * BLOCK).flat_map(run).collect();
        assert_eq!(run(&x), alone);
    }
}

// --- the phases ---

const INPUTS: usize = 96;
/// More than two products are kept for, and no whole panel at the end.
const ROWS: usize = 2 * 64 + 21;

/// Matrices of these types and outputs, of any numbers.
fn files(kinds: &[(GgmlDType, usize)]) -> TensorFiles {
    let values = |(matrix, kind): (u64, &(_, usize))| floats(matrix, kind.1 * INPUTS);
    let values: Vec<Vec<f32>> = (0..).zip(kinds).map(values).collect();
    matrices(INPUTS, kinds.iter().copied(), |matrix, number| values[matrix][number])
}

/// What a matrix gives for a row.
fn product(files: &TensorFiles, name: &str, x: &[f32]) -> Vec<f64> {
    let tensor = files.get(name).unwrap();
    let mut weights = vec![0.0; INPUTS];
    let rows = (0..tensor.rows()).map(|row| {
        files.widen_row(tensor, row, &mut weights).unwrap();
        weights.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
    });
    rows.collect()
}

/// Crews that compute in bf16, with so many threads; the last one in plain Rust.
fn crews(threads: usize) -> impl Iterator<Item = Crew> {
    Isa::ALL.into_iter().filter(|isa| isa.has_bf16()).map(move |isa| {
        let mut crew = Crew::new(threads, isa).unwrap();
        crew.reserve_spread(INPUTS).unwrap();
        crew.reserve(Crew::gate_scratch(ROWS)).unwrap();
        crew.compute_in_bf16(true);
        crew
    })
}

/// Some rows, as a crew hands them to matrices of these forms.
fn activations(
    crew: &mut Crew,
    rows: Range<usize>,
    forms: impl Iterator<Item = Form> + Clone,
) -> Activations {
    let x = floats(77, ROWS * INPUTS);
    let mut matrix = Matrix::zeros(rows.len(), INPUTS).unwrap();
    for (to, x) in x.chunks(INPUTS).skip(rows.start).take(rows.len()).enumerate() {
        matrix.row_mut(to).copy_from_slice(x);
    }
    let wanted = |in_panels: fn(Form) -> bool| Wanted {
        panels: forms.clone().any(in_panels),
        floats: forms.clone().any(|form| !in_panels(form)),
    };
    let (all, prompts) = (wanted(Form::is_quantised), wanted(Form::has_pairs));
    let mut input = Activations::of_both(rows.len(), INPUTS, all, prompts).unwrap();
    crew.take(&matrix, rows.len(), &mut input);
    input
}

/// The rows that `compute` gives together are those that it gives one by one, with any crew and
/// number of threads, and close to `expected`.
fn assert_rows(
    tolerance: f64,
    compute: impl Fn(&mut Crew, usize, Range<usize>) -> Vec<Vec<f32>>,
    expected: impl Fn(&[f32]) -> Vec<f64>,
) {
    let bits =
        |rows: &[Vec<f32>]| -> Vec<u32> { rows.concat().iter().map(|x| x.to_bits()).collect() };
    let mut crew = crews(1).last().unwrap();
    let alone: Vec<Vec<f32>> =
        (0..ROWS).flat_map(|row| compute(&mut crew, 1, row..row + 1)).collect();
    for threads in [1, 2, 3] {
        for mut crew in crews(threads) {
            for rows in [0..ROWS, 3..35, 16..17] {
                let together = compute(&mut crew, threads, rows.clone());
                assert!(bits(&together) == bits(&alone[rows]), "{crew:?}");
            }
        }
    }
    for (x, row) in floats(77, ROWS * INPUTS).chunks(INPUTS).zip(alone) {
        for (actual, expected) in row.into_iter().zip(expected(x)) {
            let off = (f64::from(actual) - expected).abs();
            assert!(off < tolerance + expected.abs() / 100.0, "{actual} and not {expected}");
        }
    }
}

#[test]
fn matrices_of_several_types_are_multiplied_in_bf16_where_they_have_no_more_bits() {
    let [quantised, bytes] = [(GgmlDType::Q4_1, 48), (GgmlDType::Q8_0, 40)];
    let [full, half] = [(GgmlDType::F32, 33), (GgmlDType::BF16, 35)];
    let mixed = [quantised, full, bytes];
    for kinds in [&mixed[..], &[quantised, half, quantised], &[half, full], &mixed[..1], &[half]] {
        let files = files(kinds);
        let names: Vec<String> = (0..kinds.len()).map(|number| format!("m{number}")).collect();
        let compute = |crew: &mut Crew, threads: usize, rows: Range<usize>| {
            let mut layout = Layout::new(Source { files: &files, exact: false }, threads);
            let part =
                |name: &String| Part { tensor: files.get(name).unwrap(), order: RowOrder::Plain };
            let linear = layout.linear(&names.iter().map(part).collect::<Vec<_>>());
            let weights = Weights::pack(&layout).unwrap();
            let width = *linear.columns.last().unwrap();
            let bias = vec![0.25; width];
            let mut out = Matrix::zeros(rows.len(), width).unwrap();
            let forms = linear.threads.iter().flatten().map(|segment| segment.form);
            let input = activations(crew, rows.clone(), forms);
            for then in [Then::Store(Some(&bias)), Then::Add] {
                crew.multiply(&linear, &weights, &input, rows.len(), &mut out, then);
            }
            let columns = linear.columns.windows(2).zip(kinds);
            let columns = columns.flat_map(|(begin, (_, outputs))| begin[0]..begin[0] + outputs);
            let columns: Vec<usize> = columns.collect();
            let row = |row| columns.iter().map(|column| out.row(row)[*column]).collect();
            (0..rows.len()).map(row).collect()
        };
        assert_rows(0.05, compute, |x| {
            let all = names.iter().flat_map(|name| product(&files, name, x));
            all.map(|product| 2.0 * product + 0.25).collect()
        });
    }
}

#[test]
fn weights_in_bf16_are_multiplied_with_rounded_rows() {
    let files = files(&[(GgmlDType::BF16, 35)]);
    for mut crew in crews(2) {
        let mut layout = Layout::new(Source { files: &files, exact: false }, 2);
        let part = Part { tensor: files.get("m0").unwrap(), order: RowOrder::Plain };
        let linear = layout.linear(&[part]);
        let weights = Weights::pack(&layout).unwrap();
        let input = activations(&mut crew, 0..ROWS, [Form::Bf16].into_iter());
        let mut out = Matrix::zeros(ROWS, *linear.columns.last().unwrap()).unwrap();
        crew.multiply(&linear, &weights, &input, ROWS, &mut out, Then::Store(None));
        for (row, x) in floats(77, ROWS * INPUTS).chunks(INPUTS).enumerate() {
            let x: Vec<f32> = x.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect();
            for (actual, expected) in out.row(row).iter().zip(product(&files, "m0", &x)) {
                // rows that are not rounded are some thousandths off
                assert!((f64::from(*actual) - expected).abs() < 1e-4, "{actual}, not {expected}");
            }
        }
    }
}

#[test]
fn gates_of_any_types_are_multiplied_in_bf16_where_they_have_no_more_bits() {
    for kinds in [
        [GgmlDType::Q4_1, GgmlDType::Q8_0],
        [GgmlDType::Q4_1, GgmlDType::F32],
        [GgmlDType::BF16; 2],
        [GgmlDType::BF16, GgmlDType::F16],
    ] {
        let outputs = 3 * BLOCK;
        let files = files(&kinds.map(|kind| (kind, outputs)));
        let compute = |crew: &mut Crew, threads: usize, rows: Range<usize>| {
            let mut layout = Layout::new(Source { files: &files, exact: false }, threads);
            let part = |name| Part { tensor: files.get(name).unwrap(), order: RowOrder::Plain };
            let gated = layout.gated([part("m0"), part("m1")], Activation::Silu);
            let weights = Weights::pack(&layout).unwrap();
            let wanted = Wanted { panels: true, floats: true };
            let mut out = Activations::new(rows.len(), outputs, wanted).unwrap();
            let input = activations(crew, rows.clone(), gated.forms.into_iter());
            crew.gate(&gated, &weights, &input, rows.len(), &mut out, None);
            let out = out.floats.unwrap();
            (0..rows.len()).map(|row| out.row(row).to_vec()).collect()
        };
        // products of a few, each off by some hundredths
        assert_rows(0.2, compute, |x| {
            let (gate, up) = (product(&files, "m0", x), product(&files, "m1", x));
            gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect()
        });
    }
}
