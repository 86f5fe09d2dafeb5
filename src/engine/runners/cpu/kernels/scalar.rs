//! The definition of every operation, in plain Rust, for any machine.
#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "the contract of every function is that of its trait or type"
)]

use half::{bf16, f16};

use super::simd::{BEGIN, LANES, Products, Simd, tree};
use super::table::{Kernels, kernels};

mod pairs;
mod sketch;

/// Plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

#[inline(always)]
fn zip<T: Copy, U: Copy, V>(a: [T; LANES], b: [U; LANES], f: impl Fn(T, U) -> V) -> [V; LANES] {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

impl Products for Scalar {
    type I = [i32; LANES];
    type B = [u8; 64];

    #[inline(always)]
    unsafe fn begin_bytes(_less_128_sums: i32) -> Self::I {
        [BEGIN; LANES]
    }

    #[inline(always)]
    unsafe fn begin_nibbles() -> Self::I {
        [BEGIN; LANES]
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: Self::I, weights: Self::B, activations: *const i8) -> Self::I {
        dot(sum, weights, activations, i32::from)
    }

    #[inline(always)]
    unsafe fn dot_bytes(sum: Self::I, weights: Self::B, activations: *const i8) -> Self::I {
        dot(sum, weights, activations, |weight| i32::from(weight) - 128)
    }
}

impl Simd for Scalar {
    type F = [f32; LANES];

    const QUERIES: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F {
        from.cast::<Self::F>().read_unaligned()
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F) {
        to.cast::<Self::F>().write_unaligned(value);
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self::F {
        let bits = from.cast::<[u16; LANES]>().read_unaligned();
        bits.map(|bits| f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, value: Self::F) {
        let bits = value.map(|value| f16::from_f32(value).to_bits());
        to.cast::<[u16; LANES]>().write_unaligned(bits);
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self::F {
        from.cast::<[i8; LANES]>().read_unaligned().map(f32::from)
    }

    #[inline(always)]
    unsafe fn load_pairs(from: *const u16) -> [Self::F; 2] {
        let pairs = from.cast::<[[u16; 2]; LANES]>().read_unaligned();
        [0, 1].map(|which| pairs.map(|pair| bf16::from_bits(pair[which]).to_f32()))
    }

    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
    }

    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn abs(a: Self::F) -> Self::F {
        a.map(f32::abs)
    }

    #[inline(always)]
    unsafe fn keep_from(value: Self::F, x: Self::F, limit: Self::F) -> Self::F {
        std::array::from_fn(|lane| if x[lane] >= limit[lane] { value[lane] } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Self::I {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load_int(from: *const i32) -> Self::I {
        from.cast::<Self::I>().read_unaligned()
    }

    #[inline(always)]
    unsafe fn store_int(to: *mut i32, value: Self::I) {
        to.cast::<Self::I>().write_unaligned(value);
    }

    #[inline(always)]
    unsafe fn round(a: Self::F) -> Self::I {
        a.map(|a| a.round_ties_even() as i32)
    }

    #[inline(always)]
    unsafe fn float(a: Self::I) -> Self::F {
        a.map(|a| a as f32)
    }

    #[inline(always)]
    unsafe fn as_float(a: Self::I) -> Self::F {
        a.map(|a| f32::from_bits(a as u32))
    }

    #[inline(always)]
    unsafe fn power_of_two(a: Self::I) -> Self::F {
        a.map(|a| f32::from_bits((a.wrapping_add(127) as u32) << 23))
    }

    #[inline(always)]
    unsafe fn store_bytes(to: *mut i8, value: Self::I) {
        to.cast::<[i8; LANES]>().write_unaligned(value.map(|value| value as i8));
    }

    #[inline(always)]
    unsafe fn greater(
        a: Self::F,
        ids: Self::I,
        b: Self::F,
        other_ids: Self::I,
    ) -> (Self::F, Self::I) {
        let chosen = zip(ids, other_ids, |a, b| (a, b));
        let greater = zip(a, b, |a, b| a > b);
        (
            std::array::from_fn(|lane| if greater[lane] { a[lane] } else { b[lane] }),
            zip(greater, chosen, |greater, (a, b)| if greater { a } else { b }),
        )
    }

    #[inline(always)]
    unsafe fn load_weights(from: *const u8) -> Self::B {
        from.cast::<Self::B>().read_unaligned()
    }

    #[inline(always)]
    unsafe fn low_nibbles(weights: Self::B) -> Self::B {
        weights.map(|byte| byte & 15)
    }

    #[inline(always)]
    unsafe fn high_nibbles(weights: Self::B) -> Self::B {
        weights.map(|byte| byte >> 4)
    }

    #[inline(always)]
    unsafe fn sum(a: Self::F) -> f32 {
        tree(a, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn greatest(a: Self::F) -> f32 {
        tree(a, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn sum_int(a: Self::I) -> i32 {
        tree(a, |a, b| a.wrapping_add(b))
    }
}

#[inline(always)]
unsafe fn dot(
    sum: [i32; LANES],
    weights: [u8; 64],
    activations: *const i8,
    value: impl Fn(u8) -> i32,
) -> [i32; LANES] {
    let activations = activations.cast::<[i8; 4]>().read_unaligned();
    std::array::from_fn(|lane| {
        (0..4).fold(sum[lane], |sum, k| {
            sum + value(weights[4 * lane + k]) * i32::from(activations[k])
        })
    })
}

kernels!(Scalar, [], [1, 2]);

/// What plain Rust does before a phase and after it.
unsafe fn nothing() {}

/// The table that computes what AMX does.
pub(super) static LIKE_AMX: Kernels =
    Kernels { bf16: Some(&pairs::KERNELS), sketches: Some(&sketch::SKETCHES), ..KERNELS };
