//! The loops that the CPU spends its time in, for each instruction set, and the phases of a
//! forward pass that run them on a team of threads.
//!
//! Everything unsafe of this runner is below here.
#![allow(unsafe_code)]

pub mod buffer;
pub mod team;

mod deal;
mod heads;
mod many;
mod near;
mod pairs;
mod rows;
mod scalar;
mod simd;
mod table;
mod tile;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod dotprod;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;

pub mod attention;
pub mod crew;
pub mod gate;
pub mod head;
pub mod isa;
pub mod multiply;
pub mod prepare;
pub mod sketch;
pub mod upcoming;

#[cfg(test)]
mod tests;
