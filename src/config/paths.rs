//! Where the program keeps its files.
//!
//! `BATCHGEN_HOME` puts everything under one folder; otherwise the platform's own places are
//! used (on Linux the XDG base directories).

use std::path::PathBuf;

use anyhow::Context;
use etcetera::BaseStrategy;

/// The program's folders. Nothing is created by asking for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// User settings, presets and themes.
    pub config: PathBuf,
    /// Past runs: one folder a run under `runs/`.
    pub data: PathBuf,
    /// Downloaded models, under `models/`.
    pub cache: PathBuf,
}

impl Paths {
    /// The folders of this user.
    ///
    /// # Errors
    /// When the platform gives no home folder and `BATCHGEN_HOME` is not set.
    pub fn of_user() -> anyhow::Result<Self> {
        if let Some(home) = std::env::var_os("BATCHGEN_HOME").filter(|home| !home.is_empty()) {
            return Ok(Self::under(PathBuf::from(home)));
        }
        let base = etcetera::choose_base_strategy()
            .context("no home folder is known: set BATCHGEN_HOME to a folder of your choice")?;
        Ok(Self {
            config: base.config_dir().join("batchgen"),
            data: base.data_dir().join("batchgen"),
            cache: base.cache_dir().join("batchgen"),
        })
    }

    /// Everything under one folder.
    pub fn under(home: PathBuf) -> Self {
        Self { config: home.join("config"), data: home.join("data"), cache: home.join("cache") }
    }

    /// The user's settings file.
    pub fn settings(&self) -> PathBuf {
        self.config.join("settings.toml")
    }

    /// The user's own presets.
    pub fn presets(&self) -> PathBuf {
        self.config.join("presets")
    }

    /// The user's own themes.
    pub fn themes(&self) -> PathBuf {
        self.config.join("themes")
    }

    /// Past runs.
    pub fn runs(&self) -> PathBuf {
        self.data.join("runs")
    }

    /// The user's model catalogue; it need not exist.
    pub fn catalogue(&self) -> PathBuf {
        self.config.join("models.toml")
    }

    /// The user's prices of models; it need not exist.
    pub fn prices(&self) -> PathBuf {
        self.config.join("prices.toml")
    }

    /// Downloaded models.
    pub fn models(&self) -> PathBuf {
        self.cache.join("models")
    }
}
