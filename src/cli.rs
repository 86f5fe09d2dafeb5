//! Commands and flags.

pub mod args;
pub mod presets;
pub mod providers;
pub mod themes;
pub mod models;
