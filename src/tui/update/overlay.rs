//! Changes of what lies over a screen: picker, export, help, notices, the question before
//! quitting.

use std::path::{Path, PathBuf};

use super::{scrolled, setup};
use crate::tui::app::{
    App, Effect, Exit, ExportRequest, ExportState, HelpView, Overlay, Reading, Reply,
};
use crate::tui::input::TextInput;
use crate::tui::keymap::Action;
use crate::tui::picker::Entry;
use crate::tui::views;

pub(super) fn act(app: &mut App, action: Action) -> Vec<Effect> {
    match (&app.overlay, action) {
        (Some(Overlay::Quitting), Action::Confirm) => {
            app.exit = Some(Exit::Quit);
            Vec::new()
        }
        (Some(Overlay::Themes { before }), Action::Discard) => {
            app.theme = *before;
            app.overlay = None;
            Vec::new()
        }
        (Some(Overlay::Help(_)), action @ (Action::Search | Action::Discard | Action::Accept)) => {
            search_help(app, action);
            Vec::new()
        }
        (Some(Overlay::Help(help)), action) if help.typing => {
            edit_search(app, action);
            Vec::new()
        }
        (Some(_), Action::Back | Action::Discard | Action::Decline) => {
            app.overlay = None;
            Vec::new()
        }
        (Some(Overlay::Picker(_)), action) => pick(app, action),
        (Some(Overlay::Export(_)), action) => export(app, action),
        (Some(Overlay::Palette(_)), action) => palette(app, action),
        (Some(Overlay::Themes { .. }), action) => themes(app, action),
        (Some(Overlay::Help(_) | Overlay::Notices { .. } | Overlay::Reading(_)), action) => {
            scroll(app, action);
            Vec::new()
        }
        (
            Some(Overlay::Sizes(_) | Overlay::Search(_) | Overlay::Deleting(_) | Overlay::Quitting)
            | None,
            _,
        ) => Vec::new(),
    }
}

/// Columns that a text is scrolled across by at a time.
const ACROSS: usize = 8;

fn scroll(app: &mut App, action: Action) {
    let (page, last) = views::popup_scroll(app);
    let widest = views::reading::last_across(app);
    if let Some(Overlay::Reading(reading)) = &mut app.overlay {
        match action {
            Action::Less => reading.across = reading.across.saturating_sub(ACROSS),
            Action::More => reading.across = (reading.across + ACROSS).min(widest),
            _ => {}
        }
    }
    if let Some(
        Overlay::Help(HelpView { scroll, .. })
        | Overlay::Reading(Reading { scroll, .. })
        | Overlay::Notices { scroll },
    ) = &mut app.overlay
    {
        *scroll = scrolled(*scroll, action, page, last);
    }
}

/// Begins to look for a text in the help, keeps what was found, or shows all again.
fn search_help(app: &mut App, action: Action) {
    let Some(Overlay::Help(help)) = &mut app.overlay else { return };
    help.typing = action == Action::Search;
    if action != Action::Accept {
        help.search = TextInput::default();
    }
    help.scroll = 0;
}

fn edit_search(app: &mut App, action: Action) {
    let Some(Overlay::Help(help)) = &mut app.overlay else { return };
    help.search.edit(action);
    help.scroll = 0;
}

/// Every theme is seen as it is chosen.
fn themes(app: &mut App, action: Action) -> Vec<Effect> {
    let count = app.themes.len();
    match action {
        Action::Up => app.theme = (app.theme + count - 1) % count,
        Action::Down => app.theme = (app.theme + 1) % count,
        Action::Accept => {
            app.overlay = None;
            return vec![Effect::KeepTheme(app.theme().name.clone())];
        }
        _ => {}
    }
    Vec::new()
}

fn palette(app: &mut App, action: Action) -> Vec<Effect> {
    let page = views::palette::page(app);
    let now = app.conditions();
    let Some(Overlay::Palette(palette)) = &mut app.overlay else { return Vec::new() };
    let found = palette.found(&app.keymap, now);
    match action {
        Action::Accept => {
            let chosen = found.get(palette.selected).map(|binding| binding.action);
            app.overlay = None;
            return chosen.map(|action| super::act(app, action)).unwrap_or_default();
        }
        Action::Up | Action::Down | Action::PageUp | Action::PageDown => {
            let last = found.len().saturating_sub(1);
            palette.selected = scrolled(palette.selected, action, page, last);
        }
        action => {
            if palette.typed.edit(action) {
                palette.selected = 0;
            }
        }
    }
    Vec::new()
}

fn pick(app: &mut App, action: Action) -> Vec<Effect> {
    let page = isize::try_from(views::picker::page(app)).unwrap_or(isize::MAX);
    let Some(Overlay::Picker(picker)) = &mut app.overlay else { return Vec::new() };
    match action {
        Action::Up => picker.step(-1),
        Action::Down => picker.step(1),
        Action::PageUp => picker.step(-page),
        Action::PageDown => picker.step(page),
        Action::TakeFolder => {
            let folder = picker.folder.to_string_lossy().into_owned();
            return take(app, folder);
        }
        Action::Activate if !picker.typed.text().trim().is_empty() => {
            let typed = picker.typed.text().trim().to_owned();
            return take(app, typed);
        }
        Action::Activate => return open_entry(app),
        Action::DeleteBack if picker.typed.text().is_empty() => {
            return picker.folder.parent().map(read_folder).into_iter().collect();
        }
        action => {
            picker.typed.edit(action);
        }
    }
    Vec::new()
}

fn open_entry(app: &mut App) -> Vec<Effect> {
    let Some(Overlay::Picker(picker)) = &app.overlay else { return Vec::new() };
    match picker.entry().cloned() {
        Some(Entry::BuiltIn { name, .. }) => take(app, name),
        Some(Entry::Parent) => picker.folder.parent().map(read_folder).into_iter().collect(),
        Some(Entry::Folder(name)) => vec![read_folder(&picker.folder.join(name))],
        Some(Entry::File { name, .. }) => {
            let path = picker.folder.join(name);
            take(app, path.to_string_lossy().into_owned())
        }
        None => Vec::new(),
    }
}

fn read_folder(folder: &Path) -> Effect {
    Effect::ReadFolder(folder.to_owned())
}

fn take(app: &mut App, source: String) -> Vec<Effect> {
    app.overlay = None;
    app.form.take_prompts(source);
    setup::load_prompts(app)
}

fn export(app: &mut App, action: Action) -> Vec<Effect> {
    let Some(Overlay::Export(form)) = &mut app.overlay else { return Vec::new() };
    if action != Action::Accept {
        if form.path.edit(action) {
            form.state = ExportState::Typing;
        }
        return Vec::new();
    }
    let replace = match form.state {
        ExportState::Writing => return Vec::new(),
        ExportState::Written(_) => {
            app.overlay = None;
            return Vec::new();
        }
        ExportState::Exists => true,
        ExportState::Typing | ExportState::Failed(_) => false,
    };
    let path = PathBuf::from(form.path.text());
    if let Err(reason) = report_format(&path) {
        form.state = ExportState::Failed(reason);
        return Vec::new();
    }
    let Some(session) = &app.session else { return Vec::new() };
    form.state = ExportState::Writing;
    vec![Effect::Export(Box::new(ExportRequest {
        path: app.folder.join(path),
        replace,
        id: session.id.clone(),
        started_at: session.started_at,
        took: (!session.running()).then_some(session.last_event),
        past: session.past.clone(),
        plan: session.plan.clone(),
        prompts: session.prompts.clone(),
        recorder: session.recorder.clone(),
    }))]
}

/// The format that a report's path asks for.
///
/// # Errors
/// Which extensions there are.
pub fn report_format(path: &Path) -> Result<&'static str, String> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("json") => Ok("JSON, every figure and every output"),
        Some("csv") => Ok("CSV, one line a row"),
        Some("md") => Ok("Markdown, for people"),
        Some("html") => Ok("HTML, with charts and outputs side by side"),
        Some(_) | None => Err("the name must end in .json, .csv, .md or .html".to_owned()),
    }
}

/// How writing a report went.
pub(super) fn exported(app: &mut App, reply: Reply) {
    let state = match reply {
        Reply::Exported(place) => ExportState::Written(place),
        Reply::ExportExists => ExportState::Exists,
        Reply::ExportFailed(reason) => ExportState::Failed(reason),
        _ => return,
    };
    match &mut app.overlay {
        Some(Overlay::Export(form)) if form.state == ExportState::Writing => form.state = state,
        // the form was closed meanwhile: say it where it is seen
        _ => match state {
            ExportState::Written(place) => {
                app.notices
                    .add(crate::tui::notices::Level::Info, format!("report written: {place}"));
            }
            ExportState::Failed(reason) => {
                app.notices.add(crate::tui::notices::Level::Error, reason);
            }
            ExportState::Exists => app.notices.add(
                crate::tui::notices::Level::Warning,
                "the report was not written: a file of that name is there",
            ),
            ExportState::Typing | ExportState::Writing => {}
        },
    }
}
