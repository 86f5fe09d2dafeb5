//! Keys of the user's own, from the settings to the screen.

use std::sync::Arc;

use batchgen::config::{Paths, RunRequest};
use batchgen::provider::Registry;
use batchgen::tui::app::Opening;
use batchgen::tui::keymap::{Action, Conditions, Key, Place};
use batchgen::tui::workbench::Workbench;

fn opening(settings: &str) -> anyhow::Result<Opening> {
    let home = tempfile::tempdir().unwrap();
    let paths = Paths::under(home.path().to_owned());
    std::fs::create_dir_all(&paths.config).unwrap();
    std::fs::write(paths.settings(), settings).unwrap();
    let registry = Registry::new(paths.models(), &paths.catalogue()).unwrap();
    Workbench::new(paths, Arc::new(registry)).unwrap().opening(&RunRequest::default())
}

#[test]
fn keys_of_the_settings_count() {
    let settings = "theme = \"dark\"\n[keys]\nexport = [\"ctrl-s\", \"e\"]\n\"run.stop\" = \"x\"\n";
    let keymap = opening(settings).unwrap().keymap;
    let running = Conditions { running: true, has_run: true, ..Conditions::default() };
    assert_eq!(keymap.action(Place::Row, Key::Ctrl('s'), running), Some(Action::Export));
    assert_eq!(keymap.action(Place::Run, Key::parse("x").unwrap(), running), Some(Action::Stop));
    assert_eq!(keymap.action(Place::Run, Key::parse("space").unwrap(), running), None);
}

#[test]
fn keys_that_cannot_be_are_refused_with_file_line_and_action() {
    for (settings, why) in [
        (
            "[keys]\nhelp = \"f1\"\nexport = \"q\"\n",
            "settings.toml:3: keys.export: q would mean both",
        ),
        ("[keys]\n\nnonsense = \"q\"\n", "settings.toml:3: keys.nonsense: there is no action"),
        ("[keys]\nexport = 3\n", "settings.toml:2: "),
    ] {
        let error = format!("{:#}", opening(settings).unwrap_err());
        assert!(error.contains(why), "{error}");
    }
}
