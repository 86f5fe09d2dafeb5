//! What the user wants: settings, presets and the plan of a run.
//!
//! Flags go over the preset, the preset over the user's settings file, that over the defaults.
//! This module does not run anything.

mod check;
mod command;
mod file;
mod lane;
mod layer;
pub mod paths;
pub mod plan;
pub mod preset;
mod resolve;
pub mod secret;
pub mod settings;

pub use command::{command_line, quoted};
pub use file::ConfigError;
pub use lane::{written_lane, written_lanes};
pub use layer::{LaneEntry, Layer, ProviderLayer, SamplingLayer};
pub use paths::Paths;
pub use plan::{LaneSpec, Mode, OnError, Plan};
pub use preset::{Preset, PresetInfo};
pub use resolve::{Resolved, RunRequest, Settled, resolve, settle, written_template};
pub use settings::Settings;
