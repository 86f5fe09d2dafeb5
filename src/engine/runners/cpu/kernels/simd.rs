//! Sixteen lanes: the vocabulary in which every kernel is written once.
//!
//! A lane is an output column, a position or an element of a row. Each instruction set gives
//! these operations the same meaning down to the last bit: floats are rounded once per
//! operation, products and sums are fused where the operation says so, and nothing is
//! reordered. What a kernel computes therefore does not depend on the machine.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of Simd")]

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// Where a sum of products of bytes begins. As an f32 these bits are 1.5 times 2^23, where floats are
/// 1 apart: while a sum stays within 2^22, its bits are the float of [`BEGIN_F32`] and the sum, and
/// the product with a scale takes back what is too much, so that no conversion is needed.
pub(super) const BEGIN: i32 = BEGIN_F32.to_bits() as i32;
/// The float of [`BEGIN`].
pub(super) const BEGIN_F32: f32 = 12_582_912.0;

/// How bytes are multiplied, which is what younger machines of an architecture have another
/// instruction for.
///
/// # Safety
/// As for [`Simd`]; there are 4 activations.
pub(super) trait Products: Copy {
    /// 16 i32.
    type I: Copy;
    /// 64 bytes of weights: 4 consecutive elements for each of 16 columns.
    type B: Copy;

    /// Where a sum of [`Products::dot_bytes`] begins, given [`BEGIN`] and -128 times the sum of its
    /// activations; without these, it begins with [`BEGIN`].
    unsafe fn begin_bytes(less_128_sums: i32) -> Self::I;
    /// Where a sum of [`Products::dot_nibbles`] begins.
    unsafe fn begin_nibbles() -> Self::I;
    /// Adds to each lane its 4 weights, 0 to 15, times the 4 activations at `activations`. A sum
    /// goes over a block at most and is ended by [`Products::end_nibbles`].
    unsafe fn dot_nibbles(sum: Self::I, weights: Self::B, activations: *const i8) -> Self::I;
    /// [`BEGIN`] and what [`Products::dot_nibbles`] summed, which may be in parts until then.
    #[inline(always)]
    unsafe fn end_nibbles(sum: Self::I) -> Self::I {
        sum
    }
    /// Adds to each lane its 4 signed weights, which are stored with 128 added.
    unsafe fn dot_bytes(sum: Self::I, weights: Self::B, activations: *const i8) -> Self::I;
}

/// The operations of one instruction set.
///
/// # Safety
/// Callers make sure that this machine has the instruction set, and that pointers are valid for
/// what is read or written through them: 16 elements, or 64 bytes of weights.
pub(super) trait Simd: Products {
    /// 16 f32.
    type F: Copy;

    /// Most queries that attention computes at once: 1, 6 or 12.
    const QUERIES: usize;

    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    /// The f32 at `from` in every lane.
    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> Self::F {
        Self::splat(*from)
    }
    unsafe fn store(to: *mut f32, value: Self::F);
    /// Widens 16 f16.
    unsafe fn load_f16(from: *const u16) -> Self::F;
    /// Rounds to f16, ties to even.
    unsafe fn store_f16(to: *mut u16, value: Self::F);
    /// Widens 16 i8.
    unsafe fn load_i8(from: *const i8) -> Self::F;
    /// Widens 16 pairs of bf16: the first of each, and the second.
    unsafe fn load_pairs(from: *const u16) -> [Self::F; 2];

    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The greater; `b` where one is not a number.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// The lesser; `b` where one is not a number.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn abs(a: Self::F) -> Self::F;
    /// `value` where `x >= limit`, otherwise 0.
    unsafe fn keep_from(value: Self::F, x: Self::F, limit: Self::F) -> Self::F;

    unsafe fn splat_int(value: i32) -> Self::I;
    unsafe fn load_int(from: *const i32) -> Self::I;
    unsafe fn store_int(to: *mut i32, value: Self::I);
    /// The nearest integer, ties to even. The values fit.
    unsafe fn round(a: Self::F) -> Self::I;
    unsafe fn float(a: Self::I) -> Self::F;
    /// The same bits.
    unsafe fn as_float(a: Self::I) -> Self::F;
    /// 2 to the power of `a`, for exponents of normal numbers.
    unsafe fn power_of_two(a: Self::I) -> Self::F;
    /// The low byte of each lane, which holds an i8.
    unsafe fn store_bytes(to: *mut i8, value: Self::I);
    /// `(a, ids)` where `a > b`, otherwise `(b, other_ids)`.
    unsafe fn greater(
        a: Self::F,
        ids: Self::I,
        b: Self::F,
        other_ids: Self::I,
    ) -> (Self::F, Self::I);

    unsafe fn load_weights(from: *const u8) -> Self::B;
    unsafe fn low_nibbles(weights: Self::B) -> Self::B;
    unsafe fn high_nibbles(weights: Self::B) -> Self::B;

    #[inline(always)]
    unsafe fn zero() -> Self::F {
        Self::splat(0.0)
    }

    /// The sum of the lanes in the order of [`tree`].
    unsafe fn sum(a: Self::F) -> f32;
    /// The greatest lane, of numbers.
    unsafe fn greatest(a: Self::F) -> f32;
    /// The sum of the lanes.
    unsafe fn sum_int(a: Self::I) -> i32;
}

/// Folds halves onto each other: 16 lanes, 8, 4, 2, 1.
#[inline(always)]
pub(super) fn tree<T: Copy>(mut lanes: [T; LANES], fold: impl Fn(T, T) -> T) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = fold(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}
