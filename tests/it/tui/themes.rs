//! Choosing a theme, keeping it, and pasting a prompt list.

use std::sync::Arc;

use batchgen::config::{Paths, Settings};
use batchgen::provider::Registry;
use batchgen::tui::app::{Effect, Overlay, Reply};
use batchgen::tui::services::Services;
use batchgen::tui::update;
use batchgen::tui::workbench::Workbench;
use crossterm::event::{Event, KeyCode};

use super::fixture::Bench;
use super::screens::at_all_sizes;

#[test]
fn themes_are_seen_as_they_are_chosen() {
    at_all_sizes("themes", |width, height| {
        let mut bench = Bench::done(width, height);
        bench.press('T');
        bench.key(KeyCode::Down);
        bench
    });
    let mut bench = Bench::done(80, 24);
    bench.press('T');
    bench.key(KeyCode::Down);
    assert_eq!(bench.app.theme, 1);
    bench.key(KeyCode::Esc);
    assert_eq!(bench.app.theme, 0);
    bench.press('T');
    bench.press('T');
    let effects = bench.key(KeyCode::Enter);
    let [Effect::KeepTheme(name)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*name, bench.app.themes[1].name);
    assert!(bench.app.overlay.is_none());
}

fn workbench(home: &std::path::Path) -> (Workbench, Paths) {
    let paths = Paths::under(home.to_owned());
    let registry = Registry::new(paths.models(), &paths.catalogue()).unwrap();
    (Workbench::new(paths.clone(), Arc::new(registry)).unwrap(), paths)
}

#[test]
fn a_kept_theme_changes_nothing_else_in_the_settings() {
    let home = tempfile::tempdir().unwrap();
    let (workbench, paths) = workbench(home.path());
    workbench.keep_theme("nord").unwrap();
    assert_eq!(std::fs::read_to_string(paths.settings()).unwrap(), "theme = \"nord\"\n");

    let text = "# mine\npreset = 'canary' # why\n\n  theme   = 'dark'  # at night\n[keys]\nhelp = \"f1\"\n";
    std::fs::write(paths.settings(), text).unwrap();
    workbench.keep_theme("light").unwrap();
    let kept = std::fs::read_to_string(paths.settings()).unwrap();
    assert_eq!(kept, text.replace("'dark'", "\"light\""));

    let text = "[keys]\nhelp = \"f1\"\n";
    std::fs::write(paths.settings(), text).unwrap();
    workbench.keep_theme("a \"b\"\\").unwrap();
    let settings = Settings::load(&paths).unwrap();
    assert_eq!(settings.theme.as_deref(), Some("a \"b\"\\"));
    assert_eq!(settings.keys.len(), 1);

    std::fs::write(paths.settings(), "theme = [").unwrap();
    assert!(workbench.keep_theme("nord").is_err());
    assert_eq!(std::fs::read_to_string(paths.settings()).unwrap(), "theme = [");
}

#[test]
fn a_pasted_list_becomes_a_file_and_a_pasted_path_is_taken() {
    let home = tempfile::tempdir().unwrap();
    let (workbench, _) = workbench(home.path());
    let mut bench = Bench::ready(80, 24);
    let now = bench.app.now;
    let paste = |bench: &mut Bench, text: &str| {
        update::terminal_event(&mut bench.app, Event::Paste(text.into()), now)
    };
    let effects = paste(&mut bench, "first prompt\r\nsecond prompt\r\n");
    let [Effect::KeepPaste(text)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(text, "first prompt\nsecond prompt\n");
    let kept = workbench.keep_paste(text).unwrap();
    let effects = update::reply(&mut bench.app, Reply::Pasted(Ok(kept.clone())), now);
    let [Effect::LoadPrompts(query)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(workbench.prompts(query).unwrap().prompts.len(), 2);

    let effects = paste(&mut bench, "'/home/someone/questions.jsonl'\n");
    let [Effect::LoadPrompts(query)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(query.source, "/home/someone/questions.jsonl");
    assert!(paste(&mut bench, "  \n ").is_empty());
    let json = workbench.keep_paste("{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n").unwrap();
    assert_eq!(json.extension().unwrap(), "jsonl");
}

#[test]
fn a_paste_into_a_field_stays_text() {
    let mut bench = Bench::done(80, 24);
    bench.press('/');
    let now = bench.app.now;
    update::terminal_event(&mut bench.app, Event::Paste("a\nb".into()), now);
    let Some(Overlay::Search(input)) = &bench.app.overlay else { panic!() };
    assert_eq!(input.text(), "ab");
}
