//! What the user wants: settings, presets and the plan of a run.
//!
//! Flags go over the preset, the preset over the user's settings file, that over the defaults.
//! This module does not run anything.

pub mod paths;
pub mod plan;

pub use plan::{LaneSpec, Mode, OnError, Plan};
