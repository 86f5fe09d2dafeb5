//! The real workbench over a scripted provider, in a process of its own: this test binary,
//! told to run one test that is otherwise ignored. So defects can be had without building any
//! into the program.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use batchgen::bench::run::RunHandle;
use batchgen::config::Plan;
use batchgen::prompts::PromptList;
use batchgen::provider::ProviderSpec;
use batchgen::tui::app::{ExportRequest, Reply};
use batchgen::tui::form::{ModelFacts, Preset, PromptQuery, PromptTokens, TokenQuery};
use batchgen::tui::services::Services;

use super::terminal::Program;
use crate::tui::fixture;
use crate::tui::scripted::{Script, ScriptedServices};

const STORY: &str = "BATCHGEN_TEST_STORY";
const HOME: &str = "BATCHGEN_TEST_HOME";

/// A workbench in a process of its own.
pub fn workbench(story: &str, home: &Path) -> Program {
    Program::new(std::env::current_exe().unwrap())
        .arg("--exact")
        .arg("pty::child::workbench_of_a_story")
        .arg("--ignored")
        .arg("--nocapture")
        .env(STORY, story)
        .env(HOME, home)
        .folder(home)
}

struct Panicking;

impl Services for Panicking {
    fn prompts(&self, _query: &PromptQuery) -> anyhow::Result<PromptList> {
        Ok(Arc::unwrap_or_clone(fixture::prompts(4)))
    }

    fn model(&self, _spec: &ProviderSpec) -> anyhow::Result<ModelFacts> {
        Ok(ModelFacts { here: true, lines: Vec::new() })
    }

    fn tokens(&self, _query: &TokenQuery) -> Option<PromptTokens> {
        None
    }

    fn preset(&self, _name: &str) -> anyhow::Result<Preset> {
        anyhow::bail!("there is none")
    }

    fn start(&self, _plan: Plan, _prompts: Arc<PromptList>) -> anyhow::Result<RunHandle> {
        panic!("the screen fell over")
    }

    fn keep_paste(&self, _text: &str) -> anyhow::Result<PathBuf> {
        anyhow::bail!("nothing is kept here")
    }

    fn keep_theme(&self, _name: &str) -> anyhow::Result<()> {
        anyhow::bail!("nothing is kept here")
    }

    fn runs(&self) -> PathBuf {
        PathBuf::from("/no/runs")
    }

    fn export(&self, request: &ExportRequest) -> Reply {
        Reply::Exported(request.path.display().to_string())
    }
}

#[test]
#[ignore = "it is a screen for another test to use"]
fn workbench_of_a_story() {
    let Ok(story) = std::env::var(STORY) else { return };
    let home = std::env::var_os(HOME).unwrap();
    let script = match story.as_str() {
        "slow" => Script { words: 5, gap: Duration::from_millis(20), panics: false },
        _ => Script { words: 5, gap: Duration::from_millis(1), panics: true },
    };
    let prompts = if story == "slow" { 500 } else { 4 };
    let runs = Path::new(&home).join("runs");
    let services: Arc<dyn Services> = match story.as_str() {
        "screen-panics" => Arc::new(Panicking),
        _ => Arc::new(ScriptedServices { script, runs, prompts }),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(batchgen::tui::run(fixture::opening(), services)).unwrap();
}
