//! The way by a sketch in plain Rust and by this machine's kernels, against all products.

use candle_core::quantized::GgmlDType;

use super::*;
use crate::engine::runners::cpu::activations::Wanted;
use crate::engine::runners::cpu::form::BLOCK;
use crate::engine::runners::cpu::kernels::isa::Isa;
use crate::engine::runners::cpu::matrix::Matrix;
use crate::engine::runners::cpu::pack::tests::matrices;
use crate::engine::runners::cpu::pack::{Layout, Part, Source};
use crate::engine::runners::cpu::sketch::LEAST;
use crate::engine::runners::cpu::weights::Weights;
use crate::engine::weights::{RowOrder, TensorFiles};

/// Numbers between -1 and 1, a few of them 30 times as large.
fn number(seed: usize, at: usize) -> f32 {
    let mixed = (seed * 0x9e37 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (mixed >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    if at % 96 == 7 { 30.0 * number } else { number }
}

/// A head with its sketch.
struct Head {
    linear: Linear,
    weights: Weights,
    sketch: Sketch,
    vocabulary: usize,
    inputs: usize,
}

impl Head {
    fn new(files: &TensorFiles, threads: usize) -> Self {
        let tensor = files.get("m0").unwrap();
        let mut layout = Layout::new(Source { files, exact: false }, threads);
        let linear = layout.linear(&[Part { tensor, order: RowOrder::Plain }]);
        let weights = Weights::pack(&layout).unwrap();
        let inputs = tensor.columns();
        let norm: Vec<f32> = (0..inputs).map(|at| 1.0 + number(3, at)).collect();
        let sketch = Sketch::new(&linear, &weights, &norm).unwrap();
        Self { linear, weights, sketch, vocabulary: tensor.rows(), inputs }
    }

    fn input(&self, crew: &mut Crew, rows: &[Vec<f32>]) -> Activations {
        let mut matrix = Matrix::zeros(rows.len(), self.inputs).unwrap();
        rows.iter().enumerate().for_each(|(at, row)| matrix.row_mut(at).copy_from_slice(row));
        let wanted = Wanted { panels: true, floats: true };
        let mut input = Activations::new(rows.len(), self.inputs, wanted).unwrap();
        crew.take(&matrix, rows.len(), &mut input);
        input
    }

    fn task<'a>(&'a self, goals: &'a [Goal]) -> Task<'a> {
        let Self { linear, weights, vocabulary, .. } = self;
        Task { linear, weights, vocabulary: *vocabulary, goals }
    }

    /// The best tokens by way of the sketch, and the bounds.
    fn best(&self, crew: &mut Crew, rows: &[Vec<f32>]) -> (Vec<Option<u32>>, Bounds) {
        crew.reserve(self.inputs + 64).unwrap();
        crew.reserve_rounded(&self.sketch).unwrap();
        let input = self.input(crew, rows);
        let goals = vec![Goal::Best; rows.len()];
        // there may be room for more, and what more found before is forgotten
        let more = rows.len() % 3 * 20;
        let mut bounds = Bounds::new(rows.len() + more, &self.linear, &self.sketch).unwrap();
        let mut winners = Winners::default();
        let others = vec![vec![1.0; self.inputs]; rows.len() + more];
        let (other_input, other_goals) =
            (self.input(crew, &others), vec![Goal::Best; others.len()]);
        for (input, goals) in [(&other_input, &other_goals), (&input, &goals)] {
            crew.best(self.task(goals), &self.sketch, input, &mut bounds, &mut winners);
        }
        ((0..rows.len()).map(|row| winners.winner(row)).collect(), bounds)
    }

    /// All logits, by the head's own kernels.
    fn logits(&self, crew: &mut Crew, rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let input = self.input(crew, rows);
        let goals: Vec<Goal> = (0..rows.len()).map(Goal::Logits).collect();
        let stride = self.vocabulary.next_multiple_of(COLUMNS);
        let mut values = vec![0.0; stride * rows.len()];
        let logits = Logits { values: &mut values, stride };
        crew.head(self.task(&goals), &input, &mut Winners::default(), logits);
        values.chunks(stride).map(|row| row[..self.vocabulary].to_vec()).collect()
    }
}

/// The first of the greatest, of those that are numbers.
fn greatest(logits: &[f32]) -> Option<u32> {
    let mut found = (f32::NEG_INFINITY, None);
    for (token, logit) in (0..).zip(logits) {
        if *logit > found.0 {
            found = (*logit, Some(token));
        }
    }
    found.1
}

fn rows(seed: usize, count: usize, inputs: usize) -> Vec<Vec<f32>> {
    (0..count).map(|row| (0..inputs).map(|at| number(seed + row, at)).collect()).collect()
}

/// The crews that have kernels for sketches.
fn crews(threads: usize) -> Vec<Crew> {
    let has = |isa: &Isa| isa.table().is_some_and(|table| table.sketches.is_some());
    Isa::ALL.into_iter().filter(has).map(|isa| Crew::new(threads, isa).unwrap()).collect()
}

const TYPES: [GgmlDType; 8] = [
    GgmlDType::Q8_0,
    GgmlDType::Q4_1,
    GgmlDType::Q4K,
    GgmlDType::Q5_1,
    GgmlDType::Q6K,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::F32,
];

#[test]
fn the_best_tokens_are_those_of_all_products_and_no_logit_exceeds_its_bound() {
    for (which, dtype) in TYPES.into_iter().enumerate() {
        let large = dtype.block_size() > BLOCK;
        let inputs = if large { [256, 512] } else { [288, 416] }[which % 2];
        // each token but the last one twice, the second beside others than the first
        let (different, vocabulary) = (170, 341);
        let value = |_, at: usize| number(at / inputs % different, at % inputs) / 8.0;
        let files = matrices(inputs, [(dtype, vocabulary)], value);
        for (threads, count) in [(1, 1), (2, 16), (3, 17), (2, 33), (1, 70)] {
            let head = Head::new(&files, threads);
            let rows = rows(which + 100, count, inputs);
            for mut crew in crews(threads) {
                let (found, bounds) = head.best(&mut crew, &rows);
                let logits = head.logits(&mut crew, &rows);
                for (row, logits) in logits.iter().enumerate() {
                    assert_eq!(found[row], greatest(logits), "{dtype:?}, row {row} of {count}");
                    let second = found[row].is_some_and(|token| token as usize >= different);
                    assert!(!second || found[row] == Some(340), "the second of two alike");
                    for (tile, logits) in logits.chunks(COLUMNS).enumerate() {
                        let bound = bounds.bounds[tile * bounds.rows + row] * bounds.units[row];
                        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        assert!(bound >= greatest, "{dtype:?}: {greatest} exceeds {bound}");
                    }
                }
                // bounds that tell nothing would find the same tokens
                let tiles = 0..bounds.tiles;
                let reached = tiles.filter(|tile| bounds.reaches(*tile, 0)).count();
                assert!(reached < bounds.tiles / 2, "{dtype:?}: {reached} tiles");
            }
        }
    }
}

#[test]
fn rows_and_columns_that_are_no_common_numbers_are_found_all_the_same() {
    const ODD: [f32; 10] =
        [0.0, 1e-38, 2e-25, LEAST, 1e-8, 1e20, 3e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let (inputs, vocabulary) = (2 * BLOCK, 16 * 9);
    let mut all = rows(7, 2 * ODD.len() + 1, inputs);
    for (at, odd) in ODD.into_iter().enumerate() {
        all[at].fill(odd);
        all[ODD.len() + at][3] = odd;
    }
    for dtype in [GgmlDType::F32, GgmlDType::BF16, GgmlDType::Q8_0, GgmlDType::Q4_1] {
        // what a file of f16 scales holds
        let wide = matches!(dtype, GgmlDType::F32 | GgmlDType::BF16);
        let held = |odd: &f32| wide || odd.abs() < 1e5;
        for (at, odd) in ODD.into_iter().enumerate().filter(|(_, odd)| held(odd)) {
            let value = |_, at_element: usize| match at_element / inputs {
                token if token == 40 + at || token % 5 == 1 => odd,
                token => number(token, at_element % inputs),
            };
            let head = Head::new(&matrices(inputs, [(dtype, vocabulary)], value), 2);
            for mut crew in crews(2) {
                let (found, _) = head.best(&mut crew, &all);
                let logits = head.logits(&mut crew, &all);
                for (row, logits) in logits.iter().enumerate() {
                    assert_eq!(found[row], greatest(logits), "{dtype:?} {odd} {:?}", all[row]);
                }
            }
        }
    }
}

/// Tokens of one element each but for one, as products that are no normal numbers have them.
fn found_and_greatest(tokens: &[(usize, [f32; 2])], row: [f32; 2]) {
    let inputs = 2 * BLOCK;
    let value = |_, at: usize| match tokens.iter().find(|(token, _)| *token == at / inputs) {
        Some((_, values)) => values.get(at % inputs).copied().unwrap_or(0.0),
        None => 0.0,
    };
    let mut wide = vec![0.0; inputs];
    wide[..2].copy_from_slice(&row);
    for dtype in [GgmlDType::F32, GgmlDType::BF16] {
        let head = Head::new(&matrices(inputs, [(dtype, 32)], value), 1);
        for mut crew in crews(1) {
            let (found, _) = head.best(&mut crew, std::slice::from_ref(&wide));
            let logits = head.logits(&mut crew, std::slice::from_ref(&wide));
            assert_eq!(found[0], greatest(&logits[0]), "{dtype:?} {tokens:?} {row:?}");
        }
    }
}

#[test]
fn products_that_are_too_large_or_too_small_are_found_as_their_kernels_compute_them() {
    // a sum that is infinite on the way, and one that is not
    found_and_greatest(&[(0, [1e20, -1e20]), (16, [1e17, 0.0])], [1e20, 1e20]);
    // products that are all 0
    let all = (0..32).map(|token| (token, if token < 16 { [-2e-25; 2] } else { [-1e-25; 2] }));
    found_and_greatest(&all.clone().collect::<Vec<_>>(), [1e-25; 2]);
    found_and_greatest(&all.collect::<Vec<_>>(), [LEAST; 2]);
}

#[test]
fn columns_that_cancel_out_have_bounds_for_what_their_kernels_round() {
    // d * q and m are large and the weights small, as far as d lets them be
    let (inputs, vocabulary) = (8 * BLOCK, 16 * 4);
    let value = |_, at: usize| match at % BLOCK {
        0 => -1000.0,
        _ => 90.0 * (number(at / inputs, at % inputs) % 1.0),
    };
    let head = Head::new(&matrices(inputs, [(GgmlDType::Q4_1, vocabulary)], value), 1);
    let mut rows = rows(5, 20, inputs);
    rows.iter_mut().for_each(|row| row.iter_mut().step_by(BLOCK).for_each(|x| *x = 0.0));
    for mut crew in crews(1) {
        let (found, bounds) = head.best(&mut crew, &rows);
        for (row, logits) in head.logits(&mut crew, &rows).iter().enumerate() {
            assert_eq!(found[row], greatest(logits));
            for (tile, logits) in logits.chunks(COLUMNS).enumerate() {
                let bound = bounds.bounds[tile * bounds.rows + row] * bounds.units[row];
                assert!(logits.iter().all(|logit| *logit <= bound), "{logits:?} {bound}");
            }
        }
    }
}

#[test]
fn a_row_that_is_not_all_numbers_is_multiplied_with_all_tiles_where_kernels_see_that() {
    let (inputs, vocabulary) = (2 * BLOCK, 16 * 9);
    for dtype in [GgmlDType::Q4_1, GgmlDType::Q8_0, GgmlDType::F32, GgmlDType::BF16] {
        let value = |_, at: usize| number(at / inputs, at % inputs);
        let head = Head::new(&matrices(inputs, [(dtype, vocabulary)], value), 1);
        let mut rows = rows(7, 40, inputs);
        rows.iter_mut().enumerate().for_each(|(at, row)| row[at] = f32::NAN);
        for mut crew in crews(1) {
            let (found, bounds) = head.best(&mut crew, &rows);
            for (row, logits) in head.logits(&mut crew, &rows).iter().enumerate() {
                assert_eq!(found[row], greatest(logits), "{dtype:?}, row {row}");
                // those that take it for 0 have common logits
                let common = logits.iter().all(|logit| logit.abs() < 1e6);
                let reached = (0..bounds.tiles).all(|tile| bounds.reaches(tile, row));
                assert!(common || reached, "{dtype:?}, row {row}");
            }
        }
    }
}

#[test]
fn there_may_be_more_threads_than_tiles() {
    let (inputs, vocabulary) = (BLOCK, 20);
    let value = |_, at: usize| number(at / inputs, at % inputs);
    let head = Head::new(&matrices(inputs, [(GgmlDType::Q8_0, vocabulary)], value), 5);
    let rows = rows(9, 70, inputs);
    for mut crew in crews(5) {
        let (found, _) = head.best(&mut crew, &rows);
        let logits = head.logits(&mut crew, &rows);
        assert!(found.iter().zip(&logits).all(|(found, logits)| *found == greatest(logits)));
    }
}

/// The bound of the first tile with a row, and the logit of the first token.
fn bound_and_logit(crew: &mut Crew, head: &Head, row: &[f32]) -> [f32; 2] {
    let rows = [row.to_vec()];
    let (_, bounds) = head.best(crew, &rows);
    [bounds.bounds[0] * bounds.units[0], head.logits(crew, &rows)[0][0]]
}

fn sign(at: usize) -> f32 {
    if number(2, at) < 0.0 { -1.0 } else { 1.0 }
}

#[test]
fn a_bound_is_all_but_reached_where_a_row_goes_along_what_rounding_left_of_a_column() {
    let inputs = 16 * BLOCK;
    // all but one element of each token are rounded to 0
    const LEFT: f32 = 0.49 / 127.0;
    let value = |_, at: usize| match (at / inputs, at % inputs) {
        (token, k) if token == k => 1.0,
        (_, k) => LEFT * sign(k),
    };
    let head = Head::new(&matrices(inputs, [(GgmlDType::F32, inputs)], value), 1);
    let row: Vec<f32> = (0..inputs).map(|k| if k == 0 { 1.0 } else { sign(k) }).collect();
    for mut crew in crews(1) {
        let [bound, logit] = bound_and_logit(&mut crew, &head, &row);
        let possible = LEFT * inputs as f32;
        assert!(bound >= logit && bound - logit < 0.2 * possible, "{bound} {logit} {possible}");
    }
}

#[test]
fn a_bound_is_all_but_reached_where_a_column_goes_along_what_rounding_left_of_a_row() {
    let inputs = 16 * BLOCK;
    let head = Head::new(&matrices(inputs, [(GgmlDType::F32, 1)], |_, k| sign(k)), 1);
    let size = |k: usize| (100.0 * number(4, k).abs()).trunc() % 100.0 + 0.49;
    let mut row: Vec<f32> = (0..inputs).map(|k| size(k) * sign(k)).collect();
    // the greatest of those with eight bits says what the row's unit is
    let last = head.sketch.order[inputs - 1] as usize;
    row[last] = 127.0 * sign(last);
    for mut crew in crews(1) {
        let [bound, logit] = bound_and_logit(&mut crew, &head, &row);
        let possible = 0.5 * inputs as f32;
        assert!(bound >= logit && bound - logit < 0.15 * possible, "{bound} {logit} {possible}");
    }
}
