//! Every kernel of every instruction set of this machine against its scalar twin, bit for bit,
//! and the scalar ones against plain arithmetic.

use half::f16;
use proptest::prelude::*;

use super::heads::{HeadsCall, POSITIONS};
use super::isa::Isa;
use super::many::{Multiplier, Room, Spreads};
use super::near::Lines;
use super::rows::Best;
use super::scalar;
use super::simd::{BEGIN, LANES};
use super::table::Kernels;
use super::tile::TileCall;
use crate::engine::runners::cpu::form::{BLOCK, COLUMNS, FORMS, Form, SUPER};
use crate::engine::runners::cpu::panel::{self, PANEL_ROWS, RECORD, RECORD_STRIDE};

mod pairs;

const SCALAR: &Kernels = &scalar::KERNELS;

fn others() -> impl Iterator<Item = (Isa, &'static Kernels)> {
    Isa::accelerated().filter_map(|isa| Some((isa, isa.table()?)))
}

/// Where the tests run on an emulator, which is there for these instruction sets.
#[test]
fn the_instruction_sets_that_a_machine_is_said_to_have_are_tested() {
    let Ok(said) = std::env::var("BATCHGEN_TEST_KERNELS") else { return };
    let words: Vec<&str> = others().map(|(isa, _)| isa.word()).collect();
    assert!(said.split(',').eq(words.iter().copied()), "there are {words:?}");
}

/// Numbers that depend on the seed alone, in -1..1.
fn noise(seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    std::iter::repeat_with(move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

fn floats(seed: u64, count: usize) -> Vec<f32> {
    noise(seed).take(count).collect()
}

/// A tile of any quants with scales that are numbers.
fn tile(form: Form, blocks: usize, seed: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        noise(seed).map(|x| (x * 128.0) as i8 as u8).take(form.tile_bytes(blocks)).collect();
    let scales = &mut bytes[blocks * form.block_bytes()..];
    match form {
        Form::U4 | Form::U8 | Form::U8Min => {
            put(scales, noise(seed + 1).map(|x| f16::from_f32(x).to_le_bytes()))
        }
        Form::U4Super | Form::U8MinSuper | Form::U8Halves => {
            // the scales of blocks are any bytes
            let factors = &mut scales[blocks * form.scale_bytes()..];
            put(factors, noise(seed + 1).map(|x| f16::from_f32(x / 100.0).to_le_bytes()));
        }
        Form::F32 => put(&mut bytes, noise(seed + 1).map(f32::to_le_bytes)),
        Form::F16 => put(&mut bytes, noise(seed + 1).map(|x| f16::from_f32(x).to_le_bytes())),
        Form::Bf16 => {
            put(&mut bytes, noise(seed + 1).map(|x| half::bf16::from_f32(x).to_le_bytes()))
        }
    }
    bytes
}

fn put<const N: usize>(place: &mut [u8], values: impl Iterator<Item = [u8; N]>) {
    place.chunks_exact_mut(N).zip(values).for_each(|(place, value)| place.copy_from_slice(&value));
}

/// A panel of quantised rows.
fn records(kernels: &Kernels, rows: &[f32], blocks: usize) -> Vec<u8> {
    let mut panel = vec![0; PANEL_ROWS * blocks * RECORD];
    for (number, row) in rows.chunks(blocks * BLOCK).enumerate() {
        let record = panel[number * RECORD..].as_mut_ptr();
        // SAFETY: the row has these blocks, and so has its place in the panel.
        unsafe { (kernels.quantise)(row.as_ptr(), blocks, record, RECORD_STRIDE) };
    }
    panel
}

/// Multiplies by a thread that has been at other tiles, and at this one before the last.
///
/// # Safety
/// That of [`TileCall`], for so many rows of a whole panel on a machine that has the kernels.
#[allow(unsafe_op_in_unsafe_fn, reason = "one contract for the whole function")]
unsafe fn multiply_after_others(
    kernels: &'static Kernels,
    form: Form,
    tile: &[u8],
    call: &TileCall,
    rows: usize,
) {
    let others: [Vec<u8>; 3] =
        std::array::from_fn(|at| tile.iter().map(|byte| byte ^ (1 << at)).collect());
    let mut spread = vec![0; Room::bytes(call.blocks)];
    let room = Room { place: spread.as_mut_ptr(), blocks: call.blocks };
    let mut nowhere = [[0.0f32; COLUMNS]; PANEL_ROWS];
    let mut by = Multiplier::new(kernels, 1000, room);
    for weights in [&others[0], &others[1], tile, &others[2]] {
        let other = TileCall {
            weights: weights.as_ptr(),
            out: nowhere.as_mut_ptr().cast(),
            out_stride: COLUMNS,
            base: std::ptr::null(),
            ..*call
        };
        by.multiply(form, &other, rows);
    }
    by.multiply(form, call, rows);
    drop(by);
    let many = kernels.many(1000).filter(|many| rows >= many.panel_rows);
    let kernel = many.and_then(|many| many.kernels[form as usize].as_ref());
    let spreads = kernel.is_some_and(|kernel| !matches!(kernel.spread, Spreads::Never));
    assert_eq!(spread.iter().any(|byte| *byte != 0), spreads, "{form:?}, {rows} rows");
}

fn multiply(
    kernels: &'static Kernels,
    form: Form,
    tile: &[u8],
    input: &[u8],
    stride: usize,
    blocks: usize,
    rows: usize,
) -> Vec<u32> {
    let mut out = [[0.0f32; COLUMNS]; PANEL_ROWS];
    let call = TileCall {
        weights: tile.as_ptr(),
        blocks,
        input: input.as_ptr(),
        input_stride: stride,
        out: out.as_mut_ptr().cast(),
        out_stride: COLUMNS,
        base: std::ptr::null(),
        base_stride: 0,
        ahead: [3, 40].map(|count| Lines { address: tile.as_ptr(), count }),
    };
    // SAFETY: the tile is whole and the input has these rows, and a whole panel.
    unsafe { multiply_after_others(kernels, form, tile, &call, rows) };
    out[..rows].iter().flatten().map(|value| value.to_bits()).collect()
}

#[test]
fn every_f16_is_widened_to_the_same_bits() {
    // times 1, and all others of the block times 0
    let mut x = [0.0f32; BLOCK];
    x[0] = 1.0;
    let (input, _) = input(Form::F16, &x, 1);
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    for halves in halves.chunks_exact(COLUMNS) {
        let mut tile = vec![0; Form::F16.tile_bytes(1)];
        put(&mut tile, halves.iter().map(|half| half.to_le_bytes()));
        let expected = halves.iter().map(|half| f16::from_bits(*half).to_f32());
        for (isa, kernels) in others().chain([(Isa::Scalar, SCALAR)]) {
            let widened = multiply(kernels, Form::F16, &tile, &input, BLOCK, 1, 1);
            for (bits, expected) in widened.into_iter().zip(expected.clone()) {
                let value = f32::from_bits(bits);
                // adding 0 makes -0 plain
                let same = bits == (expected + 0.0).to_bits();
                assert!(same || value.is_nan() && expected.is_nan(), "{isa:?}: {expected}");
            }
        }
    }
}

#[test]
fn f32_is_rounded_to_f16_as_half_rounds_it() {
    // around the greatest half, the least normal one and the least of all, and ties
    let edges = [65_504.0, 65_519.996, 65_520.0, 1e9, f32::INFINITY, 6.103_515_6e-5, 6.1e-5];
    let small = [2f32.powi(-24), 2f32.powi(-25), 2f32.powi(-25) * 1.01, 1e-40, 0.0];
    let ties = [1.0 + 2f32.powi(-11), 1.0 + 3.0 * 2f32.powi(-11), 2049.0, 2051.0];
    let mut values: Vec<f32> = [&edges[..], &small, &ties].concat();
    values.extend(values.clone().iter().map(|value| -value));
    for key in values.chunks_exact(LANES) {
        let expected = key.iter().map(|value| f16::from_f32(*value).to_bits());
        for (isa, kernels) in others().chain([(Isa::Scalar, SCALAR)]) {
            let mut block = vec![0u16; 2 * POSITIONS * LANES];
            // SAFETY: key and value are as wide as a vector, and the block is whole.
            unsafe {
                (kernels.keep)(key.as_ptr(), key.as_ptr(), LANES, block.as_mut_ptr().cast(), 0);
            }
            let keys = block.iter().copied().step_by(POSITIONS).take(LANES);
            assert!(keys.eq(expected.clone()), "keys, {isa:?}");
            let values = block[POSITIONS * LANES..].iter().copied().take(LANES);
            assert!(values.eq(expected.clone()), "values, {isa:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_tile_gives_the_same_bits_on_every_instruction_set_and_beside_any_rows(
        which in 0..FORMS.len(), rows in 1..=PANEL_ROWS, blocks in 1usize..20, seed in any::<u32>(),
    ) {
        let (form, seed) = (FORMS[which], u64::from(seed));
        let tile = tile(form, blocks, seed);
        let width = blocks * BLOCK;
        let x = floats(seed + 2, rows * width);
        let (input, step) = input(form, &x, blocks);
        let alone: Vec<u32> = (0..rows)
            .flat_map(|row| multiply(SCALAR, form, &tile, &input[row * step..], width, blocks, 1))
            .collect();
        for (isa, kernels) in others().chain([(Isa::Scalar, SCALAR)]) {
            let together = multiply(kernels, form, &tile, &input, width, blocks, rows);
            prop_assert_eq!(&together, &alone, "{:?} {:?}", isa, form);
        }
    }

    #[test]
    fn rows_are_normed_and_quantised_to_the_same_bits(
        blocks in 1usize..20, cut in 0usize..BLOCK, seed in any::<u32>(), size in -40i32..20,
    ) {
        let (count, seed) = (blocks * BLOCK - cut, u64::from(seed));
        let scale = 2f32.powi(size);
        let mut x: Vec<f32> = noise(seed).map(|x| x * scale).take(blocks * BLOCK).collect();
        x[count..].fill(0.0);
        let weight = floats(seed + 1, blocks * BLOCK);
        let norm = |kernels: &Kernels| {
            let mut out = vec![0.0f32; blocks * BLOCK];
            // SAFETY: all three have these blocks.
            unsafe { (kernels.norm)(x.as_ptr(), weight.as_ptr(), count, 1e-5, out.as_mut_ptr()) };
            out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        for (isa, kernels) in others() {
            prop_assert_eq!(norm(kernels), norm(SCALAR), "{:?}", isa);
            prop_assert_eq!(records(kernels, &x, blocks), records(SCALAR, &x, blocks), "{:?}", isa);
        }
    }

    #[test]
    fn gate_and_rope_give_the_same_bits(seed in any::<u32>(), half in 1usize..70, scale in 0.1f32..60.0) {
        let seed = u64::from(seed);
        let (gate, up): (Vec<f32>, _) = (noise(seed).map(|x| x * scale).take(64).collect(), floats(seed + 1, 64));
        let head = floats(seed + 2, 2 * half);
        let (cos, sin) = (floats(seed + 3, half), floats(seed + 4, half));
        let run = |kernels: &Kernels| {
            let (mut out, mut gelu, mut turned) = ([0.0f32; 64], [0.0f32; 64], head.clone());
            let mut in_place = head.clone();
            // SAFETY: all have the lengths that are given.
            unsafe {
                (kernels.gate)(gate.as_ptr(), up.as_ptr(), 4, out.as_mut_ptr(), LANES);
                (kernels.gelu_gate)(gate.as_ptr(), up.as_ptr(), 4, gelu.as_mut_ptr(), LANES);
                let (cos, sin, place) = (cos.as_ptr(), sin.as_ptr(), in_place.as_mut_ptr());
                (kernels.rope)(head.as_ptr(), cos, sin, half, 0.125, turned.as_mut_ptr());
                (kernels.rope)(place.cast_const(), cos, sin, half, 0.125, place);
            }
            out.into_iter().chain(gelu).chain(turned).chain(in_place).map(f32::to_bits).collect::<Vec<_>>()
        };
        let plain = run(SCALAR);
        let heads = &plain[128..];
        prop_assert_eq!(&heads[..2 * half], &heads[2 * half..], "in place");
        for (isa, kernels) in others() {
            prop_assert_eq!(&run(kernels), &plain, "{:?}", isa);
        }
    }

    #[test]
    fn attention_gives_the_same_bits(
        seed in any::<u32>(), heads in 1usize..8, blocks_wide in 1usize..5, end in 1usize..100,
        window in 1usize..120, exact in any::<bool>(),
    ) {
        let width = blocks_wide * BLOCK;
        let problem = Problem { seed: u64::from(seed), rows: 1, heads, width, end, window, exact };
        for (isa, kernels) in others() {
            prop_assert_eq!(problem.bits(kernels), problem.bits(SCALAR), "{:?}", isa);
        }
    }

    #[test]
    fn attention_of_rows_together_gives_the_bits_of_each_alone(
        seed in any::<u32>(), rows in 1usize..7, heads in 1usize..6, end in 1usize..100,
        window in 1usize..120, exact in any::<bool>(),
    ) {
        let problem = Problem { seed: u64::from(seed), rows, heads, width: 96, end, window, exact };
        let alone: Vec<u32> = (0..rows).flat_map(|row| problem.row(row).bits(SCALAR)).collect();
        for (isa, kernels) in others().chain([(Isa::Scalar, SCALAR)]) {
            prop_assert_eq!(&problem.bits(kernels), &alone, "{:?}", isa);
        }
    }

    #[test]
    fn scalar_attention_is_attention(
        seed in any::<u32>(), heads in 1usize..8, end in 1usize..100, window in 1usize..120,
    ) {
        let seed = u64::from(seed);
        let problem = Problem { seed, rows: 1, heads, width: 32, end, window, exact: true };
        let expected = problem.definition();
        for (actual, expected) in problem.bits(SCALAR).into_iter().map(f32::from_bits).zip(expected) {
            prop_assert!((f64::from(actual) - expected).abs() < 1e-5, "{} {}", actual, expected);
        }
    }

    #[test]
    fn a_quantised_tile_is_the_product_of_its_numbers(seed in any::<u32>(), which in 0usize..6) {
        // two super-blocks and a half
        let (form, blocks, seed) = (FORMS[which], 2 * SUPER + 4, u64::from(seed));
        let tile = tile(form, blocks, seed);
        let x = floats(seed + 9, blocks * BLOCK);
        // whole numbers to 127, of which each block has one: quantising does not round them
        let mut whole: Vec<f32> = x.iter().map(|x| (x * 127.0).round()).collect();
        whole.iter_mut().step_by(BLOCK).for_each(|x| *x = 127.0);
        // otherwise an activation is off by half a step of 1/127
        for (x, tolerance) in [(x, 1.0 / 250.0), (whole, 127.0 * 1e-6)] {
            let input = records(SCALAR, &x, blocks);
            let product = multiply(SCALAR, form, &tile, &input, 0, blocks, 1);
            for (column, bits) in product.into_iter().enumerate() {
                let element = |k: usize| element(form, &tile, blocks, column, k);
                let expected: f64 = (0..x.len()).map(|k| f64::from(x[k]) * element(k)).sum();
                let size: f64 = (0..x.len()).map(|k| element(k).abs()).sum();
                let off = (f64::from(f32::from_bits(bits)) - expected).abs();
                prop_assert!(off < size * tolerance, "{:?}: {} of {}", form, off, size);
            }
        }
    }
}

/// An element of a tile that is quantised or bf16.
fn element(form: Form, tile: &[u8], blocks: usize, column: usize, k: usize) -> f64 {
    if form == Form::Bf16 {
        let at = 2 * (k / 2 * 2 * COLUMNS + 2 * column + k % 2);
        return half::bf16::from_le_bytes([tile[at], tile[at + 1]]).to_f64();
    }
    let (q, [d, m]) = number(form, tile, blocks, column, k);
    d * q + m
}

/// The number of an element, and its d and m, from the description of the form.
fn number(form: Form, tile: &[u8], blocks: usize, column: usize, k: usize) -> (f64, [f64; 2]) {
    let (block, within) = (k / BLOCK, k % BLOCK);
    let quants = &tile[block * form.block_bytes()..];
    let byte = |vector: usize| quants[64 * vector + 4 * column + within % 4];
    let q = match form {
        Form::U4 | Form::U4Super => f64::from(byte(within % 16 / 4) >> (within / 16 * 4) & 15),
        _ => f64::from(byte(within / 4)) - 128.0,
    };
    let scales = &tile[blocks * form.block_bytes() + block * form.scale_bytes()..];
    let half = |scales: &[u8], row: usize| {
        let at = (row * COLUMNS + column) * 2;
        f64::from(f16::from_le_bytes([scales[at], scales[at + 1]]))
    };
    let factors = &tile[blocks * (form.block_bytes() + form.scale_bytes())..];
    let scale = |row: usize| {
        if form.has_super_blocks() {
            let factors = &factors[block / SUPER * form.factor_bytes()..];
            half(factors, row) * f64::from(scales[row * COLUMNS + column] as i8)
        } else {
            half(scales, row)
        }
    };
    match form {
        Form::U8 => (q, [scale(0), 0.0]),
        Form::U8Halves => (q, [scale(within / 16), 0.0]),
        Form::U4 | Form::U4Super | Form::U8Min | Form::U8MinSuper => (q, [scale(0), scale(1)]),
        Form::F32 | Form::F16 | Form::Bf16 => unreachable!("only quantised forms"),
    }
}

/// Attention of consecutive rows over random keys and values.
struct Problem {
    seed: u64,
    rows: usize,
    heads: usize,
    width: usize,
    /// The position after the first row's.
    end: usize,
    window: usize,
    exact: bool,
}

impl Problem {
    /// One of its rows alone.
    fn row(&self, row: usize) -> Self {
        Self { rows: 1, end: self.end + row, ..*self }
    }

    /// A query head of the row at position `end - 1`.
    fn query(&self, end: usize, head: usize) -> Vec<f32> {
        floats(self.seed + 10_000 + (100 * end + head) as u64, self.width)
    }

    fn queries(&self) -> Vec<f32> {
        let rows = (0..self.rows).flat_map(|row| (0..self.heads).map(move |head| (row, head)));
        rows.flat_map(|(row, head)| self.query(self.end + row, head)).collect()
    }

    fn key(&self, position: usize) -> Vec<f32> {
        floats(self.seed + 1000 + position as u64, self.width)
    }

    fn value(&self, position: usize) -> Vec<f32> {
        floats(self.seed + 5000 + position as u64, self.width)
    }

    fn start(&self) -> usize {
        self.end.saturating_sub(self.window)
    }

    fn bits(&self, kernels: &Kernels) -> Vec<u32> {
        let element = if self.exact { 4 } else { 2 };
        let block_bytes = 2 * POSITIONS * self.width * element;
        let end = self.end + self.rows - 1;
        let blocks = end.div_ceil(POSITIONS);
        // what was there before must not matter: fill it with what is not a number
        let mut cache = vec![0xffu8; blocks * block_bytes];
        let (attend, keep) = match self.exact {
            true => (kernels.attend_exactly, kernels.keep_exactly),
            false => (kernels.attend, kernels.keep),
        };
        for position in 0..end {
            let (key, value) = (self.key(position), self.value(position));
            let block = cache[position / POSITIONS * block_bytes..].as_mut_ptr();
            // SAFETY: the block is whole, and key and value are as wide.
            unsafe { keep(key.as_ptr(), value.as_ptr(), self.width, block, position % POSITIONS) };
        }
        let stride = blocks * POSITIONS;
        let queries = self.queries();
        // what is not seen may be anything
        let mut scores = vec![1e3; self.rows * self.heads * stride];
        // other heads lie between those of two rows
        let (own, out_stride) = (self.heads * self.width, self.heads * self.width + BLOCK);
        let mut out = vec![7.0f32; self.rows * out_stride];
        let call = HeadsCall {
            queries: queries.as_ptr(),
            rows: self.rows,
            heads: self.heads,
            width: self.width,
            blocks: cache.as_ptr(),
            end: self.end,
            window: self.window,
            scores: scores.as_mut_ptr(),
            scores_stride: stride,
            out: out.as_mut_ptr(),
            out_stride,
            next: cache.as_ptr(),
        };
        // SAFETY: every length is as the call asks.
        unsafe { attend(&call) };
        assert!(out.chunks(out_stride).all(|row| row[own..] == [7.0; BLOCK]));
        out.chunks(out_stride).flat_map(|row| &row[..own]).map(|x| x.to_bits()).collect()
    }

    fn definition(&self) -> Vec<f64> {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let mut out = Vec::new();
        for query in self.queries().chunks(self.width) {
            let seen = self.start()..self.end;
            let weights: Vec<f64> = seen.clone().map(|p| dot(query, &self.key(p)).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut mixed = vec![0.0; self.width];
            for (position, weight) in seen.zip(weights) {
                for (mixed, value) in mixed.iter_mut().zip(self.value(position)) {
                    *mixed += weight / total * f64::from(value);
                }
            }
            out.extend(mixed);
        }
        out
    }
}

#[test]
fn the_largest_sums_of_nibbles_and_bytes_are_exact() {
    // 15 and the minimum 1 of nibbles; 127 and -128: a byte of 255 or 0 less 128
    for (form, byte, weight) in
        [(Form::U4, 0xff, 16.0), (Form::U8, 0xff, 127.0), (Form::U8, 0x00, -128.0f32)]
    {
        let mut tile = vec![byte; form.tile_bytes(1)];
        put(&mut tile[form.block_bytes()..], std::iter::repeat(f16::ONE.to_le_bytes()));
        for sign in [1.0, -1.0] {
            let input = records(SCALAR, &[127.0 * sign; BLOCK * PANEL_ROWS], 1);
            let expected = (32.0 * 127.0 * sign * weight).to_bits();
            for (isa, kernels) in others().chain([(Isa::Scalar, SCALAR)]) {
                for rows in 1..=PANEL_ROWS {
                    let product = multiply(kernels, form, &tile, &input, BLOCK, 1, rows);
                    let expected = vec![expected; rows * COLUMNS];
                    assert_eq!(product, expected, "{isa:?} {form:?} {byte}, {rows} rows");
                }
            }
        }
    }
}

/// Rows of a form as its kernels read them, and from one to the next.
fn input(form: Form, x: &[f32], blocks: usize) -> (Vec<u8>, usize) {
    if form.is_quantised() {
        (records(SCALAR, x, blocks), RECORD)
    } else {
        (x.iter().flat_map(|x| x.to_le_bytes()).collect(), blocks * BLOCK * 4)
    }
}

#[test]
fn any_rows_of_every_form_are_added_to_what_is_there_and_to_a_bias() {
    const WIDE: usize = COLUMNS + 3;
    // more than a super-block, and than are multiplied before sums are added up
    let (blocks, before) = (SUPER + 1, floats(1, PANEL_ROWS * WIDE));
    let bias = floats(2, COLUMNS);
    for (form, rows) in FORMS.into_iter().flat_map(|form| (1..=PANEL_ROWS).map(move |n| (form, n)))
    {
        let tile = tile(form, blocks, rows as u64);
        let (input, step) = input(form, &floats(3, rows * blocks * BLOCK), blocks);
        let row = |row| multiply(SCALAR, form, &tile, &input[row * step..], 0, blocks, 1);
        let alone: Vec<f32> = (0..rows).flat_map(row).map(f32::from_bits).collect();
        for ((isa, kernels), own) in others().flat_map(|isa| [(isa, true), (isa, false)]) {
            let mut out = before.clone();
            let call = TileCall {
                weights: tile.as_ptr(),
                blocks,
                input: input.as_ptr(),
                input_stride: blocks * BLOCK,
                out: out.as_mut_ptr(),
                out_stride: WIDE,
                base: if own { out.as_ptr() } else { bias.as_ptr() },
                base_stride: if own { WIDE } else { 0 },
                ahead: [3, 40].map(|count| Lines { address: tile.as_ptr(), count }),
            };
            // SAFETY: the tile is whole, and the input, the output and the base have these rows.
            unsafe { multiply_after_others(kernels, form, &tile, &call, rows) };
            for (at, (now, before)) in out.iter().zip(&before).enumerate() {
                let (row, column) = (at / WIDE, at % WIDE);
                let expected = if row < rows && column < COLUMNS {
                    let base = if own { *before } else { bias[column] };
                    base + alone[row * COLUMNS + column]
                } else {
                    *before
                };
                let told = format!("{isa:?} {form:?} {rows} rows, {row}, {column}");
                assert_eq!(now.to_bits(), expected.to_bits(), "{told}");
            }
        }
    }
}

#[test]
fn the_gate_is_silu_times_up() {
    for step in -400..400 {
        let x = step as f32 * 0.25;
        let (gate, up, mut out) = ([x; LANES], [1.5f32; LANES], [0.0f32; LANES]);
        // SAFETY: 16 elements each.
        unsafe { (SCALAR.gate)(gate.as_ptr(), up.as_ptr(), 1, out.as_mut_ptr(), LANES) };
        let expected = f64::from(x) / (1.0 + (-f64::from(x)).exp()) * 1.5;
        let off = (f64::from(out[0]) - expected).abs();
        assert!(off <= 4e-7 * expected.abs() + 1e-30, "{x}: {} {expected}", out[0]);
    }
}

#[test]
fn the_other_gate_is_gelu_times_up() {
    for step in -400..400 {
        let x = step as f32 * 0.05;
        let (gate, up, mut out) = ([x; LANES], [1.5f32; LANES], [0.0f32; LANES]);
        // SAFETY: 16 elements each.
        unsafe { (SCALAR.gelu_gate)(gate.as_ptr(), up.as_ptr(), 1, out.as_mut_ptr(), LANES) };
        let wide = f64::from(x);
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044_715 * wide.powi(3));
        let expected = 0.5 * wide * (1.0 + inner.tanh()) * 1.5;
        let off = (f64::from(out[0]) - expected).abs();
        assert!(off <= 2e-6 * expected.abs() + 1e-7, "{x}: {} {expected}", out[0]);
    }
}

#[test]
fn the_norm_is_rms_norm() {
    let (x, weight) = (floats(1, 64), floats(2, 64));
    let mut out = vec![0.0f32; 64];
    // SAFETY: 64 elements each.
    unsafe { (SCALAR.norm)(x.as_ptr(), weight.as_ptr(), 64, 1e-5, out.as_mut_ptr()) };
    let mean: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 64.0;
    for i in 0..64 {
        let expected = f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(weight[i]);
        assert!((f64::from(out[i]) - expected).abs() < 1e-6);
    }
}

/// More blocks of a row than are quantised together.
const BLOCKS: usize = 7;

#[test]
fn blocks_of_zeros_and_of_almost_nothing_quantise_to_zeros() {
    for value in [0.0f32, 1e-38, f32::from_bits(1)] {
        for (_, kernels) in others().chain([(Isa::Scalar, SCALAR)]) {
            let records = records(kernels, &[value; BLOCKS * BLOCK], BLOCKS);
            for record in records.chunks(RECORD_STRIDE).map(|records| &records[..RECORD]) {
                let mut expected = [0; RECORD];
                expected[panel::OFFSET..][..4].copy_from_slice(&BEGIN.to_le_bytes());
                assert_eq!(record, expected);
            }
        }
    }
}

#[test]
fn a_block_that_is_not_all_numbers_is_quantised_alike_beside_any_others() {
    let odd = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX];
    for (place, odd) in (0..BLOCKS * BLOCK).flat_map(|place| odd.map(|odd| (place, odd))) {
        let mut x = floats(5, BLOCKS * BLOCK);
        x[place] = odd;
        for (isa, kernels) in others().chain([(Isa::Scalar, SCALAR)]) {
            let mut together = vec![0; BLOCKS * RECORD];
            // SAFETY: there are so many blocks and records, which lie side by side.
            unsafe { (kernels.quantise)(x.as_ptr(), BLOCKS, together.as_mut_ptr(), RECORD) };
            for (block, x) in x.chunks(BLOCK).enumerate() {
                let alone = records(kernels, x, 1);
                let record = &together[block * RECORD..][..RECORD];
                assert_eq!(record, &alone[..RECORD], "{isa:?}, {odd} at {place}, block {block}");
            }
        }
    }
}

#[test]
fn the_best_tile_is_the_first_of_the_greatest_values() {
    for (isa, kernels) in others().chain([(Isa::Scalar, SCALAR)]) {
        let mut best = [Best { values: [f32::NEG_INFINITY; LANES], tiles: [0; LANES] }; 2];
        for (tile, value) in [(3, 1.0f32), (4, f32::NAN), (5, 2.0), (6, 2.0), (7, 0.0)] {
            let values = [[value; LANES], [value + 8.0 * f32::from(tile == 7); LANES]];
            // SAFETY: 16 values for each of two rows.
            unsafe { (kernels.best)(values.as_ptr().cast(), tile, &mut best) };
        }
        let [first, second] = best.map(|best| (best.values, best.tiles));
        assert_eq!(first, ([2.0; LANES], [5; LANES]), "{isa:?}");
        assert_eq!(second, ([8.0; LANES], [7; LANES]), "{isa:?}");
    }
}
