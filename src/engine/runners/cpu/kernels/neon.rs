//! NEON: four vectors hold the 16 lanes.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of Simd")]

use std::arch::aarch64::*;
use std::marker::PhantomData;

use super::simd::{BEGIN, Products, Simd};
use super::table::kernels;

/// NEON, which every aarch64 machine has, with a way to multiply bytes.
#[derive(Clone, Copy)]
pub(super) struct Arm<P>(PhantomData<P>);

/// Products of 16 bits, widened and added.
#[derive(Clone, Copy)]
struct Words;

/// What NEON itself has.
type Neon = Arm<Words>;

type Floats = [float32x4_t; 4];
/// 16 i32.
pub(super) type Ints = [int32x4_t; 4];
/// 64 bytes.
pub(super) type Bytes = [uint8x16_t; 4];

/// An expression for each of four vectors. A closure would be a call where it is not inlined.
macro_rules! each {
    ($i:ident: $of_one:expr) => {
        [
            {
                let $i = 0;
                $of_one
            },
            {
                let $i = 1;
                $of_one
            },
            {
                let $i = 2;
                $of_one
            },
            {
                let $i = 3;
                $of_one
            },
        ]
    };
}

/// The one thing in which processors with NEON differ.
pub(super) trait Dot: Copy {
    /// Adds to each lane its 4 signed weights times the 4 activations at `activations`.
    ///
    /// # Safety
    /// As for [`Products`].
    unsafe fn dot(sum: Ints, weights: Bytes, activations: *const i8) -> Ints;
}

impl<P: Dot> Products for Arm<P> {
    type I = Ints;
    type B = Bytes;

    #[inline(always)]
    unsafe fn begin_bytes(_less_128_sums: i32) -> Ints {
        Self::splat_int(BEGIN)
    }

    #[inline(always)]
    unsafe fn begin_nibbles() -> Ints {
        Self::splat_int(BEGIN)
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: Ints, weights: Bytes, activations: *const i8) -> Ints {
        // below 16, so that they are the same with a sign
        P::dot(sum, weights, activations)
    }

    #[inline(always)]
    unsafe fn dot_bytes(sum: Ints, weights: Bytes, activations: *const i8) -> Ints {
        // signed bytes of those that were stored with 128 added
        let signed = each!(i: veorq_u8(weights[i], vdupq_n_u8(128)));
        P::dot(sum, signed, activations)
    }
}

impl<P: Dot> Simd for Arm<P> {
    type F = Floats;

    const QUERIES: usize = 6;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Floats {
        [vdupq_n_f32(value); 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Floats {
        each!(i: vld1q_f32(from.add(4 * i)))
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Floats) {
        each!(i: vst1q_f32(to.add(4 * i), value[i]));
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Floats {
        each!(i: vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.add(4 * i)))))
    }

    #[inline(always)]
    unsafe fn store_f16(to: *mut u16, value: Floats) {
        each!(i: vst1_u16(to.add(4 * i), vreinterpret_u16_f16(vcvt_f16_f32(value[i]))));
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Floats {
        let bytes = vld1q_s8(from);
        let halves = [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)];
        [
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(halves[0]))),
            vcvtq_f32_s32(vmovl_high_s16(halves[0])),
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(halves[1]))),
            vcvtq_f32_s32(vmovl_high_s16(halves[1])),
        ]
    }

    #[inline(always)]
    unsafe fn load_pairs(from: *const u16) -> [Floats; 2] {
        let pairs = from.cast::<u32>();
        let first = each!(i: vreinterpretq_f32_u32(vshlq_n_u32::<16>(vld1q_u32(pairs.add(4 * i)))));
        let mask = vdupq_n_u32(!0xffff);
        let second = each!(i: vreinterpretq_f32_u32(vandq_u32(vld1q_u32(pairs.add(4 * i)), mask)));
        [first, second]
    }

    #[inline(always)]
    unsafe fn add(a: Floats, b: Floats) -> Floats {
        each!(i: vaddq_f32(a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn sub(a: Floats, b: Floats) -> Floats {
        each!(i: vsubq_f32(a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn mul(a: Floats, b: Floats) -> Floats {
        each!(i: vmulq_f32(a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn div(a: Floats, b: Floats) -> Floats {
        each!(i: vdivq_f32(a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn fma(a: Floats, b: Floats, c: Floats) -> Floats {
        each!(i: vfmaq_f32(c[i], a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn max(a: Floats, b: Floats) -> Floats {
        each!(i: greater_of(a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn min(a: Floats, b: Floats) -> Floats {
        each!(i: vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i]))
    }

    #[inline(always)]
    unsafe fn abs(a: Floats) -> Floats {
        each!(i: vabsq_f32(a[i]))
    }

    #[inline(always)]
    unsafe fn keep_from(value: Floats, x: Floats, limit: Floats) -> Floats {
        each!(i: vbslq_f32(vcgeq_f32(x[i], limit[i]), value[i], vdupq_n_f32(0.0)))
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Ints {
        [vdupq_n_s32(value); 4]
    }

    #[inline(always)]
    unsafe fn load_int(from: *const i32) -> Ints {
        each!(i: vld1q_s32(from.add(4 * i)))
    }

    #[inline(always)]
    unsafe fn store_int(to: *mut i32, value: Ints) {
        each!(i: vst1q_s32(to.add(4 * i), value[i]));
    }

    #[inline(always)]
    unsafe fn round(a: Floats) -> Ints {
        each!(i: vcvtnq_s32_f32(a[i]))
    }

    #[inline(always)]
    unsafe fn float(a: Ints) -> Floats {
        each!(i: vcvtq_f32_s32(a[i]))
    }

    #[inline(always)]
    unsafe fn as_float(a: Ints) -> Floats {
        each!(i: vreinterpretq_f32_s32(a[i]))
    }

    #[inline(always)]
    unsafe fn power_of_two(a: Ints) -> Floats {
        let bias = vdupq_n_s32(127);
        each!(i: vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(a[i], bias))))
    }

    #[inline(always)]
    unsafe fn store_bytes(to: *mut i8, value: Ints) {
        let low = vcombine_s16(vmovn_s32(value[0]), vmovn_s32(value[1]));
        let high = vcombine_s16(vmovn_s32(value[2]), vmovn_s32(value[3]));
        vst1q_s8(to, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
    }

    #[inline(always)]
    unsafe fn greater(a: Floats, ids: Ints, b: Floats, other_ids: Ints) -> (Floats, Ints) {
        let greater = each!(i: vcgtq_f32(a[i], b[i]));
        (
            each!(i: vbslq_f32(greater[i], a[i], b[i])),
            each!(i: vbslq_s32(greater[i], ids[i], other_ids[i])),
        )
    }

    #[inline(always)]
    unsafe fn load_weights(from: *const u8) -> Self::B {
        each!(i: vld1q_u8(from.add(16 * i)))
    }

    #[inline(always)]
    unsafe fn low_nibbles(weights: Self::B) -> Self::B {
        each!(i: vandq_u8(weights[i], vdupq_n_u8(15)))
    }

    #[inline(always)]
    unsafe fn high_nibbles(weights: Self::B) -> Self::B {
        each!(i: vshrq_n_u8::<4>(weights[i]))
    }

    #[inline(always)]
    unsafe fn sum(a: Floats) -> f32 {
        let four = vaddq_f32(vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3]));
        vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)))
    }

    #[inline(always)]
    unsafe fn greatest(a: Floats) -> f32 {
        let four = greater_of(greater_of(a[0], a[2]), greater_of(a[1], a[3]));
        let (low, high) = (vget_low_f32(four), vget_high_f32(four));
        let two = vbsl_f32(vcgt_f32(low, high), low, high);
        let (first, second) = (vget_lane_f32::<0>(two), vget_lane_f32::<1>(two));
        if first > second { first } else { second }
    }

    #[inline(always)]
    unsafe fn sum_int(a: Ints) -> i32 {
        vaddvq_s32(vaddq_s32(vaddq_s32(a[0], a[1]), vaddq_s32(a[2], a[3])))
    }
}

/// The greater of each; `b` where one is not a number.
#[inline(always)]
unsafe fn greater_of(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vbslq_f32(vcgtq_f32(a, b), a, b)
}

impl Dot for Words {
    #[inline(always)]
    unsafe fn dot(sum: Ints, weights: Bytes, activations: *const i8) -> Ints {
        let four = vdupq_n_s32(activations.cast::<i32>().read_unaligned());
        let four = vreinterpretq_s8_s32(four);
        each!(i: vaddq_s32(sum[i], products(vreinterpretq_s8_u8(weights[i]), four)))
    }
}

/// Four weights times four activations for each column.
#[inline(always)]
unsafe fn products(weights: int8x16_t, activations: int8x16_t) -> int32x4_t {
    let low = vmull_s8(vget_low_s8(weights), vget_low_s8(activations));
    let high = vmull_high_s8(weights, activations);
    vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))
}

kernels!(Neon, ["neon"], [1, 2, 3, 4]);
