//! NEON with dot products (FEAT_DotProd): four products of bytes are added to a sum of 32 bits by
//! one instruction.
#![allow(unsafe_op_in_unsafe_fn, reason = "the contract of every function is that of Dot")]

use std::arch::{asm, is_aarch64_feature_detected};

use super::neon::{Arm, Bytes, Dot, Ints};
use super::table::kernels;

/// `sdot`.
#[derive(Clone, Copy)]
pub(super) struct Dots;

/// NEON with dot products.
type NeonDot = Arm<Dots>;

/// Whether this machine has it.
pub(super) fn is_available() -> bool {
    is_aarch64_feature_detected!("dotprod")
}

impl Dot for Dots {
    #[inline(always)]
    unsafe fn dot(sum: Ints, weights: Bytes, activations: *const i8) -> Ints {
        dot(sum, weights, activations)
    }
}

/// Adds signed weights times activations. In assembly while the function for it is not stable.
#[inline]
#[target_feature(enable = "dotprod")]
unsafe fn dot(sum: Ints, weights: Bytes, activations: *const i8) -> Ints {
    let [mut a, mut b, mut c, mut d] = sum;
    asm!(
        "sdot {a:v}.4s, {w:v}.16b, {four:v}.4b[0]",
        "sdot {b:v}.4s, {x:v}.16b, {four:v}.4b[0]",
        "sdot {c:v}.4s, {y:v}.16b, {four:v}.4b[0]",
        "sdot {d:v}.4s, {z:v}.16b, {four:v}.4b[0]",
        a = inout(vreg) a,
        b = inout(vreg) b,
        c = inout(vreg) c,
        d = inout(vreg) d,
        w = in(vreg) weights[0],
        x = in(vreg) weights[1],
        y = in(vreg) weights[2],
        z = in(vreg) weights[3],
        four = in(vreg) activations.cast::<f32>().read_unaligned(),
        options(pure, nomem, nostack, preserves_flags),
    );
    [a, b, c, d]
}

kernels!(NeonDot, ["neon,dotprod"], [1, 2, 3, 4]);
