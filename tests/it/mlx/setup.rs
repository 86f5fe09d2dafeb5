//! What Setup says of a model in mlx-lm before it is loaded.

use std::path::Path;
use std::sync::Arc;

use batchgen::config::Paths;
use batchgen::provider::{ProviderSpec, Registry};
use batchgen::tui::form::ModelFacts;
use batchgen::tui::services::Services;
use batchgen::tui::workbench::Workbench;

use super::model;
use super::support::runtime;
use crate::servers::{mlx_python, require_or_skip};

/// Asks as the screen does: on a thread that may wait.
fn asked(model: &str, python: &Path) -> anyhow::Result<ModelFacts> {
    let home = tempfile::tempdir().unwrap();
    let paths = Paths::under(home.path().into());
    let registry = Registry::new(paths.models(), &paths.catalogue()).unwrap();
    let workbench = Workbench::new(paths, Arc::new(registry)).unwrap();
    let spec = ProviderSpec {
        provider: "mlx".into(),
        model: model.into(),
        python: Some(python.to_str().unwrap().into()),
        ..ProviderSpec::default()
    };
    runtime().block_on(async {
        tokio::task::spawn_blocking(move || workbench.model(&spec)).await.unwrap()
    })
}

#[test]
fn a_model_on_this_machine_is_told_with_the_versions_that_would_run_it() {
    let Some(python) = require_or_skip(mlx_python()) else { return };
    let Some(model) = require_or_skip(model::smollm2()) else { return };
    let ModelFacts { here, lines } = asked(model.to_str().unwrap(), &python).unwrap();
    assert!(here, "{lines:?}");
    assert!(lines[0].starts_with("✓ on this machine, "), "{lines:?}");
    assert_eq!(lines[1], "mlx-lm 0.32.2");
    assert!(lines[2].starts_with("mlx 0."), "{lines:?}");
    let said = lines[3].strip_prefix("python 3.").unwrap_or_else(|| panic!("{lines:?}"));
    assert!(said.contains(python.to_str().unwrap()), "{lines:?}");
}

#[test]
fn a_model_that_would_be_fetched_is_not_said_to_be_here() {
    let Some(python) = require_or_skip(mlx_python()) else { return };
    let facts = asked("nobody-here/no-such-model", &python).unwrap();
    assert!(!facts.here);
    let first = "↓ mlx-lm fetches nobody-here/no-such-model from the Hugging Face Hub first";
    assert_eq!(facts.lines[0], first);
}

#[test]
fn what_mlx_lacks_is_said_with_the_command_that_installs_it() {
    let error = asked("a/b", Path::new("/nowhere/python")).err().unwrap().to_string();
    assert!(error.contains("/nowhere/python is not there"), "{error}");
    assert!(error.contains("pip install 'mlx-lm"), "{error}");
}
