//! The user's settings file: their own defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::layer::{Layer, ProviderLayer, SamplingLayer};
use super::{ConfigError, OnError, Paths, check, file};

/// The user's own defaults, from `settings.toml` in the config folder. Every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Keys of the workbench, in the order of the file.
    #[serde(deserialize_with = "own_keys")]
    pub keys: Vec<OwnKeys>,
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

/// The keys of one action of the workbench, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnKeys {
    /// The action, such as `export` or `run.export`.
    pub action: String,
    /// The keys.
    pub keys: Vec<String>,
    /// The line they stand in, from 1.
    pub line: usize,
}

/// One key or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    One(String),
    Several(Vec<String>),
}

/// The lines are byte offsets until [`Settings::parse`], which has the text, counts them.
fn own_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OwnKeys>, D::Error> {
    let written = BTreeMap::<Spanned<String>, Written>::deserialize(deserializer)?;
    let mut keys: Vec<OwnKeys> = written
        .into_iter()
        .map(|(action, keys)| OwnKeys {
            line: action.span().start,
            action: action.into_inner(),
            keys: match keys {
                Written::One(key) => vec![key],
                Written::Several(keys) => keys,
            },
        })
        .collect();
    keys.sort_by_key(|own| own.line);
    Ok(keys)
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
        let mut settings: Self = file::parse(shown, text)?;
        for own in &mut settings.keys {
            own.line = file::line_of(text, &(own.line..own.line));
        }
        check::layer(&settings.layer()).map_err(|fault| file::fault(shown, text, fault))?;
        Ok(settings)
    }

    /// The text of the settings file with another theme, all else in it kept as it is.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub fn with_theme(paths: &Paths, name: &str) -> Result<String, ConfigError> {
        let path = paths.settings();
        let text = file::read(&path)?.unwrap_or_default();
        let value = toml::Value::String(name.to_owned()).to_string();
        // the file must be one that can be changed without guessing
        Self::parse(&path.display().to_string(), &text)?;
        Ok(match file::span_of_key(&text, "theme") {
            Some(span) => format!("{}{value}{}", &text[..span.start], &text[span.end..]),
            // before the first table, where a key belongs to the file itself
            None => format!("theme = {value}\n{text}"),
        })
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
