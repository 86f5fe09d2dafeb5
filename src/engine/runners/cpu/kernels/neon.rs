//! NEON: four vectors hold the 16 lanes.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of Simd")]

use std::arch::aarch64::*;

use half::f16;

use super::simd::{LANES, Simd, tree};
use super::table::kernels;

/// NEON, which every aarch64 machine has.
#[derive(Clone, Copy)]
pub(super) struct Neon;

type Floats = [float32x4_t; 4];
type Ints = [int32x4_t; 4];

#[inline(always)]
fn each<T>(f: impl FnMut(usize) -> T) -> [T; 4] {
    std::array::from_fn(f)
}

impl Simd for Neon {
    type F = Floats;
    type I = Ints;
    type B = [uint8x16_t; 4];
    type N = Ints;

    const QUERIES: usize = 6;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Floats {
        [vdupq_n_f32(value); 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Floats {
        each(|i| vld1q_f32(from.add(4 * i)))
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Floats) {
        for (i, value) in value.into_iter().enumerate() {
            vst1q_f32(to.add(4 * i), value);
        }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Floats {
        let bits = from.cast::<[u16; LANES]>().read_unaligned();
        let wide = bits.map(|bits| f16::from_bits(bits).to_f32());
        Self::load(wide.as_ptr())
    }

    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, value: Floats) {
        let mut wide = [0.0f32; LANES];
        Self::store(wide.as_mut_ptr(), value);
        let bits = wide.map(|value| f16::from_f32(value).to_bits());
        to.cast::<[u16; LANES]>().write_unaligned(bits);
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Floats {
        each(|i| vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.add(4 * i)))))
    }

    #[inline(always)]
    unsafe fn add(a: Floats, b: Floats) -> Floats {
        each(|i| vaddq_f32(a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn sub(a: Floats, b: Floats) -> Floats {
        each(|i| vsubq_f32(a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn mul(a: Floats, b: Floats) -> Floats {
        each(|i| vmulq_f32(a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn div(a: Floats, b: Floats) -> Floats {
        each(|i| vdivq_f32(a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn fma(a: Floats, b: Floats, c: Floats) -> Floats {
        each(|i| vfmaq_f32(c[i], a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn max(a: Floats, b: Floats) -> Floats {
        each(|i| vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn min(a: Floats, b: Floats) -> Floats {
        each(|i| vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn abs(a: Floats) -> Floats {
        a.map(|a| vabsq_f32(a))
    }

    #[inline(always)]
    unsafe fn keep_from(value: Floats, x: Floats, limit: Floats) -> Floats {
        each(|i| vbslq_f32(vcgeq_f32(x[i], limit[i]), value[i], vdupq_n_f32(0.0)))
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Ints {
        [vdupq_n_s32(value); 4]
    }

    #[inline(always)]
    unsafe fn load_int(from: *const i32) -> Ints {
        each(|i| vld1q_s32(from.add(4 * i)))
    }

    #[inline(always)]
    unsafe fn store_int(to: *mut i32, value: Ints) {
        for (i, value) in value.into_iter().enumerate() {
            vst1q_s32(to.add(4 * i), value);
        }
    }

    #[inline(always)]
    unsafe fn round(a: Floats) -> Ints {
        a.map(|a| vcvtnq_s32_f32(a))
    }

    #[inline(always)]
    unsafe fn float(a: Ints) -> Floats {
        a.map(|a| vcvtq_f32_s32(a))
    }

    #[inline(always)]
    unsafe fn power_of_two(a: Ints) -> Floats {
        a.map(|a| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(a, vdupq_n_s32(127)))))
    }

    #[inline(always)]
    unsafe fn store_bytes(to: *mut i8, value: Ints) {
        let mut wide = [0i32; LANES];
        Self::store_int(wide.as_mut_ptr(), value);
        to.cast::<[i8; LANES]>().write_unaligned(wide.map(|value| value as i8));
    }

    #[inline(always)]
    unsafe fn greater(a: Floats, ids: Ints, b: Floats, other_ids: Ints) -> (Floats, Ints) {
        let greater = each(|i| vcgtq_f32(a[i], b[i]));
        (
            each(|i| vbslq_f32(greater[i], a[i], b[i])),
            each(|i| vbslq_s32(greater[i], ids[i], other_ids[i])),
        )
    }

    #[inline(always)]
    unsafe fn load_weights(from: *const u8) -> Self::B {
        each(|i| vld1q_u8(from.add(16 * i)))
    }

    #[inline(always)]
    unsafe fn low_nibbles(weights: Self::B) -> Self::B {
        weights.map(|weights| vandq_u8(weights, vdupq_n_u8(15)))
    }

    #[inline(always)]
    unsafe fn high_nibbles(weights: Self::B) -> Self::B {
        weights.map(|weights| vshrq_n_u8::<4>(weights))
    }

    #[inline(always)]
    unsafe fn start_bytes(_minus_128_sums: i32) -> Ints {
        Self::splat_int(0)
    }

    #[inline(always)]
    unsafe fn start_nibbles() -> Self::N {
        Self::splat_int(0)
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: Ints, weights: Self::B, activations: *const i8) -> Ints {
        dot(sum, weights.map(|weights| vreinterpretq_s8_u8(weights)), activations)
    }

    #[inline(always)]
    unsafe fn end_nibbles(sum: Self::N) -> Self::I {
        sum
    }

    #[inline(always)]
    unsafe fn dot_bytes(sum: Ints, weights: Self::B, activations: *const i8) -> Ints {
        let signed = |weights| vreinterpretq_s8_u8(veorq_u8(weights, vdupq_n_u8(128)));
        dot(sum, weights.map(signed), activations)
    }

    #[inline(always)]
    unsafe fn sum(a: Floats) -> f32 {
        let mut lanes = [0.0f32; LANES];
        Self::store(lanes.as_mut_ptr(), a);
        tree(lanes, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn greatest(a: Floats) -> f32 {
        let mut lanes = [0.0f32; LANES];
        Self::store(lanes.as_mut_ptr(), a);
        tree(lanes, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn sum_int(a: Ints) -> i32 {
        vaddvq_s32(vaddq_s32(vaddq_s32(a[0], a[1]), vaddq_s32(a[2], a[3])))
    }

    #[inline(always)]
    fn prefetch(_address: *const u8) {}
}

#[inline(always)]
unsafe fn dot(sum: Ints, weights: [int8x16_t; 4], activations: *const i8) -> Ints {
    let four = vdupq_n_s32(activations.cast::<i32>().read_unaligned());
    let four = vreinterpretq_s8_s32(four);
    each(|i| {
        let low = vpaddlq_s16(vmull_s8(vget_low_s8(weights[i]), vget_low_s8(four)));
        let high = vpaddlq_s16(vmull_high_s8(weights[i], four));
        vaddq_s32(sum[i], vpaddq_s32(low, high))
    })
}

kernels!(Neon, ["neon"], [1, 2, 3, 4]);
