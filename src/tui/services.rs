//! What the screen asks of the rest of the program.

use std::path::PathBuf;
use std::sync::Arc;

use super::app::{ExportRequest, Reply};
use super::form::{ModelFacts, Preset, PromptQuery, PromptTokens, TokenQuery};
use crate::bench::run::RunHandle;
use crate::config::Plan;
use crate::prompts::PromptList;
use crate::provider::{ListedModel, ProviderSpec};

/// What the screen asks of the rest of the program. All but [`Services::start`] may take their
/// time: they are called where waiting harms nobody.
pub trait Services: Send + Sync + 'static {
    /// Loads a prompt list.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    fn prompts(&self, query: &PromptQuery) -> anyhow::Result<PromptList>;

    /// What is known about a model before it is opened.
    ///
    /// # Errors
    /// Why the model cannot be used.
    fn model(&self, spec: &ProviderSpec) -> anyhow::Result<ModelFacts>;

    /// The models that a provider lists.
    ///
    /// # Errors
    /// Why they are not known.
    fn models(&self, spec: &ProviderSpec) -> anyhow::Result<Vec<ListedModel>> {
        let _ = spec;
        Ok(Vec::new())
    }

    /// Counts the tokens of the first prompts of a list, where the model's tokenizer is at hand.
    fn tokens(&self, query: &TokenQuery) -> Option<PromptTokens>;

    /// Reads a preset.
    ///
    /// # Errors
    /// What is wrong, with file, line and key.
    fn preset(&self, name: &str) -> anyhow::Result<Preset>;

    /// Starts a run in the background of the current tokio runtime.
    ///
    /// # Errors
    /// Why it cannot be started.
    fn start(&self, plan: Plan, prompts: Arc<PromptList>) -> anyhow::Result<RunHandle>;

    /// Keeps a prompt list that was pasted; gives its file.
    ///
    /// # Errors
    /// Why it cannot be written.
    fn keep_paste(&self, text: &str) -> anyhow::Result<PathBuf>;

    /// Keeps a theme as the user's choice.
    ///
    /// # Errors
    /// Why the settings cannot be written.
    fn keep_theme(&self, name: &str) -> anyhow::Result<()>;

    /// The folder of all runs.
    fn runs(&self) -> PathBuf;

    /// Writes a report: [`Reply::Exported`], [`Reply::ExportExists`] or
    /// [`Reply::ExportFailed`].
    fn export(&self, request: &ExportRequest) -> Reply;
}
