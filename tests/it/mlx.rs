//! Models in mlx-lm: the real one on the CPU, and a scripted helper for what never happens.

pub mod model;
mod real;
#[cfg(unix)]
mod scripted;
mod setup;
mod support;
