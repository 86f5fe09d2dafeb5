//! The user's settings file: their own defaults.

use serde::Deserialize;

use super::layer::{Layer, ProviderLayer, SamplingLayer};
use super::{ConfigError, OnError, Paths, check, file};

/// The user's own defaults, from `settings.toml` in the config folder. Every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The theme of the workbench.
    pub theme: Option<String>,
    /// The preset that is used where none is named.
    pub preset: Option<String>,
    /// The provider and its model.
    pub provider: ProviderLayer,
    /// The parameters of generation.
    pub sampling: SamplingLayer,
    /// Text prompts go to the model as they are.
    pub raw: Option<bool>,
    /// How often every lane runs.
    pub repeats: Option<usize>,
    /// Rows that are run before the first lane, unmeasured.
    pub warmup: Option<usize>,
    /// What a failed row does to its lane.
    pub on_error: Option<OnError>,
    /// The most a run may cost, US dollars.
    pub max_cost_usd: Option<f64>,
}

impl Settings {
    /// The settings of this user; without a file, none.
    ///
    /// # Errors
    /// The file cannot be read or used: file, line and key.
    pub fn load(paths: &Paths) -> Result<Self, ConfigError> {
        let path = paths.settings();
        let shown = path.display().to_string();
        let Some(text) = file::read(&path)? else { return Ok(Self::default()) };
        Self::parse(&shown, &text)
    }

    fn parse(shown: &str, text: &str) -> Result<Self, ConfigError> {
        let settings: Self = file::parse(shown, text)?;
        check::layer(&settings.layer()).map_err(|fault| file::fault(shown, text, fault))?;
        Ok(settings)
    }

    /// What the settings say about how a list is run.
    pub fn layer(&self) -> Layer {
        Layer {
            provider: self.provider.clone(),
            sampling: self.sampling.clone(),
            lanes: None,
            raw: self.raw,
            repeats: self.repeats,
            warmup: self.warmup,
            on_error: self.on_error,
            max_cost_usd: self.max_cost_usd,
        }
    }
}
