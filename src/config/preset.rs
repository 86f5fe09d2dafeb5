//! Presets: whole runs under a name.
//!
//! Some are embedded in the program; files in the `presets` folder of the user's config folder
//! add to them, and one of the same name takes the place of the embedded one.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::layer::{LaneEntry, Layer, ProviderLayer, SamplingLayer};
use super::{ConfigError, OnError, Paths, check, file};
use crate::prompts::nearest;

/// The name of the preset that is used where none is named.
pub const DEFAULT: &str = "quickstart";

/// Embedded presets, in the order they are listed in.
const EMBEDDED: [(&str, &str); 12] = [
    ("quickstart", include_str!("../../presets/quickstart.toml")),
    ("summarise", include_str!("../../presets/summarise.toml")),
    ("canary", include_str!("../../presets/canary.toml")),
    ("batch-sizes", include_str!("../../presets/batch-sizes.toml")),
    ("llama-server", include_str!("../../presets/llama-server.toml")),
    ("vllm", include_str!("../../presets/vllm.toml")),
    ("sglang", include_str!("../../presets/sglang.toml")),
    ("tgi", include_str!("../../presets/tgi.toml")),
    ("lmstudio", include_str!("../../presets/lmstudio.toml")),
    ("ollama", include_str!("../../presets/ollama.toml")),
    ("openai", include_str!("../../presets/openai.toml")),
    ("anthropic", include_str!("../../presets/anthropic.toml")),
];

/// A whole run under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// Its name: that of its file, without `.toml`.
    pub name: String,
    /// What it does, in a line.
    pub description: Option<String>,
    /// Where the prompts come from, as written.
    pub prompts: Option<String>,
    /// The column that holds the prompt.
    pub column: Option<String>,
    /// A template, or the path of one, as written.
    pub template: Option<String>,
    /// The folder that paths in it are relative to; embedded presets have none.
    pub base: Option<PathBuf>,
    /// How the list is run.
    pub layer: Layer,
}

/// Where a preset is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresetInfo {
    /// Its name.
    pub name: String,
    /// Its file, where it is the user's own.
    pub path: Option<PathBuf>,
    text: Option<&'static str>,
}

/// The file of a preset.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetFile {
    description: Option<String>,
    prompts: Option<String>,
    column: Option<String>,
    template: Option<String>,
    lanes: Option<Vec<LaneEntry>>,
    raw: Option<bool>,
    repeats: Option<usize>,
    warmup: Option<usize>,
    on_error: Option<OnError>,
    max_cost_usd: Option<f64>,
    #[serde(default)]
    provider: ProviderLayer,
    #[serde(default)]
    sampling: SamplingLayer,
}

/// All presets by name: the embedded ones first, in their order, then the user's own in the
/// order of their names.
///
/// # Errors
/// The user's folder of presets is there and cannot be read.
pub fn list(paths: &Paths) -> Result<Vec<PresetInfo>, ConfigError> {
    let embedded = EMBEDDED.iter().map(|(name, text)| PresetInfo {
        name: (*name).to_owned(),
        path: None,
        text: Some(text),
    });
    let mut presets: Vec<_> = embedded.collect();
    for (name, path) in user_files(&paths.presets())? {
        let user = PresetInfo { name, path: Some(path), text: None };
        match presets.iter_mut().find(|preset| preset.name == user.name) {
            Some(preset) => *preset = user,
            None => presets.push(user),
        }
    }
    Ok(presets)
}

/// Finds a preset by its name, or by its path where that ends in `.toml` or has a separator.
///
/// # Errors
/// There is none of this name: the error lists those there are. Or the user's folder cannot be
/// read.
pub fn find(name: &str, paths: &Paths) -> Result<PresetInfo, ConfigError> {
    if name.ends_with(".toml") || name.contains(['/', std::path::MAIN_SEPARATOR]) {
        let path = PathBuf::from(name);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(PresetInfo { name: stem, path: Some(path), text: None });
    }
    let presets = list(paths)?;
    if let Some(preset) = presets.iter().find(|preset| preset.name == name) {
        return Ok(preset.clone());
    }
    let names: Vec<_> = presets.iter().map(|preset| preset.name.as_str()).collect();
    let hint = nearest(name, names.iter().copied())
        .map(|name| format!("did you mean \"{name}\"? "))
        .unwrap_or_default();
    let reason = format!(
        "there is no preset of this name; {hint}the presets are {}; a preset file is named by its \
         path, which ends in .toml",
        names.join(", ")
    );
    Err(ConfigError { file: format!("preset \"{name}\""), line: None, reason })
}

impl PresetInfo {
    /// The TOML as it was written.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn text(&self) -> Result<String, ConfigError> {
        match (&self.path, self.text) {
            (Some(path), _) => file::read(path)?.ok_or_else(|| ConfigError {
                file: path.display().to_string(),
                line: None,
                reason: "there is no such preset file".into(),
            }),
            (None, text) => Ok(text.unwrap_or_default().to_owned()),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read or used: file, line and key.
    pub fn load(&self) -> Result<Preset, ConfigError> {
        let shown = match &self.path {
            Some(path) => path.display().to_string(),
            None => format!("preset \"{}\"", self.name),
        };
        let base = self.path.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        Preset::parse(&self.name, base, &shown, &self.text()?)
    }
}

impl Preset {
    fn parse(
        name: &str,
        base: Option<PathBuf>,
        shown: &str,
        text: &str,
    ) -> Result<Self, ConfigError> {
        let read: PresetFile = file::parse(shown, text)?;
        let layer = Layer {
            provider: read.provider,
            sampling: read.sampling,
            lanes: read.lanes,
            raw: read.raw,
            repeats: read.repeats,
            warmup: read.warmup,
            on_error: read.on_error,
            max_cost_usd: read.max_cost_usd,
        };
        check::layer(&layer).map_err(|fault| file::fault(shown, text, fault))?;
        Ok(Self {
            name: name.to_owned(),
            description: read.description,
            prompts: read.prompts,
            column: read.column,
            template: read.template,
            base,
            layer,
        })
    }
}

/// The user's TOML files in a folder by name, sorted; none where there is no such folder.
pub(crate) fn user_files(folder: &Path) -> Result<Vec<(String, PathBuf)>, ConfigError> {
    let fail = |error: std::io::Error| ConfigError {
        file: folder.display().to_string(),
        line: None,
        reason: format!("cannot be read: {error}"),
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "toml") && !name.starts_with('.') {
            files.push((name, path));
        }
    }
    files.sort();
    Ok(files)
}
