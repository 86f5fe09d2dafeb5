//! The heart: a few rows of activations times one tile of weights.
//!
//! A lane is an output column, so nothing is ever summed across lanes, and the blocks of the
//! depth are taken in one order. How many rows are computed together changes only what is kept
//! in registers: each row's result is the same bits with any neighbours.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of TileCall")]

use std::ops::Range;

use super::near::Lines;
use super::simd::{BEGIN, BEGIN_F32, LANES, Simd};
use crate::engine::runners::cpu::form::{BLOCK, Form, LINE, SUPER};
use crate::engine::runners::cpu::panel::{self, RECORD, RECORD_STRIDE};

/// What a tile kernel computes.
///
/// # Safety
/// `weights` is a whole tile of the kernel's form with `blocks` blocks. `input` is the first
/// row's record of the first block for quantised forms and pairs (the rows lie in one panel, unless a
/// kernel is for those of several), and the
/// first row's first element for other dense ones, whose rows are `input_stride` elements apart and
/// at least `blocks * 32` long. `out` takes 16 elements for each row, `out_stride` apart; where
/// `base` is not null it is good for as many, `base_stride` apart, and may be `out`.
#[derive(Clone, Copy)]
pub(super) struct TileCall {
    pub weights: *const u8,
    pub blocks: usize,
    pub input: *const u8,
    pub input_stride: usize,
    pub out: *mut f32,
    pub out_stride: usize,
    /// What is added to the results.
    pub base: *const f32,
    pub base_stride: usize,
    /// What is brought near meanwhile: weights, keys and values that are needed soon.
    pub ahead: [Lines; 2],
}

impl TileCall {
    /// The call, which is for no pairs, for `some` of its `rows` rows, with their share of what is
    /// brought near.
    #[inline(always)]
    pub fn part(&self, form: Form, some: Range<usize>, rows: usize) -> Self {
        let row_bytes = if form.is_quantised() { RECORD } else { self.input_stride * 4 };
        let base = self.base.wrapping_add(some.start * self.base_stride);
        Self {
            input: self.input.wrapping_add(some.start * row_bytes),
            out: self.out.wrapping_add(some.start * self.out_stride),
            base: if self.base.is_null() { self.base } else { base },
            ahead: [self.ahead[0].share(&some, rows), self.ahead[1].share(&some, rows)],
            ..*self
        }
    }
}

/// A kernel for one form and one number of rows.
pub(super) type TileFn = unsafe fn(&TileCall);

/// Makes of a call's weights what a kernel for many rows reads.
///
/// # Safety
/// As [`TileCall`] says of its weights, and there is room for what is made.
pub(super) type SpreadFn = unsafe fn(&TileCall, *mut u8);

/// Marks a quantised form for the compiler; see [`Form`] for what it means.
pub(super) trait Quants {
    const FORM: Form;
    const NIBBLES: bool;
    const HALVES: bool;
    const MIN: bool;
}

macro_rules! quants {
    ($($name:ident: $nibbles:literal $halves:literal $min:literal;)*) => {$(
        pub(super) struct $name;
        impl Quants for $name {
            const FORM: Form = Form::$name;
            const NIBBLES: bool = $nibbles;
            const HALVES: bool = $halves;
            const MIN: bool = $min;
        }
    )*};
}

// nibbles, halves, min
quants! {
    U4: true false true;
    U4Super: true false true;
    U8: false false false;
    U8Min: false false true;
    U8MinSuper: false false true;
    U8Halves: false true false;
}

/// Computes `R` rows of a quantised tile.
#[inline(always)]
pub(super) unsafe fn quantised<S: Simd, Q: Quants, const R: usize>(call: &TileCall) {
    let mut totals = [S::zero(); R];
    let mut weights = call.weights;
    let mut scales = Scales::new::<Q>(call);
    let mut record = call.input;
    let mut ahead = Ahead::new(call);
    for _ in 0..call.blocks {
        ahead.step();
        let sums = integer_sums::<S, Q, R>(weights, record);
        add_scaled::<S, Q, R>(&mut totals, sums, scales.next::<S, Q>(), record.add(panel::SCALE));
        weights = weights.add(Q::FORM.block_bytes());
        record = record.add(RECORD_STRIDE);
    }
    for (row, total) in totals.iter().enumerate() {
        finish::<S>(call, row, *total);
    }
}

/// Adds a block's sums, which began with [`BEGIN`], to the totals, times the scales of their rows and
/// columns. All rows' products come first and then what is added, so that a row waits less for its
/// own.
#[inline(always)]
pub(super) unsafe fn add_scaled<S: Simd, Q: Quants, const R: usize>(
    totals: &mut [S::F; R],
    [first, second]: [[S::I; R]; 2],
    [d, second_d_or_m]: [S::F; 2],
    header: *const u8,
) {
    add_products::<S, R>(totals, first, d, header);
    if Q::HALVES {
        add_products::<S, R>(totals, second, second_d_or_m, header);
    }
    if Q::MIN {
        for (r, total) in totals.iter_mut().enumerate() {
            let sum = S::splat(*header.add(r * RECORD).cast::<f32>().add(1));
            *total = S::fma(sum, second_d_or_m, *total);
        }
    }
}

/// What is too much in a sum's product with `d`, negative: what [`BEGIN`] is as a float, times `d`,
/// which has so few bits that this is exact.
#[inline(always)]
pub(super) unsafe fn too_much<S: Simd>(d: S::F) -> S::F {
    S::mul(d, S::splat(-BEGIN_F32))
}

/// Adds sums times `d` and the scales of their rows, with which the headers begin.
#[inline(always)]
unsafe fn add_products<S: Simd, const R: usize>(
    totals: &mut [S::F; R],
    sums: [S::I; R],
    d: S::F,
    header: *const u8,
) {
    let mut products = [S::zero(); R];
    let too_much = too_much::<S>(d);
    for (r, product) in products.iter_mut().enumerate() {
        *product = S::fma(S::as_float(sums[r]), d, too_much);
    }
    for (r, total) in totals.iter_mut().enumerate() {
        let scale = S::splat(*header.add(r * RECORD).cast::<f32>());
        *total = S::fma(products[r], scale, *total);
    }
}

/// Puts a row's results where they belong.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(call: &TileCall, row: usize, mut total: S::F) {
    if !call.base.is_null() {
        total = S::add(S::load(call.base.add(row * call.base_stride)), total);
    }
    S::store(call.out.add(row * call.out_stride), total);
}

/// What is brought near while a tile is computed, some lines with each block.
pub(super) struct Ahead([Asked; 2]);

/// Lines that are still to be asked for.
struct Asked {
    lines: Lines,
    each: usize,
}

impl Ahead {
    #[inline(always)]
    pub fn new(call: &TileCall) -> Self {
        let [first, second] = call.ahead;
        Self([Asked::new(first, call.blocks), Asked::new(second, call.blocks)])
    }

    #[inline(always)]
    pub fn step(&mut self) {
        self.0[0].step();
        self.0[1].step();
    }
}

impl Asked {
    #[inline(always)]
    fn new(lines: Lines, blocks: usize) -> Self {
        Self { lines, each: lines.count.div_ceil(blocks.max(1)) }
    }

    #[inline(always)]
    fn step(&mut self) {
        let now = self.each.min(self.lines.count);
        self.lines.count -= now;
        Lines { count: now, ..self.lines }.ask();
        self.lines.address = self.lines.address.wrapping_add(now * LINE);
    }
}

/// Bytes of a row of f16.
const F16_ROW: usize = LANES * 2;

/// Where the scales of a tile's next block are.
pub(super) struct Scales {
    scales: *const u8,
    factors: *const u8,
    /// Blocks of the super-block that are still to come.
    left: usize,
}

impl Scales {
    /// Those of the first block.
    #[inline(always)]
    pub unsafe fn new<Q: Quants>(call: &TileCall) -> Self {
        let scales = call.weights.add(call.blocks * Q::FORM.block_bytes());
        Self { scales, factors: scales.add(call.blocks * Q::FORM.scale_bytes()), left: SUPER }
    }

    /// The next block's d, and the second d or m, which is 0 where the form has none.
    #[inline(always)]
    pub unsafe fn next<S: Simd, Q: Quants>(&mut self) -> [S::F; 2] {
        let scales = self.scales;
        self.scales = scales.add(Q::FORM.scale_bytes());
        if !Q::FORM.has_super_blocks() {
            let m = if Q::MIN { S::load_f16(scales.add(F16_ROW).cast()) } else { S::zero() };
            return [S::load_f16(scales.cast()), m];
        }
        let factors = self.factors;
        self.left -= 1;
        if self.left == 0 {
            (self.factors, self.left) = (factors.add(Q::FORM.factor_bytes()), SUPER);
        }
        // both have few bits, so that their products are exact
        [
            S::mul(S::load_f16(factors.cast()), S::load_i8(scales.cast())),
            S::mul(S::load_f16(factors.add(F16_ROW).cast()), S::load_i8(scales.add(LANES).cast())),
        ]
    }
}

/// The sums of weight times activation over a block; over its halves where the form asks.
#[inline(always)]
unsafe fn integer_sums<S: Simd, Q: Quants, const R: usize>(
    weights: *const u8,
    record: *const u8,
) -> [[S::I; R]; 2] {
    let none = [S::splat_int(0); R];
    if Q::NIBBLES {
        [nibble_sums::<S, R>(weights, record), none]
    } else if Q::HALVES {
        half_sums::<S, R>(weights, record)
    } else {
        [byte_sums::<S, R>(weights, record), none]
    }
}

/// The sums over a block of nibbles.
#[inline(always)]
unsafe fn nibble_sums<S: Simd, const R: usize>(weights: *const u8, record: *const u8) -> [S::I; R] {
    let mut sums = [S::begin_nibbles(); R];
    for v in 0..4 {
        let vector = S::load_weights(weights.add(64 * v));
        let (low, high) = (S::low_nibbles(vector), S::high_nibbles(vector));
        for (r, sum) in sums.iter_mut().enumerate() {
            let activations = record.add(r * RECORD + 4 * v).cast::<i8>();
            *sum = S::dot_nibbles(*sum, low, activations);
        }
        for (r, sum) in sums.iter_mut().enumerate() {
            let activations = record.add(r * RECORD + 4 * v + 16).cast::<i8>();
            *sum = S::dot_nibbles(*sum, high, activations);
        }
    }
    // a loop and not `map`: a closure is compiled without the instruction set of its caller
    let mut ends = [S::splat_int(0); R];
    for (r, end) in ends.iter_mut().enumerate() {
        *end = S::end_nibbles(sums[r]);
    }
    ends
}

/// The sums over a block of bytes.
#[inline(always)]
unsafe fn byte_sums<S: Simd, const R: usize>(weights: *const u8, record: *const u8) -> [S::I; R] {
    let mut sums = [S::splat_int(0); R];
    for (r, sum) in sums.iter_mut().enumerate() {
        let header = record.add(r * RECORD).cast::<i32>();
        *sum = S::begin_bytes(*header.add(panel::OFFSET / 4));
    }
    add_bytes::<S, R>(&mut sums, weights, record, 0..8);
    sums
}

/// The sums over both halves of a block of bytes.
#[inline(always)]
unsafe fn half_sums<S: Simd, const R: usize>(
    weights: *const u8,
    record: *const u8,
) -> [[S::I; R]; 2] {
    let mut first = [S::splat_int(0); R];
    let mut second = [S::splat_int(0); R];
    for r in 0..R {
        let header = record.add(r * RECORD).cast::<i32>();
        let (whole, half) = (*header.add(panel::OFFSET / 4), *header.add(panel::HALF_OFFSET / 4));
        first[r] = S::begin_bytes(BEGIN + half);
        second[r] = S::begin_bytes(whole - half);
    }
    add_bytes::<S, R>(&mut first, weights, record, 0..4);
    add_bytes::<S, R>(&mut second, weights, record, 4..8);
    [first, second]
}

/// Adds the products of some vectors of a block of bytes.
#[inline(always)]
unsafe fn add_bytes<S: Simd, const R: usize>(
    sums: &mut [S::I; R],
    weights: *const u8,
    record: *const u8,
    vectors: Range<usize>,
) {
    for v in vectors {
        let vector = S::load_weights(weights.add(64 * v));
        for (r, sum) in sums.iter_mut().enumerate() {
            let activations = record.add(r * RECORD + 4 * v).cast::<i8>();
            *sum = S::dot_bytes(*sum, vector, activations);
        }
    }
}

/// Marks a dense form for the compiler.
pub(super) trait Dense {
    const FORM: Form;
    /// Widens two rows of 16 columns.
    ///
    /// # Safety
    /// `from` are two rows of this form.
    unsafe fn load<S: Simd>(from: *const u8) -> [S::F; 2];
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

impl Dense for F32 {
    const FORM: Form = Form::F32;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> [S::F; 2] {
        let from = from.cast::<f32>();
        [S::load(from), S::load(from.add(LANES))]
    }
}

impl Dense for F16 {
    const FORM: Form = Form::F16;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> [S::F; 2] {
        [S::load_f16(from.cast()), S::load_f16(from.add(F16_ROW).cast())]
    }
}

impl Dense for Bf16 {
    const FORM: Form = Form::Bf16;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> [S::F; 2] {
        S::load_pairs(from.cast())
    }
}

/// Computes `R` rows of a dense tile.
#[inline(always)]
pub(super) unsafe fn dense<S: Simd, D: Dense, const R: usize>(call: &TileCall) {
    let mut totals = [S::zero(); R];
    let mut weights = call.weights;
    let mut input = call.input.cast::<f32>();
    let mut ahead = Ahead::new(call);
    for _ in 0..call.blocks {
        ahead.step();
        for k in (0..BLOCK).step_by(2) {
            let [first, second] = D::load::<S>(weights.add(k * D::FORM.block_bytes() / BLOCK));
            add_element::<S, R>(&mut totals, first, input.add(k), call.input_stride);
            add_element::<S, R>(&mut totals, second, input.add(k + 1), call.input_stride);
        }
        weights = weights.add(D::FORM.block_bytes());
        input = input.add(BLOCK);
    }
    for (row, total) in totals.iter().enumerate() {
        finish::<S>(call, row, *total);
    }
}

/// Adds the products of a row of 16 columns with an element of each of the rows.
#[inline(always)]
unsafe fn add_element<S: Simd, const R: usize>(
    totals: &mut [S::F; R],
    weights: S::F,
    input: *const f32,
    stride: usize,
) {
    for (r, total) in totals.iter_mut().enumerate() {
        *total = S::fma(S::splat(*input.add(r * stride)), weights, *total);
    }
}
