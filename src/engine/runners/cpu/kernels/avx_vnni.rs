//! AVX2 with AVX-VNNI: products of bytes are added to sums of 32 bits by one instruction.
//!
//! It does without kernels for rows by fours: nothing is left to the compiler that it puts in
//! another order, as it does with AVX2's sums of 16 bits.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of Products")]

use std::arch::x86_64::*;

use super::avx2::{self, Avx, Ints, Pair};
use super::simd::{BEGIN, Products, Simd};
use super::table::kernels;

/// `vpdpbusd`.
#[derive(Clone, Copy)]
pub(super) struct Vnni;

/// AVX2 with AVX-VNNI.
type AvxVnni = Avx<Vnni>;

/// Whether this machine has it.
pub(super) fn is_available() -> bool {
    avx2::is_available() && is_x86_feature_detected!("avxvnni")
}

impl Products for AvxVnni {
    type I = Ints;
    type B = Ints;

    #[inline(always)]
    unsafe fn begin_bytes(less_128_sums: i32) -> Ints {
        // the weights' excess of 128 is taken back by the beginning of the sum
        Self::splat_int(less_128_sums)
    }

    #[inline(always)]
    unsafe fn begin_nibbles() -> Ints {
        Self::splat_int(BEGIN)
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: Ints, weights: Ints, activations: *const i8) -> Ints {
        let four = _mm256_set1_epi32(activations.cast::<i32>().read_unaligned());
        Pair(
            _mm256_dpbusd_avx_epi32(sum.0, weights.0, four),
            _mm256_dpbusd_avx_epi32(sum.1, weights.1, four),
        )
    }

    #[inline(always)]
    unsafe fn dot_bytes(sum: Ints, weights: Ints, activations: *const i8) -> Ints {
        Self::dot_nibbles(sum, weights, activations)
    }
}

kernels!(AvxVnni, ["avx2,fma,f16c,avxvnni"], [1, 2, 3, 4]);
