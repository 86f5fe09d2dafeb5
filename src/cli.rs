//! Commands and flags.

pub mod models;
